/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/config/conf_file.h"

static struct conf_file *
parse(const char *text)
{
    struct gsp_error err = {0};
    struct conf_file *conf = NULL;
    if (conf_file_parse(text, strlen(text), "pg_probackup.conf", &conf, &err) != 0)
        fail_msg("'%s': %s", text, err.msg);
    return conf;
}

static void
set(struct conf_file *conf, const char *key, const char *value)
{
    struct gsp_error err = {0};
    if (conf_file_set(conf, key, value, &err) != 0)
        fail_msg("%s", err.msg);
}

static void
assert_text(const struct conf_file *conf, const char *want)
{
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error err = {0};
    assert_int_equal(conf_file_format(conf, &text, &err), 0);
    assert_string_equal(strbuf_str(&text), want);
}

static void
reads_the_stock_grammar(void **state)
{
    (void)state;
    static const struct {
        const char *line, *value;
    } cases[] = {
        {"pghost=a", "a"},
        {"pghost = a", "a"},
        {"  pghost\t=\t a  ", "a"},
        {"PG_HOST_ = a", NULL},
        {"PGHOST = a\r", "a"},
        {"pghost = a b  c", "a b  c"},
        {"pghost = a;b ; c", "a;b ; c"},
        {"pghost = a=b", "a=b"},
        {"pghost = it's", "it's"},
        {"pghost = \"a\"", "\"a\""},
        {"pghost = a#b", "a"},
        {"pghost = a # b", "a"},
        {"pghost = 'a # b'", "a # b"},
        {"pghost = 'a' # b", "a"},
        {"pghost = 'it''s'", "it's"},
        {"pghost = ''''", "'"},
        {"pghost = '  a\t '", "  a\t "},
        {"pghost = ''", ""},
        {"pghost =", ""},
        {"pghost = # b", ""},
        {"# pghost = a", NULL},
        {"", NULL},
        {"   ", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct conf_file *conf = parse(cases[i].line);
        const char *value = conf_file_get(conf, "pghost");
        if ((value == NULL) != (cases[i].value == NULL) || (value != NULL && strcmp(value, cases[i].value) != 0))
            fail_msg("'%s' gives '%s'", cases[i].line, value != NULL ? value : "nothing");
        conf_file_free(conf);
    }
    struct conf_file *conf = parse("Archive_Timeout = 1\nPGHOST=a\n");
    assert_string_equal(conf_file_get(conf, "archive-timeout"), "1");
    assert_string_equal(conf_file_get(conf, "pghost"), "a");
    conf_file_free(conf);
}

static void
refuses_malformed_lines_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"pghost", "pg_probackup.conf:1:7: Syntax error in \"pghost\""},
        {"\n\n pghost a", "pg_probackup.conf:3:9: Syntax error in \" pghost a\""},
        {"= a", "pg_probackup.conf:1:1: Syntax error in \"= a\""},
        {"[section]", "pg_probackup.conf:1:1: Syntax error in \"[section]\""},
        {"; comment", "pg_probackup.conf:1:1: Syntax error in \"; comment\""},
        {"pg host = a", "pg_probackup.conf:1:4: Syntax error in \"pg host = a\""},
        {"pghost: a", "pg_probackup.conf:1:7: Syntax error in \"pghost: a\""},
        {"pgport=1\npghost = 'a", "pg_probackup.conf:2:10: Syntax error in \"pghost = 'a\""},
        {"pghost = 'a''", "pg_probackup.conf:1:10: Syntax error in \"pghost = 'a''\""},
        {"pghost = 'a' b", "pg_probackup.conf:1:14: Syntax error in \"pghost = 'a' b\""},
        {"pghost = a\tb", "pg_probackup.conf:1:12: Syntax error in \"pghost = a\tb\""},
        {"access_key = 'geheim", "pg_probackup.conf:1:14: Syntax error in \"access_key = ***\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_error err = {0};
        struct conf_file *conf = NULL;
        assert_int_equal(
            conf_file_parse(cases[i].text, strlen(cases[i].text), "pg_probackup.conf", &conf, &err), GSP_E_CONFIG);
        assert_string_equal(err.msg, cases[i].message);
        assert_string_not_equal(err.hint, "");
        assert_null(conf);
    }
    struct gsp_error err = {0};
    struct conf_file *conf = NULL;
    assert_int_equal(conf_file_parse("pgport=1\npgh\0st = a", 19, "c", &conf, &err), GSP_E_CONFIG);
    assert_string_equal(err.msg, "c:2:4: there is a NUL byte");
    assert_null(conf);
}

