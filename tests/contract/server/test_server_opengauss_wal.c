/* SPDX-License-Identifier: Apache-2.0
 * The openGauss dialect on WAL made here, and on recovery: the file that a server reads, and targets looked for in
 * WAL. How WAL is walked the tests of PostgreSQL's dialect show, which reads it with the same code. */
#include "dialect_wal.h"
#include "server_opengauss_test.h"

enum { TRANSACTION = 1, COMMIT = 0x00, PREPARE = 0x10, ABORT = 0x20, COMMIT_PREPARED = 0x30, COMMIT_COMPACT = 0x60 };
enum { ABORT_WITH_XID = 0x70, RESTORE_POINT = 0x70, BARRIER = 255 };

#define YEAR_2000_US INT64_C(946684800000000)

static int
setup_gauss(void **state)
{
    struct wal *w;
    (void)setup_wal(state);
    w = *state;
    w->magic = 0xD074;
    w->is_wide = 1;
    return 0;
}

/* ---- WAL ---------------------------------------------------------------------------------------- */

static int
verify(struct wal *w, gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err)
{
    struct gsp_cluster c = cluster_gauss();
    struct gsp_wal_source source = {w, read_wal};
    memset(err, 0, sizeof *err);
    return dialect()->wal_verify(&c, &source, w->timeline, FIRST, to, ret_end, err);
}

static void
wal_is_walked(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    for (uint32_t n = 0; w->at < FIRST + 2 * (gsp_lsn)SEG; n++)
        (void)add_record(w, 32 + (n * 37) % 9001, (uint8_t)(1 + n % BARRIER), 0);
    (void)add_record(w, 32, 0, 0x40); /* the rest of the segment is left free */
    (void)add_record(w, 500, 10, 0x84);
    assert_int_equal(verify(w, w->at, &end, &err), 0);
    assert_int_equal(end, w->at);
    assert_true(end > FIRST + 3 * (gsp_lsn)SEG);
    assert_int_equal(verify(w, w->at + 1, &end, &err), GSP_E_CORRUPT);
    assert_int_equal(end, w->at);
}

static void
damaged_wal_is_corrupt(void **state)
{
    static const struct {
        uint32_t at;
        const char *what;
    } cases[] = {{BLOCK, "magic D0"}, {BLOCK + 2, "flags"}, {24, "system id"}, {40 + 8, "checksum"},
        {40 + 26, "checksum"}, {40 + 40, "checksum"}, {BLOCK + 500, "checksum"}, {43, "length"}};
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    for (int i = 0; i < 100; i++)
        (void)add_record(w, 3000, 1, 0);
    assert_int_equal(verify(w, w->at, &end, &err), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        w->data[cases[i].at] ^= 0x60;
        assert_int_equal(verify(w, w->at, &end, &err), GSP_E_CORRUPT);
        if (strstr(err.msg, cases[i].what) == NULL)
            fail_msg("byte %u: %s", cases[i].at, err.msg);
        w->data[cases[i].at] ^= 0x60;
    }
    put64(w->data + 40 + 16, FIRST + SEG);
    assert_int_equal(verify(w, w->at, &end, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "predecessor"));
}

static void
wal_of_others_is_named(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    w->magic = 0xD073;
    (void)add_record(w, 100, 1, 0);
    assert_int_equal(verify(w, w->at, &end, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "magic D073, openGauss writes D074"));
    assert_non_null(strstr(err.hint, "another version"));
    put16(w->data, 0xD110);
    assert_int_equal(verify(w, w->at, &end, &err), GSP_E_CORRUPT);
    assert_int_equal(err.hint[0], '\0');
}

/* ---- targets in WAL ------------------------------------------------------------------------------ */

/* seconds: of the year 2000 */
static gsp_lsn
put_end(struct wal *w, uint8_t what, uint64_t xid, int64_t seconds)
{
    uint8_t data[32] = {0};
    put64(data, (uint64_t)seconds * 1000000);
    return put_data(w, TRANSACTION, what | 4, xid, data, sizeof data);
}

static struct gsp_wal_reach reach;

static int
find(struct wal *w, gsp_lsn after, struct gsp_recovery target)
{
    struct gsp_cluster c = cluster_gauss();
    struct gsp_wal_source source = {w, read_wal};
    struct gsp_error err = {0};
    target.struct_size = sizeof target;
    reach = (struct gsp_wal_reach){.struct_size = sizeof reach};
    int rc = dialect()->wal_find_target(&c, &source, w->timeline, FIRST + 40, after, &target, &reach, &err);
    assert_int_equal(rc, err.code);
    assert_true(rc == 0 ? reach.reached : rc == GSP_E_CORRUPT || rc == GSP_E_NOENT);
    return rc == 0;
}

