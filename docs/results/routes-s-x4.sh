camixersr routes ../shared/data/photo/*.png --reduce --model s-x4 --json docs/results/routes-s-x4.json
