/* SPDX-License-Identifier: Apache-2.0
 * The changed-block map of openGauss, on rows recorded from a server (found through GSP_FIXTURES) and on rows made
 * here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cbm.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define COLUMNS 13
#define FROM ((gsp_lsn)0x22000028)
#define TO ((gsp_lsn)0x24000028)
#define RANGE "00000000/22000028", "00000000/24000028"

/* A server that answers from tables. Its clock goes only while it is waited for. */
struct server {
    const char *tracking;  /* the setting, NULL = no such setting */
    gsp_lsn tracked, step; /* how far it is, and how much further after each wait */
    int no_position;
    gsp_lsn forced;      /* how far it comes when it is asked to */
    const char *refusal; /* what it says to that instead */
    int forces;
    const char *(*rows)[COLUMNS];
    uint32_t n_rows, columns;
    const char *failure; /* what it says instead of the rows */
    const char *(*slots)[2];
    uint32_t n_slots;
    int64_t now_us;
    int waits, cancel_at; /* the wait that is cancelled, counted from 1 */
    char asked[512];      /* the statement for the rows */
};

static int
query(void *ctx, const char *sql, cbm_row_cb cb, void *arg, struct gsp_error *err)
{
    struct server *s = ctx;
    char lsn[32] = "";
    const char *cell = lsn;
    int rc = 0;
    if (strstr(sql, "enable_cbm_tracking") != NULL)
        return s->tracking != NULL ? cb(arg, 1, &s->tracking, err) : 0;
    if (strstr(sql, "pg_cbm_tracked_location") != NULL) {
        if (!s->no_position)
            (void)snprintf(lsn, sizeof lsn, "%08X/%08X", GSP_LSN_ARGS(s->tracked));
        return cb(arg, 1, &cell, err);
    }
    if (strstr(sql, "pg_cbm_force_track") != NULL) {
        assert_non_null(strstr(sql, "('0/24000028', 1)"));
        s->forces++;
        if (s->refusal != NULL)
            return gsp_fail(err, GSP_E_SERVER, 0, "query failed: %s", s->refusal);
        s->tracked = s->forced > s->tracked ? s->forced : s->tracked;
        (void)snprintf(lsn, sizeof lsn, "%08X/%08X", GSP_LSN_ARGS(s->tracked));
        return cb(arg, 1, &cell, err);
    }
    if (strstr(sql, "pg_get_replication_slots") != NULL) {
        for (uint32_t i = 0; rc == 0 && i < s->n_slots; i++)
            rc = cb(arg, 2, s->slots[i], err);
        return rc;
    }
    assert_non_null(strstr(sql, "pg_cbm_get_changed_block"));
    (void)snprintf(s->asked, sizeof s->asked, "%s", sql);
    if (s->failure != NULL) {
        (void)gsp_hint(err, "a hint of the server");
        return gsp_fail(err, GSP_E_SERVER, 0, "query failed: %s", s->failure);
    }
    for (uint32_t i = 0; rc == 0 && i < s->n_rows; i++)
        rc = cb(arg, s->columns, s->rows[i], err);
    return rc;
}

static int64_t
now_us(void *ctx)
{
    const struct server *s = ctx;
    return s->now_us;
}

static int
wait_a_while(void *ctx, int64_t us, struct gsp_error *err)
{
    struct server *s = ctx;
    assert_true(us > 0 && us <= 1000000);
    s->now_us += us;
    s->tracked += s->step;
    if (++s->waits == s->cancel_at)
        return gsp_fail(err, GSP_E_CANCELLED, 0, "stopped");
    return 0;
}

struct found {
    uint32_t n;
    struct gsp_change changes[4000];
    int fail;
};

static int
collect(void *arg, const struct gsp_change *changes, uint32_t n, struct gsp_error *err)
{
    struct found *f = arg;
    if (f->fail)
        return gsp_fail(err, GSP_E_NOENT, 0, "no room");
    assert_true(n > 0 && f->n + n <= COUNT(f->changes));
    memcpy(f->changes + f->n, changes, n * sizeof *changes);
    f->n += n;
    return 0;
}

static struct found found;

