/* SPDX-License-Identifier: Apache-2.0
 * Room: what a job is going to write at its places, added up per file system, against what is free there. */
#ifndef ENGINE_ROOM_H
#define ENGINE_ROOM_H

#include "core/io/store.h"

/* Sizes out of a list may be absurd: all sums end at INT64_MAX, none wraps around. */
uint64_t room_sum(uint64_t a, uint64_t b);

struct room_place {
    char *what;     /* "data directory" */
    char *location; /* its path, for people */
    uint64_t need;  /* bytes on the medium, whole blocks */
    size_t system;  /* index of its file system */
};

struct room_system {
    uint64_t dev; /* 0 = the storage does not say: the place stands alone */
    uint64_t block_bytes;
    uint64_t need; /* of all its places */
    uint64_t gain; /* what is removed there before anything is written */
    uint64_t free_bytes;
    int is_known; /* 0: the storage cannot tell how much is free */
};

struct room {
    struct room_place *places;
    size_t n_places;
    struct room_system *systems;
    size_t n_systems;
};

/* room_place - one more place: `path` in the store, which need not exist yet. out ret: its number */
int room_place(struct room *room, const char *what, const char *location, struct store *s, const char *path,
    size_t *ret, struct gsp_error *err);
/* room_add - a file of so many bytes, of which `there` are at the place already. */
void room_add(struct room *room, size_t place, uint64_t bytes, uint64_t there);
/* room_gain - so many bytes are removed there first. */
void room_gain(struct room *room, size_t place, uint64_t bytes);
/* room_missing - does the file system lack room? 1 or 0. */
int room_missing(const struct room_system *system);
/* room_needed - on a file system, without what is gained first. */
uint64_t room_needed(const struct room_system *system);
/* room_check - errors NOSPC: `what`, and each file system that lacks room with need and free */
int room_check(const struct room *room, const char *what, struct gsp_error *err);
void room_clear(struct room *room);
#define auto_room __attribute__((cleanup(room_clear))) struct room

#endif
