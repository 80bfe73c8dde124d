/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/catalog/catalog_test.h"

#include "tests/doubles/spy_storage.h"

/* ---- the storage that a test wants ---------------------------------------------------------------- */

static struct gsp_limits stated;

static int
state_limits(void *store, struct gsp_limits *ret, struct gsp_error *err)
{
    (void)store;
    (void)err;
    uint32_t size = ret->struct_size;
    *ret = stated;
    ret->struct_size = size;
    return 0;
}

static int
no_limits(void *store, struct gsp_limits *ret, struct gsp_error *err)
{
    (void)store;
    (void)ret;
    return gsp_fail(err, GSP_E_NET, 0, "nobody answers");
}

static int
no_open(void *state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)ret_store;
    return gsp_fail(err, GSP_E_PERM, 0, "'%s' is closed to you", root);
}

static int64_t
read_too_much(void *file, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    return storage_mem_ops.preadv(file, iov, n, offset, err) + 1;
}

static int64_t
write_too_little(void *put, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    return storage_mem_ops.pwritev(put, iov, n, offset, err) - 1;
}

static int
no_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    (void)store;
    (void)ret;
    return gsp_fail(err, GSP_E_IO, 0, "cannot look at '%s'", path);
}

static int
no_list(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    struct gsp_dirent e = {.name = "seen"};
    (void)store;
    int rc = strcmp(dir, "half") == 0 ? cb(arg, &e, 1, err) : 0;
    return rc != 0 ? rc : gsp_fail(err, GSP_E_IO, 0, "cannot list '%s'", dir);
}

static void
open_with(struct store *s, const struct gsp_storage_ops *ops)
{
    struct gsp_error err;
    ok(store_open(s, ops, NULL, NULL, "/mem", &err));
    if (s->ops->mkdir != NULL)
        ok(store_mkdir(s, "", 0700, GSP_MKDIR_PARENTS, &err));
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static void
storages_that_cannot_be_are_refused(void **state)
{
    (void)state;
    static const struct gsp_limits bad[] = {
        {.align = 0, .io_max = 65536, .iov_max = 1},
        {.align = 1, .io_max = 65535, .iov_max = 1},
        {.align = 1, .io_max = 65536, .iov_max = 0},
    };
    struct store s;
    struct gsp_error err;
    struct gsp_storage_ops ops = storage_mem_ops;
    ops.limits = state_limits;
    for (size_t i = 0; i < 3; i++) {
        stated = bad[i];
        fails(store_open(&s, &ops, NULL, NULL, "/mem", &err), GSP_E_BUG);
        assert_null(s.ops);
        store_close(&s);
    }
    stated = (struct gsp_limits){.align = 1, .io_max = 65536, .iov_max = 1};
    ok(store_open(&s, &ops, NULL, NULL, "/mem", &err));
    assert_string_equal(s.root, "/mem");
    store_close(&s);
    ops.limits = no_limits;
    fails(store_open(&s, &ops, NULL, NULL, "/mem", &err), GSP_E_NET);
    ops.open = no_open;
    fails(store_open(&s, &ops, NULL, NULL, "/mem", &err), GSP_E_PERM);
    assert_string_equal(err.msg, "'/mem' is closed to you");
    store_close(&s);
}

static void
fill(char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)(i * 7 + i / 251);
}

