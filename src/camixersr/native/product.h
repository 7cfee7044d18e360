// Products of a small matrix with a map: weights are broadcast, pixels lie in lanes.
//
// Maps are stored in two ways. "Blocked": a block of 16 pixels of a row has all its channels together, 16 numbers
// each. "Planar": a row of the map has all its channels one after another, each with a margin on both sides, so that
// convolutions read beyond the edges. An "operand" is a block as a product reads it: as it is, or, where products
// take bfloat16, with channels 2k and 2k + 1 of a pixel side by side in 32 bits.
#pragma once
#include <sys/mman.h>

#include <initializer_list>
#include <memory>
#include <vector>

#include "kernels.h"

#if defined(__AMX_BF16__)
#define HAS_TILES 1
#else
#define HAS_TILES 0
#endif

namespace PATH_NAME {

constexpr int OUTS = LANES == 16 ? 12 : 6;  // rows of a tile that registers hold, times two vectors
constexpr int TILE = 16;                    // rows of a tile of AMX; its columns are 16 pixels or 16 pairs

static inline int up(int x, int to) { return (x + to - 1) / to * to; }

// Memory for numbers, at the beginning of a line of the cache.
struct Free {
  void operator()(float* p) const { std::free(p); }
};
typedef std::unique_ptr<float[], Free> Numbers;
static inline Numbers numbers(size_t count) {
  constexpr size_t LINE = 64, PAGE = 2 << 20;
  size_t bytes = count * 4 + LINE, unit = bytes < 2 * PAGE ? LINE : PAGE;
  bytes = (bytes + unit - 1) / unit * unit;
  float* p = (float*)std::aligned_alloc(unit, bytes);
  if (!p) throw std::bad_alloc();
  if (unit == PAGE) madvise(p, bytes, MADV_HUGEPAGE);  // a block's channels in a few rows are many small pages
  return Numbers(p);
}
static inline Numbers zeros(size_t count) {
  Numbers result = numbers(count);
  std::memset(result.get(), 0, count * 4);
  return result;
}

static inline uint32_t to_half(float x) {  // of finite numbers, to the nearest
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
static inline float bits_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

// Rows of 16 numbers that an operand of so many channels has.
template <bool HALF>
static inline int rows_of(int channels) {
  return !HALF ? channels : HAS_TILES ? up(channels, 2 * TILE) / 2 : (channels + 1) / 2;
}
// Channels c and c + 1 (of `channels`) of the vector `at` of an operand.
template <bool HALF>
static inline void put(float* operand, int c, int channels, int at, Vector a, Vector b) {
#if HAS_HALF
  if constexpr (HALF) return store(operand + c / 2 * BLOCK + at, paired(a, c + 1 < channels ? b : all(0.f)));
#endif
  store(operand + c * BLOCK + at, a);
  if (c + 1 < channels) store(operand + (c + 1) * BLOCK + at, b);
}

// How many rows the next tile has, where `left` are left.
static inline int tile_rows(int left) {
  return left > OUTS / 3 * 2 ? OUTS : left > OUTS / 3 ? OUTS / 3 * 2 : OUTS / 3;
}

// What was written here is in memory from now on: the compiler does not know that tiles are loaded from it.
static inline void settle(const void* memory) { __asm__ volatile("" : : "r"(memory) : "memory"); }

// Where a product reads its row k: of a block, or from a table (of a convolution).
struct Stacked {
  size_t operator()(int k) const { return (size_t)k * BLOCK; }
};
struct Table {
  const int* offset;
  size_t operator()(int k) const { return (size_t)offset[k]; }
};

// What is done to the result before it is stored: nothing, or it is multiplied by a number for each pixel.
struct Plain {
  Plain from(int) const { return {}; }
  Vector operator()(Vector x, int) const { return x; }
};
struct Gated {
  const float* gate;  // of a block's pixels, then of the next one's
  Gated from(int block) const { return {gate + block * BLOCK}; }
  Vector operator()(Vector x, int v) const { return x * load(gate + v * LANES); }
};

template <bool HALF, int OUT, int V, class Source, class Ending>
static inline void multiply(const float* w, int K, const Source& source, const float* in, size_t next,
                            const float* bias, float* out, size_t row, size_t out_next, int real, Ending ending) {
  Vector total[OUT][V];
#pragma GCC unroll 12
  for (int o = 0; o < OUT; o++)
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) total[o][v] = all(bias[o]);
  add_product<HALF>(
      total, K, [&](int k) { return w + k * OUT; }, 1, [&](int k) { return in + source(k); }, next);
#pragma GCC unroll 12
  for (int o = 0; o < OUT; o++)
    if (o < real)
#pragma GCC unroll 2
      for (int v = 0; v < V; v++) store(out + o * row + v * out_next, ending(total[o][v], v));
}

// A matrix, outs x ins, and a bias.
template <bool HALF>
class Matrix {
 public:
  int outs = 0, ins = 0;

