/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/engine/parent.h"

/* A catalog, and a cluster on timeline 3 that ran through timeline 1 up to 0/5000000 and 2 up to 0/7000000. */
struct parent_fixture {
    struct copy_fixture f;
    struct engine e;
    struct parent parent;
};

enum { EPOCH = 1700000000 /* seconds here count from there */, SEGMENT = 1 << 20 };

static const struct gsp_dialect_ops dialect = {.struct_size = sizeof dialect, .wal_dir = "pg_wal"};

static void
open_fixture(struct parent_fixture *p)
{
    struct gsp_error err;
    memset(p, 0, sizeof *p);
    copy_fixture_open(&p->f, 0);
    ok(store_mkdir(&p->f.repo, "backups/main", 0700, GSP_MKDIR_PARENTS, &err));
    ok(store_remove_tree(&p->f.repo, BACKUP_DIR, &err));
    ok(store_mkdir(&p->f.side.store, "pg_wal", 0700, 0, &err));
    mem_put(&p->f.side.store, "pg_wal/00000003.history", "1\t0/5000000\tx\n2\t0/7000000\ty\n");
    p->f.side.dialect = &dialect;
    p->f.side.cluster.timeline = 3;
    p->f.side.cluster.wal_segment_size = SEGMENT;
    p->f.side.cluster.checksum_version = 1;
    p->e = (struct engine){.repo = p->f.repo, .instance = "main", .threads = 1};
}

static void
close_fixture(struct parent_fixture *p)
{
    parent_clear(&p->parent);
    copy_fixture_close(&p->f);
}

/* A backup that ends 0x1000 behind its start, with an empty list. */
static void
add(struct parent_fixture *p, int64_t second, const char *mode, int64_t parent_second, enum backup_status status,
    uint32_t timeline, gsp_lsn start)
{
    char path[PATH_SIZE];
    struct gsp_error err;
    struct backup b;
    auto_filelist list = {0};
    backup_init(&b);
    second += EPOCH;
    backup_id_format(second, b.id);
    if (parent_second != 0)
        backup_id_format(parent_second + EPOCH, b.parent_id);
    b.start_time = second;
    b.dir = strdup(b.id);
    b.mode = strdup(mode);
    b.compress_alg = strdup("none");
    b.program_version = strdup("2.4.2");
    b.status = status;
    b.timeline = timeline;
    b.start_lsn = start;
    b.stop_lsn = start + 0x1000;
    b.stream = 1;
    b.recovery_xid = 1000;
    b.block_size = SIZE;
    b.checksum_version = 1;
    ok(backup_path(path, "main", &b, NULL, &err));
    ok(store_mkdir(&p->f.repo, path, 0700, 0, &err));
    ok(backup_path(path, "main", &b, "backup_content.control", &err));
    ok(filelist_new(&list, &err));
    ok(filelist_write(&p->f.repo, path, &list, &b.content_crc, &err));
    ok(backup_save(&p->f.repo, "main", &b, &err));
    backup_clear(&b);
}

static int
choose(struct parent_fixture *p, struct gsp_error *err)
{
    parent_clear(&p->parent);
    *err = (struct gsp_error){0};
    return parent_choose(&p->parent, &p->e, &p->f.side, err);
}

static void
assert_parent(struct parent_fixture *p, int64_t second)
{
    struct gsp_error err;
    char id[BACKUP_ID_SIZE];
    backup_id_format(second + EPOCH, id);
    if (choose(p, &err) != 0)
        fail_msg("%s", err.msg);
    assert_string_equal(p->parent.backup->id, id);
}

