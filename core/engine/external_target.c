/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/external_target.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/durability.h"
#include "core/engine/restore_mark.h"

enum { CLAIM_MAX = 1024 * 1024 };

/* ---- the mappings ------------------------------------------------------------------------------ */

int
external_mapping_check(const char *from, const char *backup_dirs, struct gsp_error *err)
{
    auto_external_dirs dirs = {0};
    int rc = external_dirs_parse(backup_dirs, &dirs, err);
    if (rc != 0 || external_dirs_number(&dirs, from) > 0)
        return rc;
    (void)gsp_fail(err, GSP_E_USAGE, 0,
        "--external-mapping option's old directory doesn't have an entry in list of external directories of current "
        "backup: \"%s\"",
        from);
    return dirs.n > 0 ? gsp_hint(err, "the backup's first external directory is '%s'", dirs.paths[0])
                      : gsp_hint(err, "the backup has no external directories");
}

/* Where the directory goes. With -T, too: then it is that of a tablespace, whose files are to be where its link leads.
 */
static const char *
map_location(const struct restore_target *t, const struct restore_options *opts, const char *path)
{
    for (size_t i = 0; i < opts->n_mappings; i++)
        if (strcmp(opts->mappings[i].from, path) == 0)
            return opts->mappings[i].to;
    for (size_t k = 0; k < t->n_spaces; k++)
        if (t->spaces[k].inside && strcmp(t->spaces[k].from, path) == 0)
            return t->spaces[k].location;
    return path;
}

/* ---- may they be written to? ------------------------------------------------------------------- */

static int
fail_overlap(struct gsp_error *err, const char *path, const char *what, const char *other)
{
    (void)gsp_fail(err, GSP_E_USAGE, 0, "external directory '%s' and %s '%s' lie in each other", path, what, other);
    return gsp_hint(err, "give it another place with --external-mapping=OLDDIR=NEWDIR, or leave external directories "
                         "out with --skip-external-dirs");
}

static int
overlap(const char *a, const char *b)
{
    return path_is_same_or_below(a, b) || path_is_same_or_below(b, a);
}

/* Are both there, and the same? A link can lead anywhere. */
static int
is_one(struct store *a, struct store *b)
{
    struct gsp_stat x, y;
    struct gsp_error ignored = {0};
    return a->ops == b->ops && store_stat(a, "", &x, &ignored) == 0 && store_stat(b, "", &y, &ignored) == 0 &&
           x.ino != 0 && x.dev == y.dev && x.ino == y.ino;
}

/* Is it the place of a tablespace in the data directory? */
static int
is_inner_space(const struct restore_target *t, const char *path)
{
    for (size_t k = 0; k < t->n_spaces; k++)
        if (t->spaces[k].inside && t->spaces[k].in_external && strcmp(t->spaces[k].location, path) == 0)
            return 1;
    return 0;
}

/* In place all that does not belong is removed: no place may hold another one, or the catalog. */
static int
check_place(struct restore_target *t, size_t i, struct gsp_error *err)
{
    char own[PATH_SIZE];
    struct store *s = &t->externals[i].store;
    const char *path = s->root;
    if ((overlap(path, t->store.root) && !is_inner_space(t, path)) || is_one(s, &t->store))
        return fail_overlap(err, path, "the data directory", t->store.root);
    if (overlap(path, t->e->repo.root) || is_one(s, &t->e->repo))
        return fail_overlap(err, path, "the backup catalog", t->e->repo.root);
    for (size_t k = 0; k < t->n_spaces; k++) {
        const char *space = t->spaces[k].location;
        if (t->spaces[k].inside || (t->spaces[k].in_external && path_is_same_or_below(path, space)))
            continue;
        /* Beside the cluster's directory there is room for others. */
        if (path_is_same_or_below(space, path) || is_one(s, &t->spaces[k].store) ||
            (path_is_same_or_below(path, space) &&
                (t->tablespace_dir[0] == '\0' || !path_join(own, space, t->tablespace_dir) ||
                    path_is_same_or_below(path, own))))
            return fail_overlap(err, path, "the tablespace", space);
    }
    for (size_t k = 0; k < i; k++)
        if (overlap(path, t->externals[k].store.root) || is_one(s, &t->externals[k].store))
            return fail_overlap(err, path, "external directory", t->externals[k].store.root);
    return 0;
}

/* Does the claim of an unfinished restore name the place? */
static int
is_claimed(const struct strbuf *claim, const char *path)
{
    size_t len = strlen(path);
    for (const char *line = strbuf_str(claim); *line != '\0';) {
        size_t n = strcspn(line, "\n");
        if (n == len && memcmp(line, path, len) == 0)
            return 1;
        line += n + (line[n] == '\n');
    }
    return 0;
}