static int
find_xid(struct wal *w, uint64_t xid)
{
    return find(w, 0, (struct gsp_recovery){.kind = GSP_RECOVERY_XID, .xid = xid});
}

static int
find_time(struct wal *w, uint32_t flags, int64_t seconds)
{
    return find(w, 0,
        (struct gsp_recovery){.kind = GSP_RECOVERY_TIME, .flags = flags, .time_us = YEAR_2000_US + seconds * 1000000});
}

static void
transactions_are_found_by_id_and_time(void **state)
{
    const uint64_t wide = (UINT64_C(3) << 32) + 700;
    struct wal *w = *state;
    (void)add_record(w, 3000, 10, 0);
    (void)put_end(w, COMMIT_COMPACT, wide, 100);
    (void)put_end(w, PREPARE, wide + 1, 300);
    (void)put_end(w, COMMIT_PREPARED, wide + 2, 300); /* recovery does not look at it */
    gsp_lsn abort_lsn = put_end(w, ABORT, wide + 3, 200);
    (void)put_end(w, COMMIT, wide + 4, 210);
    (void)put_end(w, ABORT_WITH_XID, wide + 5, 220);
    gsp_lsn end = w->at;
    assert_true(find_xid(w, wide));
    assert_true(reach.xid == wide && reach.time_us == YEAR_2000_US + 100 * 1000000);
    assert_false(find_xid(w, 700)); /* all 64 bits count */
    assert_false(find_xid(w, wide + 2));
    assert_true(find_xid(w, wide + 3));
    assert_true(find_xid(w, wide + 4));
    assert_true(find_xid(w, wide + 5));
    assert_int_equal(reach.end, end);
    assert_true(find_time(w, 0, 150));
    assert_true(reach.xid == wide && reach.end <= abort_lsn);
    assert_true(find_time(w, 0, 200)); /* by the one at 210 */
    assert_false(find_time(w, 0, 220));
    assert_true(find_time(w, GSP_RECOVERY_EXCLUSIVE, 220));
}

static void
places_and_names_are_found(void **state)
{
    struct wal *w = *state;
    uint8_t point[8 + 64] = {0};
    (void)snprintf((char *)point + 8, 64, "pg_probackup, backup_id TOW6OS");
    gsp_lsn first = put_data(w, 0, RESTORE_POINT, 0, point, sizeof point);
    gsp_lsn second = put_end(w, COMMIT, 700, 100);
    struct gsp_recovery name = {.kind = GSP_RECOVERY_NAME, .text = "pg_probackup, backup_id TOW6OS"};
    assert_true(find(w, 0, name));
    assert_false(find(w, first + 8, name)); /* before what was asked for */
    name.text = "pg_probackup, backup_id TOW6O";
    assert_false(find(w, 0, name));
    struct gsp_recovery lsn = {.kind = GSP_RECOVERY_LSN, .lsn = second};
    assert_true(find(w, 0, lsn));
    lsn.lsn = second + 8;
    assert_false(find(w, 0, lsn));
    assert_int_equal(reach.xid, 700);
}

/* ---- the file ------------------------------------------------------------------------------------ */

struct files {
    char settings[4096];
    int n, is_there;
};

static int
take_file(void *arg, const struct gsp_recovery_file *file, struct gsp_error *err)
{
    struct files *f = arg;
    (void)err;
    f->n++;
    assert_string_equal(file->path, "recovery.conf");
    assert_int_equal(file->flags, 0);
    assert_int_equal(file->mode, 0600);
    f->is_there = file->text != NULL;
    (void)snprintf(f->settings, sizeof f->settings, "%s", file->text != NULL ? file->text : "");
    return 0;
}

static int
write_file(struct files *f, struct gsp_recovery recovery, struct gsp_error *err)
{
    struct gsp_cluster c = cluster_gauss();
    memset(f, 0, sizeof *f);
    memset(err, 0, sizeof *err);
    recovery.struct_size = sizeof recovery;
    return dialect()->recovery_files(&c, &recovery, take_file, f, err);
}

