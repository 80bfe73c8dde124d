/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/wal_receiver.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "core/base/cancel.h"
#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"

struct segment {
    char name[WAL_SEGMENT_NAME_SIZE];
    uint32_t crc;
};

struct wal_receiver {
    const struct gsp_server_ops *ops;
    void *wal;
    struct wal_target target;
    pthread_t thread;

    /* The thread's own, until it has ended. */
    struct store_put put; /* the segment being written, as <name>.partial */
    uint32_t crc;         /* of its bytes so far */
    struct segment *segments;
    size_t n_segments, cap_segments;

    atomic_uint_fast64_t position; /* everything before it is written */
    atomic_uint_fast64_t stop_lsn; /* 0 = not known yet */
    atomic_int give_up;

    pthread_mutex_t lock; /* covers ended, err */
    pthread_cond_t wake;  /* ended, or position moved */
    int ended;
    struct gsp_error err;
};

void
wal_segment_name(char name[WAL_SEGMENT_NAME_SIZE], uint32_t timeline, gsp_lsn lsn, uint32_t segment_size)
{
    uint64_t segno = lsn / segment_size;
    uint64_t per_id = (UINT64_C(1) << 32) / segment_size;
    (void)snprintf(name, WAL_SEGMENT_NAME_SIZE, "%08" PRIX32 "%08" PRIX32 "%08" PRIX32, timeline,
        (uint32_t)(segno / per_id), (uint32_t)(segno % per_id));
}

static int
segment_path(
    const struct wal_receiver *r, const char *name, const char *suffix, char path[PATH_SIZE], struct gsp_error *err)
{
    int n = snprintf(path, PATH_SIZE, "%s/%s%s", r->target.dir, name, suffix);
    return n < PATH_SIZE ? 0 : gsp_fail(err, GSP_E_BUG, 0, "path of WAL segment %s is too long", name);
}

