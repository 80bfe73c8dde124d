/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <inttypes.h>
#include <poll.h>

#include "messages.h"
#include "server/stream.h"

#define FIRST_PORT_US 5000000 /* how long the port for replication may take before the ordinary one is tried */
#define DROP_US 10000000      /* how long a slot that we made may be held by the connection that we ended */
#define DROP_PAUSE_MS 100

struct og_wal {
    struct pg_wal wal;
    struct og_session *session; /* of the main thread */
    char host[1024], port[8];   /* of the server the session is with, and where it takes replication connections */
    const char *user;           /* the session's */
    int is_slot_ours;
};

/* wal_sender_timeout is 6 seconds by default. A sender that is told to end does not say that it did. */
static void advise(const struct pg_link *link, struct gsp_error *err);
static const struct pg_stream_kind kind = {
    .parse = og_message_parse, .report = og_message_report, .advise = advise, .report_us = 2000000, .is_answered = 0};

static void
advise(const struct pg_link *link, struct gsp_error *err)
{
    if (pg_link_failed_with(link, PG_STATE_NO_FILE) || pg_link_failed_with(link, PG_STATE_INTERNAL))
        (void)gsp_hint(
            err, "Raise wal_keep_segments on the server, or stream with a replication slot (--temp-slot or --slot).");
    else if (pg_link_failed_with(link, PG_STATE_NO_OBJECT))
        (void)gsp_hint(err, "The replication slot was dropped; create it again, or use --temp-slot.");
    else if (pg_link_failed_with(link, PG_STATE_IN_USE))
        (void)gsp_hint(err, "The replication slot is in use by another receiver; use one of its own, or --temp-slot.");
}

/* ---- connections -------------------------------------------------------------------------------- */

/* Never replication=database: physical streaming on such a connection takes the whole server down. */
static int
connect_to(struct og_wal *w, const char *port, struct pg_wal_end *at, struct gsp_error *err)
{
    struct pg_base *base = og_session_base(w->session);
    struct pg_target target = {.host = w->host,
        .port = port,
        .dbname = "replication",
        .user = w->user,
        .password = base->opts->password,
        .replication = "true"};
    int rc = pg_link_open(&w->wal.link, &target, err);
    if (rc < 0)
        return pg_stream_advise_connect(&w->wal.link, w->user, err);
    rc = pg_stream_identify(&w->wal, "openGauss", base->system_id, at, err);
    if (rc < 0)
        pg_link_close(&w->wal.link);
    return rc;
}

/* A server with standbys takes replication connections on the port above its own only, a single one on its own only, or
 * on both. Who else answers there is another system. */
static int
find_port(struct og_wal *w, struct pg_wal_end *at, struct gsp_error *err)
{
    const char *text = PQport(og_session_base(w->session)->link.conn);
    struct gsp_error first = {0};
    struct pg_link *link = &w->wal.link;
    int64_t timeout_us = link->timeout_us;
    uint64_t port = 0;
    int rc;
    if (!pg_digits(&text, 65535, &port))
        port = 5432;
    (void)snprintf(w->port, sizeof w->port, "%u", (unsigned)(uint16_t)port + 1);
    link->timeout_us = timeout_us < FIRST_PORT_US ? timeout_us : FIRST_PORT_US;
    rc = port < 65535 ? connect_to(w, w->port, at, &first) : GSP_E_NET;
    link->timeout_us = timeout_us;
    if (rc == 0 || rc == GSP_E_CANCELLED) {
        *err = first;
        return rc;
    }
    link->sqlstate[0] = '\0';
    (void)snprintf(w->port, sizeof w->port, "%u", (unsigned)(uint16_t)port);
    return connect_to(w, w->port, at, err);
}

/* ---- slots -------------------------------------------------------------------------------------- */

static const char ask_slot[] =
    "SELECT slot_type, active FROM pg_catalog.pg_get_replication_slots() WHERE slot_name = $1";
static const char drop_slot_sql[] = "SELECT pg_catalog.pg_drop_replication_slot($1)";

