/* SPDX-License-Identifier: Apache-2.0
 * WAL: any pages are followed or refused, without end neither; WAL that is right passes, with one bit changed in a
 * record it does not. Its changed blocks are those of its parts, and none are told where verification fails. Input:
 * flags (1 byte), major version (1), where to start and to stop (2 each, in 8 bytes), a bit to change (4), then pages
 * of 1 KiB, of which the first four end a segment. Flag 1 makes the page headers right, flag 2 the records: lengths,
 * predecessors, checksums, continuations. Flag 4 makes it WAL of openGauss. */
#include <inttypes.h>

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "gsp/server.h"
#include "tests/fuzz/fuzz.h"

enum {
    PREFIX_BYTES = 10,
    RIGHT_PAGES = 1,
    RIGHT_RECORDS = 2,
    OPENGAUSS = 4,
    SYSTEM_ID = 4711,
    PAGE_HEADER = 24,
    LONG_HEADER = 40,
    RECORD_HEADER_MAX = 32,
    RECORDS_MAX = 4096,
    SEEN_BITS = 1 << 12
};
#define BLOCK ((size_t)1024)
#define SEGMENT ((size_t)1 << 20)
#define BASE ((gsp_lsn)3 * SEGMENT - 4 * BLOCK)

static const uint16_t magics[] = {0xD101, 0xD106, 0xD10D, 0xD110, 0xD113, 0xD116, 0xD118};

struct wal {
    uint8_t *pages; /* from BASE on */
    size_t len;
    uint16_t magic;
    const struct gsp_dialect_ops *dialect;
    char version[8];
    size_t record_header; /* the predecessor, two bytes of what it is about, and the checksum end it */
    size_t n_records;
    struct {
        size_t at, total; /* offset in pages; bytes without the page headers between */
    } records[RECORDS_MAX];
    size_t end; /* behind the last record */
};

static size_t
header_at(size_t at)
{
    return (BASE + at) % SEGMENT == 0 ? LONG_HEADER : PAGE_HEADER;
}

/* Where byte n of what begins at `at` lies, page headers left out. */
static size_t
place_of(size_t at, size_t n)
{
    for (size_t room; n >= (room = BLOCK - at % BLOCK);) {
        n -= room;
        at += room;
        at += header_at(at);
    }
    return at + n;
}

static void
make_pages_right(struct wal *w, int keep_flags)
{
    for (size_t at = 0; at + header_at(at) <= w->len; at += BLOCK) {
        uint8_t *p = w->pages + at;
        int is_long = header_at(at) == LONG_HEADER;
        uint16_t flags = keep_flags ? load_le16(p + 2) & 0xD : 0;
        store_le16(p, w->magic);
        store_le16(p + 2, (uint16_t)(flags | (is_long ? 2 : 0)));
        store_le32(p + 4, 1);
        store_le64(p + 8, BASE + at);
        if (is_long) {
            store_le64(p + 24, SYSTEM_ID);
            store_le32(p + 32, SEGMENT);
            store_le32(p + 36, BLOCK);
        }
    }
}

/* Pages that a record goes on to say so. Returns its checksum. */
static uint32_t
spread_record(struct wal *w, size_t at, size_t total)
{
    uint32_t crc = 0;
    for (size_t done = 0, part; done < total; done += part) {
        size_t from = place_of(at, done), room = BLOCK - from % BLOCK;
        if (done > 0) {
            uint8_t *page = w->pages + from / BLOCK * BLOCK;
            store_le16(page + 2, load_le16(page + 2) | 1);
            store_le32(page + 16, (uint32_t)(total - done));
        }
        part = total - done < room ? total - done : room;
        size_t skip = done < w->record_header ? (w->record_header - done < part ? w->record_header - done : part) : 0;
        crc = crc32c(crc, w->pages + from + skip, part - skip);
    }
    uint8_t head[RECORD_HEADER_MAX];
    for (size_t i = 0; i < w->record_header; i++)
        head[i] = w->pages[place_of(at, i)];
    return crc32c(crc, head, w->record_header - 4);
}

/* A row of records as a server would have written it, of lengths and content that are the input's. */
static void
make_records_right(struct wal *w)
{
    gsp_lsn prev = 0x28;
    size_t at = LONG_HEADER; /* the first record's place is the same on any page */
    while (w->n_records < RECORDS_MAX && at + w->record_header <= w->len) {
        size_t total = w->record_header + load_le16(w->pages + at) % 3000;
        if (place_of(at, total - 1) >= w->len)
            break;
        uint8_t *manager = w->pages + place_of(at, w->record_header - 7);
        *manager %= 22;
        store_le32(w->pages + at, (uint32_t)total);
        store_le64(w->pages + place_of(at, w->record_header - 16), prev);
        uint32_t crc = spread_record(w, at, total);
        store_le32(w->pages + place_of(at, w->record_header - 4), crc);
        w->records[w->n_records].at = at;
        w->records[w->n_records++].total = total;
        prev = BASE + at;
        size_t end = (place_of(at, total - 1) + 8) & ~(size_t)7;
        if (*manager == 0 && (w->pages[place_of(at, w->record_header - 8)] & 0xF0) == 0x40)
            end = (size_t)((BASE + end + SEGMENT - 1) / SEGMENT * SEGMENT - BASE);
        w->end = end;
        at = end % BLOCK == 0 ? end + header_at(end) : end;
    }
}

