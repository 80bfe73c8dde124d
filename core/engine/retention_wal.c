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
#include "core/engine/timeline.h"

enum { SEGMENT_BYTES_MIN = 1 << 20, SEGMENT_BYTES_MAX = 1 << 30, SEGMENT_DIGITS = 24 };

struct wal_file {
    const struct store_entry *entry;
    uint32_t timeline;
    uint64_t number; /* of the segment */
    int goes;
};

struct archive {
    struct retention *r;
    char dir[PATH_SIZE];
    struct store_listing listing;
    uint32_t segment_size;
    struct wal_file *files; /* by timeline, then by number */
    size_t n_files;
    struct gsp_retention_timeline *timelines;
    size_t n_timelines;
    gsp_lsn *limits; /* as the timelines */
};

static void
archive_close(struct archive *a)
{
    store_listing_free(&a->listing);
    free(a->files);
    free(a->timelines);
    free(a->limits);
}

/* ---- names --------------------------------------------------------------------------------------- */

static int
parse_hex(const char *text, size_t n, uint32_t *ret)
{
    uint32_t value = 0;
    for (size_t i = 0; i < n; i++) {
        const char *digits = "0123456789ABCDEF", *at = text[i] != '\0' ? strchr(digits, text[i]) : NULL;
        if (at == NULL)
            return 0;
        value = value << 4 | (uint32_t)(at - digits);
    }
    *ret = value;
    return 1;
}

/* A segment, plain or compressed, whole or not, or the note on a backup that the server archives with it. */
static int
is_segment_suffix(const char *suffix)
{
    static const char *const known[] = {"", ".gz", ".partial", ".gz.partial", ".part", ".gz.part"};
    uint32_t offset;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(suffix, known[i]) == 0)
            return 1;
    return strlen(suffix) == 16 && suffix[0] == '.' && parse_hex(suffix + 1, 8, &offset) &&
           strcmp(suffix + 9, ".backup") == 0;
}

/* The three numbers in the name of a segment. */
static int
parse_name(const char *name, uint32_t ret[3])
{
    return strlen(name) >= SEGMENT_DIGITS && parse_hex(name, 8, &ret[0]) && parse_hex(name + 8, 8, &ret[1]) &&
           parse_hex(name + 16, 8, &ret[2]) && ret[0] != 0 && is_segment_suffix(name + SEGMENT_DIGITS);
}

static int
is_segment_file(const struct store_entry *entry)
{
    uint32_t parts[3];
    return entry->st.type == GSP_FILE_REGULAR && !(entry->st.flags & GSP_STAT_LINK) && parse_name(entry->name, parts);
}

/* ---- what there is ------------------------------------------------------------------------------- */

static int
is_segment_size(uint64_t size)
{
    return size >= SEGMENT_BYTES_MIN && size <= SEGMENT_BYTES_MAX && (size & (size - 1)) == 0;
}

/* As the newest backup's control file says; where none can be read, as the files are. 0 = not known. */
static uint32_t
find_segment_size(const struct archive *a)
{
    const struct backup_list *list = &a->r->list;
    for (size_t i = 0; i < list->n; i++) {
        const struct gsp_dialect_ops *dialect;
        struct gsp_cluster cluster;
        struct gsp_error unknown = {0};
        if (backup_is_valid(&list->backups[i]) &&
            dialect_of_backup(a->r->e, &list->backups[i], &dialect, &cluster, &unknown) == 0 &&
            is_segment_size(cluster.wal_segment_size))
            return cluster.wal_segment_size;
    }
    for (size_t i = 0; i < a->listing.n; i++) {
        const struct store_entry *entry = &a->listing.entries[i];
        if (is_segment_file(entry) && strlen(entry->name) == SEGMENT_DIGITS && is_segment_size(entry->st.size))
            return (uint32_t)entry->st.size;
    }
    return 0;
}

