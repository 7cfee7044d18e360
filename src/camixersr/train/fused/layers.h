// The network's layers on planes, each with its gradient.
//
// `g` is the gradient of what a layer gave. Gradients of weights are added to what is there.
#pragma once
#include "planes.h"

struct Offsets {
  int plane[WIDEST + 8];              // one after another
  int taps[9 * WIDEST], back[9 * WIDEST];  // nine taps of each padded plane, forward and mirrored
  Offsets() {
    for (int k = 0; k < WIDEST + 8; k++) plane[k] = k * STRIDE;
    for (int k = 0; k < WIDEST; k++)
      for (int t = 0; t < 9; t++) {
        int dy = t / 3 - 1, dx = t % 3 - 1;
        taps[k * 9 + t] = k * PADDED + (2 + dy) * ROW + PAD + dx;
        back[k * 9 + t] = k * PADDED + (2 - dy) * ROW + PAD - dx;
      }
  }
};
static const Offsets OFFSETS;

static Source planes(const float* in) { return {in, OFFSETS.plane, SIDE, RUNS, SIDE}; }
static Source vectors(const float* in) { return {in, OFFSETS.plane, SIDE, SIDE / LANES, SIDE}; }

// added: planes that are added to the result, or null; they may be `out` itself.
static void linear(const float* w, const float* b, int O, int K, const float* in, float* out,
                   const float* added = nullptr) {
  multiply<RUN>(w, K, 1, O, K, planes(in), out, STRIDE, b, added);
}
static void linear_back(const float* w, int O, int K, const float* g, float* to, bool add) {
  multiply<RUN>(w, 1, K, K, O, planes(g), to, STRIDE, nullptr, add ? to : nullptr);
}
static void linear_weights(const float* g, int O, const float* in, int K, float* w, float* b) {
  correlate(g, STRIDE, O, vectors(in), K, w);
  for (int o = 0; b && o < O; o++) b[o] += plane_sum(g + (size_t)o * STRIDE);
}

// 3 x 3, zeros outside. `padded` holds as many padded planes as there are channels.
static void convolve(const float* w, const float* b, int O, int K, const float* in, float* out, float* padded) {
  pad(in, K, padded);
  multiply<RUN>(w, 9 * K, 1, O, 9 * K, {padded, OFFSETS.taps, SIDE, RUNS, ROW}, out, STRIDE, b, nullptr);
}
static void convolve_weights(const float* g, int O, int K, const float* in, float* w, float* b, float* padded) {
  pad(in, K, padded);
  correlate(g, STRIDE, O, {padded, OFFSETS.taps, SIDE, SIDE / LANES, ROW}, 9 * K, w);
  for (int o = 0; o < O; o++) b[o] += plane_sum(g + (size_t)o * STRIDE);
}
static void convolve_back(const float* w, int O, int K, const float* g, float* to, float* padded) {
  static thread_local float turned[9 * C * WIDEST];
  for (int k = 0; k < K; k++)
    for (int o = 0; o < O; o++)
      for (int t = 0; t < 9; t++) turned[(k * O + o) * 9 + t] = w[(o * K + k) * 9 + t];
  pad(g, O, padded);
  multiply<RUN>(turned, 9 * O, 1, K, 9 * O, {padded, OFFSETS.back, SIDE, RUNS, ROW}, to, STRIDE, nullptr, nullptr);
}

