/* SPDX-License-Identifier: Apache-2.0
 * One line of the file list, both ways. Parsing looks at every byte once. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/base/cleanup.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/catalog/filelist.h"

enum { ALG_NAME_MAX = 31, NUMBER_MAX = 31 };

int
file_entry_is_dir(const struct file_entry *f)
{
    return S_ISDIR(f->mode);
}

/* ---- writing ---- */

/* Decimal digits by hand: a list has millions of numbers, and printf would be most of the time. */
static void
put_number(struct strbuf *out, const char *before, int64_t v)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t rest = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (v < 0)
        digits[--at] = '-';
    strbuf_puts(out, before);
    strbuf_add(out, digits + at, sizeof digits - at);
}

void
filelist_format_entry(const struct file_entry *f, struct strbuf *out)
{
    strbuf_puts(out, "{\"path\":\"");
    strbuf_puts(out, f->path);
    put_number(out, "\", \"size\":\"", f->size);
    put_number(out, "\", \"mode\":\"", f->mode);
    put_number(out, "\", \"is_datafile\":\"", f->is_datafile);
    put_number(out, "\", \"is_cfs\":\"", f->is_cfs);
    put_number(out, "\", \"crc\":\"", f->crc);
    strbuf_puts(out, "\", \"compress_alg\":\"");
    strbuf_puts(out, f->compress_alg);
    put_number(out, "\", \"external_dir_num\":\"", f->external_dir_num);
    put_number(out, "\", \"dbOid\":\"", f->db_oid);
    put_number(out, "\", \"file_type\":\"", f->file_type);
    if (f->is_datafile)
        put_number(out, "\",\"segno\":\"", f->segment);
    if (f->is_datafile && f->compressed_file) {
        strbuf_puts(out, "\",\"compressedFile\":\"1");
        put_number(out, "\",\"compressedChunkSize\":\"", f->compressed_chunk_size);
        put_number(out, "\",\"compressedAlgorithm\":\"", f->compressed_algorithm);
    }
    if (f->linked != NULL) {
        strbuf_puts(out, "\",\"linked\":\"");
        strbuf_puts(out, f->linked);
    }
    if (f->n_blocks > 0)
        put_number(out, "\",\"n_blocks\":\"", f->n_blocks);
    if (f->n_headers > 0) {
        put_number(out, "\",\"n_headers\":\"", f->n_headers);
        put_number(out, "\",\"hdr_crc\":\"", f->hdr_crc);
        put_number(out, "\",\"hdr_off\":\"", f->hdr_off);
        put_number(out, "\",\"hdr_size\":\"", f->hdr_size);
    }
    if (f->encoded)
        strbuf_puts(out, "\",\"encoded\":\"1");
    strbuf_puts(out, "\"}\n");
}

/* ---- reading ---- */

enum key {
    KEY_PATH,
    KEY_SIZE,
    KEY_MODE,
    KEY_IS_DATAFILE,
    KEY_IS_CFS,
    KEY_CRC,
    KEY_COMPRESS_ALG,
    KEY_EXTERNAL_DIR_NUM,
    KEY_DB_OID,
    KEY_FILE_TYPE,
    KEY_SEGNO,
    KEY_COMPRESSED_FILE,
    KEY_COMPRESSED_CHUNK_SIZE,
    KEY_COMPRESSED_ALGORITHM,
    KEY_LINKED,
    KEY_N_BLOCKS,
    KEY_N_HEADERS,
    KEY_HDR_CRC,
    KEY_HDR_OFF,
    KEY_HDR_SIZE,
    KEY_ENCODED,
    KEYS_N
};

struct key_def {
    const char *name;
    size_t name_len;
    int64_t min, max; /* of numbers; both 0: text */
};
#define KEY_DEF(name, min, max)          \
    {                                    \
        name, sizeof(name) - 1, min, max \
    }

