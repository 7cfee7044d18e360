camixersr routes "$DATA"/photo/[17].png "$DATA"/photo/16.png "$DATA"/photo/22.png --reduce --model s-x2 \
  --json docs/results/routes-s-x2.json
