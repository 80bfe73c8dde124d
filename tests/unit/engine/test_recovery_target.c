/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/engine/recovery_target.h"

enum { N = 4 };

/* Newest first: D and C on timeline 2, which left 1 at LSN 35; B and A on 1. */
static struct backup backups[N];
static struct backup_list list = {.backups = backups, .n = N};
static char full[] = "FULL", name_of_b[] = "point of B";

static void
make_list(void)
{
    static const char *const ids[N] = {"D", "C", "B", "A"};
    log_set_console(LOG_LEVEL_OFF);
    for (int i = 0; i < N; i++) {
        backup_init(&backups[i]);
        (void)snprintf(backups[i].id, sizeof backups[i].id, "%s", ids[i]);
        backups[i].mode = full;
        backups[i].status = BACKUP_OK;
        backups[i].recovery_time = 1000 * (N - i);
        backups[i].recovery_xid = 100 * (uint64_t)(N - i);
        backups[i].stop_lsn = 20 * (gsp_lsn)(N - i);
        backups[i].timeline = i < 2 ? 2 : 1;
    }
    backups[2].recovery_name = name_of_b;
}

struct choice {
    struct spy spy;
    struct store repo;
};

static int
setup(void **state)
{
    static struct choice c;
    struct gsp_error err;
    make_list();
    memset(&c, 0, sizeof c);
    ok(store_open(&c.repo, &spy_storage_ops, &c.spy, NULL, "/repo", &err));
    ok(store_mkdir(&c.repo, "wal/main", 0700, GSP_MKDIR_PARENTS, &err));
    ok(store_write_all(&c.repo, "wal/main/00000002.history", 0600, 0, "1\t0/23\tno reason\n", 17, &err));
    *state = &c;
    return 0;
}

static int
teardown(void **state)
{
    struct choice *c = *state;
    store_close(&c->repo);
    return 0;
}

/* The id, or "" and an error. */
static const char *
choose(struct choice *c, struct gsp_recovery t, const char *id, struct gsp_error *err)
{
    struct backup *b = NULL;
    *err = (struct gsp_error){0};
    int rc = recovery_target_choose(&c->repo, "main", &list, &t, id, &b, err);
    assert_int_equal(rc, err->code);
    return rc == 0 ? b->id : "";
}

static void
the_newest_before_the_target_is_chosen(void **state)
{
    static const struct {
        struct gsp_recovery target;
        const char *id;
    } cases[] = {
        {{.kind = GSP_RECOVERY_NONE}, "D"},
        {{.kind = GSP_RECOVERY_IMMEDIATE}, "D"},
        {{.kind = GSP_RECOVERY_TIME, .time_us = INT64_C(2999999999)}, "B"},
        {{.kind = GSP_RECOVERY_TIME, .time_us = INT64_C(3000000000)}, "C"},
        {{.kind = GSP_RECOVERY_TIME, .time_us = INT64_C(999999999)}, ""},
        {{.kind = GSP_RECOVERY_XID, .xid = 300}, "C"},
        {{.kind = GSP_RECOVERY_XID, .xid = 299}, "B"},
        {{.kind = GSP_RECOVERY_XID, .xid = 99}, ""},
        {{.kind = GSP_RECOVERY_LSN, .lsn = 60}, "C"},
        {{.kind = GSP_RECOVERY_LSN, .lsn = 59}, "B"},
        {{.kind = GSP_RECOVERY_LSN, .lsn = 19}, ""},
        {{.kind = GSP_RECOVERY_NAME, .text = "point of B"}, "B"},
        {{.kind = GSP_RECOVERY_NAME, .text = "another"}, "D"},
        {{.timeline = 2}, "D"},
        {{.timeline = 1}, "B"},
        {{.kind = GSP_RECOVERY_XID, .xid = 300, .timeline = 1}, "B"},
        {{.kind = GSP_RECOVERY_XID, .xid = 299, .timeline = 2}, "A"}, /* B is behind the fork */
        {{.timeline = 3}, ""},
    };
    struct gsp_error err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_recovery t = cases[i].target;
        t.text = t.text != NULL ? t.text : "x";
        const char *id = choose(*state, t, NULL, &err);
        if (strcmp(id, cases[i].id) != 0)
            fail_msg("case %zu: '%s' is chosen: %s", i, id, err.msg);
        if (cases[i].id[0] == '\0') {
            assert_int_equal(err.code, GSP_E_NOENT);
            assert_string_equal(err.msg, "Backup satisfying target options is not found.");
        }
    }
}

