/* SPDX-License-Identifier: Apache-2.0
 * What a restore needs on each file system, against what is free there. */
#include "engine_test.h"

#include "core/engine/restore_room.h"

enum { BLOCK = 4096, SEGMENT = 16 << 20 };

/* File systems: of the data directory, of a tablespace, of a directory of the data directory that is a link. */
struct disk {
    const char *path; /* asked for in the store */
    void *store;
    uint64_t dev, free_bytes;
};
enum { DATA, SPACE, WAL, DISKS };
static struct disk disks[DISKS];

static int
disk_space(void *store, const char *path, struct gsp_space *ret, struct gsp_error *err)
{
    (void)err;
    for (size_t i = 0; i < DISKS; i++) {
        if (disks[i].store == store && strcmp(disks[i].path, path) == 0) {
            ret->dev = disks[i].dev;
            ret->free_bytes = disks[i].free_bytes;
            ret->block_bytes = BLOCK;
            return 0;
        }
    }
    fail_msg("nobody knows the disk of '%s'", path);
    return 0;
}

static int
linked_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    int rc = storage_mem_ops.stat(store, path, ret, err);
    if (rc == 0 && strcmp(path, "wal") == 0)
        ret->flags |= GSP_STAT_LINK;
    return rc;
}

struct fixture {
    struct gsp_storage_ops ops;
    struct engine e;
    struct backup b;
    struct stored_backup members[1];
    struct restore_tablespace space;
    struct gsp_dialect_ops dialect;
    struct restore r;
};

static void
add(struct stored_backup *sb, const char *path, uint32_t mode, int64_t size, int32_t n_blocks)
{
    struct gsp_error err;
    struct file_entry *e = filelist_add(&sb->list, path, "none", &err);
    assert_non_null(e);
    e->mode = mode;
    e->size = size;
    e->n_blocks = n_blocks;
    e->is_datafile = n_blocks > 0;
}

static void
fixture_open(struct fixture *f)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    memset(disks, 0, sizeof disks);
    f->ops = storage_mem_ops;
    f->ops.space = disk_space;
    mem_store(&f->e.repo);
    ok(store_open(&f->r.target.store, &f->ops, NULL, NULL, "/new", &err));
    ok(store_open(&f->space.store, &f->ops, NULL, NULL, "/ts", &err));
    disks[DATA] = (struct disk){"", f->r.target.store.handle, 1, INT64_MAX};
    disks[SPACE] = (struct disk){"", f->space.store.handle, 2, INT64_MAX};
    disks[WAL] = (struct disk){"wal", f->r.target.store.handle, 3, INT64_MAX};
    f->space.oid = (char *)(uintptr_t) "77";
    f->space.location = (char *)(uintptr_t) "/ts";
    f->r.target.spaces = &f->space;
    f->r.target.n_spaces = 1;
    f->dialect = toy_dialect;
    f->dialect.wal_dir = "wal";
    f->r.dialect = f->r.target.dialect = &f->dialect;
    f->r.e = f->r.chain.e = &f->e;
    f->b.stream = 1;
    static const struct backup *backups[1];
    backups[0] = &f->b;
    f->r.backups = backups;
    f->r.chain.members = f->members;
    f->r.chain.n = 1;
    f->r.cluster.wal_segment_size = SEGMENT;
    ok(filelist_new(&f->members[0].list, &err));
    f->members[0].page_size = SIZE;
    struct stored_backup *sb = &f->members[0];
    add(sb, "base", S_IFDIR | 0700, 0, 0);
    add(sb, "base/1", S_IFREG | 0600, 100, 10); /* ten pages of 8 KiB, whatever they take compressed */
    add(sb, "conf", S_IFREG | 0600, BLOCK + 1, 0);
    add(sb, "spaces", S_IFDIR | 0700, 0, 0);
    add(sb, "spaces/77", S_IFDIR | 0700, 0, 0);
    add(sb, "spaces/77/5", S_IFREG | 0600, 100, 3);
    add(sb, "spaces/770", S_IFREG | 0600, 1, 0);
    add(sb, "wal", S_IFDIR | 0700, 0, 0);
    add(sb, "wal/1", S_IFREG | 0600, SEGMENT, 0);
}

enum {
    IN_SPACE = 3 * SIZE + BLOCK, /* and the directory */
    IN_WAL = SEGMENT,            /* without it */
    IN_DATA = 10 * SIZE + 2 * BLOCK + BLOCK /* spaces/770 */ + 3 * BLOCK /* directories */ + IN_WAL
};

