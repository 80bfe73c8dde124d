/* SPDX-License-Identifier: Apache-2.0
 * The WAL of this dialect is one byte per segment file: the number of the block that it changes. */
#include "engine_test.h"

#include <pthread.h>

#include "core/engine/wal_scan.h"

enum { SEGMENT = 1 << 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static gsp_lsn seen_bytes; /* sum of all ranges, and whether one crossed a border */
static int crossed;

static int
byte_changes(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from,
    gsp_lsn to, gsp_change_cb cb, void *arg, struct gsp_error *err)
{
    char name[WAL_SEGMENT_NAME_SIZE];
    uint8_t block;
    uint64_t number = from / cluster->wal_segment_size;
    (void)snprintf(name, sizeof name, "%08X%08X%08X", timeline, (uint32_t)(number >> 12), (uint32_t)(number & 0xFFF));
    (void)pthread_mutex_lock(&lock);
    seen_bytes += to - from;
    crossed |= from >= to || (to - 1) / cluster->wal_segment_size != number;
    (void)pthread_mutex_unlock(&lock);
    int64_t got = source->read(source->ctx, name, 0, &block, 1, err);
    if (got < 0)
        return (int)got;
    const struct gsp_change change = {.kind = GSP_CHANGE_BLOCKS, .relation = 1, .block = block, .count = 1};
    return cb(arg, &change, 1, err);
}

static const struct gsp_dialect_ops byte_dialect = {.struct_size = sizeof byte_dialect, .wal_changes = byte_changes};

struct scan_fixture {
    struct spy server_spy, archive_spy;
    struct store server, archive;
    struct gsp_cluster cluster;
    struct timeline_span spans[3];
    struct timeline_history history;
    struct wal_scan scan;
};

static void
open_fixture(struct scan_fixture *f)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    seen_bytes = 0;
    crossed = 0;
    log_set_console(LOG_LEVEL_OFF);
    ok(store_open(&f->server, &spy_storage_ops, &f->server_spy, NULL, "/data", &err));
    ok(store_open(&f->archive, &spy_storage_ops, &f->archive_spy, NULL, "/archive", &err));
    ok(store_mkdir(&f->server, "pg_wal", 0700, GSP_MKDIR_PARENTS, &err));
    ok(store_mkdir(&f->archive, "", 0700, GSP_MKDIR_PARENTS, &err));
    f->cluster = (struct gsp_cluster){.struct_size = sizeof f->cluster, .wal_segment_size = SEGMENT};
    f->spans[0] = (struct timeline_span){.timeline = 1, .end = UINT64_MAX};
    f->history = (struct timeline_history){.spans = f->spans, .n = 1};
    f->scan = (struct wal_scan){.dialect = &byte_dialect,
        .cluster = &f->cluster,
        .history = &f->history,
        .places = {{&f->server, "pg_wal"}, {&f->archive, ""}},
        .n_places = 2,
        .from = UINT64_C(5) * SEGMENT + 100,
        .to = UINT64_C(8) * SEGMENT + 40,
        .map = change_map_new()};
}

static void
close_fixture(struct scan_fixture *f)
{
    change_map_free(f->scan.map);
    store_close(&f->server);
    store_close(&f->archive);
}

static void
put_segment(struct store *s, const char *dir, uint32_t timeline, uint32_t number, uint8_t block)
{
    char path[64];
    struct gsp_error err;
    (void)snprintf(path, sizeof path, "%s%08X00000000%08X", dir, timeline, number);
    ok(store_write_all(s, path, 0600, 0, &block, 1, &err));
}

static void
assert_changed(struct scan_fixture *f, const uint8_t *blocks, size_t n)
{
    change_map_seal(f->scan.map);
    const struct changed_relation *r = change_map_find(f->scan.map, 0, 0, 1);
    uint64_t next = change_map_next(r, 0);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(next, blocks[i]);
        next = change_map_next(r, next + 1);
    }
    assert_true(next == UINT64_MAX);
}

static void
every_segment_is_read_once_up_to_the_end(void **state)
{
    (void)state;
    static const uint8_t blocks[] = {10, 11, 12, 13};
    for (unsigned threads = 1; threads <= 5; threads += 2) {
        struct scan_fixture f;
        struct gsp_error err;
        open_fixture(&f);
        for (uint32_t i = 0; i < 4; i++)
            put_segment(&f.server, "pg_wal/", 1, 5 + i, blocks[i]);
        put_segment(&f.server, "pg_wal/", 1, 9, 99);
        ok(wal_scan_run(&f.scan, threads, &err));
        assert_false(crossed);
        assert_int_equal(seen_bytes, f.scan.to - f.scan.from);
        assert_changed(&f, blocks, 4);
        close_fixture(&f);
    }
}

