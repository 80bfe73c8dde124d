/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

#include <zlib.h>

#include "core/base/bytes.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"
#include "core/catalog/header_map.h"

static void
fill(struct page_header *h, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        h[i] = (struct page_header){
            .lsn = 0x100000000ull + i * 7919ull, .block = i * 2, .pos = i * 508, .checksum = (uint16_t)(i * 31)};
}

/* One file of n pages in a fresh map, as the engine writes it. */
static struct file_entry
write_one(struct store *s, uint32_t n)
{
    struct gsp_error err;
    struct header_stream *hs = NULL;
    struct header_map_writer *w = NULL;
    struct page_header *h = calloc(n + 1, sizeof *h);
    struct file_entry e = {.path = "base/1/2", .size = (int64_t)n * 508};
    fill(h, n);
    ok(header_stream_new(&hs, &err));
    ok(header_map_create(s, "map", &w, &err));
    for (uint32_t done = 0; done < n; done += 100)
        ok(header_stream_add(hs, h + done, n - done < 100 ? n - done : 100, &err));
    ok(header_map_append(w, hs, n * 508, &e, &err));
    ok(header_map_commit(w, &err));
    header_stream_free(hs);
    free(h);
    return e;
}

static int
load(struct store *s, const struct file_entry *e, struct page_header **ret, struct gsp_error *ret_err)
{
    struct gsp_error err;
    auto_store_file map = {0};
    ok(store_file_open(s, "map", &map, &err));
    return header_map_load(&map, e, ret, ret_err);
}

static void
headers_come_back(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 127, 128, 129, 131072};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct store s;
        struct gsp_error err;
        auto_free struct page_header *got = NULL, *want = calloc(sizes[k], sizeof *want);
        mem_store(&s);
        struct file_entry e = write_one(&s, sizes[k]);
        assert_int_equal(e.n_headers, sizes[k]);
        assert_int_equal(e.hdr_off, 0);
        fill(want, sizes[k]);
        ok(load(&s, &e, &got, &err));
        for (uint32_t i = 0; i < sizes[k]; i++)
            assert_true(got[i].lsn == want[i].lsn && got[i].block == want[i].block && got[i].pos == want[i].pos &&
                        got[i].checksum == want[i].checksum);
        assert_int_equal(got[sizes[k]].pos, e.size);
        store_close(&s);
    }
}

/* The vector of the format's description: one zero page, stored raw. */
static void
one_zero_page_has_the_known_checksum(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct header_stream *hs = NULL;
    struct header_map_writer *w = NULL;
    struct file_entry e = {.path = "f"};
    mem_store(&s);
    ok(header_stream_new(&hs, &err));
    ok(header_map_create(&s, "map", &w, &err));
    ok(header_stream_add(hs, &(struct page_header){0}, 1, &err));
    ok(header_map_append(w, hs, 8200, &e, &err));
    assert_int_equal(e.hdr_crc, 500143898);
    header_stream_free(hs);
    ok(header_map_commit(w, &err));
    store_close(&s);
}

static void
streams_are_reused_and_follow_each_other(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct header_stream *hs = NULL;
    struct header_map_writer *w = NULL;
    struct page_header h[3];
    struct file_entry e[3] = {{.path = "a", .size = 1524}, {.path = "empty"}, {.path = "b", .size = 508}};
    fill(h, 3);
    mem_store(&s);
    ok(header_stream_new(&hs, &err));
    ok(header_map_create(&s, "map", &w, &err));
    for (int i = 0; i < 3; i++) {
        header_stream_reset(hs);
        if (e[i].size > 0)
            ok(header_stream_add(hs, h, (uint32_t)(e[i].size / 508), &err));
        ok(header_map_append(w, hs, (uint32_t)e[i].size, &e[i], &err));
    }
    header_stream_free(hs);
    ok(header_map_commit(w, &err));
    assert_int_equal(e[1].n_headers, 0);
    assert_int_equal(e[2].hdr_off, e[0].hdr_size);
    for (int i = 0; i < 3; i += 2) {
        auto_free struct page_header *got = NULL;
        ok(load(&s, &e[i], &got, &err));
        assert_int_equal(got[e[i].n_headers].pos, e[i].size);
    }
    store_close(&s);
}

static void
without_records_no_file_is_left(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct header_map_writer *w = NULL;
    mem_store(&s);
    ok(header_map_create(&s, "map", &w, &err));
    ok(header_map_commit(w, &err));
    assert_int_equal(store_exists(&s, "map", &err), 0);
    ok(header_map_create(&s, "map", &w, &err));
    header_map_abort(w);
    assert_int_equal(store_exists(&s, "map", &err), 0);
    store_close(&s);
}

static void
entries_that_cannot_be_are_refused(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    mem_store(&s);
    const struct file_entry good = write_one(&s, 300);
    struct file_entry bad[12];
    for (size_t i = 0; i < 12; i++)
        bad[i] = good;
    bad[0].n_headers = -1;
    bad[1].n_headers = INT32_MAX;
    bad[2].n_headers = 0;
    bad[3].n_headers = 299;
    bad[4].n_headers = 301;
    bad[5].hdr_crc ^= 1;
    bad[6].hdr_off = 1;
    bad[7].hdr_off = INT64_MAX;
    bad[8].hdr_size -= 1;
    bad[9].hdr_size += 1;
    bad[10].size += 1;
    bad[11].hdr_size = -5;
    for (size_t i = 0; i < 12; i++) {
        struct page_header *got = NULL;
        fails(load(&s, &bad[i], &got, &err), GSP_E_CORRUPT);
        assert_null(got);
    }
    store_close(&s);
}

