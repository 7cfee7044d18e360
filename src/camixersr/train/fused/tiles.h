// Products of attention on the tile unit (AMX-BF16): numbers are shortened to bfloat16 on the way in, sums are in
// single precision. (Tried for linear layers and convolutions as well: their gradients then differ by a tenth, median
// over the weights, and the loss of trained weights rises by a hundredth; so these stay in single precision.)
//
// A tile is 16 rows of 64 bytes. One instruction multiplies 16 x 32 numbers (rows contiguous along what is summed
// over) with 32 x 16 (whose rows are pairs of neighbours along it) and adds to 16 x 16 sums: 256 times what a
// vector instruction does in single precision in the time of 16. What remains is to bring planes into these
// shapes, a band of pixels at a time, so that they are read from the cache right after. Edges are zeros.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
#pragma once
typedef uint32_t Pair;  // two neighbours along what is summed over

constexpr int EDGE = 16, DEPTH = 32;            // of a tile: rows and columns, and what is summed over
constexpr int TILE = EDGE * DEPTH;              // numbers in a tile of factors
constexpr int BAND = 8;                         // vectors of tokens at a time
constexpr int MOST_SUMMED = 256, MOST_LEFT = 32;  // the last one in tiles

constexpr int up(int n, int step) { return (n + step - 1) / step; }

