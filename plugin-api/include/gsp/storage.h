/* SPDX-License-Identifier: Apache-2.0
 *
 * gsp/storage.h - kind "storage": list, read and write files somewhere.
 *
 * One store is one root: a cluster's data directory, a tablespace, or the backup catalog. Paths are
 * relative to the root, normalised by the core (no leading '/', no "." or "..", no "//"), bytes
 * other than NUL and '/' are free; "" is the root itself.
 *
 * thread  ANY on a store; HANDLE on a file or put
 * Required: open close limits list stat file_open preadv file_close. A store without the writing
 * operations can only be read: the core then refuses it as a catalog or a restore target.
 * Common errors: NOENT EXIST PERM NOSPC IO NOMEM; messages name the full path.
 */
#ifndef GSP_STORAGE_H
#define GSP_STORAGE_H

#include <sys/uio.h>

#include "gsp/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GSP_FILE_REGULAR 1u
#define GSP_FILE_DIRECTORY 2u
#define GSP_FILE_OTHER 3u    /* socket, pipe, device */
#define GSP_FILE_DANGLING 4u /* a symbolic link whose target is missing or loops */

#define GSP_STAT_LINK 1u  /* flag: the name is a symbolic link; the other fields describe its target */
#define GSP_STAT_MOUNT 2u /* flag: a directory where another one is mounted, as far as the storage can tell */

struct gsp_stat {
    uint32_t type;     /* GSP_FILE_* of the target when it is a link */
    uint32_t mode;     /* st_mode with the type bits */
    uint64_t size;     /* bytes */
    int64_t mtime_us;  /* since the epoch */
    uint64_t dev, ino; /* identity of a directory, for loop detection; 0, 0 when there is none */
    uint32_t uid;
    uint32_t flags; /* GSP_STAT_* */
    uint64_t holes; /* bytes of size that take no room on the medium; 0 also when that is unknown */
    uint64_t reserved;
};

struct gsp_dirent {
    const char *name; /* last path component; borrowed until the callback returns */
    struct gsp_stat st;
};

/* Capabilities of a mount, in gsp_limits.caps. */
#define GSP_STORE_SYMLINK 1u /* symlink and readlink work */
#define GSP_STORE_SPARSE 2u  /* ranges never written read as zeros and cost no room */

struct gsp_limits {
    uint32_t struct_size;
    uint32_t align;   /* preadv and pwritev: buffers, offsets and lengths are multiples; 1 = free */
    uint32_t io_max;  /* bytes one preadv or pwritev takes at most; >= 64 KiB */
    uint32_t iov_max; /* entries one preadv or pwritev takes at most; >= 1 */
    uint64_t caps;    /* GSP_STORE_* */
};

struct gsp_space {
    uint32_t struct_size;
    uint32_t block_bytes; /* a file takes whole blocks of this size; 0 = unknown */
    uint64_t free_bytes;  /* available to this user */
    uint64_t total_bytes;
    uint64_t dev; /* places with the same number share this room; 0 = unknown */
};

/* Flags of put_begin. */
#define GSP_PUT_ATOMIC 1u /* nothing is visible before commit; commit replaces and is durable */
#define GSP_PUT_EXCL 2u   /* EXIST when the name is taken */
/* The file is there and keeps what is not written over; NOENT without it, EXIST when the name is a symbolic link. An
 * abort leaves it as far as it was written, and so does a commit that fails. Not with the other two. */
#define GSP_PUT_UPDATE 4u
#define GSP_PUT_VOLATILE \
    8u /* with ATOMIC: not durable; after a crash of the machine there are the old bytes, the new ones, or none */

struct gsp_put_opts {
    uint32_t struct_size;
    uint32_t mode;  /* permission bits, applied exactly (no umask) */
    uint32_t flags; /* GSP_PUT_* */
    uint32_t reserved;
};

/* Flags of mkdir. */
#define GSP_MKDIR_PARENTS 1u /* make missing parents too, also those above the root, with the same mode */

struct gsp_storage_ops {
    uint32_t struct_size;
    uint32_t reserved;

    /* open - make a store for a root. The root need not exist yet; nothing is created.
     * in     root: where, in the storage's own notation (fs: absolute path)
     * out    ret_store: owned by the core until close
     * thread main      errors CONFIG PERM NET */
    int (*open)(void *state, const void *opts, const char *root, void **ret_store, struct gsp_error *err);
    void (*close)(void *store);

