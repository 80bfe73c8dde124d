/* SPDX-License-Identifier: Apache-2.0
 * Restoring the files of a chain, one by one: every block is read once and written once, in the order of the file.
 * thread  struct restore is shared by the workers; a chain reader belongs to one */
#ifndef ENGINE_RESTORE_FILE_H
#define ENGINE_RESTORE_FILE_H

#include "core/engine/chain.h"
#include "core/engine/external.h"
#include "core/engine/inplace.h"
#include "core/engine/jobs.h"
#include "core/engine/progress.h"
#include "core/engine/recovery.h"
#include "core/engine/restore_target.h"

struct restore {
    struct engine *e;
    const struct restore_options *opts;
    int only_look; /* restore_look: nothing may be changed */
    struct backup_list list;
    const struct backup **backups; /* [0] is what is restored, the last one FULL */
    size_t n;
    struct chain chain;            /* of these; in the list of the backup: what is restored, but not the control file */
    struct external_dirs external; /* of the backup */
    struct restore_target target;
    struct inplace inplace;
    struct gsp_recovery point; /* the target, by the name that it has in WAL */
    char point_name[RECOVERY_NAME_SIZE];
    struct recovery recovery;
    const struct gsp_dialect_ops *dialect;
    struct gsp_cluster cluster;
    struct file_entry control; /* comes last */
    uint32_t *order;           /* the files of the list without directories, largest first */
    size_t n_files;
    struct jobs jobs;
    struct progress progress;
    atomic_uint_fast64_t bad_files; /* with --force */
};

/* restore_file - file i of the list, which is not there yet, or in place. pages: for the latter, else not used. */
int restore_file(struct restore *r, struct chain_reader *in, struct page_batch *pages, size_t i, struct gsp_error *err);

/* restore_content - file i into an open put, pages or bytes. With --force damage is a warning, and what can be read is
 * kept. out ret_size: of the file */
int restore_content(struct restore *r, struct chain_reader *in, size_t i, struct store_put *put, uint64_t *ret_size,
    struct gsp_error *err);
/* restore_class - what the file is to the dialect by its name alone: what its siblings are does not count. */
int restore_class(const struct restore *r, const struct file_entry *f, const char *path, struct gsp_class *ret,
    struct gsp_error *err);
/* restore_check_blocks - do the decoded pages have the LSN and checksum of their records? The checksum of the stored
 * file says nothing where only parts of it are read. */
int restore_check_blocks(struct restore *r, const struct file_entry *f, const struct chain_block *blocks,
    struct page_batch *b, struct gsp_error *err);
/* restore_write_pages - neighbours in the file with one call. */
int restore_write_pages(struct store_put *put, struct page_batch *b, struct gsp_error *err);

/* restore_is_damage - is it the backup that is at fault, so that --force goes on? 1 or 0. */
static inline int
restore_is_damage(int code)
{
    return code == GSP_E_CORRUPT || code == GSP_E_NOENT;
}

#endif
