/* SPDX-License-Identifier: Apache-2.0
 * gsp/error.h: what is long loses its own end, never the reason behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gsp/error.h"

static const char *
path_of(size_t len)
{
    static char path[5000];
    memset(path, 'p', len);
    path[len] = '\0';
    return path;
}

static void
the_first_failure_wins(void **state)
{
    (void)state;
    struct gsp_error err = {0};
    assert_int_equal(gsp_fail(&err, GSP_E_NOENT, ENOENT, "cannot open '%s'", "x"), GSP_E_NOENT);
    assert_int_equal(gsp_fail(&err, GSP_E_IO, 0, "later"), GSP_E_NOENT);
    assert_int_equal(gsp_prefix(&err, "file '%s'", "y"), GSP_E_NOENT);
    assert_string_equal(err.msg, "file 'y': cannot open 'x': No such file or directory");
}

static void
the_reason_stays_readable(void **state)
{
    (void)state;
    for (size_t len = 1; len < 4900; len += len < 600 ? 1 : 97) {
        struct gsp_error err = {0};
        static const char reason[] = ": Permission denied";
        (void)gsp_fail(&err, GSP_E_PERM, EACCES, "cannot open '%s'", path_of(len));
        assert_memory_equal(err.msg, "cannot open 'p", 14);
        assert_string_equal(err.msg + strlen(err.msg) - (sizeof reason - 1), reason);
        (void)gsp_prefix(&err, "file '%s'", path_of(len));
        assert_string_equal(err.msg + strlen(err.msg) - (sizeof reason - 1), reason);

        struct gsp_error brief = {0};
        (void)gsp_fail(&brief, GSP_E_CORRUPT, 0, "no page");
        (void)gsp_prefix(&brief, "file '%s'", path_of(len));
        assert_memory_equal(brief.msg, "file 'p", 7);
        assert_string_equal(brief.msg + strlen(brief.msg) - 9, ": no page");
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_wins),
        cmocka_unit_test(the_reason_stays_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
