/* SPDX-License-Identifier: Apache-2.0 */
#include "server/link.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <time.h>

#define TICK_US 200000
#define ABANDON_US 600000 /* how long a stopped statement may take to end, */
#define CANCEL_MS 400     /* and of that the request to stop it */
#define KEYWORDS_MAX 16
#define SQLSTATE_LEN 5

int64_t
pg_now_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- texts of the server ------------------------------------------------------------------------ */

/* Append src to dst as part of one line: control characters and runs of blanks become one blank. */
static void
append_line(char *dst, size_t size, const char *src, size_t len)
{
    size_t used = strlen(dst);
    int blank = used > 0;
    for (size_t i = 0; i < len && used + 2 < size; i++) {
        if ((unsigned char)src[i] <= ' ') {
            blank = used > 0;
            continue;
        }
        if (blank && dst[used - 1] != ' ')
            dst[used++] = ' ';
        blank = 0;
        dst[used++] = src[i];
    }
    dst[used] = '\0';
}

/* A line such as "LOCATION:  function, file.c:123", whatever the language of its first word. */
static int
is_source_location(const char *line, size_t len)
{
    size_t digits = 0;
    while (digits < len && line[len - 1 - digits] >= '0' && line[len - 1 - digits] <= '9')
        digits++;
    return digits > 0 && len > digits + 3 && memcmp(line + len - digits - 3, ".c:", 3) == 0;
}

/* Where "XXXXX: " with an SQLSTATE begins in a line, or NULL. Two blanks follow the severity. */
static const char *
find_sqlstate(const char *line, size_t len)
{
    for (size_t i = 2; i + SQLSTATE_LEN + 2 <= len; i++) {
        size_t n = 0;
        if (line[i - 2] != ' ' || line[i - 1] != ' ')
            continue;
        while (n < SQLSTATE_LEN &&
               ((line[i + n] >= '0' && line[i + n] <= '9') || (line[i + n] >= 'A' && line[i + n] <= 'Z')))
            n++;
        if (n == SQLSTATE_LEN && line[i + n] == ':' && line[i + n + 1] == ' ')
            return line + i;
    }
    return NULL;
}

/* libpq gives a failed connection attempt no fields, only text. In its verbose form the text holds the
 * SQLSTATE, in every language of the server; take it out and leave what people want to read. */
static void
take_apart(const char *text, char *message, size_t size, char sqlstate[SQLSTATE_LEN + 1])
{
    message[0] = '\0';
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        const char *state = find_sqlstate(text, len);
        if (state != NULL) {
            memcpy(sqlstate, state, SQLSTATE_LEN);
            sqlstate[SQLSTATE_LEN] = '\0';
            append_line(message, size, text, (size_t)(state - text));
            state += SQLSTATE_LEN + 2;
            append_line(message, size, state, len - (size_t)(state - text));
        } else if (!is_source_location(text, len)) {
            append_line(message, size, text, len);
        }
        text += len + (text[len] == '\n');
    }
}

static void
log_notice(void *arg, const PGresult *res)
{
    const struct pg_link *link = arg;
    const char *severity = PQresultErrorField(res, PG_DIAG_SEVERITY);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    /* Class 01 is the warnings; the severity's word may be in any language. */
    uint32_t level = state != NULL && strncmp(state, "01", 2) == 0 ? GSP_LOG_WARNING : GSP_LOG_LOG;
    if (text != NULL)
        link->host->log(link->host->ctx, level, "server: %s: %s", severity != NULL ? severity : "NOTICE", text);
}

/* ---- connecting --------------------------------------------------------------------------------- */

struct keywords {
    const char *name[KEYWORDS_MAX + 1];
    const char *value[KEYWORDS_MAX + 1];
    unsigned n;
    const PQconninfoOption *known;
};

/* Add a keyword that this libpq knows; an unknown one would fail the whole attempt. */
static void
add_keyword(struct keywords *k, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0' || k->n >= KEYWORDS_MAX)
        return;
    for (const PQconninfoOption *o = k->known; o->keyword != NULL; o++) {
        if (strcmp(o->keyword, name) == 0) {
            k->name[k->n] = name;
            k->value[k->n++] = value;
            return;
        }
    }
}

/* How the system finds out that the other side of a TCP connection is gone, within the time limit. A
 * session has nothing to say for hours while files are copied: these probes also keep it alive in the
 * tables of firewalls. */
