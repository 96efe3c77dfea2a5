/* Matrix products of repacked Q4_0 weights for processors with AVX-512 VNNI, about twice as fast as ggml's.
 *
 * .cargo/cc gives this to the compiler in front of ggml's repack.cpp, whose calls of ggml_gemm_q4_0_8x8_q8_0 and
 * ggml_gemv_q4_0_8x8_q8_0 it takes over: products with a multiple of four tokens, and with each that is left over.
 * ggml's own reads weights as signed numbers, which costs it three more instructions for each multiplication.
 *
 * Here weights are read as q + 8, which is not negative, as VNNI wants it: sum (q + 8) y - 8 sum y = sum q y, in whole
 * numbers and so exactly. What is added up in floating point is one product after the other of a block's sum with its
 * two scales, for one token as for many: a token gets the same bits alone and beside others.
 */
#pragma once

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__) &&         \
    defined(__AVX512VNNI__) && defined(__F16C__)

#include <immintrin.h>

#define GGML_COMMON_DECL_CPP
#include "ggml-common.h"
#include "repack.h"

namespace minerva {

/* Blocks of 32 numbers in a row that are taken at a time: there is room for as many on the stack. */
constexpr int PANEL = 512;

/* How many blocks ahead weights are asked for: those of a decode come from memory, and the processor's own guess is
 * late. 56 were the best or near it for rows of 896 and of 4,864 and for 1, 4 and 16 tokens; with 16, rows of 896 took
 * a half longer. */
constexpr int AHEAD = 56;

#if defined(__clang__)
#define MINERVA_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MINERVA_UNROLL _Pragma("GCC unroll 16")
#endif

/* One block of 32 rows of sixteen columns: vector g has rows 4 g to 4 g + 3, four bytes of each column in turn. */
struct Weights {
    __m512i rows[8];
    __m512  scales;

    /* Eight columns each, where eight rows of one column follow those of another. */
    Weights(const block_q4_0x8 & left, const block_q4_0x8 & right) {
        const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
        const __m512i odd  = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
        MINERVA_UNROLL
        for (int half = 0; half < 2; ++half) {
            const __m512i a = _mm512_loadu_si512(left.qs + 64 * half);
            const __m512i b = _mm512_loadu_si512(right.qs + 64 * half);
            const __m512i first  = _mm512_permutex2var_epi32(a, even, b);
            const __m512i second = _mm512_permutex2var_epi32(a, odd, b);
            rows[2 * half]     = raise(first);
            rows[2 * half + 1] = raise(second);
            rows[2 * half + 4] = raise(_mm512_srli_epi16(first, 4));
            rows[2 * half + 5] = raise(_mm512_srli_epi16(second, 4));
        }
        scales = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) left.d))),
                                    _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) right.d)), 1);
    }

    /* The lower four bits of each byte, from signed to eight more: (a & b) ^ c. */
    static __m512i raise(__m512i packed) {
        return _mm512_ternarylogic_epi32(packed, _mm512_set1_epi8(0x0F), _mm512_set1_epi8(0x08), 0x6A);
    }
};

/* Adds a token's products with sixteen columns to its sums. Its 32 numbers are in four chunks of eight, so many bytes
 * apart; `bias` is -8 times their sum. */
static inline __attribute__((always_inline)) __m512 add(const Weights & weights, const int8_t * token, int stride,
                                                        int32_t bias, float scale, __m512 sums) {
    __m512i whole = _mm512_set1_epi32(bias);
    MINERVA_UNROLL
    for (int g = 0; g < 8; ++g) {
        int32_t four;
        memcpy(&four, token + g / 2 * stride + g % 2 * 4, sizeof four);
        whole = _mm512_dpbusd_epi32(whole, weights.rows[g], _mm512_set1_epi32(four));
    }
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_mul_ps(weights.scales, _mm512_set1_ps(scale)), sums);
}

