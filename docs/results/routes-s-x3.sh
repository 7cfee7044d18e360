camixersr routes "$DATA"/photo/*.png --reduce --model s-x3 --json docs/results/routes-s-x3.json
