/* SPDX-License-Identifier: Apache-2.0 */
#include "changes.h"
#include "wal_format.h"

/* Kinds of headers behind the record header: up to BLOCK_ID_MAX the number of a block reference. */
#define BLOCK_ID_MAX 32u
#define ID_TOPLEVEL_XID 252u
#define ID_ORIGIN 253u
#define ID_DATA_LONG 254u
#define ID_DATA_SHORT 255u

/* Flags of a block reference; the low bits are the fork. */
#define FORK_MASK 0x0Fu
#define FORK_MAIN 0u
#define BLOCK_HAS_IMAGE 0x10u
#define BLOCK_SAME_RELATION 0x80u

/* Flags of a page image. The method of compression took the place of one bit in version 15. */
#define IMAGE_HAS_HOLE 0x01u
#define IMAGE_COMPRESSED_BEFORE_15 0x02u
#define IMAGE_COMPRESSED_SINCE_15 0x1Cu

/* Records about more than their block references. */
#define INFO_MASK 0xF0u
#define MANAGER_STORAGE 2
#define STORAGE_CREATE 0x10u
#define STORAGE_TRUNCATE 0x20u
#define TRUNCATES_MAIN 1u
#define MANAGER_DATABASE 4
#define DATABASE_CREATE 0x00u
#define DATABASE_CREATE_LOGGED 0x10u /* since 15; it meant a drop before */
#define XLOG_PARAMETERS 0x60u
#define WAL_LEVEL_MINIMAL 0u

struct decoder {
    const struct pg_reader *reader;
    uint32_t major;
    struct pg_changes changes;
};

/* What is left to read of the headers of a record. */
struct cursor {
    const uint8_t *p;
    uint32_t at, kept; /* in the record; behind the last byte of it that is there */
};

/* The tablespace, database and number that name a relation, in three words. */
#define NAME_BYTES 12u

static int
emit(struct decoder *d, uint32_t kind, const uint8_t *name, uint32_t block, struct gsp_error *err)
{
    struct gsp_change change = {.kind = kind,
        .space_oid = pg_le32(name),
        .db_oid = pg_le32(name + 4),
        .relation = pg_le32(name + 8),
        .block = block,
        .count = kind == GSP_CHANGE_BLOCKS};
    return pg_changes_add(&d->changes, &change, err);
}

/* The next n bytes of the headers, NULL when the record ends before. */
static const uint8_t *
take(struct cursor *c, uint32_t n)
{
    const uint8_t *p = c->p + c->at;
    if (n > c->kept - c->at)
        return NULL;
    c->at += n;
    return p;
}

static int
malformed(const struct decoder *d, const struct pg_record *rec, struct gsp_error *err)
{
    return pg_reader_corrupt(err, d->reader, rec->at, "malformed headers in the record");
}

/* Pass over the header of a page image. Returns 0 when it is cut off. out ret_len: bytes of the image */
static int
skip_image_header(const struct decoder *d, struct cursor *c, uint32_t *ret_len)
{
    uint32_t compressed = d->major >= 15 ? IMAGE_COMPRESSED_SINCE_15 : IMAGE_COMPRESSED_BEFORE_15;
    const uint8_t *image = take(c, 5);
    if (image == NULL)
        return 0;
    *ret_len = pg_le16(image);
    /* The length of its hole is told where it does not follow from that of the image. */
    return !(image[4] & IMAGE_HAS_HOLE) || !(image[4] & compressed) || take(c, 2) != NULL;
}

/* One block reference, behind its number. name: that of the reference before, NULL = none.
 * in/out data_len: grows by what belongs to it behind the headers */
static int
read_reference(struct decoder *d, const struct pg_record *rec, struct cursor *c, const uint8_t **name,
    uint64_t *data_len, struct gsp_error *err)
{
    const uint8_t *head = take(c, 3), *block;
    uint32_t image_len = 0;
    if (head == NULL || ((head[0] & BLOCK_HAS_IMAGE) && !skip_image_header(d, c, &image_len)))
        return malformed(d, rec, err);
    if (!(head[0] & BLOCK_SAME_RELATION))
        *name = take(c, NAME_BYTES);
    block = take(c, 4);
    if (*name == NULL || block == NULL || pg_le32(block) == PG_NO_BLOCK)
        return malformed(d, rec, err);
    *data_len += image_len + pg_le16(head + 1);
    return (head[0] & FORK_MASK) == FORK_MAIN ? emit(d, GSP_CHANGE_BLOCKS, *name, pg_le32(block), err) : 0;
}

/* Read the headers of a record and hand on its block references.
 * out    c: at its main data; ret_main: the length of that, 0 without */
