/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/engine/engine.h"

/* The control file goes last but for the directory: an interrupted delete leaves a backup that says
 * DELETING and can be deleted again. */
static int
remove_content(struct engine *e, const char *dir, struct gsp_error *err)
{
    auto_listing list = {0};
    int rc = store_list(&e->repo, dir, &list, err);
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        char path[PATH_SIZE];
        const char *name = list.entries[i].name;
        if (strcmp(name, "backup.control") == 0 || strncmp(name, "backup.pid", 10) == 0 ||
            strcmp(name, "backup.owner") == 0)
            continue;
        if (!path_join(path, dir, name))
            return gsp_fail(err, GSP_E_BUG, 0, "path too long below '%s'", dir);
        int is_tree = list.entries[i].st.type == GSP_FILE_DIRECTORY && !(list.entries[i].st.flags & GSP_STAT_LINK);
        rc = is_tree ? store_remove_tree(&e->repo, path, err) : store_remove(&e->repo, path, err);
        if (rc == 0)
            rc = cancel_check(err);
    }
    return rc;
}

/* What a link leads to, or what is mounted, is not ours to remove. */
static int
refuse_link(struct engine *e, const char *dir, struct gsp_error *err)
{
    struct gsp_stat st;
    int rc = store_stat(&e->repo, dir, &st, err);
    if (rc != 0 || !(st.flags & (GSP_STAT_LINK | GSP_STAT_MOUNT)))
        return rc;
    (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "'%s/%s' is a %s, it is not deleted through it", e->repo.root, dir,
        st.flags & GSP_STAT_LINK ? "symbolic link" : "mount point");
    return gsp_hint(err, "look at where it leads, and remove both by hand");
}

/* What a merge of the backup left. The directory that stands in for a backup goes before the one that makes it count.
 */
static int
remove_merge_leftovers(struct engine *e, const struct backup *b, struct gsp_error *err)
{
    static const char *const prefixes[] = {MERGE_BUILD_PREFIX, MERGE_ASIDE_PREFIX};
    char name[BACKUP_ID_SIZE + 16], path[PATH_SIZE];
    int rc = 0;
    for (size_t i = 0; i < 2 && rc == 0; i++) {
        struct backup left = {.dir = name};
        (void)snprintf(name, sizeof name, "%s%s", prefixes[i], b->id);
        rc = strcmp(name, b->dir) != 0 ? backup_path(path, e->instance, &left, NULL, err) : 0;
        if (rc == 0 && strcmp(name, b->dir) != 0)
            rc = store_remove_tree(&e->repo, path, err);
    }
    return rc;
}

int
delete_backup(struct engine *e, struct backup *b, struct backup_lock *lock, struct gsp_error *err)
{
    char when[TIMESTAMP_SIZE] = "----", dir[PATH_SIZE], parent[PATH_SIZE];
    if (b->recovery_time > 0)
        timestamp_format(b->recovery_time, when);
    log_info("Delete: %s %s", b->id, when);
    int rc = backup_path(dir, e->instance, b, NULL, err);
    if (rc == 0)
        rc = refuse_link(e, dir, err);
    if (rc == 0 && b->status != BACKUP_UNKNOWN)
        rc = backup_set_status(&e->repo, e->instance, b, BACKUP_DELETING, err);
    int stands_in = strcmp(b->dir, b->id) != 0;
    if (rc == 0 && !stands_in)
        rc = remove_merge_leftovers(e, b, err);
    if (rc == 0)
        rc = remove_content(e, dir, err);
    if (rc != 0) {
        backup_unlock(lock);
        return rc;
    }
    backup_unlock(lock);
    rc = store_remove_tree(&e->repo, dir, err);
    if (rc == 0 && stands_in)
        rc = remove_merge_leftovers(e, b, err);
    (void)snprintf(parent, sizeof parent, "backups/%s", e->instance);
    return rc == 0 ? store_sync(&e->repo, parent, err) : rc;
}

struct doomed {
    struct backup *b;
    struct backup_lock *lock;
};

/* Newest first: no backup loses its parent before it is gone itself. */
struct doom {
    struct engine *e;
    struct backup_list list;
    struct doomed *items;
    size_t n;
    int64_t bytes;
};

