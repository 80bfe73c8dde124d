/* SPDX-License-Identifier: Apache-2.0 */
#include "fs.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define FS_IO_MAX (1u << 30)
#define FS_IOV_MAX 1024u /* UIO_MAXIOV of the kernel */

struct fs_state {
    const struct gsp_host *host;
};

int
fs_path(const struct fs_store *fs, const char *path, char buf[PATH_MAX], struct gsp_error *err)
{
    const char *slash = path[0] != '\0' || fs->root[0] == '\0' ? "/" : "";
    int n = snprintf(buf, PATH_MAX, "%s%s%s", fs->root, slash, path);
    if (n < 0 || n >= PATH_MAX)
        return gsp_fail(err, GSP_E_IO, ENAMETOOLONG, "'%.300s' in '%.100s', %d bytes in all", path, fs->root, n);
    return 0;
}

int
fs_fail(struct gsp_error *err, int sys_errno, const char *what, const char *full)
{
    int code = sys_errno == EINTR ? GSP_E_CANCELLED : gsp_code_of_errno(sys_errno);
    (void)gsp_fail(err, code, sys_errno, "cannot %s '%s'", what, full);
    switch (sys_errno) {
    case ENOSPC:
    case EDQUOT:
        return gsp_hint(err, "make room on the file system, raise the quota, or use another place");
    case EACCES:
    case EPERM:
        return gsp_hint(err, "run as the owner of the files; check owner and mode of the file and of the directories "
                             "above it");
    case EMFILE:
    case ENFILE:
        return gsp_hint(err, "raise the limit of open files (ulimit -n), or use fewer threads");
    default:
        return code;
    }
}

int
fs_cancelled(const struct fs_store *fs)
{
    return fs->host->cancelled(fs->host->ctx);
}

int
fs_interrupted(const struct fs_store *fs)
{
    return errno == EINTR && !fs_cancelled(fs);
}

void
fs_parent(char *full)
{
    char *slash = strrchr(full, '/');
    if (slash == full)
        slash++;
    if (slash != NULL)
        *slash = '\0';
}

/* Before 5.8 syncfs returned success even when write-back had failed. */
static int
kernel_reports_failed_writeback(void)
{
    struct utsname name;
    if (uname(&name) != 0)
        return 0;
    char *end;
    unsigned long major = strtoul(name.release, &end, 10);
    unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    return major > 5 || (major == 5 && minor >= 8);
}

static int
fs_open(void *state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    (void)opts;
    const struct fs_state *plugin = state;
    if (root[0] != '/') {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "the directory '%s' is not an absolute path", root);
        return gsp_hint(err, "give the path from the root directory on, beginning with '/'");
    }
    size_t len = strlen(root);
    while (len > 0 && root[len - 1] == '/')
        len--;
    if (len >= PATH_MAX)
        return gsp_fail(err, GSP_E_CONFIG, 0, "the path of the directory is longer than %d bytes", PATH_MAX - 1);
    struct fs_store *fs = calloc(1, sizeof *fs + len + 1);
    if (fs == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int rc = pthread_mutex_init(&fs->lock, NULL);
    if (rc != 0) {
        free(fs);
        return gsp_fail(err, GSP_E_NOMEM, rc, "cannot make a lock");
    }
    fs->host = plugin->host;
    fs->kernel_reports = kernel_reports_failed_writeback();
    memcpy(fs->root, root, len);
    *ret_store = fs;
    return 0;
}

static void
fs_close(void *store)
{
    struct fs_store *fs = store;
    if (fs == NULL)
        return;
    for (uint32_t i = 0; i < fs->n_devices; i++)
        if (fs->devices[i].fd >= 0)
            (void)close(fs->devices[i].fd);
    (void)pthread_mutex_destroy(&fs->lock);
    free(fs);
}

static int
fs_limits(void *store, struct gsp_limits *ret, struct gsp_error *err)
{
    (void)store;
    struct gsp_limits mine = {
        .struct_size = ret->struct_size,
        .align = 1,
        .io_max = FS_IO_MAX,
        .iov_max = FS_IOV_MAX,
        .caps = GSP_STORE_SYMLINK | GSP_STORE_SPARSE,
    };
    if (ret->struct_size < sizeof mine)
        return gsp_fail(err, GSP_E_BUG, 0, "struct gsp_limits is too small");
    *ret = mine;
    return 0;
}

