// Deformable attention of chosen windows, and who is chosen: camixersr.nn.attention and the mask of
// camixersr.nn.predictor, each with its gradient.
#pragma once
#include "half.h"
#include "layers.h"

constexpr int M = 16, TOKENS = M * M, BESIDE = TOKENS + 16;  // side of a window; stride of its planes
constexpr int ACROSS = SIDE / M, WINDOWS = ACROSS * ACROSS;
constexpr int HINTS = (C + 4) / 4, MOVES = (C + 4) / 8, GATES = M;  // widths inside the predictor

struct WindowOffsets {
  int plane[TOKENS];
  WindowOffsets() {
    for (int k = 0; k < TOKENS; k++) plane[k] = k * BESIDE;
  }
};
static const WindowOffsets WINDOW;

struct AttentionWeights {
  float *mask1_w, *mask1_b, *mask2_w, *mask2_b, *move1_w, *move1_b, *move2_w, *move2_b, *q_w, *q_b, *k_w, *k_b;
};

// What an attended window leaves for the way back.
struct Attended {
  float seen[C * BESIDE];
  float right[C * BESIDE], down[C * BESIDE];  // how `seen` changes where its place moves
  float q[C * BESIDE], k[C * BESIDE], out[C * BESIDE];
  float hints[HINTS * BESIDE], hidden[MOVES * BESIDE], move[2 * BESIDE];
  Kept part[TOKENS * KEPT];  // of key j in query i, at row j
};

// Scratch of one thread.
struct AttentionScratch {
  float own[C * BESIDE], v[C * BESIDE], a[C * BESIDE], b[C * BESIDE], c[C * BESIDE], d[C * BESIDE];
  float square[TOKENS * BESIDE], turned[(C + 15) / 16 * 16 * TOKENS];
#if HALF
  alignas(64) Pair left[TOKENS * BESIDE / 2];
  Pair pairs[TOKENS * BESIDE / 2], runs[TOKENS * KEPT];
#endif
};

static size_t corner(int window) { return (size_t)(window / ACROSS) * M * SIDE + window % ACROSS * M; }
static size_t inside(int token) { return (size_t)(token / M) * SIDE + token % M; }  // from the corner
static void take(const float* map, int K, int window, float* out) {
  map += corner(window);
  for (int c = 0; c < K; c++)
    for (int i = 0; i < TOKENS; i += LANES) store(out + c * BESIDE + i, load(map + (size_t)c * STRIDE + inside(i)));
}
static void put(const float* in, int K, int window, float* map, bool add) {
  map += corner(window);
  for (int c = 0; c < K; c++)
    for (int i = 0; i < TOKENS; i += LANES) {
      float* to = map + (size_t)c * STRIDE + inside(i);
      Vector x = load(in + c * BESIDE + i);
      store(to, add ? load(to) + x : x);
    }
}

constexpr int HELD = 2;  // vectors of a window's plane held at once
static Source tokens(const float* in) { return {in, WINDOW.plane, 1, TOKENS / (LANES * HELD), 0}; }
static Source token_vectors(const float* in) { return {in, WINDOW.plane, 1, TOKENS / LANES, 0}; }
static void project(const float* w, const float* b, int O, int K, const float* in, float* out) {
  multiply<HELD>(w, K, 1, O, K, tokens(in), out, BESIDE, b, false);
}
static void project_back(const float* w, int O, int K, const float* g, float* to, bool add) {
  multiply<HELD>(w, 1, K, K, O, tokens(g), to, BESIDE, nullptr, add);
}
static void project_weights(const float* g, int O, const float* in, int K, float* w, float* b) {
  correlate(g, BESIDE, O, token_vectors(in), K, w);
  for (int o = 0; o < O; o++) {
    Vector s = all(0.f);
    for (int p = 0; p < TOKENS; p += LANES) s += load(g + o * BESIDE + p);
    b[o] += sum(s);
  }
}

