/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to server-postgresql: what its source files share.
 *
 * control.c classify.c pages.c wal*.c changes.c recovery.c are the dialect: pure, any thread, no libpq.
 * session.c checks.c summaries.c wal_receiver.c talk to a server; a link belongs to one thread at a time. */
#ifndef SERVER_POSTGRESQL_H
#define SERVER_POSTGRESQL_H

#include "gsp/server.h"
#include "server/bytes.h"

/* ---- versions ----------------------------------------------------------------------------------- */

struct pg_major {
    uint32_t major;
    uint32_t control_version;
    uint32_t catalog_version;
    uint32_t control_crc_at; /* offset of the checksum in the control file */
    uint16_t wal_magic;
};

#define PG_OLDEST_MAJOR 12u
#define PG_NEWEST_MAJOR 18u

/* pg_major_by_number - facts about a major version, NULL when unknown. */
const struct pg_major *pg_major_by_number(uint64_t major);

/* ---- dialect, see gsp/server.h ------------------------------------------------------------------ */

int pg_bid(const void *control, uint32_t len);
int pg_control_parse(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err);
int pg_control_crc(const void *control, uint32_t len, uint32_t *ret, struct gsp_error *err);
int pg_classify(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err);
void pg_pages_check(const struct gsp_cluster *cluster, struct gsp_pages *pages);
int pg_wal_verify(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
    gsp_lsn from, gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err);
int pg_wal_changes(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
    gsp_lsn from, gsp_lsn to, gsp_change_cb cb, void *arg, struct gsp_error *err);
int pg_recovery_files(const struct gsp_cluster *cluster, const struct gsp_recovery *recovery, gsp_recovery_cb cb,
    void *arg, struct gsp_error *err);
int pg_wal_find_target(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
    gsp_lsn from, gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err);

/* ---- session, see gsp/server.h ------------------------------------------------------------------ */

struct pg_state {
    const struct gsp_host *host;
};

struct pg_session;

int pg_open(void *state, const void *opts, void **ret_srv, struct gsp_error *err);
void pg_close(void *srv);
int pg_identify(void *srv, struct gsp_identity *ret, struct gsp_error *err);
int pg_backup_begin(void *srv, const char *label, uint32_t flags, struct gsp_begin *ret, struct gsp_error *err);
int pg_backup_end(void *srv, const char *restore_point, int64_t timeout_us, struct gsp_end *ret, struct gsp_error *err);
int pg_databases(void *srv, int (*cb)(void *arg, uint32_t oid, const char *name), void *arg, struct gsp_error *err);
int pg_wal_open(void *srv, const char *slot, uint32_t flags, void **ret_wal, struct gsp_error *err);
int pg_wal_stream(void *wal, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err);
void pg_wal_close(void *wal);
int pg_changed_blocks(void *srv, uint32_t timeline, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
    void *arg, struct gsp_error *err);
int pg_check(void *srv, uint32_t flags, struct gsp_identity *ret, gsp_probe_cb cb, void *arg, struct gsp_error *err);

#endif