static uint32_t
hex_at(const char *p)
{
    char digits[9];
    memcpy(digits, p, 8);
    digits[8] = '\0';
    return (uint32_t)strtoul(digits, NULL, 16);
}

static int64_t
read_wal(void *ctx, const char *segment, uint64_t offset, void *buf, uint32_t len, struct gsp_error *err)
{
    const struct wal *w = ctx;
    uint32_t timeline, high, low;
    char name[25];
    must(strlen(segment) == sizeof name - 1);
    timeline = hex_at(segment);
    high = hex_at(segment + 8);
    low = hex_at(segment + 16);
    must(timeline == 1);
    (void)snprintf(name, sizeof name, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, timeline, high, low);
    must(strcmp(name, segment) == 0 && low < (UINT64_C(1) << 32) / SEGMENT);
    must(len > 0 && offset + len <= SEGMENT);
    gsp_lsn lsn = ((gsp_lsn)high << 32) + (gsp_lsn)low * SEGMENT + offset;
    gsp_lsn end = BASE + w->len;
    if ((lsn / SEGMENT + 1) * SEGMENT <= BASE || lsn / SEGMENT * SEGMENT >= end)
        return gsp_fail(err, GSP_E_NOENT, 0, "no such segment");
    if (lsn >= end)
        return 0;
    if (lsn < BASE) {
        /* The segment's begin, which nobody needs: a short read of zeros. */
        len = BASE - lsn < len ? (uint32_t)(BASE - lsn) : len;
        memset(buf, 0, len);
        return len;
    }
    len = end - lsn < len ? (uint32_t)(end - lsn) : len;
    memcpy(buf, w->pages + (lsn - BASE), len);
    return len;
}

static struct gsp_cluster
cluster_of(const struct wal *w)
{
    struct gsp_cluster cluster = {.struct_size = sizeof cluster,
        .wal_block_size = BLOCK,
        .wal_segment_size = SEGMENT,
        .timeline = 1,
        .system_id = SYSTEM_ID};
    (void)snprintf(cluster.version, sizeof cluster.version, "%s", w->version);
    return cluster;
}

static int
verify(struct wal *w, gsp_lsn from, gsp_lsn to)
{
    struct gsp_cluster cluster = cluster_of(w);
    struct gsp_wal_source source = {.ctx = w, .read = read_wal};
    struct gsp_error err = {0};
    gsp_lsn end = 0;
    int rc = w->dialect->wal_verify(&cluster, &source, 1, from, to, &end, &err);
    must(rc == err.code && (rc == 0 || rc == GSP_E_CORRUPT || rc == GSP_E_NOENT));
    must(end >= from);
    must(rc != 0 || end + LONG_HEADER >= to);
    return rc;
}

/* Returns 1 when the target is found. out ret: how far the search came */
static int
find_target(struct wal *w, gsp_lsn from, const struct gsp_recovery *target, struct gsp_wal_reach *ret)
{
    struct gsp_cluster cluster = cluster_of(w);
    struct gsp_wal_source source = {.ctx = w, .read = read_wal};
    struct gsp_error err = {0};
    *ret = (struct gsp_wal_reach){.struct_size = sizeof *ret};
    int rc = w->dialect->wal_find_target(&cluster, &source, 1, from, 0, target, ret, &err);
    must(rc == err.code && (rc == 0 || rc == GSP_E_CORRUPT || rc == GSP_E_NOENT));
    must((rc == 0) == (ret->reached != 0) && ret->end >= from);
    return rc == 0;
}

/* Whatever is looked for, it is found or WAL ends; where WAL is right it ends behind the last record, and the last
 * record's place is found. */
static void
check_targets(struct wal *w, gsp_lsn from, uint32_t number, int right)
{
    struct gsp_wal_reach reach;
    char name[2] = {(char)number, '\0'};
    const struct gsp_recovery targets[] = {{.kind = GSP_RECOVERY_XID, .xid = number},
        {.kind = GSP_RECOVERY_TIME, .time_us = (int64_t)((uint64_t)number << 32)},
        {.kind = GSP_RECOVERY_NAME, .text = name}, {.kind = GSP_RECOVERY_LSN, .lsn = UINT64_MAX}};
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
        if (!find_target(w, from, &targets[i], &reach) && right)
            must(reach.end == BASE + w->end);
    if (!right)
        return;
    struct gsp_recovery last = {.kind = GSP_RECOVERY_LSN, .lsn = BASE + w->records[w->n_records - 1].at};
    must(find_target(w, from, &last, &reach));
    must(reach.end == BASE + w->end);
}

