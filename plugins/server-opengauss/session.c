/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <inttypes.h>

#define LEAVE_US 10000000 /* how long the end of an unfinished backup may take */
#define CONTROL_VERSION "923"

/* Where the stock tool has a statement for it, it is the same to the letter: what stands between us and the server
 * (proxies, audits, doubles for tests) knows it. */
static const char setup_timeout[] = "SET session_timeout = 0;";
static const char setup_statement[] = "SET statement_timeout = 0;";
static const char setup_path[] = "SET search_path = pg_catalog;";
static const char setup_messages[] = "SET client_min_messages = warning;";
static const char setup_dates[] = "SET datestyle = 'ISO, DMY';";
static const char ask_control[] =
    "SELECT pg_control_version, catalog_version_no, system_identifier FROM pg_catalog.pg_control_system()";
static const char ask_functions[] =
    "SELECT pg_catalog.count(*) FROM pg_catalog.pg_proc WHERE proname = 'pg_start_backup' AND pronargs = 3";
static const char ask_setting[] = "SELECT pg_catalog.current_setting($1)";
static const char ask_directory[] = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'";
static const char ask_role[] = "select local_role from pg_stat_get_stream_replications();";
static const char ask_rights[] =
    "SELECT rolsuper OR rolsystemadmin, rolreplication, (SELECT setting FROM pg_catalog.pg_settings WHERE name = "
    "'operation_mode') FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER";
static const char ask_databases[] =
    "SELECT oid, datname FROM pg_catalog.pg_database WHERE datname NOT IN ('template1', 'template0')";

/* Next transaction id and time, asked behind the stop: whatever the backup holds is before both. */
static const char ask_recovery_point[] =
    "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()), (pg_catalog.date_part('epoch', "
    "pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8";

/* Without exclusive mode nothing is written into the data directory, and nothing stays there whatever happens. Only
 * servers that know no other mode are put into it; label and map are then read from the data directory. */
struct backup_calls {
    const char *begin, *end;
};
static const struct backup_calls shared_calls = {
    "SELECT pg_catalog.pg_start_backup($1, $2, false)",
    "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()), current_timestamp(0)::timestamptz, "
    "lsn, labelfile, spcmapfile FROM pg_catalog.pg_stop_backup(false)",
};
static const struct backup_calls exclusive_calls = {
    "SELECT pg_catalog.pg_start_backup($1, $2)",
    "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()), current_timestamp(0)::timestamptz, "
    "pg_catalog.pg_stop_backup() as lsn",
};
static const char read_files[] =
    "SELECT f, pg_catalog.pg_read_file(f) FROM pg_catalog.pg_ls_dir('.') AS t(f) WHERE f IN ('backup_label', "
    "'tablespace_map')";

/* Columns of the end. */
enum { LSN = 2, LABEL = 3, MAP = 4 };

struct og_session {
    struct pg_base base;
    const struct backup_calls *calls;
    int in_backup;    /* the server was asked to begin a backup, and not heard to have ended it */
    char version[64]; /* for people */
    char role[32];    /* of the server */
};

struct pg_base *
og_session_base(struct og_session *s)
{
    return &s->base;
}

const char *
og_session_role(const struct og_session *s)
{
    return s->role;
}

/* ---- open and close ----------------------------------------------------------------------------- */

/* "(openGauss-lite 7.0.0-RC2 build ...) compiled ...": what is said before the build. */
static int
check_product(struct og_session *s, struct gsp_error *err)
{
    char banner[512];
    const char *end;
    int rc = pg_base_version(&s->base, banner, sizeof banner, err);
    if (rc < 0)
        return rc;
    if (!pg_is_opengauss(banner)) {
        (void)gsp_fail(err, GSP_E_VERSION, 0, "the server is not openGauss: %.80s", banner);
        return gsp_hint(err, "Let plugin in the section 'server' of the site configuration be 'auto' or 'postgresql', "
                             "and -D be the data directory of the server that -h and -p lead to.");
    }
    end = strstr(banner, " build");
    (void)snprintf(s->version, sizeof s->version, "%.*s",
        (int)(end != NULL ? (size_t)(end - banner) - 1 : strcspn(banner + 1, ")")), banner + 1);
    return 0;
}

