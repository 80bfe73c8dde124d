/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/backup_room.h"

#include <inttypes.h>

#include "core/base/log.h"
#include "core/base/number.h"
#include "core/engine/change_map.h"
#include "core/engine/room.h"
#include "core/io/page_batch.h"

enum {
    WAL_SEGMENTS = 2, /* that every backup takes at least, begun ones included */
    LIST_LINE = 300,  /* bytes of a file in the file list */
    PAGE_RECORD = 24, /* of a page in the page header map, before it is deflated */
    BEST_RATIO = 8    /* what a compressor makes of a cluster at best */
};

/* The backup's part of the catalog, with what every backup takes. */
static int
open_place(const struct backup_start *s, struct engine *e, struct room *room, struct gsp_error *err)
{
    size_t place;
    int rc = room_place(room, "backup catalog", e->repo.root, &e->repo, "backups", &place, err);
    for (int i = 0; rc == 0 && i < WAL_SEGMENTS; i++)
        room_add(room, place, s->data.cluster.wal_segment_size, 0);
    return rc;
}

/* A data file of so many pages, with their frames and records. */
static uint64_t
pages_bytes(const struct backup_start *s, uint64_t pages)
{
    return pages * (s->data.cluster.page_size + PAGE_FRAME_BYTES + PAGE_RECORD);
}

static uint64_t
whole_file(const struct backup_start *s, const struct source_file *f)
{
    return f->action == GSP_CLASS_PAGES ? pages_bytes(s, f->size / s->data.cluster.page_size + 1) : f->size;
}

static int
check(const struct room *room, struct gsp_error *err)
{
    int rc = room_check(room, "There is not enough remaining disk space for backup in", err);
    return rc == GSP_E_NOSPC ? gsp_hint(err, "delete old backups (gs_probackup delete -i ID), or back up with "
                                             "--compress-algorithm=zlib")
                             : rc;
}

static void
tell(const struct room *room, int is_increment)
{
    char have[24], want[24];
    if (!room->systems[0].is_known)
        return;
    format_size_pretty((int64_t)room->systems[0].free_bytes, have, sizeof have);
    format_size_pretty((int64_t)room_needed(&room->systems[0]), want, sizeof want);
    if (!room_missing(&room->systems[0]))
        log_log("The remaining disk space is: %s; The required space for backup is: %s", have, want);
    else if (is_increment)
        log_warning(
            "The remaining disk space is %s and the increment can take up to %s; the backup may not fit", have, want);
    else
        log_warning("The remaining disk space is %s and the data takes %s before compression; the backup may not fit",
            have, want);
}

int
backup_room_check(struct backup_start *s, struct engine *e, struct gsp_error *err)
{
    auto_room room = {0};
    struct source_list list = {0};
    int rc = open_place(s, e, &room, err);
    if (rc == 0 && s->is_incremental)
        return check(&room, err);
    if (rc == 0)
        rc = scan_source(&s->data, s->classify_flags, 1, &list, err);
    if (rc == 0)
        rc = external_sources_scan(&s->external, e, &s->data, 1, &list, err);
    for (size_t i = 0; rc == 0 && i < list.n_files; i++)
        room_add(&room, 0, whole_file(s, &list.files[i]), 0);
    for (size_t i = 0; rc == 0 && i < list.n_dirs; i++)
        room_add(&room, 0, 1, 0);
    if (rc == 0) {
        room_add(&room, 0, (uint64_t)(list.n_files + list.n_dirs) * LIST_LINE, 0);
        room_gain(&room, 0, list.holes);
    }
    source_list_clear(&list);
    if (rc != 0)
        return rc;
    tell(&room, 0);
    if (s->codec.plugin == NULL)
        return check(&room, err);
    room.systems[0].need /= BEST_RATIO;
    room.systems[0].gain /= BEST_RATIO;
    return check(&room, err);
}

/* Pages that the change map names; those that the file does not have any more are passed over. */
static uint64_t
changed_pages(const struct backup_start *s, const struct source_file *f)
{
    uint64_t base = (uint64_t)f->entry.segment * s->data.cluster.segment_blocks;
    uint64_t end = base + f->size / s->data.cluster.page_size, n = 0;
    if (f->changes == NULL)
        return 0;
    for (uint64_t at = change_map_next(f->changes, base); at < end; at = change_map_next(f->changes, at + 1))
        n++;
    return n;
}

int
backup_room_check_plan(
    const struct backup_start *s, struct engine *e, const struct source_list *src, struct gsp_error *err)
{
    auto_room sure = {0};
    auto_room most = {0};
    uint64_t pages = 0;
    int rc = open_place(s, e, &sure, err);
    if (rc == 0)
        rc = open_place(s, e, &most, err);
    for (size_t i = 0; rc == 0 && i < src->n_files; i++) {
        const struct source_file *f = &src->files[i];
        if (f->vanished)
            continue;
        int is_mapped = f->plan == GSP_PLAN_BLOCKS;
        uint64_t changed = is_mapped ? changed_pages(s, f) : 0,
                 bytes = is_mapped ? pages_bytes(s, changed) : whole_file(s, f);
        pages += changed;
        room_add(&most, 0, bytes, 0);
        if (is_mapped || f->parent == NULL)
            room_add(&sure, 0, s->codec.plugin != NULL ? bytes / BEST_RATIO : bytes, 0);
    }
    if (rc != 0)
        return rc;
    room_gain(&most, 0, src->holes);
    room_gain(&sure, 0, src->holes);
    rc = check(&sure, err);
    if (rc != 0)
        return rc;
    if (pages > 0)
        log_log("The change map names %" PRIu64 " pages", pages);
    tell(&most, 1);
    return 0;
}
