/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/engine/external_target.h"
#include "core/engine/restore_mark.h"
#include "core/engine/restore_target.h"

/* ---- a storage with a place in memory for each root ----------------------------------------------- */

enum { PLACES_MAX = 8 };

struct place {
    char root[64];
    void *mem;
    char link_path[64], link_target[64]; /* the last link made */
};
static struct place places[PLACES_MAX];
static size_t n_places;

static struct place *
place_at(const char *root)
{
    struct gsp_error err;
    for (size_t i = 0; i < n_places; i++)
        if (strcmp(places[i].root, root) == 0)
            return &places[i];
    assert_true(n_places < PLACES_MAX);
    struct place *p = &places[n_places++];
    *p = (struct place){0};
    (void)snprintf(p->root, sizeof p->root, "%s", root);
    ok(storage_mem_ops.open(NULL, NULL, root, &p->mem, &err));
    return p;
}

static struct place *
place_of(const void *mem)
{
    for (size_t i = 0; i < n_places; i++)
        if (places[i].mem == mem)
            return &places[i];
    fail_msg("a handle of no place");
    return NULL;
}

static int
place_open(void *state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)err;
    *ret_store = place_at(root)->mem;
    return 0;
}

static void
place_close(void *store)
{
    (void)store; /* places last as long as the test */
}

static int
place_symlink(void *store, const char *target, const char *path, struct gsp_error *err)
{
    struct place *p = place_of(store);
    (void)err;
    (void)snprintf(p->link_path, sizeof p->link_path, "%s", path);
    (void)snprintf(p->link_target, sizeof p->link_target, "%s", target);
    return 0;
}

static int
place_readlink(void *store, const char *path, char *buf, uint32_t size, struct gsp_error *err)
{
    const struct place *p = place_of(store);
    if (strcmp(p->link_path, path) != 0)
        return gsp_fail(err, GSP_E_NOENT, 0, "no such link");
    (void)snprintf(buf, size, "%s", p->link_target);
    return 0;
}

/* Each place is a file system of its own. */
static int
place_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    int rc = storage_mem_ops.stat(store, path, ret, err);
    if (rc == 0)
        ret->dev = (uint64_t)(place_of(store) - places);
    return rc;
}

/* ---- fixture -------------------------------------------------------------------------------------- */

struct fixture {
    struct gsp_storage_ops ops;
    struct gsp_plugin plugin;
    struct engine e;
    struct backup b;
    struct stored_backup sb;
    struct restore_target t;
    struct gsp_dialect_ops dialect;
};

static void
add(struct fixture *f, const char *path, uint32_t mode, int64_t size, int32_t n_blocks)
{
    struct gsp_error err;
    struct file_entry *e = filelist_add(&f->sb.list, path, "none", &err);
    assert_non_null(e);
    e->mode = mode;
    e->size = size;
    e->n_blocks = n_blocks;
    e->is_datafile = n_blocks > 0;
}

static void
fixture_open(struct fixture *f, const char *map)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    log_set_console(LOG_LEVEL_OFF);
    f->ops = storage_mem_ops;
    f->ops.open = place_open;
    f->ops.close = place_close;
    f->ops.symlink = place_symlink;
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
    mem_store(&f->e.repo);
    ok(store_mkdir(&f->e.repo, DATABASE_DIR, 0700, GSP_MKDIR_PARENTS, &err));
    if (map != NULL)
        mem_put(&f->e.repo, DATABASE_DIR "/map", map);
    f->e.instance = "main";
    f->sb.e = &f->e;
    f->sb.b = &f->b;
    f->sb.page_size = SIZE;
    (void)snprintf(f->sb.dir, sizeof f->sb.dir, "%s", BACKUP_DIR);
    ok(filelist_new(&f->sb.list, &err));
    add(f, "base", S_IFDIR | 0750, 0, 0);
    add(f, "base/1", S_IFREG | 0600, 100, 10); /* ten pages of 8 KiB, whatever they take compressed */
    add(f, "conf", S_IFREG | 0600, 1000, 0);
    add(f, "kept", S_IFREG | 0600, FILE_UNCHANGED, 0);
    add(f, "shared", S_IFDIR | 0770, 0, 0);
    add(f, "spaces", S_IFDIR | 0700, 0, 0);
    add(f, "spaces/77", S_IFDIR | 0700, 0, 0);
    add(f, "spaces/77/5", S_IFREG | 0600, 100, 3);
    add(f, "spaces/78", S_IFDIR | 0700, 0, 0);
    add(f, "spaces/78/5", S_IFREG | 0600, 100, 5);
    add(f, "spaces/780", S_IFREG | 0600, 7, 0);
}

