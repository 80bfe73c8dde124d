/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

struct pg_session {
    struct pg_base base;
    uint32_t version_num;
};

struct pg_link *
pg_session_link(struct pg_session *s)
{
    return &s->base.link;
}

uint64_t
pg_session_system_id(const struct pg_session *s)
{
    return s->base.system_id;
}

int64_t
pg_session_wait_us(const struct pg_session *s)
{
    return s->base.wait_us;
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
    PGresult *res = NULL;
    uint64_t version;
    int rc = pg_base_run(&s->base, style, err);
    if (rc == 0)
        rc = pg_base_run(&s->base, limits, err);
    if (rc == 0)
        rc = pg_base_ask(&s->base, who, &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT64_MAX, &s->base.system_id, err);
    if (rc == 0)
        rc = pg_cell_u64(res, 0, 1, UINT32_MAX, &version, err);
    if (rc == 0)
        s->version_num = (uint32_t)version;
    PQclear(res);
    return rc;
}

static int
check_version(struct pg_session *s, struct gsp_error *err)
{
    int version = PQserverVersion(s->base.link.conn);
    const char *text = PQparameterStatus(s->base.link.conn, "server_version");
    char banner[64];
    if (version >= (int)PG_OLDEST_MAJOR * 10000 && version < (int)(PG_NEWEST_MAJOR + 1) * 10000)
        return 0;
    if (pg_base_version(&s->base, banner, sizeof banner, err) < 0)
        return err->code;
    if (pg_is_opengauss(banner)) {
        (void)gsp_fail(err, GSP_E_VERSION, 0, "the server is openGauss, not PostgreSQL: %s...", banner);
        return gsp_hint(err, "Let plugin in the section 'server' of the site configuration be 'auto' or 'opengauss', "
                             "and -D be the data directory of the server that -h and -p lead to.");
    }
    return gsp_fail(err, GSP_E_VERSION, 0, "the server has version %s, PostgreSQL %u to %u are supported",
        text != NULL ? text : "unknown", PG_OLDEST_MAJOR, PG_NEWEST_MAJOR);
}

int
pg_open(void *state, const void *opts, void **ret_srv, struct gsp_error *err)
{
    const struct pg_state *plugin = state;
    struct pg_session *s = calloc(1, sizeof *s);
    int rc;
    if (s == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory opening a session");
    rc = pg_base_open(&s->base, plugin->host, opts, err);
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
    pg_base_close(&s->base);
    free(s);
}

/* ---- questions ---------------------------------------------------------------------------------- */

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
    ret->system_id = s->base.system_id;
    ret->in_recovery = (uint32_t)pg_is_on(pg_cell(res, 0, 0));
    ret->page_size = (uint32_t)page_size;
    ret->wal_block_size = (uint32_t)wal_block_size;
    ret->checksums = (uint32_t)pg_is_on(pg_cell(res, 0, 3));
    (void)snprintf(ret->version, sizeof ret->version, "%s", pg_cell(res, 0, 4));
    n = snprintf(ret->data_directory, sizeof ret->data_directory, "%s", pg_cell(res, 0, 5));
    if (n < 0 || (size_t)n >= sizeof ret->data_directory)
        ret->data_directory[0] = '\0'; /* half a path would be taken for another directory */
    return 0;
}

int
pg_databases(void *srv, int (*cb)(void *arg, uint32_t oid, const char *name), void *arg, struct gsp_error *err)
{
    struct pg_session *s = srv;
    return pg_base_databases(&s->base,
        "SELECT oid, datname FROM pg_catalog.pg_database WHERE datname NOT IN ('template0', 'template1') ORDER BY oid",
        cb, arg, err);
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
            calls_of(s)->grants, PQuser(s->base.link.conn));
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
    int rc = pg_base_ask(&s->base, calls_of(s)->rights, &res, err);
    if (rc < 0)
        return rc;
    if (!pg_is_on(pg_cell(res, 0, 0))) {
        (void)gsp_fail(err, GSP_E_PERM, 0, "role \"%s\" may not run backups", PQuser(s->base.link.conn));
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
    int rc = pg_base_ask(&s->base, sql, &res, err);
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

/* How a call failed, and what to do. */
static int
call_failed(struct pg_session *s, const char *call, int64_t timeout_us, struct gsp_error *err)
{
    return err->code == GSP_E_TIMEOUT ? pg_late(call, timeout_us, err) : advise(s, call, err);
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
    int64_t wait_us = 0;
    int rc;
    if (flags & ~GSP_BEGIN_SMOOTH)
        return gsp_fail(err, GSP_E_BUG, 0, "backup_begin: unknown flags %#x", flags & ~GSP_BEGIN_SMOOTH);
    rc = pg_base_in_recovery(&s->base, &s->base.began_on_standby, err);
    if (rc == 0)
        rc = pg_base_wait_for_begin(&s->base, flags, &wait_us, err);
    if (rc < 0)
        return rc;
    rc = pg_link_query(&s->base.link, calls->begin, 2, values, pg_now_us() + wait_us, &res, err);
    if (rc < 0)
        return call_failed(s, calls->begin_name, wait_us, err);
    rc = pg_cell_lsn(res, 0, 0, &start, err);
    PQclear(res);
    /* The checkpoint just made is the one the label names, so its timeline is that of the start. */
    if (rc == 0)
        rc = pg_base_timeline(&s->base, &timeline, err);
    if (rc < 0)
        return rc;
    ret->start_lsn = start;
    ret->timeline = timeline;
    return 0;
}

/* Next transaction id and time, asked behind the stop: whatever the backup holds is before both. The
 * clock of a standby is not the one its transactions were stamped with, so the later one counts. */
static const char recovery_point[] =
    "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()), (pg_catalog.date_part('epoch', "
    "GREATEST(pg_catalog.clock_timestamp(), pg_catalog.pg_last_xact_replay_timestamp())) * 1000000)::pg_catalog.int8";

int
pg_backup_end(void *srv, const char *restore_point, int64_t timeout_us, struct gsp_end *ret, struct gsp_error *err)
{
    struct pg_session *s = srv;
    const struct backup_calls *calls = calls_of(s);
    int64_t deadline = timeout_us > 0 ? pg_now_us() + timeout_us : PG_NO_DEADLINE;
    struct gsp_end end = *ret;
    PGresult *res;
    int standby, rc = pg_base_check_role(&s->base, &standby, err);
    if (rc < 0)
        return rc;
    if (!standby && restore_point != NULL) {
        rc = pg_base_restore_point(&s->base, restore_point, deadline, err);
        if (rc < 0)
            return call_failed(s, "pg_create_restore_point", timeout_us, err);
    }
    /* WAL comes by streaming, so the server need not wait for its archive. On a primary the stop itself
     * switches to a new segment. */
    rc = pg_link_query(&s->base.link, calls->end, 0, NULL, deadline, &res, err);
    if (rc < 0)
        return call_failed(s, calls->end_name, timeout_us, err);
    rc = pg_cell_lsn(res, 0, 0, &end.stop_lsn, err);
    if (rc == 0)
        rc = pg_base_keep(&s->base, pg_cell(res, 0, 1), pg_cell(res, 0, 2), err);
    PQclear(res);
    if (rc == 0)
        rc = pg_base_recovery_point(&s->base, recovery_point, deadline, &end, err);
    if (rc < 0)
        return rc;
    end.label = s->base.label;
    end.map = s->base.map;
    *ret = end;
    return 0;
}
