/* SPDX-License-Identifier: Apache-2.0
 * What the tests of this folder share: a data directory and a catalog in memory, and a copy between them. */
#ifndef UNIT_ENGINE_TEST_H
#define UNIT_ENGINE_TEST_H

#include "tests/unit/catalog/catalog_test.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/base/bytes.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"
#include "core/engine/copy.h"
#include "core/io/page_batch.h"
#include "tests/doubles/spy_storage.h"
#include "tests/doubles/toy_codec.h"
#include "tests/doubles/toy_dialect.h"

enum { SIZE = 8192, STRIDE = SIZE + PAGE_FRAME_BYTES };

#define START_LSN UINT64_C(0x2000000)
#define BACKUP_DIR "backups/main/ID"
#define DATABASE_DIR BACKUP_DIR "/database"

struct copy_fixture {
    struct spy data_spy, repo_spy;
    struct data_side side;
    struct store repo;
    struct source_list src;
    struct plugin toy; /* the compressor */
    struct codec codec;
    struct copy copy;
};

static inline void
copy_fixture_open(struct copy_fixture *f, int compressed)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    log_set_console(LOG_LEVEL_OFF);
    ok(store_open(&f->side.store, &spy_storage_ops, &f->data_spy, NULL, "/data", &err));
    ok(store_open(&f->repo, &spy_storage_ops, &f->repo_spy, NULL, "/repo", &err));
    ok(store_mkdir(&f->side.store, "", 0700, GSP_MKDIR_PARENTS, &err));
    ok(store_mkdir(&f->repo, "", 0700, GSP_MKDIR_PARENTS, &err));
    ok(store_mkdir(&f->repo, DATABASE_DIR, 0700, GSP_MKDIR_PARENTS, &err));
    f->side.dialect = &toy_dialect;
    f->side.cluster = (struct gsp_cluster){
        .struct_size = sizeof f->side.cluster, .page_size = SIZE, .segment_blocks = TOY_SEGMENT_BLOCKS};
    f->src.arena = arena_new();
    f->toy = (struct plugin){.kind = GSP_KIND_COMPRESSOR, .name = "toy", .ops = &toy_codec_ops};
    if (compressed)
        f->codec.plugin = &f->toy;
    f->copy.side = &f->side;
    f->copy.repo = &f->repo;
    f->copy.database_dir = DATABASE_DIR;
    f->copy.src = &f->src;
    f->copy.codec = &f->codec;
    f->copy.codec_name = compressed ? "toy" : "none";
    f->copy.start_lsn = START_LSN;
    ok(header_map_create(&f->repo, BACKUP_DIR "/page_header_map", &f->copy.map, &err));
}

static inline void
copy_fixture_close(struct copy_fixture *f)
{
    if (f->copy.map != NULL)
        header_map_abort(f->copy.map);
    source_list_clear(&f->src);
    store_close(&f->side.store);
    store_close(&f->repo);
}

/* The files of the data directory: content, and the line of the scan. size is what the scan saw. */
static inline void
add_source(struct copy_fixture *f, const char *path, const void *bytes, size_t len, uint64_t size, uint32_t action)
{
    struct gsp_error err;
    struct source_list *src = &f->src;
    ok(store_write_all(&f->side.store, path, 0600, 0, bytes, len, &err));
    struct source_file *grown = realloc(src->files, (src->n_files + 1) * sizeof *grown);
    assert_non_null(grown);
    src->files = grown;
    struct source_file *s = &grown[src->n_files++];
    *s = (struct source_file){.size = size, .action = action};
    s->source = s->entry.path = arena_strdup(src->arena, path);
    s->entry.mode = S_IFREG | 0600;
    s->entry.compress_alg = "none";
    s->entry.is_datafile = action == GSP_CLASS_PAGES;
    src->bytes += size;
}

/* Page i of every data file made here: of different fill, all older than the start of the backup. */
static inline void
make_page(uint8_t *page, uint32_t i)
{
    toy_page(page, SIZE, i, 0x1000 + i, i % 3 == 0 ? SIZE - TOY_PAGE_HEADER : 200 + i % 1000, i * 97);
}

static inline void
add_pages(struct copy_fixture *f, const char *path, uint32_t n)
{
    uint8_t *bytes = malloc((size_t)n * SIZE + 1);
    assert_non_null(bytes);
    for (uint32_t i = 0; i < n; i++)
        make_page(bytes + (size_t)i * SIZE, i);
    add_source(f, path, bytes, (size_t)n * SIZE, (uint64_t)n * SIZE, GSP_CLASS_PAGES);
    free(bytes);
}

/* The copy sorts: files are found again by their path. */
static inline struct source_file *
source(struct copy_fixture *f, const char *path)
{
    for (size_t i = 0; i < f->src.n_files; i++)
        if (strcmp(f->src.files[i].source, path) == 0)
            return &f->src.files[i];
    fail_msg("no source file %s", path);
    return NULL;
}

static inline void
commit_map(struct copy_fixture *f)
{
    struct gsp_error err;
    struct header_map_writer *map = f->copy.map;
    f->copy.map = NULL;
    ok(header_map_commit(map, &err));
}

/* A file of the catalog, whole. */
static inline void
stored_bytes(struct copy_fixture *f, const char *name, struct strbuf *ret)
{
    char path[PATH_SIZE];
    struct gsp_error err;
    strbuf_reset(ret);
    assert_true(path_join(path, BACKUP_DIR, name));
    ok(store_read_all(&f->repo, path, 1 << 24, ret, &err));
}

static inline int
is_stored(struct copy_fixture *f, const char *name)
{
    char path[PATH_SIZE];
    struct gsp_error err = {0};
    assert_true(path_join(path, BACKUP_DIR, name));
    return store_exists(&f->repo, path, &err);
}

/* ---- what was logged ------------------------------------------------------------------------------ */

struct log_capture {
    char dir[32];
};

static inline void
log_capture_begin(struct log_capture *c)
{
    struct gsp_error err;
    (void)snprintf(c->dir, sizeof c->dir, "/tmp/gsp-unit-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    struct log_file_config config = {.directory = c->dir, .filename = "log", .level = LOG_LEVEL_LOG};
    ok(log_open_file(&config, &err));
}

static inline void
log_capture_end(struct log_capture *c, struct strbuf *text)
{
    char path[64];
    log_close();
    (void)snprintf(path, sizeof path, "%s/log", c->dir);
    if (access(path, F_OK) == 0)
        file_read(path, text);
    (void)unlink(path);
    (void)rmdir(c->dir);
}

#endif
