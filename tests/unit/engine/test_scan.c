/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/base/cancel.h"

/* ---- a storage of names only, with links ---------------------------------------------------------- */

struct name {
    const char *dir, *name; /* dir: without links in it */
    char kind;              /* d directory, f file, l link, x dangling, p pipe; g directory gone by now */
    const char *target;     /* of a link: a directory of the table, "/..." lies outside; for messages only if NULL */
};

struct tree {
    const struct name *names;
    size_t n;
    int no_inodes;
};

/* The directory that a path leads to once its links are followed. 0 when there is none. */
static int
resolve(const struct tree *t, const char *path, char real[PATH_SIZE])
{
    real[0] = '\0';
    while (*path != '\0') {
        char next[PATH_SIZE];
        size_t len = strcspn(path, "/"), i = 0;
        while (i < t->n && (strcmp(t->names[i].dir, real) != 0 || strncmp(t->names[i].name, path, len) != 0 ||
                               t->names[i].name[len] != '\0'))
            i++;
        if (i == t->n || strchr("dl", t->names[i].kind) == NULL)
            return 0;
        if (t->names[i].kind == 'l')
            (void)snprintf(next, sizeof next, "%s", t->names[i].target);
        else
            assert_true(path_join(next, real, t->names[i].name));
        memcpy(real, next, sizeof next);
        path += len + (path[len] == '/');
    }
    return 1;
}

static void
identify(const struct tree *t, const char *real, struct gsp_stat *st)
{
    st->type = GSP_FILE_DIRECTORY;
    st->mode = S_IFDIR | 0700;
    st->dev = t->no_inodes ? 0 : 1;
    st->ino = t->no_inodes ? 0 : crc32c(1, real, strlen(real)) | 1;
}

static void
describe(const struct tree *t, const struct name *n, struct gsp_stat *st)
{
    char path[PATH_SIZE];
    memset(st, 0, sizeof *st);
    (void)path_join(path, n->dir, n->name);
    switch (n->kind) {
    case 'd':
    case 'g':
        identify(t, path, st);
        break;
    case 'l':
        identify(t, n->target, st);
        st->flags = GSP_STAT_LINK;
        break;
    case 'x':
        st->type = GSP_FILE_DANGLING;
        st->flags = GSP_STAT_LINK;
        break;
    case 'p':
        st->type = GSP_FILE_OTHER;
        break;
    default:
        st->type = GSP_FILE_REGULAR;
        st->mode = S_IFREG | 0640;
        st->size = 100;
    }
}

static int
tree_open(void *state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    (void)opts;
    (void)root;
    (void)err;
    *ret_store = state;
    return 0;
}

static void
tree_close(void *store)
{
    (void)store;
}

static int
tree_limits(void *store, struct gsp_limits *ret, struct gsp_error *err)
{
    (void)store;
    (void)err;
    ret->align = 1;
    ret->io_max = 65536;
    ret->iov_max = 1;
    return 0;
}

static int
tree_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    memset(ret, 0, sizeof *ret);
    if (path[0] != '\0')
        return gsp_fail(err, GSP_E_NOENT, 0, "only the root is asked for");
    identify(store, "", ret);
    return 0;
}

static int
tree_list(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    const struct tree *t = store;
    char real[PATH_SIZE];
    int rc = 0;
    if (!resolve(t, dir, real))
        return gsp_fail(err, GSP_E_NOENT, ENOENT, "cannot list '%s'", dir);
    for (size_t i = 0; i < t->n && rc == 0; i++) {
        struct gsp_dirent e = {.name = t->names[i].name};
        if (strcmp(t->names[i].dir, real) != 0)
            continue;
        describe(t, &t->names[i], &e.st);
        rc = cb(arg, &e, 1, err);
    }
    return rc;
}

