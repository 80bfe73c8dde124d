/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>

#include "core/base/cancel.h"
#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/plugin/loader.h"

enum { HOST_LOG_LINE = 2048 };

static void GSP_PRINTF(3, 4) host_log(void *ctx, uint32_t level, const char *fmt, ...)
{
    (void)ctx;
    char line[HOST_LOG_LINE];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    /* A plugin returns its errors: anything above a warning, or unknown, is shown as a warning. */
    if (level < GSP_LOG_VERBOSE || level > GSP_LOG_WARNING)
        level = GSP_LOG_WARNING;
    log_message((enum log_level)level, "%s", line);
}

static int
host_cancelled(void *ctx)
{
    (void)ctx;
    return cancelled();
}

static const struct gsp_host host = {
    .struct_size = sizeof host,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .log = host_log,
    .cancelled = host_cancelled,
    .crc32c = crc32c,
};

const struct gsp_host *
plugin_host(void)
{
    return &host;
}

int
plugin_load(struct plugin *plugin, struct gsp_error *err)
{
    struct plugin_entry *entry = (struct plugin_entry *)plugin;
    if (entry->loaded)
        return 0;
    if (entry->desc.load != NULL) {
        int rc = entry->desc.load(&host, &plugin->state, err);
        if (rc != 0) {
            plugin->state = NULL;
            (void)gsp_fail(err, GSP_E_BUG, 0, "it failed without a reason");
            return gsp_prefix(err, "plugin '%s-%s'", plugin_kind_name(plugin->kind), plugin->name);
        }
    }
    entry->loaded = 1;
    return 0;
}
