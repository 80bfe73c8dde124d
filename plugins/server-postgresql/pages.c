/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"

#include "server/checksum.h"

#define FLAGS_KNOWN 0x0007
#define LAYOUT_VERSION 4

static int
header_makes_sense(const uint8_t *page, uint32_t size)
{
    return pg_le16(page + PG_PAGE_AT_SIZE_VERSION) == (size | LAYOUT_VERSION) &&
           (pg_le16(page + PG_PAGE_AT_FLAGS) & ~FLAGS_KNOWN) == 0 && pg_page_fits(page, size, PG_PAGE_HEADER);
}

void
pg_pages_check(const struct gsp_cluster *cluster, struct gsp_pages *pages)
{
    pg_pages_verdict(cluster, pages, header_makes_sense, NULL);
}
