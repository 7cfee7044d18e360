// Planes, and what is computed on them, in single precision.
//
// A map of K channels is K planes, one after another, each PATCH x PATCH numbers and a gap that keeps
// planes from falling on the same lines of the cache. Everything here is a loop over planes, a vector
// of pixels at a time, so that a picture of 48 x 48 stays in the cache from one layer to the next. That,
// and sums that stay in registers, is all there is to it.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <initializer_list>

#include "vector.h"

// CHANNELS, SCALE, PATCH and GROUPS ("{4,4,6,6}") are given on the compiler's command line.
constexpr int C = CHANNELS;
constexpr int SIDE = PATCH, PIXELS = SIDE * SIDE;
constexpr int STRIDE = PIXELS + 16;  // from plane to plane
constexpr int RUN = SIDE % (3 * LANES) == 0 && MOST_COLUMNS > 2 ? 3 : SIDE % (2 * LANES) == 0 ? 2 : 1;  // vectors held at once
constexpr int RUNS = SIDE / (LANES * RUN);                        // such runs in a row
constexpr int PAD = 16, ROW = SIDE + 2 * PAD, PADDED = ROW * (SIDE + 4) + 16;  // with a border of zeros
static_assert(SIDE % 16 == 0, "PATCH must be a multiple of 16");

// Where a matrix product reads: row k of its right-hand side begins at base + offset[k]; it has `rows`
// rows of `runs` runs each, `step` numbers apart.
struct Source {
  const float* base;
  const int* offset;
  int rows, runs, step;
};

#ifndef TILES
#define TILES 0
#endif
#if TILES
#include "tiles.h"
#else
struct Tiles {
  ~Tiles() {}
};
#endif

constexpr int NEAR = 128;                // pixels of all planes that stay in the nearest cache from one product to the next
constexpr int HIGH = 3 * SCALE * SCALE;  // planes before the pixel shuffle
constexpr int WIDEST = std::max({2 * C, HIGH, 16});  // most planes of a layer

template <int OUT, int V>
static void multiply_tile(const float* left, int apart, int K, Source in, float* out, int stride, const float* bias,
                          const float* added) {
  for (int y = 0; y < in.rows; y++)
    for (int run = 0; run < in.runs; run++) {
      Vector total[OUT][V];
      const size_t place = (size_t)(y * in.runs + run) * LANES * V;
      float* o = out + place;
      for (int i = 0; i < OUT; i++)
        for (int j = 0; j < V; j++) {
          Vector b = all(bias ? bias[i] : 0.f);
          total[i][j] = added ? load(added + place + (size_t)i * stride + LANES * j) + b : b;
        }
      const float* from = in.base + y * in.step + run * LANES * V;
      add_product<false>(
          total, K, [&](int k) { return left + k * apart; }, 1, [&](int k) { return from + in.offset[k]; }, LANES);
      for (int i = 0; i < OUT; i++)
        for (int j = 0; j < V; j++) store(o + (size_t)i * stride + LANES * j, total[i][j]);
    }
}

// out[o] = added[o] + bias[o] + sum over k of w[o * to + k * tk] * in[k], where `added` and `bias` may be null; K up to
// 9 * 64. A few rows of all planes at once: what was read for the first outputs is still in the nearest cache for the
// others.
template <int V>
static void multiply(const float* w, int to, int tk, int O, int K, Source in, float* out, int stride,
                     const float* bias, const float* added) {
  alignas(64) static thread_local float packed[9 * C * WIDEST];
  int tile = 1;
  for (int size : {9, 8, 6, 5, 4, 3, 2})
    if (tile == 1 && size <= MOST_ROWS && O % size == 0) tile = size;
  const bool as_it_lies = to == 1;  // factors that are read together lie together: there is nothing to pack
  const int apart = as_it_lies ? tk : tile;
  float* at = packed;
  for (int o = 0; !as_it_lies && o < O; o += tile)
    for (int k = 0; k < K; k++)
      for (int i = 0; i < tile; i++) *at++ = w[(o + i) * to + k * tk];
  const int some = NEAR / (in.runs * LANES * V) > 0 ? NEAR / (in.runs * LANES * V) : 1;
  for (int y = 0; y < in.rows; y += some) {
    Source here = {in.base + y * in.step, in.offset, in.rows - y < some ? in.rows - y : some, in.runs, in.step};
    for (int o = 0; o < O; o += tile) {
      const float *left = as_it_lies ? w + o : packed + (size_t)o * K, *b = bias ? bias + o : nullptr;
      const size_t place = (size_t)o * stride + y * in.runs * LANES * V;
      float* to = out + place;
      const float* more = added ? added + place : nullptr;
      switch (tile) {
        case 9: multiply_tile<9, V>(left, apart, K, here, to, stride, b, more); break;
        case 8: multiply_tile<8, V>(left, apart, K, here, to, stride, b, more); break;
        case 6: multiply_tile<6, V>(left, apart, K, here, to, stride, b, more); break;
        case 5: multiply_tile<5, V>(left, apart, K, here, to, stride, b, more); break;
        case 4: multiply_tile<4, V>(left, apart, K, here, to, stride, b, more); break;
        case 3: multiply_tile<3, V>(left, apart, K, here, to, stride, b, more); break;
        case 2: multiply_tile<2, V>(left, apart, K, here, to, stride, b, more); break;
        default: multiply_tile<1, V>(left, apart, K, here, to, stride, b, more);
      }
    }
  }
}

