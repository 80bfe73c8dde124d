/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/engine/change_map.h"
#include "core/engine/copy_worker.h"

enum { REREAD_PAUSE_MS = 10, REPORTED_PAGES_MAX = 50 /* then only counted */ };

static int
is_bad(uint8_t state)
{
    return state == GSP_PAGE_HEADER || state == GSP_PAGE_CHECKSUM;
}

static uint32_t
count_bad(const struct page_batch *b)
{
    uint32_t bad = 0;
    for (uint32_t i = 0; i < b->n; i++)
        bad += (uint32_t)is_bad(b->state[i]);
    return bad;
}

void
copy_pause_before_reread(void)
{
    struct timespec ts = {.tv_nsec = REREAD_PAUSE_MS * 1000000L};
    (void)nanosleep(&ts, NULL);
}

/* Read the bad pages of a batch again, only those, until they are whole: the server may be writing them. */
static int
reread_torn(struct copier *w, struct store_file *in, uint64_t base_block, struct gsp_error *err)
{
    struct page_batch *b = &w->batch;
    for (int round = 0; round < COPY_REREAD_TIMES && count_bad(b) > 0; round++) {
        int rc = jobs_check(&w->copy->jobs, err);
        if (rc != 0)
            return rc;
        if (round > 0)
            copy_pause_before_reread();
        for (uint32_t i = 0; i < b->n; i++) {
            if (!is_bad(b->state[i]))
                continue;
            atomic_fetch_add_explicit(&w->copy->repeated_reads, 1, memory_order_relaxed);
            int64_t got =
                store_file_pread(in, page_batch_page(b, i), b->page_size, (uint64_t)b->block[i] * b->page_size, err);
            if (got < 0)
                return (int)got;
            if (got < (int64_t)b->page_size) {
                /* Truncated away meanwhile: the file ends here, WAL knows the rest. */
                b->n = i;
                break;
            }
        }
        page_batch_check(b, w->copy->side->dialect, &w->copy->side->cluster, base_block);
    }
    return 0;
}

static void
note_torn_lsn(struct copy *c, gsp_lsn lsn)
{
    uint_fast64_t seen = atomic_load(&c->torn_lsn);
    while (lsn > seen && !atomic_compare_exchange_weak(&c->torn_lsn, &seen, lsn)) {
    }
}

/* What stays bad after all repeats: newer than the start it is replayed by WAL, otherwise it is corrupt. */
static void
judge_bad_pages(struct copier *w, const struct source_file *f)
{
    struct copy *c = w->copy;
    struct page_batch *b = &w->batch;
    for (uint32_t i = 0; i < b->n; i++) {
        if (!is_bad(b->state[i]))
            continue;
        if (b->lsn[i] > c->start_lsn && b->state[i] == GSP_PAGE_CHECKSUM) {
            note_torn_lsn(c, b->lsn[i]);
            continue;
        }
        if (atomic_fetch_add(&c->corrupt_pages, 1) >= REPORTED_PAGES_MAX)
            continue;
        if (b->state[i] == GSP_PAGE_HEADER)
            log_warning("Corruption detected in file \"%s\", block %u: page header invalid, LSN " GSP_LSN_FMT,
                f->source, b->block[i], GSP_LSN_ARGS(b->lsn[i]));
        else
            log_warning("Corruption detected in file \"%s\", block %u: page verification failed, LSN " GSP_LSN_FMT
                        ", stored checksum %u, calculated %u",
                f->source, b->block[i], GSP_LSN_ARGS(b->lsn[i]), b->stored_sum[i], b->sum[i]);
    }
}

/* A file that is taken whole though the parent has it: may its stored bytes be the same? Their checksum tells. */
static int
may_be_as_in_parent(const struct copier *w, const struct source_file *f, uint32_t n_blocks, uint64_t size)
{
    const struct file_entry *p = f->parent;
    if (p == NULL || f->plan != GSP_PLAN_ALL || p->n_blocks != (int32_t)n_blocks ||
        strcmp(p->compress_alg, w->copy->codec_name) != 0)
        return 0;
    return p->size == FILE_UNCHANGED ? p->crc != 0 : p->n_headers == p->n_blocks && (uint64_t)p->size == size;
}

static int
store_batch(struct copier *w, struct source_file *f, struct target *t, struct gsp_error *err)
{
    struct page_batch *b = &w->batch;
    const uint8_t *bytes;
    uint32_t len;
    int rc = page_batch_frame(b, &bytes, &len, err);
    /* All of it in one batch: nothing need be written. */
    if (rc == 0 && b->n == f->size / b->page_size && may_be_as_in_parent(w, f, b->n, len) &&
        crc32c(0, bytes, len) == f->parent->crc) {
        /* The checksum goes on to the next backup, which has nothing else to compare with. */
        f->entry.crc = f->parent->crc;
        return 0;
    }
    if (rc == 0)
        rc = target_open(t, w->copy, f, err);
    if (rc != 0)
        return rc;
    if (t->size + len > UINT32_MAX / 2)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "file '%s' is too large for the catalog format", f->source);
    for (uint32_t i = 0; i < b->n; i++)
        w->records[i] = (struct page_header){.lsn = b->lsn[i],
            .block = b->block[i],
            .pos = (uint32_t)t->size + b->out_span[i].off - PAGE_FRAME_BYTES,
            .checksum = b->sum[i]};
    atomic_fetch_add_explicit(&w->copy->stored_pages, b->n, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->copy->uncompressed_bytes, (uint64_t)b->n * b->page_size, memory_order_relaxed);
    rc = header_stream_add(w->headers, w->records, b->n, err);
    return rc == 0 ? target_append(t, bytes, len, err) : rc;
}

