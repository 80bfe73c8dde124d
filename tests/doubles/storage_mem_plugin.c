/* SPDX-License-Identifier: Apache-2.0
 * The double as a plugin, for tests of the loader and for contract tests. */
#include "storage_mem.h"

static const struct gsp_plugin descriptor = {
    .struct_size = sizeof descriptor,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_STORAGE,
    .thread_model = GSP_THREAD_ANY,
    .name = "mem",
    .version = "1",
    .summary = "test double: files in memory",
    .ops = &storage_mem_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &descriptor;
}
