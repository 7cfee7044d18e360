camixersr routes "$DATA"/photo/*.png --reduce --model s-x4 --json docs/results/routes-s-x4.json
