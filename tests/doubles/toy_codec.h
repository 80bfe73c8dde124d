/* SPDX-License-Identifier: Apache-2.0
 * Test double: a compressor that drops the zeros at the end of an item and scrambles the rest, so that
 * a compressed item never looks like a raw one. Keeps the contract of gsp/compressor.h. */
#ifndef DOUBLES_TOY_CODEC_H
#define DOUBLES_TOY_CODEC_H

#include <stdlib.h>

#include "gsp/compressor.h"

enum { TOY_SCRAMBLE = 0x5A };

static inline uint32_t
toy_bound(uint32_t raw_len)
{
    return raw_len;
}

static inline int
toy_ctx_new(void *state, const void *opts, void **ret_ctx, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    *ret_ctx = malloc(1); /* a context that is not freed is noticed */
    return *ret_ctx != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static inline void
toy_ctx_free(void *ctx)
{
    free(ctx);
}

static inline int
toy_encode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    uint32_t at = 0;
    (void)ctx;
    for (uint32_t i = 0; i < b->n; i++) {
        const uint8_t *raw = b->in + b->in_span[i].off;
        uint32_t len = b->in_span[i].len, keep = len;
        while (keep > 1 && raw[keep - 1] == 0)
            keep--;
        struct gsp_span span = {.off = at + b->head_room, .len = keep, .flags = keep == len ? GSP_SPAN_RAW : 0};
        if (span.off + keep > b->out_cap)
            return gsp_fail(err, GSP_E_BUG, 0, "no room for item %u", i);
        for (uint32_t k = 0; k < keep; k++)
            b->out[span.off + k] = keep == len ? raw[k] : raw[k] ^ TOY_SCRAMBLE;
        b->out_span[i] = span;
        at = span.off + keep;
    }
    b->out_len = at;
    return 0;
}

static inline int
toy_decode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    (void)ctx;
    for (uint32_t i = 0; i < b->n; i++) {
        struct gsp_span in = b->in_span[i], out = b->out_span[i];
        const uint8_t *from = b->in + in.off;
        if (in.len >= out.len || (in.len > 1 && from[in.len - 1] == TOY_SCRAMBLE)) {
            b->failed = i;
            return gsp_fail(err, GSP_E_CORRUPT, 0, "not the work of the toy compressor");
        }
        for (uint32_t k = 0; k < in.len; k++)
            b->out[out.off + k] = from[k] ^ TOY_SCRAMBLE;
        memset(b->out + out.off + in.len, 0, out.len - in.len);
    }
    return 0;
}

static const struct gsp_compressor_ops toy_codec_ops = {.struct_size = sizeof toy_codec_ops,
    .bound = toy_bound,
    .ctx_new = toy_ctx_new,
    .ctx_free = toy_ctx_free,
    .encode = toy_encode,
    .decode = toy_decode};

/* As a plugin, for registry_add. */
static const struct gsp_plugin toy_codec_plugin = {.struct_size = sizeof toy_codec_plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_COMPRESSOR,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "toy",
    .version = "1",
    .summary = "test double: drops the zeros at the end of a page",
    .ops = &toy_codec_ops};

#endif
