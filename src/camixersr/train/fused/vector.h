// Vectors of neighbouring pixels in single precision, for AVX-512 or AVX2 with FMA: all that differs between them.
#pragma once
#include <immintrin.h>

#include <cmath>
#include <cstddef>
#include <cstdint>

#ifdef __AVX512F__
constexpr int LANES = 16;
constexpr int MOST_ROWS = 9, MOST_COLUMNS = 4;  // of sums that the registers hold at once, in vectors
typedef __m512 Vector;
typedef __m512i Whole;
typedef __mmask16 Mask;

static inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
static inline void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
static inline Vector all(float x) { return _mm512_set1_ps(x); }
static inline float sum(Vector x) { return _mm512_reduce_add_ps(x); }
// Four sums at once: a third of the work of one after another.
static inline __m128 sums(Vector a, Vector b, Vector c, Vector d) {
  Vector ab = _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
  Vector cd = _mm512_unpacklo_ps(c, d) + _mm512_unpackhi_ps(c, d);
  Vector lanes = _mm512_shuffle_ps(ab, cd, 0x44) + _mm512_shuffle_ps(ab, cd, 0xee);
  __m256d upper = _mm512_extractf64x4_pd(_mm512_castps_pd(lanes), 1);
  __m256 half = _mm512_castps512_ps256(lanes) + _mm256_castpd_ps(upper);
  return _mm256_castps256_ps128(half) + _mm256_extractf128_ps(half, 1);
}
static inline Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
static inline Vector smaller(Vector a, Vector b) { return _mm512_min_ps(a, b); }
static inline Vector root(Vector x) { return _mm512_sqrt_ps(x); }
static inline Vector size(Vector x) { return _mm512_abs_ps(x); }
static inline Vector nearest(Vector x) { return _mm512_roundscale_ps(x, 0); }
static inline Vector floor(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
static inline Vector scaled(Vector x, Vector n) { return _mm512_scalef_ps(x, n); }
static inline Vector where(Mask m, Vector yes, Vector no) { return _mm512_mask_blend_ps(m, no, yes); }
static inline Mask both(Mask a, Mask b) { return a & b; }
static inline Mask below(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline Mask at_most(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }

static inline Whole all(int x) { return _mm512_set1_epi32(x); }
static inline Whole whole(Vector x) { return _mm512_cvtps_epi32(x); }
static inline Whole plus(Whole a, Whole b) { return _mm512_add_epi32(a, b); }
static inline Whole times(Whole a, Whole b) { return _mm512_mullo_epi32(a, b); }
static inline Whole smaller(Whole a, Whole b) { return _mm512_min_epi32(a, b); }
static inline void store(int* p, Whole x) { _mm512_storeu_si512(p, x); }
static inline Vector gather(const float* plane, Whole at) { return _mm512_i32gather_ps(at, plane, 4); }
#else
constexpr int LANES = 8;
constexpr int MOST_ROWS = 6, MOST_COLUMNS = 2;
typedef __m256 Vector;
typedef __m256i Whole;
typedef __m256 Mask;

static inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
static inline void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
static inline Vector all(float x) { return _mm256_set1_ps(x); }
static inline __m128 sums(Vector a, Vector b, Vector c, Vector d) {
  Vector lanes = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm256_castps256_ps128(lanes) + _mm256_extractf128_ps(lanes, 1);
}
static inline float sum(Vector x) {
  __m128 four = _mm256_castps256_ps128(x) + _mm256_extractf128_ps(x, 1);
  __m128 two = four + _mm_movehl_ps(four, four);
  return _mm_cvtss_f32(two + _mm_movehdup_ps(two));
}
static inline Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
static inline Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
static inline Vector root(Vector x) { return _mm256_sqrt_ps(x); }
static inline Vector size(Vector x) { return _mm256_andnot_ps(all(-0.f), x); }
static inline Vector nearest(Vector x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline Vector floor(Vector x) { return _mm256_floor_ps(x); }
// x times 2 to the power of the whole number n, from -126 to 127.
static inline Vector scaled(Vector x, Vector n) {
  __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  return x * _mm256_castsi256_ps(power);
}
static inline Vector where(Mask m, Vector yes, Vector no) { return _mm256_blendv_ps(no, yes, m); }
static inline Mask both(Mask a, Mask b) { return _mm256_and_ps(a, b); }
static inline Mask below(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline Mask at_most(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }

static inline Whole all(int x) { return _mm256_set1_epi32(x); }
static inline Whole whole(Vector x) { return _mm256_cvtps_epi32(x); }
static inline Whole plus(Whole a, Whole b) { return _mm256_add_epi32(a, b); }
static inline Whole times(Whole a, Whole b) { return _mm256_mullo_epi32(a, b); }
static inline Whole smaller(Whole a, Whole b) { return _mm256_min_epi32(a, b); }
static inline void store(int* p, Whole x) { _mm256_storeu_si256((__m256i*)p, x); }
static inline Vector gather(const float* plane, Whole at) { return _mm256_i32gather_ps(plane, at, 4); }
#endif

// e to the x: the Cephes library's polynomial, error about 1e-7 of the value.
static inline Vector exponential(Vector x) {
  x = smaller(larger(x, all(-87.f)), all(87.f));
  Vector n = nearest(x * all(1.44269504088896f));
  Vector r = fma(n, all(-0.693359375f), x);
  r = fma(n, all(2.12194440e-4f), r);
  Vector p = all(1.9875691500e-4f);
  for (float a : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f})
    p = fma(p, r, all(a));
  return scaled(fma(p * r, r, r + all(1.f)), n);
}

static inline Vector sigmoid(Vector x) { return all(1.f) / (all(1.f) + exponential(all(0.f) - x)); }

// Distribution and density of the normal law, of which GELU and its derivative are made:
// Abramowitz and Stegun 7.1.26, error below 1.5e-7.
static inline void normal_law(Vector x, Vector& distribution, Vector& density) {
  Vector bell = exponential(all(-.5f) * x * x);
  Vector t = all(1.f) / fma(all(0.3275911f * 0.70710678f), size(x), all(1.f));
  Vector y = all(1.061405429f);
  for (float a : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) y = fma(y, t, all(a));
  Vector tail = all(.5f) * y * t * bell;
  distribution = where(below(x, all(0.f)), tail, all(1.f) - tail);
  density = bell * all(0.3989422804f);
}
