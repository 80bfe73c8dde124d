/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/engine/external.h"

/* ---- the list ------------------------------------------------------------------------------------- */

static void
lists_are_sorted_and_canonical(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *paths[4];
    } cases[] = {
        {NULL, {NULL}},
        {"", {NULL}},
        {"none", {NULL}},
        {"NONE", {NULL}},
        {":::", {NULL}},
        {"/a", {"/a"}},
        {"/b:/a", {"/a", "/b"}},
        {"::/b/:/a//c/.:", {"/a/c", "/b"}},
        {"/x y:/x'y:/none", {"/none", "/x y", "/x'y"}},
        {"b:/a", {"/a", "b"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct external_dirs dirs;
        struct gsp_error err;
        size_t n = 0;
        ok(external_dirs_parse(cases[i].text, &dirs, &err));
        for (; cases[i].paths[n] != NULL; n++)
            if (n >= dirs.n || strcmp(dirs.paths[n], cases[i].paths[n]) != 0)
                fail_msg("case %zu, path %zu", i, n);
        assert_int_equal(dirs.n, n);
        external_dirs_free(&dirs);
    }
}

static void
directories_are_known_by_their_path(void **state)
{
    (void)state;
    struct external_dirs from, to;
    struct gsp_error err;
    ok(external_dirs_parse("/b:/c:/a", &from, &err));
    ok(external_dirs_parse("/0:/a:/c:/d", &to, &err));
    assert_int_equal(external_dirs_number(&from, "/a"), 1);
    assert_int_equal(external_dirs_number(&from, "/c"), 3);
    assert_int_equal(external_dirs_number(&from, "/d"), 0);
    assert_int_equal(external_dirs_same(&from, 1, &to), 2);
    assert_int_equal(external_dirs_same(&from, 2, &to), 0); /* b is gone */
    assert_int_equal(external_dirs_same(&from, 3, &to), 3);
    assert_int_equal(external_dirs_same(&from, 0, &to), 0);
    assert_int_equal(external_dirs_same(&from, 4, &to), 0);
    external_dirs_free(&from);
    external_dirs_free(&to);
}

/* ---- those of a backup ---------------------------------------------------------------------------- */

enum { PLACES_MAX = 16 };
struct place {
    char root[64];
    void *mem;
};
static struct place places[PLACES_MAX];
static size_t n_places;
static char log_text[65536];

static void *
place_at(const char *root)
{
    struct gsp_error err;
    for (size_t i = 0; i < n_places; i++)
        if (strcmp(places[i].root, root) == 0)
            return places[i].mem;
    assert_true(n_places < PLACES_MAX);
    struct place *p = &places[n_places++];
    (void)snprintf(p->root, sizeof p->root, "%s", root);
    ok(storage_mem_ops.open(NULL, NULL, root, &p->mem, &err));
    return p->mem;
}

static int
place_open(void *state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)err;
    *ret_store = place_at(root);
    return 0;
}

static void
place_close(void *store)
{
    (void)store; /* places last as long as the test */
}

/* The files of the directory of tablespaces are links here, to what they hold. */
static int
place_list(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    struct gsp_dirent link = {
        .name = "77", .st = {.type = GSP_FILE_DIRECTORY, .flags = GSP_STAT_LINK, .dev = 5, .ino = 77}};
    if (strcmp(dir, "spaces") == 0)
        return cb(arg, &link, 1, err);
    return storage_mem_ops.list(store, dir, cb, arg, err);
}

static int
place_readlink(void *store, const char *path, char *buf, uint32_t size, struct gsp_error *err)
{
    (void)store;
    (void)path;
    (void)err;
    (void)snprintf(buf, size, "/ts//one/");
    return 0;
}

static int
place_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    int rc = storage_mem_ops.stat(store, path, ret, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < n_places; i++)
        if (places[i].mem == store && path[0] == '\0') {
            ret->dev = 5;
            ret->ino = 100 + i;
        }
    if (store == place_at("/link/to/one"))
        ret->ino = 77;
    if (store == place_at("/link/to/data"))
        ret->ino = 100;
    return 0;
}

struct fixture {
    struct gsp_storage_ops ops;
    struct gsp_plugin plugin;
    struct engine e;
    struct data_side side;
    struct external_sources sources;
};

