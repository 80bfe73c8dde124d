/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <inttypes.h>

#include "server/stream.h"

#define WAL_HEADER 25
#define KEEPALIVE_LENGTH 18
#define STATUS_LENGTH 34

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

static int
parse(const char *msg, uint32_t len, struct pg_message *ret)
{
    if (len >= WAL_HEADER && msg[0] == 'w') {
        *ret = (struct pg_message){
            .kind = PG_MESSAGE_WAL, .start = get_be64(msg + 1), .data = msg + WAL_HEADER, .len = len - WAL_HEADER};
        return 1;
    }
    if (len >= KEEPALIVE_LENGTH && msg[0] == 'k') {
        *ret = (struct pg_message){.kind = PG_MESSAGE_ALIVE, .wanted = msg[17] != 0};
        return 1;
    }
    return 0;
}

static int
build_report(char msg[PG_REPORT_MAX], const struct pg_report *report)
{
    msg[0] = 'r';
    put_be64(msg + 1, report->written);
    put_be64(msg + 9, report->flushed);
    put_be64(msg + 17, 0);
    put_be64(msg + 25, (uint64_t)report->time_us);
    msg[33] = (char)report->wants_answer;
    return STATUS_LENGTH;
}

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

static const struct pg_stream_kind kind = {
    .parse = parse, .report = build_report, .advise = advise, .report_us = 10000000, .is_answered = 1};

/* ---- open --------------------------------------------------------------------------------------- */

static int
check_existing_slot(struct pg_link *session, const char *slot, struct gsp_error *err)
{
    char create[160];
    /* The column is there since version 13. */
    const char *sql = PQserverVersion(session->conn) >= 130000
                          ? "SELECT slot_type, active, wal_status FROM pg_catalog.pg_replication_slots WHERE "
                            "slot_name::pg_catalog.text = $1"
                          : "SELECT slot_type, active FROM pg_catalog.pg_replication_slots WHERE "
                            "slot_name::pg_catalog.text = $1";
    (void)snprintf(create, sizeof create, "SELECT pg_create_physical_replication_slot('%s', true)", slot);
    return pg_slot_check(session, sql, slot, create, err);
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
    return rc == 0 ? 0 : pg_stream_advise_connect(&wal->link, target.user, err);
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
    struct pg_wal_end at = {0};
    int rc = 0;
    if (flags & ~GSP_WAL_TEMP_SLOT)
        return gsp_fail(err, GSP_E_BUG, 0, "wal_open: unknown flags %#x", flags & ~GSP_WAL_TEMP_SLOT);
    if (slot != NULL)
        rc = pg_slot_check_name(slot, err);
    if (rc == 0 && slot != NULL && !(flags & GSP_WAL_TEMP_SLOT))
        rc = check_existing_slot(session, slot, err);
    if (rc < 0)
        return rc;
    wal = calloc(1, sizeof *wal);
    if (wal == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory opening a WAL stream");
    pg_stream_init(wal, &kind, session);
    if (slot != NULL)
        (void)snprintf(wal->slot, sizeof wal->slot, "%s", slot);
    rc = connect_receiver(wal, session, err);
    if (rc == 0)
        rc = pg_stream_identify(wal, "PostgreSQL", pg_session_system_id(srv), &at, err);
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

/* ---- stream ------------------------------------------------------------------------------------- */

static int
start_stream(struct pg_wal *wal, gsp_lsn from, uint32_t timeline, struct gsp_error *err)
{
    char sql[160], slot[PG_SLOT_NAME_MAX + 16] = "";
    PGresult *res;
    int rc, started;
    if (wal->slot[0] != '\0')
        (void)snprintf(slot, sizeof slot, "SLOT \"%s\" ", wal->slot);
    (void)snprintf(sql, sizeof sql, "START_REPLICATION %sPHYSICAL " GSP_LSN_FMT " TIMELINE %" PRIu32, slot,
        GSP_LSN_ARGS(from), timeline);
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
        GSP_LSN_ARGS(from));
}

int
pg_wal_stream(void *handle, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    struct pg_wal *wal = handle;
    int rc = start_stream(wal, from, timeline, err);
    return rc == 0 ? pg_stream_run(wal, from, cb, arg, err) : rc;
}
