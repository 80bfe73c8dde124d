/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/restore_plan.h"

#include <stdlib.h>
#include <string.h>

#include "core/engine/restore_room.h"
#include "core/engine/wal_archive.h"

enum { TIMELINES_MAX = 1024 };

int
restore_plan_refuse(struct restore_plan *plan, const struct gsp_error *why, struct gsp_error *err)
{
    if (why->code == GSP_E_CANCELLED || why->code == GSP_E_NOMEM) {
        *err = *why;
        return why->code;
    }
    struct gsp_error *grown = realloc(plan->refusals, (plan->n_refusals + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    plan->refusals = grown;
    grown[plan->n_refusals++] = *why;
    return 0;
}

/* ---- WAL ----------------------------------------------------------------------------------------- */

static void
describe_wal(struct restore_plan *plan)
{
    const struct backup *b = plan->restore.backups[0];
    uint32_t size = plan->restore.cluster.wal_segment_size;
    if (size == 0 || b->start_lsn == 0 || b->stop_lsn <= b->start_lsn)
        return;
    plan->wal_segments = (b->stop_lsn - 1) / size - b->start_lsn / size + 1;
    wal_segment_name(plan->wal_first, b->timeline, b->start_lsn, size);
    wal_segment_name(plan->wal_last, b->timeline, b->stop_lsn - 1, size);
}

static int
has_segment(const struct wal_archive *a, uint32_t timeline, uint64_t number)
{
    size_t low = 0, high = a->n_files;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct wal_file *f = &a->files[middle];
        if (f->timeline < timeline || (f->timeline == timeline && f->number < number))
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < a->n_files && a->files[low].timeline == timeline && a->files[low].number == number; low++)
        if (a->files[low].whole)
            return 1;
    return 0;
}

/* A timeline and its ancestors, newest first; where each was left for the one before it. */
struct line {
    uint32_t timeline[TIMELINES_MAX];
    gsp_lsn end[TIMELINES_MAX];
    size_t n;
};

static void
trace(const struct wal_archive *a, uint32_t timeline, struct line *line)
{
    gsp_lsn end = UINT64_MAX;
    line->n = 0;
    while (timeline != 0 && line->n < TIMELINES_MAX) {
        const struct gsp_retention_timeline *t = wal_archive_timeline(a, timeline);
        line->timeline[line->n] = timeline;
        line->end[line->n++] = end;
        end = t != NULL ? t->switch_lsn : 0;
        timeline = t != NULL && t->parent < timeline ? t->parent : 0;
    }
}

/* Does the line come from the backup? */
static int
comes_from(const struct line *line, const struct backup *b)
{
    for (size_t i = 0; i < line->n; i++)
        if (line->timeline[i] == b->timeline)
            return b->stop_lsn <= line->end[i];
    return 0;
}

/* The newest timeline of the line that has the segment and did not end before it: as the server looks for it. 0 =
 * none. */
static uint32_t
segment_of(const struct wal_archive *a, const struct line *line, uint64_t number)
{
    for (size_t i = 0; i < line->n; i++)
        if (line->end[i] / a->segment_size >= number && has_segment(a, line->timeline[i], number))
            return line->timeline[i];
    return 0;
}

static void
reach_along(const struct wal_archive *a, const struct line *line, const struct backup *b, struct plan_reach *ret)
{
    uint64_t number = b->stop_lsn / a->segment_size;
    uint32_t timeline;
    /* The end of a backup on a primary is the end of its segment: the rest of that holds nothing. */
    if (b->stream && !b->from_replica && segment_of(a, line, number) == 0)
        number++;
    for (; (timeline = segment_of(a, line, number)) != 0; number++) {
        ret->until = (number + 1) * a->segment_size;
        ret->segments++;
        wal_segment_name(ret->last, timeline, number * a->segment_size, a->segment_size);
    }
}

static int
add_reach(struct restore_plan *plan, const struct wal_archive *a, uint32_t timeline, struct gsp_error *err)
{
    struct line line;
    const struct backup *b = plan->restore.backups[0];
    struct plan_reach reach = {.timeline = timeline, .until = b->stop_lsn};
    trace(a, timeline, &line);
    if (!comes_from(&line, b))
        return 0;
    if (a->segment_size != 0)
        reach_along(a, &line, b, &reach);
    if (timeline != b->timeline && reach.segments == 0)
        return 0;
    struct plan_reach *grown = realloc(plan->reach, (plan->n_reach + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    plan->reach = grown;
    plan->reach[plan->n_reach++] = reach;
    return 0;
}

static int
find_reach(struct restore_plan *plan, struct gsp_error *err)
{
    auto_wal_archive archive = {0};
    struct restore *r = &plan->restore;
    int rc = wal_archive_read(r->e, &r->list, 1, &archive, err);
    if (rc == 0)
        rc = add_reach(plan, &archive, r->backups[0]->timeline, err);
    for (size_t i = 0; i < archive.n_timelines && rc == 0; i++)
        if (archive.timelines[i].timeline != r->backups[0]->timeline)
            rc = add_reach(plan, &archive, archive.timelines[i].timeline, err);
    return rc;
}

/* ---- the plan ------------------------------------------------------------------------------------ */

/* A backup is worth as much as what it stands on; validation may heal that, and is not for a plan. */
static int
check_parents(struct restore_plan *plan, struct gsp_error *err)
{
    const struct restore *r = &plan->restore;
    struct gsp_error why = {0};
    for (size_t i = r->n; i-- > 1;) {
        const struct backup *b = r->backups[i];
        if (backup_is_valid(b) || r->opts->force || !r->opts->no_validate)
            continue;
        (void)gsp_fail(&why, GSP_E_CORRUPT, 0, "Backup %s, on which %s stands, has status: %s", b->id,
            r->backups[0]->id, backup_status_name(b->status));
        (void)gsp_hint(&why, "leave out --no-validate, so that it can heal; or choose another backup with -i");
        return restore_plan_refuse(plan, &why, err);
    }
    return 0;
}

int
restore_plan_make(struct engine *e, const struct restore_options *opts, struct restore_plan *ret, struct gsp_error *err)
{
    struct restore *r = &ret->restore;
    memset(ret, 0, sizeof *ret);
    r->e = e;
    r->opts = opts;
    r->only_look = 1;
    int rc = backup_list_read(&e->repo, e->instance, &r->list, err);
    if (rc == 0)
        rc = restore_look(r, ret, err);
    if (rc != 0 || r->n == 0)
        return rc;
    if (r->chain.n > 0)
        ret->bytes = restore_bytes_needed(&r->chain);
    describe_wal(ret);
    rc = check_parents(ret, err);
    return rc == 0 ? find_reach(ret, err) : rc;
}

void
restore_plan_free(struct restore_plan *plan)
{
    restore_close(&plan->restore);
    room_clear(&plan->room);
    free(plan->reach);
    free(plan->refusals);
    memset(plan, 0, sizeof *plan);
}
