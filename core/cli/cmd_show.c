/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/timestamp.h"
#include "core/cli/show.h"

enum { COLUMNS = 16, CELL_SIZE = TABLE_CELL_SIZE };

static const struct table_column columns[COLUMNS] = {{"Instance", 0}, {"Version", 0}, {"ID", 0}, {"Recovery Time", 0},
    {"Mode", 0}, {"WAL Mode", 0}, {"TLI", 0}, {"Time", 1}, {"Data", 1}, {"WAL", 1}, {"Zratio", 1}, {"Start LSN", 0},
    {"Stop LSN", 0}, {"Type", 0}, {"S3 Status", 0}, {"Status", 0}};

struct row {
    char cell[COLUMNS][CELL_SIZE];
};

static const char *
or_dashes(const char *text)
{
    return text != NULL && text[0] != '\0' ? text : "----";
}

/* A lock that lives says RUNNING; without one the backup has failed, whatever its file says. show writes
 * nothing, so the file keeps its word until the next validate. */
static const char *
shown_status(struct engine *e, const struct backup *b)
{
    struct gsp_error ignored = {0};
    if (b->status == BACKUP_RUNNING && backup_lock_is_held(&e->repo, e->instance, b, &ignored) == 0)
        return backup_status_name(BACKUP_ERROR);
    return backup_status_name(b->status);
}

static int64_t
duration_us(const struct backup *b)
{
    if (b->status == BACKUP_RUNNING)
        return now_us() - b->start_time * 1000000;
    if (b->merge_time > 0 && b->end_time > 0)
        return (b->end_time - b->merge_time) * 1000000;
    return b->end_time > 0 ? (b->end_time - b->start_time) * 1000000 : -1;
}

static uint32_t
parent_timeline(const struct backup_list *list, const struct backup *b)
{
    const struct backup *parent = backup_is_full(b) ? NULL : backup_list_find(list, b->parent_id);
    return parent != NULL ? parent->timeline : 0;
}

static void
fill_row(struct engine *e, const struct backup_list *list, const struct backup *b, struct row *r)
{
    char(*c)[CELL_SIZE] = r->cell;
    double ratio =
        b->uncompressed_bytes > 0 && b->data_bytes > 0 ? (double)b->uncompressed_bytes / (double)b->data_bytes : 1.0;
    (void)snprintf(c[0], CELL_SIZE, "%s", e->instance);
    (void)snprintf(c[1], CELL_SIZE, "%s", or_dashes(b->server_version));
    (void)snprintf(c[2], CELL_SIZE, "%s", b->id);
    (void)snprintf(c[3], CELL_SIZE, "----");
    if (b->recovery_time > 0)
        timestamp_format(b->recovery_time, c[3]);
    (void)snprintf(c[4], CELL_SIZE, "%s", or_dashes(b->mode));
    (void)snprintf(c[5], CELL_SIZE, "%s", b->stream ? "STREAM" : "ARCHIVE");
    (void)snprintf(c[6], CELL_SIZE, "%" PRIu32 "/%" PRIu32, b->timeline, parent_timeline(list, b));
    (void)snprintf(c[7], CELL_SIZE, "----");
    if (duration_us(b) >= 0)
        format_interval_pretty(duration_us(b), c[7], CELL_SIZE);
    format_size_pretty(b->data_bytes, c[8], CELL_SIZE);
    format_size_pretty(b->wal_bytes, c[9], CELL_SIZE);
    (void)snprintf(c[10], CELL_SIZE, "%.2f", ratio);
    (void)snprintf(c[11], CELL_SIZE, GSP_LSN_FMT, GSP_LSN_ARGS(b->start_lsn));
    (void)snprintf(c[12], CELL_SIZE, GSP_LSN_FMT, GSP_LSN_ARGS(b->stop_lsn));
    (void)snprintf(c[13], CELL_SIZE, "%s", b->storage_type == STORAGE_TYPE_DSS ? "DSS" : "FILE");
    (void)snprintf(c[14], CELL_SIZE, "%s", b->s3_status != NULL ? b->s3_status : "UNKNOWN");
    (void)snprintf(c[15], CELL_SIZE, "%s", shown_status(e, b));
}

