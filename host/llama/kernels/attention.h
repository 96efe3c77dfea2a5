/* Attention on a processor: what ggml calls FLASH_ATTN_EXT, for a cache in F16, with AVX-512 or AVX2.
 *
 * .cargo/cc gives this to the compiler in front of ggml's ops.cpp, whose ggml_compute_forward_flash_attn_ext it takes
 * over; what it does not compute it hands on to that. Scores are never in memory as a whole: the cells of the cache are
 * taken in blocks, and what was added up is scaled down where a block has a greater maximum (Milakov and Gimelshein,
 * "Online normalizer calculation for softmax", 2018; Dao and others, "FlashAttention", 2022). A block is read once for
 * all heads that share it and for several tokens.
 *
 * A token gets the same bits alone and beside others: the blocks begin at the first cell, and what is computed of a
 * score, a maximum, a sum and an output has one order, however many rows are computed beside it. Which rows a thread
 * takes changes nothing. src/products.rs computes that where it runs, and does not believe it.
 */
#pragma once

#include "common.h"
#include "ggml-cpu.h"
#include "ggml-cpu-impl.h"
#include "ggml-impl.h"
#include "ops.h"
#include "vec.h"

/* ggml's own. */
void ggml_any_flash_attn_ext(const struct ggml_compute_params * params, struct ggml_tensor * dst);

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__) && defined(__F16C__))

#include <immintrin.h>

#include <algorithm>
#include <cmath>

namespace minerva {

#if defined(__AVX512F__)
using Lanes = __m512;
constexpr int LANES = 16;
/* Of what the registers hold: rows by groups of eight cells, and rows by vectors of values. */
constexpr int SCORE_ROWS = 3, VALUE_ROWS = 6, VALUE_VECTORS = 4;
static inline Lanes zero() { return _mm512_setzero_ps(); }
static inline Lanes all(float x) { return _mm512_set1_ps(x); }
static inline Lanes load(const float * at) { return _mm512_loadu_ps(at); }
static inline Lanes load(const ggml_fp16_t * at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) at)); }
static inline void store(float * at, Lanes x) { _mm512_storeu_ps(at, x); }
static inline Lanes fma(Lanes a, Lanes b, Lanes sum) { return _mm512_fmadd_ps(a, b, sum); }
static inline Lanes add(Lanes a, Lanes b) { return _mm512_add_ps(a, b); }
static inline Lanes times(Lanes a, Lanes b) { return _mm512_mul_ps(a, b); }
static inline Lanes over(Lanes a, Lanes b) { return _mm512_div_ps(a, b); }
static inline Lanes greater(Lanes a, Lanes b) { return _mm512_max_ps(a, b); }
static inline float sum_of(Lanes x) { return _mm512_reduce_add_ps(x); }
static inline float greatest(Lanes x) { return _mm512_reduce_max_ps(x); }

/* The sum of each of eight. */
static inline __m256 sums_of(const Lanes * x) {
    __m512 halves[4], quarters[2];
    for (int i = 0; i < 4; ++i)
        halves[i] = add(_mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0x44), _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0xEE));
    for (int i = 0; i < 2; ++i)
        quarters[i] = add(_mm512_shuffle_f32x4(halves[2 * i], halves[2 * i + 1], 0x88),
                          _mm512_shuffle_f32x4(halves[2 * i], halves[2 * i + 1], 0xDD));
    const __m512 pairs = add(_mm512_unpacklo_ps(quarters[0], quarters[1]), _mm512_unpackhi_ps(quarters[0], quarters[1]));
    const __m512 whole = add(pairs, _mm512_shuffle_ps(pairs, pairs, 0x4E));
    const __m512i order = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 13, 9, 5, 1, 12, 8, 4, 0);
    return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, whole));
}
#else
using Lanes = __m256;
constexpr int LANES = 8;
constexpr int SCORE_ROWS = 1, VALUE_ROWS = 2, VALUE_VECTORS = 4;
static inline Lanes zero() { return _mm256_setzero_ps(); }
static inline Lanes all(float x) { return _mm256_set1_ps(x); }
static inline Lanes load(const float * at) { return _mm256_loadu_ps(at); }
static inline Lanes load(const ggml_fp16_t * at) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) at)); }
static inline void store(float * at, Lanes x) { _mm256_storeu_ps(at, x); }
static inline Lanes fma(Lanes a, Lanes b, Lanes sum) { return _mm256_fmadd_ps(a, b, sum); }
static inline Lanes add(Lanes a, Lanes b) { return _mm256_add_ps(a, b); }
static inline Lanes times(Lanes a, Lanes b) { return _mm256_mul_ps(a, b); }
static inline Lanes over(Lanes a, Lanes b) { return _mm256_div_ps(a, b); }
static inline Lanes greater(Lanes a, Lanes b) { return _mm256_max_ps(a, b); }
static inline float sum_of(Lanes x) {
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)));
}
static inline float greatest(Lanes x) {
    const __m128 half = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    const __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)));
}
static inline __m256 sums_of(const Lanes * x) {
    const __m256 low  = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
    const __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(x[4], x[5]), _mm256_hadd_ps(x[6], x[7]));
    return _mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31));
}
#endif

