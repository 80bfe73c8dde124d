/* SPDX-License-Identifier: Apache-2.0
 * Recovery behind the end of a backup: what the restored server is told about it, and whether there is the WAL for it.
 */
#ifndef ENGINE_RECOVERY_H
#define ENGINE_RECOVERY_H

#include "core/engine/engine.h"
#include "core/engine/recovery_target.h"

struct recovery_file {
    char *path, *text; /* text NULL: the file must not be there */
    uint32_t mode, flags;
};

/* The files that tell a server how to recover. */
struct recovery {
    struct recovery_file *files;
    size_t n;
};

/* recovery_plan - what is to become of the backup: the target, or nothing (kind NONE, no command, no timeline) where
 * the backup's own end is all that is wanted. restore_command: as configured. */
struct gsp_recovery recovery_plan(struct engine *e, const struct gsp_recovery *target, const struct backup *b);

/* recovery_prepare - the files for a plan. Warns of what will keep the server from starting.
 * errors CONFIG (a value is refused) UNSUPPORTED */
int recovery_prepare(struct engine *e, const struct gsp_dialect_ops *dialect, const struct gsp_cluster *cluster,
    const struct gsp_recovery *plan, const struct backup *b, struct recovery *ret, struct gsp_error *err);
/* recovery_write - into a restored data directory that has no control file yet. Durable unless no_sync. */
int recovery_write(const struct recovery *r, struct store *target, int no_sync, struct gsp_error *err);
void recovery_free(struct recovery *r);

/* recovery_check_wal - does the WAL that can be seen (in wal/<instance>, and that of the backup) reach the target?
 * Tells. errors NOENT it does not; CONFIG the newest timeline does not come from that of the backup; UNSUPPORTED LOCKED
 */
int recovery_check_wal(
    struct engine *e, const struct gsp_recovery *target, const struct backup *b, struct gsp_error *err);

#endif
