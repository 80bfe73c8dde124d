/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "gsp/compressor.h"

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

/* Do the items fit out, and are there no flags we do not know? */
static int
check_encode(const struct gsp_codec_batch *b, struct gsp_error *err)
{
    uint64_t need = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->in_span[i].flags != 0)
            return gsp_fail(err, GSP_E_BUG, 0, "item %u to compress has flags 0x%x", i, b->in_span[i].flags);
        need += (uint64_t)b->head_room + b->in_span[i].len;
    }
    if (need > b->out_cap)
        return gsp_fail(err, GSP_E_BUG, 0, "%u items may need %llu bytes, there are %u", b->n, (unsigned long long)need,
            b->out_cap);
    return 0;
}

static int
pglz_plugin_encode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    if (check_encode(b, err) != 0)
        return err->code;
    uint32_t at = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct gsp_span *in = &b->in_span[i];
        struct gsp_span out = {.off = at + b->head_room};
        if (in->len > 1)
            out.len = pglz_encode(ctx, b->in + in->off, in->len, b->out + out.off, in->len - 1);
        if (out.len == 0) {
            if (in->len > 0)
                memcpy(b->out + out.off, b->in + in->off, in->len);
            out.len = in->len;
            out.flags = GSP_SPAN_RAW;
        }
        at = out.off + out.len;
        b->out_span[i] = out;
    }
    b->out_len = at;
    return 0;
}

static int
pglz_plugin_decode(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    (void)ctx;
    for (uint32_t i = 0; i < b->n; i++) {
        const struct gsp_span *in = &b->in_span[i], *out = &b->out_span[i];
        if (in->flags != 0 || (uint64_t)out->off + out->len > b->out_cap) {
            b->failed = i;
            return gsp_fail(err, GSP_E_BUG, 0, "item %u to decompress has flags 0x%x or does not fit", i, in->flags);
        }
        if (!pglz_decode(b->in + in->off, in->len, b->out + out->off, out->len)) {
            b->failed = i;
            return gsp_fail(
                err, GSP_E_CORRUPT, 0, "%u bytes of pglz data do not decompress to %u bytes", in->len, out->len);
        }
    }
    return 0;
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
