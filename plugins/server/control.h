/* SPDX-License-Identifier: Apache-2.0
 *
 * What control files of PostgreSQL and its descendants have in common. Pure, any thread. */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

#include "gsp/server.h"

/* Fields of all versions. */
#define PG_CONTROL_AT_SYSTEM_ID 0
#define PG_CONTROL_AT_VERSION 8
#define PG_CONTROL_AT_CATALOG_VERSION 12

/* The version that openGauss writes; PostgreSQL never had it. */
#define PG_CONTROL_VERSION_OPENGAUSS 923u

/* pg_control_looks_like_postgresql - the numbers are as in a control file of some PostgreSQL, known or not.
 * in     control: at least 16 bytes */
int pg_control_looks_like_postgresql(const uint8_t *control);

/* pg_control_crc_matches - is the checksum at this offset that of all bytes before it? in control: at + 4 bytes */
int pg_control_crc_matches(const uint8_t *control, uint32_t at);

/* pg_control_check_crc - the same, as an error. errors CORRUPT */
int pg_control_check_crc(const uint8_t *control, uint32_t at, struct gsp_error *err);

/* pg_control_sizes_make_sense - are the sizes of page, relation segment (in blocks), WAL block and WAL segment, four
 * numbers in a row, such as a server has? in sizes: 16 bytes */
int pg_control_sizes_make_sense(const uint8_t *sizes);

/* pg_control_take_sizes - put the four sizes into ret, if they make sense. errors CORRUPT, with ret as it was */
int pg_control_take_sizes(const uint8_t *sizes, struct gsp_cluster *ret, struct gsp_error *err);

#endif