/* Whole blocks of the file, wherever they stand in the buffer. */
static void
zeros_are_not_written(void **state)
{
    (void)state;
    enum { BLOCK = 4096, LEN = 5 * BLOCK };
    static const struct {
        uint64_t offset;
        size_t at, written; /* the byte that is not zero */
    } cases[] = {{0, 2 * BLOCK, BLOCK}, {0, LEN - 1, BLOCK}, {100, 0, BLOCK - 100}, {100, BLOCK - 100, BLOCK},
        {100, LEN - 1, 100}, {0, SIZE_MAX, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct store s;
        struct gsp_error err;
        struct spy spy = {.io_max = 65536, .iov_max = 1};
        auto_store_put put = {0};
        auto_strbuf text = STRBUF_INIT;
        char bytes[LEN] = {0}, before[200];
        if (cases[i].at < LEN)
            bytes[cases[i].at] = 'x';
        memset(before, 'b', sizeof before);
        ok(store_open(&s, &spy_storage_ops, &spy, NULL, "/spy", &err));
        ok(store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, &err));
        ok(store_put_begin(&s, "f", 0600, 0, &put, &err));
        ok(store_put_pwrite(&put, before, (size_t)cases[i].offset, 0, &err));
        spy.bytes_written = 0;
        ok(store_put_sparse(&put, bytes, LEN, cases[i].offset, &err));
        assert_int_equal(spy.bytes_written, cases[i].written);
        ok(store_put_commit(&put, cases[i].offset + LEN, &err));
        ok(store_read_all(&s, "f", 1 << 20, &text, &err));
        assert_int_equal(text.len, cases[i].offset + LEN);
        assert_memory_equal(text.data, before, (size_t)cases[i].offset);
        assert_memory_equal(text.data + cases[i].offset, bytes, LEN);
        store_close(&s);
    }
}

/* Sizes around the pieces in which files are read and written. */
static void
files_of_every_size_come_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 131071, 131072, 131073, 262144, 300001};
    struct store s;
    struct gsp_error err;
    struct spy spy = {.io_max = 65536, .iov_max = 1};
    char *bytes = malloc(300001), *got = malloc(300001);
    assert_true(bytes != NULL && got != NULL);
    fill(bytes, 300001);
    ok(store_open(&s, &spy_storage_ops, &spy, NULL, "/spy", &err));
    ok(store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, &err));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        auto_strbuf text = STRBUF_INIT;
        auto_store_file f = {0};
        ok(store_write_all(&s, "f", 0640, GSP_PUT_ATOMIC, bytes, sizes[i], &err));
        strbuf_puts(&text, "before");
        ok(store_read_all(&s, "f", sizes[i], &text, &err));
        assert_int_equal(text.len, 6 + sizes[i]);
        assert_memory_equal(text.data, "before", 6);
        assert_memory_equal(text.data + 6, bytes, sizes[i]);
        assert_int_equal(text.data[text.len], '\0');
        ok(store_file_open(&s, "f", &f, &err));
        assert_int_equal(store_file_pread(&f, got, 300001, 0, &err), sizes[i]);
        assert_memory_equal(got, bytes, sizes[i]);
        if (sizes[i] > 70000) {
            assert_int_equal(store_file_pread(&f, got, 65537, 3, &err), 65537);
            assert_memory_equal(got, bytes + 3, 65537);
        }
        assert_int_equal(store_file_pread(&f, got, 10, sizes[i], &err), 0);
        if (sizes[i] > 0)
            fails(store_read_all(&s, "f", sizes[i] - 1, &text, &err), GSP_E_CORRUPT);
    }
    assert_false(spy.broke_limits);
    free(bytes);
    free(got);
    store_close(&s);
}

static void
modes_and_flags_are_passed_on(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct gsp_stat st;
    mem_store(&s);
    ok(store_write_all(&s, "f", 0100640, 0, "a", 1, &err)); /* type bits are not permissions */
    ok(store_stat(&s, "f", &st, &err));
    assert_int_equal(st.mode & 07777, 0640);
    fails(store_write_all(&s, "f", 0600, GSP_PUT_EXCL, "b", 1, &err), GSP_E_EXIST);
    assert_content(&s, "f", "a");
    fails(store_write_all(&s, "no/f", 0600, 0, "b", 1, &err), GSP_E_NOENT);
    storage_mem_fail_writes(s.handle, 1, 1, ENOSPC);
    fails(store_write_all(&s, "g", 0600, 0, "b", 1, &err), GSP_E_NOSPC);
    assert_int_equal(store_exists(&s, "g", &err), 0);
    store_close(&s);
}

static void
puts_without_commit_leave_nothing(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    mem_store(&s);
    {
        auto_store_put p = {0};
        ok(store_put_begin(&s, "f", 0600, 0, &p, &err));
        ok(store_put_pwrite(&p, "abc", 3, 0, &err));
    }
    assert_int_equal(store_exists(&s, "f", &err), 0);
    {
        auto_store_put p = {0};
        ok(store_put_begin(&s, "f", 0600, 0, &p, &err));
        ok(store_put_pwrite(&p, "abc", 3, 2, &err)); /* a gap before, room behind */
        ok(store_put_commit(&p, 7, &err));
    }
    auto_strbuf got = STRBUF_INIT;
    ok(store_read_all(&s, "f", 100, &got, &err));
    assert_int_equal(got.len, 7);
    assert_memory_equal(got.data, "\0\0abc\0\0", 7);
    store_close(&s);
}

