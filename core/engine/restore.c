/* SPDX-License-Identifier: Apache-2.0
 * Restoring a backup. The control file is put in place last: a half-restored cluster cannot start. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/engine/backup_start.h"
#include "core/engine/durability.h"
#include "core/engine/jobs.h"
#include "core/engine/progress.h"
#include "core/engine/restore_mark.h"
#include "core/engine/restore_target.h"
#include "core/engine/stored_file.h"

struct restore {
    struct engine *e;
    const struct restore_options *opts;
    struct stored_backup sb;
    struct restore_target target;
    const struct gsp_dialect_ops *dialect;
    struct gsp_cluster cluster;
    struct file_entry control; /* taken out of the list: it comes last */
    struct jobs jobs;
    struct progress progress;
    atomic_uint_fast64_t bad_files; /* with --force */
};

/* ---- one file ---------------------------------------------------------------------------------- */

/* Decoded pages lie one stride apart: neighbours in the file are written with one call. */
static int
write_pages(struct store_put *put, struct page_batch *b, struct gsp_error *err)
{
    const struct gsp_limits *limits = &put->store->limits;
    uint32_t most = limits->io_max / b->page_size < limits->iov_max ? limits->io_max / b->page_size : limits->iov_max;
    for (uint32_t i = 0; i < b->n;) {
        uint32_t run = 0;
        while (i + run < b->n && run < most && b->block[i + run] == b->block[i] + run) {
            b->iov[run] = (struct iovec){
                .iov_base = (uint8_t *)(uintptr_t)b->data + (size_t)(i + run) * b->stride, .iov_len = b->page_size};
            run++;
        }
        int rc = store_put_pwritev(put, b->iov, run, (uint64_t)b->block[i] * b->page_size, err);
        if (rc != 0)
            return rc;
        i += run;
    }
    return 0;
}

static int
restore_pages(struct restore *r, struct stored_reader *in, const struct file_entry *f, struct store_put *put,
    uint64_t *ret_size, struct gsp_error *err)
{
    uint32_t blocks = 0;
    int rc = stored_reader_begin(in, f, 1, err);
    *ret_size = (uint64_t)(f->n_blocks > 0 ? f->n_blocks : 0) * r->sb.page_size;
    while (rc == 0) {
        rc = jobs_check(&r->jobs, err);
        if (rc == 0)
            rc = stored_reader_pages(in, err);
        if (rc != 0 || in->batch->n == 0)
            break;
        rc = write_pages(put, in->batch, err);
        blocks += in->batch->n;
        progress_add(&r->progress, (uint64_t)in->batch->n * in->batch->page_size, 0);
    }
    if (rc == 0)
        rc = stored_reader_end(in, err);
    *ret_size = rc == 0 ? (uint64_t)blocks * r->sb.page_size : *ret_size;
    return rc;
}

/* --force: what can still be read of a damaged data file, page by page; the rest stays zero. */
static int
salvage_pages(
    struct restore *r, struct stored_reader *in, struct store_put *put, uint32_t *ret_lost, struct gsp_error *err)
{
    int rc = 0;
    while (rc == 0 && in->batch != NULL) {
        rc = jobs_check(&r->jobs, err);
        if (rc == 0)
            rc = stored_reader_salvage(in, ret_lost, err);
        if (rc != 0 || in->batch->n == 0)
            break;
        rc = write_pages(put, in->batch, err);
    }
    return rc;
}

/* Holes of the catalog are written out: a server must not find out at run time that its disk is full. Those of large
 * files were holes at the source and stay ones. */
static int
restore_bytes(struct restore *r, struct stored_reader *in, const struct file_entry *f, struct store_put *put,
    uint64_t *ret_size, struct gsp_error *err)
{
    const uint8_t *bytes;
    int64_t got = 0;
    uint64_t size = 0;
    int rc = stored_reader_begin(in, f, 0, err);
    while (rc == 0) {
        rc = jobs_check(&r->jobs, err);
        if (rc == 0)
            got = stored_reader_bytes(in, &bytes, err);
        if (rc != 0 || got <= 0)
            break;
        rc = store_put_pwrite(put, bytes, (size_t)got, in->offset - (uint64_t)got, err);
        progress_add(&r->progress, in->offset - size, 0);
        size = in->offset;
    }
    if (rc == 0 && got < 0)
        rc = (int)got;
    *ret_size = in->offset;
    return rc == 0 ? stored_reader_end(in, err) : rc;
}

