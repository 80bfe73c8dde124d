/* SPDX-License-Identifier: Apache-2.0
 * Locks of one backup. backup.pid belongs to whoever created it (O_EXCL); everything else in here, the list of
 * shared holders and the owners, is only changed while holding it. A stale backup.pid is replaced under a
 * second such file, backup.takeover, after judging it again: of many takers one wins, and none can take away
 * the winner's fresh lock. The lock of an instance is the same, without readers. */
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/catalog/catalog.h"
#include "core/catalog/lock_file.h"

enum {
    STEP_MS = 20,
    LIVE_WAIT_US = 500 * 1000,      /* others hold it this short while taking a shared lock */
    INSTANCE_WAIT_US = 2 * 1000000, /* or the instance's, while they begin a backup or write its settings */
    EMPTY_WAIT_US = 3 * 1000000,    /* between its creation and its content a lock file is empty */
    TAKEOVER_WAIT_US = 5 * 1000000, /* a takeover takes milliseconds */
    PID_BYTES_MAX = 64,
};

struct backup_lock {
    struct store *store;
    char what[NAME_MAX + 32]; /* "backup ID", "instance 'NAME'" */
    int shared;
    int no_files;    /* read-only catalog */
    int64_t wait_us; /* for a holder that lives */
    char pid_path[PATH_SIZE], shared_path[PATH_SIZE], owner_path[PATH_SIZE], takeover_path[PATH_SIZE];
};

enum verdict { VERDICT_FREE, VERDICT_EMPTY, VERDICT_STALE, VERDICT_LIVE, VERDICT_ELSEWHERE };

struct holder {
    enum verdict verdict;
    int64_t pid; /* 0 = not known */
    char host[LOCK_HOST_SIZE];
};

int
backup_lock_moved(struct backup_lock *l, const char *instance, const struct backup *b, struct gsp_error *err)
{
    int rc = backup_path(l->pid_path, instance, b, "backup.pid", err);
    if (rc == 0)
        rc = backup_path(l->shared_path, instance, b, "backup_ro.pid", err);
    if (rc == 0)
        rc = backup_path(l->owner_path, instance, b, "backup.owner", err);
    return rc == 0 ? backup_path(l->takeover_path, instance, b, "backup.takeover", err) : rc;
}

