/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/catalog/catalog_test.h"

#include "core/base/cleanup.h"
#include "core/engine/merge.h"

#define HEAD "# merge B:1 A:2\n"

static const struct file_entry files[] = {
    {.path = "base/1/3",
        .compress_alg = "none",
        .size = 8200,
        .crc = 7,
        .is_datafile = 1,
        .n_headers = 1,
        .hdr_off = 5},
    {.path = "base/1/2", .compress_alg = "zlib", .size = 100, .crc = 8},
    {.path = "PG_VERSION", .compress_alg = "none", .size = 3, .crc = 9},
};

static void
append(struct store *s, struct merge_ledger *ledger, size_t first, size_t n, uint64_t map_size)
{
    struct gsp_error err;
    const struct file_entry *some[3];
    for (size_t i = 0; i < n; i++)
        some[i] = &files[first + i];
    ok(merge_ledger_append(s, "merge.ledger", ledger, some, n, map_size, &err));
}

/* Two parts: of two files, and of one. */
static void
write_ledger(struct store *s)
{
    struct gsp_error err;
    struct merge_ledger ledger = {0};
    mem_store(s);
    ok(merge_ledger_begin(s, "merge.ledger", HEAD, &ledger, &err));
    append(s, &ledger, 0, 2, 40);
    append(s, &ledger, 2, 1, 60);
    merge_ledger_clear(&ledger);
}

static void
read_back(struct store *s, struct merge_ledger *ret, size_t n, uint64_t map_size)
{
    struct gsp_error err;
    ok(merge_ledger_read(s, "merge.ledger", HEAD, ret, &err));
    assert_int_equal(ret->done.n, n);
    assert_int_equal(ret->map_size, map_size);
}

static void
what_was_appended_is_read(void **state)
{
    (void)state;
    struct store s;
    struct merge_ledger ledger;
    write_ledger(&s);
    read_back(&s, &ledger, 3, 60);
    /* Sorted by path, whatever order they were finished in. */
    assert_string_equal(ledger.done.entries[0].path, "PG_VERSION");
    assert_string_equal(ledger.done.entries[2].path, "base/1/3");
    assert_int_equal(ledger.done.entries[2].size, 8200);
    assert_int_equal(ledger.done.entries[2].hdr_off, 5);
    assert_string_equal(ledger.done.entries[1].compress_alg, "zlib");
    merge_ledger_clear(&ledger);
    store_close(&s);
}

static void
a_new_ledger_is_empty_and_goes_on(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct merge_ledger ledger = {0};
    mem_store(&s);
    ok(merge_ledger_begin(&s, "merge.ledger", HEAD, &ledger, &err));
    merge_ledger_clear(&ledger);
    read_back(&s, &ledger, 0, 0);
    append(&s, &ledger, 0, 1, 9);
    merge_ledger_clear(&ledger);
    read_back(&s, &ledger, 1, 9);
    append(&s, &ledger, 1, 2, 11);
    merge_ledger_clear(&ledger);
    read_back(&s, &ledger, 3, 11);
    merge_ledger_clear(&ledger);
    store_close(&s);
}

/* Wherever it is cut off, whole parts count and nothing else; and it goes on from there. */
static void
a_torn_end_does_not_count(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct merge_ledger ledger;
    auto_strbuf text = STRBUF_INIT;
    write_ledger(&s);
    ok(store_read_all(&s, "merge.ledger", 1 << 20, &text, &err));
    size_t first_end = (size_t)(strstr(text.data, "\n# 40 ") - text.data) + 1;
    first_end += strcspn(text.data + first_end, "\n") + 1;
    for (size_t len = strlen(HEAD); len < text.len; len++) {
        for (int garbage = 0; garbage < 2; garbage++) {
            auto_strbuf torn = STRBUF_INIT;
            strbuf_add(&torn, text.data, len);
            if (garbage)
                strbuf_add(&torn, "\0\0\0\0\n\0", 6);
            ok(store_write_all(&s, "merge.ledger", 0600, 0, torn.data, torn.len, &err));
            read_back(&s, &ledger, len < first_end ? 0 : 2, len < first_end ? 0 : 40);
            assert_int_equal(ledger.size, len < first_end ? strlen(HEAD) : first_end);
            append(&s, &ledger, 2, 1, 77);
            merge_ledger_clear(&ledger);
            read_back(&s, &ledger, len < first_end ? 1 : 3, 77);
            merge_ledger_clear(&ledger);
        }
    }
    store_close(&s);
}

static void
a_changed_byte_does_not_pass(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct merge_ledger ledger;
    auto_strbuf text = STRBUF_INIT;
    write_ledger(&s);
    ok(store_read_all(&s, "merge.ledger", 1 << 20, &text, &err));
    for (size_t at = strlen(HEAD); at < text.len; at++) {
        text.data[at] ^= 1;
        ok(store_write_all(&s, "merge.ledger", 0600, 0, text.data, text.len, &err));
        ok(merge_ledger_read(&s, "merge.ledger", HEAD, &ledger, &err));
        assert_true(ledger.done.n < 3);
        merge_ledger_clear(&ledger);
        text.data[at] ^= 1;
    }
    store_close(&s);
}

static void
another_chain_has_another_ledger(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct merge_ledger ledger = {0};
    write_ledger(&s);
    fails(merge_ledger_read(&s, "merge.ledger", "# merge B:1 A:3\n", &ledger, &err), GSP_E_CORRUPT);
    fails(merge_ledger_read(&s, "merge.ledger", HEAD HEAD, &ledger, &err), GSP_E_CORRUPT);
    fails(merge_ledger_read(&s, "none", HEAD, &ledger, &err), GSP_E_NOENT);
    mem_put(&s, "short", "# mer");
    fails(merge_ledger_read(&s, "short", HEAD, &ledger, &err), GSP_E_CORRUPT);
    store_close(&s);
}

static void
a_failed_append_changes_nothing(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct merge_ledger ledger;
    const struct file_entry *some[] = {&files[2]};
    write_ledger(&s);
    read_back(&s, &ledger, 3, 60);
    uint64_t size = ledger.size;
    storage_mem_fail_writes(s.handle, 0, 1, ENOSPC);
    fails(merge_ledger_append(&s, "merge.ledger", &ledger, some, 1, 99, &err), GSP_E_NOSPC);
    assert_int_equal(ledger.size, size);
    merge_ledger_clear(&ledger);
    read_back(&s, &ledger, 3, 60);
    merge_ledger_clear(&ledger);
    store_close(&s);
}

int
main(void)
{
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_appended_is_read),
        cmocka_unit_test(a_new_ledger_is_empty_and_goes_on),
        cmocka_unit_test(a_torn_end_does_not_count),
        cmocka_unit_test(a_changed_byte_does_not_pass),
        cmocka_unit_test(another_chain_has_another_ledger),
        cmocka_unit_test(a_failed_append_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
