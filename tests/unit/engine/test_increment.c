/* SPDX-License-Identifier: Apache-2.0
 * What an incremental backup takes of a file. */
#include "engine_test.h"

#include "core/engine/change_map.h"

enum { RELATION = 16384 };

/* As the parent has the file: n_blocks pages, all stored. */
static struct file_entry
parent_of(const char *path, int32_t n_blocks)
{
    return (struct file_entry){.path = path,
        .compress_alg = "none",
        .size = (int64_t)n_blocks * STRIDE,
        .n_blocks = n_blocks,
        .n_headers = n_blocks,
        .is_datafile = 1,
        .crc = 1};
}

/* The blocks that were stored are these, in this order, each as make_page makes it; the entry counts them. */
static void
assert_stored_blocks(struct copy_fixture *f, const char *path, const uint32_t *blocks, uint32_t n)
{
    char name[PATH_SIZE];
    uint8_t page[SIZE];
    auto_strbuf bytes = STRBUF_INIT;
    const struct file_entry *e = &source(f, path)->entry;
    assert_true(path_join(name, "database", path));
    stored_bytes(f, name, &bytes);
    assert_int_equal(bytes.len, n * STRIDE);
    assert_int_equal(e->size, bytes.len);
    assert_int_equal(e->n_headers, n);
    assert_int_equal(e->crc, crc32c(0, bytes.data, bytes.len));
    for (uint32_t i = 0; i < n; i++) {
        const char *frame = bytes.data + (size_t)i * STRIDE;
        assert_int_equal(load_le32(frame), blocks[i]);
        make_page(page, blocks[i]);
        assert_memory_equal(frame + PAGE_FRAME_BYTES, page, SIZE);
    }
}

static void
assert_unchanged(struct copy_fixture *f, const char *path, int32_t n_blocks)
{
    char name[PATH_SIZE];
    const struct file_entry *e = &source(f, path)->entry;
    assert_true(path_join(name, "database", path));
    assert_int_equal(e->size, FILE_UNCHANGED);
    assert_int_equal(e->n_blocks, n_blocks);
    assert_int_equal(e->n_headers, 0);
    assert_false(is_stored(f, name));
}

static void
add_planned(struct copy_fixture *f, const char *path, uint32_t n, const struct file_entry *parent, uint32_t plan)
{
    add_pages(f, path, n);
    struct source_file *s = source(f, path);
    s->parent = parent;
    s->plan = plan;
    s->relation = RELATION;
}

/* Pages made here have LSN 0x1000 + block. */
static void
pages_of_the_parent_s_time_are_left_out(void **state)
{
    (void)state;
    static const uint32_t newer[] = {296, 297, 298, 299};
    struct copy_fixture f;
    struct gsp_error err;
    struct file_entry parent = parent_of("1", 300);
    copy_fixture_open(&f, 0);
    add_planned(&f, "1", 300, &parent, GSP_PLAN_LSN);
    source(&f, "1")->plan_lsn = 0x1000 + 296;
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    assert_stored_blocks(&f, "1", newer, 4);
    assert_int_equal(source(&f, "1")->entry.n_blocks, 300);
    assert_int_equal(f.copy.stored_pages, 4);
    assert_int_equal(f.copy.total_pages, 300);
    copy_fixture_close(&f);
}

static void
pages_without_lsn_and_behind_the_parent_s_end_are_taken(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    struct file_entry parent = parent_of("1", 2);
    auto_free uint8_t *pages = calloc(4, SIZE);
    auto_strbuf bytes = STRBUF_INIT;
    make_page(pages, 0);
    make_page(pages + 2 * SIZE, 2); /* old, but the parent's file had two pages; page 1 is zero, and may be so since */
    make_page(pages + 3 * SIZE, 3);
    copy_fixture_open(&f, 0);
    add_source(&f, "1", pages, 4 * SIZE, 4 * SIZE, GSP_CLASS_PAGES);
    source(&f, "1")->parent = &parent;
    source(&f, "1")->plan = GSP_PLAN_LSN;
    source(&f, "1")->plan_lsn = START_LSN;
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    stored_bytes(&f, "database/1", &bytes);
    assert_int_equal(bytes.len, 3 * STRIDE);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(load_le32(bytes.data + i * STRIDE), i + 1);
    copy_fixture_close(&f);
}

