/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/recovery.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/engine/wal_scan.h"

#define BLOCK_BEGIN "# Recovery settings of gs_probackup restore begin here: the next restore replaces them\n"
#define BLOCK_END "# Recovery settings of gs_probackup restore end here\n"

enum { SETTINGS_MAX = 16 * 1024 * 1024 };

/* ---- the plan ----------------------------------------------------------------------------------- */

static const char *
restore_command(struct engine *e)
{
    const char *command = config_get(e->cfg, "restore-command");
    return command == NULL || command[0] == '\0' || strcasecmp(command, "none") == 0 ? NULL : command;
}

struct gsp_recovery
recovery_plan(struct engine *e, const struct gsp_recovery *target, const struct backup *b)
{
    struct gsp_recovery plan = *target;
    plan.restore_command = restore_command(e);
    if (recovery_target_is_end_of(target, b)) {
        plan.kind = GSP_RECOVERY_IMMEDIATE;
        plan.text = NULL;
    }
    if (recovery_target_is_beyond(target, b))
        return plan;
    plan.flags |= GSP_RECOVERY_LOCAL;
    if (plan.kind != GSP_RECOVERY_IMMEDIATE && plan.restore_command == NULL)
        plan = (struct gsp_recovery){.struct_size = plan.struct_size};
    return plan;
}

/* ---- the timeline ------------------------------------------------------------------------------- */

/* The history that the server will follow: that of the timeline asked for, else of the newest, found as it does. */
static int
read_history(struct engine *e, const struct gsp_recovery *plan, const struct backup *b, const char *wal_dir,
    struct timeline_history *ret, struct gsp_error *err)
{
    uint32_t timeline = plan->timeline;
    for (uint32_t next = b->timeline + 1; plan->timeline == 0; next++) {
        char path[PATH_SIZE];
        if (snprintf(path, sizeof path, "%s/%08" PRIX32 ".history", wal_dir, next) >= PATH_SIZE)
            return gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", wal_dir);
        int there = store_exists(&e->repo, path, err);
        if (there < 0)
            return there;
        timeline = next - 1;
        if (there == 0)
            break;
    }
    return timeline_history_read(&e->repo, wal_dir, timeline, ret, err);
}

/* errors CONFIG */
static int
check_history(const struct timeline_history *history, const struct backup *b, struct gsp_error *err)
{
    uint32_t newest = history->spans[history->n - 1].timeline;
    if (timeline_has(history, b->timeline, b->stop_lsn))
        return 0;
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "timeline %" PRIu32 ", which recovery would follow as the newest in WAL, does not come from timeline %" PRIu32
        " at LSN " GSP_LSN_FMT ", where backup %s ends",
        newest, b->timeline, GSP_LSN_ARGS(b->stop_lsn), b->id);
    return gsp_hint(err, "choose the timeline to follow: --timeline=%" PRIu32, b->timeline);
}

static void
wal_dir_of(const struct engine *e, char dir[PATH_SIZE])
{
    (void)snprintf(dir, PATH_SIZE, "wal/%s", e->instance);
}

/* ---- the files ---------------------------------------------------------------------------------- */

static int
take_file(void *arg, const struct gsp_recovery_file *file, struct gsp_error *err)
{
    struct recovery *r = arg;
    if (!path_is_safe_relative(file->path))
        return gsp_fail(err, GSP_E_BUG, 0, "the dialect names a file '%s'", file->path);
    struct recovery_file *grown = realloc(r->files, (r->n + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    r->files = grown;
    struct recovery_file *f = &grown[r->n++];
    *f = (struct recovery_file){.path = strdup(file->path), .mode = file->mode, .flags = file->flags};
    f->text = file->text != NULL ? strdup(file->text) : NULL;
    if (f->path == NULL || (f->text == NULL && file->text != NULL))
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    return 0;
}

static void
warn_of_command(const struct engine *e, const struct gsp_recovery *plan, const struct backup *b)
{
    char what[256];
    recovery_target_describe(plan, what, sizeof what);
    log_warning("%s lies behind the WAL of backup %s: you need to input restore command manually before the server is "
                "started, or here, such as --restore-command='cp \"%s/wal/%s/%%f\" \"%%p\"' for WAL that is archived "
                "there",
        what, b->id, e->repo.root, e->instance);
}

/* The server itself says no to such a timeline, only later. The archive may be elsewhere: no error here. */
static void
warn_of_timeline(struct engine *e, const struct gsp_recovery *plan, const struct backup *b)
{
    char dir[PATH_SIZE];
    struct timeline_history history __attribute__((cleanup(timeline_history_free))) = {0};
    struct gsp_error problem = {0};
    wal_dir_of(e, dir);
    int rc = read_history(e, plan, b, dir, &history, &problem);
    if (rc == 0)
        rc = check_history(&history, b, &problem);
    if (rc != 0)
        log_warning("%s; %s", problem.msg, problem.hint);
}

int
recovery_prepare(struct engine *e, const struct gsp_dialect_ops *dialect, const struct gsp_cluster *cluster,
    const struct gsp_recovery *plan, const struct backup *b, struct recovery *ret, struct gsp_error *err)
{
    int wanted = recovery_target_is_given(plan) || plan->restore_command != NULL;
    if (dialect->recovery_files == NULL) {
        if (!wanted)
            return 0;
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "recovery behind the end of a backup is not known for this database");
        return gsp_hint(err, "restore without a target and with --restore-command=none, and set recovery up by hand");
    }
    int rc = dialect->recovery_files(cluster, plan, take_file, ret, err);
    if (rc != 0 || !wanted)
        return rc;
    if (plan->restore_command == NULL && !(plan->flags & GSP_RECOVERY_LOCAL))
        warn_of_command(e, plan, b);
    if (plan->restore_command != NULL && plan->timeline == 0)
        warn_of_timeline(e, plan, b);
    if (plan->restore_command != NULL && !recovery_target_is_given(plan))
        log_info("Recovery will go on with all WAL that restore-command finds; --restore-command=none ends it with the "
                 "backup");
    return 0;
}

void
recovery_free(struct recovery *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->files[i].path);
        free(r->files[i].text);
    }
    free(r->files);
    *r = (struct recovery){0};
}

