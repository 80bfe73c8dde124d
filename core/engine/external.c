/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/external.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"

/* ---- the list ---------------------------------------------------------------------------------- */

static int
by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
add_path(struct external_dirs *dirs, const char *text, size_t len, struct gsp_error *err)
{
    auto_free char *part = strndup(text, len);
    char **grown = realloc(dirs->paths, (dirs->n + 1) * sizeof *grown);
    if (grown != NULL)
        dirs->paths = grown;
    char *path = part != NULL && grown != NULL ? path_canonical(part) : NULL;
    if (path == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    grown[dirs->n++] = path;
    return 0;
}

int
external_dirs_parse(const char *text, struct external_dirs *ret, struct gsp_error *err)
{
    struct external_dirs dirs = {0};
    *ret = dirs;
    if (text == NULL || strcasecmp(text, "none") == 0)
        return 0;
    while (*text != '\0') {
        size_t len = strcspn(text, ":");
        if (len > 0 && add_path(&dirs, text, len, err) != 0) {
            external_dirs_free(&dirs);
            return err->code;
        }
        text += len;
        text += *text == ':';
    }
    /* The stock tools number them so, whatever their order is in the text. */
    if (dirs.n > 1)
        qsort(dirs.paths, dirs.n, sizeof *dirs.paths, by_text);
    *ret = dirs;
    return 0;
}

void
external_dirs_free(struct external_dirs *dirs)
{
    for (size_t i = 0; i < dirs->n; i++)
        free(dirs->paths[i]);
    free(dirs->paths);
    *dirs = (struct external_dirs){0};
}

int32_t
external_dirs_number(const struct external_dirs *dirs, const char *path)
{
    for (size_t i = 0; i < dirs->n; i++)
        if (strcmp(dirs->paths[i], path) == 0)
            return (int32_t)i + 1;
    return 0;
}

int32_t
external_dirs_same(const struct external_dirs *from, int32_t number, const struct external_dirs *to)
{
    return number > 0 && (size_t)number <= from->n ? external_dirs_number(to, from->paths[number - 1]) : 0;
}

int
external_dir_check_path(const char *path, struct gsp_error *err)
{
    if (path[0] != '/') {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "External directory \"%s\" is not an absolute path", path);
        return gsp_hint(err, "several directories are separated by colons: -E /first:/second");
    }
    if (path_is_safe_relative(path + 1))
        return 0;
    (void)gsp_fail(err, GSP_E_USAGE, 0, "External directory \"%s\" is not a plain path", path);
    return gsp_hint(err, "give the path from the root directory on without \"..\"");
}

/* ---- may they be backed up? -------------------------------------------------------------------- */

/* A user tablespace of the cluster. */
struct space {
    char location[PATH_SIZE];
    uint64_t dev, ino;
};

struct checks {
    struct external_sources *s;
    struct engine *e;
    struct data_side *data;
    struct space *spaces;
    size_t n_spaces;
};