static int
read_files(struct archive *a, struct gsp_error *err)
{
    a->files = calloc(a->listing.n + 1, sizeof *a->files);
    if (a->files == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    a->segment_size = find_segment_size(a);
    for (size_t i = 0; i < a->listing.n; i++) {
        const struct store_entry *entry = &a->listing.entries[i];
        uint32_t parts[3];
        if (!is_segment_file(entry) || !parse_name(entry->name, parts))
            continue;
        if (a->segment_size == 0 || (strlen(entry->name) == SEGMENT_DIGITS && entry->st.size > a->segment_size)) {
            (void)gsp_fail(err, GSP_E_CORRUPT, 0,
                "the size of WAL segments in '%s/%s' is not clear: '%s' has %" PRIu64 " bytes", a->r->e->repo.root,
                a->dir, entry->name, entry->st.size);
            return gsp_hint(err, "nothing is removed; does the file belong to this instance?");
        }
        uint64_t per_log = (UINT64_C(1) << 32) / a->segment_size;
        if (parts[2] >= per_log)
            log_warning("'%s' in '%s' is no segment of this cluster", entry->name, a->dir);
        else
            a->files[a->n_files++] =
                (struct wal_file){.entry = entry, .timeline = parts[0], .number = parts[1] * per_log + parts[2]};
    }
    return 0;
}

static struct gsp_retention_timeline *
find_timeline(const struct archive *a, uint32_t timeline)
{
    for (size_t t = 0; t < a->n_timelines; t++)
        if (a->timelines[t].timeline == timeline)
            return &a->timelines[t];
    return NULL;
}

/* parent 0: not known. */
static int
add_timeline(struct archive *a, uint32_t timeline, uint32_t parent, gsp_lsn switch_lsn, struct gsp_error *err)
{
    struct gsp_retention_timeline *found = find_timeline(a, timeline);
    if (found == NULL) {
        found = realloc(a->timelines, (a->n_timelines + 1) * sizeof *found);
        if (found == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        a->timelines = found;
        found = &a->timelines[a->n_timelines++];
        *found = (struct gsp_retention_timeline){.timeline = timeline};
    }
    if (found->parent == 0) {
        found->parent = parent;
        found->switch_lsn = switch_lsn;
    }
    return 0;
}

static int
add_history(struct archive *a, uint32_t timeline, struct gsp_error *err)
{
    struct timeline_history h __attribute__((cleanup(timeline_history_free))) = {0};
    int rc = timeline_history_read(&a->r->e->repo, a->dir, timeline, &h, err);
    for (size_t i = h.n; i-- > 0 && rc == 0;)
        rc = add_timeline(
            a, h.spans[i].timeline, i > 0 ? h.spans[i - 1].timeline : 0, i > 0 ? h.spans[i - 1].end : 0, err);
    return rc;
}

static int
read_timelines(struct archive *a, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < a->n_files && rc == 0; i++)
        if (i == 0 || a->files[i].timeline != a->files[i - 1].timeline)
            rc = add_history(a, a->files[i].timeline, err);
    return rc;
}

/* ---- what goes ----------------------------------------------------------------------------------- */

static int
plan_wal(struct archive *a, struct gsp_error *err)
{
    const struct retention *r = a->r;
    const struct gsp_retention_ops *ops = r->plugin->ops;
    auto_free struct gsp_retention_backup *left = calloc(r->list.n + 1, sizeof *left);
    a->limits = calloc(a->n_timelines + 1, sizeof *a->limits);
    if (left == NULL || a->limits == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    uint32_t n = 0;
    for (size_t i = 0; i < r->list.n; i++) {
        if (r->gone[i])
            continue;
        left[n] = r->backups[i];
        left[n++].parent = GSP_NO_PARENT;
    }
    return ops->plan_wal(
        r->plugin->state, r->plugin_opts, left, n, a->timelines, (uint32_t)a->n_timelines, a->limits, err);
}

/* Without these a backup that streamed no WAL could not be restored at all, whatever the policy says. */
static int
is_needed(const struct archive *a, const struct wal_file *f)
{
    const struct backup_list *list = &a->r->list;
    for (size_t i = 0; i < list->n; i++) {
        const struct backup *b = &list->backups[i];
        if (a->r->gone[i] || b->stream || b->start_lsn == 0 || (b->timeline != 0 && b->timeline != f->timeline))
            continue;
        if (f->number >= b->start_lsn / a->segment_size &&
            (b->stop_lsn == 0 || f->number <= b->stop_lsn / a->segment_size))
            return 1;
    }
    return 0;
}

static const char *
segment_of(const struct wal_file *f, char buf[SEGMENT_DIGITS + 1])
{
    (void)snprintf(buf, SEGMENT_DIGITS + 1, "%s", f->entry->name);
    return buf;
}

/* The files of one timeline: what goes is marked, and said. */
static size_t
mark_timeline(struct archive *a, size_t t)
{
    uint32_t timeline = a->timelines[t].timeline;
    const char *verb = a->r->dry_run ? "can" : "will";
    const struct wal_file *first = NULL, *last = NULL;
    size_t all = 0, n = 0, segments = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < a->n_files; i++) {
        struct wal_file *f = &a->files[i];
        if (f->timeline != timeline)
            continue;
        all++;
        f->goes = a->limits[t] != 0 && (a->limits[t] == GSP_WAL_ALL || f->number < a->limits[t] / a->segment_size) &&
                  !is_needed(a, f);
        if (!f->goes)
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
    char from[SEGMENT_DIGITS + 1], to[SEGMENT_DIGITS + 1], size[24];
    if (n == all)
        log_info("On timeline %" PRIu32 " all files %s be removed", timeline, verb);
    else
        log_info("On timeline %" PRIu32 " WAL segments between %s and %s %s be removed", timeline,
            segment_of(first, from), segment_of(last, to), verb);
    format_size_pretty((int64_t)segments * a->segment_size, size, sizeof size);
    log_info("Logical WAL size to remove on timeline %" PRIu32 " : %s", timeline, size);
    format_size_pretty((int64_t)bytes, size, sizeof size);
    log_info("Resident WAL size to free on timeline %" PRIu32 " : %s", timeline, size);
    return n;
}

static int
remove_marked(struct archive *a, struct gsp_error *err)
{
    struct store *repo = &a->r->e->repo;
    int rc = 0;
    for (size_t i = 0; i < a->n_files && rc == 0; i++) {
        char path[PATH_SIZE];
        if (!a->files[i].goes)
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

/* What a link leads to is not ours to remove. A missing directory is as good as an empty one. */
static int
list_archive(struct archive *a, struct gsp_error *err)
{
    struct store *repo = &a->r->e->repo;
    struct gsp_stat st;
    struct gsp_error problem = {0};
    if (!path_join(a->dir, "wal", a->r->e->instance))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = store_stat(repo, a->dir, &st, &problem);
    if (rc == GSP_E_NOENT)
        return 0;
    if (rc != 0) {
        *err = problem;
        return rc;
    }
    if (st.flags & GSP_STAT_LINK) {
        (void)gsp_fail(
            err, GSP_E_UNSUPPORTED, 0, "'%s/%s' is a symbolic link, no WAL is removed through it", repo->root, a->dir);
        return gsp_hint(err, "look at where it leads, and remove WAL there by hand");
    }
    return store_list(repo, a->dir, &a->listing, err);
}

int
retention_purge_wal(struct retention *r, size_t *ret_n, struct gsp_error *err)
{
    struct archive a __attribute__((cleanup(archive_close))) = {.r = r};
    *ret_n = 0;
    int rc = list_archive(&a, err);
    if (rc == 0)
        rc = read_files(&a, err);
    if (rc != 0)
        return rc;
    if (a.n_files == 0 || a.segment_size == 0) {
        log_info("There is no WAL in '%s/%s'", r->e->repo.root, a.dir);
        return 0;
    }
    rc = read_timelines(&a, err);
    if (rc == 0)
        rc = plan_wal(&a, err);
    for (size_t t = 0; t < a.n_timelines && rc == 0; t++)
        *ret_n += mark_timeline(&a, t);
    return rc == 0 && *ret_n > 0 && !r->dry_run ? remove_marked(&a, err) : rc;
}
