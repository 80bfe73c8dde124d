/* SPDX-License-Identifier: Apache-2.0
 * Relations in a hash table; the blocks of each in chunks of 65536, a chunk being a short list of offsets that turns
 * into a bitmap when it would take more room than one. */
#include "core/engine/change_map.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_BLOCKS = 65536,
    CHUNK_WORDS = CHUNK_BLOCKS / 64,
    LIST_MAX = CHUNK_BLOCKS / 8 / 2, /* offsets of 2 bytes in the room of a bitmap */
    SLOTS_MIN = 256
};

struct chunk {
    uint16_t *list; /* ascending after chunk_seal; NULL when bits are used */
    uint64_t *bits;
    uint32_t n, cap, sorted; /* of the list; the first `sorted` are ascending and different */
};

struct changed_relation {
    uint32_t space_oid, db_oid, relation; /* relation 0: the whole database */
    uint32_t n_chunks;
    uint64_t limit; /* every block from here on */
    struct chunk *chunks;
};

struct change_map {
    pthread_mutex_t lock; /* covers everything below while changes are added */
    struct changed_relation **slots;
    size_t n, n_slots;
};

static int
out_of_memory(struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory for the map of changed blocks");
}

struct change_map *
change_map_new(void)
{
    struct change_map *map = calloc(1, sizeof *map);
    if (map == NULL)
        return NULL;
    map->n_slots = SLOTS_MIN;
    map->slots = calloc(map->n_slots, sizeof *map->slots);
    if (map->slots == NULL) {
        free(map);
        return NULL;
    }
    (void)pthread_mutex_init(&map->lock, NULL);
    return map;
}

static void
relation_free(struct changed_relation *r)
{
    for (uint32_t i = 0; r != NULL && i < r->n_chunks; i++) {
        free(r->chunks[i].list);
        free(r->chunks[i].bits);
    }
    if (r != NULL)
        free(r->chunks);
    free(r);
}

void
change_map_free(struct change_map *map)
{
    if (map == NULL)
        return;
    for (size_t i = 0; i < map->n_slots; i++)
        relation_free(map->slots[i]);
    free(map->slots);
    (void)pthread_mutex_destroy(&map->lock);
    free(map);
}

/* ---- relations --------------------------------------------------------------------------------- */

static size_t
slot_of(const struct change_map *map, uint32_t space_oid, uint32_t db_oid, uint32_t relation)
{
    uint64_t h = ((uint64_t)space_oid << 32 | db_oid) * UINT64_C(0x9E3779B97F4A7C15);
    h = (h ^ h >> 29 ^ relation) * UINT64_C(0xBF58476D1CE4E5B9);
    size_t mask = map->n_slots - 1, i = (size_t)(h ^ h >> 32) & mask;
    for (; map->slots[i] != NULL; i = (i + 1) & mask) {
        const struct changed_relation *r = map->slots[i];
        if (r->relation == relation && r->db_oid == db_oid && r->space_oid == space_oid)
            break;
    }
    return i;
}

static int
grow(struct change_map *map, struct gsp_error *err)
{
    struct change_map bigger = {.n_slots = map->n_slots * 2};
    bigger.slots = calloc(bigger.n_slots, sizeof *bigger.slots);
    if (bigger.slots == NULL)
        return out_of_memory(err);
    for (size_t i = 0; i < map->n_slots; i++) {
        struct changed_relation *r = map->slots[i];
        if (r != NULL)
            bigger.slots[slot_of(&bigger, r->space_oid, r->db_oid, r->relation)] = r;
    }
    free(map->slots);
    map->slots = bigger.slots;
    map->n_slots = bigger.n_slots;
    return 0;
}

static struct changed_relation *
relation_of(struct change_map *map, const struct gsp_change *c, struct gsp_error *err)
{
    if (map->n * 4 >= map->n_slots * 3 && grow(map, err) != 0)
        return NULL;
    uint32_t relation = c->kind == GSP_CHANGE_DATABASE ? 0 : c->relation;
    size_t i = slot_of(map, c->space_oid, c->db_oid, relation);
    if (map->slots[i] == NULL) {
        struct changed_relation *r = calloc(1, sizeof *r);
        if (r == NULL) {
            (void)out_of_memory(err);
            return NULL;
        }
        *r = (struct changed_relation){
            .space_oid = c->space_oid, .db_oid = c->db_oid, .relation = relation, .limit = UINT64_MAX};
        map->slots[i] = r;
        map->n++;
    }
    return map->slots[i];
}

const struct changed_relation *
change_map_find(const struct change_map *map, uint32_t space_oid, uint32_t db_oid, uint32_t relation)
{
    const struct changed_relation *whole = map->slots[slot_of(map, space_oid, db_oid, 0)];
    return whole != NULL ? whole : map->slots[slot_of(map, space_oid, db_oid, relation)];
}

/* ---- blocks ------------------------------------------------------------------------------------ */

static int
by_offset(const void *a, const void *b)
{
    return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b;
}

/* Order the list and drop what is in it twice. */
static void
chunk_seal(struct chunk *c)
{
    uint32_t kept = 0;
    if (c->sorted == c->n)
        return;
    qsort(c->list, c->n, sizeof *c->list, by_offset);
    for (uint32_t i = 0; i < c->n; i++)
        if (kept == 0 || c->list[i] != c->list[kept - 1])
            c->list[kept++] = c->list[i];
    c->n = c->sorted = kept;
}

