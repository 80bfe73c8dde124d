/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"

#include <inttypes.h>

/* Page header. */
#define AT_MAGIC 0
#define AT_INFO 2
#define AT_TIMELINE 4
#define AT_ADDRESS 8
#define AT_REMAINING 16
#define SHORT_HEADER 24
#define AT_SYSTEM_ID 24 /* this and the next two: first page of a segment only */
#define AT_SEGMENT_SIZE 32
#define AT_BLOCK_SIZE 36
#define LONG_HEADER 40

#define PAGE_CONTINUES 0x0001u  /* begins with the rest of a record */
#define PAGE_LONG 0x0002u       /* has the long header */
#define PAGE_OVERWRITES 0x0008u /* the unfinished record before it was given up by a crash recovery */
#define PAGE_KNOWN 0x000Fu

/* Record header. */
#define AT_TOTAL 0
#define AT_PREVIOUS 8
#define AT_RECORD_INFO 16
#define AT_MANAGER 17
#define AT_CRC 20
#define RECORD_HEADER 24
#define RECORD_MAX (1020u << 20)

#define MANAGER_XLOG 0
#define MANAGER_LAST_BUILTIN 21
#define MANAGER_FIRST_CUSTOM 128
#define INFO_SWITCH 0x40

#define CHUNK_BYTES (256u << 10)
#define SEGMENT_NAME 25

/* Reads WAL page after page; never more than one chunk is in memory. */
struct reader {
    const struct gsp_cluster *cluster;
    const struct gsp_wal_source *source;
    uint32_t timeline;
    uint32_t page_timeline; /* of the last page seen: it never goes back */
    uint32_t major;
    uint16_t magic;
    uint8_t *chunk;
    uint32_t chunk_size;
    gsp_lsn chunk_at;    /* LSN of chunk[0] */
    uint32_t chunk_len;  /* bytes in it, 0 = none */
    gsp_lsn page_at;     /* LSN of the current page */
    const uint8_t *page; /* NULL = none yet */
    uint32_t page_len;   /* bytes of it that the segment file has */
    uint32_t page_head;  /* bytes of its header */
    char segment[SEGMENT_NAME];
};

/* The record being read. */
struct record {
    gsp_lsn at;  /* where it starts */
    gsp_lsn end; /* behind it, aligned */
    uint32_t total;
    uint32_t done;     /* bytes seen */
    uint32_t data_crc; /* of the bytes behind the header */
    uint8_t head[RECORD_HEADER];
};

static void
name_segment(struct reader *r, gsp_lsn at)
{
    uint64_t number = at / r->cluster->wal_segment_size;
    uint64_t per_id = (UINT64_C(1) << 32) / r->cluster->wal_segment_size;
    (void)snprintf(r->segment, sizeof r->segment, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, r->timeline,
        (uint32_t)(number / per_id), (uint32_t)(number % per_id));
}

static int
corrupt(struct gsp_error *err, const struct reader *r, gsp_lsn at, const char *what)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "WAL segment '%s': %s at " GSP_LSN_FMT, r->segment, what, GSP_LSN_ARGS(at));
}

/* Make chunk hold the bytes at `at`; the end of the file may leave it short. */
static int
load_chunk(struct reader *r, gsp_lsn at, struct gsp_error *err)
{
    uint64_t offset;
    if (r->chunk_len > 0 && at >= r->chunk_at && at - r->chunk_at < r->chunk_len)
        return 0;
    r->chunk_at = at & ~((gsp_lsn)r->chunk_size - 1);
    r->chunk_len = 0;
    offset = r->chunk_at & ((gsp_lsn)r->cluster->wal_segment_size - 1);
    name_segment(r, at);
    while (r->chunk_len < r->chunk_size) {
        int64_t n = r->source->read(r->source->ctx, r->segment, offset + r->chunk_len, r->chunk + r->chunk_len,
            r->chunk_size - r->chunk_len, err);
        if (n < 0) {
            (void)gsp_prefix(err, "WAL segment '%s', needed at " GSP_LSN_FMT, r->segment, GSP_LSN_ARGS(at));
            return (int)n;
        }
        if (n > (int64_t)(r->chunk_size - r->chunk_len))
            return gsp_fail(err, GSP_E_BUG, 0, "WAL source returned more than it was asked for");
        if (n == 0)
            break;
        r->chunk_len += (uint32_t)n;
    }
    return 0;
}