static void
the_newest_of_the_newest_full(void **state)
{
    (void)state;
    struct parent_fixture p;
    open_fixture(&p);
    add(&p, 1000, "FULL", 0, BACKUP_OK, 3, 0x7100000);
    assert_parent(&p, 1000);
    add(&p, 1001, "DELTA", 1000, BACKUP_DONE, 3, 0x7200000);
    assert_parent(&p, 1001);
    add(&p, 1002, "PAGE", 1001, BACKUP_OK, 3, 0x7300000);
    assert_parent(&p, 1002);
    /* A newer FULL counts, even though the older one's chain goes on. */
    add(&p, 1003, "FULL", 0, BACKUP_OK, 3, 0x7400000);
    add(&p, 1004, "DELTA", 1002, BACKUP_OK, 3, 0x7500000);
    assert_parent(&p, 1003);
    close_fixture(&p);
}

static void
what_is_not_valid_is_passed_over(void **state)
{
    (void)state;
    struct parent_fixture p;
    open_fixture(&p);
    add(&p, 1000, "FULL", 0, BACKUP_OK, 3, 0x7100000);
    add(&p, 1001, "DELTA", 1000, BACKUP_OK, 3, 0x7200000);
    add(&p, 1002, "DELTA", 1001, BACKUP_ERROR, 3, 0x7300000);
    add(&p, 1003, "DELTA", 1002, BACKUP_OK, 3, 0x7400000); /* an ancestor is not valid */
    add(&p, 1004, "DELTA", 999, BACKUP_OK, 3, 0x7500000);  /* or missing */
    add(&p, 1005, "FULL", 0, BACKUP_CORRUPT, 3, 0x7600000);
    add(&p, 1006, "FULL", 0, BACKUP_RUNNING, 3, 0x7700000);
    assert_parent(&p, 1001);
    close_fixture(&p);
}

static void
without_a_full_one_there_is_no_parent(void **state)
{
    (void)state;
    struct parent_fixture p;
    struct gsp_error err;
    open_fixture(&p);
    assert_int_equal(choose(&p, &err), GSP_E_NOENT);
    assert_string_equal(err.msg, "Create new full backup before an incremental one");
    add(&p, 1000, "FULL", 0, BACKUP_ERROR, 3, 0x7100000);
    assert_int_equal(choose(&p, &err), GSP_E_NOENT);
    close_fixture(&p);
}

static void
older_timelines_count_up_to_where_they_were_left(void **state)
{
    (void)state;
    struct parent_fixture p;
    struct gsp_error err;
    open_fixture(&p);
    add(&p, 1000, "FULL", 0, BACKUP_OK, 1, 0x4000000);
    add(&p, 1001, "DELTA", 1000, BACKUP_OK, 1, 0x4100000);
    add(&p, 1002, "DELTA", 1001, BACKUP_OK, 1, 0x4FFF001); /* ends behind the fork */
    assert_parent(&p, 1001);
    add(&p, 1003, "DELTA", 1001, BACKUP_OK, 2, 0x6000000);
    add(&p, 1004, "FULL", 0, BACKUP_OK, 2, 0x8000000); /* behind the second fork */
    add(&p, 1005, "FULL", 0, BACKUP_OK, 9, 0x6000000);
    assert_parent(&p, 1003);
    /* Without its history file the timeline is alone. */
    ok(store_remove(&p.f.side.store, "pg_wal/00000003.history", &err));
    assert_int_equal(choose(&p, &err), GSP_E_NOENT);
    close_fixture(&p);
}

/* Whatever the backup has as the end of its WAL, and the server and the archive at the same place. */
static void
put_wal(struct store *s, const char *dir, const char *segment, char fill)
{
    char path[PATH_SIZE];
    struct gsp_error err;
    auto_free char *bytes = malloc(SEGMENT);
    assert_non_null(bytes);
    memset(bytes, fill, SEGMENT);
    ok(store_mkdir(s, dir, 0700, GSP_MKDIR_PARENTS, &err));
    assert_true(path_join(path, dir, segment));
    ok(store_write_all(s, path, 0600, 0, bytes, SEGMENT, &err));
}

