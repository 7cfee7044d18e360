camixersr evaluate --model s-x3 --backend native \
  --data "$DATA"/bench/Set5/x3 "$DATA"/bench/Set14/x3 "$DATA"/photo \
  --attention-ratio 0 0.25 0.5 0.75 1 --json docs/results/classic-s-x3.json
