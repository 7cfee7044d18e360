camixersr reproduce omni --data "$DATA" --model s-360-x4 s-360-x2 --set pano/test \
  --backend native --save docs/results/reproduce-omni.json
