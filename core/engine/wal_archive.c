/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/wal_archive.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/timeline.h"

enum {
    SEGMENT_BYTES_MIN = 1 << 20,
    SEGMENT_BYTES_MAX = 1 << 30,
    SEGMENT_BYTES_DEFAULT = 16 << 20,
    SEGMENT_DIGITS = 24,
};

/* What one reading works with. */
struct reading {
    struct engine *e;
    const struct backup_list *list;
    struct wal_archive *a;
    int tolerant;
};

void
wal_archive_free(struct wal_archive *a)
{
    store_listing_free(&a->listing);
    free(a->files);
    free(a->timelines);
    memset(a, 0, sizeof *a);
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

/* A segment, plain or compressed. */
static int
is_whole(const char *suffix)
{
    return suffix[0] == '\0' || strcmp(suffix, ".gz") == 0;
}

/* Or a part of one, or the note on a backup that the server archives with it. */
static int
is_segment_suffix(const char *suffix)
{
    static const char *const known[] = {".partial", ".gz.partial", ".part", ".gz.part"};
    uint32_t offset;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(suffix, known[i]) == 0)
            return 1;
    return is_whole(suffix) || (strlen(suffix) == 16 && suffix[0] == '.' && parse_hex(suffix + 1, 8, &offset) &&
                                   strcmp(suffix + 9, ".backup") == 0);
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

static int
is_plain_segment(const struct store_entry *entry)
{
    return is_segment_file(entry) && strlen(entry->name) == SEGMENT_DIGITS;
}

/* ---- segments ------------------------------------------------------------------------------------ */

static int
is_segment_size(uint64_t size)
{
    return size >= SEGMENT_BYTES_MIN && size <= SEGMENT_BYTES_MAX && (size & (size - 1)) == 0;
}

/* As the newest backup's control file says; where none can be read, as the files are. 0 = not known. */
static uint32_t
find_segment_size(const struct reading *r)
{
    for (size_t i = 0; i < r->list->n; i++) {
        const struct gsp_dialect_ops *dialect;
        struct gsp_cluster cluster;
        struct gsp_error unknown = {0};
        if (backup_is_valid(&r->list->backups[i]) &&
            dialect_of_backup(r->e, &r->list->backups[i], &dialect, &cluster, &unknown) == 0 &&
            is_segment_size(cluster.wal_segment_size))
            return cluster.wal_segment_size;
    }
    for (size_t i = 0; i < r->a->listing.n; i++) {
        const struct store_entry *entry = &r->a->listing.entries[i];
        if (is_plain_segment(entry) && is_segment_size(entry->st.size))
            return (uint32_t)entry->st.size;
    }
    return 0;
}

static int
unclear_size(const struct reading *r, const struct store_entry *entry, struct gsp_error *err)
{
    if (r->tolerant) {
        log_warning("'%s' in '%s' has %" PRIu64 " bytes, more than a segment of this cluster", entry->name, r->a->dir,
            entry->st.size);
        return 0;
    }
    (void)gsp_fail(err, GSP_E_CORRUPT, 0,
        "the size of WAL segments in '%s/%s' is not clear: '%s' has %" PRIu64 " bytes", r->e->repo.root, r->a->dir,
        entry->name, entry->st.size);
    return gsp_hint(err, "nothing is removed; does the file belong to this instance?");
}

static int
read_files(const struct reading *r, struct gsp_error *err)
{
    struct wal_archive *a = r->a;
    int rc = 0;
    a->files = calloc(a->listing.n + 1, sizeof *a->files);
    if (a->files == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    a->segment_size = find_segment_size(r);
    if (a->segment_size == 0 && r->tolerant)
        a->segment_size = SEGMENT_BYTES_DEFAULT;
    for (size_t i = 0; i < a->listing.n && rc == 0; i++) {
        const struct store_entry *entry = &a->listing.entries[i];
        uint32_t parts[3];
        if (!is_segment_file(entry) || !parse_name(entry->name, parts))
            continue;
        if (a->segment_size == 0 || (is_plain_segment(entry) && entry->st.size > a->segment_size)) {
            rc = unclear_size(r, entry, err);
            continue;
        }
        uint64_t per_log = (UINT64_C(1) << 32) / a->segment_size;
        if (parts[2] >= per_log)
            log_warning("'%s' in '%s' is no segment of this cluster", entry->name, a->dir);
        else
            a->files[a->n_files++] = (struct wal_file){.entry = entry,
                .timeline = parts[0],
                .number = parts[1] * per_log + parts[2],
                .whole = is_whole(entry->name + SEGMENT_DIGITS)};
    }
    return rc;
}

/* ---- timelines ----------------------------------------------------------------------------------- */

const struct gsp_retention_timeline *
wal_archive_timeline(const struct wal_archive *a, uint32_t timeline)
{
    for (size_t t = 0; t < a->n_timelines; t++)
        if (a->timelines[t].timeline == timeline)
            return &a->timelines[t];
    return NULL;
}

/* parent 0: not known. */
static int
add_timeline(struct wal_archive *a, uint32_t timeline, uint32_t parent, gsp_lsn switch_lsn, struct gsp_error *err)
{
    size_t at = 0;
    while (at < a->n_timelines && a->timelines[at].timeline != timeline)
        at++;
    if (at == a->n_timelines) {
        struct gsp_retention_timeline *grown = realloc(a->timelines, (at + 1) * sizeof *grown);
        if (grown == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        a->timelines = grown;
        a->timelines[a->n_timelines++] = (struct gsp_retention_timeline){.timeline = timeline};
    }
    if (a->timelines[at].parent == 0) {
        a->timelines[at].parent = parent;
        a->timelines[at].switch_lsn = switch_lsn;
    }
    return 0;
}

static int
add_history(const struct reading *r, uint32_t timeline, struct gsp_error *err)
{
    struct timeline_history h __attribute__((cleanup(timeline_history_free))) = {0};
    struct gsp_error problem = {0};
    int rc = timeline_history_read(&r->e->repo, r->a->dir, timeline, &h, &problem);
    if (rc == GSP_E_CORRUPT && r->tolerant) {
        log_warning("%s", problem.msg);
        return add_timeline(r->a, timeline, 0, 0, err);
    }
    if (rc != 0)
        *err = problem;
    for (size_t i = h.n; i-- > 0 && rc == 0;)
        rc = add_timeline(
            r->a, h.spans[i].timeline, i > 0 ? h.spans[i - 1].timeline : 0, i > 0 ? h.spans[i - 1].end : 0, err);
    return rc;
}

int
wal_archive_read(
    struct engine *e, const struct backup_list *list, int tolerant, struct wal_archive *ret, struct gsp_error *err)
{
    const struct reading r = {.e = e, .list = list, .a = ret, .tolerant = tolerant};
    struct gsp_error missing = {0};
    memset(ret, 0, sizeof *ret);
    if (!path_join(ret->dir, "wal", e->instance))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = store_list(&e->repo, ret->dir, &ret->listing, &missing);
    if (rc == GSP_E_NOENT)
        return 0;
    if (rc != 0) {
        *err = missing;
        return rc;
    }
    rc = read_files(&r, err);
    for (size_t i = 0; i < ret->n_files && rc == 0; i++)
        if (i == 0 || ret->files[i].timeline != ret->files[i - 1].timeline)
            rc = add_history(&r, ret->files[i].timeline, err);
    return rc;
}
