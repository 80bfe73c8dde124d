/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/doubles/idle_compressor.h"
#include "tests/unit/plugin/fixture.h"

struct opts {
    int32_t flag;
    int32_t pad;
    int64_t level;
    int64_t wait_us;
    const char *name;
    const char *secret;
    const char *unset;
};

static const struct gsp_option options[] = {
    {.key = "flag", .type = GSP_OPT_BOOL, .def = "on", .help = "a switch", .offset = offsetof(struct opts, flag)},
    {.key = "level",
        .type = GSP_OPT_INT,
        .def = "3",
        .help = "a number",
        .offset = offsetof(struct opts, level),
        .min = 0,
        .max = 9,
        .legacy_key = "compress-level"},
    {.key = "wait",
        .type = GSP_OPT_DURATION,
        .def = "30",
        .help = "a time",
        .offset = offsetof(struct opts, wait_us),
        .min = 1000000,
        .max = 3600000000},
    {.key = "name", .type = GSP_OPT_STRING, .def = "fallback", .help = "a text", .offset = offsetof(struct opts, name)},
    {.key = "secret", .type = GSP_OPT_SECRET, .help = "a secret", .offset = offsetof(struct opts, secret)},
    {.key = "unset", .type = GSP_OPT_STRING, .help = "nothing", .offset = offsetof(struct opts, unset)},
    {.key = NULL},
};

/* Options need no operations: the plugin is built by hand here. */
static const struct gsp_plugin desc = {.options = options, .options_size = sizeof(struct opts)};
static const struct plugin plugin = {.kind = GSP_KIND_COMPRESSOR, .name = "double", .desc = &desc};

struct setting {
    const char *key, *text;
};

static int
from_settings(
    void *arg, const struct plugin *p, const struct gsp_option *opt, const char **ret_text, const char **ret_origin)
{
    assert_ptr_equal(p, &plugin);
    for (const struct setting *s = arg; s->key != NULL; s++) {
        if (strcmp(s->key, opt->key) == 0) {
            *ret_text = s->text;
            *ret_origin = "site.yaml:3:5";
            return 1;
        }
    }
    return 0;
}

static int
bind(struct setting *settings, struct opts **ret, struct gsp_error *err)
{
    void *opts = NULL;
    gsp_error_clear(err);
    int rc = plugin_bind_options(&plugin, from_settings, settings, &opts, err);
    assert_int_equal(rc, err->code);
    *ret = opts;
    return rc;
}

static void
binds_defaults(void **state)
{
    (void)state;
    struct setting none[] = {{NULL, NULL}};
    struct gsp_error err = {0};
    struct opts *o;
    assert_int_equal(bind(none, &o, &err), 0);
    assert_int_equal(o->flag, 1);
    assert_int_equal(o->level, 3);
    assert_int_equal(o->wait_us, 30000000);
    assert_string_equal(o->name, "fallback");
    assert_null(o->secret);
    assert_null(o->unset);
    plugin_free_options(o);
}

static void
binds_what_is_set_and_copies_texts(void **state)
{
    (void)state;
    char name[] = "changed later", secret[] = "s3cret";
    struct setting set[] = {
        {"flag", "no"}, {"level", "9"}, {"wait", "5 min"}, {"name", name}, {"secret", secret}, {NULL, NULL}};
    struct gsp_error err = {0};
    struct opts *o;
    assert_int_equal(bind(set, &o, &err), 0);
    memset(name, 'x', sizeof name - 1);
    memset(secret, 'x', sizeof secret - 1);
    assert_int_equal(o->flag, 0);
    assert_int_equal(o->level, 9);
    assert_int_equal(o->wait_us, 300000000);
    assert_string_equal(o->name, "changed later");
    assert_string_equal(o->secret, "s3cret");
    plugin_free_options(o);
}

static void
refuses_values_with_place_and_range(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text, *message;
    } cases[] = {
        {"flag", "maybe", "site.yaml:3:5: compressor.double: option 'flag' should be a boolean: 'maybe'"},
        {"level", "10", "site.yaml:3:5: compressor.double: option 'level' should be an integer from 0 to 9: '10'"},
        {"level", "-1", "site.yaml:3:5: compressor.double: option 'level' should be an integer from 0 to 9: '-1'"},
        {"level", "", "site.yaml:3:5: compressor.double: option 'level' should be an integer from 0 to 9: ''"},
        {"wait", "999ms",
            "site.yaml:3:5: compressor.double: option 'wait' should be a duration from 1s to 1h: '999ms'"},
        {"wait", "2h", "site.yaml:3:5: compressor.double: option 'wait' should be a duration from 1s to 1h: '2h'"},
        {"wait", "5 weeks",
            "site.yaml:3:5: compressor.double: option 'wait' should be a duration from 1s to 1h: '5 weeks'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct setting set[] = {{cases[i].key, cases[i].text}, {NULL, NULL}};
        struct gsp_error err = {0};
        struct opts *o;
        assert_int_equal(bind(set, &o, &err), GSP_E_CONFIG);
        assert_string_equal(err.msg, cases[i].message);
        assert_null(o);
    }
}

static int
nothing_set(
    void *arg, const struct plugin *p, const struct gsp_option *opt, const char **ret_text, const char **ret_origin)
{
    (void)arg;
    (void)p;
    (void)opt;
    (void)ret_text;
    (void)ret_origin;
    return 0;
}