/* In the order of writing, so that the next key is nearly always the first one tried. */
static const struct key_def key_defs[KEYS_N] = {
    [KEY_PATH] = KEY_DEF("path", 0, 0),
    [KEY_SIZE] = KEY_DEF("size", FILE_UNCHANGED, INT64_MAX),
    [KEY_MODE] = KEY_DEF("mode", 0, UINT32_MAX),
    [KEY_IS_DATAFILE] = KEY_DEF("is_datafile", 0, 1),
    [KEY_IS_CFS] = KEY_DEF("is_cfs", 0, 1),
    [KEY_CRC] = KEY_DEF("crc", 0, UINT32_MAX),
    [KEY_COMPRESS_ALG] = KEY_DEF("compress_alg", 0, 0),
    [KEY_EXTERNAL_DIR_NUM] = KEY_DEF("external_dir_num", 0, INT32_MAX),
    [KEY_DB_OID] = KEY_DEF("dbOid", 0, UINT32_MAX),
    [KEY_FILE_TYPE] = KEY_DEF("file_type", 0, UINT8_MAX),
    [KEY_SEGNO] = KEY_DEF("segno", 0, INT32_MAX),
    [KEY_COMPRESSED_FILE] = KEY_DEF("compressedFile", 0, 1),
    [KEY_COMPRESSED_CHUNK_SIZE] = KEY_DEF("compressedChunkSize", 0, UINT16_MAX),
    [KEY_COMPRESSED_ALGORITHM] = KEY_DEF("compressedAlgorithm", 0, UINT8_MAX),
    [KEY_LINKED] = KEY_DEF("linked", 0, 0),
    [KEY_N_BLOCKS] = KEY_DEF("n_blocks", 0, INT32_MAX),
    [KEY_N_HEADERS] = KEY_DEF("n_headers", 0, INT32_MAX),
    [KEY_HDR_CRC] = KEY_DEF("hdr_crc", 0, UINT32_MAX),
    [KEY_HDR_OFF] = KEY_DEF("hdr_off", 0, INT64_MAX),
    [KEY_HDR_SIZE] = KEY_DEF("hdr_size", 0, INT32_MAX),
    [KEY_ENCODED] = KEY_DEF("encoded", 0, 1),
};

/* Text of a line: borrowed, not terminated. */
struct span {
    const char *p;
    size_t len;
};

struct line {
    const char *p, *end;
    uint32_t seen;            /* bit per enum key */
    struct span text[KEYS_N]; /* path, compress_alg, linked */
    int64_t number[KEYS_N];
};

static int
bad(struct gsp_error *err, const char *why)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "%s", why);
}

static void
skip_blanks(struct line *l)
{
    while (l->p < l->end && (*l->p == ' ' || *l->p == '\t'))
        l->p++;
}

static int
take(struct line *l, char c)
{
    skip_blanks(l);
    if (l->p == l->end || *l->p != c)
        return 0;
    l->p++;
    return 1;
}

/* "text" without any escape: a backslash is itself. */
static int
take_string(struct line *l, struct span *ret)
{
    if (!take(l, '"'))
        return 0;
    const char *quote = memchr(l->p, '"', (size_t)(l->end - l->p));
    if (quote == NULL)
        return 0;
    *ret = (struct span){l->p, (size_t)(quote - l->p)};
    l->p = quote + 1;
    return 1;
}

static size_t
find_key(const struct span *name, size_t guess)
{
    for (size_t i = 0; i < KEYS_N; i++) {
        size_t k = (guess + i) % KEYS_N;
        if (key_defs[k].name_len == name->len && memcmp(key_defs[k].name, name->p, name->len) == 0)
            return k;
    }
    return KEYS_N;
}

static int
parse_number(const struct span *text, const struct key_def *def, int64_t *ret)
{
    size_t negative = text->len > 0 && text->p[0] == '-';
    uint64_t v;
    if (text->len > NUMBER_MAX || !parse_u64n(text->p + negative, text->len - negative, INT64_MAX, &v))
        return 0;
    int64_t n = negative ? -(int64_t)v : (int64_t)v;
    if (n < def->min || n > def->max)
        return 0;
    *ret = n;
    return 1;
}

/* All members into *l; unknown keys are passed over. */
static int
scan_members(struct line *l, struct gsp_error *err)
{
    size_t guess = 0;
    if (!take(l, '{'))
        return bad(err, "no '{' at its beginning");
    do {
        struct span name, value;
        if (!take_string(l, &name) || !take(l, ':') || !take_string(l, &value))
            return bad(err, "not of the form \"key\":\"value\"");
        size_t k = find_key(&name, guess);
        if (k == KEYS_N)
            continue;
        guess = k + 1;
        const struct key_def *def = &key_defs[k];
        if (l->seen & 1u << k)
            return gsp_fail(err, GSP_E_CORRUPT, 0, "key \"%s\" stands twice", def->name);
        l->seen |= 1u << k;
        if (def->max == 0)
            l->text[k] = value;
        else if (!parse_number(&value, def, &l->number[k]))
            return gsp_fail(err, GSP_E_CORRUPT, 0, "bad value of \"%s\"", def->name);
    } while (take(l, ','));
    if (!take(l, '}'))
        return bad(err, "no '}' at its end");
    skip_blanks(l);
    return l->p == l->end ? 0 : bad(err, "text behind its end");
}

