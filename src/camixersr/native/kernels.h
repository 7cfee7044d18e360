// What products and depthwise convolutions are made of, in inference and in training: the innermost loops, whose sums
// stay in registers. How maps lie in memory is the caller's affair.
#pragma once
#include "vector.h"

#if defined(__AVX512BF16__)
#define HAS_HALF 1
#else
#define HAS_HALF 0
#endif

namespace PATH_NAME {

#if HAS_HALF
// Numbers a and b of sixteen pixels, side by side in bfloat16.
static inline Vector paired(Vector a, Vector b) {
  alignas(64) static const uint16_t ORDER[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                 8,  24, 9,  25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  __m512i both = (__m512i)_mm512_cvtne2ps_pbh(b, a);
  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(ORDER), both));
}
#endif

// w times x, or w's two numbers times x's two, added to the sum.
template <bool HALF>
static inline Vector dot(Vector w, Vector x, Vector sum) {
#if HAS_HALF
  if constexpr (HALF) return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)x);
#endif
  return fma(w, x, sum);
}

// Adds a product to sums of OUT outputs in V vectors of pixels. Step k of K takes the factors left(k)[o * apart] and the
// pixels right(k)[v * next] and on.
template <bool HALF, int OUT, int V, class Left, class Right>
static inline void add_product(Vector (&total)[OUT][V], int K, Left left, size_t apart, Right right, size_t next) {
  for (int k = 0; k < K; k++) {
    const float *w = left(k), *from = right(k);
    Vector x[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; v++) x[v] = load(from + v * next);
#pragma GCC unroll 12
    for (int o = 0; o < OUT; o++) {
      Vector factor = all(w[o * apart]);
#pragma GCC unroll 4
      for (int v = 0; v < V; v++) total[o][v] = dot<HALF>(factor, x[v], total[o][v]);
    }
  }
}

// What the nine taps of a 3 x 3 filter see, D pixels apart, of G rows from row 0 on. look(row, x) gives a row's vector and
// those D pixels before and behind, x[3]; each(row, tap, x) takes what a tap of a row sees.
template <int G, int D, class Look, class Each>
static inline void see(Look look, Each each) {
#pragma GCC unroll 16
  for (int r = -D; r < G + D; r++) {
    Vector x[3];
    look(r, x);
#pragma GCC unroll 3
    for (int dy = 0; dy < 3; dy++) {
      int row = r - (dy - 1) * D;
      if (row < 0 || row >= G) continue;
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; dx++) each(row, dy * 3 + dx, x[dx]);
    }
  }
}

}  // namespace PATH_NAME
