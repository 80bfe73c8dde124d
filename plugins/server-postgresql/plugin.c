/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"

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

#define AT(field) (uint32_t) offsetof(struct pg_options, field)

static const struct gsp_option options[] = {
    {.key = "host",
        .type = GSP_OPT_STRING,
        .help = "server host, or directory of its Unix socket",
        .offset = AT(host),
        .legacy_key = "pghost"},
    {.key = "port",
        .type = GSP_OPT_INT,
        .def = "0",
        .help = "server port; 0 leaves it to PGPORT or 5432",
        .offset = AT(port),
        .min = 0,
        .max = 65535,
        .legacy_key = "pgport"},
    {.key = "dbname",
        .type = GSP_OPT_STRING,
        .help = "database to connect to; any will do",
        .offset = AT(dbname),
        .legacy_key = "pgdatabase"},
    {.key = "user", .type = GSP_OPT_STRING, .help = "database role", .offset = AT(user), .legacy_key = "pguser"},
    {.key = "password", .type = GSP_OPT_SECRET, .help = "password of the role", .offset = AT(password)},
    {.key = "connect-timeout",
        .type = GSP_OPT_DURATION,
        .def = "120s",
        .help = "longest silence of the server while connecting, asking and streaming",
        .offset = AT(timeout_us),
        .min = 1000000,
        .max = INT64_C(86400000000),
        .legacy_key = "rw-timeout"},
    {.key = "wait-timeout",
        .type = GSP_OPT_DURATION,
        .def = "5min",
        .help = "longest wait for the checkpoint of a backup; no silence of the server may be longer",
        .offset = AT(wait_us),
        .min = 1000000,
        .max = INT64_C(31536000000000),
        .legacy_key = "archive-timeout"},
    {.key = NULL},
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
    .options = options,
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
