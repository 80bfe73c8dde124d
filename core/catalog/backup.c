/* SPDX-License-Identifier: Apache-2.0 */
#include "core/catalog/backup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/number.h"

static const struct {
    enum backup_status status;
    const char *name;
} statuses[] = {
    {BACKUP_UNKNOWN, "UNKNOWN"},
    {BACKUP_OK, "OK"},
    {BACKUP_ERROR, "ERROR"},
    {BACKUP_RUNNING, "RUNNING"},
    {BACKUP_MERGING, "MERGING"},
    {BACKUP_MERGED, "MERGED"},
    {BACKUP_DELETING, "DELETING"},
    {BACKUP_DONE, "DONE"},
    {BACKUP_ORPHAN, "ORPHAN"},
    {BACKUP_CORRUPT, "CORRUPT"},
};
enum { STATUSES_N = sizeof statuses / sizeof statuses[0] };

void
backup_init(struct backup *b)
{
    memset(b, 0, sizeof *b);
    b->data_bytes = b->wal_bytes = b->uncompressed_bytes = b->pgdata_bytes = -1;
}

void
backup_clear(struct backup *b)
{
    free(b->dir);
    free(b->mode);
    free(b->compress_alg);
    free(b->program_version);
    free(b->server_version);
    free(b->recovery_name);
    free(b->external_dirs);
    free(b->note);
    free(b->primary_conninfo);
    free(b->s3_status);
    free(b->made_by);
    backup_init(b);
}

const char *
backup_status_name(enum backup_status status)
{
    for (size_t i = 0; i < STATUSES_N; i++)
        if (statuses[i].status == status)
            return statuses[i].name;
    return "UNKNOWN";
}

int
backup_status_parse(const char *text, enum backup_status *ret)
{
    for (size_t i = 0; i < STATUSES_N; i++) {
        if (strcasecmp(text, statuses[i].name) == 0) {
            *ret = statuses[i].status;
            return 1;
        }
    }
    return 0;
}

int
backup_is_full(const struct backup *b)
{
    return b->mode != NULL && strcmp(b->mode, "FULL") == 0;
}

int
backup_is_valid(const struct backup *b)
{
    return b->status == BACKUP_OK || b->status == BACKUP_DONE;
}

void
backup_id_format(int64_t start_time, char id[BACKUP_ID_SIZE])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    char reversed[BACKUP_ID_SIZE];
    size_t n = 0;
    uint64_t v = start_time > 0 ? (uint64_t)start_time : 0;
    /* 2^63 has 13 digits in base 36. */
    do {
        reversed[n++] = digits[v % 36];
        v /= 36;
    } while (v > 0);
    for (size_t i = 0; i < n; i++)
        id[i] = reversed[n - 1 - i];
    id[n] = '\0';
}

int
backup_id_parse(const char *text, int64_t *ret_start_time)
{
    int64_t v = 0;
    for (const char *p = text; *p != '\0'; p++) {
        int digit;
        if (*p >= '0' && *p <= '9')
            digit = *p - '0';
        else if (*p >= 'A' && *p <= 'Z')
            digit = *p - 'A' + 10;
        else if (*p >= 'a' && *p <= 'z')
            digit = *p - 'a' + 10;
        else
            return 0;
        if (v > (INT64_MAX - digit) / 36)
            return 0;
        v = v * 36 + digit;
    }
    if (v == 0)
        return 0;
    *ret_start_time = v;
    return 1;
}

/* Up to eight hexadecimal digits; moves *p behind them. */
static int
scan_hex32(const char **p, uint32_t *ret)
{
    uint32_t v = 0;
    int n = 0;
    for (; n < 8; n++, (*p)++) {
        char c = **p;
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A') + 10;
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a') + 10;
        else
            break;
        v = v << 4 | digit;
    }
    *ret = v;
    return n > 0;
}

int
parse_lsn(const char *text, gsp_lsn *ret)
{
    uint32_t high, low;
    const char *p = text;
    if (!scan_hex32(&p, &high) || *p++ != '/' || !scan_hex32(&p, &low) || *p != '\0')
        return 0;
    *ret = (uint64_t)high << 32 | low;
    return 1;
}

uint32_t
version_number(const char *text)
{
    uint32_t version = 0;
    const char *p = text;
    for (int i = 0; i < 3; i++) {
        size_t len = strspn(p, "0123456789");
        uint64_t part;
        if (!parse_u64n(p, len, 99, &part) || p[len] != (i < 2 ? '.' : '\0'))
            return 0;
        version = version * 100 + (uint32_t)part;
        p += len + 1;
    }
    return version;
}