/* D and B are the stock tool's; D was merged by it, and is named after the FULL backup it began as. */
static void
names_that_the_stock_tool_gives_mean_points_in_wal(void **state)
{
    static char backup_b[] = "backup B", backup_c[] = "backup C", own_name[] = "pg_probackup, backup_id A";
    static const struct {
        const char *name, *in_wal, *id;
        int is_end;
    } cases[] = {
        {"backup B", "pg_probackup, backup_id B", "B", 1},
        {"pg_probackup, backup_id B", "pg_probackup, backup_id B", "B", 1},
        {"pg_probackup, backup_id A", "pg_probackup, backup_id A", "A", 1},
        {"backup D", "pg_probackup, backup_id D", "D", 1},
        {"backup C", "pg_probackup, backup_id C", "D", 0}, /* no backup's any more */
        {"backup A", "backup A", "D", 0},                  /* somebody's own restore point */
        {"backup", "backup", "D", 0},
    };
    struct gsp_error err;
    char name[RECOVERY_NAME_SIZE];
    backups[0].recovery_name = backup_c;
    backups[2].recovery_name = backup_b;
    backups[3].recovery_name = own_name;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_recovery t = {.kind = GSP_RECOVERY_NAME, .text = cases[i].name};
        recovery_target_resolve(&t, &list, name);
        assert_string_equal(t.text, cases[i].in_wal);
        assert_string_equal(choose(*state, t, NULL, &err), cases[i].id);
        assert_int_equal(recovery_target_is_end_of(&t, backup_list_find(&list, cases[i].id)), cases[i].is_end);
        /* From an older backup it is reached by its name. */
        assert_int_equal(recovery_target_is_beyond(&t, &backups[3]), strcmp(cases[i].id, "A") != 0);
    }
    struct gsp_recovery when = {.kind = GSP_RECOVERY_TIME, .text = "backup B"};
    recovery_target_resolve(&when, &list, name);
    assert_string_equal(when.text, "backup B");
}

static void
a_backup_that_is_no_good_is_passed_over(void **state)
{
    struct gsp_error err;
    struct gsp_recovery name = {.kind = GSP_RECOVERY_NAME, .text = name_of_b};
    backups[0].status = BACKUP_CORRUPT;
    assert_string_equal(choose(*state, (struct gsp_recovery){0}, NULL, &err), "C");
    /* The point of one that is damaged is in the WAL behind an older one. */
    backups[2].status = BACKUP_CORRUPT;
    assert_string_equal(choose(*state, name, NULL, &err), "A");
    /* And nothing older stands in for what could not be read. */
    backups[1].unread = 1;
    assert_string_equal(choose(*state, name, NULL, &err), "");
    assert_int_equal(err.code, GSP_E_IO);
}