/* ---- which blocks ------------------------------------------------------------------------------ */

/* The blocks of one file that are wanted, and how far they were read. */
struct wanted {
    struct source_file *f;
    uint64_t base_block;    /* of the segment within its relation */
    uint32_t n_blocks;      /* that the file has, as far as it is known */
    uint32_t parent_blocks; /* and those from here on are new */
    uint32_t next;          /* the first that was not looked at */
    int samples;            /* instead of the wanted ones a sample of the others */
};

/* The first wanted block at or behind `from`, n_blocks when none follows. */
static uint32_t
next_changed(const struct wanted *want, uint32_t from)
{
    if (want->f->plan != GSP_PLAN_BLOCKS || from >= want->parent_blocks)
        return from;
    uint64_t found = change_map_next(want->f->changes, want->base_block + from);
    found = found == UINT64_MAX ? want->n_blocks : found - want->base_block;
    if (found > want->parent_blocks)
        found = want->parent_blocks;
    return found < want->n_blocks ? (uint32_t)found : want->n_blocks;
}

static uint32_t
next_sample(const struct copier *w, const struct wanted *want, uint32_t from)
{
    while (from < want->n_blocks && (next_changed(want, from) == from || !map_check_wants(w->check, want->f, from)))
        from++;
    return from;
}

/* Fill the batch with wanted blocks. out ret_short: block where the file ended too early, n_blocks = it did not */
static int
fill_batch(struct copier *w, struct wanted *want, struct store_file *in, uint32_t *ret_short, struct gsp_error *err)
{
    struct page_batch *b = &w->batch;
    *ret_short = want->n_blocks;
    page_batch_reset(b);
    while (b->n < b->cap && want->next < want->n_blocks) {
        uint32_t first = want->samples ? next_sample(w, want, want->next) : next_changed(want, want->next);
        uint32_t end = first, most = b->cap - b->n;
        if (want->f->plan != GSP_PLAN_BLOCKS)
            end = want->n_blocks - first < most ? want->n_blocks : first + most;
        while (end < want->n_blocks && end - first < most &&
               (want->samples ? end == first : next_changed(want, end) == end))
            end++;
        uint32_t had = b->n;
        int rc = end > first ? page_batch_add(b, in, first, end - first, err) : 0;
        if (rc != 0)
            return rc;
        want->next = end;
        if (b->n - had < end - first) {
            *ret_short = want->next = first + (b->n - had);
            return 0;
        }
    }
    return 0;
}

/* ---- one file ---------------------------------------------------------------------------------- */

/* WAL begins with its second segment: an LSN before that is none. (PostgreSQL 14 to 16 leave such ones in pages of GiST
 * indexes that were built by sorting.) */
static int
has_lsn(const struct copier *w, gsp_lsn lsn)
{
    return lsn != 0 && lsn >= w->copy->side->cluster.wal_segment_size;
}

/* Leave in the batch the pages that are not older than the parent, those without an LSN, and those behind its end. An
 * older one should be the parent's own; where files were exchanged below the server, or brought back from another time,
 * it is not. */
static int
drop_old_pages(struct copier *w, const struct wanted *want, struct gsp_error *err)
{
    struct page_batch *b = &w->batch;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < b->n; i++) {
        int is_same = 0;
        if (b->block[i] < want->parent_blocks && has_lsn(w, b->lsn[i]) && b->lsn[i] < want->f->plan_lsn)
            is_same = w->check == NULL || map_check_page(w->check, want->f, b->block[i], b->lsn[i], b->sum[i], err);
        if (err->code != 0)
            return err->code;
        if (!is_same)
            page_batch_move(b, i, kept++);
    }
    b->n = kept;
    return 0;
}

static int
check_samples(struct copier *w, const struct wanted *want, struct gsp_error *err)
{
    struct page_batch *b = &w->batch;
    for (uint32_t i = 0; i < b->n; i++) {
        if (b->lsn[i] > w->copy->start_lsn)
            continue; /* changed behind the start: WAL's business */
        int is_same = map_check_page(w->check, want->f, b->block[i], b->lsn[i], b->sum[i], err);
        if (is_same <= 0)
            return is_same < 0 ? is_same : map_check_fail(w->check, b->block[i], b->lsn[i], err);
    }
    return 0;
}

