/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/recovery_target.h"

#include <inttypes.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"

int
recovery_target_is_given(const struct gsp_recovery *t)
{
    return t->kind != GSP_RECOVERY_NONE || t->timeline != 0;
}

void
recovery_target_describe(const struct gsp_recovery *t, char *buf, size_t size)
{
    if (t->kind == GSP_RECOVERY_TIME)
        (void)snprintf(buf, size, "time '%s'", t->text);
    else if (t->kind == GSP_RECOVERY_XID)
        (void)snprintf(buf, size, "xid %" PRIu64, t->xid);
    else if (t->kind == GSP_RECOVERY_LSN)
        (void)snprintf(buf, size, "lsn " GSP_LSN_FMT, GSP_LSN_ARGS(t->lsn));
    else if (t->kind == GSP_RECOVERY_NAME)
        (void)snprintf(buf, size, "name '%.128s'", t->text);
    else if (t->timeline != 0)
        (void)snprintf(buf, size, "timeline %" PRIu32, t->timeline);
    else
        (void)snprintf(buf, size, "%s", t->kind == GSP_RECOVERY_IMMEDIATE ? "a consistent state" : "the end of WAL");
}

/* The recovery-name that the stock tool writes is not that of the restore point which it makes; and a backup that it
 * merged keeps the one of the oldest member. */
#define STOCK_NAME "backup "
#define STOCK_POINT "pg_probackup, backup_id "

static int
has_stock_name(const struct backup *b)
{
    return b->recovery_name != NULL && strncmp(b->recovery_name, STOCK_NAME, strlen(STOCK_NAME)) == 0;
}

void
recovery_target_resolve(struct gsp_recovery *t, const struct backup_list *list, char buf[RECOVERY_NAME_SIZE])
{
    if (t->kind != GSP_RECOVERY_NAME || strncmp(t->text, STOCK_NAME, strlen(STOCK_NAME)) != 0)
        return;
    const char *id = t->text + strlen(STOCK_NAME);
    for (size_t i = 0; i < list->n; i++) {
        const struct backup *b = &list->backups[i];
        if (has_stock_name(b) && (strcmp(b->id, id) == 0 || strcmp(b->recovery_name, t->text) == 0) &&
            snprintf(buf, RECOVERY_NAME_SIZE, STOCK_POINT "%s", id) < RECOVERY_NAME_SIZE) {
            t->text = buf;
            return;
        }
    }
}

int
recovery_target_is_end_of(const struct gsp_recovery *t, const struct backup *b)
{
    if (t->kind != GSP_RECOVERY_NAME || b->recovery_name == NULL)
        return 0;
    if (has_stock_name(b))
        return strncmp(t->text, STOCK_POINT, strlen(STOCK_POINT)) == 0 &&
               strcmp(t->text + strlen(STOCK_POINT), b->id) == 0;
    return strcmp(b->recovery_name, t->text) == 0;
}

uint64_t
recovery_xid_near(uint64_t near, uint32_t low)
{
    uint32_t distance = low - (uint32_t)near;
    return distance <= INT32_MAX ? near + distance : near - (UINT32_MAX - distance) - 1;
}

/* A number without an epoch, as it stands in rows and in WAL, is that next to the backup's. */
static uint64_t
target_xid(const struct gsp_recovery *t, const struct backup *b)
{
    if (t->xid <= UINT32_MAX && b->recovery_xid > UINT32_MAX)
        return recovery_xid_near(b->recovery_xid, (uint32_t)t->xid);
    return t->xid;
}

static int64_t
recovery_time_us(const struct backup *b)
{
    return b->recovery_time < INT64_MAX / 1000000 ? b->recovery_time * 1000000 : INT64_MAX;
}

int
recovery_target_is_beyond(const struct gsp_recovery *t, const struct backup *b)
{
    if (t->timeline != 0 && t->timeline != b->timeline)
        return 1;
    if (t->kind == GSP_RECOVERY_TIME)
        return t->time_us > recovery_time_us(b);
    if (t->kind == GSP_RECOVERY_XID)
        return target_xid(t, b) > b->recovery_xid;
    if (t->kind == GSP_RECOVERY_LSN)
        return t->lsn > b->stop_lsn;
    return t->kind == GSP_RECOVERY_NAME && !recovery_target_is_end_of(t, b);
}

static const struct backup *
find_named(const struct gsp_recovery *t, const struct backup_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (recovery_target_is_end_of(t, &list->backups[i]))
            return &list->backups[i];
    return NULL;
}

int
recovery_target_satisfies(const struct gsp_recovery *t, const struct timeline_history *history,
    const struct backup_list *list, const struct backup *b)
{
    if (t->timeline != 0 && !timeline_has(history, b->timeline, b->stop_lsn))
        return 0;
    if (t->kind == GSP_RECOVERY_TIME)
        return b->recovery_time > 0 && recovery_time_us(b) <= t->time_us;
    if (t->kind == GSP_RECOVERY_XID)
        return b->recovery_xid > 0 && b->recovery_xid <= target_xid(t, b);
    if (t->kind == GSP_RECOVERY_LSN)
        return b->stop_lsn > 0 && b->stop_lsn <= t->lsn;
    if (t->kind != GSP_RECOVERY_NAME)
        return 1;
    /* Whose name it is, or an older one; a name that is no backup's may be behind each of them. */
    const struct backup *named = find_named(t, list);
    return named == NULL || b == named || b->stop_lsn < named->stop_lsn;
}

