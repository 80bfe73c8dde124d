/* SPDX-License-Identifier: Apache-2.0
 * page_header_map: for each stored data file the headers of its pages, deflated. Format:
 * docs/formats/datafile.md. */
#ifndef CATALOG_HEADER_MAP_H
#define CATALOG_HEADER_MAP_H

#include <pthread.h>

#include "core/catalog/filelist.h"

enum { PAGE_HEADER_BYTES = 24 };

/* One record as on disk, decoded. The array of a file has n_headers + 1 of them; the last carries only
 * pos = stored size. */
struct page_header {
    gsp_lsn lsn;
    uint32_t block;
    uint32_t pos; /* offset of the page's 8-byte header in the stored file */
    uint16_t checksum;
};

/* Deflates one file's records as they come, bounded memory. One per worker, reused.
 * thread  one thread at a time */
struct header_stream;
int header_stream_new(struct header_stream **ret, struct gsp_error *err);
void header_stream_free(struct header_stream *hs);
void header_stream_reset(struct header_stream *hs);
int header_stream_add(struct header_stream *hs, const struct page_header *headers, uint32_t n, struct gsp_error *err);

/* The map being written. thread ANY (one lock around each append). */
struct header_map_writer;
int header_map_create(struct store *s, const char *path, struct header_map_writer **ret, struct gsp_error *err);
/* header_map_reopen - go on with a map that is there, behind its first `offset` bytes; what follows them is dropped. An
 * abort leaves what was written. errors NOENT */
int header_map_reopen(
    struct store *s, const char *path, uint64_t offset, struct header_map_writer **ret, struct gsp_error *err);
/* header_map_append - end a file's stream with its last record (end_pos) and append it; fills n_headers,
 * hdr_crc, hdr_off, hdr_size of the entry. Nothing is written for a stream without records. */
int header_map_append(struct header_map_writer *w, struct header_stream *hs, uint32_t end_pos, struct file_entry *entry,
    struct gsp_error *err);
/* header_map_copy - append the records of a file of another map, as they lie there; fills hdr_* and n_headers of `to`.
 * in     from, entry: the map that is read, and its file
 * errors CORRUPT for numbers of the entry that cannot be, or a map that ends before them */
int header_map_copy(struct header_map_writer *w, struct store_file *from, const struct file_entry *entry,
    struct file_entry *to, struct gsp_error *err);
/* header_map_flush - hand all that was appended to the storage. out ret_size: bytes of the map, all of them written.
 * errors after a failed write, too */
int header_map_flush(struct header_map_writer *w, uint64_t *ret_size, struct gsp_error *err);
/* header_map_commit - close; with no records at all no file is left. The writer is freed in any case. */
int header_map_commit(struct header_map_writer *w, struct gsp_error *err);
void header_map_abort(struct header_map_writer *w);

/* header_map_load - the n_headers + 1 records of one file, checked: CRC, ascending blocks below the
 * segment size, ascending positions that fit the stored size. Caller frees *ret with free(). errors CORRUPT NOENT */
int header_map_load(
    struct store_file *map, const struct file_entry *entry, struct page_header **ret, struct gsp_error *err);

#endif