static int
read_map(struct server *s, int64_t timeout_us, struct gsp_error *err)
{
    struct cbm_session session = {s, query, now_us, wait_a_while};
    int fail = found.fail;
    memset(err, 0, sizeof *err);
    found = (struct found){.fail = fail};
    return cbm_changed_blocks(&session, FROM, TO, timeout_us, collect, &found, err);
}

static struct server
server_with(const char *(*rows)[COLUMNS], uint32_t n)
{
    return (struct server){.tracking = "on", .tracked = TO, .rows = rows, .n_rows = n, .columns = COLUMNS};
}

static void
expect(uint32_t i, uint32_t kind, uint32_t relation, uint32_t block, uint32_t count)
{
    const struct gsp_change *c = &found.changes[i];
    assert_true(i < found.n);
    if (c->kind != kind || c->space_oid != 1663 || c->db_oid != 5 || c->relation != relation || c->block != block ||
        c->count != count)
        fail_msg("change %u: kind %u of %u/%u/%u, block %u, count %u", i, c->kind, c->space_oid, c->db_oid, c->relation,
            c->block, c->count);
}

/* ---- rows --------------------------------------------------------------------------------------- */

static void
rows_become_changes(void **state)
{
    const char *rows[][COLUMNS] = {
        {RANGE, "1663", "5", "16384", "0", "base/5/16384", "f", "f", "f", "", "6", "0, 27, 28, 29, 131071, 131072"},
        {RANGE, "1663", "5", "16385", "0", "base/5/16385", "t", "f", "f", "", "0", ""},
        {RANGE, "1663", "5", "16386", "0", "base/5/16386", "f", "t", "f", "", "2", "0, 1"},
        {RANGE, "1663", "5", "16387", "0", "base/5/16387", "f", "f", "t", "40", "1", "3"},
        {RANGE, "1663", "5", "16388", "0", "+data/base/5/16388", "f", "f", "f", "", "1", "4294967294"},
    };
    struct server s = server_with(rows, COUNT(rows));
    struct gsp_error err;
    (void)state;
    assert_int_equal(read_map(&s, 0, &err), 0);
    assert_non_null(strstr(s.asked, "'0/22000028', '0/24000028'"));
    assert_int_equal(found.n, 9);
    expect(0, GSP_CHANGE_BLOCKS, 16384, 0, 1);
    expect(1, GSP_CHANGE_BLOCKS, 16384, 27, 3);
    expect(2, GSP_CHANGE_BLOCKS, 16384, 131071, 2);
    expect(3, GSP_CHANGE_FROM, 16385, 0, 0);
    expect(4, GSP_CHANGE_FROM, 16386, 0, 0);
    expect(5, GSP_CHANGE_BLOCKS, 16386, 0, 2);
    expect(6, GSP_CHANGE_FROM, 16387, 40, 0);
    expect(7, GSP_CHANGE_BLOCKS, 16387, 3, 1);
    expect(8, GSP_CHANGE_BLOCKS, 16388, UINT32_MAX - 1, 1); /* in a disk group: found by the end of its path */
    assert_int_equal(s.waits, 0);
}

static void
other_files_are_left_out(void **state)
{
    static const char *const paths[] = {"undo/permanent/00000.meta", "undo/permanent/16384", "base/5/16384_C1.0",
        "base/5/16384_b3", "base/5/16384_fsm", "base/5/016384", "base/6/16384", "16384", "base/5/163845", ""};
    struct gsp_error err;
    (void)state;
    for (size_t i = 0; i < COUNT(paths); i++) {
        const char *rows[][COLUMNS] = {
            {RANGE, "1663", "5", "16384", "0", paths[i], "f", "t", "f", "", "1", "1"},
            {RANGE, "1663", "5", "16384", "1", "base/5/16384", "f", "t", "f", "", "1", "1"},
            {RANGE, "1663", "5", "0", "0", "base/5/0", "f", "t", "f", "", "1", "1"},
        };
        struct server s = server_with(rows, COUNT(rows));
        assert_int_equal(read_map(&s, 0, &err), 0);
        if (found.n != 0)
            fail_msg("'%s' was taken for a relation", paths[i]);
    }
}

