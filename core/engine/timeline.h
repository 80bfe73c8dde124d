/* SPDX-License-Identifier: Apache-2.0
 * The history of a timeline: which part of the WAL stream is whose. */
#ifndef ENGINE_TIMELINE_H
#define ENGINE_TIMELINE_H

#include "core/io/store.h"

/* One timeline's part, [begin, end). */
struct timeline_span {
    gsp_lsn begin, end; /* end of the newest: UINT64_MAX */
    uint32_t timeline;
};

struct timeline_history {
    struct timeline_span *spans; /* oldest first, the last one is the timeline itself */
    size_t n;
};

/* timeline_history_parse - the content of a history file, "<timeline>\t<LSN>\t<reason>" lines. errors CORRUPT */
int timeline_history_parse(
    const char *text, size_t len, uint32_t timeline, struct timeline_history *ret, struct gsp_error *err);
/* timeline_history_read - of a timeline, from its file in wal_dir. A timeline without a file (the first one, or where
 * the file was lost) has no known ancestors. errors CORRUPT and those of reading */
int timeline_history_read(
    struct store *s, const char *wal_dir, uint32_t timeline, struct timeline_history *ret, struct gsp_error *err);
void timeline_history_free(struct timeline_history *h);

/* timeline_has - did the stream reach lsn on this timeline, before it was left for a newer one? 1 or 0. */
int timeline_has(const struct timeline_history *h, uint32_t timeline, gsp_lsn lsn);

#endif
