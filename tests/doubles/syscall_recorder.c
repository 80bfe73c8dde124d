/* SPDX-License-Identifier: Apache-2.0
 * Writes down what a process does to the files below one directory: a library for LD_PRELOAD. The power-loss
 * tests build the states of a disk after a crash from it (tests/integration/power_loss.py reads the log).
 *
 * One line per operation that succeeded, fields separated by tabs; <file> is device:inode.
 *   create <file> <mode> <path>         truncate <file> <size>         mkdir <file> <mode> <path>
 *   write <file> <offset> <length>      chmod <file> <mode>            symlink <file> <path> <target>
 *      then the bytes and a line end    fsync <file>                   link, rename <from> <to>
 *   syncfs <device>                                                    remove <path>
 * Paths are absolute, without symbolic links above their last component. One lock covers an operation and its
 * line, so the order of lines is an order in which it could have happened. Nothing really waits for a disk.
 * An operation that is not caught here makes the replayed log differ from the tree, which the tests compare.
 *
 * Environment: GSP_RECORD_LOG the log, GSP_RECORD_SCOPE the directory; GSP_RECORD_FS=ext4|nfs what fstatfs calls
 * every file system; GSP_RECORD_PID the process' number, GSP_RECORD_BOOT a file for the boot ID: to be found after
 * a "restart" by processes that have another one. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* covers what follows, and the order of the log */
static int log_fd = -1;
static char scope[PATH_MAX];
static unsigned char tracked[FDS]; /* descriptors of files in the scope */
static const char *boot_file, *file_system;
static long fake_pid;

__attribute__((noreturn)) static void
give_up(const char *why)
{
    (void)dprintf(2, "syscall recorder: %s: %s\n", why, strerror(errno));
    abort();
}

__attribute__((constructor)) static void
begin(void)
{
    const char *path = getenv("GSP_RECORD_LOG"), *below = getenv("GSP_RECORD_SCOPE"), *pid = getenv("GSP_RECORD_PID");
    boot_file = getenv("GSP_RECORD_BOOT");
    file_system = getenv("GSP_RECORD_FS");
    fake_pid = pid != NULL ? strtol(pid, NULL, 10) : 0;
    if (path == NULL || below == NULL)
        return;
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0 || realpath(below, scope) == NULL)
        give_up(path);
}

/* ---- the log: all with the lock held ------------------------------------------------------------ */

static void
put(const void *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        long n = syscall(SYS_write, log_fd, (const char *)bytes + done, len - done);
        if (n <= 0)
            give_up("write the log");
        done += (size_t)n;
    }
}

__attribute__((format(printf, 1, 2))) static void
line(const char *format, ...)
{
    char text[3 * PATH_MAX];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0 || n >= (int)sizeof text)
        give_up("a line that long");
    put(text, (size_t)n);
}

/* The path an entry really has; 0 when that is outside the scope. */
static int
entry_path(int dir_fd, const char *path, char full[PATH_MAX])
{
    char given[PATH_MAX], parent[PATH_MAX], dir[PATH_MAX] = "";
    int saved = errno;
    if (log_fd < 0)
        return 0;
    if (path[0] != '/' && dir_fd != AT_FDCWD) {
        char link_name[64];
        (void)snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", dir_fd);
        ssize_t n = readlink(link_name, dir, sizeof dir - 1);
        dir[n > 0 ? n : 0] = '\0';
    }
    int n = snprintf(given, sizeof given, "%s%s%s", dir, dir[0] != '\0' ? "/" : "", path);
    char *slash = n < (int)sizeof given ? strrchr(given, '/') : NULL;
    const char *name = slash != NULL ? slash + 1 : given;
    if (slash != NULL)
        *slash = '\0';
    int found = n < (int)sizeof given && realpath(slash == NULL ? "." : slash == given ? "/" : given, parent) != NULL;
    errno = saved;
    if (!found)
        return 0;
    size_t len = strlen(scope);
    if (snprintf(full, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) >= PATH_MAX)
        give_up("a path that long");
    if (strncmp(full, scope, len) != 0 || (full[len] != '/' && full[len] != '\0'))
        return 0;
    if (strpbrk(name, "\t\n") != NULL)
        give_up("a name that cannot be written down");
    return 1;
}

