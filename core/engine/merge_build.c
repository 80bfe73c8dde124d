/* SPDX-License-Identifier: Apache-2.0
 * Building the files of a merged backup beside the chain. A file that one member has whole is given a second name, what
 * is put together from several is written anew. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/durability.h"
#include "core/engine/external.h"
#include "core/engine/merge.h"

enum {
    PART_BYTES = 256 * 1024 * 1024, /* of the ledger: so much work is done again after a crash, at most */
    PART_FILES = 5000,
};

/* One worker's tools. */
struct builder {
    struct merge_build *m;
    struct chain_reader *in;
    struct page_batch out; /* encodes what cannot be copied */
    struct header_stream *headers;
    struct page_header *records; /* out.cap */
    struct store_file map;       /* page_header_map of one member, */
    size_t map_member;           /* this one */
};

/* The stored file being written. */
struct target {
    struct store_put put;
    uint64_t size;
    uint32_t crc;
};

static void
target_close(struct target *t)
{
    store_put_abort(&t->put);
}

#define auto_target __attribute__((cleanup(target_close))) struct target

/* A name that may be there from an interrupted run, and then may lead to a file of the chain: never write through it.
 */
static int
free_name(const struct merge_build *m, const struct file_entry *f, char path[PATH_SIZE], struct gsp_error *err)
{
    int rc = stored_path(&m->target, f, path, err);
    return rc == 0 ? store_remove(&m->e->repo, path, err) : rc;
}

static int
target_open(struct target *t, const struct merge_build *m, const struct file_entry *f, struct gsp_error *err)
{
    char path[PATH_SIZE];
    if (t->put.handle != NULL)
        return 0;
    int rc = free_name(m, f, path, err);
    return rc == 0 ? store_put_begin(&m->e->repo, path, 0600, GSP_PUT_EXCL, &t->put, err) : rc;
}

static int
target_append(struct target *t, const void *data, size_t len, struct gsp_error *err)
{
    int rc = store_put_pwrite(&t->put, data, len, t->size, err);
    if (rc == 0) {
        t->crc = crc32c(t->crc, data, len);
        t->size += len;
    }
    return rc;
}

/* ---- put together from several members ----------------------------------------------------------- */

/* Can the frame stand in the merged file as it is? */
static int
fits_as_stored(const struct builder *w, size_t i, const struct chain_block *b)
{
    if (b->len == w->out.stride)
        return 1; /* not compressed */
    const struct file_entry *f = chain_entry(w->m->chain, b->member, i);
    return f != NULL && strcmp(f->compress_alg, w->m->codec_name) == 0;
}

/* Frames and their records. */
static int
append_frames(
    struct builder *w, struct target *t, const uint8_t *bytes, uint32_t len, uint32_t n, struct gsp_error *err)
{
    if (t->size + len > UINT32_MAX / 2)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "too large for the catalog format");
    int rc = header_stream_add(w->headers, w->records, n, err);
    return rc == 0 ? target_append(t, bytes, len, err) : rc;
}

static int
copy_frames(struct builder *w, struct target *t, const struct chain_block *blocks, uint32_t n, uint32_t *ret_n,
    struct gsp_error *err)
{
    const uint8_t *bytes;
    const char *codec;
    uint32_t len, done = 0, pos = (uint32_t)t->size;
    int rc = chain_frames(w->in, blocks, n < w->out.cap ? n : w->out.cap, &bytes, &len, &done, &codec, err);
    for (uint32_t k = 0; k < done && rc == 0; k++) {
        w->records[k] = (struct page_header){
            .lsn = blocks[k].lsn, .block = blocks[k].block, .pos = pos, .checksum = blocks[k].checksum};
        pos += blocks[k].len;
    }
    *ret_n = done;
    return rc == 0 ? append_frames(w, t, bytes, len, done, err) : rc;
}

