/* SPDX-License-Identifier: Apache-2.0
 * Files of a cluster that is restored in place, in every state a block can be in. */
#include "engine_test.h"

#include "core/engine/restore_extents.h"
#include "core/engine/restore_file.h"

enum { BLOCKS = 300, SPARE = 40 }; /* of the file in the backup: more than two batches; and behind its end */
#define PATH "base/1"
#define LSN_OF(i) (0x1000 + (gsp_lsn)(i))

struct fixture {
    struct spy repo_spy, data_spy;
    struct engine e;
    struct backup b;
    struct restore_options opts;
    struct restore r;
    struct chain_reader *in;
    struct page_batch pages;
    struct gsp_dialect_ops dialect;
};

static int
classify_tracked(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err)
{
    int rc = toy_classify(cluster, flags, dir, entries, n, ret, err);
    assert_int_equal(n, 1);
    assert_string_equal(dir, "base");
    ret[0].relation = 1;
    return rc;
}

static void
backup_page(uint8_t *page, uint32_t i)
{
    if (i % 50 == 7)
        memset(page, 0, SIZE);
    else
        toy_page(page, SIZE, i, i % 50 == 8 ? 0 : LSN_OF(i), 300 + i, i);
}

/* gap: a block that the backup, made by another tool, does not have; or UINT32_MAX. */
static void
store_backup(struct fixture *f, uint32_t gap)
{
    struct gsp_error err;
    struct header_map_writer *map;
    struct header_stream *hs;
    struct filelist list;
    auto_strbuf stored = STRBUF_INIT;
    uint8_t page[SIZE], frame[PAGE_FRAME_BYTES];
    ok(filelist_new(&list, &err));
    ok(header_map_create(&f->e.repo, BACKUP_DIR "/page_header_map", &map, &err));
    ok(header_stream_new(&hs, &err));
    struct file_entry *e = filelist_add(&list, PATH, "none", &err);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        backup_page(page, i);
        if (i == gap)
            continue;
        struct page_header h = {
            .lsn = load_le64(page), .block = i, .pos = (uint32_t)stored.len, .checksum = load_le16(page + 8)};
        ok(header_stream_add(hs, &h, 1, &err));
        store_le32(frame, i);
        store_le32(frame + 4, SIZE);
        strbuf_add(&stored, frame, sizeof frame);
        strbuf_add(&stored, page, sizeof page);
    }
    *e = (struct file_entry){.path = e->path,
        .compress_alg = e->compress_alg,
        .mode = S_IFREG | 0600,
        .is_datafile = 1,
        .n_blocks = BLOCKS,
        .size = (int64_t)stored.len,
        .crc = crc32c(0, stored.data, stored.len)};
    ok(header_map_append(map, hs, (uint32_t)stored.len, e, &err));
    header_stream_free(hs);
    ok(header_map_commit(map, &err));
    ok(store_write_all(&f->e.repo, DATABASE_DIR "/" PATH, 0600, 0, stored.data, stored.len, &err));
    mem_put(&f->e.repo, DATABASE_DIR "/conf", "port = 1\n");
    e = filelist_add(&list, "conf", "none", &err);
    e->mode = S_IFREG | 0600;
    e->size = 9;
    e->crc = crc32c(0, "port = 1\n", 9);
    ok(filelist_write(&f->e.repo, BACKUP_DIR "/backup_content.control", &list, &f->b.content_crc, &err));
    filelist_clear(&list);
}

static void
fixture_open(struct fixture *f, enum restore_incremental mode, int tracked, uint32_t gap)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    log_set_console(LOG_LEVEL_OFF);
    ok(store_open(&f->e.repo, &spy_storage_ops, &f->repo_spy, NULL, "/repo", &err));
    ok(store_mkdir(&f->e.repo, DATABASE_DIR "/base", 0700, GSP_MKDIR_PARENTS, &err));
    ok(config_new(&f->e.cfg, &err));
    ok(registry_new(&f->e.reg, &err));
    f->e.instance = "main";
    backup_init(&f->b);
    (void)snprintf(f->b.id, sizeof f->b.id, "ID");
    f->b.dir = strdup("ID");
    f->b.mode = strdup("FULL");
    f->b.program_version = strdup("2.4.2");
    f->b.made_by = gap == UINT32_MAX ? strdup("1.0") : NULL;
    f->b.block_size = SIZE;
    store_backup(f, gap);
    const struct backup *backups[] = {&f->b};
    f->dialect = toy_dialect;
    if (tracked)
        f->dialect.classify = classify_tracked;
    f->r.e = &f->e;
    f->r.opts = &f->opts;
    f->r.dialect = &f->dialect;
    f->r.cluster = (struct gsp_cluster){.struct_size = sizeof f->r.cluster,
        .page_size = SIZE,
        .segment_blocks = TOY_SEGMENT_BLOCKS,
        .checksum_version = 1};
    f->r.inplace.mode = mode;
    f->r.inplace.sums = 1;
    ok(chain_open(&f->r.chain, &f->e, backups, 1, &err));
    ok(chain_reader_new(&f->r.chain, &f->in, &err));
    ok(page_batch_init(&f->pages, SIZE, NULL, NULL, NULL, &err));
    ok(store_open(&f->r.target.store, &spy_storage_ops, &f->data_spy, NULL, "/data", &err));
    ok(store_mkdir(&f->r.target.store, "base", 0700, GSP_MKDIR_PARENTS, &err));
}

