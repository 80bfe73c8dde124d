/* SPDX-License-Identifier: Apache-2.0 */
#include "gsp/mode.h"

struct page_options {
    const char *archive;
};

static int
page_begin(void *state, const void *opts, const struct gsp_mode_env *env, void **ret_plan, struct gsp_error *err)
{
    (void)state;
    const struct page_options *options = opts;
    *ret_plan = NULL; /* the change map holds all there is to know */
    return env->map_from_wal(env->ctx, options->archive, err);
}

static int
page_plan_files(void *plan, const struct gsp_file *files, uint32_t n, struct gsp_plan *ret, struct gsp_error *err)
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
page_end(void *plan)
{
    (void)plan;
}

static const struct gsp_mode_ops page_ops = {
    .struct_size = sizeof page_ops,
    .flags = GSP_MODE_INCREMENTAL,
    .label = "PAGE",
    .begin = page_begin,
    .plan_files = page_plan_files,
    .end = page_end,
};

static const struct gsp_option page_options[] = {
    {.key = "archive",
        .type = GSP_OPT_STRING,
        .help = "directory of archived WAL segments, for those that the server has no more",
        .offset = offsetof(struct page_options, archive)},
    {.key = NULL},
};

static const struct gsp_plugin page_plugin = {
    .struct_size = sizeof page_plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_MODE,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "page",
    .version = "1.0",
    .summary = "blocks that WAL since the parent backup changes",
    .options = page_options,
    .options_size = sizeof(struct page_options),
    .ops = &page_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &page_plugin;
}