/* A session may idle for hours while files are copied: no limit of the role, the database or the server may end it. */
static int
prepare(struct og_session *s, struct gsp_error *err)
{
    static const char *const setup[] = {setup_timeout, setup_statement, setup_path, setup_messages, setup_dates};
    PGresult *res = NULL;
    uint64_t shared = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof setup / sizeof setup[0]; i++)
        rc = pg_base_run(&s->base, setup[i], err);
    if (rc == 0)
        rc = pg_base_ask(&s->base, ask_control, &res, err);
    if (rc < 0)
        return rc;
    if (strcmp(pg_cell(res, 0, 0), CONTROL_VERSION) != 0)
        s->base.link.host->log(s->base.link.host->ctx, GSP_LOG_WARNING,
            "server: its control file has version %s, %s is known", pg_cell(res, 0, 0), CONTROL_VERSION);
    rc = pg_cell_u64(res, 0, 2, UINT64_MAX, &s->base.system_id, err);
    PQclear(res);
    if (rc == 0)
        rc = pg_base_ask(&s->base, ask_functions, &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT32_MAX, &shared, err);
    PQclear(res);
    s->calls = shared > 0 ? &shared_calls : &exclusive_calls;
    return rc;
}

int
og_open(void *state, const void *opts, void **ret_srv, struct gsp_error *err)
{
    const struct og_state *plugin = state;
    struct og_session *s = calloc(1, sizeof *s);
    int rc;
    if (s == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory opening a session");
    rc = pg_base_open(&s->base, plugin->host, opts, err);
    if (rc == 0)
        rc = check_product(s, err);
    if (rc == 0)
        rc = prepare(s, err);
    if (rc < 0) {
        og_close(s);
        return rc;
    }
    *ret_srv = s;
    return 0;
}

/* Take the server out of backup mode. The end of the session does it too, but in exclusive mode leaves a file that
 * keeps the next backup from beginning. */
static void
leave_backup(struct og_session *s)
{
    struct pg_link *link = &s->base.link;
    const struct gsp_host *host = link->host;
    struct gsp_error problem = {0};
    PGresult *res = NULL;
    int rc;
    host->log(host->ctx, GSP_LOG_WARNING, "backup in progress, stop backup");
    link->is_closing = 1;
    rc = pg_link_query(link, s->calls->end, 0, NULL, pg_now_us() + LEAVE_US, &res, &problem);
    PQclear(res);
    /* It had not begun. */
    if (rc == 0 || pg_link_failed_with(link, PG_STATE_NOT_READY))
        return;
    host->log(host->ctx, GSP_LOG_WARNING, "the server could not be told to end the backup: %s%s", problem.msg,
        s->calls == &exclusive_calls ? "; if the next backup cannot begin, remove the file tablespace_map from the "
                                       "data directory"
                                     : "; it ends with its session");
}

void
og_close(void *srv)
{
    struct og_session *s = srv;
    if (s == NULL)
        return;
    if (s->in_backup)
        leave_backup(s);
    pg_base_close(&s->base);
    free(s);
}

/* ---- questions ---------------------------------------------------------------------------------- */

static int
ask_size(struct og_session *s, const char *setting, uint32_t *ret, struct gsp_error *err)
{
    PGresult *res;
    uint64_t size = 0;
    int rc = pg_link_query(&s->base.link, ask_setting, 1, &setting, pg_base_deadline(&s->base), &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT32_MAX, &size, err);
    PQclear(res);
    *ret = (uint32_t)size;
    return rc;
}

/* The one cell of an answer; "" when it does not fit. */
static int
ask_text(struct og_session *s, const char *sql, char *ret, size_t size, struct gsp_error *err)
{
    PGresult *res;
    int n, rc = pg_base_ask(&s->base, sql, &res, err);
    if (rc < 0)
        return rc;
    n = snprintf(ret, size, "%s", pg_cell(res, 0, 0));
    PQclear(res);
    if (n < 0 || (size_t)n >= size)
        ret[0] = '\0'; /* half a path would be taken for another directory */
    return 0;
}

int
og_session_identify(struct og_session *s, struct gsp_identity *ret, struct gsp_error *err)
{
    struct gsp_identity id = *ret;
    int standby = 0, rc = ask_size(s, "block_size", &id.page_size, err);
    if (rc == 0)
        rc = ask_size(s, "wal_block_size", &id.wal_block_size, err);
    if (rc == 0)
        rc = pg_base_in_recovery(&s->base, &standby, err);
    if (rc == 0)
        rc = ask_text(s, ask_directory, id.data_directory, sizeof id.data_directory, err);
    if (rc == 0)
        rc = ask_text(s, ask_role, s->role, sizeof s->role, err);
    if (rc < 0)
        return rc;
    id.system_id = s->base.system_id;
    id.version_num = (uint32_t)PQserverVersion(s->base.link.conn);
    id.in_recovery = (uint32_t)standby;
    id.checksums = 1; /* there is no setting */
    (void)snprintf(id.version, sizeof id.version, "%.36s, %.24s", s->version, s->role);
    *ret = id;
    return 0;
}

int
og_session_rights(struct og_session *s, struct og_rights *ret, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_base_ask(&s->base, ask_rights, &res, err);
    if (rc < 0)
        return rc;
    ret->is_admin = pg_is_on(pg_cell(res, 0, 0));
    ret->may_replicate = pg_is_on(pg_cell(res, 0, 1));
    ret->operation_mode = pg_is_on(pg_cell(res, 0, 2));
    PQclear(res);
    return 0;
}

/* Asked before anything is written, so that a missing right leaves no failed backup behind. */
static int
check_rights(struct og_session *s, int standby, struct gsp_error *err)
{
    struct og_rights rights = {0};
    const char *user = PQuser(s->base.link.conn);
    int rc = og_session_rights(s, &rights, err);
    if (rc < 0 || rights.is_admin || rights.operation_mode || (standby && rights.may_replicate))
        return rc;
    (void)gsp_fail(err, GSP_E_PERM, 0, "role \"%s\" may not run backups: %s", user,
        rights.may_replicate ? "it may not create restore points" : "it is neither SYSADMIN nor REPLICATION");
    return gsp_hint(err, "Run: ALTER ROLE \"%s\" SYSADMIN; or use the initial user.", user);
}

int
og_identify(void *srv, struct gsp_identity *ret, struct gsp_error *err)
{
    int rc = og_session_identify(srv, ret, err);
    return rc == 0 ? check_rights(srv, (int)ret->in_recovery, err) : rc;
}

int
og_databases(void *srv, int (*cb)(void *arg, uint32_t oid, const char *name), void *arg, struct gsp_error *err)
{
    struct og_session *s = srv;
    return pg_base_databases(&s->base, ask_databases, cb, arg, err);
}

/* ---- backup ------------------------------------------------------------------------------------- */

/* How a call failed, and what to do. */
static int
call_failed(const char *call, int64_t timeout_us, struct gsp_error *err)
{
    if (err->code == GSP_E_TIMEOUT)
        return pg_late(call, timeout_us, err);
    /* In any language the server names the file in its hint. */
    if (strstr(err->hint, "tablespace_map") != NULL || strstr(err->hint, "backup_label") != NULL) {
        const char *file = strstr(err->hint, "tablespace_map") != NULL ? "tablespace_map" : "backup_label";
        err->hint[0] = '\0';
        (void)gsp_hint(err,
            "Another tool backs this server up, or did and was killed, and left its files: when you are sure that "
            "none does, remove '%s' from the data directory and take the backup again.",
            file);
    }
    if (err->code == GSP_E_PERM)
        (void)gsp_hint(err, "Use the initial user, or a role with SYSADMIN.");
    return gsp_prefix(err, "%s", call);
}

static int
call_begin(struct og_session *s, const char *label, uint32_t flags, gsp_lsn *ret_start, struct gsp_error *err)
{
    const char *values[2] = {label, (flags & GSP_BEGIN_SMOOTH) ? "false" : "true"};
    PGresult *res;
    int64_t wait_us = 0;
    int rc = pg_base_wait_for_begin(&s->base, flags, &wait_us, err);
    if (rc < 0)
        return rc;
    s->in_backup = 1; /* also when the answer never comes */
    rc = pg_link_query(&s->base.link, s->calls->begin, 2, values, pg_now_us() + wait_us, &res, err);
    if (rc < 0) {
        /* What the server itself has refused it has not begun. */
        s->in_backup = rc == GSP_E_TIMEOUT || rc == GSP_E_CANCELLED || rc == GSP_E_NET;
        return call_failed("pg_start_backup", wait_us, err);
    }
    rc = pg_cell_lsn(res, 0, 0, ret_start, err);
    PQclear(res);
    return rc;
}

int
og_backup_begin(void *srv, const char *label, uint32_t flags, struct gsp_begin *ret, struct gsp_error *err)
{
    struct og_session *s = srv;
    gsp_lsn start = 0;
    uint32_t timeline = 0;
    int rc;
    if (flags & ~GSP_BEGIN_SMOOTH)
        return gsp_fail(err, GSP_E_BUG, 0, "backup_begin: unknown flags %#x", flags & ~GSP_BEGIN_SMOOTH);
    rc = pg_base_in_recovery(&s->base, &s->base.began_on_standby, err);
    if (rc == 0 && s->base.began_on_standby && s->calls == &exclusive_calls) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0,
            "this version of openGauss cannot be backed up on a standby: it has no pg_start_backup(text, boolean, "
            "boolean)");
        return gsp_hint(err, "Take the backup from the primary.");
    }
    if (rc == 0)
        rc = call_begin(s, label, flags, &start, err);
    /* The checkpoint just made is the one the label names, so its timeline is that of the start. */
    if (rc == 0)
        rc = pg_base_timeline(&s->base, &timeline, err);
    if (rc < 0)
        return rc;
    ret->start_lsn = start;
    ret->timeline = timeline;
    return 0;
}

