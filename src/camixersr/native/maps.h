// The maps of a picture that are kept whole, and what each thread has of its own.
#pragma once
#include "network.h"

namespace PATH_NAME {

constexpr int MARGIN = BLOCK;  // zeros on both sides of a planar row

// A range of blocks and rows.
struct Maps {
  int H, W, across;  // low pixels, multiples of windows; blocks in a row
  int wide;          // numbers of a planar row of one channel
  int beside;        // channels of a pixel in `pixels`
  Numbers head, stream[3];         // blocked, C channels: what the first block is given; what each gives
  Numbers condition;               // blocked, 2 channels
  Numbers pixels;                  // the stream again, each pixel's channels together: what warping reads
  Numbers mixed;                   // blocked, V channels: both branches
  Numbers reads;                   // planar, 9 + h channels
  Numbers place;                   // N x 256: means of the predictor's features, window by window
  Numbers sums;                    // N x c: sums of the features over windows
  Numbers channel;                 // cells x V: channel attention
  Numbers nothing;                 // a planar row of zeros
  std::vector<uint8_t> near;       // N: an attended window lies beside, or is this one
  std::vector<int> cell_of_row, cell_of_column;  // of windows
  int cells_down, cells_across;

  Maps(const CamixerShape& s, const CamixerPicture& picture) {
    H = up(picture.height, WINDOW), W = up(picture.width, WINDOW), across = W / BLOCK;
    wide = W + 2 * MARGIN;
    if (wide / BLOCK % 4 == 0) wide += BLOCK;  // neighbouring channels must not fall on the same lines of the cache
    beside = up(s.channels, BLOCK);
    size_t pixels_of = (size_t)H * W, windows = pixels_of / TOKENS;
    for (Numbers* map : {&head, &stream[0], &stream[1], &stream[2]}) *map = numbers(pixels_of * s.channels);
    condition = numbers(pixels_of * 2);
    pixels = numbers(pixels_of * beside);
    mixed = numbers(pixels_of * s.values);
    reads = zeros((size_t)H * wide * (TAPS + s.offsets) + MARGIN);
    place = numbers(pixels_of);
    sums = numbers(windows * s.hints);
    nothing = zeros((size_t)wide + MARGIN);
    near.resize(windows);
    cells_down = cells(picture.cell, picture.above, H, cell_of_row);
    cells_across = cells(picture.cell, picture.left, W, cell_of_column);
    channel = numbers((size_t)cells_down * cells_across * s.values);
  }

  size_t blocked(int y, int block, int channels) const { return ((size_t)y * across + block) * channels * BLOCK; }
  // Where channel 0 of a row of a planar map begins.
  size_t planar(int y, int channels) const { return (size_t)y * wide * channels + MARGIN; }

 private:
  static int cells(int side, int before, int length, std::vector<int>& of) {
    for (int at = 0; at < length; at += WINDOW) of.push_back(side ? (before + at) / side : 0);
    return of.back() + 1;
  }
};

}  // namespace PATH_NAME
