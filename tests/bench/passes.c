/* SPDX-License-Identifier: Apache-2.0
 * bench-passes PLUGIN_DIR PGDATA <list - what one pass over the bytes of files costs in memory: CRC-32C, page
 * checksums, one compress2() per page, and the compressor plugins.
 *
 * Each line of the list is "SEGMENT PATH" for a file of pages, "- PATH" for another one. The bytes are read in
 * pieces of the tool's own batch size, and only the passes over them are timed: CPU seconds of this thread. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ZLIB_CONST
#include <zlib.h>

#include "core/base/cleanup.h"
#include "core/base/crc32c.h"
#include "tests/contract/plugin_under_test.h"

enum { PAGE = 8192, PAGES = 128, CODECS = 4, HEAD_ROOM = 8 };

static const char *const codec_names[CODECS] = {"zlib", "pglz", "lz4", "zstd"};

struct codec_cost {
    struct plugin_under_test plugin;
    void *ctx;
    double seconds;
    uint64_t bytes;
};

struct passes {
    struct plugin_under_test server;
    const struct gsp_dialect_ops *dialect;
    struct gsp_cluster cluster;
    struct codec_cost codecs[CODECS];
    uint64_t bytes, page_bytes, compress2_bytes, bad_pages;
    double crc_seconds, page_seconds, compress2_seconds;
    uint32_t crc; /* used, so that the pass is not optimised away */
    uint8_t *raw, *out;
    uint32_t block[PAGES];
    gsp_lsn lsn[PAGES];
    uint16_t sum[PAGES], stored_sum[PAGES];
    uint8_t state[PAGES];
};

