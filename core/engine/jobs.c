/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/jobs.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/cancel.h"

enum { TICK_MS = 200 };

struct run {
    struct jobs *jobs;
    pthread_mutex_t lock; /* covers running and first_error */
    pthread_cond_t done;
    unsigned running;
    struct gsp_error first_error;
};

int
jobs_check(struct jobs *jobs, struct gsp_error *err)
{
    if (atomic_load_explicit(&jobs->stop, memory_order_relaxed))
        return gsp_fail(err, GSP_E_CANCELLED, 0, "stopped after another failure");
    return cancel_check(err);
}

static int
run_items(struct run *run, void **worker, struct gsp_error *err)
{
    struct jobs *jobs = run->jobs;
    int rc = jobs->worker_open(jobs->arg, worker, err);
    while (rc == 0) {
        size_t i = atomic_fetch_add(&jobs->next, 1);
        if (i >= jobs->n_items)
            break;
        rc = jobs_check(jobs, err);
        if (rc == 0)
            rc = jobs->item(jobs->arg, *worker, i, err);
    }
    return rc;
}

static void *
worker_main(void *arg)
{
    struct run *run = arg;
    struct gsp_error err = {0};
    void *worker = NULL;
    int rc = run_items(run, &worker, &err);
    run->jobs->worker_close(worker);
    (void)pthread_mutex_lock(&run->lock);
    if (rc != 0 && run->first_error.code == 0 && !atomic_load(&run->jobs->stop)) {
        run->first_error = err;
        atomic_store(&run->jobs->stop, 1);
    }
    run->running--;
    (void)pthread_cond_signal(&run->done);
    (void)pthread_mutex_unlock(&run->lock);
    return NULL;
}

/* Wait until every worker has ended, ticking meanwhile. */
static void
wait_for_workers(struct run *run)
{
    struct jobs *jobs = run->jobs;
    (void)pthread_mutex_lock(&run->lock);
    while (run->running > 0) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TICK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        (void)pthread_cond_timedwait(&run->done, &run->lock, &until);
        if (jobs->tick == NULL || run->running == 0)
            continue;
        struct gsp_error err = {0};
        (void)pthread_mutex_unlock(&run->lock);
        int rc = jobs->tick(jobs->arg, &err);
        (void)pthread_mutex_lock(&run->lock);
        if (rc != 0 && run->first_error.code == 0 && !atomic_load(&jobs->stop)) {
            run->first_error = err;
            atomic_store(&jobs->stop, 1);
        }
    }
    (void)pthread_mutex_unlock(&run->lock);
}

int
jobs_run(struct jobs *jobs, struct gsp_error *err)
{
    struct run run = {.jobs = jobs};
    unsigned threads = jobs->threads;
    if (threads > jobs->n_items)
        threads = (unsigned)jobs->n_items;
    if (threads == 0)
        return 0;
    pthread_t *ids = calloc(threads, sizeof *ids);
    if (ids == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&run.lock, NULL);
    (void)pthread_cond_init(&run.done, &attr);
    (void)pthread_condattr_destroy(&attr);
    atomic_store(&jobs->next, 0);
    atomic_store(&jobs->stop, 0);

    unsigned started = 0;
    run.running = threads;
    for (; started < threads; started++) {
        int sys = pthread_create(&ids[started], NULL, worker_main, &run);
        if (sys == 0)
            continue;
        /* Fewer workers than asked for do the same work; none at all is a failure. */
        (void)pthread_mutex_lock(&run.lock);
        run.running -= threads - started;
        if (started == 0)
            (void)gsp_fail(&run.first_error, GSP_E_NOMEM, sys, "cannot start a worker thread");
        (void)pthread_mutex_unlock(&run.lock);
        break;
    }
    wait_for_workers(&run);
    for (unsigned i = 0; i < started; i++)
        (void)pthread_join(ids[i], NULL);
    free(ids);
    (void)pthread_cond_destroy(&run.done);
    (void)pthread_mutex_destroy(&run.lock);
    if (run.first_error.code != 0)
        *err = run.first_error;
    return run.first_error.code;
}
