/* SPDX-License-Identifier: Apache-2.0
 * show --archive: the timelines of wal/<instance>, and what of them is missing. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/number.h"
#include "core/cli/show.h"
#include "core/engine/wal_archive.h"
#include "core/engine/wal_receiver.h"

enum { COLUMNS = 10 };

static const struct table_column columns[COLUMNS] = {{"TLI", 0}, {"Parent TLI", 0}, {"Switchpoint", 0},
    {"Min Segno", 0}, {"Max Segno", 0}, {"N segments", 0}, {"Size", 0}, {"Zratio", 0}, {"N backups", 0}, {"Status", 0}};

/* The files of one timeline. Parts of segments count in bytes only. */
struct archived {
    const struct gsp_retention_timeline *timeline;
    size_t first, end; /* in the files of the archive */
    uint64_t min, max; /* numbers of segments */
    uint64_t n;        /* segments that are there, whole */
    uint64_t bytes;    /* of all files */
    uint64_t segment_bytes;
    size_t n_backups;
};

static uint32_t
timeline_number(const struct archived *t)
{
    return t->timeline->timeline;
}

static int
is_lossy(const struct archived *t)
{
    return t->n != t->max - t->min + 1;
}

static double
compression(const struct wal_archive *a, const struct archived *t)
{
    return t->segment_bytes > 0 ? (double)t->n * a->segment_size / (double)t->segment_bytes : 1.0;
}

