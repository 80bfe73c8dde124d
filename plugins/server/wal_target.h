/* SPDX-License-Identifier: Apache-2.0
 *
 * The search for a recovery target in WAL. Pure, any thread. */
#ifndef SERVER_WAL_TARGET_H
#define SERVER_WAL_TARGET_H

#include "server/wal.h"

/* The main data of a record, as far as it was kept. */
struct pg_data {
    const uint8_t *p;
    uint32_t len;
};

/* What differs from version to version. */
struct pg_target_rules {
    const struct pg_wal_format *format;
    uint32_t major;    /* for ends */
    uint64_t xid_mask; /* the bits that a transaction id has in WAL */
    /* Does the record, which is the transaction manager's, end a transaction at which recovery may end? data: at least
     * the time, with which it begins. out ret_xid: which; 0 = it cannot be told */
    int (*ends)(uint32_t major, const struct pg_record *rec, struct pg_data data, uint64_t *ret_xid);
};

/* pg_reader_find_target - wal_find_target of a dialect, see gsp/server.h. */
int pg_reader_find_target(const struct pg_target_rules *rules, const struct gsp_cluster *cluster,
    const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from, gsp_lsn after,
    const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err);

#endif
