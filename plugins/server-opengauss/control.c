/* SPDX-License-Identifier: Apache-2.0 */
#include "opengauss.h"

#include <inttypes.h>

#include "server/control.h"

#define CONTROL_VERSION PG_CONTROL_VERSION_OPENGAUSS
#define CATALOG_VERSION 201611171u

#define AT_STATE 20
#define AT_CHECKPOINT_REDO 48
#define AT_CHECKPOINT_TIMELINE 56
#define AT_SIZES 192
#define AT_CRC 224
#define LEAST_LENGTH 232

#define STATE_SHUT_DOWN 1
#define STATE_SHUT_DOWN_IN_RECOVERY 2

int
og_bid(const void *control, uint32_t len)
{
    const uint8_t *c = control;
    return len >= LEAST_LENGTH && pg_le32(c + PG_CONTROL_AT_VERSION) == CONTROL_VERSION &&
                   pg_control_crc_matches(c, AT_CRC) && pg_control_sizes_make_sense(c + AT_SIZES)
               ? 100
               : 0;
}

/* Length, version and checksum of a control file. */
static int
check_control(const uint8_t *c, uint32_t len, struct gsp_error *err)
{
    if (len < LEAST_LENGTH)
        return gsp_fail(
            err, GSP_E_CORRUPT, 0, "control file has %" PRIu32 " bytes, at least %d expected", len, LEAST_LENGTH);
    uint32_t version = pg_le32(c + PG_CONTROL_AT_VERSION);
    if (version != CONTROL_VERSION && pg_control_looks_like_postgresql(c)) {
        (void)gsp_fail(
            err, GSP_E_VERSION, 0, "control file version %" PRIu32 " is of PostgreSQL, not of openGauss", version);
        return gsp_hint(err, "Leave server.plugin at 'auto', or set it to 'postgresql'.");
    }
    if (version != CONTROL_VERSION)
        return gsp_fail(
            err, GSP_E_CORRUPT, 0, "control file version %" PRIu32 " is not openGauss', %u", version, CONTROL_VERSION);
    return pg_control_check_crc(c, AT_CRC, err);
}

int
og_control_parse(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err)
{
    const uint8_t *c = control;
    int rc = check_control(c, len, err);
    if (rc == 0 && pg_le32(c + PG_CONTROL_AT_CATALOG_VERSION) != CATALOG_VERSION)
        rc =
            gsp_fail(err, GSP_E_VERSION, 0, "catalog version %" PRIu32 " is not the one that is known of openGauss, %u",
                pg_le32(c + PG_CONTROL_AT_CATALOG_VERSION), CATALOG_VERSION);
    if (rc == 0)
        rc = pg_control_take_sizes(c + AT_SIZES, ret, err);
    if (rc != 0)
        return rc;
    uint32_t state = pg_le32(c + AT_STATE);
    ret->control_version = CONTROL_VERSION;
    ret->catalog_version = CATALOG_VERSION;
    ret->checksum_version = 1; /* they cannot be switched off */
    ret->timeline = pg_le32(c + AT_CHECKPOINT_TIMELINE);
    ret->running = state != STATE_SHUT_DOWN && state != STATE_SHUT_DOWN_IN_RECOVERY;
    ret->system_id = pg_le64(c + PG_CONTROL_AT_SYSTEM_ID);
    ret->redo_lsn = pg_le64(c + AT_CHECKPOINT_REDO);
    (void)snprintf(ret->version, sizeof ret->version, "9.2");
    (void)snprintf(ret->tablespace_dir, sizeof ret->tablespace_dir, "PG_9.2_%u", CATALOG_VERSION);
    return 0;
}

int
og_control_crc(const void *control, uint32_t len, uint32_t *ret, struct gsp_error *err)
{
    const uint8_t *c = control;
    int rc = check_control(c, len, err);
    if (rc == 0)
        *ret = pg_le32(c + AT_CRC);
    return rc;
}
