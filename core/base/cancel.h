/* SPDX-License-Identifier: Apache-2.0
 * The cancel flag: set by a signal, asked by every loop once per batch. thread ANY */
#ifndef BASE_CANCEL_H
#define BASE_CANCEL_H

#include "gsp/error.h"

/* cancel_install - SIGINT, SIGTERM and SIGQUIT set the flag from now on; SIGPIPE is ignored. */
void cancel_install(void);
void cancel_request(void);
int cancelled(void);
/* cancel_check - 0, or CANCELLED with its message. */
int cancel_check(struct gsp_error *err);

#endif
