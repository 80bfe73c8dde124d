/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <getopt.h>

#include "core/base/log.h"
#include "core/cli/cli.h"

enum { ARGS_MAX = 100 };

/* One command line, parsed. */
struct line {
    struct cli cli;
    struct gsp_error err;
    int rc;
    char *argv[ARGS_MAX + 1];
    int argc;
};

/* args: the command and what follows, ended by NULL. */
static void
parse(struct line *l, const char *const *args)
{
    char word[] = "x", *nothing[] = {word, NULL};
    memset(l, 0, sizeof *l);
    for (; args[l->argc] != NULL; l->argc++) {
        assert_true(l->argc < ARGS_MAX);
        l->argv[l->argc] = strdup(args[l->argc]);
        assert_non_null(l->argv[l->argc]);
    }
    l->cli.command = command_find(args[0]);
    assert_non_null(l->cli.command);
    assert_int_equal(config_new(&l->cli.cfg, &l->err), 0);
    /* getopt remembers a group of letters that was not finished. */
    optind = 0;
    (void)getopt(1, nothing, "");
    l->rc = cli_parse(&l->cli, l->argc, l->argv, &l->err);
    if (l->rc != l->err.code)
        fail_msg("%d returned, %d recorded", l->rc, l->err.code);
}

static void
line_free(struct line *l)
{
    for (int i = 0; i < l->argc; i++)
        free(l->argv[i]);
    free((void *)(uintptr_t)l->cli.value[OPT_PASSWORD]);
    for (size_t i = 0; i < l->cli.n_sets; i++)
        free((void *)(uintptr_t)l->cli.sets[i]);
    config_free(l->cli.cfg);
}

#define PARSE(l, ...) parse((l), (const char *const[]){__VA_ARGS__, NULL})

/* accept - a line that must be understood, into struct line l. */
#define accept(...)                    \
    do {                               \
        PARSE(&l, __VA_ARGS__);        \
        if (l.rc != 0)                 \
            fail_msg("%s", l.err.msg); \
    } while (0)

/* refuse - a line that must fail with this code and these words. */
#define refuse(expected, words, ...)                                           \
    do {                                                                       \
        struct line bad;                                                       \
        PARSE(&bad, __VA_ARGS__);                                              \
        if (bad.rc != (expected) || strstr(bad.err.msg, (words)) == NULL)      \
            fail_msg("%d instead of %d: %s", bad.rc, (expected), bad.err.msg); \
        line_free(&bad);                                                       \
    } while (0)

/* ---- what is understood --------------------------------------------------------------------------- */

static void
values_are_taken_in_every_notation(void **state)
{
    (void)state;
    struct line l;
    accept("show", "-B", "/b", "--instance", "main", "--format=json");
    assert_string_equal(l.cli.value[OPT_BACKUP_PATH], "/b");
    assert_string_equal(l.cli.value[OPT_INSTANCE], "main");
    assert_string_equal(l.cli.value[OPT_FORMAT], "json");
    assert_false(cli_given(&l.cli, OPT_BACKUP_ID));
    line_free(&l);
    accept("backup", "-B/b", "-Cj4", "-D", "/data", "--note=", "--stream");
    assert_string_equal(l.cli.value[OPT_BACKUP_PATH], "/b");
    assert_string_equal(l.cli.value[OPT_THREADS], "4");
    assert_string_equal(l.cli.value[OPT_NOTE], "");
    assert_true(cli_given(&l.cli, OPT_SMOOTH_CHECKPOINT) && cli_given(&l.cli, OPT_STREAM));
    assert_string_equal(config_get(l.cli.cfg, "pgdata"), "/data");
    assert_string_equal(config_get_origin(l.cli.cfg, "pgdata"), "--pgdata");
    assert_int_equal(config_get_source(l.cli.cfg, "pgdata"), CONFIG_CMDLINE);
    line_free(&l);
}

static void
values_may_look_like_options(void **state)
{
    (void)state;
    struct line l;
    accept("backup", "--note", "--stream", "-S", "-C");
    assert_string_equal(l.cli.value[OPT_NOTE], "--stream");
    assert_string_equal(l.cli.value[OPT_SLOT], "-C");
    assert_false(cli_given(&l.cli, OPT_STREAM) || cli_given(&l.cli, OPT_SMOOTH_CHECKPOINT));
    line_free(&l);
}

