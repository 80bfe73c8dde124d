/* SPDX-License-Identifier: Apache-2.0
 * What the parts of a check share: adding to the report. */
#ifndef ENGINE_CHECK_TELL_H
#define ENGINE_CHECK_TELL_H

#include "core/engine/check.h"

/* check_tell - one more probe. fix: left out with OK. errors NOMEM */
int check_tell(struct check_report *report, uint32_t state, const char *name, const char *fix, struct gsp_error *err,
    const char *fmt, ...) GSP_PRINTF(6, 7);
/* check_tell_problem - a failed call, as an ERROR of this name; but CANCELLED and NOMEM are the caller's own. */
int check_tell_problem(
    struct check_report *report, const char *name, const struct gsp_error *problem, struct gsp_error *err);

#endif
