/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/restore_room.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/path.h"
#include "core/engine/restore_extents.h"
#include "core/engine/restore_wal.h"

/* A directory below the data directory whose files go to a place of their own. */
struct room_dir {
    const char *path; /* as in the list */
    size_t place;
};

struct measure {
    struct restore *r;
    struct room *room;
    size_t data;      /* the place of the data directory */
    size_t externals; /* that of the first external directory; the others follow */
    struct room_dir *dirs;
    size_t n_dirs;
};

uint64_t
restore_size(const struct chain *c, size_t i)
{
    size_t member;
    const struct file_entry *f = &c->members[0].list.entries[i];
    if (file_entry_is_dir(f))
        return 0;
    if (chain_entry_is_paged(f) && f->n_blocks > 0)
        return (uint64_t)f->n_blocks * c->members[0].page_size;
    const struct file_entry *stored = chain_stored(c, i, &member);
    return stored != NULL && stored->size > 0 ? (uint64_t)stored->size : 0;
}

uint64_t
restore_bytes_needed(const struct chain *c)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < c->members[0].list.n; i++)
        bytes = room_sum(bytes, restore_size(c, i));
    return bytes;
}

/* What a file will take on the medium: less than its size where its holes stay holes. */
static uint64_t
room_of(const struct restore *r, size_t i)
{
    char path[PATH_SIZE];
    const struct chain *c = &r->chain;
    size_t member = 0;
    struct gsp_stat st;
    struct gsp_error ignored = {0};
    uint64_t size = restore_size(c, i);
    const struct file_entry *f = &c->members[0].list.entries[i];
    struct gsp_class class = {0};
    if (restore_is_extents(f))
        (void)restore_extents_bytes(r, f, &size);
    if (chain_entry_is_paged(f))
        return size;
    if (f->external_dir_num == 0 && size <= SPARSE_FILE_MIN)
        (void)restore_class(r, f, f->path, &class, &ignored);
    if (size <= SPARSE_FILE_MIN && !(class.flags & GSP_CLASS_SPARSE))
        return size;
    const struct file_entry *stored = chain_stored(c, i, &member);
    if (stored == NULL || stored_path(&c->members[member], stored, path, &ignored) != 0 ||
        store_stat(&c->e->repo, path, &st, &ignored) != 0)
        return size;
    return st.holes < size ? size - st.holes : 0;
}

