// Attention of a window over its warped keys: scores with queries in lanes, so that a softmax is sums of vectors.
#pragma once
#include "maps.h"

namespace PATH_NAME {

constexpr float MAX_OFFSET = 8.f;

// What a window's attention needs beside the maps; each thread has one.
template <bool HALF>
struct AttentionScratch {
  static constexpr int VALUES = HALF ? BLOCK / 2 : BLOCK;  // keys of a row, or pairs of them
  static constexpr int TOGETHER = 2 * LANES;               // queries at once
  Numbers warped, keys_in;  // 16 pixels x beside; 16 operands of the stream at the warped positions
  Numbers q32, q, k;        // 16 blocks; 16 operands, twice
  Numbers v, scores;        // 16 rows x V (and some zeros) x VALUES; 256 keys (or 128 pairs) x TOGETHER
  Numbers result;           // 16 blocks of V

  explicit AttentionScratch(const CamixerShape& s)
      : warped(zeros((size_t)WINDOW * up(s.channels, BLOCK))),
        keys_in(zeros((size_t)WINDOW * rows_of<HALF>(s.channels) * BLOCK)),
        q32(zeros((size_t)WINDOW * up(s.keys, TILE) * BLOCK)),
        q(zeros((size_t)WINDOW * rows_of<HALF>(s.keys) * BLOCK)),
        k(zeros((size_t)WINDOW * rows_of<HALF>(s.keys) * BLOCK)),
        v(zeros((size_t)WINDOW * up(s.values, HAS_TILES ? TILE : OUTS / 3) * VALUES)),
        scores(zeros((size_t)TOKENS * TOGETHER)),
        result(zeros((size_t)WINDOW * up(s.values, TILE) * BLOCK)) {}
};

// Positions from `corner` on, inside a map of that length: the pixel before each, and how far beyond it.
static inline void split(Vector position, int corner, int length, int* pixel, float* beyond) {
  Vector whole = floor(position), rest = position - whole, at = whole + all((float)corner);
  Vector there = smaller(larger(at, all(0.f)), all(length - 1.f));  // NaN becomes 0
  Vector outside = at - there;  // beyond the border its value holds
  rest = rest * (all(1.f) - smaller(larger(outside, all(0.f) - outside), all(1.f)));
  store_integers(pixel, there);
  store(beyond, rest);
}

// The stream at a row of a window and at where its offsets lead, added up: 16 pixels x `beside`.
template <bool HALF>
static void warp(const Block<HALF>& p, const CamixerShape& s, const Maps& maps, int y, int block, float* out) {
  const float* hidden = maps.reads.get() + maps.planar(y, TAPS + s.offsets) + TAPS * maps.wide + block * BLOCK;
  int left[BLOCK], top[BLOCK];
  float right_weight[BLOCK], bottom_weight[BLOCK];
  for (int i = 0; i < BLOCK; i += LANES) {
    Vector move[2];
    for (int axis = 0; axis < 2; axis++) move[axis] = all(p.offsets[2 * s.offsets + axis]);
    for (int h = 0; h < s.offsets; h++) {
      Vector x = leak(load(hidden + h * maps.wide + i) + all(p.offsets_bias[h]));
      for (int axis = 0; axis < 2; axis++) move[axis] = fma(all(p.offsets[axis * s.offsets + h]), x, move[axis]);
    }
    // Whole pixels and the rest apart, so that rounding is the same wherever a window lies.
    float inside[LANES];
    for (int lane = 0; lane < LANES; lane++) inside[lane] = (float)(i + lane);
    split(fma(all(MAX_OFFSET), tanh(move[0]), load(inside)), block * BLOCK, maps.W, left + i, right_weight + i);
    split(fma(all(MAX_OFFSET), tanh(move[1]), all((float)(y % WINDOW))), y / WINDOW * WINDOW, maps.H, top + i,
          bottom_weight + i);
  }
  int channels = maps.beside;
  const float* own = maps.pixels_at(y) + (size_t)block * BLOCK * channels;
  for (int i = 0; i < BLOCK; i++, own += channels, out += channels) {
    size_t at = (size_t)left[i] * channels, right = left[i] < maps.W - 1 ? channels : 0;
    const float* above = maps.pixels_at(top[i]) + at;
    const float* below = maps.pixels_at(top[i] < maps.H - 1 ? top[i] + 1 : top[i]) + at;
    float r = right_weight[i], d = bottom_weight[i];
    Vector wa = all((1.f - r) * (1.f - d)), wb = all(r * (1.f - d)), wc = all((1.f - r) * d), wd = all(r * d);
    for (int c = 0; c < channels; c += LANES) {
      Vector sum = fma(wa, load(above + c), load(own + c));
      sum = fma(wb, load(above + right + c), sum);
      sum = fma(wc, load(below + c), sum);
      store(out + c, fma(wd, load(below + right + c), sum));
    }
  }
}

// A block, as products read it.
template <bool HALF>
static void to_operand(const float* block, int channels, float* out) {
  for (int c = 0; c < channels; c += 2)
    for (int i = 0; i < BLOCK; i += LANES)
      put<HALF>(out, c, channels, i, load(block + c * BLOCK + i),
                c + 1 < channels ? load(block + (c + 1) * BLOCK + i) : all(0.f));
}

// Scores of KEYS keys for two vectors of queries; keeps the largest of each query.
template <bool HALF, int KEYS, int V>
static inline void score(const float* keys, const float* q, size_t next, int rows, float* to, size_t step,
                         Vector* most) {
  Vector total[KEYS][V];
#pragma GCC unroll 8
  for (int j = 0; j < KEYS; j++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) total[j][v] = all(0.f);
  add_product<HALF>(
      total, rows, [&](int r) { return keys + r * BLOCK; }, 1, [&](int r) { return q + r * BLOCK; }, next);
#pragma GCC unroll 8
  for (int j = 0; j < KEYS; j++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) {
      store(to + j * step + v * LANES, total[j][v]);
      most[v] = larger(most[v], total[j][v]);
    }
}

// Sums over keys of weights (in lanes) and CHANNELS channels of values.
template <bool HALF, int CHANNELS>
static inline void gather(const float* weights, size_t step, const float* v, int values, int c, const Vector* scale,
                          float* to, size_t next) {
  constexpr int KEYS = AttentionScratch<HALF>::VALUES;
  Vector total[CHANNELS][2];
#pragma GCC unroll 12
  for (int o = 0; o < CHANNELS; o++) total[o][0] = total[o][1] = all(0.f);
  v += c * KEYS;
  for (int row = 0; row < WINDOW; row++, v += up(values, OUTS / 3) * KEYS, weights += KEYS * step)
    add_product<HALF>(
        total, KEYS, [&](int j) { return v + j; }, KEYS, [&](int j) { return weights + j * step; }, LANES);
#pragma GCC unroll 12
  for (int o = 0; o < CHANNELS; o++)
    if (c + o < values) {
      store(to + (c + o) * BLOCK, total[o][0] * scale[0]);
      store(to + (c + o) * BLOCK + next, total[o][1] * scale[1]);
    }
}

// Weights of 256 keys from their scores, not yet divided by their sums; in place. TOGETHER queries at once.
template <bool HALF>
static void soften(float* scores, const Vector* most, Vector* sum) {
  constexpr int TOGETHER = AttentionScratch<HALF>::TOGETHER;
  for (int j = 0; j < TOKENS; j += 2) {
    Vector e[2][2];
    for (int n = 0; n < 2; n++)
      for (int v = 0; v < 2; v++) {
        e[n][v] = power_of_two<HALF>(load(scores + (j + n) * TOGETHER + v * LANES) - most[v]);
        sum[v] = sum[v] + e[n][v];
      }
    for (int v = 0; v < 2; v++) {
#if HAS_HALF
      if constexpr (HALF) {
        store(scores + j / 2 * TOGETHER + v * LANES, paired(e[0][v], e[1][v]));
        continue;
      }
#endif
      store(scores + j * TOGETHER + v * LANES, e[0][v]);
      store(scores + (j + 1) * TOGETHER + v * LANES, e[1][v]);
    }
  }
}

#if HAS_TILES
// The scores of two rows of queries by tiles, and sums over keys of weights and values.
static void score_by_tiles(const float* keys, const float* q, int rows, float* scores) {
  constexpr int SIZE = TILE * TILE, STRIDE = 2 * LANES * 4;
  settle(keys);
  for (int row = 0; row < WINDOW; row++, keys += (size_t)rows * BLOCK, scores += WINDOW * 2 * LANES) {
    _tile_zero(0);
    _tile_zero(1);
    for (int at = 0; at < rows * BLOCK; at += SIZE) {
      _tile_loadd(2, keys + at, 64);
      _tile_loadd(3, q + at, 64);
      _tile_dpbf16ps(0, 2, 3);
      _tile_loadd(4, q + (size_t)rows * BLOCK + at, 64);
      _tile_dpbf16ps(1, 2, 4);
    }
    _tile_stored(0, scores, STRIDE);
    _tile_stored(1, scores + LANES, STRIDE);
  }
  settle(scores);
}
static void gather_by_tiles(const float* weights, const float* v, int out, float* to) {
  constexpr int STRIDE = 2 * LANES * 4;
  settle(weights);
  for (int c = 0; c < out; c += 2 * TILE) {
    const bool two = c + TILE < out;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int j = 0; j < WINDOW / 2; j++) {  // 32 keys, 16 pairs
      const float *values = v + ((size_t)j * out + c) * BLOCK, *weight = weights + j * TILE * 2 * LANES;
      _tile_loadd(4, weight, STRIDE);
      _tile_loadd(5, weight + LANES, STRIDE);
      _tile_loadd(6, values, 64);
      _tile_dpbf16ps(0, 6, 4);
      _tile_dpbf16ps(1, 6, 5);
      if (two) {
        _tile_loadd(7, values + TILE * BLOCK, 64);
        _tile_dpbf16ps(2, 7, 4);
        _tile_dpbf16ps(3, 7, 5);
      }
    }
    float *first = to + c * BLOCK, *second = first + (size_t)out * BLOCK;
    _tile_stored(0, first, 64);
    _tile_stored(1, second, 64);
    if (two) {
      _tile_stored(2, first + TILE * BLOCK, 64);
      _tile_stored(3, second + TILE * BLOCK, 64);
    }
  }
  settle(to);
}
#endif

