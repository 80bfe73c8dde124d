/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "changes.h"
#include "session.h"

#define FIRST_VERSION 170000
#define POLL_US 200000

/* A question about the summaries of one timeline in [from, to). */
struct summaries {
    struct pg_link *link;
    uint32_t timeline;
    gsp_lsn from, to;
    char texts[3][32]; /* the three as parameters of a statement */
    gsp_lsn covered;   /* coverage: up to where there is no gap */
    gsp_lsn next;      /* where summaries go on behind the gap, 0 = nowhere */
    struct pg_changes changes;
};

static int
advise(const struct summaries *s, struct gsp_error *err)
{
    if (err->code == GSP_E_PERM)
        (void)gsp_hint(err,
            "Run: GRANT EXECUTE ON FUNCTION pg_catalog.pg_available_wal_summaries(), "
            "pg_catalog.pg_wal_summary_contents(bigint, pg_lsn, pg_lsn), pg_catalog.pg_get_wal_summarizer_state() TO "
            "\"%s\";",
            PQuser(s->link->conn));
    return err->code;
}

static int
check_supported(const struct summaries *s, struct gsp_error *err)
{
    PGresult *res;
    const char *version = PQparameterStatus(s->link->conn, "server_version");
    int rc;
    if (PQserverVersion(s->link->conn) < FIRST_VERSION) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0,
            "the server has version %s, PostgreSQL knows its changed blocks since version 17",
            version != NULL ? version : "unknown");
        return gsp_hint(err, "Use -b DELTA or -b PAGE.");
    }
    rc = pg_link_query(s->link, "SELECT pg_catalog.current_setting('summarize_wal')", 0, NULL,
        pg_now_us() + s->link->timeout_us, &res, err);
    if (rc < 0)
        return rc;
    if (strcmp(pg_cell(res, 0, 0), "on") != 0) {
        rc = gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the server does not summarize its WAL: summarize_wal is off");
        (void)gsp_hint(err, "Run: ALTER SYSTEM SET summarize_wal = on; SELECT pg_reload_conf(); then take a new FULL, "
                            "for PTRACK needs summaries back to the start of its parent. Until then use -b DELTA or -b "
                            "PAGE.");
    }
    PQclear(res);
    return rc;
}

/* How far the server has come. */
static int
ask_progress(const struct summaries *s, gsp_lsn *ret_lsn, int *ret_runs, struct gsp_error *err)
{
    static const char *const sql =
        "SELECT summarized_lsn, summarizer_pid IS NOT NULL FROM pg_catalog.pg_get_wal_summarizer_state()";
    PGresult *res;
    int rc = pg_link_query(s->link, sql, 0, NULL, pg_now_us() + s->link->timeout_us, &res, err);
    if (rc < 0)
        return advise(s, err);
    rc = pg_cell_lsn(res, 0, 0, ret_lsn, err);
    *ret_runs = strcmp(pg_cell(res, 0, 1), "t") == 0;
    PQclear(res);
    return rc;
}

/* The server writes a summary when its WAL reaches a checkpoint's start, and a backup starts with a checkpoint: what
 * is waited for here is on its way. */
static int
wait_summarized(const struct summaries *s, int64_t timeout_us, struct gsp_error *err)
{
    int64_t deadline = timeout_us > 0 ? pg_now_us() + timeout_us : PG_NO_DEADLINE;
    for (;;) {
        gsp_lsn lsn = 0;
        int runs = 0, rc = ask_progress(s, &lsn, &runs, err);
        if (rc < 0 || lsn >= s->to)
            return rc;
        if (pg_now_us() + POLL_US >= deadline) {
            (void)gsp_fail(err, GSP_E_TIMEOUT, 0,
                "the server has summarized its WAL up to " GSP_LSN_FMT ", not up to " GSP_LSN_FMT ", after %" PRId64
                " seconds",
                GSP_LSN_ARGS(lsn), GSP_LSN_ARGS(s->to), timeout_us / 1000000);
            if (!runs)
                return gsp_hint(err, "Its WAL summarizer does not run: look at the server's log.");
            return gsp_hint(err,
                "Look for its WAL summarizer in the server's log, or raise the time limit with --archive-timeout.");
        }
        rc = pg_link_wait(s->link, POLL_US, deadline, err);
        if (rc < 0)
            return rc;
    }
}

static int
take_range(void *arg, const PGresult *row, struct gsp_error *err)
{
    struct summaries *s = arg;
    gsp_lsn start = 0, end = 0;
    int rc = pg_cell_lsn(row, 0, 0, &start, err);
    if (rc == 0)
        rc = pg_cell_lsn(row, 0, 1, &end, err);
    if (rc < 0 || s->next != 0)
        return rc;
    if (start > s->covered)
        s->next = start;
    else if (end > s->covered)
        s->covered = end;
    return 0;
}

