/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <inttypes.h>
#include <poll.h>
#include <time.h>

#define NAME_MAX_BYTES 63 /* of a replication slot */
#define TICK_US 100000    /* how often the callback is asked on a quiet stream */
#define STATUS_US 10000000
#define GOODBYE_US 2000000 /* how long a cleanly ended stream may take to close */
#define EPOCH_2000_US INT64_C(946684800000000)

#define WAL_HEADER 25
#define KEEPALIVE_LENGTH 18
#define STATUS_LENGTH 34

struct pg_wal {
    struct pg_link link;
    int session_fd;                /* socket of the session; only looked at, the session belongs to another thread */
    char slot[NAME_MAX_BYTES + 1]; /* "" = none */
};

/* One run of wal_stream. */
struct stream {
    struct pg_wal *wal;
    gsp_wal_cb cb;
    void *arg;
    gsp_lsn at;          /* behind the last byte the callback took */
    int64_t heard_us;    /* when the server last said something */
    int64_t reported_us; /* when it last got a status */
    int64_t ticked_us;   /* when the callback was last called */
    int asked;           /* an answer was asked for since the server was last heard */
    int done;            /* the callback ended the stream */
};

/* ---- open --------------------------------------------------------------------------------------- */

static int
check_slot_name(const char *slot, struct gsp_error *err)
{
    size_t len = strspn(slot, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (len > 0 && len <= NAME_MAX_BYTES && slot[len] == '\0')
        return 0;
    return gsp_fail(err, GSP_E_CONFIG, 0,
        "replication slot name \"%s\" is not made of 1 to %d lower case letters, digits and underscores", slot,
        NAME_MAX_BYTES);
}

/* Refuse a slot that cannot be streamed from before the backup begins, not after. */
static int
check_existing_slot(struct pg_link *session, const char *slot, struct gsp_error *err)
{
    PGresult *res;
    /* The column is there since version 13. */
    const char *sql = PQserverVersion(session->conn) >= 130000
                          ? "SELECT slot_type, active, wal_status FROM pg_catalog.pg_replication_slots WHERE "
                            "slot_name::pg_catalog.text = $1"
                          : "SELECT slot_type, active FROM pg_catalog.pg_replication_slots WHERE "
                            "slot_name::pg_catalog.text = $1";
    int rc = pg_link_query(session, sql, 1, &slot, pg_now_us() + session->timeout_us, &res, err);
    if (rc < 0)
        return rc;
    if (PQntuples(res) == 0) {
        (void)gsp_fail(err, GSP_E_NOENT, 0, "replication slot \"%s\" does not exist", slot);
        (void)gsp_hint(
            err, "Create it with SELECT pg_create_physical_replication_slot('%s', true), or use --temp-slot.", slot);
    } else if (strcmp(pg_cell(res, 0, 0), "physical") != 0) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "replication slot \"%s\" is not a physical one", slot);
    } else if (strcmp(pg_cell(res, 0, 1), "t") == 0) {
        (void)gsp_fail(err, GSP_E_LOCKED, 0, "replication slot \"%s\" is in use", slot);
        (void)gsp_hint(err, "Use another slot, or wait: the server ends a dead receiver after wal_sender_timeout.");
    } else if (strcmp(pg_cell(res, 0, 2), "lost") == 0) {
        (void)gsp_fail(
            err, GSP_E_SERVER, 0, "replication slot \"%s\" has lost WAL that it had to keep for its receiver", slot);
        (void)gsp_hint(err,
            "Drop it with SELECT pg_drop_replication_slot('%s'), then create it again or use --temp-slot; "
            "max_slot_wal_keep_size limits what a slot keeps.",
            slot);
    }
    PQclear(res);
    return err->code;
}

/* The address of the session, not that of the options: with several hosts, or a name that stands for
 * several, WAL must come from the very server that the backup is taken from. */
static int
connect_receiver(struct pg_wal *wal, const struct pg_link *session, struct gsp_error *err)
{
    const char *options = PQoptions(session->conn);
    char with_limits[512];
    struct pg_target target = {.host = PQhost(session->conn),
        .port = PQport(session->conn),
        .dbname = "replication",
        .user = PQuser(session->conn),
        .password = PQpass(session->conn),
        .options = options,
        .replication = "true"};
    int n, rc;
    if (PQserverVersion(session->conn) >= 140000) {
        /* Between now and the start of the stream the server makes its checkpoint. */
        n = snprintf(with_limits, sizeof with_limits, "%s -c idle_session_timeout=0", options != NULL ? options : "");
        if (n > 0 && (size_t)n < sizeof with_limits)
            target.options = with_limits;
    }
    rc = pg_link_open(&wal->link, &target, err);
    if (rc == 0)
        return 0;
    if (pg_link_failed_with(&wal->link, PG_STATE_TOO_MANY_CONNECTIONS))
        (void)gsp_hint(err, "Raise max_wal_senders (or max_connections) on the server, or end another receiver.");
    else if (pg_link_failed_with(&wal->link, PG_STATE_NOT_AUTHORIZED))
        (void)gsp_hint(err,
            "Permit replication connections of user \"%s\" in the server's pg_hba.conf (database: replication).",
            target.user);
    else if (err->code == GSP_E_PERM && err->where[0] == '\0')
        (void)gsp_hint(err, "Run: ALTER ROLE \"%s\" REPLICATION;", target.user);
    return gsp_prefix(err, "replication connection");
}