/* The files of exclusive mode, while they are there. */
static int
keep_exclusive_files(struct og_session *s, struct gsp_error *err)
{
    PGresult *res;
    const char *label = "", *map = "";
    int rc = pg_base_ask(&s->base, read_files, &res, err);
    if (rc < 0)
        return rc;
    for (int i = 0; i < PQntuples(res); i++)
        *(strcmp(pg_cell(res, i, 0), "backup_label") == 0 ? &label : &map) = pg_cell(res, i, 1);
    if (label[0] == '\0')
        rc = gsp_fail(err, GSP_E_SERVER, 0, "the server has lost its file backup_label: somebody ended this backup");
    else
        rc = pg_base_keep(&s->base, label, map, err);
    PQclear(res);
    return rc;
}

static int
call_end(struct og_session *s, int64_t deadline_us, int64_t timeout_us, gsp_lsn *ret_stop, struct gsp_error *err)
{
    PGresult *res;
    int is_exclusive = s->calls == &exclusive_calls, rc = is_exclusive ? keep_exclusive_files(s, err) : 0;
    if (rc < 0)
        return rc;
    rc = pg_link_query(&s->base.link, s->calls->end, 0, NULL, deadline_us, &res, err);
    if (rc < 0)
        return call_failed("pg_stop_backup", timeout_us, err);
    s->in_backup = 0;
    rc = pg_cell_lsn(res, 0, LSN, ret_stop, err);
    if (rc == 0 && !is_exclusive)
        rc = pg_base_keep(&s->base, pg_cell(res, 0, LABEL), pg_cell(res, 0, MAP), err);
    PQclear(res);
    return rc;
}

int
og_backup_end(void *srv, const char *restore_point, int64_t timeout_us, struct gsp_end *ret, struct gsp_error *err)
{
    struct og_session *s = srv;
    int64_t deadline = timeout_us > 0 ? pg_now_us() + timeout_us : PG_NO_DEADLINE;
    struct gsp_end end = *ret;
    int standby, rc = pg_base_check_role(&s->base, &standby, err);
    if (rc < 0)
        return rc;
    if (!standby && restore_point != NULL) {
        rc = pg_base_restore_point(&s->base, restore_point, deadline, err);
        if (rc < 0)
            return call_failed("pg_create_restore_point", timeout_us, err);
    }
    rc = call_end(s, deadline, timeout_us, &end.stop_lsn, err);
    if (rc == 0)
        rc = pg_base_recovery_point(&s->base, ask_recovery_point, deadline, &end, err);
    if (rc < 0)
        return rc;
    end.label = s->base.label;
    end.map = s->base.map;
    *ret = end;
    return 0;
}