/* With --force damage is a warning, and everything that can be read is restored. */
static int
tolerate(struct restore *r, struct stored_reader *in, const struct file_entry *f, struct store_put *put,
    struct gsp_error *err)
{
    struct gsp_error problem = *err;
    uint32_t lost = 0;
    if (!r->opts->force || (problem.code != GSP_E_CORRUPT && problem.code != GSP_E_NOENT))
        return problem.code;
    gsp_error_clear(err);
    int rc = f->is_datafile ? salvage_pages(r, in, put, &lost, err) : 0;
    if (rc != 0)
        return rc;
    atomic_fetch_add(&r->bad_files, 1);
    if (lost > 0)
        log_warning("Restored with damage, because of --force: file '%s', %u page(s) are lost and read as zeros: %s",
            f->path, lost, problem.msg);
    else
        log_warning("Restored with damage, because of --force: file '%s': %s", f->path, problem.msg);
    return 0;
}

static int
restore_content(struct restore *r, struct stored_reader *in, const struct file_entry *f, struct gsp_error *err)
{
    auto_free char *decoded = NULL;
    auto_store_put put = {0};
    uint64_t size = 0;
    if (f->encoded && !path_decode(f->path, &decoded))
        return gsp_fail(err, GSP_E_CORRUPT, 0, "malformed name in the file list");
    const char *path = decoded != NULL ? decoded : f->path;
    /* Made anew, so that nothing that others put here is written through; without setuid bits out of a list. */
    int rc = store_put_begin(&r->target.store, path, f->mode & 0777, GSP_PUT_EXCL, &put, err);
    if (rc == GSP_E_EXIST)
        return gsp_hint(err, "the directory was empty before: let nothing else write there, and restore again");
    if (rc != 0)
        return rc;
    if (f->size > 0 && f->is_datafile && !f->is_cfs)
        rc = restore_pages(r, in, f, &put, &size, err);
    else if (f->size > 0)
        rc = restore_bytes(r, in, f, &put, &size, err);
    if (rc != 0)
        rc = tolerate(r, in, f, &put, err);
    return rc == 0 ? store_put_commit(&put, size, err) : rc;
}

static int
restore_item(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    struct restore *r = arg;
    const struct file_entry *f = &r->sb.list.entries[i];
    if (file_entry_is_dir(f))
        return 0;
    int rc = restore_content(r, worker, f, err);
    progress_add(&r->progress, 0, 1);
    return rc != 0 ? gsp_prefix(err, "restore file '%s'", f->path) : 0;
}

static int
restorer_open(void *arg, void **ret, struct gsp_error *err)
{
    struct restore *r = arg;
    struct stored_reader *in;
    int rc = stored_reader_new(&r->sb, &in, err);
    if (rc == 0)
        *ret = in;
    return rc;
}

static int
restore_tick(void *arg, struct gsp_error *err)
{
    struct restore *r = arg;
    (void)err;
    progress_tick(&r->progress);
    return 0;
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* Leave in the list what is restored by the workers: not the control file, and not what describes the
 * backup to us and is no part of a cluster. */
static int
split_list(struct restore *r, struct gsp_error *err)
{
    struct filelist *list = &r->sb.list;
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        const struct file_entry *f = &list->entries[i];
        if (f->external_dir_num > 0 && r->opts->skip_external_dirs)
            continue;
        if (f->external_dir_num > 0 || f->file_type == 1) {
            (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the backup holds %s, which cannot be restored yet",
                f->external_dir_num > 0 ? "external directories" : "files of DSS volume groups");
            return f->external_dir_num > 0 ? gsp_hint(err, "restore without them: --skip-external-dirs") : err->code;
        }
        if (strcmp(f->path, r->dialect->control_path) == 0)
            r->control = *f;
        else if (strcmp(f->path, r->dialect->map_file) != 0 && strcmp(f->path, "database_map") != 0)
            list->entries[kept++] = *f;
    }
    list->n = kept;
    return r->control.path != NULL ? 0 : gsp_fail(err, GSP_E_CORRUPT, 0, "the backup has no control file");
}

