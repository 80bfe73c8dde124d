/* SPDX-License-Identifier: Apache-2.0 */
#include "backend.h"

#include <stdlib.h>

#define ZLIB_CONST
#include <zlib.h>

struct backend {
    z_stream deflate, inflate;
};

struct backend *
backend_new(int level)
{
    struct backend *b = calloc(1, sizeof *b);
    if (b != NULL && deflateInit(&b->deflate, level) == Z_OK && inflateInit(&b->inflate) == Z_OK)
        return b;
    backend_free(b);
    return NULL;
}

/* Both End functions accept a stream that was never begun. */
void
backend_free(struct backend *b)
{
    if (b == NULL)
        return;
    (void)deflateEnd(&b->deflate);
    (void)inflateEnd(&b->inflate);
    free(b);
}

uint32_t
backend_encode(struct backend *b, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    z_stream *z = &b->deflate;
    (void)deflateReset(z);
    z->next_in = in;
    z->avail_in = in_len;
    z->next_out = out;
    z->avail_out = cap;
    return deflate(z, Z_FINISH) == Z_STREAM_END ? cap - z->avail_out : 0;
}

int
backend_decode(struct backend *b, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    z_stream *z = &b->inflate;
    (void)inflateReset(z);
    z->next_in = in;
    z->avail_in = in_len;
    z->next_out = out;
    z->avail_out = out_len;
    return inflate(z, Z_FINISH) == Z_STREAM_END && z->avail_in == 0 && z->avail_out == 0;
}