/* One batch: read, check, read again what is torn, store. */
static int
copy_batch(
    struct copier *w, struct wanted *want, struct store_file *in, struct target *t, int *tries, struct gsp_error *err)
{
    struct page_batch *b = &w->batch;
    const struct data_side *side = w->copy->side;
    uint32_t short_at, before = want->next, filled;
    int rc = jobs_check(&w->copy->jobs, err);
    if (rc == 0)
        rc = fill_batch(w, want, in, &short_at, err);
    if (rc != 0)
        return rc;
    filled = b->n;
    page_batch_check(b, side->dialect, &side->cluster, want->base_block);
    if (count_bad(b) > 0) {
        rc = reread_torn(w, in, want->base_block, err);
        if (rc != 0)
            return rc;
        judge_bad_pages(w, want->f);
    }
    if (b->n < filled)
        short_at = want->next = b->block[b->n]; /* cut while it was read again */
    if (want->samples) {
        rc = check_samples(w, want, err);
    } else {
        if (want->f->plan == GSP_PLAN_LSN)
            rc = drop_old_pages(w, want, err);
        if (rc == 0 && b->n > 0)
            rc = store_batch(w, want->f, t, err);
        progress_add(&w->copy->progress, (uint64_t)(want->next - before) * b->page_size, 0);
    }
    if (rc != 0 || short_at == want->n_blocks)
        return rc;
    rc = copy_goes_on(w, want->f, (uint64_t)short_at * b->page_size, b->page_size, tries, err);
    if (rc == 0)
        want->n_blocks = short_at;
    return rc < 0 ? rc : 0;
}

/* Of a longer file it is known once all of it is stored. */
static void
take_back(struct copier *w, const struct wanted *want, struct target *t)
{
    store_put_abort(&t->put);
    atomic_fetch_sub_explicit(&w->copy->stored_pages, want->n_blocks, memory_order_relaxed);
    atomic_fetch_sub_explicit(
        &w->copy->uncompressed_bytes, (uint64_t)want->n_blocks * w->batch.page_size, memory_order_relaxed);
    want->f->entry.crc = t->crc;
    *t = (struct target){0};
}

/* What the parent has all of is listed without content. */
static int
finish_entry(struct copier *w, const struct wanted *want, struct target *t, struct gsp_error *err)
{
    struct source_file *f = want->f;
    f->entry.n_blocks = (int32_t)want->n_blocks;
    if (t->size > 0 && may_be_as_in_parent(w, f, want->n_blocks, t->size) && t->crc == f->parent->crc)
        take_back(w, want, t);
    if (t->size == 0 && f->parent != NULL && want->n_blocks > 0) {
        f->entry.size = FILE_UNCHANGED;
        f->entry.compress_alg = f->parent->compress_alg;
        return 0;
    }
    f->entry.compress_alg = w->copy->codec_name;
    return t->size > 0 ? header_map_append(w->copy->map, w->headers, (uint32_t)t->size, &f->entry, err) : 0;
}

/* Blocks that were added after the scan are WAL's business. */
static struct wanted
wanted_of(const struct copier *w, struct source_file *f)
{
    return (struct wanted){.f = f,
        .base_block = (uint64_t)f->entry.segment * w->copy->side->cluster.segment_blocks,
        .n_blocks = (uint32_t)(f->size / w->batch.page_size),
        .parent_blocks = f->parent != NULL && f->parent->n_blocks > 0 ? (uint32_t)f->parent->n_blocks : 0};
}

int
copy_is_known(struct copier *w, struct source_file *f, struct gsp_error *err)
{
    struct wanted want = wanted_of(w, f);
    struct target none = {0};
    if (f->plan != GSP_PLAN_BLOCKS || want.n_blocks == 0 || next_changed(&want, 0) < want.n_blocks ||
        (w->check != NULL && w->copy->check->per_mille > 0))
        return 0;
    progress_add(&w->copy->progress, f->size, 0);
    atomic_fetch_add_explicit(&w->copy->total_pages, want.n_blocks, memory_order_relaxed);
    return finish_entry(w, &want, &none, err) == 0 ? 1 : err->code;
}

int
copy_pages(struct copier *w, struct source_file *f, struct store_file *in, struct target *t, struct gsp_error *err)
{
    struct copy *c = w->copy;
    uint32_t page_size = w->batch.page_size;
    const struct gsp_cluster *cluster = &c->side->cluster;
    int tries = 0, rc = 0;
    if (f->size / page_size > cluster->segment_blocks)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "file '%s' is longer than a segment", f->source);
    if (f->size % page_size != 0)
        log_log(
            "Size of file \"%s\" is not a multiple of the page size; the server does not read the part behind the last "
            "whole page",
            f->source);
    struct wanted want = wanted_of(w, f);
    header_stream_reset(w->headers);
    while (rc == 0 && want.next < want.n_blocks)
        rc = copy_batch(w, &want, in, t, &tries, err);
    if (rc == 0 && w->check != NULL && f->plan == GSP_PLAN_BLOCKS && c->check->per_mille > 0) {
        want.samples = 1;
        want.next = 0;
        while (rc == 0 && want.next < want.n_blocks)
            rc = copy_batch(w, &want, in, t, &tries, err);
    }
    if (rc == 0)
        rc = finish_entry(w, &want, t, err);
    atomic_fetch_add_explicit(&c->total_pages, want.n_blocks, memory_order_relaxed);
    return rc;
}
