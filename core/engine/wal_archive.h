/* SPDX-License-Identifier: Apache-2.0
 * The WAL archive of an instance, wal/<instance>: its segments and timelines. Only names are read, and the history
 * files. */
#ifndef ENGINE_WAL_ARCHIVE_H
#define ENGINE_WAL_ARCHIVE_H

#include "gsp/retention.h"

#include "core/base/path.h"
#include "core/engine/engine.h"

struct wal_file {
    const struct store_entry *entry;
    uint32_t timeline;
    uint64_t number; /* of the segment */
    int whole;       /* it is that segment, plain or compressed; else a part of it, or the note on a backup */
};

struct wal_archive {
    char dir[PATH_SIZE]; /* in the catalog */
    struct store_listing listing;
    uint32_t segment_size;  /* bytes; 0: not known, and then there are no files */
    struct wal_file *files; /* by timeline, then by number */
    size_t n_files;
    struct gsp_retention_timeline *timelines; /* those of files and their ancestors */
    size_t n_timelines;
};

/* wal_archive_read - list is the instance's: its control files know the size of segments.
 * in     tolerant: what cannot be understood is a warning and left out, as for looking; without it an error CORRUPT, as
 * for removing A missing directory is an empty archive. errors CORRUPT and those of reading. Free: wal_archive_free,
 * also after one */
int wal_archive_read(
    struct engine *e, const struct backup_list *list, int tolerant, struct wal_archive *ret, struct gsp_error *err);
void wal_archive_free(struct wal_archive *a);
#define auto_wal_archive __attribute__((cleanup(wal_archive_free))) struct wal_archive

const struct gsp_retention_timeline *wal_archive_timeline(const struct wal_archive *a, uint32_t timeline); /* or NULL */

#endif
