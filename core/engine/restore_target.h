/* SPDX-License-Identifier: Apache-2.0
 * Where a backup is restored to: the data directory and the tablespaces. Everything that can be refused
 * is refused before the first write. */
#ifndef ENGINE_RESTORE_TARGET_H
#define ENGINE_RESTORE_TARGET_H

#include "core/engine/engine.h"
#include "core/engine/stored_file.h"

struct restore_tablespace {
    char *oid;
    char *location; /* after mapping */
    struct store store;
    void *store_opts;
};

struct restore_target {
    struct engine *e;
    struct store store; /* the data directory */
    void *store_opts;
    const struct gsp_dialect_ops *dialect;
    struct restore_tablespace *spaces;
    size_t n_spaces;
    int unfinished; /* it holds what an unfinished restore of this cluster left */
};

/* restore_target_check_destination - the data directory must be missing, empty or left by an unfinished
 * restore, and ours. Needs no backup, so it is asked first. errors EXIST PERM */
int restore_target_check_destination(struct engine *e, const char *pgdata, struct gsp_error *err);
/* restore_target_open - open all places, apply the tablespace mappings, check that they are empty (or left by an
 * unfinished restore of the same cluster) and have the room. Writes nothing. errors EXIST NOSPC CONFIG USAGE */
int restore_target_open(struct restore_target *t, struct engine *e, const struct restore_options *opts,
    struct stored_backup *sb, const struct gsp_dialect_ops *dialect, uint64_t system_id, struct gsp_error *err);
void restore_target_close(struct restore_target *t);
/* restore_target_clear - make the data directory, without what an unfinished restore left in the places. */
int restore_target_clear(struct restore_target *t, struct gsp_error *err);
/* restore_target_prepare - make the directories and the links of tablespaces. After restore_target_clear. */
int restore_target_prepare(struct restore_target *t, struct stored_backup *sb, struct gsp_error *err);
/* restore_target_set_modes - directories get their recorded modes, once their files are in. */
int restore_target_set_modes(struct restore_target *t, struct stored_backup *sb, struct gsp_error *err);
/* restore_bytes_needed - bytes of all files of a backup once restored. */
uint64_t restore_bytes_needed(const struct stored_backup *sb);

#endif
