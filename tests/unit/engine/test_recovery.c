/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/engine/recovery.h"

#define SETTINGS "settings.conf"

struct recovery_fixture {
    struct spy repo_spy, data_spy;
    struct store data;
    struct engine e;
    struct backup b;
    struct recovery recovery;
    struct gsp_cluster cluster;
};

static char own_name[] = "B's";

static int
setup(void **state)
{
    static struct recovery_fixture f;
    struct gsp_error err;
    memset(&f, 0, sizeof f);
    log_set_console(LOG_LEVEL_OFF);
    ok(store_open(&f.e.repo, &spy_storage_ops, &f.repo_spy, NULL, "/repo", &err));
    ok(store_open(&f.data, &spy_storage_ops, &f.data_spy, NULL, "/data", &err));
    ok(store_mkdir(&f.e.repo, "wal/main", 0700, GSP_MKDIR_PARENTS, &err));
    ok(store_mkdir(&f.data, "", 0700, GSP_MKDIR_PARENTS, &err));
    ok(config_new(&f.e.cfg, &err));
    f.e.instance = "main";
    f.b = (struct backup){.id = "B", .timeline = 1, .stop_lsn = 100, .recovery_time = 1000, .recovery_xid = 700};
    f.b.recovery_name = own_name;
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    struct recovery_fixture *f = *state;
    recovery_free(&f->recovery);
    config_free(f->e.cfg);
    store_close(&f->e.repo);
    store_close(&f->data);
    return 0;
}

static void
set_command(struct recovery_fixture *f, const char *command)
{
    struct gsp_error err;
    ok(config_set(f->e.cfg, "restore-command", command, CONFIG_CMDLINE, "test", &err));
}

/* ---- the plan ----------------------------------------------------------------------------------- */

static void
what_the_backup_brings_needs_no_recovery(void **state)
{
    struct recovery_fixture *f = *state;
    const struct gsp_recovery at_end[] = {{.kind = GSP_RECOVERY_TIME, .time_us = 1000000000, .text = "x"},
        {.kind = GSP_RECOVERY_XID, .xid = 700, .text = "x"}, {.kind = GSP_RECOVERY_LSN, .lsn = 100, .text = "x"},
        {.timeline = 1}, {0}};
    for (size_t i = 0; i < sizeof at_end / sizeof at_end[0]; i++) {
        struct gsp_recovery plan = recovery_plan(&f->e, &at_end[i], &f->b);
        assert_false(recovery_target_is_given(&plan) || plan.restore_command != NULL);
    }
    /* With a command there is more WAL than the backup's. */
    set_command(f, "fetch");
    for (size_t i = 0; i < sizeof at_end / sizeof at_end[0]; i++) {
        struct gsp_recovery plan = recovery_plan(&f->e, &at_end[i], &f->b);
        assert_string_equal(plan.restore_command, "fetch");
        assert_int_equal(plan.kind, at_end[i].kind);
    }
    set_command(f, "None");
    assert_null(recovery_plan(&f->e, &at_end[0], &f->b).restore_command);
}

static void
the_name_of_the_backup_means_its_end(void **state)
{
    struct recovery_fixture *f = *state;
    struct gsp_recovery target = {.kind = GSP_RECOVERY_NAME, .text = "B's"};
    struct gsp_recovery plan = recovery_plan(&f->e, &target, &f->b);
    assert_true(plan.kind == GSP_RECOVERY_IMMEDIATE && plan.text == NULL && (plan.flags & GSP_RECOVERY_LOCAL));
    target.text = "another";
    plan = recovery_plan(&f->e, &target, &f->b);
    assert_true(plan.kind == GSP_RECOVERY_NAME && plan.flags == 0);
}

/* ---- the files ---------------------------------------------------------------------------------- */

/* The dialect of these tests: one file is made, one goes, one has a line for each thing that is wanted. */
static int
toy_files(const struct gsp_cluster *cluster, const struct gsp_recovery *recovery, gsp_recovery_cb cb, void *arg,
    struct gsp_error *err)
{
    char text[100] = "";
    (void)cluster;
    if (recovery->text != NULL || recovery->restore_command != NULL)
        (void)snprintf(text, sizeof text, "target %s\ncommand %s\n", recovery->text != NULL ? recovery->text : "-",
            recovery->restore_command != NULL ? recovery->restore_command : "-");
    const struct gsp_recovery_file files[] = {
        {.path = "gone"},
        {.path = SETTINGS, .text = text, .mode = 0600, .flags = GSP_RECOVERY_FILE_APPEND},
        {.path = "signal", .text = text[0] != '\0' ? "" : NULL, .mode = 0640},
    };
    int rc = 0;
    for (size_t i = 0; i < 3 && rc == 0; i++)
        rc = cb(arg, &files[i], err);
    return rc;
}

static void
write_for(struct recovery_fixture *f, const char *target)
{
    struct gsp_error err;
    struct gsp_dialect_ops dialect = toy_dialect;
    struct gsp_recovery plan = {.kind = target != NULL ? GSP_RECOVERY_NAME : GSP_RECOVERY_NONE, .text = target};
    dialect.recovery_files = toy_files;
    recovery_free(&f->recovery);
    ok(recovery_prepare(&f->e, &dialect, &f->cluster, &plan, &f->b, &f->recovery, &err));
    ok(recovery_write(&f->recovery, &f->data, 0, &err));
}

