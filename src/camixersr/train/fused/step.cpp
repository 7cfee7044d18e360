// Loss and gradients of one patch through the classic network: the mathematics of camixersr.models and
// camixersr.nn, which say what it means, written out once more for speed and held against them by
// tests/train/test_fused.py. Read those first.
#include <algorithm>
#include <vector>

#include "attention.h"

constexpr int GROUP[] = GROUPS;
constexpr int GROUP_COUNT = sizeof(GROUP) / sizeof(GROUP[0]);
constexpr int count_blocks() {
  int all = 0;
  for (int blocks : GROUP) all += blocks;
  return all;
}
constexpr int BLOCKS = count_blocks(), CONDITION = 4, GLOBAL = 8;

// Weights, or their gradients, in the order of camixersr.train.fused.names.
struct BlockWeights {
  float *v_w, *v_b, *hints_w, *hints_b, *norm_w, *norm_b, *channel_w, *channel_b, *spatial_w, *spatial_b;
  float *local1_w, *local1_b, *local2_w, *local2_b, *out_w, *out_b;
  AttentionWeights attention;
  float *norm1_w, *norm1_b, *in_w, *depthwise_w, *feed_w, *norm2_w, *norm2_b;
};
struct Weights {
  float *head_w, *head_b, *latitude_w, *global_in_w, *global_in_b, *global_out_w, *global_out_b;
  BlockWeights block[BLOCKS];
  struct {
    float *w, *b;
  } group[GROUP_COUNT];
  float *body_w, *body_b, *tail_w, *tail_b;
};

// What a block leaves for the way back. What is computed from these plane by plane is computed again there: memory
// takes longer.
struct BlockRecord {
  float *v /* and the condition */, *hint_unit, *hint_inverse, *hints, *spatial;
  float *unit1, *inverse1, *wide, *unit2, *inverse2;
  float channel[C], hint_mean[HINTS], gate /* mean log-odds of spatial attention */;
  Choice choice;
};

struct Workspace {
  BlockRecord block[BLOCKS];
  float *first, *global, *condition, *group_in[GROUP_COUNT + 1], *group_out[GROUP_COUNT], *body, *tail, *image;
  float* padded;
  float *x[2], *a, *b, *c, *gwide, *ghints, *gseen, *gcondition, *gfirst, *g, *gblock, *turned, *gturned;
  float *y, *local1, *local2, *mixed, *mixed_gate, *one, *two, *gspatial;  // a plane each
  AttentionScratch* scratch;
  std::vector<Attended*> attended, rows;  // rows: what was asked for, WINDOWS at once
  size_t used_windows = 0, used = 0, size = 0;
  float* memory = nullptr;

  float* ask(size_t numbers) {
    float* at = memory + used;
    used += (numbers + 79) / 16 * 16;  // and a line more, so that they do not begin alike
    return at;
  }
  float* planes(int K) { return ask((size_t)K * STRIDE); }
  void lay_out() {
    used = 0;
    for (BlockRecord& r : block) {
      r.v = planes(C + CONDITION), r.hint_unit = planes(HINTS), r.hint_inverse = planes(1);
      r.hints = planes(HINTS), r.spatial = planes(1), r.unit1 = planes(C), r.inverse1 = planes(1);
      r.wide = planes(2 * C), r.unit2 = planes(C), r.inverse2 = planes(1);
    }
    first = planes(C), global = planes(GLOBAL), condition = planes(CONDITION), image = planes(3);
    for (float*& map : group_in) map = planes(C);
    for (float*& map : group_out) map = planes(C);
    body = planes(C), tail = planes(HIGH);
    padded = ask((size_t)PADDED * WIDEST);
    x[0] = planes(C), x[1] = planes(C), a = planes(C), b = planes(C), c = planes(C), gwide = planes(2 * C);
    ghints = planes(HINTS), gseen = planes(C + CONDITION), gcondition = planes(CONDITION);
    gfirst = planes(C), g = planes(C), gblock = planes(WIDEST);
    for (float** plane : {&y, &local1, &local2, &mixed, &mixed_gate, &one, &two, &gspatial}) *plane = planes(1);
    turned = ask((size_t)PIXELS * WIDE), gturned = ask((size_t)PIXELS * WIDE);
    scratch = (AttentionScratch*)ask(sizeof(AttentionScratch) / 4);
  }
  Workspace() {
    lay_out();
    memory = claim(used);
    lay_out();
  }
  ~Workspace() {
    free(memory);
    for (Attended* row : rows) free(row);
  }
  Attended* window() {
    if (used_windows == attended.size()) {
      rows.push_back((Attended*)claim(WINDOWS * sizeof(Attended) / 4));
      for (int i = 0; i < WINDOWS; i++) attended.push_back(rows.back() + i);
    }
    return attended[used_windows++];
  }
};