static int
by_size_descending(const void *a, const void *b)
{
    const struct file_entry *x = a, *y = b;
    return x->size < y->size ? 1 : x->size > y->size ? -1 : strcmp(x->path, y->path);
}

static int
restore_files(struct restore *r, struct gsp_error *err)
{
    struct filelist *list = &r->sb.list;
    char size[24];
    uint64_t bytes = restore_bytes_needed(&r->sb);
    format_size_pretty((int64_t)bytes, size, sizeof size);
    log_info("Start restoring backup files. DATA size: %s", size);
    if (list->n > 1)
        qsort(list->entries, list->n, sizeof *list->entries, by_size_descending);
    r->jobs = (struct jobs){.n_items = list->n,
        .threads = r->e->threads,
        .arg = r,
        .worker_open = restorer_open,
        .worker_close = stored_reader_free,
        .item = restore_item,
        .tick = restore_tick};
    progress_begin(&r->progress, "Restoring", bytes, list->n, r->e->progress);
    int rc = jobs_run(&r->jobs, err);
    progress_end(&r->progress);
    return rc;
}

/* Places, and the control file under its other name. */
static int
prepare(struct restore *r, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf control = STRBUF_INIT;
    int rc = stored_path(&r->sb, &r->control, path, err);
    if (rc == 0)
        rc = store_read_all(&r->e->repo, path, CONTROL_FILE_MAX, &control, err);
    if (rc == 0)
        rc = r->dialect->control_parse(strbuf_str(&control), (uint32_t)control.len, &r->cluster, err);
    if (rc == 0)
        rc = restore_target_clear(&r->target, err);
    if (rc == 0)
        rc = restore_mark_write(&r->target.store, &control, r->control.mode & 0777, !r->e->no_sync, err);
    return rc == 0 ? restore_target_prepare(&r->target, &r->sb, err) : rc;
}

/* Everything else is durable before the control file makes it a cluster. */
static int
finish(struct restore *r, struct gsp_error *err)
{
    return restore_mark_finish(&r->target.store, r->dialect->control_path, !r->e->no_sync, err);
}

static int
restore_all(struct restore *r, struct gsp_error *err)
{
    char elapsed[24], size[24], when[TIMESTAMP_SIZE];
    int64_t began = monotonic_us();
    timestamp_format(r->sb.b->start_time, when);
    log_info("Restoring the database from backup at %s", when);
    int rc = prepare(r, err);
    if (rc == 0)
        rc = restore_files(r, err);
    if (rc == 0)
        rc = restore_target_set_modes(&r->target, &r->sb, err);
    if (rc != 0)
        return rc;
    format_interval_pretty(monotonic_us() - began, elapsed, sizeof elapsed);
    format_size_pretty((int64_t)atomic_load(&r->progress.bytes), size, sizeof size);
    log_info("Backup files are restored. Transfered bytes: %s, time elapsed: %s", size, elapsed);
    if (r->e->no_sync) {
        log_warning("Restored files are not synced to disk");
        return finish(r, err);
    }
    log_info("Start Syncing restored files to disk");
    began = monotonic_us();
    rc = sync_restored(&r->target.store, &r->sb.list, err);
    if (rc == 0)
        rc = finish(r, err);
    format_interval_pretty(monotonic_us() - began, elapsed, sizeof elapsed);
    if (rc == 0)
        log_info("Restored backup files are synced, time elapsed: %s", elapsed);
    return rc;
}

/* The one with the id, or the newest that is valid. NULL when there is none, or one that may be newer. */
static struct backup *
find_backup(const struct backup_list *list, const char *id, struct gsp_error *err)
{
    if (id != NULL)
        return backup_list_find(list, id);
    for (size_t i = 0; i < list->n; i++) {
        struct backup *b = &list->backups[i];
        if (backup_is_valid(b))
            return b;
        if (b->unread) {
            /* An older one must not come back in its place because the storage failed just now. */
            (void)gsp_fail(err, GSP_E_IO, 0,
                "the control file of backup %s could not be read, and it may be the newest valid one", b->id);
            (void)gsp_hint(err, "the warning above says why; try again, or choose an older backup with -i");
            return NULL;
        }
        log_warning("Skipping backup %s, because it has non-valid status: %s", b->id, backup_status_name(b->status));
    }
    return NULL;
}

