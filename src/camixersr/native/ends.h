// What comes before and after the blocks, in single precision: the picture itself goes through it.
#pragma once
#include "maps.h"

namespace PATH_NAME {

// A row or column beyond the picture, mirrored; repeated where the picture is too small for that.
static inline int inside(int at, int length, int padded) {
  if (at < length) return at;
  return padded - length < length ? 2 * length - 2 - at : length - 1;
}

// The picture as planes with a margin of zeros on all sides, mirrored up to whole windows.
struct Image {
  int planes;
  size_t plane;
  Numbers numbers;
  Image(const CamixerPicture& picture, const Maps& maps) : planes(picture.planes) {
    plane = (size_t)(maps.H + 2) * maps.wide;
    numbers = zeros(plane * planes + MARGIN);
    for (int c = 0; c < planes; c++)
      for (int y = 0; y < maps.H; y++) {
        const float* from =
            picture.low + ((size_t)c * picture.height + inside(y, picture.height, maps.H)) * picture.width;
        float* to = numbers.get() + row(c, y, maps);
        std::memcpy(to, from, (size_t)picture.width * 4);
        for (int x = picture.width; x < maps.W; x++) to[x] = from[inside(x, picture.width, maps.W)];
      }
  }
  size_t row(int c, int y, const Maps& maps) const { return c * plane + (size_t)(y + 1) * maps.wide + MARGIN; }
};

// Where a 3 x 3 convolution finds its rows: channel by channel, tap by tap.
static std::vector<int> taps(int channels, size_t channel, const ptrdiff_t* row) {
  std::vector<int> result;
  for (int c = 0; c < channels; c++)
    for (int tap = 0; tap < TAPS; tap++) result.push_back((int)(c * channel + row[tap / 3] + tap % 3 - 1));
  return result;
}

// The first features of `count` blocks of a row. `table`: of the picture's planes.
template <bool HALF>
static void head(const Network<HALF>& network, const Image& image, const Maps& maps, const int* table, int y, int block,
                 int count, float* to) {
  const CamixerShape& s = network.shape;
  size_t next = (size_t)s.channels * BLOCK;
  network.head(Table{table}, image.numbers.get() + image.row(0, y, maps) + block * BLOCK, count, to, BLOCK, next);
  if (!s.latitude || image.planes < 4) return;
  for (int b = 0; b < count; b++)
    for (int i = 0; i < BLOCK; i += LANES) {
      Vector away = all(1.f) - load(image.numbers.get() + image.row(3, y, maps) + (block + b) * BLOCK + i);
      for (int c = 0; c < s.channels; c++) {
        float* at = to + b * next + c * BLOCK + i;
        store(at, fma(all(network.latitude[c]), away, load(at)));
      }
    }
}

// Rows of the first features, and of the hidden layer of the global condition (planar, in maps.reads).
template <bool HALF>
static void enter(const Network<HALF>& network, const Image& image, Maps& maps, const Stream& stream, int top) {
  const CamixerShape& s = network.shape;
  const ptrdiff_t apart[3] = {-maps.wide, 0, maps.wide};
  const std::vector<int> table = taps(3, image.plane, apart);
  for (int y = top; y < top + WINDOW; y++) {
    float* x = stream.at(y, 0);
    size_t next = stream.block;
    head(network, image, maps, table.data(), y, 0, maps.across, x);
    float* hidden = maps.reads.get() + maps.planar(y, GLOBAL);
    network.global_in(x, next, maps.across, hidden, maps.wide, BLOCK);
    for (int c = 0; c < GLOBAL; c++)
      for (int i = 0; i < maps.W; i += LANES) store(hidden + c * maps.wide + i, leak(load(hidden + c * maps.wide + i)));
  }
}

// Rows of the global condition.
template <bool HALF>
static void look_around(const Network<HALF>& network, Maps& maps, int top) {
  const ptrdiff_t apart = (ptrdiff_t)maps.wide * GLOBAL;
  Numbers rows = zeros(apart * 3 + MARGIN);
  for (int y = top; y < top + WINDOW; y++) {
    ptrdiff_t row[3] = {-apart, 0, apart};
    const float* from = maps.reads.get() + maps.planar(y, GLOBAL);
    if (y == 0 || y == maps.H - 1) {  // beyond the map are zeros
      for (int r = 0; r < 3; r++) {
        bool there = y + r - 1 >= 0 && y + r - 1 < maps.H;
        float* to = rows.get() + r * apart;
        if (there)
          std::memcpy(to, from - MARGIN + (r - 1) * apart, apart * 4);
        else
          std::memset(to, 0, apart * 4);
      }
      from = rows.get() + apart + MARGIN;
    }
    const std::vector<int> table = taps(GLOBAL, maps.wide, row);
    float* to = maps.condition.get() + maps.blocked(y, 0, 2);
    network.global_out(Table{table.data()}, from, maps.across, to, BLOCK, 2 * BLOCK);
    for (int i = 0; i < maps.W * 2; i += LANES) store(to + i, leak(load(to + i)));
  }
}

constexpr int LEAVE_ROWS = 32;  // low rows that a task of `leave` computes

// Rows of the enlarged picture, from what the last group gives.
template <bool HALF>
static void leave(const Network<HALF>& network, const Image& image, const Maps& maps, const CamixerPicture& picture,
                  const Stream& stream, int top) {
  const CamixerShape& s = network.shape;
  const int bottom = top + LEAVE_ROWS < picture.height ? top + LEAVE_ROWS : picture.height;
  const int first = top > 0 ? top - 1 : 0, last = bottom < maps.H ? bottom + 1 : maps.H;  // of body_tail's
  const int C = s.channels, scale = s.scale, outs = 3 * scale * scale;
  // parts of a row, so that what passes from one convolution to the next stays in the cache
  constexpr int TOGETHER = 16;
  const int wide = (TOGETHER + 2) * BLOCK + 2 * MARGIN + BLOCK;
  const size_t row = (size_t)C * wide;
  Numbers in = numbers(row * (LEAVE_ROWS + 4) + MARGIN), middle = numbers(row * (LEAVE_ROWS + 2) + MARGIN);
  Numbers x = zeros((size_t)C * BLOCK * (TOGETHER + 2)), out = zeros((size_t)up(outs, OUTS) * BLOCK * TOGETHER);
  const ptrdiff_t apart[3] = {-(ptrdiff_t)row, 0, (ptrdiff_t)row};
  const std::vector<int> table = taps(C, wide, apart);
  const ptrdiff_t image_apart[3] = {-maps.wide, 0, maps.wide};
  const std::vector<int> image_table = taps(3, image.plane, image_apart);
  for (int left = 0; left < maps.across && left * BLOCK < picture.width; left += TOGETHER) {
    const int stop = left + TOGETHER < maps.across ? left + TOGETHER : maps.across;
    const int b0 = left > 0 ? left - 1 : 0, b1 = stop < maps.across ? stop + 1 : maps.across;
    std::memset(in.get(), 0, (row * (LEAVE_ROWS + 4) + MARGIN) * 4);
    std::memset(middle.get(), 0, (row * (LEAVE_ROWS + 2) + MARGIN) * 4);
    for (int y = first > 0 ? first - 1 : 0; y < last + 1 && y < maps.H; y++)
      for (int b = b0; b < b1; b++)
        for (int c = 0; c < C; c++)
          std::memcpy(in.get() + (y - first + 1) * row + (size_t)c * wide + MARGIN + (b - b0) * BLOCK,
                      stream.at(y, b) + c * BLOCK, BLOCK * 4);
    for (int y = first; y < last; y++) {
      float* to = middle.get() + (y - top + 1) * row + MARGIN;
      network.body_tail(Table{table.data()}, in.get() + (y - first + 1) * row + MARGIN, b1 - b0, to, wide, BLOCK);
      head(network, image, maps, image_table.data(), y, b0, b1 - b0, x.get());  // again: cheaper than to keep it
      for (int b = 0; b < b1 - b0; b++)
        for (int c = 0; c < C; c++)
          for (int i = 0; i < BLOCK; i += LANES) {
            float* at = to + (size_t)c * wide + b * BLOCK + i;
            store(at, load(at) + load(x.get() + ((size_t)b * C + c) * BLOCK + i));
          }
    }
    const size_t next = (size_t)up(outs, OUTS) * BLOCK;
    for (int y = top; y < bottom; y++) {
      network.tail(Table{table.data()}, middle.get() + (y - top + 1) * row + MARGIN + (left - b0) * BLOCK, stop - left,
                   out.get(), BLOCK, next);
      for (int c = 0; c < 3; c++)
        for (int i = 0; i < scale; i++) {
          float* to = picture.high +
                      ((size_t)(c * picture.height + y) * scale + i) * picture.width * scale;
          for (int b = left; b < stop; b++) {
            const float* from = out.get() + (b - left) * next + (size_t)(c * scale + i) * scale * BLOCK;
            int some = picture.width - b * BLOCK < BLOCK ? picture.width - b * BLOCK : BLOCK;
            for (int p = 0; p < some; p++)
              for (int j = 0; j < scale; j++) to[((size_t)b * BLOCK + p) * scale + j] = from[j * BLOCK + p];
          }
        }
    }
  }
}

}  // namespace PATH_NAME