static int
tree_readlink(void *store, const char *path, char *buf, uint32_t size, struct gsp_error *err)
{
    const struct tree *t = store;
    for (size_t i = 0; i < t->n; i++) {
        char full[PATH_SIZE];
        assert_true(path_join(full, t->names[i].dir, t->names[i].name));
        if (t->names[i].kind != 'l' || strcmp(full, path) != 0)
            continue;
        (void)snprintf(buf, size, "%s%s", t->names[i].target[0] == '/' ? "" : "/data/", t->names[i].target);
        return 0;
    }
    return gsp_fail(err, GSP_E_NOENT, 0, "no link '%s'", path);
}

static const struct gsp_storage_ops tree_ops = {.struct_size = sizeof tree_ops,
    .open = tree_open,
    .close = tree_close,
    .limits = tree_limits,
    .list = tree_list,
    .stat = tree_stat,
    .readlink = tree_readlink};

/* ---- scanning it ---------------------------------------------------------------------------------- */

struct result {
    struct data_side side;
    struct source_list list;
    struct strbuf log;
};

static int
scan(struct result *r, struct tree *t, uint32_t flags, struct gsp_error *ret_err)
{
    struct gsp_error err;
    struct log_capture log;
    memset(r, 0, sizeof *r);
    log_set_console(LOG_LEVEL_OFF);
    ok(store_open(&r->side.store, &tree_ops, t, NULL, "/data", &err));
    r->side.dialect = &toy_dialect;
    log_capture_begin(&log);
    int rc = scan_source(&r->side, flags, 0, &r->list, ret_err);
    log_capture_end(&log, &r->log);
    return rc;
}

static void
result_clear(struct result *r)
{
    source_list_clear(&r->list);
    store_close(&r->side.store);
    strbuf_free(&r->log);
}

static const struct source_file *
find_file(const struct result *r, const char *path)
{
    for (size_t i = 0; i < r->list.n_files; i++)
        if (strcmp(r->list.files[i].entry.path, path) == 0)
            return &r->list.files[i];
    return NULL;
}

static const struct file_entry *
find_dir(const struct result *r, const char *path)
{
    for (size_t i = 0; i < r->list.n_dirs; i++)
        if (strcmp(r->list.dirs[i].path, path) == 0)
            return &r->list.dirs[i];
    return NULL;
}

static int
logged(const struct result *r, const char *text)
{
    return strstr(strbuf_str(&r->log), text) != NULL;
}

#define TREE(table)                                               \
    {                                                             \
        .names = (table), .n = sizeof(table) / sizeof((table)[0]) \
    }

/* ---- tests ---------------------------------------------------------------------------------------- */

static void
everything_is_found_and_classified(void **state)
{
    (void)state;
    static const struct name names[] = {
        {"", "base", 'd', NULL},
        {"base", "5", 'd', NULL},
        {"base/5", "16384", 'f', NULL},
        {"base/5", "version", 'f', NULL},
        {"", "control", 'f', NULL},
        {"", "skip", 'd', NULL},
        {"skip", "in", 'f', NULL},
        {"", "logs", 'd', NULL},
        {"logs", "today", 'f', NULL},
        {"", "pipe", 'p', NULL},
    };
    struct tree t = TREE(names);
    struct result r;
    struct gsp_error err;
    ok(scan(&r, &t, 0, &err));
    assert_int_equal(r.list.n_files, 3);
    assert_int_equal(r.list.bytes, 300);
    const struct source_file *f = find_file(&r, "base/5/16384");
    assert_non_null(f);
    assert_int_equal(f->action, GSP_CLASS_PAGES);
    assert_true(f->entry.is_datafile && f->entry.db_oid == 5 && f->entry.segment == 3 && f->size == 100);
    assert_int_equal(f->entry.mode, S_IFREG | 0640);
    assert_string_equal(f->entry.compress_alg, "none");
    assert_string_equal(f->source, "base/5/16384");
    assert_int_equal(find_file(&r, "control")->action, GSP_CLASS_CONTROL);
    assert_false(find_file(&r, "base/5/version")->entry.is_datafile);
    assert_int_equal(r.list.n_dirs, 3);
    assert_string_equal(r.list.dirs[0].path, "base"); /* parents first */
    assert_string_equal(r.list.dirs[1].path, "base/5");
    assert_int_equal(r.list.dirs[2].mode, S_IFDIR | 0700); /* logs, kept empty */
    assert_true(logged(&r, "WARNING: Skip 'pipe': neither a regular file nor a directory"));
    result_clear(&r);
    ok(scan(&r, &t, GSP_CLASSIFY_LOGS, &err)); /* flags reach the dialect */
    assert_non_null(find_file(&r, "logs/today"));
    result_clear(&r);
}