static int
identify_receiver(struct pg_wal *wal, uint64_t system_id, struct gsp_error *err)
{
    PGresult *res;
    uint64_t theirs = 0;
    int rc = pg_link_query(&wal->link, "IDENTIFY_SYSTEM", 0, NULL, pg_now_us() + wal->link.timeout_us, &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT64_MAX, &theirs, err);
    PQclear(res);
    if (rc == 0 && theirs != system_id)
        rc = gsp_fail(err, GSP_E_SERVER, 0,
            "System identifier mismatch. Connected PostgreSQL instance has system id: %" PRIu64 ". Expected: %" PRIu64
            ".",
            theirs, system_id);
    return rc;
}

static int
create_slot(struct pg_wal *wal, struct gsp_error *err)
{
    char sql[160];
    PGresult *res;
    int rc;
    if (wal->slot[0] == '\0')
        (void)snprintf(wal->slot, sizeof wal->slot, "gs_probackup_%d", PQbackendPID(wal->link.conn));
    (void)snprintf(sql, sizeof sql, "CREATE_REPLICATION_SLOT \"%s\" TEMPORARY PHYSICAL RESERVE_WAL", wal->slot);
    rc = pg_link_query(&wal->link, sql, 0, NULL, pg_now_us() + wal->link.timeout_us, &res, err);
    if (rc == 0) {
        PQclear(res);
        return 0;
    }
    if (pg_link_failed_with(&wal->link, PG_STATE_DUPLICATE_OBJECT))
        (void)gsp_hint(err, "Choose another name with --slot, or leave --temp-slot out to use the slot that exists.");
    return rc;
}

int
pg_wal_open(void *srv, const char *slot, uint32_t flags, void **ret_wal, struct gsp_error *err)
{
    struct pg_link *session = pg_session_link(srv);
    struct pg_wal *wal;
    int rc = 0;
    if (flags & ~GSP_WAL_TEMP_SLOT)
        return gsp_fail(err, GSP_E_BUG, 0, "wal_open: unknown flags %#x", flags & ~GSP_WAL_TEMP_SLOT);
    if (slot != NULL)
        rc = check_slot_name(slot, err);
    if (rc == 0 && slot != NULL && !(flags & GSP_WAL_TEMP_SLOT))
        rc = check_existing_slot(session, slot, err);
    if (rc < 0)
        return rc;
    wal = calloc(1, sizeof *wal);
    if (wal == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory opening a WAL stream");
    wal->link.host = session->host;
    wal->link.timeout_us = session->timeout_us;
    wal->link.limit = session->limit;
    wal->link.if_lost = "Look at the server's log: it was stopped or restarted, somebody ended the WAL sender, or its "
                        "slot kept more WAL than max_slot_wal_keep_size.";
    wal->session_fd = PQsocket(session->conn);
    if (slot != NULL)
        (void)snprintf(wal->slot, sizeof wal->slot, "%s", slot);
    rc = connect_receiver(wal, session, err);
    if (rc == 0)
        rc = identify_receiver(wal, pg_session_system_id(srv), err);
    if (rc == 0 && (flags & GSP_WAL_TEMP_SLOT))
        rc = create_slot(wal, err);
    if (rc < 0) {
        pg_wal_close(wal);
        return rc;
    }
    *ret_wal = wal;
    return 0;
}

void
pg_wal_close(void *handle)
{
    struct pg_wal *wal = handle;
    if (wal == NULL)
        return;
    pg_link_close(&wal->link);
    free(wal);
}

/* ---- messages ----------------------------------------------------------------------------------- */

static uint64_t
get_be64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

static void
put_be64(char *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof v);
}

/* Tell the server how far we are. The flush position is reported only for the sake of a slot: without
 * one it would make this connection a candidate for synchronous replication, and commits would count
 * as safe here. */
