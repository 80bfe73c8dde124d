/* SPDX-License-Identifier: Apache-2.0
 * The checks, on a server that says what the test wants and a catalog in memory. */
#include "engine_test.h"

#include "core/base/timestamp.h"
#include "core/engine/check.h"

enum { SYSTEM_ID = 7, DAY = 86400 };

/* ---- a server ------------------------------------------------------------------------------------ */

static struct {
    int open_code, check_code, wal_code; /* what the operations return */
    uint32_t flags;                      /* that check was asked with */
    uint64_t system_id;
    const char *data_directory;
    const struct gsp_probe *probes;
    size_t n_probes;
    int sessions, streams; /* open now */
} server;

static int
fail_with(int code, const char *what, struct gsp_error *err)
{
    (void)gsp_fail(err, code, 0, "%s failed", what);
    return gsp_hint(err, "mend %s", what);
}

static int
fake_open(void *state, const void *opts, void **ret, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    if (server.open_code != 0)
        return fail_with(server.open_code, "open", err);
    server.sessions++;
    *ret = &server;
    return 0;
}

static void
fake_close(void *srv)
{
    (void)srv;
    server.sessions--;
}

static int
fake_identify(void *srv, struct gsp_identity *ret, struct gsp_error *err)
{
    (void)srv;
    (void)err;
    ret->system_id = server.system_id;
    (void)snprintf(ret->version, sizeof ret->version, "fake 1");
    (void)snprintf(ret->data_directory, sizeof ret->data_directory, "%s", server.data_directory);
    return 0;
}

static int
fake_check(void *srv, uint32_t flags, struct gsp_identity *ret, gsp_probe_cb cb, void *arg, struct gsp_error *err)
{
    server.flags = flags;
    int rc = fake_identify(srv, ret, err);
    for (size_t i = 0; i < server.n_probes && rc == 0; i++)
        rc = cb(arg, &server.probes[i], err);
    return rc == 0 && server.check_code != 0 ? fail_with(server.check_code, "check", err) : rc;
}

static int
fake_wal_open(void *srv, const char *slot, uint32_t flags, void **ret, struct gsp_error *err)
{
    (void)srv;
    assert_null(slot);
    assert_int_equal(flags, 0); /* nothing may be left at the server */
    if (server.wal_code != 0)
        return fail_with(server.wal_code, "replication", err);
    server.streams++;
    *ret = &server;
    return 0;
}

static void
fake_wal_close(void *wal)
{
    (void)wal;
    server.streams--;
}

/* A check takes no backup. */
static int
no_begin(void *srv, const char *label, uint32_t flags, struct gsp_begin *ret, struct gsp_error *err)
{
    (void)srv;
    (void)label;
    (void)flags;
    (void)ret;
    return gsp_fail(err, GSP_E_BUG, 0, "backup_begin");
}

static int
no_end(void *srv, const char *point, int64_t timeout_us, struct gsp_end *ret, struct gsp_error *err)
{
    (void)srv;
    (void)point;
    (void)timeout_us;
    (void)ret;
    return gsp_fail(err, GSP_E_BUG, 0, "backup_end");
}

static int
no_databases(void *srv, int (*cb)(void *arg, uint32_t oid, const char *name), void *arg, struct gsp_error *err)
{
    (void)srv;
    (void)cb;
    (void)arg;
    return gsp_fail(err, GSP_E_BUG, 0, "databases");
}

static int
no_stream(void *wal, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    (void)wal;
    (void)from;
    (void)timeline;
    (void)cb;
    (void)arg;
    return gsp_fail(err, GSP_E_BUG, 0, "wal_stream");
}

static int
fake_parse(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err)
{
    (void)control;
    (void)len;
    (void)err;
    ret->system_id = SYSTEM_ID;
    return 0;
}

/* ---- fixture ------------------------------------------------------------------------------------- */

struct fixture {
    struct gsp_dialect_ops dialect;
    struct gsp_server_ops ops;
    struct gsp_plugin plugin, data_plugin;
    struct gsp_storage_ops repo_ops, data_ops;
    struct engine e;
    struct check_report report;
};

static void *data_mem;
static uint64_t repo_free;

