camixersr routes "$DATA"/bench/BSD100/x4/high/img_0[0369]5.png --quality 20 --model s-jpeg --json docs/results/routes-s-jpeg.json
