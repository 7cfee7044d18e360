// Deformable attention of chosen windows, and who is chosen: camixersr.nn.attention and the mask of
// camixersr.nn.predictor, each with its gradient.
#pragma once
#include "half.h"
#include "layers.h"

constexpr int M = 16, TOKENS = M * M, BESIDE = TOKENS + 16;  // side of a window; stride of its planes
constexpr int ACROSS = SIDE / M, WINDOWS = ACROSS * ACROSS;
constexpr int HINTS = (C + 4) / 4, MOVES = (C + 4) / 8, GATES = M;  // widths inside the predictor
constexpr int WIDE = (C + 15) / 16 * 16;  // numbers of a pixel whose channels lie together; zeros at the end

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
  float seen[WIDE * BESIDE];
  float q[C * BESIDE], k[C * BESIDE], out[C * BESIDE];
  float hints[HINTS * BESIDE], hidden[MOVES * BESIDE], move[2 * BESIDE];
  float shrink[TOKENS];       // one over the sum of a query's weights
  Kept part[TOKENS * KEPT];  // weight of key j in query i, not yet divided by that sum, at row j
};

// Scratch of one thread.
struct AttentionScratch {
  float own[C * BESIDE], v[C * BESIDE], a[C * BESIDE], b[C * BESIDE], c[C * BESIDE];
  float d[WIDE * BESIDE];  // zeros beyond C
  float pixels[TOKENS * WIDE];
  Pair runs[TOKENS * KEPT];
#if TILES
  float square[TOKENS * BESIDE], turned[(C + 15) / 16 * 16 * TOKENS];
  alignas(64) Pair left[TOKENS * BESIDE / 2];
#else
  Pair first[C * BESIDE], second[C * BESIDE];
  alignas(64) float weights[TOKENS * TOGETHER];
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
  multiply<HELD>(w, K, 1, O, K, tokens(in), out, BESIDE, b, nullptr);
}
static void project_back(const float* w, int O, int K, const float* g, float* to, bool add) {
  multiply<HELD>(w, 1, K, K, O, tokens(g), to, BESIDE, nullptr, add ? to : nullptr);
}
static void project_weights(const float* g, int O, const float* in, int K, float* w, float* b) {
  correlate(g, BESIDE, O, token_vectors(in), K, w);
  for (int o = 0; o < O; o++) {
    Vector s = all(0.f);
    for (int p = 0; p < TOKENS; p += LANES) s += load(g + o * BESIDE + p);
    b[o] += sum(s);
  }
}

// Between planes and pixels whose channels lie together.
static void turn(const float* map, float* turned) {
  alignas(64) float rest[M * M] = {0};
  for (int p = 0; p < PIXELS; p += M)
    for (int c = 0; c < C; c += M) {
      const float* from = map + (size_t)c * STRIDE + p;
      int count = C - c < M ? C - c : M;
      for (int i = 0; count < M && i < count; i++) memcpy(rest + i * M, from + (size_t)i * STRIDE, M * 4);
      transpose(count < M ? rest : from, count < M ? M : STRIDE, turned + (size_t)p * WIDE + c, WIDE);
    }
}
static void turn_back(const float* turned, float* map) {  // adds to the map
  alignas(64) float rows[M * M];
  for (int p = 0; p < PIXELS; p += M)
    for (int c = 0; c < C; c += M) {
      transpose(turned + (size_t)p * WIDE + c, WIDE, rows, M);
      for (int i = 0; i < M && c + i < C; i++)
        for (int l = 0; l < M; l += LANES) {
          float* to = map + (size_t)(c + i) * STRIDE + p + l;
          store(to, load(to) + load(rows + i * M + l));
        }
    }
}

// Where the tokens of a row of a window read the map: the pixel left above, how far to its right and below it, and whether
// that is inside the map (a gradient ends at its edge).
struct Spots {
  int left[M], top[M];
  float right[M], down[M];
  Mask inside_x[M / LANES], inside_y[M / LANES];
};
static void find(const float* move, int window, int row, Spots& s) {
  static const float LANE[M] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  Vector last = all(SIDE - 1.f);
  auto split = [&](Vector at, int* whole, float* rest, Mask& inside) {
    inside = both(at_most(all(0.f), at), at_most(at, last));
    at = smaller(larger(at, all(0.f)), last);
    Vector floored = floor(at);
    store_integers(whole, floored);
    store(rest, at - floored);
  };
  for (int i = 0; i < M; i += LANES) {
    const float* by = move + row * M + i;
    split(all((float)(window % ACROSS * M)) + load(LANE + i) + load(by), s.left + i, s.right + i, s.inside_x[i / LANES]);
    split(all((float)(window / ACROSS * M + row)) + load(by + BESIDE), s.top + i, s.down + i, s.inside_y[i / LANES]);
  }
}
// Its four corners in a turned map, and what each counts.
struct Corners {
  size_t at[4];
  float part[4];
  Corners(const Spots& s, int i) {
    at[0] = ((size_t)s.top[i] * SIDE + s.left[i]) * WIDE;
    at[1] = at[0] + (s.left[i] < SIDE - 1 ? WIDE : 0);
    size_t below = s.top[i] < SIDE - 1 ? (size_t)SIDE * WIDE : 0;
    at[2] = at[0] + below, at[3] = at[1] + below;
    float r = s.right[i], d = s.down[i];
    part[0] = (1.f - r) * (1.f - d), part[1] = r * (1.f - d), part[2] = (1.f - r) * d, part[3] = r * d;
  }
};