template <int OUT, int IN>
static void correlate_tile(const float* g, int stride, Source in, float* to, int K) {
  Vector total[OUT][IN];
  for (int i = 0; i < OUT; i++)
    for (int k = 0; k < IN; k++) total[i][k] = all(0.f);
  for (int y = 0; y < in.rows; y++)
    for (int j = 0; j < in.runs; j++) {
      Vector x[IN];
#pragma GCC unroll 4
      for (int k = 0; k < IN; k++) x[k] = load(in.base + y * in.step + LANES * j + in.offset[k]);
#pragma GCC unroll 6
      for (int i = 0; i < OUT; i++) {
        Vector q = load(g + (size_t)i * stride + (y * in.runs + j) * LANES);
#pragma GCC unroll 4
        for (int k = 0; k < IN; k++) total[i][k] = fma(q, x[k], total[i][k]);
      }
    }
  for (int i = 0; i < OUT; i++) {
    if constexpr (IN == 4) {
      __m128 four = sums(total[i][0], total[i][1], total[i][2], total[i][3]);
      _mm_storeu_ps(to + i * K, _mm_loadu_ps(to + i * K) + four);
    } else {
      for (int k = 0; k < IN; k++) to[i * K + k] += sum(total[i][k]);
    }
  }
}

template <int OUT>
static void correlate_rows(const float* g, int stride, Source in, float* to, int K) {
  int tile = 1;
  for (int size : {4, 3, 2})
    if (tile == 1 && size <= MOST_COLUMNS && K % size == 0) tile = size;
  for (int k = 0; k < K; k += tile, in.offset += tile) switch (tile) {
      case 4: correlate_tile<OUT, 4>(g, stride, in, to + k, K); break;
      case 3: correlate_tile<OUT, 3>(g, stride, in, to + k, K); break;
      case 2: correlate_tile<OUT, 2>(g, stride, in, to + k, K); break;
      default: correlate_tile<OUT, 1>(g, stride, in, to + k, K);
    }
}

// to[o][k] += sum over pixels of g[o] * in[k]: the gradient of a matrix. Runs of `in` are of one vector.
static void correlate(const float* g, int stride, int O, Source in, int K, float* to) {
  int tile = O % 6 == 0 ? 6 : O % 5 == 0 ? 5 : O % 4 == 0 ? 4 : O % 2 == 0 ? 2 : 1;
  for (int o = 0; o < O; o += tile, g += (size_t)tile * stride, to += tile * K) switch (tile) {
      case 6: correlate_rows<6>(g, stride, in, to, K); break;
      case 5: correlate_rows<5>(g, stride, in, to, K); break;
      case 4: correlate_rows<4>(g, stride, in, to, K); break;
      case 2: correlate_rows<2>(g, stride, in, to, K); break;
      default: correlate_rows<1>(g, stride, in, to, K);
    }
}

static float plane_sum(const float* g) {
  Vector s = all(0.f);
  for (int p = 0; p < PIXELS; p += LANES) s += load(g + p);
  return sum(s);
}

static void add_planes(float* a, const float* b, int K) {
  for (int c = 0; c < K; c++, a += STRIDE, b += STRIDE)
    for (int p = 0; p < PIXELS; p += LANES) store(a + p, load(a + p) + load(b + p));
}

static void copy_planes(float* a, const float* b, int K) { memcpy(a, b, (size_t)K * STRIDE * 4); }

// Into planes with a border of zeros, which nobody ever writes.
static void pad(const float* in, int K, float* padded) {
  for (int k = 0; k < K; k++)
    for (int y = 0; y < SIDE; y++)
      memcpy(padded + (size_t)k * PADDED + (y + 2) * ROW + PAD, in + (size_t)k * STRIDE + y * SIDE, SIDE * 4);
}

// Memory that is asked for once, in large pages, zero at first.
static float* claim(size_t numbers) {
  constexpr size_t PAGE = 2 << 20;
  size_t size = (numbers * 4 + PAGE - 1) / PAGE * PAGE;
  void* memory = aligned_alloc(PAGE, size);
  if (!memory) throw std::bad_alloc();
  madvise(memory, size, MADV_HUGEPAGE);  // a wish: where it is not granted, everything is only slower
  return (float*)memset(memory, 0, numbers * 4);
}
