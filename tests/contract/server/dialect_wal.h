/* SPDX-License-Identifier: Apache-2.0
 * WAL made by tests of a dialect. */
#ifndef DIALECT_WAL_H
#define DIALECT_WAL_H

#include "dialect_test.h"

#define SEG (1u << 20)
#define BLOCK 8192u
#define SEGMENTS 6
#define FIRST ((gsp_lsn)3 * SEG) /* LSN of the first byte made here */

/* A piece of WAL that grows record by record. */
struct wal {
    uint8_t *data;          /* SEGMENTS segments from FIRST on */
    gsp_lsn at;             /* where the next byte goes */
    gsp_lsn prev;           /* last record */
    uint64_t len[SEGMENTS]; /* bytes each segment file has */
    uint32_t timeline;
    uint16_t magic; /* 0 = that of PostgreSQL 15 */
    int is_wide;    /* with the record header of openGauss, which has 64-bit transaction ids */
    int missing;    /* segment without a file, -1 = none */
};

static inline uint32_t
head_size(gsp_lsn at)
{
    return at % SEG == 0 ? 40 : 24;
}

static inline void
start_page(struct wal *w, uint32_t flags, uint32_t rest)
{
    uint8_t *p = w->data + (w->at - FIRST);
    int first = w->at % SEG == 0;
    put16(p, w->magic != 0 ? w->magic : 0xD110);
    put16(p + 2, flags | (first ? 2 : 0));
    put32(p + 4, w->timeline);
    put64(p + 8, w->at);
    put32(p + 16, rest);
    if (first) {
        put64(p + 24, SYSTEM_ID);
        put32(p + 32, SEG);
        put32(p + 36, BLOCK);
    }
    w->at += head_size(w->at);
}

/* Write up to `keep` bytes of a record; the page headers between are made on the way. */
static inline void
put_bytes(struct wal *w, const uint8_t *p, uint32_t len, uint32_t keep)
{
    uint32_t done = 0;
    while (done < keep) {
        uint32_t room = BLOCK - (uint32_t)(w->at % BLOCK);
        if (w->at % BLOCK == 0) {
            start_page(w, done > 0 ? 1 : 0, done > 0 ? len - done : 0);
            room = BLOCK - (uint32_t)(w->at % BLOCK);
        }
        if (room > keep - done)
            room = keep - done;
        memcpy(w->data + (w->at - FIRST), p + done, room);
        w->at += room;
        done += room;
    }
}

static inline uint32_t
record_head(const struct wal *w)
{
    return w->is_wide ? 32 : 24;
}

/* A record of `total` bytes, of which those behind the header stand in rec already; returns where it starts.
 * info 0x40 of manager 0 fills the segment. */
static inline gsp_lsn
put_record_of(struct wal *w, uint64_t xid, uint8_t *rec, uint32_t total, uint8_t manager, uint8_t info)
{
    gsp_lsn start;
    uint32_t head = record_head(w);
    if (w->at % BLOCK == 0)
        start_page(w, 0, 0);
    start = w->at;
    memset(rec, 0, head);
    put32(rec, total);
    if (w->is_wide)
        put64(rec + 8, xid);
    else
        put32(rec + 4, (uint32_t)xid);
    put64(rec + head - 16, w->prev);
    rec[head - 8] = info;
    rec[head - 7] = manager;
    put32(rec + head - 4, slow_crc(slow_crc(0, rec + head, total - head), rec, head - 4));
    put_bytes(w, rec, total, total);
    w->at = (w->at + 7) & ~(gsp_lsn)7;
    if (manager == 0 && info == 0x40)
        w->at = (w->at + SEG - 1) / SEG * SEG;
    w->prev = start;
    return start;
}

static inline gsp_lsn
put_record(struct wal *w, uint8_t *rec, uint32_t total, uint8_t manager, uint8_t info)
{
    return put_record_of(w, 0, rec, total, manager, info);
}

/* A record with main data only. */
static inline gsp_lsn
put_data(struct wal *w, uint8_t manager, uint8_t info, uint64_t xid, const uint8_t *data, uint32_t len)
{
    uint8_t rec[2048] = {0};
    uint32_t at = record_head(w);
    rec[at++] = 253; /* an origin, which is passed over */
    at += 2;
    if (len < 256) {
        rec[at++] = 255;
        rec[at++] = (uint8_t)len;
    } else {
        rec[at++] = 254;
        put32(rec + at, len);
        at += 4;
    }
    assert_true(at + len <= sizeof rec);
    memcpy(rec + at, data, len);
    return put_record_of(w, xid, rec, at + len, manager, info);
}

/* The same with whatever content. */
static inline gsp_lsn
add_record(struct wal *w, uint32_t total, uint8_t manager, uint8_t info)
{
    uint8_t *rec = calloc(1, total);
    gsp_lsn start;
    assert_non_null(rec);
    for (uint32_t i = record_head(w); i < total; i++)
        rec[i] = (uint8_t)(i * 7 + w->at);
    start = put_record(w, rec, total, manager, info);
    free(rec);
    return start;
}

static inline int64_t
read_wal(void *ctx, const char *segment, uint64_t offset, void *buf, uint32_t len, struct gsp_error *err)
{
    const struct wal *w = ctx;
    char name[25];
    for (int i = 0; i < SEGMENTS; i++) {
        (void)snprintf(name, sizeof name, "%08X%08X%08X", w->timeline, 0, (unsigned)(FIRST / SEG) + (unsigned)i);
        if (strcmp(name, segment) != 0 || i == w->missing)
            continue;
        if (offset >= w->len[i])
            return 0;
        if (len > w->len[i] - offset)
            len = (uint32_t)(w->len[i] - offset);
        if (len > 100000)
            len = 100000; /* short reads are allowed */
        memcpy(buf, w->data + (size_t)i * SEG + offset, len);
        return len;
    }
    return gsp_fail(err, GSP_E_NOENT, 0, "no such file");
}

static inline int
setup_wal(void **state)
{
    struct wal *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->data = calloc(SEGMENTS, SEG);
    assert_non_null(w->data);
    w->at = FIRST;
    w->prev = FIRST - 64;
    w->timeline = 1;
    w->missing = -1;
    for (int i = 0; i < SEGMENTS; i++)
        w->len[i] = SEG;
    *state = w;
    return 0;
}

static inline int
free_wal(void **state)
{
    struct wal *w = *state;
    free(w->data);
    free(w);
    return 0;
}

#endif
