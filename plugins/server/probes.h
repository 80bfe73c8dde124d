/* SPDX-License-Identifier: Apache-2.0
 *
 * What the looks at a server have in common, whatever it speaks: gsp_server_ops.check. One thread at a time. */
#ifndef SERVER_PROBES_H
#define SERVER_PROBES_H

#include "server/link.h"

#define PG_PROBE_TEXT 512

struct pg_probes {
    struct pg_link *link;
    uint32_t flags; /* GSP_CHECK_* */
    const char *user;
    const char *const *names; /* settings that are looked at, n_values of them; value: what pg_probes_read found */
    uint32_t n_values;
    char (*value)[64]; /* "" = this version has no such setting, or it could not be read */
    gsp_probe_cb cb;
    void *arg;
};

/* pg_tell - hand one probe on; fix is left out when all is well. Returns 0, or what ends it all. */
int pg_tell(struct pg_probes *p, uint32_t state, const char *name, const char *fix, struct gsp_error *err,
    const char *fmt, ...) GSP_PRINTF(6, 7);

/* pg_probe_ask - *ret is NULL when the question could not be answered, which is told. Returns 0, or what ends it all.
 */
int pg_probe_ask(struct pg_probes *p, const char *name, const char *sql, PGresult **ret, struct gsp_error *err);

/* pg_probes_read - fill value with what the settings are for a new session. */
int pg_probes_read(struct pg_probes *p, struct gsp_error *err);

uint64_t pg_probe_number(const char *text); /* 0 for what is none */

/* Probes. */
int pg_probe_clock(struct pg_probes *p, struct gsp_error *err);
/* pg_probe_senders - all: setting max_wal_senders */
int pg_probe_senders(struct pg_probes *p, const char *all, struct gsp_error *err);
/* pg_probe_checkpoint - wait_us: how long a backup waits for one; period_s: setting checkpoint_timeout */
int pg_probe_checkpoint(struct pg_probes *p, int64_t wait_us, const char *period_s, struct gsp_error *err);

#endif
