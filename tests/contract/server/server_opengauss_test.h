/* SPDX-License-Identifier: Apache-2.0
 * What the tests of the openGauss dialect share. */
#ifndef SERVER_OPENGAUSS_TEST_H
#define SERVER_OPENGAUSS_TEST_H

#include "dialect_test.h"

static inline struct gsp_cluster
cluster_gauss(void)
{
    struct gsp_cluster c = {.struct_size = sizeof c,
        .page_size = 8192,
        .segment_blocks = 131072,
        .wal_block_size = 8192,
        .wal_segment_size = 1 << 20,
        .checksum_version = 1,
        .timeline = 1,
        .system_id = SYSTEM_ID,
        .version = "9.2",
        .tablespace_dir = "PG_9.2_201611171"};
    return c;
}

#endif
