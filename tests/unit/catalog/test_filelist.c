/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

#include <sys/resource.h>

#include "core/base/crc32c.h"
#include "core/base/timestamp.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#endif

#define MANDATORY "\"size\":\"1\", \"mode\":\"33152\", \"is_datafile\":\"0\", \"crc\":\"1\", \"compress_alg\":\"none\""

static int
parse(const char *line, struct file_entry *f, struct gsp_error *err)
{
    struct arena *arena = arena_new();
    int rc = filelist_parse_line(arena, line, strlen(line), f, err);
    f->path = f->linked = f->compress_alg = NULL;
    arena_free(arena);
    return rc;
}

static void
lists_are_rewritten_byte_for_byte(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_strbuf text = STRBUF_INIT;
    auto_filelist list = {0};
    uint32_t crc = 0;
    mem_store(&s);
    data_read("list.control", &text);
    mem_put(&s, "list", text.data);
    ok(filelist_read(&s, "list", crc32c(0, text.data, text.len), &list, &err));
    assert_int_equal(list.n, 6);
    assert_true(file_entry_is_dir(&list.entries[1]) && !file_entry_is_dir(&list.entries[0]));
    assert_true(list.entries[0].size == FILE_UNCHANGED);
    assert_int_equal(list.entries[4].compressed_chunk_size, 4096);
    assert_int_equal(list.entries[5].crc, 4294967295u);
    ok(filelist_write(&s, "list", &list, &crc, &err));
    assert_content(&s, "list", text.data);
    assert_int_equal(crc, crc32c(0, text.data, text.len));
    store_close(&s);
}

static void
the_worked_line_has_the_known_checksum(void **state)
{
    (void)state;
    struct gsp_error err;
    auto_filelist list = {0};
    auto_strbuf line = STRBUF_INIT;
    ok(filelist_new(&list, &err));
    struct file_entry *f = filelist_add(&list, "base/15100/16384", "none", &err);
    f->size = 8200;
    f->mode = 33152;
    f->is_datafile = 1;
    f->crc = 3164305548u;
    f->db_oid = 15100;
    f->n_blocks = f->n_headers = 1;
    f->hdr_crc = 500143898;
    f->hdr_size = 15;
    filelist_format_entry(f, &line);
    assert_int_equal(crc32c(0, line.data, line.len), 2149673);
}

static void
lists_of_the_newer_tool_are_read(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_strbuf text = STRBUF_INIT;
    auto_filelist list = {0};
    mem_store(&s);
    data_read("list25.control", &text);
    mem_put(&s, "list", text.data);
    ok(filelist_read(&s, "list", 0, &list, &err));
    assert_int_equal(list.n, 2);
    assert_int_equal(list.entries[0].n_blocks, 1);
    assert_int_equal(list.entries[1].file_type, 0);
    store_close(&s);
}

static void
key_order_blanks_and_unknown_keys_do_not_matter(void **state)
{
    (void)state;
    struct gsp_error err;
    struct file_entry f;
    ok(parse("{ \"new, key\" : \"a}b\" ," MANDATORY ",\"c\":\"x\", \"path\":\"a\\b,c\"} ", &f, &err));
    assert_int_equal(f.mode, 33152);
    ok(parse("{\"hdr_size\":\"5\"," MANDATORY ",\"path\":\"x\"}", &f, &err));
    assert_int_equal(f.hdr_size, 5);
}