static int
lock_new(struct store *repo, const char *instance, const struct backup *b, int shared, struct backup_lock **ret,
    struct gsp_error *err)
{
    auto_free struct backup_lock *l = calloc(1, sizeof *l);
    if (l == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    l->store = repo;
    l->shared = shared;
    l->wait_us = LIVE_WAIT_US;
    (void)snprintf(l->what, sizeof l->what, "backup %s", b->id);
    int rc = backup_lock_moved(l, instance, b, err);
    if (rc == 0)
        *ret = steal(&l);
    return rc;
}

/* A reader is gone after a crash of the machine, whatever was written of it, and the chain it reads may be long. Of who
 * changes a backup there must be a record, lest another process of its number later is taken for it. */
static uint32_t
put_flags(const struct backup_lock *l)
{
    return l->shared ? GSP_PUT_VOLATILE : 0;
}

/* ---- judging ---- */

/* The pid in backup.pid. VERDICT_LIVE stands for "there is one". */
static int
read_pid(struct backup_lock *l, struct holder *h, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error problem = {0};
    uint64_t pid;
    int rc = store_read_all(l->store, l->pid_path, PID_BYTES_MAX, &text, &problem);
    if (rc == GSP_E_NOENT) {
        h->verdict = VERDICT_FREE;
    } else if (rc == GSP_E_CORRUPT) {
        h->verdict = VERDICT_STALE;
    } else if (rc != 0) {
        *err = problem;
        return rc;
    } else if (text.len == 0) {
        h->verdict = VERDICT_EMPTY;
    } else if (parse_u64n(text.data, strcspn(text.data, "\n"), INT_MAX, &pid) && pid > 0) {
        h->verdict = VERDICT_LIVE;
        h->pid = (int64_t)pid;
    } else {
        h->verdict = VERDICT_STALE;
    }
    return 0;
}

static int
judge(struct backup_lock *l, struct holder *h, struct gsp_error *err)
{
    auto_lock_owners owners = {0};
    memset(h, 0, sizeof *h);
    int rc = read_pid(l, h, err);
    if (rc != 0 || h->verdict != VERDICT_LIVE)
        return rc;
    rc = lock_owners_read(l->store, l->owner_path, &owners, err);
    if (rc != 0)
        return rc;
    const struct lock_owner *owner = lock_owners_find(&owners, 0, h->pid);
    enum lock_holder state = lock_holder_state(h->pid, owner);
    if (state == LOCK_HOLDER_DEAD)
        h->verdict = VERDICT_STALE;
    else if (state == LOCK_HOLDER_ELSEWHERE)
        h->verdict = VERDICT_ELSEWHERE;
    struct lock_owner self;
    lock_owner_self(0, &self);
    memcpy(h->host, owner != NULL ? owner->host : self.host, sizeof h->host);
    return 0;
}

/* path: the lock file the holder stands in. */
static int
fail_held(const struct backup_lock *l, const struct holder *h, const char *path, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_LOCKED, 0, "Cannot lock %s directory: process %" PRId64 " on host '%s' is using it",
        l->what, h->pid, h->host);
    if (h->verdict == VERDICT_ELSEWHERE)
        return gsp_hint(err, "if that process is gone, remove %s below '%s/%.*s'",
            l->shared_path[0] != '\0' ? "backup.pid, backup_ro.pid and backup.owner"
                                      : "instance.pid and instance.owner",
            l->store->root, (int)(strrchr(l->pid_path, '/') - l->pid_path), l->pid_path);
    /* Without an owner's record, lost in a crash, it may be any process that has this number now. */
    return gsp_hint(err,
        "wait until it ends or stop it; ps -fp %" PRId64
        " shows what it is: if it is no gs_probackup, remove %s'%s/%s'",
        h->pid, path == l->shared_path ? "its line from " : "", l->store->root, path);
}

static int
fail_takeover(const struct backup_lock *l, struct gsp_error *err)
{
    (void)gsp_fail(
        err, GSP_E_LOCKED, 0, "Cannot lock %s directory: another process began to take over its lock", l->what);
    return gsp_hint(err, "if no gs_probackup works on it, remove '%s/%s'", l->store->root, l->takeover_path);
}

/* ---- the exclusive file ---- */

static int
create_pid_file(struct backup_lock *l, const char *path, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    strbuf_printf(&text, "%d\n", (int)getpid());
    int rc = strbuf_check(&text, err);
    return rc == 0 ? store_write_all(l->store, path, 0600, GSP_PUT_EXCL, text.data, text.len, err) : rc;
}

/* Creates the file unless it is there. 1 = created, 0 = there already, or a code. */
static int
try_create(struct backup_lock *l, const char *path, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = create_pid_file(l, path, &problem);
    if (rc == GSP_E_EXIST)
        return 0;
    if (rc != 0)
        *err = problem;
    return rc == 0 ? 1 : rc;
}

/* Take the exclusive holder's record away, and put this process' there when asked. */
static int
set_exclusive_owner(struct backup_lock *l, int add_self, struct gsp_error *err)
{
    auto_lock_owners owners = {0};
    struct lock_owner self;
    int rc = lock_owners_read(l->store, l->owner_path, &owners, err);
    if (rc != 0)
        return rc;
    size_t before = owners.n;
    lock_owners_drop(&owners, 0, 0);
    if (!add_self && owners.n == before)
        return 0;
    lock_owner_self(0, &self);
    if (add_self)
        rc = lock_owners_add(&owners, &self, err);
    return rc == 0 ? lock_owners_write(l->store, l->owner_path, &owners, put_flags(l), err) : rc;
}