static int
report(struct stream *st, int want_answer, struct gsp_error *err)
{
    struct pg_link *link = &st->wal->link;
    struct timespec ts;
    char msg[STATUS_LENGTH] = {0};
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    msg[0] = 'r';
    put_be64(msg + 1, st->at);
    put_be64(msg + 9, st->wal->slot[0] != '\0' ? st->at : 0);
    put_be64(msg + 17, 0);
    put_be64(msg + 25, (uint64_t)((int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 - EPOCH_2000_US));
    msg[33] = (char)want_answer;
    if (PQputCopyData(link->conn, msg, sizeof msg) <= 0 || PQflush(link->conn) != 0)
        return pg_link_error(link, NULL, "could not report to the WAL sender", NULL, err);
    st->reported_us = pg_now_us();
    return 0;
}

static int
give(struct stream *st, const void *data, uint32_t n, struct gsp_error *err)
{
    int64_t before = pg_now_us();
    int rc = st->cb(st->arg, st->at, data, n, err);
    st->ticked_us = pg_now_us();
    st->heard_us += st->ticked_us - before; /* a slow disk on our side is no silence of the server */
    if (rc < 0)
        return rc;
    st->at += n;
    st->done = rc > 0;
    return 0;
}

static int
handle_message(struct stream *st, const char *msg, int len, struct gsp_error *err)
{
    st->heard_us = pg_now_us();
    st->asked = 0;
    if (msg[0] == 'w' && len >= WAL_HEADER) {
        gsp_lsn start = get_be64(msg + 1);
        if (start != st->at)
            return gsp_fail(err, GSP_E_PROTO, 0,
                "the server sent WAL at " GSP_LSN_FMT " where " GSP_LSN_FMT " was expected", GSP_LSN_ARGS(start),
                GSP_LSN_ARGS(st->at));
        return len > WAL_HEADER ? give(st, msg + WAL_HEADER, (uint32_t)(len - WAL_HEADER), err) : 0;
    }
    if (msg[0] == 'k' && len >= KEEPALIVE_LENGTH)
        return msg[17] != 0 ? report(st, 0, err) : 0;
    return gsp_fail(err, GSP_E_PROTO, 0, "the WAL sender sent an unknown message of type %#x and %d bytes",
        (unsigned)(unsigned char)msg[0], len);
}

/* ---- stream ------------------------------------------------------------------------------------- */

static void
advise(const struct pg_link *link, struct gsp_error *err)
{
    /* WAL that is removed while it is being sent is an internal error to the server. */
    if (pg_link_failed_with(link, PG_STATE_NO_FILE) || pg_link_failed_with(link, PG_STATE_INTERNAL))
        (void)gsp_hint(err, "Raise wal_keep_size (before version 13: wal_keep_segments) on the server, or stream "
                            "with a replication slot (--temp-slot or --slot).");
    else if (pg_link_failed_with(link, PG_STATE_NO_OBJECT))
        (void)gsp_hint(err, "The replication slot was dropped; create it again, or use --temp-slot.");
    else if (pg_link_failed_with(link, PG_STATE_IN_USE))
        (void)gsp_hint(err, "The replication slot is in use by another receiver; use one of its own, or --temp-slot.");
}

static int
stream_error(struct stream *st, const PGresult *res, struct gsp_error *err)
{
    struct pg_link *link = &st->wal->link;
    (void)pg_link_error(link, res, NULL, NULL, err);
    advise(link, err);
    return gsp_prefix(err, "at " GSP_LSN_FMT, GSP_LSN_ARGS(st->at));
}

/* The server closed the stream before the callback had what it wanted. */
static int
stream_closed(struct stream *st, struct gsp_error *err)
{
    PGresult *res = PQgetResult(st->wal->link.conn);
    int rc;
    if (res == NULL || PQresultStatus(res) == PGRES_FATAL_ERROR) {
        rc = stream_error(st, res, err);
    } else {
        rc = gsp_fail(err, GSP_E_SERVER, 0, "the server ended the stream at " GSP_LSN_FMT, GSP_LSN_ARGS(st->at));
        (void)gsp_hint(err, "It was shut down, or its timeline ended: look at the server's log.");
    }
    PQclear(res);
    return rc;
}

/* Everything that has arrived. Returns 0 when there is no more, or the stream is done. */
static int
drain_messages(struct stream *st, struct gsp_error *err)
{
    struct pg_link *link = &st->wal->link;
    while (!st->done) {
        char *msg = NULL;
        int rc, len = PQgetCopyData(link->conn, &msg, 1);
        if (len == 0)
            return 0;
        if (len == -1)
            return stream_closed(st, err);
        if (len < 0)
            return stream_error(st, NULL, err);
        rc = handle_message(st, msg, len, err);
        PQfreemem(msg);
        if (rc < 0)
            return rc;
        if (link->host->cancelled(link->host->ctx))
            return gsp_fail(err, GSP_E_CANCELLED, 0, "WAL streaming was cancelled");
        if (pg_now_us() - st->reported_us >= STATUS_US) {
            rc = report(st, 0, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

/* A backup is worth nothing once its session is gone. The session itself says nothing while files are
 * copied, so this thread watches its socket for the end of the connection, and leaves its bytes alone. */
static int
is_session_gone(const struct pg_wal *wal)
{
    struct pollfd fd = {.fd = wal->session_fd, .events = POLLRDHUP};
    return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

/* What time alone demands: ticks for the callback, reports, and the end of patience. */
static int
keep_time(struct stream *st, struct gsp_error *err)
{
    int64_t now = pg_now_us(), limit = st->wal->link.timeout_us;
    int rc = 0;
    if (now - st->heard_us >= limit) {
        (void)gsp_fail(err, GSP_E_TIMEOUT, 0, "the server was silent for %" PRId64 " seconds at " GSP_LSN_FMT,
            limit / 1000000, GSP_LSN_ARGS(st->at));
        return gsp_hint(err, "Check server and network, or raise the time limit with %s.", st->wal->link.limit);
    }
    if (is_session_gone(st->wal)) {
        (void)gsp_fail(err, GSP_E_NET, 0, "the session that keeps the server in backup mode was lost");
        return gsp_hint(err,
            "Look at the server's log and at the network: it was stopped or restarted, or somebody ended the session.");
    }
    if (!st->asked && now - st->heard_us >= limit / 2) {
        st->asked = 1;
        rc = report(st, 1, err);
    } else if (now - st->reported_us >= STATUS_US) {
        rc = report(st, 0, err);
    }
    if (rc == 0 && now - st->ticked_us >= TICK_US)
        rc = give(st, NULL, 0, err);
    return rc;
}

/* Close the stream in good order, so that the server logs no lost connection and a slot knows how far
 * we came. Nothing here can fail the backup: all WAL wanted is there. */
static void
say_goodbye(struct stream *st)
{
    struct pg_link *link = &st->wal->link;
    int64_t deadline = pg_now_us() + GOODBYE_US;
    struct gsp_error ignored = {0};
    (void)report(st, 0, &ignored);
    if (PQputCopyEnd(link->conn, NULL) <= 0 || PQflush(link->conn) != 0)
        return;
    for (;;) {
        char *msg = NULL;
        int len = PQgetCopyData(link->conn, &msg, 1);
        PQfreemem(msg);
        if (len < 0)
            break;
        if (len == 0 && pg_link_wait(link, GOODBYE_US, deadline, &ignored) < 0)
            return;
        if (pg_now_us() >= deadline)
            return;
    }
    while (!PQisBusy(link->conn) || pg_link_wait(link, GOODBYE_US, deadline, &ignored) == 0) {
        PGresult *res;
        if (PQisBusy(link->conn))
            continue;
        res = PQgetResult(link->conn);
        if (res == NULL)
            return;
        PQclear(res);
    }
}

static int
start_stream(struct stream *st, uint32_t timeline, struct gsp_error *err)
{
    struct pg_wal *wal = st->wal;
    char sql[160], slot[NAME_MAX_BYTES + 16] = "";
    PGresult *res;
    int rc, started;
    if (wal->slot[0] != '\0')
        (void)snprintf(slot, sizeof slot, "SLOT \"%s\" ", wal->slot);
    (void)snprintf(sql, sizeof sql, "START_REPLICATION %sPHYSICAL " GSP_LSN_FMT " TIMELINE %" PRIu32, slot,
        GSP_LSN_ARGS(st->at), timeline);
    rc = pg_link_query(&wal->link, sql, 0, NULL, pg_now_us() + wal->link.timeout_us, &res, err);
    if (rc < 0) {
        advise(&wal->link, err);
        return rc;
    }
    started = PQresultStatus(res) == PGRES_COPY_BOTH;
    PQclear(res);
    if (started)
        return 0;
    /* The server answers with a row instead when the timeline ends right here. */
    return gsp_fail(err, GSP_E_SERVER, 0, "the server has no WAL on timeline %" PRIu32 " at " GSP_LSN_FMT, timeline,
        GSP_LSN_ARGS(st->at));
}

int
pg_wal_stream(void *handle, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    struct pg_wal *wal = handle;
    int64_t now = pg_now_us();
    struct stream st = {
        .wal = wal, .cb = cb, .arg = arg, .at = from, .heard_us = now, .reported_us = now, .ticked_us = now};
    int rc = start_stream(&st, timeline, err);
    if (rc < 0)
        return rc;
    while (rc == 0 && !st.done) {
        rc = drain_messages(&st, err);
        if (rc == 0 && !st.done)
            rc = keep_time(&st, err);
        if (rc == 0 && !st.done)
            rc = pg_link_wait(&wal->link, TICK_US, PG_NO_DEADLINE, err);
    }
    if (rc == 0)
        say_goodbye(&st);
    else
        wal->link.lost = 1;
    return rc;
}
