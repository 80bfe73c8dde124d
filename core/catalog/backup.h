/* SPDX-License-Identifier: Apache-2.0
 * One backup as backup.control describes it. Format: docs/formats/backup-control.md. */
#ifndef CATALOG_BACKUP_H
#define CATALOG_BACKUP_H

#include "core/base/strbuf.h"
#include "gsp/plugin.h"

enum { BACKUP_ID_SIZE = 16 };

enum backup_status {
    BACKUP_UNKNOWN,
    BACKUP_OK,
    BACKUP_ERROR,
    BACKUP_RUNNING,
    BACKUP_MERGING,
    BACKUP_MERGED,
    BACKUP_DELETING,
    BACKUP_DONE,
    BACKUP_ORPHAN,
    BACKUP_CORRUPT,
};

enum storage_type { STORAGE_TYPE_FILE, STORAGE_TYPE_DSS, STORAGE_TYPE_UNKNOWN };

/* Strings are malloc'ed or NULL = key absent; -1 and 0 as noted = absent. */
struct backup {
    char id[BACKUP_ID_SIZE]; /* base36(start_time); the directory's name when the control file is unreadable */
    char *dir;               /* name of its directory in the instance, normally the id */
    char *mode;              /* FULL PTRACK DELTA PAGE, or what stands there */
    int stream;
    char *compress_alg;
    int64_t compress_level;
    int from_replica;
    uint32_t block_size, wal_block_size, checksum_version;
    char *program_version, *server_version;
    uint32_t timeline;
    gsp_lsn start_lsn, stop_lsn;
    int64_t start_time, merge_time, end_time; /* seconds; 0 = absent (start_time always) */
    uint64_t recovery_xid;
    int64_t recovery_time, expire_time; /* 0 = absent */
    char *recovery_name;
    char merge_dest_id[BACKUP_ID_SIZE];                              /* "" = absent */
    int64_t data_bytes, wal_bytes, uncompressed_bytes, pgdata_bytes; /* -1 = absent */
    enum backup_status status;
    char parent_id[BACKUP_ID_SIZE]; /* "" = FULL */
    char *external_dirs, *note, *primary_conninfo;
    uint32_t content_crc; /* 0 = absent */
    enum storage_type storage_type;
    char *s3_status; /* UNKNOWN LOCAL S3 */
    char *made_by;   /* our own version, from the comment line; NULL for other tools */
    int unread;      /* the control file is there, and could not be read: nobody knows what it says */
};

void backup_init(struct backup *b);
void backup_clear(struct backup *b);
#define auto_backup __attribute__((cleanup(backup_clear))) struct backup

const char *backup_status_name(enum backup_status status);
int backup_status_parse(const char *text, enum backup_status *ret); /* any case; 1 or 0 */
int backup_is_full(const struct backup *b);
/* backup_is_valid - OK or DONE. */
int backup_is_valid(const struct backup *b);

/* Backup ids: base 36 of the start second, upper case. backup_id_parse accepts lower case. 1 or 0. */
void backup_id_format(int64_t start_time, char id[BACKUP_ID_SIZE]);
int backup_id_parse(const char *text, int64_t *ret_start_time);
/* parse_lsn - "X/X" hexadecimal. 1 or 0. */
int parse_lsn(const char *text, gsp_lsn *ret);

/* backup_parse - a control file. Hostile input gives an error or a correct struct. name is for messages.
 * Problems that do not stop reading (unknown keys, bad LSN) are logged as warnings, once each.
 * errors CORRUPT */
int backup_parse(const char *text, size_t len, const char *name, struct backup *ret, struct gsp_error *err);
/* backup_format - exact bytes of backup.control: what the stock tool reads, our version in a comment. */
int backup_format(const struct backup *b, struct strbuf *out, struct gsp_error *err);

/* Our version and the catalog format's, as written into every backup. */
#define CATALOG_FORMAT_VERSION "2.4.2"
extern const char program_version[];

/* version_number - "2.4.2" -> 20402; 0 when malformed. */
uint32_t version_number(const char *text);

#endif