static void
fixture_close(struct fixture *f)
{
    page_batch_free(&f->pages);
    chain_reader_free(f->in);
    chain_close(&f->r.chain);
    backup_clear(&f->b);
    store_close(&f->r.target.store);
    store_close(&f->e.repo);
    registry_free(f->e.reg);
    config_free(f->e.cfg);
}

static size_t
file_of(struct fixture *f, const char *path)
{
    const struct filelist *list = &f->r.chain.members[0].list;
    return (size_t)(filelist_find(list, path, 0) - list->entries);
}

/* The file of the cluster: n pages, and `more` bytes. change: what happened to page i. */
static void
put_cluster(struct fixture *f, uint32_t n, uint32_t more, void (*change)(uint8_t *page, uint32_t i))
{
    struct gsp_error err;
    uint8_t *bytes = calloc(n + 1, SIZE);
    assert_non_null(bytes);
    for (uint32_t i = 0; i < n; i++) {
        backup_page(bytes + (size_t)i * SIZE, i);
        if (change != NULL)
            change(bytes + (size_t)i * SIZE, i);
    }
    ok(store_write_all(&f->r.target.store, PATH, 0600, 0, bytes, (size_t)n * SIZE + more, &err));
    free(bytes);
    f->data_spy.bytes_written = 0;
    f->repo_spy.reads = 0;
    atomic_store(&f->r.inplace.written, 0);
}

/* Put right; it is the backup's file then, and so many pages were written. */
static void
check_patched(struct fixture *f, uint32_t pages, uint32_t gap)
{
    struct gsp_error err = {0};
    auto_strbuf found = STRBUF_INIT;
    uint8_t page[SIZE];
    assert_int_equal(inplace_file(&f->r, f->in, &f->pages, file_of(f, PATH), PATH, &err), 1);
    assert_int_equal(f->data_spy.bytes_written, (uint64_t)pages * SIZE);
    assert_int_equal(atomic_load(&f->r.inplace.written), (uint64_t)pages * SIZE);
    assert_false(f->data_spy.broke_limits || f->repo_spy.broke_limits);
    ok(store_read_all(&f->r.target.store, PATH, SIZE * (BLOCKS + SPARE), &found, &err));
    assert_int_equal(found.len, (size_t)BLOCKS * SIZE);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        backup_page(page, i);
        if (i == gap)
            memset(page, 0, sizeof page);
        assert_memory_equal(found.data + (size_t)i * SIZE, page, SIZE);
    }
}

/* ---- what can have happened to a page --------------------------------------------------------------- */

static void
newer_lsn(uint8_t *page, uint32_t i)
{
    if (i % 10 == 3)
        toy_page(page, SIZE, i, LSN_OF(9999), 40, i);
}

static void
same_lsn(uint8_t *page, uint32_t i) /* and other content, which its checksum fits */
{
    if (i % 10 == 3)
        toy_page(page, SIZE, i, LSN_OF(i), 40, i + 1);
}

static void
damaged(uint8_t *page, uint32_t i)
{
    if (i % 10 == 3)
        page[5000] ^= 1;
}

static void
zeroed(uint8_t *page, uint32_t i)
{
    if (i % 10 == 3)
        memset(page, 0, SIZE);
}

static void
misplaced(uint8_t *page, uint32_t i) /* the page of another block */
{
    if (i % 10 == 3)
        toy_page(page, SIZE, i + 1, LSN_OF(i), 300 + i, i);
}

/* ---- tests ----------------------------------------------------------------------------------------- */

