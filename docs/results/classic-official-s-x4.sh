camixersr evaluate --model ../shared/official/CAMixerSR_S.pth \
  --data ../shared/data/bench/Set5/x4 ../shared/data/bench/Set14/x4 ../shared/data/bench/BSD100/x4 ../shared/data/photo \
  --attention-ratio 0 0.25 0.5 1 --json docs/results/classic-official-s-x4.json
