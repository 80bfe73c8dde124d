/* SPDX-License-Identifier: Apache-2.0
 *
 * gsp/retention.h - kind "retention": which backups stay, which go, which are merged, and why.
 *
 * Pure: the answer depends on the arguments alone and not on the order of the backups. No clock, no zone, no file: what
 * a policy needs of these is handed in. The core carries the verdicts out, or only prints them.
 *
 * thread  ANY
 * Required: plan plan_wal.
 */
#ifndef GSP_RETENTION_H
#define GSP_RETENTION_H

#include "gsp/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a backup is good for. Take what you do not know for BUSY. */
#define GSP_BACKUP_VALID 1u  /* complete, and no damage known (OK, DONE) */
#define GSP_BACKUP_BROKEN 2u /* failed, damaged, orphaned, or half deleted */
#define GSP_BACKUP_BUSY 3u   /* being made or merged, or not readable just now: never EXPIRE */

#define GSP_NO_PARENT UINT32_MAX

/* Times are microseconds since the epoch, 0 = not known. */
struct gsp_retention_backup {
    const char *id;
    uint32_t parent; /* index in the same array; GSP_NO_PARENT for a FULL one, and where the parent is missing */
    uint32_t full;   /* 1 or 0 */
    uint32_t status; /* GSP_BACKUP_* */
    uint32_t timeline;
    int64_t start_time_us;
    int64_t recovery_time_us;    /* the point in time its content belongs to */
    int64_t expire_time_us;      /* pinned until then */
    gsp_lsn start_lsn, stop_lsn; /* 0 = not known */
    int64_t bytes;               /* that it takes in the catalog; -1 = not known */
};

/* gsp_backup_time - the time that a backup's age counts from. */
static inline int64_t
gsp_backup_time(const struct gsp_retention_backup *b)
{
    return b->recovery_time_us > 0 ? b->recovery_time_us : b->start_time_us;
}

struct gsp_retention_env {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t now_us;
    void *ctx;
    /* local_day - the user's calendar: days from 1970-01-01 to the local date at that time. It knows the zone and its
     * changes; what is a week, a month or a window of days follows from the number alone. */
    int64_t (*local_day)(void *ctx, int64_t time_us);
};

/* gsp_backup_is_pinned - 1 or 0. */
static inline int
gsp_backup_is_pinned(const struct gsp_retention_env *env, const struct gsp_retention_backup *b)
{
    return b->expire_time_us > env->now_us;
}

#define GSP_VERDICT_KEEP 1u
#define GSP_VERDICT_EXPIRE 2u /* to be deleted */
/* Stays; all its ancestors are expired, and of those that stay it alone is based on them: they can become one with it,
 * after the expired ones that are based on them, too, were deleted. */
#define GSP_VERDICT_MERGE 3u

/* One backup's verdict. */
struct gsp_verdict {
    uint32_t action; /* GSP_VERDICT_* */
    /* 1: the policy does not ask for it. With KEEP: it stays only because another one that stays is based on it. */
    uint32_t expired;
    uint32_t redundancy;     /* 1 for the newest FULL backup of any status and all that are newer, 2 for the next ... */
    uint32_t redundancy_max; /* how many the policy keeps, 0 = it does not count */
    uint32_t age_days;       /* local calendar days, 0 = of today */
    uint32_t age_max_days;   /* of the policy; for a pinned backup from its time to the end of the pin; 0 = none */
    char reason[160];        /* never empty; for people */
};

/* A timeline of the server. All ancestors of one in the list that are known are in the list, too. */
struct gsp_retention_timeline {
    uint32_t timeline;
    uint32_t parent;    /* the timeline it branched off; 0 = none, or not known */
    gsp_lsn switch_lsn; /* where it did */
};

#define GSP_WAL_ALL UINT64_MAX

/* What plan returns, beside 0: its options set no policy. All backups stay, and the core warns. */
#define GSP_PLAN_NOT_SET 1

struct gsp_retention_ops {
    uint32_t struct_size;
    uint32_t flags; /* none defined yet, 0 */

    /* plan - one verdict per backup. An ancestor of a backup that stays is never EXPIRE, nor is a pinned or a BUSY one.
     * in     backups: all of an instance, in any order. Parents that form a circle lead to no FULL backup
     * out    ret: the caller's array of n
     * Returns 0 or GSP_PLAN_NOT_SET.
     * errors BUG (an index out of range, a FULL backup with a parent), NOMEM */
    int (*plan)(void *state, const void *opts, const struct gsp_retention_env *env,
        const struct gsp_retention_backup *backups, uint32_t n, struct gsp_verdict *ret, struct gsp_error *err);
    /* plan_wal - which WAL of the catalog's archive may go.
     * in     backups: those that stay, in a list of their own; parents are not looked at
     * out    ret: for each timeline, WAL before this LSN may go; 0 = none, GSP_WAL_ALL = all of it. In any case the
     *        core keeps what a backup without own WAL needs from its start to its stop.
     * errors NOMEM */
    int (*plan_wal)(void *state, const void *opts, const struct gsp_retention_backup *backups, uint32_t n,
        const struct gsp_retention_timeline *timelines, uint32_t n_timelines, gsp_lsn *ret, struct gsp_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