struct probes {
    char idle_s[24], interval_s[24], user_timeout_ms[24];
};

#define PROBES "9"

static struct probes
probes_within(int64_t timeout_us)
{
    struct probes p;
    int64_t s = timeout_us / 1000000;
    (void)snprintf(p.idle_s, sizeof p.idle_s, "%" PRId64, s > 240 ? 60 : s > 4 ? s / 4 : 1);
    (void)snprintf(p.interval_s, sizeof p.interval_s, "%" PRId64, s > 240 ? 20 : s > 12 ? s / 12 : 1);
    (void)snprintf(p.user_timeout_ms, sizeof p.user_timeout_ms, "%" PRId64, s * 1000);
    return p;
}

static PGconn *
start_connecting(const struct pg_target *target, int64_t timeout_us)
{
    PQconninfoOption *known = PQconndefaults();
    struct keywords k = {.known = known};
    struct probes probes = probes_within(timeout_us);
    PGconn *conn;
    if (known == NULL)
        return NULL;
    add_keyword(&k, "host", target->host);
    add_keyword(&k, "port", target->port);
    add_keyword(&k, "dbname", target->dbname);
    add_keyword(&k, "user", target->user);
    add_keyword(&k, "password", target->password);
    add_keyword(&k, "options", target->options);
    add_keyword(&k, "replication", target->replication);
    add_keyword(&k, "keepalives_idle", probes.idle_s);
    add_keyword(&k, "keepalives_interval", probes.interval_s);
    add_keyword(&k, "keepalives_count", PROBES);
    add_keyword(&k, "tcp_user_timeout", probes.user_timeout_ms);
    add_keyword(&k, "application_name", "gs_probackup");
    add_keyword(&k, "client_encoding", target->replication == NULL ? "UTF8" : NULL);
    conn = PQconnectStartParams(k.name, k.value, 0);
    PQconninfoFree(known);
    return conn;
}

/* Wait for events on the connection's socket, at most until the deadline. Returns poll's revents != 0. */
static int
poll_socket(const struct pg_link *link, short events, int64_t tick_us, int64_t deadline_us)
{
    struct pollfd fd = {.fd = PQsocket(link->conn), .events = events};
    int64_t left = deadline_us - pg_now_us();
    if (left > tick_us)
        left = tick_us;
    if (left > TICK_US)
        left = TICK_US;
    return poll(&fd, 1, left > 0 ? (int)((left + 999) / 1000) : 0) > 0;
}

static int
is_cancelled(const struct pg_link *link)
{
    return !link->is_closing && link->host->cancelled(link->host->ctx) != 0;
}

static int
wait_connected(struct pg_link *link, struct gsp_error *err)
{
    int64_t deadline = pg_now_us() + link->timeout_us;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK && state != PGRES_POLLING_FAILED) {
        if (is_cancelled(link))
            return gsp_fail(err, GSP_E_CANCELLED, 0, "connecting to the server was cancelled");
        if (pg_now_us() >= deadline) {
            (void)gsp_fail(err, GSP_E_TIMEOUT, 0, "could not connect to database %s: no answer in %" PRId64 " seconds",
                PQdb(link->conn), link->timeout_us / 1000000);
            return gsp_hint(err, "Check host, port and network, or raise the time limit with %s.", link->limit);
        }
        if (poll_socket(link, state == PGRES_POLLING_READING ? POLLIN : POLLOUT, TICK_US, deadline))
            state = PQconnectPoll(link->conn);
    }
    return 0;
}

static int
is_shutdown(const struct pg_link *link)
{
    return strncmp(link->sqlstate, PG_CLASS_SHUTDOWN, strlen(PG_CLASS_SHUTDOWN)) == 0;
}

/* openGauss asks for passwords in ways of its own, under numbers that PostgreSQL's libpq takes for SASL or has never
 * heard of. */
static int
is_foreign_login(const char *message)
{
    return strstr(message, "server's SASL authentication mechanisms are supported") != NULL ||
           strstr(message, "AUTH_REQ_SASL_CONT without AUTH_REQ_SASL") != NULL ||
           strstr(message, "authentication method 1") != NULL;
}