static void
only_wrong_pages_are_written(void **state)
{
    (void)state;
    void (*const changes[])(uint8_t *, uint32_t) = {newer_lsn, same_lsn, damaged, zeroed, misplaced};
    for (int tracked = 0; tracked < 2; tracked++) {
        struct fixture f;
        fixture_open(&f, INCREMENTAL_CHECKSUM, tracked, UINT32_MAX);
        for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
            put_cluster(&f, BLOCKS, 0, changes[i]);
            check_patched(&f, BLOCKS / 10, UINT32_MAX);
        }
        put_cluster(&f, BLOCKS, 0, NULL);
        check_patched(&f, 0, UINT32_MAX);
        fixture_close(&f);
    }
}

static void
of_right_pages_nothing_is_read_from_the_backup(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f, INCREMENTAL_CHECKSUM, 1, UINT32_MAX);
    ok(store_remove(&f.e.repo, DATABASE_DIR "/" PATH, &err));
    put_cluster(&f, BLOCKS, 0, NULL);
    check_patched(&f, 0, UINT32_MAX);
    /* Without checksums there and in the backup the bytes are compared. */
    f.r.inplace.sums = 0;
    err = (struct gsp_error){0};
    assert_int_equal(inplace_file(&f.r, f.in, &f.pages, file_of(&f, PATH), PATH, &err), GSP_E_NOENT);
    fixture_close(&f);
}

static void
the_file_ends_where_it_did(void **state)
{
    (void)state;
    static const struct {
        uint32_t pages, more, written;
    } cases[] = {{BLOCKS + SPARE, 0, 0}, {BLOCKS, 100, 0}, {BLOCKS - 1, 0, 1}, {BLOCKS - 1, 100, 1},
        {128, 0, BLOCKS - 128}, {1, 0, BLOCKS - 1}, {0, 1, BLOCKS}, {0, 0, BLOCKS}};
    for (int tracked = 0; tracked < 2; tracked++) {
        struct fixture f;
        fixture_open(&f, INCREMENTAL_CHECKSUM, tracked, UINT32_MAX);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            put_cluster(&f, cases[i].pages, cases[i].more, NULL);
            check_patched(&f, cases[i].written, UINT32_MAX);
        }
        fixture_close(&f);
    }
}

static void
an_lsn_is_believed_up_to_the_common_history(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t unlogged = 0, behind = 0;
    fixture_open(&f, INCREMENTAL_LSN, 1, UINT32_MAX);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        unlogged += i % 50 == 8;
        behind += i > 200 && i % 50 != 7 && i % 50 != 8;
    }
    f.r.inplace.shift_lsn = LSN_OF(BLOCKS);
    put_cluster(&f, BLOCKS, 0, newer_lsn);
    check_patched(&f, BLOCKS / 10 + unlogged, UINT32_MAX);
    put_cluster(&f, BLOCKS, 0, damaged);
    check_patched(&f, BLOCKS / 10 + unlogged, UINT32_MAX);
    f.r.inplace.shift_lsn = LSN_OF(200);
    put_cluster(&f, BLOCKS, 0, NULL);
    check_patched(&f, behind + unlogged, UINT32_MAX);
    fixture_close(&f);
}

static void
what_no_member_has_reads_as_zeros(void **state)
{
    (void)state;
    for (int tracked = 0; tracked < 2; tracked++) {
        struct fixture f;
        fixture_open(&f, INCREMENTAL_CHECKSUM, tracked, 142);
        put_cluster(&f, BLOCKS, 0, newer_lsn);
        check_patched(&f, BLOCKS / 10 + 1, 142);
        f.data_spy.bytes_written = 0;
        atomic_store(&f.r.inplace.written, 0);
        check_patched(&f, 0, 142);
        put_cluster(&f, 100, 0, NULL);
        check_patched(&f, BLOCKS - 101, 142);
        fixture_close(&f);
    }
}

/* Flip a byte of page 13, whose frame is otherwise sound. */
static void
spoil_page(struct spy *spy, const char *path, uint64_t offset, const struct iovec *iov, int64_t *got)
{
    (void)spy;
    uint64_t at = 13 * (uint64_t)STRIDE + 4000;
    if (strcmp(path, DATABASE_DIR "/" PATH) == 0 && at >= offset && at < offset + (uint64_t)*got)
        for (uint64_t from = offset; at >= from; from += iov++->iov_len)
            if (at < from + iov->iov_len)
                ((uint8_t *)iov->iov_base)[at - from] ^= 1;
}

