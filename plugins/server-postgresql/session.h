/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to server-postgresql: what its other files need of a session. */
#ifndef SERVER_POSTGRESQL_SESSION_H
#define SERVER_POSTGRESQL_SESSION_H

#include "postgresql.h"
#include "server/session.h"

/* pg_session_link etc. - what a WAL receiver needs of the session it belongs to. */
struct pg_link *pg_session_link(struct pg_session *s);
uint64_t pg_session_system_id(const struct pg_session *s);
/* pg_session_wait_us - how long a backup waits for its checkpoint. */
int64_t pg_session_wait_us(const struct pg_session *s);
/* pg_session_identify - pg_identify without a look at rights. */
int pg_session_identify(struct pg_session *s, struct gsp_identity *ret, struct gsp_error *err);

#endif