  // weight: outs x ins; bias: outs, or null.
  Matrix() = default;
  Matrix(int outs, int ins, const float* weight, const float* bias) : outs(outs), ins(ins) {
    auto at = [&](int o, int i) { return o < outs && i < ins ? weight[(size_t)o * ins + i] : 0.f; };
    if (HALF && HAS_TILES) {
      depth = up(ins, 2 * TILE) / (2 * TILE);
      int count = up(outs, TILE) / TILE;
      packed = zeros((size_t)count * depth * TILE * TILE), shift = zeros((size_t)count * TILE * BLOCK);
      float* to = packed.get();
      for (int o = 0; o < count * TILE; o += TILE)
        for (int i = 0; i < depth * 2 * TILE; i += 2 * TILE)
          for (int r = 0; r < TILE; r++)
            for (int k = 0; k < TILE; k++)
              *to++ = bits_of(to_half(at(o + r, i + 2 * k)) | to_half(at(o + r, i + 2 * k + 1)) << 16);
      for (int o = 0; bias && o < outs; o++)
        for (int i = 0; i < BLOCK; i++) shift[o * BLOCK + i] = bias[o];
      return;
    }
    depth = HALF ? (ins + 1) / 2 : ins;
    packed = zeros((size_t)(outs + OUTS) * depth), shift = zeros(outs + OUTS);
    float* to = packed.get();
    for (int o = 0, rows; o < outs; o += rows) {
      rows = tile_rows(outs - o);
      for (int k = 0; k < depth; k++)
        for (int r = 0; r < rows; r++)
          *to++ = HALF ? bits_of(to_half(at(o + r, 2 * k)) | to_half(at(o + r, 2 * k + 1)) << 16) : at(o + r, k);
    }
    for (int o = 0; bias && o < outs; o++) shift[o] = bias[o];
  }

  // The product with `blocks` operands, `in_block` numbers apart. Output o of pixel i of block n goes to
  // out[o * row + n * out_block + i]; with tiles of AMX, up to a multiple of 16 outputs are written.
  void operator()(const float* in, size_t in_block, int blocks, float* out, size_t row, size_t out_block) const {
    multiply_by(Stacked(), in, in_block, blocks, out, row, out_block, Plain());
  }
  // The same, multiplied by a number for each pixel.
  void operator()(const float* in, size_t in_block, int blocks, float* out, size_t row, size_t out_block,
                  Gated gated) const {
    if constexpr (HALF && HAS_TILES) {
      (*this)(in, in_block, blocks, out, row, out_block);
      for (int o = 0; o < outs; o++)
        for (int n = 0; n < blocks; n++) {
          float* at = out + o * row + n * out_block;
          for (int i = 0; i < BLOCK; i += LANES) store(at + i, gated.from(n)(load(at + i), i / LANES));
        }
    } else {
      multiply_by(Stacked(), in, in_block, blocks, out, row, out_block, gated);
    }
  }
  // A convolution of planar rows: row k of the operand of block n begins at in + offset[k] + n * BLOCK.
  void operator()(Table table, const float* in, int blocks, float* out, size_t row, size_t out_block) const {
    static_assert(!HALF, "convolutions are computed in single precision");
    multiply_by(table, in, BLOCK, blocks, out, row, out_block, Plain());
  }

 private:
  int depth = 0;  // rows, or pairs, or tiles that are summed over
  Numbers packed, shift;

  template <class Source, class Ending>
  void multiply_by(const Source& source, const float* in, size_t in_block, int blocks, float* out, size_t row,
                   size_t out_block, Ending ending) const {
#if HAS_TILES
    if constexpr (HALF) return by_tiles(in, in_block, blocks, out, row, out_block);
#endif
    const float* w = packed.get();
    for (int o = 0, rows; o < outs; w += (size_t)rows * depth, o += rows) {
      rows = tile_rows(outs - o);
      float* to = out + o * row;
      if (rows == OUTS)
        all_blocks<OUTS>(w, source, in, in_block, blocks, to, row, out_block, o, ending);
      else if (rows == OUTS / 3 * 2)
        all_blocks<OUTS / 3 * 2>(w, source, in, in_block, blocks, to, row, out_block, o, ending);
      else
        all_blocks<OUTS / 3>(w, source, in, in_block, blocks, to, row, out_block, o, ending);
    }
  }

