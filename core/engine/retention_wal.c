/* SPDX-License-Identifier: Apache-2.0
 * Which files of wal/<instance> go: those of segments before the point that the policy names for their timeline, but
 * for what a backup without WAL of its own needs. Only files whose names are those of segments are ever looked at. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/engine/retention.h"
#include "core/engine/wal_archive.h"
#include "core/engine/wal_receiver.h"

struct purge {
    struct retention *r;
    struct wal_archive a;
    gsp_lsn *limits;     /* as the timelines of the archive */
    unsigned char *goes; /* as its files */
};

static void
purge_close(struct purge *p)
{
    wal_archive_free(&p->a);
    free(p->limits);
    free(p->goes);
}

static int
plan_wal(struct purge *p, struct gsp_error *err)
{
    const struct retention *r = p->r;
    const struct wal_archive *a = &p->a;
    const struct gsp_retention_ops *ops = r->plugin->ops;
    auto_free struct gsp_retention_backup *left = calloc(r->list.n + 1, sizeof *left);
    p->limits = calloc(a->n_timelines + 1, sizeof *p->limits);
    p->goes = calloc(a->n_files + 1, sizeof *p->goes);
    if (left == NULL || p->limits == NULL || p->goes == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    uint32_t n = 0;
    for (size_t i = 0; i < r->list.n; i++) {
        if (r->gone[i])
            continue;
        left[n] = r->backups[i];
        left[n++].parent = GSP_NO_PARENT;
    }
    return ops->plan_wal(
        r->plugin->state, r->plugin_opts, left, n, a->timelines, (uint32_t)a->n_timelines, p->limits, err);
}

/* Without these a backup that streamed no WAL could not be restored at all, whatever the policy says. */
static int
is_needed(const struct purge *p, const struct wal_file *f)
{
    const struct backup_list *list = &p->r->list;
    uint32_t segment_size = p->a.segment_size;
    for (size_t i = 0; i < list->n; i++) {
        const struct backup *b = &list->backups[i];
        if (p->r->gone[i] || b->stream || b->start_lsn == 0 || (b->timeline != 0 && b->timeline != f->timeline))
            continue;
        if (f->number >= b->start_lsn / segment_size && (b->stop_lsn == 0 || f->number <= b->stop_lsn / segment_size))
            return 1;
    }
    return 0;
}

/* The files of one timeline: what goes is marked, and said. */
static size_t
mark_timeline(struct purge *p, size_t t)
{
    const struct wal_archive *a = &p->a;
    uint32_t timeline = a->timelines[t].timeline;
    gsp_lsn limit = p->limits[t];
    const char *verb = p->r->dry_run ? "can" : "will";
    const struct wal_file *first = NULL, *last = NULL;
    size_t all = 0, n = 0, segments = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < a->n_files; i++) {
        const struct wal_file *f = &a->files[i];
        if (f->timeline != timeline)
            continue;
        all++;
        p->goes[i] = limit != 0 && (limit == GSP_WAL_ALL || f->number < limit / a->segment_size) && !is_needed(p, f);
        if (!p->goes[i])
            continue;
        segments += last == NULL || last->number != f->number;
        first = first != NULL ? first : f;
        last = f;
        bytes += f->entry->st.size;
        n++;
    }
    if (n == 0) {
        log_info(
            all == 0 ? "Timeline %" PRIu32 " is empty, nothing to remove" : "Nothing to remove on timeline %" PRIu32,
            timeline);
        return 0;
    }
    char from[WAL_SEGMENT_NAME_SIZE], to[WAL_SEGMENT_NAME_SIZE], size[24];
    wal_segment_name(from, timeline, first->number * a->segment_size, a->segment_size);
    wal_segment_name(to, timeline, last->number * a->segment_size, a->segment_size);
    if (n == all)
        log_info("On timeline %" PRIu32 " all files %s be removed", timeline, verb);
    else
        log_info("On timeline %" PRIu32 " WAL segments between %s and %s %s be removed", timeline, from, to, verb);
    format_size_pretty((int64_t)segments * a->segment_size, size, sizeof size);
    log_info("Logical WAL size to remove on timeline %" PRIu32 " : %s", timeline, size);
    format_size_pretty((int64_t)bytes, size, sizeof size);
    log_info("Resident WAL size to free on timeline %" PRIu32 " : %s", timeline, size);
    return n;
}

static int
remove_marked(struct purge *p, struct gsp_error *err)
{
    struct store *repo = &p->r->e->repo;
    const struct wal_archive *a = &p->a;
    int rc = 0;
    for (size_t i = 0; i < a->n_files && rc == 0; i++) {
        char path[PATH_SIZE];
        if (!p->goes[i])
            continue;
        if (!path_join(path, a->dir, a->files[i].entry->name))
            return gsp_fail(err, GSP_E_BUG, 0, "path too long below '%s'", a->dir);
        rc = cancel_check(err);
        if (rc == 0)
            rc = store_remove(repo, path, err);
        if (rc == 0)
            log_log("Removed '%s'", path);
    }
    return rc == 0 ? store_sync(repo, a->dir, err) : rc;
}

/* What a link leads to is not ours to remove. */
static int
refuse_link(struct retention *r, struct gsp_error *err)
{
    struct store *repo = &r->e->repo;
    char dir[PATH_SIZE];
    struct gsp_stat st = {0};
    struct gsp_error problem = {0};
    if (!path_join(dir, "wal", r->e->instance))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = store_stat(repo, dir, &st, &problem);
    if (rc != 0 && rc != GSP_E_NOENT) {
        *err = problem;
        return rc;
    }
    if (rc != 0 || !(st.flags & GSP_STAT_LINK))
        return 0;
    (void)gsp_fail(
        err, GSP_E_UNSUPPORTED, 0, "'%s/%s' is a symbolic link, no WAL is removed through it", repo->root, dir);
    return gsp_hint(err, "look at where it leads, and remove WAL there by hand");
}

int
retention_purge_wal(struct retention *r, size_t *ret_n, struct gsp_error *err)
{
    struct purge p __attribute__((cleanup(purge_close))) = {.r = r};
    *ret_n = 0;
    int rc = refuse_link(r, err);
    if (rc == 0)
        rc = wal_archive_read(r->e, &r->list, 0, &p.a, err);
    if (rc != 0)
        return rc;
    if (p.a.n_files == 0) {
        log_info("There is no WAL in '%s/%s'", r->e->repo.root, p.a.dir);
        return 0;
    }
    rc = plan_wal(&p, err);
    for (size_t t = 0; t < p.a.n_timelines && rc == 0; t++)
        *ret_n += mark_timeline(&p, t);
    return rc == 0 && *ret_n > 0 && !r->dry_run ? remove_marked(&p, err) : rc;
}
