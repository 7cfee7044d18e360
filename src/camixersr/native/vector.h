// Vectors of neighbouring pixels in single precision, for AVX-512 or AVX2 with FMA.
//
// Each instruction set compiles the core anew in a namespace of its own (`PATH_NAME`). Whatever is computed for a
// pixel is one sequence of operations in its lane, so that where a pixel lies, and beside whom, changes nothing.
#pragma once
#include <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace PATH_NAME {

constexpr int BLOCK = 16;  // neighbouring pixels in a row that are stored together: the side of a window

#ifdef __AVX512F__
typedef __m512 Vector;
constexpr int LANES = 16;
static inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
static inline Vector all(float x) { return _mm512_set1_ps(x); }
static inline Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
static inline Vector smaller(Vector a, Vector b) { return _mm512_min_ps(a, b); }
static inline Vector root(Vector x) { return _mm512_sqrt_ps(x); }
static inline Vector floor(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
static inline void store_integers(int* p, Vector x) { _mm512_storeu_si512(p, _mm512_cvttps_epi32(x)); }
// p times 2 to the power of the whole number n, which `shifted` holds in its lowest bits.
static inline Vector scaled(Vector p, Vector shifted) {
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
}
static inline void transpose(const float* in, size_t from, float* out, size_t to) {
  __m512 r[16], t[16];
  for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(in + i * from);
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 8; i++) {
    _mm512_storeu_ps(out + i * to, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
    _mm512_storeu_ps(out + (i + 8) * to, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
  }
}
// Numbers from `at` on, and those D before and behind; `at` begins a line of the cache. Loads across two lines would
// take twice as long.
template <int D>
static inline void neighbours(const float* at, Vector* x) {
  __m512i left = _mm512_load_si512(at - 16), here = _mm512_load_si512(at), right = _mm512_load_si512(at + 16);
  x[0] = _mm512_castsi512_ps(_mm512_alignr_epi32(here, left, 16 - D));
  x[1] = _mm512_castsi512_ps(here);
  x[2] = _mm512_castsi512_ps(_mm512_alignr_epi32(right, here, D));
}
#else
typedef __m256 Vector;
constexpr int LANES = 8;
static inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
static inline Vector all(float x) { return _mm256_set1_ps(x); }
static inline Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
static inline Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
static inline Vector root(Vector x) { return _mm256_sqrt_ps(x); }
static inline Vector floor(Vector x) { return _mm256_floor_ps(x); }
static inline void store_integers(int* p, Vector x) { _mm256_storeu_si256((__m256i*)p, _mm256_cvttps_epi32(x)); }
static inline Vector scaled(Vector p, Vector shifted) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
}
template <int D>
static inline void neighbours(const float* at, Vector* x) {
  x[0] = load(at - D), x[1] = load(at), x[2] = load(at + D);
}
static inline void transpose8(const float* in, size_t from, float* out, size_t to) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(in + i * from);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps(out + i * to, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * to, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}
// Sixteen rows of sixteen numbers, `from` apart, become sixteen columns, `to` apart.
static inline void transpose(const float* in, size_t from, float* out, size_t to) {
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 16; j += 8) transpose8(in + i * from + j, from, out + j * to + i, to);
}
#endif
constexpr int PARTS = BLOCK / LANES;  // vectors of a block

// 2 to the x, for x from -126 up: a polynomial on [-1/2, 1/2], error 1e-7 of the value; if bfloat16 is good enough, 1e-4.
template <bool HALF>
static inline Vector power_of_two(Vector x) {
  const Vector magic = all(12582912.f);  // rounds to whole numbers, and leaves them in the lowest bits
  x = larger(x, all(-126.f));
  Vector shifted = x + magic, r = x - (shifted - magic);
  if constexpr (HALF) {
    Vector p = fma(all(0.0559220356f), r, all(0.242640083f));
    p = fma(p, r, all(0.693121034f));
    return scaled(fma(p, r, all(0.999924481f)), shifted);
  }
  Vector p = fma(all(0.00134004322f), r, all(0.0096760371f));
  p = fma(p, r, all(0.0555032721f));
  p = fma(p, r, all(0.240221074f));
  p = fma(p, r, all(0.693147207f));
  return scaled(fma(p, r, all(1.00000008f)), shifted);
}

constexpr float LOG2_E = 1.44269504088896f;
static inline Vector sigmoid(Vector x) {
  return all(1.f) / (all(1.f) + power_of_two<false>(smaller(x * all(-LOG2_E), all(126.f))));
}
static inline Vector tanh(Vector x) { return fma(all(2.f), sigmoid(x + x), all(-1.f)); }
static inline Vector leak(Vector x) { return larger(x, x * all(0.1f)); }

// The normal law's distribution is 1/2 + x P(x^2), where x is not too large; beyond, it is 0 or 1. Error of GELU: below
// 7e-7; where a product follows that takes bfloat16, below 2e-5.
template <bool HALF>
static inline Vector gelu(Vector x) {
  constexpr float END = HALF ? 4.5f : 5.3f;
  Vector y = larger(smaller(x, all(END)), all(-END));
  Vector u = fma(y * y, all(2.f / (END * END)), all(-1.f)), p;
  if constexpr (HALF) {
    p = fma(all(0.000980692601f), u, all(-0.00234001594f));
    p = fma(p, u, all(0.0027162774f));
    p = fma(p, u, all(-0.00525154812f));
    p = fma(p, u, all(0.0114392265f));
    p = fma(p, u, all(-0.0190209406f));
    p = fma(p, u, all(0.0282839308f));
    p = fma(p, u, all(-0.0401092116f));
    p = fma(p, u, all(0.0547011907f));
    p = fma(p, u, all(-0.077193861f));
    p = fma(p, u, all(0.15690493f));
  } else {
    p = fma(all(0.000341941646f), u, all(-0.000793779166f));
    p = fma(p, u, all(0.000542599896f));
    p = fma(p, u, all(-0.00100831016f));
    p = fma(p, u, all(0.00337537363f));
    p = fma(p, u, all(-0.00594996496f));
    p = fma(p, u, all(0.00867792849f));
    p = fma(p, u, all(-0.0131307047f));
    p = fma(p, u, all(0.0189736263f));
    p = fma(p, u, all(-0.0253126771f));
    p = fma(p, u, all(0.0320723542f));
    p = fma(p, u, all(-0.0395873337f));
    p = fma(p, u, all(0.0492645611f));
    p = fma(p, u, all(-0.0665185557f));
    p = fma(p, u, all(0.133392559f));
  }
  return x * fma(y, p, all(.5f));
}

}  // namespace PATH_NAME
