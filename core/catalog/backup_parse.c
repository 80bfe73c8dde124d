/* SPDX-License-Identifier: Apache-2.0 */
#include "core/catalog/backup.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/timestamp.h"

enum { LINE_MAX_BYTES = 64 * 1024, MADE_BY_MAX = 64 };

/* How the text behind a key becomes a field of struct backup. */
enum field_type {
    FIELD_TEXT,
    FIELD_MODE,
    FIELD_COMPRESS,
    FIELD_BOOL,
    FIELD_U32,
    FIELD_U64,
    FIELD_BYTES, /* int64_t, -1 or more */
    FIELD_LEVEL, /* int64_t within 32 bits */
    FIELD_TIME,
    FIELD_LSN,
    FIELD_ID,
    FIELD_STATUS,
    FIELD_STORAGE_TYPE,
};

struct field {
    const char *key;
    enum field_type type;
    size_t offset;
};

#define FIELD(key, type, member)                   \
    {                                              \
        key, type, offsetof(struct backup, member) \
    }

static const struct field fields[] = {
    FIELD("backup-mode", FIELD_MODE, mode),
    FIELD("stream", FIELD_BOOL, stream),
    FIELD("compress-alg", FIELD_COMPRESS, compress_alg),
    FIELD("compress-level", FIELD_LEVEL, compress_level),
    FIELD("from-replica", FIELD_BOOL, from_replica),
    FIELD("block-size", FIELD_U32, block_size),
    FIELD("xlog-block-size", FIELD_U32, wal_block_size),
    FIELD("checksum-version", FIELD_U32, checksum_version),
    FIELD("program-version", FIELD_TEXT, program_version),
    FIELD("server-version", FIELD_TEXT, server_version),
    FIELD("timelineid", FIELD_U32, timeline),
    FIELD("start-lsn", FIELD_LSN, start_lsn),
    FIELD("stop-lsn", FIELD_LSN, stop_lsn),
    FIELD("start-time", FIELD_TIME, start_time),
    FIELD("merge-time", FIELD_TIME, merge_time),
    FIELD("end-time", FIELD_TIME, end_time),
    FIELD("recovery-xid", FIELD_U64, recovery_xid),
    FIELD("recovery-time", FIELD_TIME, recovery_time),
    FIELD("expire-time", FIELD_TIME, expire_time),
    FIELD("recovery-name", FIELD_TEXT, recovery_name),
    FIELD("merge-dest-id", FIELD_ID, merge_dest_id),
    FIELD("data-bytes", FIELD_BYTES, data_bytes),
    FIELD("wal-bytes", FIELD_BYTES, wal_bytes),
    FIELD("uncompressed-bytes", FIELD_BYTES, uncompressed_bytes),
    FIELD("pgdata-bytes", FIELD_BYTES, pgdata_bytes),
    FIELD("status", FIELD_STATUS, status),
    FIELD("parent-backup-id", FIELD_ID, parent_id),
    FIELD("external-dirs", FIELD_TEXT, external_dirs),
    FIELD("note", FIELD_TEXT, note),
    FIELD("primary_conninfo", FIELD_TEXT, primary_conninfo),
    FIELD("content-crc", FIELD_U32, content_crc),
    FIELD("storage-type", FIELD_STORAGE_TYPE, storage_type),
    FIELD("s3-status", FIELD_TEXT, s3_status),
};

/* Keys compare without case; '-', '_' and ' ' are the same. */
static int
key_equals(const char *a, size_t a_len, const char *b)
{
    if (strlen(b) != a_len)
        return 0;
    for (size_t i = 0; i < a_len; i++) {
        int x = a[i] == '_' || a[i] == ' ' ? '-' : tolower((unsigned char)a[i]);
        int y = b[i] == '_' || b[i] == ' ' ? '-' : tolower((unsigned char)b[i]);
        if (x != y)
            return 0;
    }
    return 1;
}

static const struct field *
find_field(const char *key, size_t len)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (key_equals(key, len, fields[i].key))
            return &fields[i];
    return NULL;
}

