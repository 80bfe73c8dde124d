/* SPDX-License-Identifier: Apache-2.0
 * What a restore would do, and what keeps it from it. Nothing is written, locked or validated. */
#ifndef ENGINE_RESTORE_PLAN_H
#define ENGINE_RESTORE_PLAN_H

#include "core/engine/restore_file.h"
#include "core/engine/room.h"
#include "core/engine/wal_receiver.h"

/* How far the WAL in wal/<instance> goes on behind the backup, along one timeline. */
struct plan_reach {
    uint32_t timeline;
    gsp_lsn until;
    uint64_t segments; /* 0: only what the backup has itself */
    char last[WAL_SEGMENT_NAME_SIZE];
};

struct restore_plan {
    struct restore restore; /* list, backups, target: as far as the plan got */
    uint64_t bytes;         /* of the files once they are restored */
    uint64_t wal_segments;  /* that the backup needs to be consistent; 0: not known */
    char wal_first[WAL_SEGMENT_NAME_SIZE], wal_last[WAL_SEGMENT_NAME_SIZE];
    struct room room; /* no systems: the target was refused */
    struct plan_reach *reach;
    size_t n_reach;
    struct gsp_error *refusals;
    size_t n_refusals;
};

/* restore_plan_make - opts must live until restore_plan_free. That a restore would be refused is no error.
 * errors those of the catalog's listing, NOMEM, CANCELLED */
int restore_plan_make(
    struct engine *e, const struct restore_options *opts, struct restore_plan *ret, struct gsp_error *err);
void restore_plan_free(struct restore_plan *plan);

/* restore_plan_refuse - keep a reason; but CANCELLED and NOMEM are the caller's. */
int restore_plan_refuse(struct restore_plan *plan, const struct gsp_error *why, struct gsp_error *err);
/* restore_look - all that comes before the first write of a restore (restore.c). r->list is read. */
int restore_look(struct restore *r, struct restore_plan *plan, struct gsp_error *err);
void restore_close(struct restore *r);

#endif