static void predict(const BlockWeights& p, BlockRecord& r, Workspace& k, const float* x) {
  linear(p.v_w, p.v_b, C, C, x, r.v);
  copy_planes(r.v + (size_t)C * STRIDE, k.condition, CONDITION);
  linear(p.hints_w, p.hints_b, HINTS, C + CONDITION, r.v, k.ghints);
  normalise(k.ghints, HINTS, p.norm_w, p.norm_b, r.hint_unit, r.hint_inverse, r.hints);
  leak(r.hints, HINTS * STRIDE);
  convolve(p.spatial_w, p.spatial_b, 1, HINTS, r.hints, r.spatial, k.padded);
  r.gate = plane_sum(r.spatial) / PIXELS;
  for (int q = 0; q < PIXELS; q += LANES) store(r.spatial + q, sigmoid(load(r.spatial + q)));
  for (int i = 0; i < HINTS; i++) r.hint_mean[i] = plane_sum(r.hints + (size_t)i * STRIDE) / PIXELS;
  for (int c = 0; c < C; c++) {
    float t = p.channel_b[c];
    for (int i = 0; i < HINTS; i++) t += p.channel_w[c * HINTS + i] * r.hint_mean[i];
    r.channel[c] = 1.f / (1.f + std::exp(-t));
  }
}

// A channel of both branches -> k.y, and what the two convolutions make of it -> k.local1, k.local2.
static void mix(const BlockWeights& p, const BlockRecord& r, Workspace& k, int c) {
  const float* v = r.v + (size_t)c * STRIDE;
  for (int q = 0; q < PIXELS; q += LANES) store(k.y + q, load(v + q) * load(r.spatial + q));
  for (int w = 0; w < WINDOWS; w++)
    if (r.choice.attended[w]) put(r.choice.kept[w]->out + c * BESIDE, 1, w, k.y, false);
  depthwise<1>(p.local1_w + 9 * c, p.local1_b + c, 1, k.y, k.local1);
  depthwise<2>(p.local2_w + 9 * c, p.local2_b + c, 1, k.local1, k.local2);
}
// A channel inside the feed-forward -> k.mixed, and its gate -> k.mixed_gate.
static void mix_wide(const BlockWeights& p, const BlockRecord& r, Workspace& k, int c) {
  depthwise<1>(p.depthwise_w + 9 * c, nullptr, 1, r.wide + (size_t)c * STRIDE, k.mixed);
  depthwise<1>(p.depthwise_w + 9 * (c + C), nullptr, 1, r.wide + (size_t)(c + C) * STRIDE, k.mixed_gate);
}

static bool attends(const Choice& choice) {
  return std::find(choice.attended, choice.attended + WINDOWS, true) != choice.attended + WINDOWS;
}

