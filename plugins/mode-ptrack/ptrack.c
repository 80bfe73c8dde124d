/* SPDX-License-Identifier: Apache-2.0 */
#include "gsp/mode.h"

static int
ptrack_begin(void *state, const void *opts, const struct gsp_mode_env *env, void **ret_plan, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    *ret_plan = NULL; /* the change map holds all there is to know */
    return env->map_from_server(env->ctx, err);
}

static int
ptrack_plan_files(void *plan, const struct gsp_file *files, uint32_t n, struct gsp_plan *ret, struct gsp_error *err)
{
    const uint32_t both = GSP_FILE_IN_PARENT | GSP_FILE_TRACKED;
    (void)plan;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        int in_blocks = files[i].action == GSP_CLASS_PAGES && (files[i].flags & both) == both;
        ret[i] = (struct gsp_plan){.action = in_blocks ? GSP_PLAN_BLOCKS : GSP_PLAN_ALL};
    }
    return 0;
}

static void
ptrack_end(void *plan)
{
    (void)plan;
}

static const struct gsp_mode_ops ptrack_ops = {
    .struct_size = sizeof ptrack_ops,
    .flags = GSP_MODE_INCREMENTAL,
    .label = "PTRACK",
    .begin = ptrack_begin,
    .plan_files = ptrack_plan_files,
    .end = ptrack_end,
};

static const struct gsp_plugin ptrack_plugin = {
    .struct_size = sizeof ptrack_plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_MODE,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "ptrack",
    .version = "1.0",
    .summary = "blocks that the server itself knows to be changed since the parent backup",
    .ops = &ptrack_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &ptrack_plugin;
}