/* The links of the cluster say where tablespaces are. */
static int
read_spaces(struct checks *c, struct gsp_error *err)
{
    auto_listing links = {0};
    struct store *s = &c->data->store;
    const char *dir = c->data->dialect->tablespace_root;
    if (s->ops->readlink == NULL)
        return 0;
    int rc = store_list(s, dir, &links, err);
    if (rc == 0 && links.n > 0) {
        c->spaces = calloc(links.n, sizeof *c->spaces);
        if (c->spaces == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    for (size_t i = 0; i < links.n && rc == 0; i++) {
        char path[PATH_SIZE], target[PATH_SIZE];
        struct gsp_error gone = {0};
        struct space *space = &c->spaces[c->n_spaces];
        if (!(links.entries[i].st.flags & GSP_STAT_LINK) || !path_join(path, dir, links.entries[i].name) ||
            s->ops->readlink(s->handle, path, target, sizeof target, &gone) != 0 || target[0] != '/')
            continue;
        auto_free char *location = path_canonical(target);
        if (location == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        (void)snprintf(space->location, sizeof space->location, "%s", location);
        space->dev = links.entries[i].st.dev;
        space->ino = links.entries[i].st.ino;
        c->n_spaces++;
    }
    return rc;
}

static int
is_one(const struct gsp_stat *st, uint64_t dev, uint64_t ino)
{
    return st->ino != 0 && st->dev == dev && st->ino == ino;
}

static int
fail_path(struct gsp_error *err, const char *path, const char *what, const char *other)
{
    return gsp_fail(err, GSP_E_USAGE, 0, "External directory path (-E option) \"%s\" %s \"%s\"", path, what, other);
}

/* Is the path in the directory that the cluster has in a tablespace, which can have the name of the node behind its
 * own? */
static int
is_in_cluster_dir(const char *path, const char *location, const char *dir)
{
    size_t above = strlen(location), len = strlen(dir);
    if (len == 0 || !path_is_same_or_below(path, location) || path[above] != '/')
        return 0;
    path += above + 1;
    return strncmp(path, dir, len) == 0 && strchr("/_", path[len]) != NULL; /* or its end */
}

/* Old command lines name each tablespace, because the stock tool leaves out the others. Returns 1 when it is one, 0 or
 * a code. */
static int
check_spaces(const struct checks *c, const char *path, const struct gsp_stat *st, struct gsp_error *err)
{
    for (size_t i = 0; i < c->n_spaces; i++) {
        const struct space *space = &c->spaces[i];
        if (strcmp(path, space->location) == 0 || is_one(st, space->dev, space->ino)) {
            log_info("External directory \"%s\" is a tablespace, which is part of the backup in any case; "
                     "--external-mapping of it works as -T does",
                path);
            return 1;
        }
        if (path_is_same_or_below(space->location, path)) {
            (void)fail_path(err, path, "contains tablespace", space->location);
            return gsp_hint(err, "tablespaces are part of every backup: name what lies beside them");
        }
        if (path_is_same_or_below(path, space->location))
            log_warning(
                "External directory path (-E option) \"%s\" is in tablespace directory \"%s\"", path, space->location);
        if (is_in_cluster_dir(path, space->location, c->data->cluster.tablespace_dir)) {
            log_info("It is part of the backup in any case");
            return 1;
        }
    }
    return 0;
}

/* What the backup has already, and what it must not try to have. */
static int
check_place(const struct checks *c, const char *path, const struct gsp_stat *st, struct gsp_error *err)
{
    const char *data = c->data->store.root, *repo = c->e->repo.root;
    struct gsp_stat root;
    int rc = store_stat(&c->data->store, "", &root, err);
    if (rc != 0)
        return rc;
    if (path_is_same_or_below(path, data) || is_one(st, root.dev, root.ino)) {
        (void)fail_path(err, path, "lies in the data directory", data);
        return gsp_hint(err, "the data directory is part of every backup; for the server's log files use "
                             "--backup-pg-log");
    }
    if (path_is_same_or_below(data, path)) {
        (void)fail_path(err, path, "contains the data directory", data);
        return gsp_hint(err, "name what lies beside it");
    }
    int lies_in_repo = path_is_same_or_below(path, repo);
    if (lies_in_repo || path_is_same_or_below(repo, path)) {
        (void)fail_path(err, path, lies_in_repo ? "lies in the backup catalog" : "contains the backup catalog", repo);
        return gsp_hint(err, "a backup cannot hold itself");
    }
    return 0;
}

/* The paths before it, which are checked, are sorted: what contains it stands there. */
static int
check_others(const struct checks *c, const char *path, struct gsp_error *err)
{
    const struct external_dirs *dirs = &c->s->dirs;
    for (size_t i = 0; i < dirs->n && strcmp(dirs->paths[i], path) < 0; i++)
        if (path_is_same_or_below(path, dirs->paths[i]))
            return fail_path(err, dirs->paths[i], "contain another external directory", path);
    return 0;
}

/* Open the next one, which is paths[n_open]. Returns 1 when it is to be left out, 0, or a code. */
static int
open_next(const struct checks *c, struct gsp_error *err)
{
    struct external_sources *s = c->s;
    const char *path = s->dirs.paths[s->n_open];
    struct store *store = &s->stores[s->n_open];
    struct gsp_error missing = {0};
    struct gsp_stat st;
    int rc = external_dir_check_path(path, err);
    if (rc == 0)
        rc = engine_open_store(c->e->cfg, c->e->reg, "storage.data", path, store, &s->store_opts[s->n_open], err);
    if (rc != 0)
        return rc;
    s->n_open++;
    rc = store_stat(store, "", &st, &missing);
    if (rc != 0 && rc != GSP_E_NOENT)
        *err = missing;
    else if (rc != 0)
        (void)gsp_fail(err, GSP_E_NOENT, 0, "External directory is not found: \"%s\"", path);
    else if (st.type != GSP_FILE_DIRECTORY)
        rc = gsp_fail(err, GSP_E_USAGE, 0, "External directory \"%s\" is not a directory", path);
    if (rc == 0)
        rc = check_others(c, path, err);
    if (rc == 0)
        rc = check_spaces(c, path, &st, err);
    return rc == 0 ? check_place(c, path, &st, err) : rc;
}

static void
drop_last(struct external_sources *s)
{
    size_t i = --s->n_open;
    store_close(&s->stores[i]);
    plugin_free_options(s->store_opts[i]);
    s->store_opts[i] = NULL;
    free(s->dirs.paths[i]);
    memmove(&s->dirs.paths[i], &s->dirs.paths[i + 1], (s->dirs.n - i - 1) * sizeof *s->dirs.paths);
    s->dirs.n--;
}

static int
make_text(struct external_sources *s, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    for (size_t i = 0; i < s->dirs.n; i++)
        strbuf_printf(&text, "%s%s", i > 0 ? ":" : "", s->dirs.paths[i]);
    int rc = strbuf_check(&text, err);
    if (rc != 0 || s->dirs.n == 0)
        return rc;
    s->text = strdup(strbuf_str(&text));
    return s->text != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static int
open_all(struct checks *c, struct gsp_error *err)
{
    struct external_sources *s = c->s;
    s->stores = calloc(s->dirs.n, sizeof *s->stores);
    s->store_opts = calloc(s->dirs.n, sizeof *s->store_opts);
    if (s->stores == NULL || s->store_opts == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 1; i < s->dirs.n; i++)
        if (strcmp(s->dirs.paths[i - 1], s->dirs.paths[i]) == 0)
            return gsp_fail(
                err, GSP_E_USAGE, 0, "External directory path (-E option) \"%s\" is given twice", s->dirs.paths[i]);
    int rc = read_spaces(c, err);
    while (rc == 0 && s->n_open < s->dirs.n) {
        rc = open_next(c, err);
        if (rc > 0) {
            drop_last(s);
            rc = 0;
        }
    }
    return rc == 0 ? make_text(s, err) : rc;
}

int
external_sources_open(struct external_sources *s, struct engine *e, struct data_side *data, struct gsp_error *err)
{
    struct checks c = {.s = s, .e = e, .data = data};
    memset(s, 0, sizeof *s);
    int rc = external_dirs_parse(config_get(e->cfg, "external-dirs"), &s->dirs, err);
    if (rc == 0 && s->dirs.n > 0)
        rc = open_all(&c, err);
    free(c.spaces);
    return rc;
}

void
external_sources_close(struct external_sources *s)
{
    for (size_t i = 0; i < s->n_open; i++) {
        store_close(&s->stores[i]);
        plugin_free_options(s->store_opts[i]);
    }
    free(s->stores);
    free(s->store_opts);
    free(s->text);
    external_dirs_free(&s->dirs);
    memset(s, 0, sizeof *s);
}

/* ---- their files ------------------------------------------------------------------------------- */

/* A link can lead from an external directory into the catalog or the cluster: no backup of them there. */
static int
add_barrier(struct external_scan *scan, struct store *s, const char *what, struct gsp_error *err)
{
    struct gsp_stat st;
    int rc = store_stat(s, "", &st, err);
    if (rc == 0 && st.ino != 0)
        scan->barriers[scan->n_barriers++] = (struct scan_barrier){.dev = st.dev, .ino = st.ino, .what = what};
    return rc;
}

int
external_sources_scan(struct external_sources *s, struct engine *e, struct data_side *data, int quiet,
    struct source_list *list, struct gsp_error *err)
{
    struct external_scan scan = {.quiet = quiet};
    int rc = s->n_open > 0 ? add_barrier(&scan, &data->store, "the data directory", err) : 0;
    /* Identities of another kind of storage are not those of this one. */
    if (rc == 0 && s->n_open > 0 && e->repo.ops == data->store.ops)
        rc = add_barrier(&scan, &e->repo, "the backup catalog", err);
    for (size_t i = 0; i < s->n_open && rc == 0; i++) {
        scan.store = &s->stores[i];
        scan.number = (int32_t)i + 1;
        rc = scan_external(&scan, list, err);
        if (rc != 0)
            (void)gsp_prefix(err, "external directory '%s'", s->dirs.paths[i]);
    }
    return rc;
}

int
external_sources_plan(const struct external_sources *s, const struct filelist *parent, const char *parent_dirs,
    struct source_list *list, size_t first, struct gsp_error *err)
{
    auto_external_dirs had = {0};
    int rc = external_dirs_parse(parent_dirs, &had, err);
    for (size_t i = first; i < list->n_files && rc == 0; i++) {
        struct source_file *f = &list->files[i];
        int32_t number = external_dirs_same(&s->dirs, f->entry.external_dir_num, &had);
        const struct file_entry *entry = number > 0 ? filelist_find(parent, f->entry.path, number) : NULL;
        if (entry != NULL && !file_entry_is_dir(entry) && !entry->is_datafile)
            f->parent = entry;
    }
    return rc;
}
