/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/catalog/catalog.h"

enum { STEP_MS = 50, AHEAD_MAX_S = 10, WAIT_MAX_S = 30 };

/* A directory counts as a backup for the clock when it was made before now or is one beyond doubt. */
static int
is_backup(struct store *repo, const char *instance, const char *name, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct backup where = {.dir = (char *)(uintptr_t)name};
    int rc = backup_path(path, instance, &where, "backup.control", err);
    return rc == 0 ? store_exists(repo, path, err) : rc;
}

/* What a backup left that was interrupted before it was one; nobody else is making one now. */
static int
clear_unfinished(struct store *repo, const char *parent, const struct store_entry *e, struct gsp_error *err)
{
    char path[PATH_SIZE];
    if (strncmp(e->name, BACKUP_NEW_PREFIX, strlen(BACKUP_NEW_PREFIX)) != 0)
        return 0;
    if (!path_join(path, parent, e->name))
        return gsp_fail(err, GSP_E_BUG, 0, "path too long");
    return store_remove_tree(repo, path, err);
}

/* The start second of the newest backup, 0 without any. */
static int
newest_start(struct store *repo, const char *instance, int64_t now, int64_t *ret, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_listing names = {0};
    int64_t newest = 0, start;
    if (!path_join(path, "backups", instance))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = store_list(repo, path, &names, err);
    for (size_t i = 0; i < names.n && rc == 0; i++) {
        const struct store_entry *e = &names.entries[i];
        rc = clear_unfinished(repo, path, e, err);
        if (rc != 0 || e->st.type != GSP_FILE_DIRECTORY || !backup_id_parse(e->name, &start) || start <= newest)
            continue;
        /* Any word is a number in base 36: one from the future must prove that it is a backup. */
        int counts = start <= now ? 1 : is_backup(repo, instance, e->name, err);
        if (counts < 0)
            return counts;
        if (counts)
            newest = start;
    }
    if (rc == 0)
        *ret = newest;
    return rc;
}

static int
clock_went_back(int64_t newest, int64_t now, struct gsp_error *err)
{
    char id[BACKUP_ID_SIZE], made[TIMESTAMP_SIZE], clock[TIMESTAMP_SIZE];
    backup_id_format(newest, id);
    timestamp_format(newest, made);
    timestamp_format(now, clock);
    (void)gsp_fail(err, GSP_E_CONFIG, 0, "backup %s was started at %s, but the clock says %s: the clock went back", id,
        made, clock);
    return gsp_hint(err, "set the clock right, or delete backup %s if its time is wrong", id);
}

static int
set_dir(struct backup *b, const char *prefix, struct gsp_error *err)
{
    char dir[BACKUP_ID_SIZE + 16];
    (void)snprintf(dir, sizeof dir, "%s%s", prefix, b->id);
    free(b->dir);
    b->dir = strdup(dir);
    return b->dir != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

/* Its lock and control file are there before it has a name that counts: nobody ever sees half a backup. */
static int
fill_and_name(
    struct store *repo, const char *instance, struct backup *b, struct backup_lock **lock, struct gsp_error *err)
{
    char from[PATH_SIZE], to[PATH_SIZE], parent[PATH_SIZE];
    int rc = backup_path(from, instance, b, NULL, err);
    if (rc == 0)
        rc = backup_lock_exclusive(repo, instance, b, lock, err);
    if (rc == 0)
        rc = backup_save(repo, instance, b, err);
    if (rc == 0 && (!path_join(parent, "backups", instance) || !path_join(to, parent, b->id)))
        rc = gsp_fail(err, GSP_E_BUG, 0, "path too long");
    if (rc == 0)
        rc = store_rename(repo, from, to, err);
    if (rc == 0)
        rc = set_dir(b, "", err);
    if (rc == 0)
        rc = backup_lock_moved(*lock, instance, b, err);
    return rc == 0 ? store_sync(repo, parent, err) : rc;
}

/* Under the name that it has by now, and no other: there may be a backup. */
static void
discard(struct store *repo, const char *instance, struct backup *b, struct backup_lock *lock)
{
    struct gsp_error ignored = {0};
    char path[PATH_SIZE];
    backup_unlock(lock);
    if (b->dir != NULL && backup_path(path, instance, b, NULL, &ignored) == 0)
        (void)store_remove_tree(repo, path, &ignored);
    free(b->dir);
    b->dir = NULL;
    b->id[0] = '\0';
}

static int
make_backup(struct store *repo, const char *instance, int64_t start, struct backup *b, struct backup_lock **ret_lock,
    struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct backup_lock *lock = NULL;
    b->start_time = start;
    backup_id_format(start, b->id);
    int rc = set_dir(b, BACKUP_NEW_PREFIX, err);
    if (rc == 0)
        rc = backup_path(path, instance, b, NULL, err);
    if (rc == 0)
        rc = store_mkdir(repo, path, 0700, 0, err);
    if (rc == 0)
        rc = fill_and_name(repo, instance, b, &lock, err);
    if (rc == 0)
        *ret_lock = lock;
    else
        discard(repo, instance, b, lock);
    return rc;
}

/* 1 = made, 0 = this second is taken, or a code. Under the lock of the instance: of two backups each sees the other's
 * ID. */
static int
try_create(
    struct store *repo, const char *instance, struct backup *b, struct backup_lock **ret_lock, struct gsp_error *err)
{
    int64_t newest = 0, now = now_seconds();
    int rc = newest_start(repo, instance, now, &newest, err);
    if (rc != 0)
        return rc;
    if (newest > now + AHEAD_MAX_S)
        return clock_went_back(newest, now, err);
    if (now <= newest)
        return 0;
    rc = make_backup(repo, instance, now, b, ret_lock, err);
    return rc == 0 ? 1 : rc;
}

int
backup_create(
    struct store *repo, const char *instance, struct backup *b, struct backup_lock **ret_lock, struct gsp_error *err)
{
    int64_t until = monotonic_us() + WAIT_MAX_S * 1000000ll;
    do {
        struct backup_lock *lock = NULL;
        int rc = cancel_check(err);
        if (rc == 0)
            rc = instance_lock(repo, instance, &lock, err);
        if (rc == 0)
            rc = try_create(repo, instance, b, ret_lock, err);
        backup_unlock(lock);
        if (rc != 0)
            return rc > 0 ? 0 : rc;
        (void)poll(NULL, 0, STEP_MS);
    } while (monotonic_us() < until);
    return gsp_fail(
        err, GSP_E_TIMEOUT, 0, "no free backup ID for instance '%s' within %d seconds", instance, WAIT_MAX_S);
}
