/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/config/config.h"
#include "tests/doubles/idle_compressor.h"

struct opts {
    int64_t level;
    int64_t wait_us;
    const char *host;
    const char *token;
};

static const struct gsp_option options[] = {
    {.key = "level",
        .type = GSP_OPT_INT,
        .def = "5",
        .help = "how much",
        .offset = offsetof(struct opts, level),
        .min = 0,
        .max = 22,
        .legacy_key = "compress-level"},
    {.key = "wait",
        .type = GSP_OPT_DURATION,
        .def = "1s",
        .help = "how long",
        .offset = offsetof(struct opts, wait_us),
        .legacy_key = "archive-timeout"},
    {.key = "host",
        .type = GSP_OPT_STRING,
        .def = "nowhere",
        .help = "who",
        .offset = offsetof(struct opts, host),
        .legacy_key = "pghost"},
    {.key = "token", .type = GSP_OPT_SECRET, .help = "a secret", .offset = offsetof(struct opts, token)},
    {.key = NULL},
};

static const struct gsp_plugin desc = {
    .struct_size = sizeof desc,
    .abi_major = GSP_ABI_MAJOR,
    .kind = GSP_KIND_COMPRESSOR,
    .thread_model = GSP_THREAD_ANY,
    .name = "double",
    .version = "1",
    .summary = "test double",
    .options = options,
    .options_size = sizeof(struct opts),
    .ops = &idle_compressor_ops,
};

struct fixture {
    struct config *cfg;
    struct registry *reg;
    struct plugin *plugin;
    struct gsp_error err;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_int_equal(config_new(&f->cfg, &f->err), 0);
    assert_int_equal(registry_new(&f->reg, &f->err), 0);
    assert_int_equal(registry_add(f->reg, &desc, &f->err), 0);
    assert_int_equal(registry_find(f->reg, GSP_KIND_COMPRESSOR, "double", &f->plugin, &f->err), 0);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    registry_free(f->reg);
    config_free(f->cfg);
    free(f);
    return 0;
}

static void
set(struct fixture *f, const char *key, const char *text, enum config_source source, const char *origin)
{
    assert_int_equal(config_set(f->cfg, key, text, source, origin, &f->err), 0);
}

static void
accepts_known_options(void **state)
{
    struct fixture *f = *state;
    struct config_value value;
    size_t last = 0;
    set(f, "compressor.double.level", "22", CONFIG_YAML, "site.yaml:2:3");
    set(f, "compressor.double.token", "geheim", CONFIG_CMDLINE, "--set");
    assert_int_equal(config_check_plugins(f->cfg, f->reg, &f->err), 0);
    while (config_value_at(f->cfg, last, &value))
        last++;
    assert_int_equal(config_value_at(f->cfg, last - 1, &value), 1);
    assert_string_equal(value.key, "compressor.double.token");
    assert_int_equal(value.flags & CONFIG_SECRET, CONFIG_SECRET);
}

static void
refuses_what_no_plugin_knows(void **state)
{
    struct fixture *f = *state;
    set(f, "compressor.nothere.level", "1", CONFIG_YAML, "site.yaml:2:3");
    assert_int_equal(config_check_plugins(f->cfg, f->reg, &f->err), GSP_E_UNSUPPORTED);
    assert_string_equal(f->err.msg, "site.yaml:2:3: there is no compressor plugin 'nothere'");
    assert_string_equal(f->err.hint, "there are: double");
    config_unset(f->cfg, "compressor.nothere.level", CONFIG_YAML);

    gsp_error_clear(&f->err);
    set(f, "compressor.double.levle", "1", CONFIG_YAML, "site.yaml:5:7");
    assert_int_equal(config_check_plugins(f->cfg, f->reg, &f->err), GSP_E_CONFIG);
    assert_string_equal(f->err.msg, "site.yaml:5:7: the compressor plugin 'double' has no option 'levle'");
    assert_string_equal(f->err.hint, "its options are: level, wait, host, token");
    config_unset(f->cfg, "compressor.double.levle", CONFIG_YAML);

    gsp_error_clear(&f->err);
    assert_int_equal(config_check_plugins(f->cfg, f->reg, &f->err), 0);
}

/* A bad value is one even where a stronger source has a good one. */
static void
refuses_bad_values_of_every_source(void **state)
{
    struct fixture *f = *state;
    set(f, "compressor.double.level", "23", CONFIG_YAML, "site.yaml:5:7");
    set(f, "compressor.double.level", "1", CONFIG_CMDLINE, "--set");
    assert_int_equal(config_check_plugins(f->cfg, f->reg, &f->err), GSP_E_CONFIG);
    assert_string_equal(
        f->err.msg, "site.yaml:5:7: compressor.double: option 'level' should be an integer from 0 to 22: '23'");
}

static struct opts *
bind(struct fixture *f)
{
    void *opts = NULL;
    assert_int_equal(config_bind(f->cfg, f->plugin, &opts, &f->err), 0);
    return opts;
}

/* Plugin default < default of the legacy key < the stronger of own and legacy key; own wins a tie. */
static void
binds_from_own_and_legacy_keys(void **state)
{
    struct fixture *f = *state;
    struct opts *o = bind(f);
    assert_int_equal(o->level, 1); /* what show-config says about compress-level is what happens */
    assert_int_equal(o->wait_us, 300000000);
    assert_string_equal(o->host, "nowhere");
    assert_null(o->token);
    plugin_free_options(o);

    static const struct {
        const char *key, *text;
        enum config_source source;
        int64_t level;
    } steps[] = {
        {"compressor.double.level", "2", CONFIG_YAML, 2},
        {"compress-level", "3", CONFIG_YAML, 2},
        {"compress-level", "4", CONFIG_INSTANCE, 4},
        {"compressor.double.level", "6", CONFIG_CMDLINE, 6},
        {"compress-level", "7", CONFIG_CMDLINE, 6},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        set(f, steps[i].key, steps[i].text, steps[i].source, "somewhere");
        o = bind(f);
        assert_int_equal(o->level, steps[i].level);
        plugin_free_options(o);
    }
    set(f, "pghost", "db1", CONFIG_ENV, "environment PGHOST");
    set(f, "archive-timeout", "90", CONFIG_INSTANCE, "conf:1:1");
    o = bind(f);
    assert_string_equal(o->host, "db1");
    assert_int_equal(o->wait_us, 90000000);
    plugin_free_options(o);
}

static void
names_the_origin_of_a_value_that_does_not_fit(void **state)
{
    struct fixture *f = *state;
    void *opts = NULL;
    set(f, "compressor.double.level", "99", CONFIG_CMDLINE, "--set");
    assert_int_equal(config_bind(f->cfg, f->plugin, &opts, &f->err), GSP_E_CONFIG);
    assert_string_equal(f->err.msg, "--set: compressor.double: option 'level' should be an integer from 0 to 22: '99'");
    assert_null(opts);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepts_known_options),
        TEST(refuses_what_no_plugin_knows),
        TEST(refuses_bad_values_of_every_source),
        TEST(binds_from_own_and_legacy_keys),
        TEST(names_the_origin_of_a_value_that_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