static void
fixture_close(struct fixture *f)
{
    restore_target_close(&f->t);
    filelist_clear(&f->sb.list);
    store_close(&f->e.repo);
    registry_free(f->e.reg);
    config_free(f->e.cfg);
    while (n_places > 0)
        storage_mem_ops.close(places[--n_places].mem);
}

enum { SYSTEM_ID = 42 };

/* The toy's clusters have one more thing here: the number behind the CRC of their control file. */
static int
numbered_parse(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err)
{
    int rc = toy_control_parse(control, len, ret, err);
    if (rc == 0)
        ret->system_id = load_le32((const uint8_t *)control + 4);
    return rc;
}

static int
open_target(struct fixture *f, const struct directory_mapping *mappings, size_t n, struct gsp_error *err)
{
    struct restore_options opts = {.pgdata = "/new", .mappings = mappings, .n_mappings = n};
    f->dialect = toy_dialect;
    f->dialect.control_parse = numbered_parse;
    restore_target_close(&f->t);
    const struct gsp_cluster cluster = {.struct_size = sizeof cluster, .system_id = SYSTEM_ID};
    return restore_target_open(&f->t, &f->e, &opts, 0, &f->sb, &f->dialect, &cluster, err);
}

static void
put_file(const char *root, const char *path, const void *data, size_t len)
{
    struct gsp_error err;
    struct store s = {.ops = &storage_mem_ops, .handle = place_at(root)->mem, .root = root};
    ok(store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, &err));
    s.limits.io_max = 65536;
    ok(store_write_all(&s, path, 0600, 0, data, len, &err));
}

/* A place with a file in it. */
static void
occupy(const char *root)
{
    put_file(root, "file", "x", 1);
}

/* What a restore of the cluster with this number writes first. */
static void
put_mark(const char *root, uint32_t system_id)
{
    uint8_t control[8];
    store_le32(control + 4, system_id);
    store_le32(control, crc32c(0, control + 4, 4));
    put_file(root, RESTORE_MARK, control, sizeof control);
}

static uint32_t
mode_of(const char *root, const char *path)
{
    struct gsp_error err;
    struct gsp_stat st;
    ok(storage_mem_ops.stat(place_at(root)->mem, path, &st, &err));
    return st.mode;
}