static int
connect_failure(struct pg_link *link, struct gsp_error *err)
{
    char message[sizeof err->msg];
    int code = GSP_E_SERVER;
    take_apart(PQerrorMessage(link->conn), message, sizeof message, link->sqlstate);
    if (link->sqlstate[0] == '\0')
        code = GSP_E_NET;
    else if (pg_link_failed_with(link, PG_STATE_NO_DATABASE))
        code = GSP_E_NOENT;
    if (is_foreign_login(message) || PQconnectionNeedsPassword(link->conn) || strncmp(link->sqlstate, "28", 2) == 0 ||
        pg_link_failed_with(link, PG_STATE_NO_PRIVILEGE))
        code = GSP_E_PERM;
    (void)gsp_fail(err, code, 0, "could not connect to database %s: %s", PQdb(link->conn), message);
    if (is_foreign_login(message)) {
        (void)gsp_hint(err,
            "openGauss wants a login that this libpq does not know. Run with the libpq of openGauss "
            "(LD_LIBRARY_PATH=$GAUSSHOME/lib), or as a role whose password was set with password_encryption_type = 1.");
    } else if (PQconnectionNeedsPassword(link->conn)) {
        (void)snprintf(err->where, sizeof err->where, "password");
        (void)gsp_hint(err, "Give the password with -W/--password, PGPASSWORD or a password file.");
    } else if (pg_link_failed_with(link, PG_STATE_BAD_PASSWORD)) {
        (void)gsp_hint(err, "Check user and password.");
    } else if (code == GSP_E_NOENT) {
        (void)gsp_hint(err, "Name an existing database with -d/--pgdatabase; any will do.");
    } else if (code == GSP_E_NET) {
        (void)gsp_hint(err, "Check that the server runs and accepts connections at this host (-h) and port (-p).");
    } else if (is_shutdown(link)) {
        (void)gsp_hint(err, "The server starts, stops or recovers: try again when it accepts connections.");
    }
    return err->code;
}

int
pg_link_open(struct pg_link *link, const struct pg_target *target, struct gsp_error *err)
{
    int rc;
    link->lost = 0;
    link->sqlstate[0] = '\0';
    link->conn = start_connecting(target, link->timeout_us);
    if (link->conn == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory connecting to the server");
    (void)PQsetNoticeReceiver(link->conn, log_notice, link);
    (void)PQsetErrorVerbosity(link->conn, PQERRORS_VERBOSE);
    if (PQstatus(link->conn) == CONNECTION_BAD) {
        rc = connect_failure(link, err);
    } else {
        rc = wait_connected(link, err);
        if (rc == 0 && PQstatus(link->conn) != CONNECTION_OK)
            rc = connect_failure(link, err);
    }
    if (rc < 0)
        pg_link_close(link);
    else
        (void)PQsetErrorVerbosity(link->conn, PQERRORS_DEFAULT);
    return rc;
}

void
pg_link_close(struct pg_link *link)
{
    if (link->conn != NULL)
        PQfinish(link->conn);
    link->conn = NULL;
}

int
pg_link_failed_with(const struct pg_link *link, const char *sqlstate)
{
    return strcmp(link->sqlstate, sqlstate) == 0;
}

/* ---- statements --------------------------------------------------------------------------------- */

static int
code_of_failure(const struct pg_link *link)
{
    if (PQstatus(link->conn) == CONNECTION_BAD || is_shutdown(link))
        return GSP_E_NET;
    if (pg_link_failed_with(link, PG_STATE_NO_PRIVILEGE))
        return GSP_E_PERM;
    if (pg_link_failed_with(link, PG_STATE_NO_OBJECT))
        return GSP_E_NOENT;
    if (pg_link_failed_with(link, PG_STATE_DUPLICATE_OBJECT))
        return GSP_E_EXIST;
    if (pg_link_failed_with(link, PG_STATE_IN_USE))
        return GSP_E_LOCKED;
    return GSP_E_SERVER;
}

int
pg_link_error(struct pg_link *link, const PGresult *res, const char *what, const char *sql, struct gsp_error *err)
{
    const char *state = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    const char *primary = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *detail = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL) : NULL;
    const char *advice = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;
    char message[384] = "";
    int code;
    (void)snprintf(link->sqlstate, sizeof link->sqlstate, "%s", state != NULL ? state : "");
    if (primary == NULL)
        primary = res != NULL ? PQresultErrorMessage(res) : PQerrorMessage(link->conn);
    append_line(message, sizeof message, primary, strcspn(primary, "\n"));
    if (detail != NULL)
        append_line(message, sizeof message, detail, strlen(detail));
    code = code_of_failure(link);
    link->lost = link->lost || code == GSP_E_NET;
    if (message[0] == '\0')
        append_line(message, sizeof message, "the connection was closed", strlen("the connection was closed"));
    if (sql != NULL)
        (void)gsp_fail(err, code, 0, "query failed: %s; query was: %s", message, sql);
    else
        (void)gsp_fail(err, code, 0, "%s", message);
    if (what != NULL)
        (void)gsp_prefix(err, "%s", what);
    if (advice != NULL && advice[0] != '\0')
        (void)gsp_hint(err, "%.*s", (int)strcspn(advice, "\n"), advice);
    if (code == GSP_E_NET)
        (void)gsp_hint(err, "%s", link->if_lost);
    return err->code;
}

