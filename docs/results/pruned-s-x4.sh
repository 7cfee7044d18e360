mkdir -p build
for percent in 70 50 40 30; do
  camixersr prune s-x4 --data "$DATA"/train --macs 0.$percent -o build/s-x4-$percent.safetensors --overwrite --json \
    >build/pruned.json
  mv build/pruned.json docs/results/pruned-s-x4-$percent.json
done
