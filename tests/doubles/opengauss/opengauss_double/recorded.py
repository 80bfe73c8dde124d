# SPDX-License-Identifier: Apache-2.0
"""What a single-node openGauss 7.0.0-RC2 says of itself: values from recordings."""

VERSION = ("(openGauss-lite 7.0.0-RC2 build ) compiled at 2026-11-22 05:51:42 commit 0 last mr  release on "
           "x86_64-linux-gnu, compiled by g++ (Debian 12.2.0-14+deb12u1) 12.2.0, 64-bit")
OPENGAUSS_VERSION = "7.0.0-RC2"
SERVER_VERSION, SERVER_VERSION_NUM = "9.2.4", "90204"

# As in pg_settings, in the units there.
SETTINGS = {
    "application_name": "", "archive_command": "(disabled)", "archive_mode": "off", "archive_timeout": "0",
    "block_size": "8192", "checkpoint_timeout": "900", "client_encoding": "UTF8", "client_min_messages": "notice",
    "connection_info": "", "datestyle": "ISO, MDY", "enable_cbm_tracking": "on", "enable_double_write": "on",
    "enable_incremental_checkpoint": "on", "enable_xlog_prune": "on", "fsync": "on", "full_page_writes": "on",
    "hot_standby": "on", "idle_in_transaction_session_timeout": "0", "integer_datetimes": "on",
    "lockwait_timeout": "1200000", "max_connections": "60", "max_replication_slots": "8",
    "max_size_for_xlog_prune": "2147483647", "max_size_xlog_force_prune": "0", "max_wal_senders": "4",
    "most_available_sync": "off", "operation_mode": "off", "password_encryption_type": "2", "pgxc_node_name": "n1",
    "port": "6432", "replication_type": "1", "search_path": '"$user",public', "segment_size": "131072", "server_encoding": "UTF8",
    "server_version": SERVER_VERSION, "server_version_num": SERVER_VERSION_NUM, "session_timeout": "600",
    "sql_compatibility": "A", "standard_conforming_strings": "on", "statement_timeout": "0", "synchronous_commit": "on",
    "synchronous_standby_names": "", "timezone": "UCT", "wal_block_size": "8192", "wal_keep_segments": "4",
    "wal_level": "hot_standby", "wal_segment_size": "2048", "wal_sender_timeout": "6000",
}
# How SHOW and current_setting write those that have a unit.
SHOWN = {"checkpoint_timeout": "15min", "lockwait_timeout": "20min", "segment_size": "1GB", "session_timeout": "10min",
         "wal_segment_size": "16MB", "wal_sender_timeout": "6s"}
# What a session's start reports, besides application_name and session_authorization.
REPORTED = (
    ("b_format_behavior_compat_options", ""), ("behavior_compat_options", ""), ("cgroup_name", ""),
    ("character_set_connection", "UTF8"), ("client_encoding", "UTF8"), ("collation_connection", ""),
    ("connection_info", ""), ("d_format_behavior_compat_options", ""), ("DateStyle", "ISO, MDY"),
    ("disable_keyword_options", ""), ("enable_record_nettime", "off"), ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"), ("is_sysadmin", "on"), ("memory_detail_tracking", ""),
    ("plsql_compile_check_options", ""), ("query_band", ""), ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION), ("session_respool", "invalid_pool"), ("standard_conforming_strings", "on"),
    ("TimeZone", "UCT"), ("uppercase_attribute_name", "off"),
)
REPORTED_BY_SETTING = {"application_name": "application_name", "datestyle": "DateStyle", "timezone": "TimeZone",
                       "client_encoding": "client_encoding", "connection_info": "connection_info"}
# (name, number of arguments) of the functions that tools look for.
FUNCTIONS = (
    ("pg_start_backup", 2), ("pg_start_backup", 3), ("pg_stop_backup", 0), ("pg_stop_backup", 1),
    ("pg_create_restore_point", 1), ("pg_switch_xlog", 0), ("pg_cbm_tracked_location", 0), ("pg_cbm_force_track", 2),
    ("pg_cbm_get_changed_block", 2), ("pg_cbm_get_merged_file", 2), ("pg_cbm_recycle_file", 1),
    ("pg_create_physical_replication_slot", 2), ("pg_drop_replication_slot", 1), ("pg_get_replication_slots", 0),
    ("opengauss_version", 0), ("pg_control_system", 0), ("pg_control_checkpoint", 0), ("pg_is_in_recovery", 0),
)
DATABASES = ((1, "template1"), (15068, "template0"), (15073, "postgres"), (16445, "db2"))
CBM_COLUMNS = ("merged_start_lsn", "merged_end_lsn", "tablespace_oid", "database_oid", "relfilenode", "fork_number", "path",
               "rel_dropped", "rel_created", "rel_truncated", "truncate_blocknum", "changed_block_number",
               "changed_block_list")


def read_cbm_rows(path):
    """Rows of pg_cbm_get_changed_block as psql writes them unaligned, with a header line."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    header = lines[0].split("|")
    rows = []
    for line in lines[1:]:
        if line.count("|") != len(CBM_COLUMNS) - 1:
            continue  # the number of rows, which ends such a list
        row = dict(zip(header, line.split("|")))
        for column, value in row.items():
            row[column] = {"t": True, "f": False}.get(value, value) if column.startswith("rel_") else value or None
        rows.append(tuple(row[column] for column in CBM_COLUMNS))
    return rows
