/* SPDX-License-Identifier: Apache-2.0
 * What every compressor owes the core; and, for formats that others read and write too, that they can. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/contract/compressor/reference.h"
#include "tests/contract/plugin_under_test.h"

#define PAGE 8192u
#define HEAD 8u
#define GUARD 64u
#define GUARD_BYTE 0xA5

static struct plugin_under_test subject;

static const struct gsp_compressor_ops *
ops(void)
{
    return subject.plugin->ops;
}

static void *
new_ctx(void)
{
    struct gsp_error err = {0};
    void *ctx = NULL;
    assert_int_equal(ops()->ctx_new(subject.plugin->state, subject.opts, &ctx, &err), 0);
    assert_non_null(ctx);
    return ctx;
}

/* ---- data -------------------------------------------------------------------------------------- */

enum content { ZERO, RANDOM, TEXT, PAGELIKE, PERIOD_3, PERIOD_19, RAMP, SPARSE, N_CONTENTS };

static uint32_t
next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void
fill_pagelike(uint8_t *to, uint32_t len, uint32_t *seed)
{
    memset(to, 0, len);
    for (uint32_t i = 0; i < len / 4; i += 2)
        to[i] = (uint8_t)(next_random(seed) % 7);
    for (uint32_t at = len / 2; at + 32 < len; at += 32) {
        to[at] = (uint8_t)next_random(seed);
        to[at + 1] = (uint8_t)next_random(seed);
        memcpy(to + at + 8, "a row of some table", 19);
    }
}

static void
fill(enum content content, uint8_t *to, uint32_t len, uint32_t seed)
{
    static const char *const words[] = {"select ", "insert into ", "the ", "quick ", "checkpoint ", "of ", "page "};
    memset(to, 0, len);
    if (content == PAGELIKE)
        fill_pagelike(to, len, &seed);
    for (uint32_t i = 0; i < len && content != PAGELIKE;) {
        if (content == TEXT) {
            const char *word = words[next_random(&seed) % 7];
            size_t n = strlen(word) < len - i ? strlen(word) : len - i;
            memcpy(to + i, word, n);
            i += (uint32_t)n;
            continue;
        }
        if (content == RANDOM)
            to[i] = (uint8_t)(next_random(&seed) >> 11);
        else if (content == PERIOD_3 || content == PERIOD_19)
            to[i] = (uint8_t)(i % (content == PERIOD_3 ? 3 : 19) * 37);
        else if (content == RAMP)
            to[i] = (uint8_t)(i / 3);
        else if (content == SPARSE)
            to[i] = i % 500 == 499 ? (uint8_t)next_random(&seed) : 0;
        i++;
    }
}

/* ---- one item, through exactly sized and guarded memory ---------------------------------------- */

struct guarded {
    uint8_t *base, *data;
    uint32_t len;
};

static struct guarded
guarded_new(uint32_t len)
{
    struct guarded g = {malloc(len + 2 * GUARD), NULL, len};
    assert_non_null(g.base);
    memset(g.base, GUARD_BYTE, len + 2 * GUARD);
    g.data = g.base + GUARD;
    return g;
}

static void
guarded_check_and_free(struct guarded *g)
{
    for (uint32_t i = 0; i < GUARD; i++) {
        assert_int_equal(g->base[i], GUARD_BYTE);
        assert_int_equal(g->data[g->len + i], GUARD_BYTE);
    }
    free(g->base);
}

/* Compress one item into a buffer of its own, which the caller frees. */
static uint8_t *
encode_one(void *ctx, const uint8_t *in, uint32_t len, struct gsp_span *ret_span)
{
    struct gsp_error err = {0};
    struct gsp_span span = {0, len, 0};
    struct guarded out = guarded_new(HEAD + ops()->bound(len));
    struct gsp_codec_batch b = {
        .struct_size = sizeof b,
        .n = 1,
        .in = in,
        .in_span = &span,
        .out = out.data,
        .out_cap = out.len,
        .head_room = HEAD,
        .out_span = ret_span,
    };
    assert_int_equal(ops()->encode(ctx, &b, &err), 0);
    assert_int_equal(ret_span->off, HEAD);
    assert_int_equal(b.out_len, HEAD + ret_span->len);
    assert_true(ret_span->len <= len);
    for (uint32_t i = 0; i < HEAD; i++)
        assert_int_equal(out.data[i], GUARD_BYTE);
    uint8_t *copy = malloc(ret_span->len + 1u);
    assert_non_null(copy);
    memcpy(copy, out.data + HEAD, ret_span->len);
    guarded_check_and_free(&out);
    return copy;
}

