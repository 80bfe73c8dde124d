/* SPDX-License-Identifier: Apache-2.0
 * Taking a backup. The order of writes is documented in docs/formats/catalog.md: nothing in the
 * catalog says DONE before everything it speaks of is durable. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/engine/backup_room.h"
#include "core/engine/backup_start.h"
#include "core/engine/copy.h"
#include "core/engine/copy_verify.h"
#include "core/engine/durability.h"
#include "core/engine/engine.h"
#include "core/engine/parent.h"
#include "core/engine/plan.h"

enum {
    ENTRIES_MIN = 100,      /* a directory with fewer is no cluster */
    UNPROVEN_PER_MILLE = 10 /* of the pages left out, compared when nothing else proves the parent */
};

/* Everything one backup holds on to, released in backup_job_close. */
struct backup_job {
    struct engine *e;
    const struct backup_options *opts;
    struct backup_start start; /* plugins, data side, session */
    struct parent parent;      /* of an incremental backup; its backup is NULL otherwise */
    struct plan plan;
    struct chain parent_chain; /* for --verify-map */
    struct map_check_job check;
    struct backup b;
    struct backup_lock *lock;
    char dir[PATH_SIZE];          /* of the backup in the catalog */
    char database_dir[PATH_SIZE]; /* and of its files */
    char wal_dir[PATH_SIZE];
    struct source_list src;
    struct header_map_writer *map;
    struct copy copy;
    struct wal_receiver *receiver;
    struct filelist list;
    int is_refused; /* before a single file was copied: no trace of it stays */
};

/* ---- the catalog's side of a beginning backup -------------------------------------------------- */

static void
describe(struct backup_job *job)
{
    struct backup *b = &job->b;
    const struct gsp_cluster *cluster = &job->start.data.cluster;
    b->status = BACKUP_RUNNING;
    b->stream = 1;
    b->from_replica = job->start.identity.in_recovery != 0;
    b->block_size = cluster->page_size;
    b->wal_block_size = cluster->wal_block_size;
    b->checksum_version = cluster->checksum_version;
    b->storage_type = STORAGE_TYPE_FILE;
    b->compress_level = (int64_t)config_get_u64(job->e->cfg, "compress-level");
    if (job->parent.backup != NULL)
        (void)snprintf(b->parent_id, sizeof b->parent_id, "%s", job->parent.backup->id);
}

static int
copy_string(char **to, const char *from, struct gsp_error *err)
{
    free(*to);
    *to = from != NULL ? strdup(from) : NULL;
    return from != NULL && *to == NULL ? gsp_fail(err, GSP_E_NOMEM, 0, "out of memory") : 0;
}

static int
describe_strings(struct backup_job *job, struct gsp_error *err)
{
    struct backup *b = &job->b;
    int rc = copy_string(&b->mode, job->start.mode_ops->label, err);
    if (rc == 0)
        rc = copy_string(&b->compress_alg, job->start.codec_name, err);
    if (rc == 0)
        rc = copy_string(&b->program_version, CATALOG_FORMAT_VERSION, err);
    if (rc == 0)
        rc = copy_string(&b->server_version, job->start.data.cluster.version, err);
    if (rc == 0)
        rc = copy_string(&b->external_dirs, job->start.external.text, err);
    if (rc == 0)
        rc = copy_string(&b->s3_status, "UNKNOWN", err);
    if (rc == 0)
        rc = copy_string(&b->made_by, program_version, err);
    if (rc == 0 && job->opts->note != NULL && strcmp(job->opts->note, "none") != 0)
        rc = copy_string(&b->note, job->opts->note, err);
    return rc;
}

static int
join(char to[PATH_SIZE], const char *dir, const char *name, struct gsp_error *err)
{
    return path_join(to, dir, name) ? 0 : gsp_fail(err, GSP_E_CONFIG, 0, "the path of the backup catalog is too long");
}

/* One for each, also for an empty one. */
static int
make_external_dirs(struct backup_job *job, struct gsp_error *err)
{
    char path[PATH_SIZE], name[64];
    int rc = 0;
    for (size_t i = 1; i <= job->start.external.dirs.n && rc == 0; i++) {
        (void)snprintf(name, sizeof name, EXTERNAL_DIR_FORMAT, (int32_t)i);
        rc = join(path, job->dir, name, err);
        if (rc == 0)
            rc = store_mkdir(&job->e->repo, path, 0700, GSP_MKDIR_PARENTS, err);
    }
    return rc;
}

