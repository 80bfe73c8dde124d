/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdlib.h>

#include <zstd.h>

#include "gsp/compressor.h"
#include "gsp/compressor_items.h"

enum { LEVEL_MAX = 22 };

struct zstd_options {
    int64_t level;
};

struct zstd_ctx {
    int level;
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
};

/* All the room an item can take, though what does not shrink is stored as it is: in less room the library refuses items
 * that would still shrink. */
static uint32_t
zstd_bound(uint32_t raw_len)
{
    size_t bound = ZSTD_compressBound(raw_len);
    return bound <= UINT32_MAX ? (uint32_t)bound : raw_len;
}

static void
zstd_ctx_free(void *handle)
{
    struct zstd_ctx *ctx = handle;
    if (ctx == NULL)
        return;
    (void)ZSTD_freeCCtx(ctx->compressor);
    (void)ZSTD_freeDCtx(ctx->decompressor);
    free(ctx);
}

static int
zstd_ctx_new(void *state, const void *opts, void **ret_ctx, struct gsp_error *err)
{
    (void)state;
    const struct zstd_options *options = opts;
    if (options->level < 0 || options->level > LEVEL_MAX)
        return gsp_fail(err, GSP_E_CONFIG, 0, "zstd has no compression level %lld", (long long)options->level);
    struct zstd_ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    ctx->level = (int)options->level;
    ctx->compressor = ZSTD_createCCtx();
    ctx->decompressor = ZSTD_createDCtx();
    if (ctx->compressor == NULL || ctx->decompressor == NULL) {
        zstd_ctx_free(ctx);
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    *ret_ctx = ctx;
    return 0;
}

static uint32_t
encode_item(void *handle, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    const struct zstd_ctx *ctx = handle;
    if (ctx->level == 0)
        return 0;
    /* Begins a new frame, whatever was done with the context before. */
    size_t len = ZSTD_compressCCtx(ctx->compressor, out, cap, in, in_len, ctx->level);
    return ZSTD_isError(len) ? 0 : (uint32_t)len;
}

static int
decode_item(void *handle, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    const struct zstd_ctx *ctx = handle;
    /* Errors are sizes that no item has. */
    return ZSTD_decompressDCtx(ctx->decompressor, out, out_len, in, in_len) == out_len;
}

static int
zstd_encode(void *handle, struct gsp_codec_batch *b, struct gsp_error *err)
{
    return gsp_encode_items(handle, b, zstd_bound, encode_item, err);
}

static int
zstd_decode(void *handle, struct gsp_codec_batch *b, struct gsp_error *err)
{
    return gsp_decode_items(handle, b, "zstd", decode_item, err);
}

static const struct gsp_compressor_ops zstd_ops = {
    .struct_size = sizeof(struct gsp_compressor_ops),
    .bound = zstd_bound,
    .ctx_new = zstd_ctx_new,
    .ctx_free = zstd_ctx_free,
    .encode = zstd_encode,
    .decode = zstd_decode,
};

static const struct gsp_option zstd_option_table[] = {
    {
        .key = "level",
        .type = GSP_OPT_INT,
        .def = "1",
        .help = "compression level: 0 stores, 1 is fastest, 22 is smallest",
        .offset = offsetof(struct zstd_options, level),
        .min = 0,
        .max = LEVEL_MAX,
        .legacy_key = "compress-level",
    },
    {.key = NULL},
};

static const struct gsp_plugin zstd_plugin = {
    .struct_size = sizeof(struct gsp_plugin),
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_COMPRESSOR,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "zstd",
    .version = "1.0",
    .summary = "Zstandard frames, made by libzstd " ZSTD_VERSION_STRING,
    .options = zstd_option_table,
    .options_size = sizeof(struct zstd_options),
    .ops = &zstd_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &zstd_plugin;
}
