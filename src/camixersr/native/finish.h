// The plain branch, and what follows both: convolutions, norms and the feed-forward of some rows, and the next block's
// predictor.
//
// The map is cut into columns, `Column`, which go down it row by row as far as attended windows are known. What
// convolutions need of neighbouring rows stays in rings of a few rows, planar; beside the column it is computed twice,
// here and by the neighbour, to the same bytes.
#pragma once
#include "maps.h"

namespace PATH_NAME {

constexpr int ROWS = 4;       // rows that a depthwise convolution computes at once
constexpr int RING = 8;       // rows that a ring holds: ROWS and two on both sides
constexpr int MOST_BLOCKS = 32, LEAST_BLOCKS = 4;  // of a column
constexpr int PAIR = 2;       // blocks that pass through products and norms together, within the first cache

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
// apart. each(row, i, x) takes what comes of the numbers from i on.
template <int G, int D, class Each>
static void depthwise(const float* const* in, int length, const float* w, float bias, Each each) {
  Vector weight[TAPS];
  for (int tap = 0; tap < TAPS; tap++) weight[tap] = all(w[tap]);
  const float* from[G + 2 * D];
  for (int r = 0; r < G + 2 * D; r++) from[r] = in[r];
  for (int i = 0; i < length; i += LANES) {
    Vector total[G];
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) total[g] = all(bias);
    see<G, D>([&](int r, Vector* x) { neighbours<D>(from[r + D] + i, x); },
              [&](int g, int tap, Vector x) { total[g] = fma(weight[tap], x, total[g]); });
#pragma GCC unroll 4
    for (int g = 0; g < G; g++) each(g, i, total[g]);
  }
}
// The same for up to ROWS rows.
template <int D, class Each>
static void depthwise(int rows, const float* const* in, int length, const float* w, float bias, Each each) {
  if (rows == ROWS) return depthwise<ROWS, D>(in, length, w, bias, each);
  for (int r = 0; r < rows; r++)
    depthwise<1, D>(in + r, length, w, bias, [&](int, int i, Vector x) { each(r, i, x); });
}

// What a column needs, the same for every block, and how far it is.
template <bool HALF>
class Finisher {
 public:
  Finisher(const CamixerShape& s, Maps& maps, Column column) : s(s), maps(maps), column(column) {
    first = column.left > 0 ? column.left - 1 : 0;
    count = (column.right < maps.across ? column.right + 1 : maps.across) - first;
    wide = count * BLOCK + 2 * MARGIN;
    if (wide / BLOCK % 4 == 0) wide += BLOCK;
    wide_rows = up(2 * s.hidden, TILE);
    mixed = zeros((size_t)RING * up(s.values, TILE) * wide + MARGIN);
    local = zeros((size_t)RING * s.values * wide + MARGIN);
    feed = zeros((size_t)RING * wide_rows * wide + MARGIN);
    middle = zeros((size_t)RING * count * s.channels * BLOCK);
    int rows = rows_of<HALF>(s.channels > s.values ? s.channels : s.values);
    rows = rows > rows_of<HALF>(s.hidden) ? rows : rows_of<HALF>(s.hidden);
    operand = zeros((size_t)ROWS * count * rows * BLOCK), second = zeros((size_t)PAIR * rows * BLOCK);
    result = zeros((size_t)PAIR * up(s.channels, TILE) * BLOCK), ending = zeros((size_t)PAIR * s.channels * BLOCK);
    scratch = zeros((size_t)2 * ROWS * count * BLOCK);
    hints = zeros((size_t)ROWS * up(s.hints, OUTS) * BLOCK);
    sums = zeros((size_t)count * s.hints * BLOCK);
  }

