/* SPDX-License-Identifier: Apache-2.0
 *
 * The changed-block map of openGauss: waits until the server has tracked its WAL far enough, then reads the map row
 * by row. It asks through an interface, so that the session behind it can be a server or a file of recorded rows. */
#ifndef SERVER_OPENGAUSS_CBM_H
#define SERVER_OPENGAUSS_CBM_H

#include "gsp/server.h"

/* Takes the n cells of one row as text, "" for NULL; borrowed until it returns. Non-zero stops the statement and is
 * returned. */
typedef int (*cbm_row_cb)(void *arg, uint32_t n, const char *const *cells, struct gsp_error *err);

struct cbm_session {
    void *ctx;
    /* Run one statement without parameters and hand on its rows as they come.
     * errors those of the callback, SERVER PERM NET TIMEOUT CANCELLED with the server's words in the message */
    int (*query)(void *ctx, const char *sql, cbm_row_cb cb, void *arg, struct gsp_error *err);
    /* Monotonic time. */
    int64_t (*now_us)(void *ctx);
    /* Let up to us microseconds go by. errors CANCELLED, and NET where a lost connection is noticed */
    int (*wait)(void *ctx, int64_t us, struct gsp_error *err);
};

/* cbm_changed_blocks - every change of the main forks of relations in [from, to), see gsp_server_ops.changed_blocks.
 * in     timeout_us bounds the wait for the map to reach `to`; 0 = none
 * errors UNSUPPORTED (tracking is off) NOENT (the map does not reach back to `from`; the hint names the oldest inactive
 *        replication slot) TIMEOUT PROTO (a row that makes no sense, named) and those of the session
 * thread that of the session      cost: no allocation */
int cbm_changed_blocks(const struct cbm_session *session, gsp_lsn from, gsp_lsn to, int64_t timeout_us,
    gsp_change_cb cb, void *arg, struct gsp_error *err);

#endif
