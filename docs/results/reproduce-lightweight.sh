camixersr reproduce lightweight --data "$DATA" --model official-s-x4 s-x4 s-x3 s-x2 \
  --set Set5 Set14 BSD100 photo --backend native --save docs/results/reproduce-lightweight.json
