/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/wal_files.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/path.h"
#include "core/io/gzip.h"

void
wal_files_close(struct wal_files *files)
{
    store_file_close(&files->file);
    free(files->unpacked);
    files->unpacked = NULL;
    files->name[0] = '\0';
}

static int
open_compressed(struct wal_files *files, const char *plain_path, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf packed = STRBUF_INIT;
    if (snprintf(path, sizeof path, "%s.gz", plain_path) >= (int)sizeof path)
        return gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", plain_path);
    int rc = store_read_all(files->repo, path, (size_t)files->segment_size * 2, &packed, err);
    if (rc != 0)
        return rc;
    files->unpacked = malloc(files->segment_size);
    if (files->unpacked == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    rc = gunzip(packed.data, (uint32_t)packed.len, files->unpacked, files->segment_size, &files->unpacked_len, err);
    return rc != 0 ? gsp_prefix(err, "'%s/%s'", files->repo->root, path) : 0;
}

static int
open_segment(struct wal_files *files, const char *segment, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct gsp_error plain = {0}, compressed = {0};
    wal_files_close(files);
    if (!path_join(path, files->dir, segment))
        return gsp_fail(err, GSP_E_BUG, 0, "path of WAL segment %s is too long", segment);
    int rc = store_file_open(files->repo, path, &files->file, &plain);
    if (rc == GSP_E_NOENT) {
        rc = open_compressed(files, path, &compressed);
        if (rc != 0 && rc != GSP_E_NOENT)
            plain = compressed;
    }
    if (rc != 0) {
        *err = plain; /* a missing segment is named without the ".gz" */
        return rc;
    }
    (void)snprintf(files->name, sizeof files->name, "%s", segment);
    return 0;
}

static int64_t
read_segment(void *ctx, const char *segment, uint64_t offset, void *buf, uint32_t len, struct gsp_error *err)
{
    struct wal_files *files = ctx;
    if (strcmp(files->name, segment) != 0) {
        int rc = open_segment(files, segment, err);
        if (rc != 0)
            return rc;
    }
    if (files->unpacked == NULL)
        return store_file_pread(&files->file, buf, len, offset, err);
    if (offset >= files->unpacked_len)
        return 0;
    uint32_t n = files->unpacked_len - (uint32_t)offset < len ? files->unpacked_len - (uint32_t)offset : len;
    memcpy(buf, files->unpacked + offset, n);
    return n;
}

struct gsp_wal_source
wal_files_source(struct wal_files *files)
{
    return (struct gsp_wal_source){.ctx = files, .read = read_segment};
}
