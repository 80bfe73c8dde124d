/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "gsp/compressor.h"
#include "gsp/compressor_items.h"

#include "pglz.h"

static uint32_t
pglz_bound(uint32_t raw_len)
{
    return raw_len; /* what does not shrink is stored as it is */
}

static int
pglz_ctx_new(void *state, const void *opts, void **ret_ctx, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    struct pglz_tables *tables = malloc(sizeof *tables);
    if (tables == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    *ret_ctx = tables;
    return 0;
}

static void
pglz_ctx_free(void *ctx)
{
    free(ctx);
}

/* What would not be shorter than the item does not fit. */
static uint32_t
encode_item(void *ctx, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    return pglz_encode(ctx, in, in_len, out, cap - 1);
}

static int
decode_item(void *ctx, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    (void)ctx;
    return pglz_decode(in, in_len, out, out_len);
}

static int
pglz_plugin_encode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    return gsp_encode_items(ctx, b, pglz_bound, encode_item, err);
}

static int
pglz_plugin_decode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    return gsp_decode_items(ctx, b, "pglz", decode_item, err);
}

static const struct gsp_compressor_ops pglz_ops = {
    .struct_size = sizeof(struct gsp_compressor_ops),
    .bound = pglz_bound,
    .ctx_new = pglz_ctx_new,
    .ctx_free = pglz_ctx_free,
    .encode = pglz_plugin_encode,
    .decode = pglz_plugin_decode,
};

static const struct gsp_plugin pglz_plugin = {
    .struct_size = sizeof(struct gsp_plugin),
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_COMPRESSOR,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "pglz",
    .version = "1.0",
    .summary = "the database's own LZ: reads and writes existing pglz backups",
    .ops = &pglz_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &pglz_plugin;
}
