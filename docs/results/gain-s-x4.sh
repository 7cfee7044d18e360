camixersr routes "$DATA"/bench/Set5/x4/low/*.png --high "$DATA"/bench/Set5/x4/high --gain \
  --model s-x4 --json docs/results/gain-s-x4.json
