/* SPDX-License-Identifier: Apache-2.0
 * The dialect's verdict on pages: any bytes get one, and it says what it means. Input: page size, dialect
 * and checksums (1 byte), number of the first block (4), then pages. */
#include "core/base/bytes.h"
#include "gsp/server.h"
#include "tests/fuzz/fuzz.h"

enum { PREFIX_BYTES = 5, PAGES_MAX = 16, GAP = 8, AT_CHECKSUM = 8, OPENGAUSS = 0x40, CHECKSUMS = 0x80 };

struct verdict {
    gsp_lsn lsn[PAGES_MAX];
    uint16_t sum[PAGES_MAX], stored_sum[PAGES_MAX];
    uint8_t state[PAGES_MAX];
};

static void
check(const struct gsp_server_ops *server, const uint8_t *bytes, uint32_t n, uint32_t page_size, int checksums,
    uint32_t first, struct verdict *v)
{
    const struct gsp_cluster cluster = {
        .struct_size = sizeof cluster, .page_size = page_size, .checksum_version = checksums != 0};
    uint32_t block[PAGES_MAX];
    for (uint32_t i = 0; i < n; i++)
        block[i] = i;
    struct gsp_pages pages = {.struct_size = sizeof pages,
        .n = n,
        .page_size = page_size,
        .stride = page_size + GAP,
        .base_block = first,
        .data = bytes,
        .block = block,
        .lsn = v->lsn,
        .sum = v->sum,
        .stored_sum = v->stored_sum,
        .state = v->state};
    memset(v, 0xA5, sizeof *v);
    server->dialect->pages_check(&cluster, &pages);
}

static int
is_zero(const uint8_t *page, uint32_t size)
{
    return page[0] == 0 && memcmp(page, page + 1, size - 1) == 0;
}

/* Of openGauss' segment store, which has no checksum. */
static int
is_address_page(const struct gsp_server_ops *server, const uint8_t *page, uint32_t size)
{
    return server == server_opengauss_entry()->ops && memcmp(page + size - 8, "seg_comp", 8) == 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct verdict v, again;
    if (size <= PREFIX_BYTES)
        return 0;
    const struct gsp_server_ops *server =
        data[0] & OPENGAUSS ? server_opengauss_entry()->ops : server_postgresql_entry()->ops;
    uint32_t page_size = 512u << (data[0] & 0x3F) % 7, n = (uint32_t)(size - PREFIX_BYTES) / page_size;
    uint32_t first = load_le32(data + 1);
    int checksums = data[0] & CHECKSUMS;
    if (n > PAGES_MAX)
        n = PAGES_MAX;
    /* Exactly as long as n pages are, without the gap behind the last. */
    uint8_t *bytes = aligned_alloc(8, n > 0 ? (size_t)n * (page_size + GAP) : 8);
    if (bytes == NULL || n == 0) {
        free(bytes);
        return 0;
    }
    for (uint32_t i = 0; i < n; i++)
        memcpy(bytes + (size_t)i * (page_size + GAP), data + PREFIX_BYTES + (size_t)i * page_size, page_size);
    check(server, bytes, n, page_size, checksums, first, &v);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *page = bytes + (size_t)i * (page_size + GAP);
        must(v.state[i] <= GSP_PAGE_CHECKSUM);
        must((v.state[i] == GSP_PAGE_ZERO) == is_zero(page, page_size));
        must(v.state[i] != GSP_PAGE_ZERO || (v.lsn[i] == 0 && v.sum[i] == 0));
        must(checksums || (v.sum[i] == 0 && v.state[i] != GSP_PAGE_CHECKSUM));
        must(v.state[i] != GSP_PAGE_OK || !checksums || v.sum[i] == v.stored_sum[i] ||
             is_address_page(server, page, page_size));
        /* The stored checksum is not part of what is summed: with the right one nothing is wrong any more. */
        if (v.state[i] != GSP_PAGE_ZERO)
            store_le16(page + AT_CHECKSUM, v.sum[i]);
    }
    check(server, bytes, n, page_size, checksums, first, &again);
    for (uint32_t i = 0; i < n; i++) {
        must(again.sum[i] == v.sum[i] || !checksums);
        must(again.state[i] != GSP_PAGE_CHECKSUM);
        must((again.state[i] == GSP_PAGE_HEADER) == (v.state[i] == GSP_PAGE_HEADER) || !checksums);
    }
    free(bytes);
    return 0;
}
