camixersr routes "$DATA"/bench/BSD100/x4/low/*.png --high "$DATA"/bench/BSD100/x4/high --model s-x4 --json docs/results/routes-bsd100-s-x4.json
