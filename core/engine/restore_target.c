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
#include "core/engine/external_target.h"
#include "core/engine/restore_mark.h"

enum { TABLESPACE_MAP_MAX = 16 * 1024 * 1024 };

/* The server that a pid file names: its pid while it runs, 0 when there is none, or a code. errors CORRUPT */
static int
running_server(struct store *s, const char *pid_file, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error problem = {0};
    uint64_t pid;
    int rc = store_read_all(s, pid_file, 65536, &text, &problem);
    if (rc == GSP_E_NOENT)
        return 0;
    if (rc != 0) {
        *err = problem;
        return rc;
    }
    /* Of a server without clients, in single-user mode, the number is negative. */
    const char *number = strbuf_str(&text);
    number += number[0] == '-';
    if (!parse_u64n(number, strcspn(number, "\n"), INT32_MAX, &pid) || pid == 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "Pid file \"%s/%s\" is mangled, cannot determine whether postmaster is running or not", s->root, pid_file);
    return kill((pid_t)pid, 0) == 0 || errno == EPERM ? (int)pid : 0;
}

int
restore_target_check_stopped(struct store *s, const char *pid_file, struct gsp_error *err)
{
    int pid = running_server(s, pid_file, err);
    if (pid < 0)
        return gsp_hint(
            err, "make sure that no server uses the directory, remove that file, and run the command again");
    if (pid == 0)
        return 0;
    (void)gsp_fail(err, GSP_E_EXIST, 0,
        "Incremental restore is impossible: Postmaster with pid %d is running in destination directory \"%s\"", pid,
        s->root);
    return gsp_hint(err, "stop the server first");
}

static int
refuse_occupied(struct store *s, struct gsp_error *err)
{
    struct gsp_error ignored = {0};
    /* A living server in the target explains itself better than "not empty". */
    int pid = running_server(s, "postmaster.pid", &ignored);
    (void)gsp_fail(err, GSP_E_EXIST, 0, "Restore destination is not empty: \"%s\"%s", s->root,
        pid > 0 ? ", and a server is running in it" : "");
    if (pid > 0)
        return gsp_hint(err,
            "the server has pid %d; restore into another directory, or stop it and restore in place with -I checksum",
            pid);
    return gsp_hint(err, "restore into a new directory with -D, or in place with -I checksum, or move the old one "
                         "away first");
}

/* Returns as restore_target_check_destination. st: of the directory, NULL when it is missing. */
static int
check_destination(struct store *s, const struct gsp_stat *st, enum restore_incremental mode, struct gsp_error *err)
{
    int empty = st != NULL ? store_dir_is_empty(s, "", err) : 1;
    if (empty < 0)
        return empty;
    if (geteuid() == 0) {
        (void)gsp_fail(err, GSP_E_PERM, 0, "restore does not run as root: the server could not use its own files");
        return gsp_hint(err, "run it as the user who will own the cluster: sudo -u postgres gs_probackup restore ...");
    }
    if (empty && mode != INCREMENTAL_NONE)
        log_info("Destination directory is empty, disable incremental restore");
    if (empty == 0 && mode == INCREMENTAL_NONE) { /* what was left there is looked at when the backup is known */
        int marked = restore_mark_is_there(s, err);
        if (marked <= 0)
            return marked < 0 ? marked : refuse_occupied(s, err);
    }
    int rc = st != NULL ? check_owner(s->root, st->uid, err) : 0;
    if (rc != 0 || empty || mode == INCREMENTAL_NONE)
        return rc;
    log_info("Running incremental restore into nonempty directory: \"%s\"", s->root);
    rc = restore_target_check_stopped(s, "postmaster.pid", err);
    return rc == 0 ? 1 : rc;
}

int
restore_target_check_destination(struct engine *e, const struct restore_options *opts, struct gsp_error *err)
{
    struct store s;
    void *store_opts = NULL;
    struct gsp_stat st;
    struct gsp_error missing = {0};
    int rc = engine_open_store(e->cfg, e->reg, "storage.data", opts->pgdata, &s, &store_opts, err);
    if (rc != 0)
        return rc;
    int exists = store_stat(&s, "", &st, &missing) == 0;
    rc = check_destination(&s, exists ? &st : NULL, opts->incremental, err);
    store_close(&s);
    plugin_free_options(store_opts);
    return rc;
}

