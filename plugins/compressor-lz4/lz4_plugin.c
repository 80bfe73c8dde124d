/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdlib.h>

#include <lz4.h>

#include "gsp/compressor.h"
#include "gsp/compressor_items.h"

/* All the room an item can take, though what does not shrink is stored as it is: in less room the library gives up
 * on items that shrink by a few bytes only, and other writers of the format do not. */
static uint32_t
lz4_bound(uint32_t raw_len)
{
    return raw_len <= LZ4_MAX_INPUT_SIZE ? (uint32_t)LZ4_COMPRESSBOUND(raw_len) : raw_len;
}

static int
lz4_ctx_new(void *state, const void *opts, void **ret_ctx, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    void *tables = malloc((size_t)LZ4_sizeofState());
    if (tables == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    *ret_ctx = tables;
    return 0;
}

static void
lz4_ctx_free(void *tables)
{
    free(tables);
}

static uint32_t
encode_item(void *tables, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    if (in_len > LZ4_MAX_INPUT_SIZE)
        return 0;
    /* Clears the tables: what LZ4_compress_default makes, without its 16 KiB on the stack. */
    int len = LZ4_compress_fast_extState(tables, (const char *)in, (char *)out, (int)in_len, (int)cap, 1);
    return len > 0 ? (uint32_t)len : 0;
}

static int
decode_item(void *tables, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    (void)tables;
    return in_len <= INT_MAX && out_len <= INT_MAX &&
           LZ4_decompress_safe((const char *)in, (char *)out, (int)in_len, (int)out_len) == (int)out_len;
}

static int
lz4_encode(void *tables, struct gsp_codec_batch *b, struct gsp_error *err)
{
    return gsp_encode_items(tables, b, lz4_bound, encode_item, err);
}

static int
lz4_decode(void *tables, struct gsp_codec_batch *b, struct gsp_error *err)
{
    return gsp_decode_items(tables, b, "lz4", decode_item, err);
}

static const struct gsp_compressor_ops lz4_ops = {
    .struct_size = sizeof(struct gsp_compressor_ops),
    .bound = lz4_bound,
    .ctx_new = lz4_ctx_new,
    .ctx_free = lz4_ctx_free,
    .encode = lz4_encode,
    .decode = lz4_decode,
};

static const struct gsp_plugin lz4_plugin = {
    .struct_size = sizeof(struct gsp_plugin),
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_COMPRESSOR,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "lz4",
    .version = "1.0",
    .summary = "LZ4 blocks, made by liblz4 " LZ4_VERSION_STRING,
    .ops = &lz4_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &lz4_plugin;
}
