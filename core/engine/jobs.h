/* SPDX-License-Identifier: Apache-2.0
 * Workers: n threads over a list of items, taken one by one in the list's order. */
#ifndef ENGINE_JOBS_H
#define ENGINE_JOBS_H

#include <stdatomic.h>
#include <stddef.h>

#include "gsp/error.h"

struct jobs {
    size_t n_items;
    unsigned threads;
    void *arg;
    /* worker_open - once per worker, in its thread: buffers and contexts. worker_close sees what it set,
     * also after a failure. */
    int (*worker_open)(void *arg, void **ret_worker, struct gsp_error *err);
    void (*worker_close)(void *worker);
    /* item - work on item i. The first failure stops all workers after their current batch. */
    int (*item)(void *arg, void *worker, size_t i, struct gsp_error *err);
    /* tick - several times a second in the calling thread while workers run; non-zero stops the work.
     * May be NULL. */
    int (*tick)(void *arg, struct gsp_error *err);

    atomic_size_t next; /* private */
    atomic_int stop;
};

/* jobs_run - run to the end or to the first failure, which is returned. Ctrl-C gives CANCELLED. */
int jobs_run(struct jobs *jobs, struct gsp_error *err);
/* jobs_check - for long items, once per batch: 0, or a code when the work is to stop. */
int jobs_check(struct jobs *jobs, struct gsp_error *err);

#endif