static void
shared_relations_and_tablespaces_are_taken(void **state)
{
    const char *rows[][COLUMNS] = {
        {RANGE, "1664", "0", "1262", "0", "global/1262", "f", "f", "f", "", "1", "1"},
        {RANGE, "16393", "5", "16394", "0", "pg_tblspc/16393/PG_9.2_201611171_n1/5/16394", "f", "f", "f", "", "1", "2"},
    };
    struct server s = server_with(rows, COUNT(rows));
    struct gsp_error err;
    (void)state;
    assert_int_equal(read_map(&s, 0, &err), 0);
    assert_int_equal(found.n, 2);
    assert_int_equal(found.changes[0].space_oid, 1664);
    assert_int_equal(found.changes[0].db_oid, 0);
    assert_int_equal(found.changes[0].relation, 1262);
    assert_int_equal(found.changes[1].space_oid, 16393);
    assert_int_equal(found.changes[1].relation, 16394);
    assert_int_equal(found.changes[1].block, 2);
}

static void
malformed_rows_are_named(void **state)
{
    static const struct {
        int column;
        const char *cell, *named;
    } cases[] = {
        {0, "yesterday", "start 'yesterday'"},
        {1, "", "end ''"},
        {1, "0/24000028x", "end"},
        {2, "default", "tablespace 'default'"},
        {3, "-1", "database '-1'"},
        {4, "4294967296", "relation '4294967296'"},
        {5, "main", "fork 'main'"},
        {7, "true", "rel_dropped 'true'"},
        {8, "", "rel_created ''"},
        {9, "x", "rel_truncated 'x'"},
        {11, "", "number of blocks ''"},
        {11, "4", "not as long as '4'"},
        {11, "2", "not as long as '2'"},
        {12, "1, 2,", "list that breaks at ''"},
        {12, "1; 2", "list that breaks at '; 2'"},
        {12, "1, 2, 4294967295", "list that breaks at"},
        {12, "1, 2, 99999999999999999999", "list that breaks at '99999999999999999999'"},
        {12, "", "not as long as '3'"},
    };
    struct gsp_error err;
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *rows[][COLUMNS] = {
            {RANGE, "1663", "5", "16384", "0", "base/5/16384", "f", "f", "f", "", "1", "1"},
            {RANGE, "1663", "5", "16385", "0", "base/5/16385", "f", "f", "f", "", "3", "1, 2, 9"},
        };
        struct server s = server_with(rows, COUNT(rows));
        assert_int_equal(read_map(&s, 0, &err), 0);
        rows[1][cases[i].column] = cases[i].cell;
        if (read_map(&s, 0, &err) != GSP_E_PROTO || strstr(err.msg, cases[i].named) == NULL ||
            strstr(err.msg, "row 2 (path 'base/5/16385')") == NULL)
            fail_msg("column %d, '%s': %s", cases[i].column, cases[i].cell, err.msg);
        if (strcmp(cases[i].cell, "x") == 0) {
            rows[1][9] = "t"; /* truncated to nowhere */
            assert_int_equal(read_map(&s, 0, &err), GSP_E_PROTO);
            assert_non_null(strstr(err.msg, "truncate_blocknum ''"));
        }
        s.columns = 3;
        assert_int_equal(read_map(&s, 0, &err), GSP_E_PROTO);
    }
}

static void
a_list_of_a_large_relation_has_no_limit(void **state)
{
    enum { N = 1000000 };
    char *list = malloc(N * 12), number[16];
    char *p = list;
    struct gsp_error err;
    (void)state;
    assert_non_null(list);
    for (uint32_t i = 0; i < N; i++) /* runs of 500 blocks, over 63 segments */
        p += sprintf(p, "%s%u", i > 0 ? ", " : "", i * 8 / 4000 * 4000 + i % 500);
    (void)snprintf(number, sizeof number, "%d", N);
    const char *rows[][COLUMNS] = {
        {RANGE, "1663", "5", "16384", "0", "base/5/16384", "f", "f", "f", "", number, list},
    };
    struct server s = server_with(rows, 1);
    assert_int_equal(read_map(&s, 0, &err), 0);
    assert_int_equal(found.n, N / 500);
    expect(found.n - 1, GSP_CHANGE_BLOCKS, 16384, (N / 500 - 1) * 4000, 500);
    free(list);
}