/* A set of changes: a bit for each, by its hash. */
struct seen {
    uint8_t bits[SEEN_BITS / 8];
};

static void
see(struct seen *seen, const struct gsp_change *c, uint32_t block)
{
    uint32_t key[5] = {c->kind, c->space_oid, c->db_oid, c->relation, block};
    uint32_t bit = crc32c(0, key, sizeof key) % SEEN_BITS;
    seen->bits[bit / 8] |= (uint8_t)(1u << bit % 8);
}

static int
take_changes(void *arg, const struct gsp_change *changes, uint32_t n, struct gsp_error *err)
{
    (void)err;
    must(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        const struct gsp_change *c = &changes[i];
        must(c->kind == GSP_CHANGE_BLOCKS ? c->count > 0 && c->count <= UINT32_MAX - c->block : c->count == 0);
        must(c->kind >= GSP_CHANGE_BLOCKS && c->kind <= GSP_CHANGE_DATABASE);
        must(c->kind != GSP_CHANGE_DATABASE || (c->relation == 0 && c->block == 0));
        must(c->count <= RECORDS_MAX * 33);
        for (uint32_t block = 0; block < c->count || block == 0; block++)
            see(arg, c, c->block + block);
    }
    return 0;
}

static int
find_changes(struct wal *w, gsp_lsn from, gsp_lsn to, struct seen *seen)
{
    struct gsp_cluster cluster = cluster_of(w);
    struct gsp_wal_source source = {.ctx = w, .read = read_wal};
    struct gsp_error err = {0};
    int rc = w->dialect->wal_changes(&cluster, &source, 1, from, to, take_changes, seen, &err);
    must(rc == err.code && (rc == 0 || rc == GSP_E_CORRUPT || rc == GSP_E_NOENT || rc == GSP_E_UNSUPPORTED));
    return rc;
}

/* The changes of a range are those of the part before the segment's end and of the part behind it. */
static void
check_changes(struct wal *w, gsp_lsn from, gsp_lsn to, int verified)
{
    struct seen whole = {0}, parts = {0};
    gsp_lsn middle = BASE + 4 * BLOCK;
    if (w->dialect->wal_changes == NULL)
        return;
    int rc = find_changes(w, from, to, &whole);
    must(rc != 0 || verified == 0);
    if (rc != 0 || from >= middle || to <= middle)
        return;
    must(find_changes(w, from, middle, &parts) == 0);
    must(find_changes(w, middle, to, &parts) == 0);
    must(memcmp(&whole, &parts, sizeof whole) == 0);
}

/* All bits of a record are under its checksum. */
static void
check_changed_bit(struct wal *w, uint32_t bit)
{
    size_t record = bit % w->n_records, byte = bit / 8 % w->records[record].total;
    size_t at = place_of(w->records[record].at, byte);
    w->pages[at] ^= (uint8_t)(1u << bit % 8);
    must(verify(w, BASE + LONG_HEADER, BASE + w->end) != 0);
    w->pages[at] ^= (uint8_t)(1u << bit % 8);
}

static void
set_server(struct wal *w, int opengauss, unsigned major)
{
    const struct gsp_server_ops *server = opengauss ? server_opengauss_entry()->ops : server_postgresql_entry()->ops;
    w->dialect = server->dialect;
    w->magic = opengauss ? 0xD074 : magics[major];
    w->record_header = opengauss ? 32 : 24;
    if (opengauss)
        (void)snprintf(w->version, sizeof w->version, "9.2");
    else
        (void)snprintf(w->version, sizeof w->version, "%u", major + 12);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct wal w;
    if (size <= PREFIX_BYTES + LONG_HEADER)
        return 0;
    w.n_records = w.end = 0;
    w.len = size - PREFIX_BYTES;
    set_server(&w, data[0] & OPENGAUSS, data[1] % 7);
    w.pages = malloc(w.len);
    if (w.pages == NULL)
        return 0;
    memcpy(w.pages, data + PREFIX_BYTES, w.len);
    if (data[0] & RIGHT_PAGES)
        make_pages_right(&w, !(data[0] & RIGHT_RECORDS));
    if (data[0] & RIGHT_RECORDS)
        make_records_right(&w);
    if ((data[0] & RIGHT_PAGES) && w.n_records > 0) {
        must(verify(&w, BASE + LONG_HEADER, BASE + w.end) == 0);
        check_changes(&w, BASE + LONG_HEADER, BASE + w.end, 0);
        check_targets(&w, BASE + LONG_HEADER, load_le32(data + 6), 1);
        check_changed_bit(&w, load_le32(data + 6));
    }
    gsp_lsn from = BASE + (gsp_lsn)load_le16(data + 2) * 8, to = BASE + (gsp_lsn)load_le16(data + 4) * 8;
    int verified = verify(&w, from, to);
    check_targets(&w, from, load_le32(data + 6), 0);
    if (from < to)
        check_changes(&w, from, to, verified);
    free(w.pages);
    return 0;
}