static void
doom_close(struct doom *d)
{
    for (size_t i = 0; i < d->n; i++)
        backup_unlock(d->items[i].lock);
    free(d->items);
    backup_list_clear(&d->list);
}

static int
doom_open(struct doom *d, struct gsp_error *err)
{
    int rc = backup_list_read(&d->e->repo, d->e->instance, &d->list, err);
    if (rc == 0)
        d->items = calloc(d->list.n + 1, sizeof *d->items);
    return rc != 0 || d->items != NULL ? rc : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static void
doom_add(struct doom *d, struct backup *b)
{
    d->items[d->n++].b = b;
    d->bytes += (b->data_bytes > 0 ? b->data_bytes : 0) + (b->stream && b->wal_bytes > 0 ? b->wal_bytes : 0);
}

/* One that could not be read may be based on any. */
static int
refuse_unread(const struct doom *d, const struct backup *target, const char *what, struct gsp_error *err)
{
    for (size_t i = 0; i < d->list.n; i++) {
        const struct backup *b = &d->list.backups[i];
        if (!b->unread || b == target)
            continue;
        (void)gsp_fail(
            err, GSP_E_IO, 0, "the control file of backup %s could not be read: it may be based on %s", b->id, what);
        return gsp_hint(err, "the warning above says why; try again once the storage answers");
    }
    return 0;
}

static const struct doomed *
find_doomed(const struct doom *d, const char *dir)
{
    for (size_t i = 0; i < d->n; i++)
        if (strcmp(d->items[i].b->dir, dir) == 0)
            return &d->items[i];
    return NULL;
}

static int
fail_changed(const char *id, const char *what, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_LOCKED, 0, "backup %s was %s by another command just now", id, what);
    return gsp_hint(err, "nothing was deleted; look at 'gs_probackup show', and try again");
}

/* With all locks held: what was chosen is still what it was, and nobody has made a backup on top of it meanwhile. */
static int
look_again(struct doom *d, struct gsp_error *err)
{
    auto_backup_list now = {0};
    int rc = backup_list_read(&d->e->repo, d->e->instance, &now, err);
    for (size_t i = 0; i < d->n && rc == 0; i++) {
        const struct backup *b = d->items[i].b;
        int same = b->status == BACKUP_UNKNOWN ? 1 : backup_is_unchanged(&d->e->repo, d->e->instance, b, err);
        if (same <= 0)
            rc = same < 0 ? same : fail_changed(b->id, "changed", err);
    }
    for (size_t i = 0; i < now.n && rc == 0; i++) {
        const struct backup *b = &now.backups[i];
        for (size_t k = 0; k < d->n && rc == 0; k++)
            if (strcmp(b->parent_id, d->items[k].b->id) == 0 && find_doomed(d, b->dir) == NULL)
                rc = fail_changed(b->id, "made on top of them", err);
    }
    return rc;
}

/* All locks before the first file goes: a chain is deleted whole or not at all. */
static int
lock_and_look(struct doom *d, struct gsp_error *err)
{
    for (size_t i = 0; i < d->n; i++) {
        struct backup *b = d->items[i].b;
        struct gsp_error problem = {0};
        int rc = backup_lock_exclusive(&d->e->repo, d->e->instance, b, &d->items[i].lock, &problem);
        if (rc == GSP_E_NOENT)
            return fail_changed(b->id, "deleted or merged", err);
        if (rc != 0) {
            *err = problem;
            return rc;
        }
    }
    return look_again(d, err);
}

static int
delete_all(struct doom *d, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < d->n && rc == 0; i++)
        rc = delete_backup(d->e, d->items[i].b, steal(&d->items[i].lock), err);
    return rc;
}

