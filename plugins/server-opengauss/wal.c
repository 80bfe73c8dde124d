/* SPDX-License-Identifier: Apache-2.0 */
#include "opengauss.h"
#include "server/wal_target.h"

/* The record header. */
#define AT_XID 8
#define AT_PREVIOUS 16
#define AT_INFO 24
#define AT_MANAGER 25
#define AT_CRC 28
#define HEADER 32u

#define MAGIC 0xD074u
#define MANAGER_LAST 255u /* all records have a checksum, and later versions further managers */

/* Ends of transactions. Recovery does not look at those of prepared ones. */
#define TRANSACTION_MASK 0x70u
#define TRANSACTION_COMMIT 0x00u
#define TRANSACTION_ABORT 0x20u
#define TRANSACTION_COMMIT_COMPACT 0x60u
#define TRANSACTION_ABORT_WITH_XID 0x70u

static const struct pg_wal_format format = {.what = "openGauss",
    .magic = MAGIC,
    .page_flags = PG_PAGE_CONTINUES | PG_PAGE_LONG | PG_PAGE_REMOVABLE,
    .header = HEADER,
    .at_previous = AT_PREVIOUS,
    .at_info = AT_INFO,
    .at_manager = AT_MANAGER,
    .at_crc = AT_CRC,
    .last_manager = MANAGER_LAST,
    .first_custom = MANAGER_LAST + 1};

int
og_wal_verify(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from,
    gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err)
{
    return pg_reader_verify(&format, cluster, source, timeline, from, to, ret_end, err);
}

static int
ends_transaction(uint32_t major, const struct pg_record *rec, struct pg_data data, uint64_t *ret_xid)
{
    uint32_t what = rec->bytes[AT_INFO] & TRANSACTION_MASK;
    (void)major;
    (void)data;
    *ret_xid = pg_le64(rec->bytes + AT_XID);
    return what == TRANSACTION_COMMIT || what == TRANSACTION_ABORT || what == TRANSACTION_COMMIT_COMPACT ||
           what == TRANSACTION_ABORT_WITH_XID;
}

int
og_wal_find_target(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
    gsp_lsn from, gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err)
{
    static const struct pg_target_rules rules = {.format = &format, .xid_mask = UINT64_MAX, .ends = ends_transaction};
    return pg_reader_find_target(&rules, cluster, source, timeline, from, after, target, ret, err);
}
