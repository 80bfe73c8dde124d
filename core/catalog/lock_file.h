/* SPDX-License-Identifier: Apache-2.0
 * Who holds a lock, and does that process still live?
 *
 * backup.owner, one line per holder: "exclusive|shared <pid> <start> <boot id> <host>", where start is the
 * process' start in clock ticks since boot. It is only changed while holding backup.pid. */
#ifndef CATALOG_LOCK_FILE_H
#define CATALOG_LOCK_FILE_H

#include "core/io/store.h"

enum { LOCK_BOOT_SIZE = 40, LOCK_HOST_SIZE = 256 };

struct lock_owner {
    int shared;
    int64_t pid;
    uint64_t start; /* 0 = unknown */
    char boot[LOCK_BOOT_SIZE], host[LOCK_HOST_SIZE];
};

struct lock_owners {
    struct lock_owner *v;
    size_t n;
};
void lock_owners_free(struct lock_owners *list);
#define auto_lock_owners __attribute__((cleanup(lock_owners_free))) struct lock_owners

/* lock_owner_self - this process. */
void lock_owner_self(int shared, struct lock_owner *ret);

enum lock_holder { LOCK_HOLDER_DEAD, LOCK_HOLDER_ALIVE, LOCK_HOLDER_ELSEWHERE };
/* lock_holder_state - of a pid and its owner record; owner NULL (the stock tool writes none): only the pid counts. */
enum lock_holder lock_holder_state(int64_t pid, const struct lock_owner *owner);

/* lock_owners_read - a missing file has no owners; lines that are not understood are left out. */
int lock_owners_read(struct store *s, const char *path, struct lock_owners *ret, struct gsp_error *err);
/* lock_owners_write - atomically; without owners the file is removed.
 * in     put_flags: GSP_PUT_VOLATILE, or 0 */
int lock_owners_write(
    struct store *s, const char *path, const struct lock_owners *list, uint32_t put_flags, struct gsp_error *err);
int lock_owners_add(struct lock_owners *list, const struct lock_owner *owner, struct gsp_error *err);
/* lock_owners_drop - the first owner of this kind and pid (pid 0: every one of this kind). */
void lock_owners_drop(struct lock_owners *list, int shared, int64_t pid);
const struct lock_owner *lock_owners_find(const struct lock_owners *list, int shared, int64_t pid);

/* lock_pids_read - the numbers of backup_ro.pid, malloc'ed; a missing file has none, garbage lines do not count. */
int lock_pids_read(struct store *s, const char *path, int64_t **ret, size_t *ret_n, struct gsp_error *err);

#endif
