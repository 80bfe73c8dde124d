/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/durability.h"

#include <stdio.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/path.h"

/* Paths per call: few enough to bound memory, so many that a storage can choose to sync its whole medium. */
enum { PATHS_PER_CALL = 65536 };

struct batch {
    struct store *store;
    struct arena *arena;
    const char **paths;
    uint32_t n;
};

static int
flush(struct batch *b, struct gsp_error *err)
{
    int rc = b->n > 0 ? b->store->ops->sync(b->store->handle, b->paths, b->n, err) : 0;
    b->n = 0;
    arena_free(b->arena);
    b->arena = NULL;
    return rc == 0 ? cancel_check(err) : rc;
}

static int
add(struct batch *b, const char *dir, const char *name, struct gsp_error *err)
{
    char path[PATH_SIZE];
    if (b->arena == NULL)
        b->arena = arena_new();
    const char *copy = b->arena != NULL && path_join(path, dir, name) ? arena_strdup(b->arena, path) : NULL;
    if (copy == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    b->paths[b->n++] = copy;
    return b->n == PATHS_PER_CALL ? flush(b, err) : 0;
}

static int
batch_open(struct batch *b, struct store *s, struct gsp_error *err)
{
    *b = (struct batch){.store = s, .paths = calloc(PATHS_PER_CALL, sizeof *b->paths)};
    return b->paths != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static void
batch_close(struct batch *b)
{
    free(b->paths);
    arena_free(b->arena);
}

/* Where the catalog keeps a file of the backup in `dir`. */
static int
stored_name(const char *dir, const struct file_entry *f, char path[PATH_SIZE], struct gsp_error *err)
{
    char below[64];
    if (f->external_dir_num > 0)
        (void)snprintf(below, sizeof below, EXTERNAL_DIR_FORMAT, f->external_dir_num);
    else
        (void)snprintf(below, sizeof below, "%s", f->file_type == 1 ? "dssdata" : "database");
    int n = snprintf(path, PATH_SIZE, "%s/%s/%s", dir, below, f->path);
    return n < PATH_SIZE ? 0 : gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", f->path);
}

/* The directories above those that a list names. */
static int
add_tops(struct batch *b, const char *dir, int32_t externals, int has_dss, struct gsp_error *err)
{
    char name[64];
    int rc = has_dss ? add(b, dir, "dssdata", err) : 0;
    if (rc == 0 && externals > 0)
        rc = add(b, dir, "external_directories", err);
    for (int32_t i = 1; i <= externals && rc == 0; i++) {
        (void)snprintf(name, sizeof name, EXTERNAL_DIR_FORMAT, i);
        rc = add(b, dir, name, err);
    }
    return rc;
}

int
sync_backup(struct store *repo, const char *dir, const struct filelist *list, struct gsp_error *err)
{
    static const char *const own[] = {"", "database", "backup_content.control"};
    char path[PATH_SIZE];
    struct batch b;
    if (repo->ops->sync == NULL)
        return 0;
    int rc = batch_open(&b, repo, err), has_headers = 0, has_dss = 0;
    int32_t externals = 0;
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        const struct file_entry *f = &list->entries[i];
        has_headers |= f->n_headers > 0;
        has_dss |= f->file_type == 1;
        externals = f->external_dir_num > externals ? f->external_dir_num : externals;
        if (!file_entry_is_dir(f) && f->size <= 0)
            continue;
        rc = stored_name(dir, f, path, err);
        if (rc == 0)
            rc = add(&b, "", path, err);
    }
    if (rc == 0)
        rc = add_tops(&b, dir, externals, has_dss, err);
    for (size_t i = 0; i < sizeof own / sizeof own[0] && rc == 0; i++)
        rc = add(&b, dir, own[i], err);
    if (rc == 0 && has_headers)
        rc = add(&b, dir, "page_header_map", err);
    if (rc == 0)
        rc = flush(&b, err);
    batch_close(&b);
    return rc;
}

int
sync_stored(struct store *repo, const char *dir, const struct file_entry *const *files, size_t n, struct gsp_error *err)
{
    char path[PATH_SIZE];
    if (repo->ops->sync == NULL)
        return 0;
    auto_arena *arena = arena_new();
    auto_free const char **paths = n < UINT32_MAX / 2 ? calloc(2 * n + 1, sizeof *paths) : NULL;
    if (arena == NULL || paths == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    uint32_t n_paths = 0;
    const char *parent = "";
    for (size_t i = 0; i < n; i++) {
        int rc = stored_name(dir, files[i], path, err);
        if (rc != 0)
            return rc;
        paths[n_paths++] = arena_strdup(arena, path);
        *strrchr(path, '/') = '\0';
        if (parent != NULL && strcmp(parent, path) == 0)
            continue; /* neighbours share their directory */
        paths[n_paths++] = parent = arena_strdup(arena, path);
    }
    int fits = path_join(path, dir, "page_header_map");
    paths[n_paths++] = arena_strdup(arena, path);
    for (uint32_t i = 0; i < n_paths; i++)
        if (paths[i] == NULL || !fits)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    return repo->ops->sync(repo->handle, paths, n_paths, err);
}

int
sync_restored(struct store *target, const struct filelist *list, int32_t external_dir_num, struct gsp_error *err)
{
    struct batch b;
    if (target->ops->sync == NULL)
        return 0;
    int rc = batch_open(&b, target, err);
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        auto_free char *decoded = NULL;
        const char *path = list->entries[i].path;
        if (list->entries[i].external_dir_num != external_dir_num)
            continue;
        if (list->entries[i].encoded && !path_decode(path, &decoded))
            rc = gsp_fail(err, GSP_E_CORRUPT, 0, "malformed name in the file list: '%s'", path);
        else
            rc = add(&b, "", decoded != NULL ? decoded : path, err);
    }
    if (rc == 0)
        rc = add(&b, "", "", err);
    if (rc == 0)
        rc = flush(&b, err);
    batch_close(&b);
    return rc;
}
