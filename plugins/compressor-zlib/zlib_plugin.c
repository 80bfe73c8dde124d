/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdlib.h>

#include "gsp/compressor.h"
#include "gsp/compressor_items.h"

#include "backend.h"
#include "fast.h"

struct zlib_options {
    int64_t level;
};

struct zlib_ctx {
    int64_t level;
    struct backend *backend;
    struct fast *fast; /* encodes level 1; NULL: the backend does */
};

static uint32_t
zlib_bound(uint32_t raw_len)
{
    return raw_len; /* what does not shrink is stored as it is */
}

static void
zlib_ctx_free(void *handle)
{
    struct zlib_ctx *ctx = handle;
    if (ctx == NULL)
        return;
    backend_free(ctx->backend);
    fast_free(ctx->fast);
    free(ctx);
}

static int
zlib_ctx_new(void *state, const void *opts, void **ret_ctx, struct gsp_error *err)
{
    (void)state;
    const struct zlib_options *options = opts;
    if (options->level < 0 || options->level > 9)
        return gsp_fail(err, GSP_E_CONFIG, 0, "zlib has no compression level %lld", (long long)options->level);
    struct zlib_ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    ctx->level = options->level;
    /* Level 0 stores everything raw, but must still be able to decode. */
    ctx->backend = backend_new(ctx->level > 0 ? (int)ctx->level : 1);
    if (ctx->backend == NULL || (ctx->level == 1 && fast_new(&ctx->fast) < 0)) {
        zlib_ctx_free(ctx);
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    *ret_ctx = ctx;
    return 0;
}

/* What would not be shorter than the item does not fit. */
static uint32_t
encode_item(void *handle, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    const struct zlib_ctx *ctx = handle;
    if (ctx->level == 0)
        return 0;
    return ctx->fast != NULL ? fast_encode(ctx->fast, in, in_len, out, cap - 1)
                             : backend_encode(ctx->backend, in, in_len, out, cap - 1);
}

static int
decode_item(void *handle, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    const struct zlib_ctx *ctx = handle;
    return backend_decode(ctx->backend, in, in_len, out, out_len);
}

static int
zlib_encode(void *handle, struct gsp_codec_batch *b, struct gsp_error *err)
{
    struct zlib_ctx *ctx = handle;
    if (ctx->fast != NULL)
        fast_prepare(ctx->fast, b);
    return gsp_encode_items(ctx, b, zlib_bound, encode_item, err);
}

static int
zlib_decode(void *handle, struct gsp_codec_batch *b, struct gsp_error *err)
{
    return gsp_decode_items(handle, b, "zlib", decode_item, err);
}

static const struct gsp_compressor_ops zlib_ops = {
    .struct_size = sizeof(struct gsp_compressor_ops),
    .bound = zlib_bound,
    .ctx_new = zlib_ctx_new,
    .ctx_free = zlib_ctx_free,
    .encode = zlib_encode,
    .decode = zlib_decode,
};

static const struct gsp_option zlib_option_table[] = {
    {
        .key = "level",
        .type = GSP_OPT_INT,
        .def = "1",
        .help = "compression level: 0 stores, 1 is fastest, 9 is smallest",
        .offset = offsetof(struct zlib_options, level),
        .min = 0,
        .max = 9,
        .legacy_key = "compress-level",
    },
    {.key = NULL},
};

static const struct gsp_plugin zlib_plugin = {
    .struct_size = sizeof(struct gsp_plugin),
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_COMPRESSOR,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "zlib",
    .version = "1.0",
    .summary = "zlib streams, made by " ZLIB_MADE_BY,
    .options = zlib_option_table,
    .options_size = sizeof(struct zlib_options),
    .ops = &zlib_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &zlib_plugin;
}
