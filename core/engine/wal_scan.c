/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/wal_scan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/catalog/backup.h"

/* One worker's view of all places as one directory of the newest timeline's segments. */
struct wal_view {
    struct wal_scan *scan;
    struct wal_files files[WAL_PLACES_MAX];
    char asked[WAL_SEGMENT_NAME_SIZE]; /* by the dialect, "" = nothing yet */
    char found[WAL_SEGMENT_NAME_SIZE]; /* and the file that has it, */
    unsigned place;                    /* there */
    gsp_lsn end;                       /* what is behind it in the file belongs to another history */
};

static uint64_t
segments_per_id(const struct wal_scan *scan)
{
    return (UINT64_C(1) << 32) / scan->cluster->wal_segment_size;
}

static int
fail_missing(const struct wal_scan *scan, const char *segment, struct gsp_error *err)
{
    char places[400] = "";
    size_t at = 0;
    for (unsigned i = 0; i < scan->n_places && at < sizeof places; i++)
        at += (size_t)snprintf(places + at, sizeof places - at, "%s'%s%s%s'", i > 0 ? ", " : "",
            scan->places[i].store->root, scan->places[i].dir[0] != '\0' ? "/" : "", scan->places[i].dir);
    (void)gsp_fail(err, GSP_E_NOENT, 0, "segment %s is missing: it is not in %s", segment, places);
    return gsp_hint(err,
        "put it back from your archive (--set mode.page.archive=DIR reads one), or take -b DELTA or -b "
        "FULL; wal_keep_size and replication slots keep WAL for longer");
}

/* Of what was read at lsn only that which is of this history. */
static int64_t
clip(const struct wal_view *v, gsp_lsn lsn, int64_t got)
{
    uint64_t rest = v->end > lsn ? v->end - lsn : 0;
    return got > 0 && (uint64_t)got > rest ? (int64_t)rest : got;
}

/* The segment in which one timeline follows another is complete only under the newer one's name; older ones have no
 * newer name. So the newest that can have it is tried first. */
static int64_t
find_and_read(struct wal_view *v, uint64_t number, uint64_t offset, void *buf, uint32_t len, struct gsp_error *err)
{
    const struct wal_scan *scan = v->scan;
    gsp_lsn lsn = number * scan->cluster->wal_segment_size + offset;
    for (size_t i = scan->history->n; i-- > 0;) {
        const struct timeline_span *span = &scan->history->spans[i];
        if (span->begin / scan->cluster->wal_segment_size > number || span->end <= lsn)
            continue;
        v->end = span->end;
        (void)snprintf(v->found, sizeof v->found, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, span->timeline,
            (uint32_t)(number / segments_per_id(scan)), (uint32_t)(number % segments_per_id(scan)));
        for (v->place = 0; v->place < scan->n_places; v->place++) {
            struct gsp_wal_source source = wal_files_source(&v->files[v->place]);
            struct gsp_error problem = {0};
            int64_t got = source.read(source.ctx, v->found, offset, buf, len, &problem);
            if (got < 0 && got != GSP_E_NOENT)
                *err = problem;
            if (got != GSP_E_NOENT)
                return clip(v, lsn, got);
        }
    }
    return GSP_E_NOENT;
}

static int64_t
read_view(void *ctx, const char *segment, uint64_t offset, void *buf, uint32_t len, struct gsp_error *err)
{
    struct wal_view *v = ctx;
    char halves[20];
    gsp_lsn id;
    int is_name = strlen(segment) == WAL_SEGMENT_NAME_SIZE - 1;
    (void)snprintf(halves, sizeof halves, "%.8s/%.8s", is_name ? segment + 8 : "", is_name ? segment + 16 : "");
    if (!is_name || !parse_lsn(halves, &id))
        return gsp_fail(err, GSP_E_BUG, 0, "'%s' is no name of a WAL segment", segment);
    uint64_t number = (id >> 32) * segments_per_id(v->scan) + (uint32_t)id;
    if (strcmp(segment, v->asked) == 0) {
        struct gsp_wal_source source = wal_files_source(&v->files[v->place]);
        int64_t got = source.read(source.ctx, v->found, offset, buf, len, err);
        return clip(v, number * v->scan->cluster->wal_segment_size + offset, got);
    }
    v->asked[0] = '\0';
    int64_t got = find_and_read(v, number, offset, buf, len, err);
    if (got == GSP_E_NOENT)
        return fail_missing(v->scan, segment, err);
    if (got >= 0)
        (void)snprintf(v->asked, sizeof v->asked, "%s", segment);
    return got;
}

