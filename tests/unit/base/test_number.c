/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/number.h"

static void
decimal_is_strict(void **state)
{
    (void)state;
    uint64_t u = 7;
    int64_t s = 7;
    assert_true(parse_u64("18446744073709551615", UINT64_MAX, &u));
    assert_true(u == UINT64_MAX);
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "0x1", "18446744073709551616", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse_u64(bad[i], UINT64_MAX, &u));
    assert_false(parse_u64("11", 10, &u));
    assert_false(parse_u64("7", 5, &u));
    assert_true(parse_i64("-9223372036854775808", INT64_MIN, INT64_MAX, &s));
    assert_true(s == INT64_MIN);
    assert_false(parse_i64("9223372036854775808", INT64_MIN, INT64_MAX, &s));
    assert_false(parse_i64("--1", INT64_MIN, INT64_MAX, &s));
    assert_true(u == UINT64_MAX); /* untouched by failures */
}

static void
c_numbers_as_the_stock_tool(void **state)
{
    (void)state;
    uint64_t u;
    assert_true(parse_u64_c("0x1F", UINT32_MAX, &u) && u == 31);
    assert_true(parse_u64_c("010", UINT32_MAX, &u) && u == 8);
    assert_true(parse_u64_c("0", UINT32_MAX, &u) && u == 0);
    assert_true(parse_u64_c("INFINITE", UINT32_MAX, &u) && u == UINT32_MAX);
    assert_false(parse_u64_c("08", UINT32_MAX, &u));
    assert_false(parse_u64_c("0x", UINT32_MAX, &u));
    assert_false(parse_u64_c("4294967296", UINT32_MAX, &u));
}

static void
booleans_by_prefix(void **state)
{
    (void)state;
    int b;
    assert_true(parse_bool("T", &b) && b == 1);
    assert_true(parse_bool("no", &b) && b == 0);
    assert_true(parse_bool("ON", &b) && b == 1);
    assert_true(parse_bool("of", &b) && b == 0);
    assert_false(parse_bool("o", &b));
    assert_false(parse_bool("", &b));
    assert_false(parse_bool("truer", &b));
}

static void
units(void **state)
{
    (void)state;
    int64_t us;
    uint64_t bytes;
    assert_true(parse_duration_us("300", 1000000, &us) && us == 300000000);
    assert_true(parse_duration_us("5 min", 1, &us) && us == 300000000);
    assert_true(parse_duration_us("250ms", 1, &us) && us == 250000);
    assert_false(parse_duration_us("5m", 1, &us));
    assert_false(parse_duration_us("99999999999d", 1, &us));
    assert_true(parse_size("10", 1024, &bytes) && bytes == 10240);
    assert_true(parse_size("2GB", 1, &bytes) && bytes == 2147483648u);
    assert_false(parse_size("2gb", 1, &bytes));
    assert_false(parse_size("18446744073709551615TB", 1, &bytes));
}

static void
exact_and_pretty(void **state)
{
    (void)state;
    char buf[64];
    format_duration_exact(300000000, buf, sizeof buf);
    assert_string_equal(buf, "5min");
    format_duration_exact(0, buf, sizeof buf);
    assert_string_equal(buf, "0d");
    format_size_exact(0, buf, sizeof buf);
    assert_string_equal(buf, "0TB");
    format_size_exact(10240, buf, sizeof buf);
    assert_string_equal(buf, "10kB");
    format_size_pretty(0, buf, sizeof buf);
    assert_string_equal(buf, "0");
    format_size_pretty(10239, buf, sizeof buf);
    assert_string_equal(buf, "10239B");
    format_size_pretty(16777216, buf, sizeof buf);
    assert_string_equal(buf, "16MB");
    format_size_pretty(9175740, buf, sizeof buf);
    assert_string_equal(buf, "8961kB");
    format_interval_pretty(10000000, buf, sizeof buf);
    assert_string_equal(buf, "10s");
    format_interval_pretty(125000000, buf, sizeof buf);
    assert_string_equal(buf, "2m:5s");
    format_interval_pretty(250000, buf, sizeof buf);
    assert_string_equal(buf, "250ms");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimal_is_strict),
        cmocka_unit_test(c_numbers_as_the_stock_tool),
        cmocka_unit_test(booleans_by_prefix),
        cmocka_unit_test(units),
        cmocka_unit_test(exact_and_pretty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
