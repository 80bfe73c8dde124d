/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/engine/timeline.h"

static int
parse(const char *text, uint32_t timeline, struct timeline_history *h)
{
    struct gsp_error err = {0};
    memset(h, 0, sizeof *h);
    int rc = timeline_history_parse(text, strlen(text), timeline, h, &err);
    assert_int_equal(rc, err.code);
    return rc;
}

static void
spans_follow_each_other(void **state)
{
    (void)state;
    struct timeline_history h;
    assert_int_equal(
        parse("1\t0/5000000\tno recovery target specified\n\n# a comment\n3\t1/A0\tbefore 2026\n", 7, &h), 0);
    assert_int_equal(h.n, 3);
    assert_true(h.spans[0].timeline == 1 && h.spans[0].begin == 0 && h.spans[0].end == 0x5000000);
    assert_true(h.spans[1].timeline == 3 && h.spans[1].begin == 0x5000000 && h.spans[1].end == 0x1000000A0);
    assert_true(h.spans[2].timeline == 7 && h.spans[2].begin == 0x1000000A0 && h.spans[2].end == UINT64_MAX);
    assert_true(timeline_has(&h, 1, 0x5000000));
    assert_false(timeline_has(&h, 1, 0x5000001)); /* what came after the fork is another history */
    assert_true(timeline_has(&h, 3, 0x1000000A0));
    assert_false(timeline_has(&h, 2, 1));
    assert_true(timeline_has(&h, 7, UINT64_MAX - 1));
    timeline_history_free(&h);
}

static void
without_a_file_a_timeline_stands_alone(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    struct timeline_history h = {0};
    copy_fixture_open(&f, 0);
    ok(store_mkdir(&f.side.store, "pg_wal", 0700, 0, &err));
    ok(timeline_history_read(&f.side.store, "pg_wal", 4, &h, &err));
    assert_int_equal(h.n, 1);
    assert_true(timeline_has(&h, 4, 1));
    assert_false(timeline_has(&h, 1, 1));
    timeline_history_free(&h);
    ok(store_write_all(&f.side.store, "pg_wal/00000004.history", 0600, 0, "2\t0/1000\tx", 10, &err));
    ok(timeline_history_read(&f.side.store, "pg_wal", 4, &h, &err));
    assert_true(timeline_has(&h, 2, 0x1000));
    timeline_history_free(&h);
    copy_fixture_close(&f);
}

static void
nonsense_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"x", "1", "1 ", "1\t", "1\tzzz", "1\t0", "1\t0/", "0\t0/1", "9\t0/1",
        "1\t0/5\n1\t0/6", "2\t0/5\n1\t0/6", "1\t0/5\n2\t0/4", "99999999999\t0/1", "1\t0/123456789", "-1\t0/1"};
    struct timeline_history h;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(bad[i], 9, &h) != GSP_E_CORRUPT)
            fail_msg("'%s' was taken", bad[i]);
        timeline_history_free(&h);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_follow_each_other),
        cmocka_unit_test(without_a_file_a_timeline_stands_alone),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests_name("engine/timeline", tests, NULL, NULL);
}
