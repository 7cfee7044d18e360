// What follows both branches: convolutions, norms and the feed-forward of some rows, and the next block's predictor.
//
// The map is cut into columns, `Column`, which go down it row by row as far as both branches are known. What convolutions
// need of neighbouring rows stays in rings of a few rows, planar; beside the column it is computed twice, here and by the
// neighbour, to the same bytes.
#pragma once
#include "maps.h"

namespace PATH_NAME {

constexpr int ROWS = 4;       // rows that a depthwise convolution computes at once
constexpr int RING = 8;       // rows that a ring holds: ROWS and two on both sides
constexpr int MOST_BLOCKS = 16, LEAST_BLOCKS = 4;  // of a column
constexpr int CHUNK = 4;  // blocks that pass from a convolution to a product at once

struct Column {
  int left, right;  // blocks
};

// As many columns as `threads` have equal work with.
static std::vector<Column> columns_of(const Maps& maps, int threads) {
  int count = (maps.across + MOST_BLOCKS - 1) / MOST_BLOCKS;
  count = (count + threads - 1) / threads * threads;
  int most = maps.across < LEAST_BLOCKS ? 1 : maps.across / LEAST_BLOCKS;
  if (count > most) count = most;
  std::vector<Column> columns;
  for (int i = 0; i < count; i++) columns.push_back({maps.across * i / count, maps.across * (i + 1) / count});
  return columns;
}

// A depthwise 3 x 3 convolution of a channel of planar rows: G rows of `length` numbers from G + 2 * D rows; taps lie D
// apart.
template <int G, int D>
static void depthwise(const float* const* in, int length, const float* w, float bias, float* out, size_t row) {
  Vector weight[TAPS];
  for (int tap = 0; tap < TAPS; tap++) weight[tap] = all(w[tap]);
  const float* from[G + 2 * D];
  for (int r = 0; r < G + 2 * D; r++) from[r] = in[r];
  for (int i = 0; i < length; i += LANES) {
    Vector total[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) total[g] = all(bias);
#pragma GCC unroll 16
    for (int r = 0; r < G + 2 * D; r++) {
      Vector x[3] = {load(from[r] + i - D), load(from[r] + i), load(from[r] + i + D)};
#pragma GCC unroll 3
      for (int dy = 0; dy < 3; dy++) {
        int g = r - dy * D;
        if (g < 0 || g >= G) continue;
#pragma GCC unroll 3
        for (int dx = 0; dx < 3; dx++) total[g] = fma(weight[dy * 3 + dx], x[dx], total[g]);
      }
    }
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) store(out + g * row + i, total[g]);
  }
}
// The same for up to ROWS rows.
template <int D>
static void depthwise(int rows, const float* const* in, int length, const float* w, float bias, float* out, size_t row) {
  if (rows == ROWS) return depthwise<ROWS, D>(in, length, w, bias, out, row);
  for (int r = 0; r < rows; r++) depthwise<1, D>(in + r, length, w, bias, out + r * row, row);
}

// What a column needs, the same for every block, and how far it is.
template <bool HALF>
class Finisher {
 public:
  Finisher(const CamixerShape& s, Maps& maps, Column column) : s(s), maps(maps), column(column) {
    first = column.left > 0 ? column.left - 1 : 0;
    count = (column.right < maps.across ? column.right + 1 : maps.across) - first;
    blocks = count;
    wide = blocks * BLOCK + 2 * MARGIN;
    if (wide / BLOCK % 4 == 0) wide += BLOCK;
    wide_rows = up(2 * s.hidden, TILE);
    mixed = zeros((size_t)2 * RING * s.values * wide + MARGIN);
    local = zeros((size_t)RING * s.values * wide + MARGIN);
    feed = zeros((size_t)RING * wide_rows * wide + MARGIN);
    middle = zeros((size_t)RING * blocks * s.channels * BLOCK);
    int rows = rows_of<HALF>(s.channels > s.values ? s.channels : s.values);
    rows = rows > rows_of<HALF>(s.hidden) ? rows : rows_of<HALF>(s.hidden);
    operand = zeros((size_t)ROWS * CHUNK * rows * BLOCK), second = zeros((size_t)CHUNK * rows * BLOCK);
    result = zeros((size_t)ROWS * CHUNK * up(s.channels, TILE) * BLOCK);
    scratch = zeros((size_t)ROWS * (wide > 4 * CHUNK * BLOCK ? wide : 4 * CHUNK * BLOCK));
    hints = zeros((size_t)ROWS * up(s.hints, OUTS) * BLOCK);
    sums = zeros((size_t)blocks * s.hints * BLOCK);
  }

