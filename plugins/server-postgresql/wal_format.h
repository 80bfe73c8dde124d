/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to server-postgresql: the WAL of one of its versions. */
#ifndef SERVER_POSTGRESQL_WAL_FORMAT_H
#define SERVER_POSTGRESQL_WAL_FORMAT_H

#include "postgresql.h"
#include "server/wal.h"

/* The record header, the same in all versions. */
#define PG_RECORD_HEADER 24u
#define PG_AT_INFO 16
#define PG_AT_MANAGER 17

struct pg_version_format {
    uint32_t major;
    char what[24];
    struct pg_wal_format wal;
};

/* pg_wal_format_of - the format of the WAL of this cluster. out: it must stay at its address.
 * errors VERSION */
int pg_wal_format_of(const struct gsp_cluster *cluster, struct pg_version_format *ret, struct gsp_error *err);

#endif