static void
links_are_followed_out_of_the_root(void **state)
{
    (void)state;
    static const struct name names[] = {
        {"", "spaces", 'd', NULL},
        {"spaces", "77", 'l', "/mnt/space"},
        {"/mnt/space", "1", 'f', NULL},
        {"", "wal", 'l', "/mnt/wal"},
        {"/mnt/wal", "sub", 'd', NULL},
        {"/mnt/wal/sub", "f", 'f', NULL},
        {"", "inside", 'l', "here"},
        {"", "here", 'd', NULL},
        {"here", "g", 'f', NULL},
    };
    struct tree t = TREE(names);
    struct result r;
    struct gsp_error err;
    ok(scan(&r, &t, 0, &err));
    assert_non_null(find_file(&r, "spaces/77/1"));
    assert_non_null(find_file(&r, "wal/sub/f"));
    assert_non_null(find_file(&r, "inside/g"));
    assert_non_null(find_file(&r, "here/g")); /* beside each other is no loop */
    assert_non_null(find_dir(&r, "spaces/77"));
    assert_true(logged(&r, "INFO: Tablespace 77 at '/mnt/space' is part of the backup"));
    assert_true(logged(&r, "INFO: Link 'wal' leads to '/mnt/wal', which is backed up in its place"));
    assert_false(logged(&r, "'inside'"));
    result_clear(&r);
}

/* What the dialect is told of the directory; toy_dialect but for that. */
static struct strbuf told;

static int
classify_told(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err)
{
    strbuf_printf(&told, "<%s>", dir);
    return toy_classify(cluster, flags, dir, entries, n, ret, err);
}

static void
tablespaces_in_the_root_are_found_once(void **state)
{
    (void)state;
    static const struct name names[] = {
        {"", "spaces", 'd', NULL},
        {"spaces", "77", 'l', "here/77's"},
        {"", "here", 'd', NULL},
        {"here", "77's", 'd', NULL},
        {"here/77's", "sub", 'd', NULL},
        {"here/77's/sub", "1", 'f', NULL},
        {"here", "other", 'd', NULL},
        {"here/other", "1", 'f', NULL},
        {"spaces", "78", 'l', "zone/78"}, /* sorts behind the links */
        {"", "zone", 'd', NULL},
        {"zone", "78", 'd', NULL},
        {"zone/78", "1", 'f', NULL},
    };
    struct tree t = TREE(names);
    struct result r = {0};
    struct gsp_error err;
    struct gsp_dialect_ops dialect = toy_dialect;
    dialect.classify = classify_told;
    r.side.dialect = &dialect;
    ok(store_open(&r.side.store, &tree_ops, &t, NULL, "/data", &err));
    ok(scan_source(&r.side, 0, 1, &r.list, &err));
    assert_int_equal(r.list.n_files, 3);
    assert_non_null(find_file(&r, "here/77's/sub/1"));
    assert_non_null(find_file(&r, "here/other/1"));
    assert_non_null(find_file(&r, "zone/78/1"));
    assert_non_null(find_dir(&r, "spaces/77")); /* so that a restore makes the link */
    assert_string_equal(strbuf_str(&told), "<><here><spaces/77><spaces/77/sub><here/other><zone><spaces/78><spaces>");
    strbuf_free(&told);
    result_clear(&r);
    t.no_inodes = 1; /* where nobody can tell */
    ok(scan(&r, &t, 0, &err));
    assert_int_equal(r.list.n_files, 5);
    result_clear(&r);
}

