/* SPDX-License-Identifier: Apache-2.0
 * Carrying out a retention policy: the backups as the plugin sees them, its verdicts, and the WAL of the archive. */
#ifndef ENGINE_RETENTION_H
#define ENGINE_RETENTION_H

#include "core/engine/engine.h"

/* One look at the backups of an instance. All arrays are as the list, newest first. */
struct retention {
    struct engine *e;
    int dry_run;
    struct plugin *plugin;
    void *plugin_opts;
    struct backup_list list;
    struct gsp_retention_backup *backups;
    struct gsp_verdict *verdicts;
    uint8_t *gone;               /* 1: not there any more, or only thought of as gone */
    int is_set;                  /* is there a policy? */
    const struct backup *unread; /* one of which nobody knows what it is based on, or NULL */
    struct gsp_error damage;     /* why the first chain that is damaged was not merged */
};

/* retention_open - choose the policy. errors UNSUPPORTED CONFIG */
int retention_open(struct retention *r, struct engine *e, int dry_run, struct gsp_error *err);
/* retention_look - read the list anew. A backup whose process is gone becomes ERROR, with dry_run only in here. */
int retention_look(struct retention *r, struct gsp_error *err);
/* retention_plan - verdicts to that list, checked. errors BUG when the policy breaks its rules, and the plugin's */
int retention_plan(struct retention *r, struct gsp_error *err);
void retention_close(struct retention *r);

/* retention_purge_wal - remove the segments of wal/<instance> that the backups that are not gone do not need.
 * out    ret_n: files removed, or with dry_run that can be removed
 * errors UNSUPPORTED (the directory is a link), CORRUPT (a timeline history), those of reading and removing */
int retention_purge_wal(struct retention *r, size_t *ret_n, struct gsp_error *err);

#endif