static void
long_options_may_be_shortened(void **state)
{
    (void)state;
    struct line l;
    accept("show", "--instance=main", "--backup-i", "QWERTY", "--form", "plain");
    assert_string_equal(l.cli.value[OPT_BACKUP_ID], "QWERTY");
    assert_string_equal(l.cli.value[OPT_FORMAT], "plain");
    line_free(&l);
    accept("backup", "--compress"); /* a whole name that begins others too */
    assert_string_equal(config_get(l.cli.cfg, "compress-algorithm"), "zlib");
    assert_string_equal(config_get(l.cli.cfg, "compress-level"), "1");
    line_free(&l);
}

static void
keys_are_checked_as_the_configuration_checks_them(void **state)
{
    (void)state;
    struct line l;
    accept("set-config", "--archive-timeout=2min", "--retention-window", "7", "--pgport=6543", "--log-level-file=v");
    assert_int_equal(config_get_us(l.cli.cfg, "archive-timeout"), 120000000);
    assert_int_equal(config_get_u64(l.cli.cfg, "retention-window"), 7);
    assert_string_equal(config_get(l.cli.cfg, "log-level-file"), "VERBOSE");
    line_free(&l);
    refuse(GSP_E_CONFIG, "retention-window", "set-config", "--retention-window=seven");
    refuse(GSP_E_CONFIG, "log-level-console", "backup", "--log-level-console=loud");
}

static void
lists_may_be_repeated(void **state)
{
    (void)state;
    struct line l;
    accept("restore", "-T", "/a=/b", "--tablespace-mapping=/c=/d", "--external-mapping", "/e=/f", "--set",
        "storage.fs.key=1=2", "--set=storage.fs.other=");
    assert_int_equal(l.cli.n_mappings, 3);
    assert_string_equal(l.cli.mappings[0], "/a=/b");
    assert_string_equal(l.cli.mappings[2], "/e=/f");
    assert_int_equal(l.cli.n_sets, 2);
    assert_string_equal(config_get(l.cli.cfg, "storage.fs.key"), "1=2");
    line_free(&l);
}

static void
flags_may_be_repeated_and_values_not(void **state)
{
    (void)state;
    struct line l;
    accept("backup", "-C", "--stream", "--smooth-checkpoint", "--stream");
    line_free(&l);
    refuse(GSP_E_USAGE, "Option -j, --threads should be specified only once: '3'", "backup", "-j2", "--threads=3");
    refuse(GSP_E_USAGE, "--pghost should be specified only once: 'b'", "backup", "-h", "a", "-h", "b");
    refuse(GSP_E_USAGE, "--instance should be specified only once", "show", "--instance=a", "--instance=a");
}

static void
lists_have_an_end(void **state)
{
    (void)state;
    struct line l;
    const char *args[ARGS_MAX] = {"restore"};
    for (size_t i = 1; i <= CLI_VALUES_MAX; i++)
        args[i] = "-T/a=/b";
    parse(&l, args);
    assert_int_equal(l.rc, 0);
    assert_int_equal(l.cli.n_mappings, CLI_VALUES_MAX);
    line_free(&l);
    args[CLI_VALUES_MAX + 1] = "-T/a=/b";
    parse(&l, args);
    assert_int_equal(l.rc, GSP_E_USAGE);
    assert_non_null(strstr(l.err.msg, "--tablespace-mapping is given more than 64 times"));
    line_free(&l);
}

static void
arguments_go_where_there_is_room_for_them(void **state)
{
    (void)state;
    struct line l;
    accept("plugin", "info", "--format=json", "zlib");
    assert_int_equal(l.cli.n_positional, 2);
    assert_string_equal(l.cli.positional[0], "info");
    assert_string_equal(l.cli.positional[1], "zlib");
    line_free(&l);
    accept("plugin", "--", "info", "--zlib");
    assert_int_equal(l.cli.n_positional, 2);
    assert_string_equal(l.cli.positional[1], "--zlib");
    line_free(&l);
    refuse(GSP_E_USAGE, "unexpected argument 'third'", "plugin", "info", "zlib", "third");
    refuse(GSP_E_USAGE, "unexpected argument 'main'", "show", "main");
    refuse(GSP_E_USAGE, "unexpected argument 'main'", "show", "--", "main");
    refuse(GSP_E_USAGE, "unexpected argument ''", "show", "");
}