/* ID, directory with a lock and a durable control file that says RUNNING. */
static int
create_in_catalog(struct backup_job *job, struct gsp_error *err)
{
    struct engine *e = job->e;
    describe(job);
    int rc = describe_strings(job, err);
    if (rc == 0)
        rc = backup_create(&e->repo, e->instance, &job->b, &job->lock, err);
    if (rc != 0)
        return rc;
    log_about(NULL, job->b.id);
    log_info("Backup start, gs_probackup version: %s, instance: %s, backup ID: %s, backup mode: %s, wal mode: STREAM, "
             "remote: false, compress-algorithm: %s, compress-level: %" PRId64,
        program_version, e->instance, job->b.id, job->b.mode, job->b.compress_alg, job->b.compress_level);
    rc = backup_path(job->dir, e->instance, &job->b, NULL, err);
    if (rc == 0)
        rc = join(job->database_dir, job->dir, "database", err);
    if (rc == 0)
        rc = join(job->wal_dir, job->database_dir, job->start.data.dialect->wal_dir, err);
    if (rc == 0)
        rc = store_mkdir(&e->repo, job->database_dir, 0700, 0, err);
    if (rc == 0)
        rc = store_mkdir(&e->repo, job->wal_dir, 0700, 0, err);
    return rc == 0 ? make_external_dirs(job, err) : rc;
}

/* ---- the server's side ------------------------------------------------------------------------- */

/* A standby has its primary's system id. What tells them apart is the checkpoint that the backup has just
 * begun with: the server wrote it into the control file of its own data directory. */
static int
check_same_cluster(struct backup_job *job, struct gsp_error *err)
{
    struct data_side *data = &job->start.data;
    int rc = data_side_refresh(data, err);
    if (rc != 0 || data->cluster.redo_lsn >= job->b.start_lsn)
        return rc;
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "the data directory '%s' is not that of the server: its last checkpoint is at " GSP_LSN_FMT
        ", the backup starts at " GSP_LSN_FMT,
        data->store.root, GSP_LSN_ARGS(data->cluster.redo_lsn), GSP_LSN_ARGS(job->b.start_lsn));
    return gsp_hint(err, "-D and -h, -p must lead to the same server, not to a standby and its primary");
}

/* What is refused from here on leaves no trace; what was stopped or broke down does, as a failed backup. */
static int
refuse(struct backup_job *job, int code)
{
    job->is_refused = code == GSP_E_CONFIG || code == GSP_E_NOENT || code == GSP_E_UNSUPPORTED ||
                      code == GSP_E_CORRUPT || code == GSP_E_NOSPC;
    return code;
}

/* A server that was just promoted names its new timeline with its first checkpoint, which is that of this backup. The
 * parent was chosen for the old one. */
static int
settle_parent(struct backup_job *job, struct gsp_error *err)
{
    struct data_side *data = &job->start.data;
    const struct timeline_history *history = &job->parent.history;
    int rc = 0;
    if (history->spans[history->n - 1].timeline != data->cluster.timeline) {
        parent_clear(&job->parent);
        rc = parent_choose(&job->parent, job->e, data, err);
        if (rc == 0)
            (void)snprintf(job->b.parent_id, sizeof job->b.parent_id, "%s", job->parent.backup->id);
    }
    return refuse(job, rc == 0 ? parent_check_start(&job->parent, job->b.start_lsn, err) : rc);
}

static int
begin_on_server(struct backup_job *job, struct gsp_error *err)
{
    char when[TIMESTAMP_SIZE], label[TIMESTAMP_SIZE + 32];
    struct gsp_begin begin = {.struct_size = sizeof begin};
    timestamp_format(job->b.start_time, when);
    (void)snprintf(label, sizeof label, "%s with gs_probackup", when);
    int rc = job->start.server_ops->backup_begin(
        job->start.srv, label, job->opts->smooth_checkpoint ? GSP_BEGIN_SMOOTH : 0, &begin, err);
    if (rc != 0)
        return rc;
    job->b.start_lsn = begin.start_lsn;
    job->b.timeline = begin.timeline;
    log_log(
        "Database backup start, start LSN " GSP_LSN_FMT ", timeline %u", GSP_LSN_ARGS(begin.start_lsn), begin.timeline);
    rc = check_same_cluster(job, err);
    if (rc == 0 && job->parent.backup != NULL)
        rc = settle_parent(job, err);
    if (rc != 0)
        return rc;
    struct wal_target target = {.store = &job->e->repo,
        .dir = job->wal_dir,
        .segment_size = job->start.data.cluster.wal_segment_size,
        .timeline = begin.timeline,
        .start_lsn = begin.start_lsn};
    return wal_receiver_start(job->start.server_ops, job->start.wal, &target, &job->receiver, err);
}

