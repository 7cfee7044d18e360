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
static inline bool any_above(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline Vector where_above(Vector a, Vector b, Vector yes, Vector no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
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
static inline bool any_above(Vector a, Vector b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
static inline Vector where_above(Vector a, Vector b, Vector yes, Vector no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
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

#ifdef __AVX512F__
// Functions of a number's size by pieces: a register holds a coefficient for each of 16 pieces of [0, end], highest power
// first. A few look-ups are faster than one polynomial for all pieces. Coefficients are least-squares fits, weighted until
// no error of a piece stood out.
struct Piece {
  Vector shifted, r;  // which one, in the lowest bits, and how far from its middle, in its lengths
  Piece(Vector x, float end) {
    const Vector magic = all(12582912.f), pieces = all(15.49f / end);
    Vector t = smaller(_mm512_abs_ps(x), all(end));
    shifted = fma(t, pieces, magic);
    r = _mm512_fmsub_ps(t, pieces, shifted - magic);
  }
  template <int POWERS>
  Vector of(const float (&coefficients)[POWERS][16]) const {
    auto at = [&](int power) {
      return _mm512_permutexvar_ps(_mm512_castps_si512(shifted), _mm512_load_ps(coefficients[power]));
    };
    Vector p = at(0);
    for (int power = 1; power < POWERS; power++) p = fma(p, r, at(power));
    return p;
  }
};

// GELU is the larger of 0 and x, plus a bump that depends on the size of x alone.
constexpr float GELU_END = 5.3f, ROUGH_GELU_END = 4.5f;
alignas(64) static constexpr float BUMP[5][16] = {
    {-0.000894644181f, -0.000681865029f, -0.000170435145f, 0.000300369225f, 0.000496170192f, 0.000415957882f,
     0.000214927917f, 4.3420474e-05f, -4.03178237e-05f, -5.43515889e-05f, -3.86307329e-05f, -2.02858064e-05f,
     -8.56091174e-06f, -3.00804368e-06f, -8.96637118e-07f, -2.29316299e-07f},
    {-9.80185087e-06f, -0.00331113092f, -0.00505881384f, -0.00473415107f, -0.00303648855f, -0.00114259962f,
     0.00012977382f, 0.000621085346f, 0.000598419399f, 0.000392870279f, 0.000202801297f, 8.65056791e-05f,
     3.12230004e-05f, 9.6645872e-06f, 2.58719956e-06f, 6.02404555e-07f},
    {0.0467065237f, 0.0414701775f, 0.0283023305f, 0.0130499415f, 0.00116173422f, -0.0050089187f, -0.00628696615f,
     -0.004956163f, -0.00302785845f, -0.00152493699f, -0.000650514441f, -0.000238463937f, -7.57741218e-05f,
     -2.09899554e-05f, -5.08857602e-06f, -1.08269387e-06f},
    {-0.17107825f, -0.0812215954f, -0.010566853f, 0.0306104347f, 0.0439528637f, 0.0391451865f, 0.0272110663f,
     0.0157272406f, 0.00776017876f, 0.00331330951f, 0.00123368902f, 0.000402556761f, 0.000115490053f,
     2.91978577e-05f, 6.51579739e-06f, 1.28509203e-06f},
    {1.45989654e-09f, -0.125269085f, -0.168949187f, -0.156367481f, -0.117097199f, -0.0745229349f, -0.0411394797f,
     -0.0198985822f, -0.00847934373f, -0.00319355517f, -0.00106517435f, -0.000315033452f, -8.26899923e-05f,
     -1.9273657e-05f, -3.99088685e-06f, -7.3434154e-07f}};
alignas(64) static constexpr float ROUGH_BUMP[4][16] = {
    {-0.000470883242f, -0.00176555093f, -0.00291203475f, -0.0031335426f, -0.00254766364f, -0.0015594312f,
     -0.000604283181f, 4.99032103e-05f, 0.000351654453f, 0.000393905997f, 0.00030870334f, 0.000196616049f,
     0.00010705008f, 5.10221907e-05f, 2.15721502e-05f, 8.1578346e-06f},
    {0.0338158496f, 0.0308192223f, 0.0235957187f, 0.0142983515f, 0.00562202418f, -0.000579325482f,
     -0.00377412746f, -0.00451725302f, -0.00383634446f, -0.00267116772f, -0.0016007541f, -0.000844418828f,
     -0.000396993622f, -0.000167610677f, -6.38696074e-05f, -2.20437723e-05f},
    {-0.145269632f, -0.0797765702f, -0.0246429034f, 0.0133886877f, 0.0329399705f, 0.0373618081f, 0.032409478f,
     0.0237089507f, 0.0151675306f, 0.00863460358f, 0.00441663479f, 0.00204185047f, 0.000856476196f,
     0.000326827954f, 0.000113674418f, 3.60876547e-05f},
    {2.28241177e-07f, -0.112050489f, -0.163040683f, -0.167100996f, -0.142478958f, -0.106291451f, -0.0708771721f,
     -0.0427007675f, -0.0233819336f, -0.0116785858f, -0.00533261197f, -0.00222930033f, -0.000854099053f,
     -0.000300095388f, -9.67465021e-05f, -2.86279737e-05f}};

// Error: below 5e-7; where a product follows that takes bfloat16, below 2e-5.
template <bool HALF>
static inline Vector gelu(Vector x) {
  Vector bump;
  if constexpr (HALF)
    bump = Piece(x, ROUGH_GELU_END).of(ROUGH_BUMP);
  else
    bump = Piece(x, GELU_END).of(BUMP);
  return larger(all(0.f), x) + bump;  // `larger` gives its second argument where one is no number
}
#else
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
#endif

}  // namespace PATH_NAME