/* Cells of a block, and rows (a token's query of one head) that are computed together at most. ggml plans this much
 * room for each thread. */
constexpr int CELLS = GGML_FA_TILE_KV;
constexpr int ROWS  = GGML_FA_TILE_Q;

/* An operation: Q is {keys, tokens, heads, streams}, K {keys, cells, heads, streams}, V {values, cells, heads,
 * streams}, the mask {cells, tokens, 1 or heads, 1 or streams}, the output {values, heads, tokens, streams}. */
struct Attention {
    const ggml_tensor *q, *k, *v, *mask, *sinks;
    ggml_tensor * out;
    int64_t keys, values, cells, tokens, heads, kv_heads, streams;
    /* A score is scaled, and capped where there is a cap; a mask is multiplied by its head's slope (ALiBi). */
    float scale, max_bias, cap;

    explicit Attention(ggml_tensor * dst)
        : q(dst->src[0]), k(dst->src[1]), v(dst->src[2]), mask(dst->src[3]), sinks(dst->src[4]), out(dst),
          keys(k->ne[0]), values(v->ne[0]), cells(k->ne[1]), tokens(q->ne[1]), heads(q->ne[2]), kv_heads(k->ne[2]),
          streams(q->ne[3]), scale(ggml_get_op_params_f32(dst, 0)), max_bias(ggml_get_op_params_f32(dst, 1)),
          cap(ggml_get_op_params_f32(dst, 2)) {
        if (cap != 0)
            scale /= cap;
    }

    /* Whether this is computed here. It does not depend on how many tokens, cells or streams there are. */
    bool is_ours() const {
        return q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16
            && (!mask || (mask->type == GGML_TYPE_F16 && mask->ne[2] == 1))
            && keys % LANES == 0 && values % LANES == 0 && q->nb[0] == sizeof(float)
            && k->nb[0] == sizeof(ggml_fp16_t) && v->nb[0] == sizeof(ggml_fp16_t)
            && v->ne[2] == kv_heads && heads % kv_heads == 0
            && k->ne[3] == streams && v->ne[3] == streams;
    }

    /* Press and others, "Train Short, Test Long", 2022, as ggml has it. */
    float slope(int64_t head) const {
        if (max_bias <= 0)
            return 1;
        const int64_t power = (int64_t) 1 << (int64_t) floor(log2((double) heads));
        return head < power ? powf(powf(2, -max_bias / power), head + 1)
                            : powf(powf(2, -max_bias / 2 / power), 2 * (head - power) + 1);
    }

    template <typename T> static T * at(const ggml_tensor * tensor, int64_t a, int64_t b, int64_t c) {
        return (T *) ((char *) tensor->data + a * tensor->nb[1] + b * tensor->nb[2] + c * tensor->nb[3]);
    }
};

/* What a thread works with. */
struct Scratch {
    float *q, *k, *v, *scores, *sums, *masks;

    static int64_t floats(const Attention & op) {
        return (ROWS + CELLS) * (op.keys + op.values) + (int64_t) 2 * ROWS * CELLS;
    }

    Scratch(const ggml_compute_params * params, const Attention & op) {
        q      = (float *) params->wdata + params->ith * floats(op);
        k      = q + ROWS * op.keys;
        v      = k + CELLS * op.keys;
        scores = v + CELLS * op.values;
        sums   = scores + ROWS * CELLS;
        masks  = sums + ROWS * op.values;
    }
};

/* The scores of `N` rows with eight cells. */
template <int N> static inline void score_some(int64_t keys, const float * q, const float * k, float * scores) {
    Lanes sums[N][8];
    for (int row = 0; row < N; ++row)
        for (int cell = 0; cell < 8; ++cell)
            sums[row][cell] = zero();
    for (int64_t i = 0; i < keys; i += LANES) {
        Lanes query[N];
        for (int row = 0; row < N; ++row)
            query[row] = load(q + row * keys + i);
        for (int cell = 0; cell < 8; ++cell) {
            const Lanes key = load(k + cell * keys + i);
            for (int row = 0; row < N; ++row)
                sums[row][cell] = fma(query[row], key, sums[row][cell]);
        }
    }
    for (int row = 0; row < N; ++row)
        _mm256_storeu_ps(scores + row * CELLS, sums_of(sums[row]));
}