static int
find_too_early(void *file, uint64_t offset, uint64_t *ret_offset, struct gsp_error *err)
{
    (void)file;
    (void)err;
    *ret_offset = offset - 1;
    return 0;
}

static void
storages_that_miscount_are_found_out(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    char buf[4];
    struct gsp_storage_ops ops = storage_mem_ops;
    auto_store_file f = {0};
    ops.preadv = read_too_much;
    open_with(&s, &ops);
    ok(store_write_all(&s, "f", 0600, 0, "abcd", 4, &err));
    ok(store_file_open(&s, "f", &f, &err));
    err = (struct gsp_error){0};
    assert_int_equal(store_file_pread(&f, buf, 4, 0, &err), GSP_E_BUG);
    ops.next_data = NULL; /* a storage that does not tell: all is data */
    uint64_t next = 0;
    ok(store_file_next_data(&f, 3, &next, &err));
    assert_int_equal(next, 3);
    ops.next_data = find_too_early;
    fails(store_file_next_data(&f, 3, &next, &err), GSP_E_BUG);
    store_file_close(&f);
    store_close(&s);
    ops.pwritev = write_too_little;
    open_with(&s, &ops);
    fails(store_write_all(&s, "f", 0600, 0, "abcd", 4, &err), GSP_E_BUG);
    assert_int_equal(store_exists(&s, "f", &err), 0);
    store_close(&s);
}

static void
absent_operations_are_explained(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct store_put p;
    struct gsp_storage_ops ops = storage_mem_ops;
    ops.put_begin = NULL;
    ops.mkdir = NULL;
    ops.remove = NULL;
    ops.rename = NULL;
    ops.link = NULL;
    ops.sync = NULL;
    open_with(&s, &ops);
    fails(store_put_begin(&s, "f", 0600, 0, &p, &err), GSP_E_UNSUPPORTED);
    assert_string_equal(err.msg, "the storage of '/mem' cannot write files");
    assert_true(err.hint[0] != '\0');
    fails(store_mkdir(&s, "d", 0700, 0, &err), GSP_E_UNSUPPORTED);
    fails(store_remove(&s, "f", &err), GSP_E_UNSUPPORTED);
    fails(store_rename(&s, "f", "g", &err), GSP_E_UNSUPPORTED);
    fails(store_link(&s, "f", "g", &err), GSP_E_UNSUPPORTED);
    ok(store_sync(&s, "f", &err)); /* nothing to wait for */
    store_close(&s);
}

static void
a_link_leads_to_the_same_bytes(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_strbuf sb = STRBUF_INIT;
    open_with(&s, &storage_mem_ops);
    mem_put(&s, "f", "content");
    ok(store_link(&s, "f", "g", &err));
    ok(store_remove(&s, "f", &err));
    ok(store_read_all(&s, "g", 100, &sb, &err));
    assert_string_equal(strbuf_str(&sb), "content");
    fails(store_link(&s, "f", "h", &err), GSP_E_NOENT);
    store_close(&s);
}

static void
missing_is_an_answer_and_failing_is_not(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err = {0};
    struct gsp_storage_ops ops = storage_mem_ops;
    mem_store(&s);
    mem_put(&s, "f", "x");
    assert_int_equal(store_exists(&s, "f", &err), 1);
    assert_int_equal(store_exists(&s, "g", &err), 0);
    assert_int_equal(store_dir_is_empty(&s, "", &err), 0);
    assert_int_equal(store_dir_is_empty(&s, "nowhere", &err), 1);
    ok(store_mkdir(&s, "d", 0700, 0, &err));
    assert_int_equal(store_dir_is_empty(&s, "d", &err), 1);
    assert_int_equal(err.code, 0);
    store_close(&s);
    ops.stat = no_stat;
    ops.list = no_list;
    open_with(&s, &ops);
    fails(store_exists(&s, "f", &err), GSP_E_IO);
    fails(store_dir_is_empty(&s, "d", &err), GSP_E_IO);
    store_close(&s);
}

