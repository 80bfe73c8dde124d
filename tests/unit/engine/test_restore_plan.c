/* SPDX-License-Identifier: Apache-2.0
 * Plans of restores out of a catalog in memory. */
#include "engine_test.h"

#include "core/engine/restore_plan.h"

enum { SEGMENT = 1 << 20, EPOCH = 1700000000 };

/* ---- plugins ------------------------------------------------------------------------------------- */

static int
fake_parse(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err)
{
    (void)control;
    (void)len;
    (void)err;
    ret->wal_segment_size = SEGMENT;
    ret->page_size = SIZE;
    ret->segment_blocks = TOY_SEGMENT_BLOCKS;
    return 0;
}

#define NEVER(name, ...)                                               \
    static int name(__VA_ARGS__, struct gsp_error *err)                \
    {                                                                  \
        return gsp_fail(err, GSP_E_BUG, 0, "a plan needs no session"); \
    }
NEVER(no_open, void *state __attribute__((unused)), const void *opts __attribute__((unused)),
    void **srv __attribute__((unused)))
NEVER(no_identify, void *srv __attribute__((unused)), struct gsp_identity *ret __attribute__((unused)))
NEVER(no_begin, void *srv __attribute__((unused)), const char *label __attribute__((unused)),
    uint32_t flags __attribute__((unused)), struct gsp_begin *ret __attribute__((unused)))
NEVER(no_end, void *srv __attribute__((unused)), const char *point __attribute__((unused)),
    int64_t timeout_us __attribute__((unused)), struct gsp_end *ret __attribute__((unused)))
NEVER(no_databases, void *srv __attribute__((unused)),
    int (*cb)(void *arg, uint32_t oid, const char *name) __attribute__((unused)), void *arg __attribute__((unused)))
NEVER(no_wal, void *srv __attribute__((unused)), const char *slot __attribute__((unused)),
    uint32_t flags __attribute__((unused)), void **wal __attribute__((unused)))
NEVER(no_stream, void *wal __attribute__((unused)), gsp_lsn from __attribute__((unused)),
    uint32_t timeline __attribute__((unused)), gsp_wal_cb cb __attribute__((unused)), void *arg __attribute__((unused)))

static void
no_close(void *handle)
{
    (void)handle;
}

/* ---- fixture ------------------------------------------------------------------------------------- */

struct fixture {
    struct gsp_dialect_ops dialect;
    struct gsp_server_ops ops;
    struct gsp_plugin server, data;
    struct engine e;
    struct restore_options opts;
    struct restore_plan plan;
};

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
fixture_open(struct fixture *f)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    tests_in_utc();
    f->dialect = toy_dialect;
    f->dialect.struct_size = sizeof f->dialect;
    f->dialect.control_parse = fake_parse;
    f->ops = (struct gsp_server_ops){.struct_size = sizeof f->ops,
        .dialect = &f->dialect,
        .open = no_open,
        .close = no_close,
        .identify = no_identify,
        .backup_begin = no_begin,
        .backup_end = no_end,
        .databases = no_databases,
        .wal_open = no_wal,
        .wal_stream = no_stream,
        .wal_close = no_close};
    f->server = plugin_of(GSP_KIND_SERVER, "fake", &f->ops);
    f->data = plugin_of(GSP_KIND_STORAGE, "mem", &storage_mem_ops);
    ok(config_new(&f->e.cfg, &err));
    ok(registry_new(&f->e.reg, &err));
    ok(registry_add(f->e.reg, &f->server, &err));
    ok(registry_add(f->e.reg, &f->data, &err));
    ok(config_set(f->e.cfg, "storage.data", "mem", CONFIG_YAML, "the test", &err));
    ok(config_set(f->e.cfg, "server.plugin", "fake", CONFIG_YAML, "the test", &err));
    mem_catalog(&f->e.repo);
    f->e.instance = "main";
    f->opts.pgdata = "/new";
}

static void
fixture_close(struct fixture *f)
{
    restore_plan_free(&f->plan);
    store_close(&f->e.repo);
    registry_free(f->e.reg);
    config_free(f->e.cfg);
}

