/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static int
parse(struct config *cfg, const char *text, struct gsp_error *err)
{
    gsp_error_clear(err);
    int rc = config_parse_yaml(cfg, text, strlen(text), "site.yaml", err);
    assert_int_equal(rc, err->code);
    return rc;
}

static void
reads_every_section(void **state)
{
    struct config *cfg = *state;
    struct gsp_error err = {0};
    static const char text[] = "plugin:\n"
                               "  path: [/opt/a, '/opt/b c']\n"
                               "server:\n"
                               "  plugin: opengauss\n"
                               "  postgresql: {connect_timeout: 5s}\n"
                               "mode:\n"
                               "  full: {}\n"
                               "compressor:\n"
                               "  zlib:\n"
                               "    level: 3\n"
                               "  my_zstd:\n"
                               "storage:\n"
                               "  repo: s3\n"
                               "  data: dss\n"
                               "  fs: {Direct-IO: no}\n"
                               "defaults:\n"
                               "  retention_window: 7\n"
                               "  rw-timeout: 1h\n"
                               "  restore-command: \"cp /a/%f '%p' ; # x\"\n"
                               "catalog: {new_modes: yes}\n"
                               "retention: {plugin: gfs, gfs: {weekly: 4}}\n";
    static const struct {
        const char *key, *text, *origin;
    } want[] = {
        {"plugin.path", "/opt/a:/opt/b c", "site.yaml:2:9"},
        {"server.plugin", "opengauss", "site.yaml:4:11"},
        {"server.postgresql.connect-timeout", "5s", "site.yaml:5:33"},
        {"compressor.zlib.level", "3", "site.yaml:10:12"},
        {"storage.repo", "s3", "site.yaml:13:9"},
        {"storage.data", "dss", "site.yaml:14:9"},
        {"storage.fs.direct-io", "no", "site.yaml:15:19"},
        {"retention-window", "7", "site.yaml:17:21"},
        {"rw-timeout", "1h", "site.yaml:18:15"},
        {"restore-command", "cp /a/%f '%p' ; # x", "site.yaml:19:20"},
        {"catalog.new-modes", "true", "site.yaml:20:22"},
        {"retention.plugin", "gfs", "site.yaml:21:21"},
        {"retention.gfs.weekly", "4", "site.yaml:21:40"},
    };
    if (parse(cfg, text, &err) != 0)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        assert_string_equal(config_get(cfg, want[i].key), want[i].text);
        assert_int_equal(config_get_source(cfg, want[i].key), CONFIG_YAML);
        assert_string_equal(config_get_origin(cfg, want[i].key), want[i].origin);
    }
}

