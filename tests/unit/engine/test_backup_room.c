/* SPDX-License-Identifier: Apache-2.0
 * Is there room in the catalog for what an increment will store? */
#include "engine_test.h"

#include "core/engine/backup_room.h"
#include "core/engine/change_map.h"
#include "gsp/mode.h"

enum { SEGMENT = 1 << 20, WAL = 2 * SEGMENT, PAGE = SIZE + PAGE_FRAME_BYTES + 24 };

static uint64_t free_bytes;

static int
space(void *store, const char *path, struct gsp_space *ret, struct gsp_error *err)
{
    (void)store;
    (void)err;
    assert_string_equal(path, "backups");
    ret->free_bytes = free_bytes;
    return 0;
}

struct fixture {
    struct gsp_storage_ops ops;
    struct engine e;
    struct backup_start start;
    struct plugin toy;
    struct change_map *map;
    struct source_file files[4];
    struct source_list src;
    struct file_entry parent;
};

static void
fixture_open(struct fixture *f)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    log_set_console(LOG_LEVEL_OFF);
    mem_catalog(&f->e.repo);
    f->ops = storage_mem_ops;
    f->ops.space = space;
    f->e.repo.ops = &f->ops;
    f->start.is_incremental = 1;
    f->start.data.cluster =
        (struct gsp_cluster){.page_size = SIZE, .segment_blocks = TOY_SEGMENT_BLOCKS, .wal_segment_size = SEGMENT};
    f->map = change_map_new();
    /* Of relation 7, whose second file is looked at: 3 blocks, one of them behind the end of the file. */
    static const struct gsp_change changes[] = {
        {.kind = GSP_CHANGE_BLOCKS, .space_oid = 1, .db_oid = 2, .relation = 7, .block = 5, .count = 1},
        {.kind = GSP_CHANGE_BLOCKS, .space_oid = 1, .db_oid = 2, .relation = 7, .block = 1024 + 5, .count = 2},
        {.kind = GSP_CHANGE_BLOCKS, .space_oid = 1, .db_oid = 2, .relation = 7, .block = 1024 + 10, .count = 1},
    };
    ok(change_map_add(f->map, changes, 3, &err));
    change_map_seal(f->map);
    f->files[0] = (struct source_file){.size = 10 * SIZE,
        .action = GSP_CLASS_PAGES,
        .plan = GSP_PLAN_BLOCKS,
        .parent = &f->parent,
        .changes = change_map_find(f->map, 1, 2, 7),
        .entry = {.segment = 1}};
    f->files[1] = (struct source_file){.size = 1000, .action = GSP_CLASS_COPY, .plan = GSP_PLAN_ALL}; /* new */
    f->files[2] = (struct source_file){
        .size = 100000, .action = GSP_CLASS_COPY, .plan = GSP_PLAN_ALL, .parent = &f->parent}; /* the same, perhaps */
    f->files[3] =
        (struct source_file){.size = 9 * SIZE, .action = GSP_CLASS_PAGES, .plan = GSP_PLAN_ALL, .vanished = 1};
    f->src.files = f->files;
    f->src.n_files = 4;
}

enum { SURE = WAL + 2 * PAGE + 1000, MOST = SURE + 100000 };

static void
fixture_close(struct fixture *f)
{
    change_map_free(f->map);
    store_close(&f->e.repo);
}

/* Does it warn? */
static int
warns(struct fixture *f)
{
    struct gsp_error err;
    struct log_capture capture;
    auto_strbuf text = STRBUF_INIT;
    log_capture_begin(&capture);
    ok(backup_room_check_plan(&f->start, &f->e, &f->src, &err));
    log_capture_end(&capture, &text);
    return strstr(strbuf_str(&text), "can take up to") != NULL;
}

static void
what_the_map_names_must_fit_the_rest_should(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    free_bytes = MOST + 1;
    assert_false(warns(&f));
    free_bytes = MOST;
    assert_true(warns(&f));
    free_bytes = SURE + 1;
    assert_true(warns(&f));
    free_bytes = SURE;
    fails(backup_room_check_plan(&f.start, &f.e, &f.src, &err), GSP_E_NOSPC);
    assert_non_null(strstr(err.msg, "There is not enough remaining disk space for backup in '/mem': "));
    assert_non_null(strstr(err.hint, "delete old backups"));
    fixture_close(&f);
}

static void
compressed_it_may_fit(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    f.start.codec.plugin = &f.toy;
    free_bytes = SURE;
    assert_true(warns(&f));
    free_bytes = WAL + 2 * PAGE / 8;
    fails(backup_room_check_plan(&f.start, &f.e, &f.src, &err), GSP_E_NOSPC);
    fixture_close(&f);
}

static void
an_increment_needs_room_for_its_wal_at_least(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    free_bytes = WAL + 1;
    ok(backup_room_check(&f.start, &f.e, &err));
    free_bytes = WAL;
    fails(backup_room_check(&f.start, &f.e, &err), GSP_E_NOSPC);
    f.ops.space = NULL; /* a storage that cannot tell */
    ok(backup_room_check(&f.start, &f.e, &err));
    ok(backup_room_check_plan(&f.start, &f.e, &f.src, &err));
    fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_map_names_must_fit_the_rest_should),
        cmocka_unit_test(compressed_it_may_fit),
        cmocka_unit_test(an_increment_needs_room_for_its_wal_at_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