static void
limits_values_and_lines(void **state)
{
    (void)state;
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error err = {0};
    struct conf_file *conf = NULL;
    strbuf_puts(&text, "pgport = 1\nrestore-command = ");
    for (int i = 0; i < 65536; i++)
        strbuf_putc(&text, 'x');
    conf = parse(strbuf_str(&text));
    assert_int_equal(strlen(conf_file_get(conf, "restore-command")), 65536);
    conf_file_free(conf);
    conf = NULL;
    strbuf_putc(&text, 'x');
    assert_int_equal(conf_file_parse(strbuf_str(&text), text.len, "c", &conf, &err), GSP_E_CONFIG);
    assert_string_equal(err.msg, "c:2:19: the value is longer than 65536 bytes");
    gsp_error_clear(&err);
    strbuf_puts(&text, " # ");
    for (int i = 0; i < 80000; i++)
        strbuf_putc(&text, 'x');
    assert_int_equal(conf_file_parse(strbuf_str(&text), text.len, "c", &conf, &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "c:2:132097: the line is longer than 132096 bytes"));
    gsp_error_clear(&err);
    strbuf_reset(&text);
    for (int i = 0; i < 70; i++)
        strbuf_putc(&text, 'k');
    strbuf_puts(&text, " = 1");
    assert_int_equal(conf_file_parse(strbuf_str(&text), text.len, "c", &conf, &err), GSP_E_CONFIG);
    assert_null(conf);
}

/* Written in any order, a new file has the stock tool's order and look. */
static void
writes_a_new_file_as_the_stock_tool(void **state)
{
    (void)state;
    struct conf_file *conf = NULL;
    struct gsp_error err = {0};
    assert_int_equal(conf_file_new(&conf, &err), 0);
    assert_text(conf, "");
    set(conf, "compress_level", "3");
    set(conf, "pguser", "omm");
    set(conf, "system-identifier", "215046882207016595");
    set(conf, "log-level-file", "info");
    set(conf, "vgname", "+data,+log");
    set(conf, "retention-window", "7");
    set(conf, "pghost", "/tmp/sock");
    set(conf, "pgdata", "/home/omm/data");
    set(conf, "compress-algorithm", "pgl");
    set(conf, "archive-timeout", "60");
    set(conf, "external-dirs", "/home/omm/ts 1");
    set(conf, "access-key", "it's#");
    assert_text(conf, "# Backup instance information\n"
                      "pgdata = /home/omm/data\n"
                      "system-identifier = 215046882207016595\n"
                      "external-dirs = '/home/omm/ts 1'\n"
                      "# Connection parameters\n"
                      "pghost = /tmp/sock\n"
                      "pguser = omm\n"
                      "# Archive parameters\n"
                      "archive-timeout = 1min\n"
                      "# Logging parameters\n"
                      "log-level-file = INFO\n"
                      "# Retention parameters\n"
                      "retention-window = 7\n"
                      "# Compression parameters\n"
                      "compress-algorithm = pglz\n"
                      "compress-level = 3\n"
                      "# DSS connect parameters\n"
                      "vgname = +data,+log\n"
                      "# S3 connect parameters\n"
                      "access-key = 'it''s#'\n");
    conf_file_free(conf);
}

static const char edited[] = "# my notes\n"
                             "\n"
                             "# Connection parameters\n"
                             "pguser   =  omm   # the owner\n"
                             "future-key = 'kept  ''as'' it is'\n"
                             "PGHOST=db1\n"
                             "# Backup instance information\n"
                             "   pgdata = /data\r\n"
                             "wal_depth = 3\n";