// Keys of a window come from the turned map: where they moved to, and what was there before -> w.seen.
static void warp(const float* turned, int window, Attended& w) {
  alignas(64) float row[M * WIDE];
  for (int y = 0; y < M; y++) {
    Spots spots;
    find(w.move, window, y, spots);
    for (int i = 0; i < M; i++) {
      Corners corners(spots, i);
      const float* own = turned + (corner(window) + (size_t)y * SIDE + i) * WIDE;
      for (int c = 0; c < WIDE; c += LANES) {
        Vector k = load(own + c);
        for (int j = 0; j < 4; j++) k = fma(all(corners.part[j]), load(turned + corners.at[j] + c), k);
        store(row + i * WIDE + c, k);
      }
    }
    for (int c = 0; c < WIDE; c += M) transpose(row + c, WIDE, w.seen + c * BESIDE + y * M, BESIDE);
  }
}
// g: gradient of w.seen, WIDE planes. Adds to gturned; sets the gradient of w.move.
static void warp_back(const float* turned, int window, const Attended& w, const float* g, float* pixels, float* gturned,
                      float* gmove) {
  for (int y = 0; y < M; y++)
    for (int c = 0; c < WIDE; c += M) transpose(g + c * BESIDE + y * M, BESIDE, pixels + y * M * WIDE + c, WIDE);
  for (int y = 0; y < M; y++) {
    Spots spots;
    find(w.move, window, y, spots);
    alignas(64) float gx[M], gy[M];
    for (int i = 0; i < M; i++) {
      Corners corners(spots, i);
      Vector along[4] = {all(0.f), all(0.f), all(0.f), all(0.f)};
      const float* from = pixels + (y * M + i) * WIDE;
      for (int c = 0; c < WIDE; c += LANES) {
        Vector q = load(from + c);
        for (int j = 0; j < 4; j++) {
          along[j] = fma(q, load(turned + corners.at[j] + c), along[j]);
          float* to = gturned + corners.at[j] + c;
          store(to, fma(q, all(corners.part[j]), load(to)));
        }
      }
      alignas(16) float t[4];
      _mm_store_ps(t, sums(along[0], along[1], along[2], along[3]));
      float r = spots.right[i], d = spots.down[i];
      gx[i] = (1.f - d) * (t[1] - t[0]) + d * (t[3] - t[2]);
      gy[i] = (1.f - r) * (t[2] - t[0]) + r * (t[3] - t[1]);
    }
    for (int i = 0; i < M; i += LANES) {
      int at = y * M + i;
      auto slope = [&](const float* move) {  // of 8 tanh(t)
        Vector part = load(move + at) * all(.125f);
        return all(8.f) * (all(1.f) - part * part);
      };
      store(gmove + at, where(spots.inside_x[i / LANES], load(gx + i) * slope(w.move), all(0.f)));
      store(gmove + BESIDE + at, where(spots.inside_y[i / LANES], load(gy + i) * slope(w.move + BESIDE), all(0.f)));
    }
  }
}