// While it lives, the thread's eight tiles are of full size.
struct Tiles {
  Tiles() {
    struct {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t bytes[16] = {};
      uint8_t rows[16] = {};
    } shape;
    for (int i = 0; i < 8; i++) shape.bytes[i] = 64, shape.rows[i] = EDGE;
    asm volatile("" : : "r"(&shape) : "memory");  // or some compilers see nobody who reads it
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
};

static inline void transpose(__m512i* r) {  // 16 x 16 numbers of 32 bits
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// Thirty-two numbers, shortened; and sixteen of one row and sixteen of the next, side by side.
static inline __m512i shortened(Vector low, Vector high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
static inline __m512i side_by_side(Vector even, Vector odd) {
  static const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                                22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, shortened(even, odd));
}

// The left factor, w[o * to + k * tk] where to or tk is 1, as tiles: out[o / 16][k / 32][o % 16][k % 32].
static void pack_left(const float* w, int to, int tk, int O, int K, uint16_t* out) {
  int deep = up(K, DEPTH);
  if (tk == 1) {
    for (int o = 0; o < up(O, EDGE) * EDGE; o++)
      for (int d = 0; d < deep; d++) {
        int left = o < O ? K - d * DEPTH : 0;
        auto some = [&](int from) {
          int count = left - from;
          Mask m = count >= LANES ? 0xffff : count > 0 ? (1 << count) - 1 : 0;
          return _mm512_maskz_loadu_ps(m, w + (size_t)o * to + d * DEPTH + from);
        };
        __m512i row = shortened(some(0), some(LANES));
        _mm512_store_si512(out + ((size_t)(o / EDGE) * deep + d) * TILE + o % EDGE * DEPTH, row);
      }
    return;
  }
  // else to == 1: columns of w are rows here
  for (int tile = 0; tile < up(O, EDGE); tile++)
    for (int d = 0; d < deep; d++) {
      __m512i r[16];
      int count = O - tile * EDGE;
      Mask m = count >= LANES ? 0xffff : (1 << count) - 1;
      for (int i = 0; i < 16; i++) {
        int k = d * DEPTH + 2 * i;
        const float* at = w + (size_t)k * tk + tile * EDGE;
        Vector even = k < K ? _mm512_maskz_loadu_ps(m, at) : all(0.f);
        Vector odd = k + 1 < K ? _mm512_maskz_loadu_ps(m, at + tk) : all(0.f);
        r[i] = side_by_side(even, odd);
      }
      transpose(r);
      for (int i = 0; i < 16; i++)
        _mm512_store_si512(out + ((size_t)tile * deep + d) * TILE + i * DEPTH, r[i]);
    }
}

// ROWS x COLUMNS tiles of sums. left: tiles of a row follow each other at `row`, along the sum at `along`,
// each with rows `pitch` bytes apart; right: columns at `column`, along the sum at `deeper`, rows at `wide`
// bytes. Sums go to `out`, whose rows are `stride` numbers apart.
template <int ROWS, int COLUMNS>
static inline void tile_block(const uint16_t* left, size_t row, size_t along, int pitch, const Pair* right,
                              size_t column, size_t deeper, int wide, int deep, float* out, size_t stride) {
  _tile_zero(0);
  if (COLUMNS > 1) _tile_zero(1);
  if (ROWS > 1) _tile_zero(2);
  if (ROWS > 1 && COLUMNS > 1) _tile_zero(3);
  for (int d = 0; d < deep; d++, left += along, right += deeper) {
    _tile_loadd(4, left, pitch);
    _tile_loadd(6, right, wide);
    _tile_dpbf16ps(0, 4, 6);
    if (COLUMNS > 1) {
      _tile_loadd(7, right + column, wide);
      _tile_dpbf16ps(1, 4, 7);
    }
    if (ROWS > 1) {
      _tile_loadd(5, left + row, pitch);
      _tile_dpbf16ps(2, 5, 6);
    }
    if (ROWS > 1 && COLUMNS > 1) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, out, stride * 4);
  if (COLUMNS > 1) _tile_stored(1, out + EDGE, stride * 4);
  if (ROWS > 1) _tile_stored(2, out + EDGE * stride, stride * 4);
  if (ROWS > 1 && COLUMNS > 1) _tile_stored(3, out + EDGE * stride + EDGE, stride * 4);
}
static void tile_blocks(int rows, int columns, const uint16_t* left, size_t row, size_t along, int pitch,
                        const Pair* right, size_t column, size_t deeper, int wide, int deep, float* out,
                        size_t stride) {
  for (int j = 0; j < columns; j += 2)
    for (int i = 0; i < rows; i += 2) {
      const uint16_t* a = left + i * row;
      const Pair* b = right + j * column;
      float* to = out + (size_t)i * EDGE * stride + j * EDGE;
      if (i + 1 < rows && j + 1 < columns)
        tile_block<2, 2>(a, row, along, pitch, b, column, deeper, wide, deep, to, stride);
      else if (i + 1 < rows)
        tile_block<2, 1>(a, row, along, pitch, b, column, deeper, wide, deep, to, stride);
      else if (j + 1 < columns)
        tile_block<1, 2>(a, row, along, pitch, b, column, deeper, wide, deep, to, stride);
      else
        tile_block<1, 1>(a, row, along, pitch, b, column, deeper, wide, deep, to, stride);
    }
}

// out[o][i] = sum over k of w[o * to + k * tk] * in[k][i], of 16 N numbers a row: `pitch` apart in `in` and `out`.
static void tile_multiply(const float* w, int to, int tk, int O, int K, const float* in, int N, int pitch,
                          float* out) {
  alignas(64) static thread_local uint16_t left[MOST_LEFT * TILE];
  alignas(64) static thread_local Pair right[MOST_SUMMED / 2 * BAND * LANES];
  alignas(64) static thread_local float made[EDGE * BAND * LANES];
  int deep = up(K, DEPTH), whole = O / EDGE;
  pack_left(w, to, tk, O, K, left);
  for (int r = up(K, 2); r < deep * EDGE; r++) memset(right + r * BAND * LANES, 0, BAND * LANES * 4);
  for (int first = 0; first < N; first += BAND, in += BAND * LANES, out += BAND * LANES) {
    int band = N - first < BAND ? N - first : BAND;
    for (int r = 0; r < up(K, 2); r++)
      for (int v = 0; v < band; v++) {
        const float* at = in + 2 * r * pitch + v * LANES;
        Vector odd = 2 * r + 1 < K ? load(at + pitch) : all(0.f);
        _mm512_store_si512(right + (r * BAND + v) * LANES, side_by_side(load(at), odd));
      }
    auto blocks = [&](int rows, const uint16_t* from, float* to, int stride) {
      tile_blocks(rows, band, from, (size_t)deep * TILE, TILE, 64, right, EDGE, EDGE * BAND * LANES,
                  BAND * LANES * 4, deep, to, stride);
    };
    blocks(whole, left, out, pitch);
    if (O % EDGE) {  // the last tile has more rows than `out`
      blocks(1, left + (size_t)whole * deep * TILE, made, BAND * LANES);
      for (int o = 0; o < O % EDGE; o++)
        memcpy(out + (whole * EDGE + o) * pitch, made + o * BAND * LANES, band * LANES * 4);
    }
  }
}

// Sixteen rows along 32 numbers as sixteen pairs along 16 rows: a right factor whose sum runs along pixels.
template <class Row>
static inline void turned_pairs(Row row, Pair* out) {
  __m512i r[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) r[i] = row(i);
  transpose(r);
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) _mm512_store_si512(out + i * EDGE, r[i]);
}
