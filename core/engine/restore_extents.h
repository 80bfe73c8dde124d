/* SPDX-License-Identifier: Apache-2.0
 * Files of relations that the server keeps compressed, and of which the stock tool stores logical pages: what the
 * server reads is made of those anew, extent by extent, by the dialect. thread  struct restore is shared by the
 * workers; a chain reader belongs to one */
#ifndef ENGINE_RESTORE_EXTENTS_H
#define ENGINE_RESTORE_EXTENTS_H

#include "core/engine/restore_file.h"

/* restore_is_extents - is this entry of a list such a file, with content? */
int restore_is_extents(const struct file_entry *f);
/* restore_extents_check - can the dialect make the file? Asked before the first write. errors UNSUPPORTED */
int restore_extents_check(const struct restore *r, const struct file_entry *f, struct gsp_error *err);
/* restore_extents_bytes - length of the file; ret_room: what it takes at most, without its holes. */
uint64_t restore_extents_bytes(const struct restore *r, const struct file_entry *f, uint64_t *ret_room);

/* restore_extents - after chain_find: the file into an open put.
 * in/out next: the first block to begin with, a multiple of extent_pages; moved on with each extent that is written
 * out    ret_lost: NULL, or pages that cannot be read or that the server cannot have made read as zeros, and are added
 * errors CORRUPT and those of the chain and the storage */
int restore_extents(struct restore *r, struct chain_reader *in, const struct file_entry *f, struct store_put *put,
    uint32_t *next, uint32_t *ret_lost, struct gsp_error *err);

#endif
