python benchmarks/thresholds.py --model s-x4 --data ../shared/data/bench/BSD100/x4 ../shared/data/photo \
  --json docs/results/thresholds-s-x4.json
