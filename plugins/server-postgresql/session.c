/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <inttypes.h>
#include <pwd.h>
#include <unistd.h>

struct pg_session {
    struct pg_link link;
    uint64_t system_id;
    uint32_t version_num;
    int64_t wait_us; /* how long the server may take for its checkpoint */
    int began_on_standby;
    char *label;
    char *map;
};

struct pg_link *
pg_session_link(struct pg_session *s)
{
    return &s->link;
}

uint64_t
pg_session_system_id(const struct pg_session *s)
{
    return s->system_id;
}

int64_t
pg_session_wait_us(const struct pg_session *s)
{
    return s->wait_us;
}

static int64_t
deadline_of(const struct pg_session *s)
{
    return pg_now_us() + s->link.timeout_us;
}

/* ---- open and close ----------------------------------------------------------------------------- */

/* A session may idle for hours while files are copied: no limit of the role, the database or the server
 * may end it. Settings that a version does not have are not in pg_settings and stay out. */
static int
prepare(struct pg_session *s, struct gsp_error *err)
{
    static const char *const limits =
        "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name IN "
        "('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', "
        "'transaction_timeout')";
    static const char *const style =
        "SELECT pg_catalog.set_config('search_path', '', false), pg_catalog.set_config('datestyle', 'ISO, DMY', "
        "false), pg_catalog.set_config('client_min_messages', 'warning', false)";
    static const char *const who = "SELECT system_identifier, pg_catalog.current_setting('server_version_num') FROM "
                                   "pg_catalog.pg_control_system()";
    PGresult *res;
    uint64_t version;
    int rc = pg_link_query(&s->link, style, 0, NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    PQclear(res);
    rc = pg_link_query(&s->link, limits, 0, NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    PQclear(res);
    rc = pg_link_query(&s->link, who, 0, NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT64_MAX, &s->system_id, err);
    if (rc == 0)
        rc = pg_cell_u64(res, 0, 1, UINT32_MAX, &version, err);
    if (rc == 0)
        s->version_num = (uint32_t)version;
    PQclear(res);
    return rc;
}

static int
check_version(const struct pg_session *s, struct gsp_error *err)
{
    int version = PQserverVersion(s->link.conn);
    const char *text = PQparameterStatus(s->link.conn, "server_version");
    if (version >= (int)PG_OLDEST_MAJOR * 10000 && version < (int)(PG_NEWEST_MAJOR + 1) * 10000)
        return 0;
    return gsp_fail(err, GSP_E_VERSION, 0, "the server has version %s, PostgreSQL %u to %u are supported",
        text != NULL ? text : "unknown", PG_OLDEST_MAJOR, PG_NEWEST_MAJOR);
}

/* The core's default for the database is PGUSER, then the name of the operating-system user. */
static int
is_default_database(const char *dbname)
{
    struct passwd entry, *found = NULL;
    char buf[1024];
    const char *user = getenv("PGUSER");
    if (dbname == NULL || dbname[0] == '\0' || (user != NULL && strcmp(dbname, user) == 0))
        return 1;
    return getpwuid_r(geteuid(), &entry, buf, sizeof buf, &found) == 0 && found != NULL &&
           strcmp(dbname, found->pw_name) == 0;
}

static int
connect_session(struct pg_session *s, const struct pg_options *opts, struct gsp_error *err)
{
    char port[16] = "";
    struct pg_target target = {
        .host = opts->host, .port = port, .dbname = opts->dbname, .user = opts->user, .password = opts->password};
    int rc;
    if (opts->port > 0)
        (void)snprintf(port, sizeof port, "%u", (unsigned)(uint16_t)opts->port);
    rc = pg_link_open(&s->link, &target, err);
    /* Nobody chose the database, it is the user's name by default: any database will do for a backup. */
    if (rc < 0 && is_default_database(opts->dbname) && pg_link_failed_with(&s->link, PG_STATE_NO_DATABASE)) {
        gsp_error_clear(err);
        s->link.sqlstate[0] = '\0';
        target.dbname = "postgres";
        rc = pg_link_open(&s->link, &target, err);
    }
    return rc;
}

int
pg_open(void *state, const void *opts, void **ret_srv, struct gsp_error *err)
{
    const struct pg_state *plugin = state;
    const struct pg_options *o = opts;
    struct pg_session *s = calloc(1, sizeof *s);
    int rc;
    if (s == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory opening a session");
    s->link.host = plugin->host;
    s->wait_us = o->wait_us;
    s->link.timeout_us = o->timeout_us < o->wait_us ? o->timeout_us : o->wait_us;
    s->link.limit = o->timeout_us < o->wait_us ? "--rw-timeout" : "--archive-timeout";
    s->link.if_lost = "Look at the server's log: it was stopped or restarted, or somebody ended the session.";
    rc = connect_session(s, o, err);
    if (rc == 0)
        rc = check_version(s, err);
    if (rc == 0)
        rc = prepare(s, err);
    if (rc < 0) {
        pg_close(s);
        return rc;
    }
    *ret_srv = s;
    return 0;
}

void
pg_close(void *srv)
{
    struct pg_session *s = srv;
    if (s == NULL)
        return;
    pg_link_close(&s->link);
    free(s->label);
    free(s->map);
    free(s);
}

/* ---- questions ---------------------------------------------------------------------------------- */

static int
is_on(const char *text)
{
    return strcmp(text, "on") == 0 || strcmp(text, "t") == 0;
}

static int
read_identity(const struct pg_session *s, const PGresult *res, struct gsp_identity *ret, struct gsp_error *err)
{
    uint64_t page_size = 0, wal_block_size = 0;
    int n;
    int rc = pg_cell_u64(res, 0, 1, UINT32_MAX, &page_size, err);
    if (rc == 0)
        rc = pg_cell_u64(res, 0, 2, UINT32_MAX, &wal_block_size, err);
    if (rc < 0)
        return rc;
    ret->version_num = s->version_num;
    ret->system_id = s->system_id;
    ret->in_recovery = (uint32_t)is_on(pg_cell(res, 0, 0));
    ret->page_size = (uint32_t)page_size;
    ret->wal_block_size = (uint32_t)wal_block_size;
    ret->checksums = (uint32_t)is_on(pg_cell(res, 0, 3));
    (void)snprintf(ret->version, sizeof ret->version, "%s", pg_cell(res, 0, 4));
    n = snprintf(ret->data_directory, sizeof ret->data_directory, "%s", pg_cell(res, 0, 5));
    if (n < 0 || (size_t)n >= sizeof ret->data_directory)
        ret->data_directory[0] = '\0'; /* half a path would be taken for another directory */
    return 0;
}

int
pg_databases(void *srv, int (*cb)(void *arg, uint32_t oid, const char *name), void *arg, struct gsp_error *err)
{
    static const char *const sql = "SELECT oid, datname FROM pg_catalog.pg_database WHERE datname NOT IN ('template0', "
                                   "'template1') ORDER BY oid";
    struct pg_session *s = srv;
    PGresult *res;
    int rc = pg_link_query(&s->link, sql, 0, NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    for (int i = 0; rc == 0 && i < PQntuples(res); i++) {
        uint64_t oid = 0;
        rc = pg_cell_u64(res, i, 0, UINT32_MAX, &oid, err);
        if (rc == 0)
            rc = cb(arg, (uint32_t)oid, pg_cell(res, i, 1));
    }
    PQclear(res);
    return rc;
}

static int
ask_in_recovery(struct pg_session *s, int *ret, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_link_query(&s->link, "SELECT pg_catalog.pg_is_in_recovery()", 0, NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    *ret = is_on(pg_cell(res, 0, 0));
    PQclear(res);
    return 0;
}

/* ---- backup ------------------------------------------------------------------------------------- */

/* Version 15 renamed the functions and dropped the exclusive mode with its parameter. */
struct backup_calls {
    const char *begin, *begin_name, *end, *end_name, *grants, *rights;
};

static const struct backup_calls *
calls_of(const struct pg_session *s)
{
    static const struct backup_calls before_15 = {
        "SELECT pg_catalog.pg_start_backup($1, $2, false)",
        "pg_start_backup",
        "SELECT lsn, labelfile, spcmapfile FROM pg_catalog.pg_stop_backup(false, false)",
        "pg_stop_backup",
        "pg_catalog.pg_start_backup(text, boolean, boolean), pg_catalog.pg_stop_backup(boolean, boolean)",
        "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_start_backup(text, boolean, boolean)', 'EXECUTE') AND "
        "pg_catalog.has_function_privilege('pg_catalog.pg_stop_backup(boolean, boolean)', 'EXECUTE') AND "
        "pg_catalog.has_function_privilege('pg_catalog.pg_create_restore_point(text)', 'EXECUTE')",
    };
    static const struct backup_calls since_15 = {
        "SELECT pg_catalog.pg_backup_start($1, $2)",
        "pg_backup_start",
        "SELECT lsn, labelfile, spcmapfile FROM pg_catalog.pg_backup_stop(false)",
        "pg_backup_stop",
        "pg_catalog.pg_backup_start(text, boolean), pg_catalog.pg_backup_stop(boolean)",
        "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_backup_start(text, boolean)', 'EXECUTE') AND "
        "pg_catalog.has_function_privilege('pg_catalog.pg_backup_stop(boolean)', 'EXECUTE') AND "
        "pg_catalog.has_function_privilege('pg_catalog.pg_create_restore_point(text)', 'EXECUTE')",
    };
    return s->version_num >= 150000 ? &since_15 : &before_15;
}

/* Say what the user can do about a failed backup call. */
static int
advise(struct pg_session *s, const char *call, struct gsp_error *err)
{
    if (err->code == GSP_E_PERM)
        (void)gsp_hint(err, "Run: GRANT EXECUTE ON FUNCTION %s, pg_catalog.pg_create_restore_point(text) TO \"%s\";",
            calls_of(s)->grants, PQuser(s->link.conn));
    if (strstr(err->msg, "full_page_writes") != NULL)
        (void)gsp_hint(err,
            "A backup from a standby needs full_page_writes = on at the primary since its last checkpoint: set it "
            "there, run CHECKPOINT, and take the backup again.");
    return gsp_prefix(err, "%s", call);
}

/* Asked before anything is written, so that a missing right leaves no failed backup behind. */
static int
check_rights(struct pg_session *s, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_link_query(&s->link, calls_of(s)->rights, 0, NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    if (!is_on(pg_cell(res, 0, 0))) {
        (void)gsp_fail(err, GSP_E_PERM, 0, "role \"%s\" may not run backups", PQuser(s->link.conn));
        rc = advise(s, "missing rights", err);
    }
    PQclear(res);
    return rc;
}

int
pg_session_identify(struct pg_session *s, struct gsp_identity *ret, struct gsp_error *err)
{
    /* pg_settings leaves out what the role may not see, where current_setting would fail. */
    static const char *const sql =
        "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('block_size'), "
        "pg_catalog.current_setting('wal_block_size'), pg_catalog.current_setting('data_checksums'), "
        "pg_catalog.current_setting('server_version'), (SELECT setting FROM pg_catalog.pg_settings WHERE name = "
        "'data_directory')";
    PGresult *res;
    int rc = pg_link_query(&s->link, sql, 0, NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    rc = read_identity(s, res, ret, err);
    PQclear(res);
    return rc;
}

int
pg_identify(void *srv, struct gsp_identity *ret, struct gsp_error *err)
{
    int rc = pg_session_identify(srv, ret, err);
    return rc == 0 ? check_rights(srv, err) : rc;
}

static int
read_timeline(struct pg_session *s, uint32_t *ret, struct gsp_error *err)
{
    PGresult *res;
    uint64_t timeline = 0;
    int rc = pg_link_query(
        &s->link, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()", 0, NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT32_MAX, &timeline, err);
    PQclear(res);
    *ret = (uint32_t)timeline;
    return rc;
}

/* The server spreads a smooth checkpoint over up to checkpoint_timeout, and may have to finish another one
 * of that kind first. */
static int
add_smooth_checkpoint(struct pg_session *s, int64_t *wait_us, struct gsp_error *err)
{
    PGresult *res;
    uint64_t seconds = 0;
    int rc = pg_link_query(&s->link, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'checkpoint_timeout'", 0,
        NULL, deadline_of(s), &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT32_MAX, &seconds, err);
    PQclear(res);
    *wait_us += 2 * (int64_t)seconds * 1000000;
    return rc;
}

static int
late_or(struct pg_session *s, const char *call, int64_t timeout_us, struct gsp_error *err)
{
    if (err->code != GSP_E_TIMEOUT)
        return advise(s, call, err);
    gsp_error_clear(err);
    (void)gsp_fail(
        err, GSP_E_TIMEOUT, 0, "%s doesn't answer in %" PRId64 " seconds, cancel it", call, timeout_us / 1000000);
    return gsp_hint(
        err, "Look at the server's log, its load and the network, or raise the time limit with --archive-timeout.");
}

int
pg_backup_begin(void *srv, const char *label, uint32_t flags, struct gsp_begin *ret, struct gsp_error *err)
{
    struct pg_session *s = srv;
    const struct backup_calls *calls = calls_of(s);
    const char *values[2] = {label, (flags & GSP_BEGIN_SMOOTH) ? "false" : "true"};
    PGresult *res;
    gsp_lsn start = 0;
    uint32_t timeline = 0;
    int64_t wait_us = s->wait_us;
    int rc;
    if (flags & ~GSP_BEGIN_SMOOTH)
        return gsp_fail(err, GSP_E_BUG, 0, "backup_begin: unknown flags %#x", flags & ~GSP_BEGIN_SMOOTH);
    rc = ask_in_recovery(s, &s->began_on_standby, err);
    if (rc == 0 && (flags & GSP_BEGIN_SMOOTH))
        rc = add_smooth_checkpoint(s, &wait_us, err);
    if (rc < 0)
        return rc;
    rc = pg_link_query(&s->link, calls->begin, 2, values, pg_now_us() + wait_us, &res, err);
    if (rc < 0)
        return late_or(s, calls->begin_name, wait_us, err);
    rc = pg_cell_lsn(res, 0, 0, &start, err);
    PQclear(res);
    /* The checkpoint just made is the one the label names, so its timeline is that of the start. */
    if (rc == 0)
        rc = read_timeline(s, &timeline, err);
    if (rc < 0)
        return rc;
    ret->start_lsn = start;
    ret->timeline = timeline;
    return 0;
}

/* Take the label and the map over from the answer to the stop. */
static int
keep_files(struct pg_session *s, const PGresult *res, struct gsp_error *err)
{
    free(s->label);
    free(s->map);
    s->label = strdup(pg_cell(res, 0, 1));
    s->map = strdup(pg_cell(res, 0, 2));
    if (s->label == NULL || s->map == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory keeping the backup label");
    return 0;
}

/* Next transaction id and time, asked behind the stop: whatever the backup holds is before both. The
 * clock of a standby is not the one its transactions were stamped with, so the later one counts. */
static int
read_recovery_point(struct pg_session *s, int64_t deadline_us, struct gsp_end *ret, struct gsp_error *err)
{
    static const char *const sql =
        "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()), (pg_catalog.date_part('epoch', "
        "GREATEST(pg_catalog.clock_timestamp(), pg_catalog.pg_last_xact_replay_timestamp())) * "
        "1000000)::pg_catalog.int8";
    PGresult *res;
    uint64_t xid = 0, time_us = 0;
    int rc = pg_link_query(&s->link, sql, 0, NULL, deadline_us, &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT64_MAX, &xid, err);
    if (rc == 0)
        rc = pg_cell_u64(res, 0, 1, INT64_MAX, &time_us, err);
    PQclear(res);
    ret->recovery_xid = xid;
    ret->recovery_time_us = (int64_t)time_us;
    return rc;
}

static int
create_restore_point(struct pg_session *s, const char *name, int64_t deadline_us, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_link_query(&s->link, "SELECT pg_catalog.pg_create_restore_point($1)", 1, &name, deadline_us, &res, err);
    if (rc == 0)
        PQclear(res);
    return rc;
}

static int
check_not_promoted(struct pg_session *s, int *ret_standby, struct gsp_error *err)
{
    int rc = ask_in_recovery(s, ret_standby, err);
    if (rc < 0 || *ret_standby || !s->began_on_standby)
        return rc;
    (void)gsp_fail(err, GSP_E_SERVER, 0, "the standby was promoted while the backup was taken");
    return gsp_hint(err, "Take the backup again: the files of a promoted standby do not fit together.");
}

int
pg_backup_end(void *srv, const char *restore_point, int64_t timeout_us, struct gsp_end *ret, struct gsp_error *err)
{
    struct pg_session *s = srv;
    const struct backup_calls *calls = calls_of(s);
    int64_t deadline = timeout_us > 0 ? pg_now_us() + timeout_us : PG_NO_DEADLINE;
    struct gsp_end end = *ret;
    PGresult *res;
    int standby, rc = check_not_promoted(s, &standby, err);
    if (rc < 0)
        return rc;
    if (!standby && restore_point != NULL) {
        rc = create_restore_point(s, restore_point, deadline, err);
        if (rc < 0)
            return late_or(s, "pg_create_restore_point", timeout_us, err);
    }
    /* WAL comes by streaming, so the server need not wait for its archive. On a primary the stop itself
     * switches to a new segment. */
    rc = pg_link_query(&s->link, calls->end, 0, NULL, deadline, &res, err);
    if (rc < 0)
        return late_or(s, calls->end_name, timeout_us, err);
    rc = pg_cell_lsn(res, 0, 0, &end.stop_lsn, err);
    if (rc == 0)
        rc = keep_files(s, res, err);
    PQclear(res);
    if (rc < 0)
        return rc;
    rc = read_recovery_point(s, deadline, &end, err);
    if (rc < 0)
        return rc;
    end.label = s->label;
    end.map = s->map;
    *ret = end;
    return 0;
}
