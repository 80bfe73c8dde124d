/* SPDX-License-Identifier: Apache-2.0
 * WAL segments stored in the catalog, as a source for a dialect: plain ones, and the gzip-compressed ones
 * that pg_probackup's archive-push leaves. thread  one reader at a time */
#ifndef ENGINE_WAL_FILES_H
#define ENGINE_WAL_FILES_H

#include "core/engine/wal_receiver.h"

struct wal_files {
    struct store *repo;
    const char *dir;                  /* of the segments in the catalog; borrowed */
    uint32_t segment_size;            /* bytes of a whole segment */
    char name[WAL_SEGMENT_NAME_SIZE]; /* of the open segment, "" = none */
    struct store_file file;           /* a plain one */
    uint8_t *unpacked;                /* or the content of a compressed one */
    uint32_t unpacked_len;
};

/* wal_files_source - what to hand to a dialect; valid while *files is. */
struct gsp_wal_source wal_files_source(struct wal_files *files);
void wal_files_close(struct wal_files *files);

#endif