static int
check_long_header(const struct reader *r, struct gsp_error *err)
{
    const uint8_t *p = r->page;
    if (pg_le64(p + AT_SYSTEM_ID) != r->cluster->system_id)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "WAL segment '%s' belongs to system id %" PRIu64 ", this cluster has system id %" PRIu64, r->segment,
            pg_le64(p + AT_SYSTEM_ID), r->cluster->system_id);
    if (pg_le32(p + AT_SEGMENT_SIZE) != r->cluster->wal_segment_size ||
        pg_le32(p + AT_BLOCK_SIZE) != r->cluster->wal_block_size)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "WAL segment '%s' was made for segments of %" PRIu32 " and blocks of %" PRIu32
            " bytes, this cluster has %" PRIu32 " and %" PRIu32,
            r->segment, pg_le32(p + AT_SEGMENT_SIZE), pg_le32(p + AT_BLOCK_SIZE), r->cluster->wal_segment_size,
            r->cluster->wal_block_size);
    return 0;
}

/* Go to the page at `at` and check its header. */
static int
enter_page(struct reader *r, gsp_lsn at, struct gsp_error *err)
{
    int first = (at & ((gsp_lsn)r->cluster->wal_segment_size - 1)) == 0;
    uint32_t info, timeline;
    int rc = load_chunk(r, at, err);
    if (rc < 0)
        return rc;
    r->page_at = at;
    r->page = r->chunk + (at - r->chunk_at);
    r->page_head = first ? LONG_HEADER : SHORT_HEADER;
    r->page_len = at - r->chunk_at < r->chunk_len ? r->chunk_len - (uint32_t)(at - r->chunk_at) : 0;
    if (r->page_len > r->cluster->wal_block_size)
        r->page_len = r->cluster->wal_block_size;
    if (r->page_len < r->page_head)
        return corrupt(err, r, at, "the file ends before the page");
    if (pg_le16(r->page + AT_MAGIC) != r->magic)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "WAL segment '%s': page at " GSP_LSN_FMT " has magic %04X, PostgreSQL %u writes %04X", r->segment,
            GSP_LSN_ARGS(at), pg_le16(r->page + AT_MAGIC), r->major, r->magic);
    info = pg_le16(r->page + AT_INFO);
    if ((info & ~PAGE_KNOWN) != 0 || ((info & PAGE_LONG) != 0) != first)
        return corrupt(err, r, at, "invalid page flags");
    if (pg_le64(r->page + AT_ADDRESS) != at)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "WAL segment '%s': page at " GSP_LSN_FMT " carries the address " GSP_LSN_FMT, r->segment, GSP_LSN_ARGS(at),
            GSP_LSN_ARGS(pg_le64(r->page + AT_ADDRESS)));
    timeline = pg_le32(r->page + AT_TIMELINE);
    if (timeline > r->timeline || timeline < r->page_timeline)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "WAL segment '%s': page at " GSP_LSN_FMT " belongs to timeline %" PRIu32 ", after timeline %" PRIu32,
            r->segment, GSP_LSN_ARGS(at), timeline, r->page_timeline);
    r->page_timeline = timeline;
    return first ? check_long_header(r, err) : 0;
}

static uint32_t
page_info(const struct reader *r)
{
    return pg_le16(r->page + AT_INFO);
}

static uint32_t
header_size_at(const struct gsp_cluster *cluster, gsp_lsn page_at)
{
    return (page_at & ((gsp_lsn)cluster->wal_segment_size - 1)) == 0 ? LONG_HEADER : SHORT_HEADER;
}

/* Take n bytes of the record: into the header first, the rest into the checksum. */
static void
feed(struct record *rec, const uint8_t *p, uint32_t n)
{
    if (rec->done < RECORD_HEADER) {
        uint32_t part = RECORD_HEADER - rec->done < n ? RECORD_HEADER - rec->done : n;
        memcpy(rec->head + rec->done, p, part);
        rec->done += part;
        p += part;
        n -= part;
    }
    if (n > 0) {
        rec->data_crc = pg_crc32c(rec->data_crc, p, n);
        rec->done += n;
    }
}

