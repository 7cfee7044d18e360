// The maps of a picture that are kept whole, and what each thread has of its own.
#pragma once
#include "network.h"

namespace PATH_NAME {

constexpr int MARGIN = BLOCK;  // zeros on both sides of a planar row

// The stream of a picture: blocked, C channels. Its rows go round in a map that has some more, so that a block can write
// what it gives over rows that nobody reads any more.
struct Stream {
  float* map;
  int rows, first;  // of the map; where the picture's first row lies. Both are multiples of windows
  size_t next;      // numbers from a row to the next
  size_t block;     // numbers from a block to the next

  // Rows of the same window follow each other.
  float* at(int y, int x) const {
    int row = first + y < rows ? first + y : first + y - rows;
    return map + row * next + x * block;
  }
  // In the same map, so many rows further up.
  Stream up_by(int some) const {
    Stream other = *this;
    other.first = first < some ? first - some + rows : first - some;
    return other;
  }
};

// A picture is computed in bands of rows of windows. Of what passes from one step to the next within a block only the
// rows of a band and its neighbours are kept, in rings.
struct Maps {
  int H, W, across;  // low pixels, multiples of windows; blocks in a row
  int band;          // rows of windows in a band
  int mixed_rows, pixel_rows;  // rows that rings hold: a band, and a row of windows above; and one below
  int wide;          // numbers of a planar row of one channel
  int beside;        // channels of a pixel in `pixels`
  int above;         // rows that a block's result lies above what the block was given, where both share a map
  Numbers streams[2];              // what a group is given and gives; what its blocks give
  int stream_rows[2];
  Numbers condition;               // blocked, 2 channels
  Numbers pixels;                  // a ring: the stream again, each pixel's channels together: what warping reads
  Numbers mixed;                   // a ring, blocked, V channels: both branches
  Numbers spatial;                 // a ring, planar: spatial attention
  Numbers reads;                   // planar, 9 + h channels
  Numbers place;                   // N x 256: means of the predictor's features, window by window
  Numbers sums;                    // N x c: sums of the features over windows
  Numbers channel;                 // cells x V: channel attention
  Numbers nothing;                 // a planar row of zeros
  std::vector<uint8_t> near;       // N: an attended window lies beside, or is this one
  const int32_t* cell_of;          // N: the cell of each window

  // lone: the network has a group of one block.
  Maps(const CamixerShape& s, const CamixerPicture& picture, bool lone) {
    H = up(picture.height, WINDOW), W = up(picture.width, WINDOW), across = W / BLOCK;
    wide = W + 2 * MARGIN;
    if (wide / BLOCK % 4 == 0) wide += BLOCK;  // neighbouring channels must not fall on the same lines of the cache
    beside = up(s.channels, BLOCK);
    band = across < LEAST / 2 ? (LEAST + across - 1) / across : 2;
    mixed_rows = (band + 1) * WINDOW < H ? (band + 1) * WINDOW : H;
    pixel_rows = (band + 2) * WINDOW < H ? (band + 2) * WINDOW : H;
    size_t pixels_of = (size_t)H * W, windows = pixels_of / TOKENS;
    above = mixed_rows;  // a band, and a row of windows for what follows the mixer: rows above these are not read again
    for (int map = 0; map < 2; map++) {
      stream_rows[map] = map || lone ? H + above : H;
      streams[map] = numbers((size_t)stream_rows[map] * W * s.channels);
    }
    condition = numbers(pixels_of * 2);
    pixels = numbers((size_t)pixel_rows * W * beside);
    spatial = numbers((size_t)pixel_rows * W);
    mixed = numbers((size_t)mixed_rows * W * s.values);
    reads = zeros((size_t)H * wide * (TAPS + s.offsets) + MARGIN);
    place = numbers(pixels_of);
    sums = numbers(windows * s.hints);
    nothing = zeros((size_t)wide + MARGIN);
    near.resize(windows);
    cell_of = picture.cell_of;
    channel = numbers((size_t)picture.cells * s.values);
  }

  // The stream in one of the maps.
  Stream stream(int map, int channels) const {
    size_t block = (size_t)channels * BLOCK;
    return {streams[map].get(), stream_rows[map], 0, across * block, block};
  }
  size_t blocked(int y, int block, int channels) const { return ((size_t)y * across + block) * channels * BLOCK; }
  // Where rows of the rings begin.
  float* mixed_at(int y, int block, int values) const { return mixed.get() + blocked(y % mixed_rows, block, values); }
  float* pixels_at(int y) const { return pixels.get() + (size_t)(y % pixel_rows) * W * beside; }
  float* spatial_at(int y) const { return spatial.get() + (size_t)(y % pixel_rows) * W; }
  // Where channel 0 of a row of a planar map begins.
  size_t planar(int y, int channels) const { return (size_t)y * wide * channels + MARGIN; }

  // Gives back all memory but the last stream's: the enlarged picture needs some.
  void only(const Stream& last) {
    for (Numbers& map : streams)
      if (map.get() != last.map) map.reset();
    for (Numbers* map : {&condition, &pixels, &spatial, &mixed, &reads, &place}) map->reset();
  }

 private:
  static constexpr int LEAST = 64;  // windows in a band: less is not worth waiting for each other
};

}  // namespace PATH_NAME
