/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/engine/wal_scan.h"

/* ---- the change map ---------------------------------------------------------------------------- */

static int
new_map(struct plan *p, struct gsp_error *err)
{
    change_map_free(p->map);
    p->map = change_map_new();
    return p->map != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static void
report_extracted(int64_t began)
{
    char elapsed[24];
    format_interval_pretty(monotonic_us() - began, elapsed, sizeof elapsed);
    log_info("Pagemap successfully extracted, time elapsed: %s", elapsed);
}

/* Timeline by timeline, from the parent's start to ours. */
static int
map_from_server(void *ctx, struct gsp_error *err)
{
    struct plan *p = ctx;
    const struct gsp_server_ops *ops = p->start->server_ops;
    const struct timeline_history *history = &p->parent->history;
    int64_t began = monotonic_us(), timeout = config_get_us(p->e->cfg, "archive-timeout");
    if (ops->changed_blocks == NULL) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "this database has no map of changed blocks, which -b PTRACK needs");
        return gsp_hint(err, "use -b DELTA or -b PAGE");
    }
    log_info("Extracting pagemap of changed blocks");
    int rc = new_map(p, err);
    for (size_t i = 0; i < history->n && rc == 0; i++) {
        const struct timeline_span *span = &history->spans[i];
        gsp_lsn from = p->parent->backup->start_lsn, to = p->start_lsn;
        from = span->begin > from ? span->begin : from;
        to = span->end < to ? span->end : to;
        if (from < to)
            rc = ops->changed_blocks(p->start->srv, span->timeline, from, to, timeout, change_map_add, p->map, err);
    }
    if (rc == 0)
        report_extracted(began);
    return rc;
}

static int
map_from_wal(void *ctx, const char *archive, struct gsp_error *err)
{
    struct plan *p = ctx;
    struct engine *e = p->e;
    struct data_side *data = &p->start->data;
    struct store archive_store = {0};
    void *archive_opts = NULL;
    char catalog_dir[PATH_SIZE];
    int64_t began = monotonic_us();
    if (data->dialect->wal_changes == NULL) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "WAL of this database is not understood, which -b PAGE needs");
        return gsp_hint(err, "use -b PTRACK, or -b FULL");
    }
    (void)snprintf(catalog_dir, sizeof catalog_dir, "wal/%s", e->instance);
    struct wal_scan scan = {.dialect = data->dialect,
        .cluster = &data->cluster,
        .history = &p->parent->history,
        .places = {{&data->store, data->dialect->wal_dir}, {&e->repo, catalog_dir}, {&archive_store, ""}},
        .n_places = archive != NULL && archive[0] != '\0' ? 3 : 2,
        .from = p->parent->backup->start_lsn,
        .to = p->start_lsn};
    log_info("Extracting pagemap of changed blocks");
    int rc = new_map(p, err);
    scan.map = p->map;
    if (rc == 0 && scan.n_places == 3)
        rc = engine_open_store(e->cfg, e->reg, "storage.repo", archive, &archive_store, &archive_opts, err);
    if (rc == 0)
        rc = wal_scan_run(&scan, e->threads, err);
    if (archive_store.ops != NULL)
        store_close(&archive_store);
    plugin_free_options(archive_opts);
    if (rc == 0)
        report_extracted(began);
    return rc;
}

/* ---- the files --------------------------------------------------------------------------------- */

/* What the parent has under this name, if it is the same kind of file and can be told from this one. */
static const struct file_entry *
in_parent(const struct plan *p, const struct source_file *f)
{
    if (p->parent == NULL || f->action == GSP_CLASS_CONTROL || (f->flags & GSP_CLASS_OWN_SUMS))
        return NULL;
    const struct file_entry *entry = filelist_find(&p->parent->files, f->entry.path, 0);
    int is_pages = f->action == GSP_CLASS_PAGES;
    if (entry == NULL || file_entry_is_dir(entry) || entry->is_cfs || entry->is_datafile != is_pages)
        return NULL;
    return entry;
}

/* Where pages have no checksums, the server marks one as visible to all without giving it a new LSN, so that the chain
 * may have it without the mark, and a newer visibility map with it. The server never clears the bit of such a page, and
 * gives wrong answers. Without a map it makes one. */
static int
is_left_out(const struct plan *p, const struct source_file *f)
{
    return p->parent != NULL && (f->flags & GSP_CLASS_REBUILT) && p->start->data.cluster.checksum_version == 0;
}

static int
take_answer(const struct plan *p, struct source_file *f, const struct gsp_plan *answer, struct gsp_error *err)
{
    const char *mode = p->start->mode_ops->label;
    f->plan = answer->action;
    f->plan_lsn = answer->lsn;
    switch (answer->action) {
    case GSP_PLAN_ALL:
        return 0;
    case GSP_PLAN_BLOCKS:
    case GSP_PLAN_LSN:
        break;
    default:
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "mode '%s' plans an action this version does not know", mode);
    }
    if (f->parent == NULL || f->relation == 0 || (answer->action == GSP_PLAN_BLOCKS && p->map == NULL))
        return gsp_fail(
            err, GSP_E_BUG, 0, "mode '%s' takes blocks of file '%s', of which it cannot know them", mode, f->source);
    if (answer->action == GSP_PLAN_BLOCKS)
        f->changes = change_map_find(p->map, f->space_oid, f->entry.db_oid, f->relation);
    return 0;
}

