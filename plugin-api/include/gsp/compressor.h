/* SPDX-License-Identifier: Apache-2.0
 *
 * gsp/compressor.h - kind "compressor": shrink and grow one batch of pages.
 *
 * Every item of a batch is compressed on its own, in the format that its name stands for in a backup
 * catalog (`compress-alg`). The caller owns all memory; nothing is allocated per batch.
 *
 * thread  HANDLE: one context per worker, reused for the whole run
 * Required: bound ctx_new ctx_free encode decode.
 */
#ifndef GSP_COMPRESSOR_H
#define GSP_COMPRESSOR_H

#include "gsp/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GSP_SPAN_RAW 1u /* flag: stored as it was, because it did not shrink */

struct gsp_span {
    uint32_t off;   /* bytes from the start of its buffer */
    uint32_t len;   /* bytes */
    uint32_t flags; /* GSP_SPAN_* */
};

struct gsp_codec_batch {
    uint32_t struct_size;
    uint32_t n;                     /* items */
    const uint8_t *in;              /* borrowed */
    const struct gsp_span *in_span; /* n items inside `in` */
    uint8_t *out;                   /* caller's */
    uint32_t out_cap;               /* bytes of out */
    uint32_t head_room;             /* encode: bytes left free before each item, for the caller's header */
    struct gsp_span *out_span;      /* n items inside `out` */
    uint32_t out_len;               /* encode, result: bytes used in out, headers included */
    uint32_t failed;                /* decode, result of an error: index of the item */
};

struct gsp_compressor_ops {
    uint32_t struct_size;
    uint32_t reserved;

    /* bound - the most bytes one item of raw_len can take, without head_room. Pure. thread ANY */
    uint32_t (*bound)(uint32_t raw_len);

    /* ctx_new - a context for one worker. opts: the bound options struct. errors CONFIG NOMEM */
    int (*ctx_new)(void *state, const void *opts, void **ret_ctx, struct gsp_error *err);
    void (*ctx_free)(void *ctx);

    /* encode - compress n items one behind the other: head_room free bytes, then the item.
     * in     in, in_span; out_cap >= n * (head_room + bound(len))
     * out    out_span[i].off is where the item (not its head room) starts; out_len
     *        an item that does not get smaller is copied and flagged GSP_SPAN_RAW, with its raw length
     * errors BUG when out_cap is too small      cost no allocation, no I/O */
    int (*encode)(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err);

    /* decode - grow n items. Input is hostile: any bytes give exactly out_span[i].len bytes at
     * out_span[i].off, or CORRUPT with `failed` set; never a write outside the span.
     * in     in, in_span (RAW items are not given), out_span (places and exact raw lengths) */
    int (*decode)(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
