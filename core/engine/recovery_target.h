/* SPDX-License-Identifier: Apache-2.0
 * The point that a recovery is to end at, and which backup to begin with. A target is a struct gsp_recovery without its
 * restore_command; kind NONE without a timeline is no target at all. */
#ifndef ENGINE_RECOVERY_TARGET_H
#define ENGINE_RECOVERY_TARGET_H

#include "core/catalog/catalog.h"
#include "core/engine/timeline.h"
#include "gsp/server.h"

/* recovery_target_is_given - 1 or 0. */
int recovery_target_is_given(const struct gsp_recovery *t);
/* recovery_target_describe - for messages: "time '2026-05-01 10:20:30+02'", "xid 700". */
void recovery_target_describe(const struct gsp_recovery *t, char *buf, size_t size);

enum { RECOVERY_NAME_SIZE = 64 };

/* recovery_target_resolve - a target by a recovery-name of the stock tool, "backup ID", becomes the name that this
 * backup's restore point has in WAL. buf: where such a name is put, to live as long as the target. */
void recovery_target_resolve(struct gsp_recovery *t, const struct backup_list *list, char buf[RECOVERY_NAME_SIZE]);
/* recovery_target_is_end_of - is it the name of the backup itself? Its restore point lies before the end of the backup,
 * so that of all backups just this one cannot be recovered to it: its end is what is meant. 1 or 0. */
int recovery_target_is_end_of(const struct gsp_recovery *t, const struct backup *b);
/* recovery_target_is_beyond - does it lie behind what the backup brings with it? 1 or 0. */
int recovery_target_is_beyond(const struct gsp_recovery *t, const struct backup *b);
/* recovery_target_satisfies - can the target be reached from the backup, as far as the list tells?
 * in     history: of the target's timeline; not looked at when it has none. Returns 1 or 0 */
int recovery_target_satisfies(const struct gsp_recovery *t, const struct timeline_history *history,
    const struct backup_list *list, const struct backup *b);
/* recovery_xid_near - the 64-bit transaction id with these low 32 bits that is nearest to another. */
uint64_t recovery_xid_near(uint64_t near, uint32_t low);

/* recovery_target_choose - the backup to begin with: that with the id, or the newest valid one that the target can be
 * reached from. Says which, and why, when there is a target.
 * errors NOENT (none), CONFIG (the one with the id is not suited), IO (the control file of one that may be newer could
 * not be read) */
int recovery_target_choose(struct store *repo, const char *instance, const struct backup_list *list,
    const struct gsp_recovery *t, const char *id, struct backup **ret, struct gsp_error *err);

#endif
