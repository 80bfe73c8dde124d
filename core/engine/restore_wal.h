/* SPDX-License-Identifier: Apache-2.0
 * A backup without WAL of its own (stream = false) needs what the archive of the catalog has of it: put where the
 * server looks for it, the restored cluster gets to its consistent point by itself. Nothing to do for other backups. */
#ifndef ENGINE_RESTORE_WAL_H
#define ENGINE_RESTORE_WAL_H

#include "core/engine/restore_file.h"

/* restore_wal_segments - those that the backup needs of the archive: numbers of the first, and of the one behind the
 * last; none for a backup that has them itself. errors CORRUPT */
int restore_wal_segments(const struct restore *r, uint64_t *ret_first, uint64_t *ret_end, struct gsp_error *err);
/* restore_wal_check - are all segments from start to stop there? errors NOENT naming the first one that is not */
int restore_wal_check(const struct restore *r, struct gsp_error *err);
/* restore_wal - copy them, unpacked and at their full size. Durable unless no_sync. errors CORRUPT */
int restore_wal(struct restore *r, struct gsp_error *err);

#endif
