/* SPDX-License-Identifier: Apache-2.0
 * The PostgreSQL dialect on recovery: the files that a server reads, and the WAL that a target is looked for in. */
#include "server_postgresql_wal.h"

enum { TRANSACTION = 1, COMMIT = 0x00, PREPARE = 0x10, ABORT = 0x20, COMMIT_PREPARED = 0x30, ABORT_PREPARED = 0x40 };
enum { HAS_FLAGS = 0x80, RESTORE_POINT = 0x70 };

#define YEAR_2000_US INT64_C(946684800000000)

/* ---- files -------------------------------------------------------------------------------------- */

struct files {
    char settings[4096];
    int n, has_settings, has_signal, no_standby, no_signal;
};

static int
take_file(void *arg, const struct gsp_recovery_file *file, struct gsp_error *err)
{
    struct files *f = arg;
    (void)err;
    f->n++;
    if (strcmp(file->path, "postgresql.auto.conf") == 0) {
        assert_int_equal(file->flags, GSP_RECOVERY_FILE_APPEND);
        assert_int_equal(file->mode, 0600);
        assert_true(strlen(file->text) < sizeof f->settings);
        (void)snprintf(f->settings, sizeof f->settings, "%s", file->text);
        f->has_settings = 1;
    } else if (strcmp(file->path, "recovery.signal") == 0) {
        f->no_signal = file->text == NULL;
        f->has_signal = file->text != NULL && file->text[0] == '\0';
        assert_int_equal(file->flags, 0);
    } else {
        assert_string_equal(file->path, "standby.signal");
        assert_null(file->text);
        f->no_standby = 1;
    }
    return 0;
}

static int
write_files(struct files *f, struct gsp_recovery recovery, struct gsp_error *err)
{
    struct gsp_cluster c = cluster_15();
    memset(f, 0, sizeof *f);
    memset(err, 0, sizeof *err);
    recovery.struct_size = sizeof recovery;
    return dialect()->recovery_files(&c, &recovery, take_file, f, err);
}

static void
a_target_gives_a_signal_and_settings(void **state)
{
    struct files f;
    struct gsp_error err;
    (void)state;
    assert_int_equal(
        write_files(&f,
            (struct gsp_recovery){
                .kind = GSP_RECOVERY_TIME, .text = "2026-05-01 10:20:30.5+02", .restore_command = "cp /wal/%f %p"},
            &err),
        0);
    assert_true(f.n == 3 && f.has_signal && f.no_standby);
    /* Only the last of the targets is one: all others are taken back before. */
    assert_string_equal(f.settings, "restore_command = 'cp /wal/%f %p'\n"
                                    "recovery_target = ''\n"
                                    "recovery_target_xid = ''\n"
                                    "recovery_target_lsn = ''\n"
                                    "recovery_target_name = ''\n"
                                    "recovery_target_time = '2026-05-01 10:20:30.5+02'\n"
                                    "recovery_target_inclusive = 'true'\n"
                                    "recovery_target_timeline = 'latest'\n"
                                    "recovery_target_action = 'promote'\n");
    assert_int_equal(write_files(&f,
                         (struct gsp_recovery){.kind = GSP_RECOVERY_XID,
                             .text = "700",
                             .flags = GSP_RECOVERY_EXCLUSIVE,
                             .timeline = 3,
                             .restore_command = "x"},
                         &err),
        0);
    assert_non_null(strstr(f.settings, "recovery_target_xid = '700'\nrecovery_target_inclusive = 'false'\n"
                                       "recovery_target_timeline = '3'\n"));
}

static void
no_target_is_no_recovery(void **state)
{
    struct files f;
    struct gsp_error err;
    (void)state;
    assert_int_equal(write_files(&f, (struct gsp_recovery){0}, &err), 0);
    assert_true(f.n == 3 && f.no_signal && f.no_standby && f.has_settings);
    assert_string_equal(f.settings, "");
    /* With a command it is one to the end of WAL. */
    assert_int_equal(write_files(&f, (struct gsp_recovery){.restore_command = "x"}, &err), 0);
    assert_true(f.has_signal);
    assert_non_null(strstr(f.settings, "recovery_target_name = ''\n"));
    assert_null(strstr(f.settings, "immediate"));
}

static void
own_wal_needs_no_command(void **state)
{
    struct files f;
    struct gsp_error err;
    struct gsp_recovery recovery = {.kind = GSP_RECOVERY_IMMEDIATE, .flags = GSP_RECOVERY_LOCAL};
    (void)state;
    assert_int_equal(write_files(&f, recovery, &err), 0);
    assert_non_null(strstr(f.settings, "restore_command = 'false'\n"));
    assert_non_null(strstr(f.settings, "recovery_target = 'immediate'\n"));
    /* Where it does the server is left to say so: one that never has a file would end recovery too early. */
    recovery.flags = 0;
    assert_int_equal(write_files(&f, recovery, &err), 0);
    assert_null(strstr(f.settings, "restore_command"));
}

