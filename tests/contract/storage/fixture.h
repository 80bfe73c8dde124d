/* SPDX-License-Identifier: Apache-2.0
 * A store on a fresh directory for every test, and short ways to use it. Helpers assert success, so
 * they are for the test's own thread. */
#ifndef CONTRACT_STORAGE_FIXTURE_H
#define CONTRACT_STORAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/contract/plugin_under_test.h"

extern struct plugin_under_test subject;

struct fixture {
    const struct gsp_storage_ops *ops;
    void *store;
    uint64_t caps;
    struct gsp_error err; /* for the call a test is about */
    char root[128];
};

int fixture_setup(void **state);
int fixture_teardown(void **state);
/* fixture_main - load argv[1], run the tests as one group. */
int fixture_main(int argc, char **argv, const struct CMUnitTest *tests, size_t n);
#define FIXTURE_TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

/* fails - did the call return this code, with a message that names the object? Clears the error. */
#define assert_fails(fx, call, want, named)              \
    do {                                                 \
        assert_int_equal((call), (want));                \
        assert_int_equal((fx)->err.code, (want));        \
        assert_non_null(strstr((fx)->err.msg, (named))); \
        gsp_error_clear(&(fx)->err);                     \
    } while (0)

void *begin(struct fixture *fx, const char *path, uint32_t mode, uint32_t flags);
void append(struct fixture *fx, void *put, const void *data, size_t len, uint64_t offset);
void write_file(struct fixture *fx, const char *path, const char *text);
/* read_file - the content in malloc'ed memory, with a NUL behind it. */
char *read_file(struct fixture *fx, const char *path, size_t *ret_len);
void assert_content(struct fixture *fx, const char *path, const char *text);
int exists(struct fixture *fx, const char *path);
struct gsp_stat stat_of(struct fixture *fx, const char *path);
void make_dir(struct fixture *fx, const char *path);

/* A listing, collected. */
struct names {
    uint32_t n, batches;
    struct {
        char name[256];
        struct gsp_stat st;
    } * entry;
};
void list_names(struct fixture *fx, const char *dir, struct names *ret);
/* find_name - stat of one entry, NULL when it is not listed. */
const struct gsp_stat *find_name(const struct names *names, const char *name);
void free_names(struct names *names);

#endif