/* The first name that the text is a beginning of, as the stock tool reads enumerations; else the text itself. */
static const char *
expand_prefix(const char *text, const char *const *names, size_t n)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < n && len > 0; i++)
        if (strncasecmp(text, names[i], len) == 0)
            return names[i];
    return text;
}

static int
set_text(char **slot, const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return GSP_E_NOMEM;
    free(*slot);
    *slot = copy;
    return 0;
}

static int
set_enum_text(const struct field *f, char **slot, const char *text)
{
    static const char *const modes[] = {"FULL", "PTRACK", "PAGE", "DELTA"};
    static const char *const algs[] = {"zlib", "lz4", "zstd", "pglz", "none"};
    if (f->type == FIELD_MODE)
        text = expand_prefix(text, modes, sizeof modes / sizeof modes[0]);
    else if (f->type == FIELD_COMPRESS)
        text = expand_prefix(text, algs, sizeof algs / sizeof algs[0]);
    return set_text(slot, text);
}

static int
set_id(char *slot, const char *text)
{
    int64_t when;
    if (!backup_id_parse(text, &when))
        return 0;
    backup_id_format(when, slot);
    return 1;
}

/* Numbers as the stock tool writes and reads them. 1 or 0. */
static int
set_number(const struct field *f, void *slot, const char *text)
{
    uint64_t v;
    int negative = f->type == FIELD_BYTES && strcmp(text, "-1") == 0;
    uint64_t max = f->type == FIELD_U32     ? UINT32_MAX
                   : f->type == FIELD_LEVEL ? INT32_MAX
                   : f->type == FIELD_BYTES ? INT64_MAX
                                            : UINT64_MAX;
    if (!negative && !parse_u64_c(text, max, &v))
        return 0;
    if (f->type == FIELD_U32)
        *(uint32_t *)slot = (uint32_t)v;
    else if (f->type == FIELD_U64)
        *(uint64_t *)slot = v;
    else
        *(int64_t *)slot = negative ? -1 : (int64_t)v;
    return 1;
}

static void
set_status(const char *text, const char *name, enum backup_status *slot)
{
    if (!backup_status_parse(text, slot))
        log_warning("Invalid STATUS \"%.64s\" in file \"%s\"", text, name);
}

static void
set_lsn(const struct field *f, const char *text, const char *name, gsp_lsn *slot)
{
    if (!parse_lsn(text, slot))
        log_warning("Invalid value \"%.64s\" of option \"%s\" in file \"%s\"", text, f->key, name);
}

static void
set_storage_type(const char *text, enum storage_type *slot)
{
    *slot = strcasecmp(text, "FILE") == 0  ? STORAGE_TYPE_FILE
            : strcasecmp(text, "DSS") == 0 ? STORAGE_TYPE_DSS
                                           : STORAGE_TYPE_UNKNOWN;
}

static int
set_field(struct backup *b, const struct field *f, const char *text, const char *name, struct gsp_error *err)
{
    void *slot = (char *)b + f->offset;
    int good = 1, rc = 0;
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_MODE:
    case FIELD_COMPRESS:
        if (text[0] == '\0')
            log_warning("Option \"%s\" is empty in file \"%s\"", f->key, name);
        else
            rc = set_enum_text(f, slot, text);
        break;
    case FIELD_BOOL:
        good = parse_bool(text, slot);
        break;
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_BYTES:
    case FIELD_LEVEL:
        good = set_number(f, slot, text);
        break;
    case FIELD_TIME:
        good = timestamp_parse(text, 1, slot);
        break;
    case FIELD_ID:
        good = set_id(slot, text);
        break;
    case FIELD_LSN:
        set_lsn(f, text, name, slot);
        break;
    case FIELD_STATUS:
        set_status(text, name, slot);
        break;
    case FIELD_STORAGE_TYPE:
        set_storage_type(text, slot);
        break;
    }
    if (rc != 0)
        return gsp_fail(err, rc, 0, "out of memory");
    if (!good)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "invalid value \"%.64s\" of option \"%s\"", text, f->key);
    return 0;
}

/* A value at *p, unquoted: up to a comment or control blank; quoted: up to the closing quote, '' is one quote.
 * Returns 1 with the value in `out` and *p behind it. */
