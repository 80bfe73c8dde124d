/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to server-postgresql: WAL, record by record. Pure, one thread at a time on each reader. */
#ifndef SERVER_POSTGRESQL_WAL_H
#define SERVER_POSTGRESQL_WAL_H

#include "postgresql.h"

#define PG_RECORD_HEADER 24u
#define PG_AT_INFO 16 /* in the record header: what its resource manager did, in the high four bits */
#define PG_AT_MANAGER 17
#define PG_MANAGER_XLOG 0

/* The most of a record that is kept for its reader. All headers of a record with the 33 block references that are
 * possible take less. */
#define PG_RECORD_KEEP 1024u

/* Reads WAL page after page; never more than one chunk is in memory. */
struct pg_reader {
    const struct gsp_cluster *cluster;
    const struct gsp_wal_source *source;
    uint32_t timeline;
    uint32_t page_timeline; /* of the last page seen: it never goes back */
    uint32_t major;
    uint16_t magic;
    uint32_t keep;    /* bytes of each record to keep, PG_RECORD_HEADER to PG_RECORD_KEEP */
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
 * in     keep: bytes of each record that the caller wants to see, PG_RECORD_HEADER to PG_RECORD_KEEP
 * out    ret: pg_reader_close it, also after a failure
 * errors VERSION CORRUPT NOMEM */
int pg_reader_open(struct pg_reader *ret, const struct gsp_cluster *cluster, const struct gsp_wal_source *source,
    uint32_t timeline, gsp_lsn from, uint32_t keep, struct gsp_error *err);
void pg_reader_close(struct pg_reader *r);

/* pg_reader_next - read and check the next record, if it starts before `to`; reader->at is behind it then.
 * Returns 1, 0 when there is none, or CORRUPT NOENT naming LSN and segment, or a code of the source. */
int pg_reader_next(struct pg_reader *r, gsp_lsn to, struct pg_record *ret, struct gsp_error *err);

/* pg_reader_corrupt - fail with CORRUPT: what is wrong at this LSN of the current segment. */
int pg_reader_corrupt(struct gsp_error *err, const struct pg_reader *r, gsp_lsn at, const char *what);

#endif