static void
damage_in_the_backup_is_not_written(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err = {0};
    fixture_open(&f, INCREMENTAL_CHECKSUM, 1, UINT32_MAX);
    f.repo_spy.after_read = spoil_page;
    put_cluster(&f, BLOCKS, 0, newer_lsn); /* of page 13, too */
    assert_int_equal(inplace_file(&f.r, f.in, &f.pages, file_of(&f, PATH), PATH, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "block 13 in backup ID"));
    assert_int_equal(store_exists(&f.r.target.store, PATH, &err), 1);
    /* With --force it is made anew, which tolerates what can be tolerated. */
    f.opts.force = 1;
    err = (struct gsp_error){0};
    assert_int_equal(inplace_file(&f.r, f.in, &f.pages, file_of(&f, PATH), PATH, &err), 0);
    assert_int_equal(store_exists(&f.r.target.store, PATH, &err), 0);
    fixture_close(&f);
}

static void
other_files_are_whole_or_made_anew(void **state)
{
    (void)state;
    static const struct {
        const char *there;
        int kept;
    } cases[] = {{"port = 1\n", 1}, {"port = 2\n", 0}, {"port = 1", 0}, {"", 0}, {NULL, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct gsp_error err = {0};
        fixture_open(&f, INCREMENTAL_CHECKSUM, 1, UINT32_MAX);
        if (cases[i].there != NULL)
            mem_put(&f.r.target.store, "conf", cases[i].there);
        f.data_spy.bytes_written = 0;
        assert_int_equal(inplace_file(&f.r, f.in, &f.pages, file_of(&f, "conf"), "conf", &err), cases[i].kept);
        assert_int_equal(store_exists(&f.r.target.store, "conf", &err), cases[i].kept);
        assert_int_equal(atomic_load(&f.r.inplace.written), cases[i].kept ? 0 : 9);
        assert_int_equal(f.data_spy.bytes_written, 0);
        fixture_close(&f);
    }
}

/* ---- files that are made of extents --------------------------------------------------------------- */

enum { EXTENT_PAGES = 7, EXTENT_BYTES = (EXTENT_PAGES + 2) * SIZE }; /* pages, a hole, a page that counts them */

static int
toy_extent(const struct gsp_cluster *cluster, struct gsp_extent *x, struct gsp_error *err)
{
    (void)cluster;
    assert_int_equal(x->first % EXTENT_PAGES, 0);
    if (x->chunk_size != 1024 || x->algorithm != 2)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "unknown");
    for (uint32_t i = 0; i < x->n; i++) {
        uint8_t *page = x->pages + (size_t)i * SIZE;
        int is_bad = load_le16(page + 10) != TOY_MAGIC && !(page[0] == 0 && memcmp(page, page + 1, SIZE - 1) == 0);
        if (is_bad && !x->tolerant)
            return gsp_fail(err, GSP_E_CORRUPT, 0, "block %u", x->first + i);
        x->lost += (uint32_t)is_bad;
        if (!is_bad)
            memcpy(x->bytes + (size_t)i * SIZE, page, SIZE);
    }
    if (x->n == 0)
        return 0;
    store_le32(x->bytes + EXTENT_BYTES - SIZE, x->n);
    x->hole = EXTENT_PAGES * SIZE;
    x->hole_end = x->hole + SIZE;
    return 0;
}

static struct file_entry *
make_compressed(struct fixture *f)
{
    struct file_entry *e = &f->r.chain.members[0].list.entries[file_of(f, PATH)];
    f->dialect.extent_pages = EXTENT_PAGES;
    f->dialect.extent_bytes = EXTENT_BYTES;
    f->dialect.extent_build = toy_extent;
    f->r.inplace.mode = INCREMENTAL_NONE;
    e->compressed_file = 1;
    e->compressed_chunk_size = 1024;
    e->compressed_algorithm = 2;
    return e;
}

/* lost: the page that the file has not; or UINT32_MAX. */
static void
assert_extents(struct fixture *f, uint32_t lost)
{
    struct gsp_error err;
    auto_strbuf text = STRBUF_INIT;
    uint8_t page[SIZE], zeros[SIZE] = {0};
    ok(store_read_all(&f->r.target.store, PATH, 1 << 24, &text, &err));
    assert_int_equal(text.len, (BLOCKS + EXTENT_PAGES - 1) / EXTENT_PAGES * (size_t)EXTENT_BYTES);
    for (uint32_t i = 0; i < BLOCKS; i++) {
        backup_page(page, i);
        assert_memory_equal(text.data + (size_t)(i / EXTENT_PAGES) * EXTENT_BYTES + (size_t)(i % EXTENT_PAGES) * SIZE,
            i == lost ? zeros : page, SIZE);
    }
    assert_int_equal(load_le32((const uint8_t *)text.data + text.len - SIZE), BLOCKS % EXTENT_PAGES);
}