/* Decompress one item; the result is compared with `want` unless that is NULL. Returns the code. */
static int
decode_one(void *ctx, const uint8_t *in, uint32_t in_len, uint32_t out_len, const uint8_t *want)
{
    struct gsp_error err = {0};
    struct gsp_span in_span = {0, in_len, 0}, out_span = {GUARD, out_len, 0};
    struct guarded out = guarded_new(out_len);
    /* an exact copy of the input, so that a read behind it is seen by a sanitizer */
    uint8_t *exact = malloc(in_len > 0 ? in_len : 1u);
    assert_non_null(exact);
    memcpy(exact, in, in_len);
    struct gsp_codec_batch b = {
        .struct_size = sizeof b,
        .n = 1,
        .in = exact,
        .in_span = &in_span,
        .out = out.base,
        .out_cap = out_len + 2 * GUARD,
        .out_span = &out_span,
        .failed = 99,
    };
    int rc = ops()->decode(ctx, &b, &err);
    assert_int_equal(rc, err.code);
    if (rc == 0 && want != NULL)
        assert_memory_equal(out.data, want, out_len);
    if (rc != 0) {
        assert_int_equal(b.failed, 0);
        assert_true(err.msg[0] != '\0');
    }
    guarded_check_and_free(&out);
    free(exact);
    return rc;
}

static void
round_trip(void *ctx, enum content content, uint32_t len)
{
    uint8_t *raw = malloc(len + 1u);
    assert_non_null(raw);
    fill(content, raw, len, 1 + len);
    struct gsp_span span;
    uint8_t *packed = encode_one(ctx, raw, len, &span);
    if ((span.flags & GSP_SPAN_RAW) != 0) {
        assert_int_equal(span.len, len);
        assert_memory_equal(packed, raw, len);
    } else {
        assert_true(span.len < len);
        assert_int_equal(decode_one(ctx, packed, span.len, len, raw), 0);
    }
    free(packed);
    free(raw);
}

/* ---- the tests --------------------------------------------------------------------------------- */

static void
every_size_comes_back(void **state)
{
    (void)state;
    void *ctx = new_ctx();
    for (int content = 0; content < N_CONTENTS; content++) {
        for (uint32_t len = 1; len <= 600; len++)
            round_trip(ctx, (enum content)content, len);
        for (uint32_t len = 601; len <= PAGE; len += 211)
            round_trip(ctx, (enum content)content, len);
        static const uint32_t special[] = {4095, 4096, 4097, PAGE - 1, PAGE, PAGE + 1, 32768, 65536, 65537, 200000};
        for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
            round_trip(ctx, (enum content)content, special[i]);
    }
    ops()->ctx_free(ctx);
}

static void
what_shrinks_is_shrunk_and_noise_is_raw(void **state)
{
    (void)state;
    uint8_t page[PAGE];
    struct gsp_span span;
    void *ctx = new_ctx();
    for (int content = 0; content < N_CONTENTS; content++) {
        fill((enum content)content, page, PAGE, 7);
        uint8_t *packed = encode_one(ctx, page, PAGE, &span);
        free(packed);
        if (content == RANDOM) {
            assert_int_equal(span.flags, GSP_SPAN_RAW);
        } else {
            assert_int_equal(span.flags, 0);
            assert_true(span.len < PAGE / 2);
        }
    }
    ops()->ctx_free(ctx);
}

