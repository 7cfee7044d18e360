camixersr evaluate --model s-jpeg --data ../shared/data/photo --quality 20 --json docs/results/restoration-s-jpeg.json
