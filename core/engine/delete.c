/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/cancel.h"
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

/* What a link leads to is not ours to remove. */
static int
refuse_link(struct engine *e, const char *dir, struct gsp_error *err)
{
    struct gsp_stat st;
    int rc = store_stat(&e->repo, dir, &st, err);
    if (rc != 0 || !(st.flags & GSP_STAT_LINK))
        return rc;
    (void)gsp_fail(
        err, GSP_E_UNSUPPORTED, 0, "'%s/%s' is a symbolic link, it is not deleted through it", e->repo.root, dir);
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

/* All locks before the first file goes: a chain is deleted whole or not at all. */
static int
lock_all(struct engine *e, struct doomed *doomed, size_t n, struct gsp_error *err)
{
    for (size_t i = 0; i < n; i++) {
        int rc = backup_lock_exclusive(&e->repo, e->instance, doomed[i].b, &doomed[i].lock, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int
delete_run(struct engine *e, const char *id, struct gsp_error *err)
{
    auto_backup_list list = {0};
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc != 0)
        return rc;
    struct backup *target = backup_list_find(&list, id);
    if (target == NULL) {
        (void)gsp_fail(err, GSP_E_NOENT, 0, "Failed to find backup %s, cannot delete", id);
        return gsp_hint(err, "see 'gs_probackup show' for the backups there are");
    }
    struct doomed *doomed = calloc(list.n, sizeof *doomed);
    if (doomed == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    size_t n = 0;
    int64_t bytes = 0;
    for (size_t i = 0; i < list.n; i++) {
        if (!list.backups[i].unread || &list.backups[i] == target)
            continue;
        free(doomed);
        (void)gsp_fail(err, GSP_E_IO, 0,
            "the control file of backup %s could not be read: it may be based on backup %s", list.backups[i].id,
            target->id);
        return gsp_hint(err, "the warning above says why; try again once the storage answers");
    }
    /* Newest first: no backup loses its parent before it is gone itself. */
    for (size_t i = 0; i < list.n; i++) {
        struct backup *b = &list.backups[i];
        if (!backup_is_descendant(&list, b, target->id))
            continue;
        doomed[n++].b = b;
        bytes += (b->data_bytes > 0 ? b->data_bytes : 0) + (b->stream && b->wal_bytes > 0 ? b->wal_bytes : 0);
    }
    for (size_t i = 0; i < n; i++)
        log_log("Backup %s will be deleted", doomed[i].b->id);
    rc = lock_all(e, doomed, n, err);
    char size[24];
    format_size_pretty(bytes, size, sizeof size);
    if (rc == 0)
        log_info("Resident data size to free by delete of backup %s : %s", target->id, size);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = delete_backup(e, doomed[i].b, doomed[i].lock, err);
        else
            backup_unlock(doomed[i].lock);
    }
    free(doomed);
    return rc;
}
