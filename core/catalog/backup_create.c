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
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < names.n; i++) {
        const struct store_entry *e = &names.entries[i];
        if (e->st.type != GSP_FILE_DIRECTORY || !backup_id_parse(e->name, &start) || start <= newest)
            continue;
        /* Any word is a number in base 36: one from the future must prove that it is a backup. */
        int counts = start <= now ? 1 : is_backup(repo, instance, e->name, err);
        if (counts < 0)
            return counts;
        if (counts)
            newest = start;
    }
    *ret = newest;
    return 0;
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

/* Make the directory of a start second. errors EXIST */
static int
make_dir(struct store *repo, const char *instance, int64_t start, struct backup *b, struct gsp_error *err)
{
    char id[BACKUP_ID_SIZE], path[PATH_SIZE], parent[PATH_SIZE];
    backup_id_format(start, id);
    char *dir = strdup(id);
    if (dir == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    struct backup made = {.dir = dir};
    int rc = backup_path(path, instance, &made, NULL, err);
    if (rc == 0)
        rc = path_join(parent, "backups", instance) ? 0 : gsp_fail(err, GSP_E_BUG, 0, "path too long");
    if (rc == 0)
        rc = store_mkdir(repo, path, 0700, 0, err);
    if (rc == 0) {
        rc = store_sync(repo, parent, err);
        struct gsp_error ignored = {0};
        if (rc != 0)
            (void)store_remove(repo, path, &ignored);
    }
    if (rc != 0) {
        free(dir);
        return rc;
    }
    memcpy(b->id, id, sizeof b->id);
    free(b->dir);
    b->dir = dir;
    b->start_time = start;
    return 0;
}

int
backup_create(struct store *repo, const char *instance, struct backup *b, struct gsp_error *err)
{
    int64_t until = monotonic_us() + WAIT_MAX_S * 1000000ll;
    do {
        int64_t newest = 0, now = now_seconds();
        int rc = cancel_check(err);
        if (rc == 0)
            rc = newest_start(repo, instance, now, &newest, err);
        if (rc != 0)
            return rc;
        if (newest > now + AHEAD_MAX_S)
            return clock_went_back(newest, now, err);
        struct gsp_error taken = {0};
        rc = now > newest ? make_dir(repo, instance, now, b, &taken) : GSP_E_EXIST;
        if (rc != GSP_E_EXIST) {
            if (rc != 0)
                *err = taken;
            return rc;
        }
        (void)poll(NULL, 0, STEP_MS);
    } while (monotonic_us() < until);
    return gsp_fail(
        err, GSP_E_TIMEOUT, 0, "no free backup ID for instance '%s' within %d seconds", instance, WAIT_MAX_S);
}
