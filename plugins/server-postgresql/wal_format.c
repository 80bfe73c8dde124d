/* SPDX-License-Identifier: Apache-2.0 */
#include "wal_format.h"

#define AT_PREVIOUS 8
#define AT_CRC 20
#define MANAGER_LAST_BUILTIN 21
#define MANAGER_FIRST_CUSTOM 128 /* since 15 */
#define MANAGERS 256

int
pg_wal_format_of(const struct gsp_cluster *cluster, struct pg_version_format *ret, struct gsp_error *err)
{
    const struct pg_major *major = NULL;
    const char *version = cluster->version;
    uint64_t number;
    if (pg_digits(&version, 1000, &number) && *version == '\0')
        major = pg_major_by_number(number);
    if (major == NULL)
        return gsp_fail(err, GSP_E_VERSION, 0, "WAL of version '%s' is not known, only of PostgreSQL %u to %u",
            cluster->version, PG_OLDEST_MAJOR, PG_NEWEST_MAJOR);
    ret->major = major->major;
    (void)snprintf(ret->what, sizeof ret->what, "PostgreSQL %u", (unsigned)major->major);
    ret->wal = (struct pg_wal_format){.what = ret->what,
        .magic = major->wal_magic,
        .page_flags = PG_PAGE_CONTINUES | PG_PAGE_LONG | PG_PAGE_REMOVABLE | PG_PAGE_OVERWRITES,
        .header = PG_RECORD_HEADER,
        .at_previous = AT_PREVIOUS,
        .at_info = PG_AT_INFO,
        .at_manager = PG_AT_MANAGER,
        .at_crc = AT_CRC,
        .last_manager = MANAGER_LAST_BUILTIN,
        .first_custom = major->major >= 15 ? MANAGER_FIRST_CUSTOM : MANAGERS};
    return 0;
}

int
pg_wal_verify(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from,
    gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err)
{
    struct pg_version_format format;
    int rc = pg_wal_format_of(cluster, &format, err);
    *ret_end = from;
    return rc < 0 ? rc : pg_reader_verify(&format.wal, cluster, source, timeline, from, to, ret_end, err);
}
