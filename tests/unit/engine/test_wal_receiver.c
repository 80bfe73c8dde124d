/* SPDX-License-Identifier: Apache-2.0
 * The server is played by a function of each test, called in the receiver's thread as wal_stream. It only takes
 * notes: the assertions are the main thread's. */
#include "engine_test.h"

#include <sched.h>

#include "core/base/cancel.h"

enum { SEGMENT = 65536, BYTES_MAX = 8 * SEGMENT, LONG_US = 60 * 1000000 };

#define BASE UINT64_C(0x100020000) /* start of a segment */

struct server {
    int (*script)(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err);
    gsp_lsn from;
    uint32_t timeline;
    gsp_lsn at;          /* behind the last byte sent */
    int rc;              /* of the stream */
    atomic_uint sent;    /* callbacks with data */
    atomic_int may_send; /* opened by the main thread */
    atomic_int ended;
    uint8_t bytes[BYTES_MAX];
};

struct fixture {
    struct store repo;
    struct server server;
    struct wal_target target;
    struct wal_receiver *receiver;
};

static uint8_t
wal_byte(gsp_lsn at)
{
    return (uint8_t)(1 + (at * 2654435761u >> 20) % 255);
}

static int
play(void *wal, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    struct server *s = wal;
    s->from = s->at = from;
    s->timeline = timeline;
    s->rc = s->script(s, cb, arg, err);
    atomic_store(&s->ended, 1);
    return s->rc < 0 ? s->rc : 0;
}

static const struct gsp_server_ops ops = {.struct_size = sizeof ops, .wal_stream = play};

/* ---- what scripts say ----------------------------------------------------------------------------- */

static int
send(struct server *s, uint32_t n, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    for (uint32_t i = 0; i < n; i++)
        s->bytes[i] = wal_byte(s->at + i);
    int rc = cb(arg, s->at, s->bytes, n, err);
    s->at += n;
    atomic_fetch_add(&s->sent, 1);
    return rc;
}

static int
quiet(gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    int rc;
    while ((rc = cb(arg, 0, NULL, 0, err)) == 0)
        (void)sched_yield();
    return rc;
}

static int
send_three_and_a_half(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    for (int i = 0; i < 7; i++) {
        int rc = send(s, SEGMENT / 2, cb, arg, err);
        if (rc != 0)
            return rc;
    }
    return quiet(cb, arg, err);
}

/* One message over four boundaries, and odd ones around it. */
static int
send_unevenly(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    static const uint32_t sizes[] = {1, SEGMENT - 2, 1, 4 * SEGMENT + 7, 3, 1000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int rc = send(s, sizes[i], cb, arg, err);
        if (rc != 0)
            return rc;
    }
    return quiet(cb, arg, err);
}

static int
send_one_and_be_quiet(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    int rc = send(s, 1000, cb, arg, err);
    return rc != 0 ? rc : quiet(cb, arg, err);
}

static int
send_nothing(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    (void)s;
    return quiet(cb, arg, err);
}

static int
leave_a_gap(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    int rc = send(s, 1000, cb, arg, err);
    s->at++;
    return rc != 0 ? rc : send(s, 1000, cb, arg, err);
}

static int
repeat(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    int rc = send(s, 1000, cb, arg, err);
    s->at -= 10;
    return rc != 0 ? rc : send(s, 1000, cb, arg, err);
}

static int
break_down(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    int rc = send(s, 1000, cb, arg, err);
    return rc != 0 ? rc : gsp_fail(err, GSP_E_NET, 0, "server closed the connection");
}

static int
end_too_early(struct server *s, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    return send(s, SEGMENT + 1000, cb, arg, err);
}

/* ---- fixture -------------------------------------------------------------------------------------- */

static void
start_failing(struct fixture *f, gsp_lsn start_lsn,
    int (*script)(struct server *, gsp_wal_cb, void *, struct gsp_error *), uint64_t good_writes)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    log_set_console(LOG_LEVEL_OFF);
    mem_store(&f->repo);
    ok(store_mkdir(&f->repo, "b/wal", 0700, GSP_MKDIR_PARENTS, &err));
    f->server.script = script;
    f->target = (struct wal_target){
        .store = &f->repo, .dir = "b/wal", .segment_size = SEGMENT, .timeline = 7, .start_lsn = start_lsn};
    storage_mem_fail_writes(f->repo.handle, good_writes, UINT64_MAX, ENOSPC);
    ok(wal_receiver_start(&ops, &f->server, &f->target, &f->receiver, &err));
}

static void
start(struct fixture *f, gsp_lsn start_lsn, int (*script)(struct server *, gsp_wal_cb, void *, struct gsp_error *))
{
    start_failing(f, start_lsn, script, UINT64_MAX);
}

static void
stop(struct fixture *f)
{
    wal_receiver_free(f->receiver);
    assert_true(f->server.ended);
    store_close(&f->repo);
}

static void
await(struct fixture *f, unsigned sent)
{
    while (atomic_load(&f->server.sent) < sent)
        (void)sched_yield();
}