static int
data_open(void *state, const void *opts, const char *root, void **ret, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)err;
    *ret = strcmp(root, "/data") == 0 ? data_mem : NULL;
    return *ret != NULL ? 0 : gsp_fail(err, GSP_E_PERM, 0, "no way to '%s'", root);
}

static void
data_close(void *store)
{
    (void)store;
}

/* It belongs to whoever asks. */
static int
data_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    int rc = storage_mem_ops.stat(store, path, ret, err);
    ret->uid = geteuid();
    return rc;
}

static int
repo_space(void *store, const char *path, struct gsp_space *ret, struct gsp_error *err)
{
    (void)store;
    (void)err;
    assert_string_equal(path, "backups");
    ret->free_bytes = repo_free;
    return 0;
}

static struct gsp_plugin
plugin_of(uint32_t kind, const char *name, const void *ops)
{
    return (struct gsp_plugin){.struct_size = sizeof(struct gsp_plugin),
        .abi_major = GSP_ABI_MAJOR,
        .kind = kind,
        .thread_model = GSP_THREAD_ANY,
        .name = name,
        .version = "1",
        .summary = "test double",
        .ops = ops};
}

static void
fixture_open_with(struct fixture *f, int with_check)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    memset(&server, 0, sizeof server);
    server.system_id = SYSTEM_ID;
    server.data_directory = "/data";
    tests_in_utc();
    f->dialect = toy_dialect;
    f->dialect.struct_size = sizeof f->dialect;
    f->dialect.control_parse = fake_parse;
    f->ops = (struct gsp_server_ops){.struct_size = sizeof f->ops,
        .dialect = &f->dialect,
        .open = fake_open,
        .close = fake_close,
        .identify = fake_identify,
        .backup_begin = no_begin,
        .backup_end = no_end,
        .databases = no_databases,
        .wal_stream = no_stream,
        .wal_open = fake_wal_open,
        .wal_close = fake_wal_close,
        .check = with_check ? fake_check : NULL};
    f->data_ops = storage_mem_ops;
    f->data_ops.open = data_open;
    f->data_ops.close = data_close;
    f->data_ops.stat = data_stat;
    f->data_plugin = plugin_of(GSP_KIND_STORAGE, "data", &f->data_ops);
    f->plugin = plugin_of(GSP_KIND_SERVER, "fake", &f->ops);
    ok(config_new(&f->e.cfg, &err));
    ok(registry_new(&f->e.reg, &err));
    ok(registry_add(f->e.reg, &f->plugin, &err));
    ok(registry_add(f->e.reg, &f->data_plugin, &err));
    ok(config_set(f->e.cfg, "storage.data", "data", CONFIG_YAML, "the test", &err));
    ok(config_set(f->e.cfg, "server.plugin", "fake", CONFIG_YAML, "the test", &err));
    ok(config_set(f->e.cfg, "pgdata", "/data", CONFIG_CMDLINE, "the test", &err));
    ok(storage_mem_ops.open(NULL, NULL, "/data", &data_mem, &err));
    ok(storage_mem_ops.mkdir(data_mem, "global", 0700, GSP_MKDIR_PARENTS, &err));
    struct store data = {.ops = &f->data_ops, .handle = data_mem, .root = "/data", .limits = {.io_max = 65536}};
    mem_put(&data, "global/pg_control", "x");
    mem_catalog(&f->e.repo);
    f->repo_ops = storage_mem_ops;
    f->repo_ops.space = repo_space;
    f->e.repo.ops = &f->repo_ops;
    f->e.instance = "main";
    repo_free = 1000;
}

static void
fixture_open(struct fixture *f)
{
    fixture_open_with(f, 1);
}

static void
fixture_close(struct fixture *f)
{
    assert_int_equal(server.sessions, 0);
    assert_int_equal(server.streams, 0);
    check_report_clear(&f->report);
    storage_mem_ops.close(data_mem);
    store_close(&f->e.repo);
    registry_free(f->e.reg);
    config_free(f->e.cfg);
}

