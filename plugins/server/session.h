/* SPDX-License-Identifier: Apache-2.0
 *
 * What the sessions of PostgreSQL and of its descendants have in common. One thread at a time on each. */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include "server/link.h"

struct pg_options {
    const char *host;
    int64_t port; /* 0 = not set */
    const char *dbname;
    const char *user;
    const char *password;
    int64_t timeout_us; /* the longest silence of the server that is not an error */
    int64_t wait_us;    /* the longest work of the server: its checkpoint, the end of the backup */
};

/* The table that fills them. */
extern const struct gsp_option pg_session_options[];

struct pg_base {
    struct pg_link link;
    const struct pg_options *opts; /* borrowed until close */
    uint64_t system_id;
    int64_t wait_us; /* how long the server may take for its checkpoint */
    int began_on_standby;
    char *label;
    char *map;
};

/* pg_base_connect - open link as the options of a session say; link is as for pg_link_open. When nobody chose the
 * database, any that is there will do.
 * errors those of pg_link_open */
int pg_base_connect(struct pg_link *link, const struct pg_options *opts, struct gsp_error *err);

/* pg_base_open - fill base and connect; base is zero before. pg_base_close it in any case; that frees what base holds,
 * not base. */
int pg_base_open(
    struct pg_base *base, const struct gsp_host *host, const struct pg_options *opts, struct gsp_error *err);
void pg_base_close(struct pg_base *base);

/* pg_base_deadline - of a statement that needs no work of the server, from now on. */
int64_t pg_base_deadline(const struct pg_base *base);

/* pg_base_run - run a statement without parameters whose rows are of no interest. pg_base_ask - one whose rows are:
 * PQclear them. The errors are those of pg_link_query. */
int pg_base_run(struct pg_base *base, const char *sql, struct gsp_error *err);
int pg_base_ask(struct pg_base *base, const char *sql, PGresult **ret, struct gsp_error *err);

int pg_is_on(const char *text); /* "on", "t" */

/* pg_is_opengauss - does a text of version() say so? */
int pg_is_opengauss(const char *version);

/* Questions; the errors are those of pg_link_query, and PROTO for an answer that makes no sense. */
int pg_base_version(struct pg_base *base, char *ret, size_t size, struct gsp_error *err); /* version(), cut to fit */
int pg_base_in_recovery(struct pg_base *base, int *ret, struct gsp_error *err);
int pg_base_timeline(struct pg_base *base, uint32_t *ret, struct gsp_error *err); /* of the last checkpoint */
/* pg_base_databases - see gsp_server_ops.databases; sql gives oid and name. */
int pg_base_databases(struct pg_base *base, const char *sql, int (*cb)(void *arg, uint32_t oid, const char *name),
    void *arg, struct gsp_error *err);

/* pg_base_wait_for_begin - how long the server may take to begin a backup with these GSP_BEGIN_* flags. */
int pg_base_wait_for_begin(struct pg_base *base, uint32_t flags, int64_t *ret, struct gsp_error *err);

/* pg_base_check_role - a change of roles since base->began_on_standby was set is an error. */
int pg_base_check_role(struct pg_base *base, int *ret_standby, struct gsp_error *err);

int pg_base_restore_point(struct pg_base *base, const char *name, int64_t deadline_us, struct gsp_error *err);

/* pg_base_keep - copy label and map. */
int pg_base_keep(struct pg_base *base, const char *label, const char *map, struct gsp_error *err);

/* pg_base_recovery_point - ret->recovery_xid and recovery_time_us from the two columns of sql: the next transaction
 * id, and microseconds since 1970. */
int pg_base_recovery_point(
    struct pg_base *base, const char *sql, int64_t deadline_us, struct gsp_end *ret, struct gsp_error *err);

/* pg_late - name the call in a failure; one that came too late says so in the words of the backup. */
int pg_late(const char *call, int64_t timeout_us, struct gsp_error *err);

#endif
