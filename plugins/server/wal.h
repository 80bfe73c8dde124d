/* SPDX-License-Identifier: Apache-2.0
 *
 * WAL of PostgreSQL and its descendants, record by record. Pure, one thread at a time on each reader. */
#ifndef SERVER_WAL_H
#define SERVER_WAL_H

#include "gsp/server.h"
#include "server/bytes.h"

#define PG_MANAGER_XLOG 0

/* What differs from version to version. Offsets are those of the record header. */
struct pg_wal_format {
    const char *what;      /* "PostgreSQL 15", for messages */
    uint16_t magic;        /* of a page */
    uint16_t page_flags;   /* that a page may have */
    uint32_t header;       /* bytes of a record header */
    uint32_t at_previous;  /* LSN of the record before */
    uint32_t at_info;      /* what its resource manager did, in the high four bits */
    uint32_t at_manager;   /* resource manager */
    uint32_t at_crc;       /* behind all the others */
    uint32_t last_manager; /* that the server has of its own */
    uint32_t first_custom; /* of extensions; 256 = there are none */
};

#define PG_PAGE_CONTINUES 0x0001u  /* begins with the rest of a record */
#define PG_PAGE_LONG 0x0002u       /* has the long header */
#define PG_PAGE_REMOVABLE 0x0004u  /* full-page images in it may be left out */
#define PG_PAGE_OVERWRITES 0x0008u /* the unfinished record before it was given up by a crash recovery */

/* The most that any record header has. */
#define PG_RECORD_HEADER_MAX 32u

/* The most of a record that is kept for its reader. All headers of a record with the 33 block references that are
 * possible take less. */
#define PG_RECORD_KEEP 1024u

/* Reads WAL page after page; never more than one chunk is in memory. */
struct pg_reader {
    const struct gsp_cluster *cluster;
    const struct gsp_wal_source *source;
    uint32_t timeline;
    uint32_t page_timeline; /* of the last page seen: it never goes back */
    const struct pg_wal_format *format;
    uint32_t keep;    /* bytes of each record to keep, the header's to PG_RECORD_KEEP */
    gsp_lsn at, prev; /* where to look for the next record; the one before, 0 = unknown */
    int whole;        /* no record was read yet: what continues one from before is passed over */
    uint8_t *chunk;
    uint32_t chunk_size;
    gsp_lsn chunk_at;    /* LSN of chunk[0] */
    uint32_t chunk_len;  /* bytes in it, 0 = none */
    gsp_lsn page_at;     /* LSN of the current page */
    const uint8_t *page; /* NULL = none yet */
    uint32_t page_len;   /* bytes of it that the segment file has */
    uint32_t page_head;  /* bytes of its header */
    char segment[25];
};

/* The record being read. */
struct pg_record {
    gsp_lsn at;  /* where it starts */
    gsp_lsn end; /* behind it, aligned */
    uint32_t total;
    uint32_t done;                 /* bytes seen */
    uint32_t data_crc;             /* of the bytes behind the header */
    uint8_t bytes[PG_RECORD_KEEP]; /* the first min(total, keep) of it, page headers left out */
};

/* pg_reader_open - begin to read at `from`: the start of a record, or of a page.
 * in     format: borrowed as long as the reader; keep: bytes of each record that the caller wants to see beside its
 *        header, at most PG_RECORD_KEEP with it
 * out    ret: pg_reader_close it, also after a failure
 * errors CORRUPT NOMEM */
int pg_reader_open(struct pg_reader *ret, const struct pg_wal_format *format, const struct gsp_cluster *cluster,
    const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from, uint32_t keep, struct gsp_error *err);
void pg_reader_close(struct pg_reader *r);

/* pg_reader_next - read and check the next record, if it starts before `to`; reader->at is behind it then.
 * Returns 1, 0 when there is none, or CORRUPT NOENT naming LSN and segment, or a code of the source. */
int pg_reader_next(struct pg_reader *r, gsp_lsn to, struct pg_record *ret, struct gsp_error *err);

/* pg_reader_verify - wal_verify of a dialect, see gsp/server.h: read and check all records from `from` to `to`. */
int pg_reader_verify(const struct pg_wal_format *format, const struct gsp_cluster *cluster,
    const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from, gsp_lsn to, gsp_lsn *ret_end,
    struct gsp_error *err);

/* pg_reader_corrupt - fail with CORRUPT: what is wrong at this LSN of the current segment. */
int pg_reader_corrupt(struct gsp_error *err, const struct pg_reader *r, gsp_lsn at, const char *what);

#endif
