/* SPDX-License-Identifier: Apache-2.0
 * Where the external directories of a backup are restored to: their old places, or those of --external-mapping. A file
 * in the data directory names the places that a restore writes to, from before the first write to after the last: so
 * another try knows what it may clear. */
#ifndef ENGINE_EXTERNAL_TARGET_H
#define ENGINE_EXTERNAL_TARGET_H

#include "core/engine/external.h"
#include "core/engine/restore_target.h"

/* external_mapping_check - is OLD of a mapping one of the backup's external directories? backup_dirs: what its control
 * file says of them. errors USAGE */
int external_mapping_check(const char *from, const char *backup_dirs, struct gsp_error *err);

/* external_targets_open - the last step of restore_target_open, whose mappings are checked: open the places. All are
 * empty then, or left by an unfinished restore into this data directory; in place they need not be. Writes nothing.
 * errors USAGE EXIST and those of the storage */
int external_targets_open(
    struct restore_target *t, const struct restore_options *opts, const char *backup_dirs, struct gsp_error *err);
void external_targets_close(struct restore_target *t);
/* external_targets_clear - remove what an unfinished restore left in them. */
int external_targets_clear(struct restore_target *t, struct gsp_error *err);
/* external_targets_claim - name them in the data directory, durably. */
int external_targets_claim(struct restore_target *t, struct gsp_error *err);
/* external_targets_make - the directories themselves. */
int external_targets_make(struct restore_target *t, struct gsp_error *err);
/* external_targets_sync - what was restored into them. list: of the backup */
int external_targets_sync(struct restore_target *t, const struct filelist *list, struct gsp_error *err);
/* external_targets_release - once the cluster is complete: they are nobody's any more, also those of an earlier try. */
void external_targets_release(struct restore_target *t);

#endif