/* Is the header, once whole, one that a server writes? prev: start of the record before, 0 = unknown. */
static int
check_record_header(const struct reader *r, const struct record *rec, gsp_lsn prev, struct gsp_error *err)
{
    uint32_t manager = rec->head[AT_MANAGER];
    gsp_lsn stored_prev = pg_le64(rec->head + AT_PREVIOUS);
    if (manager > MANAGER_LAST_BUILTIN && (manager < MANAGER_FIRST_CUSTOM || r->major < 15))
        return corrupt(err, r, rec->at, "unknown resource manager in the record");
    if (prev != 0 ? stored_prev != prev : stored_prev >= rec->at)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "WAL segment '%s': record at " GSP_LSN_FMT " has the wrong predecessor " GSP_LSN_FMT, r->segment,
            GSP_LSN_ARGS(rec->at), GSP_LSN_ARGS(stored_prev));
    return 0;
}

/* Start of the record at or behind `at`: over the page header, and when the search starts at a page
 * (whole != 0) over the rest of a record that began before it. */
static int
find_record(struct reader *r, gsp_lsn at, int whole, gsp_lsn *ret, struct gsp_error *err)
{
    uint32_t block = r->cluster->wal_block_size;
    uint32_t offset = (uint32_t)(at & (block - 1));
    uint32_t rest;
    int rc;
    if (offset == 0 || r->page == NULL || at - offset != r->page_at) {
        rc = enter_page(r, at - offset, err);
        if (rc < 0)
            return rc;
    }
    if (offset >= r->page_head) {
        *ret = at;
        return 0;
    }
    if (!(page_info(r) & PAGE_CONTINUES)) {
        *ret = r->page_at + r->page_head;
        return 0;
    }
    if (!whole)
        return corrupt(err, r, at, "the page continues a record that is complete");
    for (;;) {
        rest = pg_le32(r->page + AT_REMAINING);
        if (rest < block - r->page_head)
            break;
        rc = enter_page(r, r->page_at + block, err);
        if (rc < 0)
            return rc;
        if (!(page_info(r) & PAGE_CONTINUES))
            rest = 0;
        if (rest == 0)
            break;
    }
    *ret = r->page_at + r->page_head + ((rest + 7) & ~7u);
    if ((*ret & (block - 1)) == 0)
        return find_record(r, *ret, 0, ret, err);
    return 0;
}

/* Read the rest of a record from the following pages. out *ret_given_up: a crash recovery dropped
 * the record and WAL goes on at the current page. */