// Weights of all keys in all queries, w.part and w.shrink (`keeps`: for the way back), and the sums of values s.v they
// make, w.out. And the way back: from the gradient g of w.out and from gshort, the same times w.shrink, to gradients of
// values, queries and keys.
#if TILES
static void pair_up(const float* k, const float* q, float* square) {
  tile_multiply(k, 1, BESIDE, TOKENS, C, q, TOKENS / LANES, BESIDE, square);
}
static void mix_tokens(const float* v, float* out, AttentionScratch& s) {
  tile_multiply(v, BESIDE, 1, C, TOKENS, s.square, TOKENS / LANES, BESIDE, out);
}
static void against(const float* g, const Pair* square, float* to, AttentionScratch& s) {
  // rows of `square` are rows of tiles as they lie; what is asked for comes out turned
  constexpr int ACROSS_TILES = up(C, EDGE), STEPS = TOKENS / DEPTH;
  for (int c = 0; c < ACROSS_TILES; c++)
    for (int step = 0; step < STEPS; step++)
      turned_pairs(
          [&](int i) {
            const float* at = g + (c * EDGE + i) * BESIDE + step * DEPTH;
            return c * EDGE + i < C ? shortened(load(at), load(at + LANES)) : _mm512_setzero_si512();
          },
          s.left + (c * STEPS + step) * EDGE * EDGE);
  tile_blocks(TOKENS / EDGE, ACROSS_TILES, (const uint16_t*)square, (size_t)EDGE * KEPT * 2, DEPTH, KEPT * 4, s.left,
              (size_t)STEPS * EDGE * EDGE, EDGE * EDGE, 64, STEPS, s.turned, ACROSS_TILES * EDGE);
  for (int j = 0; j < TOKENS; j += EDGE)
    for (int c = 0; c < ACROSS_TILES; c++) {
      __m512i r[16];
      for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(s.turned + ((j + i) * ACROSS_TILES + c) * EDGE);
      transpose(r);
      for (int i = 0; i < 16 && c * EDGE + i < C; i++) _mm512_storeu_si512(to + (c * EDGE + i) * BESIDE + j, r[i]);
    }
}
static void weigh(Attended& w, AttentionScratch& s, bool keeps) {
  pair_up(w.k, w.q, s.square);
  for (int i = 0; i < TOKENS; i += LANES) {
    float* at = s.square + i;
    Vector most = load(at), total = all(0.f);
    for (int j = 1; j < TOKENS; j++) most = larger(most, load(at + j * BESIDE));
    most = most * all(LOG2_E);
    for (int j = 0; j < TOKENS; j++) {
      Vector e = power_of_two<true>(fma(load(at + j * BESIDE), all(LOG2_E), all(0.f) - most));
      total += e;
      store(at + j * BESIDE, e);
    }
    store(w.shrink + i, all(1.f) / total);
  }
  if (keeps) shorten(s.square, TOKENS, w.part);
  mix_tokens(s.v, w.out, s);
  for (int c = 0; c < C; c++)
    for (int i = 0; i < TOKENS; i += LANES) store(w.out + c * BESIDE + i, load(w.out + c * BESIDE + i) * load(w.shrink + i));
}
static void weigh_back(const Attended& w, AttentionScratch& s, const float* gshort, const float* mean, float* gv, float* gq,
                       float* gk) {
  against(gshort, w.part, gv, s);
  pair_up(s.v, gshort, s.square);
  for (int j = 0; j < TOKENS; j++)
    for (int i = 0; i < TOKENS; i += TOGETHER) {
      Vector part[2];
      recall(w.part + j * KEPT + i / PAIR, part[0], part[1]);
      for (int v = 0; v < 2; v++) {
        float* at = s.square + j * BESIDE + i + v * LANES;
        store(at, part[v] * (load(at) - load(mean + i + v * LANES)));
      }
    }
  mix_tokens(w.k, gq, s);
  shorten(s.square, TOKENS, s.runs);
  against(w.q, s.runs, gk, s);
}
#else
static void weigh(Attended& w, AttentionScratch& s, bool keeps) {
  const Pair *keys = by_channels(w.k, s.first), *queries = by_channels(w.q, s.second);
  const Pair* values = by_tokens(s.v, s.runs);
  for (int i = 0; i < TOKENS; i += TOGETHER) {
    Vector most[2] = {all(-3e38f), all(-3e38f)}, total[2] = {all(0.f), all(0.f)}, scores[KEYS][2];
    for (int j = 0; j < TOKENS; j += KEYS) {
      score(keys + j, queries + i, scores);
#pragma GCC unroll 8
      for (int n = 0; n < KEYS; n++)
        for (int v = 0; v < 2; v++) {
          store(s.weights + (j + n) * TOGETHER + v * LANES, scores[n][v]);
          most[v] = larger(most[v], scores[n][v]);
        }
    }
    for (int v = 0; v < 2; v++) most[v] = all(0.f) - most[v] * all(LOG2_E);
    for (int j = 0; j < TOKENS; j += 2) {
      Vector e[2][2];
      for (int n = 0; n < 2; n++)
        for (int v = 0; v < 2; v++) {
          Vector x = load(s.weights + (j + n) * TOGETHER + v * LANES);
          e[n][v] = power_of_two<BF16>(fma(x, all(LOG2_E), most[v]));
          total[v] = total[v] + e[n][v];
        }
      put_weights(e[0], e[1], j, s.weights);
      for (int n = 0; keeps && n < 2; n++) keep(e[n][0], e[n][1], w.part + (j + n) * KEPT + i / PAIR);
    }
    Vector shrink[2] = {all(1.f) / total[0], all(1.f) / total[1]};
    for (int v = 0; v < 2; v++) store(w.shrink + i + v * LANES, shrink[v]);
    gather(values, s.weights, shrink, w.out + i);
  }
}
static void weigh_back(const Attended& w, AttentionScratch& s, const float* gshort, const float* mean, float* gv, float* gq,
                       float* gk) {
  against(by_tokens(gshort, s.first), w.part, gv);
  const Pair *values = by_channels(s.v, s.first), *wanted = by_channels(gshort, s.second);
  alignas(64) Pair space[C * KEPT];
  const Pair* keys = by_tokens(w.k, space);
  const Vector one[2] = {all(1.f), all(1.f)};
  for (int i = 0; i < TOKENS; i += TOGETHER) {
    Vector scores[KEYS][2], by[2] = {load(mean + i), load(mean + i + LANES)};
    for (int j = 0; j < TOKENS; j += KEYS) {
      score(values + j, wanted + i, scores);
#pragma GCC unroll 8
      for (int n = 0; n < KEYS; n++) {
        Vector part[2];
        recall(w.part + (j + n) * KEPT + i / PAIR, part[0], part[1]);
        for (int v = 0; v < 2; v++) scores[n][v] = part[v] * (scores[n][v] - by[v]);
        keep(scores[n][0], scores[n][1], s.runs + (j + n) * KEPT + i / PAIR);
      }
#pragma GCC unroll 4
      for (int n = 0; n < KEYS; n += 2) put_weights(scores[n], scores[n + 1], j + n, s.weights);
    }
    gather(keys, s.weights, one, gq + i);
  }
  against(by_tokens(w.q, s.first), s.runs, gk);
}
#endif

