// Products in bfloat16 with sums in single precision (AVX512-BF16), for attention's maps of 256 x 256.
//
// Two neighbours along what is summed over make a `Pair`, 32 bits. Where that is along rows (channels, or keys),
// rows are interleaved; where it is along tokens, a row is merely shortened. Compiled with HALF=0, numbers stay
// what they are, and nothing here but `Kept` is there.
#pragma once
#include "planes.h"

#ifndef HALF
#define HALF 0
#endif
constexpr int WINDOW_TOKENS = 256, WINDOW_STRIDE = WINDOW_TOKENS + 16;  // stride of a window's planes

#if HALF
#if !TILES
typedef uint32_t Pair;
#endif
typedef Pair Kept;
constexpr int KEPT = WINDOW_TOKENS / 2 + 16;  // stride of shortened rows, in pairs

// Rows 2r and 2r + 1 of K, stride WINDOW_STRIDE, side by side: out[r][i] = (in[2r][i], in[2r + 1][i]).
static void interleave(const float* in, int K, Pair* out) {
  for (int r = 0; r < (K + 1) / 2; r++, in += 2 * WINDOW_STRIDE, out += WINDOW_STRIDE)
    for (int i = 0; i < WINDOW_TOKENS; i += LANES) {
      Vector second = 2 * r + 1 < K ? load(in + WINDOW_STRIDE + i) : all(0.f);
      __m256i low = (__m256i)_mm512_cvtneps_pbh(load(in + i)), high = (__m256i)_mm512_cvtneps_pbh(second);
      __m512i both = _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
      _mm512_storeu_si512(out + i, both);
    }
}
// Neighbours in a row: out[k][i] = (in[k][2i], in[k][2i + 1]).
static void shorten(const float* in, int K, Pair* out) {
  for (int k = 0; k < K; k++, in += WINDOW_STRIDE, out += KEPT)
    for (int i = 0; i < WINDOW_TOKENS; i += 2 * LANES)
      _mm512_storeu_si512(out + i / 2, (__m512i)_mm512_cvtne2ps_pbh(load(in + i + LANES), load(in + i)));
}
// Sixteen pairs of a shortened row as the 32 numbers they are.
static void lengthen(const Pair* in, Vector* out) {
  __m512i both = _mm512_loadu_si512(in);
  for (int half = 0; half < 2; half++) {
    __m256i part = half ? _mm512_extracti64x4_epi64(both, 1) : _mm512_castsi512_si256(both);
    out[half] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(part), 16));
  }
}

template <int OUT>
static void half_multiply_tile(const Pair* left, int to, int tk, int K, const Pair* right, float* out) {
  for (int i = 0; i < WINDOW_TOKENS; i += 2 * LANES) {
    Vector total[OUT][2];
    for (int o = 0; o < OUT; o++) total[o][0] = total[o][1] = all(0.f);
    for (int k = 0; k < K; k++) {
      __m512bh x0 = (__m512bh)_mm512_loadu_si512(right + k * WINDOW_STRIDE + i);
      __m512bh x1 = (__m512bh)_mm512_loadu_si512(right + k * WINDOW_STRIDE + i + LANES);
#pragma GCC unroll 12
      for (int o = 0; o < OUT; o++) {
        __m512bh w = (__m512bh)_mm512_set1_epi32((int)left[o * to + k * tk]);
        total[o][0] = _mm512_dpbf16_ps(total[o][0], w, x0);
        total[o][1] = _mm512_dpbf16_ps(total[o][1], w, x1);
      }
    }
    for (int o = 0; o < OUT; o++) {
      store(out + o * WINDOW_STRIDE + i, total[o][0]);
      store(out + o * WINDOW_STRIDE + i + LANES, total[o][1]);
    }
  }
}
// out[o][i] = sum over K pairs k of left[o * to + k * tk] * right[k][i]
static void half_multiply(const Pair* left, int to, int tk, int O, int K, const Pair* right, float* out) {
  constexpr int MOST = 8;
  int o = 0;
  for (; o + MOST <= O; o += MOST) half_multiply_tile<MOST>(left + o * to, to, tk, K, right, out + o * WINDOW_STRIDE);
  for (; o + 4 <= O; o += 4) half_multiply_tile<4>(left + o * to, to, tk, K, right, out + o * WINDOW_STRIDE);
  for (; o < O; o++) half_multiply_tile<1>(left + o * to, to, tk, K, right, out + o * WINDOW_STRIDE);
}

template <int OUT>
static void half_correlate_tile(const Pair* g, const Pair* in, float* to) {
  constexpr int IN = 4, STEPS = WINDOW_TOKENS / (2 * LANES);
  for (int j = 0; j < WINDOW_TOKENS; j += IN, in += IN * KEPT) {
    Vector total[OUT][IN];
    for (int o = 0; o < OUT; o++)
      for (int k = 0; k < IN; k++) total[o][k] = all(0.f);
    for (int i = 0; i < STEPS; i++) {
      __m512bh x[IN];
#pragma GCC unroll 4
      for (int k = 0; k < IN; k++) x[k] = (__m512bh)_mm512_loadu_si512(in + k * KEPT + LANES * i);
#pragma GCC unroll 6
      for (int o = 0; o < OUT; o++) {
        __m512bh q = (__m512bh)_mm512_loadu_si512(g + o * KEPT + LANES * i);
#pragma GCC unroll 4
        for (int k = 0; k < IN; k++) total[o][k] = _mm512_dpbf16_ps(total[o][k], q, x[k]);
      }
    }
    for (int o = 0; o < OUT; o++)
      _mm_storeu_ps(to + o * WINDOW_TOKENS + j, sums(total[o][0], total[o][1], total[o][2], total[o][3]));
  }
}
// to[o][j] = sum over tokens of g[o] * in[j], both shortened
static void half_correlate(const Pair* g, int O, const Pair* in, float* to) {
  int o = 0;
  for (; o + 6 <= O; o += 6) half_correlate_tile<6>(g + o * KEPT, in, to + o * WINDOW_TOKENS);
  for (; o < O; o++) half_correlate_tile<1>(g + o * KEPT, in, to + o * WINDOW_TOKENS);
}
#else
typedef float Kept;
constexpr int KEPT = WINDOW_STRIDE;
#endif
