/* SPDX-License-Identifier: Apache-2.0
 * Arena: memory of one command's catalog objects, freed together. Not thread-safe. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena;

/* arena_new - NULL when out of memory. */
struct arena *arena_new(void);
void arena_free(struct arena *arena);
/* arena_reset - forget all that was allocated; one block is kept for what comes. */
void arena_reset(struct arena *arena);
/* arena_alloc - n zeroed bytes aligned to 8, NULL when out of memory. */
void *arena_alloc(struct arena *arena, size_t n);
/* arena_strndup - a NUL-terminated copy. */
char *arena_strndup(struct arena *arena, const char *text, size_t n);
char *arena_strdup(struct arena *arena, const char *text);

void arena_cleanup(struct arena **slot);
#define auto_arena __attribute__((cleanup(arena_cleanup))) struct arena

#endif
