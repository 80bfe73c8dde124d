/* SPDX-License-Identifier: Apache-2.0
 * A data file of a backup, as validate and restore read it: frames, header map, compressed pages. Any bytes are read or
 * refused; what is accepted is what the format says. Input: compressor (1 byte), flags (1), the line's n_headers (4),
 * size (4), hdr_crc (4), bytes of the map (2), then the map and the stored file.
 * Flag 1 makes size and checksum of the line right, flag 2 the header map; with flag 4 it is a FULL backup. */
#include <zlib.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/stored_file.h"
#include "tests/doubles/storage_mem.h"
#include "tests/fuzz/fuzz.h"

enum { PREFIX_BYTES = 16, RIGHT_LINE = 1, RIGHT_MAP = 2, FULL = 4, PAGE = 1024, PAGES_MAX = 4096 };
#define BACKUP_DIR "backups/main/ID"

/* Opened once, as by a worker: a reader goes from file to file. */
struct reading {
    struct engine e;
    struct backup b;
    struct stored_backup sb;
    struct plugin codecs[2];
    struct stored_reader *r;
    struct header_stream *headers;
};

static const int64_t level_one = 1; /* the options of zlib */

static struct reading *
reading_open(void)
{
    static struct reading reading;
    struct reading *g = &reading;
    struct gsp_error err = {0};
    if (g->r != NULL)
        return g;
    log_set_console(LOG_LEVEL_OFF);
    must(store_open(&g->e.repo, &storage_mem_ops, NULL, NULL, "mem", &err) == 0);
    must(store_mkdir(&g->e.repo, "", 0700, GSP_MKDIR_PARENTS, &err) == 0);
    must(store_mkdir(&g->e.repo, BACKUP_DIR "/database", 0700, GSP_MKDIR_PARENTS, &err) == 0);
    g->e.instance = "main";
    backup_init(&g->b);
    g->b.dir = strdup("ID");
    g->codecs[0] = (struct plugin){.kind = GSP_KIND_COMPRESSOR, .name = "zlib", .ops = compressor_zlib_entry()->ops};
    g->codecs[1] = (struct plugin){.kind = GSP_KIND_COMPRESSOR, .name = "pglz", .ops = compressor_pglz_entry()->ops};
    g->sb = (struct stored_backup){.e = &g->e, .b = &g->b, .dir = BACKUP_DIR, .page_size = PAGE, .n_codecs = 3};
    static const char *const names[] = {"none", "zlib", "pglz"};
    for (size_t i = 0; i < 3; i++) {
        g->sb.codec_names[i] = names[i];
        g->sb.codec_usable[i] = 1;
        g->sb.codecs[i].plugin = i > 0 ? &g->codecs[i - 1] : NULL;
        g->sb.codecs[i].opts = i == 1 ? (void *)(uintptr_t)&level_one : NULL;
    }
    must(header_stream_new(&g->headers, &err) == 0);
    must(stored_reader_new(&g->sb, &g->r, &err) == 0);
    return g;
}

/* The frames as docs/formats/datafile.md has them. Returns how many are whole. */
static uint32_t
split(const uint8_t *stored, size_t len, struct page_header *ret, size_t *ret_end)
{
    uint32_t n = 0;
    size_t at = 0;
    while (n < PAGES_MAX && len - at >= PAGE_FRAME_BYTES) {
        uint32_t size = load_le32(stored + at + 4);
        if (size == 0 || size > PAGE || len - at - PAGE_FRAME_BYTES < size)
            break;
        ret[n++] = (struct page_header){.block = load_le32(stored + at), .pos = (uint32_t)at};
        at += PAGE_FRAME_BYTES + size;
    }
    *ret_end = at;
    return n;
}

static void
write_map(struct reading *g, struct file_entry *f, const struct page_header *pages, uint32_t n, size_t end)
{
    struct gsp_error err = {0};
    struct header_map_writer *map;
    header_stream_reset(g->headers);
    must(header_map_create(&g->e.repo, BACKUP_DIR "/page_header_map", &map, &err) == 0);
    must(header_stream_add(g->headers, pages, n, &err) == 0);
    must(header_map_append(map, g->headers, (uint32_t)end, f, &err) == 0);
    must(header_map_commit(map, &err) == 0);
}

