/* SPDX-License-Identifier: Apache-2.0
 * The ledger is a first line that names the chain, and parts: lines as in backup_content.control, closed by
 * "# <bytes of page_header_map> <CRC-32C of all of the ledger before this number>". A part without its end does not
 * count. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"
#include "core/base/number.h"
#include "core/engine/merge.h"

enum { LINE_MAX_BYTES = 64 * 1024, CHUNK_BYTES = 256 * 1024, HEAD_MAX_BYTES = 16 * 1024 * 1024 };

void
merge_ledger_clear(struct merge_ledger *ledger)
{
    filelist_clear(&ledger->done);
    memset(ledger, 0, sizeof *ledger);
}

/* ---- reading ------------------------------------------------------------------------------------- */

struct parse {
    struct merge_ledger *ledger;
    struct filelist list; /* with lines of a part whose end was not seen yet */
    uint64_t offset;      /* behind the last line */
    uint32_t crc;         /* of everything up to there */
    int ended;            /* nothing behind it counts */
};

/* "# <map size> <crc>": 1 when it closes what came before it. */
static int
is_end_of_part(const struct parse *p, const char *line, size_t len, uint64_t *ret_map_size)
{
    uint64_t crc;
    const char *blank = len > 2 ? memchr(line + 2, ' ', len - 2) : NULL;
    return blank != NULL && line[1] == ' ' &&
           parse_u64n(line + 2, (size_t)(blank - line) - 2, INT64_MAX, ret_map_size) &&
           parse_u64n(blank + 1, len - (size_t)(blank - line) - 1, UINT32_MAX, &crc) &&
           crc == crc32c(p->crc, line, (size_t)(blank - line) + 1);
}

static int
read_line(struct parse *p, const char *line, size_t len, struct gsp_error *err)
{
    struct gsp_error torn = {0};
    uint64_t map_size;
    if (len > 0 && line[0] == '#') {
        p->ended = !is_end_of_part(p, line, len, &map_size);
        if (p->ended)
            return 0;
        p->ledger->done.n = p->list.n;
        p->ledger->map_size = map_size;
        p->ledger->size = p->offset + len + 1;
        p->ledger->crc = crc32c(p->crc, line, len + 1);
    } else {
        struct file_entry entry;
        int rc = filelist_parse_line(p->list.arena, line, len, &entry, &torn);
        if (rc == GSP_E_NOMEM)
            *err = torn;
        p->ended = rc != 0;
        if (rc != 0)
            return rc == GSP_E_NOMEM ? rc : 0;
        struct file_entry *f = filelist_add(&p->list, entry.path, entry.compress_alg, err);
        if (f == NULL)
            return err->code;
        entry.path = f->path;
        entry.compress_alg = f->compress_alg;
        *f = entry;
    }
    p->crc = crc32c(p->crc, line, len + 1);
    p->offset += len + 1;
    return 0;
}

/* All whole lines of buf[0, len). Returns the bytes behind the last one, or a code. */
static int64_t
read_lines(struct parse *p, char *buf, size_t len, struct gsp_error *err)
{
    char *at = buf, *end = buf + len;
    while (at < end && !p->ended) {
        char *lf = memchr(at, '\n', (size_t)(end - at));
        if (lf == NULL)
            break;
        int rc = read_line(p, at, (size_t)(lf - at), err);
        if (rc != 0)
            return rc;
        at = lf + 1;
    }
    memmove(buf, at, (size_t)(end - at));
    return end - at;
}

static int
read_parts(struct parse *p, struct store_file *file, struct gsp_error *err)
{
    auto_free char *buf = malloc(CHUNK_BYTES + LINE_MAX_BYTES);
    uint64_t offset = p->offset;
    size_t rest = 0;
    if (buf == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    while (!p->ended) {
        int64_t n = store_file_pread(file, buf + rest, CHUNK_BYTES, offset, err);
        if (n <= 0)
            return (int)n;
        offset += (uint64_t)n;
        int64_t left = read_lines(p, buf, rest + (size_t)n, err);
        if (left < 0)
            return (int)left;
        rest = (size_t)left;
        p->ended |= rest > LINE_MAX_BYTES;
        int rc = cancel_check(err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int
check_head(struct store_file *file, const char *head, size_t len, struct gsp_error *err)
{
    auto_free char *found = malloc(len);
    if (found == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int64_t n = store_file_pread(file, found, len, 0, err);
    if (n < 0)
        return (int)n;
    if ((size_t)n < len || memcmp(found, head, len) != 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "the ledger is of another chain");
    return 0;
}

int
merge_ledger_read(
    struct store *repo, const char *path, const char *head, struct merge_ledger *ret, struct gsp_error *err)
{
    auto_store_file file = {0};
    struct merge_ledger ledger = {0};
    size_t len = strlen(head);
    struct parse p = {.ledger = &ledger, .offset = len, .crc = crc32c(0, head, len)};
    int rc = store_file_open(repo, path, &file, err);
    if (rc == 0)
        rc = check_head(&file, head, len, err);
    if (rc != 0)
        return rc;
    ledger.size = len;
    ledger.crc = p.crc;
    rc = filelist_new(&p.list, err);
    if (rc == 0)
        rc = read_parts(&p, &file, err);
    size_t n = ledger.done.n;
    ledger.done = p.list;
    ledger.done.n = n;
    if (rc != 0) {
        merge_ledger_clear(&ledger);
        return rc;
    }
    filelist_sort(&ledger.done);
    *ret = ledger;
    return 0;
}

/* ---- writing ------------------------------------------------------------------------------------- */

int
merge_ledger_begin(
    struct store *repo, const char *path, const char *head, struct merge_ledger *ret, struct gsp_error *err)
{
    size_t len = strlen(head);
    int rc = filelist_new(&ret->done, err);
    if (rc == 0)
        rc = store_write_all(repo, path, 0600, GSP_PUT_ATOMIC, head, len, err);
    ret->map_size = 0;
    ret->size = len;
    ret->crc = crc32c(0, head, len);
    return rc;
}

int
merge_ledger_append(struct store *repo, const char *path, struct merge_ledger *ledger,
    const struct file_entry *const *files, size_t n, uint64_t map_size, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    auto_store_put put = {0};
    for (size_t i = 0; i < n; i++)
        filelist_format_entry(files[i], &text);
    strbuf_printf(&text, "# %" PRIu64 " ", map_size);
    strbuf_printf(&text, "%" PRIu32 "\n", crc32c(ledger->crc, strbuf_str(&text), text.len));
    int rc = strbuf_check(&text, err);
    if (rc == 0)
        rc = store_put_begin(repo, path, 0600, GSP_PUT_UPDATE, &put, err);
    if (rc == 0)
        rc = store_put_pwrite(&put, text.data, text.len, ledger->size, err);
    if (rc == 0)
        rc = store_put_commit(&put, ledger->size + text.len, err);
    if (rc == 0)
        rc = store_sync(repo, path, err);
    if (rc != 0)
        return rc;
    ledger->size += text.len;
    ledger->crc = crc32c(ledger->crc, text.data, text.len);
    return 0;
}