/* The lock as judged under the takeover file; an empty one must be empty still, a moment later. */
static int
judge_again(struct backup_lock *l, int empty_is_stale, struct holder *h, struct gsp_error *err)
{
    int rc = judge(l, h, err);
    if (rc == 0 && h->verdict == VERDICT_EMPTY && empty_is_stale) {
        (void)poll(NULL, 0, STEP_MS);
        rc = judge(l, h, err);
        if (rc == 0 && h->verdict == VERDICT_EMPTY)
            h->verdict = VERDICT_STALE;
    }
    return rc;
}

static int
replace_stale(struct backup_lock *l, const struct holder *h, struct gsp_error *err)
{
    /* The record goes first: a fresh lock must never stand beside it. */
    int rc = set_exclusive_owner(l, 0, err);
    if (rc == 0)
        rc = store_remove(l->store, l->pid_path, err);
    if (rc == 0)
        rc = try_create(l, l->pid_path, err);
    if (rc > 0 && h->pid > 0)
        log_warning("Process %" PRId64 " which used %s no longer exists, its lock is taken over", h->pid, l->what);
    else if (rc > 0)
        log_warning("Lock file '%s/%s' was empty or unreadable, it is taken over", l->store->root, l->pid_path);
    return rc;
}

/* 1 = the lock is ours now, 0 = somebody else was faster, or a code. */
static int
take_over(struct backup_lock *l, int empty_is_stale, struct gsp_error *err)
{
    struct holder h;
    int rc = try_create(l, l->takeover_path, err);
    if (rc <= 0)
        return rc;
    rc = judge_again(l, empty_is_stale, &h, err);
    if (rc == 0 && h.verdict == VERDICT_STALE)
        rc = replace_stale(l, &h, err);
    struct gsp_error ignored = {0};
    int removed = store_remove(l->store, l->takeover_path, rc < 0 ? &ignored : err);
    return rc >= 0 && removed != 0 ? removed : rc;
}

static void
release_exclusive(struct backup_lock *l)
{
    struct gsp_error ignored = {0};
    struct holder h = {0};
    /* Somebody may have removed our file by hand, and another process made its own. */
    if (read_pid(l, &h, &ignored) != 0 || h.verdict != VERDICT_LIVE || h.pid != getpid())
        return;
    (void)set_exclusive_owner(l, 0, &ignored);
    (void)store_remove(l->store, l->pid_path, &ignored);
}

/* One try: 1 = ours, 0 = try again after a moment, or a code. */
static int
try_exclusive(struct backup_lock *l, int64_t waited_us, struct gsp_error *err)
{
    struct holder h;
    int rc = try_create(l, l->pid_path, err);
    if (rc != 0)
        return rc;
    rc = judge(l, &h, err);
    if (rc != 0)
        return rc;
    int empty_is_stale = waited_us >= EMPTY_WAIT_US;
    if ((h.verdict == VERDICT_LIVE && waited_us >= l->wait_us) || h.verdict == VERDICT_ELSEWHERE)
        return fail_held(l, &h, l->pid_path, err);
    if (h.verdict == VERDICT_STALE || (h.verdict == VERDICT_EMPTY && empty_is_stale))
        rc = take_over(l, empty_is_stale, err);
    return rc == 0 && waited_us >= TAKEOVER_WAIT_US ? fail_takeover(l, err) : rc;
}

static int
acquire_exclusive(struct backup_lock *l, struct gsp_error *err)
{
    int64_t began = monotonic_us();
    int rc;
    /* Cancelled only while waiting: a shared lock is released through here after an interrupt, too. */
    while ((rc = try_exclusive(l, monotonic_us() - began, err)) == 0) {
        rc = cancel_check(err);
        if (rc != 0)
            return rc;
        (void)poll(NULL, 0, STEP_MS);
    }
    if (rc < 0)
        return rc;
    rc = set_exclusive_owner(l, 1, err);
    if (rc != 0)
        release_exclusive(l);
    return rc;
}

