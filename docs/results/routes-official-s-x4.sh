camixersr routes ../shared/data/photo/*.png --reduce --model ../shared/official/CAMixerSR_S.pth \
  --json docs/results/routes-official-s-x4.json