    /* limits - properties of this mount. ret->struct_size is set by the caller. */
    int (*limits)(void *store, struct gsp_limits *ret, struct gsp_error *err);

    /* list - the entries of one directory, without "." and "..", in batches, in any order. Symbolic
     * links are followed (GSP_STAT_LINK, DANGLING); an entry that vanishes meanwhile is left out.
     * The callback runs in the calling thread; its non-zero result stops the listing and is returned.
     * errors NOENT when the directory does not exist */
    int (*list)(void *store, const char *dir,
        int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
        struct gsp_error *err);

    /* stat - one name, links followed. errors NOENT */
    int (*stat)(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err);

    /* file_open - open a regular file for reading. out ret_file: owned by the core until file_close. */
    int (*file_open)(void *store, const char *path, void **ret_file, struct gsp_error *err);
    /* preadv - read at offset. Returns bytes; fewer than asked only at the end of the file, 0 beyond it. */
    int64_t (*preadv)(void *file, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err);
    void (*file_close)(void *file);

    /* put_begin - start writing a file that did not exist, or replaces one (truncated at once unless
     * ATOMIC), or with UPDATE changes one. out ret_put: owned by the core until put_commit or put_abort. */
    int (*put_begin)(
        void *store, const char *path, const struct gsp_put_opts *opts, void **ret_put, struct gsp_error *err);
    /* pwritev - write all bytes at offset. Offsets ascend; gaps read as zeros, with UPDATE as before.
     * Returns the bytes written, always all of them, or a code. */
    int64_t (*pwritev)(void *put, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err);
    /* put_commit - end the file at exactly `size` bytes (longer than written: zeros) and close it.
     * ATOMIC: durable and visible at once, or an error and nothing changed. Not ATOMIC: durable only
     * after sync. The put is gone whatever the result. */
    int (*put_commit)(void *put, uint64_t size, struct gsp_error *err);
    /* put_abort - drop an unfinished put: ATOMIC leaves nothing, UPDATE the file, otherwise it is removed. */
    void (*put_abort)(void *put);

    /* mkdir - errors EXIST (without PARENTS; with it an existing directory is fine) NOENT */
    int (*mkdir)(void *store, const char *path, uint32_t mode, uint32_t flags, struct gsp_error *err);
    /* remove - files, links and empty directories, in the given order; a missing one is success. */
    int (*remove)(void *store, const char *const *paths, uint32_t n, struct gsp_error *err);
    /* rename - within the store; replaces a file. Durable after sync of both directories. */
    int (*rename)(void *store, const char *from, const char *to, struct gsp_error *err);
    /* symlink - make `path` a link to `target` (taken as it is). errors EXIST */
    int (*symlink)(void *store, const char *target, const char *path, struct gsp_error *err);
    /* readlink - target of a link, NUL-terminated in buf. errors NOENT; CONFIG when it does not fit */
    int (*readlink)(void *store, const char *path, char *buf, uint32_t size, struct gsp_error *err);
    /* chmod - permission bits of a file or directory. */
    int (*chmod)(void *store, const char *path, uint32_t mode, struct gsp_error *err);
    /* sync - make these files and directories durable: content, size, and for directories the names in
     * them. The store may sync more than asked. */
    int (*sync)(void *store, const char *const *paths, uint32_t n, struct gsp_error *err);
    /* space - room on the medium below path. ret->struct_size is set by the caller. NULL = unknown. */
    int (*space)(void *store, const char *path, struct gsp_space *ret, struct gsp_error *err);

    /* next_data - where in a file that is open for reading the next bytes may be that are not zero: at offset or
     * behind it, the file's size when none follow. What lies between reads as zeros. NULL = unknown, anywhere. */
    int (*next_data)(void *file, uint64_t offset, uint64_t *ret_offset, struct gsp_error *err);

    /* link - a second name for a regular file of this store: both lead to the same bytes, which nobody writes to any
     * more, and each can be removed. errors NOENT EXIST UNSUPPORTED (not on this medium, or too many names). NULL, or
     * UNSUPPORTED: the core copies instead */
    int (*link)(void *store, const char *from, const char *to, struct gsp_error *err);
};

#ifdef __cplusplus
}
#endif
#endif
