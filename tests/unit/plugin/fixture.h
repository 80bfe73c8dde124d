/* SPDX-License-Identifier: Apache-2.0
 * A directory of its own for each test, and the plugin files that the build made for these tests. */
#ifndef TEST_PLUGIN_FIXTURE_H
#define TEST_PLUGIN_FIXTURE_H

#include <fcntl.h>
#include <ftw.h>
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

#include "core/base/path.h"
#include "core/plugin/registry.h"

struct fixture {
    char dir[64];
    struct registry *reg;
    struct gsp_error err;
};

static inline int
fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    (void)umask(022);
    (void)snprintf(f->dir, sizeof f->dir, "/tmp/gsp-plugin-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(registry_new(&f->reg, &f->err), 0);
    *state = f;
    return 0;
}

static inline int
fixture_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline int
fixture_teardown(void **state)
{
    struct fixture *f = *state;
    registry_free(f->reg);
    (void)nftw(f->dir, fixture_unlink, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* Tests are run as <build>/tests/unit/<program>; the doubles stand beside that folder. */
static inline void
fixture_double(char buf[PATH_SIZE], const char *name)
{
    char exe[PATH_SIZE];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    assert_true(n > 0);
    exe[n] = '\0';
    for (int i = 0; i < 2; i++)
        *strrchr(exe, '/') = '\0';
    assert_true(path_join(buf, exe, "doubles/plugins/"));
    assert_true(strlen(buf) + strlen(name) < PATH_SIZE);
    memcpy(buf + strlen(buf), name, strlen(name) + 1);
}

/* Copy at most `limit` bytes of a file. */
static inline void
fixture_copy(const char *from, const char *to, size_t limit, mode_t mode)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    for (int c; limit > 0 && (c = getc(in)) != EOF; limit--)
        assert_int_not_equal(putc(c, out), EOF);
    assert_int_equal(fclose(in), 0);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(to, mode), 0);
}

static inline void
fixture_mkdir(const struct fixture *f, const char *sub, char buf[PATH_SIZE])
{
    assert_true(path_join(buf, f->dir, sub));
    assert_int_equal(mkdir(buf, 0755), 0);
}

/* Put the double `<name>.so` into a subdirectory ("" = the directory itself) under a file name. */
static inline void
fixture_install(const struct fixture *f, const char *name, const char *sub, const char *as, char buf[PATH_SIZE])
{
    char from[PATH_SIZE], dir[PATH_SIZE], base[128];
    (void)snprintf(base, sizeof base, "%s.so", name);
    fixture_double(from, base);
    assert_true(path_join(dir, f->dir, sub));
    assert_true(path_join(buf, dir, as));
    fixture_copy(from, buf, SIZE_MAX, 0755);
}

static inline void
fixture_write(const char *path, const char *text)
{
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

/* The error is this code and its message holds these texts. */
static inline void
assert_error(const struct gsp_error *err, int code, const char *one, const char *other)
{
    if (err->code != code || strstr(err->msg, one) == NULL || strstr(err->msg, other) == NULL)
        fail_msg("want %d '%s' '%s', got %d '%s'", code, one, other, err->code, err->msg);
}

#endif
