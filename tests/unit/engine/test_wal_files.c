/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include <zlib.h>

#include "core/engine/wal_files.h"

enum { SEGMENT = 65536 };

#define PLAIN "000000010000000000000001"
#define PACKED "000000010000000000000002"
#define OTHER "000000010000000000000003"

static void
fill(uint8_t *bytes, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(seed + i * 31 + i / 4096);
}

/* len bytes as a gzip file of which the last `cut` bytes are missing. */
static void
put_gz(struct store *s, const char *path, const uint8_t *bytes, size_t len, size_t cut)
{
    struct gsp_error err;
    z_stream z;
    size_t room = len + 1024;
    auto_free uint8_t *packed = malloc(room);
    memset(&z, 0, sizeof z);
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)bytes;
    z.avail_in = (uInt)len;
    z.next_out = packed;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    ok(store_write_all(s, path, 0600, 0, packed, room - z.avail_out - cut, &err));
    (void)deflateEnd(&z);
}

static void
assert_reads(const struct gsp_wal_source *source, const char *name, const uint8_t *want, uint64_t offset, uint32_t len)
{
    struct gsp_error err;
    uint8_t got[9000];
    memset(got, 0xEE, sizeof got);
    ok((int)source->read(source->ctx, name, offset, got, len, &err));
    assert_memory_equal(got, want + offset, len);
    assert_int_equal(got[len], 0xEE);
}

static void
segments_are_read_plain_and_packed(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    static uint8_t plain[SEGMENT], packed[SEGMENT];
    uint8_t got[8192];
    mem_store(&s);
    ok(store_mkdir(&s, "wal", 0700, 0, &err));
    fill(plain, SEGMENT, 1);
    fill(packed, SEGMENT, 2);
    ok(store_write_all(&s, "wal/" PLAIN, 0600, 0, plain, SEGMENT, &err));
    put_gz(&s, "wal/" PACKED ".gz", packed, SEGMENT, 0);
    put_gz(&s, "wal/" PLAIN ".gz", packed, SEGMENT, 0); /* the plain one comes first */
    struct wal_files files = {.repo = &s, .dir = "wal", .segment_size = SEGMENT};
    struct gsp_wal_source source = wal_files_source(&files);
    for (int round = 0; round < 2; round++) { /* from one to the other and back */
        assert_reads(&source, PLAIN, plain, 0, 8192);
        assert_reads(&source, PLAIN, plain, SEGMENT - 8192, 8192);
        assert_reads(&source, PACKED, packed, 8191, 3);
        assert_reads(&source, PACKED, packed, SEGMENT - 1, 1);
        assert_reads(&source, PACKED, packed, 0, 8192);
    }
    /* The end of a segment, and behind it. */
    static const char *const names[] = {PLAIN, PACKED};
    for (size_t i = 0; i < 2; i++) {
        err = (struct gsp_error){0};
        assert_int_equal(source.read(source.ctx, names[i], SEGMENT - 10, got, 8192, &err), 10);
        assert_int_equal(source.read(source.ctx, names[i], SEGMENT, got, 8192, &err), 0);
        assert_int_equal(source.read(source.ctx, names[i], UINT64_C(1) << 40, got, 8192, &err), 0);
        assert_int_equal(err.code, 0);
    }
    wal_files_close(&files);
    wal_files_close(&files);
    store_close(&s);
}

static void
short_packed_segments_end_where_they_end(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err = {0};
    static uint8_t bytes[1000];
    uint8_t got[8192];
    mem_store(&s);
    ok(store_mkdir(&s, "wal", 0700, 0, &err));
    put_gz(&s, "wal/" PACKED ".gz", bytes, 1000, 0);
    struct wal_files files = {.repo = &s, .dir = "wal", .segment_size = SEGMENT};
    struct gsp_wal_source source = wal_files_source(&files);
    assert_int_equal(source.read(source.ctx, PACKED, 0, got, 8192, &err), 1000);
    assert_int_equal(source.read(source.ctx, PACKED, 1000, got, 8192, &err), 0);
    wal_files_close(&files);
    store_close(&s);
}

static void
missing_segments_are_named(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    uint8_t got[10];
    mem_store(&s);
    ok(store_mkdir(&s, "wal", 0700, 0, &err));
    mem_put(&s, "wal/" OTHER, "other");
    struct wal_files files = {.repo = &s, .dir = "wal", .segment_size = SEGMENT};
    struct gsp_wal_source source = wal_files_source(&files);
    fails((int)source.read(source.ctx, PLAIN, 0, got, 10, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, PLAIN));
    assert_null(strstr(err.msg, ".gz"));
    err = (struct gsp_error){0};
    assert_int_equal(source.read(source.ctx, OTHER, 0, got, 10, &err), 5);
    wal_files_close(&files);
    store_close(&s);
}

static void
damaged_packed_segments_are_refused(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    static uint8_t bytes[SEGMENT + 1], noise[3 * SEGMENT];
    uint8_t got[10];
    mem_store(&s);
    ok(store_mkdir(&s, "wal", 0700, 0, &err));
    fill(bytes, sizeof bytes, 3);
    mem_put(&s, "wal/" OTHER, "other");
    struct wal_files files = {.repo = &s, .dir = "wal", .segment_size = SEGMENT};
    struct gsp_wal_source source = wal_files_source(&files);
    for (int way = 0; way < 5; way++) {
        if (way == 0)
            put_gz(&s, "wal/" PACKED ".gz", bytes, SEGMENT, 1); /* its end is missing */
        else if (way == 1)
            put_gz(&s, "wal/" PACKED ".gz", bytes, SEGMENT + 1, 0); /* more than a segment */
        else if (way == 2)
            mem_put(&s, "wal/" PACKED ".gz", "this is no gzip file");
        else if (way == 3)
            mem_put(&s, "wal/" PACKED ".gz", "");
        else
            ok(store_write_all(&s, "wal/" PACKED ".gz", 0600, 0, noise, sizeof noise, &err));
        for (int round = 0; round < 2; round++) {
            fails((int)source.read(source.ctx, PACKED, 0, got, 10, &err), GSP_E_CORRUPT);
            assert_non_null(strstr(err.msg, PACKED ".gz"));
        }
        err = (struct gsp_error){0};
        assert_int_equal(source.read(source.ctx, OTHER, 0, got, 10, &err), 5);
    }
    wal_files_close(&files);
    store_close(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_are_read_plain_and_packed),
        cmocka_unit_test(short_packed_segments_end_where_they_end),
        cmocka_unit_test(missing_segments_are_named),
        cmocka_unit_test(damaged_packed_segments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