static void
values_are_quoted_or_refused(void **state)
{
    struct files f;
    struct gsp_error err;
    char name[65] = "";
    struct gsp_recovery recovery = {
        .kind = GSP_RECOVERY_NAME, .text = "it's \\ \"x\"", .restore_command = "a 'b' \\c\\"};
    (void)state;
    assert_int_equal(write_files(&f, recovery, &err), 0);
    assert_non_null(strstr(f.settings, "recovery_target_name = 'it''s \\\\ \"x\"'\n"));
    assert_non_null(strstr(f.settings, "restore_command = 'a ''b'' \\\\c\\\\'\n"));
    recovery.restore_command = "a\nb";
    assert_int_equal(write_files(&f, recovery, &err), GSP_E_CONFIG);
    assert_int_equal(f.n, 0);
    recovery.restore_command = "a";
    recovery.text = "a\rb";
    assert_int_equal(write_files(&f, recovery, &err), GSP_E_CONFIG);
    memset(name, 'n', 63);
    recovery.text = name;
    assert_int_equal(write_files(&f, recovery, &err), 0);
    name[63] = 'n';
    assert_int_equal(write_files(&f, recovery, &err), GSP_E_CONFIG);
}

static int
refuse_file(void *arg, const struct gsp_recovery_file *file, struct gsp_error *err)
{
    int *n = arg;
    (*n)++;
    return gsp_fail(err, GSP_E_NOSPC, 0, "no room for '%s'", file->path);
}

static void
a_failure_of_the_taker_ends_it(void **state)
{
    struct gsp_cluster c = cluster_15();
    struct gsp_recovery recovery = {.struct_size = sizeof recovery, .restore_command = "x"};
    struct gsp_error err = {0};
    int n = 0;
    (void)state;
    assert_int_equal(dialect()->recovery_files(&c, &recovery, refuse_file, &n, &err), GSP_E_NOSPC);
    assert_int_equal(n, 1);
}

/* ---- WAL ---------------------------------------------------------------------------------------- */

/* seconds: of the year 2000 */
static gsp_lsn
put_end(struct wal *w, uint8_t what, uint32_t xid, int64_t seconds)
{
    uint8_t data[8];
    put64(data, (uint64_t)seconds * 1000000);
    return put_data(w, TRANSACTION, what, xid, data, sizeof data);
}

static gsp_lsn
put_restore_point(struct wal *w, const char *name)
{
    uint8_t data[8 + 64] = {0};
    (void)snprintf((char *)data + 8, 64, "%s", name);
    return put_data(w, 0, RESTORE_POINT, 0, data, sizeof data);
}

static struct gsp_wal_reach reach;

/* Returns 1 when the target was found, 0 when WAL ended before. */
static int
find(struct wal *w, const char *version, gsp_lsn after, struct gsp_recovery target)
{
    struct gsp_cluster c = cluster_15();
    struct gsp_wal_source source = {w, read_wal};
    struct gsp_error err = {0};
    (void)snprintf(c.version, sizeof c.version, "%s", version);
    target.struct_size = sizeof target;
    reach = (struct gsp_wal_reach){.struct_size = sizeof reach};
    int rc = dialect()->wal_find_target(&c, &source, w->timeline, FIRST + 40, after, &target, &reach, &err);
    assert_int_equal(rc, err.code);
    assert_true(rc == 0 ? reach.reached : rc == GSP_E_CORRUPT || rc == GSP_E_NOENT);
    return rc == 0;
}

static int
find_xid(struct wal *w, const char *version, uint64_t xid)
{
    return find(w, version, 0, (struct gsp_recovery){.kind = GSP_RECOVERY_XID, .xid = xid});
}

static int
find_time(struct wal *w, uint32_t flags, int64_t seconds)
{
    return find(w, "15", 0,
        (struct gsp_recovery){.kind = GSP_RECOVERY_TIME, .flags = flags, .time_us = YEAR_2000_US + seconds * 1000000});
}

static void
transactions_are_found_by_id_and_time(void **state)
{
    struct wal *w = *state;
    (void)add_record(w, 3000, 10, 0);
    (void)put_end(w, COMMIT, 700, 100);
    (void)put_end(w, PREPARE, 701, 300); /* ends nothing */
    gsp_lsn abort_lsn = put_end(w, ABORT, 702, 200);
    gsp_lsn end = w->at;
    assert_true(find_xid(w, "15", 700));
    assert_true(reach.xid == 700 && reach.time_us == YEAR_2000_US + 100 * 1000000 && reach.end < abort_lsn + 8);
    assert_true(find_xid(w, "15", 702));
    assert_true(find_xid(w, "15", (UINT64_C(3) << 32) + 702)); /* of which WAL has the low half */
    assert_int_equal(reach.end, end);
    assert_false(find_xid(w, "15", 701));
    assert_true(reach.xid == 702 && reach.time_us == YEAR_2000_US + 200 * 1000000);
    assert_int_equal(reach.end, end);
    /* Recovery to a time ends before the first transaction that is later, or not earlier. */
    assert_true(find_time(w, 0, 150));
    assert_true(reach.xid == 700 && reach.end <= abort_lsn);
    assert_true(find_time(w, 0, 199));
    assert_false(find_time(w, 0, 200));
    assert_false(find_time(w, GSP_RECOVERY_INCLUSIVE, 200));
    assert_true(find_time(w, GSP_RECOVERY_EXCLUSIVE, 200));
    assert_false(find_time(w, GSP_RECOVERY_EXCLUSIVE, 201));
}

