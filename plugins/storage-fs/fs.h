/* SPDX-License-Identifier: Apache-2.0
 * Inside storage-fs: the store, and what its files share. The operations are documented in
 * gsp/storage.h; here is only what the header does not say. */
#ifndef STORAGE_FS_H
#define STORAGE_FS_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "gsp/storage.h"

#define FS_DEVICES 32 /* file systems one store spans; files on further ones are synced one by one */

/* A file system this store has written to. */
struct fs_device {
    dev_t dev;
    int fd; /* of some directory on it, opened before the first write; -1 = syncfs cannot be trusted here */
};

struct fs_store {
    const struct gsp_host *host;
    int kernel_reports; /* syncfs reports failed write-back */
    atomic_uint next_temp;
    pthread_mutex_t lock; /* guards n_devices and devices; entries are only added */
    uint32_t n_devices;
    struct fs_device devices[FS_DEVICES];
    char root[]; /* absolute, no slash at the end; "" is the root directory */
};

/* fs_path - the full path of a name in the store. errors IO (too long) */
int fs_path(const struct fs_store *fs, const char *path, char buf[PATH_MAX], struct gsp_error *err);

/* fs_fail - record "cannot <what> '<full>': <errno text>" with a hint where there is a next step. */
int fs_fail(struct gsp_error *err, int sys_errno, const char *what, const char *full);

/* fs_cancelled - did the user ask to stop? fs_interrupted - must the system call that just failed be repeated? */
int fs_cancelled(const struct fs_store *fs);
int fs_interrupted(const struct fs_store *fs);

/* FS_RETRY - a system call that is repeated while signals interrupt it and nobody wants to stop. */
#define FS_RETRY(fs, call)                           \
    ({                                               \
        __typeof__(call) result_;                    \
        do                                           \
            result_ = (call);                        \
        while (result_ == -1 && fs_interrupted(fs)); \
        result_;                                     \
    })

/* fs_parent - cut the last component off, in place: "/a/b" -> "/a", "/a" -> "/". */
void fs_parent(char *full);

/* fs_sync_full - fsync one file or directory by its full path. */
int fs_sync_full(const struct fs_store *fs, const char *full, struct gsp_error *err);

/* fs_device_of - slot of the file system `dev` in fs->devices, added with the directory of `full` when
 * it is new; -1 when files there have to be synced one by one. thread ANY */
int fs_device_of(struct fs_store *fs, dev_t dev, const char *full);

int fs_list(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err);
int fs_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err);

int fs_file_open(void *store, const char *path, void **ret_file, struct gsp_error *err);
int64_t fs_preadv(void *file, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err);
int fs_next_data(void *file, uint64_t offset, uint64_t *ret_offset, struct gsp_error *err);
void fs_file_close(void *file);

int fs_put_begin(void *store, const char *path, const struct gsp_put_opts *opts, void **ret_put, struct gsp_error *err);
int64_t fs_pwritev(void *put, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err);
int fs_put_commit(void *put, uint64_t size, struct gsp_error *err);
void fs_put_abort(void *put);

int fs_sync(void *store, const char *const *paths, uint32_t n, struct gsp_error *err);
int fs_space(void *store, const char *path, struct gsp_space *ret, struct gsp_error *err);

#endif