static void
asks_for_required_options(void **state)
{
    (void)state;
    static const struct gsp_option required[] = {
        {.key = "must", .type = GSP_OPT_STRING, .flags = GSP_OPT_REQUIRED, .help = "a text", .legacy_key = "pghost"},
        {.key = NULL},
    };
    const struct gsp_plugin with_required = {.options = required, .options_size = sizeof(const char *)};
    const struct plugin p = {.kind = GSP_KIND_COMPRESSOR, .name = "double", .desc = &with_required};
    struct gsp_error err = {0};
    void *opts = NULL;
    assert_int_equal(plugin_bind_options(&p, nothing_set, NULL, &opts, &err), GSP_E_CONFIG);
    assert_string_equal(err.msg, "required parameter not specified: compressor.double.must");
    assert_non_null(strstr(err.hint, "--pghost"));
    assert_null(opts);
}

static void
gives_a_struct_to_plugins_without_options(void **state)
{
    (void)state;
    const struct gsp_plugin bare = {.options = NULL, .options_size = 0};
    const struct plugin p = {.kind = GSP_KIND_COMPRESSOR, .name = "double", .desc = &bare};
    struct gsp_error err = {0};
    void *opts = NULL;
    assert_int_equal(plugin_bind_options(&p, nothing_set, NULL, &opts, &err), 0);
    assert_non_null(opts);
    plugin_free_options(opts);
}

static void
names_every_type(void **state)
{
    (void)state;
    assert_string_equal(plugin_option_type_name(GSP_OPT_BOOL), "boolean");
    assert_string_equal(plugin_option_type_name(GSP_OPT_INT), "integer");
    assert_string_equal(plugin_option_type_name(GSP_OPT_DURATION), "duration");
    assert_string_equal(plugin_option_type_name(GSP_OPT_STRING), "string");
    assert_string_equal(plugin_option_type_name(GSP_OPT_SECRET), "secret");
    assert_null(plugin_option_type_name(0));
    assert_null(plugin_option_type_name(6));
}

/* ---- tables that a plugin brings --------------------------------------------------------------- */

static int
add_with(struct fixture *f, const struct gsp_option *table, uint32_t size)
{
    const struct gsp_plugin d = {
        .struct_size = sizeof d,
        .abi_major = GSP_ABI_MAJOR,
        .kind = GSP_KIND_COMPRESSOR,
        .thread_model = GSP_THREAD_ANY,
        .name = "double",
        .version = "1",
        .summary = "test double",
        .options = table,
        .options_size = size,
        .ops = &idle_compressor_ops,
    };
    gsp_error_clear(&f->err);
    return registry_add(f->reg, &d, &f->err);
}

static void
refuses_bad_tables(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct gsp_option one, two;
        uint32_t size;
        const char *message;
    } cases[] = {
        {{.key = "Key", .type = GSP_OPT_INT, .help = ""}, {0}, 64, "option key 'Key'"},
        {{.key = "a.b", .type = GSP_OPT_INT, .help = ""}, {0}, 64, "option key 'a.b'"},
        {{.key = "", .type = GSP_OPT_INT, .help = ""}, {0}, 64, "option key ''"},
        {{.key = "a", .type = 9, .help = ""}, {0}, 64, "unknown type 9"},
        {{.key = "a", .type = GSP_OPT_INT}, {0}, 64, "no help"},
        {{.key = "a", .type = GSP_OPT_INT, .help = "", .offset = 60}, {0}, 64, "offset 60 does not fit"},
        {{.key = "a", .type = GSP_OPT_INT, .help = "", .offset = 4}, {0}, 64, "offset 4 does not fit"},
        {{.key = "a", .type = GSP_OPT_BOOL, .help = "", .offset = 64}, {0}, 64, "offset 64 does not fit"},
        {{.key = "a", .type = GSP_OPT_STRING, .help = "", .offset = 4294967288u}, {0}, 64, "does not fit"},
        {{.key = "a", .type = GSP_OPT_BOOL, .help = ""}, {0}, 4097, "4097 bytes"},
        {{.key = "a", .type = GSP_OPT_BOOL, .help = "", .def = "perhaps"}, {0}, 64, "default 'perhaps'"},
        {{.key = "a", .type = GSP_OPT_INT, .help = "", .def = "5", .min = 6, .max = 7}, {0}, 64, "default '5'"},
        {{.key = "a", .type = GSP_OPT_INT, .help = ""}, {.key = "a", .type = GSP_OPT_INT, .help = "", .offset = 8}, 64,
            "option 'a' twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct gsp_option table[] = {cases[i].one, cases[i].two, {.key = NULL}};
        assert_int_equal(add_with(f, table, cases[i].size), GSP_E_BUG);
        assert_error(&f->err, GSP_E_BUG, cases[i].message, "");
    }
    assert_int_equal(add_with(f, options, sizeof(struct opts)), 0);
}

static void
refuses_an_endless_table(void **state)
{
    struct fixture *f = *state;
    static struct gsp_option table[300];
    static char keys[300][8];
    for (size_t i = 0; i < 299; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%zu", i);
        table[i] = (struct gsp_option){.key = keys[i], .type = GSP_OPT_INT, .help = ""};
    }
    assert_int_equal(add_with(f, table, 64), GSP_E_BUG);
    assert_error(&f->err, GSP_E_BUG, "more than 256 options", "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binds_defaults),
        cmocka_unit_test(binds_what_is_set_and_copies_texts),
        cmocka_unit_test(refuses_values_with_place_and_range),
        cmocka_unit_test(asks_for_required_options),
        cmocka_unit_test(gives_a_struct_to_plugins_without_options),
        cmocka_unit_test(names_every_type),
        cmocka_unit_test_setup_teardown(refuses_bad_tables, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(refuses_an_endless_table, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