/* Where a line begins in text, NULL. */
static const char *
find_line(const char *text, const char *line)
{
    for (const char *p = text; (p = strstr(p, line)) != NULL; p++)
        if (p == text || p[-1] == '\n')
            return p;
    return NULL;
}

/* What the file holds without what an earlier restore put there. */
static void
copy_others(struct strbuf *out, const char *text)
{
    const char *begin, *end;
    while ((begin = find_line(text, BLOCK_BEGIN)) != NULL) {
        strbuf_add(out, text, (size_t)(begin - text));
        end = find_line(begin, BLOCK_END);
        text = end != NULL ? end + strlen(BLOCK_END) : begin + strlen(BLOCK_BEGIN);
    }
    strbuf_puts(out, text);
}

static int
write_settings(const struct recovery_file *f, struct store *s, struct gsp_error *err)
{
    auto_strbuf old = STRBUF_INIT, now = STRBUF_INIT;
    struct gsp_error missing = {0};
    struct gsp_stat st = {.mode = f->mode};
    int rc = store_read_all(s, f->path, SETTINGS_MAX, &old, &missing);
    if (rc == 0)
        rc = store_stat(s, f->path, &st, &missing);
    if (rc != 0 && rc != GSP_E_NOENT) {
        *err = missing;
        return rc;
    }
    copy_others(&now, strbuf_str(&old));
    if (f->text[0] != '\0') {
        if (now.len > 0 && now.data[now.len - 1] != '\n')
            strbuf_putc(&now, '\n');
        strbuf_printf(&now, "%s%s%s", BLOCK_BEGIN, f->text, BLOCK_END);
    }
    rc = strbuf_check(&now, err);
    if (rc != 0 || strcmp(strbuf_str(&now), strbuf_str(&old)) == 0)
        return rc;
    return store_write_all(s, f->path, st.mode & 0777, GSP_PUT_ATOMIC, strbuf_str(&now), now.len, err);
}

int
recovery_write(const struct recovery *r, struct store *target, int no_sync, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < r->n && rc == 0; i++) {
        const struct recovery_file *f = &r->files[i];
        if (f->text == NULL)
            rc = store_remove(target, f->path, err);
        else if (f->flags & GSP_RECOVERY_FILE_APPEND)
            rc = write_settings(f, target, err);
        else
            rc = store_write_all(target, f->path, f->mode, GSP_PUT_ATOMIC, f->text, strlen(f->text), err);
        if (rc != 0)
            (void)gsp_prefix(err, "recovery settings");
    }
    return rc == 0 && r->n > 0 && !no_sync ? store_sync(target, "", err) : rc;
}

/* ---- is there the WAL? -------------------------------------------------------------------------- */

