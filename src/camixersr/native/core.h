// A picture through a network: routing, both branches, and what comes after them, block by block.
//
// After a block's routing is known, the picture passes in bands of a few rows of windows: `mix` computes a band's
// attended windows; `Finisher` adds those that are not, and takes rows through the convolutions, both norms and the
// feed-forward, and on to the next block's predictor, while they are in the cache. Between the two all threads wait for
// each other.
#pragma once
#include "attention.h"
#include "ends.h"
#include "finish.h"
#include "threads.h"

namespace PATH_NAME {

// Numbers too small to matter would cost a hundred times the rest: they are zero here.
struct Flushing {
  unsigned before = _mm_getcsr();
  Flushing() { _mm_setcsr(before | 0x8040); }
  ~Flushing() { _mm_setcsr(before); }
};

// What each thread does when it begins and ends: the shape of AMX's tiles, 16 rows of 64 bytes.
static void prepare_thread() {
#if HAS_TILES
  struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {0};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE};
  } shape;
  settle(&shape);
  _tile_loadconfig(&shape);
#endif
}
static void release_thread() {
#if HAS_TILES
  _tile_release();
#endif
}

template <bool HALF>
struct MixScratch {
  Numbers x, v;  // 16 operands of the stream; 16 blocks of V
  AttentionScratch<HALF> attention;
  explicit MixScratch(const CamixerShape& s)
      : x(zeros((size_t)WINDOW * rows_of<HALF>(s.channels) * BLOCK)),
        v(zeros((size_t)WINDOW * up(s.values, TILE) * BLOCK)),
        attention(s) {}
};

// The log-odds of the windows in a row of windows.
template <bool HALF>
static void route(const Block<HALF>& p, const Maps& maps, int row, float* logits) {
  for (int n = row * maps.across; n < (row + 1) * maps.across; n++) {
    const float* place = maps.place.get() + (size_t)n * TOKENS;
    float odds = p.score2[WINDOW];
    for (int h = 0; h < WINDOW; h++) {
      Vector sum = all(0.f);
      for (int i = 0; i < TOKENS; i += LANES) sum = fma(load(place + i), load(p.score1.get() + h * TOKENS + i), sum);
      float lanes[LANES], hidden = p.score1_bias[h];
      store(lanes, sum);
      for (float lane : lanes) hidden += lane;
      odds += p.score2[h] * (hidden > 0.f ? hidden : 0.1f * hidden);
    }
    logits[n] = odds;
  }
}

// Channel attention of every cell, from sums over windows, or from means that are given.
template <bool HALF>
static void pool(const Block<HALF>& p, const CamixerShape& s, Maps& maps, int cells, const float* given, float* own) {
  int windows = maps.H / WINDOW * maps.across;
  std::vector<double> sums((size_t)cells * s.hints), whole(s.hints);
  std::vector<long> count(cells);
  for (int n = 0; n < windows; n++) {
    int cell = maps.cell_of[n];
    const float* of = maps.sums.get() + (size_t)n * s.hints;
    count[cell] += TOKENS;
    for (int i = 0; i < s.hints; i++) sums[(size_t)cell * s.hints + i] += of[i], whole[i] += of[i];
  }
  for (int i = 0; own && i < s.hints; i++) own[i] = (float)(whole[i] / ((double)maps.H * maps.W));
  for (int cell = 0; cell < cells; cell++)
    for (int c = 0; c < s.values; c++) {
      double odds = p.channel_bias[c];
      for (int i = 0; i < s.hints; i++)
        odds += p.channel[c * s.hints + i] * (given ? given[i] : sums[(size_t)cell * s.hints + i] / count[cell]);
      maps.channel[(size_t)cell * s.values + c] = (float)(1. / (1. + std::exp(-odds)));
    }
}

// Which windows lie beside an attended one: a key moves by half a window at most.
static void mark(Maps& maps, const float* mask) {
  int down = maps.H / WINDOW;
  for (int y = 0; y < down; y++)
    for (int x = 0; x < maps.across; x++) {
      uint8_t near = 0;
      for (int i = y > 0 ? y - 1 : 0; i <= y + 1 && i < down; i++)
        for (int j = x > 0 ? x - 1 : 0; j <= x + 1 && j < maps.across; j++) near |= mask[i * maps.across + j] > 0.f;
      maps.near[y * maps.across + x] = near;
    }
}

