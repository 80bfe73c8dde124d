/* SPDX-License-Identifier: Apache-2.0
 * External directories: what is backed up beside the cluster because the user names it (-E). In a backup each has the
 * number of its place in the sorted list; from one backup to the next the same directory can have another number.
 * thread  main */
#ifndef ENGINE_EXTERNAL_H
#define ENGINE_EXTERNAL_H

#include "core/engine/scan.h"

/* Their paths: canonical, in the order of strcmp. paths[N - 1] is that of external_directories/externaldirN. */
struct external_dirs {
    char **paths;
    size_t n;
};

/* external_dirs_parse - what a setting or a backup.control says: paths with ':' between them. NULL, "" and "none" are
 * an empty list. errors NOMEM */
int external_dirs_parse(const char *text, struct external_dirs *ret, struct gsp_error *err);
void external_dirs_free(struct external_dirs *dirs);
#define auto_external_dirs __attribute__((cleanup(external_dirs_free))) struct external_dirs
/* external_dirs_number - of a path; 0 when it is not in the list. */
int32_t external_dirs_number(const struct external_dirs *dirs, const char *path);
/* external_dirs_same - the number that the directory which has `number` in `from` has in `to`; 0. */
int32_t external_dirs_same(const struct external_dirs *from, int32_t number, const struct external_dirs *to);
/* external_dir_check_path - absolute, and without "..", so that it can be compared. errors USAGE */
int external_dir_check_path(const char *path, struct gsp_error *err);

/* Those of a backup that is being made. */
struct external_sources {
    struct external_dirs dirs; /* without those that are tablespaces */
    char *text;                /* of them, for backup.control; NULL when there are none */
    struct store *stores;      /* one each */
    void **store_opts;
    size_t n_open;
};

/* external_sources_open - those of the setting external-dirs. A path that is a tablespace is left out of them, and
 * said: tablespaces are part of every backup. errors USAGE (a path that cannot be one, or lies in or around the
 * cluster, a tablespace, the catalog, another one) NOENT and those of the storage */
int external_sources_open(struct external_sources *s, struct engine *e, struct data_side *data, struct gsp_error *err);
/* external_sources_scan - append their files and directories, of list->n_files and list->bytes on. quiet: no messages.
 * errors those of scan_source */
int external_sources_scan(struct external_sources *s, struct engine *e, struct data_side *data, int quiet,
    struct source_list *list, struct gsp_error *err);
/* external_sources_plan - what the parent backup has of the files from `first` on.
 * in     parent: its file list, sorted; parent_dirs: its value of external-dirs, or NULL. Both live as long as list */
int external_sources_plan(const struct external_sources *s, const struct filelist *parent, const char *parent_dirs,
    struct source_list *list, size_t first, struct gsp_error *err);
void external_sources_close(struct external_sources *s);

#endif
