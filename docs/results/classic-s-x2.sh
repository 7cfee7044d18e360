camixersr evaluate --model s-x2 \
  --data ../shared/data/bench/Set5/x2 ../shared/data/bench/Set14/x2 ../shared/data/photo \
  --attention-ratio 0 0.25 0.5 0.75 1 --json docs/results/classic-s-x2.json
