camixersr routes "$DATA"/photo/[147].png "$DATA"/photo/1[16].png "$DATA"/photo/22.png --reduce --model s-x2 \
  --json docs/results/routes-s-x2.json