/* A backup that ended so many seconds ago. */
static void
add(struct fixture *f, int64_t ago, const char *mode, int64_t parent_ago, enum backup_status status, int64_t bytes)
{
    char path[PATH_SIZE];
    struct gsp_error err;
    struct backup b;
    backup_init(&b);
    int64_t second = now_seconds() - ago;
    backup_id_format(second, b.id);
    if (parent_ago != 0)
        backup_id_format(now_seconds() - parent_ago, b.parent_id);
    b.start_time = b.end_time = b.recovery_time = second;
    b.dir = strdup(b.id);
    b.mode = strdup(mode);
    b.compress_alg = strdup("none");
    b.program_version = strdup("2.4.2");
    b.status = status;
    b.data_bytes = bytes;
    b.stream = 1;
    ok(backup_path(path, "main", &b, NULL, &err));
    ok(store_mkdir(&f->e.repo, path, 0700, 0, &err));
    ok(backup_save(&f->e.repo, "main", &b, &err));
    backup_clear(&b);
}

static const struct check_probe *
find(const struct fixture *f, const char *name)
{
    for (size_t i = 0; i < f->report.n; i++)
        if (strcmp(f->report.probes[i].name, name) == 0)
            return &f->report.probes[i];
    return NULL;
}

static void
expect(const struct fixture *f, const char *name, uint32_t state, const char *found)
{
    const struct check_probe *p = find(f, name);
    if (p == NULL)
        fail_msg("no probe %s", name);
    else if (p->state != state || strstr(p->found, found) == NULL || (p->fix != NULL) != (state != GSP_PROBE_OK))
        fail_msg("%s: %u %s (%s)", name, p->state, p->found, p->fix != NULL ? p->fix : "-");
}

static void
run(struct fixture *f)
{
    struct gsp_error err;
    struct check_options opts = {.max_age_us = INT64_C(1000000) * DAY};
    check_report_clear(&f->report);
    ok(check_run(&f->e, &opts, &f->report, &err));
}

/* ---- tests --------------------------------------------------------------------------------------- */

static void
all_is_well(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    add(&f, 3600, "FULL", 0, BACKUP_OK, 500);
    run(&f);
    assert_int_equal(f.report.worst, GSP_PROBE_OK);
    expect(&f, "connection", GSP_PROBE_OK, "");
    expect(&f, "system-id", GSP_PROBE_OK, "7: server (fake 1)");
    expect(&f, "replication", GSP_PROBE_OK, "");
    expect(&f, "catalog", GSP_PROBE_OK, "can be written");
    expect(&f, "last-good-backup", GSP_PROBE_OK, "1h:0m ago; at most 1d:0h");
    assert_int_equal(server.flags, 0);
    fixture_close(&f);
}

static void
what_the_server_tells_is_handed_on(void **state)
{
    (void)state;
    struct fixture f;
    static const struct gsp_probe probes[] = {
        {sizeof probes[0], GSP_PROBE_OK, "fine", "all fine", NULL},
        {sizeof probes[0], GSP_PROBE_WARNING, "clock", "the clocks are 3.0 s apart", "set them"},
        {sizeof probes[0], 77, "later", "a state of a later version", NULL},
    };
    fixture_open(&f);
    add(&f, 3600, "FULL", 0, BACKUP_OK, 1);
    server.probes = probes;
    server.n_probes = 2;
    run(&f);
    expect(&f, "fine", GSP_PROBE_OK, "all fine");
    expect(&f, "clock", GSP_PROBE_WARNING, "3.0 s apart");
    assert_string_equal(find(&f, "clock")->fix, "set them");
    assert_int_equal(f.report.worst, GSP_PROBE_WARNING);
    server.n_probes = 3;
    run(&f);
    expect(&f, "later", GSP_PROBE_ERROR, "");
    fixture_close(&f);
    fixture_open_with(&f, 0); /* a plugin without it: the core's own probes are there all the same */
    add(&f, 3600, "PTRACK", 7200, BACKUP_OK, 1);
    run(&f);
    expect(&f, "system-id", GSP_PROBE_OK, "");
    fixture_close(&f);
}

