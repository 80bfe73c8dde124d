/* SPDX-License-Identifier: Apache-2.0
 * What tells a half-restored data directory from a cluster: its control file lies in it under another name,
 * first of all files of the cluster, and gets its own name as the last step. A server does not start before, and
 * the same restore can be run again. Beside it stands who is restoring: a living one is not disturbed. */
#ifndef ENGINE_RESTORE_MARK_H
#define ENGINE_RESTORE_MARK_H

#include "core/io/store.h"
#include "gsp/server.h"

#define RESTORE_MARK "gs_probackup.unfinished_restore"
#define RESTORE_OWNER RESTORE_MARK ".owner"
/* The places of external directories that are written to, one a line. */
#define RESTORE_EXTERNAL RESTORE_MARK ".external"
/* Behind the name of the control file: that of the cluster that is restored in place, from its first change on. */
#define CONTROL_ASIDE_SUFFIX ".pbk.bak"

/* restore_mark_is_name - is this the path of the mark, of what belongs to it, or of the control file set aside? */
int restore_mark_is_name(const char *path, const char *control_path);
/* restore_mark_is_there - does a restore that did not end seem to have left this directory? 1, 0, or a code. */
int restore_mark_is_there(struct store *s, struct gsp_error *err);
/* restore_mark_check - is that certain, and was it a restore of this cluster? 1, 0, or a code.
 * errors LOCKED it has not ended */
int restore_mark_check(
    struct store *s, const struct gsp_dialect_ops *dialect, uint64_t system_id, struct gsp_error *err);
/* restore_mark_check_ended - has the restore that claimed the directory, if any, ended? errors LOCKED */
int restore_mark_check_ended(struct store *s, struct gsp_error *err);
/* restore_mark_claim - say that this process is restoring into the directory, which exists. */
int restore_mark_claim(struct store *s, struct gsp_error *err);
/* restore_mark_clear - remove everything in the directory but the mark and the claim. */
int restore_mark_clear(struct store *s, struct gsp_error *err);
/* restore_mark_write - control: content of the control file. Durable at once, and the mark of an earlier restore is
 * replaced in one step. */
int restore_mark_write(struct store *s, const struct strbuf *control, uint32_t mode, struct gsp_error *err);
/* restore_mark_finish - the mark becomes the control file. Everything else is durable before.
 * errors LOCKED somebody else claims the directory now */
int restore_mark_finish(struct store *s, const char *control_path, int sync, struct gsp_error *err);

#endif