static int
exists(const char *root, const char *path)
{
    struct gsp_error ignored = {0};
    struct gsp_stat st;
    return storage_mem_ops.stat(place_at(root)->mem, path, &st, &ignored) == 0;
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static void
tablespaces_are_opened_where_they_belong(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    static const struct directory_mapping mapping[] = {{"/ts/b", "/elsewhere", 0}};
    fixture_open(&f, "77 /ts/a\n78 /ts/b\n");
    ok(open_target(&f, NULL, 0, &err));
    assert_int_equal(f.t.n_spaces, 2);
    assert_string_equal(f.t.spaces[0].oid, "77");
    assert_string_equal(f.t.spaces[1].location, "/ts/b");
    ok(open_target(&f, mapping, 1, &err));
    assert_string_equal(f.t.spaces[0].location, "/ts/a");
    assert_string_equal(f.t.spaces[1].location, "/elsewhere");
    for (size_t i = 0; i < n_places; i++) /* so far nothing was written anywhere */
        assert_false(exists(places[i].root, ""));
    fixture_close(&f);
    fixture_open(&f, NULL); /* without a map */
    ok(open_target(&f, NULL, 0, &err));
    assert_int_equal(f.t.n_spaces, 0);
    fixture_close(&f);
}

static void
impossible_places_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *map;
        struct directory_mapping mapping;
        int code;
        const char *said;
    } cases[] = {
        {"77 /ts/a\n", {"/ts/x", "/y", 0}, GSP_E_USAGE, "entry in tablespace_map file: \"/ts/x\""},
        {NULL, {"/ts/x", "/y", 0}, GSP_E_USAGE, "\"/ts/x\""},
        {"77 /ts/a\n", {"/ts/a", "/new/ts", 0}, GSP_E_USAGE, "lie in each other"},
        {"77 /ts/a\n", {"/ts/a", "/new", 0}, GSP_E_USAGE, "lie in each other"},
        {"77 /ts/a\n", {"/ts/a", "/", 0}, GSP_E_USAGE, "lie in each other"},
        {"77 /ts/a\n78 /ts/b\n", {"/ts/b", "/ts/a", 0}, GSP_E_USAGE, "77 and 78 would share"},
        {"77 /ts/a\n78 /ts/b\n", {"/ts/b", "/ts/a/sub", 0}, GSP_E_USAGE, "77 and 78 would share"},
        {"77 /ts/a\n78 /ts/b\n", {"/ts/b", "/ts", 0}, GSP_E_USAGE, "77 and 78 would share"},
        {"../x /ts/a\n", {"/ts/a", "/y", 0}, GSP_E_CORRUPT, "tablespace_map"},
        {"7x /ts/a\n", {"/ts/a", "/y", 0}, GSP_E_CORRUPT, "tablespace"},
        {"77 ts/a\n", {"ts/a", "y", 0}, GSP_E_CORRUPT, ""},
        {"77 /ts/../new\n78 /ts/b\n", {"/ts/b", "/y", 0}, GSP_E_CORRUPT, "'/ts/../new'"},
        {"77 /ts/a\n", {"/ts/a", "/y/../new/z", 0}, GSP_E_CORRUPT, "'/y/../new/z'"},
        {"77 /ts/a\n78 /ts/b\n", {"/ts/b", "/full", 0}, GSP_E_EXIST, "not empty: \"/full\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct gsp_error err;
        fixture_open(&f, cases[i].map);
        occupy("/full");
        fails(open_target(&f, &cases[i].mapping, 1, &err), cases[i].code);
        if (strstr(err.msg, cases[i].said) == NULL)
            fail_msg("case %zu: %s", i, err.msg);
        for (size_t k = 0; k < n_places; k++)
            assert_true(!exists(places[k].root, "") || strcmp(places[k].root, "/full") == 0);
        fixture_close(&f);
    }
}

static void
directories_and_links_are_made(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, "77 /ts/a\n");
    add(&f, "spaces/9%22", S_IFDIR | 0700, 0, 0);
    f.sb.list.entries[f.sb.list.n - 1].encoded = 1;
    ok(open_target(&f, NULL, 0, &err));
    ok(restore_target_clear(&f.t, &err));
    ok(restore_target_prepare(&f.t, &f.sb, &err));
    assert_true(exists("/new", "base") && exists("/new", "spaces") && exists("/new", "spaces/78"));
    assert_true(exists("/new", "spaces/9\""));
    assert_false(exists("/new", "base/1"));
    assert_false(exists("/new", "spaces/77")); /* a link instead */
    assert_string_equal(place_at("/new")->link_path, "spaces/77");
    assert_string_equal(place_at("/new")->link_target, "/ts/a");
    assert_int_equal(mode_of("/ts/a", "") & 07777, 0700);
    assert_int_equal(mode_of("/new", "base") & 07777, 0700); /* closed while files come in */
    ok(restore_target_set_modes(&f.t, &f.sb, &err));
    assert_int_equal(mode_of("/new", "base") & 07777, 0750);
    assert_int_equal(mode_of("/new", "shared") & 07777, 0770);
    assert_int_equal(mode_of("/new", "") & 07777, 0750); /* as "base", never more */
    fixture_close(&f);
}

