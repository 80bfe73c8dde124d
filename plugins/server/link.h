/* SPDX-License-Identifier: Apache-2.0
 *
 * A link: one libpq connection on which nothing blocks longer than a tick, so that a stop asked for
 * by the user and a silent server are noticed. One thread at a time; links share nothing. */
#ifndef SERVER_LINK_H
#define SERVER_LINK_H

#include <libpq-fe.h>

#include "gsp/server.h"
#include "server/bytes.h"

#define PG_NO_DEADLINE INT64_MAX

/* Where a link goes; NULL or "" = libpq's default. */
struct pg_target {
    const char *host, *port, *dbname, *user, *password;
    const char *options;     /* server settings as on a command line */
    const char *replication; /* "true" = speak the replication protocol */
};

struct pg_link {
    const struct gsp_host *host;
    PGconn *conn;
    int64_t timeout_us;  /* the longest silence of the server that is not an error */
    const char *limit;   /* name of the option that says so, for hints */
    const char *if_lost; /* the hint when the server ends the connection */
    int lost;            /* the connection is of no use any more */
    int is_closing;      /* what is done now clears up: it is done also when the user asked to stop */
    char sqlstate[6];    /* of the last failure, "" when the server named none */
};

/* What stood behind a failure, for hints. */
#define PG_STATE_NO_PRIVILEGE "42501"
#define PG_STATE_NO_DATABASE "3D000"
#define PG_STATE_BAD_PASSWORD "28P01"
#define PG_STATE_NOT_AUTHORIZED "28000"
#define PG_STATE_TOO_MANY_CONNECTIONS "53300"
#define PG_CLASS_SHUTDOWN "57P" /* the server or an administrator ends this connection, or takes none now */
#define PG_STATE_NO_OBJECT "42704"
#define PG_STATE_DUPLICATE_OBJECT "42710"
#define PG_STATE_IN_USE "55006"
#define PG_STATE_NOT_READY "55000"
#define PG_STATE_NO_FILE "58P01"
#define PG_STATE_INTERNAL "XX000"

/* pg_now_us - monotonic time. */
int64_t pg_now_us(void);

/* pg_link_open - connect within link->timeout_us; host to if_lost but conn are set, the rest is zero.
 * The link must stay at its address until closed.
 * errors NET, PERM (err->where "password": the server wants one and none was given), SERVER, TIMEOUT,
 *        CANCELLED; link->sqlstate says more. Nothing stays open on failure. */
int pg_link_open(struct pg_link *link, const struct pg_target *target, struct gsp_error *err);
void pg_link_close(struct pg_link *link);
int pg_link_failed_with(const struct pg_link *link, const char *sqlstate);

/* pg_link_wait - wait for something to read, at most tick_us and not beyond the deadline, and take it
 * in. Returns 0 (look again), or NET TIMEOUT CANCELLED. */
int pg_link_wait(struct pg_link *link, int64_t tick_us, int64_t deadline_us, struct gsp_error *err);

/* pg_link_query - run one statement. n parameters as text; n = 0 uses the simple protocol, the only one
 * a replication connection has. When it is cancelled or late the server is asked to stop it.
 * out    ret: PQclear it; holds rows, nothing, or has opened a copy
 * errors PERM SERVER NET TIMEOUT CANCELLED; link->sqlstate says more */
int pg_link_query(struct pg_link *link, const char *sql, int n, const char *const *values, int64_t deadline_us,
    PGresult **ret, struct gsp_error *err);

/* Takes one row; what it returns, if not 0, stops the statement and is returned. */
typedef int (*pg_row_cb)(void *arg, const PGresult *row, struct gsp_error *err);

/* pg_link_stream - run one statement and hand its rows on as they come; none is kept. The parameters are as in
 * pg_link_query; what is limited, to link->timeout_us, is the silence of the server between two rows.
 * errors those of pg_link_query, and of the callback */
int pg_link_stream(struct pg_link *link, const char *sql, int n, const char *const *values, pg_row_cb cb, void *arg,
    struct gsp_error *err);

/* pg_link_error - record what the server or libpq said. res NULL: the connection's own message.
 * what may be NULL; sql is quoted in the message where given. */
int pg_link_error(struct pg_link *link, const PGresult *res, const char *what, const char *sql, struct gsp_error *err);

/* A cell of a result: its text, "" when it is NULL; as a number or LSN, PROTO when it is none. */
const char *pg_cell(const PGresult *res, int row, int column);
int pg_cell_u64(const PGresult *res, int row, int column, uint64_t max, uint64_t *ret, struct gsp_error *err);
int pg_cell_lsn(const PGresult *res, int row, int column, gsp_lsn *ret, struct gsp_error *err);

#endif
