/* SPDX-License-Identifier: Apache-2.0
 * Restoring into a cluster that exists: only what differs is written, what does not belong is removed. From the first
 * change on the cluster has no control file, so it cannot start, and the same restore can be run again. */
#ifndef ENGINE_INPLACE_H
#define ENGINE_INPLACE_H

#include <stdatomic.h>

#include "core/engine/engine.h"
#include "core/io/page_batch.h"

struct restore;
struct chain_reader;

/* What does not belong. */
struct inplace_extra {
    const char *path;
    int32_t external_dir_num; /* where: in the data directory (0), or in the place of an external directory */
    int is_space;             /* the link of a tablespace: the cluster's directory in it goes, too */
};

struct inplace {
    enum restore_incremental mode; /* NONE: the restore is not one in place */
    int sums;                      /* pages carry checksums, there and in the backup */
    gsp_lsn shift_lsn;             /* LSN: what was written up to here is common to the cluster and the backup */
    struct arena *arena;
    struct inplace_extra *extras;
    size_t n_extras, cap_extras;
    uint64_t *there;              /* per file of the list: bytes of it that take room already */
    atomic_uint_fast64_t written; /* bytes of the files, as far as they were not right */
};

/* inplace_open - may the restore, whose places are open, go into what is there? Finds out what does not belong.
 * Writes nothing.
 * errors CONFIG (another cluster, out of reach of LSN) EXIST (a running server) LOCKED NOSPC, CORRUPT */
int inplace_open(struct restore *r, enum restore_incremental mode, struct gsp_error *err);
/* inplace_begin - take the control file aside, once its successor `control` is there under the name of the mark, and
 * remove what does not belong. */
int inplace_begin(struct restore *r, const struct strbuf *control, struct gsp_error *err);
/* inplace_end - after restore_mark_finish: nothing is left aside; tell what was written. */
void inplace_end(struct restore *r);
void inplace_close(struct restore *r);

/* inplace_file - make file i of the list what it is to be, where it is. pages: for those of the cluster.
 * Returns 1 when that is done; 0 when it is to be made anew, and nothing of its name is there (any more); or a code. */
int inplace_file(struct restore *r, struct chain_reader *in, struct page_batch *pages, size_t i, const char *path,
    struct gsp_error *err);

#endif
