/* SPDX-License-Identifier: Apache-2.0
 * backup_content.control: one line per file or directory of a backup. Format: docs/formats/filelist.md. */
#ifndef CATALOG_FILELIST_H
#define CATALOG_FILELIST_H

#include <inttypes.h>

#include "core/base/arena.h"
#include "core/base/strbuf.h"
#include "core/io/store.h"

/* Where a backup keeps the files of external directory N. */
#define EXTERNAL_DIR_FORMAT "external_directories/externaldir%" PRId32

#define FILE_UNCHANGED (-1) /* size: existed, not stored here, take it from the parent */

/* One entry. Strings live in the list's arena and are interned (compress_alg) or unique (path). */
struct file_entry {
    const char *path;         /* relative to database/ (external_dir_num 0) or external_directories/externaldirN */
    const char *compress_alg; /* "none", "zlib"... */
    const char *linked;       /* or NULL */
    int64_t size;             /* bytes stored in this backup, or FILE_UNCHANGED */
    uint32_t mode;            /* with type bits */
    uint32_t crc;             /* CRC-32C of the stored bytes; control file: its inner field */
    uint32_t db_oid;
    uint32_t segment;
    int32_t external_dir_num;
    int32_t n_blocks;  /* logical blocks of the source, 0 = absent */
    int32_t n_headers; /* pages stored, 0 = absent */
    uint32_t hdr_crc;
    int64_t hdr_off;
    int32_t hdr_size;
    uint16_t compressed_chunk_size; /* openGauss row compression, with compressed_file */
    uint8_t compressed_algorithm;
    uint8_t compressed_file;
    uint8_t is_datafile;
    uint8_t is_cfs;
    uint8_t file_type; /* 0 file system, 1 DSS, 3 unknown */
    uint8_t encoded;   /* path is percent-encoded in the stored tree and in the line */
};

int file_entry_is_dir(const struct file_entry *f);

struct filelist {
    struct arena *arena;
    struct file_entry *entries;
    size_t n, cap;
};

int filelist_new(struct filelist *list, struct gsp_error *err);
void filelist_clear(struct filelist *list);
#define auto_filelist __attribute__((cleanup(filelist_clear))) struct filelist

/* filelist_add - a zeroed entry with copies of path and alg; the pointer is valid until the next add. */
struct file_entry *filelist_add(
    struct filelist *list, const char *path, const char *compress_alg, struct gsp_error *err);
/* filelist_add_shared - a copy of *from under a path that outlives the list (`linked` is left out); else as
 * filelist_add.
 */
struct file_entry *filelist_add_shared(
    struct filelist *list, const struct file_entry *from, const char *path, struct gsp_error *err);
/* filelist_compare - < 0, 0 or > 0 as a stands before b in a sorted list; 0: the same file. */
int filelist_compare(const struct file_entry *a, const struct file_entry *b);
/* filelist_sort - by (path, external_dir_num, file_type), the order every reader needs. */
void filelist_sort(struct filelist *list);
/* filelist_find - in a sorted list; NULL. */
struct file_entry *filelist_find(const struct filelist *list, const char *path, int32_t external_dir_num);

/* filelist_format_entry - one line with its LF: the stock tool's keys, order and punctuation. */
void filelist_format_entry(const struct file_entry *f, struct strbuf *out);
/* filelist_parse_line - one line without LF into *ret; strings are put into the arena. errors CORRUPT */
int filelist_parse_line(
    struct arena *arena, const char *line, size_t len, struct file_entry *ret, struct gsp_error *err);

/* filelist_read - a whole file, streamed; checks content_crc unless it is 0. Lines of the 2.5 catalog
 * (no file_type, full_size) are read too. errors CORRUPT NOENT */
int filelist_read(struct store *s, const char *path, uint32_t content_crc, struct filelist *ret, struct gsp_error *err);
/* filelist_each - filelist_read without a list: each entry to cb in the order of the lines, valid (with its strings)
 * until cb returns; a non-zero result ends the reading and is returned. The checksum is only known at the end. */
int filelist_each(struct store *s, const char *path, uint32_t content_crc,
    int (*cb)(void *arg, const struct file_entry *f, struct gsp_error *err), void *arg, struct gsp_error *err);
/* filelist_write - all entries in their order, atomically and durably. */
int filelist_write(
    struct store *s, const char *path, const struct filelist *list, uint32_t *ret_crc, struct gsp_error *err);

/* Names that a line cannot carry (quote, comma, backslash, control bytes, '%' itself once encoding is needed, bytes
 * that are not UTF-8) are percent-encoded. path_needs_encoding - 1 or 0. */
int path_needs_encoding(const char *path);
char *path_encode(const char *path);           /* malloc'ed, NULL when out of memory */
int path_decode(const char *path, char **ret); /* 1 and malloc'ed; 0 for a malformed escape or no memory */

#endif
