camixersr evaluate --model s-x4 ../shared/official/CAMixerSR_S.pth \
  --data ../shared/data/bench/Set5/x4 ../shared/data/bench/Set14/x4 ../shared/data/bench/BSD100/x4 ../shared/data/photo \
  --attention-ratio 0 0.5 1 --json docs/results/classic-x4.json
