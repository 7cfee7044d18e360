camixersr train recipes/classsr-s-x4.toml
rm -f docs/results/classsr-s-x4.json
python benchmarks/classsr.py runs/classsr-s-x4/classsr-s-x4.safetensors "$DATA"/bench/BSD100/x4 --base s-x4 --every 3 \
  --json docs/results/classsr-s-x4.json