static void
one_failure_does_not_hide_the_rest(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err = {0};
    struct check_options opts = {.max_age_us = 1};
    fixture_open(&f);
    server.open_code = GSP_E_NET;
    run(&f);
    expect(&f, "connection", GSP_PROBE_ERROR, "open failed");
    assert_string_equal(find(&f, "connection")->fix, "mend open");
    expect(&f, "last-good-backup", GSP_PROBE_ERROR, "there is no backup");
    assert_int_equal(f.report.worst, GSP_PROBE_ERROR);
    server.open_code = 0;
    server.wal_code = GSP_E_PERM;
    run(&f);
    expect(&f, "replication", GSP_PROBE_ERROR, "replication failed");
    expect(&f, "catalog", GSP_PROBE_OK, "");
    server.check_code = GSP_E_SERVER; /* lost in the middle */
    run(&f);
    assert_int_equal(f.report.probes[1].state, GSP_PROBE_ERROR);
    server.open_code = GSP_E_CANCELLED; /* but a stop is a stop */
    check_report_clear(&f.report);
    assert_int_equal(check_run(&f.e, &opts, &f.report, &err), GSP_E_CANCELLED);
    fixture_close(&f);
}

static void
the_server_must_be_the_right_one(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    add(&f, 3600, "PTRACK", 7200, BACKUP_OK, 1);
    server.data_directory = "/elsewhere";
    run(&f);
    expect(&f, "data-directory", GSP_PROBE_ERROR, "that is '/elsewhere'");
    assert_int_equal(server.flags, GSP_CHECK_CHANGED_BLOCKS);
    server.data_directory = ""; /* the role may not see it */
    run(&f);
    expect(&f, "data-directory", GSP_PROBE_OK, "may not see");
    server.system_id = 8;
    run(&f);
    expect(&f, "system-id", GSP_PROBE_ERROR, "the server has 8");
    assert_null(find(&f, "data-directory"));
    server.system_id = SYSTEM_ID;
    ok(config_set(f.e.cfg, "system-identifier", "9", CONFIG_INSTANCE, "the test", &err));
    run(&f);
    expect(&f, "system-id", GSP_PROBE_ERROR, "instance 'main' has 9");
    ok(config_set(f.e.cfg, "pgdata", "/nowhere", CONFIG_CMDLINE, "the test", &err));
    run(&f);
    expect(&f, "data-directory", GSP_PROBE_ERROR, "no way to '/nowhere'");
    assert_null(find(&f, "connection"));
    fixture_close(&f);
}

static void
the_catalog_tells_of_age_room_and_leftovers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    add(&f, 3 * DAY, "FULL", 0, BACKUP_OK, 900);
    add(&f, 2 * DAY, "DELTA", 3 * DAY, BACKUP_OK, 100);
    run(&f);
    expect(&f, "last-good-backup", GSP_PROBE_WARNING, "2d:0h ago");
    expect(&f, "catalog-space", GSP_PROBE_OK, "takes 900B");
    expect(&f, "leftover", GSP_PROBE_OK, "");
    repo_free = 900;
    run(&f);
    expect(&f, "catalog-space", GSP_PROBE_WARNING, "(FULL) takes: 900B");
    repo_free = 100;
    run(&f);
    expect(&f, "catalog-space", GSP_PROBE_ERROR, "(DELTA) takes: 100B");
    add(&f, 300, "FULL", 0, BACKUP_RUNNING, 0);
    add(&f, 200, "FULL", 0, BACKUP_ERROR, 0);
    run(&f);
    expect(&f, "leftover", GSP_PROBE_WARNING, "is RUNNING, and nobody works on it");
    expect(&f, "bad-backups", GSP_PROBE_WARNING, "1 of 4 backups are not good, the newest one");
    storage_mem_fail_writes(f.e.repo.handle, 0, UINT64_MAX, EROFS);
    run(&f);
    expect(&f, "catalog", GSP_PROBE_ERROR, "");
    storage_mem_fail_writes(f.e.repo.handle, 0, 0, 0);
    fixture_close(&f);
}

static void
a_backup_is_worth_what_it_stands_on(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    add(&f, 2 * 3600, "FULL", 0, BACKUP_CORRUPT, 900);
    add(&f, 3600, "DELTA", 2 * 3600, BACKUP_OK, 100);
    run(&f);
    expect(&f, "last-good-backup", GSP_PROBE_OK, "");
    expect(&f, "chain", GSP_PROBE_ERROR, "which is CORRUPT");
    fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_well),
        cmocka_unit_test(what_the_server_tells_is_handed_on),
        cmocka_unit_test(one_failure_does_not_hide_the_rest),
        cmocka_unit_test(the_server_must_be_the_right_one),
        cmocka_unit_test(the_catalog_tells_of_age_room_and_leftovers),
        cmocka_unit_test(a_backup_is_worth_what_it_stands_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
