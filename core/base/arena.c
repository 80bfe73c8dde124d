/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ARENA_BLOCK_BYTES = 64 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t used, cap;
    _Alignas(8) unsigned char data[];
};

struct arena {
    struct arena_block *head; /* the block being filled */
};

struct arena *
arena_new(void)
{
    return calloc(1, sizeof(struct arena));
}

static void
free_blocks(struct arena_block *first)
{
    for (struct arena_block *b = first, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
}

void
arena_free(struct arena *arena)
{
    if (arena == NULL)
        return;
    free_blocks(arena->head);
    free(arena);
}

void
arena_reset(struct arena *arena)
{
    if (arena->head == NULL)
        return;
    free_blocks(arena->head->next);
    arena->head->next = NULL;
    arena->head->used = 0;
}

void
arena_cleanup(struct arena **slot)
{
    arena_free(*slot);
}

void *
arena_alloc(struct arena *arena, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    n = (n + 7) & ~(size_t)7;
    struct arena_block *b = arena->head;
    if (b == NULL || b->cap - b->used < n) {
        size_t cap = n > ARENA_BLOCK_BYTES / 4 ? n : ARENA_BLOCK_BYTES;
        b = malloc(sizeof *b + cap);
        if (b == NULL)
            return NULL;
        b->used = 0;
        b->cap = cap;
        /* A block of its own for something big must not hide the room left in the current one. */
        if (cap == n && arena->head != NULL) {
            b->next = arena->head->next;
            arena->head->next = b;
        } else {
            b->next = arena->head;
            arena->head = b;
        }
    }
    void *p = b->data + b->used;
    b->used += n;
    return memset(p, 0, n);
}

char *
arena_strndup(struct arena *arena, const char *text, size_t n)
{
    char *copy = arena_alloc(arena, n + 1);
    if (copy != NULL)
        memcpy(copy, text, n);
    return copy;
}

char *
arena_strdup(struct arena *arena, const char *text)
{
    return arena_strndup(arena, text, strlen(text));
}