static void
add_file(struct filelist *list, const char *path, int64_t size, int32_t n_blocks)
{
    struct gsp_error err;
    struct file_entry *f = filelist_add(list, path, "none", &err);
    assert_non_null(f);
    f->mode = S_IFREG | 0600;
    f->size = size;
    f->n_blocks = n_blocks;
    f->is_datafile = n_blocks > 0;
}

/* A backup on timeline 2 that stops in the middle of segment `segment`. The list: a table of 3 pages, a file of 5000
 * bytes that an increment has in its parent. */
static void
add(struct fixture *f, int64_t second, const char *mode, int64_t parent_second, enum backup_status status,
    uint64_t segment)
{
    char path[PATH_SIZE];
    struct gsp_error err;
    struct backup b;
    auto_filelist list = {0};
    backup_init(&b);
    b.start_time = b.recovery_time = second + EPOCH;
    backup_id_format(b.start_time, b.id);
    if (parent_second != 0)
        backup_id_format(parent_second + EPOCH, b.parent_id);
    b.dir = strdup(b.id);
    b.mode = strdup(mode);
    b.compress_alg = strdup("none");
    b.program_version = strdup("2.4.2");
    b.status = status;
    b.timeline = 2;
    b.block_size = SIZE;
    b.start_lsn = (segment - 1) * SEGMENT + 40;
    b.stop_lsn = segment * SEGMENT + 1000;
    b.stream = 1;
    ok(backup_path(path, "main", &b, "database/global", &err));
    ok(store_mkdir(&f->e.repo, path, 0700, GSP_MKDIR_PARENTS, &err));
    ok(backup_path(path, "main", &b, "database/global/pg_control", &err));
    mem_put(&f->e.repo, path, "x");
    ok(filelist_new(&list, &err));
    add_file(&list, "base/1", 3 * SIZE, 3);
    add_file(&list, "conf", parent_second != 0 ? FILE_UNCHANGED : 5000, 0);
    add_file(&list, "control", 100, 0);
    filelist_sort(&list);
    ok(backup_path(path, "main", &b, "backup_content.control", &err));
    ok(filelist_write(&f->e.repo, path, &list, &b.content_crc, &err));
    ok(backup_save(&f->e.repo, "main", &b, &err));
    backup_clear(&b);
}

static void
archive(struct fixture *f, uint32_t timeline, uint64_t segment, const char *suffix)
{
    char name[WAL_SEGMENT_NAME_SIZE], path[PATH_SIZE];
    wal_segment_name(name, timeline, segment * SEGMENT, SEGMENT);
    (void)snprintf(path, sizeof path, "wal/main/%s%s", name, suffix);
    mem_put(&f->e.repo, path, "x");
}

static void
make(struct fixture *f)
{
    struct gsp_error err;
    restore_plan_free(&f->plan);
    ok(restore_plan_make(&f->e, &f->opts, &f->plan, &err));
}

static const struct plan_reach *
reach(const struct fixture *f, uint32_t timeline)
{
    for (size_t i = 0; i < f->plan.n_reach; i++)
        if (f->plan.reach[i].timeline == timeline)
            return &f->plan.reach[i];
    return NULL;
}

/* Whoever runs the tests as root is refused as such, and nothing else. */
static size_t
expected_refusals(void)
{
    return geteuid() == 0 ? 1 : 0;
}

/* ---- tests --------------------------------------------------------------------------------------- */