// 3 x 3 in each channel by itself, taps `APART` pixels apart, ROWS rows at once; zeros outside.
constexpr int ROWS = 4;
alignas(64) static const float NOTHING[SIDE] = {0};
// each(row, tap, x): pixels x are what `tap` sees of vector `at` of row y + `row`.
template <int APART, class Each>
static inline void see(const float* plane, int y, int at, Each each) {
  auto look = [&](int r, Vector* x) {
    const float* row = y + r < 0 || y + r >= SIDE ? NOTHING : plane + (y + r) * SIDE;
    neighbours<APART>(row + at, at == 0, at == SIDE - LANES, x);
  };
  see<ROWS, APART>(look, each);
}
template <int APART>
static void depthwise(const float* w, const float* b, int K, const float* in, float* out) {
  for (int c = 0; c < K; c++, in += STRIDE, out += STRIDE, w += 9) {
    Vector bias = all(b ? b[c] : 0.f), tap[9];
    for (int t = 0; t < 9; t++) tap[t] = all(w[t]);
    for (int y = 0; y < SIDE; y += ROWS)
      for (int x = 0; x < SIDE; x += LANES) {
        Vector s[ROWS] = {bias, bias, bias, bias};
        see<APART>(in, y, x, [&](int row, int t, Vector v) { s[row] = fma(tap[t], v, s[row]); });
        for (int row = 0; row < ROWS; row++) store(out + (y + row) * SIDE + x, s[row]);
      }
  }
}
template <int APART>
static void depthwise_back(const float* w, int K, const float* in, const float* g, float* to, bool add, float* gw,
                           float* gb) {
  for (int c = 0; c < K; c++, in += STRIDE, g += STRIDE, to += STRIDE, w += 9, gw += 9) {
    Vector tap[9], total[9], bias = all(0.f);
    for (int t = 0; t < 9; t++) tap[t] = all(w[8 - t]), total[t] = all(0.f);
    for (int y = 0; y < SIDE; y += ROWS)
      for (int x = 0; x < SIDE; x += LANES) {
        Vector s[ROWS];
        for (int row = 0; row < ROWS; row++) s[row] = add ? load(to + (y + row) * SIDE + x) : all(0.f);
        see<APART>(g, y, x, [&](int row, int t, Vector v) { s[row] = fma(tap[t], v, s[row]); });
        for (int row = 0; row < ROWS; row++) store(to + (y + row) * SIDE + x, s[row]);
      }
    for (int y = 0; y < SIDE; y += ROWS)
      for (int x = 0; x < SIDE; x += LANES) {
        Vector q[ROWS];
        for (int row = 0; row < ROWS; row++) bias += q[row] = load(g + (y + row) * SIDE + x);
        see<APART>(in, y, x, [&](int row, int t, Vector v) { total[t] = fma(q[row], v, total[t]); });
      }
    for (int t = 0; t < 9; t++) gw[t] += sum(total[t]);
    if (gb) gb[c] += sum(bias);
  }
}

// Layer norm over the channels of each pixel: `unit` is normalised, `inverse` one over the deviation.
static void normalise(const float* in, int K, const float* w, const float* b, float* unit, float* inverse,
                      float* out) {
  for (int p = 0; p < PIXELS; p += LANES) {
    Vector s = all(0.f), q = all(0.f);
    for (int c = 0; c < K; c++) {
      _mm_prefetch(in + (size_t)c * STRIDE + p + 8 * LANES, _MM_HINT_T0);
      s += load(in + (size_t)c * STRIDE + p);
    }
    Vector mean = s * all(1.f / K);
    for (int c = 0; c < K; c++) {
      Vector d = load(in + (size_t)c * STRIDE + p) - mean;
      q = fma(d, d, q);
    }
    Vector r = all(1.f) / root(fma(q, all(1.f / K), all(1e-6f)));
    store(inverse + p, r);
    for (int c = 0; c < K; c++) {
      size_t i = (size_t)c * STRIDE + p;
      Vector u = (load(in + i) - mean) * r;
      store(unit + i, u);
      store(out + i, fma(u, all(w[c]), all(b[c])));
    }
  }
}
static void normalise_back(const float* g, const float* unit, const float* inverse, int K, const float* w,
                           float* to, float* gw, float* gb) {
  for (int c = 0; c < K; c++) {
    Vector a = all(0.f), s = all(0.f);
    for (int p = 0; p < PIXELS; p += LANES) {
      Vector q = load(g + (size_t)c * STRIDE + p);
      s += q;
      a = fma(q, load(unit + (size_t)c * STRIDE + p), a);
    }
    gw[c] += sum(a);
    gb[c] += sum(s);
  }
  for (int p = 0; p < PIXELS; p += LANES) {
    Vector mean = all(0.f), along = all(0.f), r = load(inverse + p);
    for (int c = 0; c < K; c++) {
      Vector q = load(g + (size_t)c * STRIDE + p) * all(w[c]);
      mean += q;
      along = fma(q, load(unit + (size_t)c * STRIDE + p), along);
    }
    mean *= all(1.f / K);
    along *= all(1.f / K);
    for (int c = 0; c < K; c++) {
      size_t i = (size_t)c * STRIDE + p;
      store(to + i, r * (load(g + i) * all(w[c]) - mean - load(unit + i) * along));
    }
  }
}
static void rescale(const float* unit, int K, const float* w, const float* b, float* out) {
  for (int c = 0; c < K; c++)
    for (int p = 0; p < PIXELS; p += LANES)
      store(out + (size_t)c * STRIDE + p, fma(load(unit + (size_t)c * STRIDE + p), all(w[c]), all(b[c])));
}

// Leaky ReLU of slope 0.1, in place, over `count` numbers; the gradient knows the sign by the result.
static void leak(float* x, int count) {
  for (int p = 0; p < count; p += LANES) store(x + p, larger(load(x + p), load(x + p) * all(.1f)));
}
static void leak_back(float* g, const float* out, int count) {
  for (int p = 0; p < count; p += LANES) {
    Vector q = load(g + p);
    store(g + p, where(below(load(out + p), all(0.f)), q * all(.1f), q));
  }
}