static void
bad_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{}",
        "{" MANDATORY "}",
        "{\"path\":\"x\"," MANDATORY,
        "{\"path\":\"x\"," MANDATORY "} x",
        "{\"path\":\"x\"," MANDATORY ",}",
        "{\"path\":\"x\"," MANDATORY ",\"size\":\"1\"}",
        "{\"path\":\"x\"," MANDATORY ",\"hdr_off\":\"-1\"}",
        "{\"path\":\"x\"," MANDATORY ",\"n_blocks\":\"2147483648\"}",
        "{\"path\":\"x\"," MANDATORY ",\"segno\":\"0x1\"}",
        "{\"path\":\"x\"," MANDATORY ",\"segno\":\"\"}",
        "{\"path\":\"x\"," MANDATORY ",\"segno\":\"00000000000000000000000000000001\"}",
        "{\"path\":\"x\"," MANDATORY ",\"is_cfs\":\"2\"}",
        "{\"path\":\"x\"," MANDATORY ",\"segno\":1}",
        "{\"path\":\"/etc/passwd\"," MANDATORY "}",
        "{\"path\":\"a/../../b\"," MANDATORY "}",
        "{\"path\":\"a//b\"," MANDATORY "}",
        "{\"path\":\"\"," MANDATORY "}",
        "{\"path\":\"a\tb\"," MANDATORY "}",
        "{\"path\":\"a%2\"," MANDATORY ",\"encoded\":\"1\"}",
        "{\"path\":\"%2E%2E/b\"," MANDATORY ",\"encoded\":\"1\"}",
        "{\"path\":\"x\", \"size\":\"-2\", \"mode\":\"1\", \"is_datafile\":\"0\", \"crc\":\"1\", "
        "\"compress_alg\":\"none\"}",
        "{\"path\":\"x\", \"size\":\"1\", \"mode\":\"1\", \"is_datafile\":\"0\", \"crc\":\"1\", \"compress_alg\":\"\"}",
        "{\"path\":\"x\", \"size\":\"1\", \"mode\":\"1\", \"is_datafile\":\"0\", \"crc\":\"1\"}",
        /* directories with content */
        "{\"path\":\"x\", \"size\":\"1\", \"mode\":\"16832\", \"is_datafile\":\"0\", \"crc\":\"1\", "
        "\"compress_alg\":\"none\"}",
        "{\"path\":\"x\", \"size\":\"0\", \"mode\":\"16832\", \"is_datafile\":\"1\", \"crc\":\"1\", "
        "\"compress_alg\":\"none\"}",
    };
    struct gsp_error err;
    struct file_entry f;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        fails(parse(bad[i], &f, &err), GSP_E_CORRUPT);
}

static void
broken_lists_name_their_line(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_strbuf text = STRBUF_INIT;
    auto_filelist list = {0};
    mem_store(&s);
    data_read("list.control", &text);
    strbuf_puts(&text, "{\"path\":\"x\"\n");
    mem_put(&s, "list", text.data);
    fails(filelist_read(&s, "list", 0, &list, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "'/mem/list': line 7: "));
    fails(filelist_read(&s, "none", 0, &list, &err), GSP_E_NOENT);
    text.data[text.len - 13] = '\0';
    mem_put(&s, "list", text.data);
    fails(filelist_read(&s, "list", 1, &list, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "Invalid CRC of backup control file '/mem/list'"));
    store_close(&s);
}

static void
lines_beyond_the_limits_are_refused(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_filelist list = {0};
    uint32_t crc = 0;
    mem_store(&s);
    char *huge = calloc(1, 700001);
    memset(huge, '{', 700000);
    mem_put(&s, "list", huge);
    fails(filelist_read(&s, "list", 0, &list, &err), GSP_E_CORRUPT);
    ok(filelist_new(&list, &err));
    memset(huge, 'a', 8100);
    huge[8100] = '\0';
    struct file_entry *f = filelist_add(&list, huge, "none", &err);
    assert_non_null(f);
    fails(filelist_write(&s, "long", &list, &crc, &err), GSP_E_UNSUPPORTED);
    assert_int_equal(store_exists(&s, "long", &err), 0);
    filelist_clear(&list);
    ok(filelist_new(&list, &err));
    assert_non_null(filelist_add(&list, "a\"b", "none", &err));
    fails(filelist_write(&s, "quote", &list, &crc, &err), GSP_E_BUG);
    free(huge);
    store_close(&s);
}