static void
loops_of_links_are_left(void **state)
{
    (void)state;
    static const struct name names[] = {
        {"", "a", 'd', NULL},
        {"a", "b", 'd', NULL},
        {"a/b", "f", 'f', NULL},
        {"a/b", "up", 'l', "a"},
        {"a/b", "self", 'l', "a/b"},
        {"", "root", 'l', ""},
    };
    struct tree t = TREE(names);
    struct result r;
    struct gsp_error err;
    ok(scan(&r, &t, 0, &err));
    assert_int_equal(r.list.n_files, 1);
    assert_int_equal(r.list.n_dirs, 2); /* nor would they be restored as directories */
    assert_true(logged(&r, "WARNING: Skip 'a/b/up': the link leads back to a directory it lies in"));
    assert_true(logged(&r, "Skip 'a/b/self'"));
    assert_true(logged(&r, "Skip 'root'"));
    result_clear(&r);
    /* A storage without identities: depth is the limit. */
    t.no_inodes = 1;
    fails(scan(&r, &t, 0, &err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "nested more than 128 deep"));
    assert_int_equal(r.list.n_files, 0);
    result_clear(&r);
}

static void
dangling_links_are_told_and_left_out(void **state)
{
    (void)state;
    static const struct name names[] = {{"", "lost", 'x', NULL}, {"", "f", 'f', NULL}};
    struct tree t = TREE(names);
    struct result r;
    struct gsp_error err;
    ok(scan(&r, &t, 0, &err));
    assert_int_equal(r.list.n_files, 1);
    assert_int_equal(r.list.n_dirs, 0);
    assert_true(logged(&r, "WARNING: Skip 'lost': the link leads nowhere"));
    result_clear(&r);
}

static void
odd_names_are_encoded_in_the_list_only(void **state)
{
    (void)state;
    static const struct name names[] = {
        {"", "a\"b,c", 'd', NULL},
        {"a\"b,c", "plain", 'f', NULL},
        {"", "100%", 'f', NULL},
        {"", "line\nbreak", 'f', NULL},
        {"", "\xff\xfe", 'f', NULL},
        {"", "\xc3\xa4 b", 'f', NULL},
    };
    struct tree t = TREE(names);
    struct result r;
    struct gsp_error err;
    ok(scan(&r, &t, 0, &err));
    assert_int_equal(r.list.n_files, 5);
    assert_int_equal(r.list.n_dirs, 1);
    assert_true(r.list.dirs[0].encoded);
    int encoded = 0;
    for (size_t i = 0; i < r.list.n_files; i++) {
        const struct source_file *f = &r.list.files[i];
        auto_free char *decoded = NULL;
        encoded += f->entry.encoded;
        if (!f->entry.encoded) {
            assert_string_equal(f->source, f->entry.path);
            continue;
        }
        assert_false(path_needs_encoding(f->entry.path) && strchr(f->entry.path, '%') == NULL);
        assert_null(strpbrk(f->entry.path, "\",\\\n"));
        assert_true(path_decode(f->entry.path, &decoded));
        assert_string_equal(decoded, f->source); /* read from where it is */
    }
    assert_int_equal(encoded, 3);
    assert_non_null(find_file(&r, "100%"));
    assert_non_null(find_file(&r, "\xc3\xa4 b"));
    assert_true(logged(&r, "percent-encoded"));
    result_clear(&r);
}