static void
takes_files_that_say_nothing(void **state)
{
    struct gsp_error err = {0};
    static const char *const texts[] = {"", "\n\n", "# only a comment\n", "---\n", "---\n...\n", "{}\n", "defaults:\n",
        "compressor:\n  zlib:\n", "plugin: {path: []}\n", "\xef\xbb\xbf# with a byte order mark\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (parse(*state, texts[i], &err) != 0)
            fail_msg("'%s': %s", texts[i], err.msg);
}

/* A file, where the message says it is wrong, and a part of the reason. */
static const struct {
    const char *text, *start, *part;
} wrong[] = {
    /* structure */
    {"a: 1\n", "site.yaml:1:1: ", "section 'a' is unknown"},
    {"defaults: 7\n", "site.yaml:1:11: ", "section 'defaults' should hold keys"},
    {"defaults: [a]\n", "site.yaml:1:11: ", "should hold keys"},
    {"- a\n", "site.yaml:1:1: ", "should hold sections"},
    {"just text\n", "site.yaml:1:1: ", "should hold sections"},
    {"storage:\n  repo: [fs]\n", "site.yaml:2:9: ", "'storage.repo' should be a single value"},
    {"storage:\n  repo: {a: b}\n", "site.yaml:2:9: ", "'storage.repo' should be a single value"},
    {"storage:\n  repo:\n", "site.yaml:2:8: ", "'storage.repo' has no value"},
    {"storage:\n  fs: yes\n", "site.yaml:2:3: ", "'storage.fs' should be a plugin"},
    {"storage:\n  fs:\n    a: {b: {c: d}}\n", "site.yaml:3:8: ", "'storage.fs.a' should be a single value"},
    {"plugin:\n  path: /opt\n", "site.yaml:2:9: ", "'plugin.path' should be a list"},
    {"plugin:\n  path: [opt]\n", "site.yaml:2:10: ", "absolute paths"},
    {"plugin:\n  path: ['/a:/b']\n", "site.yaml:2:10: ", "absolute paths"},
    {"plugin:\n  path: [[/a]]\n", "site.yaml:2:10: ", "absolute paths"},
    {"plugin:\n  dirs: [/a]\n", "site.yaml:2:3: ", "'plugin.dirs' is unknown"},
    {"catalog:\n  modes: 1\n", "site.yaml:2:3: ", "'catalog.modes' is unknown"},
    {"defaults:\n  pghosts: a\n", "site.yaml:2:3: ", "'pghosts' is unknown in 'defaults'"},
    {"defaults:\n  storage.repo: a\n", "site.yaml:2:3: ", "'storage.repo' is unknown"},
    {"defaults:\n  system-identifier: 1\n", "site.yaml:2:3: ", "unknown in 'defaults'"},
    {"storage:\n  fs: {a.b: 1}\n", "site.yaml:2:8: ", "'a.b' is unknown"},
    {"storage:\n  F S: {a: 1}\n", "site.yaml:2:9: ", "cannot be the option of a plugin"},
    {"? [a]\n: b\n", "site.yaml:1:3: ", "a key should be a word"},
    {"'': b\n", "site.yaml:1:1: ", "a key should be a word"},
    /* duplicates, in any spelling */
    {"storage: {}\nstorage: {}\n", "site.yaml:2:1: ", "'storage' is here for the second time"},
    {"defaults:\n  pghost: a\n  PGHOST: a\n", "site.yaml:3:3: ", "second time"},
    {"defaults:\n  wal-depth: 1\n  Wal_Depth: 2\n", "site.yaml:3:3: ", "second time"},
    {"storage: {fs: {a-b: 1, A_B: 2}}\n", "site.yaml:1:24: ", "second time"},
    {"storage: {repo: fs, Repo: fs}\n", "site.yaml:1:21: ", "second time"},
    /* values */
    {"defaults:\n  wal-depth: many\n", "site.yaml:2:14: ", "Option --wal-depth should be a 32bit"},
    {"catalog:\n  new-modes: 2\n", "site.yaml:2:14: ", "Option catalog.new-modes should be a boolean"},
    {"defaults:\n  pguser: \"a\\0b\"\n", "site.yaml:2:11: ", "NUL"},
    /* YAML that is not for this file */
    {"storage: {}\n---\nserver: {}\n", "site.yaml:2:1: ", "second document"},
    {"storage: &a {}\n", "site.yaml:1:10: ", "anchor"},
    {"defaults:\n  pghost: &a x\n  pguser: *a\n", "site.yaml:2:11: ", "anchor"},
    {"defaults:\n  pghost: *a\n", "site.yaml:2:11: ", "alias"},
    {"defaults:\n  pghost: !!str x\n", "site.yaml:2:11: ", "tag"},
    {"storage:\n\tfs: {}\n", "site.yaml:2:1: ", "token"},
    {"storage: {fs: {\n", "site.yaml:2:1: ", ""},
    {"storage: 'open\n", "site.yaml:2:1: ", "quoted scalar"},
    {"storage:\n  a\xff: {}\n", "site.yaml:2:4: ", "UTF-8"},
    {"storage:\n  a\x01: {}\n", "site.yaml:2:4: ", "control characters"},
    {"\xff\xfe"
     "a",
        "site.yaml:1:1: ", "UTF-8"},
};

static void
refuses_with_line_and_column(void **state)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct gsp_error err = {0};
        struct config *cfg = NULL;
        assert_int_equal(config_new(&cfg, &err), 0);
        (void)parse(cfg, wrong[i].text, &err);
        if (err.code != GSP_E_CONFIG || strncmp(err.msg, wrong[i].start, strlen(wrong[i].start)) != 0 ||
            strstr(err.msg, wrong[i].part) == NULL)
            fail_msg("'%s' gives %d '%s'", wrong[i].text, err.code, err.msg);
        config_free(cfg);
    }
    (void)state;
}