/* The pages in w->out. blocks: their records, NULL for pages of zeros. */
static int
encode_pages(struct builder *w, struct target *t, const struct chain_block *blocks, struct gsp_error *err)
{
    const uint8_t *bytes;
    uint32_t len;
    int rc = page_batch_frame(&w->out, &bytes, &len, err);
    for (uint32_t k = 0; k < w->out.n && rc == 0; k++)
        w->records[k] = (struct page_header){.lsn = blocks != NULL ? blocks[k].lsn : 0,
            .block = w->out.block[k],
            .pos = (uint32_t)t->size + w->out.out_span[k].off - PAGE_FRAME_BYTES,
            .checksum = blocks != NULL ? blocks[k].checksum : (uint16_t)0};
    return rc == 0 ? append_frames(w, t, bytes, len, w->out.n, err) : rc;
}

static int
convert_frames(struct builder *w, struct target *t, const struct chain_block *blocks, uint32_t n, uint32_t *ret_n,
    struct gsp_error *err)
{
    struct page_batch *in;
    int rc = chain_pages(w->in, blocks, n < w->out.cap ? n : w->out.cap, &in, err);
    if (rc != 0)
        return rc;
    page_batch_reset(&w->out);
    for (uint32_t k = 0; k < in->n; k++) {
        memcpy(page_batch_page(&w->out, k), in->data + (size_t)k * in->stride, in->page_size);
        w->out.block[k] = in->block[k];
    }
    w->out.n = *ret_n = in->n;
    return encode_pages(w, t, blocks, err);
}

/* Blocks that no member of a foreign chain has read as zeros; a FULL backup holds every block. */
static int
fill_gap(struct builder *w, struct target *t, uint32_t from, uint32_t to, struct gsp_error *err)
{
    int rc = 0;
    while (from < to && rc == 0) {
        page_batch_reset(&w->out);
        for (; w->out.n < w->out.cap && from < to; w->out.n++) {
            memset(page_batch_page(&w->out, w->out.n), 0, w->out.page_size);
            w->out.block[w->out.n] = from++;
        }
        rc = encode_pages(w, t, NULL, err);
    }
    return rc;
}

static int
append_blocks(
    struct builder *w, struct target *t, size_t i, const struct chain_block *blocks, uint32_t n, struct gsp_error *err)
{
    uint32_t next = 0; /* block that comes next */
    for (uint32_t done = 0, run = 0; done < n;) {
        int as_stored = fits_as_stored(w, i, &blocks[done]), rc = jobs_check(&w->m->jobs, err);
        if (rc == 0)
            rc = fill_gap(w, t, next, blocks[done].block, err);
        for (run = 1; done + run < n && run < w->out.cap && blocks[done + run].block == blocks[done].block + run; run++)
            if (fits_as_stored(w, i, &blocks[done + run]) != as_stored)
                break;
        if (rc == 0)
            rc = as_stored ? copy_frames(w, t, blocks + done, run, &run, err)
                           : convert_frames(w, t, blocks + done, run, &run, err);
        if (rc != 0)
            return rc;
        done += run;
        next = blocks[done - 1].block + 1;
        progress_add(&w->m->progress, (uint64_t)run * w->out.page_size, 0);
    }
    uint32_t all = chain_entry_blocks(chain_entry(w->m->chain, 0, i));
    return all != CHAIN_ANY_BLOCKS ? fill_gap(w, t, next, all, err) : 0;
}

static int
put_together(struct builder *w, size_t i, struct file_entry *out, struct gsp_error *err)
{
    struct merge_build *m = w->m;
    auto_target t = {0};
    const struct chain_block *blocks;
    uint32_t n;
    int rc = chain_blocks(w->in, &blocks, &n, err);
    out->size = 0;
    out->crc = 0;
    if (rc != 0 || (n == 0 && out->n_blocks <= 0))
        return rc;
    header_stream_reset(w->headers);
    rc = target_open(&t, m, out, err);
    if (rc == 0)
        rc = append_blocks(w, &t, i, blocks, n, err);
    if (rc == 0)
        rc = store_put_commit(&t.put, t.size, err);
    if (rc == 0)
        rc = header_map_append(m->map, w->headers, (uint32_t)t.size, out, err);
    if (rc != 0)
        return rc;
    out->size = (int64_t)t.size;
    out->crc = t.crc;
    out->n_blocks = out->n_headers;
    out->compress_alg = m->codec_name;
    atomic_fetch_add(&m->built, 1);
    return 0;
}

