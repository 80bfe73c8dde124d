/* SPDX-License-Identifier: Apache-2.0
 * A mode plugin that does nothing, and, by -D, the ways in which a plugin file can be wrong. */
#include "gsp/mode.h"
#include "gsp/compressor.h"

#ifndef DOUBLE_NAME
#define DOUBLE_NAME "double"
#endif
#ifndef DOUBLE_MAJOR
#define DOUBLE_MAJOR GSP_ABI_MAJOR
#endif
#ifndef DOUBLE_KIND
#define DOUBLE_KIND GSP_KIND_MODE
#endif

#ifndef DOUBLE_DESCRIPTOR
#define DOUBLE_DESCRIPTOR &double_plugin
#endif

#ifdef DOUBLE_COMPRESSOR
static uint32_t
double_bound(uint32_t raw_len)
{
    return raw_len;
}

static int
double_ctx_new(void *state, const void *opts, void **ret_ctx, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)ret_ctx;
    return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "this is a double");
}

static void
double_ctx_free(void *ctx)
{
    (void)ctx;
}

static int
double_code(void *ctx, struct gsp_codec_batch *b, struct gsp_error *err)
{
    (void)ctx;
    (void)b;
    return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "this is a double");
}

static const struct gsp_compressor_ops double_ops = {
    .struct_size = sizeof double_ops,
    .bound = double_bound,
    .ctx_new = double_ctx_new,
    .ctx_free = double_ctx_free,
    .encode = double_code,
    .decode = double_code,
};
#else
#ifdef DOUBLE_UNRESOLVED
void gsp_double_defined_nowhere(void *plan);
#endif

static int
double_begin(void *state, const void *opts, const struct gsp_mode_env *env, void **ret_plan, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)env;
    (void)err;
    *ret_plan = NULL;
    return 0;
}

#ifndef DOUBLE_NO_PLAN_FILES
static int
double_plan_files(void *plan, const struct gsp_file *files, uint32_t n, struct gsp_plan *ret, struct gsp_error *err)
{
    (void)plan;
    (void)files;
    (void)err;
    for (uint32_t i = 0; i < n; i++)
        ret[i].action = GSP_PLAN_ALL;
    return 0;
}
#endif

static void
double_end(void *plan)
{
#ifdef DOUBLE_UNRESOLVED
    gsp_double_defined_nowhere(plan);
#else
    (void)plan;
#endif
}

static const struct gsp_mode_ops double_ops = {
    .struct_size = sizeof double_ops,
    .label = "DOUBLE",
    .begin = double_begin,
#ifndef DOUBLE_NO_PLAN_FILES
    .plan_files = double_plan_files,
#endif
    .end = double_end,
};
#endif

extern const struct gsp_plugin double_plugin;
const struct gsp_plugin double_plugin = {
    .struct_size = sizeof double_plugin,
    .abi_major = DOUBLE_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = DOUBLE_KIND,
    .thread_model = GSP_THREAD_ANY,
    .name = DOUBLE_NAME,
    .version = "1",
    .summary = "test double",
    .ops = &double_ops,
};

#ifdef DOUBLE_NO_ENTRY
GSP_EXPORT const struct gsp_plugin *double_other_entry(void);
#define gsp_plugin_entry double_other_entry
#endif

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return DOUBLE_DESCRIPTOR;
}