static int
has_control_bytes(const struct span *text)
{
    for (size_t i = 0; i < text->len; i++)
        if ((unsigned char)text->p[i] < 0x20 || text->p[i] == 0x7F)
            return 1;
    return 0;
}

/* A path must stay below its root, also after decoding. */
static int
check_path(const char *path, int encoded, struct gsp_error *err)
{
    if (!path_is_safe_relative(path))
        return bad(err, "a path that leaves the backup");
    if (!encoded)
        return 0;
    auto_free char *decoded = NULL;
    if (!path_decode(path, &decoded))
        return bad(err, "a malformed encoded path");
    return path_is_safe_relative(decoded) ? 0 : bad(err, "an encoded path that leaves the backup");
}

static int
copy_text(struct arena *arena, const struct span *text, const char **ret, struct gsp_error *err)
{
    if (has_control_bytes(text))
        return bad(err, "control bytes in a text");
    *ret = arena_strndup(arena, text->p, text->len);
    return *ret != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

/* The known algorithms cost nothing per entry. */
static int
copy_alg(struct arena *arena, const struct span *text, const char **ret, struct gsp_error *err)
{
    static const char *const known[] = {"none", "zlib", "pglz", "lz4", "zstd"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i]) == text->len && memcmp(known[i], text->p, text->len) == 0) {
            *ret = known[i];
            return 0;
        }
    }
    if (text->len == 0)
        return bad(err, "compress algorithm is empty");
    if (text->len > ALG_NAME_MAX)
        return bad(err, "bad value of \"compress_alg\"");
    return copy_text(arena, text, ret, err);
}

static void
fill_numbers(struct file_entry *f, const struct line *l)
{
    f->size = l->number[KEY_SIZE];
    f->mode = (uint32_t)l->number[KEY_MODE];
    f->crc = (uint32_t)l->number[KEY_CRC];
    f->db_oid = (uint32_t)l->number[KEY_DB_OID];
    f->segment = (uint32_t)l->number[KEY_SEGNO];
    f->external_dir_num = (int32_t)l->number[KEY_EXTERNAL_DIR_NUM];
    f->n_blocks = (int32_t)l->number[KEY_N_BLOCKS];
    f->n_headers = (int32_t)l->number[KEY_N_HEADERS];
    f->hdr_crc = (uint32_t)l->number[KEY_HDR_CRC];
    f->hdr_off = l->number[KEY_HDR_OFF];
    f->hdr_size = (int32_t)l->number[KEY_HDR_SIZE];
    f->compressed_chunk_size = (uint16_t)l->number[KEY_COMPRESSED_CHUNK_SIZE];
    f->compressed_algorithm = (uint8_t)l->number[KEY_COMPRESSED_ALGORITHM];
    f->compressed_file = (uint8_t)l->number[KEY_COMPRESSED_FILE];
    f->is_datafile = (uint8_t)l->number[KEY_IS_DATAFILE];
    f->is_cfs = (uint8_t)l->number[KEY_IS_CFS];
    f->file_type = (uint8_t)l->number[KEY_FILE_TYPE];
    f->encoded = (uint8_t)l->number[KEY_ENCODED];
}

int
filelist_parse_line(struct arena *arena, const char *line, size_t len, struct file_entry *ret, struct gsp_error *err)
{
    static const enum key mandatory[] = {KEY_PATH, KEY_SIZE, KEY_MODE, KEY_IS_DATAFILE, KEY_CRC, KEY_COMPRESS_ALG};
    struct line l;
    memset(&l, 0, sizeof l);
    l.p = line;
    l.end = line + len;
    int rc = scan_members(&l, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < sizeof mandatory / sizeof mandatory[0]; i++)
        if (!(l.seen & 1u << mandatory[i]))
            return gsp_fail(err, GSP_E_CORRUPT, 0, "key \"%s\" is missing", key_defs[mandatory[i]].name);
    struct file_entry f;
    memset(&f, 0, sizeof f);
    fill_numbers(&f, &l);
    if (S_ISDIR(f.mode) && (f.size > 0 || f.is_datafile))
        return bad(err, "a directory with content");
    if (l.text[KEY_PATH].len >= (size_t)PATH_SIZE * 3)
        return bad(err, "a path that is too long");
    rc = copy_alg(arena, &l.text[KEY_COMPRESS_ALG], &f.compress_alg, err);
    if (rc == 0)
        rc = copy_text(arena, &l.text[KEY_PATH], &f.path, err);
    if (rc == 0)
        rc = check_path(f.path, f.encoded, err);
    if (rc == 0 && l.text[KEY_LINKED].len > 0)
        rc = copy_text(arena, &l.text[KEY_LINKED], &f.linked, err);
    if (rc == 0)
        *ret = f;
    return rc;
}
