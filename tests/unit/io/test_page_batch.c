/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/catalog/catalog_test.h"

#include "core/base/bytes.h"
#include "core/io/page_batch.h"
#include "tests/doubles/spy_storage.h"
#include "tests/doubles/toy_codec.h"
#include "tests/doubles/toy_dialect.h"

enum { SIZE = 8192, STRIDE = SIZE + PAGE_FRAME_BYTES };

/* Page i of a test file: every third one is full, the others end in zeros, every seventh is all zeros. */
static void
make_page(uint8_t *page, uint32_t i)
{
    if (i % 7 == 6)
        memset(page, 0, SIZE);
    else
        toy_page(page, SIZE, i, 0x1000 + i, i % 3 == 0 ? SIZE - TOY_PAGE_HEADER : 100 + i, i * 97);
}

/* A file of n pages and `tail` bytes more. */
static void
make_file(struct store *s, const char *path, uint32_t n, uint32_t tail)
{
    struct gsp_error err;
    size_t len = (size_t)n * SIZE + tail;
    uint8_t *bytes = calloc(1, len + SIZE);
    assert_non_null(bytes);
    for (uint32_t i = 0; i * (size_t)SIZE < len; i++)
        make_page(bytes + (size_t)i * SIZE, i);
    ok(store_write_all(s, path, 0600, 0, bytes, len, &err));
    free(bytes);
}

static void
assert_page(const uint8_t *page, uint32_t i)
{
    uint8_t want[SIZE];
    make_page(want, i);
    assert_memory_equal(page, want, SIZE);
}

/* Fill the batch's first n pages by hand. */
static void
fill(struct page_batch *b, uint32_t n)
{
    b->n = n;
    b->data = page_batch_page(b, 0);
    for (uint32_t i = 0; i < n; i++) {
        make_page(page_batch_page(b, i), i);
        b->block[i] = i;
    }
}

static void
whole_pages_are_read(void **state)
{
    (void)state;
    /* io_max and iov_max: as they are, one page per call, and a bit more than three pages per call. */
    static const struct spy limits[] = {{0}, {.io_max = 65536, .iov_max = 1}, {.io_max = 65536 + 1, .iov_max = 3}};
    for (size_t k = 0; k < 3; k++) {
        struct store s;
        struct gsp_error err;
        struct page_batch b;
        struct spy spy = limits[k];
        auto_store_file f = {0};
        ok(store_open(&s, &spy_storage_ops, &spy, NULL, "/data", &err));
        ok(store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, &err));
        make_file(&s, "f", 300, 100);
        ok(page_batch_init(&b, SIZE, NULL, NULL, NULL, &err));
        assert_int_equal(b.cap, 128);
        ok(store_file_open(&s, "f", &f, &err));
        spy.reads = 0;
        ok(page_batch_read(&b, &f, 100, 1000, &err));
        assert_int_equal(b.n, 128);
        for (uint32_t i = 0; i < b.n; i++) {
            assert_int_equal(b.block[i], 100 + i);
            assert_page(b.data + (size_t)i * b.stride, 100 + i);
        }
        if (k > 0)
            assert_int_equal(spy.reads, k == 1 ? 128 : 43);
        ok(page_batch_read(&b, &f, 290, 5, &err)); /* no more than wanted */
        assert_int_equal(b.n, 5);
        ok(page_batch_read(&b, &f, 290, 128, &err)); /* the partial page at the end does not count */
        assert_int_equal(b.n, 10);
        assert_page(b.data + 9 * (size_t)b.stride, 299);
        ok(page_batch_read(&b, &f, 300, 128, &err));
        assert_int_equal(b.n, 0);
        assert_false(spy.broke_limits);
        page_batch_free(&b);
        store_file_close(&f);
        store_close(&s);
    }
}

/* Frame n pages, then take the bytes apart again in a second batch. */
static void
round_trip(const struct gsp_compressor_ops *codec, uint32_t n)
{
    struct gsp_error err;
    struct page_batch out, in;
    const uint8_t *bytes;
    uint32_t len, used, at = 0;
    ok(page_batch_init(&out, SIZE, codec, NULL, NULL, &err));
    ok(page_batch_init(&in, SIZE, codec, NULL, NULL, &err));
    fill(&out, n);
    ok(page_batch_frame(&out, &bytes, &len, &err));
    assert_true(len <= in.enc_cap && (codec != NULL || len == n * STRIDE));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(load_le32(bytes + at), i);
        assert_int_equal(out.out_span[i].off, at + PAGE_FRAME_BYTES);
        at += PAGE_FRAME_BYTES + load_le32(bytes + at + 4);
    }
    assert_int_equal(at, len);
    memcpy(in.enc, bytes, len);
    ok(page_batch_unframe(&in, len, &used, &err));
    assert_int_equal(used, len);
    assert_int_equal(in.n, n);
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(in.block[i], i);
        assert_int_equal(in.out_span[i].off, out.out_span[i].off);
        assert_page(in.data + (size_t)i * in.stride, i);
    }
    page_batch_free(&out);
    page_batch_free(&in);
}

