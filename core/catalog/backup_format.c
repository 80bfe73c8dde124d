/* SPDX-License-Identifier: Apache-2.0 */
#include "core/catalog/backup.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/timestamp.h"

/* The stock reader takes a line in pieces of this many bytes; a longer one would be read as two. */
enum { STOCK_LINE_MAX = 1023 };

static const char *
bool_name(int v)
{
    return v ? "true" : "false";
}

/* key = 'value', quotes inside doubled as the reader undoes them. NULL: no line. */
static void
put_quoted(struct strbuf *out, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    strbuf_printf(out, "%s = '", key);
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\'')
            strbuf_putc(out, '\'');
        strbuf_putc(out, *p);
    }
    strbuf_puts(out, "'\n");
}

/* key = value; a value that would not be read back without quotes gets them. */
static void
put_plain(struct strbuf *out, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    size_t len = strlen(value);
    if (value[0] == '\'' || strpbrk(value, "#\r\t\v") != NULL || isspace((unsigned char)value[0]) ||
        isspace((unsigned char)value[len - 1]))
        put_quoted(out, key, value);
    else
        strbuf_printf(out, "%s = %s\n", key, value);
}

static void
put_time(struct strbuf *out, const char *key, int64_t seconds)
{
    if (seconds <= 0)
        return;
    char text[TIMESTAMP_SIZE];
    timestamp_format(seconds, text);
    put_quoted(out, key, text);
}

static void
put_bytes(struct strbuf *out, const char *key, int64_t bytes)
{
    if (bytes >= 0)
        strbuf_printf(out, "%s = %" PRId64 "\n", key, bytes);
}

static void
put_configuration(struct strbuf *out, const struct backup *b)
{
    strbuf_puts(out, "#Configuration\n");
    put_plain(out, "backup-mode", b->mode);
    strbuf_printf(out, "stream = %s\n", bool_name(b->stream));
    put_plain(out, "compress-alg", b->compress_alg);
    strbuf_printf(out, "compress-level = %" PRId64 "\n", b->compress_level);
    strbuf_printf(out, "from-replica = %s\n", bool_name(b->from_replica));
    strbuf_puts(out, "\n#Compatibility\n");
    strbuf_printf(out, "block-size = %" PRIu32 "\n", b->block_size);
    strbuf_printf(out, "xlog-block-size = %" PRIu32 "\n", b->wal_block_size);
    strbuf_printf(out, "checksum-version = %" PRIu32 "\n", b->checksum_version);
    put_plain(out, "program-version", b->program_version);
    put_plain(out, "server-version", b->server_version);
    if (b->made_by != NULL)
        strbuf_printf(out, "# made by gs_probackup %s\n", b->made_by);
}

static void
put_result(struct strbuf *out, const struct backup *b)
{
    strbuf_puts(out, "\n#Result backup info\n");
    strbuf_printf(out, "timelineid = %" PRIu32 "\n", b->timeline);
    strbuf_printf(out, "start-lsn = " GSP_LSN_FMT "\n", GSP_LSN_ARGS(b->start_lsn));
    strbuf_printf(out, "stop-lsn = " GSP_LSN_FMT "\n", GSP_LSN_ARGS(b->stop_lsn));
    put_time(out, "start-time", b->start_time);
    put_time(out, "merge-time", b->merge_time);
    put_time(out, "end-time", b->end_time);
    strbuf_printf(out, "recovery-xid = %" PRIu64 "\n", b->recovery_xid);
    put_time(out, "recovery-time", b->recovery_time);
    put_time(out, "expire-time", b->expire_time);
    put_quoted(out, "recovery-name", b->recovery_name);
    put_quoted(out, "merge-dest-id", b->merge_dest_id);
    put_bytes(out, "data-bytes", b->data_bytes);
    put_bytes(out, "wal-bytes", b->wal_bytes);
    put_bytes(out, "uncompressed-bytes", b->uncompressed_bytes);
    put_bytes(out, "pgdata-bytes", b->pgdata_bytes);
    strbuf_printf(out, "status = %s\n", backup_status_name(b->status));
    put_quoted(out, "parent-backup-id", b->parent_id);
    put_quoted(out, "primary_conninfo", b->primary_conninfo);
    put_quoted(out, "external-dirs", b->external_dirs);
    put_quoted(out, "note", b->note);
    if (b->content_crc != 0)
        strbuf_printf(out, "content-crc = %" PRIu32 "\n", b->content_crc);
}

static void
put_storage(struct strbuf *out, const struct backup *b)
{
    const char *type = b->storage_type == STORAGE_TYPE_FILE  ? "FILE"
                       : b->storage_type == STORAGE_TYPE_DSS ? "DSS"
                                                             : "UNKNOWN";
    strbuf_printf(out, "\n#Database Storage type\nstorage-type = %s\n", type);
    strbuf_puts(out, "\n#S3 Storage status\n");
    put_plain(out, "s3-status", b->s3_status != NULL ? b->s3_status : "UNKNOWN");
}

/* Text that would not survive: a line break ends the value, a long line is cut by the stock reader. */
static int
check_text(const char *key, const char *value, struct gsp_error *err)
{
    if (value != NULL && strchr(value, '\n') != NULL) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "'%s' of a backup cannot hold a line break", key);
        return gsp_hint(err, "write it in one line");
    }
    return 0;
}

static int
check_lines(const struct strbuf *out, size_t from, struct gsp_error *err)
{
    for (const char *line = out->data + from; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (len > STOCK_LINE_MAX) {
            int key_len = (int)strcspn(line, " ");
            (void)gsp_fail(err, GSP_E_USAGE, 0,
                "'%.*s' of a backup is too long: a line of backup.control holds %d bytes", key_len < 64 ? key_len : 64,
                line, STOCK_LINE_MAX);
            return gsp_hint(err, "shorten it");
        }
        line += len + (line[len] == '\n');
    }
    return 0;
}

int
backup_format(const struct backup *b, struct strbuf *out, struct gsp_error *err)
{
    const struct {
        const char *key, *value;
    } texts[] = {{"backup-mode", b->mode}, {"compress-alg", b->compress_alg}, {"program-version", b->program_version},
        {"server-version", b->server_version}, {"recovery-name", b->recovery_name}, {"external-dirs", b->external_dirs},
        {"note", b->note}, {"primary_conninfo", b->primary_conninfo}, {"s3-status", b->s3_status},
        {"version", b->made_by}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (check_text(texts[i].key, texts[i].value, err) != 0)
            return err->code;
    size_t from = out->len;
    put_configuration(out, b);
    put_result(out, b);
    /* pg_probackup (2.5 and later) knows no such keys and would warn about each of them. */
    if (b->program_version == NULL || version_number(b->program_version) <= version_number(CATALOG_FORMAT_VERSION))
        put_storage(out, b);
    int rc = strbuf_check(out, err);
    return rc == 0 ? check_lines(out, from, err) : rc;
}
