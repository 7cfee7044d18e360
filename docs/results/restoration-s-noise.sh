camixersr evaluate --model s-noise --backend native --data "$DATA"/photo --sigma 15 25 50 --json docs/results/restoration-s-noise.json