static void
put(const char *root, const char *path, const char *text)
{
    struct gsp_error err;
    struct store s = {.ops = &storage_mem_ops, .handle = place_at(root), .root = root};
    s.limits.io_max = 65536;
    ok(store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, &err));
    if (path != NULL)
        ok(store_write_all(&s, path, 0640, 0, text, strlen(text), &err));
}

static void
fixture_open(struct fixture *f)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    log_set_console(LOG_LEVEL_OFF);
    f->ops = storage_mem_ops;
    f->ops.open = place_open;
    f->ops.close = place_close;
    f->ops.list = place_list;
    f->ops.stat = place_stat;
    f->ops.readlink = place_readlink;
    f->plugin = (struct gsp_plugin){.struct_size = sizeof f->plugin,
        .abi_major = GSP_ABI_MAJOR,
        .kind = GSP_KIND_STORAGE,
        .thread_model = GSP_THREAD_ANY,
        .name = "places",
        .version = "1",
        .summary = "test double",
        .ops = &f->ops};
    ok(config_new(&f->e.cfg, &err));
    ok(registry_new(&f->e.reg, &err));
    ok(registry_add(f->e.reg, &f->plugin, &err));
    ok(config_set(f->e.cfg, "storage.data", "places", CONFIG_YAML, "the test", &err));
    put("/data", NULL, NULL);
    put("/catalog", NULL, NULL);
    ok(store_open(&f->side.store, &f->ops, NULL, NULL, "/data", &err));
    ok(store_open(&f->e.repo, &f->ops, NULL, NULL, "/catalog", &err));
    f->side.dialect = &toy_dialect;
    (void)snprintf(f->side.cluster.tablespace_dir, sizeof f->side.cluster.tablespace_dir, "PG_1");
}

static void
fixture_close(struct fixture *f)
{
    external_sources_close(&f->sources);
    store_close(&f->side.store);
    store_close(&f->e.repo);
    registry_free(f->e.reg);
    config_free(f->e.cfg);
    while (n_places > 0)
        storage_mem_ops.close(places[--n_places].mem);
}

/* With the setting, and what was logged meanwhile in log_text. */
static int
open_sources(struct fixture *f, const char *dirs, struct gsp_error *ret_err)
{
    struct gsp_error err;
    struct log_capture log;
    auto_strbuf text = STRBUF_INIT;
    ok(config_set(f->e.cfg, "external-dirs", dirs, CONFIG_CMDLINE, "-E", &err));
    log_capture_begin(&log);
    int rc = external_sources_open(&f->sources, &f->e, &f->side, ret_err);
    log_capture_end(&log, &text);
    (void)snprintf(log_text, sizeof log_text, "%s", strbuf_str(&text));
    return rc;
}

static void
impossible_directories_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *dirs;
        int code;
        const char *said;
    } cases[] = {
        {"x/y", GSP_E_USAGE, "External directory \"x/y\" is not an absolute path"},
        {"/x/a:x", GSP_E_USAGE, "\"x\" is not an absolute path"},
        {"/x/../data", GSP_E_USAGE, "\"/x/../data\" is not a plain path"},
        {"/missing", GSP_E_NOENT, "External directory is not found: \"/missing\""},
        {"/x/a:/x/b:/x/a/", GSP_E_USAGE, "\"/x/a\" is given twice"},
        {"/x/a/sub:/x/a", GSP_E_USAGE, "(-E option) \"/x/a\" contain another external directory \"/x/a/sub\""},
        {"/ts", GSP_E_USAGE, "(-E option) \"/ts\" contains tablespace \"/ts/one\""},
        {"/data", GSP_E_USAGE, "\"/data\" lies in the data directory \"/data\""},
        {"/data/log", GSP_E_USAGE, "\"/data/log\" lies in the data directory \"/data\""},
        {"/link/to/data", GSP_E_USAGE, "\"/link/to/data\" lies in the data directory \"/data\""},
        {"/", GSP_E_USAGE, "not a plain path"},
        {"/catalog", GSP_E_USAGE, "lies in the backup catalog \"/catalog\""},
        {"/catalog/backups", GSP_E_USAGE, "lies in the backup catalog \"/catalog\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const char *const there[] = {
            "/x/a", "/x/b", "/x/a/sub", "/ts", "/data/log", "/link/to/data", "/", "/catalog/backups"};
        struct fixture f;
        struct gsp_error err;
        fixture_open(&f);
        for (size_t k = 0; k < sizeof there / sizeof there[0]; k++)
            put(there[k], NULL, NULL);
        fails(open_sources(&f, cases[i].dirs, &err), cases[i].code);
        if (strstr(err.msg, cases[i].said) == NULL)
            fail_msg("case %zu: %s", i, err.msg);
        fixture_close(&f);
    }
}

