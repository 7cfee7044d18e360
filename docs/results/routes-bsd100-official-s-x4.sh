camixersr routes ../shared/data/bench/BSD100/x4/low/*.png --high ../shared/data/bench/BSD100/x4/high --model ../shared/official/CAMixerSR_S.pth \
  --json docs/results/routes-bsd100-official-s-x4.json
