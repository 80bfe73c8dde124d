/* SPDX-License-Identifier: Apache-2.0
 * The engine's entry points, one per command that moves data, and what they share. The caller (core/cli)
 * has bound the configuration and opened the catalog's store. Messages of progress are logged here;
 * errors are returned. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "core/catalog/catalog.h"
#include "core/config/config.h"
#include "core/plugin/registry.h"

/* The longest control file that is read into memory. */
enum { CONTROL_FILE_MAX = 1024 * 1024 };

struct engine {
    struct config *cfg;
    struct registry *reg;
    struct store repo;
    const char *instance; /* NULL for commands over all instances */
    unsigned threads;     /* >= 1 */
    int progress;         /* --progress: lines even without a terminal */
    int no_sync;          /* --no-sync */
};

/* ---- one side's plugins (environment.c) -------------------------------------------------------- */

/* A cluster's files: where they are, and the dialect that understands them. */
struct data_side {
    struct store store;
    void *store_opts;
    const struct plugin *server;
    const struct gsp_dialect_ops *dialect;
    struct gsp_cluster cluster;
};

/* engine_open_store - open the storage selected by the setting `which` ("storage.repo", "storage.data")
 * at a root. opts: freed with plugin_free_options after store_close. */
int engine_open_store(struct config *cfg, struct registry *reg, const char *which, const char *root, struct store *ret,
    void **ret_opts, struct gsp_error *err);

/* data_side_open - open a data directory, read its control file, choose the server plugin.
 * errors NOENT (no such directory, no control file) UNSUPPORTED (no dialect knows it) and control_parse's */
int data_side_open(
    struct data_side *side, struct config *cfg, struct registry *reg, const char *pgdata, struct gsp_error *err);
/* data_side_refresh - read the control file again. */
int data_side_refresh(struct data_side *side, struct gsp_error *err);
void data_side_close(struct data_side *side);

/* dialect_of_backup - the dialect and cluster of a backup, from its stored control file.
 * errors UNSUPPORTED when no plugin knows it */
int dialect_of_backup(struct engine *e, const struct backup *b, const struct gsp_dialect_ops **ret_dialect,
    struct gsp_cluster *ret_cluster, struct gsp_error *err);

/* A compressor by its name in a catalog; "none" gives plugin NULL. */
struct codec {
    const struct plugin *plugin;
    void *opts;
};
int codec_open(struct engine *e, const char *name, struct codec *ret, struct gsp_error *err);
void codec_close(struct codec *codec);
static inline const struct gsp_compressor_ops *
codec_ops(const struct codec *codec)
{
    return codec->plugin != NULL ? codec->plugin->ops : NULL;
}

/* ---- commands ---------------------------------------------------------------------------------- */

struct backup_options {
    const char *mode; /* name of a mode plugin */
    const char *note; /* or NULL */
    int smooth_checkpoint;
    const char *slot;  /* -S, or NULL */
    int temp_slot;     /* --temp-slot */
    int include_logs;  /* --backup-pg-log */
    int include_slots; /* --backup-pg-replslot */
    int no_validate;
    int skip_block_validation;
    unsigned verify_per_mille; /* --verify-map: of the pages an increment leaves out */
    const char *password;      /* -W, or NULL */
    /* Ask the user for a password (malloc'ed), when the server wants one. May be NULL itself (-w). */
    char *(*ask_password)(void *arg, struct gsp_error *err);
    void *ask_arg;
};
/* backup_run - take a backup. out ret_id: its id, also after a failure ("" when none was made). */
int backup_run(struct engine *e, const struct backup_options *opts, char ret_id[BACKUP_ID_SIZE], struct gsp_error *err);

/* OLD=NEW of -T, or of --external-mapping, which may name tablespaces, too. */
struct directory_mapping {
    const char *from, *to; /* absolute, canonical; no `from` with two different `to` */
    int is_external;
};
/* What a restore into an existing cluster believes: a page of the same LSN and checksum as in the backup is the same,
 * or, as far as the cluster and the backup have a history in common, a page of the same LSN. */
enum restore_incremental { INCREMENTAL_NONE, INCREMENTAL_CHECKSUM, INCREMENTAL_LSN };

