/* SPDX-License-Identifier: Apache-2.0 */
#include "core/catalog/header_map.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/base/bytes.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"

enum {
    RECORDS_PER_STEP = 128,
    STEP_BYTES = RECORDS_PER_STEP * PAGE_HEADER_BYTES,
    RAW_BYTES = 2048 * PAGE_HEADER_BYTES, /* deflated in one go, while its tables are in the processor's cache */
    OUT_BYTES = 16 * 1024,
    PENDING_BYTES = 64 * 1024,
    DEFLATE_LEVEL = 1,        /* as the stock tool: records of neighbours differ little */
    DEFLATE_RATIO_MAX = 1032, /* no deflate stream grows more than this */
    HEADERS_MAX = 1 << 26,    /* far beyond any segment: 131072 blocks are usual */
    ITEM_BYTES_MIN = 9,       /* a page's 8-byte header and at least one byte of it */
};

/* What of the deflated records waits in memory is the deflated size of one file: about 1 MiB for a
 * full segment of 131072 pages. */
struct header_stream {
    z_stream z;
    struct strbuf out;
    uint32_t n_headers;
    uint32_t crc;
    uint32_t raw_len;
    unsigned char raw[RAW_BYTES]; /* records that wait to be deflated */
};

struct header_map_writer {
    struct store_put put;
    uint64_t offset;       /* of the next array, in the file as it will be */
    struct strbuf pending; /* its end, not written yet: small relations have a few bytes each */
    int failed;            /* a write did: bytes before offset are missing */
    pthread_mutex_t lock;  /* all of the above */
};

static int
zlib_failed(struct gsp_error *err, int zrc, const char *what)
{
    return zrc == Z_MEM_ERROR ? gsp_fail(err, GSP_E_NOMEM, 0, "out of memory")
                              : gsp_fail(err, GSP_E_BUG, 0, "%s page headers: zlib error %d", what, zrc);
}

static int
corrupt(const struct file_entry *entry, const char *why, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "page headers of file '%.256s' are corrupted: %s", entry->path, why);
}

/* Numbers of the list that cannot belong together, before anything is allocated for them. */
static int
check_entry(const struct file_entry *e, struct gsp_error *err)
{
    if (e->n_headers <= 0 || e->n_headers > HEADERS_MAX || e->size < (int64_t)e->n_headers * ITEM_BYTES_MIN ||
        e->size > INT32_MAX)
        return corrupt(e, "an impossible number of pages", err);
    int64_t raw = ((int64_t)e->n_headers + 1) * PAGE_HEADER_BYTES;
    if (e->hdr_off < 0 || e->hdr_size <= 0 || e->hdr_off > INT64_MAX - e->hdr_size ||
        raw / DEFLATE_RATIO_MAX > e->hdr_size || e->hdr_size > raw + raw / 8 + OUT_BYTES)
        return corrupt(e, "an impossible size", err);
    return 0;
}