static int
fail_not_empty(const struct restore_target *t, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_EXIST, 0, "Restore destination is not empty: \"%s\"", t->store.root);
    return gsp_hint(err, "it holds '" RESTORE_MARK
                         "', but it is not an unfinished restore of this cluster; restore into a new directory "
                         "with -D, or look at it and move it away");
}

/* A data directory that is not empty is fine when a restore of the same cluster left it. */
static int
check_unfinished(struct restore_target *t, uint64_t system_id, struct gsp_error *err)
{
    int rc = t->in_place ? 1 : store_dir_is_empty(&t->store, "", err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    rc = restore_mark_check(&t->store, t->dialect, system_id, err);
    t->unfinished = rc > 0;
    return rc == 0 ? fail_not_empty(t, err) : rc < 0 ? rc : 0;
}

/* Is the tablespace's place that of the cluster, or of the unfinished restore, that is there? Its link in the data
 * directory tells. */
static int
is_linked(struct restore_target *t, const char *oid, const char *location)
{
    char path[PATH_SIZE], target[PATH_SIZE];
    struct gsp_error ignored = {0};
    return (t->unfinished || t->in_place) && t->store.ops->readlink != NULL &&
           path_join(path, t->dialect->tablespace_root, oid) &&
           t->store.ops->readlink(t->store.handle, path, target, sizeof target, &ignored) == 0 &&
           strcmp(target, location) == 0;
}

/* ---- what the backup has of a tablespace --------------------------------------------------------- */

/* The first entry of the cluster whose path begins with dir, '/' and name; NULL. */
static const struct file_entry *
first_below(const struct filelist *list, const char *dir, const char *name)
{
    char path[PATH_SIZE];
    size_t low = 0, high = list->n;
    int len = snprintf(path, sizeof path, "%s/%s", dir, name);
    if (len >= (int)sizeof path)
        return NULL;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(list->entries[middle].path, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < list->n && strncmp(list->entries[low].path, path, (size_t)len) == 0; low++)
        if (list->entries[low].external_dir_num == 0)
            return &list->entries[low];
    return NULL;
}

/* Some servers put the name of the node behind what the control file tells. */
static void
find_tablespace_dir(struct restore_target *t, const struct filelist *list)
{
    const char *root = t->dialect->tablespace_root;
    size_t len = strlen(root), known = strlen(t->tablespace_dir);
    const struct file_entry *f = first_below(list, root, "");
    for (; known > 0 && f != NULL && f < list->entries + list->n && strncmp(f->path, root, len) == 0; f++) {
        const char *name = strchr(f->path + len + 1, '/');
        if (f->external_dir_num > 0 || name == NULL || strncmp(name + 1, t->tablespace_dir, known) != 0)
            continue;
        (void)snprintf(t->tablespace_dir, sizeof t->tablespace_dir, "%.*s", (int)strcspn(name + 1, "/"), name + 1);
        return;
    }
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
check_mappings(const struct restore_options *opts, const struct tablespace *spaces, size_t n, const char *backup_dirs,
    struct gsp_error *err)
{
    for (size_t i = 0; i < opts->n_mappings; i++) {
        size_t at = 0;
        while (at < n && strcmp(spaces[at].location, opts->mappings[i].from) != 0)
            at++;
        if (at < n)
            continue;
        if (opts->mappings[i].is_external) { /* of a tablespace it does what -T does */
            if (external_mapping_check(opts->mappings[i].from, backup_dirs, err) != 0)
                return err->code;
            continue;
        }
        (void)gsp_fail(err, GSP_E_USAGE, 0,
            "--tablespace-mapping option's old directory doesn't have an entry in tablespace_map file: \"%s\"",
            opts->mappings[i].from);
        return n > 0 ? gsp_hint(err, "the backup's first tablespace is at '%s'", spaces[0].location)
                     : gsp_hint(err, "the backup has no tablespaces outside its data directory");
    }
    return 0;
}

static int
open_place(
    struct restore_target *t, const struct restore_options *opts, const struct tablespace *from, struct gsp_error *err)
{
    struct restore_tablespace *space = &t->spaces[t->n_spaces];
    const char *location = map_location(opts, from->location);
    if (path_is_same_or_below(location, opts->pgdata) || path_is_same_or_below(opts->pgdata, location))
        return gsp_fail(err, GSP_E_USAGE, 0, "tablespace %s at '%s' and the data directory '%s' lie in each other",
            from->oid, location, opts->pgdata);
    for (size_t i = 0; i < t->n_spaces; i++)
        if (path_is_same_or_below(location, t->spaces[i].location) ||
            path_is_same_or_below(t->spaces[i].location, location))
            return gsp_fail(
                err, GSP_E_USAGE, 0, "tablespaces %s and %s would share '%s'", t->spaces[i].oid, from->oid, location);
    /* With ".." in it a path is not where it seems to be, and could be compared with nothing. */
    if (location[0] != '/' || !path_is_safe_relative(location + 1)) {
        (void)gsp_fail(
            err, GSP_E_CORRUPT, 0, "tablespace %s is not at a plain absolute path: '%s'", from->oid, location);
        return gsp_hint(
            err, "give it a place with -T %s=NEWDIR, a path from the root directory on without \"..\"", from->location);
    }
    int rc = engine_open_store(t->e->cfg, t->e->reg, "storage.data", location, &space->store, &space->store_opts, err);
    if (rc != 0)
        return rc;
    space->location = strdup(location);
    if (space->location == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    struct gsp_stat st;
    struct gsp_error missing = {0};
    if (store_stat(&space->store, "", &st, &missing) == 0 && st.type != GSP_FILE_DIRECTORY)
        return gsp_fail(err, GSP_E_EXIST, 0, "restore tablespace destination is not a directory: \"%s\"", location);
    int empty = store_dir_is_empty(&space->store, "", err);
    if (empty < 0)
        return empty;
    space->linked = is_linked(t, from->oid, location);
    if (!empty && !space->linked) {
        (void)gsp_fail(err, GSP_E_EXIST, 0, "restore tablespace destination is not empty: \"%s\"", location);
        return gsp_hint(err, "move the tablespace to an empty place with -T %s=NEWDIR", from->location);
    }
    return 0;
}

/* The end of the location that is a path in the data directory: there the backup has the files of the tablespace, or
 * an external directory (-E) had them. NULL: it lies elsewhere. */
static const char *
path_inside(
    const struct restore_target *t, const struct filelist *list, const struct external_dirs *dirs, const char *location)
{
    for (const char *p = strchr(location, '/'); p != NULL; p = strchr(p + 1, '/')) {
        const struct file_entry *f = filelist_find(list, p + 1, 0);
        if (f != NULL && file_entry_is_dir(f) && t->tablespace_dir[0] != '\0' &&
            (first_below(list, p + 1, t->tablespace_dir) != NULL || external_dirs_number(dirs, location) > 0))
            return p + 1;
    }
    return NULL;
}

static int
keep_inside(struct restore_target *t, const struct restore_options *opts, const struct tablespace *from,
    const char *path, struct gsp_error *err)
{
    struct restore_tablespace *space = &t->spaces[t->n_spaces];
    char location[PATH_SIZE];
    const char *mapped = map_location(opts, from->location);
    if (!path_join(location, opts->pgdata, path))
        return gsp_fail(err, GSP_E_CONFIG, 0, "path too long: '%s/%s'", opts->pgdata, path);
    if (strcmp(mapped, from->location) != 0 && strcmp(mapped, location) != 0) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "tablespace %s lies in the data directory, and is restored to '%s' with it",
            from->oid, location);
        return gsp_hint(err, "leave out the mapping of '%s'", from->location);
    }
    space->inside = 1;
    space->location = strdup(location);
    space->linked = is_linked(t, from->oid, location);
    return space->location != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

/* What the backup has of its files. The stock tool leaves out tablespaces that no -E names. */
static void
look_for_files(struct restore_target *t, struct restore_tablespace *space, const struct stored_backup *sb,
    const struct external_dirs *dirs)
{
    char link[PATH_SIZE];
    if (!path_join(link, t->dialect->tablespace_root, space->oid) || first_below(&sb->list, link, "") != NULL)
        return;
    for (size_t i = 0; i < dirs->n; i++)
        space->in_external |= path_is_same_or_below(dirs->paths[i], space->from);
    t->external_inside |= space->inside && space->in_external;
    if (!space->in_external && !space->inside)
        log_warning("Backup %s has no files of tablespace %s at '%s': the program that made it stores those only with "
                    "-E",
            sb->b->id, space->oid, space->from);
}

static int
open_space(struct restore_target *t, const struct restore_options *opts, const struct stored_backup *sb,
    const struct external_dirs *dirs, const struct tablespace *from, struct gsp_error *err)
{
    struct restore_tablespace *space = &t->spaces[t->n_spaces];
    if (strspn(from->oid, "0123456789") != strlen(from->oid) || from->oid[0] == '\0')
        return gsp_fail(err, GSP_E_CORRUPT, 0, "tablespace_map names a tablespace '%s'", from->oid);
    space->oid = strdup(from->oid);
    space->from = strdup(from->location);
    const char *inside = path_inside(t, &sb->list, dirs, from->location);
    int rc = space->oid == NULL || space->from == NULL ? gsp_fail(err, GSP_E_NOMEM, 0, "out of memory")
             : inside != NULL                          ? keep_inside(t, opts, from, inside, err)
                                                       : open_place(t, opts, from, err);
    t->n_spaces++;
    if (rc == 0)
        look_for_files(t, space, sb, dirs);
    return rc;
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
        rc = check_mappings(opts, spaces, n, sb->b->external_dirs, err);
    if (rc == 0 && n > 0) {
        t->spaces = calloc(n, sizeof *t->spaces);
        if (t->spaces == NULL)
            rc = gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    auto_external_dirs dirs = {0};
    if (rc == 0)
        rc = external_dirs_parse(opts->skip_external_dirs ? NULL : sb->b->external_dirs, &dirs, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = open_space(t, opts, sb, &dirs, &spaces[i], err);
    tablespaces_free(spaces, n);
    return rc;
}

int
restore_target_open(struct restore_target *t, struct engine *e, const struct restore_options *opts, int in_place,
    struct stored_backup *sb, const struct gsp_dialect_ops *dialect, const struct gsp_cluster *cluster,
    struct gsp_error *err)
{
    memset(t, 0, sizeof *t);
    t->e = e;
    t->dialect = dialect;
    t->in_place = in_place;
    (void)snprintf(t->tablespace_dir, sizeof t->tablespace_dir, "%s", cluster->tablespace_dir);
    int rc = engine_open_store(e->cfg, e->reg, "storage.data", opts->pgdata, &t->store, &t->store_opts, err);
    if (rc == 0)
        rc = check_unfinished(t, cluster->system_id, err);
    find_tablespace_dir(t, &sb->list);
    if (rc == 0)
        rc = open_spaces(t, opts, sb, err);
    return rc == 0 ? external_targets_open(t, opts, sb->b->external_dirs, err) : rc;
}

void
restore_target_close(struct restore_target *t)
{
    for (size_t i = 0; i < t->n_spaces; i++) {
        if (t->spaces[i].store.ops != NULL)
            store_close(&t->spaces[i].store);
        plugin_free_options(t->spaces[i].store_opts);
        free(t->spaces[i].oid);
        free(t->spaces[i].from);
        free(t->spaces[i].location);
    }
    free(t->spaces);
    external_targets_close(t);
    if (t->store.ops != NULL)
        store_close(&t->store);
    plugin_free_options(t->store_opts);
    memset(t, 0, sizeof *t);
}

struct store *
restore_target_store(struct restore_target *t, int32_t external_dir_num)
{
    return external_dir_num > 0 ? &t->externals[external_dir_num - 1].store : &t->store;
}

struct restore_tablespace *
restore_target_space(const struct restore_target *t, const char *path)
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
    int rc = space->inside ? 0 : store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, err);
    if (rc != 0)
        return gsp_prefix(err, "tablespace %s", space->oid);
    if (t->store.ops->symlink == NULL)
        return gsp_fail(
            err, GSP_E_UNSUPPORTED, 0, "the storage of '%s' has no links, which tablespaces need", t->store.root);
    rc = t->store.ops->symlink(t->store.handle, space->location, path, err);
    /* Durable before anything lies in its place: by the link another restore knows that it may clear it. */
    if (rc == 0 && !t->e->no_sync)
        rc = store_sync(&t->store, t->dialect->tablespace_root, err);
    return rc == 0 && !t->e->no_sync ? store_sync(&t->store, "", err) : rc;
}

/* In a place that the cluster had before there may be what belongs to others. */
static int
clear_space(struct restore_target *t, struct store *s, struct gsp_error *err)
{
    if (t->tablespace_dir[0] != '\0')
        return store_remove_tree(s, t->tablespace_dir, err);
    int rc = store_dir_is_empty(s, "", err);
    return rc == 0 ? restore_mark_clear(s, err) : rc < 0 ? rc : 0;
}

int
restore_target_clear(struct restore_target *t, struct gsp_error *err)
{
    int rc = store_mkdir(&t->store, "", 0700, GSP_MKDIR_PARENTS, err);
    if (rc == 0)
        rc = restore_mark_claim(&t->store, err);
    if (rc != 0 || !t->unfinished)
        return rc;
    log_warning("'%s' holds an unfinished restore of this cluster; what it left is removed first", t->store.root);
    /* The other places first: their links, and the claim, are how we know that they are ours. */
    for (size_t i = 0; i < t->n_spaces && rc == 0; i++)
        if (t->spaces[i].linked && !t->spaces[i].inside)
            rc = clear_space(t, &t->spaces[i].store, err);
    if (rc == 0)
        rc = external_targets_clear(t, err);
    return rc == 0 ? restore_mark_clear(&t->store, err) : rc;
}

static int
make_dir(struct restore_target *t, struct store *s, const char *path, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = store_mkdir(s, path, 0700, 0, &problem);
    if (rc == 0 || (rc == GSP_E_EXIST && (t->in_place || t->external_inside))) /* what is no directory was removed */
        return 0;
    *err = problem;
    return rc;
}

int
restore_target_prepare(struct restore_target *t, struct stored_backup *sb, struct gsp_error *err)
{
    int rc = external_targets_make(t, err);
    /* The list is sorted by path: parents come before their children. */
    for (size_t i = 0; i < sb->list.n && rc == 0; i++) {
        const struct file_entry *f = &sb->list.entries[i];
        auto_free char *decoded = NULL;
        if (!file_entry_is_dir(f))
            continue;
        if (f->encoded && !path_decode(f->path, &decoded))
            return gsp_fail(err, GSP_E_CORRUPT, 0, "malformed name in the file list: '%s'", f->path);
        const char *path = decoded != NULL ? decoded : f->path;
        const struct restore_tablespace *space = f->external_dir_num == 0 ? restore_target_space(t, path) : NULL;
        if (space == NULL)
            rc = make_dir(t, restore_target_store(t, f->external_dir_num), path, err);
        else if (!t->in_place || !space->linked)
            rc = make_space(t, space, path, err);
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
        if (strcmp(f->path, "base") == 0 && f->external_dir_num == 0)
            root_mode = f->mode & 0750;
        if ((f->mode & 07777) == 0700 && !t->in_place)
            continue; /* made so */
        if (f->encoded && !path_decode(f->path, &decoded))
            return gsp_fail(err, GSP_E_CORRUPT, 0, "malformed name in the file list: '%s'", f->path);
        struct store *s = restore_target_store(t, f->external_dir_num);
        rc = s->ops->chmod(s->handle, decoded != NULL ? decoded : f->path, f->mode & 07777, err);
    }
    return rc == 0 ? t->store.ops->chmod(t->store.handle, "", root_mode | 0700, err) : rc;
}
