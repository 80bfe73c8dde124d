/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/stored_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/crc32c.h"
#include "core/base/path.h"

enum { NONE = 0 /* codec_names[0] is always "none" */ };

static size_t
codec_index(const struct stored_backup *sb, const char *name)
{
    size_t i = 0;
    while (i < sb->n_codecs && strcmp(sb->codec_names[i], name) != 0)
        i++;
    return i;
}

void
stored_backup_open_codecs(struct stored_backup *sb)
{
    sb->codec_names[NONE] = "none";
    sb->codec_usable[NONE] = 1;
    sb->n_codecs = 1;
    for (size_t i = 0; i < sb->list.n && sb->n_codecs < STORED_CODECS_MAX; i++) {
        const struct file_entry *f = &sb->list.entries[i];
        if (!f->is_datafile || codec_index(sb, f->compress_alg) < sb->n_codecs)
            continue;
        size_t slot = sb->n_codecs++;
        sb->codec_names[slot] = f->compress_alg;
        sb->codec_usable[slot] = codec_open(sb->e, f->compress_alg, &sb->codecs[slot], &sb->codec_errors[slot]) == 0;
    }
}

int
stored_backup_check_version(const struct backup *b, struct gsp_error *err)
{
    /* Before 2.4.0 pages were padded and had no header map; 2.5 is pg_probackup's last. */
    enum { OLDEST = 20400, NEWEST = 20599 };
    const char *text = b->program_version != NULL ? b->program_version : "";
    uint32_t version = version_number(text);
    if (version < OLDEST) {
        (void)gsp_fail(
            err, GSP_E_UNSUPPORTED, 0, "backup %s was made by version '%s', which is too old to be read", b->id, text);
        return gsp_hint(err, "use the program that made it");
    }
    if (version > NEWEST) {
        (void)gsp_fail(err, GSP_E_VERSION, 0,
            "backup %s was made by version '%s', which is newer than this program understands", b->id, text);
        return gsp_hint(err, "use the program that made it, or a newer gs_probackup");
    }
    return 0;
}

int
stored_backup_init(struct stored_backup *sb, struct engine *e, const struct backup *b, struct gsp_error *err)
{
    memset(sb, 0, sizeof *sb);
    sb->e = e;
    sb->b = b;
    sb->page_size = b->block_size != 0 ? b->block_size : 8192;
    return backup_path(sb->dir, e->instance, b, NULL, err);
}

int
stored_backup_open(struct stored_backup *sb, struct engine *e, const struct backup *b, struct gsp_error *err)
{
    int rc = stored_backup_init(sb, e, b, err);
    if (rc == 0)
        rc = backup_read_filelist(&e->repo, e->instance, b, &sb->list, err);
    if (rc != 0)
        return rc;
    filelist_sort(&sb->list);
    for (size_t i = 1; i < sb->list.n; i++)
        if (filelist_compare(&sb->list.entries[i - 1], &sb->list.entries[i]) == 0)
            return gsp_fail(
                err, GSP_E_CORRUPT, 0, "the file list of backup %s names '%s' twice", b->id, sb->list.entries[i].path);
    stored_backup_open_codecs(sb);
    return 0;
}

void
stored_backup_close(struct stored_backup *sb)
{
    for (size_t i = 0; i < sb->n_codecs; i++)
        codec_close(&sb->codecs[i]);
    filelist_clear(&sb->list);
    free(sb->external_numbers);
    memset(sb, 0, sizeof *sb);
}

static int32_t
own_number(const struct stored_backup *sb, int32_t external_dir_num)
{
    return sb->external_numbers != NULL ? sb->external_numbers[external_dir_num - 1] : external_dir_num;
}

int
stored_path(const struct stored_backup *sb, const struct file_entry *f, char path[PATH_SIZE], struct gsp_error *err)
{
    int n;
    if (f->external_dir_num > 0)
        n = snprintf(
            path, PATH_SIZE, "%s/" EXTERNAL_DIR_FORMAT "/%s", sb->dir, own_number(sb, f->external_dir_num), f->path);
    else
        n = snprintf(path, PATH_SIZE, "%s/%s/%s", sb->dir, f->file_type == 1 ? "dssdata" : "database", f->path);
    return n < PATH_SIZE ? 0 : gsp_fail(err, GSP_E_CORRUPT, 0, "path too long in the file list: '%s'", f->path);
}

const struct gsp_error *
stored_codec_error(const struct stored_backup *sb, const struct file_entry *f)
{
    size_t i = codec_index(sb, f->compress_alg);
    if (i == sb->n_codecs)
        i = 0;
    return sb->codec_usable[i] ? NULL : &sb->codec_errors[i];
}

static void
close_file(struct stored_reader *r)
{
    store_file_close(&r->file);
    free(r->headers);
    r->headers = NULL;
    r->entry = NULL;
    r->batch = NULL;
}