static void
view_init(struct wal_view *v, struct wal_scan *scan)
{
    v->scan = scan;
    for (unsigned i = 0; i < scan->n_places; i++)
        v->files[i] = (struct wal_files){
            .repo = scan->places[i].store, .dir = scan->places[i].dir, .segment_size = scan->cluster->wal_segment_size};
}

static void
view_clear(struct wal_view *v)
{
    for (unsigned i = 0; i < v->scan->n_places; i++)
        wal_files_close(&v->files[i]);
}

static int
view_open(void *arg, void **ret, struct gsp_error *err)
{
    struct wal_view *v = calloc(1, sizeof *v);
    if (v == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    view_init(v, arg);
    *ret = v;
    return 0;
}

static void
view_close(void *worker)
{
    if (worker != NULL)
        view_clear(worker);
    free(worker);
}

static int
scan_segment(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    struct wal_scan *scan = arg;
    struct gsp_wal_source source = {.ctx = worker, .read = read_view};
    uint64_t size = scan->cluster->wal_segment_size;
    gsp_lsn begin = (scan->from / size + i) * size;
    gsp_lsn from = begin > scan->from ? begin : scan->from, to = begin + size < scan->to ? begin + size : scan->to;
    int rc = jobs_check(&scan->jobs, err);
    return rc == 0 ? scan->dialect->wal_changes(scan->cluster, &source,
                         scan->history->spans[scan->history->n - 1].timeline, from, to, change_map_add, scan->map, err)
                   : rc;
}

int
wal_scan_run(struct wal_scan *scan, unsigned threads, struct gsp_error *err)
{
    uint64_t size = scan->cluster->wal_segment_size;
    if (scan->from >= scan->to)
        return 0;
    scan->jobs = (struct jobs){.n_items = (size_t)((scan->to - 1) / size - scan->from / size + 1),
        .threads = threads,
        .arg = scan,
        .worker_open = view_open,
        .worker_close = view_close,
        .item = scan_segment};
    return jobs_run(&scan->jobs, err);
}

int
wal_scan_find(struct wal_scan *scan, gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret,
    struct gsp_error *err)
{
    struct wal_view view = {0};
    struct gsp_wal_source source = {.ctx = &view, .read = read_view};
    view_init(&view, scan);
    int rc = scan->dialect->wal_find_target(scan->cluster, &source, scan->history->spans[scan->history->n - 1].timeline,
        scan->from, after, target, ret, err);
    view_clear(&view);
    return rc;
}

/* ---- is it the same WAL? ----------------------------------------------------------------------- */

/* The next bytes of one side; a missing file is no error, but nothing to compare. Returns bytes, or 0 when there are
 * none. */
static int64_t
bytes_or_none(int64_t got, const struct gsp_error *problem, struct gsp_error *err)
{
    if (got >= 0 || got == GSP_E_NOENT)
        return got >= 0 ? got : 0;
    *err = *problem;
    return got;
}

static int
compare_views(struct wal_view *now, struct wal_files *then, const char *name, uint64_t number, uint64_t len,
    struct gsp_error *err)
{
    enum { CHUNK = 64 * 1024 };
    uint8_t a[CHUNK], b[CHUNK];
    struct gsp_wal_source source = wal_files_source(then);
    for (uint64_t at = 0; at < len; at += CHUNK) {
        uint32_t want = len - at < CHUNK ? (uint32_t)(len - at) : CHUNK;
        struct gsp_error problem = {0};
        int64_t got = bytes_or_none(source.read(source.ctx, name, at, a, want, &problem), &problem, err);
        if (got == want) {
            problem = (struct gsp_error){0};
            got = bytes_or_none(find_and_read(now, number, at, b, want, &problem), &problem, err);
        }
        if (got < 0)
            return (int)got;
        if (got < (int64_t)want)
            return WAL_UNKNOWN;
        if (memcmp(a, b, want) != 0)
            return 0;
    }
    return 1;
}

int
wal_scan_compare(struct wal_scan *scan, struct store *repo, const char *dir, uint32_t timeline, gsp_lsn stop_lsn,
    struct gsp_error *err)
{
    char name[WAL_SEGMENT_NAME_SIZE];
    uint64_t size = scan->cluster->wal_segment_size, number = (stop_lsn - 1) / size;
    struct wal_view now = {0};
    struct wal_files then = {.repo = repo, .dir = dir, .segment_size = scan->cluster->wal_segment_size};
    (void)snprintf(name, sizeof name, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, timeline,
        (uint32_t)(number / segments_per_id(scan)), (uint32_t)(number % segments_per_id(scan)));
    view_init(&now, scan);
    int rc = compare_views(&now, &then, name, number, stop_lsn - number * size, err);
    view_clear(&now);
    wal_files_close(&then);
    return rc;
}
