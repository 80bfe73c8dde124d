/* SPDX-License-Identifier: Apache-2.0 */
#include "opengauss.h"
#include "server/session.h"

static const struct gsp_dialect_ops dialect = {
    .struct_size = sizeof dialect,
    .control_path = "global/pg_control",
    .wal_dir = "pg_xlog",
    .label_file = "backup_label",
    .map_file = "tablespace_map",
    .pid_file = "postmaster.pid",
    .tablespace_root = "pg_tblspc",
    .bid = og_bid,
    .control_parse = og_control_parse,
    .control_crc = og_control_crc,
    .classify = og_classify,
    .pages_check = og_pages_check,
    .wal_verify = og_wal_verify,
    .recovery_files = og_recovery_files,
    .wal_find_target = og_wal_find_target,
    .extent_pages = OG_EXTENT_PAGES,
    .extent_bytes = OG_EXTENT_BYTES,
    .extent_build = og_extent_build,
    .extent_is_compressed = og_extent_is_compressed,
};

static const struct gsp_server_ops ops = {
    .struct_size = sizeof ops,
    .dialect = &dialect,
    .open = og_open,
    .close = og_close,
    .identify = og_identify,
    .backup_begin = og_backup_begin,
    .backup_end = og_backup_end,
    .databases = og_databases,
    .wal_open = og_wal_open,
    .wal_stream = og_wal_stream,
    .wal_close = og_wal_close,
    .changed_blocks = og_changed_blocks,
    .check = og_check,
};

static int
load(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    struct og_state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory loading server-opengauss");
    state->host = host;
    *ret_state = state;
    return 0;
}

static void
unload(void *state)
{
    free(state);
}

static const struct gsp_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_SERVER,
    .thread_model = GSP_THREAD_HANDLE,
    .name = "opengauss",
    .version = "0.1.0",
    .summary = "openGauss",
    .options = pg_session_options,
    .options_size = sizeof(struct pg_options),
    .ops = &ops,
    .load = load,
    .unload = unload,
};

GSP_EXPORT const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &plugin;
}