static void
fixture_close(struct fixture *f)
{
    free(f->r.inplace.there);
    filelist_clear(&f->members[0].list);
    store_close(&f->e.repo);
    store_close(&f->r.target.store);
    store_close(&f->space.store);
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static void
each_file_system_needs_room_for_its_places(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    assert_int_equal(restore_bytes_needed(&f.r.chain), 13 * SIZE + BLOCK + 2 + SEGMENT);
    disks[DATA].free_bytes = IN_DATA + 1;
    disks[SPACE].free_bytes = IN_SPACE + 1;
    ok(restore_room_check(&f.r, &err));
    disks[DATA].free_bytes--;
    fails(restore_room_check(&f.r, &err), GSP_E_NOSPC);
    assert_string_equal(err.msg, "not enough disk space to restore into '/new': 16MB are free, 16MB are needed");
    disks[SPACE].free_bytes = 100; /* both are named */
    fails(restore_room_check(&f.r, &err), GSP_E_NOSPC);
    assert_non_null(strstr(err.msg, "'/new': "));
    assert_non_null(strstr(err.msg, "; '/ts': 100B are free, 28kB are needed"));
    disks[SPACE].dev = 1; /* one disk for both */
    disks[DATA].free_bytes = IN_DATA + IN_SPACE + 1;
    ok(restore_room_check(&f.r, &err));
    disks[DATA].free_bytes--;
    fails(restore_room_check(&f.r, &err), GSP_E_NOSPC);
    assert_non_null(strstr(err.msg, "'/new' and 1 more place on its file system: "));
    fixture_close(&f);
}

/* Sizes out of a hostile list: the sum does not wrap around to something small. */
static void
absurd_sizes_never_look_small(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    disks[DATA].free_bytes = disks[SPACE].free_bytes = INT64_MAX / 2;
    for (int i = 0; i < 4; i++)
        add(&f.members[0], i % 2 ? "x" : "spaces/77/x", S_IFREG | 0600, INT64_MAX, 0);
    assert_int_equal(restore_bytes_needed(&f.r.chain), INT64_MAX);
    fails(restore_room_check(&f.r, &err), GSP_E_NOSPC);
    fixture_close(&f);
}

/* In place: what is there is not needed again, what goes first makes room, and only where it lay. */
static void
in_place_only_what_is_missing_counts(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    f.r.target.in_place = 1;
    f.r.inplace.there = calloc(f.members[0].list.n, sizeof *f.r.inplace.there);
    for (size_t i = 0; i < f.members[0].list.n; i++) {
        const char *path = f.members[0].list.entries[i].path;
        if (strcmp(path, "base/1") == 0)
            f.r.inplace.there[i] = 20 * SIZE; /* what is cut off makes no room in time */
        if (strcmp(path, "wal/1") == 0)
            f.r.inplace.there[i] = SEGMENT - 1;
        if (strcmp(path, "spaces/77/5") == 0)
            f.r.inplace.there[i] = SIZE;
    }
    enum { DATA_LEFT = 2 * BLOCK + BLOCK, SPACE_LEFT = 2 * SIZE };
    disks[DATA].free_bytes = DATA_LEFT + 1;
    disks[SPACE].free_bytes = SPACE_LEFT + 1;
    ok(restore_room_check(&f.r, &err));
    disks[DATA].free_bytes--;
    fails(restore_room_check(&f.r, &err), GSP_E_NOSPC);
    f.space.gain = BLOCK;
    fails(restore_room_check(&f.r, &err), GSP_E_NOSPC);
    f.r.target.gain = 1;
    ok(restore_room_check(&f.r, &err));
    f.r.target.gain = DATA_LEFT; /* nothing is needed: not even a full disk matters */
    disks[DATA].free_bytes = 0;
    ok(restore_room_check(&f.r, &err));
    fixture_close(&f);
}

static void
a_linked_wal_directory_is_a_place_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    auto_room room = {0};
    fixture_open(&f);
    ok(store_mkdir(&f.r.target.store, "wal", 0700, GSP_MKDIR_PARENTS, &err));
    f.ops.stat = linked_stat;
    f.r.target.in_place = 1;
    f.b.stream = 0; /* two segments out of the archive, beside the one of the list */
    f.b.start_lsn = SEGMENT + 40;
    f.b.stop_lsn = 2 * SEGMENT + 40;
    ok(restore_room_measure(&f.r, &room, &err));
    assert_int_equal(room.n_systems, 3);
    assert_string_equal(room.places[2].what, "WAL directory");
    assert_string_equal(room.places[2].location, "/new/wal");
    assert_int_equal(room.places[2].need, 3 * SEGMENT);
    disks[WAL].free_bytes = 3 * SEGMENT;
    fails(restore_room_check(&f.r, &err), GSP_E_NOSPC);
    assert_non_null(strstr(err.msg, "into '/new/wal': 48MB are free, 48MB are needed"));
    fixture_close(&f);
}

static void
a_storage_that_cannot_tell_refuses_nothing(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    fixture_open(&f);
    f.ops.space = NULL;
    ok(restore_room_check(&f.r, &err));
    fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_file_system_needs_room_for_its_places),
        cmocka_unit_test(absurd_sizes_never_look_small),
        cmocka_unit_test(in_place_only_what_is_missing_counts),
        cmocka_unit_test(a_linked_wal_directory_is_a_place_of_its_own),
        cmocka_unit_test(a_storage_that_cannot_tell_refuses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
