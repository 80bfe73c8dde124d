/* SPDX-License-Identifier: Apache-2.0
 * The choice of the backup that an incremental one is based on. */
#ifndef ENGINE_PARENT_H
#define ENGINE_PARENT_H

#include "core/engine/engine.h"
#include "core/engine/timeline.h"

struct parent {
    struct backup_list list; /* of the instance, as it was when the parent was chosen */
    const struct backup *backup;
    struct timeline_history history; /* of the cluster's timeline */
    int is_proven;                   /* the end of the parent's WAL was found in that of the cluster */
    struct filelist files;           /* of the parent, sorted */
    struct backup_lock **locks; /* shared, on the parent and its ancestors: none of them is deleted or merged now */
    size_t n_locks;
};

/* parent_choose - the newest valid backup that descends from the newest valid FULL one in the history of this cluster.
 * It is locked, and its file list read. The choice and the reason are logged.
 * in     data: the cluster that is to be backed up
 * errors NOENT no backup fits; CONFIG the cluster went back in time, or its page checksums were switched; CORRUPT the
 *        parent's file list; LOCKED */
int parent_choose(struct parent *p, struct engine *e, struct data_side *data, struct gsp_error *err);
/* parent_check_start - once the backup has begun: it does not begin before the parent. (Behind its end it need not be:
 * a standby begins with its last restartpoint.) errors CONFIG */
int parent_check_start(const struct parent *p, gsp_lsn start_lsn, struct gsp_error *err);
/* parent_check_stop - and so does its end. errors CONFIG */
int parent_check_stop(const struct parent *p, gsp_lsn stop_lsn, uint64_t recovery_xid, struct gsp_error *err);
void parent_clear(struct parent *p);

#endif
