/* SPDX-License-Identifier: Apache-2.0
 * Where a backup is restored to: the data directory, the tablespaces and the external directories. Everything that can
 * be refused is refused before the first write. */
#ifndef ENGINE_RESTORE_TARGET_H
#define ENGINE_RESTORE_TARGET_H

#include "core/engine/engine.h"
#include "core/engine/stored_file.h"

struct restore_tablespace {
    char *oid;
    char *location; /* after mapping */
    struct store store;
    void *store_opts;
    char *from;      /* where the backup had it */
    int linked;      /* in place: the data directory's own link leads there already */
    int inside;      /* it lies in the data directory, and so do its files in the backup; there is no store */
    int in_external; /* what the backup has of it came by -E: the files of an external directory go there */
    uint64_t gain;   /* in place: bytes there that are removed first */
};

struct external_target {
    struct store store;
    void *store_opts;
    int claimed;   /* what is there was left by the unfinished restore */
    uint64_t gain; /* in place: bytes there that are removed first */
};

struct restore_target {
    struct engine *e;
    struct store store; /* the data directory */
    void *store_opts;
    const struct gsp_dialect_ops *dialect;
    struct restore_tablespace *spaces;
    size_t n_spaces;
    struct external_target *externals; /* that of external directory N is [N - 1]; none when they are skipped */
    size_t n_externals;
    char tablespace_dir[256]; /* directory of the backup's cluster in a tablespace, as far as it is known */
    int external_inside;      /* an external directory goes to where a tablespace in the data directory has its files */
    int in_place;             /* what is there is made what it is to be */
    int unfinished;           /* not in place: it holds what an unfinished restore of this cluster left */
    uint64_t gain;            /* in place: bytes in the data directory that are removed first */
};

/* restore_target_check_destination - the data directory must be ours, and missing, empty or left by an unfinished
 * restore; or, with opts->incremental, one that no server uses. Needs no backup, so it is asked first.
 * Returns 1 when the restore is one in place, 0 when not, or a code. errors EXIST PERM */
int restore_target_check_destination(struct engine *e, const struct restore_options *opts, struct gsp_error *err);
/* restore_target_check_stopped - no server must run in the data directory. errors EXIST */
int restore_target_check_stopped(struct store *s, const char *pid_file, struct gsp_error *err);
/* restore_target_open - open all places, apply the tablespace mappings, check that they are empty (or left by an
 * unfinished restore of the same cluster); in place inplace_open does that. Writes nothing. errors EXIST CONFIG USAGE
 */
int restore_target_open(struct restore_target *t, struct engine *e, const struct restore_options *opts, int in_place,
    struct stored_backup *sb, const struct gsp_dialect_ops *dialect, const struct gsp_cluster *cluster,
    struct gsp_error *err);
/* restore_target_store - of the place of external directory N, or for 0 of the data directory. */
struct store *restore_target_store(struct restore_target *t, int32_t external_dir_num);
/* restore_target_space - the tablespace whose link has this path in the data directory; NULL. */
struct restore_tablespace *restore_target_space(const struct restore_target *t, const char *path);
void restore_target_close(struct restore_target *t);
/* restore_target_clear - make the data directory, without what an unfinished restore left in the places. */
int restore_target_clear(struct restore_target *t, struct gsp_error *err);
/* restore_target_prepare - make the directories and the links of tablespaces, in place those that are missing. */
int restore_target_prepare(struct restore_target *t, struct stored_backup *sb, struct gsp_error *err);
/* restore_target_set_modes - directories get their recorded modes, once their files are in. */
int restore_target_set_modes(struct restore_target *t, struct stored_backup *sb, struct gsp_error *err);

#endif