// x: the block's input; its result goes to `out`. keeps: for the way back, what windows left; else the next block may
// overwrite it.
static void forward(const BlockWeights& p, BlockRecord& r, Workspace& k, const float* x, float* out, float least,
                    bool keeps) {
  if (!keeps) k.used_windows = 0;
  predict(p, r, k, x);
  choose(p.attention, r.hints, least, r.choice);
  if (attends(r.choice)) turn(x, k.turned);
  for (int w = 0; w < WINDOWS; w++)
    if (r.choice.attended[w])
      attend(p.attention, x, k.turned, r.v, r.hints, w, *(r.choice.kept[w] = k.window()), *k.scratch, keeps);
  // Channel by channel, so that a plane is still in the cache when it is read next; so below, and on the way back.
  float *z = k.a, *s = k.b;
  for (int c = 0; c < C; c++) {
    mix(p, r, k, c);
    for (int q = 0; q < PIXELS; q += LANES) {
      Vector t = load(k.local2 + q), distribution, density;
      normal_law(t, distribution, density);
      store(z + (size_t)c * STRIDE + q, fma(t * distribution, all(r.channel[c]), load(k.y + q)));
    }
  }
  linear(p.out_w, p.out_b, C, C, z, s, x);
  float* x1 = k.a;
  normalise(s, C, p.norm1_w, p.norm1_b, r.unit1, r.inverse1, x1);
  linear(p.in_w, nullptr, 2 * C, C, x1, r.wide);
  float* h = k.b;
  for (int c = 0; c < C; c++) {
    mix_wide(p, r, k, c);
    for (int q = 0; q < PIXELS; q += LANES) {
      Vector t = load(k.mixed + q), distribution, density;
      normal_law(t, distribution, density);
      store(h + (size_t)c * STRIDE + q, t * distribution * load(k.mixed_gate + q));
    }
  }
  linear(p.feed_w, nullptr, C, C, h, x1, x1);
  normalise(x1, C, p.norm2_w, p.norm2_b, r.unit2, r.inverse2, out);
}

