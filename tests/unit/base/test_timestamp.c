/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/timestamp.h"

static void
set_zone(const char *zone)
{
    assert_int_equal(setenv("TZ", zone, 1), 0);
    tzset();
}

static void
printed_with_the_local_offset(void **state)
{
    (void)state;
    char buf[TIMESTAMP_SIZE];
    set_zone("UTC");
    timestamp_format(1700000000, buf);
    assert_string_equal(buf, "2023-11-14 22:13:20+00");
    set_zone("Asia/Kolkata");
    timestamp_format(1700000000, buf);
    assert_string_equal(buf, "2023-11-15 03:43:20+05:30");
    set_zone("America/St_Johns");
    timestamp_format(1700000000, buf);
    assert_string_equal(buf, "2023-11-14 18:43:20-03:30");
}

static void
what_is_printed_is_read_back(void **state)
{
    (void)state;
    static const char *const zones[] = {"UTC", "Asia/Kolkata", "America/St_Johns", "Asia/Shanghai", "Pacific/Auckland"};
    for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++) {
        set_zone(zones[i]);
        for (int64_t t = 86400; t < 4000000000; t += 99999989) {
            char buf[TIMESTAMP_SIZE];
            int64_t back = 0;
            timestamp_format(t, buf);
            assert_true(timestamp_parse(buf, 1, &back));
            assert_true(back == t);
        }
        /* Neither end of the years that are read is moved out of them by a zone. */
        static const char *const ends[] = {"9999-12-31 23:59:00-05", "9999-12-31 23:59:59Z", "1970-01-01 00:00:01Z"};
        for (size_t k = 0; k < sizeof ends / sizeof ends[0]; k++) {
            int64_t t, back;
            char buf[TIMESTAMP_SIZE];
            if (!timestamp_parse(ends[k], 1, &t))
                continue;
            timestamp_format(t, buf);
            assert_true(timestamp_parse(buf, 1, &back) && back == t);
        }
    }
}

static void
forms_that_people_write(void **state)
{
    (void)state;
    int64_t t;
    set_zone("Asia/Shanghai");
    assert_true(timestamp_parse("2020-01-01 00:00:00+03", 0, &t) && t == 1577826000);
    assert_true(timestamp_parse("2020-01-01T00:00:00Z", 0, &t) && t == 1577836800);
    assert_true(timestamp_parse("2020-01-01", 1, &t) && t == 1577836800);
    assert_true(timestamp_parse("2020-01-01 00:00:00", 0, &t) && t == 1577808000);
    assert_true(timestamp_parse("2020-01-01 00:00:00-03:30", 0, &t) && t == 1577849400);
    static const char *const bad[] = {"", "yesterday", "2020-13-01", "2020-01", "2020-01-01 25:00:00",
        "2020-01-01 00:00:00+99", "2020-01-01 00:00:00+03 later"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(timestamp_parse(bad[i], 0, &t));
}

/* Clocks that are set forward and back, half-hour zones, and a zone that once moved by half an hour. */
static void
local_times_around_changes_of_the_clock(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *local, *utc;
    } cases[] = {
        {"Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29 00:59:59Z"},
        {"Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29 01:30:00Z"}, /* there is no such time */
        {"Europe/Berlin", "2026-03-29 03:00:00", "2026-03-29 01:00:00Z"},
        {"Europe/Berlin", "2026-10-25 01:59:59", "2026-10-24 23:59:59Z"},
        {"Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25 01:30:00Z"}, /* comes twice */
        {"Europe/Berlin", "2026-10-25 03:00:00", "2026-10-25 02:00:00Z"},
        {"Europe/Berlin", "2026-07-01 12:00:00", "2026-07-01 10:00:00Z"},
        {"Asia/Kolkata", "2026-01-01", "2025-12-31 18:30:00Z"},
        {"Australia/Lord_Howe", "2026-04-05 01:45:00", "2026-04-04 15:15:00Z"},
        {"Asia/Kathmandu", "2026-01-01 05:45:00", "2026-01-01 00:00:00Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t local = 0, utc = 0;
        set_zone(cases[i].zone);
        assert_true(timestamp_parse(cases[i].local, 0, &local) && timestamp_parse(cases[i].utc, 0, &utc));
        if (local != utc)
            fail_msg("%s %s is %lld, not %lld", cases[i].zone, cases[i].local, (long long)local, (long long)utc);
    }
}

static void
days_that_are_not_in_the_calendar(void **state)
{
    (void)state;
    static const char *const bad[] = {"1900-01-01", "1969-12-31 23:59:59Z", "2026-02-29", "2100-02-29", "2026-04-31",
        "2026-00-10", "2026-01-00", "9999-12-31 23:59:59Z", "10000-01-01", "2026-01-01 24:00:00"};
    static const char *const good[] = {"2000-02-29", "2028-02-29", "2026-01-31", "9999-12-30 23:59:59Z"};
    int64_t t = 7;
    set_zone("UTC");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (timestamp_parse(bad[i], 0, &t) || t != 7)
            fail_msg("%s is taken", bad[i]);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!timestamp_parse(good[i], 0, &t) || !timestamp_in_range(t))
            fail_msg("%s is not taken", good[i]);
    assert_false(timestamp_in_range(0));
    assert_false(timestamp_in_range(INT64_MAX));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printed_with_the_local_offset),
        cmocka_unit_test(what_is_printed_is_read_back),
        cmocka_unit_test(forms_that_people_write),
        cmocka_unit_test(local_times_around_changes_of_the_clock),
        cmocka_unit_test(days_that_are_not_in_the_calendar),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
