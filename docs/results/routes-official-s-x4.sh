camixersr routes "$DATA"/photo/*.png --reduce --model official-s-x4 \
  --json docs/results/routes-official-s-x4.json