static size_t
files_in_wal(struct fixture *f)
{
    struct gsp_error err;
    auto_listing list = {0};
    ok(store_list(&f->repo, "b/wal", &list, &err));
    return list.n;
}

/* The segment that begins at lsn: WAL up to `end`, then zeros; its entry says the same. */
static void
assert_segment(struct fixture *f, const struct filelist *list, gsp_lsn lsn, gsp_lsn end)
{
    char name[WAL_SEGMENT_NAME_SIZE], path[PATH_SIZE];
    struct gsp_error err;
    auto_strbuf got = STRBUF_INIT;
    wal_segment_name(name, 7, lsn, SEGMENT);
    (void)snprintf(path, sizeof path, "b/wal/%s", name);
    ok(store_read_all(&f->repo, path, SEGMENT, &got, &err));
    assert_int_equal(got.len, SEGMENT);
    for (uint32_t i = 0; i < SEGMENT; i++)
        assert_int_equal((uint8_t)got.data[i], lsn + i < end ? wal_byte(lsn + i) : 0);
    (void)snprintf(path, sizeof path, "pg_wal/%s", name);
    const struct file_entry *e = filelist_find(list, path, 0);
    assert_non_null(e);
    assert_int_equal(e->size, SEGMENT);
    assert_int_equal(e->mode, S_IFREG | 0600);
    assert_int_equal(e->crc, crc32c(0, got.data, got.len));
    assert_string_equal(e->compress_alg, "none");
}