static void
malformed_names_are_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, NULL);
    add(&f, "spaces/9%2", S_IFDIR | 0755, 0, 0);
    f.sb.list.entries[f.sb.list.n - 1].encoded = 1;
    ok(open_target(&f, NULL, 0, &err));
    ok(restore_target_clear(&f.t, &err));
    fails(restore_target_prepare(&f.t, &f.sb, &err), GSP_E_CORRUPT);
    fails(restore_target_set_modes(&f.t, &f.sb, &err), GSP_E_CORRUPT);
    fixture_close(&f);
}

static void
failures_of_the_places_are_told(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, "77 /ts/a\n");
    ok(open_target(&f, NULL, 0, &err));
    ok(restore_target_clear(&f.t, &err));
    storage_mem_fail_writes(place_at("/ts/a")->mem, 0, UINT64_MAX, EACCES);
    fails(restore_target_prepare(&f.t, &f.sb, &err), GSP_E_PERM);
    assert_non_null(strstr(err.msg, "tablespace 77: "));
    fixture_close(&f);
    fixture_open(&f, NULL);
    ok(open_target(&f, NULL, 0, &err));
    ok(restore_target_clear(&f.t, &err));
    storage_mem_fail_writes(place_at("/new")->mem, 1, UINT64_MAX, ENOSPC);
    fails(restore_target_prepare(&f.t, &f.sb, &err), GSP_E_NOSPC);
    fixture_close(&f);
}

static void
destinations_must_be_ours_and_empty(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    const struct restore_options new = {.pgdata = "/new"}, full = {.pgdata = "/full"};
    fixture_open(&f, NULL);
    occupy("/full");
    if (geteuid() == 0) {
        fails(restore_target_check_destination(&f.e, &new, &err), GSP_E_PERM);
        assert_non_null(strstr(err.msg, "does not run as root"));
    } else {
        ok(restore_target_check_destination(&f.e, &new, &err));
        fails(restore_target_check_destination(&f.e, &full, &err), GSP_E_EXIST);
        assert_non_null(strstr(err.msg, "is not empty: \"/full\""));
    }
    assert_false(exists("/new", ""));
    fixture_close(&f);
}

static void
an_unfinished_restore_is_cleared_away(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, "77 /ts/a\n");
    occupy("/new");
    put_mark("/new", SYSTEM_ID);
    occupy("/ts/a");
    fails(open_target(&f, NULL, 0, &err), GSP_E_EXIST); /* nothing says that the tablespace is ours */
    assert_non_null(strstr(err.msg, "\"/ts/a\""));
    ok(place_symlink(place_at("/new")->mem, "/ts/a", "spaces/77", &err));
    ok(open_target(&f, NULL, 0, &err));
    assert_true(exists("/new", "file") && exists("/ts/a", "file"));
    put_file("/new", RESTORE_OWNER "-7-0.tmp", "x", 1);
    ok(restore_target_clear(&f.t, &err));
    assert_true(!exists("/new", "file") && !exists("/ts/a", "file") && exists("/new", RESTORE_MARK));
    assert_false(exists("/new", RESTORE_OWNER "-7-0.tmp"));
    /* Now it is ours, and we are alive. */
    fails(open_target(&f, NULL, 0, &err), GSP_E_LOCKED);
    assert_non_null(strstr(err.msg, "is restoring into '/new'"));
    fixture_close(&f);
}

static void
external_directories_are_opened_where_they_belong(void **state)
{
    (void)state;
    static const struct directory_mapping both[] = {{"/x/b", "/elsewhere", 1}, {"/ts/a", "/moved", 1}};
    struct fixture f;
    struct gsp_error err;
    char dirs[] = "/x/c:/x/b";
    fixture_open(&f, "77 /ts/a\n");
    f.b.external_dirs = dirs;
    add(&f, "base", S_IFDIR | 0751, 0, 0);
    f.sb.list.entries[f.sb.list.n - 1].external_dir_num = 2;
    ok(open_target(&f, both, 2, &err));
    assert_int_equal(f.t.n_externals, 2);
    assert_string_equal(restore_target_store(&f.t, 1)->root, "/elsewhere");
    assert_string_equal(restore_target_store(&f.t, 2)->root, "/x/c");
    assert_string_equal(restore_target_store(&f.t, 0)->root, "/new");
    assert_string_equal(f.t.spaces[0].location, "/moved"); /* as with -T */
    assert_false(exists("/elsewhere", ""));
    ok(restore_target_clear(&f.t, &err));
    ok(restore_target_prepare(&f.t, &f.sb, &err));
    ok(restore_target_set_modes(&f.t, &f.sb, &err));
    assert_true(exists("/elsewhere", "") && !exists("/elsewhere", "base"));
    assert_int_equal(mode_of("/x/c", "base") & 07777, 0751);
    assert_int_equal(mode_of("/new", "") & 07777, 0750);
    fixture_close(&f);
}

