/* SPDX-License-Identifier: Apache-2.0 */
#include "map_file.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cbm.h"

#define COLUMNS_MAX 32
#define TICK_US 100000

static const char *const header =
    "merged_start_lsn|merged_end_lsn|tablespace_oid|database_oid|relfilenode|fork_number|path|rel_dropped|rel_created|"
    "rel_truncated|truncate_blocknum|changed_block_number|changed_block_list";

static int64_t
now_us(void *ctx)
{
    struct timespec ts;
    (void)ctx;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int
wait_a_while(void *ctx, int64_t us, struct gsp_error *err)
{
    const struct map_file *map = ctx;
    for (int64_t until = now_us(NULL) + us, left = us; left > 0; left = until - now_us(NULL)) {
        if (map->host->cancelled(map->host->ctx))
            return gsp_fail(err, GSP_E_CANCELLED, 0, "waiting for the changed-block map was cancelled");
        (void)poll(NULL, 0, (int)((left < TICK_US ? left : TICK_US) / 1000) + 1);
    }
    return 0;
}

static int
give_line(char *line, cbm_row_cb cb, void *arg, struct gsp_error *err)
{
    const char *cells[COLUMNS_MAX];
    uint32_t n = 0;
    for (char *cell; n < COLUMNS_MAX && (cell = strsep(&line, "|")) != NULL;)
        cells[n++] = cell;
    return cb(arg, n, cells, err);
}

static int
give_file(const struct map_file *map, cbm_row_cb cb, void *arg, struct gsp_error *err)
{
    char *line = NULL;
    size_t size = 0;
    int rc = 0;
    FILE *file = fopen(map->path, "re");
    if (file == NULL)
        return gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot open '%s'", map->path);
    for (uint64_t row = 0; rc == 0 && getline(&line, &size, file) >= 0; row++) {
        line[strcspn(line, "\n")] = '\0';
        if (row == 0 && strcmp(line, header) != 0)
            rc = gsp_fail(err, GSP_E_CONFIG, 0, "'%s' does not begin with '%s'", map->path, header);
        else if (row > 0 && line[0] != '(') /* the number of rows ends what psql prints */
            rc = give_line(line, cb, arg, err);
    }
    if (rc == 0 && ferror(file))
        rc = gsp_fail(err, GSP_E_IO, errno, "cannot read '%s'", map->path);
    free(line);
    (void)fclose(file);
    return rc;
}

static int
query(void *ctx, const char *sql, cbm_row_cb cb, void *arg, struct gsp_error *err)
{
    const struct map_file *map = ctx;
    const char *on = "on";
    if (strstr(sql, "pg_cbm_get_changed_block") != NULL)
        return give_file(map, cb, arg, err);
    if (strstr(sql, "pg_cbm_tracked_location") != NULL)
        return cb(arg, 1, &map->tracked, err);
    if (strstr(sql, "enable_cbm_tracking") != NULL)
        return cb(arg, 1, &on, err);
    return 0; /* it has no slots */
}

int
map_file_changed_blocks(const struct map_file *map, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
    void *arg, struct gsp_error *err)
{
    struct map_file self = *map;
    struct cbm_session session = {.ctx = &self, .query = query, .now_us = now_us, .wait = wait_a_while};
    return cbm_changed_blocks(&session, from, to, timeout_us, cb, arg, err);
}