static void
add_files(struct fixture *f, struct filelist *list)
{
    struct gsp_error err;
    ok(filelist_new(list, &err));
    ok(wal_receiver_add_files(f->receiver, "pg_wal", list, &err));
    filelist_sort(list);
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static void
segments_have_the_servers_names(void **state)
{
    (void)state;
    static const struct {
        uint32_t timeline;
        gsp_lsn lsn;
        uint32_t size;
        const char *name;
    } cases[] = {
        {1, 0x1000000, 16 << 20, "000000010000000000000001"},
        {1, 0x1FFFFFF, 16 << 20, "000000010000000000000001"},
        {0x1A, UINT64_C(0x1A2000028), 16 << 20, "0000001A00000001000000A2"},
        {1, UINT64_C(0xFFFFFFFFFF000000), 16 << 20, "00000001FFFFFFFF000000FF"},
        {2, UINT64_C(0x1C0000000), 1 << 30, "000000020000000100000003"},
        {2, UINT64_C(0x100300000), 1 << 20, "000000020000000100000003"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[WAL_SEGMENT_NAME_SIZE];
        wal_segment_name(name, cases[i].timeline, cases[i].lsn, cases[i].size);
        assert_string_equal(name, cases[i].name);
    }
}

static void
whole_segments_are_stored(void **state)
{
    (void)state;
    static struct fixture f;
    struct gsp_error err;
    auto_filelist list = {0};
    start(&f, BASE + 100, send_three_and_a_half);
    ok(wal_receiver_check(f.receiver, &err));
    ok(wal_receiver_finish(f.receiver, BASE + 2 * SEGMENT, LONG_US, &err));
    ok(wal_receiver_check(f.receiver, &err));
    assert_int_equal(f.server.from, BASE); /* the segment that holds the start, from its first byte */
    assert_int_equal(f.server.timeline, 7);
    add_files(&f, &list);
    /* The server may have been ahead of the stop by then. */
    assert_true(list.n >= 2 && files_in_wal(&f) == list.n);
    assert_segment(&f, &list, BASE, BASE + SEGMENT);
    assert_segment(&f, &list, BASE + SEGMENT, BASE + 2 * SEGMENT);
    stop(&f);
}

static void
the_last_segment_is_filled_with_zeros(void **state)
{
    (void)state;
    static struct fixture f;
    struct gsp_error err;
    auto_filelist list = {0};
    start(&f, BASE, send_three_and_a_half);
    await(&f, 7);
    assert_int_equal(files_in_wal(&f), 4); /* three, and one in the making */
    ok(wal_receiver_finish(f.receiver, BASE + 3 * SEGMENT + 100, LONG_US, &err));
    add_files(&f, &list);
    assert_int_equal(list.n, 4);
    assert_int_equal(files_in_wal(&f), 4);
    assert_segment(&f, &list, BASE + 2 * SEGMENT, BASE + 3 * SEGMENT);
    assert_segment(&f, &list, BASE + 3 * SEGMENT, BASE + 3 * SEGMENT + SEGMENT / 2);
    stop(&f);
}

static void
messages_may_cross_segments(void **state)
{
    (void)state;
    static struct fixture f;
    struct gsp_error err;
    auto_filelist list = {0};
    gsp_lsn end = BASE + 5 * SEGMENT + 7 + 3 + 1000;
    start(&f, BASE, send_unevenly);
    ok(wal_receiver_finish(f.receiver, end, LONG_US, &err));
    add_files(&f, &list);
    assert_int_equal(list.n, 6);
    for (uint32_t i = 0; i < 6; i++)
        assert_segment(&f, &list, BASE + i * SEGMENT, end);
    stop(&f);
}

static void
wrong_positions_are_refused(void **state)
{
    (void)state;
    static int (*const scripts[])(struct server *, gsp_wal_cb, void *, struct gsp_error *) = {leave_a_gap, repeat};
    static const char *const said[] = {"from 1/203E9 where 1/203E8", "from 1/203DE where 1/203E8"};
    for (size_t i = 0; i < 2; i++) {
        static struct fixture f;
        struct gsp_error err;
        start(&f, BASE, scripts[i]);
        fails(wal_receiver_finish(f.receiver, BASE + SEGMENT, LONG_US, &err), GSP_E_PROTO);
        assert_non_null(strstr(err.msg, said[i]));
        assert_int_equal(files_in_wal(&f), 0);
        stop(&f);
    }
}

static void
failures_of_the_server_are_told(void **state)
{
    (void)state;
    static struct fixture f;
    struct gsp_error err = {0};
    auto_filelist list = {0};
    start(&f, BASE, break_down);
    while (wal_receiver_check(f.receiver, &err) == 0)
        (void)sched_yield();
    assert_int_equal(err.code, GSP_E_NET);
    assert_string_equal(err.msg, "WAL streaming failed: server closed the connection");
    fails(wal_receiver_check(f.receiver, &err), GSP_E_NET); /* and still */
    fails(wal_receiver_finish(f.receiver, BASE + 10, LONG_US, &err), GSP_E_NET);
    assert_string_equal(err.msg, "WAL streaming failed: server closed the connection");
    add_files(&f, &list);
    assert_int_equal(list.n + files_in_wal(&f), 0); /* no half segments */
    stop(&f);
}

static void
a_stream_that_ends_too_early_is_no_success(void **state)
{
    (void)state;
    static struct fixture f;
    struct gsp_error err;
    start(&f, BASE, end_too_early);
    fails(wal_receiver_finish(f.receiver, BASE + 2 * SEGMENT, LONG_US, &err), GSP_E_BUG);
    assert_non_null(strstr(err.msg, "1/303E8"));
    stop(&f);
}

static void
a_server_that_is_silent_is_given_up(void **state)
{
    (void)state;
    static struct fixture f;
    struct gsp_error err;
    start(&f, BASE, send_one_and_be_quiet);
    await(&f, 1);
    fails(wal_receiver_finish(f.receiver, BASE + 2000, 1000, &err), GSP_E_TIMEOUT);
    assert_non_null(strstr(err.msg, "1/207D0 could not be streamed in 0 seconds: the stream stands at 1/203E8"));
    assert_true(err.hint[0] != '\0');
    stop(&f);
    start(&f, BASE, send_nothing);
    fails(wal_receiver_finish(f.receiver, BASE + 1, 1000, &err), GSP_E_TIMEOUT);
    stop(&f);
}

static void
freeing_ends_a_stream_and_its_half_segment(void **state)
{
    (void)state;
    static struct fixture f;
    start(&f, BASE, send_one_and_be_quiet);
    await(&f, 1);
    assert_int_equal(files_in_wal(&f), 1);
    wal_receiver_free(f.receiver);
    assert_true(f.server.ended);
    assert_int_equal(f.server.rc, 1); /* ended cleanly, by us */
    assert_int_equal(files_in_wal(&f), 0);
    store_close(&f.repo);
    wal_receiver_free(NULL);
}

static void
full_storages_end_the_stream(void **state)
{
    (void)state;
    /* A segment of two messages takes five writes. In the second one: its beginning, its first bytes, its end,
     * its final name. */
    static const uint64_t good_writes[] = {5, 6, 8, 9};
    for (size_t i = 0; i < 4; i++) {
        static struct fixture f;
        struct gsp_error err;
        auto_filelist list = {0};
        start_failing(&f, BASE, send_three_and_a_half, good_writes[i]);
        fails(wal_receiver_finish(f.receiver, BASE + 3 * SEGMENT, LONG_US, &err), GSP_E_NOSPC);
        add_files(&f, &list);
        assert_int_equal(list.n, 1);
        assert_segment(&f, &list, BASE, BASE + SEGMENT);
        stop(&f);
    }
}

/* Last: nothing takes the flag back. */
static void
ctrl_c_ends_the_wait(void **state)
{
    (void)state;
    static struct fixture f;
    struct gsp_error err;
    start(&f, BASE, send_nothing);
    cancel_request();
    fails(wal_receiver_finish(f.receiver, BASE + 1, LONG_US, &err), GSP_E_CANCELLED);
    stop(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_have_the_servers_names),
        cmocka_unit_test(whole_segments_are_stored),
        cmocka_unit_test(the_last_segment_is_filled_with_zeros),
        cmocka_unit_test(messages_may_cross_segments),
        cmocka_unit_test(wrong_positions_are_refused),
        cmocka_unit_test(failures_of_the_server_are_told),
        cmocka_unit_test(a_stream_that_ends_too_early_is_no_success),
        cmocka_unit_test(a_server_that_is_silent_is_given_up),
        cmocka_unit_test(freeing_ends_a_stream_and_its_half_segment),
        cmocka_unit_test(full_storages_end_the_stream),
        cmocka_unit_test(ctrl_c_ends_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
