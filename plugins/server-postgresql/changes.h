/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to server-postgresql: changed blocks on their way to the core, in batches. */
#ifndef SERVER_POSTGRESQL_CHANGES_H
#define SERVER_POSTGRESQL_CHANGES_H

#include "postgresql.h"

/* cb and arg are set, the rest is zero. */
struct pg_changes {
    gsp_change_cb cb;
    void *arg;
    uint32_t n;
    struct gsp_change batch[512];
};

/* No block has this number, so a count of blocks never overflows. */
#define PG_NO_BLOCK UINT32_MAX

/* pg_changes_add - add a change; BLOCKS is one block, not PG_NO_BLOCK. Returns what the callback returned, 0 without
 * a call. */
int pg_changes_add(struct pg_changes *c, const struct gsp_change *change, struct gsp_error *err);
/* pg_changes_flush - hand on what has not been yet. */
int pg_changes_flush(struct pg_changes *c, struct gsp_error *err);

#endif
