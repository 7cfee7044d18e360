python benchmarks/thresholds.py --model s-x4 --data "$DATA"/bench/BSD100/x4 "$DATA"/photo \
  --json docs/results/thresholds-s-x4.json
