/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/copy_worker.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/base/path.h"

enum {
    SMALL_FILE_BYTES = 64 * 1024,
    SHORT_READS_MAX = 3 /* of one file, with nothing to explain them */
};

static void
target_close(struct target *t)
{
    store_put_abort(&t->put);
}

static int
target_path(const struct copy *c, const struct source_file *f, char path[PATH_SIZE], struct gsp_error *err)
{
    int n = f->entry.external_dir_num > 0 ? snprintf(path, PATH_SIZE, "%s/" EXTERNAL_DIR_FORMAT "/%s", c->dir,
                                                f->entry.external_dir_num, f->entry.path)
                                          : snprintf(path, PATH_SIZE, "%s/%s", c->database_dir, f->entry.path);
    return n < PATH_SIZE ? 0 : gsp_fail(err, GSP_E_UNSUPPORTED, 0, "path too long in the catalog: '%s'", f->entry.path);
}

/* Where the file is read. */
static struct store *
source_store(const struct copy *c, const struct source_file *f)
{
    int32_t number = f->entry.external_dir_num;
    return number > 0 ? &c->externals[number - 1] : &c->side->store;
}

int
target_open(struct target *t, const struct copy *c, const struct source_file *f, struct gsp_error *err)
{
    char path[PATH_SIZE];
    if (t->put.handle != NULL)
        return 0;
    int rc = target_path(c, f, path, err);
    return rc == 0 ? store_put_begin(c->repo, path, 0600, 0, &t->put, err) : rc;
}

int
target_append(struct target *t, const void *data, size_t len, struct gsp_error *err)
{
    int rc = store_put_pwrite(&t->put, data, len, t->size, err);
    if (rc == 0) {
        t->crc = crc32c(t->crc, data, len);
        t->size += len;
    }
    return rc;
}

/* ---- other files ------------------------------------------------------------------------------- */

int
copy_goes_on(
    struct copier *w, const struct source_file *f, uint64_t end, uint32_t unit, int *tries, struct gsp_error *err)
{
    struct gsp_stat st;
    struct gsp_error gone = {0};
    int rc = store_stat(source_store(w->copy, f), f->source, &st, &gone);
    if (rc != 0 && rc != GSP_E_NOENT)
        *err = gone;
    if (rc != 0)
        return rc == GSP_E_NOENT ? 0 : rc;
    if (st.size < end + unit)
        return 0;
    if (++*tries <= SHORT_READS_MAX)
        return 1;
    return gsp_fail(
        err, GSP_E_IO, 0, "reading stops at byte %" PRIu64 ", and the file has %" PRIu64 " bytes", end, st.size);
}

/* Zeros become holes of the stored file. */
static int
append_sparse(struct target *t, const uint8_t *data, size_t len, struct gsp_error *err)
{
    int rc = store_put_sparse(&t->put, data, len, t->size, err);
    if (rc == 0) {
        t->crc = crc32c(t->crc, data, len);
        t->size += len;
    }
    return rc;
}

/* The holes of a large file are counted, not read. Moves the target to where the next data may be. */
static int
pass_hole(struct copier *w, const struct source_file *f, struct store_file *in, struct target *t, struct gsp_error *err)
{
    uint64_t next;
    if (f->size <= SPARSE_FILE_MIN)
        return 0;
    int rc = store_file_next_data(in, t->size, &next, err);
    if (rc != 0 || next == t->size)
        return rc;
    rc = target_open(t, w->copy, f, err);
    if (rc != 0)
        return rc;
    t->crc = crc32c_zeros(t->crc, next - t->size);
    progress_add(&w->copy->progress, next - t->size, 0);
    atomic_fetch_add_explicit(&w->copy->uncompressed_bytes, next - t->size, memory_order_relaxed);
    t->size = next;
    return 0;
}

/* CRC-32C of the whole file as it is now. */
static int
content_crc(struct copier *w, struct store_file *in, uint64_t size, uint32_t *ret, struct gsp_error *err)
{
    uint64_t at = 0, next;
    *ret = 0;
    for (;;) {
        int rc = jobs_check(&w->copy->jobs, err);
        if (rc == 0 && size > SPARSE_FILE_MIN) {
            rc = store_file_next_data(in, at, &next, err);
            if (rc == 0) {
                *ret = crc32c_zeros(*ret, next - at);
                at = next;
            }
        }
        if (rc != 0)
            return rc;
        int64_t got = store_file_pread(in, w->batch.raw, PAGE_BATCH_BYTES, at, err);
        if (got <= 0)
            return (int)got;
        *ret = crc32c(*ret, w->batch.raw, (size_t)got);
        at += (uint64_t)got;
    }
}