static int
add_dir(struct measure *m, const char *path, size_t place, struct gsp_error *err)
{
    struct room_dir *grown = realloc(m->dirs, (m->n_dirs + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    m->dirs = grown;
    m->dirs[m->n_dirs++] = (struct room_dir){.path = path, .place = place};
    return 0;
}

static int
open_space(struct measure *m, const char *path, struct restore_tablespace *space, struct gsp_error *err)
{
    char what[64];
    size_t place = 0;
    if (space->inside)
        return 0;
    (void)snprintf(what, sizeof what, "tablespace %s", space->oid);
    int rc = room_place(m->room, what, space->location, &space->store, "", &place, err);
    if (rc != 0)
        return rc;
    room_gain(m->room, place, space->gain);
    return add_dir(m, path, place, err);
}

/* Only in place a directory can be a link: one that is made anew lies in the data directory. */
static int
open_link(struct measure *m, const char *path, struct gsp_error *err)
{
    char location[PATH_SIZE];
    size_t place = 0;
    struct gsp_stat st;
    struct gsp_error ignored = {0};
    struct store *s = &m->r->target.store;
    if (!m->r->target.in_place || store_stat(s, path, &st, &ignored) != 0 || !(st.flags & GSP_STAT_LINK) ||
        st.type != GSP_FILE_DIRECTORY)
        return 0;
    (void)snprintf(location, sizeof location, "%s/%s", s->root, path);
    int is_wal = strcmp(path, m->r->dialect->wal_dir) == 0;
    int rc = room_place(m->room, is_wal ? "WAL directory" : "linked directory", location, s, path, &place, err);
    return rc == 0 ? add_dir(m, path, place, err) : rc;
}

static int
open_externals(struct measure *m, struct gsp_error *err)
{
    struct restore_target *t = &m->r->target;
    int rc = 0;
    m->externals = m->room->n_places;
    for (size_t i = 0; i < t->n_externals && rc == 0; i++) {
        size_t place = 0;
        struct store *s = &t->externals[i].store;
        rc = room_place(m->room, "external directory", s->root, s, "", &place, err);
        if (rc == 0)
            room_gain(m->room, place, t->externals[i].gain);
    }
    return rc;
}

static int
open_places(struct measure *m, struct gsp_error *err)
{
    struct restore_target *t = &m->r->target;
    const struct filelist *list = &m->r->chain.members[0].list;
    int rc = room_place(m->room, "data directory", t->store.root, &t->store, "", &m->data, err);
    if (rc == 0) {
        room_gain(m->room, m->data, t->gain);
        rc = open_externals(m, err);
    }
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        const struct file_entry *f = &list->entries[i];
        if (!file_entry_is_dir(f) || f->external_dir_num > 0)
            continue;
        struct restore_tablespace *space = restore_target_space(t, f->path);
        rc = space != NULL ? open_space(m, f->path, space, err) : open_link(m, f->path, err);
    }
    return rc;
}

/* The innermost of the directories that the file lies in. */
static size_t
place_below(const struct measure *m, const char *path)
{
    size_t place = m->data, best = 0;
    for (size_t k = 0; k < m->n_dirs; k++) {
        size_t len = strlen(m->dirs[k].path);
        if (len > best && strncmp(path, m->dirs[k].path, len) == 0 && (path[len] == '/' || path[len] == '\0')) {
            place = m->dirs[k].place;
            best = len;
        }
    }
    return place;
}

static size_t
place_of(const struct measure *m, const struct file_entry *f)
{
    return f->external_dir_num > 0 ? m->externals + (size_t)f->external_dir_num - 1 : place_below(m, f->path);
}

/* The archived WAL of a backup that has none of its own. */
static int
add_wal(struct measure *m, struct gsp_error *err)
{
    uint64_t first, end;
    int rc = restore_wal_segments(m->r, &first, &end, err);
    for (uint64_t s = first; s < end && rc == 0; s++)
        room_add(m->room, place_below(m, m->r->dialect->wal_dir), m->r->cluster.wal_segment_size, 0);
    return rc;
}

static int
measure(struct measure *m, struct gsp_error *err)
{
    const struct chain *c = &m->r->chain;
    const struct filelist *list = &c->members[0].list;
    const uint64_t *there = m->r->inplace.there;
    int rc = open_places(m, err);
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        const struct file_entry *f = &list->entries[i];
        if ((size_t)(f->external_dir_num > 0 ? f->external_dir_num : 0) > m->r->target.n_externals)
            continue; /* left out of the restore */
        if (!file_entry_is_dir(f))
            room_add(m->room, place_of(m, f), room_of(m->r, i), there != NULL ? there[i] : 0);
        else if (!m->r->target.in_place) /* an empty one takes a block */
            room_add(m->room, place_of(m, f), 1, 0);
    }
    if (rc == 0)
        room_add(m->room, m->data, m->r->control.size > 0 ? (uint64_t)m->r->control.size : 0, 0);
    return rc == 0 ? add_wal(m, err) : rc;
}

int
restore_room_measure(struct restore *r, struct room *ret, struct gsp_error *err)
{
    struct measure m = {.r = r, .room = ret};
    int rc = measure(&m, err);
    free(m.dirs);
    return rc;
}

int
restore_room_verdict(const struct room *room, struct gsp_error *err)
{
    int rc = room_check(room, "not enough disk space to restore into", err);
    if (rc == GSP_E_NOSPC)
        return gsp_hint(err,
            "make room, or restore to a larger file system with -D and -T; 'restore --plan' tells what "
            "each place takes");
    return rc;
}

int
restore_room_check(struct restore *r, struct gsp_error *err)
{
    auto_room room = {0};
    int rc = restore_room_measure(r, &room, err);
    return rc == 0 ? restore_room_verdict(&room, err) : rc;
}