/* ---- whole in one member ------------------------------------------------------------------------- */

/* Where links do not work. The checksum of a control file is the one inside it, which was validated. */
static int
copy_bytes(struct builder *w, size_t member, const struct file_entry *from, const struct file_entry *out,
    struct gsp_error *err)
{
    struct stored_reader *in;
    auto_target t = {0};
    const uint8_t *bytes = NULL;
    int is_control = from->external_dir_num == 0 && strcmp(from->path, "global/pg_control") == 0;
    int rc = chain_stored_reader(w->in, member, &in, err);
    if (rc == 0)
        rc = stored_reader_begin(in, from, 0, err);
    if (rc == 0)
        rc = target_open(&t, w->m, out, err);
    while (rc == 0) {
        rc = jobs_check(&w->m->jobs, err);
        int64_t got = rc == 0 ? stored_reader_bytes(in, &bytes, err) : rc;
        if (got <= 0) {
            rc = (int)got;
            break;
        }
        rc = store_put_pwrite(&t.put, bytes, (size_t)got, in->offset - (uint64_t)got, err);
    }
    uint64_t size = rc == 0 ? in->offset : 0;
    if (rc == 0 && (!is_control || size != (uint64_t)from->size))
        rc = stored_reader_end(in, err);
    if (rc == 0)
        atomic_fetch_add(&w->m->copied, 1);
    return rc == 0 ? store_put_commit(&t.put, size, err) : rc;
}

static int
link_or_copy(struct builder *w, size_t member, const struct file_entry *from, const struct file_entry *out,
    struct gsp_error *err)
{
    struct merge_build *m = w->m;
    struct gsp_error problem = {0};
    char old[PATH_SIZE], path[PATH_SIZE];
    int rc = stored_path(&m->chain->members[member], from, old, err);
    if (rc == 0)
        rc = free_name(m, out, path, err);
    if (rc != 0)
        return rc;
    rc = store_link(&m->e->repo, old, path, &problem);
    if (rc == GSP_E_UNSUPPORTED)
        return copy_bytes(w, member, from, out, err);
    if (rc != 0)
        *err = problem;
    else
        atomic_fetch_add(&m->linked, 1);
    return rc;
}

/* The records of its pages come along as they are. */
static int
copy_headers(
    struct builder *w, size_t member, const struct file_entry *from, struct file_entry *out, struct gsp_error *err)
{
    struct merge_build *m = w->m;
    char path[PATH_SIZE];
    int rc = 0;
    if (from->n_headers == 0)
        return 0;
    if (w->map.handle == NULL || w->map_member != member) {
        store_file_close(&w->map);
        w->map_member = member;
        rc = path_join(path, m->chain->members[member].dir, "page_header_map")
                 ? store_file_open(&m->e->repo, path, &w->map, err)
                 : gsp_fail(err, GSP_E_BUG, 0, "path too long");
    }
    return rc == 0 ? header_map_copy(m->map, &w->map, from, out, err) : rc;
}

static int
take_whole(
    struct builder *w, size_t member, const struct file_entry *from, struct file_entry *out, struct gsp_error *err)
{
    int rc = link_or_copy(w, member, from, out, err);
    if (rc == 0)
        rc = copy_headers(w, member, from, out, err);
    if (rc != 0)
        return rc;
    out->size = from->size;
    out->crc = from->crc;
    out->n_blocks = from->n_blocks;
    out->compress_alg = from->compress_alg;
    progress_add(&w->m->progress, (uint64_t)from->size, 0);
    return 0;
}

