/* SPDX-License-Identifier: Apache-2.0
 * Checking, without changing anything, that the next backup of an instance will work, and that the last one did. */
#ifndef ENGINE_CHECK_H
#define ENGINE_CHECK_H

#include "core/engine/engine.h"

struct check_options {
    struct backup_options connect; /* of these only what leads to the server */
    int64_t max_age_us;            /* of the last good backup */
};

struct check_probe {
    uint32_t state; /* GSP_PROBE_* */
    char *name, *found;
    char *fix; /* NULL with OK */
};

struct check_report {
    struct check_probe *probes;
    size_t n;
    uint32_t worst; /* state */
};

/* check_run - look at server, data directory and catalog of the instance. What cannot be looked at is a probe, too.
 * in     e->cfg: pgdata is set
 * errors NOMEM CANCELLED, and a catalog that cannot be listed */
int check_run(struct engine *e, const struct check_options *opts, struct check_report *ret, struct gsp_error *err);
void check_report_clear(struct check_report *report);

/* check_catalog - the part of it that needs no server. */
int check_catalog(struct engine *e, const struct check_options *opts, struct check_report *ret, struct gsp_error *err);

#endif