static int
check_existing_slot(struct pg_link *session, const char *slot, struct gsp_error *err)
{
    char create[160];
    (void)snprintf(create, sizeof create, "SELECT pg_create_physical_replication_slot('%s', false)", slot);
    return pg_slot_check(session, ask_slot, slot, create, err);
}

/* A slot of this name is one that a backup could not drop, because it was killed; or somebody's who uses the name. */
static int
check_no_slot(struct pg_link *session, const char *slot, struct gsp_error *err)
{
    PGresult *res;
    int n, active, rc = pg_link_query(session, ask_slot, 1, &slot, pg_now_us() + session->timeout_us, &res, err);
    if (rc < 0)
        return rc;
    n = PQntuples(res);
    active = pg_is_on(pg_cell(res, 0, 1));
    PQclear(res);
    if (n == 0)
        return 0;
    (void)gsp_fail(err, GSP_E_EXIST, 0, "replication slot \"%s\" exists already%s", slot,
        active ? ", and is in use" : ", and nobody uses it: a backup that was killed leaves its slot behind");
    return gsp_hint(err,
        active ? "Wait for the other backup, or choose another name with --slot."
               : "If no other backup runs: SELECT pg_drop_replication_slot('%s'); until then the server keeps all WAL.",
        slot);
}

/* The slot begins where WAL ends now: what the backup needs is behind that. */
static int
create_slot(struct og_wal *w, const char *name, gsp_lsn at, struct gsp_error *err)
{
    struct pg_link *link = &w->wal.link;
    char sql[160];
    PGresult *res = NULL;
    int rc;
    (void)snprintf(sql, sizeof sql, "CREATE_REPLICATION_SLOT \"%s\" PHYSICAL " GSP_LSN_FMT, name, GSP_LSN_ARGS(at));
    rc = pg_link_query(link, sql, 0, NULL, pg_now_us() + link->timeout_us, &res, err);
    PQclear(res);
    /* Without an answer nobody knows. */
    w->is_slot_ours = rc == 0 || rc == GSP_E_TIMEOUT || rc == GSP_E_CANCELLED;
    if (rc == GSP_E_NET && link->sqlstate[0] != '\0')
        (void)gsp_hint(err, "Raise max_replication_slots on the server, or leave --temp-slot out.");
    return rc;
}

/* Ask for the drop until the sender has noticed that its connection is gone. */
static int
drop_until(struct pg_link *link, const char *slot, int64_t deadline_us, struct gsp_error *err)
{
    for (;;) {
        PGresult *res = NULL;
        int rc = pg_link_query(link, drop_slot_sql, 1, &slot, deadline_us, &res, err);
        PQclear(res);
        if (rc == 0 || link->lost || (rc != GSP_E_LOCKED && rc != GSP_E_SERVER) || pg_now_us() >= deadline_us)
            return rc;
        gsp_error_clear(err);
        (void)poll(NULL, 0, DROP_PAUSE_MS);
    }
}

/* The server keeps WAL for a slot, for ever. So it is dropped also when the user asked to stop, and when the session is
 * lost by a connection of its own. */
static void
drop_slot(struct og_wal *w)
{
    struct pg_base *base = og_session_base(w->session);
    const struct gsp_host *host = base->link.host;
    struct pg_link own = base->link, *link = &base->link;
    struct gsp_error problem = {0};
    int rc, was_closing = link->is_closing;
    if (link->lost || PQstatus(link->conn) != CONNECTION_OK) {
        link = &own;
        own.lost = 0;
        own.conn = NULL;
        own.timeout_us = own.timeout_us < DROP_US ? own.timeout_us : DROP_US;
    }
    link->is_closing = 1;
    rc = link == &own ? pg_base_connect(link, base->opts, &problem) : 0;
    if (rc == 0)
        rc = drop_until(link, w->wal.slot, pg_now_us() + DROP_US, &problem);
    if (rc != 0 && rc != GSP_E_NOENT)
        host->log(host->ctx, GSP_LOG_WARNING,
            "replication slot \"%s\" could not be dropped: %s; drop it with SELECT pg_drop_replication_slot('%s'), the "
            "server keeps WAL for it until then",
            w->wal.slot, problem.msg, w->wal.slot);
    if (link == &own)
        pg_link_close(&own);
    else
        link->is_closing = was_closing;
}

