/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "gsp/mode.h"

struct delta_plan {
    gsp_lsn since;
};

static int
delta_begin(void *state, const void *opts, const struct gsp_mode_env *env, void **ret_plan, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    struct delta_plan *plan = malloc(sizeof *plan);
    if (plan == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    /* What was changed before the parent began is in the parent. */
    plan->since = env->parent_start_lsn;
    *ret_plan = plan;
    return 0;
}

static int
delta_plan_files(void *plan, const struct gsp_file *files, uint32_t n, struct gsp_plan *ret, struct gsp_error *err)
{
    const struct delta_plan *delta = plan;
    const uint32_t both = GSP_FILE_IN_PARENT | GSP_FILE_TRACKED;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        int in_blocks = files[i].action == GSP_CLASS_PAGES && (files[i].flags & both) == both;
        ret[i] = (struct gsp_plan){.action = in_blocks ? GSP_PLAN_LSN : GSP_PLAN_ALL, .lsn = delta->since};
    }
    return 0;
}

static void
delta_end(void *plan)
{
    free(plan);
}

static const struct gsp_mode_ops delta_ops = {
    .struct_size = sizeof delta_ops,
    .flags = GSP_MODE_INCREMENTAL,
    .label = "DELTA",
    .begin = delta_begin,
    .plan_files = delta_plan_files,
    .end = delta_end,
};

static const struct gsp_plugin delta_plugin = {
    .struct_size = sizeof delta_plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_MODE,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "delta",
    .version = "1.0",
    .summary = "pages whose LSN is not older than the parent backup; reads all of them",
    .ops = &delta_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &delta_plugin;
}