static void
chain_wal_and_bytes(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    add(&f, 1000, "FULL", 0, BACKUP_OK, 5);
    add(&f, 2000, "DELTA", 1000, BACKUP_OK, 8);
    storage_mem_fail_writes(f.e.repo.handle, 0, UINT64_MAX, EROFS); /* it only reads */
    make(&f);
    assert_int_equal(f.plan.n_refusals, expected_refusals());
    assert_int_equal(f.plan.restore.n, 2);
    assert_int_equal(f.plan.bytes, 3 * SIZE + 5000); /* the unchanged file has its size in the parent */
    assert_int_equal(f.plan.wal_segments, 2);
    assert_string_equal(f.plan.wal_first, "000000020000000000000007");
    assert_string_equal(f.plan.wal_last, "000000020000000000000008");
    assert_int_equal(reach(&f, 2)->segments, 0);
    assert_int_equal(reach(&f, 2)->until, 8 * SEGMENT + 1000);
    storage_mem_fail_writes(f.e.repo.handle, 0, 0, 0);
    fixture_close(&f);
}

static void
archived_wal_goes_on_until_the_first_gap(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    add(&f, 1000, "FULL", 0, BACKUP_OK, 5);
    archive(&f, 2, 4, "");
    archive(&f, 2, 6, ""); /* 5 is in the backup, which ends it */
    archive(&f, 2, 7, ".gz");
    archive(&f, 2, 8, ".partial");
    archive(&f, 2, 9, "");
    make(&f);
    assert_int_equal(reach(&f, 2)->segments, 2);
    assert_int_equal(reach(&f, 2)->until, 8 * SEGMENT);
    assert_string_equal(reach(&f, 2)->last, "000000020000000000000007");
    fixture_close(&f);
}

static void
other_timelines_count_as_far_as_they_come_from_the_backup(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    add(&f, 1000, "FULL", 0, BACKUP_OK, 5);
    archive(&f, 2, 6, "");
    archive(&f, 2, 7, ""); /* timeline 3 begins within it */
    archive(&f, 3, 7, "");
    archive(&f, 3, 8, "");
    archive(&f, 4, 6, ""); /* left timeline 2 before the end of the backup */
    mem_put(&f.e.repo, "wal/main/00000003.history", "1\t0/100000\tx\n2\t0/740000\ty\n");
    mem_put(&f.e.repo, "wal/main/00000004.history", "1\t0/100000\tx\n2\t0/500010\ty\n");
    make(&f);
    assert_int_equal(reach(&f, 2)->until, 8 * SEGMENT);
    assert_int_equal(reach(&f, 3)->until, 9 * SEGMENT);
    assert_int_equal(reach(&f, 3)->segments, 3);
    assert_null(reach(&f, 4));
    assert_null(reach(&f, 1));
    fixture_close(&f);
}

static void
what_refuses_a_restore_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    make(&f); /* no backup at all */
    assert_int_equal(f.plan.restore.n, 0);
    assert_int_equal(f.plan.n_refusals, expected_refusals() + 1);
    add(&f, 1000, "FULL", 0, BACKUP_CORRUPT, 5);
    add(&f, 2000, "DELTA", 1000, BACKUP_OK, 8);
    make(&f); /* validation could heal it */
    assert_int_equal(f.plan.n_refusals, expected_refusals());
    f.opts.no_validate = 1;
    make(&f);
    assert_int_equal(f.plan.n_refusals, expected_refusals() + 1);
    assert_non_null(strstr(f.plan.refusals[f.plan.n_refusals - 1].msg, "has status: CORRUPT"));
    f.opts.force = 1;
    make(&f);
    assert_int_equal(f.plan.n_refusals, expected_refusals());
    char id[BACKUP_ID_SIZE], path[PATH_SIZE];
    backup_id_format(1000 + EPOCH, id);
    (void)snprintf(path, sizeof path, "backups/main/%s", id);
    ok(store_remove_tree(&f.e.repo, path, &err));
    make(&f); /* a missing parent: nobody becomes ORPHAN by looking */
    assert_int_equal(f.plan.n_refusals, expected_refusals() + 1);
    assert_int_equal(f.plan.restore.n, 0);
    assert_int_equal(f.plan.restore.list.backups[0].status, BACKUP_OK);
    fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chain_wal_and_bytes),
        cmocka_unit_test(archived_wal_goes_on_until_the_first_gap),
        cmocka_unit_test(other_timelines_count_as_far_as_they_come_from_the_backup),
        cmocka_unit_test(what_refuses_a_restore_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
