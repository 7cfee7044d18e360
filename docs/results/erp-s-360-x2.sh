camixersr evaluate --model s-x2 s-360-x2 --data "$DATA"/pano/test --protocol erp --backend native \
  --attention-ratio 0.5 --json docs/results/erp-s-360-x2.json
