/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/retention.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"

enum { DAY_SECONDS = 86400 };
#define SECOND_US INT64_C(1000000)

/* ---- the policy ---------------------------------------------------------------------------------- */

int
retention_open(struct retention *r, struct engine *e, int dry_run, struct gsp_error *err)
{
    memset(r, 0, sizeof *r);
    r->e = e;
    r->dry_run = dry_run;
    int rc = registry_find(e->reg, GSP_KIND_RETENTION, config_get(e->cfg, "retention.plugin"), &r->plugin, err);
    if (rc == 0)
        rc = plugin_load(r->plugin, err);
    return rc == 0 ? config_bind(e->cfg, r->plugin, &r->plugin_opts, err) : rc;
}

static void
forget(struct retention *r)
{
    backup_list_clear(&r->list);
    free(r->backups);
    free(r->verdicts);
    free(r->gone);
    r->backups = NULL;
    r->verdicts = NULL;
    r->gone = NULL;
    r->unread = NULL;
    r->is_set = 0;
}

void
retention_close(struct retention *r)
{
    forget(r);
    plugin_free_options(r->plugin_opts);
    r->plugin_opts = NULL;
}

/* ---- the backups --------------------------------------------------------------------------------- */

/* Under its lock it is read again: its process may have completed it just now. */
int
settle_backup(struct engine *e, struct backup *b, struct gsp_error *err)
{
    struct backup_lock *lock = NULL;
    struct gsp_error problem = {0};
    int rc = backup_lock_exclusive(&e->repo, e->instance, b, &lock, &problem);
    if (rc == GSP_E_LOCKED || rc == GSP_E_NOENT)
        return 0;
    if (rc != 0) {
        *err = problem;
        return rc;
    }
    rc = backup_reread(&e->repo, e->instance, b, err);
    int is_left = rc == 0 && b->status == BACKUP_RUNNING;
    if (is_left)
        rc = backup_set_status(&e->repo, e->instance, b, BACKUP_ERROR, err);
    backup_unlock(lock);
    return rc == 0 ? is_left : rc;
}

int
settle_running(struct engine *e, struct gsp_error *err)
{
    auto_backup_list list = {0};
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    for (size_t i = 0; i < list.n && rc >= 0; i++) {
        rc = list.backups[i].status == BACKUP_RUNNING ? settle_backup(e, &list.backups[i], err) : 0;
        if (rc > 0)
            log_warning("Backup %s has status RUNNING and its process is gone, change it to ERROR", list.backups[i].id);
    }
    return rc < 0 ? rc : 0;
}

static int
has_running(const struct backup_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->backups[i].status == BACKUP_RUNNING)
            return 1;
    return 0;
}

static int
read_list(struct retention *r, struct gsp_error *err)
{
    struct engine *e = r->e;
    int rc = backup_list_read(&e->repo, e->instance, &r->list, err);
    if (rc != 0 || !has_running(&r->list))
        return rc;
    if (!r->dry_run) {
        backup_list_clear(&r->list);
        rc = settle_running(e, err);
        return rc == 0 ? backup_list_read(&e->repo, e->instance, &r->list, err) : rc;
    }
    for (size_t i = 0; i < r->list.n && rc == 0; i++) {
        struct backup *b = &r->list.backups[i];
        int held = b->status == BACKUP_RUNNING ? backup_lock_is_held(&e->repo, e->instance, b, err) : 1;
        rc = held < 0 ? held : 0;
        if (held == 0)
            b->status = BACKUP_ERROR;
    }
    return rc;
}

/* A directory of another name than its backup's is a merge's, or a copy: which of two that say the same ID is meant by
 * those that are based on it is not for us to say. And one that is no ID at all was not made by a backup. */
static uint32_t
state_of(const struct backup *b)
{
    if (backup_is_valid(b))
        return strcmp(b->dir, b->id) == 0 ? GSP_BACKUP_VALID : GSP_BACKUP_BUSY;
    int64_t start_time;
    if (b->unread || b->status == BACKUP_RUNNING || b->status == BACKUP_MERGING || b->status == BACKUP_MERGED ||
        strcmp(b->dir, b->id) != 0 || !backup_id_parse(b->dir, &start_time))
        return GSP_BACKUP_BUSY;
    return GSP_BACKUP_BROKEN;
}