/* ---- what is not ---------------------------------------------------------------------------------- */

static void
unknown_options_are_named(void **state)
{
    (void)state;
    struct line l;
    refuse(GSP_E_USAGE, "Option is not found: '--nonsense'", "show", "--nonsense");
    refuse(GSP_E_USAGE, "Option is not found: '--nonsense'", "show", "-B", "/b", "--nonsense=1", "--format=json");
    refuse(GSP_E_USAGE, "Option is not found: '-Z'", "show", "-Z");
    refuse(GSP_E_USAGE, "Option is not found: '-CZ'", "backup", "--stream", "-CZ");
    refuse(GSP_E_USAGE, "Option is not found: '-ZC'", "backup", "--stream", "-ZC");
    PARSE(&l, "show", "--passwrod=hunter2"); /* not repeated: it may have been a secret */
    assert_string_equal(l.err.msg, "Option is not found: '--passwrod'");
    assert_string_equal(l.err.hint, "Try \"gs_probackup help show\" for more information.");
    line_free(&l);
}

static void
ambiguous_options_are_explained(void **state)
{
    (void)state;
    refuse(GSP_E_USAGE, "option '--backup-p' is ambiguous; possibilities: --backup-path, --backup-pg-log, ", "backup",
        "--backup-p=/b");
    refuse(GSP_E_USAGE, "option '--re' is ambiguous", "set-config", "--re", "7");
    /* Other commands have more that begins so. */
    refuse(GSP_E_USAGE, "option '--inst' is too short; write --instance", "show", "--inst=main");
}

static void
wrong_use_of_values_is_explained(void **state)
{
    (void)state;
    refuse(GSP_E_USAGE, "option '--stream' is used the wrong way: it takes no value", "backup", "--stream=1");
    refuse(GSP_E_USAGE, "option '--compress' is used the wrong way: it takes no value", "backup", "--compress=3");
    refuse(GSP_E_USAGE, "option '--instance' is used the wrong way: it takes a value", "show", "--instance");
    refuse(GSP_E_USAGE, "option '-B' is used the wrong way: it takes a value", "show", "-B");
    refuse(GSP_E_USAGE, "option '-CB' is used the wrong way: it takes a value", "backup", "-CB");
}

static void
options_of_other_commands(void **state)
{
    (void)state;
    struct line l;
    accept("show", "-B", "/b", "--stream", "-j4", "--pghost=x"); /* scripts carry them */
    assert_false(cli_given(&l.cli, OPT_STREAM) || cli_given(&l.cli, OPT_THREADS));
    assert_null(config_get(l.cli.cfg, "pghost"));
    line_free(&l);
    accept("show-config", "--pghost=x"); /* shown as it would be */
    assert_string_equal(config_get(l.cli.cfg, "pghost"), "x");
    line_free(&l);
    refuse(GSP_E_USAGE, "-i (--backup-id) option together with the \"backup\" command", "backup", "-i", "QWERTY");
    refuse(GSP_E_USAGE, "\"--no-validate\" option with the \"validate\"", "validate", "--no-validate");
    refuse(GSP_E_USAGE, "\"--force\" flag with the \"validate\"", "validate", "--force");
}

static void
options_to_come_are_refused(void **state)
{
    (void)state;
    struct line l;
    PARSE(&l, "restore", "--vgname=x");
    assert_int_equal(l.rc, GSP_E_UNSUPPORTED);
    assert_string_equal(l.err.msg, "option --vgname is not supported yet with 'restore'");
    assert_non_null(strstr(l.err.hint, "gs_probackup help restore"));
    line_free(&l);
    refuse(GSP_E_UNSUPPORTED, "--with-key", "init", "--with-key=x");
}

