/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/restore_target.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/engine/backup_start.h"

enum { TABLESPACE_MAP_MAX = 16 * 1024 * 1024 };

/* A living server in the target explains itself better than "not empty". 0 = none. */
static int
running_server(struct store *s)
{
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error ignored = {0};
    uint64_t pid;
    if (store_read_all(s, "postmaster.pid", 65536, &text, &ignored) != 0)
        return 0;
    if (!parse_u64n(strbuf_str(&text), strcspn(strbuf_str(&text), "\n"), INT32_MAX, &pid) || pid == 0)
        return 0;
    return kill((pid_t)pid, 0) == 0 || errno == EPERM ? (int)pid : 0;
}

int
restore_target_check_destination(struct engine *e, const char *pgdata, struct gsp_error *err)
{
    struct store s;
    void *opts = NULL;
    struct gsp_stat st;
    struct gsp_error missing = {0};
    int rc = engine_open_store(e->cfg, e->reg, "storage.data", pgdata, &s, &opts, err);
    if (rc != 0)
        return rc;
    int exists = store_stat(&s, "", &st, &missing) == 0;
    int empty = exists ? store_dir_is_empty(&s, "", err) : 1;
    if (empty < 0) {
        rc = empty;
    } else if (geteuid() == 0) {
        (void)gsp_fail(err, GSP_E_PERM, 0, "restore does not run as root: the server could not use its own files");
        (void)gsp_hint(err, "run it as the user who will own the cluster: sudo -u postgres gs_probackup restore ...");
        rc = err->code;
    } else if (exists && !empty) {
        int pid = running_server(&s);
        (void)gsp_fail(err, GSP_E_EXIST, 0, "Restore destination is not empty: \"%s\"%s", pgdata,
            pid != 0 ? ", and a server is running in it" : "");
        if (pid != 0)
            (void)gsp_hint(err,
                "the server has pid %d; restore into another directory, or stop it and move its data away first", pid);
        else
            (void)gsp_hint(err, "restore into a new directory with -D, or move the old one away first");
        rc = err->code;
    } else if (exists) {
        rc = check_owner(pgdata, st.uid, err);
    }
    store_close(&s);
    plugin_free_options(opts);
    return rc;
}

uint64_t
restore_bytes_needed(const struct stored_backup *sb)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < sb->list.n; i++) {
        const struct file_entry *f = &sb->list.entries[i];
        if (f->is_datafile && f->n_blocks > 0)
            bytes += (uint64_t)f->n_blocks * sb->page_size;
        else if (f->size > 0)
            bytes += (uint64_t)f->size;
    }
    return bytes;
}

/* Bytes below "<root>/<oid>/", the part of the backup that one tablespace takes. */
static uint64_t
bytes_below(const struct stored_backup *sb, const char *root, const char *oid)
{
    char prefix[PATH_SIZE];
    uint64_t bytes = 0;
    int n = snprintf(prefix, sizeof prefix, "%s/%s/", root, oid);
    for (size_t i = 0; i < sb->list.n; i++) {
        const struct file_entry *f = &sb->list.entries[i];
        if (strncmp(f->path, prefix, (size_t)n) != 0)
            continue;
        if (f->is_datafile && f->n_blocks > 0)
            bytes += (uint64_t)f->n_blocks * sb->page_size;
        else if (f->size > 0)
            bytes += (uint64_t)f->size;
    }
    return bytes;
}

static int
check_room(struct store *s, uint64_t need, struct gsp_error *err)
{
    char have[24], want[24];
    struct gsp_space space = {.struct_size = sizeof space};
    if (s->ops->space == NULL)
        return 0;
    int rc = s->ops->space(s->handle, "", &space, err);
    if (rc != 0 || space.free_bytes > need)
        return rc;
    format_size_pretty((int64_t)space.free_bytes, have, sizeof have);
    format_size_pretty((int64_t)need, want, sizeof want);
    (void)gsp_fail(err, GSP_E_NOSPC, 0, "not enough disk space to restore into '%s': %s are free, %s are needed",
        s->root, have, want);
    return gsp_hint(err, "make room, or restore to a larger file system with -D and -T");
}

static const char *
map_location(const struct restore_options *opts, const char *location)
{
    for (size_t i = 0; i < opts->n_mappings; i++)
        if (strcmp(opts->mappings[i].from, location) == 0)
            return opts->mappings[i].to;
    return location;
}

