/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/scan.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"

/* A tablespace, as its link says. When it lies in the data directory its files are met there, too. */
struct inner_space {
    char *link; /* path in the data directory */
    uint64_t dev, ino;
    int met;
};

enum {
    DEPTH_MAX = 128,
    NAME_BYTES_MAX = 255,
    LINKS_MAX = 10000, /* a few links between directories are enough for more paths than there is time */
};

struct walk {
    struct store *store;
    struct data_side *side;               /* of a cluster: its dialect says what entries are */
    const struct external_scan *external; /* else */
    struct source_list *list;
    uint32_t flags;
    int quiet;
    unsigned n_links; /* to directories, that were followed */
    struct inner_space *spaces;
    size_t n_spaces;
    const struct inner_space *in_space; /* the walk is in this one, met in the data directory, */
    size_t in_space_len;                /* where its path has this length */
    /* Identity of the directories from the root down to the current one: a link back into them is a loop. */
    struct {
        uint64_t dev, ino;
    } ancestors[DEPTH_MAX];
    unsigned depth;
};

static void *
grown(void *array, size_t n, size_t *cap, size_t item)
{
    if (n < *cap)
        return array;
    size_t want = *cap == 0 ? 256 : *cap * 2;
    void *bigger = realloc(array, want * item);
    if (bigger != NULL)
        *cap = want;
    return bigger;
}

/* Encoded, a name is up to three times as long, and may be longer than the catalog's file system takes. */
static int
check_encoded(const char *encoded, struct gsp_error *err)
{
    for (const char *p = encoded; *p != '\0'; p += *p == '/') {
        size_t len = strcspn(p, "/");
        if (len > NAME_BYTES_MAX) {
            (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0,
                "the name of '%.300s' is too long for the catalog: encoded it has %zu bytes, %d are possible", encoded,
                len, NAME_BYTES_MAX);
            return gsp_hint(
                err, "no file of the server has such a name: rename it, or move it out of the data directory");
        }
        p += len;
    }
    return 0;
}