static void
row_compressed_files_are_made_anew(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err = {0};
    fixture_open(&f, INCREMENTAL_CHECKSUM, 1, UINT32_MAX);
    put_cluster(&f, BLOCKS, 0, NULL);
    (void)make_compressed(&f);
    assert_int_equal(inplace_file(&f.r, f.in, &f.pages, file_of(&f, PATH), PATH, &err), 0);
    assert_int_equal(store_exists(&f.r.target.store, PATH, &err), 0);
    fixture_close(&f);
}

static void
row_compressed_files_are_made_of_extents(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err = {0};
    fixture_open(&f, INCREMENTAL_CHECKSUM, 1, UINT32_MAX);
    struct file_entry *e = make_compressed(&f);
    ok(restore_extents_check(&f.r, e, &err));
    ok(restore_file(&f.r, f.in, &f.pages, file_of(&f, PATH), &err));
    assert_extents(&f, UINT32_MAX);
    e->compressed_chunk_size = 77;
    fails(restore_extents_check(&f.r, e, &err), GSP_E_UNSUPPORTED);
    f.dialect.extent_build = NULL;
    fails(restore_extents_check(&f.r, e, &err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "are not known"));
    fixture_close(&f);
}

static void
damage(struct fixture *f, uint32_t block, uint32_t at)
{
    struct gsp_error err;
    auto_strbuf text = STRBUF_INIT;
    ok(store_read_all(&f->e.repo, DATABASE_DIR "/" PATH, 1 << 24, &text, &err));
    text.data[(size_t)block * STRIDE + at] ^= 1;
    ok(store_write_all(&f->e.repo, DATABASE_DIR "/" PATH, 0600, 0, text.data, text.len, &err));
}

/* A frame that is not the one of the map, and a page that the server cannot have made. */
static void
of_damaged_extents_the_rest_is_restored_with_force(void **state)
{
    (void)state;
    enum { LOST = 123 };
    for (int is_frame = 0; is_frame < 2; is_frame++) {
        struct fixture f;
        struct gsp_error err = {0};
        fixture_open(&f, INCREMENTAL_CHECKSUM, 1, UINT32_MAX);
        (void)make_compressed(&f);
        damage(&f, LOST, is_frame ? 0 : PAGE_FRAME_BYTES + 10);
        fails(restore_file(&f.r, f.in, &f.pages, file_of(&f, PATH), &err), GSP_E_CORRUPT);
        assert_int_equal(store_exists(&f.r.target.store, PATH, &err), 0);
        f.opts.force = 1;
        ok(restore_file(&f.r, f.in, &f.pages, file_of(&f, PATH), &err));
        assert_extents(&f, LOST);
        assert_int_equal(atomic_load(&f.r.bad_files), 1);
        fixture_close(&f);
    }
}

static void
a_full_disk_is_told(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err = {0};
    fixture_open(&f, INCREMENTAL_CHECKSUM, 1, UINT32_MAX);
    for (uint64_t after = 0; after < 3; after++) {
        put_cluster(&f, BLOCKS - 1, 0, newer_lsn);
        storage_mem_fail_writes(f.data_spy.mem, after, 1, ENOSPC);
        err = (struct gsp_error){0};
        assert_int_equal(inplace_file(&f.r, f.in, &f.pages, file_of(&f, PATH), PATH, &err), GSP_E_NOSPC);
        storage_mem_fail_writes(f.data_spy.mem, 0, 0, 0);
        assert_int_equal(store_exists(&f.r.target.store, PATH, &err), 1);
    }
    fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_wrong_pages_are_written),
        cmocka_unit_test(of_right_pages_nothing_is_read_from_the_backup),
        cmocka_unit_test(the_file_ends_where_it_did),
        cmocka_unit_test(an_lsn_is_believed_up_to_the_common_history),
        cmocka_unit_test(what_no_member_has_reads_as_zeros),
        cmocka_unit_test(damage_in_the_backup_is_not_written),
        cmocka_unit_test(other_files_are_whole_or_made_anew),
        cmocka_unit_test(row_compressed_files_are_made_anew),
        cmocka_unit_test(row_compressed_files_are_made_of_extents),
        cmocka_unit_test(of_damaged_extents_the_rest_is_restored_with_force),
        cmocka_unit_test(a_full_disk_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