static int
scan_wal(struct engine *e, const struct gsp_recovery *plan, const struct backup *b, struct gsp_wal_reach *ret,
    struct gsp_error *err)
{
    char archive[PATH_SIZE], own[PATH_SIZE];
    struct timeline_history history __attribute__((cleanup(timeline_history_free))) = {0};
    struct gsp_cluster cluster = {.struct_size = sizeof cluster};
    const struct gsp_dialect_ops *dialect = NULL;
    wal_dir_of(e, archive);
    int rc = dialect_of_backup(e, b, &dialect, &cluster, err);
    if (rc == 0 && dialect->wal_find_target == NULL)
        rc = gsp_fail(err, GSP_E_UNSUPPORTED, 0, "targets in the WAL of this database are not known");
    if (rc == 0)
        rc = read_history(e, plan, b, archive, &history, err);
    if (rc == 0)
        rc = check_history(&history, b, err);
    if (rc != 0)
        return rc;
    if (snprintf(own, sizeof own, "backups/%s/%s/database/%s", e->instance, b->dir, dialect->wal_dir) >= PATH_SIZE)
        return gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", b->dir);
    struct gsp_recovery point = *plan;
    if (point.kind == GSP_RECOVERY_NONE) { /* the beginning of the timeline is the least there has to be of it */
        point.kind = GSP_RECOVERY_LSN;
        point.lsn = history.spans[history.n - 1].begin;
    }
    /* As the server does: what is archived first, as the last segment of a backup may end with the backup. */
    struct wal_scan scan = {.dialect = dialect,
        .cluster = &cluster,
        .history = &history,
        .places = {{&e->repo, archive}, {&e->repo, own}},
        .n_places = b->stream ? 2 : 1,
        .from = b->start_lsn};
    return wal_scan_find(&scan, b->stop_lsn, &point, ret, err);
}

static int
tell_reach(struct engine *e, const struct gsp_recovery *target, const struct backup *b,
    const struct gsp_wal_reach *reach, const char *why, struct gsp_error *err)
{
    char when[TIMESTAMP_SIZE], what[256];
    uint64_t xid = reach->xid != 0 ? recovery_xid_near(b->recovery_xid, (uint32_t)reach->xid) : b->recovery_xid;
    gsp_lsn lsn = reach->end > b->stop_lsn ? reach->end : b->stop_lsn;
    timestamp_format(reach->time_us != 0 ? reach->time_us / 1000000 : b->recovery_time, when);
    if (why == NULL) {
        log_info("Backup validation completed successfully on time %s, xid %" PRIu64 " and LSN " GSP_LSN_FMT, when, xid,
            GSP_LSN_ARGS(lsn));
        return 0;
    }
    log_warning("Recovery can be done up to time %s, xid %" PRIu64 " and LSN " GSP_LSN_FMT ": %s", when, xid,
        GSP_LSN_ARGS(lsn), why);
    recovery_target_describe(target, what, sizeof what);
    (void)gsp_fail(err, GSP_E_NOENT, 0, "Not enough WAL records to %s", what);
    return gsp_hint(err, "WAL is looked for in the backup and in '%.100s/wal/%s'; %s", e->repo.root, e->instance,
        target->kind == GSP_RECOVERY_NAME ? "a name may also lie before the backup: try an older one with -i"
                                          : "archive what is missing there, or choose an earlier target");
}

int
recovery_check_wal(struct engine *e, const struct gsp_recovery *target, const struct backup *b, struct gsp_error *err)
{
    struct gsp_wal_reach reach = {.struct_size = sizeof reach, .end = b->stop_lsn};
    struct gsp_recovery plan = recovery_plan(e, target, b);
    struct gsp_error problem = {0};
    struct backup_lock *lock = NULL;
    int beyond = recovery_target_is_beyond(target, b);
    /* What there is of the backup reaches so far; its end is behind its last record. */
    if (plan.kind == GSP_RECOVERY_IMMEDIATE ||
        (!beyond && (plan.kind == GSP_RECOVERY_NONE || plan.kind == GSP_RECOVERY_LSN)))
        return tell_reach(e, target, b, &reach, NULL, err);
    int rc = backup_lock_shared(&e->repo, e->instance, b, &lock, err);
    if (rc != 0)
        return rc;
    rc = scan_wal(e, &plan, b, &reach, &problem);
    backup_unlock(lock);
    if (rc == 0 || rc == GSP_E_NOENT || rc == GSP_E_CORRUPT)
        return tell_reach(e, target, b, &reach, rc != 0 ? problem.msg : reach.reached ? NULL : "WAL ends there", err);
    *err = problem;
    return rc;
}

int
validate_target_run(struct engine *e, const struct validate_options *opts, char ret_id[BACKUP_ID_SIZE], size_t *ret_bad,
    struct gsp_error *err)
{
    auto_backup_list list = {0};
    struct backup *b = NULL;
    struct gsp_recovery target = opts->target;
    char name[RECOVERY_NAME_SIZE];
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc != 0)
        return rc;
    recovery_target_resolve(&target, &list, name);
    rc = recovery_target_choose(&e->repo, e->instance, &list, &target, opts->id, &b, err);
    if (rc != 0)
        return rc;
    struct validate_options chosen = *opts;
    chosen.id = b->id;
    rc = validate_run(e, &chosen, ret_bad, err);
    if (rc == 0 && *ret_bad == 0)
        rc = recovery_check_wal(e, &target, b, err);
    if (rc == 0)
        (void)snprintf(ret_id, BACKUP_ID_SIZE, "%s", b->id);
    return rc;
}
