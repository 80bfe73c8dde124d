/* SPDX-License-Identifier: Apache-2.0 */
#include "fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_BATCH 256

struct list_batch {
    uint32_t n;
    struct gsp_dirent entries[LIST_BATCH];
    char names[LIST_BATCH][NAME_MAX + 1];
};

/* Allocated are whole blocks, so a small file may well take more than its size. */
static uint64_t
holes_of(const struct stat *st)
{
    uint64_t size = (uint64_t)st->st_size, taken = (uint64_t)st->st_blocks * 512;
    return S_ISREG(st->st_mode) && size > taken ? size - taken : 0;
}

static void
fill_stat(const struct stat *st, uint32_t flags, struct gsp_stat *ret)
{
    *ret = (struct gsp_stat){
        .type = S_ISREG(st->st_mode)   ? GSP_FILE_REGULAR
                : S_ISDIR(st->st_mode) ? GSP_FILE_DIRECTORY
                                       : GSP_FILE_OTHER,
        .mode = st->st_mode,
        .size = (uint64_t)st->st_size,
        .mtime_us = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000,
        .dev = st->st_dev,
        .ino = st->st_ino,
        .uid = st->st_uid,
        .flags = flags,
        .holes = holes_of(st),
    };
}

/* Another file system, or a directory of this one under a second name. Only kernels from 5.8 on tell. */
static int
is_mount(int dir_fd, const char *name)
{
    struct statx st;
    return statx(dir_fd, name, AT_SYMLINK_NOFOLLOW, 0, &st) == 0 && (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

/* One name, links followed. likely_link saves the look at the link itself. Returns an errno. */
static int
stat_at(int dir_fd, const char *name, int likely_link, struct gsp_stat *ret)
{
    struct stat st;
    if (!likely_link) {
        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            return errno;
        if (!S_ISLNK(st.st_mode)) {
            fill_stat(&st, S_ISDIR(st.st_mode) && is_mount(dir_fd, name) ? GSP_STAT_MOUNT : 0, ret);
            return 0;
        }
    }
    if (fstatat(dir_fd, name, &st, 0) == 0) {
        fill_stat(&st, GSP_STAT_LINK, ret);
        return 0;
    }
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != ENAMETOOLONG)
        return errno;
    /* Is the link itself still there? */
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    *ret = (struct gsp_stat){.type = GSP_FILE_DANGLING, .flags = GSP_STAT_LINK};
    return 0;
}

int
fs_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    struct gsp_stat st;
    int failed = stat_at(AT_FDCWD, full, 0, &st);
    if (failed != 0)
        return fs_fail(err, failed, "look at", full);
    *ret = st;
    return 0;
}

/* Add one directory entry to the batch, unless it is gone. */
static int
batch_add(struct list_batch *batch, const char *full, int dir_fd, const struct dirent *entry, struct gsp_error *err)
{
    size_t len = strlen(entry->d_name);
    if ((len == 1 && entry->d_name[0] == '.') || (len == 2 && memcmp(entry->d_name, "..", 2) == 0))
        return 0;
    if (len > NAME_MAX)
        return fs_fail(err, ENAMETOOLONG, "list directory", full);
    struct gsp_dirent *to = &batch->entries[batch->n];
    int failed = stat_at(dir_fd, entry->d_name, entry->d_type == DT_LNK, &to->st);
    if (failed == ENOENT)
        return 0;
    if (failed != 0) {
        char name[PATH_MAX + NAME_MAX + 1];
        (void)snprintf(name, sizeof name, "%s/%s", full, entry->d_name);
        return fs_fail(err, failed, "look at", name);
    }
    memcpy(batch->names[batch->n], entry->d_name, len + 1);
    to->name = batch->names[batch->n];
    batch->n++;
    return 0;
}

static int
list_entries(const char *full, DIR *dir, struct list_batch *batch,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    int rc = 0;
    while (rc == 0) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL && errno != 0)
            return fs_fail(err, errno, "list directory", full);
        if (entry != NULL && batch_add(batch, full, dirfd(dir), entry, err) != 0)
            return err->code;
        if (batch->n == LIST_BATCH || (entry == NULL && batch->n > 0)) {
            rc = cb(arg, batch->entries, batch->n, err);
            batch->n = 0;
        }
        if (entry == NULL)
            break;
    }
    return rc;
}

int
fs_list(void *store, const char *path,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    DIR *dir;
    do
        dir = opendir(full); /* with O_CLOEXEC */
    while (dir == NULL && fs_interrupted(fs));
    if (dir == NULL)
        return fs_fail(err, errno, "open directory", full);
    int rc;
    struct list_batch *batch = malloc(sizeof *batch);
    if (batch == NULL) {
        rc = gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    } else {
        batch->n = 0;
        rc = list_entries(full, dir, batch, cb, arg, err);
    }
    free(batch);
    (void)closedir(dir);
    return rc;
}