/* ---- the shared list ---- */

/* Another process that reads the backup: LOCKED. */
static int
check_no_readers(struct backup_lock *l, struct gsp_error *err)
{
    auto_free int64_t *pids = NULL;
    auto_lock_owners owners = {0};
    size_t n = 0;
    int rc = lock_pids_read(l->store, l->shared_path, &pids, &n, err);
    if (rc == 0 && n > 0)
        rc = lock_owners_read(l->store, l->owner_path, &owners, err);
    for (size_t i = 0; i < n && rc == 0; i++) {
        const struct lock_owner *owner = lock_owners_find(&owners, 1, pids[i]);
        enum lock_holder state = lock_holder_state(pids[i], owner);
        if (state == LOCK_HOLDER_DEAD)
            continue;
        struct lock_owner self;
        lock_owner_self(1, &self);
        struct holder h = {
            .verdict = state == LOCK_HOLDER_ELSEWHERE ? VERDICT_ELSEWHERE : VERDICT_LIVE, .pid = pids[i]};
        memcpy(h.host, owner != NULL ? owner->host : self.host, sizeof h.host);
        rc = fail_held(l, &h, l->shared_path, err);
    }
    return rc;
}

static int
write_shared_list(struct backup_lock *l, const struct strbuf *text, struct gsp_error *err)
{
    int rc = strbuf_check(text, err);
    if (rc != 0)
        return rc;
    return text->len == 0 ? store_remove(l->store, l->shared_path, err)
                          : store_write_all(l->store, l->shared_path, 0600, GSP_PUT_ATOMIC | put_flags(l), text->data,
                                text->len, err);
}

/* Records of readers that are not in the list: who wrote them failed or died before the list was written. */
static void
drop_readers_unlisted(struct lock_owners *owners, const int64_t *pids, size_t n)
{
    for (size_t i = 0; i < owners->n;) {
        size_t k = 0;
        while (k < n && pids[k] != owners->v[i].pid)
            k++;
        if (owners->v[i].shared && k == n)
            lock_owners_drop(owners, 1, owners->v[i].pid);
        else
            i++;
    }
}

/* Rewrite the list of readers: the living ones, with this process once more (step +1) or once less (-1). */
static int
update_readers(struct backup_lock *l, int step, struct gsp_error *err)
{
    auto_free int64_t *pids = NULL;
    auto_lock_owners owners = {0};
    auto_strbuf text = STRBUF_INIT;
    size_t n = 0;
    int rc = lock_pids_read(l->store, l->shared_path, &pids, &n, err);
    if (rc == 0)
        rc = lock_owners_read(l->store, l->owner_path, &owners, err);
    if (rc != 0)
        return rc;
    struct lock_owner self;
    lock_owner_self(1, &self);
    drop_readers_unlisted(&owners, pids, n);
    int left_out = step > 0;
    for (size_t i = 0; i < n; i++) {
        int is_self = pids[i] == self.pid && !left_out;
        if (is_self || lock_holder_state(pids[i], lock_owners_find(&owners, 1, pids[i])) == LOCK_HOLDER_DEAD) {
            left_out |= is_self;
            lock_owners_drop(&owners, 1, pids[i]);
        } else {
            strbuf_printf(&text, "%" PRId64 "\n", pids[i]);
        }
    }
    if (step > 0) {
        strbuf_printf(&text, "%" PRId64 "\n", self.pid);
        rc = lock_owners_add(&owners, &self, err);
    }
    if (rc == 0)
        rc = lock_owners_write(l->store, l->owner_path, &owners, put_flags(l), err);
    return rc == 0 ? write_shared_list(l, &text, err) : rc;
}

/* ---- the interface ---- */

