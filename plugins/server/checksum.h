/* SPDX-License-Identifier: Apache-2.0
 *
 * What pages of PostgreSQL and its descendants have in common: header fields, the test for zeros, the checksum. Pure,
 * any thread. */
#ifndef SERVER_CHECKSUM_H
#define SERVER_CHECKSUM_H

#include "gsp/server.h"

/* The page header: LSN as two 32-bit halves, high first, then 16-bit fields. */
#define PG_PAGE_AT_LSN_HIGH 0
#define PG_PAGE_AT_LSN_LOW 4
#define PG_PAGE_AT_CHECKSUM 8
#define PG_PAGE_AT_FLAGS 10
#define PG_PAGE_AT_LOWER 12
#define PG_PAGE_AT_UPPER 14
#define PG_PAGE_AT_SPECIAL 16
#define PG_PAGE_AT_SIZE_VERSION 18
#define PG_PAGE_HEADER 24

/* Says 1 or 0 of a page that is not all zeros. */
typedef int (*pg_page_test)(const uint8_t *page, uint32_t size);

/* pg_pages_verdict - pages_check of a dialect, see gsp/server.h.
 * in     is_unsummed: is this, which would not do as a page, something else that is right there? NULL = there is no
 * such thing */
void pg_pages_verdict(const struct gsp_cluster *cluster, struct gsp_pages *pages, pg_page_test header_makes_sense,
    pg_page_test is_unsummed);

/* pg_page_fits - do the places of line pointers, free space and special space fit into the page? least: bytes of its
 * header */
int pg_page_fits(const uint8_t *page, uint32_t size, uint32_t least);

/* pg_data_sum - the same sum over any bytes, filled up with zeros to whole rows of 128; no block number goes in. */
uint32_t pg_data_sum(const uint8_t *data, uint32_t size);

#endif