/* ---- the ledger ---------------------------------------------------------------------------------- */

/* Under the lock. What could not be made durable once is not tried again: it may be lost already. */
static int
close_part(struct merge_build *m, struct gsp_error *err)
{
    char path[PATH_SIZE];
    uint64_t map_size = 0;
    if (m->n_finished == 0 || m->ledger_failed)
        return 0;
    int rc = path_join(path, m->dir, MERGE_LEDGER) ? header_map_flush(m->map, &map_size, err)
                                                   : gsp_fail(err, GSP_E_BUG, 0, "path too long");
    if (rc == 0)
        rc = sync_stored(&m->e->repo, m->dir, m->finished, m->n_finished, err);
    if (rc == 0)
        rc = merge_ledger_append(&m->e->repo, path, m->ledger, m->finished, m->n_finished, map_size, err);
    m->ledger_failed |= rc != 0;
    m->n_finished = 0;
    m->finished_bytes = 0;
    return rc;
}

static int
note_finished(struct merge_build *m, const struct file_entry *out, struct gsp_error *err)
{
    (void)pthread_mutex_lock(&m->lock);
    m->finished[m->n_finished++] = out;
    m->finished_bytes += (uint64_t)out->size;
    int rc = m->n_finished == PART_FILES || m->finished_bytes >= PART_BYTES ? close_part(m, err) : 0;
    (void)pthread_mutex_unlock(&m->lock);
    return rc;
}

/* ---- the workers --------------------------------------------------------------------------------- */

static int
build_file(struct builder *w, size_t i, struct gsp_error *err)
{
    struct merge_build *m = w->m;
    struct file_entry *out = &m->list->entries[i];
    const struct file_entry *from;
    size_t member;
    int rc = chain_find(w->in, i, &member, &from, err);
    if (rc != 0)
        return rc;
    out->n_headers = 0;
    if (member != CHAIN_NONE && from->size > 0)
        rc = take_whole(w, member, from, out, err);
    else if (member == CHAIN_NONE && chain_entry_is_paged(out))
        rc = put_together(w, i, out, err);
    else
        out->size = 0;
    return rc == 0 && out->size > 0 ? note_finished(m, out, err) : rc;
}

static int
build_item(void *arg, void *worker, size_t k, struct gsp_error *err)
{
    struct merge_build *m = arg;
    size_t i = m->order[k];
    const struct file_entry *f = chain_entry(m->chain, 0, i);
    int rc = 0;
    if (!file_entry_is_dir(f) && f->size != 0 && !m->is_done[i])
        rc = build_file(worker, i, err);
    progress_add(&m->progress, 0, 1);
    return rc != 0 ? gsp_prefix(err, "file '%s'", f->path) : 0;
}

