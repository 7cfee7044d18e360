// The products of attention, between maps of 256 tokens and their square: in single precision, or with numbers in
// bfloat16 (AVX512-BF16) whose sums stay in single precision.
//
// In bfloat16 two neighbours along what is summed over make a `Pair`, 32 bits. Where that is along rows (channels, or
// keys), rows are interleaved; where it is along tokens, a row is merely shortened. Compiled with BF16=0, a `Pair` is one
// number, and both are what they were.
#pragma once
#include "planes.h"

#ifndef BF16
#define BF16 0
#endif
constexpr int WINDOW_TOKENS = 256, WINDOW_STRIDE = WINDOW_TOKENS + 16;  // stride of a window's planes
constexpr int TOGETHER = 2 * LANES;  // queries whose weights are computed at once: they stay in the cache next to the unit

#if !TILES
typedef float Pair;  // its bits, where it is two numbers
#endif
typedef Pair Kept;
#if BF16
constexpr int PAIR = 2;                          // numbers in a Pair
constexpr int KEPT = WINDOW_TOKENS / PAIR + 16;  // stride of shortened rows, in pairs

// Neighbours in a row: out[k][i] = (in[k][2i], in[k][2i + 1]).
static void shorten(const float* in, int K, Pair* out) {
  for (int k = 0; k < K; k++, in += WINDOW_STRIDE, out += KEPT)
    for (int i = 0; i < WINDOW_TOKENS; i += 2 * LANES)
      _mm512_storeu_si512(out + i / 2, (__m512i)_mm512_cvtne2ps_pbh(load(in + i + LANES), load(in + i)));
}
// TOGETHER numbers of a row, shortened, and back.
static inline void keep(Vector a, Vector b, Kept* out) {
  _mm512_storeu_si512(out, (__m512i)_mm512_cvtne2ps_pbh(b, a));
}
static inline void recall(const Kept* in, Vector& a, Vector& b) {
  __m512i both = _mm512_loadu_si512(in);
  auto longer = [](__m256i part) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(part), 16));
  };
  a = longer(_mm512_castsi512_si256(both)), b = longer(_mm512_extracti64x4_epi64(both, 1));
}
#else
constexpr int PAIR = 1, KEPT = WINDOW_STRIDE;
static inline void keep(Vector a, Vector b, Kept* out) { store(out, a), store(out + LANES, b); }
static inline void recall(const Kept* in, Vector& a, Vector& b) { a = load(in), b = load(in + LANES); }
#endif

#if !TILES
constexpr int ALONG = WINDOW_TOKENS / PAIR;  // pairs of tokens
constexpr int KEYS = LANES == 16 ? 8 : 4;    // keys whose weights are computed at once

#if BF16
// C rows as a product reads them that sums over channels, and one that sums over tokens. `space` is for what is made.
static const Pair* by_channels(const float* in, Pair* space) {
  for (int c = 0; c < C; c += 2)
    for (int i = 0; i < WINDOW_TOKENS; i += LANES) {
      const float* at = in + c * WINDOW_STRIDE + i;
      store(space + c / 2 * WINDOW_STRIDE + i, paired(load(at), c + 1 < C ? load(at + WINDOW_STRIDE) : all(0.f)));
    }
  return space;
}
static const Pair* by_tokens(const float* in, Pair* space) {
  shorten(in, C, space);
  return space;
}
#else
static const Pair* by_channels(const float* in, Pair*) { return in; }
static const Pair* by_tokens(const float* in, Pair*) { return in; }
#endif

// Weights of keys j and j + 1 in TOGETHER queries as `gather` reads them.
static inline void put_weights(const Vector (&first)[2], const Vector (&second)[2], int j, Pair* weights) {
  for (int v = 0; v < 2; v++) {
#if BF16
    store(weights + j / 2 * TOGETHER + v * LANES, paired(first[v], second[v]));
#else
    store(weights + j * TOGETHER + v * LANES, first[v]);
    store(weights + (j + 1) * TOGETHER + v * LANES, second[v]);
#endif
  }
}

