/* SPDX-License-Identifier: Apache-2.0
 * Test double: files in memory (storage_mem) with somebody watching: limits of choice, reads that a test
 * can change on their way, counters. Open with a struct spy as the state. thread ANY */
#ifndef DOUBLES_SPY_STORAGE_H
#define DOUBLES_SPY_STORAGE_H

#include <pthread.h>
#include <stdlib.h>

#include "tests/doubles/storage_mem.h"

struct spy {
    uint32_t io_max, iov_max; /* of limits; 0 = those of storage_mem */
    /* One call at a time. after_read may change what a read returns: bytes and their number. */
    void (*after_read)(struct spy *spy, const char *path, uint64_t offset, const struct iovec *iov, int64_t *got);
    /* The same for what a look at a file tells. */
    void (*after_stat)(struct spy *spy, const char *path, struct gsp_stat *st);
    void *arg;

    uint64_t bytes_written;
    unsigned reads;
    unsigned open_files; /* for reading, at this moment */
    int broke_limits;    /* somebody asked for more than limits allow */
    void *mem;
    pthread_mutex_t lock;
};

struct spy_handle {
    struct spy *spy;
    void *mem; /* file or put */
    char path[256];
};

static inline int
spy_open(void *state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    struct spy *spy = state;
    *ret_store = spy;
    (void)pthread_mutex_init(&spy->lock, NULL);
    return storage_mem_ops.open(NULL, opts, root, &spy->mem, err);
}

static inline void
spy_close(void *store)
{
    struct spy *spy = store;
    storage_mem_ops.close(spy->mem);
    (void)pthread_mutex_destroy(&spy->lock);
}

static inline int
spy_limits(void *store, struct gsp_limits *ret, struct gsp_error *err)
{
    struct spy *spy = store;
    int rc = storage_mem_ops.limits(spy->mem, ret, err);
    if (spy->io_max != 0)
        ret->io_max = spy->io_max;
    if (spy->iov_max != 0)
        ret->iov_max = spy->iov_max;
    return rc;
}

static inline int
spy_list(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    return storage_mem_ops.list(((struct spy *)store)->mem, dir, cb, arg, err);
}

static inline int
spy_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    struct spy *spy = store;
    int rc = storage_mem_ops.stat(spy->mem, path, ret, err);
    (void)pthread_mutex_lock(&spy->lock);
    if (rc == 0 && spy->after_stat != NULL)
        spy->after_stat(spy, path, ret);
    (void)pthread_mutex_unlock(&spy->lock);
    return rc;
}

static inline struct spy_handle *
spy_handle_new(struct spy *spy, const char *path, void *mem)
{
    struct spy_handle *h = calloc(1, sizeof *h);
    if (h != NULL) {
        h->spy = spy;
        h->mem = mem;
        (void)snprintf(h->path, sizeof h->path, "%s", path);
    }
    return h;
}

static inline int
spy_file_open(void *store, const char *path, void **ret_file, struct gsp_error *err)
{
    struct spy *spy = store;
    void *mem;
    int rc = storage_mem_ops.file_open(spy->mem, path, &mem, err);
    if (rc != 0)
        return rc;
    *ret_file = spy_handle_new(spy, path, mem);
    (void)pthread_mutex_lock(&spy->lock);
    spy->open_files++;
    (void)pthread_mutex_unlock(&spy->lock);
    return 0;
}

static inline void
spy_count(struct spy_handle *h, const struct iovec *iov, uint32_t n, uint64_t *bytes)
{
    struct gsp_error ignored = {0};
    struct gsp_limits limits = {.struct_size = sizeof limits};
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += iov[i].iov_len;
    (void)spy_limits(h->spy, &limits, &ignored);
    (void)pthread_mutex_lock(&h->spy->lock);
    h->spy->broke_limits |= n > limits.iov_max || sum > limits.io_max;
    *bytes += sum;
    (void)pthread_mutex_unlock(&h->spy->lock);
}

static inline int64_t
spy_preadv(void *file, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    struct spy_handle *h = file;
    uint64_t asked = 0;
    spy_count(h, iov, n, &asked);
    int64_t got = storage_mem_ops.preadv(h->mem, iov, n, offset, err);
    (void)pthread_mutex_lock(&h->spy->lock);
    h->spy->reads++;
    if (got >= 0 && h->spy->after_read != NULL)
        h->spy->after_read(h->spy, h->path, offset, iov, &got);
    (void)pthread_mutex_unlock(&h->spy->lock);
    return got;
}

static inline void
spy_file_close(void *file)
{
    struct spy_handle *h = file;
    storage_mem_ops.file_close(h->mem);
    (void)pthread_mutex_lock(&h->spy->lock);
    h->spy->open_files--;
    (void)pthread_mutex_unlock(&h->spy->lock);
    free(h);
}

static inline int
spy_put_begin(void *store, const char *path, const struct gsp_put_opts *opts, void **ret_put, struct gsp_error *err)
{
    void *mem;
    int rc = storage_mem_ops.put_begin(((struct spy *)store)->mem, path, opts, &mem, err);
    if (rc == 0)
        *ret_put = spy_handle_new(store, path, mem);
    return rc;
}

static inline int64_t
spy_pwritev(void *put, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    struct spy_handle *h = put;
    spy_count(h, iov, n, &h->spy->bytes_written);
    return storage_mem_ops.pwritev(h->mem, iov, n, offset, err);
}

static inline int
spy_put_commit(void *put, uint64_t size, struct gsp_error *err)
{
    struct spy_handle *h = put;
    int rc = storage_mem_ops.put_commit(h->mem, size, err);
    free(h);
    return rc;
}

static inline void
spy_put_abort(void *put)
{
    struct spy_handle *h = put;
    storage_mem_ops.put_abort(h->mem);
    free(h);
}

static inline int
spy_mkdir(void *store, const char *path, uint32_t mode, uint32_t flags, struct gsp_error *err)
{
    return storage_mem_ops.mkdir(((struct spy *)store)->mem, path, mode, flags, err);
}

static inline int
spy_remove(void *store, const char *const *paths, uint32_t n, struct gsp_error *err)
{
    return storage_mem_ops.remove(((struct spy *)store)->mem, paths, n, err);
}

static const struct gsp_storage_ops spy_storage_ops = {.struct_size = sizeof spy_storage_ops,
    .open = spy_open,
    .close = spy_close,
    .limits = spy_limits,
    .list = spy_list,
    .stat = spy_stat,
    .file_open = spy_file_open,
    .preadv = spy_preadv,
    .file_close = spy_file_close,
    .put_begin = spy_put_begin,
    .pwritev = spy_pwritev,
    .put_commit = spy_put_commit,
    .put_abort = spy_put_abort,
    .mkdir = spy_mkdir,
    .remove = spy_remove};

#endif