// x: the block's input, and turned; v: its values; hints: the predictor's features. The result is in w.out. keeps: for the
// way back, all else.
static void attend(const AttentionWeights& p, const float* x, const float* turned, const float* v, const float* hints,
                   int window, Attended& w, AttentionScratch& s, bool keeps) {
  take(x, C, window, s.own);
  take(v, C, window, s.v);
  take(hints, HINTS, window, w.hints);
  project(p.move1_w, p.move1_b, MOVES, HINTS, w.hints, w.hidden);
  leak(w.hidden, MOVES * BESIDE);
  project(p.move2_w, p.move2_b, 2, MOVES, w.hidden, w.move);
  for (int i = 0; i < 2 * BESIDE; i += LANES) store(w.move + i, all(8.f) * tanh(load(w.move + i)));  // up to half a window
  warp(turned, window, w);
  project(p.q_w, p.q_b, C, C, s.own, w.q);
  project(p.k_w, p.k_b, C, C, w.seen, w.k);
  weigh(w, s, keeps);
}

// x, turned and v as for `attend`; g: gradient of the mixed map. Sets the window in gv; adds to gx, gturned and ghints.
static void attend_back(const AttentionWeights& p, const AttentionWeights& to, const float* x, const float* turned,
                        const float* v, int window, const Attended& w, AttentionScratch& s, const float* g, float* gv,
                        float* gx, float* gturned, float* ghints) {
  take(x, C, window, s.own);
  take(v, C, window, s.v);
  float* gout = s.a;
  take(g, C, window, gout);
  alignas(64) float mean[TOKENS];
  for (int i = 0; i < TOKENS; i += LANES) {
    Vector total = all(0.f), shrink = load(w.shrink + i);
    for (int c = 0; c < C; c++) {
      Vector q = load(gout + c * BESIDE + i) * shrink;
      store(gout + c * BESIDE + i, q);
      total = fma(q, load(w.out + c * BESIDE + i), total);
    }
    store(mean + i, total);
  }
  float *gvalues = s.d, *gq = s.b, *gk = s.c, *gown = s.a, *gseen = s.d;
  weigh_back(w, s, gout, mean, gvalues, gq, gk);
  put(gvalues, C, window, gv, false);
  project_weights(gq, C, s.own, C, to.q_w, to.q_b);
  project_weights(gk, C, w.seen, C, to.k_w, to.k_b);
  project_back(p.k_w, C, C, gk, gseen, false);
  memcpy(gown, gseen, sizeof s.a);
  project_back(p.q_w, C, C, gq, gown, true);
  put(gown, C, window, gx, true);
  float* gmove = s.b;
  warp_back(turned, window, w, gseen, s.pixels, gturned, gmove);
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