static void
frames_come_back(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 9, 128};
    for (size_t k = 0; k < 4; k++) {
        round_trip(NULL, counts[k]);
        round_trip(&toy_codec_ops, counts[k]);
    }
}

static void
verdicts_are_those_of_the_dialect(void **state)
{
    (void)state;
    struct gsp_error err;
    struct page_batch b;
    struct gsp_cluster cluster = {.struct_size = sizeof cluster};
    ok(page_batch_init(&b, SIZE, NULL, NULL, NULL, &err));
    fill(&b, 7);
    page_batch_page(&b, 1)[500] ^= 1;
    page_batch_page(&b, 2)[10] ^= 1;
    page_batch_check(&b, &toy_dialect, &cluster, 0);
    static const uint8_t want[] = {
        GSP_PAGE_OK, GSP_PAGE_CHECKSUM, GSP_PAGE_HEADER, GSP_PAGE_OK, GSP_PAGE_OK, GSP_PAGE_OK, GSP_PAGE_ZERO};
    assert_memory_equal(b.state, want, sizeof want);
    assert_int_equal(b.lsn[4], 0x1004);
    assert_int_equal(b.sum[4], b.stored_sum[4]);
    assert_int_not_equal(b.sum[1], b.stored_sum[1]);
    page_batch_check(&b, &toy_dialect, &cluster, 1024); /* as a later segment: its checksums are others */
    assert_int_equal(b.state[0], GSP_PAGE_CHECKSUM);
    page_batch_free(&b);
}

/* ---- hostile files -------------------------------------------------------------------------------- */

static uint32_t
put_frame(uint8_t *enc, uint32_t at, uint32_t block, uint32_t size, const uint8_t *payload)
{
    store_le32(enc + at, block);
    store_le32(enc + at + 4, size);
    if (payload != NULL)
        memcpy(enc + at + PAGE_FRAME_BYTES, payload, size);
    return at + PAGE_FRAME_BYTES + size;
}

static void
impossible_sizes_are_refused(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, SIZE + 1, 0xFFFFFFFF, 0x80000000, 0x7FFFFFFF, 0xFFFFFFF8};
    struct gsp_error err;
    struct page_batch b;
    uint8_t page[SIZE];
    uint32_t used;
    ok(page_batch_init(&b, SIZE, &toy_codec_ops, NULL, NULL, &err));
    make_page(page, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t at = put_frame(b.enc, 0, 0, SIZE, page);
        (void)put_frame(b.enc, at, 77, sizes[i], NULL);
        fails(page_batch_unframe(&b, at + PAGE_FRAME_BYTES, &used, &err), GSP_E_CORRUPT);
        assert_non_null(strstr(err.msg, "block 77"));
        assert_true(sizes[i] != 0xFFFFFFFF || strstr(err.msg, "-1 bytes") != NULL);
    }
    page_batch_free(&b);
}

static void
frames_that_do_not_fit_the_window_wait(void **state)
{
    (void)state;
    struct gsp_error err;
    struct page_batch b;
    uint8_t page[SIZE];
    uint32_t used, first, second;
    ok(page_batch_init(&b, SIZE, &toy_codec_ops, NULL, NULL, &err));
    make_page(page, 0);
    for (size_t i = 0; i < 100; i++)
        page[i] ^= TOY_SCRAMBLE;
    first = put_frame(b.enc, 0, 4, 100, page);
    second = put_frame(b.enc, first, 9, 50, page);
    for (uint32_t len = 0; len < second; len++) {
        ok(page_batch_unframe(&b, len, &used, &err));
        assert_int_equal(b.n, len >= first);
        assert_int_equal(used, len >= first ? first : 0);
    }
    ok(page_batch_unframe(&b, second, &used, &err));
    assert_int_equal(b.n, 2);
    assert_int_equal(b.block[1], 9);
    page_batch_free(&b);
}

