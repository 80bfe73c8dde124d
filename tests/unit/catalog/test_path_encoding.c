/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

#include "core/base/cleanup.h"

static void
plain_names_stay(void **state)
{
    (void)state;
    assert_int_equal(path_needs_encoding("base/16384/100% grün 表.txt"), 0);
}

static void
awkward_names_go_there_and_back(void **state)
{
    (void)state;
    static const struct {
        const char *path, *encoded;
    } cases[] = {
        {"a,b", "a%2Cb"},
        {"say \"hi\"", "say %22hi%22"},
        {"back\\slash/100%", "back%5Cslash/100%25"},
        {"line\nbreak\x7f", "line%0Abreak%7F"},
        {"latin \xe9", "latin %E9"},
        {"overlong \xc0\xaf", "overlong %C0%AF"},
        {"surrogate \xed\xa0\x80", "surrogate %ED%A0%80"},
        {"cut \xe8\xa1", "cut %E8%A1"},
        {"good \xe8\xa1\xa8,", "good \xe8\xa1\xa8%2C"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        auto_free char *encoded = path_encode(cases[i].path), *decoded = NULL;
        assert_int_equal(path_needs_encoding(cases[i].path), 1);
        assert_string_equal(encoded, cases[i].encoded);
        assert_int_equal(path_needs_encoding(encoded), 0);
        assert_int_equal(path_decode(encoded, &decoded), 1);
        assert_string_equal(decoded, cases[i].path);
    }
}

static void
malformed_escapes_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"%", "%2", "a%2", "%zz", "%2c", "a%2Fb", "%00"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char *decoded = NULL;
        assert_int_equal(path_decode(bad[i], &decoded), 0);
        assert_null(decoded);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_names_stay),
        cmocka_unit_test(awkward_names_go_there_and_back),
        cmocka_unit_test(malformed_escapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
