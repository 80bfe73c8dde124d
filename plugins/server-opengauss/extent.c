/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of row-compressed relations (<relation>_compress), rebuilt from the pages that the stock tool stores.
 *
 * Such a file is a row of extents of 128 blocks: 127 blocks of chunks, and the address page that says which chunks
 * each of 127 logical pages has. The layout stands in docs/formats/datafile.md. */
#include "opengauss.h"

#include "server/checksum.h"

#define PAGE_BYTES 8192u
#define PAGES_PER_EXTENT OG_EXTENT_PAGES
#define EXTENTS_PER_FILE 1024u

/* The address page, at the end of the extent. */
#define AT_MAP (OG_EXTENT_BYTES - PAGE_BYTES)
#define AT_BLOCKS 0
#define AT_CHUNKS 4
#define AT_CHUNK_SIZE 8
#define AT_ALGORITHM 10
#define AT_ENTRIES 144
/* An entry of it: one per page, with room for the chunks of a page that does not shrink. */
#define AT_SUM 0
#define AT_USED 4
#define AT_ALLOCATED 5
#define AT_NUMBERS 6

/* A page: fields of its header, and what follows it when the rest is compressed. */
#define AT_LOWER 12
#define AT_LAYOUT 18
#define LOWER_MARK 0x8000u /* of the stock tool's */
#define AT_DATA_SUM 0      /* behind the page header */
#define AT_DATA_SIZE 4
#define DATA_PREFIX 8

#define LAYOUT_HEAP 6
#define LAYOUT_USTORE 7
#define HEADER_BYTES 24u
#define HEADER_BYTES_HEAP 40u
#define HEADER_BYTES_USTORE 56u

#define ALGORITHM_LAST 4u /* pglz, zstd, pgzstd, zlib */
#define HOLE_UNIT 4096u

static void
put_le16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void
put_le32(uint8_t *p, uint32_t v)
{
    put_le16(p, v);
    put_le16(p + 2, v >> 16);
}