static void
nothing_newer_is_nothing_stored(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    struct file_entry parent = parent_of("1", 300), longer = parent_of("2", 50);
    copy_fixture_open(&f, 0);
    add_planned(&f, "1", 300, &parent, GSP_PLAN_LSN);
    source(&f, "1")->plan_lsn = START_LSN;
    add_planned(&f, "2", 20, &longer, GSP_PLAN_BLOCKS); /* cut, otherwise the same */
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    assert_unchanged(&f, "1", 300);
    assert_unchanged(&f, "2", 20);
    assert_false(is_stored(&f, "page_header_map"));
    copy_fixture_close(&f);
}

static void
add_change(struct change_map *map, uint32_t kind, uint32_t block, uint32_t count)
{
    struct gsp_error err;
    const struct gsp_change c = {.kind = kind, .relation = RELATION, .block = block, .count = count};
    ok(change_map_add(map, &c, 1, &err));
}

static void
blocks_of_the_map_are_taken(void **state)
{
    (void)state;
    static const uint32_t blocks[] = {0, 5, 6, 7, 130, 298, 299, 300, 301};
    struct copy_fixture f;
    struct gsp_error err;
    struct file_entry parent = parent_of("1", 300);
    struct change_map *map = change_map_new();
    add_change(map, GSP_CHANGE_BLOCKS, 0, 1);
    add_change(map, GSP_CHANGE_BLOCKS, 5, 3);
    add_change(map, GSP_CHANGE_BLOCKS, 130, 1);
    add_change(map, GSP_CHANGE_BLOCKS, 298, 2);
    add_change(map, GSP_CHANGE_BLOCKS, 5000, 1); /* cut off since */
    change_map_seal(map);
    copy_fixture_open(&f, 0);
    add_planned(&f, "1", 302, &parent, GSP_PLAN_BLOCKS);
    source(&f, "1")->changes = change_map_find(map, 0, 0, RELATION);
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    assert_stored_blocks(&f, "1", blocks, 9);
    assert_int_equal(source(&f, "1")->entry.n_blocks, 302);
    copy_fixture_close(&f);
    change_map_free(map);
}

static void
a_file_cut_while_it_is_copied_ends_there(void **state)
{
    (void)state;
    static const uint32_t blocks[] = {3, 10};
    struct copy_fixture f;
    struct gsp_error err;
    struct file_entry parent = parent_of("1", 100);
    struct change_map *map = change_map_new();
    add_change(map, GSP_CHANGE_BLOCKS, 3, 1);
    add_change(map, GSP_CHANGE_BLOCKS, 10, 5);
    add_change(map, GSP_CHANGE_BLOCKS, 50, 5);
    change_map_seal(map);
    copy_fixture_open(&f, 0);
    add_planned(&f, "1", 11, &parent, GSP_PLAN_BLOCKS);
    source(&f, "1")->size = 100 * SIZE; /* as the scan saw it */
    source(&f, "1")->changes = change_map_find(map, 0, 0, RELATION);
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    assert_stored_blocks(&f, "1", blocks, 2);
    assert_int_equal(source(&f, "1")->entry.n_blocks, 11);
    copy_fixture_close(&f);
    change_map_free(map);
}

