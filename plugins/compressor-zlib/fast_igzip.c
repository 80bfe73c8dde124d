/* SPDX-License-Identifier: Apache-2.0
 * Level 1 by igzip. Its level 1 counts the symbols of every page and makes Huffman codes for them, which is a
 * third of its time; its level 0 takes codes that are ready. Pages of one relation are alike, so codes made from a
 * few pages of a batch fit the others: level 0 with them is as small, and up to twice as fast. Where they do not
 * fit (pages that shrink to almost nothing pay for the longer code table), two trial pages show it, and the batch
 * is encoded by level 1. Figures: README.md. */
#include "fast.h"

#include <stdlib.h>
#include <string.h>

#include <isa-l/igzip_lib.h>

enum {
    SHARED_MIN = 16,      /* items that must share the codes before it pays to make them */
    COUNTED = 8,          /* items the codes are made from */
    TRIED = 2,            /* items encoded both ways */
    TOLERATED_PERCENT = 2 /* how much larger they may be with shared codes */
};

struct fast {
    struct isal_zstream stream;
    struct isal_huff_histogram histogram;
    struct isal_hufftables shared;
    int use_shared;
    uint8_t level1[ISAL_DEF_LVL1_DEFAULT];
};

int
fast_new(struct fast **ret)
{
    *ret = calloc(1, sizeof **ret);
    return *ret != NULL ? 1 : -1;
}

void
fast_free(struct fast *f)
{
    free(f);
}

/* The library's pointers are not const, but it only reads what it compresses. */
static uint8_t *
input(const uint8_t *in)
{
    return (uint8_t *)(uintptr_t)in;
}

uint32_t
fast_encode(struct fast *f, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    struct isal_zstream *z = &f->stream;
    isal_deflate_stateless_init(z);
    if (f->use_shared) {
        z->hufftables = &f->shared;
    } else {
        z->level = 1;
        z->level_buf = f->level1;
        z->level_buf_size = sizeof f->level1;
    }
    z->gzip_flag = IGZIP_ZLIB;
    z->end_of_stream = 1;
    z->flush = NO_FLUSH;
    z->next_in = input(in);
    z->avail_in = in_len;
    z->next_out = out;
    z->avail_out = cap;
    return isal_deflate_stateless(z) == COMP_OK && z->avail_in == 0 ? z->total_out : 0;
}

/* The trial writes where the batch will be written over it. */
static uint64_t
try_items(struct fast *f, const struct gsp_codec_batch *b, int use_shared)
{
    uint64_t bytes = 0;
    f->use_shared = use_shared;
    for (uint32_t i = 0; i < TRIED; i++) {
        const struct gsp_span *item = &b->in_span[b->n * (2 * i + 1) / (2 * TRIED)];
        uint32_t len = fast_encode(f, b->in + item->off, item->len, b->out, b->out_cap);
        bytes += len > 0 && len < item->len ? len : item->len;
    }
    return bytes;
}

void
fast_prepare(struct fast *f, const struct gsp_codec_batch *b)
{
    f->use_shared = 0;
    if (b->n < SHARED_MIN)
        return;
    memset(&f->histogram, 0, sizeof f->histogram);
    for (uint32_t i = 0; i < COUNTED; i++) {
        const struct gsp_span *item = &b->in_span[b->n * i / COUNTED];
        isal_update_histogram(input(b->in + item->off), (int)item->len, &f->histogram);
    }
    /* Every symbol gets a code, also one that was not counted. */
    if (isal_create_hufftables(&f->shared, &f->histogram) != 0)
        return;
    uint64_t shared = try_items(f, b, 1), own = try_items(f, b, 0);
    f->use_shared = shared * 100 <= own * (100 + TOLERATED_PERCENT);
}