static int
scan_value(const char **p, const char *end, struct strbuf *out)
{
    const char *c = *p;
    if (c == end || *c != '\'') {
        while (c < end && memchr("#\n\r\t\v", *c, 5) == NULL)
            c++;
        strbuf_add(out, *p, (size_t)(c - *p));
        *p = c;
        return 1;
    }
    for (c++; c < end; c++) {
        if (*c != '\'') {
            strbuf_putc(out, *c);
        } else if (c + 1 < end && c[1] == '\'') {
            strbuf_putc(out, '\'');
            c++;
        } else {
            *p = c + 1;
            return 1;
        }
    }
    return 0;
}

static const char *
skip_space(const char *p, const char *end)
{
    while (p < end && isspace((unsigned char)*p))
        p++;
    return p;
}

static int
syntax_error(const char *line, const char *end, struct gsp_error *err)
{
    int n = end - line < 64 ? (int)(end - line) : 64;
    return gsp_fail(err, GSP_E_CORRUPT, 0, "Syntax error in \"%.*s\"", n, line);
}

/* Our own comment: "# made by gs_probackup 1.2.3". */
static int
parse_comment(struct backup *b, const char *line, const char *end, struct gsp_error *err)
{
    static const char prefix[] = "# made by gs_probackup ";
    size_t len = (size_t)(end - line), skip = sizeof prefix - 1;
    if (len <= skip || len - skip > MADE_BY_MAX || memcmp(line, prefix, skip) != 0)
        return 0;
    free(b->made_by);
    b->made_by = strndup(line + skip, len - skip);
    return b->made_by != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

/* One line without its LF. *n_keys counts what was understood. */
static int
parse_line(struct backup *b, const char *line, const char *end, const char *name, size_t *n_keys, struct gsp_error *err)
{
    while (end > line && isspace((unsigned char)end[-1]))
        end--;
    const char *key = skip_space(line, end);
    if (key == end)
        return 0;
    if (*key == '#')
        return parse_comment(b, key, end, err);
    const char *p = key;
    while (p < end && memchr("=# \n\r\t\v", *p, 7) == NULL)
        p++;
    size_t key_len = (size_t)(p - key);
    p = skip_space(p, end);
    if (key_len == 0 || p == end || *p != '=')
        return syntax_error(key, end, err);
    p = skip_space(p + 1, end);
    auto_strbuf value = STRBUF_INIT;
    if (!scan_value(&p, end, &value))
        return syntax_error(key, end, err);
    p = skip_space(p, end);
    if (p != end && *p != '#')
        return syntax_error(key, end, err);
    if (strbuf_check(&value, err) != 0)
        return err->code;
    const struct field *f = find_field(key, key_len);
    if (f == NULL) {
        log_warning("Invalid option \"%.*s\" in file \"%s\"", key_len < 64 ? (int)key_len : 64, key, name);
        return 0;
    }
    ++*n_keys;
    return set_field(b, f, strbuf_str(&value), name, err);
}

int
backup_parse(const char *text, size_t len, const char *name, struct backup *ret, struct gsp_error *err)
{
    auto_backup b;
    backup_init(&b);
    size_t n_keys = 0;
    if (memchr(text, '\0', len) != NULL) {
        (void)gsp_fail(err, GSP_E_CORRUPT, 0, "a NUL byte in the text");
        return gsp_prefix(err, "control file \"%s\"", name);
    }
    for (const char *line = text, *end = text + len; line < end;) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        const char *line_end = lf != NULL ? lf : end;
        int rc = line_end - line > LINE_MAX_BYTES ? gsp_fail(err, GSP_E_CORRUPT, 0, "a line is too long")
                                                  : parse_line(&b, line, line_end, name, &n_keys, err);
        if (rc != 0)
            return gsp_prefix(err, "control file \"%s\"", name);
        line = lf != NULL ? lf + 1 : end;
    }
    if (n_keys == 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "Control file \"%s\" is empty", name);
    if (b.start_time <= 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "Invalid ID/start-time, control file \"%s\" is corrupted", name);
    backup_id_format(b.start_time, b.id);
    *ret = b;
    /* The copy owns the strings now. */
    backup_init(&b);
    return 0;
}