static void
assert_settings(struct recovery_fixture *f, const char *before, const char *target, const char *behind)
{
    struct gsp_error err;
    auto_strbuf text = STRBUF_INIT, wanted = STRBUF_INIT;
    ok(store_read_all(&f->data, SETTINGS, 10000, &text, &err));
    strbuf_puts(&wanted, before);
    strbuf_puts(&wanted, behind);
    if (target != NULL)
        strbuf_printf(&wanted,
            "# Recovery settings of gs_probackup restore begin here: the next restore replaces them\ntarget %s\n"
            "command -\n# Recovery settings of gs_probackup restore end here\n",
            target);
    assert_string_equal(strbuf_str(&text), strbuf_str(&wanted));
}

static void
put_settings(struct recovery_fixture *f, const char *text, uint32_t mode)
{
    struct gsp_error err;
    ok(store_write_all(&f->data, SETTINGS, mode, 0, text, strlen(text), &err));
}

static int
is_there(struct recovery_fixture *f, const char *path)
{
    struct gsp_error err = {0};
    int rc = store_exists(&f->data, path, &err);
    assert_true(rc >= 0);
    return rc;
}

static void
settings_go_to_the_end_and_replace_earlier_ones(void **state)
{
    struct recovery_fixture *f = *state;
    struct gsp_error err;
    struct gsp_stat st;
    put_settings(f, "a = '1'\nb = '2'", 0640);
    ok(store_write_all(&f->data, "gone", 0600, 0, "x", 1, &err));
    write_for(f, "one");
    assert_settings(f, "a = '1'\nb = '2'\n", "one", "");
    assert_true(is_there(f, "signal") && !is_there(f, "gone"));
    ok(store_stat(&f->data, SETTINGS, &st, &err));
    assert_int_equal(st.mode & 0777, 0640);
    write_for(f, "two");
    assert_settings(f, "a = '1'\nb = '2'\n", "two", "");
    /* What the server wrote behind them meanwhile stays, and goes before the new ones. */
    auto_strbuf text = STRBUF_INIT;
    ok(store_read_all(&f->data, SETTINGS, 10000, &text, &err));
    strbuf_puts(&text, "c = '3'\n");
    put_settings(f, strbuf_str(&text), 0640);
    write_for(f, "three");
    assert_settings(f, "a = '1'\nb = '2'\n", "three", "c = '3'\n");
    write_for(f, NULL);
    assert_settings(f, "a = '1'\nb = '2'\n", NULL, "c = '3'\n");
    assert_false(is_there(f, "signal"));
}

static void
settings_without_their_end_lose_only_the_mark(void **state)
{
    struct recovery_fixture *f = *state;
    put_settings(f,
        "a = '1'\n# Recovery settings of gs_probackup restore begin here: the next restore replaces them\nb = '2'\n",
        0600);
    write_for(f, NULL);
    assert_settings(f, "a = '1'\n", NULL, "b = '2'\n");
}

static void
without_settings_there_is_nothing_to_write(void **state)
{
    struct recovery_fixture *f = *state;
    write_for(f, NULL);
    assert_false(is_there(f, SETTINGS) || is_there(f, "signal"));
    write_for(f, "one");
    assert_settings(f, "", "one", "");
}

static int
outside_files(const struct gsp_cluster *cluster, const struct gsp_recovery *recovery, gsp_recovery_cb cb, void *arg,
    struct gsp_error *err)
{
    (void)cluster;
    (void)recovery;
    return cb(arg, &(struct gsp_recovery_file){.path = "../x", .text = ""}, err);
}

static void
dialects_are_not_trusted(void **state)
{
    struct recovery_fixture *f = *state;
    struct gsp_error err;
    struct gsp_recovery plan = {.kind = GSP_RECOVERY_IMMEDIATE};
    struct gsp_dialect_ops dialect = toy_dialect;
    fails(recovery_prepare(&f->e, &dialect, &f->cluster, &plan, &f->b, &f->recovery, &err), GSP_E_UNSUPPORTED);
    plan.kind = GSP_RECOVERY_NONE;
    ok(recovery_prepare(&f->e, &dialect, &f->cluster, &plan, &f->b, &f->recovery, &err));
    assert_int_equal(f->recovery.n, 0);
    dialect.recovery_files = outside_files;
    fails(recovery_prepare(&f->e, &dialect, &f->cluster, &plan, &f->b, &f->recovery, &err), GSP_E_BUG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_backup_brings_needs_no_recovery, setup, teardown),
        cmocka_unit_test_setup_teardown(the_name_of_the_backup_means_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(settings_go_to_the_end_and_replace_earlier_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(settings_without_their_end_lose_only_the_mark, setup, teardown),
        cmocka_unit_test_setup_teardown(without_settings_there_is_nothing_to_write, setup, teardown),
        cmocka_unit_test_setup_teardown(dialects_are_not_trusted, setup, teardown),
    };
    return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