/* ---- copying ----------------------------------------------------------------------------------- */

/* The parent's chain, to look up what it has of a page. */
static int
open_check(struct backup_job *job, struct gsp_error *err)
{
    auto_free const struct backup **backups = NULL;
    size_t n = 0;
    unsigned per_mille = job->opts->verify_per_mille;
    int is_needed = 0;
    if (job->parent.backup == NULL)
        return 0;
    /* A map says what changed since; that the parent is what it changed from is proved by its WAL, or looked for. */
    if (!job->parent.is_proven && per_mille < UNPROVEN_PER_MILLE)
        per_mille = UNPROVEN_PER_MILLE;
    for (size_t i = 0; i < job->src.n_files && !is_needed; i++)
        is_needed =
            job->src.files[i].plan == GSP_PLAN_LSN || (per_mille > 0 && job->src.files[i].plan == GSP_PLAN_BLOCKS);
    if (!is_needed)
        return 0;
    int rc = backup_chain(&job->parent.list, job->parent.backup, &backups, &n, err);
    if (rc == 0)
        rc = chain_open(&job->parent_chain, job->e, backups, n, err);
    job->check.chain = &job->parent_chain;
    job->check.parent_id = job->parent.backup->id;
    job->check.per_mille = per_mille;
    job->check.seed = (uint64_t)monotonic_us();
    return rc;
}

static int
plan(struct backup_job *job, struct gsp_error *err)
{
    job->plan = (struct plan){.e = job->e,
        .start = &job->start,
        .parent = job->parent.backup != NULL ? &job->parent : NULL,
        .timeline = job->b.timeline,
        .start_lsn = job->b.start_lsn};
    int rc = plan_files(&job->plan, &job->src, err);
    if (rc == 0 && job->start.is_incremental)
        rc = backup_room_check_plan(&job->start, job->e, &job->src, err);
    if (rc == 0)
        rc = open_check(job, err);
    return refuse(job, rc);
}

