/* SPDX-License-Identifier: Apache-2.0
 * The copy: one worker carries one file's batches through read, check, encode, checksum, write. */
#ifndef ENGINE_COPY_H
#define ENGINE_COPY_H

#include "core/catalog/header_map.h"
#include "core/engine/jobs.h"
#include "core/engine/progress.h"
#include "core/engine/scan.h"
#include "core/engine/wal_receiver.h"

struct map_check_job;

struct copy {
    struct data_side *side;
    struct store *repo;
    const char *dir;          /* of the backup in the catalog */
    const char *database_dir; /* "<backup>/database" */
    struct source_list *src;
    struct store *externals; /* that of external directory N is externals[N - 1] */
    const struct codec *codec;
    const char *codec_name;
    struct header_map_writer *map;
    gsp_lsn start_lsn;
    int64_t parent_start_us;     /* when the parent backup began; what was written since is taken */
    struct wal_receiver *wal;    /* its failure stops the copy; may be NULL */
    struct map_check_job *check; /* NULL: an old LSN is believed, and no map is verified */
    struct progress progress;
    struct jobs jobs;

    atomic_uint_fast64_t corrupt_pages, repeated_reads;
    /* Highest LSN of the pages that stayed torn but are newer than the start: WAL replays them, provided
     * it reaches that far. */
    atomic_uint_fast64_t torn_lsn;
    atomic_uint_fast64_t uncompressed_bytes;
    atomic_uint_fast64_t stored_pages, total_pages; /* of data files */
};

/* copy_files - every PAGES and COPY file of the list, largest first, on `threads` workers. Fills the
 * entries. errors CORRUPT when pages are broken (each was named in a warning) and all of reading and writing */
int copy_files(struct copy *c, unsigned threads, int show_progress, struct gsp_error *err);
/* copy_control - the control file, read until its checksum is right. */
int copy_control(struct copy *c, struct source_file *f, struct gsp_error *err);

#endif
