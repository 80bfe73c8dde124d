/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wal.h"

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

/* Record header; the rest of it stands in the format. */
#define AT_TOTAL 0
#define RECORD_MAX (1020u << 20)

#define INFO_SWITCH 0x40

#define CHUNK_BYTES (256u << 10)

static void
name_segment(struct pg_reader *r, gsp_lsn at)
{
    uint64_t number = at / r->cluster->wal_segment_size;
    uint64_t per_id = (UINT64_C(1) << 32) / r->cluster->wal_segment_size;
    (void)snprintf(r->segment, sizeof r->segment, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, r->timeline,
        (uint32_t)(number / per_id), (uint32_t)(number % per_id));
}

int
pg_reader_corrupt(struct gsp_error *err, const struct pg_reader *r, gsp_lsn at, const char *what)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "WAL segment '%s': %s at " GSP_LSN_FMT, r->segment, what, GSP_LSN_ARGS(at));
}

/* Make chunk hold the bytes at `at`; the end of the file may leave it short. */
static int
load_chunk(struct pg_reader *r, gsp_lsn at, struct gsp_error *err)
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
check_long_header(const struct pg_reader *r, struct gsp_error *err)
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

/* Versions of one server differ in the low byte. */
static int
fail_magic(const struct pg_reader *r, gsp_lsn at, struct gsp_error *err)
{
    uint16_t magic = pg_le16(r->page + AT_MAGIC);
    (void)gsp_fail(err, GSP_E_CORRUPT, 0, "WAL segment '%s': page at " GSP_LSN_FMT " has magic %04X, %s writes %04X",
        r->segment, GSP_LSN_ARGS(at), magic, r->format->what, r->format->magic);
    if (magic >> 8 == r->format->magic >> 8)
        return gsp_hint(err, "This may be WAL of another version of the server.");
    return err->code;
}

/* Go to the page at `at` and check its header. */
static int
enter_page(struct pg_reader *r, gsp_lsn at, struct gsp_error *err)
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
        return pg_reader_corrupt(err, r, at, "the file ends before the page");
    if (pg_le16(r->page + AT_MAGIC) != r->format->magic)
        return fail_magic(r, at, err);
    info = pg_le16(r->page + AT_INFO);
    if ((info & ~(uint32_t)r->format->page_flags) != 0 || ((info & PG_PAGE_LONG) != 0) != first)
        return pg_reader_corrupt(err, r, at, "invalid page flags");
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
page_info(const struct pg_reader *r)
{
    return pg_le16(r->page + AT_INFO);
}

static uint32_t
header_size_at(const struct gsp_cluster *cluster, gsp_lsn page_at)
{
    return (page_at & ((gsp_lsn)cluster->wal_segment_size - 1)) == 0 ? LONG_HEADER : SHORT_HEADER;
}

/* Take n bytes of the record: what is kept of it, and behind its header into the checksum. */
static void
feed(const struct pg_reader *r, struct pg_record *rec, const uint8_t *p, uint32_t n)
{
    uint32_t header = r->format->header;
    if (rec->done < r->keep)
        memcpy(rec->bytes + rec->done, p, r->keep - rec->done < n ? r->keep - rec->done : n);
    if (rec->done < header) {
        uint32_t part = header - rec->done < n ? header - rec->done : n;
        rec->done += part;
        p += part;
        n -= part;
    }
    if (n > 0) {
        rec->data_crc = pg_crc32c(rec->data_crc, p, n);
        rec->done += n;
    }
}

/* Is the header, once whole, one that a server writes? */
static int
check_record_header(const struct pg_reader *r, const struct pg_record *rec, struct gsp_error *err)
{
    const struct pg_wal_format *f = r->format;
    uint32_t manager = rec->bytes[f->at_manager];
    gsp_lsn stored_prev = pg_le64(rec->bytes + f->at_previous);
    if (manager > f->last_manager && manager < f->first_custom)
        return pg_reader_corrupt(err, r, rec->at, "unknown resource manager in the record");
    if (r->prev != 0 ? stored_prev != r->prev : stored_prev >= rec->at)
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "WAL segment '%s': record at " GSP_LSN_FMT " has the wrong predecessor " GSP_LSN_FMT, r->segment,
            GSP_LSN_ARGS(rec->at), GSP_LSN_ARGS(stored_prev));
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

/* Start of the next record: over the page header, and when nothing was read before over the rest of a record that
 * began before the page. Where that is not before `to` its page is left unread: it may not exist yet. */
static int
find_record(struct pg_reader *r, gsp_lsn to, gsp_lsn *ret, struct gsp_error *err)
{
    uint32_t block = r->cluster->wal_block_size;
    uint32_t offset = (uint32_t)(r->at & (block - 1));
    uint32_t rest;
    int over = 0, rc;
    if (offset == 0 || r->page == NULL || r->at - offset != r->page_at) {
        rc = enter_page(r, r->at - offset, err);
        if (rc < 0)
            return rc;
    }
    *ret = r->at;
    if (offset >= r->page_head)
        return 0;
    *ret = r->page_at + r->page_head;
    if (!(page_info(r) & PG_PAGE_CONTINUES))
        return 0;
    for (;;) {
        if (!r->whole || over)
            return pg_reader_corrupt(err, r, r->page_at, "the page continues a record that is complete");
        rest = pg_le32(r->page + AT_REMAINING);
        over = rest <= block - r->page_head;
        if (over) {
            *ret = r->page_at + r->page_head + ((rest + 7) & ~7u);
            if (*ret - r->page_at < block)
                return 0;
        }
        *ret = r->page_at + block;
        if (reaches(r->cluster, *ret, to))
            return 0;
        rc = enter_page(r, *ret, err);
        if (rc < 0)
            return rc;
        *ret += r->page_head;
        if (!(page_info(r) & PG_PAGE_CONTINUES))
            return 0;
    }
}

