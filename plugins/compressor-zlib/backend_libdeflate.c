/* SPDX-License-Identifier: Apache-2.0 */
#include "backend.h"

#include <stdlib.h>

#include <libdeflate.h>

struct backend {
    struct libdeflate_compressor *compressor;
    struct libdeflate_decompressor *decompressor;
};

struct backend *
backend_new(int level)
{
    struct backend *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->compressor = libdeflate_alloc_compressor(level);
    b->decompressor = libdeflate_alloc_decompressor();
    if (b->compressor != NULL && b->decompressor != NULL)
        return b;
    backend_free(b);
    return NULL;
}

void
backend_free(struct backend *b)
{
    if (b == NULL)
        return;
    libdeflate_free_compressor(b->compressor);
    libdeflate_free_decompressor(b->decompressor);
    free(b);
}

uint32_t
backend_encode(struct backend *b, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    return (uint32_t)libdeflate_zlib_compress(b->compressor, in, in_len, out, cap);
}

int
backend_decode(struct backend *b, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    size_t used;
    /* Without a place for the actual output length the library accepts the exact one only. */
    return libdeflate_zlib_decompress_ex(b->decompressor, in, in_len, out, out_len, &used, NULL) ==
               LIBDEFLATE_SUCCESS &&
           used == in_len;
}