// The six products of attention. `square` holds a number for each pair of tokens, key j in row j.
#if TILES
static void pair_up(const float* k, const float* q, float* square, AttentionScratch&) {
  tile_multiply(k, 1, BESIDE, TOKENS, C, q, TOKENS / LANES, BESIDE, square);
}
static void mix_tokens(const float* v, float* out, AttentionScratch& s) {
  tile_multiply(v, BESIDE, 1, C, TOKENS, s.square, TOKENS / LANES, BESIDE, out);
}
static void against(const float* g, const Pair* square, float* to, AttentionScratch& s) {
  // rows of `square` are rows of tiles as they lie; what is asked for comes out turned
  constexpr int WIDE = up(C, EDGE), STEPS = TOKENS / DEPTH;
  for (int c = 0; c < WIDE; c++)
    for (int step = 0; step < STEPS; step++)
      turned_pairs(
          [&](int i) {
            const float* at = g + (c * EDGE + i) * BESIDE + step * DEPTH;
            return c * EDGE + i < C ? shortened(load(at), load(at + LANES)) : _mm512_setzero_si512();
          },
          s.left + (c * STEPS + step) * EDGE * EDGE);
  tile_blocks(TOKENS / EDGE, WIDE, (const uint16_t*)square, (size_t)EDGE * KEPT * 2, DEPTH, KEPT * 4, s.left,
              (size_t)STEPS * EDGE * EDGE, EDGE * EDGE, 64, STEPS, s.turned, WIDE * EDGE);
  for (int j = 0; j < TOKENS; j += EDGE)
    for (int c = 0; c < WIDE; c++) {
      __m512i r[16];
      for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(s.turned + ((j + i) * WIDE + c) * EDGE);
      transpose(r);
      for (int i = 0; i < 16 && c * EDGE + i < C; i++) _mm512_storeu_si512(to + (c * EDGE + i) * BESIDE + j, r[i]);
    }
}
static void keep(const float* square, Kept* kept) { shorten(square, TOKENS, kept); }
static void recall(const Kept* kept, int row, Vector* numbers) {
  for (int i = 0; i < TOKENS / (2 * LANES); i++) lengthen(kept + row * KEPT + LANES * i, numbers + 2 * i);
}
#elif HALF
// square[j][i] = sum over c of k[c][j] * q[c][i]
static void pair_up(const float* k, const float* q, float* square, AttentionScratch& s) {
  interleave(k, C, s.left);
  interleave(q, C, s.pairs);
  half_multiply(s.left, 1, BESIDE, TOKENS, (C + 1) / 2, s.pairs, square);
}
// out[c][i] = sum over j of v[c][j] * square[j][i], the square as s.pairs
static void mix_tokens(const float* v, float* out, AttentionScratch& s) {
  shorten(v, C, s.left);
  half_multiply(s.left, KEPT, 1, C, TOKENS / 2, s.pairs, out);
}
// to[c][j] = sum over i of g[c][i] * square[j][i]
static void against(const float* g, const Pair* square, float* to, AttentionScratch& s) {
  shorten(g, C, s.left);
  half_correlate(s.left, C, square, s.turned);
  for (int c = 0; c < C; c++) memcpy(to + c * BESIDE, s.turned + c * TOKENS, TOKENS * 4);
}
static void keep(const float* square, Kept* kept) { shorten(square, TOKENS, kept); }
static void recall(const Kept* kept, int row, Vector* numbers) {
  for (int i = 0; i < TOKENS / (2 * LANES); i++) lengthen(kept + row * KEPT + LANES * i, numbers + 2 * i);
}
#else
static void pair_up(const float* k, const float* q, float* square, AttentionScratch&) {
  multiply<HELD>(k, 1, BESIDE, TOKENS, C, tokens(q), square, BESIDE, nullptr, false);
}
static void mix_tokens(const float* v, float* out, AttentionScratch& s) {
  multiply<HELD>(v, BESIDE, 1, C, TOKENS, tokens(s.square), out, BESIDE, nullptr, false);
}
static void against(const float* g, const float* square, float* to, AttentionScratch& s) {
  memset(s.turned, 0, sizeof s.turned);
  correlate(g, BESIDE, C, token_vectors(square), TOKENS, s.turned);
  for (int c = 0; c < C; c++) memcpy(to + c * BESIDE, s.turned + c * TOKENS, TOKENS * 4);
}
static void keep(const float* square, Kept* kept) { memcpy(kept, square, sizeof(float) * TOKENS * BESIDE); }
static void recall(const Kept* kept, int row, Vector* numbers) {
  for (int i = 0; i < TOKENS / LANES; i++) numbers[i] = load(kept + row * KEPT + LANES * i);
}
#endif