static void
a_target_gives_a_recovery_file(void **state)
{
    struct files f;
    struct gsp_error err;
    (void)state;
    assert_int_equal(
        write_file(&f,
            (struct gsp_recovery){.kind = GSP_RECOVERY_XID, .text = "14256", .restore_command = "cp '/a b/%f' \"%p\""},
            &err),
        0);
    assert_int_equal(f.n, 1);
    assert_string_equal(f.settings, "restore_command = 'cp ''/a b/%f'' \"%p\"'\n"
                                    "recovery_target_xid = '14256'\n"
                                    "pause_at_recovery_target = 'false'\n");
    assert_int_equal(write_file(&f,
                         (struct gsp_recovery){.kind = GSP_RECOVERY_LSN,
                             .text = "0/1F002158",
                             .flags = GSP_RECOVERY_EXCLUSIVE | GSP_RECOVERY_LOCAL,
                             .timeline = 1},
                         &err),
        0);
    assert_string_equal(f.settings, "restore_command = 'false'\n"
                                    "recovery_target_lsn = '0/1F002158'\n"
                                    "recovery_target_inclusive = 'false'\n"
                                    "recovery_target_timeline = '1'\n"
                                    "pause_at_recovery_target = 'false'\n");
    /* Without WAL and a command the user has to fill it in. */
    assert_int_equal(
        write_file(
            &f, (struct gsp_recovery){.kind = GSP_RECOVERY_NAME, .text = "rp1", .flags = GSP_RECOVERY_INCLUSIVE}, &err),
        0);
    assert_string_equal(f.settings, "recovery_target_name = 'rp1'\n"
                                    "recovery_target_inclusive = 'true'\n"
                                    "pause_at_recovery_target = 'false'\n");
    assert_int_equal(write_file(&f, (struct gsp_recovery){.restore_command = "x"}, &err), 0);
    assert_string_equal(f.settings, "restore_command = 'x'\npause_at_recovery_target = 'false'\n");
}

static void
no_target_is_no_file(void **state)
{
    struct files f;
    struct gsp_error err;
    (void)state;
    assert_int_equal(write_file(&f, (struct gsp_recovery){0}, &err), 0);
    assert_true(f.n == 1 && !f.is_there);
    /* The end of a backup is where its WAL ends. */
    struct gsp_recovery immediate = {
        .kind = GSP_RECOVERY_IMMEDIATE, .flags = GSP_RECOVERY_LOCAL, .restore_command = "x"};
    assert_int_equal(write_file(&f, immediate, &err), 0);
    assert_true(f.n == 1 && !f.is_there);
    immediate.flags = 0;
    assert_int_equal(write_file(&f, immediate, &err), GSP_E_CONFIG);
    assert_int_equal(f.n, 0);
    assert_non_null(strstr(err.hint, "--recovery-target-lsn"));
}

/* The server reads no fractions of a second. */
static void
times_are_whole_seconds(void **state)
{
    struct files f;
    struct gsp_error err;
    struct gsp_recovery time = {.kind = GSP_RECOVERY_TIME, .text = "2026-05-01 10:20:30+02", .time_us = 1000000};
    (void)state;
    assert_int_equal(write_file(&f, time, &err), 0);
    assert_non_null(strstr(f.settings, "recovery_target_time = '2026-05-01 10:20:30+02'\n"));
    time.text = "2026-05-01 10:20:30.000+02";
    assert_int_equal(write_file(&f, time, &err), 0);
    assert_non_null(strstr(f.settings, "recovery_target_time = '2026-05-01 10:20:30+02'\n"));
    time.text = "2026-05-01 10:20:30.5+02";
    time.time_us += 500000;
    assert_int_equal(write_file(&f, time, &err), GSP_E_CONFIG);
    assert_int_equal(f.n, 0);
    assert_non_null(strstr(err.msg, "whole seconds"));
}

static void
values_that_fit_no_line_are_refused(void **state)
{
    struct files f;
    struct gsp_error err;
    char name[65] = "";
    struct gsp_recovery recovery = {.kind = GSP_RECOVERY_NAME, .text = name, .restore_command = "a\nb"};
    (void)state;
    assert_int_equal(write_file(&f, recovery, &err), GSP_E_CONFIG);
    recovery.restore_command = "a";
    memset(name, 'n', 63);
    assert_int_equal(write_file(&f, recovery, &err), 0);
    name[63] = 'n';
    assert_int_equal(write_file(&f, recovery, &err), GSP_E_CONFIG);
    assert_int_equal(f.n, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wal_is_walked, setup_gauss, free_wal),
        cmocka_unit_test_setup_teardown(damaged_wal_is_corrupt, setup_gauss, free_wal),
        cmocka_unit_test_setup_teardown(wal_of_others_is_named, setup_gauss, free_wal),
        cmocka_unit_test_setup_teardown(transactions_are_found_by_id_and_time, setup_gauss, free_wal),
        cmocka_unit_test_setup_teardown(places_and_names_are_found, setup_gauss, free_wal),
        cmocka_unit_test(a_target_gives_a_recovery_file),
        cmocka_unit_test(no_target_is_no_file),
        cmocka_unit_test(times_are_whole_seconds),
        cmocka_unit_test(values_that_fit_no_line_are_refused),
    };
    return cmocka_run_group_tests_name("server-opengauss-wal", tests, NULL, NULL);
}