/* Read the rest of a record from the following pages. out *ret_given_up: a crash recovery dropped
 * the record and WAL goes on at the current page. */
static int
read_continuation(struct pg_reader *r, struct pg_record *rec, int *ret_given_up, struct gsp_error *err)
{
    uint32_t block = r->cluster->wal_block_size;
    while (rec->done < rec->total) {
        uint32_t left = rec->total - rec->done, part, had = rec->done;
        int rc = enter_page(r, r->page_at + block, err);
        if (rc < 0)
            return rc;
        if (page_info(r) & PG_PAGE_OVERWRITES) {
            *ret_given_up = 1;
            return 0;
        }
        if (!(page_info(r) & PG_PAGE_CONTINUES) || pg_le32(r->page + AT_REMAINING) != left)
            return pg_reader_corrupt(err, r, r->page_at, "the page does not continue the record before it");
        part = left < block - r->page_head ? left : block - r->page_head;
        if (part > r->page_len - r->page_head)
            return pg_reader_corrupt(err, r, r->page_at, "the file ends within a record");
        feed(r, rec, r->page + r->page_head, part);
        rec->end = r->page_at + r->page_head + part;
        if (had < r->format->header && rec->done >= r->format->header) {
            rc = check_record_header(r, rec, err);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

/* Read and check the record that starts at rec->at on the current page. */
static int
read_record(struct pg_reader *r, struct pg_record *rec, int *ret_given_up, struct gsp_error *err)
{
    uint32_t block = r->cluster->wal_block_size;
    uint32_t offset = (uint32_t)(rec->at - r->page_at), part;
    int rc;
    rec->done = rec->data_crc = 0;
    memset(rec->bytes, 0, r->format->header);
    *ret_given_up = 0;
    if (offset + 4 > r->page_len)
        return pg_reader_corrupt(err, r, rec->at, "the file ends before the record");
    rec->total = pg_le32(r->page + offset + AT_TOTAL);
    if (rec->total == 0)
        return pg_reader_corrupt(err, r, rec->at, "no record");
    if (rec->total < r->format->header || rec->total > RECORD_MAX)
        return pg_reader_corrupt(err, r, rec->at, "invalid record length");
    part = rec->total < block - offset ? rec->total : block - offset;
    if (part > r->page_len - offset)
        return pg_reader_corrupt(err, r, rec->at, "the file ends within the record");
    feed(r, rec, r->page + offset, part);
    rec->end = rec->at + part;
    if (rec->done >= r->format->header) {
        rc = check_record_header(r, rec, err);
        if (rc < 0)
            return rc;
    }
    rc = read_continuation(r, rec, ret_given_up, err);
    if (rc < 0 || *ret_given_up)
        return rc;
    rec->data_crc = pg_crc32c(rec->data_crc, rec->bytes, r->format->at_crc);
    if (rec->data_crc != pg_le32(rec->bytes + r->format->at_crc))
        return pg_reader_corrupt(err, r, rec->at, "wrong checksum of the record");
    rec->end = (rec->end + 7) & ~(gsp_lsn)7;
    if (rec->bytes[r->format->at_manager] == PG_MANAGER_XLOG &&
        (rec->bytes[r->format->at_info] & 0xF0) == INFO_SWITCH) {
        gsp_lsn mask = (gsp_lsn)r->cluster->wal_segment_size - 1;
        rec->end = (rec->end + mask) & ~mask; /* the rest of the segment is padding */
    }
    return 0;
}

int
pg_reader_next(struct pg_reader *r, gsp_lsn to, struct pg_record *ret, struct gsp_error *err)
{
    int given_up, rc;
    while (!reaches(r->cluster, r->at, to)) {
        rc = find_record(r, to, &ret->at, err);
        if (rc < 0)
            return rc;
        r->whole = 0;
        r->at = ret->at;
        if (reaches(r->cluster, r->at, to))
            break;
        rc = read_record(r, ret, &given_up, err);
        if (rc < 0)
            return rc;
        r->at = given_up ? r->page_at : ret->end;
        if (given_up)
            continue;
        r->prev = ret->at;
        return 1;
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
pg_reader_open(struct pg_reader *ret, const struct pg_wal_format *format, const struct gsp_cluster *cluster,
    const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from, uint32_t keep, struct gsp_error *err)
{
    *ret = (struct pg_reader){.cluster = cluster,
        .source = source,
        .timeline = timeline,
        .format = format,
        .keep = keep > format->header ? keep : format->header,
        .at = from,
        .whole = 1,
        .chunk_size = CHUNK_BYTES};
    if (!known_sizes(cluster) || from % 8 != 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "WAL cannot start at " GSP_LSN_FMT " with blocks of %" PRIu32 " bytes",
            GSP_LSN_ARGS(from), cluster->wal_block_size);
    ret->chunk = malloc(ret->chunk_size);
    if (ret->chunk == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory reading WAL");
    return 0;
}

void
pg_reader_close(struct pg_reader *r)
{
    free(r->chunk);
    r->chunk = NULL;
}

int
pg_reader_verify(const struct pg_wal_format *format, const struct gsp_cluster *cluster,
    const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from, gsp_lsn to, gsp_lsn *ret_end,
    struct gsp_error *err)
{
    struct pg_reader r;
    struct pg_record rec;
    int rc = pg_reader_open(&r, format, cluster, source, timeline, from, 0, err);
    *ret_end = from;
    if (rc == 0) {
        while ((rc = pg_reader_next(&r, to, &rec, err)) > 0)
            *ret_end = rec.end;
        if (rc == 0)
            *ret_end = r.at;
    }
    pg_reader_close(&r);
    return rc;
}