/* ---- tablespaces without files of their own -------------------------------------------------------- */

static int
open_moved(struct fixture *f, const char *from, const char *to, struct gsp_error *err)
{
    struct directory_mapping mapping = {.from = from, .to = to};
    struct restore_options opts = {.pgdata = "/new", .mappings = &mapping, .n_mappings = from != NULL};
    const struct gsp_cluster cluster = {.struct_size = sizeof cluster, .system_id = SYSTEM_ID, .tablespace_dir = "V_1"};
    f->dialect = toy_dialect;
    f->dialect.control_parse = numbered_parse;
    restore_target_close(&f->t);
    return restore_target_open(&f->t, &f->e, &opts, 0, &f->sb, &f->dialect, &cluster, err);
}

static void
a_tablespace_in_the_data_directory_stays_there(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, "7 /old/data/inner/x\n8 /elsewhere/inner/y\n");
    add(&f, "inner", S_IFDIR | 0700, 0, 0);
    add(&f, "inner/x", S_IFDIR | 0700, 0, 0);
    add(&f, "inner/x/V_1_n1", S_IFDIR | 0700, 0, 0);
    add(&f, "inner/y", S_IFDIR | 0700, 0, 0);
    add(&f, "spaces/7", S_IFDIR | 0700, 0, 0);
    filelist_sort(&f.sb.list);
    fails(open_moved(&f, "/old/data/inner/x", "/mnt/x", &err), GSP_E_USAGE);
    assert_non_null(strstr(err.msg, "tablespace 7 lies in the data directory"));
    ok(open_moved(&f, NULL, NULL, &err));
    assert_int_equal(f.t.n_spaces, 2);
    assert_true(f.t.spaces[0].inside);
    assert_string_equal(f.t.spaces[0].location, "/new/inner/x");
    assert_false(f.t.spaces[1].inside); /* nothing says that it is that one */
    assert_string_equal(f.t.spaces[1].location, "/elsewhere/inner/y");
    ok(restore_target_clear(&f.t, &err));
    ok(restore_target_prepare(&f.t, &f.sb, &err));
    assert_string_equal(place_at("/new")->link_path, "spaces/7");
    assert_string_equal(place_at("/new")->link_target, "/new/inner/x");
    fixture_close(&f);
}

static void
of_an_old_backup_external_directories_fill_tablespaces(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, "7 /mnt/ts\n");
    add(&f, "spaces/7", S_IFDIR | 0700, 0, 0);
    filelist_sort(&f.sb.list);
    f.b.external_dirs = strdup("/mnt/ts");
    ok(open_moved(&f, NULL, NULL, &err));
    assert_string_equal(f.t.spaces[0].location, "/mnt/ts");
    assert_string_equal(f.t.externals[0].store.root, "/mnt/ts");
    ok(open_moved(&f, "/mnt/ts", "/mnt/moved", &err)); /* -T alone moves both */
    assert_string_equal(f.t.spaces[0].location, "/mnt/moved");
    assert_string_equal(f.t.externals[0].store.root, "/mnt/moved");
    add(&f, "spaces/7/V_1", S_IFDIR | 0700, 0, 0); /* files of its own, too: they would mix */
    filelist_sort(&f.sb.list);
    fails(open_moved(&f, NULL, NULL, &err), GSP_E_USAGE);
    free(f.b.external_dirs);
    f.b.external_dirs = NULL;
    fixture_close(&f);
}

