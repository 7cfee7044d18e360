camixersr reproduce omni --data "$DATA" --model s-360-x4 --set pano/test --backend native \
  --save docs/results/reproduce-omni.json
