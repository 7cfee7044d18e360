camixersr evaluate --model s-x4 --backend native \
  --data "$DATA"/bench/Set5/x4 "$DATA"/bench/Set14/x4 "$DATA"/bench/BSD100/x4 "$DATA"/photo \
  --attention-ratio 0 0.25 0.4 0.5 0.75 1 --json docs/results/classic-s-x4.json
