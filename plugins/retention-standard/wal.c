/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "standard.h"

struct wal_planner {
    int64_t depth;
    const struct gsp_retention_backup *backups;
    uint32_t n;
    const struct place *order; /* newest first */
    const struct gsp_retention_timeline *timelines;
    uint32_t n_timelines;
    gsp_lsn *keep_from; /* per timeline: what must stay for another one's sake; GSP_WAL_ALL = nothing */
};

static uint32_t
find_timeline(const struct wal_planner *w, uint32_t timeline)
{
    for (uint32_t t = 0; t < w->n_timelines && timeline != 0; t++)
        if (w->timelines[t].timeline == timeline)
            return t;
    return UINT32_MAX;
}

static void
lower(gsp_lsn *lsn, gsp_lsn to)
{
    if (to < *lsn)
        *lsn = to;
}

/* The start of the depth-th newest valid backup, 0 when there are not so many. */
static gsp_lsn
find_anchor(const struct wal_planner *w, uint32_t timeline)
{
    gsp_lsn anchor = GSP_WAL_ALL;
    int64_t left = w->depth;
    for (uint32_t k = 0; k < w->n && left > 0; k++) {
        const struct gsp_retention_backup *b = &w->backups[w->order[k].index];
        if (b->timeline != timeline || b->status != GSP_BACKUP_VALID || b->start_lsn == 0)
            continue;
        lower(&anchor, b->start_lsn);
        left--;
    }
    return left == 0 ? anchor : 0;
}

/* The start of the first backup, whatever its status; GSP_WAL_ALL when there is none. */
static gsp_lsn
find_oldest(const struct wal_planner *w, uint32_t timeline)
{
    gsp_lsn oldest = GSP_WAL_ALL;
    for (uint32_t i = 0; i < w->n; i++)
        if (w->backups[i].timeline == timeline && w->backups[i].start_lsn != 0)
            lower(&oldest, w->backups[i].start_lsn);
    return oldest;
}

/* The newest valid backup of a timeline that was finished before the WAL went another way at switch_lsn. */
static const struct gsp_retention_backup *
find_before(const struct wal_planner *w, uint32_t timeline, gsp_lsn switch_lsn)
{
    for (uint32_t k = 0; k < w->n; k++) {
        const struct gsp_retention_backup *b = &w->backups[w->order[k].index];
        if (b->timeline == timeline && b->status == GSP_BACKUP_VALID && b->start_lsn != 0 && b->stop_lsn != 0 &&
            b->stop_lsn <= switch_lsn)
            return b;
    }
    return NULL;
}

/* Can a restore of a backup of an older timeline go on along this one? Then all WAL on that way stays. */
static int
keep_way_to(struct wal_planner *w, uint32_t t)
{
    const struct gsp_retention_backup *b = NULL;
    uint32_t at = t;
    for (uint32_t steps = 0; steps < w->n_timelines && b == NULL; steps++) {
        const struct gsp_retention_timeline *from = &w->timelines[at];
        at = find_timeline(w, from->parent);
        if (at == UINT32_MAX)
            return 0;
        b = find_before(w, w->timelines[at].timeline, from->switch_lsn);
    }
    if (b == NULL)
        return 0;
    for (uint32_t way = t; way != at; way = find_timeline(w, w->timelines[way].parent))
        w->keep_from[way] = 0;
    lower(&w->keep_from[at], b->start_lsn);
    return 1;
}

/* One that is being made needs its WAL in any case, and before its start is known nobody can say which that is. */
static void
keep_for_busy(struct wal_planner *w)
{
    for (uint32_t i = 0; i < w->n; i++) {
        const struct gsp_retention_backup *b = &w->backups[i];
        if (b->status == GSP_BACKUP_VALID || b->status == GSP_BACKUP_BROKEN)
            continue;
        for (uint32_t t = 0; t < w->n_timelines; t++)
            if (b->start_lsn == 0 || w->timelines[t].timeline == b->timeline)
                lower(&w->keep_from[t], b->start_lsn);
    }
}

int
standard_plan_wal(void *state, const void *opts, const struct gsp_retention_backup *backups, uint32_t n,
    const struct gsp_retention_timeline *timelines, uint32_t n_timelines, gsp_lsn *ret, struct gsp_error *err)
{
    (void)state;
    const struct standard_options *options = opts;
    struct place *order = places_new(backups, n);
    if (order == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    struct wal_planner w = {options->wal_depth, backups, n, order, timelines, n_timelines, ret};
    for (uint32_t t = 0; t < n_timelines; t++)
        ret[t] = GSP_WAL_ALL;
    keep_for_busy(&w);
    for (uint32_t t = 0; t < n_timelines; t++) {
        gsp_lsn anchor = w.depth > 0 ? find_anchor(&w, timelines[t].timeline) : 0;
        if (anchor != 0)
            lower(&ret[t], anchor);
        else if (!keep_way_to(&w, t))
            lower(&ret[t], find_oldest(&w, timelines[t].timeline));
    }
    free(order);
    return 0;
}