static void
an_external_directory_fills_a_tablespace_in_the_data_directory(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, "7 /old/data/inner/x\n");
    add(&f, "inner", S_IFDIR | 0700, 0, 0);
    add(&f, "inner/x", S_IFDIR | 0700, 0, 0);
    add(&f, "spaces/7", S_IFDIR | 0700, 0, 0);
    filelist_sort(&f.sb.list);
    f.b.external_dirs = strdup("/old/data/inner/x");
    ok(open_moved(&f, NULL, NULL, &err));
    assert_string_equal(f.t.spaces[0].location, "/new/inner/x");
    assert_string_equal(f.t.externals[0].store.root, "/new/inner/x");
    ok(restore_target_clear(&f.t, &err));
    ok(restore_target_prepare(&f.t, &f.sb, &err)); /* its directory is made twice */
    free(f.b.external_dirs);
    f.b.external_dirs = NULL;
    fixture_close(&f);
}

static void
lost_tablespaces_are_told(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    struct log_capture log;
    auto_strbuf text = STRBUF_INIT;
    fixture_open(&f, "7 /mnt/ts\n77 /mnt/full\n");
    add(&f, "spaces/7", S_IFDIR | 0700, 0, 0);
    add(&f, "spaces/77/V_1_n1", S_IFDIR | 0700, 0, 0);
    filelist_sort(&f.sb.list);
    log_capture_begin(&log);
    ok(open_moved(&f, NULL, NULL, &err));
    log_capture_end(&log, &text);
    assert_non_null(strstr(strbuf_str(&text), "has no files of tablespace 7 at '/mnt/ts'"));
    assert_null(strstr(strbuf_str(&text), "of tablespace 77 "));
    assert_string_equal(f.t.tablespace_dir, "V_1_n1");
    fixture_close(&f);
}

static void
impossible_external_places_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct directory_mapping mapping;
        int code;
        const char *said;
    } cases[] = {
        {{"/x/none", "/y", 1}, GSP_E_USAGE, "list of external directories of current backup: \"/x/none\""},
        {{"/x/b", "/y", 0}, GSP_E_USAGE, "entry in tablespace_map file: \"/x/b\""},
        {{"/x/b", "/new/x", 1}, GSP_E_USAGE, "the data directory '/new' lie in each other"},
        {{"/x/b", "/ts", 1}, GSP_E_USAGE, "the tablespace '/ts/a' lie in each other"},
        {{"/x/b", "/ts/a/sub", 1}, GSP_E_USAGE, "the tablespace '/ts/a' lie in each other"},
        {{"/x/c", "/x/b", 1}, GSP_E_USAGE, "external directory '/x/b' lie in each other"},
        {{"/x/c", "/x", 1}, GSP_E_USAGE, "external directory '/x/b' lie in each other"},
        {{"/x/c", "/y/../z", 1}, GSP_E_USAGE, "not a plain path"},
        {{"/x/c", "/y\nz", 1}, GSP_E_USAGE, "line break"},
        {{"/x/c", "/full", 1}, GSP_E_EXIST, "External directory is not empty: \"/full\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct gsp_error err;
        char dirs[] = "/x/b:/x/c";
        fixture_open(&f, "77 /ts/a\n");
        f.b.external_dirs = dirs;
        occupy("/full");
        fails(open_target(&f, &cases[i].mapping, 1, &err), cases[i].code);
        if (strstr(err.msg, cases[i].said) == NULL)
            fail_msg("case %zu: %s", i, err.msg);
        fixture_close(&f);
    }
}