int
pg_link_wait(struct pg_link *link, int64_t tick_us, int64_t deadline_us, struct gsp_error *err)
{
    if (is_cancelled(link))
        return gsp_fail(err, GSP_E_CANCELLED, 0, "waiting for the server was cancelled");
    if (pg_now_us() >= deadline_us) {
        (void)gsp_fail(err, GSP_E_TIMEOUT, 0, "the server did not answer in time");
        return gsp_hint(err, "Check server and network, or raise the time limit with %s.", link->limit);
    }
    if (poll_socket(link, POLLIN, tick_us, deadline_us) && !PQconsumeInput(link->conn))
        return pg_link_error(link, NULL, "connection to the server was lost", NULL, err);
    return 0;
}

static void *
send_cancel(void *cancel)
{
    char why[256];
    (void)PQcancel(cancel, why, sizeof why);
    return NULL;
}

/* Ask the server to stop the statement. PQcancel has no time limit of its own: with a server that does not answer it
 * waits for minutes. So a thread calls it, which is ended in its connect or recv when that takes too long; all that
 * may be lost by this is the descriptor of a dead connection. */
static void
request_cancel(struct pg_link *link)
{
    PGcancel *cancel = PQgetCancel(link->conn);
    pthread_t thread;
    struct timespec until;
    if (cancel == NULL)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += CANCEL_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    if (pthread_create(&thread, NULL, send_cancel, cancel) == 0 && pthread_timedjoin_np(thread, NULL, &until) != 0) {
        (void)pthread_cancel(thread);
        (void)pthread_join(thread, NULL);
    }
    PQfreeCancel(cancel);
}

/* Make the server stop what it does for this link, and leave the link usable if that works soon. */
static void
abandon_statement(struct pg_link *link)
{
    int64_t deadline = pg_now_us() + ABANDON_US;
    request_cancel(link);
    while (pg_now_us() < deadline && PQstatus(link->conn) == CONNECTION_OK) {
        PGresult *res;
        if (PQisBusy(link->conn)) {
            if (poll_socket(link, POLLIN, TICK_US, deadline))
                (void)PQconsumeInput(link->conn);
            continue;
        }
        res = PQgetResult(link->conn);
        if (res == NULL)
            return;
        PQclear(res);
    }
    link->lost = 1;
}

static int
opens_copy(const PGresult *res)
{
    return PQresultStatus(res) == PGRES_COPY_BOTH || PQresultStatus(res) == PGRES_COPY_OUT ||
           PQresultStatus(res) == PGRES_COPY_IN;
}

static int
succeeded(const PGresult *res)
{
    return res != NULL && (PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK ||
                              PQresultStatus(res) == PGRES_COPY_BOTH);
}

/* Collect the results of a statement: the first failure, else the last result. */
static int
collect(struct pg_link *link, int64_t deadline_us, PGresult **ret, struct gsp_error *err)
{
    PGresult *kept = NULL, *next;
    for (;;) {
        while (PQisBusy(link->conn)) {
            int rc = pg_link_wait(link, TICK_US, deadline_us, err);
            if (rc < 0) {
                PQclear(kept);
                return rc;
            }
        }
        next = PQgetResult(link->conn);
        if (next == NULL)
            break;
        if (kept == NULL || succeeded(kept)) {
            PQclear(kept);
            kept = next;
        } else {
            PQclear(next);
        }
        if (opens_copy(kept))
            break;
    }
    *ret = kept;
    return 0;
}

/* Begin a statement on a link that is not lost. */
static int
send_statement(struct pg_link *link, const char *sql, int n, const char *const *values, struct gsp_error *err)
{
    int sent;
    link->sqlstate[0] = '\0';
    if (link->lost)
        return gsp_fail(err, GSP_E_NET, 0, "the connection to the server was lost before; query was: %s", sql);
    if (n > 0)
        sent = PQsendQueryParams(link->conn, sql, n, NULL, values, NULL, NULL, 0);
    else
        sent = PQsendQuery(link->conn, sql);
    return sent ? 0 : pg_link_error(link, NULL, NULL, sql, err);
}

