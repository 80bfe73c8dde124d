/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/config/config.h"

static int
setup(void **state)
{
    struct gsp_error err = {0};
    struct config *cfg = NULL;
    assert_int_equal(config_new(&cfg, &err), 0);
    *state = cfg;
    return 0;
}

static int
teardown(void **state)
{
    config_free(*state);
    return 0;
}

static void
set(struct config *cfg, const char *key, const char *text, enum config_source source, const char *origin)
{
    struct gsp_error err = {0};
    if (config_set(cfg, key, text, source, origin, &err) != 0)
        fail_msg("%s", err.msg);
}

static void
starts_with_the_defaults_of_the_manual(void **state)
{
    struct config *cfg = *state;
    static const struct {
        const char *key, *text;
    } defaults[] = {
        {"archive-timeout", "5min"},
        {"rw-timeout", "2min"},
        {"log-level-console", "INFO"},
        {"log-level-file", "OFF"},
        {"log-filename", "pg_probackup.log"},
        {"log-rotation-size", "0TB"},
        {"log-rotation-age", "0d"},
        {"retention-redundancy", "0"},
        {"retention-window", "0"},
        {"wal-depth", "0"},
        {"compress-algorithm", "none"},
        {"compress-level", "1"},
        {"remote-proto", "ssh"},
        {"enable-dss", "false"},
        {"instance-id", "-1"},
        {"log-format-file", "plain"},
        {"server.plugin", "auto"},
        {"storage.repo", "fs"},
        {"storage.data", "fs"},
        {"retention.plugin", "standard"},
        {"catalog.new-modes", "false"},
    };
    struct config_value value;
    size_t n = 0;
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        assert_string_equal(config_get(cfg, defaults[i].key), defaults[i].text);
        assert_int_equal(config_get_source(cfg, defaults[i].key), CONFIG_DEFAULT);
        assert_string_equal(config_get_origin(cfg, defaults[i].key), "default");
    }
    while (config_value_at(cfg, n, &value))
        n++;
    assert_int_equal(n, sizeof defaults / sizeof defaults[0]);
    assert_null(config_get(cfg, "pghost"));
    assert_null(config_get_origin(cfg, "pghost"));
    assert_null(config_get(cfg, "no-such-key"));
}

/* Every pair of sources, set in both orders: the stronger one wins, and unsetting it brings the weaker back. */
static void
the_stronger_source_wins(void **state)
{
    struct config *cfg = *state;
    static const char *const text[] = {"d", "y", "e", "i", "c"};
    static const char *const origin[] = {"default", "site.yaml:1:1", "environment PGHOST", "conf:2:3", "--pghost"};
    static const char *const keys[] = {"pghost", "storage.fs.root-mode"};
    for (size_t k = 0; k < 2; k++) {
        for (int order = 0; order < 2; order++) {
            for (int weak = CONFIG_DEFAULT; weak < CONFIG_CMDLINE; weak++) {
                for (int strong = weak + 1; strong <= CONFIG_CMDLINE; strong++) {
                    int first = order ? weak : strong, second = order ? strong : weak;
                    set(cfg, keys[k], text[first], (enum config_source)first, origin[first]);
                    set(cfg, keys[k], text[second], (enum config_source)second, origin[second]);
                    assert_string_equal(config_get(cfg, keys[k]), text[strong]);
                    assert_int_equal(config_get_source(cfg, keys[k]), strong);
                    assert_string_equal(config_get_origin(cfg, keys[k]), origin[strong]);
                    config_unset(cfg, keys[k], (enum config_source)strong);
                    assert_string_equal(config_get(cfg, keys[k]), text[weak]);
                    config_unset(cfg, keys[k], (enum config_source)weak);
                    assert_null(config_get(cfg, keys[k]));
                }
            }
        }
    }
}

static void
the_last_one_wins_in_any_spelling(void **state)
{
    struct config *cfg = *state;
    set(cfg, "Archive_Timeout", "60", CONFIG_INSTANCE, "conf:1:1");
    set(cfg, "archive-timeout", "120", CONFIG_INSTANCE, "conf:2:1");
    assert_string_equal(config_get(cfg, "ARCHIVE-TIMEOUT"), "2min");
    assert_string_equal(config_get_origin(cfg, "archive-timeout"), "conf:2:1");
    set(cfg, "compressor.zlib.mem_level", "1", CONFIG_YAML, "y");
    assert_string_equal(config_get(cfg, "compressor.zlib.mem-level"), "1");
}

static void
reads_typed_values(void **state)
{
    struct config *cfg = *state;
    set(cfg, "archive-timeout", "90", CONFIG_CMDLINE, "");
    set(cfg, "log-rotation-age", "60", CONFIG_CMDLINE, "");
    set(cfg, "log-rotation-size", "3", CONFIG_CMDLINE, "");
    set(cfg, "retention-window", "0x7", CONFIG_CMDLINE, "");
    set(cfg, "enable-dss", "on", CONFIG_CMDLINE, "");
    set(cfg, "system-identifier", "18446744073709551615", CONFIG_INSTANCE, "conf");
    assert_int_equal(config_get_us(cfg, "archive-timeout"), 90000000);
    assert_int_equal(config_get_us(cfg, "log-rotation-age"), 3600000000);
    assert_int_equal(config_get_us(cfg, "rw-timeout"), 120000000);
    assert_int_equal(config_get_bytes(cfg, "log-rotation-size"), 3072);
    assert_int_equal(config_get_u64(cfg, "retention-window"), 7);
    assert_true(config_get_u64(cfg, "system-identifier") == UINT64_MAX);
    assert_int_equal(config_get_bool(cfg, "enable-dss"), 1);
    assert_int_equal(config_get_bool(cfg, "catalog.new-modes"), 0);
    assert_int_equal(config_get_u64(cfg, "xlog-seg-size"), 0);
}