  // Goes on as far as both branches' rows above `mixed_rows` allow; a block is done when these are all.
  // stream: what the block was given; `to`: where its result goes; tail, group: of the last block of a group the
  // group's convolution and input, to which it is added; next: the block that follows, or null.
  void operator()(int mixed_rows, const Block<HALF>& p, const float* stream, float* to, const Matrix<HALF>* tail,
                  const float* group, const Block<HALF>* next) {
    // Groups are of one row less at the top, so that what a ring still has to hold never exceeds it.
    for (int rows; middles < maps.H; middles += rows) {
      rows = middles == 0 ? ROWS - 1 : maps.H - middles < ROWS ? maps.H - middles : ROWS;
      const int need = middles + rows + 2 < maps.H ? middles + rows + 2 : maps.H;
      if (mixed_rows < maps.H && mixed_rows < need + 1) return;
      while (locals < need) {
        int some = need - locals < ROWS ? need - locals : ROWS;
        convolve(p, locals, some);
        locals += some;
      }
      mixed_to_middle(p, stream, middles, rows);
      int ready = middles + rows;  // the feed-forward's convolution needs a row more, but for the last one
      for (; results < maps.H && (results + ROWS + 1 <= ready || ready == maps.H); results += ROWS)
        middle_to_result(p, results, to, tail, group, next);
    }
    middles = locals = copied = results = 0;  // of the next block
  }

  // What the first block's predictor says.
  void predict(const float* stream, const Block<HALF>& p) {
    for (int y = 0; y < maps.H; y += ROWS)
      for (int block = column.left; block < column.right; block++) predict(p, stream, y, ROWS, block);
  }

 private:
  const CamixerShape& s;
  Maps& maps;
  Column column;
  int first, count;  // blocks that are computed: a column's neighbours, too
  int blocks, wide, wide_rows;
  int copied = 0, locals = 0, middles = 0, results = 0;  // rows that are there, in `mixed`, `local`, `middle`, the result
  // Rings, planar: both branches, V (of twice as many rows); after the first convolution, V; inside the feed-forward, 2F.
  Numbers mixed, local, feed;
  Numbers middle;       // a ring, blocked: the stream between mixer and feed-forward
  Numbers operand, second, result, scratch, hints, sums;  // `second`: another operand, while the first is still read

  float* mixed_row(int y) const { return mixed.get() + (size_t)(y % (2 * RING)) * s.values * wide + MARGIN; }
  float* local_row(int y) const { return local.get() + (size_t)(y % RING) * s.values * wide + MARGIN; }
  float* feed_row(int y) const { return feed.get() + (size_t)(y % RING) * wide_rows * wide + MARGIN; }
  float* middle_at(int y, int block) const {
    return middle.get() + ((size_t)(y % RING) * blocks + block) * s.channels * BLOCK;
  }
  // `rows` rows of the first convolution, from the map.
  void convolve(const Block<HALF>& p, int y, int rows) {
    for (; copied < maps.H && copied < y + rows + 1; copied++) {  // from blocked to planar
      float* to = mixed_row(copied);
      const float* from = maps.mixed_at(copied, first, s.values);
      for (int b = 0; b < count; b++, to += BLOCK)
        for (int c = 0; c < s.values; c++, from += BLOCK)
          for (int i = 0; i < BLOCK; i += LANES) store(to + (size_t)c * wide + i, load(from + i));
    }
    const float* in[ROWS + 2];
    for (int c = 0; c < s.values; c++) {
      for (int r = 0; r < rows + 2; r++) {
        int row = y + r - 1;
        in[r] = row < 0 || row >= maps.H ? maps.nothing.get() + MARGIN : mixed_row(row) + (size_t)c * wide;
      }
      float* out = scratch.get();
      depthwise<1>(rows, in, count * BLOCK, p.local1.get() + c * TAPS, p.local1_bias[c], out, wide);
      for (int r = 0; r < rows; r++)
        std::memcpy(local_row(y + r) + (size_t)c * wide, out + r * wide, (size_t)count * BLOCK * 4);
    }
  }