/* A batch of whole pages of all kinds, headers between them, and back in one call. */
static void
a_batch_keeps_order_and_head_room(void **state)
{
    (void)state;
    enum { N = 64 };
    struct gsp_error err = {0};
    struct gsp_span in_span[N], packed[N], back[N], to_decode[N];
    uint8_t *raw = malloc(N * PAGE);
    struct guarded out = guarded_new(N * (HEAD + ops()->bound(PAGE)));
    assert_non_null(raw);
    for (uint32_t i = 0; i < N; i++) {
        fill((enum content)(i % N_CONTENTS), raw + i * PAGE, PAGE, i + 1);
        /* given in reverse: an item is where its span says */
        in_span[i] = (struct gsp_span){(N - 1 - i) * PAGE, PAGE, 0};
    }
    struct gsp_codec_batch b = {.struct_size = sizeof b,
        .n = N,
        .in = raw,
        .in_span = in_span,
        .out = out.data,
        .out_cap = out.len,
        .head_room = HEAD,
        .out_span = packed};
    void *ctx = new_ctx();
    assert_int_equal(ops()->encode(ctx, &b, &err), 0);
    uint32_t at = 0, n = 0;
    for (uint32_t i = 0; i < N; i++) {
        assert_int_equal(packed[i].off, at + HEAD);
        at += HEAD + packed[i].len;
        if ((packed[i].flags & GSP_SPAN_RAW) != 0) {
            assert_memory_equal(out.data + packed[i].off, raw + in_span[i].off, PAGE);
            continue;
        }
        to_decode[n] = packed[i];
        back[n++] = in_span[i];
    }
    assert_int_equal(b.out_len, at);
    struct guarded result = guarded_new(N * PAGE);
    struct gsp_codec_batch d = {.struct_size = sizeof d,
        .n = n,
        .in = out.data,
        .in_span = to_decode,
        .out = result.data,
        .out_cap = result.len,
        .out_span = back};
    assert_int_equal(ops()->decode(ctx, &d, &err), 0);
    for (uint32_t i = 0; i < n; i++)
        assert_memory_equal(result.data + back[i].off, raw + back[i].off, PAGE);
    ops()->ctx_free(ctx);
    guarded_check_and_free(&result);
    guarded_check_and_free(&out);
    free(raw);
}

static void
an_empty_batch_is_fine(void **state)
{
    (void)state;
    struct gsp_error err = {0};
    struct gsp_codec_batch b = {.struct_size = sizeof b, .out_len = 5, .head_room = HEAD};
    void *ctx = new_ctx();
    assert_int_equal(ops()->encode(ctx, &b, &err), 0);
    assert_int_equal(b.out_len, 0);
    assert_int_equal(ops()->decode(ctx, &b, &err), 0);
    ops()->ctx_free(ctx);
}

static void
too_little_room_is_a_bug(void **state)
{
    (void)state;
    struct gsp_error err = {0};
    uint8_t page[PAGE];
    fill(RANDOM, page, PAGE, 3);
    struct gsp_span span = {0, PAGE, 0}, out_span;
    struct guarded out = guarded_new(HEAD + ops()->bound(PAGE) - 1);
    struct gsp_codec_batch b = {.struct_size = sizeof b,
        .n = 1,
        .in = page,
        .in_span = &span,
        .out = out.data,
        .out_cap = out.len,
        .head_room = HEAD,
        .out_span = &out_span};
    void *ctx = new_ctx();
    assert_int_equal(ops()->encode(ctx, &b, &err), GSP_E_BUG);
    gsp_error_clear(&err);
    span.off = 0;
    out_span = (struct gsp_span){out.len - 10, 11, 0};
    assert_int_equal(ops()->decode(ctx, &b, &err), GSP_E_BUG);
    ops()->ctx_free(ctx);
    guarded_check_and_free(&out);
}