/* The path as it stands in the file list: percent-encoded when a line cannot carry it. */
static int
listed_path(struct walk *w, const char *path, struct file_entry *to, struct gsp_error *err)
{
    auto_free char *encoded = NULL;
    if (path_needs_encoding(path)) {
        encoded = path_encode(path);
        if (encoded == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        if (check_encoded(encoded, err) != 0)
            return err->code;
        to->encoded = 1;
        w->list->has_encoded = 1;
    }
    to->path = arena_strdup(w->list->arena, encoded != NULL ? encoded : path);
    return to->path != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static int32_t
number_of(const struct walk *w)
{
    return w->external != NULL ? w->external->number : 0;
}

static int
add_directory(
    struct walk *w, const char *path, const struct gsp_stat *st, const struct gsp_class *class, struct gsp_error *err)
{
    struct source_list *list = w->list;
    struct file_entry *dirs = grown(list->dirs, list->n_dirs, &list->cap_dirs, sizeof *dirs);
    if (dirs == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    list->dirs = dirs;
    struct file_entry *d = &dirs[list->n_dirs];
    *d = (struct file_entry){
        .mode = st->mode, .compress_alg = "none", .db_oid = class->db_oid, .external_dir_num = number_of(w)};
    int rc = listed_path(w, path, d, err);
    list->n_dirs += rc == 0;
    return rc;
}

static int
add_file(
    struct walk *w, const char *path, const struct gsp_stat *st, const struct gsp_class *class, struct gsp_error *err)
{
    struct source_list *list = w->list;
    struct source_file *files = grown(list->files, list->n_files, &list->cap_files, sizeof *files);
    if (files == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    list->files = files;
    struct source_file *f = &files[list->n_files];
    *f = (struct source_file){.size = st->size,
        .mtime_us = st->mtime_us,
        .action = class->action,
        .relation = class->relation,
        .space_oid = class->space_oid,
        .flags = class->flags};
    f->entry.mode = st->mode;
    f->entry.compress_alg = "none";
    f->entry.db_oid = class->db_oid;
    f->entry.segment = class->segment;
    f->entry.external_dir_num = number_of(w);
    f->entry.is_datafile = class->action == GSP_CLASS_PAGES;
    if (listed_path(w, path, &f->entry, err) != 0)
        return err->code;
    f->source = f->entry.encoded ? arena_strdup(list->arena, path) : f->entry.path;
    if (f->source == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    list->bytes += st->size;
    if (class->action == GSP_CLASS_COPY && st->size > SPARSE_FILE_MIN)
        list->holes += st->holes;
    list->n_files++;
    return 0;
}

/* A path in a message: below the data directory as it is, else with its root before it. */
#define SHOWN(w, path) (w)->external != NULL ? (w)->store->root : "", (w)->external != NULL ? "/" : "", path

static void
report_link(struct walk *w, const char *path, const struct gsp_class *class)
{
    char target[PATH_SIZE];
    struct gsp_error ignored = {0};
    struct store *s = w->store;
    if (w->quiet || s->ops->readlink == NULL || s->ops->readlink(s->handle, path, target, sizeof target, &ignored) != 0)
        return;
    if (target[0] != '/' || path_is_same_or_below(target, s->root))
        return;
    if (class->action == GSP_CLASS_TABLESPACE)
        log_info("Tablespace %s at '%s' is part of the backup", path_base(path), target);
    else
        log_info("Link '%s%s%s' leads to '%s', which is backed up in its place", SHOWN(w, path), target);
}

static int walk_directory(struct walk *w, const char *dir, const struct gsp_stat *st, struct gsp_error *err);

/* Is this directory, reached through a link, one that it lies in itself? */
static int
leads_back(const struct walk *w, const struct gsp_stat *st)
{
    for (unsigned i = 0; i < w->depth; i++)
        if (st->ino != 0 && w->ancestors[i].dev == st->dev && w->ancestors[i].ino == st->ino)
            return 1;
    return 0;
}

/* What the directory is that an external one must not lead into; NULL. */
static const char *
barrier_at(const struct walk *w, const struct gsp_stat *st)
{
    for (size_t i = 0; w->external != NULL && i < w->external->n_barriers; i++)
        if (w->external->barriers[i].dev == st->dev && w->external->barriers[i].ino == st->ino)
            return w->external->barriers[i].what;
    return NULL;
}

/* The tablespace that this directory is; NULL. */
static struct inner_space *
space_at(const struct walk *w, const struct gsp_stat *st)
{
    for (size_t i = 0; i < w->n_spaces; i++)
        if (w->spaces[i].dev == st->dev && w->spaces[i].ino == st->ino)
            return &w->spaces[i];
    return NULL;
}

/* A directory with its content. Of a tablespace that lies in the data directory there is one copy: its own, not that
 * behind the link. */
static int
visit_directory(
    struct walk *w, const char *path, const struct gsp_stat *st, const struct gsp_class *class, struct gsp_error *err)
{
    struct inner_space *space = space_at(w, st);
    int rc = add_directory(w, path, st, class, err);
    if (rc != 0 || class->action == GSP_CLASS_EMPTY)
        return rc;
    if (space == NULL || class->action == GSP_CLASS_TABLESPACE)
        return space == NULL || !space->met ? walk_directory(w, path, st, err) : 0;
    space->met = 1;
    w->in_space = space;
    w->in_space_len = strlen(path);
    rc = walk_directory(w, path, st, err);
    w->in_space = NULL;
    return rc;
}

static int
visit(struct walk *w, const char *dir, const struct gsp_dirent *e, const struct gsp_class *class, struct gsp_error *err)
{
    char path[PATH_SIZE];
    if (!path_join(path, dir, e->name))
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "path too long below '%s/%s'", w->store->root, dir);
    if (class->action == GSP_CLASS_SKIP) {
        if (!w->quiet && (e->st.type == GSP_FILE_OTHER || e->st.type == GSP_FILE_DANGLING))
            log_warning("Skip '%s%s%s': %s", SHOWN(w, path),
                e->st.type == GSP_FILE_DANGLING ? "the link leads nowhere" : "neither a regular file nor a directory");
        return 0;
    }
    if (e->st.flags & GSP_STAT_LINK)
        report_link(w, path, class);
    if (e->st.type == GSP_FILE_REGULAR)
        return add_file(w, path, &e->st, class, err);
    if (leads_back(w, &e->st)) {
        if (!w->quiet)
            log_warning("Skip '%s%s%s': the link leads back to a directory it lies in", SHOWN(w, path));
        return 0;
    }
    const char *barrier = barrier_at(w, &e->st);
    if (barrier != NULL) {
        if (!w->quiet)
            log_warning("Skip '%s%s%s': it is %s", SHOWN(w, path), barrier);
        return 0;
    }
    if ((e->st.flags & GSP_STAT_LINK) && ++w->n_links > LINKS_MAX) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "more than %d links to directories, the last one is '%s/%s'",
            LINKS_MAX, w->store->root, path);
        return gsp_hint(err, "links are followed, and what they lead to is stored once for each of them");
    }
    return visit_directory(w, path, &e->st, class, err);
}

static int
enter(struct walk *w, const char *dir, const struct gsp_stat *st, struct gsp_error *err)
{
    if (w->depth == DEPTH_MAX)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "directories are nested more than %d deep at '%s/%s'", DEPTH_MAX,
            w->store->root, dir);
    w->ancestors[w->depth].dev = st->dev;
    w->ancestors[w->depth].ino = st->ino;
    w->depth++;
    return 0;
}

static int
classify(struct walk *w, const char *dir, const struct gsp_dirent *entries, uint32_t n, struct gsp_class *classes,
    struct gsp_error *err)
{
    char as[PATH_SIZE];
    if (w->in_space != NULL) {
        int len = snprintf(as, sizeof as, "%s%s", w->in_space->link, dir + w->in_space_len);
        if (len >= (int)sizeof as)
            return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "path too long below '%s/%s'", w->store->root, dir);
        dir = as; /* what it is to the server */
    }
    if (w->external == NULL)
        return w->side->dialect->classify(&w->side->cluster, w->flags, dir, entries, n, classes, err);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t type = entries[i].st.type;
        classes[i].action = type == GSP_FILE_DIRECTORY ? GSP_CLASS_DESCEND
                            : type == GSP_FILE_REGULAR ? GSP_CLASS_COPY
                                                       : GSP_CLASS_SKIP;
    }
    return 0;
}

