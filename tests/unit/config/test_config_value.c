/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/config/config_value.h"

static void
writes_values_in_one_way(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text, *canonical;
    } cases[] = {
        {"pgdata", "/a b/'c'", "/a b/'c'"},
        {"retention-window", "7", "7"},
        {"retention-window", "0x10", "16"},
        {"retention-window", "010", "8"},
        {"retention-window", "INFINITE", "4294967295"},
        {"system-identifier", "18446744073709551615", "18446744073709551615"},
        {"instance-id", "-1", "-1"},
        {"instance-id", "-0", "0"},
        {"instance-id", "-2147483648", "-2147483648"},
        {"instance-id", "2147483647", "2147483647"},
        {"archive-timeout", "300", "5min"},
        {"archive-timeout", "90 s", "90s"},
        {"archive-timeout", "1500ms", "1500ms"},
        {"archive-timeout", "0", "0d"},
        {"archive-timeout", "4294967295", "4294967295s"},
        {"rw-timeout", "120", "2min"},
        {"log-rotation-age", "90", "90min"},
        {"log-rotation-age", "1440", "1d"},
        {"log-rotation-age", "0", "0d"},
        {"log-rotation-size", "10240", "10MB"},
        {"log-rotation-size", "10 MB", "10MB"},
        {"log-rotation-size", "2048B", "2kB"},
        {"log-rotation-size", "0", "0TB"},
        {"log-level-file", "verb", "VERBOSE"},
        {"log-level-console", "Error", "ERROR"},
        {"enable-dss", "Y", "true"},
        {"enable-dss", "off", "false"},
        {"compress-algorithm", "ZLIB", "zlib"},
        {"compress-algorithm", "zs", "zstd"},
        {"compress-algorithm", "l", "lz4"},
        {"compress-algorithm", "p", "pglz"},
        {"compress-algorithm", "n", "none"},
        {"compress-algorithm", "qat_2", "qat_2"},
        {"compress-level", "0", "0"},
        {"compress-level", "9", "9"},
        {"catalog.new-modes", "yes", "true"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_error err = {0};
        char *value = NULL;
        assert_int_equal(config_canonical(config_def_find(cases[i].key), cases[i].text, &value, &err), 0);
        assert_string_equal(value, cases[i].canonical);
        /* What was written once is read as the same. */
        char *again = NULL;
        assert_int_equal(config_canonical(config_def_find(cases[i].key), value, &again, &err), 0);
        assert_string_equal(again, value);
        free(again);
        free(value);
    }
}

static void
refuses_values_in_the_stock_words(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text, *message;
    } cases[] = {
        {"pgdata", "", "Option --pgdata should be a valid string: ''"},
        {"pghost", "a\nb", "Option --pghost should be a valid string: 'a\nb'"},
        {"retention-redundancy", "x", "Option --retention-redundancy should be a 32bit unsigned integer: 'x'"},
        {"retention-redundancy", "-1", "Option --retention-redundancy should be a 32bit unsigned integer: '-1'"},
        {"retention-redundancy", "", "Option --retention-redundancy should be a 32bit unsigned integer: ''"},
        {"retention-window", "4294967296",
            "Option --retention-window should be a 32bit unsigned integer: '4294967296'"},
        {"system-identifier", "18446744073709551616",
            "Option --system-identifier should be a 64bit unsigned integer: '18446744073709551616'"},
        {"instance-id", "2147483648", "Option --instance-id should be a 32bit signed integer: '2147483648'"},
        {"instance-id", "--1", "Option --instance-id should be a 32bit signed integer: '--1'"},
        {"archive-timeout", "5 weeks", "Option --archive-timeout should be a 32bit unsigned integer: '5 weeks'"},
        {"archive-timeout", "4294967296", "Option --archive-timeout should be a 32bit unsigned integer: '4294967296'"},
        {"log-rotation-age", "-5", "Option --log-rotation-age should be a 64bit unsigned integer: '-5'"},
        {"log-rotation-size", "10mb", "Option --log-rotation-size should be a 64bit unsigned integer: '10mb'"},
        {"log-rotation-size", "100B", "Option --log-rotation-size should be a 64bit unsigned integer: '100B'"},
        {"log-level-console", "loud", "Option --log-level-console should be a log level: 'loud'"},
        {"enable-dss", "maybe", "Option --enable-dss should be a boolean: 'maybe'"},
        {"compress-algorithm", "z", "Option --compress-algorithm should be a compression algorithm: 'z'"},
        {"compress-algorithm", "", "Option --compress-algorithm should be a compression algorithm: ''"},
        {"compress-algorithm", "zlib-ng", "Option --compress-algorithm should be a compression algorithm: 'zlib-ng'"},
        {"compress-algorithm", "a234567890123456789012345678901234",
            "Option --compress-algorithm should be a compression algorithm: 'a234567890123456789012345678901234'"},
        {"compress-level", "10", "--compress-level value must be in the range from 0 to 9"},
        {"compress-level", "ten", "Option --compress-level should be a 32bit unsigned integer: 'ten'"},
        {"catalog.new-modes", "2", "Option catalog.new-modes should be a boolean: '2'"},
        {"access-key", "geheim\n", "Option --access-key should be a valid string: '***'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_error err = {0};
        char *value = NULL;
        assert_int_equal(config_canonical(config_def_find(cases[i].key), cases[i].text, &value, &err), GSP_E_CONFIG);
        assert_string_equal(err.msg, cases[i].message);
        assert_null(value);
        if (cases[i].message[0] == 'O')
            assert_string_not_equal(err.hint, "");
    }
}

