camixersr routes "$DATA"/photo/*.png --quality 20 --model s-jpeg --json docs/results/routes-s-jpeg.json