static const char *
file_of(const struct stat *st, char text[64])
{
    (void)snprintf(text, 64, "%llu:%llu", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
    return text;
}

static int
is_tracked(int fd)
{
    return fd >= 0 && fd < FDS && tracked[fd];
}

static void
line_of_fd(int fd, const char *what, unsigned long long value)
{
    char file[64];
    struct stat st;
    if (fstat(fd, &st) != 0)
        give_up("fstat");
    line("%s\t%s\t%llu\n", what, file_of(&st, file), value);
}

static void
written(int fd, const struct iovec *iov, uint64_t offset, long n)
{
    char file[64];
    struct stat st;
    if (fstat(fd, &st) != 0)
        give_up("fstat");
    line("write\t%s\t%llu\t%ld\n", file_of(&st, file), (unsigned long long)offset, n);
    for (size_t left = (size_t)n; left > 0; iov++) {
        size_t part = iov->iov_len < left ? iov->iov_len : left;
        put(iov->iov_base, part);
        left -= part;
    }
    put("\n", 1);
}

#define LOCKED(...)                        \
    do {                                   \
        (void)pthread_mutex_lock(&lock);   \
        __VA_ARGS__;                       \
        (void)pthread_mutex_unlock(&lock); \
    } while (0)

/* ---- opening ------------------------------------------------------------------------------------ */

static int
do_open(int dir_fd, const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX], file[64];
    struct stat before, st;
    long fd;
    if (boot_file != NULL && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot_file;
    (void)pthread_mutex_lock(&lock);
    int inside = entry_path(dir_fd, path, full);
    int existed = inside && lstat(full, &before) == 0;
    fd = syscall(SYS_openat, dir_fd, path, flags, mode);
    if (fd >= FDS)
        give_up("that many open files");
    if (fd >= 0)
        tracked[fd] = inside != 0;
    if (fd >= 0 && inside && fstat((int)fd, &st) == 0) {
        if ((flags & O_CREAT) != 0 && !existed)
            line("create\t%s\t%o\t%s\n", file_of(&st, file), st.st_mode & 07777u, full);
        else if ((flags & O_TRUNC) != 0)
            line("truncate\t%s\t0\n", file_of(&st, file));
    }
    (void)pthread_mutex_unlock(&lock);
    return (int)fd;
}

static mode_t
mode_of(int flags, va_list *args)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(*args, mode_t) : 0;
}

#define OPEN_BODY(dir_fd)                \
    va_list args;                        \
    va_start(args, flags);               \
    mode_t mode = mode_of(flags, &args); \
    va_end(args);                        \
    return do_open(dir_fd, path, flags, mode)

int
open(const char *path, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}

int
open64(const char *path, int flags, ...)
{
    OPEN_BODY(AT_FDCWD);
}

int
openat(int dir_fd, const char *path, int flags, ...)
{
    OPEN_BODY(dir_fd);
}

int
openat64(int dir_fd, const char *path, int flags, ...)
{
    OPEN_BODY(dir_fd);
}

/* What open becomes with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir_fd, const char *path, int flags);
int __openat64_2(int dir_fd, const char *path, int flags);

int
__open_2(const char *path, int flags)
{
    return do_open(AT_FDCWD, path, flags, 0);
}

int
__open64_2(const char *path, int flags)
{
    return do_open(AT_FDCWD, path, flags, 0);
}

int
__openat_2(int dir_fd, const char *path, int flags)
{
    return do_open(dir_fd, path, flags, 0);
}

int
__openat64_2(int dir_fd, const char *path, int flags)
{
    return do_open(dir_fd, path, flags, 0);
}

int
close(int fd)
{
    long rc;
    LOCKED(if (fd >= 0 && fd < FDS) tracked[fd] = 0; rc = syscall(SYS_close, fd));
    return (int)rc;
}

/* ---- contents ----------------------------------------------------------------------------------- */

static ssize_t
do_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    long rc;
    LOCKED(rc = syscall(SYS_pwritev, fd, iov, n, offset, 0);
           if (rc > 0 && is_tracked(fd)) written(fd, iov, (uint64_t)offset, rc));
    return rc;
}

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    return do_pwritev(fd, iov, n, offset);
}

ssize_t
pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
    return do_pwritev(fd, iov, n, offset);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    return do_pwritev(fd, &(struct iovec){(void *)(uintptr_t)buf, len}, 1, offset);
}

ssize_t
pwrite64(int fd, const void *buf, size_t len, off64_t offset)
{
    return do_pwritev(fd, &(struct iovec){(void *)(uintptr_t)buf, len}, 1, offset);
}

ssize_t
write(int fd, const void *buf, size_t len)
{
    long rc;
    struct iovec iov = {(void *)(uintptr_t)buf, len};
    LOCKED(rc = syscall(SYS_write, fd, buf, len);
           if (rc > 0 && is_tracked(fd)) written(fd, &iov, (uint64_t)lseek(fd, 0, SEEK_CUR) - (uint64_t)rc, rc));
    return rc;
}

static int
do_ftruncate(int fd, off_t size)
{
    long rc;
    LOCKED(rc = syscall(SYS_ftruncate, fd, size);
           if (rc == 0 && is_tracked(fd)) line_of_fd(fd, "truncate", (unsigned long long)size));
    return (int)rc;
}

int
ftruncate(int fd, off_t size)
{
    return do_ftruncate(fd, size);
}

int
ftruncate64(int fd, off64_t size)
{
    return do_ftruncate(fd, size);
}

/* ---- durability: written down, not done --------------------------------------------------------- */

int
fsync(int fd)
{
    LOCKED(if (is_tracked(fd)) line_of_fd(fd, "fsync", 0));
    return 0;
}

