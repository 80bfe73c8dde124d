/* SPDX-License-Identifier: Apache-2.0 */
#include "server/control.h"

#include <inttypes.h>

#include "server/bytes.h"

int
pg_control_looks_like_postgresql(const uint8_t *control)
{
    uint32_t version = pg_le32(control + PG_CONTROL_AT_VERSION);
    uint32_t catalog_version = pg_le32(control + PG_CONTROL_AT_CATALOG_VERSION);
    return version > 1000 && version < 10000 && catalog_version > 201600000 && catalog_version < 210000000 &&
           pg_le64(control + PG_CONTROL_AT_SYSTEM_ID) != 0;
}

int
pg_control_crc_matches(const uint8_t *control, uint32_t at)
{
    return pg_crc32c(0, control, at) == pg_le32(control + at);
}

int
pg_control_check_crc(const uint8_t *control, uint32_t at, struct gsp_error *err)
{
    if (pg_control_crc_matches(control, at))
        return 0;
    return gsp_fail(err, GSP_E_CORRUPT, 0,
        "calculated control file checksum %08" PRIX32 " does not match the stored %08" PRIX32,
        pg_crc32c(0, control, at), pg_le32(control + at));
}

static int
power_of_two_within(uint32_t v, uint32_t min, uint32_t max)
{
    return v >= min && v <= max && (v & (v - 1)) == 0;
}

int
pg_control_sizes_make_sense(const uint8_t *sizes)
{
    uint32_t segment_blocks = pg_le32(sizes + 4);
    return power_of_two_within(pg_le32(sizes), 1024, 32768) && power_of_two_within(pg_le32(sizes + 8), 1024, 65536) &&
           power_of_two_within(pg_le32(sizes + 12), 1u << 20, 1u << 30) && segment_blocks > 0 &&
           segment_blocks <= INT32_MAX;
}

int
pg_control_take_sizes(const uint8_t *sizes, struct gsp_cluster *ret, struct gsp_error *err)
{
    if (!pg_control_sizes_make_sense(sizes))
        return gsp_fail(err, GSP_E_CORRUPT, 0,
            "control file has impossible sizes: block %" PRIu32 ", relation segment %" PRIu32
            " blocks, WAL block %" PRIu32 ", WAL segment %" PRIu32,
            pg_le32(sizes), pg_le32(sizes + 4), pg_le32(sizes + 8), pg_le32(sizes + 12));
    ret->page_size = pg_le32(sizes);
    ret->segment_blocks = pg_le32(sizes + 4);
    ret->wal_block_size = pg_le32(sizes + 8);
    ret->wal_segment_size = pg_le32(sizes + 12);
    return 0;
}
