/* SPDX-License-Identifier: Apache-2.0 */
#include "fs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SYNC_EACH_MAX 8 /* up to so many files, one fsync each is cheaper than a whole file system */

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

int
fs_sync_full(const struct fs_store *fs, const char *full, struct gsp_error *err)
{
    int fd = FS_RETRY(fs, open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (fd < 0)
        return fs_fail(err, errno, "open for sync", full);
    int rc = FS_RETRY(fs, fsync(fd));
    int sys_errno = errno;
    struct stat st;
    /* Some file systems have nothing to sync in a directory and say so with EINVAL. */
    if (rc != 0 && sys_errno == EINVAL && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        rc = 0;
    if (rc != 0)
        (void)fs_fail(err, sys_errno, "sync", full);
    (void)close(fd);
    return err->code;
}

/* File systems on this machine whose syncfs writes everything and reports failures. Network, FUSE and
 * stacked ones may do neither. */
static int
syncfs_is_trusted(int fd)
{
    struct statfs st;
    if (fstatfs(fd, &st) != 0)
        return 0;
    switch ((unsigned long)st.f_type) {
    case EXT4_SUPER_MAGIC: /* ext2 and ext3 too */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return 1;
    default:
        return 0;
    }
}

static int
open_device(const char *full)
{
    char dir[PATH_MAX];
    (void)snprintf(dir, sizeof dir, "%s", full);
    struct stat st;
    if (stat(dir, &st) == 0 && !S_ISDIR(st.st_mode))
        fs_parent(dir);
    return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The descriptor is opened before the first byte goes to the file system and kept, because write-back
 * that fails earlier than the opening may have been reported to somebody else. */
int
fs_device_of(struct fs_store *fs, dev_t dev, const char *full)
{
    int found = -1;
    (void)pthread_mutex_lock(&fs->lock);
    for (uint32_t i = 0; found < 0 && i < fs->n_devices; i++)
        if (fs->devices[i].dev == dev)
            found = (int)i;
    if (found < 0 && fs->n_devices < FS_DEVICES) {
        int fd = open_device(full);
        struct stat st;
        if (fd >= 0 && (fstat(fd, &st) != 0 || st.st_dev != dev || !syncfs_is_trusted(fd))) {
            (void)close(fd);
            fd = -1;
        }
        found = (int)fs->n_devices;
        fs->devices[fs->n_devices++] = (struct fs_device){dev, fd};
    }
    int trusted = found >= 0 && fs->devices[found].fd >= 0;
    (void)pthread_mutex_unlock(&fs->lock);
    return trusted ? found : -1;
}

/* Whole file systems instead of single files; a file whose system cannot be trusted with it goes alone. */
static int
sync_devices(struct fs_store *fs, const char *const *paths, uint32_t n, struct gsp_error *err)
{
    char full[PATH_MAX];
    uint32_t used = 0;
    _Static_assert(FS_DEVICES <= 32, "one bit per device");
    for (uint32_t i = 0; i < n; i++) {
        struct stat st;
        if (fs_cancelled(fs))
            return gsp_fail(err, GSP_E_CANCELLED, 0, "syncing files was cancelled");
        if (fs_path(fs, paths[i], full, err) != 0)
            return err->code;
        if (stat(full, &st) != 0)
            return fs_fail(err, errno, "sync", full);
        int slot = fs_device_of(fs, st.st_dev, full);
        if (slot >= 0)
            used |= 1u << slot;
        else if (fs_sync_full(fs, full, err) != 0)
            return err->code;
    }
    for (uint32_t i = 0; i < FS_DEVICES; i++)
        if ((used >> i & 1u) != 0 && FS_RETRY(fs, syncfs(fs->devices[i].fd)) != 0)
            return fs_fail(err, errno, "sync the file system of", fs->root);
    return 0;
}

int
fs_sync(void *store, const char *const *paths, uint32_t n, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    if (n > SYNC_EACH_MAX && fs->kernel_reports)
        return sync_devices(fs, paths, n, err);
    for (uint32_t i = 0; i < n; i++) {
        if (fs_cancelled(fs))
            return gsp_fail(err, GSP_E_CANCELLED, 0, "syncing files was cancelled");
        if (fs_path(fs, paths[i], full, err) != 0 || fs_sync_full(fs, full, err) != 0)
            return err->code;
    }
    return 0;
}

int
fs_space(void *store, const char *path, struct gsp_space *ret, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    struct statvfs st;
    struct stat at;
    if (ret->struct_size < sizeof *ret)
        return gsp_fail(err, GSP_E_BUG, 0, "struct gsp_space is too small");
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    int rc;
    /* What does not exist yet will be made below its nearest ancestor that does. */
    while ((rc = FS_RETRY(fs, statvfs(full, &st))) != 0 && errno == ENOENT && full[1] != '\0')
        fs_parent(full);
    if (rc != 0)
        return fs_fail(err, errno, "ask for the free space of", full);
    ret->free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    ret->total_bytes = (uint64_t)st.f_blocks * st.f_frsize;
    ret->block_bytes = (uint32_t)st.f_frsize;
    ret->dev = stat(full, &at) == 0 ? (uint64_t)at.st_dev : 0;
    return 0;
}