static int
segment_begin(struct wal_receiver *r, gsp_lsn at, struct gsp_error *err)
{
    if (r->n_segments == r->cap_segments) {
        size_t cap = r->cap_segments == 0 ? 16 : r->cap_segments * 2;
        struct segment *grown = realloc(r->segments, cap * sizeof *grown);
        if (grown == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        r->segments = grown;
        r->cap_segments = cap;
    }
    char path[PATH_SIZE];
    struct segment *s = &r->segments[r->n_segments];
    wal_segment_name(s->name, r->target.timeline, at, r->target.segment_size);
    int rc = segment_path(r, s->name, ".partial", path, err);
    r->crc = 0;
    return rc == 0 ? store_put_begin(r->target.store, path, 0600, 0, &r->put, err) : rc;
}

/* End the open segment at its full size; what was not received reads as zeros. */
static int
segment_end(struct wal_receiver *r, uint32_t received, struct gsp_error *err)
{
    char partial[PATH_SIZE], final[PATH_SIZE];
    struct segment *s = &r->segments[r->n_segments];
    int rc = segment_path(r, s->name, ".partial", partial, err);
    if (rc == 0)
        rc = segment_path(r, s->name, "", final, err);
    if (rc == 0)
        rc = store_put_commit(&r->put, r->target.segment_size, err);
    if (rc == 0)
        rc = store_rename(r->target.store, partial, final, err);
    if (rc == 0) {
        s->crc = crc32c_zeros(r->crc, r->target.segment_size - received);
        r->n_segments++;
        log_verbose("WAL segment %s received", s->name);
    }
    return rc;
}

static int
take(struct wal_receiver *r, const uint8_t *data, uint32_t n, struct gsp_error *err)
{
    gsp_lsn at = atomic_load(&r->position);
    while (n > 0) {
        uint32_t within = (uint32_t)(at % r->target.segment_size);
        uint32_t part = r->target.segment_size - within < n ? r->target.segment_size - within : n;
        int rc = within == 0 && r->put.handle == NULL ? segment_begin(r, at, err) : 0;
        if (rc == 0)
            rc = store_put_sparse(&r->put, data, part, within, err);
        if (rc != 0)
            return rc;
        r->crc = crc32c(r->crc, data, part);
        data += part;
        n -= part;
        at += part;
        if (at % r->target.segment_size == 0) {
            rc = segment_end(r, r->target.segment_size, err);
            if (rc != 0)
                return rc;
        }
        atomic_store(&r->position, at);
    }
    return 0;
}

static int
on_wal(void *arg, gsp_lsn at, const void *data, uint32_t n, struct gsp_error *err)
{
    struct wal_receiver *r = arg;
    if (atomic_load(&r->give_up))
        return 1;
    gsp_lsn position = atomic_load(&r->position);
    if (n > 0 && at != position)
        return gsp_fail(err, GSP_E_PROTO, 0, "the server sent WAL from " GSP_LSN_FMT " where " GSP_LSN_FMT " was due",
            GSP_LSN_ARGS(at), GSP_LSN_ARGS(position));
    if (n > 0) {
        int rc = take(r, data, n, err);
        if (rc != 0)
            return rc;
        (void)pthread_mutex_lock(&r->lock);
        (void)pthread_cond_signal(&r->wake);
        (void)pthread_mutex_unlock(&r->lock);
    }
    gsp_lsn stop = atomic_load(&r->stop_lsn);
    return stop != 0 && atomic_load(&r->position) >= stop;
}

static void *
receive(void *arg)
{
    struct wal_receiver *r = arg;
    struct gsp_error err = {0};
    int rc = r->ops->wal_stream(r->wal, atomic_load(&r->position), r->target.timeline, on_wal, r, &err);
    gsp_lsn stop = atomic_load(&r->stop_lsn), position = atomic_load(&r->position);
    if (rc == 0 && !atomic_load(&r->give_up) && (stop == 0 || position < stop))
        rc = gsp_fail(&err, GSP_E_BUG, 0,
            "the server plugin ended the stream at " GSP_LSN_FMT ", before it was told to", GSP_LSN_ARGS(position));
    if (rc == 0 && !atomic_load(&r->give_up) && r->put.handle != NULL)
        rc = segment_end(r, (uint32_t)(position % r->target.segment_size), &err);
    if (rc != 0)
        (void)gsp_prefix(&err, "WAL streaming failed");
    store_put_abort(&r->put);
    (void)pthread_mutex_lock(&r->lock);
    r->err = err;
    r->ended = 1;
    (void)pthread_cond_signal(&r->wake);
    (void)pthread_mutex_unlock(&r->lock);
    return NULL;
}

int
wal_receiver_start(const struct gsp_server_ops *ops, void *wal, const struct wal_target *target,
    struct wal_receiver **ret, struct gsp_error *err)
{
    struct wal_receiver *r = calloc(1, sizeof *r);
    if (r == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    r->ops = ops;
    r->wal = wal;
    r->target = *target;
    atomic_init(&r->position, target->start_lsn - target->start_lsn % target->segment_size);
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&r->lock, NULL);
    (void)pthread_cond_init(&r->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    int sys = pthread_create(&r->thread, NULL, receive, r);
    if (sys != 0) {
        (void)pthread_cond_destroy(&r->wake);
        (void)pthread_mutex_destroy(&r->lock);
        free(r);
        return gsp_fail(err, GSP_E_NOMEM, sys, "cannot start the WAL receiver thread");
    }
    *ret = r;
    return 0;
}

int
wal_receiver_check(struct wal_receiver *r, struct gsp_error *err)
{
    (void)pthread_mutex_lock(&r->lock);
    int rc = r->ended ? r->err.code : 0;
    if (rc != 0 && err->code == 0)
        *err = r->err;
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}

int
wal_receiver_finish(struct wal_receiver *r, gsp_lsn stop_lsn, int64_t timeout_us, struct gsp_error *err)
{
    int rc = 0;
    gsp_lsn seen = atomic_load(&r->position);
    int64_t deadline = monotonic_us() + timeout_us;
    atomic_store(&r->stop_lsn, stop_lsn);
    log_log("Wait for LSN " GSP_LSN_FMT " to be streamed", GSP_LSN_ARGS(stop_lsn));
    (void)pthread_mutex_lock(&r->lock);
    while (!r->ended && rc == 0) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += 200 * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&r->wake, &r->lock, &until);
        gsp_lsn now = atomic_load(&r->position);
        if (now != seen)
            deadline = monotonic_us() + timeout_us;
        seen = now;
        rc = cancel_check(err);
        if (rc == 0 && !r->ended && monotonic_us() > deadline) {
            rc = gsp_fail(err, GSP_E_TIMEOUT, 0,
                "Target LSN " GSP_LSN_FMT " could not be streamed in %" PRId64
                " seconds: the stream stands at " GSP_LSN_FMT,
                GSP_LSN_ARGS(stop_lsn), timeout_us / 1000000, GSP_LSN_ARGS(now));
            (void)gsp_hint(err, "check the load of the server and the network, or raise --archive-timeout");
        }
    }
    if (rc == 0 && r->err.code != 0) {
        *err = r->err;
        rc = r->err.code;
    }
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}

int
wal_receiver_add_files(struct wal_receiver *r, const char *wal_dir, struct filelist *list, struct gsp_error *err)
{
    for (size_t i = 0; i < r->n_segments; i++) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof path, "%s/%s", wal_dir, r->segments[i].name);
        struct file_entry *f = filelist_add(list, path, "none", err);
        if (f == NULL)
            return err->code;
        f->size = r->target.segment_size;
        f->mode = S_IFREG | 0600;
        f->crc = r->segments[i].crc;
    }
    return 0;
}

void
wal_receiver_free(struct wal_receiver *r)
{
    if (r == NULL)
        return;
    atomic_store(&r->give_up, 1);
    (void)pthread_join(r->thread, NULL);
    (void)pthread_cond_destroy(&r->wake);
    (void)pthread_mutex_destroy(&r->lock);
    free(r->segments);
    free(r);
}