static void
limits_what_a_file_can_hold(void **state)
{
    struct config *cfg = *state;
    struct gsp_error err = {0};
    auto_strbuf text = STRBUF_INIT;
    strbuf_puts(&text, "defaults:\n  restore-command: ");
    for (int i = 0; i < 65536; i++)
        strbuf_putc(&text, 'x');
    assert_int_equal(parse(cfg, strbuf_str(&text), &err), 0);
    strbuf_putc(&text, 'x');
    assert_int_equal(parse(cfg, strbuf_str(&text), &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "site.yaml:2:20: the value is longer than 65536 bytes"));

    strbuf_reset(&text);
    strbuf_puts(&text, "storage:\n  fs:\n");
    for (int i = 0; i < 1100; i++)
        strbuf_printf(&text, "    k%d: 1\n", i);
    assert_int_equal(parse(cfg, strbuf_str(&text), &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "more than 1024 keys"));

    strbuf_reset(&text);
    strbuf_puts(&text, "storage: ");
    for (int i = 0; i < 100000; i++)
        strbuf_putc(&text, '[');
    assert_int_equal(parse(cfg, strbuf_str(&text), &err), GSP_E_CONFIG);

    strbuf_reset(&text);
    while (text.len <= 1024 * 1024)
        strbuf_puts(&text, "# a comment\n");
    assert_int_equal(parse(cfg, strbuf_str(&text), &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "1048576 bytes"));
}

static void
write_file(const char *path, const char *text, mode_t mode)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void
loads_files_that_not_everybody_can_write(void **state)
{
    struct config *cfg = *state;
    struct gsp_error err = {0};
    char dir[] = "/tmp/gsp-yaml-XXXXXX", path[64];
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/site.yaml", dir);
    assert_int_equal(config_load_yaml(cfg, path, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, path));
    gsp_error_clear(&err);
    write_file(path, "defaults: {pgport: 6432}\n", 0646);
    assert_int_equal(config_load_yaml(cfg, path, &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "everybody"));
    assert_non_null(strstr(err.hint, "chmod o-w"));
    gsp_error_clear(&err);
    assert_int_equal(chmod(path, 0664), 0);
    assert_int_equal(config_load_yaml(cfg, path, &err), 0);
    assert_string_equal(config_get(cfg, "pgport"), "6432");
    assert_non_null(strstr(config_get_origin(cfg, "pgport"), "site.yaml:1:20"));
    assert_int_equal(config_load_yaml(cfg, dir, &err), GSP_E_CONFIG);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

/* The shipped file says nothing as it is; with its settings uncommented it says only what is known. */
static void
takes_the_shipped_file(void **state)
{
    struct config *cfg = *state;
    struct gsp_error err = {0};
    char path[4096], line[1024];
    auto_strbuf text = STRBUF_INIT;
    struct config_value value;
    if (getenv("GSP_TEST_DATA") == NULL)
        skip();
    (void)snprintf(path, sizeof path, "%s/../../conf/gs_probackup.yaml", getenv("GSP_TEST_DATA"));
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    while (fgets(line, sizeof line, in) != NULL)
        strbuf_puts(&text, line[0] != '#' ? line : line[1] == '#' ? "\n" : line + 1);
    (void)fclose(in);
    if (config_load_yaml(cfg, path, &err) != 0 || parse(cfg, strbuf_str(&text), &err) != 0)
        fail_msg("%s", err.msg);
    /* What it shows as a default is the default. */
    for (size_t i = 0; config_value_at(cfg, i, &value); i++) {
        const struct config_def *def = config_def_find(value.key);
        if (value.source == CONFIG_YAML && def != NULL && def->def != NULL)
            assert_string_equal(value.text, def->def);
    }
    assert_string_equal(config_get(cfg, "plugin.path"), "/opt/example/gs_probackup/plugins");
    assert_string_equal(config_get(cfg, "compressor.zlib.level"), "1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_every_section),
        TEST(takes_files_that_say_nothing),
        TEST(refuses_with_line_and_column),
        TEST(limits_what_a_file_can_hold),
        TEST(loads_files_that_not_everybody_can_write),
        TEST(takes_the_shipped_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