static int
print_table(struct engine *e, const struct backup_list *list, struct strbuf *out, struct gsp_error *err)
{
    struct row *rows = calloc(list->n + 1, sizeof *rows);
    if (rows == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t r = 0; r < list->n; r++)
        fill_row(e, list, &list->backups[r], &rows[r]);
    int rc = table_print(out, columns, COLUMNS, (const char(*)[TABLE_CELL_SIZE])rows->cell, list->n, err);
    free(rows);
    return rc;
}

static void
json_time(struct json_writer *w, const char *key, int64_t seconds)
{
    char text[TIMESTAMP_SIZE];
    timestamp_format(seconds, text);
    json_string(w, key, text);
}

static void
json_lsn(struct json_writer *w, const char *key, gsp_lsn lsn)
{
    char text[32];
    (void)snprintf(text, sizeof text, GSP_LSN_FMT, GSP_LSN_ARGS(lsn));
    json_string(w, key, text);
}

static void
json_backup_identity(struct json_writer *w, const struct backup_list *list, const struct backup *b)
{
    json_string(w, "id", b->id);
    if (b->parent_id[0] != '\0')
        json_string(w, "parent-backup-id", b->parent_id);
    json_string(w, "backup-mode", b->mode != NULL ? b->mode : "");
    json_string(w, "wal", b->stream ? "STREAM" : "ARCHIVE");
    json_string(w, "compress-alg", b->compress_alg != NULL ? b->compress_alg : "none");
    json_i64(w, "compress-level", b->compress_level);
    json_string(w, "from-replica", b->from_replica ? "true" : "false");
    json_u64(w, "block-size", b->block_size);
    json_u64(w, "xlog-block-size", b->wal_block_size);
    json_u64(w, "checksum-version", b->checksum_version);
    json_string(w, "program-version", b->program_version != NULL ? b->program_version : "");
    json_string(w, "server-version", b->server_version != NULL ? b->server_version : "");
    json_u64(w, "current-tli", b->timeline);
    json_u64(w, "parent-tli", parent_timeline(list, b));
    json_lsn(w, "start-lsn", b->start_lsn);
    json_lsn(w, "stop-lsn", b->stop_lsn);
}

void
show_backup_json(struct json_writer *w, struct engine *e, const struct backup_list *list, const struct backup *b)
{
    json_open(w, NULL, '{');
    json_backup_identity(w, list, b);
    json_time(w, "start-time", b->start_time);
    if (b->end_time > 0)
        json_time(w, "end-time", b->end_time);
    json_u64(w, "recovery-xid", b->recovery_xid);
    if (b->recovery_time > 0)
        json_time(w, "recovery-time", b->recovery_time);
    json_string(w, "recovery-name", b->recovery_name != NULL ? b->recovery_name : "");
    if (b->expire_time > 0)
        json_time(w, "expire-time", b->expire_time);
    if (b->data_bytes != -1)
        json_i64(w, "data-bytes", b->data_bytes);
    if (b->wal_bytes != -1)
        json_i64(w, "wal-bytes", b->wal_bytes);
    if (b->uncompressed_bytes >= 0) {
        json_i64(w, "uncompressed-bytes", b->uncompressed_bytes);
        json_i64(w, "pgdata-bytes", b->pgdata_bytes > 0 ? b->pgdata_bytes : 0);
        json_i64(w, "dssdata-bytes", 0);
    }
    if (b->external_dirs != NULL)
        json_string(w, "external-dirs", b->external_dirs);
    json_string(w, "status", shown_status(e, b));
    if (b->note != NULL)
        json_string(w, "note", b->note);
    if (b->content_crc != 0)
        json_u64(w, "content-crc", b->content_crc);
    json_close(w, '}');
}

static void
json_instance(struct json_writer *w, struct engine *e, const struct backup_list *list, const char *id)
{
    json_open(w, NULL, '{');
    json_string(w, "instance", e->instance);
    json_open(w, "backups", '[');
    for (size_t i = 0; i < list->n; i++)
        if (id == NULL || strcmp(list->backups[i].id, id) == 0)
            show_backup_json(w, e, list, &list->backups[i]);
    json_close(w, ']');
    json_close(w, '}');
}