static void
no_more_pages_than_the_batch_holds(void **state)
{
    (void)state;
    struct gsp_error err;
    struct page_batch b;
    uint8_t byte = 1 ^ TOY_SCRAMBLE;
    uint32_t used, at = 0;
    ok(page_batch_init(&b, SIZE, &toy_codec_ops, NULL, NULL, &err));
    for (uint32_t i = 0; i < 3 * b.cap; i++)
        at = put_frame(b.enc, at, i, 1, &byte);
    ok(page_batch_unframe(&b, at, &used, &err));
    assert_int_equal(b.n, b.cap);
    assert_int_equal(used, b.cap * 9);
    for (uint32_t i = 0; i < b.cap; i++)
        assert_true(page_batch_page(&b, i)[0] == 1 && page_batch_page(&b, i)[SIZE - 1] == 0);
    page_batch_free(&b);
}

static void
raw_and_compressed_pages_mix(void **state)
{
    (void)state;
    struct gsp_error err;
    struct page_batch b;
    uint8_t page[SIZE], small[] = {1 ^ TOY_SCRAMBLE, 2 ^ TOY_SCRAMBLE};
    uint32_t used, at = 0;
    ok(page_batch_init(&b, SIZE, &toy_codec_ops, NULL, NULL, &err));
    make_page(page, 3);
    for (uint32_t i = 0; i < 9; i++) /* runs of one and of several, at both ends too */
        at = i == 1 || i == 4 || i == 5 ? put_frame(b.enc, at, i, SIZE, page) : put_frame(b.enc, at, i, 2, small);
    ok(page_batch_unframe(&b, at, &used, &err));
    assert_int_equal(used, at);
    assert_int_equal(b.n, 9);
    for (uint32_t i = 0; i < 9; i++) {
        const uint8_t *got = b.data + (size_t)i * b.stride;
        if (i == 1 || i == 4 || i == 5)
            assert_memory_equal(got, page, SIZE);
        else
            assert_true(got[0] == 1 && got[1] == 2 && got[2] == 0 && got[SIZE - 1] == 0);
    }
    page_batch_free(&b);
}

static void
payloads_that_cannot_be_are_named(void **state)
{
    (void)state;
    struct gsp_error err;
    struct page_batch b;
    uint8_t page[SIZE], good = 1 ^ TOY_SCRAMBLE, bad[] = {1, TOY_SCRAMBLE};
    uint32_t used, at = 0;
    make_page(page, 3);
    ok(page_batch_init(&b, SIZE, &toy_codec_ops, NULL, NULL, &err));
    at = put_frame(b.enc, at, 10, SIZE, page);
    at = put_frame(b.enc, at, 11, 1, &good);
    at = put_frame(b.enc, at, 12, 2, bad);
    fails(page_batch_unframe(&b, at, &used, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "block 12: not the work"));
    page_batch_free(&b);
    /* In a file without a compressor no page may be short. */
    ok(page_batch_init(&b, SIZE, NULL, NULL, NULL, &err));
    at = put_frame(b.enc, 0, 10, SIZE, page);
    at = put_frame(b.enc, at, 11, 1, &good);
    fails(page_batch_unframe(&b, at, &used, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "block 11 is compressed"));
    page_batch_free(&b);
}

/* ---- compressors that break their contract -------------------------------------------------------- */

static void (*spoil)(struct gsp_codec_batch *b);

static int
spoiled_encode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    int rc = toy_encode(ctx, b, err);
    spoil(b);
    return rc;
}

static void
gap(struct gsp_codec_batch *b)
{
    b->out_span[2].off++;
}

static void
overlap(struct gsp_codec_batch *b)
{
    b->out_span[2].off--;
}

static void
gap_at_the_start(struct gsp_codec_batch *b)
{
    b->out_span[0].off += 8;
}

static void
far_away(struct gsp_codec_batch *b)
{
    b->out_span[1].off = 0xFFFFFFF0;
}

static void
empty_item(struct gsp_codec_batch *b)
{
    b->out_span[1].len = 0;
}

static void
longer_than_a_page(struct gsp_codec_batch *b)
{
    b->out_span[3].len = SIZE + 1;
}

static void
endless_item(struct gsp_codec_batch *b)
{
    b->out_span[3].len = 0xFFFFFFFF;
}

static void
states_less(struct gsp_codec_batch *b)
{
    b->out_len--;
}

static void
states_more(struct gsp_codec_batch *b)
{
    b->out_len++;
}

static void
states_nothing(struct gsp_codec_batch *b)
{
    b->out_len = 0;
}

static void
states_everything(struct gsp_codec_batch *b)
{
    b->out_len = 0xFFFFFFFF;
}

/* A stored item of a whole page's length is read back as raw: compressed bytes must never have it. */
static void
full_length_but_not_raw(struct gsp_codec_batch *b)
{
    b->out_span[0].flags = 0;
}

