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

#define GSP_PLAN_ALL 1u /* the whole file */

/* One file as the source scan saw it. */
struct gsp_file {
    const char *path; /* relative to the data directory */
    uint64_t size;    /* bytes at scan time */
    uint32_t action;  /* GSP_CLASS_PAGES or GSP_CLASS_COPY */
    uint32_t reserved;
};

struct gsp_plan {
    uint32_t action; /* GSP_PLAN_* */
    uint32_t reserved;
};

struct gsp_mode_env {
    uint32_t struct_size;
    uint32_t reserved;
    const struct gsp_cluster *cluster;
    gsp_lsn start_lsn; /* of this backup */
};

struct gsp_mode_ops {
    uint32_t struct_size;
    uint32_t reserved;
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
