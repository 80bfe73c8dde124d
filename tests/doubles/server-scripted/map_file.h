/* SPDX-License-Identifier: Apache-2.0
 * A changed-block map that is a file: rows of openGauss' pg_cbm_get_changed_block(), as psql -A prints them. */
#ifndef MAP_FILE_H
#define MAP_FILE_H

#include "gsp/server.h"

struct map_file {
    const struct gsp_host *host; /* asked whether the user wants to stop */
    const char *path;
    const char *tracked; /* the WAL position it has come to, as text */
};

/* map_file_changed_blocks - read it as a real server's is read, see cbm_changed_blocks. errors also CONFIG, IO */
int map_file_changed_blocks(const struct map_file *map, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
    void *arg, struct gsp_error *err);

#endif