static void
refuses_with_the_place(void **state)
{
    struct config *cfg = *state;
    static const struct {
        const char *key, *text;
        enum config_source source;
        const char *origin, *message;
    } cases[] = {
        {"wal-depth", "x", CONFIG_CMDLINE, "--wal-depth", "Option --wal-depth should be a 32bit unsigned integer: 'x'"},
        {"wal-depth", "x", CONFIG_INSTANCE, "pg_probackup.conf:3:12",
            "pg_probackup.conf:3:12: Option --wal-depth should be a 32bit unsigned integer: 'x'"},
        {"system-identifier", "1", CONFIG_CMDLINE, "--system-identifier",
            "Option system-identifier cannot be specified in command line"},
        {"storage.repo", "fs", CONFIG_INSTANCE, "conf:1:1", "conf:1:1: Invalid option \"storage.repo\""},
        {"rw-timeout", "1", CONFIG_INSTANCE, "conf:1:1", "conf:1:1: Invalid option \"rw-timeout\""},
        {"nonsense", "1", CONFIG_CMDLINE, "--set", "Invalid option \"nonsense\""},
        {"color.red.x", "1", CONFIG_CMDLINE, "--set", "Invalid option \"color.red.x\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_error err = {0};
        assert_int_equal(
            config_set(cfg, cases[i].key, cases[i].text, cases[i].source, cases[i].origin, &err), GSP_E_CONFIG);
        assert_string_equal(err.msg, cases[i].message);
    }
    assert_string_equal(config_get(cfg, "wal-depth"), "0"); /* a refused value changes nothing */
}

static void
reads_the_environment(void **state)
{
    struct config *cfg = *state;
    struct gsp_error err = {0};
    (void)setenv("PGDATA", "/env/data", 1);
    (void)setenv("PGPORT", "6543", 1);
    (void)setenv("PGHOST", "", 1); /* empty is unset */
    (void)setenv("PGUSER", "omm", 1);
    (void)unsetenv("PGDATABASE");
    assert_int_equal(config_load_env(cfg, &err), 0);
    assert_string_equal(config_get(cfg, "pgdata"), "/env/data");
    assert_string_equal(config_get_origin(cfg, "pgdata"), "environment PGDATA");
    assert_int_equal(config_get_source(cfg, "pgport"), CONFIG_ENV);
    assert_null(config_get(cfg, "pghost"));
    assert_string_equal(config_get(cfg, "pguser"), "omm");
    /* The database is that of PGDATABASE, else the name in PGUSER, else that of the user. */
    assert_string_equal(config_get(cfg, "pgdatabase"), "omm");
    assert_string_equal(config_get_origin(cfg, "pgdatabase"), "environment PGUSER");
    (void)setenv("PGDATABASE", "postgres", 1);
    assert_int_equal(config_load_env(cfg, &err), 0);
    assert_string_equal(config_get(cfg, "pgdatabase"), "postgres");
    config_unset(cfg, "pgdatabase", CONFIG_ENV);
    assert_int_equal(config_get_source(cfg, "pgdatabase"), CONFIG_DEFAULT);
    assert_string_not_equal(config_get(cfg, "pgdatabase"), "");
    set(cfg, "pgdata", "/conf/data", CONFIG_INSTANCE, "conf:1:1");
    assert_string_equal(config_get(cfg, "pgdata"), "/conf/data");
    (void)setenv("PGPORT", "54\n32", 1);
    assert_int_equal(config_load_env(cfg, &err), GSP_E_CONFIG);
    assert_string_equal(err.msg, "environment PGPORT: Option --pgport should be a valid string: '54\n32'");
}

static void
lists_values_in_a_fixed_order(void **state)
{
    struct config *cfg = *state;
    struct config_value value;
    auto_strbuf order = STRBUF_INIT;
    set(cfg, "storage.fs.b", "1", CONFIG_YAML, "y");
    set(cfg, "compressor.zlib.level", "2", CONFIG_CMDLINE, "--set");
    set(cfg, "storage.fs.a", "3", CONFIG_YAML, "y");
    set(cfg, "pgport", "5433", CONFIG_CMDLINE, "--pgport");
    set(cfg, "pgdata", "/d", CONFIG_INSTANCE, "conf:2:10");
    set(cfg, "access-key", "geheim", CONFIG_INSTANCE, "conf:3:10");
    for (size_t i = 0; config_value_at(cfg, i, &value); i++) {
        if (value.source != CONFIG_DEFAULT)
            strbuf_printf(&order, "%s ", value.key);
    }
    assert_string_equal(
        strbuf_str(&order), "pgdata pgport access-key compressor.zlib.level storage.fs.a storage.fs.b ");
    assert_int_equal(config_value_at(cfg, 0, &value), 1);
    assert_string_equal(value.key, "pgdata");
    assert_string_equal(value.text, "/d");
    assert_string_equal(value.origin, "conf:2:10");
    assert_string_equal(value.group, "Backup instance information");
    assert_int_equal(value.source, CONFIG_INSTANCE);
    assert_int_equal(config_value_at(cfg, 1000, &value), 0);
    assert_int_not_equal(config_def_find("access-key")->flags & CONFIG_SECRET, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(starts_with_the_defaults_of_the_manual),
        TEST(the_stronger_source_wins),
        TEST(the_last_one_wins_in_any_spelling),
        TEST(reads_typed_values),
        TEST(refuses_with_the_place),
        TEST(reads_the_environment),
        TEST(lists_values_in_a_fixed_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
