// The core's interface: plain C, called through ctypes by `camixersr.native`.
#pragma once
#include <stdint.h>

extern "C" {

// The shape of a network; the names are those of camixersr.models.CAMixerSRConfig.
struct CamixerShape {
  int32_t channels, scale, latitude, keys, values, hidden;
  int32_t hints;    // channels of the predictor's features
  int32_t offsets;  // channels of the hidden layer of its offsets
  int32_t groups;
};

// Asked once a block which windows are attended: from N log-odds to N numbers, 0 to 1. Returns 0 to go on.
typedef int32_t (*CamixerChoose)(int32_t block, const float* logits, float* mask);

// A picture, and what is wanted of it; N windows, row by row.
struct CamixerPicture {
  int32_t height, width;     // low pixels
  const float* low;          // 3 x height x width; a network with latitude: 4 planes, or 3 for the equator
  int32_t planes;            // 3 or 4
  int32_t cells;             // that channel attention pools over
  const int32_t* cell_of;    // N: the cell of each window, from 0
  const float* pooled;       // blocks x hints, means that take the place of the picture's; or null
  CamixerChoose choose;      // null: by thresholds
  const float* thresholds;   // blocks: log-odds from which windows are attended
  const float* bands;        // blocks: from there to full attention, in log-odds
  int32_t threads;
  float* high;               // 3 x scale * height x scale * width
  float* logits;             // blocks x N
  float* mask;               // blocks x N
  float* means;              // blocks x hints, the picture's own means; or null
};

// What a path, a set of instructions, offers.
struct CamixerPath {
  void* (*create)(const CamixerShape* shape, const int32_t* groups, const float* weights);
  void (*destroy)(void* network);
  int32_t (*run)(const void* network, const CamixerPicture* picture);
};

#pragma GCC visibility push(default)
// A digest of the sources that this was compiled from.
const char* camixer_version();
// Whether this machine has a path: "avx2" and "avx512" in single precision, "avx512_bf16" and "amx" in bfloat16.
int32_t camixer_has(const char* path);
// A network that computes by a path; null without memory, or without the path.
void* camixer_create(const char* path, const CamixerShape* shape, const int32_t* groups, const float* weights);
void camixer_destroy(void* network);
// 0; 1 where memory does not suffice; 2 where `choose` did not go on.
int32_t camixer_run(const void* network, const CamixerPicture* picture);
#pragma GCC visibility pop
}
