/* SPDX-License-Identifier: Apache-2.0
 * The PostgreSQL dialect on WAL made here. */
#include "server_postgresql_wal.h"

static int
verify(struct wal *w, gsp_lsn from, gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err)
{
    struct gsp_cluster c = cluster_15();
    struct gsp_wal_source source = {w, read_wal};
    memset(err, 0, sizeof *err);
    return dialect()->wal_verify(&c, &source, w->timeline, from, to, ret_end, err);
}

static void
wal_of_all_record_sizes_is_walked(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end, middle = 0;
    uint32_t n = 0;
    while (w->at < FIRST + 3 * (gsp_lsn)SEG) {
        gsp_lsn start = add_record(w, 24 + (n * 37) % 9001, (uint8_t)(1 + n % 20), 0);
        if (n++ == 50)
            middle = start;
    }
    (void)add_record(w, 2 * SEG, 21, 0); /* larger than a segment */
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
    assert_int_equal(end, w->at);
    assert_int_equal(verify(w, middle, w->at, &end, &err), 0);
    assert_int_equal(end, w->at);
    assert_int_equal(verify(w, FIRST + 2 * BLOCK, w->at, &end, &err), 0); /* within a record */
    assert_int_equal(verify(w, FIRST, middle + 1, &end, &err), 0);
    assert_true(end > middle && end < w->at);
    assert_int_equal(verify(w, FIRST, w->at + 1, &end, &err), GSP_E_CORRUPT);
    assert_int_equal(end, w->at);
}

static void
wal_may_end_at_a_page_or_segment(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    (void)add_record(w, BLOCK - 40, 1, 0);
    assert_int_equal(w->at, FIRST + BLOCK);
    assert_int_equal(verify(w, FIRST + 40, w->at, &end, &err), 0);
    assert_int_equal(verify(w, FIRST + 40, w->at + 24, &end, &err), 0); /* next page is not there yet */
    assert_int_equal(end, FIRST + BLOCK);
    assert_int_equal(verify(w, FIRST + 40, w->at + 32, &end, &err), GSP_E_CORRUPT);
    (void)add_record(w, 24, 0, 0x40);
    assert_int_equal(w->at, FIRST + SEG);
    w->missing = 1;
    assert_int_equal(verify(w, FIRST + 40, w->at, &end, &err), 0);
    assert_int_equal(verify(w, FIRST + 40, w->at + 40, &end, &err), 0);
    assert_int_equal(end, FIRST + SEG);
    w->missing = -1;
    (void)add_record(w, 100, 1, 0);
    assert_int_equal(verify(w, FIRST + 40, w->at, &end, &err), 0);
}

static void
missing_wal_names_segment_and_position(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    while (w->at < FIRST + 2 * (gsp_lsn)SEG)
        (void)add_record(w, 5000, 1, 0);
    w->missing = 1;
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, "000000010000000000000004"));
    assert_non_null(strstr(err.msg, "0/400000"));
    assert_true(end <= FIRST + SEG && end > FIRST + SEG - 6000);
    w->missing = -1;
    w->len[1] = SEG / 2;
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_CORRUPT);
    assert_true(end <= FIRST + SEG + SEG / 2);
}

static void
damaged_wal_is_corrupt(void **state)
{
    static const struct {
        uint32_t at;
        const char *what;
    } cases[] = {
        {BLOCK, "magic"},
        {BLOCK + 2, "flags"},
        {BLOCK + 4, "timeline"},
        {BLOCK + 9, "address"},
        {BLOCK + 16, "continue"},
        {24, "system id"},
        {33, "segments of"},
        {40 + 8, "predecessor"},
        {40 + 17, "resource manager"},
        {40 + 30, "checksum"},
        {BLOCK + 500, "checksum"},
        {43, "length"},
    };
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    for (int i = 0; i < 300; i++)
        (void)add_record(w, 3000, 1, 0);
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t was = w->data[cases[i].at];
        w->data[cases[i].at] = (uint8_t)(was ^ 0x60);
        if (strcmp(cases[i].what, "predecessor") == 0)
            put64(w->data + 48, FIRST + SEG);
        assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_CORRUPT);
        if (strstr(err.msg, cases[i].what) == NULL)
            fail_msg("byte %u: %s", cases[i].at, err.msg);
        w->data[cases[i].at] = was;
        if (strcmp(cases[i].what, "predecessor") == 0)
            put64(w->data + 48, FIRST - 64);
    }
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
}

static void
record_given_up_by_a_crash_is_passed(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    uint8_t half[BLOCK * 2] = {0};
    gsp_lsn end, broken;
    (void)add_record(w, 1000, 1, 0);
    broken = w->at;
    put32(half, sizeof half);
    put64(half + 8, w->prev);
    half[17] = 1;
    put_bytes(w, half, sizeof half, BLOCK - (uint32_t)(w->at % BLOCK));
    start_page(w, 8, 0);
    (void)add_record(w, 64, 0, 0xD0);
    (void)add_record(w, 500, 1, 0);
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
    assert_int_equal(end, w->at);
    w->data[BLOCK + 2] = 0;
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_CORRUPT);
    assert_int_equal(end, broken);
}

static void
wal_of_an_older_timeline_may_begin_a_segment(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    for (int i = 0; i < 10; i++)
        (void)add_record(w, 4000, 1, 0);
    w->timeline = 2; /* the file is named after the new timeline */
    for (int i = 0; i < 10; i++)
        (void)add_record(w, 4000, 1, 0);
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
    w->timeline = 1;
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_CORRUPT);
}

static void
wal_of_an_unknown_version_is_refused(void **state)
{
    struct wal *w = *state;
    struct gsp_cluster c = cluster_15();
    struct gsp_wal_source source = {w, read_wal};
    struct gsp_error err = {0};
    gsp_lsn end;
    (void)snprintf(c.version, sizeof c.version, "9.2");
    assert_int_equal(dialect()->wal_verify(&c, &source, 1, FIRST, FIRST + 100, &end, &err), GSP_E_VERSION);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wal_of_all_record_sizes_is_walked, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(wal_may_end_at_a_page_or_segment, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(missing_wal_names_segment_and_position, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(damaged_wal_is_corrupt, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(record_given_up_by_a_crash_is_passed, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(wal_of_an_older_timeline_may_begin_a_segment, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(wal_of_an_unknown_version_is_refused, setup_wal, free_wal),
    };
    return cmocka_run_group_tests_name("server-postgresql-wal", tests, NULL, NULL);
}