static void
listings_are_sorted_and_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"c", "B", "a", "\xc3\xa4", "b"};
    static const char *const sorted[] = {"B", "a", "b", "c", "\xc3\xa4"};
    struct store s;
    struct gsp_error err;
    auto_listing list = {0}, none = {0}, kept = {0};
    struct gsp_storage_ops ops = storage_mem_ops;
    mem_store(&s);
    for (size_t i = 0; i < 5; i++)
        mem_put(&s, names[i], names[i]);
    ok(store_list(&s, "", &list, &err));
    assert_int_equal(list.n, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(list.entries[i].name, sorted[i]);
        assert_int_equal(list.entries[i].st.size, strlen(sorted[i]));
    }
    fails(store_list(&s, "nowhere", &none, &err), GSP_E_NOENT);
    assert_int_equal(none.n, 0);
    store_close(&s);
    ops.list = no_list;
    open_with(&s, &ops);
    fails(store_list(&s, "half", &kept, &err), GSP_E_IO); /* an entry came, then the failure */
    assert_null(kept.entries);
    store_close(&s);
}

/* ---- remove_tree ---------------------------------------------------------------------------------- */

/* "trap" shows as a link to a directory; who follows it finds (and would remove) its content. */
struct disguise {
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err);
    void *arg;
};

static int
disguise_link(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err)
{
    struct disguise *d = arg;
    int rc = 0;
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        struct gsp_dirent e = entries[i];
        if (strcmp(e.name, "trap") == 0) {
            e.st.type = GSP_FILE_DIRECTORY;
            e.st.flags = GSP_STAT_LINK;
        }
        rc = d->cb(d->arg, &e, 1, err);
    }
    return rc;
}

static int
list_with_link(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    struct disguise d = {cb, arg};
    size_t len = strlen(dir);
    if (len >= 4 && strcmp(dir + len - 4, "trap") == 0)
        return gsp_fail(err, GSP_E_BUG, 0, "a link was followed");
    return storage_mem_ops.list(store, dir, disguise_link, &d, err);
}

static void
trees_go_and_links_are_not_followed(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct gsp_storage_ops ops = storage_mem_ops;
    ops.list = list_with_link;
    open_with(&s, &ops);
    ok(store_mkdir(&s, "t/a/b", 0700, GSP_MKDIR_PARENTS, &err));
    mem_put(&s, "t/f", "x");
    mem_put(&s, "t/a/b/f", "x");
    mem_put(&s, "t/a/trap", "x"); /* stands for the link itself */
    mem_put(&s, "other", "x");
    ok(store_remove_tree(&s, "t", &err));
    assert_int_equal(store_exists(&s, "t", &err), 0);
    assert_int_equal(store_exists(&s, "t/a/trap", &err), 0);
    assert_int_equal(store_exists(&s, "other", &err), 1);
    ok(store_remove_tree(&s, "t", &err)); /* gone already */
    ok(store_mkdir(&s, "t/a", 0700, GSP_MKDIR_PARENTS, &err));
    mem_put(&s, "t/a/f", "x");
    storage_mem_fail_writes(s.handle, 1, UINT64_MAX, EACCES);
    fails(store_remove_tree(&s, "t", &err), GSP_E_PERM);
    assert_int_equal(store_exists(&s, "t", &err), 1);
    store_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storages_that_cannot_be_are_refused),
        cmocka_unit_test(zeros_are_not_written),
        cmocka_unit_test(files_of_every_size_come_back),
        cmocka_unit_test(modes_and_flags_are_passed_on),
        cmocka_unit_test(puts_without_commit_leave_nothing),
        cmocka_unit_test(storages_that_miscount_are_found_out),
        cmocka_unit_test(absent_operations_are_explained),
        cmocka_unit_test(a_link_leads_to_the_same_bytes),
        cmocka_unit_test(missing_is_an_answer_and_failing_is_not),
        cmocka_unit_test(listings_are_sorted_and_whole),
        cmocka_unit_test(trees_go_and_links_are_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
