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

/* A storage that wraps another may be set to wrap itself. */
enum { OPEN_DEPTH_MAX = 8 };

static int
no_option_set(void *arg, const struct plugin *plugin, const struct gsp_option *opt, const char **ret_text,
    const char **ret_origin)
{
    (void)arg;
    (void)plugin;
    (void)opt;
    (void)ret_text;
    (void)ret_origin;
    return 0;
}

static int
host_store_open(void *ctx, const char *storage, const char *root, struct gsp_store *ret, struct gsp_error *err)
{
    struct host_services *host = ctx;
    struct plugin *plugin;
    void *opts = NULL;
    if (host->open_depth >= OPEN_DEPTH_MAX) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "storage '%s' is wrapped more than %d times", storage, OPEN_DEPTH_MAX);
        return gsp_hint(err, "a storage must not be set to wrap itself");
    }
    int rc = registry_find(host->reg, GSP_KIND_STORAGE, storage, &plugin, err);
    if (rc == 0)
        rc = plugin_load(plugin, err);
    if (rc == 0)
        rc = plugin_bind_options(
            plugin, host->lookup != NULL ? host->lookup : no_option_set, host->lookup_arg, &opts, err);
    if (rc != 0)
        return rc;
    const struct gsp_storage_ops *ops = plugin->ops;
    void *store = NULL;
    host->open_depth++;
    rc = ops->open(plugin->state, opts, root, &store, err);
    host->open_depth--;
    if (rc != 0) {
        plugin_free_options(opts);
        return rc;
    }
    *ret = (struct gsp_store){.ops = ops, .store = store, .core = opts};
    return 0;
}

static void
host_store_close(void *ctx, struct gsp_store *store)
{
    (void)ctx;
    if (store->ops == NULL)
        return;
    store->ops->close(store->store);
    plugin_free_options(store->core);
    *store = (struct gsp_store){0};
}

void
host_services_init(struct host_services *host, struct registry *reg)
{
    *host = (struct host_services){.reg = reg};
    host->table = (struct gsp_host){
        .struct_size = sizeof host->table,
        .abi_major = GSP_ABI_MAJOR,
        .abi_minor = GSP_ABI_MINOR,
        .ctx = host,
        .log = host_log,
        .cancelled = host_cancelled,
        .crc32c = crc32c,
        .store_open = host_store_open,
        .store_close = host_store_close,
    };
}

int
plugin_load(struct plugin *plugin, struct gsp_error *err)
{
    struct plugin_entry *entry = (struct plugin_entry *)plugin;
    if (entry->loaded)
        return 0;
    if (entry->desc.load != NULL) {
        int rc = entry->desc.load(entry->host, &plugin->state, err);
        if (rc != 0) {
            plugin->state = NULL;
            (void)gsp_fail(err, GSP_E_BUG, 0, "it failed without a reason");
            return gsp_prefix(err, "plugin '%s-%s'", plugin_kind_name(plugin->kind), plugin->name);
        }
    }
    entry->loaded = 1;
    return 0;
}