static int64_t
to_us(int64_t seconds)
{
    return seconds <= 0 ? 0 : seconds < INT64_MAX / SECOND_US ? seconds * SECOND_US : INT64_MAX;
}

static void
describe(const struct retention *r, const struct backup *b, struct gsp_retention_backup *ret)
{
    const struct backup *parent =
        !backup_is_full(b) && b->parent_id[0] != '\0' ? backup_list_find(&r->list, b->parent_id) : NULL;
    int64_t wal_bytes = b->stream && b->wal_bytes > 0 ? b->wal_bytes : 0;
    *ret = (struct gsp_retention_backup){.id = b->id,
        .parent = parent != NULL ? (uint32_t)(parent - r->list.backups) : GSP_NO_PARENT,
        .full = backup_is_full(b) ? 1 : 0,
        .status = state_of(b),
        .timeline = b->timeline,
        .start_time_us = to_us(b->start_time),
        .recovery_time_us = to_us(b->recovery_time),
        .expire_time_us = to_us(b->expire_time),
        .start_lsn = b->start_lsn,
        .stop_lsn = b->stop_lsn,
        .bytes = b->data_bytes < 0 || b->data_bytes > INT64_MAX - wal_bytes ? -1 : b->data_bytes + wal_bytes};
}

int
retention_look(struct retention *r, struct gsp_error *err)
{
    forget(r);
    int rc = read_list(r, err);
    if (rc != 0)
        return rc;
    if (r->list.n >= GSP_NO_PARENT)
        return gsp_fail(err, GSP_E_BUG, 0, "too many backups");
    r->backups = calloc(r->list.n + 1, sizeof *r->backups);
    r->verdicts = calloc(r->list.n + 1, sizeof *r->verdicts);
    r->gone = calloc(r->list.n + 1, 1);
    if (r->backups == NULL || r->verdicts == NULL || r->gone == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < r->list.n; i++) {
        describe(r, &r->list.backups[i], &r->backups[i]);
        if (r->list.backups[i].unread)
            r->unread = &r->list.backups[i];
    }
    return 0;
}

/* ---- the verdicts -------------------------------------------------------------------------------- */

static int64_t
local_day(void *ctx, int64_t time_us)
{
    (void)ctx;
    time_t seconds = (time_t)(time_us / SECOND_US);
    struct tm tm;
    if (localtime_r(&seconds, &tm) == NULL)
        return seconds / DAY_SECONDS;
    struct tm day = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday};
    time_t midnight = timegm(&day);
    /* Whole but for days before 1970, where the division would round the wrong way. */
    return midnight >= 0 ? midnight / DAY_SECONDS : -((-midnight + DAY_SECONDS - 1) / DAY_SECONDS);
}

static int
broken_rule(const struct retention *r, size_t i, const char *why, const char *id, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_BUG, 0, "retention plugin '%s' lets backup %s expire, %s%s; nothing is deleted",
        r->plugin->name, r->list.backups[i].id, why, id);
}

/* A policy that is wrong must not cost a backup. */
static int
check_verdicts(const struct retention *r, const struct gsp_retention_env *env, struct gsp_error *err)
{
    for (size_t i = 0; i < r->list.n; i++) {
        const struct gsp_verdict *v = &r->verdicts[i];
        if (v->action != GSP_VERDICT_KEEP && v->action != GSP_VERDICT_EXPIRE && v->action != GSP_VERDICT_MERGE)
            return gsp_fail(err, GSP_E_BUG, 0, "retention plugin '%s' has no verdict on backup %s", r->plugin->name,
                r->list.backups[i].id);
        if (v->action == GSP_VERDICT_EXPIRE) {
            if (gsp_backup_is_pinned(env, &r->backups[i]))
                return broken_rule(r, i, "which is pinned", "", err);
            if (r->backups[i].status == GSP_BACKUP_BUSY)
                return broken_rule(r, i, "which is in use", "", err);
            continue;
        }
        uint32_t up = r->backups[i].parent;
        for (size_t steps = 0; up != GSP_NO_PARENT && steps < r->list.n; steps++, up = r->backups[up].parent)
            if (r->verdicts[up].action == GSP_VERDICT_EXPIRE)
                return broken_rule(r, up, "which is the base of backup ", r->list.backups[i].id, err);
    }
    return 0;
}

