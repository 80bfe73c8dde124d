/* SPDX-License-Identifier: Apache-2.0
 * The page batch: one worker's buffers for up to 1 MiB of pages on their way between a data file and a
 * stored file. All memory is taken once; nothing is allocated per batch or file.
 *
 * A stored data file is a row of [u32 block][i32 size][payload]. Raw pages lie in `raw` with room for
 * that 8-byte header before each one, so that uncompressed pages are read straight into the bytes of
 * the stored file and written from there in one piece. thread  one worker */
#ifndef IO_PAGE_BATCH_H
#define IO_PAGE_BATCH_H

#include "core/io/store.h"
#include "gsp/compressor.h"
#include "gsp/server.h"

enum {
    PAGE_FRAME_BYTES = 8,          /* the header before each stored page */
    PAGE_BATCH_BYTES = 1024 * 1024 /* raw pages per batch */
};

struct page_batch {
    uint32_t page_size, cap; /* pages */
    uint32_t n;              /* pages in the batch */
    uint32_t stride;         /* page_size + PAGE_FRAME_BYTES */
    uint8_t *raw;            /* cap * stride; page i at raw + i * stride + PAGE_FRAME_BYTES */
    const uint8_t *data;     /* page 0 of the n pages: in raw, or in enc when they lie there uncompressed */
    uint8_t *enc;            /* compressed frames, or a window of the stored file */
    uint32_t enc_cap;
    struct iovec *iov; /* cap entries */
    uint32_t *block;
    gsp_lsn *lsn;
    uint16_t *sum, *stored_sum;
    uint8_t *state;
    struct gsp_span *in_span, *out_span;
    const struct gsp_compressor_ops *codec; /* NULL = none */
    void *ctx;
};

/* page_batch_init - codec_plugin_state and opts belong to the codec; codec NULL = no compression.
 * Free with page_batch_free, also after a failure. */
int page_batch_init(struct page_batch *b, uint32_t page_size, const struct gsp_compressor_ops *codec, void *codec_state,
    const void *codec_opts, struct gsp_error *err);
void page_batch_free(struct page_batch *b);

static inline uint8_t *
page_batch_page(const struct page_batch *b, uint32_t i)
{
    return b->raw + (size_t)i * b->stride + PAGE_FRAME_BYTES;
}

/* page_batch_read - blocks first.. of a data file, at most `want`. Sets data, and n to the whole pages read (0 at
 * the end; a partial page at the end does not count) and numbers block[]. */
int page_batch_read(struct page_batch *b, struct store_file *f, uint32_t first, uint32_t want, struct gsp_error *err);

/* page_batch_reset, page_batch_add - the same for blocks that are not all neighbours: runs of them, one after the other
 * into one batch, as far as it has room. */
void page_batch_reset(struct page_batch *b);
int page_batch_add(struct page_batch *b, struct store_file *f, uint32_t first, uint32_t want, struct gsp_error *err);
/* page_batch_move - page `from` with its verdict takes the place of page `to` <= from, of a batch that was read. */
void page_batch_move(struct page_batch *b, uint32_t from, uint32_t to);

/* page_batch_check - verdicts of the dialect for all n pages. */
void page_batch_check(struct page_batch *b, const struct gsp_dialect_ops *dialect, const struct gsp_cluster *cluster,
    uint64_t base_block);

/* page_batch_frame - turn the n pages into the bytes of a stored file. out ret, ret_len: borrowed until
 * the next batch; out_span[i].off of frame i's payload within ret. */
int page_batch_frame(struct page_batch *b, const uint8_t **ret, uint32_t *ret_len, struct gsp_error *err);

/* page_batch_unframe - the way back: pages of the whole frames among the first `len` bytes of enc, at most
 * cap. Sets n, block[], data and out_span[i] (of frame i's payload in enc). ret_used: bytes of those frames.
 * errors CORRUPT for an impossible frame or payload */
int page_batch_unframe(struct page_batch *b, uint32_t len, uint32_t *ret_used, struct gsp_error *err);

#endif