static void
keeps_everything_it_does_not_change(void **state)
{
    (void)state;
    struct conf_file *conf = parse(edited);
    assert_text(conf, edited);
    set(conf, "pguser", "omm"); /* the same value is no change */
    set(conf, "wal-depth", "3");
    assert_text(conf, edited);
    set(conf, "pguser", "root");
    set(conf, "pghost", "db 2");
    set(conf, "pgport", "6432");
    set(conf, "system-identifier", "1");
    set(conf, "archive-timeout", "5");
    set(conf, "retention-window", "7");
    assert_text(conf, "# my notes\n"
                      "\n"
                      "# Connection parameters\n"
                      "pguser = 'root' # the owner\n"
                      "future-key = 'kept  ''as'' it is'\n"
                      "PGHOST = 'db 2'\n"
                      "pgport = 6432\n"
                      "# Backup instance information\n"
                      "   pgdata = /data\r\n"
                      "system-identifier = 1\n"
                      "retention-window = 7\n"
                      "wal_depth = 3\n"
                      "# Archive parameters\n"
                      "archive-timeout = 5s\n");
    set(conf, "pguser", "omm"); /* a comment stays through a second change */
    assert_string_equal(conf_file_get(conf, "pguser"), "omm");
    conf_file_free(conf);
}

static void
replaces_the_line_that_counts(void **state)
{
    (void)state;
    struct conf_file *conf = parse("pgport = 1\npgport = 2\n");
    assert_string_equal(conf_file_get(conf, "pgport"), "2");
    set(conf, "pgport", "3");
    assert_text(conf, "pgport = 1\npgport = 3\n");
    set(conf, "pgport", NULL);
    assert_text(conf, "");
    conf_file_free(conf);
}

static void
removes_keys_and_empty_groups(void **state)
{
    (void)state;
    struct conf_file *conf =
        parse("# Connection parameters\npghost = a\npgport = 1\n# Retention parameters\nwal-depth = 1\n");
    set(conf, "pghost", NULL);
    set(conf, "pguser", NULL); /* not there: nothing happens */
    assert_text(conf, "# Connection parameters\npgport = 1\n# Retention parameters\nwal-depth = 1\n");
    set(conf, "pgport", NULL);
    assert_text(conf, "# Retention parameters\nwal-depth = 1\n");
    conf_file_free(conf);
}

static void
refuses_keys_and_values_it_does_not_know(void **state)
{
    (void)state;
    struct conf_file *conf = parse("pgport = 1\n");
    struct gsp_error err = {0};
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"nonsense", "1", "Invalid option \"nonsense\""},
        {"storage.repo", "fs", "Invalid option \"storage.repo\""},
        {"pghost", "", "Option --pghost should be a valid string: ''"},
        {"pghost", "a\nb = c", "Option --pghost should be a valid string: 'a\nb = c'"},
        {"wal-depth", "x", "Option --wal-depth should be a 32bit unsigned integer: 'x'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gsp_error_clear(&err);
        assert_int_equal(conf_file_set(conf, cases[i].key, cases[i].value, &err), GSP_E_CONFIG);
        assert_string_equal(err.msg, cases[i].message);
    }
    assert_text(conf, "pgport = 1\n");
    conf_file_free(conf);
}

/* Write, read, write: the value and the text stay what they are. */
static void
values_survive_the_file(void **state)
{
    (void)state;
    static const char *const values[] = {
        "a",
        "a b",
        "'",
        "''",
        "'a'",
        "a'b",
        "#",
        "a#b",
        " #",
        ";",
        "a ; b",
        "a;b",
        "=",
        "a=b",
        " a ",
        "\t",
        "a\tb",
        "\\",
        "\"",
        "cp /arch/%f \"%p\" ; echo 'done' # really",
        "\xff\xfe",
        "[x]",
        "a:b",
        "\v",
        "-1",
    };
    for (size_t i = 0; i <= sizeof values / sizeof values[0]; i++) {
        auto_strbuf text = STRBUF_INIT;
        auto_strbuf again = STRBUF_INIT;
        auto_strbuf longest = STRBUF_INIT;
        struct conf_file *conf = NULL, *read = NULL;
        struct gsp_error err = {0};
        static const char mix[] = "ab ;#'=\t\"\\";
        for (size_t n = 0; n < 65536; n++)
            strbuf_putc(&longest, mix[(n * n + n / 7) % (sizeof mix - 1)]);
        const char *value = i < sizeof values / sizeof values[0] ? values[i] : strbuf_str(&longest);
        assert_int_equal(conf_file_new(&conf, &err), 0);
        set(conf, "restore-command", value);
        assert_int_equal(conf_file_format(conf, &text, &err), 0);
        if (conf_file_parse(strbuf_str(&text), text.len, "c", &read, &err) != 0)
            fail_msg("%s", err.msg);
        assert_string_equal(conf_file_get(read, "restore-command"), value);
        set(read, "restore-command", "x");
        set(read, "restore-command", value);
        assert_int_equal(conf_file_format(read, &again, &err), 0);
        assert_string_equal(strbuf_str(&again), strbuf_str(&text));
        conf_file_free(read);
        conf_file_free(conf);
    }
}

