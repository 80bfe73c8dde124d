/* SPDX-License-Identifier: Apache-2.0
 * Inside storage-fault: what is counted, when a fault strikes, and the report. README.md tells its use. */
#ifndef STORAGE_FAULT_H
#define STORAGE_FAULT_H

#include <limits.h>
#include <stdatomic.h>

#include "gsp/storage.h"

/* Operations that are counted, in the order of gsp/storage.h. limits and the closing ones are not. */
enum fault_op {
    OP_OPEN,
    OP_LIST,
    OP_STAT,
    OP_FILE_OPEN,
    OP_PREADV,
    OP_PUT_BEGIN,
    OP_PWRITEV,
    OP_PUT_COMMIT,
    OP_MKDIR,
    OP_REMOVE,
    OP_RENAME,
    OP_SYMLINK,
    OP_READLINK,
    OP_CHMOD,
    OP_SYNC,
    OP_SPACE,
    OP_NEXT_DATA,
    OP_LINK,
    OPS_N
};

enum fault_what { WHAT_EIO, WHAT_ENOSPC, WHAT_SHORT_READ, WHAT_SHORT_WRITE, WHAT_DELAY, WHAT_KILL, WHAT_PAUSE };

/* The options as the core stores them. */
struct fault_options {
    const char *inner, *what, *when, *ops, *path, *pause, *report;
    int64_t at, times, delay_us;
};

/* The options, understood. */
struct fault_plan {
    enum fault_what what;
    int after;    /* strike when the operation has taken effect */
    uint32_t ops; /* bit per enum fault_op: what counts */
    uint64_t at, times;
    int64_t delay_us;
    const char *path;  /* part of the path of what counts, or NULL */
    const char *pause; /* beginning of the names of two FIFOs */
};

/* One per process: all stores count together. */
struct fault_state {
    const struct gsp_host *host;
    atomic_uint_fast64_t count;
    atomic_uint_fast64_t struck;
    atomic_int stores, files, puts; /* open now */
    int descriptors;                /* open when the plugin was loaded */
    char report[PATH_MAX];          /* "" = none */
    char first[PATH_MAX];           /* what was struck first; written by the one thread that struck */
};

struct fault_store {
    struct fault_state *state;
    struct fault_plan plan;
    struct gsp_store inner;
    char *root;
};

/* An operation on its way through. */
struct fault_call {
    struct fault_store *store;
    enum fault_op op;
    const char *path; /* relative to the root */
    int strikes;
};

/* fault_plan_parse - errors CONFIG */
int fault_plan_parse(const struct fault_options *opts, struct fault_plan *ret, struct gsp_error *err);

/* fault_begin - count the operation. Returns 0 to go on, or what the fault makes of it. */
int fault_begin(struct fault_call *c, struct fault_store *s, enum fault_op op, const char *path, struct gsp_error *err);
/* fault_end - rc is what the operation returned; so does this, unless the fault strikes after it. */
int fault_end(const struct fault_call *c, int rc, struct gsp_error *err);

/* fault_descriptors - open file descriptors of this process. */
int fault_descriptors(void);
/* fault_report - write what was counted and what is still open. */
void fault_report(const struct fault_state *state);

#endif