/* Make the name of a directory durable. Returns an errno. */
static int
sync_parent(const char *full)
{
    char parent[PATH_MAX];
    size_t len = (size_t)(strrchr(full, '/') - full);
    memcpy(parent, full, len);
    parent[len] = '\0';
    int fd = open(len > 0 ? parent : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : errno; /* searchable but not readable: nothing to sync through */
    int failed = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    return failed;
}

/* One directory with exactly this mode; with may_exist one that is there is fine as it is. Returns an errno. */
static int
make_dir(const char *full, mode_t mode, int may_exist)
{
    struct stat st;
    if (mkdir(full, mode) == 0) {
        if (chmod(full, mode) != 0)
            return errno;
        /* Above the root no relative path reaches, so nobody could ask to sync these names later. */
        return may_exist ? sync_parent(full) : 0;
    }
    int failed = errno;
    if (failed == EEXIST && may_exist && stat(full, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return failed;
}

static int
fs_mkdir(void *store, const char *path, uint32_t mode, uint32_t flags, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    if ((flags & ~GSP_MKDIR_PARENTS) != 0)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "mkdir: unknown flags 0x%x", flags);
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    int parents = (flags & GSP_MKDIR_PARENTS) != 0;
    size_t len = strlen(full);
    int failed = make_dir(full, (mode_t)mode & 07777, parents);
    /* Up to the first ancestor that exists or can be made, then down again, one '/' put back at a time. */
    for (char *slash; parents && failed == ENOENT && (slash = strrchr(full + 1, '/')) != NULL;) {
        *slash = '\0';
        failed = make_dir(full, (mode_t)mode & 07777, 1);
    }
    while (failed == 0 && strlen(full) < len) {
        full[strlen(full)] = '/';
        failed = make_dir(full, (mode_t)mode & 07777, 1);
    }
    return failed == 0 ? 0 : fs_fail(err, failed, "create directory", full);
}

static int
fs_remove(void *store, const char *const *paths, uint32_t n, struct gsp_error *err)
{
    const struct fs_store *fs = store;
    char full[PATH_MAX];
    for (uint32_t i = 0; i < n; i++) {
        if (fs_path(fs, paths[i], full, err) != 0)
            return err->code;
        int rc = unlink(full);
        if (rc != 0 && (errno == EISDIR || errno == EPERM)) {
            int unlink_errno = errno;
            rc = rmdir(full);
            if (rc != 0 && errno == ENOTDIR)
                errno = unlink_errno;
        }
        if (rc != 0 && errno != ENOENT && errno != ENOTDIR)
            return fs_fail(err, errno, "remove", full);
    }
    return 0;
}

static int
fs_rename(void *store, const char *from, const char *to, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full_from[PATH_MAX], full_to[PATH_MAX];
    if (fs_path(fs, from, full_from, err) != 0 || fs_path(fs, to, full_to, err) != 0)
        return err->code;
    if (rename(full_from, full_to) == 0)
        return 0;
    int sys_errno = errno;
    (void)gsp_fail(err, gsp_code_of_errno(sys_errno), sys_errno, "cannot rename '%s' to '%s'", full_from, full_to);
    return fs_fail(err, sys_errno, "rename", full_from); /* adds the hint */
}

static int
fs_link(void *store, const char *from, const char *to, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full_from[PATH_MAX], full_to[PATH_MAX];
    struct stat st;
    if (fs_path(fs, from, full_from, err) != 0 || fs_path(fs, to, full_to, err) != 0)
        return err->code;
    if (lstat(full_from, &st) != 0)
        return fs_fail(err, errno, "link file", full_from);
    if (!S_ISREG(st.st_mode))
        return gsp_fail(err, GSP_E_IO, 0, "'%s' is not a regular file", full_from);
    if (linkat(AT_FDCWD, full_from, AT_FDCWD, full_to, 0) == 0)
        return 0;
    switch (errno) {
    case EMLINK:
    case EXDEV:
    case EPERM: /* no links on this file system, or only of files one owns (fs.protected_hardlinks) */
    case ENOTSUP:
    case ENOSYS:
        return gsp_fail(err, GSP_E_UNSUPPORTED, errno, "cannot link '%s' to '%s'", full_to, full_from);
    default:
        return fs_fail(err, errno, "create file", full_to);
    }
}

static int
fs_symlink(void *store, const char *target, const char *path, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    return symlink(target, full) == 0 ? 0 : fs_fail(err, errno, "create symbolic link", full);
}

static int
fs_readlink(void *store, const char *path, char *buf, uint32_t size, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX], target[PATH_MAX];
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    ssize_t len = readlink(full, target, sizeof target);
    if (len < 0 && errno == EINVAL)
        return gsp_fail(err, GSP_E_IO, 0, "'%s' is not a symbolic link", full);
    if (len < 0)
        return fs_fail(err, errno, "read symbolic link", full);
    if (len >= (ssize_t)sizeof target || (uint64_t)len >= size)
        return gsp_fail(err, GSP_E_CONFIG, 0, "the target of symbolic link '%s' is too long", full);
    memcpy(buf, target, (size_t)len);
    buf[len] = '\0';
    return 0;
}

static int
fs_chmod(void *store, const char *path, uint32_t mode, struct gsp_error *err)
{
    struct fs_store *fs = store;
    char full[PATH_MAX];
    if (fs_path(fs, path, full, err) != 0)
        return err->code;
    return chmod(full, (mode_t)mode & 07777) == 0 ? 0 : fs_fail(err, errno, "change mode of", full);
}

static const struct gsp_storage_ops fs_ops = {
    .struct_size = sizeof(struct gsp_storage_ops),
    .open = fs_open,
    .close = fs_close,
    .limits = fs_limits,
    .list = fs_list,
    .stat = fs_stat,
    .file_open = fs_file_open,
    .preadv = fs_preadv,
    .file_close = fs_file_close,
    .put_begin = fs_put_begin,
    .pwritev = fs_pwritev,
    .put_commit = fs_put_commit,
    .put_abort = fs_put_abort,
    .mkdir = fs_mkdir,
    .remove = fs_remove,
    .rename = fs_rename,
    .symlink = fs_symlink,
    .readlink = fs_readlink,
    .chmod = fs_chmod,
    .sync = fs_sync,
    .space = fs_space,
    .next_data = fs_next_data,
    .link = fs_link,
};

static int
fs_load(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    struct fs_state *plugin = malloc(sizeof *plugin);
    if (plugin == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    plugin->host = host;
    *ret_state = plugin;
    return 0;
}

static void
fs_unload(void *state)
{
    free(state);
}

static const struct gsp_plugin fs_plugin = {
    .struct_size = sizeof(struct gsp_plugin),
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_STORAGE,
    .thread_model = GSP_THREAD_ANY,
    .name = "fs",
    .version = "1.0",
    .summary = "files in a directory of this machine",
    .ops = &fs_ops,
    .load = fs_load,
    .unload = fs_unload,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &fs_plugin;
}
