camixersr evaluate --model s-x4 --backend native --data "$DATA"/bench/Set5/x4 "$DATA"/bench/BSD100/x4 \
  --attention-ratio 0 0.5 1 --json docs/results/pruning-base-s-x4.json
camixersr evaluate --backend native --data "$DATA"/bench/BSD100/x4 --attention-ratio 0 0.5 \
  --model build/s-x4-70.safetensors build/s-x4-50.safetensors build/s-x4-40.safetensors build/s-x4-30.safetensors \
  --json docs/results/pruning-s-x4.json
camixersr evaluate --backend native --data "$DATA"/bench/Set5/x4 --attention-ratio 0 0.5 1 \
  --model build/s-x4-70.safetensors build/s-x4-50.safetensors build/s-x4-40.safetensors build/s-x4-30.safetensors \
  --json docs/results/pruning-set5-s-x4.json
