/* SPDX-License-Identifier: Apache-2.0
 *
 * Internal to server-opengauss: what its source files share.
 *
 * control.c classify.c pages.c wal.c recovery.c are the dialect: pure, any thread, no libpq.
 * session.c checks.c changes.c wal_receiver.c talk to a server; a link belongs to one thread at a time. */
#ifndef SERVER_OPENGAUSS_H
#define SERVER_OPENGAUSS_H

#include "gsp/server.h"
#include "server/bytes.h"

/* ---- dialect, see gsp/server.h ------------------------------------------------------------------ */

int og_bid(const void *control, uint32_t len);
int og_control_parse(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err);
int og_control_crc(const void *control, uint32_t len, uint32_t *ret, struct gsp_error *err);
int og_classify(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err);
void og_pages_check(const struct gsp_cluster *cluster, struct gsp_pages *pages);
int og_wal_verify(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
    gsp_lsn from, gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err);
int og_recovery_files(const struct gsp_cluster *cluster, const struct gsp_recovery *recovery, gsp_recovery_cb cb,
    void *arg, struct gsp_error *err);
int og_wal_find_target(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline,
    gsp_lsn from, gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err);

/* A file of a row-compressed relation is made of parts of so many logical pages, and of so many bytes. */
#define OG_EXTENT_PAGES 127u
#define OG_EXTENT_BYTES (128u * 8192u)
int og_extent_build(const struct gsp_cluster *cluster, struct gsp_extent *extent, struct gsp_error *err);
int og_extent_is_compressed(const struct gsp_cluster *cluster, const void *last_page);

/* ---- session, see gsp/server.h ------------------------------------------------------------------ */

struct og_state {
    const struct gsp_host *host;
};

struct og_session;

int og_open(void *state, const void *opts, void **ret_srv, struct gsp_error *err);
void og_close(void *srv);
int og_identify(void *srv, struct gsp_identity *ret, struct gsp_error *err);
int og_backup_begin(void *srv, const char *label, uint32_t flags, struct gsp_begin *ret, struct gsp_error *err);
int og_backup_end(void *srv, const char *restore_point, int64_t timeout_us, struct gsp_end *ret, struct gsp_error *err);
int og_databases(void *srv, int (*cb)(void *arg, uint32_t oid, const char *name), void *arg, struct gsp_error *err);
int og_wal_open(void *srv, const char *slot, uint32_t flags, void **ret_wal, struct gsp_error *err);
int og_wal_stream(void *wal, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err);
void og_wal_close(void *wal);
int og_changed_blocks(void *srv, uint32_t timeline, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
    void *arg, struct gsp_error *err);
int og_check(void *srv, uint32_t flags, struct gsp_identity *ret, gsp_probe_cb cb, void *arg, struct gsp_error *err);

#endif