/* Has the parent the same bytes? Asked by checksum, as times of files prove nothing, but not by checksum alone: a
 * server puts the CRC-32C of parts behind them (pg_filenode.map; undo/undometa of openGauss, part after part), which
 * makes that of the whole the same whatever stands in them. So what a cluster has that was written since the parent
 * began is taken, and small files are taken without asking. 1, 0, or a code. */
static int
is_same_in_parent(struct copier *w, const struct source_file *f, struct store_file *in, struct gsp_error *err)
{
    uint32_t crc;
    if (f->parent == NULL || f->size <= SMALL_FILE_BYTES || f->parent->size == 0 ||
        (f->entry.external_dir_num == 0 && f->mtime_us > w->copy->parent_start_us) ||
        (f->parent->size > 0 && (uint64_t)f->parent->size != f->size))
        return 0;
    int rc = content_crc(w, in, f->size, &crc, err);
    return rc == 0 ? crc == f->parent->crc : rc;
}

static int
copy_bytes(struct copier *w, struct source_file *f, struct store_file *in, struct target *t, struct gsp_error *err)
{
    struct copy *c = w->copy;
    uint8_t *buffer = w->batch.raw;
    int tries = 0;
    for (;;) {
        int rc = jobs_check(&c->jobs, err);
        if (rc == 0)
            rc = pass_hole(w, f, in, t, err);
        if (rc != 0)
            return rc;
        int64_t got = store_file_pread(in, buffer, PAGE_BATCH_BYTES, t->size, err);
        if (got < 0)
            return (int)got;
        rc = got > 0 ? target_open(t, c, f, err) : 0;
        if (rc == 0 && got > 0)
            rc = append_sparse(t, buffer, (size_t)got, err);
        if (rc != 0)
            return rc;
        progress_add(&c->progress, (uint64_t)got, 0);
        atomic_fetch_add_explicit(&c->uncompressed_bytes, (uint64_t)got, memory_order_relaxed);
        if (got == PAGE_BATCH_BYTES)
            continue;
        rc = t->size < f->size ? copy_goes_on(w, f, t->size, 1, &tries, err) : 0;
        if (rc <= 0)
            return rc;
    }
}

/* Nobody forbids people to put something else in the place of a file in their directories. */
static int
is_replaced(const struct copy *c, const struct source_file *f)
{
    struct gsp_stat st;
    struct gsp_error ignored = {0};
    return f->entry.external_dir_num > 0 && store_stat(source_store(c, f), f->source, &st, &ignored) == 0 &&
           st.type != GSP_FILE_REGULAR;
}

/* ---- the worker -------------------------------------------------------------------------------- */

static int
copy_file(struct copier *w, struct source_file *f, struct gsp_error *err)
{
    auto_store_file in = {0};
    struct target t __attribute__((cleanup(target_close))) = {0};
    struct gsp_error open_err = {0};
    int is_known = f->action == GSP_CLASS_PAGES ? copy_is_known(w, f, err) : 0;
    if (is_known != 0)
        return is_known < 0 ? is_known : 0;
    int rc = store_file_open(source_store(w->copy, f), f->source, &in, &open_err);
    if (rc == GSP_E_NOENT || (rc != 0 && is_replaced(w->copy, f))) {
        f->vanished = 1;
        log_log("File not found: \"%s\"", f->source);
        return 0;
    }
    if (rc != 0) {
        *err = open_err;
        return rc;
    }
    if (f->action == GSP_CLASS_PAGES) {
        rc = copy_pages(w, f, &in, &t, err);
    } else {
        int is_same = is_same_in_parent(w, f, &in, err);
        if (is_same > 0) {
            f->entry.size = FILE_UNCHANGED;
            f->entry.crc = f->parent->crc;
        }
        rc = is_same == 0 ? copy_bytes(w, f, &in, &t, err) : is_same < 0 ? is_same : 0;
    }
    if (rc == 0 && t.put.handle != NULL)
        rc = store_put_commit(&t.put, t.size, err);
    if (rc != 0 || f->entry.size == FILE_UNCHANGED)
        return rc;
    f->entry.size = (int64_t)t.size;
    f->entry.crc = t.crc;
    return 0;
}

