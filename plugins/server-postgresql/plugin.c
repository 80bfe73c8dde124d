/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"
#include "server/session.h"

static const struct gsp_dialect_ops dialect = {
    .struct_size = sizeof dialect,
    .control_path = "global/pg_control",
    .wal_dir = "pg_wal",
    .label_file = "backup_label",
    .map_file = "tablespace_map",
    .pid_file = "postmaster.pid",
    .tablespace_root = "pg_tblspc",
    .bid = pg_bid,
    .control_parse = pg_control_parse,
    .control_crc = pg_control_crc,
    .classify = pg_classify,
    .pages_check = pg_pages_check,
    .wal_verify = pg_wal_verify,
    .wal_changes = pg_wal_changes,
    .recovery_files = pg_recovery_files,
    .wal_find_target = pg_wal_find_target,
};

static const struct gsp_server_ops ops = {
    .struct_size = sizeof ops,
    .dialect = &dialect,
    .open = pg_open,
    .close = pg_close,
    .identify = pg_identify,
    .backup_begin = pg_backup_begin,
    .backup_end = pg_backup_end,
    .databases = pg_databases,
    .wal_open = pg_wal_open,
    .wal_stream = pg_wal_stream,
    .wal_close = pg_wal_close,
    .changed_blocks = pg_changed_blocks,
    .check = pg_check,
};

static int
load(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    struct pg_state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory loading server-postgresql");
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
    .name = "postgresql",
    .version = "0.1.0",
    .summary = "PostgreSQL 12 to 18",
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