static void
encoded_names_must_fit_the_catalog(void **state)
{
    (void)state;
    static char longest[86], longer[87];
    memset(longest, '"', 85); /* 255 bytes encoded */
    memset(longer, '"', 86);
    const struct name names[] = {{"", longest, 'd', NULL}, {longest, longest, 'f', NULL}, {longest, longer, 'f', NULL}};
    struct tree t = {.names = names, .n = 2};
    struct result r;
    struct gsp_error err;
    ok(scan(&r, &t, 0, &err));
    assert_int_equal(r.list.n_files, 1);
    result_clear(&r);
    t.n = 3;
    fails(scan(&r, &t, 0, &err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "258 bytes, 255 are possible"));
    result_clear(&r);
}

static void
directories_may_vanish_meanwhile(void **state)
{
    (void)state;
    static const struct name names[] = {
        {"", "base", 'd', NULL}, {"base", "5", 'g', NULL}, {"base", "6", 'd', NULL}, {"base/6", "1", 'f', NULL}};
    struct tree t = TREE(names), gone = {.names = NULL};
    struct result r;
    struct gsp_error err;
    ok(scan(&r, &t, 0, &err));
    assert_int_equal(r.list.n_files, 1);
    assert_non_null(find_file(&r, "base/6/1"));
    assert_int_equal(err.code, 0);
    result_clear(&r);
    ok(scan(&r, &gone, 0, &err)); /* an empty one is no failure */
    assert_int_equal(r.list.n_files + r.list.n_dirs, 0);
    result_clear(&r);
}

static void
nesting_has_a_limit(void **state)
{
    (void)state;
    enum { DEPTH = 140 };
    static struct name names[DEPTH];
    static char dirs[DEPTH][2 * DEPTH];
    for (size_t i = 0; i < DEPTH; i++) {
        for (size_t k = 0; k < i; k++)
            (void)snprintf(dirs[i] + 2 * k, 3, k + 1 < i ? "d/" : "d");
        names[i] = (struct name){dirs[i], "d", 'd', NULL};
    }
    struct result r;
    struct gsp_error err;
    struct tree t = {.names = names, .n = 127}; /* with the root: 128 */
    ok(scan(&r, &t, 0, &err));
    assert_int_equal(r.list.n_dirs, 127);
    result_clear(&r);
    t.n = 128;
    fails(scan(&r, &t, 0, &err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "nested more than 128 deep at '/data/d/d/"));
    result_clear(&r);
}

static void
paths_have_a_limit(void **state)
{
    (void)state;
    static char name[PATH_SIZE];
    memset(name, 'n', sizeof name - 1);
    const struct name names[] = {{"", "d", 'd', NULL}, {"d", name, 'f', NULL}};
    struct tree t = {.names = names, .n = 2};
    struct result r;
    struct gsp_error err;
    fails(scan(&r, &t, 0, &err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "path too long below '/data/d'"));
    result_clear(&r);
}

static int
list_fails(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    if (dir[0] != '\0')
        return gsp_fail(err, GSP_E_PERM, EACCES, "cannot list '%s'", dir);
    return tree_list(store, dir, cb, arg, err);
}

static int
classify_fails(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err)
{
    return strcmp(dir, "base") == 0 ? gsp_fail(err, GSP_E_NOMEM, 0, "too much for me")
                                    : toy_classify(cluster, flags, dir, entries, n, ret, err);
}

static void
other_failures_end_the_scan(void **state)
{
    (void)state;
    static const struct name names[] = {{"", "a", 'f', NULL}, {"", "base", 'd', NULL}, {"base", "b", 'f', NULL}};
    struct tree t = TREE(names);
    struct data_side side = {.dialect = &toy_dialect};
    struct source_list list = {0};
    struct gsp_error err;
    struct gsp_storage_ops ops = tree_ops;
    struct gsp_dialect_ops dialect = toy_dialect;
    ops.list = list_fails;
    ok(store_open(&side.store, &ops, &t, NULL, "/data", &err));
    fails(scan_source(&side, 0, 1, &list, &err), GSP_E_PERM);
    assert_null(list.files);
    store_close(&side.store);
    dialect.classify = classify_fails;
    side.dialect = &dialect;
    ok(store_open(&side.store, &tree_ops, &t, NULL, "/data", &err));
    fails(scan_source(&side, 0, 1, &list, &err), GSP_E_NOMEM);
    assert_null(list.files);
    store_close(&side.store);
}

