camixersr evaluate --model s-x2 --backend native \
  --data "$DATA"/bench/Set5/x2 "$DATA"/bench/Set14/x2 "$DATA"/photo \
  --attention-ratio 0 0.25 0.5 0.6 0.75 1 --json docs/results/classic-s-x2.json
