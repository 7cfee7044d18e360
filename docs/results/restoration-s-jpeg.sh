camixersr evaluate --model s-jpeg --data "$DATA"/photo --quality 20 --json docs/results/restoration-s-jpeg.json
