/* SPDX-License-Identifier: Apache-2.0
 * The source scan: every file and directory of a cluster that belongs into a backup. */
#ifndef ENGINE_SCAN_H
#define ENGINE_SCAN_H

#include "core/catalog/filelist.h"
#include "core/engine/engine.h"

struct source_file {
    struct file_entry entry; /* path, mode, database and segment are set; the copy fills the rest */
    const char *source;      /* path to read, differs from entry.path when that is encoded */
    uint64_t size;           /* bytes at scan time */
    int64_t mtime_us;        /* the same */
    uint32_t action;         /* GSP_CLASS_PAGES, COPY or CONTROL */
    uint32_t vanished;       /* the file is left out: set by the copy when it is gone, or by the plan */
    uint32_t relation;       /* as gsp_class */
    uint32_t space_oid;
    uint32_t flags; /* GSP_CLASS_* flags */
    /* set by the plan */
    const struct file_entry *parent; /* the parent backup's entry, or NULL */
    const struct changed_relation *changes;
    gsp_lsn plan_lsn;
    uint32_t plan; /* GSP_PLAN_* */
};

struct source_list {
    struct arena *arena;
    struct source_file *files;
    size_t n_files, cap_files;
    struct file_entry *dirs; /* parents before children */
    size_t n_dirs, cap_dirs;
    uint64_t bytes;  /* of all files */
    uint64_t holes;  /* of them, what needs no room: see SPARSE_FILE_MIN */
    int has_encoded; /* names were percent-encoded */
};

/* scan_source - walk a data directory. flags: GSP_CLASSIFY_*. quiet: no messages about links and names.
 * errors those of listing and CANCELLED */
int scan_source(struct data_side *side, uint32_t flags, int quiet, struct source_list *ret, struct gsp_error *err);

/* A directory that an external one must not lead into. */
struct scan_barrier {
    uint64_t dev, ino;
    const char *what;
};
/* One external directory: every file is just bytes. */
struct external_scan {
    struct store *store;
    int32_t number;
    int quiet;
    struct scan_barrier barriers[2];
    size_t n_barriers;
};
/* scan_external - append its files and directories to what scan_source found. Errors as there. */
int scan_external(const struct external_scan *scan, struct source_list *list, struct gsp_error *err);
void source_list_clear(struct source_list *list);

#endif