static void
check_whole_files(uint32_t n)
{
    struct copy_fixture f;
    struct gsp_error err;
    struct file_entry parent, kept, other;
    copy_fixture_open(&f, 0);
    add_pages(&f, "1_vm", n);
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    parent = source(&f, "1_vm")->entry;
    copy_fixture_close(&f);

    copy_fixture_open(&f, 0);
    kept = other = parent;
    kept.size = FILE_UNCHANGED; /* a later increment knows it by the checksum alone */
    kept.n_headers = 0;
    other.crc++;
    add_planned(&f, "1_vm", n, &parent, GSP_PLAN_ALL);
    add_planned(&f, "2_vm", n, &kept, GSP_PLAN_ALL);
    add_planned(&f, "3_vm", n, &other, GSP_PLAN_ALL);
    add_planned(&f, "4_vm", n + 1, &parent, GSP_PLAN_ALL);
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    for (int i = 0; i < 2; i++) {
        assert_unchanged(&f, i == 0 ? "1_vm" : "2_vm", (int32_t)n);
        assert_int_equal(source(&f, i == 0 ? "1_vm" : "2_vm")->entry.crc, parent.crc);
        assert_false(is_stored(&f, i == 0 ? "database/1_vm" : "database/2_vm"));
    }
    assert_int_equal(source(&f, "3_vm")->entry.n_headers, n);
    assert_int_equal(source(&f, "4_vm")->entry.n_headers, n + 1);
    assert_int_equal(atomic_load(&f.copy.stored_pages), 2 * n + 1);
    assert_int_equal(atomic_load(&f.copy.uncompressed_bytes), (2 * n + 1) * (uint64_t)SIZE);
    copy_fixture_close(&f);
}

/* Forks are taken whole, and left out when they are byte for byte the same, in one batch or in several. */
static void
whole_files_are_left_out_when_they_are_the_same(void **state)
{
    (void)state;
    check_whole_files(3);
    check_whole_files(300);
}

static void
other_files_are_left_out_when_they_are_the_same(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    enum { LARGE = 70000 };
    auto_free char *bytes = calloc(1, LARGE);
    assert_non_null(bytes);
    struct file_entry same = {.path = "a", .compress_alg = "none", .size = LARGE, .crc = crc32c(0, bytes, LARGE)};
    struct file_entry longer = same, kept = same, other = same, small = same;
    small.size = 5;
    small.crc = crc32c(0, bytes, 5);
    longer.size++;
    kept.size = FILE_UNCHANGED;
    other.crc++;
    copy_fixture_open(&f, 0);
    /* One is too small for its checksum to prove anything, and one was written since. */
    const struct file_entry *parents[] = {&same, &kept, &other, &longer, NULL, &small, &same};
    f.copy.parent_start_us = 1000;
    for (int i = 0; i < 7; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        size_t size = parents[i] == &small ? 5 : LARGE;
        add_source(&f, name, bytes, size, size, GSP_CLASS_COPY);
        source(&f, name)->parent = parents[i];
        source(&f, name)->plan = GSP_PLAN_ALL;
        source(&f, name)->mtime_us = i == 6 ? 1001 : 1000;
    }
    ok(copy_files(&f.copy, 2, 0, &err));
    assert_int_equal(source(&f, "a")->entry.size, FILE_UNCHANGED);
    assert_int_equal(source(&f, "a")->entry.crc, same.crc);
    assert_false(is_stored(&f, "database/a"));
    assert_int_equal(source(&f, "b")->entry.size, FILE_UNCHANGED);
    for (int i = 2; i < 7; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        assert_int_equal(source(&f, name)->entry.size, i == 5 ? 5 : LARGE);
    }
    copy_fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_the_parent_s_time_are_left_out),
        cmocka_unit_test(pages_without_lsn_and_behind_the_parent_s_end_are_taken),
        cmocka_unit_test(nothing_newer_is_nothing_stored),
        cmocka_unit_test(blocks_of_the_map_are_taken),
        cmocka_unit_test(a_file_cut_while_it_is_copied_ends_there),
        cmocka_unit_test(whole_files_are_left_out_when_they_are_the_same),
        cmocka_unit_test(other_files_are_left_out_when_they_are_the_same),
    };
    return cmocka_run_group_tests_name("engine/increment", tests, NULL, NULL);
}
