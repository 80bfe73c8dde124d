/* SPDX-License-Identifier: Apache-2.0
 *
 * gsp/compressor_items.h - encode and decode of kind "compressor" for a plugin that treats each item of a
 * batch by itself: the plugin brings two functions on plain bytes, these walk the batch.
 *
 * thread  as the operations they are called from
 */
#ifndef GSP_COMPRESSOR_ITEMS_H
#define GSP_COMPRESSOR_ITEMS_H

#include "gsp/compressor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Compress in_len > 0 bytes into cap = bound(in_len) bytes. Returns the bytes made; 0, or in_len and more, stands for
 * an item that is to be stored as it is. */
typedef uint32_t (*gsp_encode_item)(void *ctx, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap);

/* Decompress hostile bytes into exactly out_len bytes. Returns 1, or 0 when they are anything else. */
typedef int (*gsp_decode_item)(void *ctx, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len);

/* gsp_encode_items - the operation encode. bound: the plugin's own. errors BUG */
static inline int
gsp_encode_items(
    void *ctx, struct gsp_codec_batch *b, uint32_t (*bound)(uint32_t), gsp_encode_item encode, struct gsp_error *err)
{
    uint64_t need = 0;
    uint32_t i, at = 0;
    for (i = 0; i < b->n; i++) {
        if (b->in_span[i].flags != 0)
            return gsp_fail(err, GSP_E_BUG, 0, "item %u to compress has flags 0x%x", i, b->in_span[i].flags);
        need += (uint64_t)b->head_room + bound(b->in_span[i].len);
    }
    if (need > b->out_cap)
        return gsp_fail(err, GSP_E_BUG, 0, "%u items may need %llu bytes, there are %u", b->n, (unsigned long long)need,
            b->out_cap);
    for (i = 0; i < b->n; i++) {
        const uint8_t *in = b->in + b->in_span[i].off;
        uint32_t len = b->in_span[i].len;
        struct gsp_span *out = &b->out_span[i];
        out->off = at + b->head_room;
        out->flags = 0;
        out->len = len > 0 ? encode(ctx, in, len, b->out + out->off, bound(len)) : 0;
        if (out->len == 0 || out->len >= len) {
            if (len > 0)
                memcpy(b->out + out->off, in, len);
            out->len = len;
            out->flags = GSP_SPAN_RAW;
        }
        at = out->off + out->len;
    }
    b->out_len = at;
    return 0;
}

/* gsp_decode_items - the operation decode. format: as people know it, for the message. errors BUG CORRUPT */
static inline int
gsp_decode_items(
    void *ctx, struct gsp_codec_batch *b, const char *format, gsp_decode_item decode, struct gsp_error *err)
{
    for (uint32_t i = 0; i < b->n; i++) {
        const struct gsp_span *in = &b->in_span[i], *out = &b->out_span[i];
        if (in->flags != 0 || (uint64_t)out->off + out->len > b->out_cap) {
            b->failed = i;
            return gsp_fail(err, GSP_E_BUG, 0, "item %u to decompress has flags 0x%x or does not fit", i, in->flags);
        }
        if (!decode(ctx, b->in + in->off, in->len, b->out + out->off, out->len)) {
            b->failed = i;
            return gsp_fail(
                err, GSP_E_CORRUPT, 0, "%u bytes of %s data do not decompress to %u bytes", in->len, format, out->len);
        }
    }
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
