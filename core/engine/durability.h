/* SPDX-License-Identifier: Apache-2.0
 * Making a whole tree durable. */
#ifndef ENGINE_DURABILITY_H
#define ENGINE_DURABILITY_H

#include "core/catalog/filelist.h"

/* sync_backup - every stored file and directory of a backup, its own directory, and the names of it in
 * the instance. dir: the backup's directory in the catalog. */
int sync_backup(struct store *repo, const char *dir, const struct filelist *list, struct gsp_error *err);
/* sync_stored - some files of a backup that is being built, the names of them, and its page_header_map. Not cut short
 * by an interrupt: it saves what was done. */
int sync_stored(
    struct store *repo, const char *dir, const struct file_entry *const *files, size_t n, struct gsp_error *err);
/* sync_restored - every restored file and directory of a list that belongs below the root of this store: those of the
 * cluster (0), or of an external directory. */
int sync_restored(struct store *target, const struct filelist *list, int32_t external_dir_num, struct gsp_error *err);

#endif