/* What is wrong with a value is said before anything is done, a backup least of all. */
static void
values_are_checked_at_once(void **state)
{
    (void)state;
    struct line l;
    refuse(
        GSP_E_USAGE, "Option -j, --threads should be a 32bit unsigned integer: '4294967296'", "backup", "-j4294967296");
    refuse(GSP_E_USAGE, "Option --verify-map should be a whole number from 0 to 1000: '1001'", "backup",
        "--verify-map=1001");
    refuse(GSP_E_USAGE, "Invalid value for '--ttl' option: '5 weeks'", "backup", "--ttl=5 weeks");
    refuse(GSP_E_USAGE, "Invalid value for '--ttl' option: '9223372036855s'", "backup", "--ttl=9223372036855s");
    refuse(GSP_E_USAGE, "Invalid value for '--ttl' option: '-1'", "backup", "--ttl=-1");
    refuse(GSP_E_USAGE, "Invalid value for '--expire-time' option: '1900-01-01'", "backup", "--expire-time=1900-01-01");
    refuse(GSP_E_USAGE, "Option -B, --backup-path should be a valid string: ''", "show", "-B", "");
    refuse(GSP_E_USAGE, "Option --instance should be a valid string: ''", "show", "--instance=");
    refuse(GSP_E_USAGE, "Option -S, --slot should be a valid string: ''", "backup", "-S", "");
    accept("backup", "--note=", "-W", "", "-j", "4294967295", "--verify-map=1000", "--ttl=0");
    line_free(&l);
}

/* The names of one option count as one. */
static void
an_alias_is_the_same_option(void **state)
{
    (void)state;
    struct line l;
    refuse(GSP_E_USAGE, "should be specified only once: 'b'", "restore", "--recovery-target-name=a",
        "--recovery-target-name=b");
    refuse(GSP_E_USAGE, "--xid should be specified only once: '2'", "restore", "--recovery-target-xid=1", "--xid=2");
    accept("delete", "--expired", "--delete-expired");
    line_free(&l);
}

static void
retention_goes_with_backup_and_delete(void **state)
{
    (void)state;
    static const char *const with[] = {"backup", "delete"};
    struct line l;
    for (int i = 0; i < 2; i++) {
        accept(with[i], "--expired", "--merge-expired", "--wal", "--dry-run", "--retention-redundancy=3",
            "--retention-window=7", "--wal-depth=2");
        struct retention_options asked = cli_retention(&l.cli);
        assert_true(asked.delete_expired && asked.merge_expired && asked.delete_wal && asked.dry_run);
        assert_int_equal(config_get_u64(l.cli.cfg, "retention-redundancy"), 3);
        assert_int_equal(config_get_u64(l.cli.cfg, "retention-window"), 7);
        assert_int_equal(config_get_u64(l.cli.cfg, "wal-depth"), 2);
        line_free(&l);
        accept(with[i], "--delete-expired", "--delete-wal");
        asked = cli_retention(&l.cli);
        assert_true(asked.delete_expired && !asked.merge_expired && asked.delete_wal && !asked.dry_run);
        line_free(&l);
    }
    accept("delete", "--status=ERROR");
    assert_string_equal(l.cli.value[OPT_STATUS], "ERROR");
    line_free(&l);
    accept("restore", "--delete-expired"); /* no meaning: a warning */
    assert_false(cli_given(&l.cli, OPT_DELETE_EXPIRED));
    line_free(&l);
}

static void
what_excludes_each_other(void **state)
{
    (void)state;
    struct line l;
    char note[1026];
    refuse(GSP_E_USAGE, "'--expire-time' and '--ttl'", "set-backup", "--ttl=1d", "--expire-time=2030-01-01");
    refuse(GSP_E_USAGE, "--password and --no-password", "backup", "-w", "-W", "secret");
    refuse(GSP_E_UNSUPPORTED, "media type 's3'", "backup", "-M", "s3");
    accept("backup", "-M", "DISK");
    line_free(&l);
    memset(note, 'n', sizeof note - 1);
    note[1025] = '\0';
    refuse(GSP_E_USAGE, "cannot exceed 1024", "backup", "--note", note);
    note[1024] = '\0';
    accept("backup", "--note", note);
    line_free(&l);
    accept("backup", "--help", "--ttl=1d", "--expire-time=2030-01-01"); /* who asks for help gets it */
    assert_true(cli_given(&l.cli, OPT_HELP));
    line_free(&l);
}