int
stored_reader_new(struct stored_backup *sb, struct stored_reader **ret, struct gsp_error *err)
{
    struct stored_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    r->sb = sb;
    r->bytes = aligned_alloc(4096, PAGE_BATCH_BYTES);
    if (r->bytes == NULL) {
        free(r);
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    *ret = r;
    return 0;
}

void
stored_reader_free(void *reader)
{
    struct stored_reader *r = reader;
    if (r == NULL)
        return;
    close_file(r);
    store_file_close(&r->map);
    for (size_t i = 0; i < r->n_batches; i++)
        page_batch_free(&r->batches[i]);
    free(r->bytes);
    free(r);
}

static int
too_many_codecs(struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "the backup names more than %d compressors", STORED_CODECS_MAX - 1);
}

int
stored_reader_batch(struct stored_reader *r, const struct stored_backup *sb, const char *alg, struct page_batch **ret,
    struct gsp_error *err)
{
    size_t known = 0, i = codec_index(sb, alg);
    if (i == sb->n_codecs)
        return too_many_codecs(err);
    if (!sb->codec_usable[i]) {
        *err = sb->codec_errors[i];
        return err->code;
    }
    while (known < r->n_batches && strcmp(r->batch_names[known], alg) != 0)
        known++;
    if (known == STORED_CODECS_MAX)
        return too_many_codecs(err);
    if (known == r->n_batches) {
        const struct codec *codec = &sb->codecs[i];
        int rc = page_batch_init(&r->batches[known], sb->page_size, codec_ops(codec),
            codec->plugin != NULL ? codec->plugin->state : NULL, codec->opts, err);
        if (rc != 0) {
            page_batch_free(&r->batches[known]);
            return rc;
        }
        r->batch_names[known] = sb->codec_names[i];
        r->n_batches++;
    }
    *ret = &r->batches[known];
    (*ret)->n = 0;
    return 0;
}

void
stored_reader_turn(struct stored_reader *r, struct stored_backup *sb)
{
    if (r->sb == sb)
        return;
    close_file(r);
    store_file_close(&r->map);
    r->sb = sb;
}

static int
load_headers(struct stored_reader *r, const struct file_entry *f, struct gsp_error *err)
{
    char path[PATH_SIZE];
    int rc = 0;
    if (f->n_headers == 0)
        return 0; /* made before the map existed: the frames speak for themselves */
    if (r->map.handle == NULL) {
        rc = backup_path(path, r->sb->e->instance, r->sb->b, "page_header_map", err);
        if (rc == 0)
            rc = store_file_open(&r->sb->e->repo, path, &r->map, err);
    }
    if (rc == 0)
        rc = header_map_load(&r->map, f, &r->headers, err);
    return rc != 0 ? gsp_prefix(err, "page_header_map") : 0;
}

int
stored_reader_begin(struct stored_reader *r, const struct file_entry *f, int as_pages, struct gsp_error *err)
{
    char path[PATH_SIZE];
    close_file(r);
    r->next_page = 0;
    r->offset = 0;
    r->crc = 0;
    int rc = stored_path(r->sb, f, path, err);
    if (rc == 0)
        rc = store_file_open(&r->sb->e->repo, path, &r->file, err);
    if (rc == 0 && as_pages)
        rc = stored_reader_batch(r, r->sb, f->compress_alg, &r->batch, err);
    if (rc == 0 && as_pages)
        rc = load_headers(r, f, err);
    r->entry = f;
    return rc;
}

static int
longer_than_listed(const struct stored_reader *r, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "longer than the listed %" PRId64 " bytes", r->entry->size);
}

/* A file that is longer or shorter than listed is noticed before its bytes are believed. */
static int64_t
read_window(struct stored_reader *r, uint8_t *window, uint32_t cap, struct gsp_error *err)
{
    uint64_t size = (uint64_t)r->entry->size, left = size > r->offset ? size - r->offset : 0;
    int64_t got = 0;
    /* Where more is listed, one short read does not make the file end. */
    do {
        int64_t n = store_file_pread(&r->file, window + got, cap - (uint32_t)got, r->offset + (uint64_t)got, err);
        if (n < 0)
            return n;
        if (n == 0)
            break;
        got += n;
    } while (got < (int64_t)cap && (uint64_t)got < left);
    if (got > 0 && r->offset + (uint64_t)got > (uint64_t)r->entry->size)
        return longer_than_listed(r, err);
    return got;
}

static int
compare_with_map(struct stored_reader *r, struct gsp_error *err)
{
    const struct page_batch *b = r->batch;
    if (r->headers == NULL)
        return 0;
    for (uint32_t i = 0; i < b->n; i++) {
        if (r->next_page + i >= (uint32_t)r->entry->n_headers)
            return gsp_fail(
                err, GSP_E_CORRUPT, 0, "more pages than the %d in the page header map", r->entry->n_headers);
        const struct page_header *h = &r->headers[r->next_page + i];
        if (h->block != b->block[i] || h->pos != r->offset + b->out_span[i].off - PAGE_FRAME_BYTES)
            return gsp_fail(
                err, GSP_E_CORRUPT, 0, "block %u stands where the page header map has block %u", b->block[i], h->block);
    }
    return 0;
}