static void
raw_but_short(struct gsp_codec_batch *b)
{
    b->out_span[1].flags = GSP_SPAN_RAW;
}

static void
broken_compressors_are_found_out(void **state)
{
    (void)state;
    static void (*const ways[])(struct gsp_codec_batch *) = {gap, overlap, gap_at_the_start, far_away, empty_item,
        longer_than_a_page, endless_item, states_less, states_more, states_nothing, states_everything,
        full_length_but_not_raw, raw_but_short};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct gsp_error err;
        struct page_batch b;
        struct gsp_compressor_ops codec = toy_codec_ops;
        const uint8_t *bytes = NULL;
        uint32_t len = 0;
        spoil = ways[i];
        codec.encode = spoiled_encode;
        ok(page_batch_init(&b, SIZE, &codec, NULL, NULL, &err));
        fill(&b, 5);
        int rc = page_batch_frame(&b, &bytes, &len, &err);
        if (rc != GSP_E_BUG || err.code != rc || bytes != NULL)
            fail_msg("way %zu: %d %s", i, rc, err.msg);
        page_batch_free(&b);
    }
}

static int
failing_encode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    (void)ctx;
    (void)b;
    return gsp_fail(err, GSP_E_NOMEM, 0, "the encoder gave up");
}

static int
failing_decode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    (void)ctx;
    b->failed = 0xFFFFFFFF; /* an index that no item has */
    return gsp_fail(err, GSP_E_CORRUPT, 0, "the decoder gave up");
}

static int
no_context(void *state, const void *opts, void **ret_ctx, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)ret_ctx;
    return gsp_fail(err, GSP_E_NOMEM, 0, "no context");
}

static void
failures_of_a_compressor_are_told(void **state)
{
    (void)state;
    struct gsp_error err;
    struct page_batch b;
    struct gsp_compressor_ops codec = toy_codec_ops;
    const uint8_t *bytes;
    uint8_t byte = 1;
    uint32_t len;
    codec.encode = failing_encode;
    codec.decode = failing_decode;
    ok(page_batch_init(&b, SIZE, &codec, NULL, NULL, &err));
    fill(&b, 5);
    fails(page_batch_frame(&b, &bytes, &len, &err), GSP_E_NOMEM);
    uint32_t at = put_frame(b.enc, 0, 31, 1, &byte);
    fails(page_batch_unframe(&b, at, &len, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "block 31: the decoder gave up"));
    page_batch_free(&b);
    codec.ctx_new = no_context;
    fails(page_batch_init(&b, SIZE, &codec, NULL, NULL, &err), GSP_E_NOMEM);
    page_batch_free(&b);
}

static uint32_t
bound_too_small(uint32_t raw_len)
{
    return raw_len - 1;
}

static uint32_t
bound_too_large(uint32_t raw_len)
{
    (void)raw_len;
    return UINT32_MAX;
}

static void
impossible_shapes_are_refused(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {0, 1, 256, 8191, 8200, 24576, 65536 * 2, UINT32_MAX};
    struct gsp_error err;
    struct page_batch b;
    struct gsp_compressor_ops codec = toy_codec_ops;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        fails(page_batch_init(&b, sizes[i], NULL, NULL, NULL, &err), GSP_E_CORRUPT);
        page_batch_free(&b);
    }
    codec.bound = bound_too_small;
    fails(page_batch_init(&b, SIZE, &codec, NULL, NULL, &err), GSP_E_BUG);
    page_batch_free(&b);
    codec.bound = bound_too_large;
    fails(page_batch_init(&b, SIZE, &codec, NULL, NULL, &err), GSP_E_BUG);
    page_batch_free(&b);
    for (uint32_t size = 512; size <= 65536; size *= 2) {
        ok(page_batch_init(&b, size, &toy_codec_ops, NULL, NULL, &err));
        assert_int_equal(b.cap * size, PAGE_BATCH_BYTES);
        page_batch_free(&b);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_pages_are_read),
        cmocka_unit_test(frames_come_back),
        cmocka_unit_test(verdicts_are_those_of_the_dialect),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(frames_that_do_not_fit_the_window_wait),
        cmocka_unit_test(no_more_pages_than_the_batch_holds),
        cmocka_unit_test(raw_and_compressed_pages_mix),
        cmocka_unit_test(payloads_that_cannot_be_are_named),
        cmocka_unit_test(broken_compressors_are_found_out),
        cmocka_unit_test(failures_of_a_compressor_are_told),
        cmocka_unit_test(impossible_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
