/* SPDX-License-Identifier: Apache-2.0
 * bench-filelist write|read PLUGIN_DIR DIR LINES - write DIR/backup_content.control with so many lines, or read
 * it back, as a backup and a restore do. Prints the seconds as JSON; the peak RSS is measured from outside. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/catalog/filelist.h"
#include "tests/contract/plugin_under_test.h"

enum { FILES_PER_DATABASE = 5000, FIRST_RELATION = 16384 };

static const char list_name[] = "backup_content.control";

static double
now(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Relations with their forks, in databases of some thousand files each. */
static int
fill(struct filelist *list, uint32_t lines, struct gsp_error *err)
{
    static const char *const forks[] = {"", "_fsm", "_vm"};
    int rc = filelist_new(list, err);
    for (uint32_t i = 0; i < lines && rc == 0; i++) {
        uint32_t database = FIRST_RELATION + i / FILES_PER_DATABASE, n = i % FILES_PER_DATABASE;
        char path[64];
        (void)snprintf(
            path, sizeof path, "base/%" PRIu32 "/%" PRIu32 "%s", database, FIRST_RELATION + n / 3, forks[n % 3]);
        struct file_entry *f = filelist_add(list, path, "zlib", err);
        if (f == NULL)
            return err->code;
        f->mode = 0100600;
        f->is_datafile = 1;
        f->crc = i * 2654435761u;
        f->db_oid = database;
        f->n_blocks = f->n_headers = (int32_t)(1 + i % 128);
        f->size = (int64_t)f->n_blocks * 2345;
        f->hdr_crc = ~f->crc;
        f->hdr_off = (int64_t)i * 64;
        f->hdr_size = 40 + f->n_blocks * 4;
    }
    filelist_sort(list);
    return rc;
}

static int
measure(struct store *s, const char *what, uint32_t lines, struct gsp_error *err)
{
    auto_filelist list = {0};
    uint32_t crc = 0;
    int writes = strcmp(what, "write") == 0;
    int rc = writes ? fill(&list, lines, err) : 0;
    double began = now();
    if (rc == 0)
        rc = writes ? filelist_write(s, list_name, &list, &crc, err) : filelist_read(s, list_name, 0, &list, err);
    double took = now() - began;
    if (rc == 0 && list.n != lines)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "%zu lines were read, not %" PRIu32, list.n, lines);
    if (rc == 0)
        (void)printf("{\"lines\": %" PRIu32 ", \"seconds\": %.6f}\n", lines, took);
    return rc;
}

int
main(int argc, char **argv)
{
    struct gsp_error err = {0};
    struct plugin_under_test fs;
    struct store s;
    char plugin[4096];
    if (argc != 5 || (strcmp(argv[1], "write") != 0 && strcmp(argv[1], "read") != 0)) {
        (void)fprintf(stderr, "usage: bench-filelist write|read PLUGIN_DIR DIR LINES\n");
        return 2;
    }
    (void)snprintf(plugin, sizeof plugin, "%s/storage-fs.so", argv[2]);
    if (plugin_under_test_open(&fs, GSP_KIND_STORAGE, plugin) != 0)
        return 1;
    int rc = store_open(&s, fs.plugin->ops, fs.plugin->state, fs.opts, argv[3], &err);
    if (rc == 0) {
        rc = measure(&s, argv[1], (uint32_t)strtoul(argv[4], NULL, 10), &err);
        store_close(&s);
    }
    if (rc != 0)
        (void)fprintf(stderr, "bench-filelist: %s\n", err.msg);
    plugin_under_test_close(&fs);
    return rc == 0 ? 0 : 1;
}