struct restore_options {
    const char *pgdata;
    enum restore_incremental incremental; /* -I */
    const char *id;                       /* or NULL = the best one */
    struct gsp_recovery target;           /* as in recovery_target.h */
    const struct directory_mapping *mappings;
    size_t n_mappings;
    int no_validate;
    int skip_block_validation;
    int force;
    int skip_external_dirs;
};
int restore_run(struct engine *e, const struct restore_options *opts, struct gsp_error *err);

struct validate_options {
    const char *id;             /* or NULL = every backup of the instance; with a target the best one for it */
    struct gsp_recovery target; /* as in recovery_target.h */
    int skip_block_validation;
};
/* validate_run - check backups of one instance; statuses are updated. out ret_bad: backups not valid. */
int validate_run(struct engine *e, const struct validate_options *opts, size_t *ret_bad, struct gsp_error *err);
/* validate_target_run - check that the target can be recovered to: the backup that restore would choose, its chain, and
 * the WAL that can be seen. out ret_id: of that backup; ret_bad: as validate_run
 * errors those of recovery_target_choose and recovery_check_wal */
int validate_target_run(struct engine *e, const struct validate_options *opts, char ret_id[BACKUP_ID_SIZE],
    size_t *ret_bad, struct gsp_error *err);
/* validate_backup - check one backup that the caller has locked, and set its status.
 * in     must_read: a failure to read is the caller's error IO, and the status stays; else it counts as damage
 * Returns 0 when the check ran: b->status tells the verdict. */
int validate_backup(
    struct engine *e, struct backup *b, int skip_block_validation, int must_read, struct gsp_error *err);

/* validate_chain - check a backup's chain, from the FULL backup on to the backup itself, as backup_chain gives it out
 * of the list; the caller has locked all of it. Ends at the first that is not valid, whose descendants become ORPHAN.
 * Members that are CORRUPT or ORPHAN can heal. The verdict is chain[0]->status.
 * in     must_read: as for validate_backup */
int validate_chain(struct engine *e, struct backup_list *list, const struct backup *const *chain, size_t n,
    int skip_block_validation, int must_read, struct gsp_error *err);
/* orphan_descendants - valid backups on top of one that is not valid, or missing (backup_chain: err->where), become
 * ORPHAN, with a warning each. */
int orphan_descendants(struct engine *e, struct backup_list *list, const char *id, struct gsp_error *err);

/* merge_run - make one FULL backup of a chain, with the id of its newest member: of backup `id` and its ancestors, or
 * of a FULL backup and its only child. Goes on where an interrupted one stopped. */
int merge_run(struct engine *e, const char *id, struct gsp_error *err);

/* delete_run - remove a backup and everything made on top of it; dry_run only tells. */
int delete_run(struct engine *e, const char *id, int dry_run, struct gsp_error *err);
/* delete_status_run - remove all backups that have a status, and everything made on top of them. */
int delete_status_run(struct engine *e, const char *status, int dry_run, struct gsp_error *err);
/* delete_backup - remove one backup whose exclusive lock the caller holds (taken over). */
int delete_backup(struct engine *e, struct backup *b, struct backup_lock *lock, struct gsp_error *err);

struct retention_options {
    int delete_expired, merge_expired, delete_wal;
    int dry_run;            /* only tell */
    const char *deleted_id; /* with dry_run: WAL as if this backup and all on top of it were deleted; or NULL */
};
/* retention_run - what the instance's retention policy (a plugin) says to its backups and their WAL, carried out. */
int retention_run(struct engine *e, const struct retention_options *opts, struct gsp_error *err);
/* retention_check - is there such a policy, with good options? errors UNSUPPORTED CONFIG */
int retention_check(struct engine *e, struct gsp_error *err);
/* settle_backup - a backup that says RUNNING and whose process is gone becomes ERROR; *b is what it is then.
 * 1 = it was changed, 0 = not, or a code. settle_running - all of the instance. */
int settle_backup(struct engine *e, struct backup *b, struct gsp_error *err);
int settle_running(struct engine *e, struct gsp_error *err);

#endif
