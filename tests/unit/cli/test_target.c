/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/cli/cli.h"

static struct cli_target target;
static struct gsp_error err;

/* id, value, ..., OPT_HELP */
static int
parse(int id, ...)
{
    struct cli cli = {0};
    va_list ap;
    va_start(ap, id);
    for (; id != OPT_HELP; id = va_arg(ap, int))
        cli.value[id] = va_arg(ap, const char *);
    va_end(ap);
    memset(&err, 0, sizeof err);
    return cli_target(&cli, &target, &err);
}

static void
nothing_is_no_target(void **state)
{
    (void)state;
    assert_int_equal(parse(OPT_HELP), 0);
    assert_int_equal(target.recovery.kind, GSP_RECOVERY_NONE);
    assert_int_equal(target.recovery.timeline, 0);
    assert_int_equal(target.recovery.struct_size, sizeof target.recovery);
}

static void
times_get_a_zone(void **state)
{
    static const struct {
        const char *text, *normal;
        int64_t us;
    } cases[] = {
        {"2026-05-01 10:20:30+00", "2026-05-01 15:50:30+05:30", INT64_C(1777630830000000)},
        {"2026-05-01 15:50:30", "2026-05-01 15:50:30+05:30", INT64_C(1777630830000000)},
        {"2026-05-01T10:20:30.5Z", "2026-05-01 15:50:30.500000+05:30", INT64_C(1777630830500000)},
        {"2026-05-01 15:50:30,000001", "2026-05-01 15:50:30.000001+05:30", INT64_C(1777630830000001)},
        {"2026-05-01 02:20:30.1234567 -08:00", "2026-05-01 15:50:30.123456+05:30", INT64_C(1777630830123456)},
        {"2026-05-01", "2026-05-01 00:00:00+05:30", INT64_C(1777573800000000)},
        {"2026-05-01 15:50", "2026-05-01 15:50:00+05:30", INT64_C(1777630800000000)},
    };
    static const char *const bad[] = {"", "now", "2026-05-01 10:20:30.", "2026-05-01 10:20:30.x",
        "2026-05-01 10:20:30.5.5", "2026-13-01", "1900-01-01", "99999-01-01 00:00:00", "2026-05-01 10:20:30+99",
        "10:20:30.5"};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (parse(OPT_TARGET_TIME, cases[i].text, OPT_HELP) != 0)
            fail_msg("'%s': %s", cases[i].text, err.msg);
        assert_int_equal(target.recovery.kind, GSP_RECOVERY_TIME);
        assert_int_equal(target.recovery.time_us, cases[i].us);
        assert_string_equal(target.recovery.text, cases[i].normal);
        /* What is given to the server is read as the same moment. */
        char again[64];
        (void)snprintf(again, sizeof again, "%s", target.recovery.text);
        assert_int_equal(parse(OPT_TARGET_TIME, again, OPT_HELP), 0);
        assert_int_equal(target.recovery.time_us, cases[i].us);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (parse(OPT_TARGET_TIME, bad[i], OPT_HELP) != GSP_E_USAGE)
            fail_msg("'%s' is taken as %s", bad[i], target.text);
        assert_non_null(strstr(err.msg, "Invalid value for '--recovery-target-time' option '"));
    }
    char far_zone[200];
    (void)snprintf(far_zone, sizeof far_zone, "2026-05-01 10:20:30%120s", "+02");
    assert_int_equal(parse(OPT_TARGET_TIME, far_zone, OPT_HELP), GSP_E_USAGE);
}

static void
numbers_are_read(void **state)
{
    static const char *const bad_xid[] = {"", "0", "-1", "12a", "INFINITE", "18446744073709551616"};
    static const char *const bad_lsn[] = {"", "1", "0/0", "1/", "x/1", "1/2/3", "123456789/0"};
    (void)state;
    assert_int_equal(parse(OPT_TARGET_XID, "18446744073709551615", OPT_HELP), 0);
    assert_true(target.recovery.kind == GSP_RECOVERY_XID && target.recovery.xid == UINT64_MAX);
    assert_string_equal(target.recovery.text, "18446744073709551615");
    assert_int_equal(parse(OPT_TARGET_LSN, "16/b374d848", OPT_HELP), 0);
    assert_true(target.recovery.kind == GSP_RECOVERY_LSN && target.recovery.lsn == UINT64_C(0x16B374D848));
    assert_string_equal(target.recovery.text, "16/B374D848");
    for (size_t i = 0; i < sizeof bad_xid / sizeof bad_xid[0]; i++) {
        assert_int_equal(parse(OPT_TARGET_XID, bad_xid[i], OPT_HELP), GSP_E_USAGE);
        assert_non_null(strstr(err.msg, "Invalid value for '--recovery-target-xid' option '"));
    }
    for (size_t i = 0; i < sizeof bad_lsn / sizeof bad_lsn[0]; i++) {
        assert_int_equal(parse(OPT_TARGET_LSN, bad_lsn[i], OPT_HELP), GSP_E_USAGE);
        assert_non_null(strstr(err.msg, "Invalid value of '--recovery-target-lsn' option '"));
    }
}

