/* SPDX-License-Identifier: Apache-2.0
 * Asking the mode which blocks of which file go into a backup. */
#ifndef ENGINE_PLAN_H
#define ENGINE_PLAN_H

#include "core/engine/backup_start.h"
#include "core/engine/change_map.h"
#include "core/engine/parent.h"
#include "core/engine/scan.h"

struct plan {
    struct engine *e;
    struct backup_start *start;
    const struct parent *parent; /* NULL: the backup is FULL */
    uint32_t timeline;
    gsp_lsn start_lsn;
    struct change_map *map; /* asked while files are copied */
};

/* plan_files - every file of the source gets its plan, its parent's entry, and its part of the change map. They borrow
 * from the plan and the parent. errors those of the mode, BUG when it breaks its contract */
int plan_files(struct plan *p, struct source_list *src, struct gsp_error *err);
void plan_clear(struct plan *p);

#endif