/* What is the same for all columns: -8 times the sum of a token's numbers in a block, and their scale. */
template <int TOKENS> struct Tokens {
    int32_t bias[PANEL][TOKENS];
    float   scale[PANEL][TOKENS];

    void read(int b, const block_q8_0 & block) {
        const __m256i parts = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1),
                                                  _mm256_loadu_si256((const __m256i *) block.qs));
        __m128i whole = _mm_add_epi32(_mm256_castsi256_si128(parts), _mm256_extracti128_si256(parts, 1));
        whole = _mm_hadd_epi32(whole, whole);
        bias[b][0]  = -8 * _mm_cvtsi128_si32(_mm_hadd_epi32(whole, whole));
        scale[b][0] = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(block.d)));
    }

    void read(int b, int quad, const block_q8_0x4 & four) {
        const __m512i ones = _mm512_set1_epi8(1);
        __m512i parts = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, _mm512_loadu_si512(four.qs));
        parts = _mm512_dpbusd_epi32(parts, ones, _mm512_loadu_si512(four.qs + 64));
        const __m256i pairs = _mm256_add_epi32(_mm512_castsi512_si256(parts), _mm512_extracti64x4_epi64(parts, 1));
        const __m128i whole = _mm_hadd_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
        _mm_storeu_si128((__m128i *) (bias[b] + 4 * quad), _mm_mullo_epi32(whole, _mm_set1_epi32(-8)));
        _mm_storeu_ps(scale[b] + 4 * quad, _mm_cvtph_ps(_mm_loadl_epi64((const __m128i *) four.d)));
    }
};

/* `TOKENS` tokens, one or a multiple of four and at most 16, with all columns. Tokens are in blocks of their own, or
 * four and four in one. */
template <int TOKENS, typename Block>
static void several(int blocks, float * sums, size_t stride, const block_q4_0x8 * weights, const Block * tokens,
                    int columns) {
    constexpr int TOGETHER = TOKENS == 1 ? 1 : 4;
    Tokens<TOKENS> same;
    for (int first = 0; first < blocks; first += PANEL) {
        const int panel = blocks - first < PANEL ? blocks - first : PANEL;
        for (int quad = 0; quad < TOKENS / TOGETHER; ++quad) {
            for (int b = 0; b < panel; ++b) {
                if constexpr (TOKENS == 1)
                    same.read(b, tokens[first + b]);
                else
                    same.read(b, quad, tokens[quad * blocks + first + b]);
            }
        }
        for (int column = 0; column < columns; column += 16) {
            const block_q4_0x8 * left  = weights + (column / 8) * blocks + first;
            /* Of the last eight columns without a neighbour, the neighbour is not stored. */
            const bool           both  = column + 8 < columns;
            const __mmask16      these = both ? 0xFFFF : 0x00FF;
            const block_q4_0x8 * right = both ? left + blocks : left;
            __m512 of[TOKENS];
            MINERVA_UNROLL
            for (int token = 0; token < TOKENS; ++token)
                of[token] = first == 0 ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(these, sums + token * stride + column);
            for (int b = 0; b < panel; ++b) {
                for (int line = 0; line < (int) sizeof(block_q4_0x8); line += 64) {
                    _mm_prefetch((const char *) (left + b + AHEAD) + line, _MM_HINT_T0);
                    _mm_prefetch((const char *) (right + b + AHEAD) + line, _MM_HINT_T0);
                }
                const Weights block(left[b], right[b]);
                MINERVA_UNROLL
                for (int token = 0; token < TOKENS; ++token)
                    of[token] = add(block, tokens[token / TOGETHER * blocks + first + b].qs + token % TOGETHER * 8,
                                    8 * TOGETHER, same.bias[b][token], same.scale[b][token], of[token]);
            }
            MINERVA_UNROLL
            for (int token = 0; token < TOKENS; ++token)
                _mm512_mask_storeu_ps(sums + token * stride + column, these, of[token]);
        }
    }
}

static void gemm_q4_0(int n, float * s, size_t bs, const void * vx, const void * vy, int nr, int nc) {
    const int blocks = n / QK8_0;
    const block_q4_0x8 * weights = (const block_q4_0x8 *) vx;
    const block_q8_0x4 * tokens  = (const block_q8_0x4 *) vy;
    int token = 0;
    for (; token + 16 <= nr; token += 16)
        several<16>(blocks, s + token * bs, bs, weights, tokens + token / 4 * blocks, nc);
    s += token * bs;
    tokens += token / 4 * blocks;
    switch (nr - token) {
        case 12: return several<12>(blocks, s, bs, weights, tokens, nc);
        case 8:  return several<8>(blocks, s, bs, weights, tokens, nc);
        case 4:  return several<4>(blocks, s, bs, weights, tokens, nc);
        default: return;
    }
}

static void gemv_q4_0(int n, float * s, size_t, const void * vx, const void * vy, int, int nc) {
    several<1>(n / QK8_0, s, 0, (const block_q4_0x8 *) vx, (const block_q8_0 *) vy, nc);
}

}  // namespace minerva

#define ggml_gemv_q4_0_8x8_q8_0 minerva::gemv_q4_0
#define ggml_gemm_q4_0_8x8_q8_0 minerva::gemm_q4_0

#endif
