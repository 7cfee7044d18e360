camixersr evaluate --model s-x4 s-360-x4 --data "$DATA"/pano/test --protocol erp --backend native \
  --attention-ratio 0.5 --json docs/results/erp-s-360-x4.json