/* Run conf_file_apply with stderr going to a file, and return what it wrote. */
static int
apply(const struct conf_file *conf, struct config *cfg, char *buf, size_t size, struct gsp_error *err)
{
    char path[] = "/tmp/gsp-conf-XXXXXX";
    int keep = dup(STDERR_FILENO), fd = mkstemp(path);
    assert_true(keep >= 0 && fd >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    int rc = conf_file_apply(conf, cfg, err);
    assert_true(dup2(keep, STDERR_FILENO) >= 0);
    ssize_t n = pread(fd, buf, size - 1, 0);
    assert_true(n >= 0);
    buf[n] = '\0';
    (void)close(keep);
    (void)close(fd);
    (void)unlink(path);
    return rc;
}

static void
gives_its_values_to_the_configuration(void **state)
{
    (void)state;
    char logged[1024];
    struct gsp_error err = {0};
    struct config *cfg = NULL;
    struct conf_file *conf = parse("# Backup instance information\n"
                                   "pgdata = /data\n"
                                   "system-identifier = 7710896255067662148\n"
                                   "xlog-seg-size = 16777216\n"
                                   "future = 1\n"
                                   "archive_timeout = 600 # long\n"
                                   "rw-timeout = 5\n"
                                   "log-rotation-age = 30\n");
    assert_int_equal(config_new(&cfg, &err), 0);
    assert_int_equal(apply(conf, cfg, logged, sizeof logged, &err), 0);
    assert_string_equal(
        logged, "WARNING: Invalid option \"future\", \"rw-timeout\" in file \"pg_probackup.conf\", ignored\n");
    assert_string_equal(config_get(cfg, "pgdata"), "/data");
    assert_string_equal(config_get_origin(cfg, "pgdata"), "pg_probackup.conf:2:10");
    assert_int_equal(config_get_source(cfg, "pgdata"), CONFIG_INSTANCE);
    assert_int_equal(config_get_u64(cfg, "xlog-seg-size"), 16777216);
    assert_string_equal(config_get(cfg, "archive-timeout"), "10min");
    assert_string_equal(config_get(cfg, "log-rotation-age"), "30min");
    assert_string_equal(config_get(cfg, "rw-timeout"), "2min");
    conf_file_free(conf);

    static const struct {
        const char *text, *message;
    } bad[] = {
        {"pgport = 1\npghost =\n", "pg_probackup.conf:2:9: Option --pghost should be a valid string: ''"},
        {"wal-depth = 'x'", "pg_probackup.conf:1:13: Option --wal-depth should be a 32bit unsigned integer: 'x'"},
    };
    for (size_t i = 0; i < 2; i++) {
        conf = parse(bad[i].text);
        gsp_error_clear(&err);
        assert_int_equal(apply(conf, cfg, logged, sizeof logged, &err), GSP_E_CONFIG);
        assert_string_equal(err.msg, bad[i].message);
        conf_file_free(conf);
    }
    config_free(cfg);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_stock_grammar),
        cmocka_unit_test(refuses_malformed_lines_with_their_place),
        cmocka_unit_test(limits_values_and_lines),
        cmocka_unit_test(writes_a_new_file_as_the_stock_tool),
        cmocka_unit_test(keeps_everything_it_does_not_change),
        cmocka_unit_test(replaces_the_line_that_counts),
        cmocka_unit_test(removes_keys_and_empty_groups),
        cmocka_unit_test(refuses_keys_and_values_it_does_not_know),
        cmocka_unit_test(values_survive_the_file),
        cmocka_unit_test(gives_its_values_to_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