// Spatial attention of the windows in a row of windows that have a plain branch: what features say around each pixel.
template <bool HALF>
static void look_closely(const Block<HALF>& p, const CamixerShape& s, Maps& maps, const float* mask, int row) {
  for (int y = row * WINDOW; y < (row + 1) * WINDOW; y++)
    for (int x = 0; x < maps.W; x += LANES) {
      if (mask[row * maps.across + x / BLOCK] >= 1.f) continue;
      Vector odds = all(p.spatial_bias[0]);
      for (int tap = 0; tap < TAPS; tap++) {
        int from = y + tap / 3 - 1;
        if (from < 0 || from >= maps.H) continue;
        const float* features = maps.reads.get() + maps.planar(from, TAPS + s.offsets) + (size_t)tap * maps.wide;
        odds = odds + load(features + x + tap % 3 - 1);
      }
      store(maps.spatial_at(y) + x, sigmoid(odds));
    }
}

// The stream of those windows with each pixel's channels together.
static void spread(const CamixerShape& s, Maps& maps, const Stream& stream, int row) {
  alignas(64) float rest[BLOCK * BLOCK] = {0};
  for (int y = row * WINDOW; y < (row + 1) * WINDOW; y++)
    for (int x = 0; x < maps.across; x++) {
      if (!maps.near[row * maps.across + x]) continue;
      const float* from = stream.at(y, x);
      float* to = maps.pixels_at(y) + (size_t)x * BLOCK * maps.beside;
      for (int c = 0; c < s.channels; c += BLOCK) {
        const float* part = from + c * BLOCK;
        if (c + BLOCK > s.channels) {
          std::memcpy(rest, part, (size_t)(s.channels - c) * BLOCK * 4);
          part = rest;
        }
        transpose(part, BLOCK, to + c, maps.beside);
      }
    }
}

// Attention of a window: its stream (16 operands) and its values (k.v) -> k.attention.result.
template <bool HALF>
static void attention_of(const Block<HALF>& p, const CamixerShape& s, const Maps& maps, const float* x, size_t next,
                         int top, int block, MixScratch<HALF>& k) {
  AttentionScratch<HALF>& w = k.attention;
  const int rows = rows_of<HALF>(s.channels), key_rows = rows_of<HALF>(s.keys), v_rows = up(s.values, TILE);
  const int outs = up(s.keys, TILE);
  for (int y = 0; y < WINDOW; y++) {
    warp(p, s, maps, top + y, block, w.warped.get());
    alignas(64) float blocked[BLOCK * 8 * BLOCK];
    for (int c = 0; c < maps.beside; c += BLOCK) transpose(w.warped.get() + c, maps.beside, blocked + c * BLOCK, BLOCK);
    to_operand<HALF>(blocked, s.channels, w.keys_in.get() + (size_t)y * rows * BLOCK);
    to_values<HALF>(k.v.get() + (size_t)y * v_rows * BLOCK, s.values, y, w.v.get());
  }
  auto project = [&](const Matrix<HALF>& by, const float* in, size_t in_next, float* to) {
    by(in, in_next, WINDOW, w.q32.get(), BLOCK, (size_t)outs * BLOCK);
    for (int y = 0; y < WINDOW; y++)
      to_operand<HALF>(w.q32.get() + (size_t)y * outs * BLOCK, s.keys, to + (size_t)y * key_rows * BLOCK);
  };
  project(p.q, x, next, w.q.get());
  project(p.k, w.keys_in.get(), (size_t)rows * BLOCK, w.k.get());
#if HAS_TILES
  for (float* at = w.k.get(); at < w.k.get() + (size_t)WINDOW * key_rows * BLOCK; at += TILE * TILE)
    transpose(at, TILE, at, TILE);  // tiles have keys in rows
#endif
  attend(s, w);
}

// Both branches of an attended window -> maps.mixed.
template <bool HALF>
static void mix(const Block<HALF>& p, const CamixerShape& s, Maps& maps, const Stream& stream, int number,
                float share, MixScratch<HALF>& k) {
  const int top = number / maps.across * WINDOW, block = number % maps.across;
  const int rows = rows_of<HALF>(s.channels), v_rows = up(s.values, TILE);
  const float* x = stream.at(top, block);
  size_t next = stream.next;
  if constexpr (HALF) {
    for (int y = 0; y < WINDOW; y++) to_operand<HALF>(x + y * next, s.channels, k.x.get() + (size_t)y * rows * BLOCK);
    x = k.x.get(), next = (size_t)rows * BLOCK;
  }
  p.v(x, next, WINDOW, k.v.get(), BLOCK, (size_t)v_rows * BLOCK);
  attention_of(p, s, maps, x, next, top, block, k);
  for (int y = 0; y < WINDOW; y++) {
    const float* v = k.v.get() + (size_t)y * v_rows * BLOCK;
    const float* attended = k.attention.result.get() + (size_t)y * v_rows * BLOCK;
    float* to = maps.mixed_at(top + y, block, s.values);
    for (int i = 0; i < BLOCK; i += LANES) {
      if (share >= 1.f) {
        for (int c = 0; c < s.values; c++) store(to + c * BLOCK + i, load(attended + c * BLOCK + i));
        continue;
      }
      Vector spatial = load(maps.spatial_at(top + y) + block * BLOCK + i), part = all(share);
      for (int c = 0; c < s.values; c++) {
        Vector plain = load(v + c * BLOCK + i) * spatial;
        store(to + c * BLOCK + i, fma(part, load(attended + c * BLOCK + i) - plain, plain));
      }
    }
  }
}

