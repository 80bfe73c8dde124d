/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <inttypes.h>
#include <stdio.h>

#include "server/probes.h"

#define SENDER_TIMEOUT_MS_MIN 20000 /* the receiver reports every 10 s */

/* The settings that are looked at. */
enum setting {
    WAL_LEVEL,
    WAL_SENDERS,
    SLOTS,
    KEEP_SIZE,
    KEEP_SEGMENTS,
    SLOT_KEEP,
    SENDER_TIMEOUT,
    CHECKPOINT_TIMEOUT,
    STATEMENT_TIMEOUT,
    IDLE_TIMEOUT,
    SUMMARIZE,
    SUMMARY_KEEP,
    CHECKSUMS,
    SETTINGS
};
static const char *const setting_names[SETTINGS] = {"wal_level", "max_wal_senders", "max_replication_slots",
    "wal_keep_size", "wal_keep_segments", "max_slot_wal_keep_size", "wal_sender_timeout", "checkpoint_timeout",
    "statement_timeout", "idle_in_transaction_session_timeout", "summarize_wal", "wal_summary_keep_time",
    "data_checksums"};

struct checks {
    struct pg_probes probes;
    int version;
    char value[SETTINGS][64];
};

/* ---- settings ----------------------------------------------------------------------------------- */

static int
check_wal_level(struct checks *c, struct gsp_error *err)
{
    int minimal = strcmp(c->value[WAL_LEVEL], "minimal") == 0;
    return pg_tell(&c->probes, minimal ? GSP_PROBE_ERROR : GSP_PROBE_OK, "wal-level",
        "ALTER SYSTEM SET wal_level = replica; then restart the server, and take a FULL backup", err, "wal_level is %s",
        c->value[WAL_LEVEL]);
}

static int
check_timeouts(struct checks *c, struct gsp_error *err)
{
    uint64_t sender_ms = pg_probe_number(c->value[SENDER_TIMEOUT]);
    int late = sender_ms > 0 && sender_ms < SENDER_TIMEOUT_MS_MIN;
    int rc = pg_tell(&c->probes, late ? GSP_PROBE_WARNING : GSP_PROBE_OK, "wal-sender-timeout",
        "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();", err,
        "wal_sender_timeout is %" PRIu64 " ms%s", sender_ms,
        late ? ": a short stall of the catalog's disk ends the WAL stream" : " (0 = never)");
    if (rc == 0)
        rc = pg_tell(&c->probes, GSP_PROBE_OK, "session-timeouts", NULL, err,
            "statement_timeout %s ms, idle_in_transaction_session_timeout %s ms (0 = never): a backup lifts both for "
            "itself",
            c->value[STATEMENT_TIMEOUT], c->value[IDLE_TIMEOUT]);
    return rc;
}

static int
check_checksums(struct checks *c, struct gsp_error *err)
{
    int on = strcmp(c->value[CHECKSUMS], "on") == 0;
    return pg_tell(&c->probes, on ? GSP_PROBE_OK : GSP_PROBE_WARNING, "page-checksums",
        "stop the server and run: pg_checksums --enable; then take a FULL backup", err,
        on ? "page checksums are on"
           : "page checksums are off: damage to pages is only noticed where it hits their headers");
}

/* ---- rights ------------------------------------------------------------------------------------- */

#define RIGHT(name, arguments) "('pg_catalog." name "(" arguments ")')"
#define RIGHTS_OF(list)                                                            \
    "SELECT f, pg_catalog.has_function_privilege(f, 'EXECUTE') FROM (VALUES " list \
    ", ('pg_catalog.pg_create_restore_point(text)')) v(f)"

static const char *
rights_of(const struct checks *c)
{
    if (c->version < 150000)
        return RIGHTS_OF(
            RIGHT("pg_start_backup", "text, boolean, boolean") ", " RIGHT("pg_stop_backup", "boolean, boolean"));
    if (c->version < 170000 || !(c->probes.flags & GSP_CHECK_CHANGED_BLOCKS))
        return RIGHTS_OF(RIGHT("pg_backup_start", "text, boolean") ", " RIGHT("pg_backup_stop", "boolean"));
    return RIGHTS_OF(RIGHT("pg_backup_start", "text, boolean") ", " RIGHT("pg_backup_stop", "boolean") ", " RIGHT(
        "pg_available_wal_summaries", "") ", " RIGHT("pg_wal_summary_contents",
        "bigint, pg_lsn, pg_lsn") ", " RIGHT("pg_get_wal_summarizer_state", ""));
}

