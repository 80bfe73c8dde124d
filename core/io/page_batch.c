/* SPDX-License-Identifier: Apache-2.0 */
#include "core/io/page_batch.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"

enum { IO_ALIGN = 4096 };

static void *
aligned_buffer(size_t bytes)
{
    return aligned_alloc(IO_ALIGN, (bytes + IO_ALIGN - 1) / IO_ALIGN * IO_ALIGN);
}

int
page_batch_init(struct page_batch *b, uint32_t page_size, const struct gsp_compressor_ops *codec, void *codec_state,
    const void *codec_opts, struct gsp_error *err)
{
    memset(b, 0, sizeof *b);
    /* A power of two: the pages of a batch are then exactly PAGE_BATCH_BYTES, which the copy of other files uses. */
    if (page_size < 512 || page_size > 65536 || (page_size & (page_size - 1)) != 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "page size %u is impossible", page_size);
    b->page_size = page_size;
    b->stride = page_size + PAGE_FRAME_BYTES;
    b->cap = PAGE_BATCH_BYTES / page_size;
    uint32_t bound = codec != NULL ? codec->bound(page_size) : page_size;
    if (bound < page_size || bound > 4 * page_size)
        return gsp_fail(err, GSP_E_BUG, 0, "compressor states an impossible bound of %u bytes", bound);
    b->enc_cap = b->cap * (bound + PAGE_FRAME_BYTES);
    b->raw = aligned_buffer((size_t)b->cap * b->stride);
    b->enc = aligned_buffer(b->enc_cap);
    b->iov = calloc(b->cap, sizeof *b->iov);
    b->block = calloc(b->cap, sizeof *b->block);
    b->lsn = calloc(b->cap, sizeof *b->lsn);
    b->sum = calloc(b->cap, sizeof *b->sum);
    b->stored_sum = calloc(b->cap, sizeof *b->stored_sum);
    b->state = calloc(b->cap, sizeof *b->state);
    b->in_span = calloc(b->cap, sizeof *b->in_span);
    b->out_span = calloc(b->cap, sizeof *b->out_span);
    if (b->raw == NULL || b->enc == NULL || b->iov == NULL || b->block == NULL || b->lsn == NULL || b->sum == NULL ||
        b->stored_sum == NULL || b->state == NULL || b->in_span == NULL || b->out_span == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (uint32_t i = 0; i < b->cap; i++)
        b->in_span[i] = (struct gsp_span){.off = i * b->stride + PAGE_FRAME_BYTES, .len = page_size};
    b->codec = codec;
    return codec != NULL ? codec->ctx_new(codec_state, codec_opts, &b->ctx, err) : 0;
}

void
page_batch_free(struct page_batch *b)
{
    if (b->codec != NULL)
        b->codec->ctx_free(b->ctx);
    free(b->raw);
    free(b->enc);
    free(b->iov);
    free(b->block);
    free(b->lsn);
    free(b->sum);
    free(b->stored_sum);
    free(b->state);
    free(b->in_span);
    free(b->out_span);
    memset(b, 0, sizeof *b);
}

void
page_batch_reset(struct page_batch *b)
{
    b->n = 0;
    b->data = page_batch_page(b, 0);
}

int
page_batch_add(struct page_batch *b, struct store_file *f, uint32_t first, uint32_t want, struct gsp_error *err)
{
    const struct gsp_limits *limits = &f->store->limits;
    uint32_t per_call = limits->io_max / b->page_size, done = 0;
    if (per_call > limits->iov_max)
        per_call = limits->iov_max;
    if (want > b->cap - b->n)
        want = b->cap - b->n;
    while (done < want) {
        uint32_t part = want - done < per_call ? want - done : per_call;
        for (uint32_t i = 0; i < part; i++)
            b->iov[i] = (struct iovec){.iov_base = page_batch_page(b, b->n + i), .iov_len = b->page_size};
        int64_t got = store_file_preadv(f, b->iov, part, (uint64_t)(first + done) * b->page_size, err);
        if (got < 0)
            return (int)got;
        uint32_t pages = (uint32_t)(got / b->page_size);
        for (uint32_t i = 0; i < pages; i++)
            b->block[b->n + i] = first + done + i;
        b->n += pages;
        done += pages;
        if (pages == 0)
            break;
    }
    return 0;
}

int
page_batch_read(struct page_batch *b, struct store_file *f, uint32_t first, uint32_t want, struct gsp_error *err)
{
    page_batch_reset(b);
    return page_batch_add(b, f, first, want, err);
}

void
page_batch_move(struct page_batch *b, uint32_t from, uint32_t to)
{
    if (from == to)
        return;
    memcpy(page_batch_page(b, to), page_batch_page(b, from), b->page_size);
    b->block[to] = b->block[from];
    b->lsn[to] = b->lsn[from];
    b->sum[to] = b->sum[from];
    b->stored_sum[to] = b->stored_sum[from];
    b->state[to] = b->state[from];
}

void
page_batch_check(
    struct page_batch *b, const struct gsp_dialect_ops *dialect, const struct gsp_cluster *cluster, uint64_t base_block)
{
    struct gsp_pages pages = {.struct_size = sizeof pages,
        .n = b->n,
        .page_size = b->page_size,
        .stride = b->stride,
        .base_block = base_block,
        .data = b->data,
        .block = b->block,
        .lsn = b->lsn,
        .sum = b->sum,
        .stored_sum = b->stored_sum,
        .state = b->state};
    dialect->pages_check(cluster, &pages);
}

int
page_batch_frame(struct page_batch *b, const uint8_t **ret, uint32_t *ret_len, struct gsp_error *err)
{
    uint8_t *out = b->raw;
    uint32_t len = b->n * b->stride;
    if (b->codec != NULL) {
        struct gsp_codec_batch batch = {.struct_size = sizeof batch,
            .n = b->n,
            .in = b->raw,
            .in_span = b->in_span,
            .out = b->enc,
            .out_cap = b->enc_cap,
            .head_room = PAGE_FRAME_BYTES,
            .out_span = b->out_span};
        int rc = b->codec->encode(b->ctx, &batch, err);
        if (rc != 0)
            return rc;
        out = b->enc;
        len = batch.out_len;
    } else {
        memcpy(b->out_span, b->in_span, b->n * sizeof *b->out_span);
    }
    /* Spans come from a plugin: they must be the gapless row that the format is. */
    uint32_t at = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct gsp_span *span = &b->out_span[i];
        /* A stored length of a whole page means raw to every reader. */
        int is_raw = b->codec == NULL || (span->flags & GSP_SPAN_RAW) != 0;
        if (span->off != at + PAGE_FRAME_BYTES || span->len == 0 || span->len > b->page_size ||
            is_raw != (span->len == b->page_size) || len - at < PAGE_FRAME_BYTES + span->len)
            return gsp_fail(err, GSP_E_BUG, 0, "compressor broke its contract for item %u of a batch", i);
        store_le32(out + at, b->block[i]);
        store_le32(out + at + 4, span->len);
        at += PAGE_FRAME_BYTES + span->len;
    }
    if (at != len || len > b->enc_cap + b->cap * b->stride)
        return gsp_fail(err, GSP_E_BUG, 0, "compressor states %u bytes for a batch of %u", len, at);
    *ret = out;
    *ret_len = len;
    return 0;
}

