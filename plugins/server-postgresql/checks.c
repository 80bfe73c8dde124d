/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define CLOCK_LIMIT_US INT64_C(2000000)
#define TEXT_BYTES 512
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
    struct pg_link *link;
    uint32_t flags; /* GSP_CHECK_* */
    int version;
    const char *user;
    char value[SETTINGS][64]; /* "" = this version has no such setting, or it could not be read */
    gsp_probe_cb cb;
    void *arg;
};

/* ---- telling ------------------------------------------------------------------------------------ */

static int tell(struct checks *c, uint32_t state, const char *name, const char *fix, struct gsp_error *err,
    const char *fmt, ...) GSP_PRINTF(6, 7);

static int
tell(struct checks *c, uint32_t state, const char *name, const char *fix, struct gsp_error *err, const char *fmt, ...)
{
    char found[TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, one line above */
    (void)vsnprintf(found, sizeof found, fmt, args);
    va_end(args);
    struct gsp_probe probe = {.struct_size = sizeof probe,
        .state = state,
        .name = name,
        .found = found,
        .fix = state != GSP_PROBE_OK ? fix : NULL};
    return c->cb(c->arg, &probe, err);
}

/* Ask the server. *ret is NULL when the question could not be answered, which is told. Returns 0, or what ends it all.
 */
static int
ask(struct checks *c, const char *name, const char *sql, PGresult **ret, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    *ret = NULL;
    int rc = pg_link_query(c->link, sql, 0, NULL, pg_now_us() + c->link->timeout_us, ret, &problem);
    if (rc == 0)
        return 0;
    if (c->link->lost || (rc != GSP_E_PERM && rc != GSP_E_SERVER)) {
        *err = problem;
        return rc;
    }
    return tell(c, GSP_PROBE_WARNING, name, problem.hint[0] != '\0' ? problem.hint : "see the message", err,
        "could not be looked at: %s", problem.msg);
}

static uint64_t
number(const char *text)
{
    uint64_t n;
    const char *at = text;
    return pg_digits(&at, UINT64_MAX, &n) ? n : 0;
}

/* ---- settings ----------------------------------------------------------------------------------- */

/* reset_val: the session lifted some limits for itself. */
static int
read_settings(struct checks *c, struct gsp_error *err)
{
    PGresult *res;
    int rc = ask(c, "settings", "SELECT name, reset_val FROM pg_catalog.pg_settings", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    for (int i = 0; i < PQntuples(res); i++)
        for (int k = 0; k < SETTINGS; k++)
            if (strcmp(pg_cell(res, i, 0), setting_names[k]) == 0)
                (void)snprintf(c->value[k], sizeof c->value[k], "%s", pg_cell(res, i, 1));
    PQclear(res);
    return 0;
}

static int
check_wal_level(struct checks *c, struct gsp_error *err)
{
    int minimal = strcmp(c->value[WAL_LEVEL], "minimal") == 0;
    return tell(c, minimal ? GSP_PROBE_ERROR : GSP_PROBE_OK, "wal-level",
        "ALTER SYSTEM SET wal_level = replica; then restart the server, and take a FULL backup", err, "wal_level is %s",
        c->value[WAL_LEVEL]);
}

static int
check_timeouts(struct checks *c, struct gsp_error *err)
{
    uint64_t sender_ms = number(c->value[SENDER_TIMEOUT]);
    int late = sender_ms > 0 && sender_ms < SENDER_TIMEOUT_MS_MIN;
    int rc = tell(c, late ? GSP_PROBE_WARNING : GSP_PROBE_OK, "wal-sender-timeout",
        "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();", err,
        "wal_sender_timeout is %" PRIu64 " ms%s", sender_ms,
        late ? ": a short stall of the catalog's disk ends the WAL stream" : " (0 = never)");
    if (rc == 0)
        rc = tell(c, GSP_PROBE_OK, "session-timeouts", NULL, err,
            "statement_timeout %s ms, idle_in_transaction_session_timeout %s ms (0 = never): a backup lifts both for "
            "itself",
            c->value[STATEMENT_TIMEOUT], c->value[IDLE_TIMEOUT]);
    return rc;
}

/* The beginning of a backup waits for a checkpoint: at once, or with -C spread over up to two periods, which is added
 * to the time limit by itself. */
static int
check_checkpoint(struct checks *c, int64_t wait_us, struct gsp_error *err)
{
    int64_t period_us = (int64_t)number(c->value[CHECKPOINT_TIMEOUT]) * 1000000;
    int is_short = wait_us < 60000000 && wait_us < period_us;
    return tell(c, is_short ? GSP_PROBE_WARNING : GSP_PROBE_OK, "archive-timeout",
        "gs_probackup set-config --archive-timeout=5min", err,
        is_short ? "--archive-timeout is %" PRId64 " s, less than a checkpoint of a busy server can take "
                   "(checkpoint_timeout is %" PRId64 " s)"
                 : "a backup waits %" PRId64 " s for its checkpoint, checkpoint_timeout is %" PRId64 " s",
        wait_us / 1000000, period_us / 1000000);
}

static int
check_checksums(struct checks *c, struct gsp_error *err)
{
    int on = strcmp(c->value[CHECKSUMS], "on") == 0;
    return tell(c, on ? GSP_PROBE_OK : GSP_PROBE_WARNING, "page-checksums",
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
    if (c->version < 170000 || !(c->flags & GSP_CHECK_CHANGED_BLOCKS))
        return RIGHTS_OF(RIGHT("pg_backup_start", "text, boolean") ", " RIGHT("pg_backup_stop", "boolean"));
    return RIGHTS_OF(RIGHT("pg_backup_start", "text, boolean") ", " RIGHT("pg_backup_stop", "boolean") ", " RIGHT(
        "pg_available_wal_summaries", "") ", " RIGHT("pg_wal_summary_contents",
        "bigint, pg_lsn, pg_lsn") ", " RIGHT("pg_get_wal_summarizer_state", ""));
}

static int
check_functions(struct checks *c, int *missing, struct gsp_error *err)
{
    PGresult *res;
    int rc = ask(c, "rights", rights_of(c), &res, err);
    if (rc != 0 || res == NULL) {
        *missing = 1;
        return rc;
    }
    for (int i = 0; i < PQntuples(res) && rc == 0; i++) {
        char fix[TEXT_BYTES];
        if (strcmp(pg_cell(res, i, 1), "t") == 0)
            continue;
        *missing = 1;
        (void)snprintf(fix, sizeof fix, "GRANT EXECUTE ON FUNCTION %s TO \"%s\";", pg_cell(res, i, 0), c->user);
        rc =
            tell(c, GSP_PROBE_ERROR, "rights", fix, err, "role \"%s\" may not execute %s", c->user, pg_cell(res, i, 0));
    }
    PQclear(res);
    return rc;
}

static int
check_rights(struct checks *c, struct gsp_error *err)
{
    PGresult *res = NULL;
    char fix[TEXT_BYTES];
    int missing = 0, rc = check_functions(c, &missing, err);
    if (rc == 0)
        rc = ask(c, "rights", "SELECT rolsuper OR rolreplication FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER",
            &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    int may_stream = strcmp(pg_cell(res, 0, 0), "t") == 0;
    PQclear(res);
    (void)snprintf(fix, sizeof fix, "ALTER ROLE \"%s\" REPLICATION;", c->user);
    if (!may_stream)
        return tell(c, GSP_PROBE_ERROR, "rights", fix, err, "role \"%s\" may not stream WAL", c->user);
    return missing ? 0 : tell(c, GSP_PROBE_OK, "rights", NULL, err, "role \"%s\" has what a backup needs", c->user);
}

/* ---- senders and slots -------------------------------------------------------------------------- */

static int
check_senders(struct checks *c, struct gsp_error *err)
{
    PGresult *res;
    int rc = ask(c, "wal-senders", "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    uint64_t used = number(pg_cell(res, 0, 0)), all = number(c->value[WAL_SENDERS]);
    PQclear(res);
    return tell(c, used < all ? GSP_PROBE_OK : GSP_PROBE_ERROR, "wal-senders",
        "ALTER SYSTEM SET max_wal_senders = 10; then restart the server; or end a receiver that nobody needs", err,
        "%" PRIu64 " of max_wal_senders = %" PRIu64 " are in use", used, all);
}

static int
check_slot(struct checks *c, const PGresult *res, int row, struct gsp_error *err)
{
    char fix[TEXT_BYTES];
    const char *slot = pg_cell(res, row, 0), *held = pg_cell(res, row, 2);
    (void)snprintf(fix, sizeof fix, "if nobody comes back for it: SELECT pg_drop_replication_slot('%s');", slot);
    if (strcmp(pg_cell(res, row, 3), "lost") == 0)
        return tell(c, GSP_PROBE_WARNING, "slot-left-behind", fix, err,
            "replication slot '%s' is invalidated: the server removed WAL it was to hold", slot);
    if (strcmp(pg_cell(res, row, 1), "t") == 0 || held[0] == '\0')
        return 0;
    return tell(c, GSP_PROBE_WARNING, "slot-left-behind", fix, err,
        "replication slot '%s' is not in use and holds %s MB of WAL", slot, held);
}

static int
check_slots(struct checks *c, struct gsp_error *err)
{
    static const char *const end = "CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() "
                                   "ELSE pg_catalog.pg_current_wal_lsn() END";
    char sql[TEXT_BYTES];
    PGresult *res;
    (void)snprintf(sql, sizeof sql,
        "SELECT slot_name, active, pg_catalog.round(GREATEST(pg_catalog.pg_wal_lsn_diff(%s, restart_lsn), 0) / "
        "1048576)::pg_catalog.int8, %s FROM pg_catalog.pg_replication_slots ORDER BY slot_name",
        end, c->version >= 130000 ? "wal_status" : "''");
    int rc = ask(c, "replication-slots", sql, &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    uint64_t used = (uint64_t)PQntuples(res), all = number(c->value[SLOTS]);
    rc = tell(c, used < all ? GSP_PROBE_OK : GSP_PROBE_WARNING, "replication-slots",
        "ALTER SYSTEM SET max_replication_slots = 10; then restart the server; or drop slots left behind", err,
        "%" PRIu64 " of max_replication_slots = %" PRIu64 " are in use%s", used, all,
        used < all ? "" : ": nothing holds the WAL of a backup");
    for (int i = 0; i < PQntuples(res) && rc == 0; i++)
        rc = check_slot(c, res, i, err);
    PQclear(res);
    if (rc != 0)
        return rc;
    const char *keep = c->value[KEEP_SIZE][0] != '\0' ? c->value[KEEP_SIZE] : c->value[KEEP_SEGMENTS];
    return tell(c, GSP_PROBE_OK, "wal-retention", NULL, err, "%s is %s%s%s",
        c->value[KEEP_SIZE][0] != '\0' ? "wal_keep_size (MB)" : "wal_keep_segments", keep,
        c->value[SLOT_KEEP][0] != '\0' ? ", max_slot_wal_keep_size (MB, -1 = no limit) is " : "", c->value[SLOT_KEEP]);
}

/* ---- changed blocks ----------------------------------------------------------------------------- */

static int
check_summarizer(struct checks *c, struct gsp_error *err)
{
    PGresult *res;
    int rc = ask(c, "changed-blocks",
        "SELECT summarized_lsn, summarizer_pid IS NOT NULL FROM pg_catalog.pg_get_wal_summarizer_state()", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    int runs = strcmp(pg_cell(res, 0, 1), "t") == 0;
    rc = tell(c, runs ? GSP_PROBE_OK : GSP_PROBE_WARNING, "changed-blocks",
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
    int wanted = (c->flags & GSP_CHECK_CHANGED_BLOCKS) != 0;
    if (strcmp(c->value[SUMMARIZE], "on") == 0)
        return check_summarizer(c, err);
    if (c->value[SUMMARIZE][0] != '\0' && wanted)
        return tell(c, GSP_PROBE_ERROR, "changed-blocks", fix, err,
            "summarize_wal is off, and backups of mode PTRACK are taken of this server");
    return tell(c, GSP_PROBE_OK, "changed-blocks", NULL, err,
        c->value[SUMMARIZE][0] != '\0' ? "summarize_wal is off: no backups of mode PTRACK"
                                       : "the server does not know its changed blocks: no backups of mode PTRACK");
}

/* ---- clock -------------------------------------------------------------------------------------- */

static int64_t
wall_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int
check_clock(struct checks *c, struct gsp_error *err)
{
    PGresult *res;
    int64_t before = wall_us();
    int rc = ask(c, "clock",
        "SELECT (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    int64_t after = wall_us(), theirs = (int64_t)number(pg_cell(res, 0, 0));
    PQclear(res);
    /* The answer was made at some moment in between. */
    int64_t apart = theirs > after ? theirs - after : theirs < before ? before - theirs : 0;
    return tell(c, apart > CLOCK_LIMIT_US ? GSP_PROBE_WARNING : GSP_PROBE_OK, "clock",
        "synchronise the clocks of both machines: times of recovery and of retention depend on them", err,
        "the clocks of server and host are %.1f s apart", (double)apart / 1e6);
}

/* ------------------------------------------------------------------------------------------------- */

int
pg_check(void *srv, uint32_t flags, struct gsp_identity *ret, gsp_probe_cb cb, void *arg, struct gsp_error *err)
{
    /* The first ones need no settings. */
    static int (*const probes[])(struct checks * c, struct gsp_error * err) = {check_rights, check_clock,
        check_wal_level, check_senders, check_slots, check_timeouts, check_changed_blocks, check_checksums};
    struct checks c = {.link = pg_session_link(srv), .flags = flags, .cb = cb, .arg = arg};
    int rc = pg_session_identify(srv, ret, err);
    if (rc != 0)
        return rc;
    c.version = PQserverVersion(c.link->conn);
    c.user = PQuser(c.link->conn);
    rc = read_settings(&c, err);
    int is_read = c.value[WAL_LEVEL][0] != '\0';
    for (size_t i = 0; rc == 0 && i < (is_read ? sizeof probes / sizeof probes[0] : 2); i++)
        rc = probes[i](&c, err);
    return rc == 0 && is_read ? check_checkpoint(&c, pg_session_wait_us(srv), err) : rc;
}
