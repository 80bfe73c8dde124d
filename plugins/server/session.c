/* SPDX-License-Identifier: Apache-2.0 */
#include "server/session.h"

#include <inttypes.h>
#include <pwd.h>
#include <stddef.h>
#include <unistd.h>

/* ---- options ------------------------------------------------------------------------------------ */

#define AT(field) (uint32_t) offsetof(struct pg_options, field)

const struct gsp_option pg_session_options[] = {
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

/* ---- open and close ----------------------------------------------------------------------------- */

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

int
pg_base_connect(struct pg_link *link, const struct pg_options *opts, struct gsp_error *err)
{
    char port[16] = "";
    struct pg_target target = {
        .host = opts->host, .port = port, .dbname = opts->dbname, .user = opts->user, .password = opts->password};
    int rc;
    if (opts->port > 0)
        (void)snprintf(port, sizeof port, "%u", (unsigned)(uint16_t)opts->port);
    rc = pg_link_open(link, &target, err);
    /* Nobody chose the database, it is the user's name by default: any database will do for a backup. */
    if (rc < 0 && is_default_database(opts->dbname) && pg_link_failed_with(link, PG_STATE_NO_DATABASE)) {
        gsp_error_clear(err);
        link->sqlstate[0] = '\0';
        target.dbname = "postgres";
        rc = pg_link_open(link, &target, err);
    }
    return rc;
}

int
pg_base_open(struct pg_base *base, const struct gsp_host *host, const struct pg_options *opts, struct gsp_error *err)
{
    base->opts = opts;
    base->wait_us = opts->wait_us;
    base->link.host = host;
    base->link.timeout_us = opts->timeout_us < opts->wait_us ? opts->timeout_us : opts->wait_us;
    base->link.limit = opts->timeout_us < opts->wait_us ? "--rw-timeout" : "--archive-timeout";
    base->link.if_lost = "Look at the server's log: it was stopped or restarted, or somebody ended the session.";
    return pg_base_connect(&base->link, opts, err);
}

void
pg_base_close(struct pg_base *base)
{
    pg_link_close(&base->link);
    free(base->label);
    free(base->map);
    base->label = base->map = NULL;
}

int64_t
pg_base_deadline(const struct pg_base *base)
{
    return pg_now_us() + base->link.timeout_us;
}

/* ---- questions ---------------------------------------------------------------------------------- */

int
pg_base_ask(struct pg_base *base, const char *sql, PGresult **ret, struct gsp_error *err)
{
    return pg_link_query(&base->link, sql, 0, NULL, pg_base_deadline(base), ret, err);
}

int
pg_base_run(struct pg_base *base, const char *sql, struct gsp_error *err)
{
    PGresult *res = NULL;
    int rc = pg_base_ask(base, sql, &res, err);
    PQclear(res);
    return rc;
}

int
pg_is_on(const char *text)
{
    return strcmp(text, "on") == 0 || strcmp(text, "t") == 0;
}

int
pg_is_opengauss(const char *version)
{
    static const char banner[] = "(openGauss";
    return strncmp(version, banner, sizeof banner - 1) == 0;
}

int
pg_base_version(struct pg_base *base, char *ret, size_t size, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_base_ask(base, "SELECT pg_catalog.version()", &res, err);
    if (rc < 0)
        return rc;
    (void)snprintf(ret, size, "%s", pg_cell(res, 0, 0));
    PQclear(res);
    return 0;
}

int
pg_base_in_recovery(struct pg_base *base, int *ret, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_base_ask(base, "SELECT pg_catalog.pg_is_in_recovery()", &res, err);
    if (rc < 0)
        return rc;
    *ret = pg_is_on(pg_cell(res, 0, 0));
    PQclear(res);
    return 0;
}

int
pg_base_timeline(struct pg_base *base, uint32_t *ret, struct gsp_error *err)
{
    PGresult *res;
    uint64_t timeline = 0;
    int rc = pg_base_ask(base, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()", &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT32_MAX, &timeline, err);
    PQclear(res);
    *ret = (uint32_t)timeline;
    return rc;
}

int
pg_base_databases(struct pg_base *base, const char *sql, int (*cb)(void *arg, uint32_t oid, const char *name),
    void *arg, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_base_ask(base, sql, &res, err);
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

/* ---- backup ------------------------------------------------------------------------------------- */

/* The server spreads a smooth checkpoint over up to checkpoint_timeout, and may have to finish another one
 * of that kind first. */
int
pg_base_wait_for_begin(struct pg_base *base, uint32_t flags, int64_t *ret, struct gsp_error *err)
{
    PGresult *res;
    uint64_t seconds = 0;
    int rc;
    *ret = base->wait_us;
    if (!(flags & GSP_BEGIN_SMOOTH))
        return 0;
    rc = pg_base_ask(base, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'checkpoint_timeout'", &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT32_MAX, &seconds, err);
    PQclear(res);
    *ret += 2 * (int64_t)seconds * 1000000;
    return rc;
}

int
pg_base_check_role(struct pg_base *base, int *ret_standby, struct gsp_error *err)
{
    int rc = pg_base_in_recovery(base, ret_standby, err);
    if (rc < 0 || !*ret_standby == !base->began_on_standby)
        return rc;
    (void)gsp_fail(err, GSP_E_SERVER, 0, "the %s while the backup was taken",
        *ret_standby ? "server became a standby" : "standby was promoted");
    if (*ret_standby)
        return gsp_hint(err, "Take the backup again, from a server that keeps its role.");
    return gsp_hint(err, "Take the backup again: the files of a promoted standby do not fit together.");
}

int
pg_base_restore_point(struct pg_base *base, const char *name, int64_t deadline_us, struct gsp_error *err)
{
    PGresult *res = NULL;
    int rc =
        pg_link_query(&base->link, "SELECT pg_catalog.pg_create_restore_point($1)", 1, &name, deadline_us, &res, err);
    PQclear(res);
    return rc;
}

int
pg_base_keep(struct pg_base *base, const char *label, const char *map, struct gsp_error *err)
{
    free(base->label);
    free(base->map);
    base->label = strdup(label);
    base->map = strdup(map);
    if (base->label == NULL || base->map == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory keeping the backup label");
    return 0;
}

int
pg_base_recovery_point(
    struct pg_base *base, const char *sql, int64_t deadline_us, struct gsp_end *ret, struct gsp_error *err)
{
    PGresult *res;
    uint64_t xid = 0, time_us = 0;
    int rc = pg_link_query(&base->link, sql, 0, NULL, deadline_us, &res, err);
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

int
pg_late(const char *call, int64_t timeout_us, struct gsp_error *err)
{
    if (err->code != GSP_E_TIMEOUT)
        return gsp_prefix(err, "%s", call);
    gsp_error_clear(err);
    (void)gsp_fail(
        err, GSP_E_TIMEOUT, 0, "%s doesn't answer in %" PRId64 " seconds, cancel it", call, timeout_us / 1000000);
    return gsp_hint(
        err, "Look at the server's log, its load and the network, or raise the time limit with --archive-timeout.");
}