static int
check_mappings(const struct restore_options *opts, const struct tablespace *spaces, size_t n, struct gsp_error *err)
{
    for (size_t i = 0; i < opts->n_mappings; i++) {
        size_t at = 0;
        while (at < n && strcmp(spaces[at].location, opts->mappings[i].from) != 0)
            at++;
        if (at < n)
            continue;
        (void)gsp_fail(err, GSP_E_USAGE, 0,
            "--tablespace-mapping option's old directory doesn't have an entry in tablespace_map file: \"%s\"",
            opts->mappings[i].from);
        return n > 0 ? gsp_hint(err, "the backup's first tablespace is at '%s'", spaces[0].location)
                     : gsp_hint(err, "the backup has no tablespaces outside its data directory");
    }
    return 0;
}

static int
open_space(struct restore_target *t, const struct restore_options *opts, const struct tablespace *from,
    struct stored_backup *sb, struct gsp_error *err)
{
    struct restore_tablespace *space = &t->spaces[t->n_spaces];
    if (strspn(from->oid, "0123456789") != strlen(from->oid) || from->oid[0] == '\0')
        return gsp_fail(err, GSP_E_CORRUPT, 0, "tablespace_map names a tablespace '%s'", from->oid);
    const char *location = map_location(opts, from->location);
    if (location[0] != '/')
        return gsp_fail(err, GSP_E_CORRUPT, 0, "tablespace %s is not at an absolute path: '%s'", from->oid, location);
    if (path_is_same_or_below(location, opts->pgdata) || path_is_same_or_below(opts->pgdata, location))
        return gsp_fail(err, GSP_E_USAGE, 0, "tablespace %s at '%s' and the data directory '%s' lie in each other",
            from->oid, location, opts->pgdata);
    for (size_t i = 0; i < t->n_spaces; i++)
        if (path_is_same_or_below(location, t->spaces[i].location) ||
            path_is_same_or_below(t->spaces[i].location, location))
            return gsp_fail(
                err, GSP_E_USAGE, 0, "tablespaces %s and %s would share '%s'", t->spaces[i].oid, from->oid, location);
    int rc = engine_open_store(t->e->cfg, t->e->reg, "storage.data", location, &space->store, &space->store_opts, err);
    if (rc != 0)
        return rc;
    space->oid = strdup(from->oid);
    space->location = strdup(location);
    t->n_spaces++;
    if (space->oid == NULL || space->location == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int empty = store_dir_is_empty(&space->store, "", err);
    if (empty < 0)
        return empty;
    if (!empty) {
        (void)gsp_fail(err, GSP_E_EXIST, 0, "restore tablespace destination is not empty: \"%s\"", location);
        return gsp_hint(err, "move the tablespace to an empty place with -T %s=NEWDIR", from->location);
    }
    return check_room(&space->store, bytes_below(sb, t->dialect->tablespace_root, from->oid), err);
}

static int
open_spaces(
    struct restore_target *t, const struct restore_options *opts, struct stored_backup *sb, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf text = STRBUF_INIT;
    struct tablespace *spaces = NULL;
    size_t n = 0;
    int n_path = snprintf(path, sizeof path, "%s/database/%s", sb->dir, t->dialect->map_file);
    if (n_path >= (int)sizeof path)
        return gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", sb->dir);
    struct gsp_error missing = {0};
    int rc = store_read_all(&t->e->repo, path, TABLESPACE_MAP_MAX, &text, &missing);
    if (rc == 0)
        rc = tablespace_map_parse(strbuf_str(&text), text.len, &spaces, &n, err);
    else if (rc == GSP_E_NOENT)
        rc = 0; /* no tablespaces */
    else
        *err = missing;
    if (rc == 0)
        rc = check_mappings(opts, spaces, n, err);
    if (rc == 0 && n > 0) {
        t->spaces = calloc(n, sizeof *t->spaces);
        if (t->spaces == NULL)
            rc = gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = open_space(t, opts, &spaces[i], sb, err);
    tablespaces_free(spaces, n);
    return rc;
}

int
restore_target_open(struct restore_target *t, struct engine *e, const struct restore_options *opts,
    struct stored_backup *sb, const struct gsp_dialect_ops *dialect, struct gsp_error *err)
{
    memset(t, 0, sizeof *t);
    t->e = e;
    t->dialect = dialect;
    int rc = engine_open_store(e->cfg, e->reg, "storage.data", opts->pgdata, &t->store, &t->store_opts, err);
    if (rc == 0)
        rc = open_spaces(t, opts, sb, err);
    uint64_t need = restore_bytes_needed(sb);
    for (size_t i = 0; rc == 0 && i < t->n_spaces; i++)
        need -= bytes_below(sb, dialect->tablespace_root, t->spaces[i].oid);
    return rc == 0 ? check_room(&t->store, need, err) : rc;
}

void
restore_target_close(struct restore_target *t)
{
    for (size_t i = 0; i < t->n_spaces; i++) {
        store_close(&t->spaces[i].store);
        plugin_free_options(t->spaces[i].store_opts);
        free(t->spaces[i].oid);
        free(t->spaces[i].location);
    }
    free(t->spaces);
    if (t->store.ops != NULL)
        store_close(&t->store);
    plugin_free_options(t->store_opts);
    memset(t, 0, sizeof *t);
}

/* Is this listed directory the link of a tablespace that lies elsewhere? */
static const struct restore_tablespace *
space_of(const struct restore_target *t, const char *path)
{
    size_t len = strlen(t->dialect->tablespace_root);
    if (strncmp(path, t->dialect->tablespace_root, len) != 0 || path[len] != '/')
        return NULL;
    for (size_t i = 0; i < t->n_spaces; i++)
        if (strcmp(path + len + 1, t->spaces[i].oid) == 0)
            return &t->spaces[i];
    return NULL;
}

static int
make_space(struct restore_target *t, const struct restore_tablespace *space, const char *path, struct gsp_error *err)
{
    struct store s = space->store;
    int rc = store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, err);
    if (rc != 0)
        return gsp_prefix(err, "tablespace %s", space->oid);
    if (t->store.ops->symlink == NULL)
        return gsp_fail(
            err, GSP_E_UNSUPPORTED, 0, "the storage of '%s' has no links, which tablespaces need", t->store.root);
    return t->store.ops->symlink(t->store.handle, space->location, path, err);
}

int
restore_target_prepare(struct restore_target *t, struct stored_backup *sb, struct gsp_error *err)
{
    int rc = store_mkdir(&t->store, "", 0700, GSP_MKDIR_PARENTS, err);
    /* The list is sorted by path: parents come before their children. */
    for (size_t i = 0; i < sb->list.n && rc == 0; i++) {
        const struct file_entry *f = &sb->list.entries[i];
        auto_free char *decoded = NULL;
        if (!file_entry_is_dir(f))
            continue;
        if (f->encoded && !path_decode(f->path, &decoded))
            return gsp_fail(err, GSP_E_CORRUPT, 0, "malformed name in the file list: '%s'", f->path);
        const char *path = decoded != NULL ? decoded : f->path;
        const struct restore_tablespace *space = space_of(t, path);
        rc = space != NULL ? make_space(t, space, path, err) : store_mkdir(&t->store, path, 0700, 0, err);
    }
    return rc;
}

int
restore_target_set_modes(struct restore_target *t, struct stored_backup *sb, struct gsp_error *err)
{
    uint32_t root_mode = 0700;
    int rc = 0;
    if (t->store.ops->chmod == NULL)
        return 0;
    for (size_t i = 0; i < sb->list.n && rc == 0; i++) {
        const struct file_entry *f = &sb->list.entries[i];
        auto_free char *decoded = NULL;
        if (!file_entry_is_dir(f))
            continue;
        /* The data directory itself is not listed; the server gives it and "base" the same mode. */
        if (strcmp(f->path, "base") == 0)
            root_mode = f->mode & 0750;
        if ((f->mode & 07777) == 0700)
            continue;
        if (f->encoded && !path_decode(f->path, &decoded))
            return gsp_fail(err, GSP_E_CORRUPT, 0, "malformed name in the file list: '%s'", f->path);
        rc = t->store.ops->chmod(t->store.handle, decoded != NULL ? decoded : f->path, f->mode & 07777, err);
    }
    return rc == 0 ? t->store.ops->chmod(t->store.handle, "", root_mode | 0700, err) : rc;
}