static int
check_content(struct restore_target *t, struct external_target *x, const struct strbuf *claim, struct gsp_error *err)
{
    struct gsp_stat st;
    struct gsp_error missing = {0};
    if (store_stat(&x->store, "", &st, &missing) == 0 && st.type != GSP_FILE_DIRECTORY)
        return gsp_fail(err, GSP_E_EXIST, 0, "External directory is not a directory: \"%s\"", x->store.root);
    int empty = store_dir_is_empty(&x->store, "", err);
    if (empty < 0)
        return empty;
    x->claimed = !empty && t->unfinished && is_claimed(claim, x->store.root);
    if (empty || x->claimed || t->in_place)
        return 0;
    (void)gsp_fail(err, GSP_E_EXIST, 0, "External directory is not empty: \"%s\"", x->store.root);
    return gsp_hint(err, "give it an empty place with --external-mapping=OLDDIR=NEWDIR, or leave external directories "
                         "out with --skip-external-dirs");
}

static int
read_claim(struct restore_target *t, struct strbuf *claim, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = t->unfinished ? store_read_all(&t->store, RESTORE_EXTERNAL, CLAIM_MAX, claim, &problem) : 0;
    if (rc == 0 || rc == GSP_E_NOENT)
        return strbuf_check(claim, err);
    *err = problem;
    return rc;
}

static int
open_one(struct restore_target *t, const struct restore_options *opts, const char *from, struct gsp_error *err)
{
    struct external_target *x = &t->externals[t->n_externals];
    const char *path = map_location(t, opts, from);
    int rc = external_dir_check_path(path, err);
    if (rc == 0 && strchr(path, '\n') != NULL)
        rc = gsp_fail(err, GSP_E_USAGE, 0, "the path of an external directory cannot hold a line break");
    if (rc == 0)
        rc = engine_open_store(t->e->cfg, t->e->reg, "storage.data", path, &x->store, &x->store_opts, err);
    if (rc == 0)
        rc = check_place(t, t->n_externals++, err);
    return rc;
}

int
external_targets_open(
    struct restore_target *t, const struct restore_options *opts, const char *backup_dirs, struct gsp_error *err)
{
    auto_external_dirs dirs = {0};
    auto_strbuf claim = STRBUF_INIT;
    int rc = external_dirs_parse(backup_dirs, &dirs, err);
    if (rc != 0 || opts->skip_external_dirs || dirs.n == 0)
        return rc;
    t->externals = calloc(dirs.n, sizeof *t->externals);
    if (t->externals == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < dirs.n && rc == 0; i++)
        rc = open_one(t, opts, dirs.paths[i], err);
    if (rc == 0)
        rc = read_claim(t, &claim, err);
    for (size_t i = 0; i < dirs.n && rc == 0; i++)
        rc = check_content(t, &t->externals[i], &claim, err);
    return rc;
}

void
external_targets_close(struct restore_target *t)
{
    for (size_t i = 0; i < t->n_externals; i++) {
        store_close(&t->externals[i].store);
        plugin_free_options(t->externals[i].store_opts);
    }
    free(t->externals);
    t->externals = NULL;
    t->n_externals = 0;
}

/* ---- writing ----------------------------------------------------------------------------------- */

int
external_targets_clear(struct restore_target *t, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < t->n_externals && rc == 0; i++) {
        struct external_target *x = &t->externals[i];
        auto_listing list = {0};
        if (!x->claimed)
            continue;
        rc = store_list(&x->store, "", &list, err);
        for (size_t k = 0; k < list.n && rc == 0; k++)
            rc = store_remove_tree(&x->store, list.entries[k].name, err);
    }
    return rc;
}

int
external_targets_claim(struct restore_target *t, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    for (size_t i = 0; i < t->n_externals; i++)
        strbuf_printf(&text, "%s\n", t->externals[i].store.root);
    int rc = strbuf_check(&text, err);
    if (rc != 0 || t->n_externals == 0)
        return rc;
    return store_write_all(&t->store, RESTORE_EXTERNAL, 0600, GSP_PUT_ATOMIC, text.data, text.len, err);
}

int
external_targets_make(struct restore_target *t, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < t->n_externals && rc == 0; i++) {
        rc = store_mkdir(&t->externals[i].store, "", 0700, GSP_MKDIR_PARENTS, err);
        if (rc != 0)
            (void)gsp_prefix(err, "external directory");
    }
    return rc;
}

int
external_targets_sync(struct restore_target *t, const struct filelist *list, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < t->n_externals && rc == 0; i++)
        rc = sync_restored(&t->externals[i].store, list, (int32_t)i + 1, err);
    return rc;
}

void
external_targets_release(struct restore_target *t)
{
    struct gsp_error problem = {0};
    if (store_remove(&t->store, RESTORE_EXTERNAL, &problem) != 0)
        log_warning("'%s/" RESTORE_EXTERNAL "' is left: %s", t->store.root, problem.msg);
}