int
retention_plan(struct retention *r, struct gsp_error *err)
{
    const struct gsp_retention_ops *ops = r->plugin->ops;
    tzset(); /* localtime_r need not */
    const struct gsp_retention_env env = {.struct_size = sizeof env, .now_us = now_us(), .local_day = local_day};
    int rc = ops->plan(r->plugin->state, r->plugin_opts, &env, r->backups, (uint32_t)r->list.n, r->verdicts, err);
    if (rc < 0)
        return rc;
    r->is_set = rc == 0;
    return check_verdicts(r, &env, err);
}

/* ---- the report ---------------------------------------------------------------------------------- */

static void
report(const struct retention *r, const struct retention_options *opts)
{
    for (size_t i = 0; i < r->list.n; i++) {
        const struct backup *b = &r->list.backups[i];
        const struct gsp_verdict *v = &r->verdicts[i];
        log_info("Backup %s, mode: %s, status: %s. Redundancy: %" PRIu32 "/%" PRIu32 ", Time Window: %" PRIu32
                 "d/%" PRIu32 "d. %s",
            b->id, b->mode != NULL ? b->mode : "-", backup_status_name(b->status), v->redundancy, v->redundancy_max,
            v->age_days, v->age_max_days, v->expired ? "Expired" : "Active");
        if (!opts->dry_run)
            continue;
        const char *action = v->action == GSP_VERDICT_EXPIRE && opts->delete_expired ? "delete"
                             : v->action == GSP_VERDICT_MERGE && opts->merge_expired ? "merge"
                                                                                     : "keep";
        log_info("Backup %s, %s: %.*s", b->id, action, (int)sizeof v->reason, v->reason);
    }
}

static size_t
count(const struct retention *r, uint32_t action)
{
    size_t n = 0;
    for (size_t i = 0; i < r->list.n; i++)
        n += r->verdicts[i].action == action;
    return n;
}

/* ---- deleting ------------------------------------------------------------------------------------ */

struct locked {
    char dir[BACKUP_ID_SIZE]; /* as the ID: others never expire */
    struct backup_lock *lock;
};

struct locks {
    struct locked *items; /* one for each backup that expires */
    size_t n;
};

static void
locks_release(struct locks *locks)
{
    for (size_t i = 0; i < locks->n; i++)
        backup_unlock(locks->items[i].lock);
    free(locks->items);
}

static int
lock_expired(const struct retention *r, struct locks *locks, struct gsp_error *err)
{
    struct engine *e = r->e;
    locks->items = calloc(r->list.n + 1, sizeof *locks->items);
    if (locks->items == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < r->list.n; i++) {
        const struct backup *b = &r->list.backups[i];
        struct gsp_error problem = {0};
        struct locked *l = &locks->items[locks->n];
        if (r->verdicts[i].action != GSP_VERDICT_EXPIRE)
            continue;
        int rc = backup_lock_exclusive(&e->repo, e->instance, b, &l->lock, &problem);
        if (rc == GSP_E_LOCKED) {
            log_warning("Cannot lock backup %s directory, skip purging", b->id);
            log_log("%s", problem.msg);
        } else if (rc == 0) {
            (void)snprintf(l->dir, sizeof l->dir, "%s", b->dir);
            locks->n++;
        } else if (rc != GSP_E_NOENT) {
            *err = problem;
            return rc;
        }
    }
    return 0;
}

static struct locked *
find_lock(const struct locks *locks, const struct backup *b)
{
    for (size_t i = 0; i < locks->n; i++)
        if (locks->items[i].lock != NULL && strcmp(locks->items[i].dir, b->dir) == 0)
            return &locks->items[i];
    return NULL;
}

/* A backup that is still there and based on it, or NULL. */
static const struct backup *
find_child(const struct retention *r, size_t i)
{
    for (size_t k = 0; k < r->list.n; k++)
        if (r->backups[k].parent == i && !r->gone[k])
            return &r->list.backups[k];
    return NULL;
}

static int
delete_expired(struct retention *r, size_t i, struct locked *l, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = delete_backup(r->e, &r->list.backups[i], steal(&l->lock), &problem);
    r->gone[i] = rc == 0;
    if (rc != GSP_E_UNSUPPORTED) { /* a directory that is a link */
        if (rc != 0)
            *err = problem;
        return rc;
    }
    log_warning("Backup %s is not deleted: %s", r->list.backups[i].id, problem.msg);
    return 0;
}

