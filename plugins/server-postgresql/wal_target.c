/* SPDX-License-Identifier: Apache-2.0 */
#include "wal.h"

/* Kinds of headers behind the record header, of records that are about no block. */
#define ID_TOPLEVEL_XID 252u
#define ID_ORIGIN 253u
#define ID_DATA_LONG 254u
#define ID_DATA_SHORT 255u

#define AT_XID 4
#define INFO_MASK 0xF0u
#define XLOG_RESTORE_POINT 0x70u
#define RESTORE_POINT_NAME 8u /* behind its time */
#define RESTORE_POINT_NAME_BYTES 64u

#define MANAGER_TRANSACTION 1
#define TRANSACTION_MASK 0x70u
#define TRANSACTION_COMMIT 0x00u
#define TRANSACTION_ABORT 0x20u
#define TRANSACTION_COMMIT_PREPARED 0x30u
#define TRANSACTION_ABORT_PREPARED 0x40u
#define TRANSACTION_HAS_FLAGS 0x80u

/* Flags of the end of a transaction: which parts follow, in this order. */
#define HAS_DATABASE 0x001u
#define HAS_SUBTRANSACTIONS 0x002u
#define HAS_RELATIONS 0x004u
#define HAS_INVALIDATIONS 0x008u
#define HAS_PREPARED 0x010u
#define HAS_STATISTICS 0x100u /* since 15 */

/* 2000-01-01, which the server counts from. */
#define EPOCH_US INT64_C(946684800000000)

/* What is left of the main data of a record, as far as it was kept. */
struct data {
    const uint8_t *p;
    uint32_t len;
};

/* The main data of a record without block references; len 0 when there is none. */
static struct data
main_data(const struct pg_record *rec)
{
    uint32_t kept = rec->total < PG_RECORD_KEEP ? rec->total : PG_RECORD_KEEP, at = PG_RECORD_HEADER;
    while (at < kept) {
        uint32_t id = rec->bytes[at];
        uint32_t head = id == ID_DATA_SHORT ? 2 : id == ID_ORIGIN ? 3 : 5;
        if (id < ID_TOPLEVEL_XID || kept - at < head)
            break;
        at += head;
        if (id == ID_DATA_SHORT || id == ID_DATA_LONG)
            return (struct data){.p = rec->bytes + at, .len = kept - at};
    }
    return (struct data){.p = rec->bytes, .len = 0};
}

/* Pass over n bytes; 0 when there are not so many. */
static int
skip(struct data *d, uint64_t n)
{
    if (n > d->len)
        return 0;
    d->p += n;
    d->len -= (uint32_t)n;
    return 1;
}

/* Pass over a counted row of items. */
static int
skip_items(struct data *d, uint32_t size)
{
    return d->len >= 4 && skip(d, 4 + (uint64_t)pg_le32(d->p) * size);
}

/* The transaction that was prepared, of the record that ends it: behind everything else. 0 when that is not in what was
 * kept of the record. */
static uint32_t
prepared_xid(const struct pg_reader *r, struct data d, int commit)
{
    uint32_t flags;
    if (!skip(&d, 8) || d.len < 4)
        return 0;
    flags = pg_le32(d.p);
    int ok = skip(&d, 4) && (!(flags & HAS_DATABASE) || skip(&d, 8)) &&
             (!(flags & HAS_SUBTRANSACTIONS) || skip_items(&d, 4)) &&
             (!(flags & HAS_RELATIONS) || skip_items(&d, 12)) &&
             (!(flags & HAS_STATISTICS) || skip_items(&d, r->major >= 18 ? 16 : 12)) &&
             (!commit || !(flags & HAS_INVALIDATIONS) || skip_items(&d, 16));
    return ok && (flags & HAS_PREPARED) && d.len >= 4 ? pg_le32(d.p) : 0;
}

/* Does the record end a transaction? out ret_xid, ret_time_us: which, and when */
static int
ends_transaction(const struct pg_reader *r, const struct pg_record *rec, uint32_t *ret_xid, int64_t *ret_time_us)
{
    uint32_t what = rec->bytes[PG_AT_INFO] & TRANSACTION_MASK;
    int commit = what == TRANSACTION_COMMIT || what == TRANSACTION_COMMIT_PREPARED;
    int prepared = what == TRANSACTION_COMMIT_PREPARED || what == TRANSACTION_ABORT_PREPARED;
    if (rec->bytes[PG_AT_MANAGER] != MANAGER_TRANSACTION || (!commit && !prepared && what != TRANSACTION_ABORT))
        return 0;
    struct data d = main_data(rec);
    if (d.len < 8)
        return 0;
    *ret_time_us = (int64_t)(pg_le64(d.p) + (uint64_t)EPOCH_US);
    *ret_xid = pg_le32(rec->bytes + AT_XID);
    if (prepared)
        *ret_xid = rec->bytes[PG_AT_INFO] & TRANSACTION_HAS_FLAGS ? prepared_xid(r, d, commit) : 0;
    return 1;
}

static int
is_restore_point(const struct pg_record *rec, const char *name)
{
    struct data d = main_data(rec);
    size_t len = strlen(name);
    return rec->bytes[PG_AT_MANAGER] == PG_MANAGER_XLOG && (rec->bytes[PG_AT_INFO] & INFO_MASK) == XLOG_RESTORE_POINT &&
           len < RESTORE_POINT_NAME_BYTES && d.len >= RESTORE_POINT_NAME + RESTORE_POINT_NAME_BYTES &&
           memcmp(d.p + RESTORE_POINT_NAME, name, len + 1) == 0;
}

/* Would recovery end at this record? */
static int
is_target(const struct pg_reader *r, const struct pg_record *rec, const struct gsp_recovery *target,
    struct gsp_wal_reach *reach)
{
    uint32_t xid;
    int64_t time_us;
    if ((target->kind == GSP_RECOVERY_LSN && rec->at >= target->lsn) ||
        (target->kind == GSP_RECOVERY_NAME && is_restore_point(rec, target->text)))
        return 1;
    if (!ends_transaction(r, rec, &xid, &time_us))
        return 0;
    /* The first transaction too late is not replayed any more. */
    if (target->kind == GSP_RECOVERY_TIME &&
        (target->flags & GSP_RECOVERY_EXCLUSIVE ? time_us >= target->time_us : time_us > target->time_us))
        return 1;
    reach->xid = xid;
    reach->time_us = time_us;
    return target->kind == GSP_RECOVERY_XID && xid == (uint32_t)target->xid;
}

int
pg_wal_find_target(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
    gsp_lsn from, gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err)
{
    struct pg_reader r;
    struct pg_record rec;
    ret->reached = 0;
    ret->end = from;
    ret->xid = 0;
    ret->time_us = 0;
    int rc = pg_reader_open(&r, cluster, source, timeline, from, PG_RECORD_KEEP, err);
    while (rc == 0 && !ret->reached) {
        rc = pg_reader_next(&r, UINT64_MAX, &rec, err);
        if (rc <= 0) /* 0: there is no WAL behind the last address */
            break;
        rc = 0;
        ret->reached = rec.at >= after && is_target(&r, &rec, target, ret);
        if (!ret->reached || target->kind != GSP_RECOVERY_TIME)
            ret->end = rec.end;
    }
    pg_reader_close(&r);
    return rc;
}