// x: the block's input; g: gradient of its result in, of its input out; ggate: of the mean log-odds of spatial attention.
static void backward(const BlockWeights& p, const BlockWeights& to, BlockRecord& r, Workspace& k, const float* x,
                     float* g, const float* glogits, float ggate) {
  // x = norm2(x + feed_forward(x))
  float *gs = k.a, *gh = k.b, *h = k.c, *gin = k.gwide;
  normalise_back(g, r.unit2, r.inverse2, C, p.norm2_w, gs, to.norm2_w, to.norm2_b);
  linear_back(p.feed_w, C, C, gs, gh, false);
  for (int c = 0; c < C; c++) {
    const size_t at = (size_t)c * STRIDE, other = at + (size_t)C * STRIDE;
    mix_wide(p, r, k, c);
    for (int q = 0; q < PIXELS; q += LANES) {
      Vector t = load(k.mixed + q), gate = load(k.mixed_gate + q), distribution, density;
      normal_law(t, distribution, density);
      Vector gelu = t * distribution, q1 = load(gh + at + q);
      store(h + at + q, gelu * gate);
      store(k.one + q, q1 * gate * fma(t, density, distribution));
      store(k.two + q, q1 * gelu);
    }
    depthwise_back<1>(p.depthwise_w + 9 * c, 1, r.wide + at, k.one, gin + at, false, to.depthwise_w + 9 * c, nullptr);
    depthwise_back<1>(p.depthwise_w + 9 * (c + C), 1, r.wide + other, k.two, gin + other, false,
                      to.depthwise_w + 9 * (c + C), nullptr);
  }
  linear_weights(gs, C, h, C, to.feed_w, nullptr);
  float* x1 = k.b;
  rescale(r.unit1, C, p.norm1_w, p.norm1_b, x1);
  linear_weights(gin, 2 * C, x1, C, to.in_w, nullptr);
  linear_back(p.in_w, 2 * C, C, gin, gs, true);
  // x = norm1(x + mixer(x)); from here g is the gradient of the sum, and of x by the skip
  normalise_back(gs, r.unit1, r.inverse1, C, p.norm1_w, g, to.norm1_w, to.norm1_b);
  // the convolution branch, where no attention took its place
  float *gv = k.a, *z = k.b, *gmixed = k.c, *gspatial = k.gspatial;
  linear_back(p.out_w, C, C, g, gv, false);
  memset(gspatial, 0, PIXELS * 4);
  float gchannel[C];
  for (int c = 0; c < C; c++) {
    const size_t at = (size_t)c * STRIDE;
    float *glocal2 = k.one, *glocal1 = k.two;
    mix(p, r, k, c);
    Vector channel = all(r.channel[c]), total = all(0.f);
    for (int q = 0; q < PIXELS; q += LANES) {
      Vector t = load(k.local2 + q), gz = load(gv + at + q), distribution, density;
      normal_law(t, distribution, density);
      Vector gelu = t * distribution;
      store(z + at + q, fma(gelu, channel, load(k.y + q)));
      total = fma(gz, gelu, total);
      store(glocal2 + q, gz * channel * fma(t, density, distribution));
    }
    gchannel[c] = sum(total) * r.channel[c] * (1.f - r.channel[c]);
    depthwise_back<2>(p.local2_w + 9 * c, 1, k.local1, glocal2, glocal1, false, to.local2_w + 9 * c, to.local2_b + c);
    depthwise_back<1>(p.local1_w + 9 * c, 1, k.y, glocal1, gv + at, true, to.local1_w + 9 * c, to.local1_b + c);
    memcpy(gmixed + at, gv + at, PIXELS * 4);
    for (int w = 0; w < WINDOWS; w++)
      if (r.choice.attended[w])
        for (int i = 0; i < TOKENS; i += LANES) store(gv + at + corner(w) + inside(i), all(0.f));
    for (int q = 0; q < PIXELS; q += LANES) {
      Vector q1 = load(gv + at + q);
      store(gspatial + q, fma(q1, load(r.v + at + q), load(gspatial + q)));
      store(gv + at + q, q1 * load(r.spatial + q));
    }
  }
  for (int q = 0; q < PIXELS; q += LANES) {
    Vector spatial = load(r.spatial + q);
    store(gspatial + q, fma(load(gspatial + q), spatial * (all(1.f) - spatial), all(ggate / PIXELS)));
  }
  linear_weights(g, C, z, C, to.out_w, to.out_b);
  // the predictor
  float *ghints = k.ghints, gmean[HINTS] = {0};
  convolve_back(p.spatial_w, 1, HINTS, gspatial, ghints, k.padded);
  convolve_weights(gspatial, 1, HINTS, r.hints, to.spatial_w, to.spatial_b, k.padded);
  for (int c = 0; c < C; c++) {
    to.channel_b[c] += gchannel[c];
    for (int i = 0; i < HINTS; i++) {
      to.channel_w[c * HINTS + i] += gchannel[c] * r.hint_mean[i];
      gmean[i] += gchannel[c] * p.channel_w[c * HINTS + i];
    }
  }
  for (int i = 0; i < HINTS; i++)
    for (int q = 0; q < PIXELS; q += LANES) {
      float* at = ghints + (size_t)i * STRIDE + q;
      store(at, load(at) + all(gmean[i] / PIXELS));
    }
  choose_back(p.attention, to.attention, r.choice, glogits);
  const bool some = attends(r.choice);
  if (some) turn(x, k.turned), memset(k.gturned, 0, (size_t)PIXELS * WIDE * 4);
  for (int w = 0; w < WINDOWS; w++)
    if (r.choice.attended[w])
      attend_back(p.attention, to.attention, x, k.turned, r.v, w, *r.choice.kept[w], *k.scratch, gmixed, gv, g,
                  k.gturned, ghints);
  if (some) turn_back(k.gturned, g);
  leak_back(ghints, r.hints, HINTS * STRIDE);
  float *gplain = k.b, *gseen = k.gseen;
  normalise_back(ghints, r.hint_unit, r.hint_inverse, HINTS, p.norm_w, gplain, to.norm_w, to.norm_b);
  linear_weights(gplain, HINTS, r.v, C + CONDITION, to.hints_w, to.hints_b);
  linear_back(p.hints_w, HINTS, C + CONDITION, gplain, gseen, false);
  add_planes(gv, gseen, C);
  add_planes(k.gcondition, gseen + (size_t)C * STRIDE, CONDITION);
  linear_weights(gv, C, x, C, to.v_w, to.v_b);
  linear_back(p.v_w, C, C, gv, g, true);
}

