/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/log.h"

static char directory[] = "/tmp/gsp-log-XXXXXX";

static void
read_file(const char *name, char *buf, size_t size)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/deep/%s", directory, name);
    FILE *f = fopen(path, "r");
    size_t n = f != NULL ? fread(buf, 1, size - 1, f) : 0;
    buf[n] = '\0';
    if (f != NULL)
        (void)fclose(f);
}

static void
levels_by_name(void **state)
{
    (void)state;
    enum log_level level;
    assert_true(log_level_parse("o", &level) && level == LOG_LEVEL_OFF);
    assert_true(log_level_parse("Warn", &level) && level == LOG_LEVEL_WARNING);
    assert_true(log_level_parse("NOTICE", &level) && level == LOG_LEVEL_INFO);
    assert_false(log_level_parse("", &level));
    assert_false(log_level_parse("loud", &level));
    assert_string_equal(log_error_class(GSP_E_NOSPC), "nospace");
    assert_string_equal(log_error_class(GSP_E_BUG), "bug");
}

static void
file_takes_what_its_level_lets_through(void **state)
{
    (void)state;
    char dir[256], text[4096];
    struct gsp_error err = {0};
    (void)snprintf(dir, sizeof dir, "%s/deep", directory);
    struct log_file_config config = {.directory = dir,
        .filename = "a.log",
        .error_filename = "err.log",
        .level = LOG_LEVEL_LOG,
        .rotation_bytes = 20};
    log_set_console(LOG_LEVEL_OFF);
    assert_int_equal(log_open_file(&config, &err), 0);
    assert_int_equal(access(dir, F_OK), -1); /* made with the first message, not before */
    log_verbose("quiet");
    log_log("heard %d", 1);
    (void)gsp_fail(&err, GSP_E_LOCKED, 0, "the thing is locked");
    (void)gsp_hint(&err, "wait");
    log_error(&err);
    log_close();
    read_file("a.log", text, sizeof text);
    assert_null(strstr(text, "quiet"));
    assert_non_null(strstr(text, "LOG: heard 1\n"));
    assert_non_null(strstr(text, "ERROR: [locked] the thing is locked HINT: wait\n"));
    read_file("err.log", text, sizeof text);
    assert_null(strstr(text, "heard"));
    assert_non_null(strstr(text, "the thing is locked"));

    /* Too big by now: the next run begins a new file and keeps the old one. */
    gsp_error_clear(&err);
    assert_int_equal(log_open_file(&config, &err), 0);
    log_log("second run");
    log_close();
    read_file("a.log", text, sizeof text);
    assert_null(strstr(text, "heard"));
    read_file("a.log.1", text, sizeof text);
    assert_non_null(strstr(text, "heard"));
}

static size_t
count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p += strlen(what))
        n++;
    return n;
}

static struct log_file_config
config_for(char dir[256], const char *filename)
{
    (void)snprintf(dir, 256, "%s/deep", directory);
    log_set_console(LOG_LEVEL_OFF);
    return (struct log_file_config){.directory = dir, .filename = filename, .level = LOG_LEVEL_LOG};
}

static void
a_json_line_has_all_of_an_error(void **state)
{
    (void)state;
    char dir[256], text[4096];
    struct gsp_error err = {0};
    struct log_file_config config = config_for(dir, "json.log");
    config.json = 1;
    assert_int_equal(log_open_file(&config, &err), 0);
    log_info("a \"quoted\" name: \xff\xc3\xa4\n");
    log_about("main", NULL);
    log_about(NULL, "S44WE8");
    (void)gsp_fail(&err, GSP_E_NOSPC, 28, "the disk is full");
    (void)gsp_hint(&err, "make room");
    (void)snprintf(err.where, sizeof err.where, "base/1/2");
    log_error(&err);
    log_to_file(LOG_LEVEL_INFO, "only here");
    log_close();
    read_file("json.log", text, sizeof text);
    assert_int_equal(count(text, "\n"), 3);
    assert_int_equal(strncmp(text, "{\"time\": \"20", 12), 0);
    assert_int_equal(text[strlen("{\"time\": \"2026-11-22T18:00:00.123+00:00")], '"');
    assert_non_null(strstr(text, "\"level\": \"INFO\", \"message\": \"a \\\"quoted\\\" name: \\ufffd\xc3\xa4\\n\"}\n"));
    assert_non_null(strstr(text,
        "\"level\": \"ERROR\", \"instance\": \"main\", \"backup-id\": \"S44WE8\", \"message\": "
        "\"the disk is full: No space left on device\", \"class\": \"nospace\", \"code\": -7, \"hint\": \"make room\", "
        "\"where\": \"base/1/2\", \"errno\": 28}\n"));
    assert_non_null(strstr(text, "\"message\": \"only here\"}\n"));
}