static double
cpu_now(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void
pass_crc(struct passes *p, size_t len)
{
    double began = cpu_now();
    p->crc ^= crc32c(0, p->raw, len);
    p->crc_seconds += cpu_now() - began;
    p->bytes += len;
}

static void
pass_pages(struct passes *p, uint32_t n, uint32_t first, uint32_t segment)
{
    struct gsp_pages pages = {.struct_size = sizeof pages,
        .n = n,
        .page_size = PAGE,
        .stride = PAGE,
        .base_block = (uint64_t)segment * p->cluster.segment_blocks,
        .data = p->raw,
        .block = p->block,
        .lsn = p->lsn,
        .sum = p->sum,
        .stored_sum = p->stored_sum,
        .state = p->state};
    for (uint32_t i = 0; i < n; i++)
        p->block[i] = first + i;
    double began = cpu_now();
    p->dialect->pages_check(&p->cluster, &pages);
    p->page_seconds += cpu_now() - began;
    p->page_bytes += (uint64_t)n * PAGE;
    for (uint32_t i = 0; i < n; i++)
        p->bad_pages += p->state[i] == GSP_PAGE_HEADER || p->state[i] == GSP_PAGE_CHECKSUM;
}

static void
pass_compress2(struct passes *p, uint32_t n)
{
    double began = cpu_now();
    for (uint32_t i = 0; i < n; i++) {
        uLongf len = compressBound(PAGE);
        int rc = compress2(p->out, &len, p->raw + (size_t)i * PAGE, PAGE, 1);
        p->compress2_bytes += rc == Z_OK && len < PAGE ? len : PAGE;
    }
    p->compress2_seconds += cpu_now() - began;
}

static int
pass_codec(struct codec_cost *c, const struct passes *p, uint32_t n, uint32_t out_cap, struct gsp_error *err)
{
    const struct gsp_compressor_ops *ops = c->plugin.plugin->ops;
    struct gsp_span in[PAGES], out[PAGES];
    struct gsp_codec_batch b = {.struct_size = sizeof b,
        .n = n,
        .in = p->raw,
        .in_span = in,
        .out = p->out,
        .out_cap = out_cap,
        .head_room = HEAD_ROOM,
        .out_span = out};
    for (uint32_t i = 0; i < n; i++)
        in[i] = (struct gsp_span){.off = i * PAGE, .len = PAGE};
    double began = cpu_now();
    int rc = ops->encode(c->ctx, &b, err);
    c->seconds += cpu_now() - began;
    if (rc == 0)
        c->bytes += b.out_len - (uint64_t)n * HEAD_ROOM;
    return rc;
}

static int
file_passes(struct passes *p, int fd, int is_pages, uint32_t segment, struct gsp_error *err)
{
    uint32_t first = 0;
    for (;;) {
        ssize_t got = read(fd, p->raw, (size_t)PAGES * PAGE);
        if (got < 0)
            return gsp_fail(err, GSP_E_IO, 0, "cannot read");
        if (got == 0)
            return 0;
        pass_crc(p, (size_t)got);
        if (!is_pages)
            continue;
        uint32_t n = (uint32_t)got / PAGE;
        pass_pages(p, n, first, segment);
        first += n;
        pass_compress2(p, n);
        for (int i = 0; i < CODECS; i++) {
            int rc = pass_codec(&p->codecs[i], p, n, PAGES * (PAGE * 2 + HEAD_ROOM), err);
            if (rc != 0)
                return rc;
        }
    }
}

/* Lines of standard input, relative to the directory. */
static int
all_passes(struct passes *p, const char *pgdata, struct gsp_error *err)
{
    char line[1024], path[4096];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *name = strchr(line, ' ');
        if (name == NULL)
            return gsp_fail(err, GSP_E_CONFIG, 0, "not a line of the list: '%s'", line);
        (void)snprintf(path, sizeof path, "%s/%s", pgdata, name + 1);
        auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return gsp_fail(err, GSP_E_NOENT, 0, "cannot open '%s'", path);
        int rc = file_passes(p, fd, line[0] != '-', (uint32_t)strtoul(line, NULL, 10), err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int
read_cluster(struct passes *p, const char *pgdata, struct gsp_error *err)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", pgdata, p->dialect->control_path);
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, p->raw, (size_t)PAGES * PAGE) : -1;
    if (got < 0)
        return gsp_fail(err, GSP_E_NOENT, 0, "cannot read '%s'", path);
    p->cluster.struct_size = sizeof p->cluster;
    int rc = p->dialect->control_parse(p->raw, (uint32_t)got, &p->cluster, err);
    if (rc == 0 && p->cluster.page_size != PAGE)
        rc = gsp_fail(err, GSP_E_UNSUPPORTED, 0, "pages of %u bytes", p->cluster.page_size);
    return rc;
}

static int
open_all(struct passes *p, const char *plugins, const char *pgdata, struct gsp_error *err)
{
    char file[4096];
    p->raw = aligned_alloc(64, (size_t)PAGES * PAGE);
    p->out = aligned_alloc(64, (size_t)PAGES * (PAGE * 2 + HEAD_ROOM));
    if (p->raw == NULL || p->out == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    (void)snprintf(file, sizeof file, "%s/server-postgresql.so", plugins);
    if (plugin_under_test_open(&p->server, GSP_KIND_SERVER, file) != 0)
        return gsp_fail(err, GSP_E_CONFIG, 0, "no server plugin");
    p->dialect = ((const struct gsp_server_ops *)p->server.plugin->ops)->dialect;
    for (int i = 0; i < CODECS; i++) {
        struct codec_cost *c = &p->codecs[i];
        (void)snprintf(file, sizeof file, "%s/compressor-%s.so", plugins, codec_names[i]);
        if (plugin_under_test_open(&c->plugin, GSP_KIND_COMPRESSOR, file) != 0)
            return gsp_fail(err, GSP_E_CONFIG, 0, "no compressor plugin '%s'", codec_names[i]);
        const struct gsp_compressor_ops *ops = c->plugin.plugin->ops;
        int rc = ops->ctx_new(c->plugin.plugin->state, c->plugin.opts, &c->ctx, err);
        if (rc != 0)
            return rc;
    }
    return read_cluster(p, pgdata, err);
}

static void
close_all(struct passes *p)
{
    for (int i = 0; i < CODECS; i++) {
        struct codec_cost *c = &p->codecs[i];
        if (c->ctx != NULL)
            ((const struct gsp_compressor_ops *)c->plugin.plugin->ops)->ctx_free(c->ctx);
        plugin_under_test_close(&c->plugin);
    }
    plugin_under_test_close(&p->server);
    free(p->raw);
    free(p->out);
}

static void
print(const struct passes *p)
{
    (void)printf("{\"bytes\": %" PRIu64 ", \"page_bytes\": %" PRIu64 ", \"bad_pages\": %" PRIu64
                 ", \"crc_s\": %.6f, \"pages_s\": %.6f, \"compress2_s\": %.6f, \"compress2_bytes\": %" PRIu64,
        p->bytes, p->page_bytes, p->bad_pages, p->crc_seconds, p->page_seconds, p->compress2_seconds,
        p->compress2_bytes);
    for (int i = 0; i < CODECS; i++)
        (void)printf(", \"%s_s\": %.6f, \"%s_bytes\": %" PRIu64, codec_names[i], p->codecs[i].seconds, codec_names[i],
            p->codecs[i].bytes);
    (void)printf(", \"crc\": %" PRIu32 "}\n", p->crc);
}

int
main(int argc, char **argv)
{
    struct gsp_error err = {0};
    struct passes p = {0};
    if (argc != 3) {
        (void)fprintf(stderr, "usage: bench-passes PLUGIN_DIR PGDATA <list\n");
        return 2;
    }
    int rc = open_all(&p, argv[1], argv[2], &err);
    if (rc == 0)
        rc = all_passes(&p, argv[2], &err);
    if (rc == 0)
        print(&p);
    else
        (void)fprintf(stderr, "bench-passes: %s\n", err.msg);
    close_all(&p);
    return rc == 0 ? 0 : 1;
}
