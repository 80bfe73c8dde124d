/* SPDX-License-Identifier: Apache-2.0
 * Is there room for a backup on the file system of the catalog? */
#ifndef ENGINE_BACKUP_ROOM_H
#define ENGINE_BACKUP_ROOM_H

#include "core/engine/backup_start.h"
#include "core/engine/scan.h"

/* backup_room_check - before anything is written. A FULL backup is known by the size of its files; of an increment only
 * that there must be room for WAL. errors NOSPC, those of scanning */
int backup_room_check(struct backup_start *s, struct engine *e, struct gsp_error *err);
/* backup_room_check_plan - of an increment whose files are planned: what its change map names must fit, of the rest
 * nobody knows before it is read, so that it is only worth a warning. errors NOSPC */
int backup_room_check_plan(
    const struct backup_start *s, struct engine *e, const struct source_list *src, struct gsp_error *err);

#endif