static int
chunk_grow(struct chunk *c, struct gsp_error *err)
{
    if (c->n == LIST_MAX) {
        chunk_seal(c);
        if (c->n < LIST_MAX / 2)
            return 0;
        c->bits = calloc(CHUNK_WORDS, sizeof *c->bits);
        if (c->bits == NULL)
            return out_of_memory(err);
        for (uint32_t i = 0; i < c->n; i++)
            c->bits[c->list[i] / 64] |= UINT64_C(1) << c->list[i] % 64;
        free(c->list);
        c->list = NULL;
        return 0;
    }
    uint32_t cap = c->cap == 0 ? 8 : c->cap * 2;
    uint16_t *bigger = realloc(c->list, cap * sizeof *bigger);
    if (bigger == NULL)
        return out_of_memory(err);
    c->list = bigger;
    c->cap = cap;
    return 0;
}

static int
chunk_add(struct chunk *c, uint16_t offset, struct gsp_error *err)
{
    /* The block that was changed last is the one that is most often changed again. */
    if (c->bits == NULL && c->n > 0 && c->list[c->n - 1] == offset)
        return 0;
    if (c->bits == NULL && c->n == c->cap && chunk_grow(c, err) != 0)
        return err->code;
    if (c->bits != NULL) {
        c->bits[offset / 64] |= UINT64_C(1) << offset % 64;
        return 0;
    }
    if (c->sorted == c->n && (c->n == 0 || c->list[c->n - 1] < offset))
        c->sorted++;
    c->list[c->n++] = offset;
    return 0;
}

static struct chunk *
chunk_of(struct changed_relation *r, uint32_t number, struct gsp_error *err)
{
    if (number >= r->n_chunks) {
        struct chunk *grown = realloc(r->chunks, ((size_t)number + 1) * sizeof *grown);
        if (grown == NULL) {
            (void)out_of_memory(err);
            return NULL;
        }
        memset(grown + r->n_chunks, 0, ((size_t)number + 1 - r->n_chunks) * sizeof *grown);
        r->chunks = grown;
        r->n_chunks = number + 1;
    }
    return &r->chunks[number];
}

static int
add_blocks(struct changed_relation *r, uint64_t first, uint32_t count, struct gsp_error *err)
{
    for (uint64_t block = first; block < first + count && block < r->limit; block++) {
        struct chunk *c = chunk_of(r, (uint32_t)(block / CHUNK_BLOCKS), err);
        if (c == NULL || chunk_add(c, (uint16_t)(block % CHUNK_BLOCKS), err) != 0)
            return err->code;
    }
    return 0;
}

static int
add_one(struct change_map *map, const struct gsp_change *c, struct gsp_error *err)
{
    if (c->kind != GSP_CHANGE_BLOCKS && c->kind != GSP_CHANGE_FROM && c->kind != GSP_CHANGE_DATABASE)
        return gsp_fail(err, GSP_E_PROTO, 0, "a change of unknown kind %u", c->kind);
    if (c->kind == GSP_CHANGE_BLOCKS && (uint64_t)c->block + c->count > UINT64_C(1) + UINT32_MAX)
        return gsp_fail(err, GSP_E_PROTO, 0, "a change of blocks beyond the last block number");
    struct changed_relation *r = relation_of(map, c, err);
    if (r == NULL)
        return err->code;
    if (c->kind == GSP_CHANGE_BLOCKS)
        return add_blocks(r, c->block, c->count, err);
    uint64_t limit = c->kind == GSP_CHANGE_FROM ? c->block : 0;
    if (limit < r->limit)
        r->limit = limit;
    return 0;
}

int
change_map_add(void *arg, const struct gsp_change *changes, uint32_t n, struct gsp_error *err)
{
    struct change_map *map = arg;
    int rc = 0;
    (void)pthread_mutex_lock(&map->lock);
    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = add_one(map, &changes[i], err);
    (void)pthread_mutex_unlock(&map->lock);
    return rc;
}

void
change_map_seal(struct change_map *map)
{
    for (size_t i = 0; i < map->n_slots; i++)
        for (uint32_t k = 0; map->slots[i] != NULL && k < map->slots[i]->n_chunks; k++)
            chunk_seal(&map->slots[i]->chunks[k]);
}

/* First offset at or behind `from` in a chunk, CHUNK_BLOCKS when there is none. */
static uint32_t
chunk_next(const struct chunk *c, uint32_t from)
{
    if (c->bits != NULL) {
        uint32_t word = from / 64;
        uint64_t left = c->bits[word] & (UINT64_MAX << from % 64);
        while (left == 0 && ++word < CHUNK_WORDS)
            left = c->bits[word];
        return left != 0 ? word * 64 + (uint32_t)__builtin_ctzll(left) : CHUNK_BLOCKS;
    }
    uint32_t low = 0, high = c->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (c->list[middle] < from)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->n ? c->list[low] : CHUNK_BLOCKS;
}

uint64_t
change_map_next(const struct changed_relation *r, uint64_t block)
{
    if (r == NULL)
        return UINT64_MAX;
    for (uint64_t at = block; at < r->limit && at / CHUNK_BLOCKS < r->n_chunks;
         at = (at / CHUNK_BLOCKS + 1) * CHUNK_BLOCKS) {
        uint32_t offset = chunk_next(&r->chunks[at / CHUNK_BLOCKS], (uint32_t)(at % CHUNK_BLOCKS));
        uint64_t found = at / CHUNK_BLOCKS * CHUNK_BLOCKS + offset;
        if (offset < CHUNK_BLOCKS)
            return found < r->limit ? found : r->limit;
    }
    if (r->limit == UINT64_MAX)
        return UINT64_MAX;
    return block > r->limit ? block : r->limit;
}