/* With all locks held the list is read again, and the policy asked again: meanwhile somebody may have pinned one, or
 * made a new one on top of it. */
static int
purge_locked(struct retention *r, const struct locks *locks, size_t *ret_n, struct gsp_error *err)
{
    int rc = retention_look(r, err);
    if (rc == 0)
        rc = retention_plan(r, err);
    for (size_t i = 0; i < r->list.n && rc == 0 && r->unread == NULL; i++) {
        struct locked *l = find_lock(locks, &r->list.backups[i]);
        if (r->verdicts[i].action != GSP_VERDICT_EXPIRE || l == NULL)
            continue;
        const struct backup *child = find_child(r, i);
        if (child != NULL) {
            log_warning("Backup %s is not deleted: backup %s is based on it", r->list.backups[i].id, child->id);
            continue;
        }
        rc = delete_expired(r, i, l, err);
        *ret_n += r->gone[i];
    }
    return rc;
}

static int
purge(struct retention *r, size_t *ret_n, struct gsp_error *err)
{
    struct locks locks = {0};
    int rc = lock_expired(r, &locks, err);
    if (rc == 0 && locks.n > 0)
        rc = purge_locked(r, &locks, ret_n, err);
    locks_release(&locks);
    return rc;
}

/* ---- merging ------------------------------------------------------------------------------------- */

/* What says no to this chain, and nothing about the next one. */
static int
is_refusal(int code)
{
    return code == GSP_E_LOCKED || code == GSP_E_USAGE || code == GSP_E_NOENT || code == GSP_E_EXIST ||
           code == GSP_E_CORRUPT || code == GSP_E_UNSUPPORTED || code == GSP_E_VERSION;
}

static int
merge(struct retention *r, size_t *ret_n, struct gsp_error *err)
{
    for (size_t i = 0; i < r->list.n; i++) {
        const char *id = r->list.backups[i].id;
        struct gsp_error problem = {0};
        if (r->verdicts[i].action != GSP_VERDICT_MERGE)
            continue;
        log_info("Consider backup %s for merge", id);
        int rc = merge_run(r->e, id, &problem);
        if (rc != 0 && !is_refusal(rc)) {
            *err = problem;
            return rc;
        }
        if (rc != 0)
            log_warning("Backup %s is not merged: %s", id, problem.msg);
        if (rc == GSP_E_CORRUPT && r->damage.code == 0)
            r->damage = problem;
        *ret_n += rc == 0;
    }
    return 0;
}

/* A merge that was interrupted behind its switch leaves nothing that a policy would merge, and the old chain. */
static int
finish_merges(struct engine *e, struct gsp_error *err)
{
    auto_listing names = {0};
    char path[PATH_SIZE];
    if (!path_join(path, "backups", e->instance))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = store_list(&e->repo, path, &names, err);
    for (size_t i = 0; i < names.n && rc == 0; i++) {
        const char *name = names.entries[i].name;
        struct gsp_error problem = {0};
        if (strncmp(name, MERGE_ASIDE_PREFIX, strlen(MERGE_ASIDE_PREFIX)) != 0)
            continue;
        int merged = merge_run(e, name + strlen(MERGE_ASIDE_PREFIX), &problem);
        if (merged != 0 && is_refusal(merged)) {
            log_warning("The merge of backup %s is not finished: %s", name + strlen(MERGE_ASIDE_PREFIX), problem.msg);
        } else if (merged != 0) {
            *err = problem;
            rc = merged;
        }
    }
    return rc;
}

/* ---- the command --------------------------------------------------------------------------------- */

/* How the catalog would be after what a dry run leaves out. */
static void
think_gone(struct retention *r, const struct retention_options *opts)
{
    for (size_t i = 0; i < r->list.n; i++) {
        const struct backup *b = &r->list.backups[i];
        uint32_t action = r->verdicts[i].action, up = r->backups[i].parent;
        if (opts->deleted_id != NULL && backup_is_descendant(&r->list, b, opts->deleted_id))
            r->gone[i] = 1;
        if (opts->delete_expired && action == GSP_VERDICT_EXPIRE && r->unread == NULL)
            r->gone[i] = 1;
        if (!opts->merge_expired || action != GSP_VERDICT_MERGE || r->unread != NULL)
            continue;
        for (size_t steps = 0; up != GSP_NO_PARENT && steps < r->list.n; steps++, up = r->backups[up].parent)
            r->gone[up] = 1;
    }
}