/* ---- the best one ------------------------------------------------------------------------------- */

/* The newest valid one that is suited. NULL when there is none, or one that may be newer. */
static struct backup *
find_newest(const struct backup_list *list, const struct gsp_recovery *t, const struct timeline_history *history,
    struct gsp_error *err)
{
    for (size_t i = 0; i < list->n; i++) {
        struct backup *b = &list->backups[i];
        if (b->unread) {
            /* An older one must not come back in its place because the storage failed just now. */
            (void)gsp_fail(err, GSP_E_IO, 0,
                "the control file of backup %s could not be read, and it may be the newest valid one", b->id);
            (void)gsp_hint(err, "the warning above says why; try again, or choose an older backup with -i");
            return NULL;
        }
        if (!backup_is_valid(b))
            log_warning(
                "Skipping backup %s, because it has non-valid status: %s", b->id, backup_status_name(b->status));
        else if (recovery_target_satisfies(t, history, list, b))
            return b;
        else
            log_log("Skipping backup %s, because the target cannot be reached from it", b->id);
    }
    return NULL;
}

static int
fail_none(const char *instance, const struct gsp_recovery *t, struct gsp_error *err)
{
    char what[256];
    (void)gsp_fail(err, GSP_E_NOENT, 0, "Backup satisfying target options is not found.");
    if (!recovery_target_is_given(t))
        return gsp_hint(
            err, "there is no valid backup of instance '%s'; see 'gs_probackup show' for their states", instance);
    recovery_target_describe(t, what, sizeof what);
    if (t->timeline > 1)
        return gsp_hint(err,
            "no valid backup is on timeline %" PRIu32 " or where it comes from, which %08" PRIX32
            ".history in the instance's WAL tells, or each one ends after the target",
            t->timeline, t->timeline);
    return gsp_hint(
        err, "every valid backup of instance '%s' ends after %s; 'gs_probackup show' tells when", instance, what);
}

static int
fail_unsuited(const struct gsp_recovery *t, const struct backup *b, struct gsp_error *err)
{
    char what[256], when[TIMESTAMP_SIZE];
    recovery_target_describe(t, what, sizeof what);
    timestamp_format(b->recovery_time, when);
    (void)gsp_fail(err, GSP_E_CONFIG, 0, "Requested backup %s does not satisfy restore options", b->id);
    return gsp_hint(err,
        "%.100s cannot be reached from it: it ends at time %s, xid %" PRIu64 ", LSN " GSP_LSN_FMT
        " and timeline %" PRIu32 "; without -i one is chosen",
        what, when, b->recovery_xid, GSP_LSN_ARGS(b->stop_lsn), b->timeline);
}

static void
tell(const struct gsp_recovery *t, const struct backup_list *list, const struct backup *b)
{
    char what[256], when[TIMESTAMP_SIZE];
    recovery_target_describe(t, what, sizeof what);
    timestamp_format(b->recovery_time, when);
    if (recovery_target_is_end_of(t, b))
        log_info("Backup %s is chosen: %s is its own, so its end is the target", b->id, what);
    else if (t->kind == GSP_RECOVERY_NAME && find_named(t, list) == NULL)
        log_info("Backup %s is chosen: no backup has the %s, so it is looked for in WAL after the newest valid one; "
                 "choose an older one with -i if it lies before",
            b->id, what);
    else
        log_info(
            "Backup %s is chosen: it is the newest valid one from which %s can be reached; it ends at time %s, xid "
            "%" PRIu64 " and LSN " GSP_LSN_FMT,
            b->id, what, when, b->recovery_xid, GSP_LSN_ARGS(b->stop_lsn));
}

int
recovery_target_choose(struct store *repo, const char *instance, const struct backup_list *list,
    const struct gsp_recovery *t, const char *id, struct backup **ret, struct gsp_error *err)
{
    char dir[PATH_SIZE];
    struct timeline_history history __attribute__((cleanup(timeline_history_free))) = {0};
    struct backup *b = id != NULL ? backup_list_find(list, id) : NULL;
    if (id != NULL && b == NULL)
        return gsp_fail(err, GSP_E_NOENT, 0, "Requested backup %s is not found.", id);
    if (!path_join(dir, "wal", instance))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = t->timeline != 0 ? timeline_history_read(repo, dir, t->timeline, &history, err) : 0;
    if (rc != 0)
        return rc;
    if (id != NULL && !recovery_target_satisfies(t, &history, list, b))
        return fail_unsuited(t, b, err);
    if (id == NULL) {
        b = find_newest(list, t, &history, err);
        if (b == NULL)
            return err->code != 0 ? err->code : fail_none(instance, t, err);
        if (recovery_target_is_given(t))
            tell(t, list, b);
    }
    *ret = b;
    return 0;
}