static void
a_cluster_from_the_past_is_refused(void **state)
{
    (void)state;
    struct parent_fixture p;
    struct gsp_error err;
    open_fixture(&p);
    add(&p, 1000, "FULL", 0, BACKUP_OK, 3, 0x8FFF800);
    assert_parent(&p, 1000);
    assert_false(p.parent.is_proven);
    err = (struct gsp_error){0};
    assert_int_equal(parent_check_start(&p.parent, 0x8FFF7FF, &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "went back in time"));
    ok(parent_check_start(&p.parent, 0x8FFF800, &err)); /* a standby's last restartpoint */
    ok(parent_check_stop(&p.parent, 0x9000900, 1000, &err));
    assert_int_equal(parent_check_stop(&p.parent, 0x9000900, 999, &err), GSP_E_CONFIG);
    err = (struct gsp_error){0};
    assert_int_equal(parent_check_stop(&p.parent, 0x90007FF, 1000, &err), GSP_E_CONFIG);
    close_fixture(&p);
}

/* By LSN it may be ahead again; the end of the parent's WAL tells. */
static void
the_wal_of_the_parent_is_looked_for(void **state)
{
    (void)state;
    static const char segment[] = "000000030000000000000090"; /* of 1 MiB, with 0/9000800 */
    struct parent_fixture p;
    struct gsp_error err;
    char id[BACKUP_ID_SIZE], dir[PATH_SIZE];
    open_fixture(&p);
    add(&p, 1000, "FULL", 0, BACKUP_OK, 3, 0x8FFF800);
    backup_id_format(1000 + EPOCH, id);
    (void)snprintf(dir, sizeof dir, "backups/main/%s/database/pg_wal", id);
    put_wal(&p.f.repo, dir, segment, 'a');
    assert_parent(&p, 1000);
    assert_false(p.parent.is_proven); /* the server has it no more */
    put_wal(&p.f.repo, "wal/main", segment, 'a');
    assert_parent(&p, 1000);
    assert_true(p.parent.is_proven);
    put_wal(&p.f.side.store, "pg_wal", segment, 'b');
    assert_int_equal(choose(&p, &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "went back in time"));
    close_fixture(&p);
}

static void
switched_checksums_are_refused(void **state)
{
    (void)state;
    struct parent_fixture p;
    struct gsp_error err;
    open_fixture(&p);
    add(&p, 1000, "FULL", 0, BACKUP_OK, 3, 0x7100000);
    p.f.side.cluster.checksum_version = 0;
    assert_int_equal(choose(&p, &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "checksums were switched off"));
    close_fixture(&p);
}

/* Whoever deletes or merges the chain meanwhile is told that it is in use. */
static void
the_chain_stays_locked(void **state)
{
    (void)state;
    struct parent_fixture p;
    struct gsp_error err;
    struct backup_lock *lock = NULL;
    open_fixture(&p);
    add(&p, 1000, "FULL", 0, BACKUP_OK, 3, 0x7100000);
    add(&p, 1001, "DELTA", 1000, BACKUP_OK, 3, 0x7200000);
    assert_parent(&p, 1001);
    for (size_t i = 0; i < 2; i++) {
        err = (struct gsp_error){0};
        assert_int_equal(
            backup_lock_exclusive(&p.f.repo, "main", &p.parent.list.backups[i], &lock, &err), GSP_E_LOCKED);
    }
    close_fixture(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_of_the_newest_full),
        cmocka_unit_test(what_is_not_valid_is_passed_over),
        cmocka_unit_test(without_a_full_one_there_is_no_parent),
        cmocka_unit_test(older_timelines_count_up_to_where_they_were_left),
        cmocka_unit_test(a_cluster_from_the_past_is_refused),
        cmocka_unit_test(the_wal_of_the_parent_is_looked_for),
        cmocka_unit_test(switched_checksums_are_refused),
        cmocka_unit_test(the_chain_stays_locked),
    };
    return cmocka_run_group_tests_name("engine/parent", tests, NULL, NULL);
}
