/* SPDX-License-Identifier: Apache-2.0
 * Compressors: any bytes decode to exactly the length that was claimed or are refused, nothing outside is touched; what
 * was encoded comes back. Input: which (1 byte), claimed length (2), then the stream or the page. */
#include <zlib.h>

#include "core/base/bytes.h"
#include "gsp/compressor.h"
#include "tests/fuzz/fuzz.h"

enum { PREFIX_BYTES = 3, CLAIM_MAX = 65536, MARGIN = 64, CANARY = 0xA5, HEAD_ROOM = 8 };

struct subject {
    const struct gsp_compressor_ops *ops;
    void *ctx;
};

enum { ZLIB, PGLZ, ZLIB_6, LZ4, ZSTD, SUBJECTS };

static const struct gsp_plugin *
entry(int which)
{
    switch (which) {
    case PGLZ:
        return compressor_pglz_entry();
#ifdef WITH_COMPRESSOR_LZ4
    case LZ4:
        return compressor_lz4_entry();
#endif
#ifdef WITH_COMPRESSOR_ZSTD
    case ZSTD:
        return compressor_zstd_entry();
#endif
    case ZLIB:
    case ZLIB_6:
        return compressor_zlib_entry();
    default:
        return NULL;
    }
}

/* A context lives as long as its worker does. NULL: the library of this compressor is not here. */
static struct subject *
subject(int which)
{
    static struct subject subjects[SUBJECTS];
    static const int64_t levels[SUBJECTS] = {[ZLIB] = 1, [ZLIB_6] = 6, [ZSTD] = 1}; /* the options */
    struct subject *s = &subjects[which];
    if (s->ctx == NULL && entry(which) != NULL) {
        struct gsp_error err = {0};
        s->ops = entry(which)->ops;
        must(s->ops->ctx_new(NULL, &levels[which], &s->ctx, &err) == 0);
    }
    return s->ctx != NULL ? s : NULL;
}

static void
check_canary(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        must(p[i] == CANARY);
}

/* What zlib itself makes of a stream: a strange one it may refuse, one of ours it has to read. */
static void
compare_with_zlib(const uint8_t *in, size_t len, const uint8_t *got, size_t claim, int is_ours)
{
    uint8_t *raw = malloc(claim + 1);
    uLongf raw_len = claim + 1;
    must(raw != NULL);
    if (uncompress(raw, &raw_len, in, len) == Z_OK)
        must(raw_len == claim && memcmp(raw, got, claim) == 0);
    else
        must(!is_ours);
    free(raw);
}

static void
decode(int which, struct subject *s, const uint8_t *in, size_t len, uint32_t claim)
{
    struct gsp_error err = {0};
    uint8_t *out = malloc(claim + 2 * MARGIN);
    must(out != NULL);
    memset(out, CANARY, claim + 2 * MARGIN);
    struct gsp_span from = {.off = 0, .len = (uint32_t)len}, to = {.off = MARGIN, .len = claim};
    struct gsp_codec_batch b = {.struct_size = sizeof b,
        .n = 1,
        .in = in,
        .in_span = &from,
        .out = out,
        .out_cap = claim + 2 * MARGIN,
        .out_span = &to};
    int rc = s->ops->decode(s->ctx, &b, &err);
    must(rc == err.code && (rc == 0 || (rc == GSP_E_CORRUPT && b.failed == 0)));
    check_canary(out, MARGIN);
    check_canary(out + MARGIN + claim, MARGIN);
    if (rc == 0 && (which == ZLIB || which == ZLIB_6))
        compare_with_zlib(in, len, out + MARGIN, claim, 0);
    free(out);
}

/* Two items of one batch, there and back. */
static void
round_trip(int which, struct subject *s, const uint8_t *in, size_t len, uint32_t first)
{
    struct gsp_error err = {0};
    uint32_t half = first < len ? first : (uint32_t)len;
    struct gsp_span raw[2] = {{.off = 0, .len = half}, {.off = half, .len = (uint32_t)len - half}}, enc[2];
    uint32_t cap = 2 * HEAD_ROOM + s->ops->bound(raw[0].len) + s->ops->bound(raw[1].len);
    uint8_t *out = malloc(cap), *back = malloc(len + 1);
    must(out != NULL && back != NULL);
    struct gsp_codec_batch b = {.struct_size = sizeof b,
        .n = 2,
        .in = in,
        .in_span = raw,
        .out = out,
        .out_cap = cap,
        .head_room = HEAD_ROOM,
        .out_span = enc};
    must(s->ops->encode(s->ctx, &b, &err) == 0 && b.out_len <= cap);
    for (int i = 0; i < 2; i++) {
        if (enc[i].flags & GSP_SPAN_RAW) {
            must(enc[i].len == raw[i].len && memcmp(out + enc[i].off, in + raw[i].off, raw[i].len) == 0);
            continue;
        }
        must(enc[i].len < raw[i].len);
        if (which == ZLIB || which == ZLIB_6)
            compare_with_zlib(out + enc[i].off, enc[i].len, in + raw[i].off, raw[i].len, 1);
        struct gsp_codec_batch again = {.struct_size = sizeof again,
            .n = 1,
            .in = out,
            .in_span = &enc[i],
            .out = back,
            .out_cap = (uint32_t)len,
            .out_span = &raw[i]};
        must(s->ops->decode(s->ctx, &again, &err) == 0);
        must(memcmp(back + raw[i].off, in + raw[i].off, raw[i].len) == 0);
    }
    free(out);
    free(back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < PREFIX_BYTES || size - PREFIX_BYTES > CLAIM_MAX)
        return 0;
    uint32_t claim = load_le16(data + 1);
    int which = data[0] & 1 ? PGLZ : data[0] & 4 ? ZLIB_6 : data[0] & 8 ? LZ4 : data[0] & 16 ? ZSTD : ZLIB;
    struct subject *s = subject(which);
    if (s == NULL)
        return 0;
    if (data[0] & 2)
        round_trip(which, s, data + PREFIX_BYTES, size - PREFIX_BYTES, claim);
    else
        decode(which, s, data + PREFIX_BYTES, size - PREFIX_BYTES, claim);
    return 0;
}
