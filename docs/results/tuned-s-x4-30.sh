camixersr train recipes/s-x4-pruned.toml
camixersr evaluate --backend native --data "$DATA"/bench/Set5/x4 "$DATA"/bench/BSD100/x4 --attention-ratio 0 0.5 1 \
  --model runs/s-x4-pruned/s-x4-30.safetensors --json docs/results/tuned-s-x4-30.json
