/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/restore_wal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/wal_files.h"

enum { WINDOW_BYTES = 1024 * 1024, SEGMENTS_MAX = 1 << 20 };

int
restore_wal_segments(const struct restore *r, uint64_t *ret_first, uint64_t *ret_end, struct gsp_error *err)
{
    const struct backup *b = r->backups[0];
    uint32_t size = r->cluster.wal_segment_size;
    *ret_first = *ret_end = 0;
    if (b->stream)
        return 0;
    if (size == 0 || b->start_lsn == 0 || b->stop_lsn <= b->start_lsn ||
        (b->stop_lsn - b->start_lsn) / size > SEGMENTS_MAX)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "backup %s has no sound start and stop position", b->id);
    *ret_first = b->start_lsn / size;
    *ret_end = (b->stop_lsn - 1) / size + 1;
    return 0;
}

static void
name_segment(const struct restore *r, uint64_t segment, char name[WAL_SEGMENT_NAME_SIZE])
{
    uint32_t size = r->cluster.wal_segment_size;
    wal_segment_name(name, r->backups[0]->timeline, segment * size, size);
}

/* 1, 0, or a code. */
static int
is_archived(const struct restore *r, const char *name, struct gsp_error *err)
{
    char path[PATH_SIZE];
    (void)snprintf(path, sizeof path, "wal/%s/%s", r->e->instance, name);
    int rc = store_exists(&r->e->repo, path, err);
    if (rc != 0)
        return rc;
    (void)snprintf(path, sizeof path, "wal/%s/%s.gz", r->e->instance, name);
    return store_exists(&r->e->repo, path, err);
}

int
restore_wal_check(const struct restore *r, struct gsp_error *err)
{
    char name[WAL_SEGMENT_NAME_SIZE];
    uint64_t first, end;
    int rc = restore_wal_segments(r, &first, &end, err);
    for (uint64_t s = first; s < end && rc == 0; s++) {
        name_segment(r, s, name);
        int there = is_archived(r, name, err);
        if (there > 0)
            continue;
        if (there < 0)
            return there;
        (void)gsp_fail(err, GSP_E_NOENT, 0, "WAL segment %s, which backup %s needs, is not in '%s/wal/%s'", name,
            r->backups[0]->id, r->e->repo.root, r->e->instance);
        return gsp_hint(err, "put the segment there, plain or as %s.gz, or choose another backup with -i", name);
    }
    return rc;
}

static int
copy_segment(
    struct restore *r, const struct gsp_wal_source *source, const char *name, uint8_t *window, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_store_put put = {0};
    uint32_t size = r->cluster.wal_segment_size;
    if (!path_join(path, r->dialect->wal_dir, name))
        return gsp_fail(err, GSP_E_BUG, 0, "path of WAL segment %s is too long", name);
    int rc = store_remove(&r->target.store, path, err);
    if (rc == 0)
        rc = store_put_begin(&r->target.store, path, 0600, GSP_PUT_EXCL, &put, err);
    for (uint32_t at = 0; at < size && rc == 0;) {
        uint32_t part = size - at < WINDOW_BYTES ? size - at : WINDOW_BYTES;
        int64_t got = source->read(source->ctx, name, at, window, part, err);
        if (got < 0)
            return (int)got;
        if (got == 0)
            return gsp_fail(err, GSP_E_CORRUPT, 0, "%u bytes long instead of %u", at, size);
        rc = store_put_pwrite(&put, window, (size_t)got, at, err);
        at += (uint32_t)got;
        if (rc == 0)
            rc = cancel_check(err);
    }
    if (rc == 0)
        rc = store_put_commit(&put, size, err);
    return rc == 0 && !r->e->no_sync ? store_sync(&r->target.store, path, err) : rc;
}

static int
make_wal_dir(struct restore *r, struct gsp_error *err)
{
    int rc = store_exists(&r->target.store, r->dialect->wal_dir, err);
    return rc == 0 ? store_mkdir(&r->target.store, r->dialect->wal_dir, 0700, 0, err) : rc < 0 ? rc : 0;
}

int
restore_wal(struct restore *r, struct gsp_error *err)
{
    char dir[PATH_SIZE], name[WAL_SEGMENT_NAME_SIZE];
    uint64_t first, end;
    int rc = restore_wal_segments(r, &first, &end, err);
    if (rc != 0 || first == end)
        return rc;
    (void)snprintf(dir, sizeof dir, "wal/%s", r->e->instance);
    auto_free uint8_t *window = malloc(WINDOW_BYTES);
    if (window == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    log_info("Copying %" PRIu64 " WAL segment(s) out of the archive", end - first);
    struct wal_files files = {.repo = &r->e->repo, .dir = dir, .segment_size = r->cluster.wal_segment_size};
    struct gsp_wal_source source = wal_files_source(&files);
    rc = make_wal_dir(r, err);
    for (uint64_t s = first; s < end && rc == 0; s++) {
        name_segment(r, s, name);
        rc = copy_segment(r, &source, name, window, err);
        if (rc != 0)
            (void)gsp_prefix(err, "WAL segment %s", name);
    }
    wal_files_close(&files);
    return rc == 0 && !r->e->no_sync ? store_sync(&r->target.store, r->dialect->wal_dir, err) : rc;
}
