/* SPDX-License-Identifier: Apache-2.0 */
#include "server/checksum.h"

#include "server/bytes.h"

#define PRIME 16777619u
#define LANES 32
#define ROW_BYTES (LANES * 4)

/* Eight lanes at a time: the compilers make of it whatever the target has (4 AVX2 registers, or 8 of
 * SSE2 or NEON), without depending on an optimiser to see the pattern. */
typedef uint32_t lanes8 __attribute__((vector_size(32), aligned(4), may_alias));

static const uint32_t start_of_lane[LANES] = {0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3,
    0x217E7CD2, 0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A,
    0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756};

#define ROUND(h, v)                      \
    do {                                 \
        lanes8 t_ = (h) ^ (v);           \
        (h) = (t_ * PRIME) ^ (t_ >> 17); \
    } while (0)

#define ROUND_ROW(row)                                          \
    do {                                                        \
        const lanes8 *v_ = (const lanes8 *)(const void *)(row); \
        ROUND(h0, v_[0]);                                       \
        ROUND(h1, v_[1]);                                       \
        ROUND(h2, v_[2]);                                       \
        ROUND(h3, v_[3]);                                       \
    } while (0)

/* Checksum of a page before the block number goes in. The stored checksum counts as zero, so the
 * first row is summed from a copy; the page itself stays untouched. */
__attribute__((always_inline)) static inline uint32_t
sum_page(const uint8_t *page, uint32_t size)
{
    const lanes8 *start = (const lanes8 *)(const void *)start_of_lane;
    static const _Alignas(32) uint8_t zeros[ROW_BYTES];
    lanes8 h0 = start[0], h1 = start[1], h2 = start[2], h3 = start[3];
    _Alignas(32) uint8_t first[ROW_BYTES];
    uint32_t result = 0;
    memcpy(first, page, sizeof first);
    memset(first + PG_PAGE_AT_CHECKSUM, 0, 2);
    ROUND_ROW(first);
    for (uint32_t at = ROW_BYTES; at < size; at += ROW_BYTES)
        ROUND_ROW(page + at);
    ROUND_ROW(zeros);
    ROUND_ROW(zeros);
    h0 ^= h1 ^ h2 ^ h3;
    for (int i = 0; i < 8; i++)
        result ^= h0[i];
    return result;
}

static uint32_t
sum_plain(const uint8_t *page, uint32_t size)
{
    return sum_page(page, size);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint32_t
sum_avx2(const uint8_t *page, uint32_t size)
{
    return sum_page(page, size);
}
#endif

static int
is_zero(const uint8_t *page, uint32_t size)
{
    return pg_le64(page) == 0 && memcmp(page, page + 8, size - 8) == 0;
}

int
pg_page_fits(const uint8_t *page, uint32_t size, uint32_t least)
{
    uint32_t lower = pg_le16(page + PG_PAGE_AT_LOWER), upper = pg_le16(page + PG_PAGE_AT_UPPER);
    uint32_t special = pg_le16(page + PG_PAGE_AT_SPECIAL);
    return lower >= least && lower <= upper && upper <= special && special <= size && special % 8 == 0;
}

void
pg_pages_verdict(const struct gsp_cluster *cluster, struct gsp_pages *pages, pg_page_test header_makes_sense,
    pg_page_test is_unsummed)
{
    uint32_t (*sum)(const uint8_t *, uint32_t) = sum_plain;
    uint32_t size = pages->page_size;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2"))
        sum = sum_avx2;
#endif
    for (uint32_t i = 0; i < pages->n; i++) {
        const uint8_t *page = pages->data + (size_t)i * pages->stride;
        pages->lsn[i] = (gsp_lsn)pg_le32(page + PG_PAGE_AT_LSN_HIGH) << 32 | pg_le32(page + PG_PAGE_AT_LSN_LOW);
        pages->sum[i] = 0;
        pages->stored_sum[i] = pg_le16(page + PG_PAGE_AT_CHECKSUM);
        /* pd_upper is set on every page but a new one, which must be all zeros. */
        if (pg_le16(page + PG_PAGE_AT_UPPER) == 0 && is_zero(page, size)) {
            pages->state[i] = GSP_PAGE_ZERO;
            continue;
        }
        pages->state[i] = header_makes_sense(page, size) ? GSP_PAGE_OK : GSP_PAGE_HEADER;
        if (cluster->checksum_version != 0) {
            pages->sum[i] = (uint16_t)((sum(page, size) ^ (uint32_t)(pages->base_block + pages->block[i])) % 65535 + 1);
            if (pages->state[i] == GSP_PAGE_OK && pages->sum[i] != pages->stored_sum[i])
                pages->state[i] = GSP_PAGE_CHECKSUM;
        }
        if (pages->state[i] != GSP_PAGE_OK && is_unsummed != NULL && is_unsummed(page, size))
            pages->state[i] = GSP_PAGE_OK;
    }
}

uint32_t
pg_data_sum(const uint8_t *data, uint32_t size)
{
    const lanes8 *start = (const lanes8 *)(const void *)start_of_lane;
    static const _Alignas(32) uint8_t zeros[ROW_BYTES];
    lanes8 h0 = start[0], h1 = start[1], h2 = start[2], h3 = start[3];
    _Alignas(32) uint8_t row[ROW_BYTES];
    uint32_t result = 0;
    for (uint32_t at = 0; at < size; at += ROW_BYTES) {
        uint32_t n = size - at < ROW_BYTES ? size - at : ROW_BYTES;
        memcpy(row, data + at, n);
        memset(row + n, 0, ROW_BYTES - n);
        ROUND_ROW(row);
    }
    ROUND_ROW(zeros);
    ROUND_ROW(zeros);
    h0 ^= h1 ^ h2 ^ h3;
    for (int i = 0; i < 8; i++)
        result ^= h0[i];
    return result;
}