static int
is_zero(const uint8_t *p, uint32_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* ---- one page ---------------------------------------------------------------------------------- */

static uint32_t
header_bytes(const uint8_t *page)
{
    switch (page[AT_LAYOUT]) {
    case LAYOUT_HEAP:
        return HEADER_BYTES_HEAP;
    case LAYOUT_USTORE:
        return HEADER_BYTES_USTORE;
    default:
        return HEADER_BYTES;
    }
}

/* Bytes that the page takes compressed, when that is what it is: its data has a checksum, and nothing follows. 0 when
 * not. */
static uint32_t
compressed_bytes(const uint8_t *page, uint32_t chunk_size)
{
    const uint8_t *prefix = page + header_bytes(page), *data = prefix + DATA_PREFIX;
    uint32_t size = pg_le16(prefix + AT_DATA_SIZE), all = (uint32_t)(data - page) + size;
    /* The server keeps a page as it is unless that saves a chunk. */
    if (size == 0 || all > PAGE_BYTES - chunk_size || !is_zero(page + all, PAGE_BYTES - all))
        return 0;
    return pg_data_sum(data, size) == pg_le32(prefix + AT_DATA_SUM) ? all : 0;
}

static int
is_plain(const struct gsp_cluster *cluster, const uint8_t *page, uint64_t block)
{
    uint32_t number = 0;
    gsp_lsn lsn;
    uint16_t sum, stored;
    uint8_t state;
    struct gsp_pages pages = {.struct_size = sizeof pages,
        .n = 1,
        .page_size = PAGE_BYTES,
        .stride = PAGE_BYTES,
        .base_block = block,
        .data = page,
        .block = &number,
        .lsn = &lsn,
        .sum = &sum,
        .stored_sum = &stored,
        .state = &state};
    og_pages_check(cluster, &pages);
    return state == GSP_PAGE_OK;
}

/* ---- one extent -------------------------------------------------------------------------------- */

/* The sum of the 32-bit words behind it, the last one filled up with zeros. */
static uint32_t
entry_sum(const uint8_t *entry, uint32_t chunks)
{
    uint32_t sum = 0, end = AT_NUMBERS + 2 * chunks;
    for (uint32_t at = AT_USED; at < end; at += 4)
        sum += end - at >= 4 ? pg_le32(entry + at) : pg_le16(entry + at);
    return sum;
}

/* A page of zeros has no chunks. */
static int
add_page(const struct gsp_cluster *cluster, struct gsp_extent *x, uint32_t i, uint32_t *chunks, struct gsp_error *err)
{
    uint8_t *page = x->pages + (size_t)i * PAGE_BYTES, *map = x->bytes + AT_MAP;
    uint32_t per_page = PAGE_BYTES / x->chunk_size, block = x->first + i;
    uint8_t *entry = map + AT_ENTRIES + (size_t)i * (AT_NUMBERS + 2 * per_page);
    put_le16(page + AT_LOWER, pg_le16(page + AT_LOWER) & ~LOWER_MARK);
    if (is_zero(page, PAGE_BYTES))
        return 0;
    uint32_t size = compressed_bytes(page, x->chunk_size);
    if (size == 0 && is_plain(cluster, page, (uint64_t)x->segment * EXTENTS_PER_FILE * PAGES_PER_EXTENT + block))
        size = PAGE_BYTES;
    if (size == 0 && x->tolerant) {
        x->lost++;
        return 0;
    }
    if (size == 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "block %u is neither a page that the server compressed nor one that it left as it was", block);
    uint32_t n = (size + x->chunk_size - 1) / x->chunk_size;
    memcpy(x->bytes + (size_t)*chunks * x->chunk_size, page, size);
    for (uint32_t k = 0; k < n; k++)
        put_le16(entry + AT_NUMBERS + (size_t)k * 2, *chunks + k + 1);
    entry[AT_USED] = entry[AT_ALLOCATED] = (uint8_t)n;
    put_le32(entry + AT_SUM, entry_sum(entry, n));
    *chunks += n;
    return 0;
}

static int
check_kind(const struct gsp_extent *x, struct gsp_error *err)
{
    uint32_t size = x->chunk_size;
    if ((size == 512 || size == 1024 || size == 2048 || size == 4096) && x->algorithm > 0 &&
        x->algorithm <= ALGORITHM_LAST)
        return 0;
    (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "row compression with algorithm %u and chunks of %u bytes is not known",
        x->algorithm, size);
    return gsp_hint(err, "restore this backup with the gs_probackup that made it, or use a newer one of this program");
}

int
og_extent_build(const struct gsp_cluster *cluster, struct gsp_extent *x, struct gsp_error *err)
{
    uint32_t chunks = 0;
    int rc = check_kind(x, err);
    if (rc == 0 && (cluster->page_size != PAGE_BYTES || x->n > PAGES_PER_EXTENT || x->first % PAGES_PER_EXTENT != 0 ||
                       x->first >= EXTENTS_PER_FILE * PAGES_PER_EXTENT))
        rc = gsp_fail(err, GSP_E_UNSUPPORTED, 0, "%u pages of %u bytes from block %u on are no extent", x->n,
            cluster->page_size, x->first);
    for (uint32_t i = 0; i < x->n && rc == 0; i++)
        rc = add_page(cluster, x, i, &chunks, err);
    if (rc != 0 || x->n == 0)
        return rc;
    uint8_t *map = x->bytes + AT_MAP;
    put_le32(map + AT_BLOCKS, x->n);
    put_le32(map + AT_CHUNKS, chunks);
    put_le16(map + AT_CHUNK_SIZE, x->chunk_size);
    map[AT_ALGORITHM] = (uint8_t)x->algorithm;
    x->hole = (chunks * x->chunk_size + HOLE_UNIT - 1) / HOLE_UNIT * HOLE_UNIT;
    x->hole_end = AT_MAP;
    return 0;
}
