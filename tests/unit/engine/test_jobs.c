/* SPDX-License-Identifier: Apache-2.0
 * Workers only take notes: the assertions are the main thread's. Where one thread must see another's step it
 * asks in a loop and yields. */
#include "tests/unit/catalog/catalog_test.h"

#include <pthread.h>
#include <sched.h>

#include "core/base/cancel.h"
#include "core/engine/jobs.h"

enum { ITEMS_MAX = 1000 };

struct shop {
    struct jobs jobs;
    atomic_uint opened, closed, closed_empty, begun, ticks;
    atomic_uint times[ITEMS_MAX]; /* each item was worked on */
    size_t order[ITEMS_MAX];      /* one worker only */
    pthread_t main_thread;
    atomic_int tick_elsewhere, same_thread;
    unsigned wait_for; /* begun items before the first one goes on */
};

static int
open_worker(void *arg, void **ret_worker, struct gsp_error *err)
{
    struct shop *s = arg;
    pthread_t *self = malloc(sizeof *self);
    if (self == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    *self = pthread_self();
    *ret_worker = self;
    atomic_fetch_add(&s->opened, 1);
    return 0;
}

static struct shop *closing; /* worker_close gets no arg */

static void
close_worker(void *worker)
{
    atomic_fetch_add(worker != NULL ? &closing->closed : &closing->closed_empty, 1);
    free(worker);
}

static void
note(struct shop *s, void *worker, size_t i)
{
    s->order[atomic_fetch_add(&s->begun, 1) % ITEMS_MAX] = i;
    atomic_fetch_add(&s->times[i], 1);
    if (!pthread_equal(*(pthread_t *)worker, pthread_self()) || pthread_equal(s->main_thread, pthread_self()))
        atomic_store(&s->same_thread, 0);
}

static int
work(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    (void)err;
    note(arg, worker, i);
    return 0;
}

static void
shop_init(struct shop *s, size_t items, unsigned threads, int (*item)(void *, void *, size_t, struct gsp_error *))
{
    memset(s, 0, sizeof *s);
    closing = s;
    s->main_thread = pthread_self();
    s->same_thread = 1;
    s->jobs = (struct jobs){.n_items = items,
        .threads = threads,
        .arg = s,
        .worker_open = open_worker,
        .worker_close = close_worker,
        .item = item};
}

static void
items_are_taken_in_order(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, 500, 1, work);
    ok(jobs_run(&s.jobs, &err));
    assert_int_equal(s.begun, 500);
    for (size_t i = 0; i < 500; i++)
        assert_int_equal(s.order[i], i);
    assert_true(s.same_thread);
    assert_true(s.opened == 1 && s.closed == 1);
}

static void
every_item_is_done_once(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, ITEMS_MAX, 8, work);
    ok(jobs_run(&s.jobs, &err));
    for (size_t i = 0; i < ITEMS_MAX; i++)
        assert_int_equal(s.times[i], 1);
    assert_true(s.same_thread);
    assert_int_equal(s.opened, 8);
    assert_int_equal(s.closed, 8);
    ok(jobs_run(&s.jobs, &err)); /* and again: a run leaves nothing behind */
    assert_int_equal(s.times[ITEMS_MAX - 1], 2);
}

static void
no_more_workers_than_items(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, 3, 64, work);
    ok(jobs_run(&s.jobs, &err));
    assert_int_equal(s.begun, 3);
    assert_int_equal(s.opened, 3);
    assert_int_equal(s.closed, 3);
    shop_init(&s, 0, 4, work);
    ok(jobs_run(&s.jobs, &err));
    assert_int_equal(s.opened + s.closed + s.closed_empty, 0);
}

/* ---- failures ------------------------------------------------------------------------------------- */

/* Item 0 fails once the others are at work; those go on until they are told to stop. */
static int
first_fails(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    struct shop *s = arg;
    note(s, worker, i);
    while (atomic_load(&s->begun) < s->wait_for)
        (void)sched_yield();
    if (i == 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "item 0 is broken");
    for (;;) {
        int rc = jobs_check(&s->jobs, err);
        if (rc != 0)
            return rc;
        (void)sched_yield();
    }
}

static void
the_first_failure_stops_the_others(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, 100, 4, first_fails);
    s.wait_for = 4;
    fails(jobs_run(&s.jobs, &err), GSP_E_CORRUPT);
    assert_string_equal(err.msg, "item 0 is broken");
    assert_int_equal(s.begun, 4);
    assert_int_equal(s.closed, 4);
}

