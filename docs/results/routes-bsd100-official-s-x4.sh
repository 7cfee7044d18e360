camixersr routes "$DATA"/bench/BSD100/x4/low/img_0?[05].png --high "$DATA"/bench/BSD100/x4/high --model official-s-x4 \
  --json docs/results/routes-bsd100-official-s-x4.json
