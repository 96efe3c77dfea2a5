/* Who computes a matrix product of ggml's, so that a token gets the same bits alone and beside others.
 *
 * .cargo/cc gives this to the compiler in front of ggml-cpu.c. That file offers each product to llamafile_sgemm first
 * and computes what is refused itself, one dot product after the other. Here it is decided anew:
 *
 * - Q4_0, Q5_0, Q8_0: llamafile's. It adds up in the order of ggml's dot products, which compute a single token, and
 *   is faster for several.
 * - F16, in which attention is computed: `f16_product` below, for one token and for many. llamafile's is for several
 *   only, and adds up in another order than ggml's dot product.
 * - F32, BF16 and whatever else: ggml's dot products.
 *
 * Whether all of this is exact where it runs is computed when a model is loaded (src/products.rs), not believed.
 */
#pragma once
#include "ggml-cpu-impl.h"
#include "llamafile/sgemm.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#define F16_LANES 16
typedef __m512 f16_lanes;
#define F16_ZERO() _mm512_setzero_ps()
#define F16_LOAD(at) _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(at)))
#define F16_FMA(a, b, sum) _mm512_fmadd_ps(a, b, sum)
#define F16_HALVES(v) _mm256_add_ps(_mm512_castps512_ps256(v), \
                                    _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)))
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#define F16_LANES 8
typedef __m256 f16_lanes;
#define F16_ZERO() _mm256_setzero_ps()
#define F16_LOAD(at) _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(at)))
#define F16_FMA(a, b, sum) _mm256_fmadd_ps(a, b, sum)
#define F16_HALVES(v) (v)
#endif

#ifdef F16_LANES

/* The four sums of the lanes of four vectors. Every number of a product is added up by this. */
static inline __m128 f16_sums(f16_lanes a, f16_lanes b, f16_lanes c, f16_lanes d) {
    __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(F16_HALVES(a), F16_HALVES(b)),
                                  _mm256_hadd_ps(F16_HALVES(c), F16_HALVES(d)));
    return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
}

/* `quads` times four rows of A with `columns` of B, each a constant where this is inlined: the sums are registers. */
static inline __attribute__((always_inline)) void f16_tile(const int quads, const int columns, int64_t k,
        const ggml_fp16_t * A, int64_t lda, const ggml_fp16_t * B, int64_t ldb, float * C, int64_t ldc) {
    f16_lanes sums[6][8];
    for (int j = 0; j < columns; ++j)
        for (int i = 0; i < 4 * quads; ++i)
            sums[j][i] = F16_ZERO();
    for (int64_t l = 0; l < k; l += F16_LANES) {
        f16_lanes b[6];
        for (int j = 0; j < columns; ++j)
            b[j] = F16_LOAD(B + ldb * j + l);
        for (int i = 0; i < 4 * quads; ++i) {
            f16_lanes a = F16_LOAD(A + lda * i + l);
            for (int j = 0; j < columns; ++j)
                sums[j][i] = F16_FMA(a, b[j], sums[j][i]);
        }
    }
    for (int j = 0; j < columns; ++j)
        for (int i = 0; i < 4 * quads; i += 4)
            _mm_storeu_ps(C + ldc * j + i, f16_sums(sums[j][i], sums[j][i + 1], sums[j][i + 2], sums[j][i + 3]));
}

/* A single number, in the same order. */
static inline float f16_dot(int64_t k, const ggml_fp16_t * a, const ggml_fp16_t * b) {
    f16_lanes sum = F16_ZERO();
    for (int64_t l = 0; l < k; l += F16_LANES)
        sum = F16_FMA(F16_LOAD(a + l), F16_LOAD(b + l), sum);
    return _mm_cvtss_f32(f16_sums(sum, F16_ZERO(), F16_ZERO(), F16_ZERO()));
}

/* This thread's part of C = A B: A holds m rows and B n columns of k numbers, the strides are in numbers. False, with
 * nothing done, where k is not a multiple of the lanes; it does not depend on n. */
static bool f16_product(const struct ggml_compute_params * params, int64_t m, int64_t n, int64_t k,
        const ggml_fp16_t * A, int64_t lda, const ggml_fp16_t * B, int64_t ldb, float * C, int64_t ldc) {
    /* So many rows are kept close while all columns pass. */
    enum { BLOCK = 16 };
    if (k % F16_LANES != 0)
        return false;
    const int64_t blocks = (m + BLOCK - 1) / BLOCK;
    const int64_t start = blocks * params->ith / params->nth * BLOCK;
    const int64_t stop = blocks * (params->ith + 1) / params->nth * BLOCK;
    const int64_t end = stop < m ? stop : m;
    for (int64_t block = start; block < end; block += BLOCK) {
        const int64_t rows = block + BLOCK < end ? BLOCK : end - block;
        const int64_t quads = rows / 4;
        int64_t j = 0;
#define F16_TILES(columns)                                                                                     \
        for (; j + columns <= n; j += columns)                                                                 \
            for (int64_t i = block; i < block + quads * 4; i += 4)                                             \
                f16_tile(1, columns, k, A + lda * i, lda, B + ldb * j, ldb, C + ldc * j + i, ldc);
#if F16_LANES == 16
        F16_TILES(6)
#endif
        F16_TILES(3)
        F16_TILES(2)
#undef F16_TILES
        for (; j < n; ++j) {
            /* Eight sums hide the latency of adding. */
            int64_t i = block;
            for (; i + 8 <= block + quads * 4; i += 8)
                f16_tile(2, 1, k, A + lda * i, lda, B + ldb * j, ldb, C + ldc * j + i, ldc);
            for (; i < block + quads * 4; i += 4)
                f16_tile(1, 1, k, A + lda * i, lda, B + ldb * j, ldb, C + ldc * j + i, ldc);
        }
        for (int64_t i = block + quads * 4; i < block + rows; ++i)
            for (j = 0; j < n; ++j)
                C[ldc * j + i] = f16_dot(k, A + lda * i, B + ldb * j);
    }
    return true;
}

#endif

static inline bool exact_product(const struct ggml_compute_params * params, int64_t m, int64_t n, int64_t k,
        const void * A, int64_t lda, const void * B, int64_t ldb, void * C, int64_t ldc,
        int Atype, int Btype, int Ctype) {
    switch (Atype) {
        case GGML_TYPE_Q4_0:
        case GGML_TYPE_Q5_0:
        case GGML_TYPE_Q8_0:
            return llamafile_sgemm(params, m, n, k, A, lda, B, ldb, C, ldc, Atype, Btype, Ctype);
#ifdef F16_LANES
        case GGML_TYPE_F16:
            if (Btype == GGML_TYPE_F16 && Ctype == GGML_TYPE_F32)
                return f16_product(params, m, n, k, (const ggml_fp16_t *)A, lda, (const ggml_fp16_t *)B, ldb,
                                   (float *)C, ldc);
#endif
        default:
            return false;
    }
}

#define llamafile_sgemm exact_product