static int
make_directories(struct backup_job *job, struct gsp_error *err)
{
    char path[PATH_SIZE], root[PATH_SIZE], name[64];
    for (size_t i = 0; i < job->src.n_dirs; i++) {
        const struct file_entry *d = &job->src.dirs[i];
        if (d->external_dir_num == 0 && strcmp(d->path, job->start.data.dialect->wal_dir) == 0)
            continue; /* made before the receiver started */
        (void)snprintf(name, sizeof name, EXTERNAL_DIR_FORMAT, d->external_dir_num);
        int rc = join(root, job->dir, d->external_dir_num > 0 ? name : "database", err);
        if (rc == 0)
            rc = join(path, root, d->path, err);
        if (rc == 0)
            rc = store_mkdir(&job->e->repo, path, 0700, 0, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int
scan_for_copy(struct backup_job *job, struct gsp_error *err)
{
    char size[24];
    int rc = scan_source(&job->start.data, job->start.classify_flags, 0, &job->src, err);
    if (rc != 0)
        return rc;
    if (job->src.n_files + job->src.n_dirs < ENTRIES_MIN)
        return gsp_fail(err, GSP_E_PERM, 0,
            "PGDATA is almost empty. Either it was concurrently deleted or gs_probackup do not possess sufficient "
            "permissions to list PGDATA content");
    job->b.pgdata_bytes = (int64_t)(job->src.bytes + 4096 * job->src.n_dirs);
    format_size_pretty(job->b.pgdata_bytes, size, sizeof size);
    log_info("PGDATA size: %s, %zu files", size, job->src.n_files);
    return 0;
}

/* After the plan: the mode has no say in them. */
static int
scan_external_dirs(struct backup_job *job, struct gsp_error *err)
{
    char size[24];
    struct external_sources *external = &job->start.external;
    const struct backup *parent = job->parent.backup;
    size_t first = job->src.n_files;
    uint64_t before = job->src.bytes;
    if (external->dirs.n == 0)
        return 0;
    int rc = external_sources_scan(external, job->e, &job->start.data, 0, &job->src, err);
    if (rc == 0 && parent != NULL)
        rc = external_sources_plan(external, &job->parent.files, parent->external_dirs, &job->src, first, err);
    if (rc != 0)
        return rc;
    format_size_pretty((int64_t)(job->src.bytes - before), size, sizeof size);
    log_info("External directories size: %s, %zu files", size, job->src.n_files - first);
    return 0;
}

static void
report_increment(struct backup_job *job)
{
    uint64_t stored = atomic_load(&job->copy.stored_pages), total = atomic_load(&job->copy.total_pages);
    log_info("Stored %" PRIu64 " of %" PRIu64 " pages (%.2f%%), the others are as in backup %s", stored, total,
        total > 0 ? 100.0 * (double)stored / (double)total : 0.0, job->parent.backup->id);
    if (job->check.per_mille > 0)
        log_info("Compared %" PRIu64 " of the others with backup %s: they are the same",
            (uint64_t)atomic_load(&job->check.compared), job->parent.backup->id);
}

static int
copy_cluster(struct backup_job *job, struct gsp_error *err)
{
    char path[PATH_SIZE];
    int rc = scan_for_copy(job, err);
    if (rc == 0)
        rc = plan(job, err);
    if (rc == 0)
        rc = scan_external_dirs(job, err);
    if (rc == 0)
        rc = make_directories(job, err);
    if (rc == 0)
        rc = join(path, job->dir, "page_header_map", err);
    if (rc == 0)
        rc = header_map_create(&job->e->repo, path, &job->map, err);
    if (rc != 0)
        return rc;
    job->copy = (struct copy){.side = &job->start.data,
        .repo = &job->e->repo,
        .dir = job->dir,
        .database_dir = job->database_dir,
        .src = &job->src,
        .externals = job->start.external.stores,
        .codec = &job->start.codec,
        .codec_name = job->start.codec_name,
        .map = job->map,
        .start_lsn = job->b.start_lsn,
        .parent_start_us = job->parent.backup != NULL ? job->parent.backup->start_time * 1000000 - 1 : 0,
        .wal = job->receiver,
        .check = job->check.chain != NULL ? &job->check : NULL};
    log_info("Start backing up files");
    rc = copy_files(&job->copy, job->e->threads, job->e->progress, err);
    /* After every other file: on a standby the control file says how far the copied pages go. */
    for (size_t i = 0; rc == 0 && i < job->src.n_files; i++)
        if (job->src.files[i].action == GSP_CLASS_CONTROL)
            rc = copy_control(&job->copy, &job->src.files[i], err);
    if (rc == 0 && job->parent.backup != NULL)
        report_increment(job);
    if (rc == 0) {
        struct header_map_writer *map = job->map;
        job->map = NULL;
        rc = header_map_commit(map, err);
    }
    return rc;
}

/* ---- the end of a backup ----------------------------------------------------------------------- */

/* A file that the server or we made up, beside the copied ones. */
static int
add_text_file(struct backup_job *job, const char *name, const char *text, size_t len, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct store *repo = &job->e->repo;
    int rc = join(path, job->database_dir, name, err);
    if (rc == 0)
        rc = store_write_all(repo, path, 0600, 0, text, len, err);
    struct file_entry *f = rc == 0 ? filelist_add(&job->list, name, "none", err) : NULL;
    if (f == NULL)
        return err->code;
    f->size = (int64_t)len;
    f->mode = S_IFREG | 0600;
    f->crc = crc32c(0, text, len);
    return 0;
}

static int
add_database(void *arg, uint32_t oid, const char *name)
{
    database_map_add_line(arg, oid, name);
    return 0;
}

static int
end_on_server(struct backup_job *job, struct gsp_error *err)
{
    char restore_point[64];
    struct gsp_end end = {.struct_size = sizeof end};
    auto_strbuf databases = STRBUF_INIT;
    int64_t timeout = config_get_us(job->e->cfg, "archive-timeout");
    const struct gsp_server_ops *ops = job->start.server_ops;
    (void)snprintf(restore_point, sizeof restore_point, "pg_probackup, backup_id %s", job->b.id);
    int rc = ops->databases(job->start.srv, add_database, &databases, err);
    if (rc == 0)
        rc = ops->backup_end(job->start.srv, restore_point, timeout, &end, err);
    if (rc != 0)
        return rc;
    job->b.stop_lsn = end.stop_lsn;
    job->b.recovery_xid = end.recovery_xid;
    /* Whole seconds in the catalog, rounded up: every commit of the backup is then before it. */
    job->b.recovery_time = (end.recovery_time_us + 999999) / 1000000;
    rc = copy_string(&job->b.recovery_name, restore_point, err);
    log_log("Database backup stop, stop LSN " GSP_LSN_FMT, GSP_LSN_ARGS(end.stop_lsn));
    if (rc == 0 && job->parent.backup != NULL)
        rc = parent_check_stop(&job->parent, end.stop_lsn, end.recovery_xid, err);
    gsp_lsn torn = atomic_load(&job->copy.torn_lsn);
    if (rc == 0 && torn > end.stop_lsn)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0,
            "a page with a wrong checksum carries LSN " GSP_LSN_FMT ", which is after the stop LSN " GSP_LSN_FMT,
            GSP_LSN_ARGS(torn), GSP_LSN_ARGS(end.stop_lsn));
    if (rc == 0)
        rc = wal_receiver_finish(job->receiver, end.stop_lsn, timeout, err);
    if (rc == 0)
        rc = add_text_file(job, job->start.data.dialect->label_file, end.label, strlen(end.label), err);
    if (rc == 0 && end.map[0] != '\0')
        rc = add_text_file(job, job->start.data.dialect->map_file, end.map, strlen(end.map), err);
    if (rc == 0)
        rc = strbuf_check(&databases, err);
    return rc == 0 ? add_text_file(job, "database_map", strbuf_str(&databases), databases.len, err) : rc;
}

static int
list_entry(struct backup_job *job, const struct file_entry *entry, struct gsp_error *err)
{
    struct file_entry *f = filelist_add(&job->list, entry->path, entry->compress_alg, err);
    if (f == NULL)
        return err->code;
    const char *path = f->path, *alg = f->compress_alg; /* the list's own copies */
    *f = *entry;
    f->path = path;
    f->compress_alg = alg;
    return 0;
}

static int
list_copied(struct backup_job *job, struct gsp_error *err)
{
    const struct source_list *src = &job->src;
    int rc = 0;
    for (size_t i = 0; i < src->n_dirs && rc == 0; i++)
        rc = list_entry(job, &src->dirs[i], err);
    for (size_t i = 0; i < src->n_files && rc == 0; i++)
        if (!src->files[i].vanished)
            rc = list_entry(job, &src->files[i].entry, err);
    return rc == 0 ? wal_receiver_add_files(job->receiver, job->start.data.dialect->wal_dir, &job->list, err) : rc;
}

static void
sum_sizes(struct backup_job *job)
{
    size_t wal_prefix = strlen(job->start.data.dialect->wal_dir);
    job->b.data_bytes = job->b.wal_bytes = 0;
    for (size_t i = 0; i < job->list.n; i++) {
        const struct file_entry *f = &job->list.entries[i];
        int is_wal = f->external_dir_num == 0 && strncmp(f->path, job->start.data.dialect->wal_dir, wal_prefix) == 0 &&
                     f->path[wal_prefix] == '/';
        if (file_entry_is_dir(f))
            job->b.data_bytes += 4096;
        else if (f->size > 0)
            *(is_wal ? &job->b.wal_bytes : &job->b.data_bytes) += f->size;
    }
    job->b.uncompressed_bytes = (int64_t)(atomic_load(&job->copy.uncompressed_bytes) + 4096 * job->src.n_dirs);
}

/* List and header map first, then everything durable, and only then a control file that says DONE. */
static int
complete(struct backup_job *job, struct gsp_error *err)
{
    struct engine *e = job->e;
    char path[PATH_SIZE], elapsed[24];
    int rc = list_copied(job, err);
    if (rc == 0)
        rc = join(path, job->dir, "backup_content.control", err);
    if (rc != 0)
        return rc;
    filelist_sort(&job->list);
    sum_sizes(job);
    rc = filelist_write(&e->repo, path, &job->list, &job->b.content_crc, err);
    if (rc == 0 && e->no_sync) {
        log_warning("Backup files are not synced to disk");
    } else if (rc == 0) {
        int64_t began = monotonic_us();
        log_info("Syncing backup files to disk");
        rc = sync_backup(&e->repo, job->dir, &job->list, err);
        format_interval_pretty(monotonic_us() - began, elapsed, sizeof elapsed);
        if (rc == 0)
            log_info("Backup files are synced, time elapsed: %s", elapsed);
    }
    if (rc != 0)
        return rc;
    job->b.end_time = now_seconds();
    job->b.status = BACKUP_DONE;
    rc = backup_save(&e->repo, e->instance, &job->b, err);
    if (rc != 0)
        job->b.status = BACKUP_RUNNING; /* so that it is marked as failed */
    return rc;
}

static int
take(struct backup_job *job, struct gsp_error *err)
{
    char elapsed[24];
    int64_t began = monotonic_us();
    int rc = filelist_new(&job->list, err);
    if (rc == 0)
        rc = begin_on_server(job, err);
    if (rc == 0)
        rc = copy_cluster(job, err);
    if (rc == 0) {
        format_interval_pretty(monotonic_us() - began, elapsed, sizeof elapsed);
        log_info("Data files are transferred, time elapsed: %s", elapsed);
        rc = end_on_server(job, err);
    }
    return rc == 0 ? complete(job, err) : rc;
}

/* The server leaves backup mode when its session closes, the slot goes with the replication connection. */
static void
leave_server(struct backup_job *job)
{
    wal_receiver_free(job->receiver);
    job->receiver = NULL;
    backup_start_end_session(&job->start);
}

static void
mark_failed(struct backup_job *job)
{
    struct gsp_error err = {0};
    if (job->b.id[0] == '\0' || job->b.status != BACKUP_RUNNING)
        return;
    if (job->is_refused) {
        if (delete_backup(job->e, &job->b, steal(&job->lock), &err) != 0)
            log_warning("Backup %s could not be removed: %s", job->b.id, err.msg);
        return;
    }
    log_warning("Backup %s is running, setting its status to ERROR", job->b.id);
    job->b.status = BACKUP_ERROR;
    job->b.end_time = now_seconds();
    if (backup_save(&job->e->repo, job->e->instance, &job->b, &err) != 0)
        log_warning("Status of backup %s stays RUNNING: %s", job->b.id, err.msg);
}

static void
backup_job_close(struct backup_job *job)
{
    leave_server(job);
    header_map_abort(job->map);
    mark_failed(job);
    filelist_clear(&job->list);
    source_list_clear(&job->src);
    plan_clear(&job->plan);
    chain_close(&job->parent_chain);
    backup_unlock(job->lock);
    parent_clear(&job->parent);
    backup_start_close(&job->start);
    backup_clear(&job->b);
}

static int
verdict(struct backup_job *job, struct gsp_error *err)
{
    char size[24];
    int rc = 0;
    if (!job->opts->no_validate)
        rc = validate_backup(job->e, &job->b, job->opts->skip_block_validation, 0, err);
    if (rc != 0)
        return rc;
    format_size_pretty(job->b.data_bytes + job->b.wal_bytes, size, sizeof size);
    log_info("Backup %s resident size: %s", job->b.id, size);
    if (backup_is_valid(&job->b)) {
        log_info("Backup %s completed", job->b.id);
        return 0;
    }
    (void)gsp_fail(err, GSP_E_CORRUPT, 0, "Backup %s failed: it did not pass its own validation", job->b.id);
    return gsp_hint(err,
        "the warnings above name the files; check the storage of the catalog, delete the backup and take a new one");
}

int
backup_run(struct engine *e, const struct backup_options *opts, char ret_id[BACKUP_ID_SIZE], struct gsp_error *err)
{
    struct backup_job job = {.e = e, .opts = opts};
    ret_id[0] = '\0';
    backup_init(&job.b);
    int rc = backup_start_open(&job.start, e, opts, err);
    if (rc == 0 && job.start.is_incremental)
        rc = parent_choose(&job.parent, e, &job.start.data, err);
    if (rc == 0)
        rc = create_in_catalog(&job, err);
    if (rc == 0)
        rc = take(&job, err);
    (void)snprintf(ret_id, BACKUP_ID_SIZE, "%s", job.b.id);
    leave_server(&job);
    if (rc == 0)
        rc = verdict(&job, err);
    backup_job_close(&job);
    return rc;
}
