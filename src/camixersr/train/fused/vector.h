// Vectors and innermost loops as the native core has them (native/vector.h and native/kernels.h), and what training needs
// beside: sums over lanes, comparisons, the normal law.
#pragma once
#define PATH_NAME fused
#include "../../native/kernels.h"
using namespace fused;

#ifdef __AVX512F__
constexpr int MOST_ROWS = 9, MOST_COLUMNS = 4;  // of sums that the registers hold at once, in vectors
typedef __mmask16 Mask;

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
// Numbers from `at` on, which begins a line of the cache, and those D before and behind; beyond an edge are zeros.
template <int D>
static inline void neighbours(const float* at, bool first, bool last, Vector* x) {
  const __m512i none = _mm512_setzero_si512(), here = _mm512_load_si512(at);
  const __m512i left = first ? none : _mm512_load_si512(at - LANES), right = last ? none : _mm512_load_si512(at + LANES);
  x[0] = _mm512_castsi512_ps(_mm512_alignr_epi32(here, left, LANES - D));
  x[1] = _mm512_castsi512_ps(here);
  x[2] = _mm512_castsi512_ps(_mm512_alignr_epi32(right, here, D));
}
static inline Vector size(Vector x) { return _mm512_abs_ps(x); }
static inline Vector where(Mask m, Vector yes, Vector no) { return _mm512_mask_blend_ps(m, no, yes); }
static inline Mask both(Mask a, Mask b) { return a & b; }
static inline Mask below(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline Mask at_most(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
#else
constexpr int MOST_ROWS = 6, MOST_COLUMNS = 2;
typedef __m256 Mask;

static inline __m128 sums(Vector a, Vector b, Vector c, Vector d) {
  Vector lanes = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm256_castps256_ps128(lanes) + _mm256_extractf128_ps(lanes, 1);
}
static inline float sum(Vector x) {
  __m128 four = _mm256_castps256_ps128(x) + _mm256_extractf128_ps(x, 1);
  __m128 two = four + _mm_movehl_ps(four, four);
  return _mm_cvtss_f32(two + _mm_movehdup_ps(two));
}
alignas(32) static const int SOME[3 * LANES] = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
static inline Vector masked(const float* p, int at) {
  return _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i*)(SOME + at)));
}
template <int D>
static inline void neighbours(const float* at, bool first, bool last, Vector* x) {
  x[0] = first ? masked(at - D, LANES - D) : load(at - D);
  x[1] = load(at);
  x[2] = last ? masked(at + D, LANES + D) : load(at + D);
}
static inline Vector size(Vector x) { return _mm256_andnot_ps(all(-0.f), x); }
static inline Vector where(Mask m, Vector yes, Vector no) { return _mm256_blendv_ps(no, yes, m); }
static inline Mask both(Mask a, Mask b) { return _mm256_and_ps(a, b); }
static inline Mask below(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline Mask at_most(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
#endif

// Distribution and density of the normal law, of which GELU and its derivative are made:
// Abramowitz and Stegun 7.1.26, error below 1.5e-7.
static inline void normal_law(Vector x, Vector& distribution, Vector& density) {
  Vector bell = power_of_two<false>(all(-.5f * LOG2_E) * x * x);
  Vector t = all(1.f) / fma(all(0.3275911f * 0.70710678f), size(x), all(1.f));
  Vector y = all(1.061405429f);
  for (float a : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f}) y = fma(y, t, all(a));
  Vector tail = all(.5f) * y * t * bell;
  distribution = where(below(x, all(0.f)), tail, all(1.f) - tail);
  density = bell * all(0.3989422804f);
}
