/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wal_target.h"

#include "wal_format.h"

#define AT_XID 4

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

/* Pass over n bytes; 0 when there are not so many. */
static int
skip(struct pg_data *d, uint64_t n)
{
    if (n > d->len)
        return 0;
    d->p += n;
    d->len -= (uint32_t)n;
    return 1;
}

/* Pass over a counted row of items. */
static int
skip_items(struct pg_data *d, uint32_t size)
{
    return d->len >= 4 && skip(d, 4 + (uint64_t)pg_le32(d->p) * size);
}

/* The transaction that was prepared, of the record that ends it: behind everything else. 0 when that is not in what was
 * kept of the record. */
static uint32_t
prepared_xid(uint32_t major, struct pg_data d, int commit)
{
    uint32_t flags;
    if (!skip(&d, 8) || d.len < 4)
        return 0;
    flags = pg_le32(d.p);
    int ok = skip(&d, 4) && (!(flags & HAS_DATABASE) || skip(&d, 8)) &&
             (!(flags & HAS_SUBTRANSACTIONS) || skip_items(&d, 4)) &&
             (!(flags & HAS_RELATIONS) || skip_items(&d, 12)) &&
             (!(flags & HAS_STATISTICS) || skip_items(&d, major >= 18 ? 16 : 12)) &&
             (!commit || !(flags & HAS_INVALIDATIONS) || skip_items(&d, 16));
    return ok && (flags & HAS_PREPARED) && d.len >= 4 ? pg_le32(d.p) : 0;
}

static int
ends_transaction(uint32_t major, const struct pg_record *rec, struct pg_data data, uint64_t *ret_xid)
{
    uint32_t what = rec->bytes[PG_AT_INFO] & TRANSACTION_MASK;
    int commit = what == TRANSACTION_COMMIT || what == TRANSACTION_COMMIT_PREPARED;
    int prepared = what == TRANSACTION_COMMIT_PREPARED || what == TRANSACTION_ABORT_PREPARED;
    if (!commit && !prepared && what != TRANSACTION_ABORT)
        return 0;
    *ret_xid = pg_le32(rec->bytes + AT_XID);
    if (prepared)
        *ret_xid = rec->bytes[PG_AT_INFO] & TRANSACTION_HAS_FLAGS ? prepared_xid(major, data, commit) : 0;
    return 1;
}

int
pg_wal_find_target(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
    gsp_lsn from, gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err)
{
    struct pg_version_format format;
    int rc = pg_wal_format_of(cluster, &format, err);
    ret->reached = 0;
    ret->end = from;
    ret->xid = 0;
    ret->time_us = 0;
    if (rc < 0)
        return rc;
    const struct pg_target_rules rules = {
        .format = &format.wal, .major = format.major, .xid_mask = UINT32_MAX, .ends = ends_transaction};
    return pg_reader_find_target(&rules, cluster, source, timeline, from, after, target, ret, err);
}
