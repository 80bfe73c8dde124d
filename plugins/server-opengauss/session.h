/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to server-opengauss: what its other files need of a session. */
#ifndef SERVER_OPENGAUSS_SESSION_H
#define SERVER_OPENGAUSS_SESSION_H

#include "opengauss.h"
#include "server/session.h"

/* og_session_base - the part that all sessions have. */
struct pg_base *og_session_base(struct og_session *s);
/* og_session_identify - og_identify without a look at rights. */
int og_session_identify(struct og_session *s, struct gsp_identity *ret, struct gsp_error *err);

/* og_session_role - "Normal", "Primary", "Standby" ... as it was when the server was last identified. */
const char *og_session_role(const struct og_session *s);

/* What the role of the session may do. */
struct og_rights {
    int is_admin;       /* everything a backup needs */
    int may_replicate;  /* all but restore points and the map of changed blocks */
    int operation_mode; /* operators are administrators then */
};
int og_session_rights(struct og_session *s, struct og_rights *ret, struct gsp_error *err);

#endif