  // Goes on as far as attended windows above row `mixed_rows` allow; a block is done when these are all.
  // mask: which windows are attended; stream: what the block was given; `to`: where its result goes; tail, group: of
  // the last block of a group the group's convolution and input, to which it is added; next: the block that follows, or
  // null.
  void operator()(int mixed_rows, const Block<HALF>& p, const float* mask, const Stream& stream, const Stream& to,
                  const Matrix<HALF>* tail, const Stream& group, const Block<HALF>* next) {
    // Groups are of one row less at the top, so that what a ring still has to hold never exceeds it.
    for (int rows; middles < maps.H; middles += rows) {
      rows = middles == 0 ? ROWS - 1 : maps.H - middles < ROWS ? maps.H - middles : ROWS;
      const int need = middles + rows + 2 < maps.H ? middles + rows + 2 : maps.H;
      if (mixed_rows < maps.H && mixed_rows < need + 1) return;
      while (locals < need) {
        int some = need - locals < ROWS ? need - locals : ROWS;
        convolve(p, mask, stream, locals, some);
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
  void predict(const Stream& stream, const Block<HALF>& p) {
    for (int y = 0; y < maps.H; y += ROWS)
      for (int block = column.left; block < column.right; block++) predict(p, stream, y, ROWS, block);
  }

 private:
  const CamixerShape& s;
  Maps& maps;
  Column column;
  int first, count;  // blocks that are computed: a column's neighbours, too
  int wide, wide_rows;
  int copied = 0, locals = 0, middles = 0, results = 0;  // rows in `mixed`, `local`, `middle`, the result
  // Rings, planar: both branches, V; after the first convolution, V; inside the feed-forward, 2F.
  Numbers mixed, local, feed;
  Numbers middle;       // a ring, blocked: the stream between mixer and feed-forward
  Numbers operand, second, result, scratch, hints, sums;  // `second`: another operand, while the first is still read
  Numbers ending;       // what the last block of a group gives, before the group's convolution

  float* mixed_row(int y) const { return mixed.get() + (size_t)(y % RING) * up(s.values, TILE) * wide + MARGIN; }
  float* local_row(int y) const { return local.get() + (size_t)(y % RING) * s.values * wide + MARGIN; }
  float* feed_row(int y) const { return feed.get() + (size_t)(y % RING) * wide_rows * wide + MARGIN; }
  float* middle_at(int y, int block) const {
    return middle.get() + ((size_t)(y % RING) * count + block) * s.channels * BLOCK;
  }

  // Asks for numbers, so that they are in the cache when needed.
  static void ask_for(const float* from, size_t count) {
    for (size_t i = 0; i < count; i += BLOCK) __builtin_prefetch(from + i, 0, 2);
  }

  // Asks for the rows of the stream that come next: a share between channels, so that all are in the cache when needed.
  void ask_for_next(const Stream& stream, int c) const {
    const size_t share = (size_t)2 * count * s.channels * BLOCK / s.values, from = share * c / 2;
    for (int y = copied; y < copied + ROWS && y < maps.H; y++) {
      ask_for(stream.at(y, first) + from, share);
    }
  }

  // Row r of what waits for another channel: the first one of a pair; a gate.
  float* scratch_row(int n, int r) const { return scratch.get() + (size_t)(n * ROWS + r) * count * BLOCK; }

  // Numbers from i on of row r, of which there are `blocks` blocks: channel c + n (n is 0 or 1) of `channels` in the
  // operand of the product that follows.
  void put_operand(int r, int blocks, int operands, int c, int n, int channels, int i, Vector x) const {
    float* to = operand.get() + ((size_t)r * blocks + i / BLOCK) * operands * BLOCK;
    if constexpr (!HALF) return store(to + (c + n) * BLOCK + i % BLOCK, x);
    float* first = scratch_row(0, r) + i;
    if (n == 0 && c + 1 < channels) return store(first, x);
    put<HALF>(to, c, channels, i % BLOCK, n == 0 ? x : load(first), x);
  }

  // Blocks of the stream that follow each other, as products read them.
  const float* operands_of(const float* x, int some) {
    if constexpr (!HALF) return x;
    const size_t next = (size_t)rows_of<HALF>(s.channels) * BLOCK;
    for (int b = 0; b < some; b++)
      to_operand<HALF>(x + (size_t)b * s.channels * BLOCK, s.channels, second.get() + b * next);
    return second.get();
  }

  // A row of both branches: attended windows are there; those that are not are computed here.
  void both_branches(const Block<HALF>& p, const float* mask, const Stream& stream, int y) {
    const float* share = mask + (size_t)y / WINDOW * maps.across + first;
    for (int b = 0, some; b < count; b += some) {
      float* to = mixed_row(y) + b * BLOCK;
      some = 1;
      if (share[b] > 0.f) {
        const float* from = maps.mixed_at(y, first + b, s.values);
        for (int c = 0; c < s.values; c++)
          for (int i = 0; i < BLOCK; i += LANES) store(to + (size_t)c * wide + i, load(from + c * BLOCK + i));
        continue;
      }
      while (some < PAIR && b + some < count && !(share[b + some] > 0.f)) some++;
      const float* x = operands_of(stream.at(y, first + b), some);
      p.v(x, (size_t)rows_of<HALF>(s.channels) * BLOCK, some, to, wide, BLOCK,
          Gated{maps.spatial_at(y) + (first + b) * BLOCK});
    }
  }

  // `rows` rows of the first convolution.
  void convolve(const Block<HALF>& p, const float* mask, const Stream& stream, int y, int rows) {
    for (; copied < maps.H && copied < y + rows + 1; copied++) both_branches(p, mask, stream, copied);
    for (int c = 0; c < s.values; c++) {
      const float* in[ROWS + 2];
      float* out[ROWS];
      for (int r = 0; r < rows + 2; r++) {
        int row = y + r - 1;
        in[r] = row < 0 || row >= maps.H ? maps.nothing.get() + MARGIN : mixed_row(row) + (size_t)c * wide;
      }
      for (int r = 0; r < rows; r++) out[r] = local_row(y + r) + (size_t)c * wide;
      depthwise<1>(rows, in, count * BLOCK, p.local1.get() + c * TAPS, p.local1_bias[c],
                   [&](int r, int i, Vector x) { store(out[r] + i, x); });
    }
  }

  // The second convolution, channel attention, project_out, the skip and the norm of `rows` rows -> middle; and on
  // through the feed-forward's first product -> feed.
  void mixed_to_middle(const Block<HALF>& p, const Stream& stream, int y, int rows) {
    const int operands = rows_of<HALF>(s.values), inner = rows_of<HALF>(s.channels), outs = up(s.channels, TILE);
    const int length = count * BLOCK;
    for (int c = 0; c < s.values; c += 2) {
      ask_for_next(stream, c);
      for (int n = 0; n < 2 && c + n < s.values; n++) {
        const float *in[ROWS + 4], *here[ROWS];
        const int32_t* cell_of[ROWS];
        for (int r = 0; r < rows + 4; r++) {
          int row = y + r - 2;
          in[r] = row < 0 || row >= maps.H ? maps.nothing.get() + MARGIN : local_row(row) + (size_t)(c + n) * wide;
        }
        for (int r = 0; r < rows; r++) {
          here[r] = mixed_row(y + r) + (size_t)(c + n) * wide;
          cell_of[r] = maps.cell_of + (size_t)(y + r) / WINDOW * maps.across + first;
        }
        const float* channel = maps.channel.get() + c + n;
        depthwise<2>(rows, in, length, p.local2.get() + (c + n) * TAPS, p.local2_bias[c + n],
                     [&](int r, int i, Vector x) {
                       Vector of = all(channel[(size_t)cell_of[r][i / BLOCK] * s.values]);
                       put_operand(r, count, operands, c, n, s.values, i, fma(gelu<HALF>(x), of, load(here[r] + i)));
                     });
      }
    }
    for (int r = 0; r < rows; r++) {
      const float* x = stream.at(y + r, first);
      for (int b = 0, some; b < count; b += some) {
        some = count - b < PAIR ? count - b : PAIR;
        p.out(operand.get() + ((size_t)r * count + b) * operands * BLOCK, (size_t)operands * BLOCK, some, result.get(),
              BLOCK, (size_t)outs * BLOCK);
        for (int n = 0; n < some; n++)
          norm(result.get() + (size_t)n * outs * BLOCK, x + (size_t)(b + n) * s.channels * BLOCK, p.scale.get(),
               middle_at(y + r, b + n));
        p.feed_in(operands_of(middle_at(y + r, b), some), (size_t)inner * BLOCK, some, feed_row(y + r) + b * BLOCK, wide,
                  BLOCK);
      }
    }
  }

  // Layer norm, without scale and shift, of y + scale * x.
  void norm(float* y, const float* x, const float* scale, float* out) const {
    const Vector share = all(1.f / s.channels);
    for (int i = 0; i < BLOCK; i += LANES) {
      // four sums each: one alone would wait for itself
      Vector sum[4] = {all(0.f), all(0.f), all(0.f), all(0.f)}, squares[4] = {sum[0], sum[0], sum[0], sum[0]};
      int c = 0;
      auto add = [&](int c, int n) {
        Vector t = fma(all(scale[c]), load(x + c * BLOCK + i), load(y + c * BLOCK + i));
        store(y + c * BLOCK + i, t);
        sum[n] = sum[n] + t;
        squares[n] = fma(t, t, squares[n]);
      };
      for (; c + 4 <= s.channels; c += 4) add(c, 0), add(c + 1, 1), add(c + 2, 2), add(c + 3, 3);
      for (; c < s.channels; c++) add(c, 0);
      Vector mean = ((sum[0] + sum[1]) + (sum[2] + sum[3])) * share, across = mean * mean;
      Vector variance = ((squares[0] + squares[1]) + (squares[2] + squares[3])) * share - across;
      // Where numbers lie far from 0 beside how far apart they are, the difference has lost its digits.
      const Vector close = all(4.f) * variance;
      if (any_above(across, close)) {
        Vector total = all(0.f);
        for (c = 0; c < s.channels; c++) {
          Vector t = load(y + c * BLOCK + i) - mean;
          total = fma(t, t, total);
        }
        variance = where_above(across, close, total * share, variance);
      }
      Vector inverse = all(1.f) / root(variance + all(1e-6f)), shift = all(0.f) - mean * inverse;
      for (c = 0; c < s.channels; c++) store(out + c * BLOCK + i, fma(load(y + c * BLOCK + i), inverse, shift));
    }
  }

  // The rest of the feed-forward of ROWS rows -> to; and what the next block's predictor says of them.
  void middle_to_result(const Block<HALF>& p, int y, const Stream& to, const Matrix<HALF>* tail, const Stream& group,
                        const Block<HALF>* next) {
    const int operands = rows_of<HALF>(s.hidden), inner = rows_of<HALF>(s.channels), outs = up(s.channels, TILE);
    const int some = column.right - column.left, length = some * BLOCK, aside = column.left - first;
    for (int c = 0; c < s.hidden; c += 2) {
      for (int n = 0; n < 2 && c + n < s.hidden; n++) {
        auto convolve = [&](int channel, auto each) {
          const float* in[ROWS + 2];
          for (int r = 0; r < ROWS + 2; r++) {
            int row = y + r - 1;
            in[r] = row < 0 || row >= maps.H ? maps.nothing.get() + MARGIN
                                             : feed_row(row) + (size_t)channel * wide + aside * BLOCK;
          }
          depthwise<1>(ROWS, in, length, p.depthwise.get() + channel * TAPS, 0.f, each);
        };
        convolve(c + n + s.hidden, [&](int r, int i, Vector x) { store(scratch_row(1, r) + i, x); });
        convolve(c + n, [&](int r, int i, Vector x) {
          put_operand(r, some, operands, c, n, s.hidden, i, gelu<HALF>(x) * load(scratch_row(1, r) + i));
        });
      }
    }
    for (int r = 0; r < ROWS; r++)
      for (int b = 0, pair; b < some; b += pair) {
        pair = some - b < PAIR ? some - b : PAIR;
        float* here = to.at(y + r, column.left + b);
        float* normal = tail ? ending.get() : here;
        p.feed_out(operand.get() + ((size_t)r * some + b) * operands * BLOCK, (size_t)operands * BLOCK, pair,
                   result.get(), BLOCK, (size_t)outs * BLOCK);
        for (int n = 0; n < pair; n++)
          norm(result.get() + (size_t)n * outs * BLOCK, middle_at(y + r, aside + b + n), p.middle_scale.get(),
               normal + (size_t)n * s.channels * BLOCK);
        if (!tail) continue;
        (*tail)(operands_of(normal, pair), (size_t)inner * BLOCK, pair, result.get(), BLOCK, (size_t)outs * BLOCK);
        const float* before = group.at(y + r, column.left + b);
        ask_for(before + (size_t)pair * s.channels * BLOCK, (size_t)pair * s.channels * BLOCK);
        for (int n = 0; n < pair; n++)
          for (int i = 0; i < s.channels * BLOCK; i += LANES) {
            size_t at = (size_t)n * s.channels * BLOCK + i;
            store(here + at, load(before + at) + load(result.get() + (size_t)n * outs * BLOCK + i));
          }
      }
    for (int block = column.left; next && block < column.right; block++) predict(*next, to, y, ROWS, block);
  }

  // The features of `rows` rows of a block, and all that is read from them.
  void predict(const Block<HALF>& p, const Stream& stream, int y, int rows, int block) {
    const int outs = up(s.hints, OUTS), channels = TAPS + s.offsets, number = y / WINDOW * maps.across + block;
    float* sum = sums.get() + (size_t)(block - first) * s.hints * BLOCK;
    for (int r = 0; r < rows; r++) ask_for(maps.condition.get() + maps.blocked(y + r, block + 1, 2), 2 * BLOCK);
    if (y % WINDOW == 0) std::memset(sum, 0, (size_t)s.hints * BLOCK * 4);
    p.hints(stream.at(y, block), stream.next, rows, hints.get(), BLOCK, (size_t)outs * BLOCK);
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
