/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels_by_name),
        cmocka_unit_test(file_takes_what_its_level_lets_through),
    };
    if (mkdtemp(directory) == NULL)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[300];
    static const char *const names[] = {"deep/a.log", "deep/a.log.1", "deep/err.log", "deep/err.log.1", "deep", "."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(command, sizeof command, "%s/%s", directory, names[i]);
        (void)remove(command);
    }
    (void)rmdir(directory);
    return failed;
}
