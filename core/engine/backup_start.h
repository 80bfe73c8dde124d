/* SPDX-License-Identifier: Apache-2.0
 * What a backup needs before it changes anything: plugins bound, the server connected and identified,
 * rights and room checked. A refusal here leaves no trace on disk. */
#ifndef ENGINE_BACKUP_START_H
#define ENGINE_BACKUP_START_H

#include "core/engine/external.h"

struct backup_start {
    struct data_side data;
    struct external_sources external;
    const struct plugin *mode;
    const struct gsp_mode_ops *mode_ops;
    void *mode_opts;
    int is_incremental;
    struct codec codec;
    const char *codec_name;
    const struct gsp_server_ops *server_ops;
    void *server_opts;
    void *srv; /* the session, NULL after its end */
    void *wal; /* the replication connection, its slot keeps the WAL from now on; NULL after its end */
    struct gsp_identity identity;
    uint32_t classify_flags;
};

int backup_start_open(
    struct backup_start *s, struct engine *e, const struct backup_options *opts, struct gsp_error *err);
/* backup_start_connect - only the session, of one that is zeroed but for its data side. */
int backup_start_connect(
    struct backup_start *s, struct engine *e, const struct backup_options *opts, struct gsp_error *err);
/* backup_start_end_session - disconnect, which ends backup mode and drops a temporary slot. */
void backup_start_end_session(struct backup_start *s);
void backup_start_close(struct backup_start *s);

/* check_owner - backup and restore run as the owner of the cluster: root or another user is refused with
 * the command to use. path is for the message, uid its owner. errors PERM */
int check_owner(const char *path, uint32_t uid, struct gsp_error *err);

#endif