static Weights bind(float** pointers) {
  static_assert(sizeof(Weights) % sizeof(float*) == 0, "only pointers");
  Weights weights;
  memcpy(&weights, pointers, sizeof weights);
  return weights;
}

extern "C" {
int count_weights() { return sizeof(Weights) / sizeof(float*); }
void* begin() {
  try {
    return new Workspace();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void end(void* workspace) { delete (Workspace*)workspace; }

// A step of one patch has two halves; what lies between them, the loss of the picture, is the caller's.
// Numbers too small to matter would cost a hundred times the rest: they are zero here.
struct Flushing {
  unsigned before = _mm_getcsr();
  Flushing() { _mm_setcsr(before | 0x8040); }
  ~Flushing() { _mm_setcsr(before); }
};

// The first half: from a patch to its picture.
//   low: 3 x P x P; away: P, one less the cosine of each row's latitude; place: 2 x P x P, the window
//   position; least: BLOCKS, the log-odds from which a window is attended.
// Sets picture: 3 x sP x sP; features: GROUP_COUNT x C x P x P, what each group gives, unless it is null;
// logits: BLOCKS x WINDOWS; gates: BLOCKS, mean log-odds of spatial attention.
// keeps: the second half follows; else what it would need is not kept, which is quicker.
// Returns 0, or 1 where memory does not suffice.
int patch_forward(void* workspace, float** weights, const float* low, const float* away, const float* place,
                  const float* least, float* picture, float* features, float* logits, float* gates, int keeps) try {
  Flushing flushing;
  Tiles tiles;
  Workspace& k = *(Workspace*)workspace;
  k.used_windows = 0;
  Weights p = bind(weights);

  for (int c = 0; c < 3; c++) memcpy(k.image + (size_t)c * STRIDE, low + c * PIXELS, PIXELS * 4);
  convolve(p.head_w, p.head_b, C, 3, k.image, k.first, k.padded);
  for (int c = 0; p.latitude_w && c < C; c++)
    for (int y = 0; y < SIDE; y++)
      for (int x = 0; x < SIDE; x += LANES) {
        float* at = k.first + (size_t)c * STRIDE + y * SIDE + x;
        store(at, load(at) + all(p.latitude_w[c] * away[y]));
      }
  linear(p.global_in_w, p.global_in_b, GLOBAL, C, k.first, k.global);
  leak(k.global, GLOBAL * STRIDE);
  convolve(p.global_out_w, p.global_out_b, 2, GLOBAL, k.global, k.condition, k.padded);
  leak(k.condition, 2 * STRIDE);
  for (int c = 0; c < 2; c++) memcpy(k.condition + (size_t)(2 + c) * STRIDE, place + c * PIXELS, PIXELS * 4);
  copy_planes(k.group_in[0], k.first, C);
  int number = 0;
  for (int group = 0; group < GROUP_COUNT; group++) {
    const float* x = k.group_in[group];
    for (int i = 1; i <= GROUP[group]; i++, number++) {
      BlockRecord& r = k.block[keeps ? number : 0];
      float* out = i < GROUP[group] ? k.x[i % 2] : k.group_out[group];
      forward(p.block[number], r, k, x, out, least[number], keeps);
      x = out;
      memcpy(logits + number * WINDOWS, r.choice.logits, WINDOWS * 4);
      gates[number] = r.gate;
    }
    linear(p.group[group].w, p.group[group].b, C, C, k.group_out[group], k.group_in[group + 1], k.group_in[group]);
    for (int c = 0; features && c < C; c++)
      memcpy(features + ((size_t)group * C + c) * PIXELS, k.group_in[group + 1] + (size_t)c * STRIDE, PIXELS * 4);
  }
  convolve(p.body_w, p.body_b, C, C, k.group_in[GROUP_COUNT], k.body, k.padded);
  add_planes(k.body, k.first, C);
  convolve(p.tail_w, p.tail_b, HIGH, C, k.body, k.tail, k.padded);
  for (int c = 0; c < 3; c++)
    for (int y = 0; y < SCALE * SIDE; y++)
      for (int x = 0; x < SCALE * SIDE; x++)
        picture[(c * SCALE * SIDE + y) * SCALE * SIDE + x] =
            k.tail[(size_t)((c * SCALE + y % SCALE) * SCALE + x % SCALE) * STRIDE + y / SCALE * SIDE + x / SCALE];
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

// The second half, of the patch that went through the first one last. Adds to `gradients`.
//   gpicture: gradient of the picture; gfeatures: of what each group gives, or null; glogits: BLOCKS x
//   WINDOWS, of the log-odds; ggates: BLOCKS, of the mean log-odds of spatial attention.
void patch_backward(void* workspace, float** weights, float** gradients, const float* away, const float* gpicture,
                    const float* gfeatures, const float* glogits, const float* ggates) {
  Flushing flushing;
  Tiles tiles;
  Workspace& k = *(Workspace*)workspace;
  Weights p = bind(weights), to = bind(gradients);

  float* g = k.gblock;
  for (int c = 0; c < 3; c++)
    for (int y = 0; y < SCALE * SIDE; y++)
      for (int x = 0; x < SCALE * SIDE; x++)
        g[(size_t)((c * SCALE + y % SCALE) * SCALE + x % SCALE) * STRIDE + y / SCALE * SIDE + x / SCALE] =
            gpicture[(c * SCALE * SIDE + y) * SCALE * SIDE + x];
  memset(k.gcondition, 0, (size_t)CONDITION * STRIDE * 4);
  convolve_weights(g, HIGH, C, k.body, to.tail_w, to.tail_b, k.padded);
  convolve_back(p.tail_w, HIGH, C, g, k.gfirst, k.padded);
  convolve_weights(k.gfirst, C, C, k.group_in[GROUP_COUNT], to.body_w, to.body_b, k.padded);
  convolve_back(p.body_w, C, C, k.gfirst, k.g, k.padded);
  int number = BLOCKS;
  for (int group = GROUP_COUNT - 1; group >= 0; group--) {
    for (int c = 0; gfeatures && c < C; c++)
      for (int q = 0; q < PIXELS; q += LANES) {
        float* at = k.g + (size_t)c * STRIDE + q;
        store(at, load(at) + load(gfeatures + ((size_t)group * C + c) * PIXELS + q));
      }
    linear_weights(k.g, C, k.group_out[group], C, to.group[group].w, to.group[group].b);
    linear_back(p.group[group].w, C, C, k.g, k.gblock, false);
    for (int i = GROUP[group]; i > 0; i--) {
      number--;
      const float* x = k.group_in[group];
      if (i > 1) {
        const BlockWeights& before = p.block[number - 1];
        rescale(k.block[number - 1].unit2, C, before.norm2_w, before.norm2_b, k.x[0]);
        x = k.x[0];
      }
      backward(p.block[number], to.block[number], k.block[number], k, x, k.gblock, glogits + number * WINDOWS,
               ggates[number]);
    }
    add_planes(k.g, k.gblock, C);
  }
  add_planes(k.gfirst, k.g, C);
  leak_back(k.gcondition, k.condition, 2 * STRIDE);
  convolve_weights(k.gcondition, 2, GLOBAL, k.global, to.global_out_w, to.global_out_b, k.padded);
  float* gglobal = k.a;
  convolve_back(p.global_out_w, 2, GLOBAL, k.gcondition, gglobal, k.padded);
  leak_back(gglobal, k.global, GLOBAL * STRIDE);
  linear_weights(gglobal, GLOBAL, k.first, C, to.global_in_w, to.global_in_b);
  linear_back(p.global_in_w, GLOBAL, C, gglobal, k.gfirst, true);
  for (int c = 0; p.latitude_w && c < C; c++) {
    Vector total = all(0.f);
    for (int y = 0; y < SIDE; y++)
      for (int x = 0; x < SIDE; x += LANES)
        total = fma(load(k.gfirst + (size_t)c * STRIDE + y * SIDE + x), all(away[y]), total);
    to.latitude_w[c] += sum(total);
  }
  convolve_weights(k.gfirst, C, 3, k.image, to.head_w, to.head_b, k.padded);
}
}