static void
external_directories_hold_plain_files(void **state)
{
    (void)state;
    static const struct name names[] = {{"", ".hidden", 'f', NULL}, {"", "base", 'd', NULL}, {"base", "1", 'd', NULL},
        {"base/1", "5", 'f', NULL}, {"base", "up", 'l', ""}, {"", "again", 'l', "base/1"}, {"", "gone", 'x', NULL},
        {"", "pipe", 'p', NULL}, {"", "data", 'l', "/data"}, {"", "catalog", 'l', "/catalog"}, {"", "a\"b", 'f', NULL}};
    struct tree t = TREE(names);
    struct store s;
    struct result r = {.list = {.arena = arena_new()}};
    struct gsp_stat data, catalog;
    struct gsp_error err;
    struct log_capture log;
    ok(store_open(&s, &tree_ops, &t, NULL, "/ext", &err));
    identify(&t, "/data", &data);
    identify(&t, "/catalog", &catalog);
    struct external_scan scan = {.store = &s,
        .number = 3,
        .barriers = {{data.dev, data.ino, "the data directory"}, {catalog.dev, catalog.ino, "the backup catalog"}},
        .n_barriers = 2};
    log_capture_begin(&log);
    ok(scan_external(&scan, &r.list, &err));
    log_capture_end(&log, &r.log);
    assert_int_equal(r.list.n_files, 4);
    assert_int_equal(r.list.n_dirs, 3);
    for (size_t i = 0; i < r.list.n_files; i++) {
        assert_int_equal(r.list.files[i].action, GSP_CLASS_COPY);
        assert_int_equal(r.list.files[i].entry.external_dir_num, 3);
    }
    assert_non_null(find_file(&r, ".hidden"));
    assert_non_null(find_file(&r, "again/5"));
    assert_string_equal(find_file(&r, "a%22b")->source, "a\"b");
    assert_non_null(strstr(strbuf_str(&r.log), "Skip '/ext/base/up': the link leads back"));
    assert_non_null(strstr(strbuf_str(&r.log), "Skip '/ext/data': it is the data directory"));
    assert_non_null(strstr(strbuf_str(&r.log), "Skip '/ext/catalog': it is the backup catalog"));
    assert_non_null(strstr(strbuf_str(&r.log), "Skip '/ext/gone': the link leads nowhere"));
    assert_non_null(strstr(strbuf_str(&r.log), "Skip '/ext/pipe': neither"));
    source_list_clear(&r.list);
    store_close(&s);
    strbuf_free(&r.log);
}

/* Last: nothing takes the flag back. */
static void
ctrl_c_ends_the_scan(void **state)
{
    (void)state;
    static const struct name names[] = {{"", "a", 'f', NULL}};
    struct tree t = TREE(names);
    struct result r;
    struct gsp_error err;
    cancel_request();
    fails(scan(&r, &t, 0, &err), GSP_E_CANCELLED);
    result_clear(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_found_and_classified),
        cmocka_unit_test(links_are_followed_out_of_the_root),
        cmocka_unit_test(tablespaces_in_the_root_are_found_once),
        cmocka_unit_test(loops_of_links_are_left),
        cmocka_unit_test(dangling_links_are_told_and_left_out),
        cmocka_unit_test(odd_names_are_encoded_in_the_list_only),
        cmocka_unit_test(encoded_names_must_fit_the_catalog),
        cmocka_unit_test(directories_may_vanish_meanwhile),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(paths_have_a_limit),
        cmocka_unit_test(other_failures_end_the_scan),
        cmocka_unit_test(external_directories_hold_plain_files),
        cmocka_unit_test(ctrl_c_ends_the_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