int
backup_lock_exclusive(
    struct store *repo, const char *instance, const struct backup *b, struct backup_lock **ret, struct gsp_error *err)
{
    auto_free struct backup_lock *l = NULL;
    int rc = lock_new(repo, instance, b, 0, &l, err);
    if (rc == 0)
        rc = acquire_exclusive(l, err);
    if (rc != 0)
        return rc;
    rc = check_no_readers(l, err);
    if (rc != 0) {
        release_exclusive(l);
        return rc;
    }
    *ret = steal(&l);
    return 0;
}

int
backup_lock_shared(
    struct store *repo, const char *instance, const struct backup *b, struct backup_lock **ret, struct gsp_error *err)
{
    auto_free struct backup_lock *l = NULL;
    struct gsp_error problem = {0};
    int rc = lock_new(repo, instance, b, 1, &l, err);
    if (rc != 0)
        return rc;
    rc = acquire_exclusive(l, &problem);
    if (rc != 0 && (problem.sys_errno == EROFS || rc == GSP_E_UNSUPPORTED)) {
        /* Nobody can change a read-only catalog. */
        l->no_files = 1;
        *ret = steal(&l);
        return 0;
    }
    if (rc != 0) {
        *err = problem;
        return rc;
    }
    rc = update_readers(l, 1, err);
    release_exclusive(l);
    if (rc == 0)
        *ret = steal(&l);
    return rc;
}

int
backup_lock_brief(
    struct store *repo, const char *instance, const struct backup *b, struct backup_lock **ret, struct gsp_error *err)
{
    auto_free struct backup_lock *l = NULL;
    struct holder h;
    int rc = lock_new(repo, instance, b, 0, &l, err);
    if (rc == 0)
        rc = judge(l, &h, err);
    if (rc != 0)
        return rc;
    if (h.verdict == VERDICT_LIVE && h.pid == getpid()) {
        *ret = NULL;
        return 0;
    }
    rc = acquire_exclusive(l, err);
    if (rc == 0)
        *ret = steal(&l);
    return rc;
}

int
instance_lock(struct store *repo, const char *instance, struct backup_lock **ret, struct gsp_error *err)
{
    char dir[PATH_SIZE];
    auto_free struct backup_lock *l = calloc(1, sizeof *l);
    if (l == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    l->store = repo;
    l->wait_us = INSTANCE_WAIT_US;
    (void)snprintf(l->what, sizeof l->what, "instance '%s'", instance);
    if (!path_join(dir, "backups", instance) || !path_join(l->pid_path, dir, INSTANCE_LOCK_PREFIX "pid") ||
        !path_join(l->owner_path, dir, INSTANCE_LOCK_PREFIX "owner") ||
        !path_join(l->takeover_path, dir, INSTANCE_LOCK_PREFIX "takeover"))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = acquire_exclusive(l, err);
    if (rc == 0)
        *ret = steal(&l);
    return rc;
}

void
backup_unlock(struct backup_lock *lock)
{
    if (lock == NULL)
        return;
    struct gsp_error problem = {0};
    if (!lock->shared) {
        release_exclusive(lock);
    } else if (!lock->no_files) {
        /* A record that stays behind is stale as soon as this process ends. */
        int rc = acquire_exclusive(lock, &problem);
        if (rc == 0) {
            rc = update_readers(lock, -1, &problem);
            release_exclusive(lock);
        }
        if (rc != 0 && rc != GSP_E_NOENT)
            log_verbose("the shared lock of %s stays until this process ends: %s", lock->what, problem.msg);
    }
    free(lock);
}

int
backup_lock_is_held(struct store *repo, const char *instance, const struct backup *b, struct gsp_error *err)
{
    auto_free struct backup_lock *l = NULL;
    struct holder h;
    int rc = lock_new(repo, instance, b, 0, &l, err);
    if (rc == 0)
        rc = judge(l, &h, err);
    return rc == 0 ? h.verdict == VERDICT_LIVE || h.verdict == VERDICT_ELSEWHERE : rc;
}