/* The scores of all rows: as many at a time as the registers hold, then fewer. */
template <int N> static inline void score(int rows, int64_t keys, const float * q, const float * k, float * scores) {
    for (; rows >= N; rows -= N, q += N * keys, scores += N * CELLS)
        score_some<N>(keys, q, k, scores);
    if constexpr (N > 1)
        score<N - 1>(rows, keys, q, k, scores);
}

/* Adds the values of a block to the sums of `N` rows, each as often as its weight says, for `M` vectors of them. */
template <int N, int M>
static inline void weigh_some(int64_t values, int cells, const float * weights, const float * v, float * sums) {
    Lanes of[N][M];
    for (int row = 0; row < N; ++row)
        for (int i = 0; i < M; ++i)
            of[row][i] = load(sums + row * values + i * LANES);
    for (int cell = 0; cell < cells; ++cell) {
        Lanes value[M];
        for (int i = 0; i < M; ++i)
            value[i] = load(v + cell * values + i * LANES);
        for (int row = 0; row < N; ++row) {
            const Lanes weight = all(weights[row * CELLS + cell]);
            for (int i = 0; i < M; ++i)
                of[row][i] = fma(weight, value[i], of[row][i]);
        }
    }
    for (int row = 0; row < N; ++row)
        for (int i = 0; i < M; ++i)
            store(sums + row * values + i * LANES, of[row][i]);
}

/* The sums of all rows, and all vectors of them. */
template <int N>
static inline void weigh(int rows, int64_t values, int cells, const float * weights, const float * v, float * sums) {
    for (; rows >= N; rows -= N, weights += N * CELLS, sums += N * values) {
        int64_t i = 0;
        for (; i + VALUE_VECTORS * LANES <= values; i += VALUE_VECTORS * LANES)
            weigh_some<N, VALUE_VECTORS>(values, cells, weights, v + i, sums + i);
        for (; i < values; i += LANES)
            weigh_some<N, 1>(values, cells, weights, v + i, sums + i);
    }
    if constexpr (N > 1)
        weigh<N - 1>(rows, values, cells, weights, v, sums);
}

/* cap tanh x, tanh x = 1 - 2 / (exp 2x + 1). */
static inline Lanes capped(Lanes x, float cap) {
    const Lanes one = all(1);
    return fma(all(-2 * cap), over(one, add(ggml_v_expf(add(x, x)), one)), all(cap));
}

/* A block of F16 as F32, row by row, with zeros behind the last. */
static inline void unpack(const char * from, size_t stride, int rows, int64_t width, float * to) {
    for (int row = 0; row < rows; ++row, from += stride, to += width)
        for (int64_t i = 0; i < width; i += LANES)
            store(to + i, load((const ggml_fp16_t *) from + i));
    std::fill(to, to + (CELLS - rows) * width, 0.0f);
}

