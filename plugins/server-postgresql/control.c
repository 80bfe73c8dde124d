/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"

#include <inttypes.h>

#include "server/control.h"

/* Fields of the control file that have not moved since version 12. */
#define AT_STATE 16
#define AT_REDO 40
#define AT_TIMELINE 48
#define AT_SIZES 216
#define AT_CHECKSUM_VERSION 252
#define LEAST_LENGTH 300

#define STATE_SHUT_DOWN 1
#define STATE_SHUT_DOWN_IN_RECOVERY 2

static const struct pg_major majors[] = {
    {12, 1201, 201909212, 288, 0xD101},
    {13, 1300, 202007201, 288, 0xD106},
    {14, 1300, 202107181, 288, 0xD10D},
    {15, 1300, 202209061, 288, 0xD110},
    {16, 1300, 202307071, 288, 0xD113},
    {17, 1700, 202406281, 288, 0xD116},
    {18, 1800, 202506291, 292, 0xD118},
};
#define MAJORS (sizeof majors / sizeof majors[0])

const struct pg_major *
pg_major_by_number(uint64_t major)
{
    for (size_t i = 0; i < MAJORS; i++)
        if (majors[i].major == major)
            return &majors[i];
    return NULL;
}

/* The first major version with this layout of the control file: versions that share one are told
 * apart by the catalog version only. */
static const struct pg_major *
layout_of(uint32_t control_version)
{
    for (size_t i = 0; i < MAJORS; i++)
        if (majors[i].control_version == control_version)
            return &majors[i];
    return NULL;
}

int
pg_bid(const void *control, uint32_t len)
{
    const uint8_t *c = control;
    const struct pg_major *layout = NULL;
    if (len < LEAST_LENGTH)
        return 0;
    layout = layout_of(pg_le32(c + PG_CONTROL_AT_VERSION));
    if (layout == NULL)
        return pg_control_looks_like_postgresql(c) ? 50 : 0;
    return pg_control_crc_matches(c, layout->control_crc_at) && pg_control_sizes_make_sense(c + AT_SIZES) ? 100 : 0;
}

/* Length, version and checksum of a control file. */
static int
check_control(const uint8_t *c, uint32_t len, const struct pg_major **ret_layout, struct gsp_error *err)
{
    const struct pg_major *layout = NULL;
    uint32_t control_version;
    if (len < LEAST_LENGTH)
        return gsp_fail(
            err, GSP_E_CORRUPT, 0, "control file has %" PRIu32 " bytes, at least %d expected", len, LEAST_LENGTH);
    control_version = pg_le32(c + PG_CONTROL_AT_VERSION);
    layout = layout_of(control_version);
    if (layout == NULL && pg_control_looks_like_postgresql(c)) {
        (void)gsp_fail(err, GSP_E_VERSION, 0,
            "control file version %" PRIu32 " is of a PostgreSQL that is %s than the %s known one, %u", control_version,
            control_version > majors[MAJORS - 1].control_version ? "newer" : "older",
            control_version > majors[MAJORS - 1].control_version ? "newest" : "oldest",
            control_version > majors[MAJORS - 1].control_version ? PG_NEWEST_MAJOR : PG_OLDEST_MAJOR);
        return gsp_hint(err, "Use a version of gs_probackup that knows this PostgreSQL.");
    }
    if (layout == NULL && control_version == PG_CONTROL_VERSION_OPENGAUSS) {
        (void)gsp_fail(err, GSP_E_VERSION, 0, "control file version %" PRIu32 " is of openGauss, not of PostgreSQL",
            control_version);
        return gsp_hint(err, "Leave server.plugin at 'auto', or set it to 'opengauss'.");
    }
    if (layout == NULL)
        return gsp_fail(
            err, GSP_E_CORRUPT, 0, "control file version %" PRIu32 " is not one of PostgreSQL's", control_version);
    *ret_layout = layout;
    return pg_control_check_crc(c, layout->control_crc_at, err);
}

static const struct pg_major *
major_of(const uint8_t *c)
{
    for (size_t i = 0; i < MAJORS; i++)
        if (majors[i].control_version == pg_le32(c + PG_CONTROL_AT_VERSION) &&
            majors[i].catalog_version == pg_le32(c + PG_CONTROL_AT_CATALOG_VERSION))
            return &majors[i];
    return NULL;
}

int
pg_control_parse(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err)
{
    const uint8_t *c = control;
    const struct pg_major *major;
    uint32_t state;
    int rc = check_control(c, len, &major, err);
    if (rc < 0)
        return rc;
    major = major_of(c);
    if (major == NULL)
        return gsp_fail(err, GSP_E_VERSION, 0,
            "catalog version %" PRIu32 " (control file version %" PRIu32 ") is not of a released PostgreSQL %u to %u",
            pg_le32(c + PG_CONTROL_AT_CATALOG_VERSION), pg_le32(c + PG_CONTROL_AT_VERSION), PG_OLDEST_MAJOR,
            PG_NEWEST_MAJOR);
    rc = pg_control_take_sizes(c + AT_SIZES, ret, err);
    if (rc < 0)
        return rc;
    state = pg_le32(c + AT_STATE);
    ret->control_version = major->control_version;
    ret->catalog_version = major->catalog_version;
    ret->checksum_version = pg_le32(c + AT_CHECKSUM_VERSION);
    ret->timeline = pg_le32(c + AT_TIMELINE);
    ret->running = state != STATE_SHUT_DOWN && state != STATE_SHUT_DOWN_IN_RECOVERY;
    ret->system_id = pg_le64(c + PG_CONTROL_AT_SYSTEM_ID);
    ret->redo_lsn = pg_le64(c + AT_REDO);
    (void)snprintf(ret->version, sizeof ret->version, "%" PRIu32, major->major);
    (void)snprintf(ret->tablespace_dir, sizeof ret->tablespace_dir, "PG_%" PRIu32 "_%" PRIu32, major->major,
        major->catalog_version);
    return 0;
}

int
pg_control_crc(const void *control, uint32_t len, uint32_t *ret, struct gsp_error *err)
{
    const uint8_t *c = control;
    const struct pg_major *layout = NULL;
    int rc = check_control(c, len, &layout, err);
    if (rc < 0)
        return rc;
    *ret = pg_le32(c + layout->control_crc_at);
    return 0;
}