static int
check_coverage(struct summaries *s, struct gsp_error *err)
{
    static const char *const sql =
        "SELECT start_lsn, end_lsn FROM pg_catalog.pg_available_wal_summaries() WHERE tli = $1::pg_catalog.int8 AND "
        "end_lsn > $2::pg_catalog.pg_lsn AND start_lsn < $3::pg_catalog.pg_lsn ORDER BY start_lsn, end_lsn";
    const char *values[3] = {s->texts[0], s->texts[1], s->texts[2]};
    int rc;
    s->covered = s->from;
    s->next = 0;
    rc = pg_link_stream(s->link, sql, 3, values, take_range, s, err);
    if (rc < 0)
        return advise(s, err);
    if (s->covered >= s->to)
        return 0;
    (void)gsp_fail(err, GSP_E_NOENT, 0,
        "the server has no WAL summaries of timeline %" PRIu32 " from " GSP_LSN_FMT " to " GSP_LSN_FMT, s->timeline,
        GSP_LSN_ARGS(s->covered), GSP_LSN_ARGS(s->next != 0 ? s->next : s->to));
    return gsp_hint(err, "It removes summaries that are older than wal_summary_keep_time, and makes none while "
                         "summarize_wal is off. Take this backup with -b DELTA, -b PAGE or -b FULL.");
}

static int
take_change(void *arg, const PGresult *row, struct gsp_error *err)
{
    struct summaries *s = arg;
    uint64_t relation = 0, space = 0, db = 0, block = 0;
    struct gsp_change change = {.kind = GSP_CHANGE_BLOCKS};
    int rc = pg_cell_u64(row, 0, 0, UINT32_MAX, &relation, err);
    if (rc == 0)
        rc = pg_cell_u64(row, 0, 1, UINT32_MAX, &space, err);
    if (rc == 0)
        rc = pg_cell_u64(row, 0, 2, UINT32_MAX, &db, err);
    if (rc == 0)
        rc = pg_cell_u64(row, 0, 3, PG_NO_BLOCK - 1, &block, err);
    if (rc < 0)
        return rc;
    change.space_oid = (uint32_t)space;
    change.db_oid = (uint32_t)db;
    change.relation = (uint32_t)relation;
    change.block = (uint32_t)block;
    if (relation == 0) /* a database was made, or dropped */
        change.kind = GSP_CHANGE_DATABASE;
    else if (strcmp(pg_cell(row, 0, 4), "t") == 0)
        change.kind = GSP_CHANGE_FROM;
    change.count = change.kind == GSP_CHANGE_BLOCKS;
    return pg_changes_add(&s->changes, &change, err);
}

/* One summary after the other: the server holds no more than one at a time, and here is one row. */
static int
read_summaries(struct summaries *s, struct gsp_error *err)
{
    static const char *const sql =
        "SELECT c.relfilenode, c.reltablespace, c.reldatabase, c.relblocknumber, c.is_limit_block FROM "
        "pg_catalog.pg_available_wal_summaries() s, LATERAL pg_catalog.pg_wal_summary_contents(s.tli, s.start_lsn, "
        "s.end_lsn) c WHERE c.relforknumber = 0 AND s.tli = $1::pg_catalog.int8 AND s.end_lsn > "
        "$2::pg_catalog.pg_lsn AND s.start_lsn < $3::pg_catalog.pg_lsn";
    const char *values[3] = {s->texts[0], s->texts[1], s->texts[2]};
    int rc = pg_link_stream(s->link, sql, 3, values, take_change, s, err);
    if (rc < 0)
        return advise(s, err);
    return rc != 0 ? rc : pg_changes_flush(&s->changes, err);
}

int
pg_changed_blocks(void *srv, uint32_t timeline, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
    void *arg, struct gsp_error *err)
{
    struct summaries s = {.link = pg_session_link(srv), .timeline = timeline, .from = from, .to = to};
    int rc;
    s.changes.cb = cb;
    s.changes.arg = arg;
    (void)snprintf(s.texts[0], sizeof s.texts[0], "%" PRIu32, timeline);
    (void)snprintf(s.texts[1], sizeof s.texts[1], GSP_LSN_FMT, GSP_LSN_ARGS(from));
    (void)snprintf(s.texts[2], sizeof s.texts[2], GSP_LSN_FMT, GSP_LSN_ARGS(to));
    rc = check_supported(&s, err);
    if (rc == 0)
        rc = wait_summarized(&s, timeout_us, err);
    if (rc == 0)
        rc = check_coverage(&s, err);
    if (rc == 0)
        rc = read_summaries(&s, err);
    /* Summaries only ever go away: what is here now was there all the while. */
    if (rc == 0)
        rc = check_coverage(&s, err);
    return rc;
}
