/* SPDX-License-Identifier: Apache-2.0 */
#include "fs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_AHEAD_MIN (128u << 10) /* a smaller file is read ahead whole anyway */
#define TEMP_BASE_MAX 200           /* bytes of the final name in a temporary one, which must fit NAME_MAX */
#define TEMP_TRIES 100

/* NONBLOCK so that a pipe in the way cannot block us; regular files ignore it. */
#define OPEN_FLAGS (O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

struct fs_file {
    struct fs_store *fs;
    int fd;
    uint64_t size; /* when it was opened */
    char path[];
};

struct fs_put {
    struct fs_store *fs;
    int fd;
    uint32_t flags;
    uint64_t end; /* bytes the file has */
    char *temp;   /* where the bytes are until commit; NULL when not ATOMIC */
    char path[];
};

/* What is left of an iovec after some bytes of it were moved. */
struct rest {
    const struct iovec *iov;
    uint32_t n;
    size_t skip; /* bytes of the first entry already moved */
};

static void
rest_advance(struct rest *rest, size_t moved)
{
    rest->skip += moved;
    while (rest->n > 0 && rest->skip >= rest->iov->iov_len) {
        rest->skip -= rest->iov->iov_len;
        rest->iov++;
        rest->n--;
    }
}

static ssize_t
read_rest(int fd, const struct rest *rest, off_t at)
{
    if (rest->skip > 0)
        return pread(fd, (char *)rest->iov->iov_base + rest->skip, rest->iov->iov_len - rest->skip, at);
    return preadv(fd, rest->iov, rest->n < IOV_MAX ? (int)rest->n : IOV_MAX, at);
}

static ssize_t
write_rest(int fd, const struct rest *rest, off_t at)
{
    if (rest->skip > 0)
        return pwrite(fd, (const char *)rest->iov->iov_base + rest->skip, rest->iov->iov_len - rest->skip, at);
    return pwritev(fd, rest->iov, rest->n < IOV_MAX ? (int)rest->n : IOV_MAX, at);
}

/* Open and look: only a regular file will do. Returns the descriptor or a code. */
static int
open_regular(
    const struct fs_store *fs, const char *full, int flags, mode_t mode, struct stat *ret_st, struct gsp_error *err)
{
    const char *what = (flags & O_CREAT) != 0 ? "create file" : "open file";
    int fd = FS_RETRY(fs, open(full, flags | OPEN_FLAGS, mode));
    if (fd < 0)
        return fs_fail(err, errno, what, full);
    if (fstat(fd, ret_st) != 0)
        (void)fs_fail(err, errno, what, full);
    else if (!S_ISREG(ret_st->st_mode))
        (void)gsp_fail(err, GSP_E_IO, 0, "'%s' is not a regular file", full);
    else
        return fd;
    (void)close(fd);
    return err->code;
}