static void
a_backup_by_its_id_has_to_be_suited(void **state)
{
    static const struct {
        struct gsp_recovery target;
        const char *id;
        int code;
    } cases[] = {
        {{.kind = GSP_RECOVERY_TIME, .time_us = INT64_C(2999999999)}, "A", 0},
        {{.kind = GSP_RECOVERY_TIME, .time_us = INT64_C(2999999999)}, "C", GSP_E_CONFIG},
        {{.kind = GSP_RECOVERY_XID, .xid = 299}, "C", GSP_E_CONFIG},
        {{.kind = GSP_RECOVERY_LSN, .lsn = 59}, "C", GSP_E_CONFIG},
        {{.kind = GSP_RECOVERY_NAME, .text = "point of B"}, "A", 0},
        {{.kind = GSP_RECOVERY_NAME, .text = "point of B"}, "C", GSP_E_CONFIG},
        {{.kind = GSP_RECOVERY_NAME, .text = "another"}, "A", 0},
        {{.timeline = 2}, "A", 0},
        {{.timeline = 2}, "B", GSP_E_CONFIG},
        {{.kind = GSP_RECOVERY_IMMEDIATE}, "A", 0},
        {{.kind = GSP_RECOVERY_IMMEDIATE}, "Z", GSP_E_NOENT},
    };
    struct gsp_error err;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_recovery t = cases[i].target;
        t.text = t.text != NULL ? t.text : "x";
        const char *id = choose(*state, t, cases[i].id, &err);
        if (err.code != cases[i].code || (err.code == 0 && strcmp(id, cases[i].id) != 0))
            fail_msg("case %zu: '%s', %s", i, id, err.msg);
    }
}

static void
ids_without_an_epoch_are_near_the_backup(void **state)
{
    const uint64_t epoch = UINT64_C(1) << 32;
    struct gsp_recovery t = {.kind = GSP_RECOVERY_XID, .xid = 500};
    struct backup b = {.recovery_xid = 7 * epoch + 400};
    (void)state;
    assert_true(recovery_target_satisfies(&t, NULL, &list, &b));
    assert_true(recovery_target_is_beyond(&t, &b));
    t.xid = 300;
    assert_false(recovery_target_satisfies(&t, NULL, &list, &b));
    t.xid = 7 * epoch + 500;
    assert_true(recovery_target_satisfies(&t, NULL, &list, &b));
    b.recovery_xid = 8 * epoch - 5;
    t.xid = 3;
    assert_true(recovery_target_satisfies(&t, NULL, &list, &b));
    assert_true(recovery_xid_near(8 * epoch - 5, 3) == 8 * epoch + 3);
    assert_true(recovery_xid_near(8 * epoch + 5, UINT32_MAX) == 8 * epoch - 1);
    assert_true(recovery_xid_near(700, 700) == 700);
    assert_true(recovery_xid_near(700, 699) == 699);
}

static void
the_end_of_the_backup_is_not_beyond_it(void **state)
{
    const struct backup *b = &backups[2];
    const struct gsp_recovery at_end[] = {{.kind = GSP_RECOVERY_TIME, .time_us = INT64_C(2000000000)},
        {.kind = GSP_RECOVERY_XID, .xid = 200}, {.kind = GSP_RECOVERY_LSN, .lsn = 40},
        {.kind = GSP_RECOVERY_NAME, .text = name_of_b}, {.kind = GSP_RECOVERY_IMMEDIATE}, {.timeline = 1}, {0}};
    const struct gsp_recovery beyond[] = {{.kind = GSP_RECOVERY_TIME, .time_us = INT64_C(2000000001)},
        {.kind = GSP_RECOVERY_XID, .xid = 201}, {.kind = GSP_RECOVERY_LSN, .lsn = 41},
        {.kind = GSP_RECOVERY_NAME, .text = "another"}, {.timeline = 2}};
    (void)state;
    for (size_t i = 0; i < sizeof at_end / sizeof at_end[0]; i++)
        if (recovery_target_is_beyond(&at_end[i], b))
            fail_msg("end %zu", i);
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++)
        if (!recovery_target_is_beyond(&beyond[i], b))
            fail_msg("beyond %zu", i);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_before_the_target_is_chosen, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_the_stock_tool_gives_mean_points_in_wal, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backup_that_is_no_good_is_passed_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_backup_by_its_id_has_to_be_suited, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_without_an_epoch_are_near_the_backup, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end_of_the_backup_is_not_beyond_it, setup, teardown),
    };
    return cmocka_run_group_tests_name("recovery_target", tests, NULL, NULL);
}
