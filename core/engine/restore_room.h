/* SPDX-License-Identifier: Apache-2.0
 * What a restore takes at each of its places: the data directory, tablespaces, directories that are links to elsewhere
 * and stay so. What lies there already, and what is removed first, counts. */
#ifndef ENGINE_RESTORE_ROOM_H
#define ENGINE_RESTORE_ROOM_H

#include "core/engine/restore_file.h"
#include "core/engine/room.h"

/* restore_size - bytes of file i of the chain's backup once it is restored; restore_bytes_needed - of all of them. */
uint64_t restore_size(const struct chain *c, size_t i);
uint64_t restore_bytes_needed(const struct chain *c);

/* restore_room_measure - of a restore whose places are open. */
int restore_room_measure(struct restore *r, struct room *ret, struct gsp_error *err);
/* restore_room_verdict - is what was measured there? errors NOSPC, naming each file system that lacks room */
int restore_room_verdict(const struct room *room, struct gsp_error *err);
/* restore_room_check - both. errors NOSPC */
int restore_room_check(struct restore *r, struct gsp_error *err);

#endif
