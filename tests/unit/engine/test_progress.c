/* SPDX-License-Identifier: Apache-2.0
 * What goes to stderr, which is a file or a terminal of the test's meanwhile. The clock is not waited for: the
 * times of the phase are moved into the past. */
#include "tests/unit/catalog/catalog_test.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/engine/progress.h"

enum { SECOND = 1000000 };

static int real_stderr = -1;

static void
redirect_stderr(int fd)
{
    real_stderr = dup(STDERR_FILENO);
    assert_true(real_stderr >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    log_set_console(LOG_LEVEL_INFO);
}

static void
restore_stderr(void)
{
    log_set_console(LOG_LEVEL_OFF);
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
}

static void
age(struct progress *p, int64_t seconds)
{
    p->started_us -= seconds * SECOND;
    p->shown_us -= seconds * SECOND;
}

/* What a phase says into a file. */
static void
lines_of(int force, uint64_t total, uint64_t done, int64_t seconds, int ticks, char *ret, size_t size)
{
    struct progress p;
    FILE *file = tmpfile();
    assert_non_null(file);
    redirect_stderr(fileno(file));
    progress_begin(&p, "Copying", total, 4, force);
    progress_add(&p, done, 1);
    progress_tick(&p); /* too early */
    age(&p, seconds);
    for (int i = 0; i < ticks; i++)
        progress_tick(&p);
    progress_end(&p);
    progress_tick(&p);
    restore_stderr();
    rewind(file);
    ret[fread(ret, 1, size - 1, file)] = '\0';
    (void)fclose(file);
}

static void
lines_come_every_few_seconds(void **state)
{
    (void)state;
    char text[1000];
    lines_of(1, 100 << 20, 25 << 20, 10, 3, text, sizeof text);
    assert_non_null(strstr(text, "Copying: 25%, 25MB of 100MB, 1/4 files, "));
    assert_non_null(strstr(text, "/s, 30s left\n"));
    assert_ptr_equal(strstr(text, "Copying"), strrchr(text, 'C')); /* one of three ticks */
    lines_of(1, 100 << 20, 25 << 20, 1, 3, text, sizeof text);
    assert_string_equal(text, "");
    lines_of(0, 100 << 20, 25 << 20, 10, 3, text, sizeof text);
    assert_string_equal(text, ""); /* no terminal, and nobody asked */
}

static void
odd_totals_make_sense(void **state)
{
    (void)state;
    char text[1000];
    lines_of(1, 0, 0, 10, 1, text, sizeof text);
    assert_non_null(strstr(text, "Copying: 100%, 0"));
    assert_null(strstr(text, "left"));
    lines_of(1, 100, 1000, 10, 1, text, sizeof text); /* files that grow */
    assert_non_null(strstr(text, "Copying: 100%"));
    assert_null(strstr(text, "left"));
    lines_of(1, 1000, 0, 10, 1, text, sizeof text);
    assert_non_null(strstr(text, "Copying: 0%"));
    assert_null(strstr(text, "left"));
    lines_of(1, UINT64_C(100) << 40, UINT64_C(50) << 40, 10, 1, text, sizeof text);
    assert_non_null(strstr(text, "Copying: 50%"));
}

static void
a_terminal_shows_one_line_that_is_rewritten(void **state)
{
    (void)state;
    struct progress p;
    char text[1000];
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    redirect_stderr(terminal);
    progress_begin(&p, "Copying", 200, 1, 0);
    progress_add(&p, 100, 0);
    age(&p, 1);
    progress_tick(&p);
    progress_tick(&p); /* too early */
    log_info("a message");
    progress_end(&p);
    log_info("another");
    restore_stderr();
    text[0] = '\0';
    for (size_t len = 0; strstr(text, "another") == NULL;) { /* it comes in pieces */
        ssize_t n = read(master, text + len, sizeof text - 1 - len);
        assert_true(n > 0);
        len += (size_t)n;
        text[len] = '\0';
    }
    const char *line = strstr(text, "\r\033[KCopying: 50%");
    assert_non_null(line);
    assert_null(strstr(line + 5, "Copying"));
    const char *message = strstr(line, "\r\033[KINFO: a message");
    assert_non_null(message);                                    /* in the place of the line */
    assert_non_null(strstr(message, "\n\r\033[KINFO: another")); /* the end takes the line away, once */
    (void)close(terminal);
    (void)close(master);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_every_few_seconds),
        cmocka_unit_test(odd_totals_make_sense),
        cmocka_unit_test(a_terminal_shows_one_line_that_is_rewritten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