static void
tablespaces_are_left_to_the_cluster(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    static const char *const there[] = {"/ts/one", "/link/to/one", "/x", "/ts/one/PG_1/5", "/ts/one/other"};
    for (size_t k = 0; k < sizeof there / sizeof there[0]; k++)
        put(there[k], NULL, NULL);
    ok(open_sources(&f, "/ts/one:/x:/link/to/one", &err));
    assert_int_equal(f.sources.dirs.n, 1);
    assert_string_equal(f.sources.text, "/x");
    assert_non_null(strstr(log_text, "\"/ts/one\" is a tablespace"));
    assert_non_null(strstr(log_text, "\"/link/to/one\" is a tablespace"));
    external_sources_close(&f.sources);
    ok(open_sources(&f, "/ts/one", &err));
    assert_int_equal(f.sources.dirs.n, 0);
    assert_null(f.sources.text);
    external_sources_close(&f.sources);
    /* Below it: what is the cluster's own is there already, the rest is not. */
    ok(open_sources(&f, "/ts/one/PG_1/5:/ts/one/other", &err));
    assert_string_equal(f.sources.text, "/ts/one/other");
    assert_non_null(strstr(log_text, "\"/ts/one/other\" is in tablespace directory \"/ts/one\""));
    fixture_close(&f);
}

static void
files_are_listed_with_the_number_of_their_directory(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    struct source_list list = {.arena = arena_new()};
    auto_filelist parent = {0};
    fixture_open(&f);
    put("/x/b", "same", "12345");
    put("/x/b", "base", "1");
    put("/x/a", "same", "1");
    put("/x/a", "new", "1");
    put("/x/empty", NULL, NULL);
    ok(open_sources(&f, "/x/b:/x/empty:/x/a", &err));
    ok(external_sources_scan(&f.sources, &f.e, &f.side, 1, &list, &err));
    assert_int_equal(list.n_files, 4);
    assert_int_equal(list.bytes, 8);
    ok(filelist_new(&parent, &err));
    for (int number = 0; number <= 3; number++) {
        struct file_entry *e = filelist_add(&parent, number < 3 ? "same" : "base", "none", &err);
        e->external_dir_num = number;
        e->mode = S_IFREG | 0600;
        e->crc = (uint32_t)number;
    }
    filelist_sort(&parent);
    /* In the parent there was one before them. */
    ok(external_sources_plan(&f.sources, &parent, "/x/a:/a", &list, 1, &err));
    for (size_t i = 0; i < list.n_files; i++) {
        const struct source_file *file = &list.files[i];
        int in_a = strcmp(file->source, "new") == 0 || file->size == 1;
        assert_int_equal(file->action, GSP_CLASS_COPY);
        assert_false(file->entry.is_datafile);
        if (strcmp(file->source, "base") == 0)
            assert_int_equal(file->entry.external_dir_num, 2);
        else
            assert_int_equal(file->entry.external_dir_num, in_a ? 1 : 2);
        if (i > 0 && in_a && strcmp(file->source, "same") == 0) {
            assert_non_null(file->parent);
            assert_int_equal(file->parent->crc, 2);
        } else {
            assert_null(file->parent);
        }
    }
    source_list_clear(&list);
    fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_sorted_and_canonical),
        cmocka_unit_test(directories_are_known_by_their_path),
        cmocka_unit_test(impossible_directories_are_refused),
        cmocka_unit_test(tablespaces_are_left_to_the_cluster),
        cmocka_unit_test(files_are_listed_with_the_number_of_their_directory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