  template <int ROWS, class Source, class Ending>
  void all_blocks(const float* w, const Source& source, const float* in, size_t in_block, int blocks, float* out,
                  size_t row, size_t out_block, int o, Ending ending) const {
    const float* bias = shift.get() + o;
    int n = 0;
    if constexpr (PARTS == 1)
      for (; n + 2 <= blocks; n += 2)
        multiply<HALF, ROWS, 2>(w, depth, source, in + n * in_block, in_block, bias, out + n * out_block, row,
                                out_block, outs - o, ending.from(n));
    for (; n < blocks; n++)
      multiply<HALF, ROWS, PARTS>(w, depth, source, in + n * in_block, LANES, bias, out + n * out_block, row, LANES,
                                  outs - o, ending.from(n));
  }

#if HAS_TILES
  void by_tiles(const float* in, size_t in_block, int blocks, float* out, size_t row, size_t out_block) const {
    size_t stride = row * 4;
    settle(in);
    for (int o = 0; o < outs; o += 3 * TILE) {
      int left = (outs - o + TILE - 1) / TILE;
      const float* w = packed.get() + (size_t)o * depth * TILE;
      const float* bias = shift.get() + (size_t)o * BLOCK;
      float* to = out + o * row;
      for (int n = 0; n < blocks; n += 2) {
        bool two = n + 1 < blocks;
        tiles(w, bias, left, in + n * in_block, two ? in + (n + 1) * in_block : nullptr, to + n * out_block,
              to + (n + 1) * out_block, stride);
      }
    }
    settle(out);
  }
  void tiles(const float* w, const float* bias, int left, const float* in0, const float* in1, float* out0, float* out1,
             size_t stride) const {
    constexpr int SIZE = TILE * TILE;
    _tile_loadd(0, bias, 64);
    if (left > 1) _tile_loadd(1, bias + SIZE, 64);
    if (left > 2) _tile_loadd(2, bias + 2 * SIZE, 64);
    if (in1) {
      _tile_loadd(3, bias, 64);
      if (left > 1) _tile_loadd(4, bias + SIZE, 64);
      if (left > 2) _tile_loadd(5, bias + 2 * SIZE, 64);
    }
    for (int k = 0; k < depth; k++, w += SIZE) {
      _tile_loadd(6, in0 + k * SIZE, 64);
      _tile_loadd(7, w, 64);
      _tile_dpbf16ps(0, 7, 6);
      if (in1) {
        // the second block's operand takes the place of the first's, tile by tile of the weights
        if (left > 1) {
          _tile_loadd(7, w + (size_t)depth * SIZE, 64);
          _tile_dpbf16ps(1, 7, 6);
        }
        if (left > 2) {
          _tile_loadd(7, w + (size_t)2 * depth * SIZE, 64);
          _tile_dpbf16ps(2, 7, 6);
        }
        _tile_loadd(6, in1 + k * SIZE, 64);
        if (left > 2) _tile_dpbf16ps(5, 7, 6);
        if (left > 1) {
          _tile_loadd(7, w + (size_t)depth * SIZE, 64);
          _tile_dpbf16ps(4, 7, 6);
        }
        _tile_loadd(7, w, 64);
        _tile_dpbf16ps(3, 7, 6);
      } else {
        if (left > 1) {
          _tile_loadd(7, w + (size_t)depth * SIZE, 64);
          _tile_dpbf16ps(1, 7, 6);
        }
        if (left > 2) {
          _tile_loadd(7, w + (size_t)2 * depth * SIZE, 64);
          _tile_dpbf16ps(2, 7, 6);
        }
      }
    }
    _tile_stored(0, out0, stride);
    if (left > 1) _tile_stored(1, out0 + TILE * (stride / 4), stride);
    if (left > 2) _tile_stored(2, out0 + 2 * TILE * (stride / 4), stride);
    if (in1) {
      _tile_stored(3, out1, stride);
      if (left > 1) _tile_stored(4, out1 + TILE * (stride / 4), stride);
      if (left > 2) _tile_stored(5, out1 + 2 * TILE * (stride / 4), stride);
    }
  }
#endif
};

}  // namespace PATH_NAME