static void
takes_values_of_64_kib(void **state)
{
    (void)state;
    static char text[CONFIG_VALUE_MAX + 2];
    struct gsp_error err = {0};
    char *value = NULL;
    memset(text, 'x', CONFIG_VALUE_MAX);
    assert_int_equal(config_canonical(config_def_find("restore-command"), text, &value, &err), 0);
    assert_string_equal(value, text);
    free(value);
    text[CONFIG_VALUE_MAX] = 'x';
    assert_int_equal(config_canonical(config_def_find("restore-command"), text, &value, &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "65536 bytes"));
}

static void
knows_all_keys_in_any_spelling(void **state)
{
    (void)state;
    assert_int_equal(config_defs_n, 42 + 8);
    for (size_t i = 0; i < config_defs_n; i++) {
        char spelled[64];
        assert_ptr_equal(config_def_find(config_defs[i].key), &config_defs[i]);
        (void)snprintf(spelled, sizeof spelled, "%s", config_defs[i].key);
        for (char *p = spelled; *p != '\0'; p++)
            *p = *p == '-' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
        assert_ptr_equal(config_def_find(spelled), &config_defs[i]);
        /* Keys of the instance come first, in groups. */
        assert_int_equal((config_defs[i].flags & CONFIG_IN_INSTANCE) != 0, i < 42);
        assert_int_equal(config_defs[i].group != NULL, i < 42);
    }
    assert_null(config_def_find(""));
    assert_null(config_def_find("pg"));
    assert_null(config_def_find("pghosts"));
    assert_null(config_def_find("pgho"));
}

static void
splits_keys_of_plugins(void **state)
{
    (void)state;
    uint32_t kind = 0;
    char name[CONFIG_KEY_SIZE], key[CONFIG_KEY_SIZE];
    assert_int_equal(config_split_plugin_key("compressor.my_zlib.Window_Bits", &kind, name, key), 1);
    assert_int_equal(kind, GSP_KIND_COMPRESSOR);
    assert_string_equal(name, "my_zlib");
    assert_string_equal(key, "window-bits");
    static const char *const bad[] = {"", "a", "storage.fs", "storage..x", "storage.fs.", "color.fs.x", "storage.Fs.x",
        "storage.fs.a.b", "storage.fs.a b", ".fs.x", "storage.a23456789012345678901234567890123.x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(config_split_plugin_key(bad[i], &kind, name, key), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_values_in_one_way),
        cmocka_unit_test(refuses_values_in_the_stock_words),
        cmocka_unit_test(takes_values_of_64_kib),
        cmocka_unit_test(knows_all_keys_in_any_spelling),
        cmocka_unit_test(splits_keys_of_plugins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
