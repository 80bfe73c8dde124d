/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream of WAL over a replication connection, whatever its messages look like. One thread at a time. */
#ifndef SERVER_STREAM_H
#define SERVER_STREAM_H

#include "server/link.h"
#include "server/messages.h"

#define PG_SLOT_NAME_MAX 63

/* What differs from one database to another. */
struct pg_stream_kind {
    /* Take a message apart; returns 0 when it makes no sense. */
    int (*parse)(const char *msg, uint32_t len, struct pg_message *ret);
    /* Put a report together; returns its length. */
    int (*report)(char msg[PG_REPORT_MAX], const struct pg_report *report);
    /* Give a hint for a failure of the server. */
    void (*advise)(const struct pg_link *link, struct gsp_error *err);
    int64_t report_us; /* the longest time between two reports */
    int is_answered;   /* the server answers to the end of a stream */
};

struct pg_wal {
    struct pg_link link;
    const struct pg_stream_kind *kind;
    int session_fd;                  /* socket of the session; only looked at, the session belongs to another thread */
    char slot[PG_SLOT_NAME_MAX + 1]; /* "" = none */
};

/* pg_slot_check_name - errors CONFIG */
int pg_slot_check_name(const char *slot, struct gsp_error *err);

/* pg_slot_check - refuse a slot that cannot be streamed from before the backup begins, not after.
 * in     sql gives, for the name as its parameter, type, is active, and maybe the state of its WAL;
 *        create: the statement that makes such a slot, for a hint
 * errors NOENT CONFIG LOCKED SERVER and those of pg_link_query */
int pg_slot_check(
    struct pg_link *session, const char *sql, const char *slot, const char *create, struct gsp_error *err);

/* pg_stream_init - prepare wal, which is zero, to be opened beside a session. */
void pg_stream_init(struct pg_wal *wal, const struct pg_stream_kind *kind, const struct pg_link *session);

/* pg_stream_advise_connect - add a hint to a replication connection that could not be opened, and say that it was
 * one. Returns err->code. */
int pg_stream_advise_connect(const struct pg_link *link, const char *user, struct gsp_error *err);

/* pg_stream_identify - who is at the other end; product is its name in a message.
 * errors SERVER (another system than expected) and those of pg_link_query */
struct pg_wal_end {
    gsp_lsn lsn;
    uint32_t timeline;
};
int pg_stream_identify(
    struct pg_wal *wal, const char *product, uint64_t system_id, struct pg_wal_end *ret, struct gsp_error *err);

/* pg_stream_run - hand on what comes from `from` on, after the stream was started, until the callback ends it.
 * errors those of gsp_server_ops.wal_stream */
int pg_stream_run(struct pg_wal *wal, gsp_lsn from, gsp_wal_cb cb, void *arg, struct gsp_error *err);

#endif
