camixersr routes ../shared/data/bench/BSD100/x4/low/*.png --model s-x4 --json docs/results/routes-bsd100-s-x4.json