static void
unknown_flags_are_refused(void **state)
{
    (void)state;
    uint8_t page[PAGE];
    fill(TEXT, page, PAGE, 3);
    void *ctx = new_ctx();
    static const uint32_t flags[] = {GSP_SPAN_RAW, 2, 0x80000000u};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        struct gsp_error err = {0};
        struct gsp_span span = {0, PAGE, flags[i]}, out_span = {0, PAGE, 0};
        struct guarded out = guarded_new(HEAD + ops()->bound(PAGE));
        struct gsp_codec_batch b = {.struct_size = sizeof b,
            .n = 1,
            .in = page,
            .in_span = &span,
            .out = out.data,
            .out_cap = out.len,
            .head_room = HEAD,
            .out_span = &out_span};
        assert_true(ops()->encode(ctx, &b, &err) < 0);
        gsp_error_clear(&err);
        assert_true(ops()->decode(ctx, &b, &err) < 0);
        guarded_check_and_free(&out);
    }
    ops()->ctx_free(ctx);
}

/* ---- hostile input ----------------------------------------------------------------------------- */

static void
truncated_padded_or_mislabelled_items_are_corrupt(void **state)
{
    (void)state;
    uint8_t page[PAGE];
    void *ctx = new_ctx();
    for (int content = 0; content < N_CONTENTS; content++) {
        struct gsp_span span;
        fill((enum content)content, page, PAGE, 11);
        uint8_t *packed = encode_one(ctx, page, PAGE, &span);
        uint32_t step = span.len > 500 ? 7 : 1;
        for (uint32_t len = 0; span.flags == 0 && len < span.len; len += step)
            assert_int_equal(decode_one(ctx, packed, len, PAGE, NULL), GSP_E_CORRUPT);
        packed[span.len] = 0;
        if (span.flags == 0) {
            assert_int_equal(decode_one(ctx, packed, span.len + 1, PAGE, NULL), GSP_E_CORRUPT);
            assert_int_equal(decode_one(ctx, packed, span.len, PAGE - 1, NULL), GSP_E_CORRUPT);
            assert_int_equal(decode_one(ctx, packed, span.len, PAGE + 1, NULL), GSP_E_CORRUPT);
            assert_int_equal(decode_one(ctx, packed, span.len, 1, NULL), GSP_E_CORRUPT);
            /* and the context is none the worse for it */
            assert_int_equal(decode_one(ctx, packed, span.len, PAGE, page), 0);
        }
        free(packed);
    }
    ops()->ctx_free(ctx);
}

static void
flipped_bits_never_leave_the_span(void **state)
{
    (void)state;
    uint8_t page[PAGE];
    void *ctx = new_ctx();
    uint32_t seed = 5;
    for (int content = 0; content < N_CONTENTS; content++) {
        struct gsp_span span;
        fill((enum content)content, page, PAGE, 13);
        uint8_t *packed = encode_one(ctx, page, PAGE, &span);
        for (int i = 0; span.flags == 0 && i < 1500; i++) {
            uint32_t at = next_random(&seed) % span.len;
            uint8_t bit = (uint8_t)(1u << next_random(&seed) % 8);
            packed[at] ^= bit;
            int rc = decode_one(ctx, packed, span.len, PAGE, NULL);
            assert_true(rc == 0 || rc == GSP_E_CORRUPT);
            packed[at] ^= bit;
        }
        free(packed);
    }
    ops()->ctx_free(ctx);
}

static void
garbage_never_leaves_the_span(void **state)
{
    (void)state;
    uint8_t garbage[600];
    void *ctx = new_ctx();
    uint32_t seed = 17;
    for (int i = 0; i < 20000; i++) {
        uint32_t len = next_random(&seed) % sizeof garbage;
        fill(i % 3 == 0 ? SPARSE : RANDOM, garbage, len, next_random(&seed) | 1);
        /* far enough to look like zlib or zstd */
        if (i % 4 == 0 && len > 2)
            memcpy(garbage, "\x78\x01", 2);
        else if (i % 4 == 2 && len > 4)
            memcpy(garbage, "\x28\xb5\x2f\xfd", 4);
        int rc = decode_one(ctx, garbage, len, next_random(&seed) % 2 == 0 ? PAGE : len, NULL);
        assert_true(rc == 0 || rc == GSP_E_CORRUPT);
    }
    ops()->ctx_free(ctx);
}

