camixersr train recipes/classsr-official-s-x4.toml
rm -f docs/results/classsr-official-s-x4.json
python benchmarks/classsr.py runs/classsr-official-s-x4/classsr-official-s-x4.safetensors "$DATA"/bench/BSD100/x4 \
  --top-share --json docs/results/classsr-official-s-x4.json
