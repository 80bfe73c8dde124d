/* SPDX-License-Identifier: Apache-2.0 */
#include "server/stream.h"

#include <inttypes.h>
#include <poll.h>
#include <time.h>

#define TICK_US 100000     /* how often the callback is asked on a quiet stream */
#define GOODBYE_US 2000000 /* how long a cleanly ended stream may take to close */
#define EPOCH_2000_US INT64_C(946684800000000)

/* One run of a stream. */
struct stream {
    struct pg_wal *wal;
    gsp_wal_cb cb;
    void *arg;
    gsp_lsn at;          /* behind the last byte the callback took */
    int64_t heard_us;    /* when the server last said something */
    int64_t reported_us; /* when it last got a report */
    int64_t ticked_us;   /* when the callback was last called */
    int asked;           /* an answer was asked for since the server was last heard */
    int done;            /* the callback ended the stream */
};

/* ---- slots and connections ---------------------------------------------------------------------- */

int
pg_slot_check_name(const char *slot, struct gsp_error *err)
{
    size_t len = strspn(slot, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (len > 0 && len <= PG_SLOT_NAME_MAX && slot[len] == '\0')
        return 0;
    return gsp_fail(err, GSP_E_CONFIG, 0,
        "replication slot name \"%s\" is not made of 1 to %d lower case letters, digits and underscores", slot,
        PG_SLOT_NAME_MAX);
}

int
pg_slot_check(struct pg_link *session, const char *sql, const char *slot, const char *create, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_link_query(session, sql, 1, &slot, pg_now_us() + session->timeout_us, &res, err);
    if (rc < 0)
        return rc;
    if (PQntuples(res) == 0) {
        (void)gsp_fail(err, GSP_E_NOENT, 0, "replication slot \"%s\" does not exist", slot);
        (void)gsp_hint(err, "Create it with %s, or use --temp-slot.", create);
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

void
pg_stream_init(struct pg_wal *wal, const struct pg_stream_kind *kind, const struct pg_link *session)
{
    wal->kind = kind;
    wal->link.host = session->host;
    wal->link.timeout_us = session->timeout_us;
    wal->link.limit = session->limit;
    wal->link.if_lost = "Look at the server's log: it was stopped or restarted, somebody ended the WAL sender, or its "
                        "slot kept more WAL than max_slot_wal_keep_size.";
    wal->session_fd = PQsocket(session->conn);
}

int
pg_stream_advise_connect(const struct pg_link *link, const char *user, struct gsp_error *err)
{
    if (pg_link_failed_with(link, PG_STATE_TOO_MANY_CONNECTIONS))
        (void)gsp_hint(err, "Raise max_wal_senders (or max_connections) on the server, or end another receiver.");
    else if (pg_link_failed_with(link, PG_STATE_NOT_AUTHORIZED))
        (void)gsp_hint(err,
            "Permit replication connections of user \"%s\" in the server's pg_hba.conf (database: replication).", user);
    else if (err->code == GSP_E_PERM && err->where[0] == '\0' && err->hint[0] == '\0')
        (void)gsp_hint(err, "Run: ALTER ROLE \"%s\" REPLICATION;", user);
    return gsp_prefix(err, "replication connection");
}

int
pg_stream_identify(
    struct pg_wal *wal, const char *product, uint64_t system_id, struct pg_wal_end *ret, struct gsp_error *err)
{
    PGresult *res;
    uint64_t theirs = 0, timeline = 0;
    int rc = pg_link_query(&wal->link, "IDENTIFY_SYSTEM", 0, NULL, pg_now_us() + wal->link.timeout_us, &res, err);
    if (rc < 0)
        return rc;
    rc = pg_cell_u64(res, 0, 0, UINT64_MAX, &theirs, err);
    if (rc == 0)
        rc = pg_cell_u64(res, 0, 1, UINT32_MAX, &timeline, err);
    if (rc == 0)
        rc = pg_cell_lsn(res, 0, 2, &ret->lsn, err);
    PQclear(res);
    ret->timeline = (uint32_t)timeline;
    if (rc == 0 && theirs != system_id)
        rc = gsp_fail(err, GSP_E_SERVER, 0,
            "System identifier mismatch. Connected %s instance has system id: %" PRIu64 ". Expected: %" PRIu64 ".",
            product, theirs, system_id);
    return rc;
}

/* ---- messages ----------------------------------------------------------------------------------- */

/* Tell the server how far we are. The flush position is reported only for the sake of a slot: without
 * one it would make this connection a candidate for synchronous replication, and commits would count
 * as safe here. */
static int
report(struct stream *st, int wants_answer, struct gsp_error *err)
{
    struct pg_link *link = &st->wal->link;
    struct timespec ts;
    char msg[PG_REPORT_MAX] = {0};
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    struct pg_report r = {.written = st->at,
        .flushed = st->wal->slot[0] != '\0' ? st->at : 0,
        .time_us = (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 - EPOCH_2000_US,
        .wants_answer = wants_answer};
    int len = st->wal->kind->report(msg, &r);
    if (PQputCopyData(link->conn, msg, len) <= 0 || PQflush(link->conn) != 0)
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
    struct pg_message m = {0};
    st->heard_us = pg_now_us();
    st->asked = 0;
    if (!st->wal->kind->parse(msg, (uint32_t)len, &m))
        return gsp_fail(err, GSP_E_PROTO, 0, "the WAL sender sent an unknown message of type %#x and %d bytes",
            (unsigned)(unsigned char)msg[0], len);
    if (m.kind == PG_MESSAGE_ALIVE)
        return m.wanted ? report(st, 0, err) : 0;
    if (m.kind != PG_MESSAGE_WAL)
        return 0;
    if (m.start != st->at)
        return gsp_fail(err, GSP_E_PROTO, 0,
            "the server sent WAL at " GSP_LSN_FMT " where " GSP_LSN_FMT " was expected", GSP_LSN_ARGS(m.start),
            GSP_LSN_ARGS(st->at));
    return m.len > 0 ? give(st, m.data, m.len, err) : 0;
}

/* ---- stream ------------------------------------------------------------------------------------- */

static int
stream_error(struct stream *st, const PGresult *res, struct gsp_error *err)
{
    struct pg_link *link = &st->wal->link;
    (void)pg_link_error(link, res, NULL, NULL, err);
    st->wal->kind->advise(link, err);
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
        if (pg_now_us() - st->reported_us >= st->wal->kind->report_us) {
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
    } else if (now - st->reported_us >= st->wal->kind->report_us) {
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
    if (!st->wal->kind->is_answered)
        return;
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

int
pg_stream_run(struct pg_wal *wal, gsp_lsn from, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    int64_t now = pg_now_us();
    struct stream st = {.wal = wal, .cb = cb, .arg = arg, .at = from, .heard_us = now, .ticked_us = now};
    int rc = 0;
    st.reported_us = now - wal->kind->report_us; /* the first report goes out at once */
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