static int
third_fails(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    note(arg, worker, i);
    return i == 2 ? gsp_fail(err, GSP_E_IO, EIO, "item 2") : 0;
}

static void
nothing_is_begun_after_a_failure(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, 10, 1, third_fails);
    fails(jobs_run(&s.jobs, &err), GSP_E_IO);
    assert_int_equal(err.sys_errno, EIO);
    assert_int_equal(s.begun, 3);
}

static int
no_worker(void *arg, void **ret_worker, struct gsp_error *err)
{
    (void)arg;
    (void)ret_worker;
    return gsp_fail(err, GSP_E_NOMEM, 0, "no room to work in");
}

/* Sets its worker, then fails: what it made must not leak. */
static int
half_a_worker(void *arg, void **ret_worker, struct gsp_error *err)
{
    int rc = open_worker(arg, ret_worker, err);
    return rc != 0 ? rc : gsp_fail(err, GSP_E_NOMEM, 0, "half a worker");
}

static void
workers_that_cannot_open_fail_the_run(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, 10, 1, work);
    s.jobs.worker_open = no_worker;
    fails(jobs_run(&s.jobs, &err), GSP_E_NOMEM);
    assert_string_equal(err.msg, "no room to work in");
    assert_true(s.closed_empty == 1 && s.begun == 0);
    shop_init(&s, 10, 3, work);
    s.jobs.worker_open = half_a_worker;
    fails(jobs_run(&s.jobs, &err), GSP_E_NOMEM);
    assert_int_equal(s.begun, 0);
    assert_int_equal(s.closed, s.opened);
}

/* ---- the tick ------------------------------------------------------------------------------------- */

static int
tick(void *arg, struct gsp_error *err)
{
    struct shop *s = arg;
    if (!pthread_equal(s->main_thread, pthread_self()))
        atomic_store(&s->tick_elsewhere, 1);
    return atomic_fetch_add(&s->ticks, 1) + 1 == s->wait_for ? gsp_fail(err, GSP_E_SERVER, 0, "enough") : 0;
}

static int
until_ticked_twice(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    struct shop *s = arg;
    (void)err;
    note(s, worker, i);
    while (atomic_load(&s->ticks) < 2)
        (void)sched_yield();
    return 0;
}

static int
until_stopped(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    struct shop *s = arg;
    int rc;
    note(s, worker, i);
    while ((rc = jobs_check(&s->jobs, err)) == 0)
        (void)sched_yield();
    return rc;
}

static void
the_caller_ticks_while_others_work(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, 2, 2, until_ticked_twice);
    s.jobs.tick = tick;
    ok(jobs_run(&s.jobs, &err));
    assert_true(s.ticks >= 2);
    assert_false(s.tick_elsewhere);
}

static void
a_tick_can_stop_the_work(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, 50, 2, until_stopped);
    s.jobs.tick = tick;
    s.wait_for = 2;
    fails(jobs_run(&s.jobs, &err), GSP_E_SERVER);
    assert_string_equal(err.msg, "enough");
    assert_int_equal(s.begun, 2);
    assert_int_equal(s.closed, 2);
}

/* ---- the user: last, because nothing takes the flag back ------------------------------------------ */

static int
cancel_then_wait(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    cancel_request();
    return until_stopped(arg, worker, i, err);
}

static void
ctrl_c_stops_the_work(void **state)
{
    (void)state;
    static struct shop s;
    struct gsp_error err;
    shop_init(&s, 50, 3, cancel_then_wait);
    fails(jobs_run(&s.jobs, &err), GSP_E_CANCELLED);
    assert_string_equal(err.msg, "interrupted by user");
    assert_true(s.begun >= 1 && s.begun <= 3);
    shop_init(&s, 50, 3, work);
    fails(jobs_run(&s.jobs, &err), GSP_E_CANCELLED);
    assert_int_equal(s.begun, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_taken_in_order),
        cmocka_unit_test(every_item_is_done_once),
        cmocka_unit_test(no_more_workers_than_items),
        cmocka_unit_test(the_first_failure_stops_the_others),
        cmocka_unit_test(nothing_is_begun_after_a_failure),
        cmocka_unit_test(workers_that_cannot_open_fail_the_run),
        cmocka_unit_test(the_caller_ticks_while_others_work),
        cmocka_unit_test(a_tick_can_stop_the_work),
        cmocka_unit_test(ctrl_c_stops_the_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