static void
what_the_server_has_no_more_comes_from_the_archive(void **state)
{
    (void)state;
    static const uint8_t blocks[] = {10, 11, 12, 13};
    struct scan_fixture f;
    struct gsp_error err;
    open_fixture(&f);
    for (uint32_t i = 0; i < 4; i++)
        put_segment(i < 2 ? &f.archive : &f.server, i < 2 ? "" : "pg_wal/", 1, 5 + i, blocks[i]);
    put_segment(&f.archive, "", 1, 7, 77); /* the server's own counts */
    ok(wal_scan_run(&f.scan, 2, &err));
    assert_changed(&f, blocks, 4);
    close_fixture(&f);
}

static void
a_missing_segment_is_named_with_the_places(void **state)
{
    (void)state;
    struct scan_fixture f;
    struct gsp_error err = {0};
    open_fixture(&f);
    for (uint32_t i = 0; i < 4; i++)
        if (i != 2)
            put_segment(&f.server, "pg_wal/", 1, 5 + i, 1);
    assert_int_equal(wal_scan_run(&f.scan, 1, &err), GSP_E_NOENT);
    assert_string_equal(
        err.msg, "segment 000000010000000000000007 is missing: it is not in '/data/pg_wal', '/archive'");
    assert_non_null(strstr(err.hint, "-b DELTA"));
    close_fixture(&f);
}

/* Timeline 2 begins within segment 6, timeline 3 within 8: these two are whole under the newer name only. */
static void
segments_of_older_timelines_have_their_names(void **state)
{
    (void)state;
    static const uint8_t blocks[] = {10, 11, 12, 13};
    struct scan_fixture f;
    struct gsp_error err;
    open_fixture(&f);
    f.spans[0] = (struct timeline_span){.timeline = 1, .end = UINT64_C(6) * SEGMENT + 500};
    f.spans[1] = (struct timeline_span){.timeline = 2, .begin = f.spans[0].end, .end = UINT64_C(8) * SEGMENT + 8};
    f.spans[2] = (struct timeline_span){.timeline = 3, .begin = f.spans[1].end, .end = UINT64_MAX};
    f.history.n = 3;
    put_segment(&f.server, "pg_wal/", 1, 5, 10);
    put_segment(&f.server, "pg_wal/", 1, 6, 66);
    put_segment(&f.server, "pg_wal/", 2, 6, 11);
    put_segment(&f.server, "pg_wal/", 1, 7, 77); /* of the history that was left */
    put_segment(&f.server, "pg_wal/", 2, 7, 12);
    put_segment(&f.server, "pg_wal/", 2, 8, 88);
    put_segment(&f.server, "pg_wal/", 3, 8, 13);
    ok(wal_scan_run(&f.scan, 1, &err));
    assert_changed(&f, blocks, 4);
    close_fixture(&f);
}

/* What timeline 1 wrote after it was left is no part of the history, whatever its name. */
static void
a_left_timeline_does_not_stand_in(void **state)
{
    (void)state;
    struct scan_fixture f;
    struct gsp_error err = {0};
    open_fixture(&f);
    f.spans[0] = (struct timeline_span){.timeline = 1, .end = UINT64_C(6) * SEGMENT + 500};
    f.spans[1] = (struct timeline_span){.timeline = 2, .begin = f.spans[0].end, .end = UINT64_MAX};
    f.history.n = 2;
    put_segment(&f.server, "pg_wal/", 1, 5, 10);
    put_segment(&f.server, "pg_wal/", 2, 6, 11);
    put_segment(&f.server, "pg_wal/", 1, 7, 77);
    put_segment(&f.server, "pg_wal/", 2, 8, 13);
    assert_int_equal(wal_scan_run(&f.scan, 1, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, "segment 000000020000000000000007 is missing"));
    close_fixture(&f);
}

/* Reads whole chunks, and gives back the number of bytes. */
static int
chunk_target(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from,
    gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err)
{
    char name[WAL_SEGMENT_NAME_SIZE];
    uint8_t bytes[300];
    int64_t got = 1;
    (void)after;
    (void)target;
    (void)snprintf(name, sizeof name, "%08X00000000%08X", timeline, (unsigned)(from / cluster->wal_segment_size));
    for (ret->end = 0; got > 0; ret->end += (gsp_lsn)got)
        got = source->read(source->ctx, name, ret->end, bytes, sizeof bytes, err);
    return (int)got;
}