static int
show_instance(struct show *s, struct gsp_error *err)
{
    struct engine *e = &s->cli->engine;
    auto_backup_list list = {0};
    if (cli_given(s->cli, OPT_ARCHIVE))
        return show_archive(s, err);
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc != 0)
        return rc;
    const struct backup *one = s->id != NULL ? backup_list_find(&list, s->id) : NULL;
    if (s->id != NULL && one == NULL) {
        (void)gsp_fail(err, GSP_E_NOENT, 0, "Requested backup \"%s\" is not found.", s->id);
        return gsp_hint(err, "see 'gs_probackup show --instance=%s' for the backups there are", e->instance);
    }
    if (s->json)
        json_instance(&s->w, e, &list, s->id);
    else if (one != NULL)
        return backup_format(one, &s->out, err);
    else
        return print_table(e, &list, &s->out, err);
    return 0;
}

/* One of all; nothing of an instance that was deleted since they were listed. */
static int
show_one_of_all(struct show *s, struct gsp_error *err)
{
    struct engine *e = &s->cli->engine;
    struct gsp_error problem = {0}, gone = {0};
    size_t before = s->out.len;
    if (!s->json && !cli_given(s->cli, OPT_ARCHIVE))
        strbuf_printf(&s->out, "\nBACKUP INSTANCE '%s'\n", e->instance);
    int rc = show_instance(s, &problem);
    if (rc == GSP_E_NOENT && instance_check(&e->repo, e->instance, &gone) == GSP_E_NOENT) {
        s->out.len = before;
        return 0;
    }
    if (rc != 0)
        *err = problem;
    return rc;
}

static int
show_all(struct show *s, struct gsp_error *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = catalog_instances(&s->cli->engine.repo, &names, &n, err);
    if (rc == 0 && n == 0)
        log_warning("This backup catalog contains no backup instances. Backup instance can be added via 'add-instance' "
                    "command.");
    for (size_t i = 0; i < n; i++) {
        s->cli->engine.instance = names[i];
        if (rc == 0)
            rc = show_one_of_all(s, err);
        free(names[i]);
    }
    free(names);
    s->cli->engine.instance = NULL;
    return rc;
}

static int
open_show(struct show *s, char id[BACKUP_ID_SIZE], struct gsp_error *err)
{
    struct cli *cli = s->cli;
    int rc = cli_open_repo(cli, err);
    s->json = rc == 0 ? cli_format_is_json(cli, err) : 0;
    if (s->json < 0)
        return s->json;
    if (rc == 0 && cli_given(cli, OPT_BACKUP_ID)) {
        if (!cli_given(cli, OPT_INSTANCE))
            return gsp_fail(err, GSP_E_USAGE, 0, "You must specify --instance to use (-i, --backup-id) option");
        if (cli_given(cli, OPT_ARCHIVE))
            return gsp_fail(err, GSP_E_USAGE, 0, "You cannot specify --archive and (-i, --backup-id) options together");
        rc = cli_backup_id(cli, id, err);
        s->id = id;
    }
    if (rc != 0)
        return rc;
    if (cli_given(cli, OPT_INSTANCE))
        return cli_open_instance(cli, err);
    rc = cli_check_catalog(cli, err);
    return rc == 0 ? cli_start_log(cli, err) : rc;
}

int
cmd_show(struct cli *cli, struct gsp_error *err)
{
    struct show s = {.cli = cli, .out = STRBUF_INIT};
    char id[BACKUP_ID_SIZE];
    int rc = open_show(&s, id, err);
    if (rc == 0 && s.json) {
        json_begin(&s.w, &s.out);
        json_open(&s.w, NULL, '{');
        json_open(&s.w, "backup_info", '[');
    }
    if (rc == 0)
        rc = cli_given(cli, OPT_INSTANCE) ? show_instance(&s, err) : show_all(&s, err);
    if (rc == 0 && s.json) {
        json_close(&s.w, ']');
        json_close(&s.w, '}');
    }
    if (rc == 0)
        rc = cli_print(&s.out, err);
    strbuf_free(&s.out);
    return rc;
}