// Where neighbouring tokens of a row read the map: four corners, and how far between them.
struct Spot {
  Whole at[4];
  Vector right, down, part[4];
  Mask inside_x, inside_y;
};
static Spot spot(const Attended& w, int window, int token) {
  static const float LANE[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  Spot s;
  Vector last = all(SIDE - 1.f);
  Vector x = all((float)(window % ACROSS * M + token % M)) + load(LANE) + load(w.move + token);
  Vector y = all((float)(window / ACROSS * M + token / M)) + load(w.move + BESIDE + token);
  s.inside_x = both(at_most(all(0.f), x), at_most(x, last));
  s.inside_y = both(at_most(all(0.f), y), at_most(y, last));
  x = smaller(larger(x, all(0.f)), last);
  y = smaller(larger(y, all(0.f)), last);
  Vector left = floor(x), top = floor(y);
  s.right = x - left;
  s.down = y - top;
  Whole end = all(SIDE - 1), x0 = whole(left), x1 = smaller(plus(x0, all(1)), end);
  Whole y0 = whole(top), y1 = smaller(plus(y0, all(1)), end);
  y0 = times(y0, all(SIDE));
  y1 = times(y1, all(SIDE));
  s.at[0] = plus(y0, x0);
  s.at[1] = plus(y0, x1);
  s.at[2] = plus(y1, x0);
  s.at[3] = plus(y1, x1);
  Vector stay_x = all(1.f) - s.right, stay_y = all(1.f) - s.down;
  s.part[0] = stay_x * stay_y;
  s.part[1] = s.right * stay_y;
  s.part[2] = stay_x * s.down;
  s.part[3] = s.right * s.down;
  return s;
}

// x: the block's input; v: its values; hints: the predictor's features. The result is in w.out.
static void attend(const AttentionWeights& p, const float* x, const float* v, const float* hints, int window,
                   Attended& w, AttentionScratch& scratch) {
  take(x, C, window, scratch.own);
  take(v, C, window, scratch.v);
  take(hints, HINTS, window, w.hints);
  project(p.move1_w, p.move1_b, MOVES, HINTS, w.hints, w.hidden);
  leak(w.hidden, MOVES * BESIDE);
  project(p.move2_w, p.move2_b, 2, MOVES, w.hidden, w.move);
  for (int i = 0; i < 2 * BESIDE; i += LANES) {  // up to half a window: 8 tanh(t)
    Vector t = load(w.move + i);
    store(w.move + i, all(8.f) * (all(1.f) - all(2.f) / (exponential(t + t) + all(1.f))));
  }
  for (int i = 0; i < TOKENS; i += LANES) {
    Spot s = spot(w, window, i);
    for (int c = 0; c < C; c++) {
      Vector k = load(scratch.own + c * BESIDE + i), at[4];
      for (int j = 0; j < 4; j++) {
        at[j] = gather(x + (size_t)c * STRIDE, s.at[j]);
        k = fma(s.part[j], at[j], k);
      }
      store(w.seen + c * BESIDE + i, k);
      store(w.right + c * BESIDE + i, (all(1.f) - s.down) * (at[1] - at[0]) + s.down * (at[3] - at[2]));
      store(w.down + c * BESIDE + i, (all(1.f) - s.right) * (at[2] - at[0]) + s.right * (at[3] - at[1]));
    }
  }
  project(p.q_w, p.q_b, C, C, scratch.own, w.q);
  project(p.k_w, p.k_b, C, C, w.seen, w.k);
  float* part = scratch.square;
  pair_up(w.k, w.q, part, scratch);
  for (int i = 0; i < TOKENS; i += LANES) {  // softmax over the keys
    Vector most = load(part + i), total = all(0.f);
    for (int j = 1; j < TOKENS; j++) most = larger(most, load(part + j * BESIDE + i));
    for (int j = 0; j < TOKENS; j++) {
      Vector e = exponential(load(part + j * BESIDE + i) - most);
      total += e;
      store(part + j * BESIDE + i, e);
    }
    total = all(1.f) / total;
    for (int j = 0; j < TOKENS; j++) store(part + j * BESIDE + i, load(part + j * BESIDE + i) * total);
  }
  keep(part, w.part);
#if HALF && !TILES
  interleave(part, TOKENS, scratch.pairs);
#endif
  mix_tokens(scratch.v, w.out, scratch);
}

// x and v as for `attend`; g: gradient of the mixed map. Sets the window in gv; adds to gx and ghints.
static void attend_back(const AttentionWeights& p, const AttentionWeights& to, const float* x, const float* v,
                        int window, const Attended& w, AttentionScratch& s, const float* g, float* gv, float* gx,
                        float* ghints) {
  take(x, C, window, s.own);
  take(v, C, window, s.v);
  float* gout = s.a;
  take(g, C, window, gout);
  against(gout, w.part, s.b, s);
  put(s.b, C, window, gv, false);
  pair_up(s.v, gout, s.square, s);
  Vector mean[TOKENS / LANES];
  for (int i = 0; i < TOKENS / LANES; i++) {
    mean[i] = all(0.f);
    for (int c = 0; c < C; c++)
      mean[i] = fma(load(gout + c * BESIDE + LANES * i), load(w.out + c * BESIDE + LANES * i), mean[i]);
  }
  for (int j = 0; j < TOKENS; j++) {
    Vector part[TOKENS / LANES];
    recall(w.part, j, part);
    for (int i = 0; i < TOKENS / LANES; i++) {
      float* at = s.square + j * BESIDE + LANES * i;
      store(at, part[i] * (load(at) - mean[i]));
    }
  }
  float *gq = s.b, *gk = s.c, *gown = s.a, *gseen = s.d;
#if HALF
#if !TILES
  interleave(s.square, TOKENS, s.pairs);
#endif
  mix_tokens(w.k, gq, s);
  shorten(s.square, TOKENS, s.runs);
  against(w.q, s.runs, gk, s);
#else
  mix_tokens(w.k, gq, s);
  against(w.q, s.square, gk, s);
#endif
  project_weights(gq, C, s.own, C, to.q_w, to.q_b);
  project_weights(gk, C, w.seen, C, to.k_w, to.k_b);
  project_back(p.k_w, C, C, gk, gseen, false);
  memcpy(gown, gseen, sizeof s.a);
  project_back(p.q_w, C, C, gq, gown, true);
  put(gown, C, window, gx, true);
  float* gmove = s.b;
  for (int i = 0; i < TOKENS; i += LANES) {
    Spot t = spot(w, window, i);
    Vector gright = all(0.f), gdown = all(0.f);
    alignas(64) int at[4][LANES];
    for (int j = 0; j < 4; j++) store(at[j], t.at[j]);
    for (int c = 0; c < C; c++) {
      Vector q = load(gseen + c * BESIDE + i);
      alignas(64) float share[4][LANES];
      for (int j = 0; j < 4; j++) store(share[j], q * t.part[j]);
      gright = fma(q, load(w.right + c * BESIDE + i), gright);
      gdown = fma(q, load(w.down + c * BESIDE + i), gdown);
      float* out = gx + (size_t)c * STRIDE;
      for (int lane = 0; lane < LANES; lane++)
        for (int j = 0; j < 4; j++) out[at[j][lane]] += share[j][lane];
    }
    Vector slope_x = load(w.move + i) * all(.125f), slope_y = load(w.move + BESIDE + i) * all(.125f);
    slope_x = all(8.f) * (all(1.f) - slope_x * slope_x);
    slope_y = all(8.f) * (all(1.f) - slope_y * slope_y);
    store(gmove + i, where(t.inside_x, gright * slope_x, all(0.f)));
    store(gmove + BESIDE + i, where(t.inside_y, gdown * slope_y, all(0.f)));
  }
  project_weights(gmove, 2, w.hidden, MOVES, to.move2_w, to.move2_b);
  float* ghidden = s.c;
  project_back(p.move2_w, 2, MOVES, gmove, ghidden, false);
  leak_back(ghidden, w.hidden, MOVES * BESIDE);
  project_weights(ghidden, MOVES, w.hints, HINTS, to.move1_w, to.move1_b);
  project_back(p.move1_w, MOVES, HINTS, ghidden, s.a, false);
  put(s.a, HINTS, window, ghints, true);
}

// The mask head: log-odds of every window, from the mean of the hints; who reaches `least` is attended.
struct Choice {
  float mean[PIXELS], hidden[WINDOWS][GATES], logits[WINDOWS];
  bool attended[WINDOWS];
  Attended* kept[WINDOWS];
};
static void choose(const AttentionWeights& p, const float* hints, float least, Choice& choice) {
  for (int q = 0; q < PIXELS; q += LANES) {
    Vector s = all(0.f);
    for (int i = 0; i < HINTS; i++) s += load(hints + (size_t)i * STRIDE + q);
    store(choice.mean + q, s * all(1.f / HINTS));
  }
  for (int w = 0; w < WINDOWS; w++) {
    float two[2] = {p.mask2_b[0], p.mask2_b[1]};
    for (int h = 0; h < GATES; h++) {
      Vector s = all(0.f);
      for (int i = 0; i < TOKENS; i += LANES)
        s = fma(load(choice.mean + corner(w) + inside(i)), load(p.mask1_w + h * TOKENS + i), s);
      float t = sum(s) + p.mask1_b[h];
      t = choice.hidden[w][h] = t > 0 ? t : .1f * t;
      two[0] += p.mask2_w[h] * t;
      two[1] += p.mask2_w[GATES + h] * t;
    }
    choice.logits[w] = two[0] - two[1];
    choice.attended[w] = choice.logits[w] >= least;
  }
}
// glogits: gradient of the log-odds. It ends here: what the hints tell everybody else is not for the scores
// to shape.
static void choose_back(const AttentionWeights& p, const AttentionWeights& to, const Choice& choice,
                        const float* glogits) {
  for (int w = 0; w < WINDOWS; w++) {
    float two[2] = {glogits[w], -glogits[w]};
    for (int h = 0; h < GATES; h++) {
      float g = two[0] * p.mask2_w[h] + two[1] * p.mask2_w[GATES + h];
      for (int l = 0; l < 2; l++) to.mask2_w[l * GATES + h] += two[l] * choice.hidden[w][h];
      if (choice.hidden[w][h] < 0) g *= .1f;
      to.mask1_b[h] += g;
      for (int i = 0; i < TOKENS; i += LANES) {
        float* at = to.mask1_w + h * TOKENS + i;
        store(at, fma(all(g), load(choice.mean + corner(w) + inside(i)), load(at)));
      }
    }
    for (int l = 0; l < 2; l++) to.mask2_b[l] += two[l];
  }
}