static int
read_headers(
    struct decoder *d, const struct pg_record *rec, struct cursor *c, uint32_t *ret_main, struct gsp_error *err)
{
    const uint8_t *name = NULL, *id, *p = NULL;
    uint64_t data_len = 0; /* of what follows the headers */
    uint32_t next_block = 0;
    int rc = 0;
    *ret_main = 0;
    while (rc == 0 && rec->total - c->at > data_len) {
        id = take(c, 1);
        if (id == NULL)
            return malformed(d, rec, err);
        if (*id <= BLOCK_ID_MAX) {
            if (*id < next_block)
                return malformed(d, rec, err);
            next_block = *id + 1u;
            rc = read_reference(d, rec, c, &name, &data_len, err);
            continue;
        }
        p = take(c, *id == ID_DATA_SHORT ? 1 : *id == ID_ORIGIN ? 2 : 4);
        if (p == NULL || *id < ID_TOPLEVEL_XID)
            return malformed(d, rec, err);
        if (*id == ID_DATA_SHORT || *id == ID_DATA_LONG) {
            *ret_main = *id == ID_DATA_SHORT ? *p : pg_le32(p);
            data_len += *ret_main;
            break; /* always the last one */
        }
    }
    if (rc == 0 && rec->total - c->at != data_len)
        return malformed(d, rec, err);
    return rc;
}

/* Creation of a relation's file, and its truncation. */
static int
read_storage(struct decoder *d, const struct pg_record *rec, const uint8_t *data, uint32_t len, struct gsp_error *err)
{
    uint32_t info = rec->bytes[PG_AT_INFO] & INFO_MASK;
    if (len < (info == STORAGE_CREATE ? NAME_BYTES + 4 : NAME_BYTES + 8))
        return malformed(d, rec, err);
    if (info == STORAGE_CREATE)
        return pg_le32(data + NAME_BYTES) == FORK_MAIN ? emit(d, GSP_CHANGE_FROM, data, 0, err) : 0;
    if (pg_le32(data + 4 + NAME_BYTES) & TRUNCATES_MAIN)
        return emit(d, GSP_CHANGE_FROM, data + 4, pg_le32(data), err);
    return 0;
}

/* A database made of the files of another. */
static int
read_database(struct decoder *d, const struct pg_record *rec, const uint8_t *data, uint32_t len, struct gsp_error *err)
{
    uint8_t name[NAME_BYTES] = {0};
    if (len < 8)
        return malformed(d, rec, err);
    memcpy(name, data + 4, 4); /* the tablespace stands behind the database */
    memcpy(name + 4, data, 4);
    return emit(d, GSP_CHANGE_DATABASE, name, 0, err);
}

static int
check_level(
    const struct decoder *d, const struct pg_record *rec, const uint8_t *data, uint32_t len, struct gsp_error *err)
{
    if (len < 24)
        return malformed(d, rec, err);
    if (pg_le32(data + 20) != WAL_LEVEL_MINIMAL)
        return 0;
    (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0,
        "WAL segment '%s': WAL from " GSP_LSN_FMT " on was written with wal_level = minimal, it does not name every "
        "change",
        d->reader->segment, GSP_LSN_ARGS(rec->at));
    return gsp_hint(err, "Take this backup in mode DELTA (-b DELTA) or FULL.");
}

static int
decode(struct decoder *d, const struct pg_record *rec, struct gsp_error *err)
{
    struct cursor c = {.p = rec->bytes, .at = PG_RECORD_HEADER};
    uint32_t manager = rec->bytes[PG_AT_MANAGER], info = rec->bytes[PG_AT_INFO] & INFO_MASK, main_len;
    const uint8_t *data;
    int rc, storage, database, parameters;
    c.kept = rec->total < d->reader->keep ? rec->total : d->reader->keep;
    rc = read_headers(d, rec, &c, &main_len, err);
    if (rc != 0)
        return rc;
    storage = manager == MANAGER_STORAGE && (info == STORAGE_CREATE || info == STORAGE_TRUNCATE);
    database =
        manager == MANAGER_DATABASE && (info == DATABASE_CREATE || (info == DATABASE_CREATE_LOGGED && d->major >= 15));
    parameters = manager == PG_MANAGER_XLOG && info == XLOG_PARAMETERS;
    if (!storage && !database && !parameters)
        return 0;
    data = take(&c, main_len); /* these have no block references, so nothing lies before it */
    if (data == NULL || rec->total != c.at)
        return malformed(d, rec, err);
    if (storage)
        return read_storage(d, rec, data, main_len, err);
    return database ? read_database(d, rec, data, main_len, err) : check_level(d, rec, data, main_len, err);
}

int
pg_wal_changes(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from,
    gsp_lsn to, gsp_change_cb cb, void *arg, struct gsp_error *err)
{
    struct pg_reader r;
    struct pg_record rec;
    struct decoder d;
    struct pg_version_format format;
    int rc = pg_wal_format_of(cluster, &format, err);
    if (rc < 0)
        return rc;
    rc = pg_reader_open(&r, &format.wal, cluster, source, timeline, from, PG_RECORD_KEEP, err);
    d.reader = &r;
    d.major = format.major;
    d.changes.cb = cb;
    d.changes.arg = arg;
    d.changes.n = 0;
    while (rc == 0) {
        rc = pg_reader_next(&r, to, &rec, err);
        if (rc <= 0)
            break;
        rc = decode(&d, &rec, err);
    }
    if (rc == 0)
        rc = pg_changes_flush(&d.changes, err);
    pg_reader_close(&r);
    return rc;
}