static void
the_failed_item_is_named(void **state)
{
    (void)state;
    uint8_t page[PAGE];
    struct gsp_error err = {0};
    struct gsp_span span;
    void *ctx = new_ctx();
    fill(PAGELIKE, page, PAGE, 19);
    uint8_t *packed = encode_one(ctx, page, PAGE, &span);
    struct gsp_span in[3] = {{0, span.len, 0}, {0, span.len / 2, 0}, {0, span.len, 0}};
    struct gsp_span out[3] = {{0, PAGE, 0}, {PAGE, PAGE, 0}, {2 * PAGE, PAGE, 0}};
    struct guarded result = guarded_new(3 * PAGE);
    struct gsp_codec_batch b = {.struct_size = sizeof b,
        .n = 3,
        .in = packed,
        .in_span = in,
        .out = result.data,
        .out_cap = result.len,
        .out_span = out,
        .failed = 99};
    assert_int_equal(ops()->decode(ctx, &b, &err), GSP_E_CORRUPT);
    assert_int_equal(b.failed, 1);
    assert_memory_equal(result.data, page, PAGE);
    guarded_check_and_free(&result);
    free(packed);
    ops()->ctx_free(ctx);
}

/* ---- contexts, options, formats ---------------------------------------------------------------- */

static void
an_item_does_not_depend_on_the_ones_before(void **state)
{
    (void)state;
    uint8_t page[PAGE], other[PAGE];
    struct gsp_span first, second;
    void *ctx = new_ctx();
    for (int content = 0; content < N_CONTENTS; content++) {
        fill((enum content)content, page, PAGE, 23);
        void *fresh = new_ctx();
        uint8_t *a = encode_one(fresh, page, PAGE, &first);
        ops()->ctx_free(fresh);
        for (uint32_t i = 0; i < 30; i++) {
            fill((enum content)(i % N_CONTENTS), other, PAGE, i + 1);
            free(encode_one(ctx, other, PAGE - i, &second));
        }
        uint8_t *b = encode_one(ctx, page, PAGE, &second);
        assert_int_equal(first.len, second.len);
        assert_memory_equal(a, b, first.len);
        free(a);
        free(b);
    }
    ops()->ctx_free(ctx);
    ops()->ctx_free(NULL);
}

struct worker {
    uint32_t seed;
    int bad;
};

static void *
work(void *arg)
{
    struct worker *w = arg;
    struct gsp_error err = {0};
    void *ctx = NULL;
    uint8_t page[PAGE], packed[HEAD + 2 * PAGE], back[PAGE];
    w->bad = ops()->ctx_new(subject.plugin->state, subject.opts, &ctx, &err) != 0;
    for (uint32_t i = 0; i < 300 && !w->bad; i++) {
        struct gsp_span in = {0, PAGE, 0}, out = {0, 0, 0};
        fill((enum content)(i % N_CONTENTS), page, PAGE, w->seed + i);
        struct gsp_codec_batch e = {.struct_size = sizeof e,
            .n = 1,
            .in = page,
            .in_span = &in,
            .out = packed,
            .out_cap = sizeof packed,
            .head_room = HEAD,
            .out_span = &out};
        w->bad = ops()->encode(ctx, &e, &err) != 0;
        struct gsp_codec_batch d = {.struct_size = sizeof d,
            .n = 1,
            .in = packed,
            .in_span = &out,
            .out = back,
            .out_cap = PAGE,
            .out_span = &in};
        if (!w->bad && out.flags == 0)
            w->bad = ops()->decode(ctx, &d, &err) != 0 || memcmp(page, back, PAGE) != 0;
    }
    ops()->ctx_free(ctx);
    return NULL;
}

static void
contexts_work_in_parallel(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){i * 1000 + 1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].bad, 0);
    }
}