static void
an_unfinished_restore_clears_the_external_places_it_claimed(void **state)
{
    (void)state;
    static const struct directory_mapping elsewhere = {"/x/b", "/other", 1};
    struct fixture f;
    struct gsp_error err;
    char dirs[] = "/x/b";
    fixture_open(&f, NULL);
    f.b.external_dirs = dirs;
    ok(open_target(&f, NULL, 0, &err));
    ok(restore_target_clear(&f.t, &err));
    put_mark("/new", SYSTEM_ID);
    ok(external_targets_claim(&f.t, &err));
    ok(restore_target_prepare(&f.t, &f.sb, &err));
    occupy("/x/b");
    occupy("/other");
    ok(store_remove(&f.t.store, RESTORE_OWNER, &err));        /* it died */
    fails(open_target(&f, &elsewhere, 1, &err), GSP_E_EXIST); /* never claimed */
    ok(open_target(&f, NULL, 0, &err));
    assert_true(exists("/x/b", "file"));
    ok(restore_target_clear(&f.t, &err));
    assert_true(!exists("/x/b", "file") && exists("/x/b", "") && exists("/other", "file"));
    assert_false(exists("/new", RESTORE_EXTERNAL));
    ok(external_targets_claim(&f.t, &err));
    external_targets_release(&f.t);
    assert_false(exists("/new", RESTORE_EXTERNAL));
    fixture_close(&f);
}

static void
whoever_was_disturbed_does_not_finish(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, NULL);
    ok(open_target(&f, NULL, 0, &err));
    ok(restore_target_clear(&f.t, &err));
    put_mark("/new", SYSTEM_ID);
    put_file("/new", RESTORE_OWNER, "exclusive 1 1 boot host\n", 24);
    fails(restore_mark_finish(&f.t.store, "control", 0, &err), GSP_E_LOCKED);
    assert_false(exists("/new", "control"));
    ok(restore_mark_claim(&f.t.store, &err));
    ok(restore_mark_finish(&f.t.store, "control", 0, &err));
    assert_true(exists("/new", "control") && !exists("/new", RESTORE_MARK) && !exists("/new", RESTORE_OWNER));
    fixture_close(&f);
}

static void
only_an_unfinished_restore_of_the_same_cluster_is(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct fixture f;
        struct gsp_error err;
        fixture_open(&f, NULL);
        occupy("/new");
        if (i == 1)
            put_mark("/new", SYSTEM_ID + 1);
        if (i == 2)
            put_file("/new", RESTORE_MARK, "half", 4);
        if (i == 3) { /* a whole cluster, whatever else it holds */
            put_mark("/new", SYSTEM_ID);
            put_file("/new", "control", "x", 1);
        }
        fails(open_target(&f, NULL, 0, &err), GSP_E_EXIST);
        assert_non_null(strstr(err.msg, "is not empty: \"/new\""));
        assert_true(exists("/new", "file"));
        fixture_close(&f);
    }
    /* Nothing but the mark: killed while it was written. */
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, NULL);
    put_file("/new", RESTORE_MARK, "half", 4);
    ok(open_target(&f, NULL, 0, &err));
    fixture_close(&f);
}

static int
open_in_place(struct fixture *f, struct gsp_error *err)
{
    struct restore_options opts = {.pgdata = "/new"};
    const struct gsp_cluster cluster = {
        .struct_size = sizeof cluster, .system_id = SYSTEM_ID, .tablespace_dir = "VERSION_1"};
    f->dialect = toy_dialect;
    restore_target_close(&f->t);
    return restore_target_open(&f->t, &f->e, &opts, 1, &f->sb, &f->dialect, &cluster, err);
}

static void
in_place_what_is_there_is_used(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, "77 /ts/a\n");
    occupy("/new");
    ok(open_in_place(&f, &err)); /* a tablespace may be made */
    occupy("/ts/a");
    fails(open_in_place(&f, &err), GSP_E_EXIST); /* but one that holds something must be the cluster's own */
    assert_non_null(strstr(err.msg, "not empty: \"/ts/a\""));
    ok(place_symlink(place_at("/new")->mem, "/ts/b", "spaces/77", &err));
    fails(open_in_place(&f, &err), GSP_E_EXIST);
    ok(place_symlink(place_at("/new")->mem, "/ts/a", "spaces/77", &err));
    ok(open_in_place(&f, &err));
    assert_int_equal(f.t.spaces[0].linked, 1);
    (void)snprintf(place_at("/new")->link_target, 64, "untouched");
    ok(store_mkdir(&f.t.store, "base", 0755, 0, &err));
    ok(restore_target_prepare(&f.t, &f.sb, &err));
    assert_true(exists("/new", "file") && exists("/new", "spaces/78") && exists("/ts/a", "file"));
    assert_string_equal(place_at("/new")->link_target, "untouched");
    ok(store_mkdir(&f.t.store, "spaces/77", 0700, 0, &err)); /* what a link leads to */
    ok(restore_target_set_modes(&f.t, &f.sb, &err));
    assert_int_equal(mode_of("/new", "base") & 07777, 0750);
    fixture_close(&f);
}