/* Raw records deflated by hand, with a right checksum: only their sense is wrong. */
static int
load_raw(unsigned char *raw, uint32_t records, struct gsp_error *ret_err)
{
    struct gsp_error err;
    struct store s;
    unsigned char deflated[512];
    uLongf len = sizeof deflated;
    auto_free struct page_header *got = NULL;
    mem_store(&s);
    assert_int_equal(compress2(deflated, &len, raw, (uLong)records * PAGE_HEADER_BYTES, 1), Z_OK);
    ok(store_write_all(&s, "map", 0600, 0, deflated, len, &err));
    struct file_entry e = {.path = "f",
        .size = 300,
        .n_headers = (int32_t)records - 1,
        .hdr_size = (int32_t)len,
        .hdr_crc = crc32c(0, raw, (size_t)records * PAGE_HEADER_BYTES)};
    int rc = load(&s, &e, &got, ret_err);
    store_close(&s);
    return rc;
}

static void
records_out_of_order_are_refused(void **state)
{
    (void)state;
    unsigned char raw[3 * PAGE_HEADER_BYTES];
    struct gsp_error err = {0};
    /* block and pos of three records, then whether that is fine; garbage in the padding is. */
    static const struct {
        uint32_t block[2], pos[3];
        int good;
    } cases[] = {
        {{4, 9}, {0, 100, 300}, 1},
        {{9, 4}, {0, 100, 300}, 0},
        {{4, 4}, {0, 100, 300}, 0},
        {{4, 0xFFFFFFFF}, {0, 100, 300}, 0},
        {{4, 9}, {1, 100, 300}, 0},
        {{4, 9}, {0, 8, 300}, 0},
        {{4, 9}, {0, 300, 300}, 0},
        {{4, 9}, {0, 400, 300}, 0},
        {{4, 9}, {0, 100, 299}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(raw, 0xEE, sizeof raw);
        for (size_t k = 0; k < 3; k++) {
            if (k < 2)
                store_le32(raw + k * PAGE_HEADER_BYTES + 8, cases[i].block[k]);
            store_le32(raw + k * PAGE_HEADER_BYTES + 12, cases[i].pos[k]);
        }
        if (cases[i].good)
            ok(load_raw(raw, 3, &err));
        else
            fails(load_raw(raw, 3, &err), GSP_E_CORRUPT);
    }
}

static void
a_full_storage_is_told(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct header_stream *hs = NULL;
    struct header_map_writer *w = NULL;
    struct file_entry e = {.path = "f"};
    mem_store(&s);
    ok(header_stream_new(&hs, &err));
    ok(header_map_create(&s, "map", &w, &err));
    ok(header_stream_add(hs, &(struct page_header){0}, 1, &err));
    storage_mem_fail_writes(s.handle, 0, UINT64_MAX, ENOSPC);
    /* What is little waits in memory, and fails at the end. */
    ok(header_map_append(w, hs, 8200, &e, &err));
    fails(header_map_commit(w, &err), GSP_E_NOSPC);
    storage_mem_fail_writes(s.handle, 0, 0, 0);
    assert_int_equal(store_exists(&s, "map", &err), 0);
    header_stream_free(hs);
    store_close(&s);
}

static void
a_map_goes_on_behind_what_counts(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct header_map_writer *w = NULL;
    auto_store_file map = {0};
    uint64_t size = 0;
    auto_free struct page_header *got = NULL;
    mem_store(&s);
    struct file_entry first = write_one(&s, 300), copied = {.path = "base/1/3"}, other = first;
    ok(store_rename(&s, "map", "source", &err));
    ok(store_file_open(&s, "source", &map, &err));
    mem_put(&s, "map", "seven..., and bytes of no use");
    ok(header_map_reopen(&s, "map", 7, &w, &err));
    ok(header_map_copy(w, &map, &first, &copied, &err));
    ok(header_map_flush(w, &size, &err));
    assert_int_equal(size, 7 + (uint64_t)first.hdr_size);
    other.hdr_off = first.hdr_size; /* behind the end of the map */
    fails(header_map_copy(w, &map, &other, &copied, &err), GSP_E_CORRUPT);
    ok(header_map_commit(w, &err));
    assert_int_equal(copied.hdr_off, 7);
    assert_int_equal(copied.hdr_crc, first.hdr_crc);
    assert_int_equal(copied.n_headers, 300);
    copied.size = first.size;
    ok(load(&s, &copied, &got, &err));
    assert_int_equal(got[299].block, 598);
    store_file_close(&map);
    store_close(&s);
}

static void
a_hole_is_not_handed_over(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct header_map_writer *w = NULL;
    auto_store_file map = {0};
    uint64_t size = 0;
    mem_store(&s);
    struct file_entry first = write_one(&s, 300), copied = {.path = "base/1/3"};
    ok(store_rename(&s, "map", "source", &err));
    ok(store_file_open(&s, "source", &map, &err));
    ok(header_map_create(&s, "map", &w, &err));
    ok(header_map_copy(w, &map, &first, &copied, &err));
    storage_mem_fail_writes(s.handle, 0, 1, EIO);
    fails(header_map_flush(w, &size, &err), GSP_E_IO);
    storage_mem_fail_writes(s.handle, 0, 0, 0);
    fails(header_map_flush(w, &size, &err), GSP_E_IO);
    header_map_abort(w);
    store_file_close(&map);
    store_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_come_back),
        cmocka_unit_test(one_zero_page_has_the_known_checksum),
        cmocka_unit_test(streams_are_reused_and_follow_each_other),
        cmocka_unit_test(without_records_no_file_is_left),
        cmocka_unit_test(entries_that_cannot_be_are_refused),
        cmocka_unit_test(records_out_of_order_are_refused),
        cmocka_unit_test(a_full_storage_is_told),
        cmocka_unit_test(a_map_goes_on_behind_what_counts),
        cmocka_unit_test(a_hole_is_not_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
