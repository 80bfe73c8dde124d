/* SPDX-License-Identifier: Apache-2.0
 * Retention by redundancy and window, and by depth for WAL. */
#ifndef RETENTION_STANDARD_H
#define RETENTION_STANDARD_H

#include "gsp/retention.h"

struct standard_options {
    int64_t redundancy; /* FULL backups; 0 = not set, as for the others */
    int64_t window;     /* days */
    int64_t wal_depth;  /* valid backups of each timeline */
};

/* A backup's place in the order of time, whatever order the core has them in. */
struct place {
    int64_t start_time_us;
    const char *id;
    uint32_t index;
};
/* places_new - all backups, newest first. Returns a malloc'ed array, NULL without memory. */
struct place *places_new(const struct gsp_retention_backup *backups, uint32_t n);

/* standard_plan_wal - gsp_retention_ops.plan_wal */
int standard_plan_wal(void *state, const void *opts, const struct gsp_retention_backup *backups, uint32_t n,
    const struct gsp_retention_timeline *timelines, uint32_t n_timelines, gsp_lsn *ret, struct gsp_error *err);

#endif