/* Split enc into frames. Returns how many pages are compressed, or a code. */
static int
find_frames(struct page_batch *b, uint32_t len, uint32_t *ret_used, struct gsp_error *err)
{
    uint32_t at = 0;
    int compressed = 0;
    for (b->n = 0; b->n < b->cap && len - at >= PAGE_FRAME_BYTES; b->n++) {
        uint32_t block = load_le32(b->enc + at), size = load_le32(b->enc + at + 4);
        if (size == 0 || size > b->page_size)
            return gsp_fail(
                err, GSP_E_CORRUPT, 0, "the header of block %u states a size of %d bytes", block, (int32_t)size);
        if (len - at - PAGE_FRAME_BYTES < size)
            break;
        b->block[b->n] = block;
        b->out_span[b->n] = (struct gsp_span){.off = at + PAGE_FRAME_BYTES, .len = size};
        compressed += size < b->page_size;
        at += PAGE_FRAME_BYTES + size;
    }
    *ret_used = at;
    return compressed;
}

/* Decode runs of compressed pages, copy the others, all into raw. */
static int
expand_frames(struct page_batch *b, struct gsp_error *err)
{
    for (uint32_t i = 0; i < b->n;) {
        if (b->out_span[i].len == b->page_size) {
            memcpy(page_batch_page(b, i), b->enc + b->out_span[i].off, b->page_size);
            i++;
            continue;
        }
        uint32_t run = 1;
        while (i + run < b->n && b->out_span[i + run].len < b->page_size)
            run++;
        struct gsp_codec_batch batch = {.struct_size = sizeof batch,
            .n = run,
            .in = b->enc,
            .in_span = &b->out_span[i],
            .out = b->raw,
            .out_cap = b->cap * b->stride,
            .out_span = &b->in_span[i]};
        int rc = b->codec->decode(b->ctx, &batch, err);
        if (rc != 0)
            return gsp_prefix(err, "block %u", b->block[i + (batch.failed < run ? batch.failed : 0)]);
        i += run;
    }
    return 0;
}

int
page_batch_unframe(struct page_batch *b, uint32_t len, uint32_t *ret_used, struct gsp_error *err)
{
    int compressed = find_frames(b, len, ret_used, err);
    if (compressed < 0)
        return compressed;
    if (compressed == 0) {
        b->data = b->enc + PAGE_FRAME_BYTES;
        return 0;
    }
    if (b->codec == NULL) {
        uint32_t i = 0;
        while (b->out_span[i].len == b->page_size)
            i++;
        return gsp_fail(
            err, GSP_E_CORRUPT, 0, "block %u is compressed in a file that is listed as uncompressed", b->block[i]);
    }
    b->data = page_batch_page(b, 0);
    return expand_frames(b, err);
}