int
stored_is_whole(const struct stored_backup *sb, const struct file_entry *f)
{
    return backup_is_full(sb->b) || (f->n_blocks > 0 && f->n_headers == f->n_blocks);
}

/* A FULL backup holds every block: a gap would come back as zeros, and nobody would know. So does an increment of a
 * file of which it stores as many pages as there are blocks. */
static int
check_complete(const struct stored_reader *r, struct gsp_error *err)
{
    const struct page_batch *b = r->batch;
    const struct file_entry *f = r->entry;
    if (!stored_is_whole(r->sb, f))
        return 0;
    for (uint32_t i = 0; i < b->n; i++)
        if (b->block[i] != r->next_page + i)
            return gsp_fail(err, GSP_E_CORRUPT, 0, "block %u is missing in the backup", r->next_page + i);
    if (f->n_blocks > 0 && r->next_page + b->n > (uint32_t)f->n_blocks)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "more blocks than the listed %d", f->n_blocks);
    return 0;
}

int
stored_reader_pages(struct stored_reader *r, struct gsp_error *err)
{
    struct page_batch *b = r->batch;
    uint32_t used = 0;
    r->next_page += b->n;
    b->n = 0;
    int64_t got = read_window(r, b->enc, b->enc_cap, err);
    if (got <= 0)
        return (int)got;
    int rc = page_batch_unframe(b, (uint32_t)got, &used, err);
    if (rc == 0 && b->n == 0)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "ends in the middle of a page, at offset %" PRIu64, r->offset);
    if (rc == 0)
        rc = compare_with_map(r, err);
    if (rc == 0)
        rc = check_complete(r, err);
    if (rc != 0) {
        b->n = 0; /* none of them was handed over */
        return rc;
    }
    r->crc = crc32c(r->crc, b->enc, used);
    r->offset += used;
    return 0;
}

int
stored_reader_salvage(struct stored_reader *r, uint32_t *ret_lost, struct gsp_error *err)
{
    struct page_batch *b = r->batch;
    r->next_page += b->n;
    b->n = 0;
    for (; r->headers != NULL && r->next_page < (uint32_t)r->entry->n_headers; r->next_page++, (*ret_lost)++) {
        uint32_t from = r->headers[r->next_page].pos, to = r->headers[r->next_page + 1].pos, used = 0;
        struct gsp_error problem = {0};
        if (to - from > b->stride)
            continue; /* no page is that long, and no buffer */
        int64_t got = store_file_pread(&r->file, b->enc, to - from, from, &problem);
        int rc = got < 0 ? (int)got : 0;
        if (rc == 0 && got == (int64_t)(to - from))
            rc = page_batch_unframe(b, to - from, &used, &problem);
        if (rc == GSP_E_CANCELLED || rc == GSP_E_NOMEM || rc == GSP_E_BUG) {
            *err = problem;
            return rc;
        }
        if (rc == 0 && b->n == 1 && b->block[0] == r->headers[r->next_page].block)
            return 0;
        b->n = 0;
    }
    return 0;
}

static int
pass_hole(struct stored_reader *r, struct gsp_error *err)
{
    uint64_t next;
    if (r->entry->size <= SPARSE_FILE_MIN)
        return 0;
    int rc = store_file_next_data(&r->file, r->offset, &next, err);
    if (rc == 0 && next > (uint64_t)r->entry->size)
        rc = longer_than_listed(r, err);
    if (rc != 0)
        return rc;
    r->crc = crc32c_zeros(r->crc, next - r->offset);
    r->offset = next;
    return 0;
}

int64_t
stored_reader_bytes(struct stored_reader *r, const uint8_t **ret, struct gsp_error *err)
{
    int rc = pass_hole(r, err);
    if (rc != 0)
        return rc;
    int64_t got = read_window(r, r->bytes, PAGE_BATCH_BYTES, err);
    if (got <= 0)
        return got;
    r->crc = crc32c(r->crc, r->bytes, (size_t)got);
    r->offset += (uint64_t)got;
    *ret = r->bytes;
    return got;
}

int
stored_reader_end(struct stored_reader *r, struct gsp_error *err)
{
    const struct file_entry *f = r->entry;
    int rc = 0;
    uint32_t pages = r->batch != NULL ? r->next_page + r->batch->n : 0;
    if (r->offset != (uint64_t)f->size)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "%" PRIu64 " bytes long instead of %" PRId64, r->offset, f->size);
    else if (r->crc != f->crc)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "Invalid CRC: %X. Expected %X", r->crc, f->crc);
    else if (r->headers != NULL && pages != (uint32_t)f->n_headers)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "%u pages instead of the %d in the page header map", pages, f->n_headers);
    else if (r->batch != NULL && stored_is_whole(r->sb, f) && f->n_blocks > 0 && pages != (uint32_t)f->n_blocks)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "%u blocks instead of the listed %d", pages, f->n_blocks);
    close_file(r);
    return rc;
}

const struct page_header *
stored_reader_header(const struct stored_reader *r, uint32_t i)
{
    return r->headers != NULL ? &r->headers[r->next_page + i] : NULL;
}
