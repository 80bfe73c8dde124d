/* SPDX-License-Identifier: Apache-2.0
 * The change map: which blocks of which relations were changed since the parent backup. Filled from the server's own
 * map or from WAL, asked once per file and block. Memory: at most 2 bytes per changed block and 8 KiB per 65536 blocks
 * of a relation. thread  adding ANY (one lock per batch); asking ANY, after change_map_seal */
#ifndef ENGINE_CHANGE_MAP_H
#define ENGINE_CHANGE_MAP_H

#include "gsp/server.h"

struct change_map;
/* What is known of one relation; NULL = no change. */
struct changed_relation;

struct change_map *change_map_new(void); /* NULL when out of memory */
void change_map_free(struct change_map *map);
/* change_map_add - fit as a gsp_change_cb: map is the argument. errors NOMEM PROTO */
int change_map_add(void *map, const struct gsp_change *changes, uint32_t n, struct gsp_error *err);
/* change_map_seal - all changes are in: before the first question. */
void change_map_seal(struct change_map *map);

const struct changed_relation *change_map_find(
    const struct change_map *map, uint32_t space_oid, uint32_t db_oid, uint32_t relation);
/* change_map_next - the first changed block at or behind `block`; UINT64_MAX when none follows. */
uint64_t change_map_next(const struct changed_relation *relation, uint64_t block);

#endif