/* Nor does it in the segment in which it was left, behind that place. */
static void
a_left_timeline_ends_where_it_was_left(void **state)
{
    (void)state;
    static const uint8_t bytes[1000];
    struct scan_fixture f;
    struct gsp_error err;
    struct gsp_dialect_ops dialect = byte_dialect;
    struct gsp_recovery target = {.kind = GSP_RECOVERY_XID};
    struct gsp_wal_reach reach = {.struct_size = sizeof reach};
    open_fixture(&f);
    dialect.wal_find_target = chunk_target;
    f.scan.dialect = &dialect;
    f.spans[0] = (struct timeline_span){.timeline = 1, .end = UINT64_C(5) * SEGMENT + 700};
    f.spans[1] = (struct timeline_span){.timeline = 2, .begin = f.spans[0].end, .end = UINT64_MAX};
    f.history.n = 2;
    ok(store_write_all(&f.server, "pg_wal/000000010000000000000005", 0600, 0, bytes, sizeof bytes, &err));
    ok(wal_scan_find(&f.scan, f.scan.from, &target, &reach, &err));
    assert_int_equal(reach.end, 700);
    ok(store_write_all(&f.server, "pg_wal/000000020000000000000005", 0600, 0, bytes, sizeof bytes, &err));
    ok(wal_scan_find(&f.scan, f.scan.from, &target, &reach, &err));
    assert_int_equal(reach.end, 1000);
    close_fixture(&f);
}

/* A dialect that looks one byte for the target, and tells where it looked. */
static int
byte_target(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from,
    gsp_lsn after, const struct gsp_recovery *target, struct gsp_wal_reach *ret, struct gsp_error *err)
{
    char name[WAL_SEGMENT_NAME_SIZE];
    uint8_t byte;
    int64_t got = 1;
    assert_true(from <= after);
    for (ret->end = from; got >= 0 && !ret->reached; ret->end += cluster->wal_segment_size) {
        (void)snprintf(
            name, sizeof name, "%08X00000000%08X", timeline, (unsigned)(ret->end / cluster->wal_segment_size));
        got = source->read(source->ctx, name, 0, &byte, 1, err);
        ret->reached = got == 1 && byte == target->xid;
    }
    return got < 0 ? (int)got : 0;
}

static void
a_target_is_looked_for_in_all_places(void **state)
{
    (void)state;
    struct scan_fixture f;
    struct gsp_error err = {0};
    struct gsp_dialect_ops dialect = byte_dialect;
    struct gsp_recovery target = {.kind = GSP_RECOVERY_XID, .xid = 12};
    struct gsp_wal_reach reach = {.struct_size = sizeof reach};
    open_fixture(&f);
    dialect.wal_find_target = byte_target;
    f.scan.dialect = &dialect;
    put_segment(&f.server, "pg_wal/", 1, 5, 10);
    put_segment(&f.archive, "", 1, 6, 11);
    put_segment(&f.archive, "", 1, 7, 12);
    ok(wal_scan_find(&f.scan, f.scan.from, &target, &reach, &err));
    assert_true(reach.reached && reach.end == f.scan.from + 3 * SEGMENT);
    reach.reached = 0;
    target.xid = 13;
    assert_int_equal(wal_scan_find(&f.scan, f.scan.from, &target, &reach, &err), GSP_E_NOENT);
    assert_false(reach.reached);
    close_fixture(&f);
}

static void
nothing_between_two_points_is_nothing_changed(void **state)
{
    (void)state;
    struct scan_fixture f;
    struct gsp_error err;
    open_fixture(&f);
    f.scan.to = f.scan.from;
    ok(wal_scan_run(&f.scan, 2, &err));
    assert_changed(&f, NULL, 0);
    close_fixture(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_segment_is_read_once_up_to_the_end),
        cmocka_unit_test(what_the_server_has_no_more_comes_from_the_archive),
        cmocka_unit_test(a_missing_segment_is_named_with_the_places),
        cmocka_unit_test(segments_of_older_timelines_have_their_names),
        cmocka_unit_test(a_left_timeline_does_not_stand_in),
        cmocka_unit_test(a_left_timeline_ends_where_it_was_left),
        cmocka_unit_test(a_target_is_looked_for_in_all_places),
        cmocka_unit_test(nothing_between_two_points_is_nothing_changed),
    };
    return cmocka_run_group_tests_name("engine/wal_scan", tests, NULL, NULL);
}
