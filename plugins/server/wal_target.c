/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wal_target.h"

/* Kinds of headers behind the record header, of records that are about no block. */
#define ID_TOPLEVEL_XID 252u
#define ID_ORIGIN 253u
#define ID_DATA_LONG 254u
#define ID_DATA_SHORT 255u

#define INFO_MASK 0xF0u
#define XLOG_RESTORE_POINT 0x70u
#define RESTORE_POINT_NAME 8u /* behind its time */
#define RESTORE_POINT_NAME_BYTES 64u

#define MANAGER_TRANSACTION 1
#define TIME_BYTES 8u

/* 2000-01-01, which the server counts from. */
#define EPOCH_US INT64_C(946684800000000)

/* The main data of a record without block references; len 0 when there is none. */
static struct pg_data
main_data(const struct pg_wal_format *format, const struct pg_record *rec)
{
    uint32_t kept = rec->total < PG_RECORD_KEEP ? rec->total : PG_RECORD_KEEP, at = format->header;
    while (at < kept) {
        uint32_t id = rec->bytes[at];
        uint32_t head = id == ID_DATA_SHORT ? 2 : id == ID_ORIGIN ? 3 : 5;
        if (id < ID_TOPLEVEL_XID || kept - at < head)
            break;
        at += head;
        if (id == ID_DATA_SHORT || id == ID_DATA_LONG)
            return (struct pg_data){.p = rec->bytes + at, .len = kept - at};
    }
    return (struct pg_data){.p = rec->bytes, .len = 0};
}

static int
is_restore_point(const struct pg_wal_format *format, const struct pg_record *rec, const char *name)
{
    struct pg_data d = main_data(format, rec);
    size_t len = strlen(name);
    return rec->bytes[format->at_manager] == PG_MANAGER_XLOG &&
           (rec->bytes[format->at_info] & INFO_MASK) == XLOG_RESTORE_POINT && len < RESTORE_POINT_NAME_BYTES &&
           d.len >= RESTORE_POINT_NAME + RESTORE_POINT_NAME_BYTES &&
           memcmp(d.p + RESTORE_POINT_NAME, name, len + 1) == 0;
}

/* Would recovery end at this record? */
static int
is_target(const struct pg_target_rules *rules, const struct pg_record *rec, const struct gsp_recovery *target,
    struct gsp_wal_reach *reach)
{
    uint64_t xid;
    if ((target->kind == GSP_RECOVERY_LSN && rec->at >= target->lsn) ||
        (target->kind == GSP_RECOVERY_NAME && is_restore_point(rules->format, rec, target->text)))
        return 1;
    struct pg_data data = main_data(rules->format, rec);
    if (rec->bytes[rules->format->at_manager] != MANAGER_TRANSACTION || data.len < TIME_BYTES ||
        !rules->ends(rules->major, rec, data, &xid))
        return 0;
    int64_t time_us = (int64_t)(pg_le64(data.p) + (uint64_t)EPOCH_US);
    /* The first transaction too late is not replayed any more. */
    int is_exclusive = (target->flags & GSP_RECOVERY_EXCLUSIVE) != 0;
    if (target->kind == GSP_RECOVERY_TIME && (is_exclusive ? time_us >= target->time_us : time_us > target->time_us))
        return 1;
    reach->xid = xid;
    reach->time_us = time_us;
    return target->kind == GSP_RECOVERY_XID && xid == (target->xid & rules->xid_mask);
}

int
pg_reader_find_target(const struct pg_target_rules *rules, const struct gsp_cluster *cluster,
    const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from, gsp_lsn after,
    const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err)
{
    struct pg_reader r;
    struct pg_record rec;
    ret->reached = 0;
    ret->end = from;
    ret->xid = 0;
    ret->time_us = 0;
    int rc = pg_reader_open(&r, rules->format, cluster, source, timeline, from, PG_RECORD_KEEP, err);
    while (rc == 0 && !ret->reached) {
        rc = pg_reader_next(&r, UINT64_MAX, &rec, err);
        if (rc <= 0) /* 0: there is no WAL behind the last address */
            break;
        rc = 0;
        ret->reached = rec.at >= after && is_target(rules, &rec, target, ret);
        if (!ret->reached || target->kind != GSP_RECOVERY_TIME)
            ret->end = rec.end;
    }
    pg_reader_close(&r);
    return rc;
}