static int
read_continuation(struct reader *r, struct record *rec, gsp_lsn prev, int *ret_given_up, struct gsp_error *err)
{
    uint32_t block = r->cluster->wal_block_size;
    while (rec->done < rec->total) {
        uint32_t left = rec->total - rec->done, part, had = rec->done;
        int rc = enter_page(r, r->page_at + block, err);
        if (rc < 0)
            return rc;
        if (page_info(r) & PAGE_OVERWRITES) {
            *ret_given_up = 1;
            return 0;
        }
        if (!(page_info(r) & PAGE_CONTINUES) || pg_le32(r->page + AT_REMAINING) != left)
            return corrupt(err, r, r->page_at, "the page does not continue the record before it");
        part = left < block - r->page_head ? left : block - r->page_head;
        if (part > r->page_len - r->page_head)
            return corrupt(err, r, r->page_at, "the file ends within a record");
        feed(rec, r->page + r->page_head, part);
        rec->end = r->page_at + r->page_head + part;
        if (had < RECORD_HEADER && rec->done >= RECORD_HEADER) {
            rc = check_record_header(r, rec, prev, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

/* Read and check the record that starts at rec->at on the current page. */
static int
read_record(struct reader *r, struct record *rec, gsp_lsn prev, int *ret_given_up, struct gsp_error *err)
{
    uint32_t block = r->cluster->wal_block_size;
    uint32_t offset = (uint32_t)(rec->at - r->page_at), part;
    int rc;
    rec->done = rec->data_crc = 0;
    *ret_given_up = 0;
    if (offset + 4 > r->page_len)
        return corrupt(err, r, rec->at, "the file ends before the record");
    rec->total = pg_le32(r->page + offset + AT_TOTAL);
    if (rec->total == 0)
        return corrupt(err, r, rec->at, "no record");
    if (rec->total < RECORD_HEADER || rec->total > RECORD_MAX)
        return corrupt(err, r, rec->at, "invalid record length");
    part = rec->total < block - offset ? rec->total : block - offset;
    if (part > r->page_len - offset)
        return corrupt(err, r, rec->at, "the file ends within the record");
    feed(rec, r->page + offset, part);
    rec->end = rec->at + part;
    if (rec->done >= RECORD_HEADER) {
        rc = check_record_header(r, rec, prev, err);
        if (rc < 0)
            return rc;
    }
    rc = read_continuation(r, rec, prev, ret_given_up, err);
    if (rc < 0 || *ret_given_up)
        return rc;
    rec->data_crc = pg_crc32c(rec->data_crc, rec->head, AT_CRC);
    if (rec->data_crc != pg_le32(rec->head + AT_CRC))
        return corrupt(err, r, rec->at, "wrong checksum of the record");
    rec->end = (rec->end + 7) & ~(gsp_lsn)7;
    if (rec->head[AT_MANAGER] == MANAGER_XLOG && (rec->head[AT_RECORD_INFO] & 0xF0) == INFO_SWITCH) {
        gsp_lsn mask = (gsp_lsn)r->cluster->wal_segment_size - 1;
        rec->end = (rec->end + mask) & ~mask; /* the rest of the segment is padding */
    }
    return 0;
}

/* Does WAL up to `end` contain `to`? A server may also name the place behind the header of the next
 * page, where the next record will start. */
static int
reaches(const struct gsp_cluster *cluster, gsp_lsn end, gsp_lsn to)
{
    if (end >= to)
        return 1;
    return (end & (cluster->wal_block_size - 1)) == 0 && end + header_size_at(cluster, end) >= to;
}

static int
walk(struct reader *r, gsp_lsn from, gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err)
{
    struct record rec = {0};
    gsp_lsn prev = 0, at = from;
    int whole = 1, given_up, rc;
    while (!reaches(r->cluster, at, to)) {
        rc = find_record(r, at, whole, &rec.at, err);
        if (rc < 0)
            return rc;
        whole = 0;
        rc = read_record(r, &rec, prev, &given_up, err);
        if (rc < 0)
            return rc;
        if (given_up) {
            at = r->page_at;
            continue;
        }
        prev = rec.at;
        at = *ret_end = rec.end;
    }
    return 0;
}

static int
known_sizes(const struct gsp_cluster *c)
{
    return c->wal_block_size >= 1024 && (c->wal_block_size & (c->wal_block_size - 1)) == 0 &&
           c->wal_segment_size >= 1u << 20 && c->wal_segment_size <= 1u << 30 &&
           (c->wal_segment_size & (c->wal_segment_size - 1)) == 0 && c->wal_block_size <= 65536;
}

int
pg_wal_verify(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from,
    gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err)
{
    struct reader r = {.cluster = cluster, .source = source, .timeline = timeline, .chunk_size = CHUNK_BYTES};
    const struct pg_major *major = NULL;
    const char *version = cluster->version;
    uint64_t number;
    int rc;
    *ret_end = from;
    if (pg_digits(&version, 1000, &number) && *version == '\0')
        major = pg_major_by_number(number);
    if (major == NULL)
        return gsp_fail(err, GSP_E_VERSION, 0, "WAL of version '%s' is not known, only of PostgreSQL %u to %u",
            cluster->version, PG_OLDEST_MAJOR, PG_NEWEST_MAJOR);
    if (!known_sizes(cluster) || from % 8 != 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "WAL cannot start at " GSP_LSN_FMT " with blocks of %" PRIu32 " bytes",
            GSP_LSN_ARGS(from), cluster->wal_block_size);
    r.major = major->major;
    r.magic = major->wal_magic;
    r.chunk = malloc(r.chunk_size);
    if (r.chunk == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory reading WAL");
    rc = walk(&r, from, to, ret_end, err);
    free(r.chunk);
    return rc;
}