static void
places_and_names_are_found(void **state)
{
    struct wal *w = *state;
    gsp_lsn first = put_restore_point(w, "one");
    (void)put_end(w, COMMIT, 700, 100);
    gsp_lsn second = put_restore_point(w, "two");
    struct gsp_recovery name = {.kind = GSP_RECOVERY_NAME, .text = "one"};
    assert_true(find(w, "15", 0, name));
    assert_int_equal(reach.xid, 0);
    assert_false(find(w, "15", first + 8, name)); /* before what was asked for */
    name.text = "two";
    assert_true(find(w, "15", second, name));
    assert_int_equal(reach.xid, 0); /* of what is before nothing is told */
    name.text = "tw";
    assert_false(find(w, "15", 0, name));
    name.text = "a name that is longer than any that a server writes into its WAL, which has 64 bytes";
    assert_false(find(w, "15", 0, name));
    struct gsp_recovery lsn = {.kind = GSP_RECOVERY_LSN, .lsn = second};
    assert_true(find(w, "15", 0, lsn));
    lsn.lsn = second + 8; /* no record begins there or behind */
    assert_false(find(w, "15", 0, lsn));
    assert_int_equal(reach.xid, 700);
}

/* The end of a prepared transaction, with one of everything before its id. */
static void
put_prepared(struct wal *w, uint8_t what, uint32_t xid, uint32_t subtransactions, uint32_t stats_size)
{
    uint8_t data[2000] = {0};
    uint32_t at = 8, commit = what == COMMIT_PREPARED;
    put32(data + at, 0x001 | 0x002 | 0x004 | 0x010 | 0x100 | (commit ? 0x008 : 0));
    at += 4 + 8;
    put32(data + at, subtransactions);
    at += 4 + subtransactions * 4;
    put32(data + at, 2);
    at += 4 + 2 * 12;
    put32(data + at, 3);
    at += 4 + 3 * stats_size;
    if (commit) {
        put32(data + at, 1);
        at += 4 + 16;
    }
    put32(data + at, xid);
    at += 4;
    (void)put_data(w, TRANSACTION, (uint8_t)(what | HAS_FLAGS), 0, data, at);
}

static void
prepared_transactions_are_found(void **state)
{
    struct wal *w = *state;
    put_prepared(w, COMMIT_PREPARED, 800, 3, 12);
    put_prepared(w, ABORT_PREPARED, 801, 0, 12);
    put_prepared(w, COMMIT_PREPARED, 802, 400, 12); /* its id lies behind what is kept of a record */
    (void)put_end(w, COMMIT_PREPARED, 803, 5);      /* without anything that could tell */
    assert_true(find_xid(w, "15", 800));
    assert_true(find_xid(w, "15", 801));
    assert_false(find_xid(w, "15", 802));
    assert_false(find_xid(w, "15", 803));
}

static void
version_18_has_larger_statistics(void **state)
{
    struct wal *w = *state;
    w->magic = 0xD118;
    put_prepared(w, COMMIT_PREPARED, 800, 3, 16);
    assert_true(find_xid(w, "18", 800));
}

static void
short_records_are_passed_over(void **state)
{
    static const uint8_t nothing[8] = {0};
    struct wal *w = *state;
    (void)put_data(w, TRANSACTION, COMMIT, 900, nothing, 7);
    (void)put_data(w, 0, RESTORE_POINT, 0, nothing, 8);
    (void)put_data(w, TRANSACTION, COMMIT_PREPARED | HAS_FLAGS, 901, nothing, 8);
    assert_false(find_xid(w, "15", 900));
    assert_false(find_xid(w, "15", 901));
    assert_false(find(w, "15", 0, (struct gsp_recovery){.kind = GSP_RECOVERY_NAME, .text = "x"}));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_gives_a_signal_and_settings),
        cmocka_unit_test(no_target_is_no_recovery),
        cmocka_unit_test(own_wal_needs_no_command),
        cmocka_unit_test(values_are_quoted_or_refused),
        cmocka_unit_test(a_failure_of_the_taker_ends_it),
        cmocka_unit_test_setup_teardown(transactions_are_found_by_id_and_time, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(places_and_names_are_found, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(prepared_transactions_are_found, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(version_18_has_larger_statistics, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(short_records_are_passed_over, setup_wal, free_wal),
    };
    return cmocka_run_group_tests_name("server-postgresql-recovery", tests, NULL, NULL);
}
