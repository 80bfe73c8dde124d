/* SPDX-License-Identifier: Apache-2.0
 * WAL made by tests of the PostgreSQL dialect. */
#ifndef SERVER_POSTGRESQL_WAL_H
#define SERVER_POSTGRESQL_WAL_H

#include "dialect_wal.h"
#include "server_postgresql_test.h"

#endif