int
delete_run(struct engine *e, const char *id, int dry_run, struct gsp_error *err)
{
    struct doom d __attribute__((cleanup(doom_close))) = {.e = e};
    char what[BACKUP_ID_SIZE + 8], size[24];
    int rc = doom_open(&d, err);
    if (rc != 0)
        return rc;
    struct backup *target = backup_list_find(&d.list, id);
    if (target == NULL) {
        (void)gsp_fail(err, GSP_E_NOENT, 0, "Failed to find backup %s, cannot delete", id);
        return gsp_hint(err, "see 'gs_probackup show' for the backups there are");
    }
    (void)snprintf(what, sizeof what, "backup %s", target->id);
    rc = refuse_unread(&d, target, what, err);
    for (size_t i = 0; i < d.list.n && rc == 0; i++)
        if (backup_is_descendant(&d.list, &d.list.backups[i], target->id))
            doom_add(&d, &d.list.backups[i]);
    for (size_t i = 0; i < d.n; i++) {
        if (dry_run)
            log_info("Backup %s can be deleted", d.items[i].b->id);
        else
            log_log("Backup %s will be deleted", d.items[i].b->id);
    }
    if (rc == 0 && !dry_run)
        rc = lock_and_look(&d, err);
    format_size_pretty(d.bytes, size, sizeof size);
    if (rc == 0)
        log_info("Resident data size to free by delete of backup %s : %s", target->id, size);
    return rc == 0 && !dry_run ? delete_all(&d, err) : rc;
}

/* ---- by status ----------------------------------------------------------------------------------- */

/* Of a backup whose process is gone, ERROR: it is shown so, and a dry run must not write it. */
static int
has_status(const struct doom *d, const struct backup *b, enum backup_status status)
{
    struct gsp_error unknown = {0};
    if (b->status == BACKUP_RUNNING && backup_lock_is_held(&d->e->repo, d->e->instance, b, &unknown) == 0)
        return status == BACKUP_ERROR;
    return b->status == status;
}

static int
select_status(struct doom *d, enum backup_status status, struct gsp_error *err)
{
    auto_free uint8_t *has = calloc(d->list.n + 1, 1);
    if (has == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < d->list.n; i++)
        has[i] = (uint8_t)has_status(d, &d->list.backups[i], status);
    for (size_t i = 0; i < d->list.n; i++) {
        const struct backup *at = &d->list.backups[i];
        /* A chain is never longer than the list: parents that form a circle end here. */
        for (size_t steps = 0; at != NULL && steps < d->list.n && !has[at - d->list.backups]; steps++)
            at = at->parent_id[0] != '\0' ? backup_list_find(&d->list, at->parent_id) : NULL;
        if (at != NULL && has[at - d->list.backups])
            doom_add(d, &d->list.backups[i]);
    }
    return 0;
}

int
delete_status_run(struct engine *e, const char *text, int dry_run, struct gsp_error *err)
{
    struct doom d __attribute__((cleanup(doom_close))) = {.e = e};
    enum backup_status status;
    char size[24];
    if (!backup_status_parse(text, &status)) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Unknown value for '--status' option: '%s'", text);
        return gsp_hint(err, "a status as 'gs_probackup show' prints it, for example ERROR");
    }
    const char *name = backup_status_name(status);
    log_info("Deleting all backups with status '%s'%s", name, dry_run ? " in dry run mode" : "");
    int rc = dry_run ? 0 : settle_running(e, err);
    if (rc == 0)
        rc = doom_open(&d, err);
    if (rc == 0)
        rc = select_status(&d, status, err);
    if (rc == 0 && d.n == 0)
        log_warning("Instance '%s' has no backups with status '%s'", e->instance, name);
    if (rc != 0 || d.n == 0)
        return rc;
    rc = refuse_unread(&d, NULL, "one of those to delete", err);
    if (rc == 0 && !dry_run)
        rc = lock_and_look(&d, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < d.n; i++) {
        const struct backup *b = d.items[i].b;
        /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): each of the n items has its backup */
        log_info(
            "Backup %s with status %s %s be deleted", b->id, backup_status_name(b->status), dry_run ? "can" : "will");
    }
    format_size_pretty(d.bytes, size, sizeof size);
    log_info("Resident data size to free by delete of %zu backups : %s", d.n, size);
    if (!dry_run)
        rc = delete_all(&d, err);
    if (rc == 0 && !dry_run)
        log_info("Successfully deleted %zu backup(s) from instance '%s'", d.n, e->instance);
    return rc;
}