static void
malformed_settings_are_explained(void **state)
{
    (void)state;
    static char key[300];
    refuse(GSP_E_USAGE, "--set needs KIND.NAME.KEY=VALUE", "show", "--set", "storage.fs.key");
    refuse(GSP_E_USAGE, "--set needs KIND.NAME.KEY=VALUE", "show", "--set", "");
    memset(key, 'k', sizeof key - 2);
    key[200] = '=';
    refuse(GSP_E_USAGE, "--set needs KIND.NAME.KEY=VALUE", "show", "--set", key);
    refuse(GSP_E_CONFIG, "nonsense", "show", "--set", "nonsense=1");
}

/* ---- secrets -------------------------------------------------------------------------------------- */

static int
is_visible(const struct line *l, const char *secret)
{
    for (int i = 0; i < l->argc; i++)
        if (strstr(l->argv[i], secret) != NULL)
            return 1;
    return strstr(l->err.msg, secret) != NULL || strstr(l->err.hint, secret) != NULL;
}

static void
secrets_do_not_stay_in_argv(void **state)
{
    (void)state;
    static const char *const lines[][4] = {
        {"backup", "-W", "hunter2", NULL},
        {"backup", "-Whunter2", NULL},
        {"backup", "-CWhunter2", NULL},
        {"backup", "--password=hunter2", NULL},
        {"backup", "--password", "hunter2", NULL},
        {"backup", "--passw=hunter2", NULL},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct line l;
        parse(&l, lines[i]);
        assert_int_equal(l.rc, 0);
        assert_false(is_visible(&l, "hunter2"));
        assert_string_equal(l.cli.value[OPT_PASSWORD], "hunter2"); /* the program has it */
        line_free(&l);
    }
}

static void
secrets_do_not_stay_when_they_are_refused(void **state)
{
    (void)state;
    static const char *const lines[][5] = {
        {"backup", "-Wone", "-W", "hunter2", NULL},
        {"backup", "--password=hunter2", "--password=hunter2", NULL},
        {"backup", "-w", "--password=hunter2", NULL},
        {"backup", "--password=hunter2", "--nonsense", NULL},
        {"show", "--password", "hunter2", NULL},
        {"show", "--set", "storage.fs.key=hunter2", NULL},
        {"backup", "--access-key=hunter2", NULL},
        {"show-config", "--access-key", "hunter2", NULL},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct line l;
        parse(&l, lines[i]);
        if (is_visible(&l, "hunter2"))
            fail_msg("line %zu: %s", i, l.err.msg);
        line_free(&l);
    }
}

int
main(void)
{
    log_set_console(LOG_LEVEL_OFF);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_taken_in_every_notation),
        cmocka_unit_test(values_may_look_like_options),
        cmocka_unit_test(long_options_may_be_shortened),
        cmocka_unit_test(keys_are_checked_as_the_configuration_checks_them),
        cmocka_unit_test(lists_may_be_repeated),
        cmocka_unit_test(flags_may_be_repeated_and_values_not),
        cmocka_unit_test(lists_have_an_end),
        cmocka_unit_test(arguments_go_where_there_is_room_for_them),
        cmocka_unit_test(unknown_options_are_named),
        cmocka_unit_test(ambiguous_options_are_explained),
        cmocka_unit_test(wrong_use_of_values_is_explained),
        cmocka_unit_test(options_of_other_commands),
        cmocka_unit_test(options_to_come_are_refused),
        cmocka_unit_test(values_are_checked_at_once),
        cmocka_unit_test(an_alias_is_the_same_option),
        cmocka_unit_test(retention_goes_with_backup_and_delete),
        cmocka_unit_test(what_excludes_each_other),
        cmocka_unit_test(malformed_settings_are_explained),
        cmocka_unit_test(secrets_do_not_stay_in_argv),
        cmocka_unit_test(secrets_do_not_stay_when_they_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