static int
builder_open(void *arg, void **ret, struct gsp_error *err)
{
    struct merge_build *m = arg;
    struct builder *w = calloc(1, sizeof *w);
    if (w == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    *ret = w;
    w->m = m;
    int rc = chain_reader_new(m->chain, &w->in, err);
    if (rc == 0)
        rc = page_batch_init(&w->out, m->chain->members[0].page_size, codec_ops(&m->codec),
            m->codec.plugin != NULL ? m->codec.plugin->state : NULL, m->codec.opts, err);
    if (rc == 0)
        rc = header_stream_new(&w->headers, err);
    if (rc == 0) {
        w->records = calloc(w->out.cap, sizeof *w->records);
        if (w->records == NULL)
            rc = gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    return rc;
}

static void
builder_close(void *worker)
{
    struct builder *w = worker;
    if (w == NULL)
        return;
    chain_reader_free(w->in);
    store_file_close(&w->map);
    page_batch_free(&w->out);
    header_stream_free(w->headers);
    free(w->records);
    free(w);
}

static int
build_tick(void *arg, struct gsp_error *err)
{
    struct merge_build *m = arg;
    (void)err;
    progress_tick(&m->progress);
    return 0;
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static uint64_t
weight(const struct merge_build *m, const struct file_entry *f)
{
    uint64_t page_size = m->chain->members[0].page_size;
    if (f->n_blocks > 0 && f->is_datafile)
        return (uint64_t)f->n_blocks * page_size;
    return f->size > 0 ? (uint64_t)f->size : 0;
}

static int
heaviest_first(const void *a, const void *b, void *arg)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    uint64_t x = weight(arg, chain_entry(((struct merge_build *)arg)->chain, 0, i));
    uint64_t y = weight(arg, chain_entry(((struct merge_build *)arg)->chain, 0, j));
    return x != y ? (x < y ? 1 : -1) : (i > j) - (i < j);
}

/* Take over what the ledger has. */
static int
take_finished(struct merge_build *m, struct gsp_error *err)
{
    const struct filelist *done = &m->ledger->done;
    for (size_t d = 0, i = 0; d < done->n; d++) {
        while (i < m->list->n && filelist_compare(&m->list->entries[i], &done->entries[d]) < 0)
            i++;
        if (i == m->list->n || filelist_compare(&m->list->entries[i], &done->entries[d]) != 0)
            return gsp_fail(
                err, GSP_E_CORRUPT, 0, "the ledger in '%s' names another file: '%s'", m->dir, done->entries[d].path);
        m->list->entries[i] = done->entries[d];
        m->list->entries[i].linked = chain_entry(m->chain, 0, i)->linked;
        m->is_done[i] = 1;
        atomic_fetch_add(&m->kept, 1);
    }
    return 0;
}

static int
make_root(struct merge_build *m, const char *name, struct gsp_error *err)
{
    char path[PATH_SIZE];
    int rc = path_join(path, m->dir, name) ? 0 : gsp_fail(err, GSP_E_BUG, 0, "path too long");
    return rc == 0 ? store_mkdir(&m->e->repo, path, 0700, GSP_MKDIR_PARENTS, err) : rc;
}

static int
make_directories(struct merge_build *m, struct gsp_error *err)
{
    char path[PATH_SIZE], name[64];
    auto_external_dirs external = {0};
    int rc = make_root(m, "database", err);
    if (rc == 0)
        rc = external_dirs_parse(m->chain->members[0].b->external_dirs, &external, err);
    for (size_t i = 1; i <= external.n && rc == 0; i++) {
        (void)snprintf(name, sizeof name, EXTERNAL_DIR_FORMAT, (int32_t)i);
        rc = make_root(m, name, err);
    }
    for (size_t i = 0; i < m->list->n && rc == 0; i++) {
        const struct file_entry *f = &m->list->entries[i];
        if (f->external_dir_num > 0 && (size_t)f->external_dir_num > external.n)
            return gsp_fail(err, GSP_E_CORRUPT, 0,
                "the backup names %zu external directories, and file '%s' belongs to number %" PRId32, external.n,
                f->path, f->external_dir_num);
        if (!file_entry_is_dir(f))
            continue;
        rc = stored_path(&m->target, f, path, err);
        if (rc == 0)
            rc = store_mkdir(&m->e->repo, path, 0700, GSP_MKDIR_PARENTS, err);
        if (rc == 0)
            rc = cancel_check(err);
    }
    return rc;
}

/* Everything that is needed but the header map. */
static int
prepare(struct merge_build *m, struct gsp_error *err)
{
    const struct filelist *list = &m->chain->members[0].list;
    const struct backup *b = m->chain->members[0].b;
    int n = snprintf(m->target.dir, sizeof m->target.dir, "%s", m->dir);
    if (n >= (int)sizeof m->target.dir)
        return gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", m->dir);
    m->codec_name = b->compress_alg != NULL ? b->compress_alg : "none";
    m->order = calloc(list->n + 1, sizeof *m->order);
    m->is_done = calloc(list->n + 1, 1);
    m->finished = calloc(PART_FILES, sizeof(const struct file_entry *));
    m->list->entries = calloc(list->n + 1, sizeof *m->list->entries);
    if (m->order == NULL || m->is_done == NULL || m->finished == NULL || m->list->entries == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    m->list->n = m->list->cap = list->n;
    memcpy(m->list->entries, list->entries, list->n * sizeof *list->entries);
    for (size_t i = 0; i < list->n; i++)
        m->order[i] = (uint32_t)i;
    qsort_r(m->order, list->n, sizeof *m->order, heaviest_first, m);
    int rc = take_finished(m, err);
    if (rc == 0)
        rc = codec_open(m->e, m->codec_name, &m->codec, err);
    return rc == 0 ? make_directories(m, err) : rc;
}

static int
open_map(struct merge_build *m, char path[PATH_SIZE], struct gsp_error *err)
{
    struct store *repo = &m->e->repo;
    if (!path_join(path, m->dir, "page_header_map"))
        return gsp_fail(err, GSP_E_BUG, 0, "path too long");
    int rc = m->ledger->map_size == 0 ? store_write_all(repo, path, 0600, 0, "", 0, err) : 0;
    return rc == 0 ? header_map_reopen(repo, path, m->ledger->map_size, &m->map, err) : rc;
}

static int
run_workers(struct merge_build *m, struct gsp_error *err)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < m->list->n; i++)
        bytes += m->is_done[i] ? 0 : weight(m, &m->list->entries[i]);
    m->jobs = (struct jobs){.n_items = m->list->n,
        .threads = m->e->threads,
        .arg = m,
        .worker_open = builder_open,
        .worker_close = builder_close,
        .item = build_item,
        .tick = build_tick};
    progress_begin(&m->progress, "Merging", bytes, m->list->n, m->e->progress);
    int rc = jobs_run(&m->jobs, err);
    progress_end(&m->progress);
    return rc;
}

int
merge_build_run(struct merge_build *m, struct gsp_error *err)
{
    char map_path[PATH_SIZE];
    struct gsp_error ignored = {0};
    int rc = prepare(m, err);
    if (rc == 0)
        rc = open_map(m, map_path, err);
    if (rc == 0) {
        (void)pthread_mutex_init(&m->lock, NULL);
        rc = run_workers(m, err);
        if (rc != 0)
            (void)close_part(m, &ignored); /* the next try goes on from there */
        (void)pthread_mutex_destroy(&m->lock);
    }
    uint64_t map_size = 0;
    if (rc == 0)
        rc = header_map_flush(m->map, &map_size, err);
    if (rc == 0)
        rc = header_map_commit(m->map, err);
    else
        header_map_abort(m->map);
    m->map = NULL;
    if (rc == 0 && map_size == 0)
        rc = store_remove(&m->e->repo, map_path, err);
    codec_close(&m->codec);
    free(m->order);
    free(m->is_done);
    free(m->finished);
    return rc;
}

uint64_t
merge_bytes_to_build(const struct chain *chain, int can_link)
{
    uint64_t total = 0, stride = chain->members[0].page_size + PAGE_FRAME_BYTES;
    for (size_t i = 0; i < chain->members[0].list.n; i++) {
        const struct file_entry *f = chain_entry(chain, 0, i);
        uint64_t stored = 0, parts = 0;
        /* What is kept of the older lists is what is still needed. */
        for (size_t k = 0; k < chain->n && f->size != 0; k++) {
            const struct file_entry *part = chain_entry(chain, k, i);
            stored += part != NULL && part->size > 0 ? (uint64_t)part->size : 0;
            parts += part != NULL && part->size > 0;
        }
        if (parts > 1 || !can_link) {
            uint64_t most = chain_entry_is_paged(f) && f->n_blocks > 0 ? (uint64_t)f->n_blocks * stride : stored;
            total += stored < most ? stored : most;
        }
    }
    return total;
}