int
fdatasync(int fd)
{
    return fsync(fd);
}

int
syncfs(int fd)
{
    struct stat st;
    LOCKED(if (log_fd >= 0 && fstat(fd, &st) == 0) line("syncfs\t%llu\n", (unsigned long long)st.st_dev));
    return 0;
}

static int
do_fstatfs(int fd, struct statfs *st)
{
    long rc = syscall(SYS_fstatfs, fd, st);
    if (rc == 0 && file_system != NULL)
        st->f_type = strcmp(file_system, "ext4") == 0 ? EXT4_SUPER_MAGIC : NFS_SUPER_MAGIC;
    return (int)rc;
}

int
fstatfs(int fd, struct statfs *st)
{
    return do_fstatfs(fd, st);
}

int
fstatfs64(int fd, struct statfs64 *st)
{
    _Static_assert(sizeof(struct statfs64) == sizeof(struct statfs), "one struct on 64-bit systems");
    return do_fstatfs(fd, (struct statfs *)st);
}

/* ---- names -------------------------------------------------------------------------------------- */

/* One that comes into being. */
static long
made(const char *what, long rc, const char *full, int inside, const char *target)
{
    char file[64];
    struct stat st;
    if (rc != 0 || !inside)
        return rc;
    if (lstat(full, &st) != 0)
        give_up(full);
    if (target == NULL)
        line("%s\t%s\t%o\t%s\n", what, file_of(&st, file), st.st_mode & 07777u, full);
    else
        line("%s\t%s\t%s\t%s\n", what, file_of(&st, file), full, target);
    return 0;
}

int
mkdirat(int dir_fd, const char *path, mode_t mode)
{
    char full[PATH_MAX];
    long rc;
    LOCKED(int inside = entry_path(dir_fd, path, full);
           rc = made("mkdir", syscall(SYS_mkdirat, dir_fd, path, mode), full, inside, NULL));
    return (int)rc;
}

int
mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int
symlinkat(const char *target, int dir_fd, const char *path)
{
    char full[PATH_MAX];
    long rc;
    LOCKED(int inside = entry_path(dir_fd, path, full);
           rc = made("symlink", syscall(SYS_symlinkat, target, dir_fd, path), full, inside, target));
    return (int)rc;
}

int
symlink(const char *target, const char *path)
{
    return symlinkat(target, AT_FDCWD, path);
}

static int
do_rename(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    char full_from[PATH_MAX], full_to[PATH_MAX];
    long rc;
    LOCKED(int inside = entry_path(from_dir, from, full_from) + entry_path(to_dir, to, full_to);
           rc = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
           if (rc == 0 && inside == 1) give_up("a rename into or out of the scope");
           if (rc == 0 && inside == 2) line("rename\t%s\t%s\n", full_from, full_to));
    return (int)rc;
}

int
renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return do_rename(from_dir, from, to_dir, to, flags);
}

int
renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return do_rename(from_dir, from, to_dir, to, 0);
}

int
rename(const char *from, const char *to)
{
    return do_rename(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    char full_from[PATH_MAX], full_to[PATH_MAX];
    long rc;
    LOCKED(int inside = entry_path(from_dir, from, full_from) + entry_path(to_dir, to, full_to);
           rc = syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
           if (rc == 0 && inside == 2) line("link\t%s\t%s\n", full_from, full_to));
    return (int)rc;
}

int
link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
unlinkat(int dir_fd, const char *path, int flags)
{
    char full[PATH_MAX];
    long rc;
    LOCKED(int inside = entry_path(dir_fd, path, full); rc = syscall(SYS_unlinkat, dir_fd, path, flags);
           if (rc == 0 && inside) line("remove\t%s\n", full));
    return (int)rc;
}

int
unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int
rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int
fchmod(int fd, mode_t mode)
{
    long rc;
    char file[64];
    struct stat st;
    LOCKED(rc = syscall(SYS_fchmod, fd, mode); if (rc == 0 && is_tracked(fd) && fstat(fd, &st) == 0)
               line("chmod\t%s\t%o\n", file_of(&st, file), mode & 07777u));
    return (int)rc;
}

int
fchmodat(int dir_fd, const char *path, mode_t mode, int flags)
{
    char full[PATH_MAX], file[64];
    struct stat st;
    long rc;
    if (flags != 0)
        give_up("fchmodat with flags");
    LOCKED(int inside = entry_path(dir_fd, path, full); rc = syscall(SYS_fchmodat, dir_fd, path, mode);
           if (rc == 0 && inside && stat(full, &st) == 0) line("chmod\t%s\t%o\n", file_of(&st, file), mode & 07777u));
    return (int)rc;
}

int
chmod(const char *path, mode_t mode)
{
    return fchmodat(AT_FDCWD, path, mode, 0);
}

/* ---- who we are --------------------------------------------------------------------------------- */

pid_t
getpid(void)
{
    return (pid_t)(fake_pid != 0 ? fake_pid : syscall(SYS_getpid));
}