static void
names_are_patterns(void **state)
{
    (void)state;
    char dir[256], text[4096], name[64];
    struct gsp_error err = {0};
    struct log_file_config config = config_for(dir, "of-%Y-%%.log");
    time_t now = time(NULL);
    struct tm tm;
    assert_int_equal(log_open_file(&config, &err), 0);
    log_log("named");
    log_close();
    (void)localtime_r(&now, &tm);
    (void)snprintf(name, sizeof name, "of-%d-%%.log", tm.tm_year + 1900);
    read_file(name, text, sizeof text);
    assert_non_null(strstr(text, "named"));
}

static void
an_old_file_is_kept_aside(void **state)
{
    (void)state;
    char dir[256], text[4096], mark[300];
    struct gsp_error err = {0};
    struct log_file_config config = config_for(dir, "aged.log");
    config.rotation_age_us = INT64_C(60) * 1000000;
    for (int run = 0; run < 3; run++) {
        assert_int_equal(log_open_file(&config, &err), 0);
        log_log("run %d", run);
        log_close();
        (void)snprintf(mark, sizeof mark, "%s/aged.log.rotation", dir);
        FILE *f = fopen(mark, run == 1 ? "w" : "r");
        assert_non_null(f); /* it tells when the file was begun */
        if (run == 1)
            (void)fprintf(f, "%lld", (long long)time(NULL) - 61);
        (void)fclose(f);
    }
    read_file("aged.log.1", text, sizeof text);
    assert_int_equal(count(text, "run"), 2);
    read_file("aged.log", text, sizeof text);
    assert_non_null(strstr(text, "run 2"));
    assert_null(strstr(text, "run 1"));
}

enum { PROCESSES = 8, LINES = 50, BIG = 64 * 1024 };

static _Noreturn void
log_lines(const struct log_file_config *config, int number)
{
    struct gsp_error err = {0};
    if (log_open_file(config, &err) != 0)
        _exit(1);
    for (int i = 0; i < LINES; i++)
        log_log("line %d of %d", i, number);
    log_close();
    _exit(0);
}

static void
many_processes_lose_nothing_when_one_begins_a_new_file(void **state)
{
    (void)state;
    char dir[256];
    static char now[2 * BIG], before[2 * BIG];
    struct gsp_error err = {0};
    struct log_file_config config = config_for(dir, "many.log");
    assert_int_equal(log_open_file(&config, &err), 0);
    memset(before, '.', BIG);
    before[BIG] = '\0';
    log_to_file(LOG_LEVEL_LOG, before);
    /* This one has the old file open and goes on. */
    config.rotation_bytes = BIG;
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            log_close();
            log_lines(&config, i);
        }
        assert_true(pids[i] > 0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = 1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    log_log("in the new file");
    log_close();
    read_file("many.log", now, sizeof now);
    read_file("many.log.1", before, sizeof before);
    assert_int_equal(count(before, "LOG: ....."), 1);
    assert_non_null(strstr(now, "in the new file"));
    assert_int_equal(count(now, "\n") + count(before, "\n"), PROCESSES * LINES + 2);
    for (int i = 0; i < PROCESSES; i++) {
        char what[32];
        (void)snprintf(what, sizeof what, " of %d\n", i);
        assert_int_equal(count(now, what) + count(before, what), LINES);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_by_name),
        cmocka_unit_test(file_takes_what_its_level_lets_through),
        cmocka_unit_test(a_json_line_has_all_of_an_error),
        cmocka_unit_test(names_are_patterns),
        cmocka_unit_test(an_old_file_is_kept_aside),
        cmocka_unit_test(many_processes_lose_nothing_when_one_begins_a_new_file),
    };
    if (mkdtemp(directory) == NULL)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[300];
    (void)snprintf(command, sizeof command, "rm -r '%s'", directory);
    if (system(command) != 0) /* NOLINT(cert-env33-c): a path that the test has made */
        return 1;
    return failed;
}