static int
walk_directory(struct walk *w, const char *dir, const struct gsp_stat *st, struct gsp_error *err)
{
    int rc = enter(w, dir, st, err);
    if (rc != 0)
        return rc;
    auto_listing listing = {0};
    auto_free struct gsp_dirent *entries = NULL;
    auto_free struct gsp_class *classes = NULL;
    struct gsp_error listing_err = {0};
    rc = cancel_check(err);
    if (rc == 0)
        rc = store_list(w->store, dir, &listing, &listing_err);
    if (rc == GSP_E_NOENT && dir[0] != '\0') {
        /* A database that was dropped between listing its parent and now. */
        w->depth--;
        return 0;
    }
    if (listing_err.code != 0)
        *err = listing_err;
    if (rc == 0 && listing.n > 0) {
        entries = calloc(listing.n, sizeof *entries);
        classes = calloc(listing.n, sizeof *classes);
        if (entries == NULL || classes == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        for (size_t i = 0; i < listing.n; i++)
            entries[i] = (struct gsp_dirent){.name = listing.entries[i].name, .st = listing.entries[i].st};
        rc = classify(w, dir, entries, (uint32_t)listing.n, classes, err);
    }
    /* The links of tablespaces come last: whether one leads into the data directory is known by then. */
    size_t links = listing.n;
    for (size_t i = 0; i < listing.n && rc == 0; i++) {
        if (w->external == NULL && dir[0] == '\0' && strcmp(entries[i].name, w->side->dialect->tablespace_root) == 0)
            links = i;
        else
            rc = visit(w, dir, &entries[i], &classes[i], err);
    }
    if (rc == 0 && links < listing.n)
        rc = visit(w, dir, &entries[links], &classes[links], err);
    w->depth--;
    return rc;
}

/* From the root on. Once per backup it is said that names are encoded. */
static int
walk_all(struct walk *w, struct gsp_error *err)
{
    struct gsp_stat st;
    int had_encoded = w->list->has_encoded;
    int rc = store_stat(w->store, "", &st, err);
    if (rc == 0)
        rc = walk_directory(w, "", &st, err);
    if (rc == 0 && w->list->has_encoded && !had_encoded && !w->quiet)
        log_warning(
            "Some file names hold quotes, commas, control characters or bytes that are not UTF-8; they are stored "
            "percent-encoded, which the stock gs_probackup does not undo");
    return rc;
}

/* Where the links of tablespaces lead. A storage that cannot tell directories apart has nothing to say here. */
static int
find_spaces(struct walk *w, struct gsp_error *err)
{
    auto_listing links = {0};
    struct gsp_error missing = {0};
    const char *root = w->side->dialect->tablespace_root;
    int rc = store_list(w->store, root, &links, &missing);
    if (rc != 0 && rc != GSP_E_NOENT)
        *err = missing;
    if (rc != 0 || links.n == 0)
        return rc == GSP_E_NOENT ? 0 : rc;
    w->spaces = calloc(links.n, sizeof *w->spaces);
    if (w->spaces == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < links.n; i++) {
        char path[PATH_SIZE];
        const struct gsp_stat *st = &links.entries[i].st;
        if (st->type != GSP_FILE_DIRECTORY || !(st->flags & GSP_STAT_LINK) || st->ino == 0 ||
            !path_join(path, root, links.entries[i].name))
            continue;
        char *link = arena_strdup(w->list->arena, path);
        if (link == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        w->spaces[w->n_spaces++] = (struct inner_space){.link = link, .dev = st->dev, .ino = st->ino};
    }
    return 0;
}

int
scan_source(struct data_side *side, uint32_t flags, int quiet, struct source_list *ret, struct gsp_error *err)
{
    struct source_list list = {.arena = arena_new()};
    struct walk w = {.store = &side->store, .side = side, .list = &list, .flags = flags, .quiet = quiet};
    int rc = list.arena != NULL ? find_spaces(&w, err) : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    if (rc == 0)
        rc = walk_all(&w, err);
    free(w.spaces);
    if (rc != 0) {
        source_list_clear(&list);
        return rc;
    }
    *ret = list;
    return 0;
}

int
scan_external(const struct external_scan *scan, struct source_list *list, struct gsp_error *err)
{
    struct walk w = {.store = scan->store, .external = scan, .list = list, .quiet = scan->quiet};
    return walk_all(&w, err);
}

void
source_list_clear(struct source_list *list)
{
    arena_free(list->arena);
    free(list->files);
    free(list->dirs);
    memset(list, 0, sizeof *list);
}