/* out: one for each timeline that has a whole segment, oldest first; their number in *ret_n. */
static int
sum_up(const struct wal_archive *a, const struct backup_list *list, struct archived **ret, size_t *ret_n,
    struct gsp_error *err)
{
    struct archived *all = calloc(a->n_files + 1, sizeof *all);
    size_t n = 0, i = 0;
    if (all == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    while (i < a->n_files) {
        struct archived t = {.timeline = wal_archive_timeline(a, a->files[i].timeline), .first = i};
        for (; i < a->n_files && a->files[i].timeline == timeline_number(&t); i++) {
            const struct wal_file *f = &a->files[i];
            t.bytes += f->entry->st.size;
            if (!f->whole)
                continue;
            t.segment_bytes += f->entry->st.size;
            /* A segment may be there twice, plain and compressed. */
            t.n += t.n == 0 || f->number != t.max;
            t.min = t.n == 1 ? f->number : t.min;
            t.max = f->number;
        }
        t.end = i;
        for (size_t b = 0; b < list->n; b++)
            t.n_backups += list->backups[b].timeline == timeline_number(&t);
        if (t.n > 0)
            all[n++] = t;
    }
    *ret = all;
    *ret_n = n;
    return 0;
}

/* The newest backup that recovery can begin with to get into a timeline: on an ancestor, and over before the history
 * left that one. Nearer ancestors first. */
static const struct backup *
closest_backup(const struct wal_archive *a, const struct backup_list *list, const struct gsp_retention_timeline *t)
{
    for (; t != NULL && t->parent != 0; t = wal_archive_timeline(a, t->parent))
        for (size_t i = 0; i < list->n; i++) { /* newest first */
            const struct backup *b = &list->backups[i];
            if (b->timeline == t->parent && backup_is_valid(b) && b->stop_lsn <= t->switch_lsn)
                return b;
        }
    return NULL;
}

/* ---- plain --------------------------------------------------------------------------------------- */

static void
fill_row(const struct wal_archive *a, const struct archived *t, char (*c)[TABLE_CELL_SIZE])
{
    (void)snprintf(c[0], TABLE_CELL_SIZE, "%" PRIu32, timeline_number(t));
    (void)snprintf(c[1], TABLE_CELL_SIZE, "%" PRIu32, t->timeline->parent);
    (void)snprintf(c[2], TABLE_CELL_SIZE, GSP_LSN_FMT, GSP_LSN_ARGS(t->timeline->switch_lsn));
    wal_segment_name(c[3], timeline_number(t), t->min * a->segment_size, a->segment_size);
    wal_segment_name(c[4], timeline_number(t), t->max * a->segment_size, a->segment_size);
    (void)snprintf(c[5], TABLE_CELL_SIZE, "%" PRIu64, t->n);
    format_size_pretty((int64_t)t->bytes, c[6], TABLE_CELL_SIZE);
    (void)snprintf(c[7], TABLE_CELL_SIZE, "%.2f", compression(a, t));
    (void)snprintf(c[8], TABLE_CELL_SIZE, "%zu", t->n_backups);
    (void)snprintf(c[9], TABLE_CELL_SIZE, "%s", is_lossy(t) ? "DEGRADED" : "OK");
}

static int
print_plain(struct show *s, const struct wal_archive *a, const struct archived *all, size_t n, struct gsp_error *err)
{
    char(*cells)[TABLE_CELL_SIZE] = calloc(n * COLUMNS + 1, sizeof *cells);
    if (cells == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < n; i++)
        fill_row(a, &all[n - 1 - i], &cells[i * COLUMNS]);
    strbuf_printf(&s->out, "\nARCHIVE INSTANCE '%s'\n", s->cli->engine.instance);
    int rc = table_print(&s->out, columns, COLUMNS, (const char(*)[TABLE_CELL_SIZE])cells, n, err);
    free(cells);
    return rc;
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

static void
json_segment(struct show *s, const char *key, const struct wal_archive *a, uint32_t timeline, uint64_t number)
{
    char name[WAL_SEGMENT_NAME_SIZE];
    wal_segment_name(name, timeline, number * a->segment_size, a->segment_size);
    json_string(&s->w, key, name);
}

static void
json_lost(struct show *s, const struct wal_archive *a, const struct archived *t)
{
    uint64_t next = t->min;
    json_open(&s->w, "lost-segments", '[');
    for (size_t i = t->first; i < t->end; i++) {
        if (!a->files[i].whole)
            continue;
        if (a->files[i].number > next) {
            json_open(&s->w, NULL, '{');
            json_segment(s, "begin-segno", a, timeline_number(t), next);
            json_segment(s, "end-segno", a, timeline_number(t), a->files[i].number - 1);
            json_close(&s->w, '}');
        }
        next = a->files[i].number + 1;
    }
    json_close(&s->w, ']');
}

static void
json_timeline(struct show *s, const struct wal_archive *a, const struct backup_list *list, const struct archived *t)
{
    const struct backup *closest = closest_backup(a, list, t->timeline);
    char text[32];
    json_open(&s->w, NULL, '{');
    json_u64(&s->w, "tli", timeline_number(t));
    json_u64(&s->w, "parent-tli", t->timeline->parent);
    (void)snprintf(text, sizeof text, GSP_LSN_FMT, GSP_LSN_ARGS(t->timeline->switch_lsn));
    json_string(&s->w, "switchpoint", text);
    json_segment(s, "min-segno", a, timeline_number(t), t->min);
    json_segment(s, "max-segno", a, timeline_number(t), t->max);
    json_u64(&s->w, "n-segments", t->n);
    json_u64(&s->w, "size", t->bytes);
    json_ratio(&s->w, "zratio", compression(a, t));
    json_string(&s->w, "closest-backup-id", closest != NULL ? closest->id : "");
    json_string(&s->w, "status", is_lossy(t) ? "DEGRADED" : "OK");
    json_lost(s, a, t);
    json_open(&s->w, "backups", '[');
    for (size_t i = 0; i < list->n; i++)
        if (list->backups[i].timeline == timeline_number(t))
            show_backup_json(&s->w, &s->cli->engine, list, &list->backups[i]);
    json_close(&s->w, ']');
    json_close(&s->w, '}');
}

int
show_archive(struct show *s, struct gsp_error *err)
{
    struct engine *e = &s->cli->engine;
    auto_backup_list list = {0};
    auto_wal_archive a = {.n_files = 0};
    auto_free struct archived *all = NULL;
    size_t n = 0;
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc == 0)
        rc = wal_archive_read(e, &list, 1, &a, err);
    if (rc == 0)
        rc = sum_up(&a, &list, &all, &n, err);
    if (rc != 0)
        return rc;
    if (!s->json)
        return print_plain(s, &a, all, n, err);
    json_open(&s->w, NULL, '{');
    json_string(&s->w, "instance", e->instance);
    json_open(&s->w, "timelines", '[');
    for (size_t i = n; i-- > 0;)
        json_timeline(s, &a, &list, &all[i]);
    json_close(&s->w, ']');
    json_close(&s->w, '}');
    return 0;
}