// Softmax of scores and their products with the values: q, k, v of the scratch -> result. Queries and keys are
// scaled so that powers of two, not of e, are what is summed.
template <bool HALF>
static void attend(const CamixerShape& s, AttentionScratch<HALF>& w) {
  constexpr int TOGETHER = AttentionScratch<HALF>::TOGETHER, KEYS = LANES == 16 ? 8 : 4;
  const int rows = rows_of<HALF>(s.keys), values = s.values, out = up(values, TILE);
  // neighbouring vectors of queries: of two rows, or the halves of one
  const size_t next = PARTS == 1 ? (size_t)rows * BLOCK : LANES, out_next = PARTS == 1 ? (size_t)out * BLOCK : LANES;
  float* scores = w.scores.get();
  for (int i = 0; i < TOKENS; i += TOGETHER) {
    const float* q = w.q.get() + (size_t)(i / BLOCK) * rows * BLOCK;
    float* to = w.result.get() + (size_t)(i / BLOCK) * out * BLOCK;
    Vector most[2] = {all(-3e38f), all(-3e38f)}, sum[2] = {all(0.f), all(0.f)};
#if HAS_TILES
    score_by_tiles(w.k.get(), q, rows, scores);
    for (int j = 0; j < TOKENS; j++)
      for (int n = 0; n < 2; n++) most[n] = larger(most[n], load(scores + j * TOGETHER + n * LANES));
    soften<HALF>(scores, most, sum);
    gather_by_tiles(scores, w.v.get(), out, to);
    const Vector scale[2] = {all(1.f) / sum[0], all(1.f) / sum[1]};
    for (int n = 0; n < 2; n++)
      for (int c = 0; c < values; c++) {
        float* at = to + n * out_next + c * BLOCK;
        store(at, load(at) * scale[n]);
      }
#else
    for (int row = 0; row < WINDOW; row++)
      for (int j = 0; j < BLOCK; j += KEYS)
        score<HALF, KEYS, 2>(w.k.get() + (size_t)row * rows * BLOCK + j, q, next, rows,
                             scores + (row * BLOCK + j) * TOGETHER, TOGETHER, most);
    soften<HALF>(scores, most, sum);
    Vector scale[2] = {all(1.f) / sum[0], all(1.f) / sum[1]};
    for (int c = 0, size; c < values; c += size) {
      size = tile_rows(values - c);
      if (size == OUTS)
        gather<HALF, OUTS>(scores, TOGETHER, w.v.get(), values, c, scale, to, out_next);
      else if (size == OUTS / 3 * 2)
        gather<HALF, OUTS / 3 * 2>(scores, TOGETHER, w.v.get(), values, c, scale, to, out_next);
      else
        gather<HALF, OUTS / 3>(scores, TOGETHER, w.v.get(), values, c, scale, to, out_next);
    }
#endif
  }
}

// Values of row y of the keys, blocked, as `gather` reads them; tiles take two rows of keys at once.
template <bool HALF>
static void to_values(const float* block, int values, int y, float* v) {
#if HAS_HALF
  if constexpr (HALF) {
    constexpr int HALF_ROW = BLOCK / 2;
    float* out = HAS_TILES ? v + (size_t)(y / 2) * up(values, TILE) * BLOCK + y % 2 * HALF_ROW
                           : v + (size_t)y * up(values, OUTS / 3) * HALF_ROW;
    for (int c = 0; c < values; c++, out += HAS_TILES ? BLOCK : HALF_ROW)
      _mm256_storeu_si256((__m256i*)out, (__m256i)_mm512_cvtneps_pbh(load(block + c * BLOCK)));
    return;
  }
#endif
  std::memcpy(v + (size_t)y * up(values, OUTS / 3) * BLOCK, block, (size_t)values * BLOCK * 4);
}

}  // namespace PATH_NAME
