/* SPDX-License-Identifier: Apache-2.0
 * Reading the files of a backup: data files page by page, others byte by byte, both with their checksum.
 * thread  a reader belongs to one worker */
#ifndef ENGINE_STORED_FILE_H
#define ENGINE_STORED_FILE_H

#include "core/catalog/header_map.h"
#include "core/engine/engine.h"
#include "core/io/page_batch.h"

enum { STORED_CODECS_MAX = 8 };

/* The files of one backup, and what it takes to read them. Opened by the main thread, then shared. */
struct stored_backup {
    struct engine *e;
    const struct backup *b;
    char dir[4096];
    struct filelist list;
    /* An older member of a chain, whose list has the numbers that external directories have in the newest: its own
     * number of directory N is [N - 1]. NULL: the list has its own. */
    int32_t *external_numbers;
    uint32_t page_size;
    struct codec codecs[STORED_CODECS_MAX];
    const char *codec_names[STORED_CODECS_MAX];
    int codec_usable[STORED_CODECS_MAX];
    struct gsp_error codec_errors[STORED_CODECS_MAX];
    size_t n_codecs;
};

/* stored_backup_check_version - can this program read the files of the backup? errors VERSION UNSUPPORTED */
int stored_backup_check_version(const struct backup *b, struct gsp_error *err);
/* stored_backup_open - read the file list (checked against content-crc, no name twice) and open the compressors it
 * names; one that is missing is only an error when a file needs it. errors CORRUPT NOENT */
int stored_backup_open(struct stored_backup *sb, struct engine *e, const struct backup *b, struct gsp_error *err);
/* stored_backup_init, stored_backup_open_codecs - its two halves around a file list that the caller fills. */
int stored_backup_init(struct stored_backup *sb, struct engine *e, const struct backup *b, struct gsp_error *err);
void stored_backup_open_codecs(struct stored_backup *sb);
void stored_backup_close(struct stored_backup *sb);
/* stored_path - where a file lies in the catalog. */
int stored_path(const struct stored_backup *sb, const struct file_entry *f, char path[4096], struct gsp_error *err);
/* stored_codec_error - NULL when the file's pages can be decoded, else why not. */
const struct gsp_error *stored_codec_error(const struct stored_backup *sb, const struct file_entry *f);

/* stored_is_whole - does the stored data file hold every block? That is so in a FULL backup, and in an increment that
 * stores as many pages as the file has blocks; stored_reader checks it. */
int stored_is_whole(const struct stored_backup *sb, const struct file_entry *f);

struct stored_reader {
    struct stored_backup *sb;
    struct store_file map;                        /* page_header_map, opened with the first file that needs it */
    struct page_batch batches[STORED_CODECS_MAX]; /* one per compressor that was needed */
    const char *batch_names[STORED_CODECS_MAX];
    size_t n_batches;
    uint8_t *bytes; /* window for files without pages */

    /* the file being read */
    const struct file_entry *entry;
    struct store_file file;
    struct page_batch *batch; /* NULL for files without pages */
    struct page_header *headers;
    uint32_t next_page;
    uint64_t offset;
    uint32_t crc;
};

/* stored_reader_new - one per worker; sb must outlive it. errors NOMEM */
int stored_reader_new(struct stored_backup *sb, struct stored_reader **ret, struct gsp_error *err);
/* stored_reader_free - fit as a worker's end: takes any struct stored_reader, or NULL. */
void stored_reader_free(void *reader);

/* stored_reader_turn - to the files of another backup of a chain, with the same page size. The file being read is
 * closed; buffers are kept. Every backup it was turned to must outlive it. */
void stored_reader_turn(struct stored_reader *r, struct stored_backup *sb);
/* stored_reader_batch - the reader's buffers for pages of a compressor that the backup names, empty. Borrowed. */
int stored_reader_batch(struct stored_reader *r, const struct stored_backup *sb, const char *alg,
    struct page_batch **ret, struct gsp_error *err);

/* stored_reader_begin - open a file's content. as_pages 0 reads a data file as bytes too. errors NOENT CORRUPT */
int stored_reader_begin(struct stored_reader *r, const struct file_entry *f, int as_pages, struct gsp_error *err);
/* stored_reader_pages - the next pages: r->batch->n, 0 at the end. Frames are compared with the header
 * map, and in a FULL backup no block may be missing. errors CORRUPT */
int stored_reader_pages(struct stored_reader *r, struct gsp_error *err);
/* stored_reader_salvage - after a failed stored_reader_pages: the next single page that can be read at all,
 * found through the header map. n is 1, or 0 at the end; ret_lost counts the pages passed over. Without
 * a map it ends the file. errors only of the machine, never CORRUPT */
int stored_reader_salvage(struct stored_reader *r, uint32_t *ret_lost, struct gsp_error *err);
/* stored_reader_bytes - the next bytes; they end at r->offset. Holes of a file above SPARSE_FILE_MIN are passed over.
 * Returns how many, 0 at the end. */
int64_t stored_reader_bytes(struct stored_reader *r, const uint8_t **ret, struct gsp_error *err);
/* stored_reader_end - close; at the end of the file length and checksum must be the listed ones.
 * errors CORRUPT */
int stored_reader_end(struct stored_reader *r, struct gsp_error *err);

/* stored_reader_header - the header-map record of page i of the current batch; NULL for a file without a map. */
const struct page_header *stored_reader_header(const struct stored_reader *r, uint32_t i);

#endif
