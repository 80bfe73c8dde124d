/* SPDX-License-Identifier: Apache-2.0
 * The report of a check, and its part about the catalog. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/strbuf.h"
#include "core/base/timestamp.h"
#include "core/engine/check_tell.h"

/* ---- the report ---------------------------------------------------------------------------------- */

int
check_tell(struct check_report *report, uint32_t state, const char *name, const char *fix, struct gsp_error *err,
    const char *fmt, ...)
{
    char *found = NULL;
    va_list args;
    struct check_probe *grown = realloc(report->probes, (report->n + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    report->probes = grown;
    va_start(args, fmt);
    int len = vasprintf(&found, fmt, args);
    va_end(args);
    struct check_probe *probe = &report->probes[report->n];
    *probe = (struct check_probe){.state = state, .name = strdup(name), .found = len >= 0 ? found : NULL};
    if (state != GSP_PROBE_OK)
        probe->fix = strdup(fix != NULL && fix[0] != '\0' ? fix : "see the message");
    report->n++;
    report->worst = state > report->worst ? state : report->worst;
    if (probe->name == NULL || probe->found == NULL || (state != GSP_PROBE_OK && probe->fix == NULL))
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    return 0;
}

int
check_tell_problem(
    struct check_report *report, const char *name, const struct gsp_error *problem, struct gsp_error *err)
{
    if (problem->code == GSP_E_CANCELLED || problem->code == GSP_E_NOMEM) {
        *err = *problem;
        return problem->code;
    }
    return check_tell(report, GSP_PROBE_ERROR, name, problem->hint, err, "%s", problem->msg);
}

void
check_report_clear(struct check_report *report)
{
    for (size_t i = 0; i < report->n; i++) {
        free(report->probes[i].name);
        free(report->probes[i].found);
        free(report->probes[i].fix);
    }
    free(report->probes);
    memset(report, 0, sizeof *report);
}

/* ---- the place ----------------------------------------------------------------------------------- */

/* Begins to write a file that nobody will see: no mode or owner tells as much, on any storage. */
static int
check_writable(struct engine *e, struct check_report *report, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct gsp_error problem = {0};
    auto_store_put put = {0};
    if (snprintf(path, sizeof path, "backups/%s/.check", e->instance) >= (int)sizeof path)
        return gsp_fail(err, GSP_E_BUG, 0, "the name of the instance is too long");
    int rc = store_put_begin(&e->repo, path, 0600, GSP_PUT_ATOMIC, &put, &problem);
    if (rc == 0)
        rc = store_put_pwrite(&put, "x", 1, 0, &problem);
    if (rc == 0)
        return check_tell(report, GSP_PROBE_OK, "catalog", NULL, err, "'%s' can be written", e->repo.root);
    return check_tell_problem(report, "catalog", &problem, err);
}

static uint64_t
size_of(const struct backup *b)
{
    return (uint64_t)(b->data_bytes > 0 ? b->data_bytes : 0) + (uint64_t)(b->wal_bytes > 0 ? b->wal_bytes : 0);
}

static const struct backup *
newest_valid(const struct backup_list *list, int only_full)
{
    for (size_t i = 0; i < list->n; i++)
        if (backup_is_valid(&list->backups[i]) && (!only_full || backup_is_full(&list->backups[i])))
            return &list->backups[i];
    return NULL;
}

/* Another backup like the last one must fit, another FULL should. */
static int
check_space(struct engine *e, const struct backup_list *list, struct check_report *report, struct gsp_error *err)
{
    static const char *const fix = "delete backups that are not needed (gs_probackup delete --delete-expired), or give "
                                   "the catalog a larger file system";
    char have[24], want[24];
    struct gsp_space space = {.struct_size = sizeof space};
    struct gsp_error problem = {0};
    const struct backup *full = newest_valid(list, 1), *last = newest_valid(list, 0);
    if (e->repo.ops->space == NULL)
        return check_tell(report, GSP_PROBE_OK, "catalog-space", NULL, err, "the storage does not tell");
    if (e->repo.ops->space(e->repo.handle, "backups", &space, &problem) != 0)
        return check_tell_problem(report, "catalog-space", &problem, err);
    format_size_pretty((int64_t)(space.free_bytes < INT64_MAX ? space.free_bytes : INT64_MAX), have, sizeof have);
    if (last == NULL)
        return check_tell(report, GSP_PROBE_OK, "catalog-space", NULL, err, "%s are free", have);
    int is_tight = space.free_bytes <= size_of(last);
    const struct backup *measure = is_tight || full == NULL ? last : full;
    int is_low = is_tight || space.free_bytes <= size_of(measure);
    format_size_pretty((int64_t)size_of(measure), want, sizeof want);
    return check_tell(report,
        is_tight ? GSP_PROBE_ERROR
        : is_low ? GSP_PROBE_WARNING
                 : GSP_PROBE_OK,
        "catalog-space", fix, err,
        is_low ? "%s are free, less than another backup like %s (%s) takes: %s"
               : "%s are free; the newest backup of its kind, %s (%s), takes %s",
        have, measure->id, measure->mode != NULL ? measure->mode : "?", want);
}

/* ---- the backups --------------------------------------------------------------------------------- */

static int
check_age(const struct backup_list *list, int64_t max_age_us, struct check_report *report, struct gsp_error *err)
{
    char age[24], limit[24], when[TIMESTAMP_SIZE];
    const struct backup *b = newest_valid(list, 0);
    if (b == NULL)
        return check_tell(report, GSP_PROBE_ERROR, "last-good-backup", "take one: gs_probackup backup -b FULL", err,
            list->n > 0 ? "none of the %zu backups is good" : "there is no backup (%zu)", list->n);
    int64_t ended = b->recovery_time > 0 ? b->recovery_time : b->end_time > 0 ? b->end_time : b->start_time;
    int64_t age_us = now_us() - ended * 1000000;
    int is_old = age_us > max_age_us;
    timestamp_format(ended, when);
    format_interval_pretty(age_us, age, sizeof age);
    format_interval_pretty(max_age_us, limit, sizeof limit);
    return check_tell(report, is_old ? GSP_PROBE_WARNING : GSP_PROBE_OK, "last-good-backup",
        "look why no backup was taken since (cron, the log file), and take one", err,
        "%s (%s, %s) is of %s, %s ago; at most %s are allowed", b->id, b->mode != NULL ? b->mode : "?",
        backup_status_name(b->status), when, age_us > 0 ? age : "0", limit);
}

/* Is a good backup good for anything? */
static int
check_chain(const struct backup_list *list, struct check_report *report, struct gsp_error *err)
{
    auto_free const struct backup **chain = NULL;
    size_t n = 0;
    struct gsp_error problem = {0};
    const struct backup *b = newest_valid(list, 0);
    if (b == NULL)
        return 0;
    if (backup_chain(list, b, &chain, &n, &problem) != 0)
        return check_tell(report, GSP_PROBE_ERROR, "chain", "take a FULL backup", err, "%s", problem.msg);
    for (size_t i = n; i-- > 1;)
        if (!backup_is_valid(chain[i]))
            return check_tell(report, GSP_PROBE_ERROR, "chain",
                "gs_probackup validate may heal it; else take a FULL backup", err,
                "backup %s is made on top of %s, which is %s", b->id, chain[i]->id,
                backup_status_name(chain[i]->status));
    return check_tell(
        report, GSP_PROBE_OK, "chain", NULL, err, "%s stands on %zu good backup%s", b->id, n - 1, n == 2 ? "" : "s");
}

/* What a process left that is not there any more, or is still at work on. */
static int
check_leftover(struct engine *e, const struct backup *b, struct check_report *report, struct gsp_error *err)
{
    char fix[64];
    struct gsp_error problem = {0};
    const char *name = backup_status_name(b->status);
    if (b->status == BACKUP_DELETING)
        (void)snprintf(fix, sizeof fix, "gs_probackup delete -i %s", b->id);
    else if (b->status == BACKUP_RUNNING)
        (void)snprintf(fix, sizeof fix, "gs_probackup validate; then delete -i %s", b->id);
    else
        (void)snprintf(
            fix, sizeof fix, "gs_probackup merge -i %s", b->merge_dest_id[0] != '\0' ? b->merge_dest_id : b->id);
    int held = backup_lock_is_held(&e->repo, e->instance, b, &problem);
    if (held < 0)
        return check_tell_problem(report, "leftover", &problem, err);
    if (held > 0)
        return check_tell(
            report, GSP_PROBE_OK, "leftover", NULL, err, "backup %s is %s: somebody works on it", b->id, name);
    return check_tell(
        report, GSP_PROBE_WARNING, "leftover", fix, err, "backup %s is %s, and nobody works on it", b->id, name);
}

static int
check_stale_lock(struct engine *e, const struct backup *b, struct check_report *report, struct gsp_error *err)
{
    char path[PATH_SIZE], fix[96];
    struct gsp_error ignored = {0};
    if (backup_path(path, e->instance, b, "backup.pid", &ignored) != 0 || store_exists(&e->repo, path, &ignored) != 1 ||
        backup_lock_is_held(&e->repo, e->instance, b, &ignored) != 0)
        return 0;
    (void)snprintf(fix, sizeof fix, "gs_probackup validate -i %s, which takes the lock over", b->id);
    return check_tell(report, GSP_PROBE_WARNING, "leftover", fix, err,
        "backup %s is locked by a process that is not there any more", b->id);
}

static int
check_leftovers(struct engine *e, const struct backup_list *list, struct check_report *report, struct gsp_error *err)
{
    size_t bad = 0, before = report->n;
    int rc = 0;
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        const struct backup *b = &list->backups[i];
        if (b->status == BACKUP_RUNNING || b->status == BACKUP_MERGING || b->status == BACKUP_MERGED ||
            b->status == BACKUP_DELETING)
            rc = check_leftover(e, b, report, err);
        else
            rc = check_stale_lock(e, b, report, err);
        bad += b->status == BACKUP_ERROR || b->status == BACKUP_CORRUPT || b->status == BACKUP_ORPHAN ||
               b->status == BACKUP_UNKNOWN;
    }
    if (rc == 0 && report->n == before)
        rc = check_tell(report, GSP_PROBE_OK, "leftover", NULL, err, "nothing was left behind half-done");
    if (rc != 0)
        return rc;
    int failed = list->n > 0 && !backup_is_valid(&list->backups[0]) && list->backups[0].status != BACKUP_RUNNING;
    return check_tell(report, bad > 0 ? GSP_PROBE_WARNING : GSP_PROBE_OK, "bad-backups",
        "see 'gs_probackup show'; look into the log, and delete what is of no use (delete -i ID)", err,
        failed ? "%zu of %zu backups are not good, the newest one among them" : "%zu of %zu backups are not good", bad,
        list->n);
}

int
check_catalog(struct engine *e, const struct check_options *opts, struct check_report *ret, struct gsp_error *err)
{
    auto_backup_list list = {0};
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc == 0)
        rc = check_writable(e, ret, err);
    if (rc == 0)
        rc = check_space(e, &list, ret, err);
    if (rc == 0)
        rc = check_age(&list, opts->max_age_us, ret, err);
    if (rc == 0)
        rc = check_chain(&list, ret, err);
    return rc == 0 ? check_leftovers(e, &list, ret, err) : rc;
}