int
fs_file_open(void *store, const char *path, void **ret_file, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    struct stat st;
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    size_t len = strlen(full);
    struct fs_file *file = malloc(sizeof *file + len + 1);
    if (file == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    file->fd = open_regular(fs, full, O_RDONLY, 0, &st, err);
    if (file->fd < 0) {
        free(file);
        return err->code;
    }
    file->fs = fs;
    file->size = (uint64_t)st.st_size;
    memcpy(file->path, full, len + 1);
    if (file->size > READ_AHEAD_MIN)
        (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    *ret_file = file;
    return 0;
}

int64_t
fs_preadv(void *handle, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    struct fs_file *file = handle;
    struct rest rest = {iov, n, 0};
    uint64_t done = 0;
    rest_advance(&rest, 0);
    while (rest.n > 0) {
        ssize_t got = FS_RETRY(file->fs, read_rest(file->fd, &rest, (off_t)(offset + done)));
        if (got < 0)
            return fs_fail(err, errno, "read file", file->path);
        done += (uint64_t)got;
        rest_advance(&rest, (size_t)got);
        /* A short read at or behind the known end is the end: no second call to be told so. */
        if (got == 0 || offset + done >= file->size)
            break;
    }
    return (int64_t)done;
}

int
fs_next_data(void *handle, uint64_t offset, uint64_t *ret_offset, struct gsp_error *err)
{
    struct fs_file *file = handle;
    struct stat st;
    off_t at = lseek(file->fd, (off_t)offset, SEEK_DATA);
    if (at >= 0) {
        *ret_offset = (uint64_t)at;
        return 0;
    }
    /* No data up to the end. */
    if (errno == ENXIO && fstat(file->fd, &st) == 0) {
        *ret_offset = (uint64_t)st.st_size > offset ? (uint64_t)st.st_size : offset;
        return 0;
    }
    if (errno != EINVAL && errno != EOPNOTSUPP)
        return fs_fail(err, errno, "look for data in file", file->path);
    *ret_offset = offset; /* the file system cannot tell */
    return 0;
}

void
fs_file_close(void *handle)
{
    struct fs_file *file = handle;
    if (file == NULL)
        return;
    (void)close(file->fd);
    free(file);
}

/* ---- writing ----------------------------------------------------------------------------------- */

/* Make the temporary file beside the final one. Returns the descriptor or a code. */
static int
open_temp(struct fs_put *put, mode_t mode, struct stat *ret_st, struct gsp_error *err)
{
    struct fs_store *fs = put->fs;
    struct stat st;
    if ((put->flags & GSP_PUT_EXCL) != 0 && lstat(put->path, &st) == 0)
        return fs_fail(err, EEXIST, "create file", put->path);
    size_t dir_len = (size_t)(strrchr(put->path, '/') + 1 - put->path);
    for (int i = 0; i < TEMP_TRIES; i++) {
        uint32_t number = atomic_fetch_add(&fs->next_temp, 1);
        (void)snprintf(put->temp, PATH_MAX, "%.*s%.*s-%ld-%u.tmp", (int)dir_len, put->path, TEMP_BASE_MAX,
            put->path + dir_len, (long)getpid(), number);
        int fd = open_regular(fs, put->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode, ret_st, err);
        /* The left-over of a process that had our number. */
        if (fd != GSP_E_EXIST || i == TEMP_TRIES - 1)
            return fd;
        gsp_error_clear(err);
    }
    return err->code;
}

/* To be written over in part. Returns the descriptor or a code. */
static int
open_existing(struct fs_put *put, struct stat *ret_st, struct gsp_error *err)
{
    int fd = open_regular(put->fs, put->path, O_WRONLY | O_NOFOLLOW, 0, ret_st, err);
    if (fd >= 0 || err->sys_errno != ELOOP)
        return fd;
    gsp_error_clear(err);
    return gsp_fail(err, GSP_E_EXIST, ELOOP, "'%s' is a symbolic link, not a file to be updated", put->path);
}

/* Flags that make no sense together are unknown, too. */
static int
flags_are_known(uint32_t flags)
{
    if ((flags & GSP_PUT_VOLATILE) != 0 && (flags & GSP_PUT_ATOMIC) == 0)
        return 0;
    return flags == GSP_PUT_UPDATE || (flags & ~(GSP_PUT_ATOMIC | GSP_PUT_EXCL | GSP_PUT_VOLATILE)) == 0;
}

static int
put_open(struct fs_put *put, mode_t mode, struct gsp_error *err)
{
    struct stat st = {0};
    if (put->temp != NULL) {
        put->fd = open_temp(put, mode, &st, err);
    } else if ((put->flags & GSP_PUT_UPDATE) != 0) {
        put->fd = open_existing(put, &st, err);
    } else {
        int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | ((put->flags & GSP_PUT_EXCL) != 0 ? O_EXCL : O_TRUNC);
        put->fd = open_regular(put->fs, put->path, flags, mode, &st, err);
    }
    if (put->fd < 0)
        return err->code;
    put->end = (uint64_t)st.st_size;
    if ((st.st_mode & 07777) != mode && fchmod(put->fd, mode) != 0) {
        (void)fs_fail(err, errno, "change mode of", put->temp != NULL ? put->temp : put->path);
        return err->code;
    }
    if (put->temp == NULL && put->fs->kernel_reports)
        (void)fs_device_of(put->fs, st.st_dev, put->path);
    return 0;
}

int
fs_put_begin(void *store, const char *path, const struct gsp_put_opts *opts, void **ret_put, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    if (opts->struct_size < offsetof(struct gsp_put_opts, reserved))
        return gsp_fail(err, GSP_E_BUG, 0, "struct gsp_put_opts is too small");
    if (!flags_are_known(opts->flags))
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "put_begin: unknown flags 0x%x", opts->flags);
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    int atomic = (opts->flags & GSP_PUT_ATOMIC) != 0;
    size_t len = strlen(full);
    struct fs_put *put = malloc(sizeof *put + len + 1 + (atomic ? PATH_MAX : 0));
    if (put == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    *put = (struct fs_put){.fs = fs, .fd = -1, .flags = opts->flags};
    memcpy(put->path, full, len + 1);
    put->temp = atomic ? put->path + len + 1 : NULL;
    if (put_open(put, (mode_t)opts->mode & 07777, err) != 0) {
        if (put->fd >= 0)
            fs_put_abort(put);
        else
            free(put);
        return err->code;
    }
    *ret_put = put;
    return 0;
}

int64_t
fs_pwritev(void *handle, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    struct fs_put *put = handle;
    struct rest rest = {iov, n, 0};
    uint64_t done = 0;
    rest_advance(&rest, 0);
    while (rest.n > 0) {
        ssize_t written = FS_RETRY(put->fs, write_rest(put->fd, &rest, (off_t)(offset + done)));
        if (written <= 0)
            return fs_fail(err, written < 0 ? errno : EIO, "write file", put->path);
        done += (uint64_t)written;
        rest_advance(&rest, (size_t)written);
        if (offset + done > put->end)
            put->end = offset + done;
    }
    return (int64_t)done;
}

/* The exact size, closed. */
static int
put_finish(struct fs_put *put, uint64_t size, struct gsp_error *err)
{
    const char *full = put->temp != NULL ? put->temp : put->path;
    int durable = put->temp != NULL && (put->flags & GSP_PUT_VOLATILE) == 0;
    if (size > INT64_MAX)
        (void)fs_fail(err, EFBIG, "set the size of file", full);
    else if (size != put->end && FS_RETRY(put->fs, ftruncate(put->fd, (off_t)size)) != 0)
        (void)fs_fail(err, errno, "set the size of file", full);
    else if (durable && FS_RETRY(put->fs, fsync(put->fd)) != 0)
        (void)fs_fail(err, errno, "sync file", full);
    int fd = put->fd;
    put->fd = -1;
    /* Linux has closed it even when it says EINTR. */
    if (close(fd) != 0 && errno != EINTR)
        (void)fs_fail(err, errno, "close file", full);
    return err->code;
}

/* The temporary file gets its name, durably unless nobody asks for that. */
static int
put_publish(struct fs_put *put, struct gsp_error *err)
{
    int rc;
    if ((put->flags & GSP_PUT_EXCL) == 0) {
        rc = rename(put->temp, put->path);
    } else {
        rc = renameat2(AT_FDCWD, put->temp, AT_FDCWD, put->path, RENAME_NOREPLACE);
        /* Network file systems do not know the flag. */
        if (rc != 0 && (errno == EINVAL || errno == ENOSYS)) {
            rc = link(put->temp, put->path);
            if (rc == 0)
                (void)unlink(put->temp);
        }
    }
    if (rc != 0)
        return fs_fail(err, errno, "create file", put->path);
    if ((put->flags & GSP_PUT_VOLATILE) != 0)
        return 0;
    char dir[PATH_MAX];
    (void)snprintf(dir, sizeof dir, "%s", put->path);
    fs_parent(dir);
    return fs_sync_full(put->fs, dir, err);
}

int
fs_put_commit(void *handle, uint64_t size, struct gsp_error *err)
{
    struct fs_put *put = handle;
    int rc = put_finish(put, size, err);
    if (rc == 0 && put->temp != NULL)
        rc = put_publish(put, err);
    if (rc != 0) {
        fs_put_abort(put);
        return rc;
    }
    free(put);
    return 0;
}

void
fs_put_abort(void *handle)
{
    struct fs_put *put = handle;
    if (put == NULL)
        return;
    if (put->fd >= 0)
        (void)close(put->fd);
    if ((put->flags & GSP_PUT_UPDATE) == 0)
        (void)unlink(put->temp != NULL ? put->temp : put->path);
    free(put);
}
