/* SPDX-License-Identifier: Apache-2.0
 * Private to the copy: one worker's tools, and the stored file it writes. */
#ifndef ENGINE_COPY_WORKER_H
#define ENGINE_COPY_WORKER_H

#include "core/engine/copy.h"
#include "core/engine/copy_verify.h"
#include "core/io/page_batch.h"

/* A torn page is whole again within microseconds; this is a second in all. */
enum { COPY_REREAD_TIMES = 100 };
void copy_pause_before_reread(void);

struct copier {
    struct copy *copy;
    struct page_batch batch;
    struct header_stream *headers;
    struct page_header *records; /* batch.cap */
    struct map_check *check;     /* NULL without copy->check */
};

/* The stored file being written; opened with its first bytes, so that an empty one leaves nothing. */
struct target {
    struct store_put put;
    uint64_t size;
    uint32_t crc;
};

int target_open(struct target *t, const struct copy *c, const struct source_file *f, struct gsp_error *err);
int target_append(struct target *t, const void *data, size_t len, struct gsp_error *err);

/* copy_goes_on - fewer bytes came than the scan saw. The server may have cut the file, and WAL knows that; or the
 * storage gave less than there is. 1 = there is more to read, 0 = the file ends here, or a code. */
int copy_goes_on(
    struct copier *w, const struct source_file *f, uint64_t end, uint32_t unit, int *tries, struct gsp_error *err);

/* copy_is_known - does the change map say that the parent has all of the file? It need not be opened then, and its
 * entry is complete. 1, 0, or a code. */
int copy_is_known(struct copier *w, struct source_file *f, struct gsp_error *err);
/* copy_pages - a data file: the blocks that its plan asks for, checked, encoded, with their headers. The entry gets
 * everything but size and crc; FILE_UNCHANGED as size when nothing of it is stored because the parent has it all. */
int copy_pages(struct copier *w, struct source_file *f, struct store_file *in, struct target *t, struct gsp_error *err);

#endif
