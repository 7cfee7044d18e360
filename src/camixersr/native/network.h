// A network's weights, as `camixersr.native.fold` hands them over, packed for the products.
#pragma once
#include <string>

#include "interface.h"
#include "product.h"

namespace PATH_NAME {

constexpr int WINDOW = BLOCK, TOKENS = WINDOW * WINDOW;
constexpr int GLOBAL = 8;     // channels of the global condition's hidden layer
constexpr int CONDITION = 4;  // channels of condition: two of the picture, two of the place in the window
constexpr int TAPS = 9;

// Reads numbers one after another.
struct Reader {
  const float* at;
  const float* take(size_t count) {
    const float* here = at;
    at += count;
    return here;
  }
  Numbers copy(size_t count) {
    Numbers result = zeros(count + BLOCK);
    std::memcpy(result.get(), take(count), count * 4);
    return result;
  }
  template <bool HALF>
  Matrix<HALF> matrix(int outs, int ins, bool biased = true) {
    const float* weight = take((size_t)outs * ins);
    return Matrix<HALF>(outs, ins, weight, biased ? take(outs) : nullptr);
  }
};

// Weights of a block. What a layer norm scales and shifts is folded into the matrices that read it: the stream is
// "normal" (zero mean, unit deviation), and the network's x is scale * normal + shift.
template <bool HALF>
struct Block {
  Numbers scale;                                       // C
  Matrix<false> hints;                                 // the predictor's features from the stream
  Numbers hints_of_condition, hints_scale, hints_shift;  // c x 4, c, c
  Numbers hints_of_place;                              // c x 256: what the place in the window adds
  Matrix<false> reads;                                 // nine taps of spatial attention, hidden offsets
  Numbers offsets_bias, spatial_bias, offsets;         // h; 1; 2 x h and 2
  Numbers score1, score1_bias, score2;                 // 16 x 256, 16; 16 and 1
  Numbers channel, channel_bias;                       // V x c, V
  Matrix<HALF> v, q, k;
  Numbers local1, local1_bias, local2, local2_bias;    // V x 9, V, twice
  Matrix<HALF> out;
  Numbers middle_scale;                                // C
  Matrix<HALF> feed_in;
  Numbers depthwise;                                   // 2F x 9
  Matrix<HALF> feed_out;

  Block(Reader& from, const CamixerShape& s)
      : scale(from.copy(s.channels)),
        hints(from.matrix<false>(s.hints, s.channels)),
        hints_of_condition(from.copy(s.hints * CONDITION)),
        hints_scale(from.copy(s.hints)),
        hints_shift(from.copy(s.hints)),
        hints_of_place(zeros((size_t)s.hints * TOKENS)),
        reads(from.matrix<false>(TAPS + s.offsets, s.hints, false)),
        offsets_bias(from.copy(s.offsets)),
        spatial_bias(from.copy(1)),
        offsets(from.copy(2 * s.offsets + 2)),
        score1(from.copy(WINDOW * TOKENS)),
        score1_bias(from.copy(WINDOW)),
        score2(from.copy(WINDOW + 1)),
        channel(from.copy(s.values * s.hints)),
        channel_bias(from.copy(s.values)),
        v(from.matrix<HALF>(s.values, s.channels)),
        q(from.matrix<HALF>(s.keys, s.channels)),
        k(from.matrix<HALF>(s.keys, s.channels)),
        local1(from.copy(s.values * TAPS)),
        local1_bias(from.copy(s.values)),
        local2(from.copy(s.values * TAPS)),
        local2_bias(from.copy(s.values)),
        out(from.matrix<HALF>(s.channels, s.values)),
        middle_scale(from.copy(s.channels)),
        feed_in(from.matrix<HALF>(2 * s.hidden, s.channels)),
        depthwise(from.copy(2 * s.hidden * TAPS)),
        feed_out(from.matrix<HALF>(s.channels, s.hidden)) {
    for (int h = 0; h < s.hints; h++)
      for (int p = 0; p < TOKENS; p++) {
        const float* of = hints_of_condition.get() + h * CONDITION;
        float step = 2.f / (WINDOW - 1);
        hints_of_place[h * TOKENS + p] = of[2] * (p / WINDOW * step - 1.f) + of[3] * (p % WINDOW * step - 1.f);
      }
  }
};

template <bool HALF>
struct Network {
  CamixerShape shape;
  Matrix<false> head;  // K: channel, then tap
  Numbers latitude;    // C, or nothing
  Matrix<false> global_in, global_out;
  std::vector<Block<HALF>> blocks;
  std::vector<Matrix<HALF>> tails;  // of the groups
  std::vector<int> last;            // of each group the block after its last
  bool lone = false;                // a group has one block
  Matrix<false> body_tail, tail;

  Network(const CamixerShape& s, const int* groups, const float* weights) : shape(s) {
    Reader from{weights};
    head = from.matrix<false>(s.channels, 3 * TAPS);
    if (s.latitude) latitude = from.copy(s.channels);
    global_in = from.matrix<false>(GLOBAL, s.channels);
    global_out = from.matrix<false>(2, GLOBAL * TAPS);
    for (int group = 0, end = 0; group < s.groups; group++) {
      end += groups[group];
      lone |= groups[group] == 1;
      last.push_back(end);
      while ((int)blocks.size() < end) blocks.emplace_back(from, s);
      tails.push_back(from.matrix<HALF>(s.channels, s.channels));
    }
    body_tail = from.matrix<false>(s.channels, s.channels * TAPS);
    tail = from.matrix<false>(3 * s.scale * s.scale, s.channels * TAPS);
  }
};

}  // namespace PATH_NAME