// The whole computation; see CamixerPicture.
template <bool HALF>
static int compute(const Network<HALF>& network, const CamixerPicture& picture) {
  const CamixerShape& s = network.shape;
  Maps maps(s, picture, network.lone);
  const Image image(picture, maps);
  const int down = maps.H / WINDOW, windows = down * maps.across;
  const int count = picture.threads < 1 ? 1 : picture.threads;
  std::vector<MixScratch<HALF>> mixing;
  std::vector<Finisher<HALF>> columns;
  std::vector<int> attended;  // windows of a band
  for (int i = 0; i < count; i++) mixing.emplace_back(s);
  for (Column column : columns_of(maps, count)) columns.emplace_back(s, maps, column);
  Threads threads(count, prepare_thread, release_thread);
  auto each = [&](int tasks, auto task) {
    threads.each(tasks, [&](int number, int thread) {
      Flushing flushing;
      task(number, thread);
    });
  };

  Stream stream = maps.stream(0, s.channels);
  each(down, [&](int row, int) { enter(network, image, maps, stream, row * WINDOW); });
  each(down, [&](int row, int) { look_around(network, maps, row * WINDOW); });
  std::memset(maps.reads.get(), 0, (size_t)maps.H * maps.wide * GLOBAL * 4);  // margins are elsewhere from here on
  Stream before = stream;  // what the group was given
  each((int)columns.size(), [&](int i, int) { columns[i].predict(stream, network.blocks[0]); });
  for (int number = 0, group = 0, blocks = (int)network.blocks.size(); number < blocks; number++) {
    const Block<HALF>& p = network.blocks[number];
    float *logits = picture.logits + (size_t)number * windows, *mask = picture.mask + (size_t)number * windows;
    each(down, [&](int row, int) { route(p, maps, row, logits); });
    if (picture.choose) {
      if (picture.choose(number, logits, mask)) return 2;
    } else {
      float least = picture.thresholds[number], band = picture.bands[number];
      for (int n = 0; n < windows; n++) {
        float above = logits[n] - least;
        mask[n] = band > 0.f ? std::fmin(std::fmax(above / band, 0.f), 1.f) : above >= 0.f;
      }
    }
    pool(p, s, maps, picture.cells, picture.pooled ? picture.pooled + number * s.hints : nullptr,
         picture.means ? picture.means + number * s.hints : nullptr);
    mark(maps, mask);
    bool ends = number + 1 == network.last[group];
    // A group's first block leaves alone what the group was given; its last one adds that, and takes its place. Others,
    // and a group's only one, write above what they read.
    bool begins = stream.map == before.map;
    const Stream to = begins == ends ? stream.up_by(maps.above) : begins ? maps.stream(1, s.channels) : before;
    const Block<HALF>* next = number + 1 < blocks ? &network.blocks[number + 1] : nullptr;
    const Matrix<HALF>* tail = ends ? &network.tails[group] : nullptr;
    for (int top = 0, known = 0; top < down; top += maps.band) {
      const int bottom = top + maps.band < down ? top + maps.band : down, below = bottom < down ? bottom + 1 : down;
      each(below - known, [&](int i, int) {
        look_closely(p, s, maps, mask, known + i);
        spread(s, maps, stream, known + i);
      });
      known = below;
      attended.clear();
      for (int n = top * maps.across; n < bottom * maps.across; n++)
        if (mask[n] > 0.f) attended.push_back(n);
      each((int)attended.size(), [&](int i, int thread) {
        mix(p, s, maps, stream, attended[i], mask[attended[i]], mixing[thread]);
      });
      each((int)columns.size(), [&](int i, int) {
        columns[i](bottom * WINDOW, p, mask, stream, to, tail, before, next);
      });
    }
    stream = to;
    if (ends) before = to, group++;
  }
  maps.only(stream);
  each((picture.height + LEAVE_ROWS - 1) / LEAVE_ROWS,
       [&](int i, int) { leave(network, image, maps, picture, stream, i * LEAVE_ROWS); });
  return 0;
}

}  // namespace PATH_NAME
