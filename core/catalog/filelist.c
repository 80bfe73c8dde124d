/* SPDX-License-Identifier: Apache-2.0 */
#include "core/catalog/filelist.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"

enum {
    LINE_READ_MAX = 64 * 1024, /* longest line that is read */
    LINE_WRITE_MAX = 8191,     /* longest line, with its LF, that the stock tool reads */
    CHUNK_BYTES = 256 * 1024,  /* buffer of reading and writing */
    ALG_PLACES = 8,
};

int
filelist_new(struct filelist *list, struct gsp_error *err)
{
    memset(list, 0, sizeof *list);
    list->arena = arena_new();
    return list->arena != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

void
filelist_clear(struct filelist *list)
{
    arena_free(list->arena);
    free(list->entries);
    memset(list, 0, sizeof *list);
}

/* Room for one more entry; it grows by half, so that a big list wastes a third at most. */
static struct file_entry *
next_entry(struct filelist *list, struct gsp_error *err)
{
    if (list->n == list->cap) {
        size_t cap = list->cap < 64 ? 64 : list->cap + list->cap / 2;
        struct file_entry *grown = cap < SIZE_MAX / sizeof *grown ? realloc(list->entries, cap * sizeof *grown) : NULL;
        if (grown == NULL) {
            (void)gsp_fail(err, GSP_E_NOMEM, 0, "out of memory for a list of %zu files", list->n);
            return NULL;
        }
        list->entries = grown;
        list->cap = cap;
    }
    return &list->entries[list->n];
}

/* The same text again is nearly always among the last few entries. */
static const char *
intern_alg(struct filelist *list, const char *alg)
{
    for (size_t i = list->n; i-- > 0 && list->n - i <= ALG_PLACES;)
        if (strcmp(list->entries[i].compress_alg, alg) == 0)
            return list->entries[i].compress_alg;
    return arena_strdup(list->arena, alg);
}

struct file_entry *
filelist_add(struct filelist *list, const char *path, const char *compress_alg, struct gsp_error *err)
{
    struct file_entry *f = next_entry(list, err);
    if (f == NULL)
        return NULL;
    memset(f, 0, sizeof *f);
    f->path = arena_strdup(list->arena, path);
    f->compress_alg = intern_alg(list, compress_alg);
    if (f->path == NULL || f->compress_alg == NULL) {
        (void)gsp_fail(err, GSP_E_NOMEM, 0, "out of memory for a list of %zu files", list->n);
        return NULL;
    }
    list->n++;
    return f;
}

struct file_entry *
filelist_add_shared(struct filelist *list, const struct file_entry *from, const char *path, struct gsp_error *err)
{
    struct file_entry *f = next_entry(list, err);
    if (f == NULL)
        return NULL;
    const char *alg = intern_alg(list, from->compress_alg);
    *f = *from;
    f->path = path;
    f->compress_alg = alg;
    f->linked = NULL;
    if (alg == NULL) {
        (void)gsp_fail(err, GSP_E_NOMEM, 0, "out of memory for a list of %zu files", list->n);
        return NULL;
    }
    list->n++;
    return f;
}

int
filelist_compare(const struct file_entry *a, const struct file_entry *b)
{
    int order = strcmp(a->path, b->path);
    if (order == 0)
        order = (a->external_dir_num > b->external_dir_num) - (a->external_dir_num < b->external_dir_num);
    return order != 0 ? order : (int)a->file_type - (int)b->file_type;
}

static int
by_path(const void *a, const void *b)
{
    return filelist_compare(a, b);
}

void
filelist_sort(struct filelist *list)
{
    if (list->n > 1)
        qsort(list->entries, list->n, sizeof *list->entries, by_path);
}

struct file_entry *
filelist_find(const struct filelist *list, const char *path, int32_t external_dir_num)
{
    struct file_entry key = {.path = path, .external_dir_num = external_dir_num, .file_type = 0};
    size_t low = 0, high = list->n;
    /* The first entry not below the key: with several file types that is the lowest of them. */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (filelist_compare(&list->entries[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    struct file_entry *f = list->n > 0 ? &list->entries[low] : NULL;
    if (low == list->n || strcmp(f->path, path) != 0 || f->external_dir_num != external_dir_num)
        return NULL;
    return f;
}

/* What is done with each complete line of a list. */
struct reading {
    int (*line)(void *arg, const char *line, size_t len, struct gsp_error *err);
    void *arg;
    size_t lines; /* so far */
};

static int
read_line(struct reading *r, const char *line, size_t len, struct gsp_error *err)
{
    r->lines++;
    int rc = len > LINE_READ_MAX ? gsp_fail(err, GSP_E_CORRUPT, 0, "too long") : r->line(r->arg, line, len, err);
    return rc == GSP_E_CORRUPT ? gsp_prefix(err, "line %zu", r->lines) : rc;
}

/* All complete lines of buf[0, len); returns the bytes left over at its end, or a code. */
static int64_t
read_lines(struct reading *r, char *buf, size_t len, int at_end, struct gsp_error *err)
{
    char *p = buf, *end = buf + len;
    while (p < end) {
        char *lf = memchr(p, '\n', (size_t)(end - p));
        if (lf == NULL && !at_end)
            break;
        char *line_end = lf != NULL ? lf : end;
        int rc = read_line(r, p, (size_t)(line_end - p), err);
        if (rc != 0)
            return rc;
        p = lf != NULL ? lf + 1 : end;
    }
    size_t rest = (size_t)(end - p);
    if (rest > LINE_READ_MAX)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "line %zu: too long", r->lines + 1);
    memmove(buf, p, rest);
    return (int64_t)rest;
}

static int
read_stream(struct store_file *file, struct reading *r, uint32_t *ret_crc, struct gsp_error *err)
{
    auto_free char *buf = malloc(CHUNK_BYTES + LINE_READ_MAX);
    if (buf == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    uint64_t offset = 0;
    size_t rest = 0;
    for (int at_end = 0; !at_end;) {
        int rc = cancel_check(err);
        if (rc != 0)
            return rc;
        int64_t n = store_file_pread(file, buf + rest, CHUNK_BYTES, offset, err);
        if (n < 0)
            return (int)n;
        *ret_crc = crc32c(*ret_crc, buf + rest, (size_t)n);
        offset += (uint64_t)n;
        at_end = n == 0;
        int64_t left = read_lines(r, buf, rest + (size_t)n, at_end, err);
        if (left < 0)
            return (int)left;
        rest = (size_t)left;
    }
    return 0;
}

static int
read_whole(struct store *s, const char *path, uint32_t content_crc, struct reading *r, struct gsp_error *err)
{
    auto_store_file file = {0};
    uint32_t crc = 0;
    int rc = store_file_open(s, path, &file, err);
    if (rc != 0)
        return rc;
    rc = read_stream(&file, r, &crc, err);
    if (rc == GSP_E_CORRUPT)
        return gsp_prefix(err, "backup control file '%s/%s'", s->root, path);
    if (rc == 0 && content_crc != 0 && crc != content_crc)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "Invalid CRC of backup control file '%s/%s': %u. Expected: %u", s->root,
            path, crc, content_crc);
    return rc;
}

static int
add_line(void *arg, const char *line, size_t len, struct gsp_error *err)
{
    struct filelist *list = arg;
    struct file_entry *f = next_entry(list, err);
    if (f == NULL)
        return err->code;
    int rc = filelist_parse_line(list->arena, line, len, f, err);
    list->n += rc == 0;
    return rc;
}

int
filelist_read(struct store *s, const char *path, uint32_t content_crc, struct filelist *ret, struct gsp_error *err)
{
    auto_filelist list = {0};
    struct reading r = {.line = add_line, .arg = &list};
    int rc = filelist_new(&list, err);
    if (rc == 0)
        rc = read_whole(s, path, content_crc, &r, err);
    if (rc != 0)
        return rc;
    *ret = list;
    memset(&list, 0, sizeof list);
    return 0;
}

struct each {
    struct arena *arena; /* of one line */
    int (*cb)(void *arg, const struct file_entry *f, struct gsp_error *err);
    void *arg;
};

static int
show_line(void *arg, const char *line, size_t len, struct gsp_error *err)
{
    struct each *e = arg;
    struct file_entry f;
    int rc = filelist_parse_line(e->arena, line, len, &f, err);
    if (rc == 0)
        rc = e->cb(e->arg, &f, err);
    arena_reset(e->arena);
    return rc;
}

int
filelist_each(struct store *s, const char *path, uint32_t content_crc,
    int (*cb)(void *arg, const struct file_entry *f, struct gsp_error *err), void *arg, struct gsp_error *err)
{
    auto_arena *arena = arena_new();
    struct each e = {.arena = arena, .cb = cb, .arg = arg};
    struct reading r = {.line = show_line, .arg = &e};
    return arena != NULL ? read_whole(s, path, content_crc, &r, err) : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

/* What the reader would refuse must not be written. */
static int
check_line(const struct file_entry *f, size_t line_len, struct gsp_error *err)
{
    if (line_len > LINE_WRITE_MAX)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the name of file '%.256s...' is too long for a file list", f->path);
    for (const unsigned char *p = (const unsigned char *)f->path; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7F || *p == '"')
            return gsp_fail(err, GSP_E_BUG, 0, "the name of file '%.256s' was not encoded for the file list", f->path);
    return 0;
}

int
filelist_write(struct store *s, const char *path, const struct filelist *list, uint32_t *ret_crc, struct gsp_error *err)
{
    auto_store_put put = {0};
    auto_strbuf buf = STRBUF_INIT;
    uint64_t offset = 0;
    uint32_t crc = 0;
    int rc = store_put_begin(s, path, 0600, GSP_PUT_ATOMIC, &put, err);
    for (size_t i = 0; i < list->n && rc == 0; i++) {
        size_t before = buf.len;
        filelist_format_entry(&list->entries[i], &buf);
        rc = strbuf_check(&buf, err);
        if (rc == 0)
            rc = check_line(&list->entries[i], buf.len - before, err);
        if (rc != 0 || (buf.len < CHUNK_BYTES && i + 1 < list->n))
            continue;
        crc = crc32c(crc, buf.data, buf.len);
        rc = store_put_pwrite(&put, buf.data, buf.len, offset, err);
        offset += buf.len;
        strbuf_reset(&buf);
        if (rc == 0)
            rc = cancel_check(err);
    }
    if (rc == 0)
        rc = store_put_commit(&put, offset, err);
    if (rc == 0)
        *ret_crc = crc;
    return rc;
}
