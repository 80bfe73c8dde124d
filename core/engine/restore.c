/* SPDX-License-Identifier: Apache-2.0
 * Restoring a backup: the chain it is the newest member of, as one. The control file is put in place last: a
 * half-restored cluster cannot start. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/engine/durability.h"
#include "core/engine/external_target.h"
#include "core/engine/restore_extents.h"
#include "core/engine/restore_file.h"
#include "core/engine/restore_mark.h"
#include "core/engine/restore_plan.h"
#include "core/engine/restore_room.h"
#include "core/engine/restore_wal.h"

/* ---- the files --------------------------------------------------------------------------------- */

/* Does the backup say where the external directory was? 1, or a code. */
static int
check_number(const struct restore *r, const struct file_entry *f, struct gsp_error *err)
{
    if ((size_t)f->external_dir_num <= r->external.n)
        return 1;
    (void)gsp_fail(err, GSP_E_CORRUPT, 0,
        "the backup names %zu external directories, and file '%s' belongs to number %" PRId32, r->external.n, f->path,
        f->external_dir_num);
    return gsp_hint(err, "restore without them: --skip-external-dirs");
}

/* What is restored by the workers: not the control file, and not what describes the backup to us and is no part of a
 * cluster. */
static int
is_restored(void *arg, const struct file_entry *f, struct gsp_error *err)
{
    struct restore *r = arg;
    if (f->external_dir_num > 0)
        return r->opts->skip_external_dirs ? 0 : check_number(r, f, err);
    if (f->file_type == 1)
        return gsp_fail(
            err, GSP_E_UNSUPPORTED, 0, "the backup holds files of DSS volume groups, which cannot be restored yet");
    if (strcmp(f->path, r->dialect->control_path) == 0) {
        r->control = *f;
        return 0;
    }
    if (restore_mark_is_name(f->path, r->dialect->control_path)) /* left by an earlier restore, and backed up */
        return 0;
    if (restore_is_extents(f) && restore_extents_check(r, f, err) != 0)
        return err->code;
    return strcmp(f->path, r->dialect->map_file) != 0 && strcmp(f->path, "database_map") != 0;
}

static int
by_size_descending(const void *a, const void *b, void *arg)
{
    const uint64_t *sizes = arg;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return sizes[x] < sizes[y] ? 1 : sizes[x] > sizes[y] ? -1 : (x > y) - (x < y);
}

static int
order_files(struct restore *r, struct gsp_error *err)
{
    const struct filelist *list = &r->chain.members[0].list;
    auto_free uint64_t *sizes = calloc(list->n + 1, sizeof *sizes);
    r->order = calloc(list->n + 1, sizeof *r->order);
    if (r->order == NULL || sizes == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < list->n; i++) {
        sizes[i] = restore_size(&r->chain, i);
        if (!file_entry_is_dir(&list->entries[i]))
            r->order[r->n_files++] = (uint32_t)i;
    }
    qsort_r(r->order, r->n_files, sizeof *r->order, by_size_descending, sizes);
    return 0;
}

struct restorer {
    struct chain_reader *in;
    struct page_batch pages; /* of a restore in place */
};

static int
restore_item(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    struct restore *r = arg;
    struct restorer *w = worker;
    return restore_file(r, w->in, &w->pages, r->order[i], err);
}

static int
restorer_open(void *arg, void **ret, struct gsp_error *err)
{
    struct restore *r = arg;
    struct restorer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    *ret = w;
    int rc = chain_reader_new(&r->chain, &w->in, err);
    if (rc == 0 && r->inplace.mode != INCREMENTAL_NONE)
        rc = page_batch_init(&w->pages, r->chain.members[0].page_size, NULL, NULL, NULL, err);
    return rc;
}

static void
restorer_close(void *worker)
{
    struct restorer *w = worker;
    if (w == NULL)
        return;
    chain_reader_free(w->in);
    page_batch_free(&w->pages);
    free(w);
}