static int
copier_open(void *arg, void **ret, struct gsp_error *err)
{
    struct copy *c = arg;
    struct copier *w = calloc(1, sizeof *w);
    if (w == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    *ret = w;
    w->copy = c;
    int rc = page_batch_init(&w->batch, c->side->cluster.page_size, codec_ops(c->codec),
        c->codec->plugin != NULL ? c->codec->plugin->state : NULL, c->codec->opts, err);
    if (rc == 0)
        rc = header_stream_new(&w->headers, err);
    if (rc == 0 && c->check != NULL)
        rc = map_check_new(c->check, &w->check, err);
    if (rc == 0) {
        w->records = calloc(w->batch.cap, sizeof *w->records);
        if (w->records == NULL)
            rc = gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    return rc;
}

static void
copier_close(void *worker)
{
    struct copier *w = worker;
    if (w == NULL)
        return;
    page_batch_free(&w->batch);
    header_stream_free(w->headers);
    map_check_free(w->check);
    free(w->records);
    free(w);
}

static int
copy_item(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    struct copy *c = arg;
    struct source_file *f = &c->src->files[i];
    if (f->action == GSP_CLASS_CONTROL || f->vanished)
        return 0;
    int rc = copy_file(worker, f, err);
    progress_add(&c->progress, 0, 1);
    if (rc != 0 && f->entry.external_dir_num > 0)
        return gsp_prefix(err, "file '%s/%s'", source_store(c, f)->root, f->source);
    return rc != 0 ? gsp_prefix(err, "file '%s'", f->source) : 0;
}

static int
copy_tick(void *arg, struct gsp_error *err)
{
    struct copy *c = arg;
    progress_tick(&c->progress);
    return c->wal != NULL ? wal_receiver_check(c->wal, err) : 0;
}

/* Largest first: the last worker to finish is then busy with something small. */
static int
by_size_descending(const void *a, const void *b)
{
    const struct source_file *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? 1 : -1;
    return filelist_compare(&x->entry, &y->entry);
}

int
copy_files(struct copy *c, unsigned threads, int show_progress, struct gsp_error *err)
{
    if (c->src->n_files > 1)
        qsort(c->src->files, c->src->n_files, sizeof *c->src->files, by_size_descending);
    c->jobs = (struct jobs){.n_items = c->src->n_files,
        .threads = threads,
        .arg = c,
        .worker_open = copier_open,
        .worker_close = copier_close,
        .item = copy_item,
        .tick = copy_tick};
    progress_begin(&c->progress, "Copying", c->src->bytes, c->src->n_files, show_progress);
    int rc = jobs_run(&c->jobs, err);
    progress_end(&c->progress);
    if (rc != 0)
        return rc;
    uint64_t reread = atomic_load(&c->repeated_reads), corrupt = atomic_load(&c->corrupt_pages);
    if (reread > 0)
        log_log("%" PRIu64 " reads were repeated because the server was writing the page", reread);
    if (corrupt > 0) {
        (void)gsp_fail(err, GSP_E_CORRUPT, 0,
            "%" PRIu64 " corrupt page(s) in the data directory '%s', see the warnings above", corrupt,
            c->side->store.root);
        return gsp_hint(err, "the server's own files are damaged: find the relations with pg_amcheck or oid2name, and "
                             "restore them from an older backup");
    }
    return 0;
}

int
copy_control(struct copy *c, struct source_file *f, struct gsp_error *err)
{
    auto_strbuf bytes = STRBUF_INIT;
    char path[PATH_SIZE];
    struct gsp_cluster cluster;
    int rc = target_path(c, f, path, err);
    for (int round = 0; rc == 0; round++) {
        struct gsp_error torn = {0};
        strbuf_reset(&bytes);
        cluster.struct_size = sizeof cluster;
        rc = store_read_all(&c->side->store, f->source, CONTROL_FILE_MAX, &bytes, err);
        if (rc != 0)
            break;
        /* The server rewrites it in place: a wrong checksum is read again before it is believed. */
        rc = c->side->dialect->control_parse(strbuf_str(&bytes), (uint32_t)bytes.len, &cluster, &torn);
        if (rc == 0)
            break;
        if (round == COPY_REREAD_TIMES) {
            *err = torn;
            break;
        }
        rc = cancel_check(err);
        copy_pause_before_reread();
    }
    if (rc == 0)
        rc = c->side->dialect->control_crc(strbuf_str(&bytes), (uint32_t)bytes.len, &f->entry.crc, err);
    if (rc == 0)
        rc = store_write_all(c->repo, path, 0600, 0, strbuf_str(&bytes), bytes.len, err);
    if (rc != 0)
        return gsp_prefix(err, "file '%s'", f->source);
    f->entry.size = (int64_t)bytes.len;
    atomic_fetch_add(&c->uncompressed_bytes, bytes.len);
    return 0;
}