/* Every level that the option table allows works, and reads what another one wrote. */
static void
every_level_works(void **state)
{
    (void)state;
    const struct gsp_option *level = subject.plugin->desc->options;
    while (level != NULL && level->key != NULL && strcmp(level->key, "level") != 0)
        level++;
    if (level == NULL || level->key == NULL)
        not_applicable("no option level");
    uint8_t page[PAGE];
    void *reader = new_ctx();
    fill(PAGELIKE, page, PAGE, 29);
    for (int64_t value = level->min; value <= level->max; value++) {
        char text[32];
        struct gsp_error err = {0};
        struct gsp_span span;
        void *ctx = NULL;
        (void)snprintf(text, sizeof text, "%lld", (long long)value);
        void *opts = plugin_under_test_bind(&subject, "level", text);
        assert_non_null(opts);
        assert_int_equal(ops()->ctx_new(subject.plugin->state, opts, &ctx, &err), 0);
        uint8_t *packed = encode_one(ctx, page, PAGE, &span);
        /* level 0, where there is one, stores */
        assert_int_equal(span.flags, value == 0 ? GSP_SPAN_RAW : 0);
        if (value > 0)
            assert_int_equal(decode_one(reader, packed, span.len, PAGE, page), 0);
        free(packed);
        packed = encode_one(reader, page, PAGE, &span);
        assert_int_equal(decode_one(ctx, packed, span.len, PAGE, page), 0);
        free(packed);
        ops()->ctx_free(ctx);
        plugin_free_options(opts);
    }
    ops()->ctx_free(reader);
}

static void
others_read_what_it_writes(void **state)
{
    (void)state;
    const struct reference *ref = reference_find(subject.plugin->name);
    if (ref == NULL)
        not_applicable("no second opinion on this format");
    uint8_t page[PAGE], back[PAGE];
    struct gsp_span span;
    void *ctx = new_ctx();
    for (int content = 0; content < N_CONTENTS; content++)
        for (uint32_t len = 1; len <= PAGE; len = len < 400 ? len + 1 : len + 433) {
            fill((enum content)content, page, len, len);
            uint8_t *packed = encode_one(ctx, page, len, &span);
            if (span.flags == 0) {
                assert_true(ref->decode(packed, span.len, back, len));
                assert_memory_equal(back, page, len);
            }
            free(packed);
        }
    ops()->ctx_free(ctx);
}

static void
it_reads_what_others_write(void **state)
{
    (void)state;
    const struct reference *ref = reference_find(subject.plugin->name);
    if (ref == NULL)
        not_applicable("no second opinion on this format");
    uint8_t page[PAGE], packed[2 * PAGE];
    void *ctx = new_ctx();
    static const uint32_t sizes[] = {1, 2, 3, 4, 17, 18, 19, 273, 274, 300, 1000, 2500};
    for (int content = 0; content < N_CONTENTS; content++)
        for (int variant = 0; variant < ref->variants; variant++)
            for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                fill((enum content)content, page, sizes[i], 31 + sizes[i]);
                uint32_t len = ref->encode(variant, page, sizes[i], packed, sizeof packed);
                assert_true(len > 0);
                assert_int_equal(decode_one(ctx, packed, len, sizes[i], page), 0);
            }
    ops()->ctx_free(ctx);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_comes_back),
        cmocka_unit_test(what_shrinks_is_shrunk_and_noise_is_raw),
        cmocka_unit_test(a_batch_keeps_order_and_head_room),
        cmocka_unit_test(an_empty_batch_is_fine),
        cmocka_unit_test(too_little_room_is_a_bug),
        cmocka_unit_test(unknown_flags_are_refused),
        cmocka_unit_test(truncated_padded_or_mislabelled_items_are_corrupt),
        cmocka_unit_test(flipped_bits_never_leave_the_span),
        cmocka_unit_test(garbage_never_leaves_the_span),
        cmocka_unit_test(the_failed_item_is_named),
        cmocka_unit_test(an_item_does_not_depend_on_the_ones_before),
        cmocka_unit_test(contexts_work_in_parallel),
        cmocka_unit_test(every_level_works),
        cmocka_unit_test(others_read_what_it_writes),
        cmocka_unit_test(it_reads_what_others_write),
    };
    if (plugin_under_test_open(&subject, GSP_KIND_COMPRESSOR, argc > 1 ? argv[1] : NULL) != 0)
        return 1;
    int failed = cmocka_run_group_tests_name("compressor", tests, NULL, NULL);
    plugin_under_test_close(&subject);
    return failed;
}