  // The second convolution, channel attention, project_out, the skip and the norm of `rows` rows -> middle; and on
  // through the feed-forward's first product -> feed.
  void mixed_to_middle(const Block<HALF>& p, const float* stream, int y, int rows) {
    const int operands = rows_of<HALF>(s.values), inner = rows_of<HALF>(s.channels), outs = up(s.channels, TILE);
    constexpr int LONG = CHUNK * BLOCK;
    float* both = scratch.get();  // 2 channels x ROWS x LONG
    for (int b0 = 0; b0 < count; b0 += CHUNK) {
      const int some = count - b0 < CHUNK ? count - b0 : CHUNK;
      for (int c = 0; c < s.values; c += 2) {
        for (int n = 0; n < 2 && c + n < s.values; n++) {
          const float* from[ROWS + 4];
          for (int r = 0; r < rows + 4; r++) {
            int row = y + r - 2;
            from[r] = row < 0 || row >= maps.H ? maps.nothing.get() + MARGIN
                                               : local_row(row) + (size_t)(c + n) * wide + b0 * BLOCK;
          }
          depthwise<2>(rows, from, some * BLOCK, p.local2.get() + (c + n) * TAPS, p.local2_bias[c + n],
                       both + n * ROWS * LONG, LONG);
        }
        for (int r = 0; r < rows; r++) {
          const float* mixed = mixed_row(y + r) + (size_t)c * wide + b0 * BLOCK;
          const int32_t* cell_of = maps.cell_of + (size_t)(y + r) / WINDOW * maps.across + first + b0;
          const float* channel = maps.channel.get() + c;
          float* to = operand.get() + (size_t)r * CHUNK * operands * BLOCK;
          for (int i = 0; i < some * BLOCK; i += LANES) {
            const float *of = channel + (size_t)cell_of[i / BLOCK] * s.values, *from = both + r * LONG + i;
            Vector z0 = fma(gelu<HALF>(load(from)), all(of[0]), load(mixed + i)), z1 = z0;
            if (c + 1 < s.values)
              z1 = fma(gelu<HALF>(load(from + ROWS * LONG)), all(of[1]), load(mixed + wide + i));
            put<HALF>(to + (size_t)(i / BLOCK) * operands * BLOCK, c, s.values, i % BLOCK, z0, z1);
          }
        }
      }
      for (int r = 0; r < rows; r++) {
        float* result_row = result.get() + (size_t)r * CHUNK * outs * BLOCK;
        p.out(operand.get() + (size_t)r * CHUNK * operands * BLOCK, (size_t)operands * BLOCK, some, result_row, BLOCK,
              (size_t)outs * BLOCK);
        for (int b = 0; b < some; b++)
          norm(result_row + (size_t)b * outs * BLOCK, stream + maps.blocked(y + r, first + b0 + b, s.channels),
               p.scale.get(), middle_at(y + r, b0 + b));
        const float* x = middle_at(y + r, b0);
        if constexpr (HALF) {
          for (int b = 0; b < some; b++)
            to_operand<HALF>(middle_at(y + r, b0 + b), s.channels, second.get() + (size_t)b * inner * BLOCK);
          x = second.get();
        }
        p.feed_in(x, (size_t)inner * BLOCK, some, feed_row(y + r) + b0 * BLOCK, wide, BLOCK);
      }
    }
  }