static void
a_failed_callback_ends_the_reading(void **state)
{
    const char *rows[][COLUMNS] = {
        {RANGE, "1663", "5", "16384", "0", "base/5/16384", "f", "f", "f", "", "1", "1"},
    };
    struct server s = server_with(rows, 1);
    struct gsp_error err;
    (void)state;
    found.fail = 1;
    assert_int_equal(read_map(&s, 0, &err), GSP_E_NOENT);
    assert_string_equal(err.msg, "no room");
    assert_string_equal(err.hint, "");
    found.fail = 0;
}

/* ---- the wait ----------------------------------------------------------------------------------- */

static void
the_map_is_waited_for(void **state)
{
    struct server s = server_with(NULL, 0);
    struct gsp_error err;
    (void)state;
    s.tracked = TO - 100;
    s.step = 25;
    assert_int_equal(read_map(&s, 10000000, &err), 0);
    assert_int_equal(s.waits, 4);
    s.tracked = TO - 100;
    s.tracking = NULL; /* a server that has no such setting */
    assert_int_equal(read_map(&s, 0, &err), 0);
}

static void
the_server_is_asked_to_track_now(void **state)
{
    struct server s = server_with(NULL, 0);
    struct gsp_error err;
    (void)state;
    s.tracked = TO - 100;
    s.forced = TO;
    assert_int_equal(read_map(&s, 10000000, &err), 0);
    assert_int_equal(s.forces, 1);
    assert_int_equal(s.waits, 0);
    s.tracked = TO - 100;
    s.forces = 0;
    s.step = 25;
    s.refusal = "ERROR: not here"; /* then it is polled */
    assert_int_equal(read_map(&s, 10000000, &err), 0);
    assert_int_equal(s.forces, 1);
    assert_int_equal(s.waits, 4);
    s.tracked = TO - 100;
    s.refusal = "ERROR: CBM writer thread is not running!";
    assert_int_equal(read_map(&s, 10000000, &err), GSP_E_UNSUPPORTED);
    assert_int_equal(s.waits, 4);
    assert_non_null(strstr(err.msg, "enable_cbm_tracking is off"));
}

static void
the_wait_is_bounded(void **state)
{
    struct server s = server_with(NULL, 0);
    struct gsp_error err;
    (void)state;
    s.tracked = TO - 1000;
    s.step = 1;
    assert_int_equal(read_map(&s, 2500000, &err), GSP_E_TIMEOUT);
    assert_int_equal(s.now_us, 2500000);
    assert_non_null(strstr(err.msg, "0/24000028"));
    assert_non_null(strstr(err.hint, "--archive-timeout"));
    s.step = 0;
    assert_int_equal(read_map(&s, 2500000, &err), GSP_E_TIMEOUT);
    assert_non_null(strstr(err.hint, "enable_cbm_tracking"));
    s.no_position = 1;
    assert_int_equal(read_map(&s, 2500000, &err), GSP_E_TIMEOUT);
    assert_string_equal(s.asked, "");
}

static void
the_wait_can_be_cancelled(void **state)
{
    struct server s = server_with(NULL, 0);
    struct gsp_error err;
    (void)state;
    s.tracked = 0;
    s.cancel_at = 3;
    assert_int_equal(read_map(&s, 0, &err), GSP_E_CANCELLED);
    assert_int_equal(s.waits, 3);
}

static void
tracking_that_is_off_is_not_waited_for(void **state)
{
    struct server s = server_with(NULL, 0);
    struct gsp_error err;
    (void)state;
    s.tracking = "off";
    s.tracked = 0;
    assert_int_equal(read_map(&s, 0, &err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "enable_cbm_tracking"));
    assert_int_equal(s.waits, 0);
}

/* ---- a range that is gone ----------------------------------------------------------------------- */