/* Is one of the file's extents kept compressed by the server? 1, 0, or a code. */
static int
has_compressed_extent(struct data_side *data, const struct source_file *f, uint8_t *page, struct gsp_error *err)
{
    const struct gsp_dialect_ops *dialect = data->dialect;
    uint32_t size = data->cluster.page_size;
    auto_store_file file = {0};
    struct gsp_error gone = {0};
    int rc = store_file_open(&data->store, f->source, &file, &gone);
    if (rc == GSP_E_NOENT)
        return 0; /* the copy will see it, too */
    if (rc != 0)
        *err = gone;
    for (uint64_t end = dialect->extent_bytes; rc == 0 && end <= f->size; end += dialect->extent_bytes) {
        int64_t got = store_file_pread(&file, page, size, end - size, err);
        if (got < 0 || cancel_check(err) != 0)
            return err->code;
        rc = got == size && dialect->extent_is_compressed(&data->cluster, page);
    }
    return rc;
}

static int
find_compressed_extents(const struct plan *p, struct source_list *src, struct gsp_error *err)
{
    struct data_side *data = &p->start->data;
    auto_free uint8_t *page = malloc(data->cluster.page_size);
    if (page == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < src->n_files; i++) {
        struct source_file *f = &src->files[i];
        if (!(f->flags & GSP_CLASS_EXTENTS) || data->dialect->extent_is_compressed == NULL)
            continue;
        int rc = has_compressed_extent(data, f, page, err);
        if (rc < 0)
            return gsp_prefix(err, "file '%s'", f->source);
        if (rc == 0)
            continue;
        f->action = GSP_CLASS_COPY;
        f->flags |= GSP_CLASS_SPARSE;
        f->relation = 0;
        f->entry.is_datafile = 0;
    }
    return 0;
}

/* Where the server moves pages about within a file, no block of it can be taken alone. */
static void
report_whole(const struct plan *p, const struct source_list *src)
{
    size_t n = 0;
    for (size_t i = 0; i < src->n_files && p->parent != NULL; i++)
        n += (src->files[i].flags & GSP_CLASS_SPARSE) != 0;
    if (n > 0)
        log_info(
            "%zu file(s) of compressed relations are taken whole when they changed: their pages have no fixed places",
            n);
}

static int
ask_mode(struct plan *p, void *mode_plan, struct source_list *src, struct gsp_error *err)
{
    auto_free struct gsp_file *files = calloc(src->n_files + 1, sizeof *files);
    auto_free struct gsp_plan *answers = calloc(src->n_files + 1, sizeof *answers);
    if (files == NULL || answers == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < src->n_files; i++) {
        struct source_file *f = &src->files[i];
        f->parent = in_parent(p, f);
        f->vanished = (uint32_t)is_left_out(p, f);
        files[i] = (struct gsp_file){.path = f->source, .size = f->size, .action = f->action};
        files[i].flags = (f->parent != NULL ? GSP_FILE_IN_PARENT : 0) | (f->relation != 0 ? GSP_FILE_TRACKED : 0);
    }
    report_whole(p, src);
    int rc = p->start->mode_ops->plan_files(mode_plan, files, (uint32_t)src->n_files, answers, err);
    for (size_t i = 0; i < src->n_files && rc == 0; i++)
        rc = take_answer(p, &src->files[i], &answers[i], err);
    return rc;
}

int
plan_files(struct plan *p, struct source_list *src, struct gsp_error *err)
{
    const struct gsp_mode_ops *ops = p->start->mode_ops;
    struct gsp_mode_env env = {.struct_size = sizeof env,
        .timeline = p->timeline,
        .cluster = &p->start->data.cluster,
        .start_lsn = p->start_lsn,
        .parent_start_lsn = p->parent != NULL ? p->parent->backup->start_lsn : 0,
        .ctx = p,
        .map_from_server = map_from_server,
        .map_from_wal = map_from_wal};
    void *mode_plan = NULL;
    int rc = find_compressed_extents(p, src, err);
    if (rc != 0)
        return rc;
    rc = ops->begin(p->start->mode->state, p->start->mode_opts, &env, &mode_plan, err);
    if (rc == 0 && p->map != NULL)
        change_map_seal(p->map);
    if (rc == 0)
        rc = ask_mode(p, mode_plan, src, err);
    ops->end(mode_plan);
    return rc;
}

void
plan_clear(struct plan *p)
{
    change_map_free(p->map);
    p->map = NULL;
}