static int
check_functions(struct checks *c, int *missing, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_probe_ask(&c->probes, "rights", rights_of(c), &res, err);
    if (rc != 0 || res == NULL) {
        *missing = 1;
        return rc;
    }
    for (int i = 0; i < PQntuples(res) && rc == 0; i++) {
        char fix[PG_PROBE_TEXT];
        if (strcmp(pg_cell(res, i, 1), "t") == 0)
            continue;
        *missing = 1;
        (void)snprintf(fix, sizeof fix, "GRANT EXECUTE ON FUNCTION %s TO \"%s\";", pg_cell(res, i, 0), c->probes.user);
        rc = pg_tell(&c->probes, GSP_PROBE_ERROR, "rights", fix, err, "role \"%s\" may not execute %s", c->probes.user,
            pg_cell(res, i, 0));
    }
    PQclear(res);
    return rc;
}

static int
check_rights(struct checks *c, struct gsp_error *err)
{
    PGresult *res = NULL;
    char fix[PG_PROBE_TEXT];
    int missing = 0, rc = check_functions(c, &missing, err);
    if (rc == 0)
        rc = pg_probe_ask(&c->probes, "rights",
            "SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    int may_stream = strcmp(pg_cell(res, 0, 0), "t") == 0;
    PQclear(res);
    (void)snprintf(fix, sizeof fix, "ALTER ROLE \"%s\" REPLICATION;", c->probes.user);
    if (!may_stream)
        return pg_tell(
            &c->probes, GSP_PROBE_ERROR, "rights", fix, err, "role \"%s\" may not stream WAL", c->probes.user);
    return missing ? 0
                   : pg_tell(&c->probes, GSP_PROBE_OK, "rights", NULL, err, "role \"%s\" has what a backup needs",
                         c->probes.user);
}

/* ---- senders and slots -------------------------------------------------------------------------- */

static int
check_senders(struct checks *c, struct gsp_error *err)
{
    return pg_probe_senders(&c->probes, c->value[WAL_SENDERS], err);
}

static int
check_slot(struct checks *c, const PGresult *res, int row, struct gsp_error *err)
{
    char fix[PG_PROBE_TEXT];
    const char *slot = pg_cell(res, row, 0), *held = pg_cell(res, row, 2);
    (void)snprintf(fix, sizeof fix, "if nobody comes back for it: SELECT pg_drop_replication_slot('%s');", slot);
    if (strcmp(pg_cell(res, row, 3), "lost") == 0)
        return pg_tell(&c->probes, GSP_PROBE_WARNING, "slot-left-behind", fix, err,
            "replication slot '%s' is invalidated: the server removed WAL it was to hold", slot);
    if (strcmp(pg_cell(res, row, 1), "t") == 0 || held[0] == '\0')
        return 0;
    return pg_tell(&c->probes, GSP_PROBE_WARNING, "slot-left-behind", fix, err,
        "replication slot '%s' is not in use and holds %s MB of WAL", slot, held);
}

static int
check_slots(struct checks *c, struct gsp_error *err)
{
    static const char *const end = "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() "
                                   "ELSE pg_catalog.pg_current_wal_lsn() END";
    char sql[PG_PROBE_TEXT];
    PGresult *res;
    (void)snprintf(sql, sizeof sql,
        "SELECT slot_name, active, pg_catalog.round(GREATEST(pg_catalog.pg_wal_lsn_diff(%s, restart_lsn), 0) / "
        "1048576)::pg_catalog.int8, %s FROM pg_catalog.pg_replication_slots ORDER BY slot_name",
        end, c->version >= 130000 ? "wal_status" : "''");
    int rc = pg_probe_ask(&c->probes, "replication-slots", sql, &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    uint64_t used = (uint64_t)PQntuples(res), all = pg_probe_number(c->value[SLOTS]);
    rc = pg_tell(&c->probes, used < all ? GSP_PROBE_OK : GSP_PROBE_WARNING, "replication-slots",
        "ALTER SYSTEM SET max_replication_slots = 10; then restart the server; or drop slots left behind", err,
        "%" PRIu64 " of max_replication_slots = %" PRIu64 " are in use%s", used, all,
        used < all ? "" : ": nothing holds the WAL of a backup");
    for (int i = 0; i < PQntuples(res) && rc == 0; i++)
        rc = check_slot(c, res, i, err);
    PQclear(res);
    if (rc != 0)
        return rc;
    const char *keep = c->value[KEEP_SIZE][0] != '\0' ? c->value[KEEP_SIZE] : c->value[KEEP_SEGMENTS];
    return pg_tell(&c->probes, GSP_PROBE_OK, "wal-retention", NULL, err, "%s is %s%s%s",
        c->value[KEEP_SIZE][0] != '\0' ? "wal_keep_size (MB)" : "wal_keep_segments", keep,
        c->value[SLOT_KEEP][0] != '\0' ? ", max_slot_wal_keep_size (MB, -1 = no limit) is " : "", c->value[SLOT_KEEP]);
}

/* ---- changed blocks ----------------------------------------------------------------------------- */

static int
check_summarizer(struct checks *c, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_probe_ask(&c->probes, "changed-blocks",
        "SELECT summarized_lsn, summarizer_pid IS NOT NULL FROM pg_catalog.pg_get_wal_summarizer_state()", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    int runs = strcmp(pg_cell(res, 0, 1), "t") == 0;
    rc = pg_tell(&c->probes, runs ? GSP_PROBE_OK : GSP_PROBE_WARNING, "changed-blocks",
        "look for the WAL summarizer in the server's log", err,
        runs
            ? "summarize_wal is on, WAL is summarized up to %s, summaries are kept %s minutes"
            : "summarize_wal is on, but the WAL summarizer does not run; it came to %s (wal_summary_keep_time: %s min)",
        pg_cell(res, 0, 0), c->value[SUMMARY_KEEP]);
    PQclear(res);
    return rc;
}

static int
check_changed_blocks(struct checks *c, struct gsp_error *err)
{
    static const char *const fix =
        "ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf(); then take a FULL backup";
    int wanted = (c->probes.flags & GSP_CHECK_CHANGED_BLOCKS) != 0;
    if (strcmp(c->value[SUMMARIZE], "on") == 0)
        return check_summarizer(c, err);
    if (c->value[SUMMARIZE][0] != '\0' && wanted)
        return pg_tell(&c->probes, GSP_PROBE_ERROR, "changed-blocks", fix, err,
            "summarize_wal is off, and backups of mode PTRACK are taken of this server");
    return pg_tell(&c->probes, GSP_PROBE_OK, "changed-blocks", NULL, err,
        c->value[SUMMARIZE][0] != '\0' ? "summarize_wal is off: no backups of mode PTRACK"
                                       : "the server does not know its changed blocks: no backups of mode PTRACK");
}

static int
check_clock(struct checks *c, struct gsp_error *err)
{
    return pg_probe_clock(&c->probes, err);
}

/* ------------------------------------------------------------------------------------------------- */

int
pg_check(void *srv, uint32_t flags, struct gsp_identity *ret, gsp_probe_cb cb, void *arg, struct gsp_error *err)
{
    /* The first ones need no settings. */
    static int (*const probes[])(struct checks * c, struct gsp_error * err) = {check_rights, check_clock,
        check_wal_level, check_senders, check_slots, check_timeouts, check_changed_blocks, check_checksums};
    struct checks c = {.version = 0};
    c.probes = (struct pg_probes){.link = pg_session_link(srv),
        .flags = flags,
        .names = setting_names,
        .n_values = SETTINGS,
        .value = c.value,
        .cb = cb,
        .arg = arg};
    int rc = pg_session_identify(srv, ret, err);
    if (rc != 0)
        return rc;
    c.version = PQserverVersion(c.probes.link->conn);
    c.probes.user = PQuser(c.probes.link->conn);
    rc = pg_probes_read(&c.probes, err);
    int is_read = c.value[WAL_LEVEL][0] != '\0';
    for (size_t i = 0; rc == 0 && i < (is_read ? sizeof probes / sizeof probes[0] : 2); i++)
        rc = probes[i](&c, err);
    return rc == 0 && is_read
               ? pg_probe_checkpoint(&c.probes, pg_session_wait_us(srv), c.value[CHECKPOINT_TIMEOUT], err)
               : rc;
}
