camixersr routes ../shared/data/bench/Set5/x4/low/*.png --high ../shared/data/bench/Set5/x4/high --gain \
  --model ../shared/official/CAMixerSR_S.pth --json docs/results/gain-official-s-x4.json
