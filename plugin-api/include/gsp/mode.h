/* SPDX-License-Identifier: Apache-2.0
 *
 * gsp/mode.h - kind "mode": which files and blocks go into this backup.
 *
 * A mode answers with data, once per backup; the engine applies the answer where the pages are.
 * Nothing here is called per page.
 *
 * thread  HANDLE on a plan; begin and end in the main thread
 * Required: label begin plan_files end.
 */
#ifndef GSP_MODE_H
#define GSP_MODE_H

#include "gsp/server.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What to take of a file. */
#define GSP_PLAN_ALL 1u    /* every block; of an unchanged file nothing, see GSP_FILE_IN_PARENT */
#define GSP_PLAN_BLOCKS 2u /* the blocks that the change map names, and those behind the parent's end of the file */
#define GSP_PLAN_LSN 3u    /* the blocks whose page LSN is `lsn` or later, those without an LSN, and the same */

/* Flags of a file. */
#define GSP_FILE_IN_PARENT 1u /* the parent backup has it */
#define GSP_FILE_TRACKED 2u   /* gsp_class.relation: a page LSN or a change map tells what changed in it */

/* One file as the source scan saw it. BLOCKS and LSN need both flags; ALL is right for every file: the core leaves out
 * what is byte for byte as the parent has it. */
struct gsp_file {
    const char *path; /* relative to the data directory */
    uint64_t size;    /* bytes at scan time */
    uint32_t action;  /* GSP_CLASS_PAGES or GSP_CLASS_COPY */
    uint32_t flags;   /* GSP_FILE_* */
};

struct gsp_plan {
    uint32_t action; /* GSP_PLAN_* */
    uint32_t reserved;
    gsp_lsn lsn; /* of GSP_PLAN_LSN */
};

struct gsp_mode_env {
    uint32_t struct_size;
    uint32_t timeline; /* of this backup */
    const struct gsp_cluster *cluster;
    gsp_lsn start_lsn;        /* of this backup */
    gsp_lsn parent_start_lsn; /* of the backup it is based on; 0 without GSP_MODE_INCREMENTAL */
    /* Services of the core, for begin: fill its change map with all changes from the parent's start to this backup's,
     * from the server's own map or from WAL. Their errors say what the user can do.
     * in     archive: a directory of WAL segments to look in after the server's and the catalog's, NULL or "" = none */
    void *ctx;
    int (*map_from_server)(void *ctx, struct gsp_error *err);
    int (*map_from_wal)(void *ctx, const char *archive, struct gsp_error *err);
};

#define GSP_MODE_INCREMENTAL 1u /* flag: needs a parent */

struct gsp_mode_ops {
    uint32_t struct_size;
    uint32_t flags;    /* GSP_MODE_* */
    const char *label; /* as in `backup-mode` of a catalog, e.g. "FULL" */

    /* begin - prepare a plan. env is borrowed until end. out ret_plan: freed by end */
    int (*begin)(void *state, const void *opts, const struct gsp_mode_env *env, void **ret_plan, struct gsp_error *err);
    /* plan_files - one answer per file, in the caller's array of n. */
    int (*plan_files)(
        void *plan, const struct gsp_file *files, uint32_t n, struct gsp_plan *ret, struct gsp_error *err);
    void (*end)(void *plan);
};

#ifdef __cplusplus
}
#endif
#endif
