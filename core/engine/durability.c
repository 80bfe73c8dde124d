/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/durability.h"

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

int
sync_backup(struct store *repo, const char *dir, const struct filelist *list, struct gsp_error *err)
{
    static const char *const own[] = {"", "database", "backup_content.control"};
    char database_dir[PATH_SIZE];
    struct batch b;
    if (repo->ops->sync == NULL)
        return 0;
    if (!path_join(database_dir, dir, "database"))
        return gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", dir);
    int rc = batch_open(&b, repo, err), has_headers = 0;
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        has_headers |= list->entries[i].n_headers > 0;
        if (file_entry_is_dir(&list->entries[i]) || list->entries[i].size > 0)
            rc = add(&b, database_dir, list->entries[i].path, err);
    }
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
sync_restored(struct store *target, const struct filelist *list, struct gsp_error *err)
{
    struct batch b;
    if (target->ops->sync == NULL)
        return 0;
    int rc = batch_open(&b, target, err);
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        auto_free char *decoded = NULL;
        const char *path = list->entries[i].path;
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