/* A page that was accepted is the one in its frame. */
static void
check_page(const struct page_batch *b, uint32_t i, const uint8_t *stored, const struct page_header *frame)
{
    const uint8_t *page = b->data + (size_t)i * b->stride, *payload = stored + frame->pos + PAGE_FRAME_BYTES;
    uint32_t size = load_le32(stored + frame->pos + 4);
    uint8_t raw[PAGE + 1];
    uLongf raw_len = sizeof raw;
    must(b->block[i] == frame->block);
    if (size == PAGE)
        must(memcmp(page, payload, PAGE) == 0);
    else if (b->codec == compressor_zlib_entry()->ops && uncompress(raw, &raw_len, payload, size) == Z_OK)
        must(raw_len == PAGE && memcmp(page, raw, PAGE) == 0);
}

static void
read_pages(struct reading *g, const struct file_entry *f, const uint8_t *stored, const struct page_header *frames)
{
    struct stored_reader *r = g->r;
    struct gsp_error err = {0};
    uint32_t done = 0, lost = 0;
    int rc = stored_reader_begin(r, f, 1, &err);
    while (rc == 0) {
        rc = stored_reader_pages(r, &err);
        if (rc != 0 || r->batch->n == 0)
            break;
        must(r->batch->n <= r->batch->cap);
        for (uint32_t i = 0; i < r->batch->n && done + i < PAGES_MAX; i++)
            check_page(r->batch, i, stored, &frames[done + i]);
        done += r->batch->n;
    }
    if (rc == 0) {
        must(stored_reader_end(r, &err) != 0 || f->n_blocks == 0 || done == (uint32_t)f->n_blocks);
        return;
    }
    must(rc == err.code && rc == GSP_E_CORRUPT);
    if (r->batch == NULL || r->headers == NULL)
        return;
    for (uint32_t rounds = 0;; rounds++) {
        struct gsp_error machine = {0};
        must(stored_reader_salvage(r, &lost, &machine) == 0 && r->batch->n <= 1);
        if (r->batch->n == 0)
            break;
        must(r->batch->block[0] == stored_reader_header(r, 0)->block && rounds < (uint32_t)f->n_headers);
    }
    must(lost <= (uint32_t)f->n_headers);
}

static void
read_bytes(struct reading *g, const struct file_entry *f, const uint8_t *stored, size_t len)
{
    struct gsp_error err = {0};
    const uint8_t *bytes;
    int64_t n;
    size_t done = 0;
    must(stored_reader_begin(g->r, f, 0, &err) == 0);
    while ((n = stored_reader_bytes(g->r, &bytes, &err)) > 0) {
        must((size_t)n <= len - done && memcmp(bytes, stored + done, (size_t)n) == 0);
        done += (size_t)n;
    }
    if (n == 0 && stored_reader_end(g->r, &err) == 0)
        must(done == len && (uint64_t)f->size == len && f->crc == crc32c(0, stored, len));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct page_header frames[PAGES_MAX + 1];
    if (size <= PREFIX_BYTES)
        return 0;
    struct reading *g = reading_open();
    struct gsp_error err = {0};
    size_t map_len = load_le16(data + 14), rest = size - PREFIX_BYTES, end;
    if (map_len > rest)
        map_len = rest;
    const uint8_t *map = data + PREFIX_BYTES, *stored = map + map_len;
    size_t len = rest - map_len;
    uint32_t n = split(stored, len, frames, &end);
    struct file_entry f = {.path = "1",
        .compress_alg = g->sb.codec_names[data[0] % 3],
        .is_datafile = 1,
        .n_headers = (int32_t)(load_le32(data + 2) & INT32_MAX),
        .size = (int32_t)load_le32(data + 6),
        .hdr_crc = load_le32(data + 10),
        .hdr_size = (int32_t)map_len};
    must(store_write_all(&g->e.repo, BACKUP_DIR "/database/1", 0600, 0, stored, len, &err) == 0);
    must(store_write_all(&g->e.repo, BACKUP_DIR "/page_header_map", 0600, 0, map, map_len, &err) == 0);
    if (data[1] & RIGHT_LINE) {
        f.size = (int64_t)len;
        f.crc = crc32c(0, stored, len);
    }
    static char full[] = "FULL";
    g->b.mode = data[1] & FULL ? full : NULL;
    f.n_blocks = data[1] & FULL ? f.n_headers : 0;
    if ((data[1] & RIGHT_MAP) && n > 0)
        write_map(g, &f, frames, n, end);
    read_pages(g, &f, stored, frames);
    read_bytes(g, &f, stored, len);
    /* The next input has another map. */
    store_file_close(&g->r->map);
    return 0;
}