static void
names_are_taken_as_they_are(void **state)
{
    (void)state;
    assert_int_equal(parse(OPT_TARGET_NAME, "it's \\ here", OPT_HELP), 0);
    assert_int_equal(target.recovery.kind, GSP_RECOVERY_NAME);
    assert_string_equal(target.recovery.text, "it's \\ here");
    assert_int_equal(parse(OPT_TARGET_NAME, "", OPT_HELP), GSP_E_USAGE);
}

static void
one_target_at_most(void **state)
{
    static const enum option_id ids[] = {
        OPT_TARGET_TIME, OPT_TARGET_XID, OPT_TARGET_LSN, OPT_TARGET_NAME, OPT_TARGET_IMMEDIATE};
    static const char *const values[] = {"2026-05-01", "5", "0/5", "x", ""};
    (void)state;
    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 5; k++) {
            if (i == k)
                continue;
            assert_int_equal(parse((int)ids[i], values[i], (int)ids[k], values[k], OPT_HELP), GSP_E_USAGE);
            assert_non_null(strstr(err.msg, "At most one of '"));
        }
}

static void
inclusive_needs_a_target(void **state)
{
    (void)state;
    assert_int_equal(parse(OPT_TARGET_XID, "5", OPT_TARGET_INCLUSIVE, "FALSE", OPT_HELP), 0);
    assert_int_equal(target.recovery.flags, GSP_RECOVERY_EXCLUSIVE);
    assert_int_equal(parse(OPT_TARGET_NAME, "x", OPT_TARGET_INCLUSIVE, "on", OPT_HELP), 0);
    assert_int_equal(target.recovery.flags, GSP_RECOVERY_INCLUSIVE);
    assert_int_equal(parse(OPT_TARGET_LSN, "0/5", OPT_TARGET_INCLUSIVE, "perhaps", OPT_HELP), GSP_E_USAGE);
    assert_non_null(strstr(err.msg, "Invalid value for '--recovery-target-inclusive' option 'perhaps'"));
    assert_int_equal(parse(OPT_TARGET_INCLUSIVE, "true", OPT_HELP), GSP_E_USAGE);
    assert_non_null(strstr(err.msg, "can be applied only when either of"));
    assert_int_equal(parse(OPT_TARGET_IMMEDIATE, "", OPT_TARGET_INCLUSIVE, "no", OPT_HELP), GSP_E_USAGE);
}

static void
a_timeline_goes_with_all(void **state)
{
    static const char *const bad[] = {"", "0", "-1", "latest", "4294967296"};
    (void)state;
    assert_int_equal(parse(OPT_TARGET_TIMELINE, "3", OPT_HELP), 0);
    assert_true(target.recovery.kind == GSP_RECOVERY_NONE && target.recovery.timeline == 3);
    assert_int_equal(parse(OPT_TARGET_IMMEDIATE, "", OPT_TARGET_TIMELINE, "2", OPT_HELP), 0);
    assert_true(target.recovery.kind == GSP_RECOVERY_IMMEDIATE && target.recovery.timeline == 2);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse(OPT_TARGET_TIMELINE, bad[i], OPT_HELP), GSP_E_USAGE);
}

static int
set_zone(void **state)
{
    (void)state;
    (void)setenv("TZ", "IST-5:30", 1);
    tzset();
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_no_target),
        cmocka_unit_test(times_get_a_zone),
        cmocka_unit_test(numbers_are_read),
        cmocka_unit_test(names_are_taken_as_they_are),
        cmocka_unit_test(one_target_at_most),
        cmocka_unit_test(inclusive_needs_a_target),
        cmocka_unit_test(a_timeline_goes_with_all),
    };
    return cmocka_run_group_tests_name("target", tests, set_zone, NULL);
}