static void
sorted_lists_find_their_files(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        int32_t dir;
    } entries[] = {{"b", 0}, {"a/b", 0}, {"a", 2}, {"a", 0}, {"a.b", 0}, {"a", 1}};
    struct gsp_error err;
    auto_filelist list = {0};
    ok(filelist_new(&list, &err));
    assert_null(filelist_find(&list, "a", 0));
    for (size_t i = 0; i < 6; i++)
        filelist_add(&list, entries[i].path, "none", &err)->external_dir_num = entries[i].dir;
    filelist_sort(&list);
    assert_string_equal(list.entries[3].path, "a.b");
    assert_string_equal(list.entries[4].path, "a/b");
    for (size_t i = 0; i < 6; i++) {
        struct file_entry *f = filelist_find(&list, entries[i].path, entries[i].dir);
        assert_non_null(f);
        assert_string_equal(f->path, entries[i].path);
        assert_int_equal(f->external_dir_num, entries[i].dir);
    }
    assert_null(filelist_find(&list, "a", 3));
    assert_null(filelist_find(&list, "zz", 0));
}

static void
a_failed_write_leaves_the_old_list(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_filelist list = {0};
    uint32_t crc = 77;
    mem_store(&s);
    mem_put(&s, "list", "old");
    ok(filelist_new(&list, &err));
    assert_non_null(filelist_add(&list, "a", "none", &err));
    for (uint64_t step = 0; step < 3; step++) {
        storage_mem_fail_writes(s.handle, step, UINT64_MAX, ENOSPC);
        fails(filelist_write(&s, "list", &list, &crc, &err), GSP_E_NOSPC);
        assert_content(&s, "list", "old");
        assert_int_equal(crc, 77);
    }
    storage_mem_fail_writes(s.handle, 0, 0, 0);
    ok(filelist_write(&s, "list", &list, &crc, &err));
    store_close(&s);
}

/* A million files: seconds, and few bytes each. The numbers are printed for the record. */
static void
a_million_files_are_cheap(void **state)
{
    (void)state;
    enum { FILES = 1000000, BYTES_PER_FILE_MAX = 250 };
    struct store s;
    struct gsp_error err;
    auto_filelist list = {0}, again = {0};
    struct rusage before, after;
    uint32_t crc = 0;
    mem_store(&s);
    (void)getrusage(RUSAGE_SELF, &before);
    ok(filelist_new(&list, &err));
    for (int i = 0; i < FILES; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "base/%d/%d", 16384 + i / 1000, 100000 + i);
        struct file_entry *f = filelist_add(&list, path, "zlib", &err);
        f->mode = 33152;
        f->is_datafile = 1;
        f->size = 8200;
        f->n_blocks = f->n_headers = 1;
    }
    (void)getrusage(RUSAGE_SELF, &after);
    long bytes = (after.ru_maxrss - before.ru_maxrss) * 1024 / FILES;
    int64_t t0 = monotonic_us();
    ok(filelist_write(&s, "list", &list, &crc, &err));
    int64_t t1 = monotonic_us();
    ok(filelist_read(&s, "list", crc, &again, &err));
    int64_t t2 = monotonic_us();
    filelist_sort(&again);
    int64_t t3 = monotonic_us();
    print_message("# sizeof(struct file_entry) %zu, %ld bytes per file, write %.2f s, read %.2f s, sort %.2f s\n",
        sizeof(struct file_entry), bytes, (double)(t1 - t0) / 1e6, (double)(t2 - t1) / 1e6, (double)(t3 - t2) / 1e6);
    assert_int_equal(again.n, FILES);
    assert_non_null(filelist_find(&again, "base/16384/100000", 0));
/* The sanitizer keeps freed memory. */
#ifndef UNDER_ASAN
    assert_true(bytes <= BYTES_PER_FILE_MAX);
#endif
    store_close(&s);
}

int
main(void)
{
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_files_are_cheap),
        cmocka_unit_test(lists_are_rewritten_byte_for_byte),
        cmocka_unit_test(the_worked_line_has_the_known_checksum),
        cmocka_unit_test(lists_of_the_newer_tool_are_read),
        cmocka_unit_test(key_order_blanks_and_unknown_keys_do_not_matter),
        cmocka_unit_test(bad_lines_are_refused),
        cmocka_unit_test(broken_lists_name_their_line),
        cmocka_unit_test(lines_beyond_the_limits_are_refused),
        cmocka_unit_test(sorted_lists_find_their_files),
        cmocka_unit_test(a_failed_write_leaves_the_old_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
