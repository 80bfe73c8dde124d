/* SPDX-License-Identifier: Apache-2.0
 * What the tests of this folder share: files of tests/data, and a catalog in memory. */
#ifndef UNIT_CATALOG_TEST_H
#define UNIT_CATALOG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/base/log.h"
#include "core/base/path.h"
#include "core/catalog/catalog.h"
#include "tests/doubles/storage_mem.h"

/* file_read - a whole file of the real file system, appended. */
static inline void
file_read(const char *path, struct strbuf *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("cannot open %s", path);
    for (size_t n = 1; n > 0;) {
        char *to = strbuf_reserve(out, 65536);
        n = fread(to, 1, 65536, file);
        out->len += n;
        to[n] = '\0';
    }
    (void)fclose(file);
}

static inline void
data_read(const char *name, struct strbuf *out)
{
    char path[4096];
    const char *dir = getenv("GSP_TEST_DATA");
    if (dir == NULL)
        fail_msg("GSP_TEST_DATA is not set: run through meson test");
    (void)snprintf(path, sizeof path, "%s/catalog/%s", dir, name);
    file_read(path, out);
}

/* ok - a call that must succeed; its message when it does not. */
#define ok(call)                                \
    do {                                        \
        err = (struct gsp_error){0};            \
        int rc_ = (call);                       \
        if (rc_ < 0)                            \
            fail_msg("%s: %s", #call, err.msg); \
    } while (0)

/* fails - a call that must fail with this code, and say so. */
#define fails(call, expected)                                                                     \
    do {                                                                                          \
        err = (struct gsp_error){0};                                                              \
        int rc_ = (call);                                                                         \
        if (rc_ != (expected) || err.code != rc_ || err.msg[0] == '\0')                           \
            fail_msg("%s: %d (%d) instead of %d: %s", #call, rc_, err.code, (expected), err.msg); \
    } while (0)

static inline void
mem_store(struct store *s)
{
    struct gsp_error err;
    ok(store_open(s, &storage_mem_ops, NULL, NULL, "/mem", &err));
    ok(store_mkdir(s, "", 0700, GSP_MKDIR_PARENTS, &err));
}

/* mem_catalog - with one instance directory, "main". */
static inline void
mem_catalog(struct store *s)
{
    struct gsp_error err;
    mem_store(s);
    ok(store_mkdir(s, "backups/main", 0700, GSP_MKDIR_PARENTS, &err));
    ok(store_mkdir(s, "wal/main", 0700, GSP_MKDIR_PARENTS, &err));
}

static inline void
mem_put(struct store *s, const char *path, const char *text)
{
    struct gsp_error err;
    ok(store_write_all(s, path, 0600, 0, text, strlen(text), &err));
}

static inline void
assert_content(struct store *s, const char *path, const char *text)
{
    struct gsp_error err;
    auto_strbuf got = STRBUF_INIT;
    ok(store_read_all(s, path, 1 << 20, &got, &err));
    assert_string_equal(strbuf_str(&got), text);
}

/* Control files hold local times; the tests' texts are in UTC. */
static inline void
tests_in_utc(void)
{
    (void)setenv("TZ", "UTC", 1);
    tzset();
    log_set_console(LOG_LEVEL_OFF);
}

#endif