int
header_stream_new(struct header_stream **ret, struct gsp_error *err)
{
    struct header_stream *hs = calloc(1, sizeof *hs);
    if (hs == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int zrc = deflateInit(&hs->z, DEFLATE_LEVEL);
    if (zrc != Z_OK) {
        free(hs);
        return zlib_failed(err, zrc, "deflating");
    }
    *ret = hs;
    return 0;
}

void
header_stream_free(struct header_stream *hs)
{
    if (hs == NULL)
        return;
    (void)deflateEnd(&hs->z);
    strbuf_free(&hs->out);
    free(hs);
}

void
header_stream_reset(struct header_stream *hs)
{
    (void)deflateReset(&hs->z);
    strbuf_reset(&hs->out);
    hs->n_headers = 0;
    hs->crc = 0;
    hs->raw_len = 0;
}

/* Deflate the records that wait; with Z_FINISH end the stream. */
static int
deflate_raw(struct header_stream *hs, int flush, struct gsp_error *err)
{
    hs->crc = crc32c(hs->crc, hs->raw, hs->raw_len);
    hs->z.next_in = hs->raw;
    hs->z.avail_in = hs->raw_len;
    hs->raw_len = 0;
    for (;;) {
        char *to = strbuf_reserve(&hs->out, OUT_BYTES);
        if (to == NULL)
            return strbuf_check(&hs->out, err);
        hs->z.next_out = (unsigned char *)to;
        hs->z.avail_out = OUT_BYTES;
        int zrc = deflate(&hs->z, flush);
        if (zrc != Z_OK && zrc != Z_STREAM_END && zrc != Z_BUF_ERROR)
            return zlib_failed(err, zrc, "deflating");
        hs->out.len += OUT_BYTES - hs->z.avail_out;
        if (zrc == Z_STREAM_END || (flush != Z_FINISH && hs->z.avail_out > 0))
            return 0;
    }
}

/* The padding behind the fields stays zero, so that equal pages give equal bytes. */
static int
put_record(struct header_stream *hs, const struct page_header *h, struct gsp_error *err)
{
    if (hs->raw_len == RAW_BYTES && deflate_raw(hs, Z_NO_FLUSH, err) != 0)
        return err->code;
    unsigned char *to = hs->raw + hs->raw_len;
    memset(to, 0, PAGE_HEADER_BYTES);
    store_le64(to, h->lsn);
    store_le32(to + 8, h->block);
    store_le32(to + 12, h->pos);
    store_le16(to + 16, h->checksum);
    hs->raw_len += PAGE_HEADER_BYTES;
    return 0;
}

int
header_stream_add(struct header_stream *hs, const struct page_header *headers, uint32_t n, struct gsp_error *err)
{
    if (n > HEADERS_MAX - hs->n_headers)
        return gsp_fail(err, GSP_E_BUG, 0, "too many page headers for one file");
    for (uint32_t i = 0; i < n; i++)
        if (put_record(hs, &headers[i], err) != 0)
            return err->code;
    hs->n_headers += n;
    return 0;
}

static int
open_writer(struct store *s, const char *path, uint32_t flags, uint64_t offset, struct header_map_writer **ret,
    struct gsp_error *err)
{
    struct header_map_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int rc = store_put_begin(s, path, 0600, flags, &w->put, err);
    if (rc != 0) {
        free(w);
        return rc;
    }
    w->offset = offset;
    (void)pthread_mutex_init(&w->lock, NULL);
    *ret = w;
    return 0;
}

int
header_map_create(struct store *s, const char *path, struct header_map_writer **ret, struct gsp_error *err)
{
    return open_writer(s, path, 0, 0, ret, err);
}

int
header_map_reopen(
    struct store *s, const char *path, uint64_t offset, struct header_map_writer **ret, struct gsp_error *err)
{
    return open_writer(s, path, GSP_PUT_UPDATE, offset, ret, err);
}

static int
write_pending(struct header_map_writer *w, struct gsp_error *err)
{
    int rc = store_put_pwrite(&w->put, w->pending.data, w->pending.len, w->offset - w->pending.len, err);
    strbuf_reset(&w->pending);
    w->failed |= rc != 0;
    return rc;
}

/* Under the lock. A failure ends the backup: what was pending is of no use then. */
static int
append_bytes(struct header_map_writer *w, const struct strbuf *bytes, struct gsp_error *err)
{
    strbuf_add(&w->pending, bytes->data, bytes->len);
    int rc = strbuf_check(&w->pending, err);
    if (rc != 0)
        return rc;
    w->offset += bytes->len;
    return w->pending.len >= PENDING_BYTES ? write_pending(w, err) : 0;
}

int
header_map_append(struct header_map_writer *w, struct header_stream *hs, uint32_t end_pos, struct file_entry *entry,
    struct gsp_error *err)
{
    if (hs->n_headers == 0)
        return 0;
    if (end_pos > INT32_MAX)
        return gsp_fail(err, GSP_E_BUG, 0, "stored file '%s' is too long for page headers", entry->path);
    int rc = put_record(hs, &(struct page_header){.pos = end_pos}, err);
    if (rc == 0)
        rc = deflate_raw(hs, Z_FINISH, err);
    if (rc != 0)
        return rc;
    (void)pthread_mutex_lock(&w->lock);
    uint64_t at = w->offset;
    rc = append_bytes(w, &hs->out, err);
    (void)pthread_mutex_unlock(&w->lock);
    if (rc != 0)
        return rc;
    entry->n_headers = (int32_t)hs->n_headers;
    entry->hdr_crc = hs->crc;
    entry->hdr_off = (int64_t)at;
    entry->hdr_size = (int32_t)hs->out.len;
    return 0;
}

int
header_map_copy(struct header_map_writer *w, struct store_file *from, const struct file_entry *entry,
    struct file_entry *to, struct gsp_error *err)
{
    auto_strbuf bytes = STRBUF_INIT;
    int rc = check_entry(entry, err);
    if (rc != 0)
        return rc;
    char *room = strbuf_reserve(&bytes, (size_t)entry->hdr_size);
    if (room == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int64_t got = store_file_pread(from, room, (size_t)entry->hdr_size, (uint64_t)entry->hdr_off, err);
    if (got < 0)
        return (int)got;
    if (got < entry->hdr_size)
        return corrupt(entry, "the map ends before them", err);
    bytes.len = (size_t)got;
    (void)pthread_mutex_lock(&w->lock);
    uint64_t at = w->offset;
    rc = append_bytes(w, &bytes, err);
    (void)pthread_mutex_unlock(&w->lock);
    if (rc != 0)
        return rc;
    to->n_headers = entry->n_headers;
    to->hdr_crc = entry->hdr_crc;
    to->hdr_off = (int64_t)at;
    to->hdr_size = entry->hdr_size;
    return 0;
}

int
header_map_flush(struct header_map_writer *w, uint64_t *ret_size, struct gsp_error *err)
{
    (void)pthread_mutex_lock(&w->lock);
    int rc = w->pending.len > 0 ? write_pending(w, err) : 0;
    if (rc == 0 && w->failed)
        rc = gsp_fail(err, GSP_E_IO, 0, "page_header_map has a hole after a failed write");
    if (rc == 0)
        *ret_size = w->offset;
    (void)pthread_mutex_unlock(&w->lock);
    return rc;
}

static void
writer_free(struct header_map_writer *w)
{
    store_put_abort(&w->put);
    strbuf_free(&w->pending);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

int
header_map_commit(struct header_map_writer *w, struct gsp_error *err)
{
    int rc = w->pending.len > 0 ? write_pending(w, err) : 0;
    if (rc == 0 && w->offset > 0)
        rc = store_put_commit(&w->put, w->offset, err);
    writer_free(w);
    return rc;
}

void
header_map_abort(struct header_map_writer *w)
{
    if (w != NULL)
        writer_free(w);
}

/* ---- reading ---- */

/* The deflated bytes of one file, in steps. */
struct source {
    struct store_file *map;
    const struct file_entry *entry;
    z_stream z;
    int64_t taken; /* of hdr_size */
    int ended;     /* the stream's own end was seen */
    unsigned char in[OUT_BYTES];
};

/* More input, when there is none left and the entry has some. */
static int
refill(struct source *src, struct gsp_error *err)
{
    int64_t rest = src->entry->hdr_size - src->taken;
    if (src->z.avail_in > 0 || rest == 0)
        return 0;
    size_t part = rest < OUT_BYTES ? (size_t)rest : OUT_BYTES;
    int64_t n = store_file_pread(src->map, src->in, part, (uint64_t)(src->entry->hdr_off + src->taken), err);
    if (n < 0)
        return (int)n;
    if (n == 0)
        return corrupt(src->entry, "the map ends before them", err);
    src->taken += n;
    src->z.next_in = src->in;
    src->z.avail_in = (uInt)n;
    return 0;
}

/* inflate_step - up to len bytes into `to`, fewer only at the end of the stream. Returns bytes or a code. */
static int64_t
inflate_step(struct source *src, unsigned char *to, uint32_t len, struct gsp_error *err)
{
    src->z.next_out = to;
    src->z.avail_out = len;
    while (src->z.avail_out > 0 && !src->ended) {
        int rc = refill(src, err);
        if (rc != 0)
            return rc;
        int zrc = inflate(&src->z, Z_NO_FLUSH);
        if (zrc == Z_MEM_ERROR)
            return zlib_failed(err, zrc, "inflating");
        if (zrc != Z_OK && zrc != Z_STREAM_END)
            return corrupt(src->entry, "they cannot be inflated", err);
        src->ended = zrc == Z_STREAM_END;
    }
    return (int64_t)(len - src->z.avail_out);
}

/* Nothing may follow the last record: neither records nor deflated bytes. */
static int
inflate_end(struct source *src, struct gsp_error *err)
{
    unsigned char extra;
    int64_t n = inflate_step(src, &extra, 1, err);
    if (n < 0)
        return (int)n;
    if (n > 0 || src->z.avail_in > 0 || src->taken != src->entry->hdr_size)
        return corrupt(src->entry, "more of them than listed", err);
    return 0;
}

static int
read_records(struct source *src, struct page_header *headers, struct gsp_error *err)
{
    unsigned char raw[STEP_BYTES];
    uint32_t n = (uint32_t)src->entry->n_headers + 1, crc = 0;
    for (uint32_t done = 0; done < n;) {
        uint32_t step = n - done < RECORDS_PER_STEP ? n - done : RECORDS_PER_STEP;
        int64_t got = inflate_step(src, raw, step * PAGE_HEADER_BYTES, err);
        if (got < 0)
            return (int)got;
        if (got < (int64_t)step * PAGE_HEADER_BYTES)
            return corrupt(src->entry, "fewer of them than listed", err);
        crc = crc32c(crc, raw, (size_t)step * PAGE_HEADER_BYTES);
        for (uint32_t i = 0; i < step; i++) {
            const unsigned char *r = raw + (size_t)i * PAGE_HEADER_BYTES;
            headers[done + i] = (struct page_header){.lsn = load_le64(r),
                .block = load_le32(r + 8),
                .pos = load_le32(r + 12),
                .checksum = load_le16(r + 16)};
        }
        done += step;
    }
    int rc = inflate_end(src, err);
    if (rc == 0 && crc != src->entry->hdr_crc)
        rc = corrupt(src->entry, "their checksum is wrong", err);
    return rc;
}

static int
check_records(const struct file_entry *e, const struct page_header *h, struct gsp_error *err)
{
    if (h[0].pos != 0 || h[e->n_headers].pos != (uint64_t)e->size)
        return corrupt(e, "they do not fit the stored size", err);
    for (int32_t i = 0; i < e->n_headers; i++) {
        if (h[i].block >= HEADERS_MAX || (i > 0 && h[i].block <= h[i - 1].block))
            return corrupt(e, "blocks out of order", err);
        if (h[i + 1].pos < h[i].pos || h[i + 1].pos - h[i].pos < ITEM_BYTES_MIN)
            return corrupt(e, "positions out of order", err);
    }
    return 0;
}

int
header_map_load(struct store_file *map, const struct file_entry *entry, struct page_header **ret, struct gsp_error *err)
{
    int rc = check_entry(entry, err);
    if (rc != 0)
        return rc;
    auto_free struct page_header *headers = calloc((size_t)entry->n_headers + 1, sizeof *headers);
    auto_free struct source *src = calloc(1, sizeof *src);
    if (headers == NULL || src == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    src->map = map;
    src->entry = entry;
    int zrc = inflateInit(&src->z);
    if (zrc != Z_OK)
        return zlib_failed(err, zrc, "inflating");
    rc = read_records(src, headers, err);
    (void)inflateEnd(&src->z);
    if (rc == 0)
        rc = check_records(entry, headers, err);
    if (rc == 0)
        *ret = steal(&headers);
    return rc;
}