/* Some tokens' rows of the heads from `head` on, of which all share one head of the cache. */
static void rows(const Attention & op, const Scratch & room, int64_t stream, int64_t head, int heads, int64_t token,
                 int tokens) {
    const int64_t kv_head = head / (op.heads / op.kv_heads);
    const int     rows    = heads * tokens;
    float         greatests[ROWS], totals[ROWS], slopes[ROWS];
    bool          sees[ROWS];
    for (int row = 0; row < rows; ++row) {
        const float * query = Attention::at<float>(op.q, token + row / heads, head + row % heads, stream);
        for (int64_t i = 0; i < op.keys; i += LANES)
            store(room.q + row * op.keys + i, times(load(query + i), all(op.scale)));
        greatests[row] = -INFINITY;
        totals[row]    = 0;
        slopes[row]    = op.slope(head + row % heads);
    }
    std::fill(room.sums, room.sums + rows * op.values, 0.0f);

    for (int64_t first = 0; first < op.cells; first += CELLS) {
        const int cells = (int) std::min<int64_t>(CELLS, op.cells - first);
        /* What a token sees of the block. */
        bool anything = false;
        for (int t = 0; t < tokens; ++t) {
            float * mask = room.masks + t * CELLS;
            std::fill(mask + cells, mask + CELLS, -INFINITY);
            if (op.mask) {
                const ggml_fp16_t * from =
                    Attention::at<ggml_fp16_t>(op.mask, token + t, 0, stream % op.mask->ne[3]) + first;
                int cell = 0;
                for (; cell + LANES <= cells; cell += LANES)
                    store(mask + cell, load(from + cell));
                for (; cell < cells; ++cell)
                    mask[cell] = GGML_CPU_FP16_TO_FP32(from[cell]);
            } else {
                std::fill(mask, mask + cells, 0.0f);
            }
            Lanes most = load(mask);
            for (int cell = LANES; cell < CELLS; cell += LANES)
                most = greater(most, load(mask + cell));
            sees[t] = greatest(most) > -INFINITY;
            anything |= sees[t];
        }
        if (!anything)
            continue;

        unpack(Attention::at<char>(op.k, first, kv_head, stream), op.k->nb[1], cells, op.keys, room.k);
        for (int cell = 0; cell < cells; cell += 8)
            score<SCORE_ROWS>(rows, op.keys, room.q, room.k + cell * op.keys, room.scores + cell);

        for (int row = 0; row < rows; ++row) {
            float *       scores = room.scores + row * CELLS;
            const float * mask   = room.masks + row / heads * CELLS;
            if (!sees[row / heads]) {
                std::fill(scores, scores + CELLS, 0.0f);
                continue;
            }
            Lanes score[CELLS / LANES];
            Lanes most = all(-INFINITY);
            for (int i = 0; i < CELLS / LANES; ++i) {
                score[i] = load(scores + i * LANES);
                if (op.cap != 0)
                    score[i] = capped(score[i], op.cap);
                score[i] = fma(load(mask + i * LANES), all(slopes[row]), score[i]);
                /* Behind the last cell nothing was computed. */
                if (i * LANES >= cells)
                    score[i] = all(-INFINITY);
                most = greater(most, score[i]);
            }
            const float now = greatest(most);
            if (now > greatests[row]) {
                const float less = expf(greatests[row] - now);
                for (int64_t i = 0; i < op.values; i += LANES)
                    store(room.sums + row * op.values + i, times(load(room.sums + row * op.values + i), all(less)));
                totals[row] *= less;
                greatests[row] = now;
            }
            Lanes total = zero();
            for (int i = 0; i < CELLS / LANES; ++i) {
                const Lanes weight = ggml_v_expf(add(score[i], all(-greatests[row])));
                store(scores + i * LANES, weight);
                total = add(total, weight);
            }
            totals[row] += sum_of(total);
        }

        unpack(Attention::at<char>(op.v, first, kv_head, stream), op.v->nb[1], cells, op.values, room.v);
        weigh<VALUE_ROWS>(rows, op.values, cells, room.scores, room.v, room.sums);
    }

    for (int row = 0; row < rows; ++row) {
        float less = 1;
        if (op.sinks) {
            const float sink = ((const float *) op.sinks->data)[head + row % heads];
            if (sink > greatests[row]) {
                less        = expf(greatests[row] - sink);
                totals[row] = totals[row] * less + 1;
            } else {
                totals[row] += expf(sink - greatests[row]);
            }
        }
        const Lanes factor = all(totals[row] == 0 ? 0 : less / totals[row]);
        float *     to     = Attention::at<float>(op.out, head + row % heads, token + row / heads, stream);
        for (int64_t i = 0; i < op.values; i += LANES)
            store(to + i, times(load(room.sums + row * op.values + i), factor));
    }
}

static void flash_attn_ext(const ggml_compute_params * params, ggml_tensor * dst) {
    const Attention op(dst);
    if (!op.is_ours() || params->use_ref || params->nth * Scratch::floats(op) * sizeof(float) > params->wsize)
        return ggml_any_flash_attn_ext(params, dst);
    const Scratch room(params, op);

    /* As many rows together as there is room for: all heads that share cells, and several tokens. Fewer heads where
     * there are more threads than that makes pieces. */
    const int64_t shared = op.heads / op.kv_heads, alike = op.streams * op.kv_heads * op.tokens;
    const int64_t parts  = std::min(shared, std::max((shared + ROWS - 1) / ROWS, (params->nth + alike - 1) / alike));
    const int64_t heads  = (shared + parts - 1) / parts;
    const int64_t groups = (shared + heads - 1) / heads;
    const int64_t tokens = std::min(op.tokens, ROWS / heads);
    const int64_t spans  = (op.tokens + tokens - 1) / tokens;
    const int64_t pieces = op.streams * op.kv_heads * groups * spans;

    if (params->ith == 0)
        ggml_threadpool_chunk_set(params->threadpool, params->nth);
    ggml_barrier(params->threadpool);
    for (int64_t piece = params->ith; piece < pieces; piece = ggml_threadpool_chunk_add(params->threadpool, 1)) {
        /* The last tokens see the most: they go first, so that threads end together. */
        const int64_t span = spans - 1 - piece % spans, group = piece / spans % groups;
        const int64_t kv_head = piece / spans / groups % op.kv_heads, stream = piece / spans / groups / op.kv_heads;
        rows(op, room, stream, kv_head * shared + group * heads, (int) std::min(heads, shared - group * heads),
             span * tokens, (int) std::min(tokens, op.tokens - span * tokens));
    }
}

}  // namespace minerva

void ggml_compute_forward_flash_attn_ext(const struct ggml_compute_params * params, struct ggml_tensor * dst) {
    minerva::flash_attn_ext(params, dst);
}

#define ggml_compute_forward_flash_attn_ext ggml_any_flash_attn_ext

#endif