static int
restore_tick(void *arg, struct gsp_error *err)
{
    struct restore *r = arg;
    (void)err;
    progress_tick(&r->progress);
    return 0;
}

static int
restore_files(struct restore *r, struct gsp_error *err)
{
    char size[24];
    uint64_t bytes = restore_bytes_needed(&r->chain);
    format_size_pretty((int64_t)bytes, size, sizeof size);
    log_info("Start restoring backup files. DATA size: %s", size);
    int rc = order_files(r, err);
    if (rc != 0)
        return rc;
    r->jobs = (struct jobs){.n_items = r->n_files,
        .threads = r->e->threads,
        .arg = r,
        .worker_open = restorer_open,
        .worker_close = restorer_close,
        .item = restore_item,
        .tick = restore_tick};
    progress_begin(&r->progress, "Restoring", bytes, r->n_files, r->e->progress);
    rc = jobs_run(&r->jobs, err);
    progress_end(&r->progress);
    return rc;
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* Places, and the control file under its other name. */
static int
prepare(struct restore *r, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf control = STRBUF_INIT;
    int rc = stored_path(&r->chain.members[0], &r->control, path, err);
    if (rc == 0)
        rc = store_read_all(&r->e->repo, path, CONTROL_FILE_MAX, &control, err);
    if (rc == 0)
        rc = r->dialect->control_parse(strbuf_str(&control), (uint32_t)control.len, &r->cluster, err);
    if (rc == 0 && r->inplace.mode != INCREMENTAL_NONE) {
        rc = inplace_begin(r, &control, err);
    } else if (rc == 0) {
        rc = restore_target_clear(&r->target, err);
        /* What an unfinished restore left took room, too. */
        if (rc == 0 && r->target.unfinished)
            rc = restore_room_check(r, err);
        if (rc == 0)
            rc = restore_mark_write(&r->target.store, &control, r->control.mode & 0777, err);
        if (rc == 0)
            rc = external_targets_claim(&r->target, err);
    }
    return rc == 0 ? restore_target_prepare(&r->target, &r->chain.members[0], err) : rc;
}

/* Everything else is durable before the control file makes it a cluster. */
static int
finish(struct restore *r, struct gsp_error *err)
{
    int rc = restore_mark_finish(&r->target.store, r->dialect->control_path, !r->e->no_sync, err);
    if (rc == 0)
        external_targets_release(&r->target);
    if (rc == 0 && r->inplace.mode != INCREMENTAL_NONE)
        inplace_end(r);
    return rc;
}

static int
restore_all(struct restore *r, struct gsp_error *err)
{
    char elapsed[24], size[24], when[TIMESTAMP_SIZE];
    int64_t began = monotonic_us();
    timestamp_format(r->backups[0]->start_time, when);
    log_info("Restoring the database from backup at %s", when);
    int rc = prepare(r, err);
    if (rc == 0)
        rc = restore_files(r, err);
    if (rc == 0)
        rc = restore_wal(r, err);
    if (rc == 0)
        rc = recovery_write(&r->recovery, &r->target.store, r->e->no_sync, err);
    if (rc == 0)
        rc = restore_target_set_modes(&r->target, &r->chain.members[0], err);
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
    rc = sync_restored(&r->target.store, &r->chain.members[0].list, 0, err);
    if (rc == 0)
        rc = external_targets_sync(&r->target, &r->chain.members[0].list, err);
    if (rc == 0)
        rc = finish(r, err);
    format_interval_pretty(monotonic_us() - began, elapsed, sizeof elapsed);
    if (rc == 0)
        log_info("Restored backup files are synced, time elapsed: %s", elapsed);
    return rc;
}

static int
choose_backup(struct restore *r, struct backup **ret, struct gsp_error *err)
{
    struct backup *b = NULL;
    r->point = r->opts->target;
    recovery_target_resolve(&r->point, &r->list, r->point_name);
    int rc = recovery_target_choose(&r->e->repo, r->e->instance, &r->list, &r->point, r->opts->id, &b, err);
    if (rc != 0)
        return rc;
    int may_heal = b->status == BACKUP_ORPHAN || b->status == BACKUP_CORRUPT;
    if (!backup_is_valid(b) && !(may_heal && (!r->opts->no_validate || r->opts->force))) {
        (void)gsp_fail(err, GSP_E_CORRUPT, 0, "Backup %s has status: %s", b->id, backup_status_name(b->status));
        return gsp_hint(err, may_heal
                                 ? "choose another backup with -i, or restore this one at your own risk with --force"
                                 : "choose another backup with -i");
    }
    *ret = b;
    return 0;
}

/* The backup's ancestors. Without one of them neither it nor its siblings are worth anything. */
static int
choose_chain(struct restore *r, const struct backup *b, struct gsp_error *err)
{
    struct gsp_error ignored = {0};
    int rc = backup_chain(&r->list, b, &r->backups, &r->n, err);
    if (rc == GSP_E_NOENT) {
        if (!r->only_look)
            (void)orphan_descendants(r->e, &r->list, err->where, &ignored);
        return gsp_hint(err, "choose another backup with -i; 'gs_probackup show' tells which are valid");
    }
    for (size_t i = 0; i < r->n && rc == 0; i++)
        rc = stored_backup_check_version(r->backups[i], err);
    return rc;
}

/* Without validation the word of the catalog counts: a backup is worth as much as what it stands on. */
static int
trust_chain(struct restore *r, struct gsp_error *err)
{
    for (size_t i = r->n; i-- > 1;)
        if (!backup_is_valid(r->backups[i]))
            return orphan_descendants(r->e, &r->list, r->backups[i]->id, err);
    return 0;
}

static int
settle_validity(struct restore *r, struct gsp_error *err)
{
    const struct backup *b = r->backups[0];
    int trusts = r->opts->no_validate || r->opts->force, rc;
    if (!trusts && r->n > 1)
        log_info("Validating parents for backup %s", b->id);
    if (trusts)
        rc = trust_chain(r, err);
    else
        rc = validate_chain(r->e, &r->list, r->backups, r->n, r->opts->skip_block_validation, 1, err);
    if (rc != 0)
        return rc;
    if (backup_is_valid(b)) {
        if (trusts)
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
open_chain(struct restore *r, struct gsp_error *err)
{
    int rc = external_dirs_parse(r->backups[0]->external_dirs, &r->external, err);
    if (rc == 0)
        rc = chain_open_some(&r->chain, r->e, r->backups, r->n, is_restored, r, err);
    for (size_t k = 0; rc == 0 && k < r->chain.n; k++) {
        const struct stored_backup *sb = &r->chain.members[k];
        for (size_t i = 0; rc == 0 && i < sb->n_codecs; i++) {
            if (!sb->codec_usable[i]) {
                *err = sb->codec_errors[i];
                rc = err->code;
            }
        }
    }
    if (rc == 0 && r->control.path == NULL)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "the backup has no control file");
    return rc;
}

static int
prepare_recovery(struct restore *r, struct gsp_error *err)
{
    struct gsp_recovery plan = recovery_plan(r->e, &r->point, r->backups[0]);
    return recovery_prepare(r->e, r->dialect, &r->cluster, &plan, r->backups[0], &r->recovery, err);
}

static int
restore_locked(struct restore *r, int in_place, struct gsp_error *err)
{
    int rc = settle_validity(r, err);
    if (rc == 0)
        rc = dialect_of_backup(r->e, r->backups[0], &r->dialect, &r->cluster, err);
    if (rc == 0)
        rc = open_chain(r, err);
    if (rc == 0)
        rc = restore_wal_check(r, err);
    if (rc == 0)
        rc = prepare_recovery(r, err);
    if (rc == 0)
        rc = restore_target_open(
            &r->target, r->e, r->opts, in_place, &r->chain.members[0], r->dialect, &r->cluster, err);
    if (rc == 0 && in_place)
        rc = inplace_open(r, r->opts->incremental, err);
    if (rc == 0 && !r->target.unfinished)
        rc = restore_room_check(r, err);
    return rc == 0 ? restore_all(r, err) : rc;
}

static int
restore_chosen(struct restore *r, int in_place, struct gsp_error *err)
{
    struct backup *b = NULL;
    int rc = choose_backup(r, &b, err);
    if (rc == 0)
        rc = choose_chain(r, b, err);
    if (rc != 0)
        return rc;
    auto_free struct backup_lock **locks = calloc(r->n, sizeof *locks);
    if (locks == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    rc = chain_lock_shared(r->e, r->backups, r->n, locks, err);
    if (rc == 0)
        rc = restore_locked(r, in_place, err);
    inplace_close(r);
    restore_target_close(&r->target);
    chain_close(&r->chain);
    for (size_t i = 0; i < r->n; i++)
        backup_unlock(locks[i]);
    return rc;
}

/* A part of a restore that would fail: the plan keeps why, and whoever asked goes on. Returns 0, 1 for a refusal, or a
 * code. */
static int
look_at(struct restore_plan *plan, int rc, struct gsp_error *problem, struct gsp_error *err)
{
    if (rc >= 0)
        return 0;
    rc = restore_plan_refuse(plan, problem, err);
    gsp_error_clear(problem);
    return rc == 0 ? 1 : rc;
}

/* The places, and the room there. */
static int
look_at_target(struct restore *r, int in_place, struct restore_plan *plan, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = restore_target_open(
        &r->target, r->e, r->opts, in_place, &r->chain.members[0], r->dialect, &r->cluster, &problem);
    if (rc == 0 && in_place)
        rc = inplace_open(r, r->opts->incremental, &problem);
    rc = look_at(plan, rc, &problem, err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = restore_room_measure(r, &plan->room, err);
    /* What an unfinished restore left is removed first, and makes room nobody can count yet. */
    if (rc == 0 && !r->target.unfinished)
        rc = look_at(plan, restore_room_verdict(&plan->room, &problem), &problem, err);
    return rc < 0 ? rc : 0;
}

int
restore_look(struct restore *r, struct restore_plan *plan, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    struct backup *b = NULL;
    int in_place = restore_target_check_destination(r->e, r->opts, &problem);
    int has_target = look_at(plan, in_place, &problem, err);
    if (has_target < 0)
        return has_target;
    int rc = choose_backup(r, &b, &problem);
    if (rc == 0)
        rc = choose_chain(r, b, &problem);
    rc = look_at(plan, rc, &problem, err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = dialect_of_backup(r->e, r->backups[0], &r->dialect, &r->cluster, &problem);
    if (rc == 0)
        rc = open_chain(r, &problem);
    rc = look_at(plan, rc, &problem, err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = look_at(plan, restore_wal_check(r, &problem), &problem, err);
    if (rc >= 0)
        rc = look_at(plan, prepare_recovery(r, &problem), &problem, err);
    return rc >= 0 && has_target == 0 ? look_at_target(r, in_place, plan, err) : rc < 0 ? rc : 0;
}

void
restore_close(struct restore *r)
{
    inplace_close(r);
    restore_target_close(&r->target);
    chain_close(&r->chain);
    external_dirs_free(&r->external);
    recovery_free(&r->recovery);
    free(r->order);
    free((void *)r->backups);
    backup_list_clear(&r->list);
}

int
restore_run(struct engine *e, const struct restore_options *opts, struct gsp_error *err)
{
    struct restore r = {.e = e, .opts = opts};
    int in_place = restore_target_check_destination(e, opts, err);
    int rc = in_place < 0 ? in_place : backup_list_read(&e->repo, e->instance, &r.list, err);
    if (rc == 0)
        rc = restore_chosen(&r, in_place, err);
    if (rc == 0) {
        uint64_t bad = atomic_load(&r.bad_files);
        if (bad > 0)
            log_warning("%" PRIu64 " file(s) were restored with damage", bad);
        log_info("Restore of backup %s completed.", r.backups[0]->id);
    }
    restore_close(&r);
    return rc;
}