/* Whoever runs this every night must hear that the catalog is not thinned out. */
static int
fail_unread(const struct retention *r, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_IO, 0,
        "Backup %s could not be read, and nobody knows what it is based on: nothing is deleted or merged",
        r->unread->id);
    return gsp_hint(err, "see why %s/backups/%s/%s/backup.control cannot be read, then repeat the command",
        r->e->repo.root, r->e->instance, r->unread->dir);
}

/* The rest was done; whoever runs this every night must hear of the damage. */
static int
fail_damaged(const struct retention *r, struct gsp_error *err)
{
    *err = r->damage;
    if (err->hint[0] == '\0')
        (void)gsp_hint(err, "validate the backup; what cannot be mended needs a new FULL backup");
    return gsp_prefix(err, "a chain is damaged and was not merged");
}

/* What the verdicts ask for. */
static int
carry_out(struct retention *r, const struct retention_options *opts, struct gsp_error *err)
{
    size_t expired = count(r, GSP_VERDICT_EXPIRE), to_merge = count(r, GSP_VERDICT_MERGE), deleted = 0, merged = 0;
    int rc = 0, do_it = !r->dry_run && r->unread == NULL;
    if (do_it && opts->delete_expired && expired > 0)
        rc = purge(r, &deleted, err);
    if (rc == 0 && do_it && r->unread == NULL && opts->merge_expired && to_merge > 0)
        rc = merge(r, &merged, err);
    if (rc == 0 && !r->dry_run && r->unread != NULL)
        rc = fail_unread(r, err);
    if (rc != 0)
        return rc;
    if (merged > 0)
        log_info("Retention merging finished");
    else if (opts->merge_expired && to_merge == 0)
        log_info("There are no backups to merge by retention policy");
    if (deleted > 0)
        log_info("Purging finished");
    else if (opts->delete_expired && expired == 0)
        log_info("There are no backups to delete by retention policy");
    return 0;
}

static int
evaluate(struct retention *r, const struct retention_options *opts, struct gsp_error *err)
{
    log_info("Evaluate backups by retention");
    int rc = retention_plan(r, err);
    if (rc != 0)
        return rc;
    if (!r->is_set) {
        log_warning("Retention policy is not set");
        return 0;
    }
    if (r->unread != NULL && r->dry_run)
        log_warning(
            "Backup %s could not be read, and nobody knows what it is based on: nothing would be deleted or merged",
            r->unread->id);
    report(r, opts);
    return carry_out(r, opts, err);
}

static int
purge_wal(struct retention *r, const struct retention_options *opts, struct gsp_error *err)
{
    size_t n = 0;
    int rc = 0;
    if (r->dry_run)
        think_gone(r, opts);
    else if (opts->delete_expired || opts->merge_expired)
        rc = retention_look(r, err);
    if (rc == 0)
        rc = retention_purge_wal(r, &n, err);
    if (rc == 0 && n == 0)
        log_info("There is no WAL to purge by retention policy");
    return rc;
}

int
retention_run(struct engine *e, const struct retention_options *opts, struct gsp_error *err)
{
    struct retention r __attribute__((cleanup(retention_close))) = {0};
    int by_policy = opts->delete_expired || opts->merge_expired;
    int rc = retention_open(&r, e, opts->dry_run, err);
    if (rc == 0 && by_policy && !opts->dry_run)
        rc = finish_merges(e, err);
    if (rc == 0)
        rc = retention_look(&r, err);
    if (rc == 0 && by_policy)
        rc = evaluate(&r, opts, err);
    if (rc == 0 && opts->delete_wal)
        rc = purge_wal(&r, opts, err);
    return rc == 0 && r.damage.code != 0 ? fail_damaged(&r, err) : rc;
}

int
retention_check(struct engine *e, struct gsp_error *err)
{
    struct retention r __attribute__((cleanup(retention_close))) = {0};
    return retention_open(&r, e, 1, err);
}
