camixersr routes "$DATA"/photo/*.png --reduce --model s-x2 --json docs/results/routes-s-x2.json
