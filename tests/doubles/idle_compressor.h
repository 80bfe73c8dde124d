/* SPDX-License-Identifier: Apache-2.0
 * A compressor's table that is complete and never called: for tests of what surrounds the plugins. */
#ifndef DOUBLES_IDLE_COMPRESSOR_H
#define DOUBLES_IDLE_COMPRESSOR_H

#include "gsp/compressor.h"

static inline uint32_t
idle_bound(uint32_t raw_len)
{
    return raw_len;
}

static inline int
idle_ctx_new(void *state, const void *opts, void **ret_ctx, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)ret_ctx;
    return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "never called");
}

static inline void
idle_ctx_free(void *ctx)
{
    (void)ctx;
}

static inline int
idle_code(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    (void)ctx;
    (void)b;
    return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "never called");
}

static const struct gsp_compressor_ops idle_compressor_ops = {.struct_size = sizeof idle_compressor_ops,
    .bound = idle_bound,
    .ctx_new = idle_ctx_new,
    .ctx_free = idle_ctx_free,
    .encode = idle_code,
    .decode = idle_code};

#endif