/* ---- open and close ----------------------------------------------------------------------------- */

static int
check_slot(struct pg_link *session, const char *slot, uint32_t flags, struct gsp_error *err)
{
    int rc = pg_slot_check_name(slot, err);
    if (rc < 0)
        return rc;
    return (flags & GSP_WAL_TEMP_SLOT) ? check_no_slot(session, slot, err) : check_existing_slot(session, slot, err);
}

/* Nobody can promise to drop a slot, which here outlives its connection and then fills the server's disk. So one is
 * made only for those who ask for it, by name. */
int
og_wal_open(void *srv, const char *slot, uint32_t flags, void **ret_wal, struct gsp_error *err)
{
    struct pg_link *session = &og_session_base(srv)->link;
    const char *host = PQhost(session->conn);
    struct pg_wal_end at = {0};
    struct og_wal *w;
    int rc = 0;
    if (flags & ~GSP_WAL_TEMP_SLOT)
        return gsp_fail(err, GSP_E_BUG, 0, "wal_open: unknown flags %#x", flags & ~GSP_WAL_TEMP_SLOT);
    if (slot != NULL)
        rc = check_slot(session, slot, flags, err);
    if (rc < 0)
        return rc;
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory opening a WAL stream");
    pg_stream_init(&w->wal, &kind, session);
    w->session = srv;
    w->user = PQuser(session->conn);
    (void)snprintf(w->host, sizeof w->host, "%s", host != NULL ? host : "");
    if (slot != NULL)
        (void)snprintf(w->wal.slot, sizeof w->wal.slot, "%s", slot);
    rc = find_port(w, &at, err);
    if (rc == 0 && slot != NULL && (flags & GSP_WAL_TEMP_SLOT))
        rc = create_slot(w, slot, at.lsn, err);
    /* The server ends a connection that waits for its checkpoint to be made. The stream gets its own. */
    pg_link_close(&w->wal.link);
    if (rc < 0) {
        og_wal_close(w);
        return rc;
    }
    *ret_wal = w;
    return 0;
}

void
og_wal_close(void *handle)
{
    struct og_wal *w = handle;
    if (w == NULL)
        return;
    pg_link_close(&w->wal.link);
    if (w->is_slot_ours)
        drop_slot(w);
    free(w);
}

/* ---- stream ------------------------------------------------------------------------------------- */

static int
start_stream(struct og_wal *w, gsp_lsn from, struct gsp_error *err)
{
    struct pg_link *link = &w->wal.link;
    char sql[160], slot[PG_SLOT_NAME_MAX + 16] = "";
    PGresult *res;
    int rc, started;
    if (w->wal.slot[0] != '\0')
        (void)snprintf(slot, sizeof slot, "SLOT \"%s\" ", w->wal.slot);
    (void)snprintf(sql, sizeof sql, "START_REPLICATION %s" GSP_LSN_FMT, slot, GSP_LSN_ARGS(from));
    rc = pg_link_query(link, sql, 0, NULL, pg_now_us() + link->timeout_us, &res, err);
    if (rc < 0) {
        advise(link, err);
        return rc;
    }
    started = PQresultStatus(res) == PGRES_COPY_BOTH;
    PQclear(res);
    if (started)
        return 0;
    return gsp_fail(err, GSP_E_PROTO, 0, "the server did not begin a stream at " GSP_LSN_FMT, GSP_LSN_ARGS(from));
}

int
og_wal_stream(void *handle, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    struct og_wal *w = handle;
    struct pg_wal_end at = {0};
    int rc = connect_to(w, w->port, &at, err);
    if (rc == 0 && at.timeline != timeline)
        rc = gsp_fail(err, GSP_E_SERVER, 0,
            "Timeline identifier mismatch. Connected openGauss instance has timeline id: %" PRIu32
            ". Expected: %" PRIu32 ".",
            at.timeline, timeline);
    if (rc == 0)
        rc = start_stream(w, from, err);
    return rc == 0 ? pg_stream_run(&w->wal, from, cb, arg, err) : rc;
}
