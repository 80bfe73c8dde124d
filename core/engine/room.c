/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/room.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/number.h"

uint64_t
room_sum(uint64_t a, uint64_t b)
{
    return a < INT64_MAX && b < INT64_MAX - a ? a + b : INT64_MAX;
}

/* The file system that a place lies on: one that is known, or a new one. */
static int
find_system(struct room *room, const struct gsp_space *space, int is_known, size_t *ret, struct gsp_error *err)
{
    for (size_t i = 0; space->dev != 0 && i < room->n_systems; i++) {
        if (room->systems[i].dev == space->dev) {
            *ret = i;
            return 0;
        }
    }
    struct room_system *grown = realloc(room->systems, (room->n_systems + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    room->systems = grown;
    *ret = room->n_systems++;
    grown[*ret] = (struct room_system){
        .dev = space->dev, .block_bytes = space->block_bytes, .free_bytes = space->free_bytes, .is_known = is_known};
    return 0;
}

int
room_place(struct room *room, const char *what, const char *location, struct store *s, const char *path, size_t *ret,
    struct gsp_error *err)
{
    struct gsp_space space = {.struct_size = sizeof space};
    size_t system = 0;
    int rc = s->ops->space != NULL ? s->ops->space(s->handle, path, &space, err) : 0;
    if (rc == 0)
        rc = find_system(room, &space, s->ops->space != NULL, &system, err);
    if (rc != 0)
        return rc;
    struct room_place *grown = realloc(room->places, (room->n_places + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    room->places = grown;
    struct room_place *place = &grown[room->n_places];
    *place = (struct room_place){.what = strdup(what), .location = strdup(location), .system = system};
    *ret = room->n_places++;
    return place->what != NULL && place->location != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

/* A file takes whole blocks. */
static uint64_t
whole_blocks(uint64_t bytes, uint64_t block)
{
    return block > 1 && bytes % block != 0 ? room_sum(bytes, block - bytes % block) : bytes;
}

void
room_add(struct room *room, size_t place, uint64_t bytes, uint64_t there)
{
    struct room_place *p = &room->places[place];
    struct room_system *system = &room->systems[p->system];
    uint64_t want = whole_blocks(bytes, system->block_bytes), have = whole_blocks(there, system->block_bytes);
    uint64_t need = want > have ? want - have : 0;
    p->need = room_sum(p->need, need);
    system->need = room_sum(system->need, need);
}

void
room_gain(struct room *room, size_t place, uint64_t bytes)
{
    struct room_system *system = &room->systems[room->places[place].system];
    system->gain = room_sum(system->gain, bytes);
}

uint64_t
room_needed(const struct room_system *system)
{
    return system->need > system->gain ? system->need - system->gain : 0;
}

int
room_missing(const struct room_system *system)
{
    uint64_t need = room_needed(system);
    return system->is_known && need > 0 && system->free_bytes <= need;
}

/* "'/first' and 2 more places beside it: 1MB are free, 2MB are needed" */
static void
describe(const struct room *room, size_t system, struct strbuf *out)
{
    char have[24], want[24];
    const struct room_system *s = &room->systems[system];
    size_t n = 0;
    for (size_t i = 0; i < room->n_places; i++)
        if (room->places[i].system == system && n++ == 0)
            strbuf_printf(out, "'%s'", room->places[i].location);
    if (n > 1)
        strbuf_printf(out, " and %zu more place%s on its file system", n - 1, n > 2 ? "s" : "");
    format_size_pretty((int64_t)(s->free_bytes < INT64_MAX ? s->free_bytes : INT64_MAX), have, sizeof have);
    format_size_pretty((int64_t)room_needed(s), want, sizeof want);
    strbuf_printf(out, ": %s are free, %s are needed", have, want);
}

int
room_check(const struct room *room, const char *what, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    for (size_t i = 0; i < room->n_systems; i++) {
        if (!room_missing(&room->systems[i]))
            continue;
        if (text.len > 0)
            strbuf_puts(&text, "; ");
        describe(room, i, &text);
    }
    if (text.len == 0)
        return strbuf_check(&text, err);
    return gsp_fail(err, GSP_E_NOSPC, 0, "%s %s", what, strbuf_str(&text));
}

void
room_clear(struct room *room)
{
    for (size_t i = 0; i < room->n_places; i++) {
        free(room->places[i].what);
        free(room->places[i].location);
    }
    free(room->places);
    free(room->systems);
    memset(room, 0, sizeof *room);
}