// total[n] = sum over c of keys[c][n] * queries[c], for TOGETHER queries; both by channels.
static inline void score(const Pair* keys, const Pair* queries, Vector (&total)[KEYS][2]) {
#pragma GCC unroll 8
  for (int n = 0; n < KEYS; n++) total[n][0] = total[n][1] = all(0.f);
  add_product<BF16>(
      total, (C + PAIR - 1) / PAIR, [&](int c) { return keys + c * WINDOW_STRIDE; }, 1,
      [&](int c) { return queries + c * WINDOW_STRIDE; }, LANES);
}

template <int OUT>
static inline void gather_tile(const Pair* values, const Pair* weights, const Vector (&scale)[2], float* out) {
  Vector total[OUT][2];
#pragma GCC unroll 12
  for (int o = 0; o < OUT; o++) total[o][0] = total[o][1] = all(0.f);
  add_product<BF16>(
      total, ALONG, [&](int j) { return values + j; }, KEPT, [&](int j) { return weights + j * TOGETHER; }, LANES);
#pragma GCC unroll 12
  for (int o = 0; o < OUT; o++) {
    store(out + o * WINDOW_STRIDE, total[o][0] * scale[0]);
    store(out + o * WINDOW_STRIDE + LANES, total[o][1] * scale[1]);
  }
}
// out[c] = scale * (sum over keys j of values[c][j] * weights[j]) for TOGETHER queries; values by tokens.
static void gather(const Pair* values, const Pair* weights, const Vector (&scale)[2], float* out) {
  constexpr int MOST = LANES == 16 ? 12 : 6;
  int c = 0;
  for (; c + MOST <= C; c += MOST) gather_tile<MOST>(values + c * KEPT, weights, scale, out + c * WINDOW_STRIDE);
  for (; c + 4 <= C; c += 4) gather_tile<4>(values + c * KEPT, weights, scale, out + c * WINDOW_STRIDE);
  for (; c < C; c++) gather_tile<1>(values + c * KEPT, weights, scale, out + c * WINDOW_STRIDE);
}

template <int OUT>
static void correlate_tokens(const Pair* g, const Pair* in, float* to) {
  constexpr int IN = LANES == 16 ? 4 : 2, STEPS = ALONG / LANES;
  for (int j = 0; j < WINDOW_TOKENS; j += 4, in += 4 * KEPT) {
    Vector total[OUT][4];
    for (int part = 0; part < 4; part += IN) {
#pragma GCC unroll 6
      for (int o = 0; o < OUT; o++)
        for (int k = 0; k < IN; k++) total[o][part + k] = all(0.f);
      for (int i = 0; i < STEPS; i++) {
        Vector x[IN];
#pragma GCC unroll 4
        for (int k = 0; k < IN; k++) x[k] = load(in + (part + k) * KEPT + LANES * i);
#pragma GCC unroll 6
        for (int o = 0; o < OUT; o++) {
          Vector q = load(g + o * KEPT + LANES * i);
#pragma GCC unroll 4
          for (int k = 0; k < IN; k++) total[o][part + k] = dot<BF16>(q, x[k], total[o][part + k]);
        }
      }
    }
    for (int o = 0; o < OUT; o++)
      _mm_storeu_ps(to + o * WINDOW_STRIDE + j, sums(total[o][0], total[o][1], total[o][2], total[o][3]));
  }
}
// to[c][j] = sum over tokens i of g[c][i] * square[j][i]; all by tokens.
static void against(const Pair* g, const Pair* square, float* to) {
  int c = 0;
  for (; c + 6 <= C; c += 6) correlate_tokens<6>(g + c * KEPT, square, to + c * WINDOW_STRIDE);
  for (; c < C; c++) correlate_tokens<1>(g + c * KEPT, square, to + c * WINDOW_STRIDE);
}
#endif