/* Give a statement up that failed here, or in whoever took its rows, not at the server. */
static int
give_up(struct pg_link *link, const char *sql, int rc, struct gsp_error *err)
{
    if (!link->lost)
        abandon_statement(link);
    return rc == GSP_E_CANCELLED ? rc : gsp_prefix(err, "query '%s'", sql);
}

int
pg_link_query(struct pg_link *link, const char *sql, int n, const char *const *values, int64_t deadline_us,
    PGresult **ret, struct gsp_error *err)
{
    PGresult *res = NULL;
    int rc = send_statement(link, sql, n, values, err);
    if (rc < 0)
        return rc;
    rc = collect(link, deadline_us, &res, err);
    if (rc < 0)
        return give_up(link, sql, rc, err);
    if (!succeeded(res)) {
        rc = pg_link_error(link, res, NULL, sql, err);
        PQclear(res);
        return rc;
    }
    *ret = res;
    return 0;
}

/* Wait until the next result, or its end, can be had. */
static int
wait_result(struct pg_link *link, struct gsp_error *err)
{
    int64_t deadline = pg_now_us() + link->timeout_us;
    int rc = 0;
    while (rc == 0 && PQisBusy(link->conn))
        rc = pg_link_wait(link, TICK_US, deadline, err);
    return rc;
}

int
pg_link_stream(struct pg_link *link, const char *sql, int n, const char *const *values, pg_row_cb cb, void *arg,
    struct gsp_error *err)
{
    PGresult *res;
    int rc = send_statement(link, sql, n, values, err), failed = 0;
    if (rc < 0)
        return rc;
    if (!PQsetSingleRowMode(link->conn))
        return give_up(link, sql, gsp_fail(err, GSP_E_BUG, 0, "rows cannot be had one by one"), err);
    for (;;) {
        rc = wait_result(link, err);
        if (rc < 0)
            return give_up(link, sql, rc, err);
        res = PQgetResult(link->conn);
        if (res == NULL)
            return failed;
        if (PQresultStatus(res) == PGRES_SINGLE_TUPLE)
            rc = cb(arg, res, err);
        else if (!succeeded(res) && failed == 0)
            failed = pg_link_error(link, res, NULL, sql, err);
        PQclear(res);
        if (rc != 0) {
            abandon_statement(link);
            return rc;
        }
    }
}

/* ---- results ------------------------------------------------------------------------------------ */

const char *
pg_cell(const PGresult *res, int row, int column)
{
    if (row >= PQntuples(res) || column >= PQnfields(res))
        return "";
    return PQgetvalue(res, row, column);
}

static int
unexpected(const char *text, const char *wanted, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_PROTO, 0, "the server answered '%s' where %s was expected", text, wanted);
}

int
pg_cell_u64(const PGresult *res, int row, int column, uint64_t max, uint64_t *ret, struct gsp_error *err)
{
    const char *text = pg_cell(res, row, column), *p = text;
    uint64_t v = 0;
    if (strcmp(text, "0") != 0 && (!pg_digits(&p, max, &v) || *p != '\0'))
        return unexpected(text, "a number", err);
    *ret = v;
    return 0;
}

/* Up to eight hexadecimal digits at *text. */
static int
take_hex32(const char **text, uint32_t *ret)
{
    const char *p = *text;
    uint32_t v = 0;
    for (; p - *text < 8; p++) {
        if (*p >= '0' && *p <= '9')
            v = v << 4 | (uint32_t)(*p - '0');
        else if ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'f')
            v = v << 4 | (uint32_t)((*p | 0x20) - 'a' + 10);
        else
            break;
    }
    if (p == *text)
        return 0;
    *text = p;
    *ret = v;
    return 1;
}

int
pg_cell_lsn(const PGresult *res, int row, int column, gsp_lsn *ret, struct gsp_error *err)
{
    const char *text = pg_cell(res, row, column), *p = text;
    uint32_t high, low;
    if (!take_hex32(&p, &high) || *p++ != '/' || !take_hex32(&p, &low) || *p != '\0')
        return unexpected(text, "a WAL position", err);
    *ret = (gsp_lsn)high << 32 | low;
    return 0;
}