static void
of_the_old_place_only_the_version_is_cleared(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, "77 /ts/a\n");
    occupy("/ts/a");
    put_mark("/new", SYSTEM_ID);
    ok(place_symlink(place_at("/new")->mem, "/ts/a", "spaces/77", &err));
    ok(open_target(&f, NULL, 0, &err));
    (void)snprintf(f.t.tablespace_dir, sizeof f.t.tablespace_dir, "VERSION_1");
    ok(store_mkdir(&f.t.spaces[0].store, "VERSION_1/5", 0700, GSP_MKDIR_PARENTS, &err));
    put_file("/ts/a", "VERSION_1/5/7", "x", 1);
    occupy("/new");
    ok(restore_target_clear(&f.t, &err));
    assert_true(exists("/ts/a", "file") && !exists("/ts/a", "VERSION_1") && !exists("/new", "file"));
    fixture_close(&f);
}

static void
a_pid_file_tells_whether_a_server_runs(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    char self[32];
    fixture_open(&f, NULL);
    occupy("/new");
    ok(open_in_place(&f, &err));
    ok(restore_target_check_stopped(&f.t.store, "pid", &err));
    static const char *const mangled[] = {"", "\n", "x\n", "12x\n", "0\n", "--5\n", "99999999999\n"};
    for (size_t i = 0; i < sizeof mangled / sizeof mangled[0]; i++) {
        put_file("/new", "pid", mangled[i], strlen(mangled[i]));
        fails(restore_target_check_stopped(&f.t.store, "pid", &err), GSP_E_CORRUPT);
        assert_string_equal(
            err.msg, "Pid file \"/new/pid\" is mangled, cannot determine whether postmaster is running or not");
    }
    for (int sign = 0; sign < 2; sign++) { /* negative: in single-user mode */
        (void)snprintf(self, sizeof self, "%s%d\n/new\n", sign ? "-" : "", (int)getpid());
        put_file("/new", "pid", self, strlen(self));
        fails(restore_target_check_stopped(&f.t.store, "pid", &err), GSP_E_EXIST);
        assert_non_null(strstr(err.msg, "is running in destination directory \"/new\""));
    }
    put_file("/new", "pid", "2147483646\n", 11);
    ok(restore_target_check_stopped(&f.t.store, "pid", &err));
    fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tablespaces_are_opened_where_they_belong),
        cmocka_unit_test(impossible_places_are_refused),
        cmocka_unit_test(directories_and_links_are_made),
        cmocka_unit_test(malformed_names_are_refused),
        cmocka_unit_test(failures_of_the_places_are_told),
        cmocka_unit_test(destinations_must_be_ours_and_empty),
        cmocka_unit_test(an_unfinished_restore_is_cleared_away),
        cmocka_unit_test(external_directories_are_opened_where_they_belong),
        cmocka_unit_test(a_tablespace_in_the_data_directory_stays_there),
        cmocka_unit_test(of_an_old_backup_external_directories_fill_tablespaces),
        cmocka_unit_test(an_external_directory_fills_a_tablespace_in_the_data_directory),
        cmocka_unit_test(lost_tablespaces_are_told),
        cmocka_unit_test(impossible_external_places_are_refused),
        cmocka_unit_test(an_unfinished_restore_clears_the_external_places_it_claimed),
        cmocka_unit_test(whoever_was_disturbed_does_not_finish),
        cmocka_unit_test(only_an_unfinished_restore_of_the_same_cluster_is),
        cmocka_unit_test(in_place_what_is_there_is_used),
        cmocka_unit_test(of_the_old_place_only_the_version_is_cleared),
        cmocka_unit_test(a_pid_file_tells_whether_a_server_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