static int
choose_backup(struct restore *r, struct backup_list *list, struct backup **ret, struct gsp_error *err)
{
    const char *id = r->opts->id;
    struct backup *b = find_backup(list, id, err);
    if (err->code != 0)
        return err->code;
    if (b == NULL && id != NULL)
        return gsp_fail(err, GSP_E_NOENT, 0, "Requested backup %s is not found.", id);
    if (b == NULL) {
        (void)gsp_fail(err, GSP_E_NOENT, 0, "Backup satisfying target options is not found.");
        return gsp_hint(
            err, "there is no valid backup of instance '%s'; see 'gs_probackup show' for their states", r->e->instance);
    }
    int may_heal = b->status == BACKUP_ORPHAN || b->status == BACKUP_CORRUPT;
    if (!backup_is_valid(b) && !(may_heal && (!r->opts->no_validate || r->opts->force))) {
        (void)gsp_fail(err, GSP_E_CORRUPT, 0, "Backup %s has status: %s", b->id, backup_status_name(b->status));
        return gsp_hint(err, may_heal
                                 ? "choose another backup with -i, or restore this one at your own risk with --force"
                                 : "choose another backup with -i");
    }
    if (!backup_is_full(b)) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0,
            "backup %s is incremental (%s), restoring a chain is not supported yet", b->id, b->mode);
        return gsp_hint(err, "restore its FULL backup with -i, or use the tool that made the backup");
    }
    *ret = b;
    return stored_backup_check_version(b, err);
}

static int
settle_validity(struct restore *r, struct backup *b, struct gsp_error *err)
{
    int rc = 0;
    if (!r->opts->no_validate && !r->opts->force)
        rc = validate_backup(r->e, b, r->opts->skip_block_validation, 1, err);
    if (rc != 0)
        return rc;
    if (backup_is_valid(b)) {
        if (r->opts->no_validate || r->opts->force)
            log_warning("Backup %s is used without validation.", b->id);
        else
            log_info("Backup %s is valid.", b->id);
        return 0;
    }
    if (r->opts->force) {
        log_warning("Backup %s is %s.", b->id, b->status == BACKUP_ORPHAN ? "orphan" : "corrupt");
        return 0;
    }
    (void)gsp_fail(err, GSP_E_CORRUPT, 0, "Backup %s is %s.", b->id, b->status == BACKUP_ORPHAN ? "orphan" : "corrupt");
    return gsp_hint(
        err, "the warnings above name the damage; choose another backup with -i, or restore what is left with --force");
}

static int
restore_locked(struct restore *r, struct backup *b, struct gsp_error *err)
{
    int rc = settle_validity(r, b, err);
    if (rc == 0)
        rc = dialect_of_backup(r->e, b, &r->dialect, &r->cluster, err);
    if (rc == 0)
        rc = stored_backup_open(&r->sb, r->e, b, err);
    for (size_t i = 0; rc == 0 && i < r->sb.n_codecs; i++) {
        if (!r->sb.codec_usable[i]) {
            *err = r->sb.codec_errors[i];
            rc = err->code;
        }
    }
    if (rc == 0)
        rc = split_list(r, err);
    if (rc == 0)
        rc = restore_target_open(&r->target, r->e, r->opts, &r->sb, r->dialect, r->cluster.system_id, err);
    return rc == 0 ? restore_all(r, err) : rc;
}

int
restore_run(struct engine *e, const struct restore_options *opts, struct gsp_error *err)
{
    struct restore r = {.e = e, .opts = opts};
    auto_backup_list list = {0};
    struct backup *b = NULL;
    struct backup_lock *lock = NULL;
    int rc = restore_target_check_destination(e, opts->pgdata, err);
    if (rc == 0)
        rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc == 0)
        rc = choose_backup(&r, &list, &b, err);
    if (rc == 0)
        rc = backup_lock_shared(&e->repo, e->instance, b, &lock, err);
    if (rc == 0)
        rc = restore_locked(&r, b, err);
    restore_target_close(&r.target);
    stored_backup_close(&r.sb);
    backup_unlock(lock);
    if (rc != 0)
        return rc;
    uint64_t bad = atomic_load(&r.bad_files);
    if (bad > 0)
        log_warning("%" PRIu64 " file(s) were restored with damage", bad);
    log_info("Restore of backup %s completed.", b->id);
    return 0;
}