static void
a_range_that_is_gone_blames_the_oldest_inactive_slot(void **state)
{
    const char *slots[][2] = {
        {"young", "10/0"}, {"old_one", "0/776D5A8"}, {"no_position", ""}, {"middle", "0/10000000"}};
    const char *rows[][COLUMNS] = {
        {"0/22000029", "0/24000028", "1663", "5", "16384", "0", "base/5/16384", "f", "f", "f", "", "1", "1"},
    };
    struct server s = server_with(rows, 1);
    struct gsp_error err;
    (void)state;
    s.slots = slots;
    s.n_slots = COUNT(slots);
    s.failure = "ERROR: could not find valid CBM file that contains the merging start point 00000000/22000028";
    assert_int_equal(read_map(&s, 0, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, "merging start point"));
    assert_non_null(strstr(err.hint, "'old_one' at 0/776D5A8"));
    s.failure = NULL;
    assert_int_equal(read_map(&s, 0, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, "from 0/22000029 to 0/24000028"));
    assert_non_null(strstr(err.hint, "old_one"));
    rows[0][0] = "0/0";
    assert_int_equal(read_map(&s, 0, &err), 0);
    rows[0][1] = "0/24000027";
    assert_int_equal(read_map(&s, 0, &err), GSP_E_NOENT);
    s.n_slots = 0;
    assert_int_equal(read_map(&s, 0, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.hint, "FULL"));
}

static void
other_failures_stay_what_they_are(void **state)
{
    struct server s = server_with(NULL, 0);
    struct gsp_error err;
    (void)state;
    s.failure = "ERROR: out of memory; query was: SELECT pg_cbm_get_changed_block";
    assert_int_equal(read_map(&s, 0, &err), GSP_E_SERVER);
    assert_string_equal(err.hint, "a hint of the server");
}

/* ---- recorded ----------------------------------------------------------------------------------- */

static void
recorded_rows_are_read(void **state)
{
    static const char *rows[64][COLUMNS];
    char path[4096], *line = NULL, *lines[64];
    size_t size = 0;
    uint32_t n = 0, blocks = 0, from = 0;
    struct gsp_error err;
    (void)state;
    (void)snprintf(path, sizeof path, "%s/opengauss/sessions/cbm-rows.txt", getenv("GSP_FIXTURES"));
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(getline(&line, &size, file) > 0);
    while (getline(&line, &size, file) > 0 && line[0] != '(') {
        assert_true(n < COUNT(rows));
        line[strcspn(line, "\n")] = '\0';
        char *rest = lines[n] = strdup(line);
        for (int i = 0; i < COLUMNS; i++)
            rows[n][i] = strsep(&rest, "|");
        n++;
    }
    (void)fclose(file);
    free(line);
    assert_int_equal(n, 41);
    struct server s = server_with(rows, n);
    assert_int_equal(read_map(&s, 0, &err), 0);
    for (uint32_t i = 0; i < found.n; i++) {
        from += found.changes[i].kind == GSP_CHANGE_FROM;
        blocks += found.changes[i].kind == GSP_CHANGE_BLOCKS ? found.changes[i].count : 0;
        assert_true(found.changes[i].relation > 0 && found.changes[i].space_oid >= 1663);
    }
    assert_int_equal(from, 12);    /* 6 dropped, 6 created */
    assert_int_equal(blocks, 194); /* of 198, 4 are of undo */
    while (n > 0)
        free(lines[--n]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_changes), cmocka_unit_test(other_files_are_left_out),
        cmocka_unit_test(shared_relations_and_tablespaces_are_taken), cmocka_unit_test(malformed_rows_are_named),
        cmocka_unit_test(a_list_of_a_large_relation_has_no_limit), cmocka_unit_test(a_failed_callback_ends_the_reading),
        cmocka_unit_test(the_map_is_waited_for), cmocka_unit_test(the_server_is_asked_to_track_now),
        cmocka_unit_test(the_wait_is_bounded), cmocka_unit_test(the_wait_can_be_cancelled),
        cmocka_unit_test(tracking_that_is_off_is_not_waited_for),
        cmocka_unit_test(a_range_that_is_gone_blames_the_oldest_inactive_slot),
        cmocka_unit_test(other_failures_stay_what_they_are),
        cmocka_unit_test(recorded_rows_are_read), /* the last one */
    };
    size_t n = COUNT(tests);
    if (getenv("GSP_FIXTURES") == NULL) {
        print_message("# GSP_FIXTURES is not set: the recorded rows are not read\n");
        n--;
    }
    return _cmocka_run_group_tests("opengauss-cbm", tests, n, NULL, NULL);
}
