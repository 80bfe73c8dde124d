/* SPDX-License-Identifier: Apache-2.0 */
#include "gsp/mode.h"

static int
full_begin(void *state, const void *opts, const struct gsp_mode_env *env, void **ret_plan, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)env;
    (void)err;
    *ret_plan = NULL; /* the answer depends on nothing */
    return 0;
}

static int
full_plan_files(void *plan, const struct gsp_file *files, uint32_t n, struct gsp_plan *ret, struct gsp_error *err)
{
    (void)plan;
    (void)files;
    (void)err;
    for (uint32_t i = 0; i < n; i++)
        ret[i] = (struct gsp_plan){.action = GSP_PLAN_ALL};
    return 0;
}

static void
full_end(void *plan)
{
    (void)plan;
}

static const struct gsp_mode_ops full_ops = {
    .struct_size = sizeof(struct gsp_mode_ops),
    .label = "FULL",
    .begin = full_begin,
    .plan_files = full_plan_files,
    .end = full_end,
};

static const struct gsp_plugin full_plugin = {
    .struct_size = sizeof(struct gsp_plugin),
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_MODE,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "full",
    .version = "1.0",
    .summary = "every file, whole",
    .ops = &full_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &full_plugin;
}