  // Layer norm, without scale and shift, of y + scale * x.
  void norm(float* y, const float* x, const float* scale, float* out) const {
    for (int i = 0; i < BLOCK; i += LANES) {
      // four sums each: one alone would wait for itself
      Vector sum[4] = {all(0.f), all(0.f), all(0.f), all(0.f)}, squares[4] = {sum[0], sum[0], sum[0], sum[0]};
      int c = 0;
      auto add = [&](int c, int n) {
        Vector t = fma(all(scale[c]), load(x + c * BLOCK + i), load(y + c * BLOCK + i));
        store(y + c * BLOCK + i, t);
        sum[n] = sum[n] + t;
      };
      for (; c + 4 <= s.channels; c += 4) add(c, 0), add(c + 1, 1), add(c + 2, 2), add(c + 3, 3);
      for (; c < s.channels; c++) add(c, 0);
      Vector mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) * all(1.f / s.channels);
      auto square = [&](int c, int n) {
        Vector t = load(y + c * BLOCK + i) - mean;
        squares[n] = fma(t, t, squares[n]);
      };
      for (c = 0; c + 4 <= s.channels; c += 4) square(c, 0), square(c + 1, 1), square(c + 2, 2), square(c + 3, 3);
      for (; c < s.channels; c++) square(c, 0);
      Vector variance = ((squares[0] + squares[1]) + (squares[2] + squares[3])) * all(1.f / s.channels);
      Vector inverse = all(1.f) / root(variance + all(1e-6f));
      for (c = 0; c < s.channels; c++) store(out + c * BLOCK + i, (load(y + c * BLOCK + i) - mean) * inverse);
    }
  }

  // The rest of the feed-forward of ROWS rows -> to; and what the next block's predictor says of them.
  void middle_to_result(const Block<HALF>& p, int y, float* to, const Matrix<HALF>* tail, const float* group,
                        const Block<HALF>* next) {
    constexpr int rows = ROWS;
    const int operands = rows_of<HALF>(s.hidden), inner = rows_of<HALF>(s.channels), outs = up(s.channels, TILE);
    constexpr int LONG = CHUNK * BLOCK;
    float* four = scratch.get();  // 2 channels and their gates x ROWS x LONG
    for (int block0 = column.left; block0 < column.right; block0 += CHUNK) {
      const int some = column.right - block0 < CHUNK ? column.right - block0 : CHUNK;
      for (int c = 0; c < s.hidden; c += 2) {
        for (int n = 0; n < 4; n++) {
          int channel = c + n % 2;
          if (channel >= s.hidden) continue;
          channel += n / 2 * s.hidden;
          const float* from[ROWS + 2];
          for (int r = 0; r < rows + 2; r++) {
            int row = y + r - 1;
            from[r] = row < 0 || row >= maps.H ? maps.nothing.get() + MARGIN
                                               : feed_row(row) + (size_t)channel * wide + (block0 - first) * BLOCK;
          }
          depthwise<1>(rows, from, some * BLOCK, p.depthwise.get() + channel * TAPS, 0.f, four + n * ROWS * LONG, LONG);
        }
        for (int r = 0; r < rows; r++) {
          float* to = operand.get() + (size_t)r * CHUNK * operands * BLOCK;
          for (int i = 0; i < some * BLOCK; i += LANES) {
            const float* from = four + r * LONG + i;
            Vector z0 = gelu<HALF>(load(from)) * load(from + 2 * ROWS * LONG), z1 = z0;
            if (c + 1 < s.hidden) z1 = gelu<HALF>(load(from + ROWS * LONG)) * load(from + 3 * ROWS * LONG);
            put<HALF>(to + (size_t)(i / BLOCK) * operands * BLOCK, c, s.hidden, i % BLOCK, z0, z1);
          }
        }
      }
      for (int r = 0; r < rows; r++) {
        float *result_row = result.get() + (size_t)r * CHUNK * outs * BLOCK, *here = to + maps.blocked(y + r, block0, s.channels);
        p.feed_out(operand.get() + (size_t)r * CHUNK * operands * BLOCK, (size_t)operands * BLOCK, some, result_row,
                   BLOCK, (size_t)outs * BLOCK);
        for (int b = 0; b < some; b++)
          norm(result_row + (size_t)b * outs * BLOCK, middle_at(y + r, block0 - first + b), p.middle_scale.get(),
               here + (size_t)b * s.channels * BLOCK);
        if (!tail) continue;
        const float* x = here;
        if constexpr (HALF) {
          for (int b = 0; b < some; b++)
            to_operand<HALF>(here + (size_t)b * s.channels * BLOCK, s.channels, second.get() + (size_t)b * inner * BLOCK);
          x = second.get();
        }
        (*tail)(x, (size_t)inner * BLOCK, some, result_row, BLOCK, (size_t)outs * BLOCK);
        const float* before = group + maps.blocked(y + r, block0, s.channels);
        for (int b = 0; b < some; b++)
          for (int i = 0; i < s.channels * BLOCK; i += LANES) {
            size_t at = (size_t)b * s.channels * BLOCK + i;
            store(here + at, load(before + at) + load(result_row + (size_t)b * outs * BLOCK + i));
          }
      }
      for (int b = 0; next && b < some; b++) predict(*next, to, y, rows, block0 + b);
    }
  }

  // The features of `rows` rows of a block, and all that is read from them.
  void predict(const Block<HALF>& p, const float* stream, int y, int rows, int block) {
    const int outs = up(s.hints, OUTS), channels = TAPS + s.offsets, number = y / WINDOW * maps.across + block;
    float* sum = sums.get() + (size_t)(block - first) * s.hints * BLOCK;
    if (y % WINDOW == 0) std::memset(sum, 0, (size_t)s.hints * BLOCK * 4);
    p.hints(stream + maps.blocked(y, block, s.channels), (size_t)maps.across * s.channels * BLOCK, rows, hints.get(),
            BLOCK, (size_t)outs * BLOCK);
    for (int r = 0; r < rows; r++)
      for (int i = 0; i < BLOCK; i += LANES) {
        float* f = hints.get() + (size_t)r * outs * BLOCK + i;
        const float* condition = maps.condition.get() + maps.blocked(y + r, block, 2) + i;
        const int inside = (y + r) % WINDOW * BLOCK + i;
        Vector c0 = load(condition), c1 = load(condition + BLOCK), squares = all(0.f), mean = all(0.f);
        for (int h = 0; h < s.hints; h++) {
          const float* of = p.hints_of_condition.get() + h * CONDITION;
          Vector x = load(f + h * BLOCK) + load(p.hints_of_place.get() + h * TOKENS + inside);
          x = fma(all(of[0]), c0, fma(all(of[1]), c1, x));
          store(f + h * BLOCK, x);
          squares = fma(x, x, squares);
        }
        Vector inverse = all(1.f) / root(fma(squares, all(1.f / s.hints), all(1e-6f)));
        for (int h = 0; h < s.hints; h++) {
          Vector x = leak(fma(load(f + h * BLOCK) * inverse, all(p.hints_scale[h]), all(p.hints_shift[h])));
          store(f + h * BLOCK, x);
          store(sum + h * BLOCK + i, load(sum + h * BLOCK + i) + x);
          mean = mean + x;
        }
        store(maps.place.get() + (size_t)number * TOKENS + inside, mean * all(1.f / s.hints));
      }
    p.reads(hints.get(), (size_t)outs * BLOCK, rows, maps.reads.get() + maps.planar(y, channels) + block * BLOCK,
            maps.wide, (size_t)maps.wide * channels);
    if ((y + rows) % WINDOW) return;
    for (int h = 0; h < s.hints; h++) {
      float total = 0.f;
      for (int i = 0; i < BLOCK; i++) total += sum[h * BLOCK + i];
      maps.sums[(size_t)number * s.hints + h] = total;
    }
  }
};

}  // namespace PATH_NAME
