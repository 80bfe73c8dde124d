/* SPDX-License-Identifier: Apache-2.0
 * Reading the WAL between two points for the blocks it changed, segment by segment on several workers. */
#ifndef ENGINE_WAL_SCAN_H
#define ENGINE_WAL_SCAN_H

#include "core/engine/change_map.h"
#include "core/engine/jobs.h"
#include "core/engine/timeline.h"
#include "core/engine/wal_files.h"

enum { WAL_PLACES_MAX = 3, WAL_UNKNOWN = 2 };

struct wal_scan {
    const struct gsp_dialect_ops *dialect;
    const struct gsp_cluster *cluster;
    const struct timeline_history *history;
    /* Where segments are looked for, in this order. */
    struct {
        struct store *store;
        const char *dir;
    } places[WAL_PLACES_MAX];
    unsigned n_places; /* the caller fills all up to here, history and cluster */
    gsp_lsn from, to;  /* the start of a record; the start of one, or of what follows the last */
    struct change_map *map;
    struct jobs jobs; /* private */
};

/* wal_scan_compare - is the WAL at the places, from the beginning of the segment that ends a backup up to stop_lsn, the
 * same that the backup has in dir of the catalog? Needs no from, to, map.
 * Returns 1; 0 when it is another one; WAL_UNKNOWN when one of them is not there any more; or a code. */
int wal_scan_compare(struct wal_scan *scan, struct store *repo, const char *dir, uint32_t timeline, gsp_lsn stop_lsn,
    struct gsp_error *err);
/* wal_scan_run - errors NOENT: a segment is in none of the places, it is named; CORRUPT; UNSUPPORTED; CANCELLED */
int wal_scan_run(struct wal_scan *scan, unsigned threads, struct gsp_error *err);
/* wal_scan_find - read WAL from scan->from on until recovery would end at the target, which does not begin before
 * `after`. Needs no to, map. out ret: how far it came, also after a failure errors NOENT CORRUPT: the WAL ends before
 */
int wal_scan_find(struct wal_scan *scan, gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret,
    struct gsp_error *err);

#endif
