/* SPDX-License-Identifier: Apache-2.0 */
#include "opengauss.h"

#include "server/checksum.h"

#define FLAGS_KNOWN 0x01FF

/* Layouts of a page: what the low byte of its size and version tells. */
#define LAYOUT_COMMON 5u /* index, free space map, visibility map, undo */
#define LAYOUT_HEAP 6u   /* with 64-bit bases of its transaction ids */
#define LAYOUT_USTORE 7u
#define LAYOUT_SEGMENT 8u /* of the segment store's own */
#define HEAP_HEADER 40u

#define ADDRESS_MAGIC "seg_comp"

/* Segment files have pages that nothing was put on: zeros, but for LSN, checksum and the flag that there is one. */
static int
is_new(const uint8_t *page)
{
    return pg_le16(page + PG_PAGE_AT_LOWER) == 0 && pg_le16(page + PG_PAGE_AT_UPPER) == 0 &&
           pg_le16(page + PG_PAGE_AT_SPECIAL) == 0 && pg_le16(page + PG_PAGE_AT_SIZE_VERSION) == 0;
}

static int
header_makes_sense(const uint8_t *page, uint32_t size)
{
    uint32_t size_version = pg_le16(page + PG_PAGE_AT_SIZE_VERSION), layout = size_version & 0xFF;
    uint32_t least = layout == LAYOUT_HEAP || layout == LAYOUT_USTORE ? HEAP_HEADER : PG_PAGE_HEADER;
    if ((pg_le16(page + PG_PAGE_AT_FLAGS) & ~FLAGS_KNOWN) != 0)
        return 0;
    return is_new(page) || ((size_version & 0xFF00) == size && layout >= LAYOUT_COMMON && layout <= LAYOUT_SEGMENT &&
                               pg_page_fits(page, size, least));
}

/* The last page of an extent that the segment store keeps compressed: where its chunks are, without a page header. */
static int
is_address_page(const uint8_t *page, uint32_t size)
{
    return memcmp(page + size - strlen(ADDRESS_MAGIC), ADDRESS_MAGIC, strlen(ADDRESS_MAGIC)) == 0;
}

int
og_extent_is_compressed(const struct gsp_cluster *cluster, const void *last_page)
{
    return is_address_page(last_page, cluster->page_size);
}

void
og_pages_check(const struct gsp_cluster *cluster, struct gsp_pages *pages)
{
    pg_pages_verdict(cluster, pages, header_makes_sense, is_address_page);
}
