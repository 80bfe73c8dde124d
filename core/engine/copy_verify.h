/* SPDX-License-Identifier: Apache-2.0
 * Is a page that an incremental backup leaves out really as the parent has it? Asked of every page whose LSN alone says
 * so, and with --verify-map of some of those that a change map does not name. */
#ifndef ENGINE_COPY_VERIFY_H
#define ENGINE_COPY_VERIFY_H

#include <stdatomic.h>

#include "core/engine/chain.h"
#include "core/engine/scan.h"

/* Shared by all workers. */
struct map_check_job {
    struct chain *chain; /* of the parent */
    const char *parent_id;
    uint32_t per_mille; /* of the pages that the map does not name */
    uint64_t seed;      /* other pages every time */
    atomic_uint_fast64_t compared;
};

struct map_check;
int map_check_new(struct map_check_job *job, struct map_check **ret, struct gsp_error *err);
void map_check_free(struct map_check *check); /* NULL is fine */

/* map_check_wants - is the block in the sample? Never for one that the parent's file is too short for. 1 or 0. */
int map_check_wants(const struct map_check *check, const struct source_file *f, uint32_t block);
/* map_check_page - are LSN and checksum those of the newest version in the parent's chain? 1, 0, or a code. */
int map_check_page(struct map_check *check, const struct source_file *f, uint32_t block, gsp_lsn lsn, uint16_t sum,
    struct gsp_error *err);
/* map_check_fail - the map misses this block, which makes the whole map worthless. errors CORRUPT, always */
int map_check_fail(const struct map_check *check, uint32_t block, gsp_lsn lsn, struct gsp_error *err);

#endif
