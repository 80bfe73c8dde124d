/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"

static const struct {
    const char *name, *doing;
    int changes;
} ops[OPS_N] = {
    [OP_OPEN] = {"open", "open storage", 0},
    [OP_LIST] = {"list", "list directory", 0},
    [OP_STAT] = {"stat", "look at", 0},
    [OP_FILE_OPEN] = {"file_open", "open file", 0},
    [OP_PREADV] = {"preadv", "read file", 0},
    [OP_PUT_BEGIN] = {"put_begin", "create file", 1},
    [OP_PWRITEV] = {"pwritev", "write file", 1},
    [OP_PUT_COMMIT] = {"put_commit", "finish file", 1},
    [OP_MKDIR] = {"mkdir", "create directory", 1},
    [OP_REMOVE] = {"remove", "remove", 1},
    [OP_RENAME] = {"rename", "rename", 1},
    [OP_SYMLINK] = {"symlink", "create symbolic link", 1},
    [OP_READLINK] = {"readlink", "read symbolic link", 0},
    [OP_CHMOD] = {"chmod", "change mode of", 1},
    [OP_SYNC] = {"sync", "sync", 1},
    [OP_SPACE] = {"space", "ask for the free space of", 0},
    [OP_NEXT_DATA] = {"next_data", "look for data in file", 0},
    [OP_LINK] = {"link", "link file", 1},
};

static const char *const whats[] = {
    [WHAT_EIO] = "eio",
    [WHAT_ENOSPC] = "enospc",
    [WHAT_SHORT_READ] = "short-read",
    [WHAT_SHORT_WRITE] = "short-write",
    [WHAT_DELAY] = "delay",
    [WHAT_KILL] = "kill",
    [WHAT_PAUSE] = "pause",
};
enum { WHATS_N = sizeof whats / sizeof whats[0], DELAY_STEP_MS = 200 };

/* ---- options ----------------------------------------------------------------------------------- */

static uint32_t
ops_that(int change)
{
    uint32_t mask = 0;
    for (int i = 0; i < OPS_N; i++)
        if (change < 0 || ops[i].changes == change)
            mask |= 1u << i;
    return mask;
}

/* "all", "read", "write", or names of operations with blanks or commas between. 0 = not understood. */
static uint32_t
parse_ops(const char *text)
{
    static const char between[] = " ,";
    uint32_t mask = 0;
    for (const char *p = text + strspn(text, between); *p != '\0'; p += strspn(p, between)) {
        size_t len = strcspn(p, between);
        uint32_t found = 0;
        if (len == 3 && memcmp(p, "all", 3) == 0)
            found = ops_that(-1);
        else if (len == 4 && memcmp(p, "read", 4) == 0)
            found = ops_that(0);
        else if (len == 5 && memcmp(p, "write", 5) == 0)
            found = ops_that(1);
        for (int i = 0; i < OPS_N; i++)
            if (strlen(ops[i].name) == len && memcmp(p, ops[i].name, len) == 0)
                found |= 1u << i;
        if (found == 0)
            return 0;
        mask |= found;
        p += len;
    }
    return mask;
}

/* Only these can do it. */
static uint32_t
capable(enum fault_what what)
{
    switch (what) {
    case WHAT_SHORT_READ:
        return 1u << OP_PREADV;
    case WHAT_SHORT_WRITE:
        return 1u << OP_PWRITEV;
    case WHAT_ENOSPC:
        return ops_that(1) & ~(1u << OP_REMOVE) & ~(1u << OP_CHMOD);
    case WHAT_EIO:
    case WHAT_DELAY:
    case WHAT_KILL:
    case WHAT_PAUSE:
        return ops_that(-1);
    }
    return 0;
}

int
fault_plan_parse(const struct fault_options *opts, struct fault_plan *ret, struct gsp_error *err)
{
    struct fault_plan plan = {.at = (uint64_t)opts->at,
        .times = (uint64_t)opts->times,
        .delay_us = opts->delay_us,
        .path = opts->path,
        .pause = opts->pause};
    int what = 0;
    while (what < WHATS_N && strcmp(opts->what, whats[what]) != 0)
        what++;
    if (what == WHATS_N) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "storage.fault.what: there is no fault '%s'", opts->what);
        return gsp_hint(err, "one of eio, enospc, short-read, short-write, delay, kill, pause");
    }
    if (what == WHAT_PAUSE && opts->pause == NULL)
        return gsp_fail(err, GSP_E_CONFIG, 0, "storage.fault.pause: a pause needs the names of its FIFOs");
    plan.what = (enum fault_what)what;
    plan.after = strcmp(opts->when, "after") == 0;
    if (!plan.after && strcmp(opts->when, "before") != 0)
        return gsp_fail(err, GSP_E_CONFIG, 0, "storage.fault.when: '%s' is neither 'before' nor 'after'", opts->when);
    plan.ops = parse_ops(opts->ops);
    if (plan.ops == 0) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "storage.fault.ops: '%s' names no operations", opts->ops);
        return gsp_hint(err, "all, read, write, or names as put_begin and pwritev, with commas between");
    }
    plan.ops &= capable(plan.what);
    *ret = plan;
    return 0;
}

/* ---- striking ---------------------------------------------------------------------------------- */

static int
is_due(const struct fault_plan *plan, uint64_t n)
{
    return plan->at > 0 && n >= plan->at && (plan->times == 0 || n - plan->at < plan->times);
}

static int
wait_a_while(const struct fault_store *s, struct gsp_error *err)
{
    const struct gsp_host *host = s->state->host;
    for (int64_t left = s->plan.delay_us / 1000; left > 0; left -= DELAY_STEP_MS) {
        if (host->cancelled(host->ctx))
            return gsp_fail(err, GSP_E_CANCELLED, 0, "cancelled while the fault storage was waiting");
        (void)poll(NULL, 0, left < DELAY_STEP_MS ? (int)left : DELAY_STEP_MS);
    }
    return 0;
}

/* Says that it is there, and stays until it may go on: opening a FIFO waits for who opens its other end. */
static int
pause_here(const struct fault_store *s, struct gsp_error *err)
{
    static const struct {
        const char *suffix;
        int flags;
    } ends[] = {{".reached", O_WRONLY}, {".go", O_RDONLY}};
    for (size_t i = 0; i < 2; i++) {
        char path[PATH_MAX];
        (void)snprintf(path, sizeof path, "%s%s", s->plan.pause, ends[i].suffix);
        int fd = open(path, ends[i].flags | O_CLOEXEC);
        if (fd < 0)
            return gsp_fail(err, GSP_E_CANCELLED, errno, "cannot pause at '%s'", path);
        ssize_t done = i == 0 ? write(fd, "x", 1) : 1;
        (void)close(fd);
        if (done != 1)
            return gsp_fail(err, GSP_E_IO, errno, "cannot write to '%s'", path);
    }
    return 0;
}

static int
strike(const struct fault_call *c, struct gsp_error *err)
{
    const struct fault_store *s = c->store;
    const char *slash = c->path[0] != '\0' ? "/" : "";
    switch (s->plan.what) {
    case WHAT_EIO:
        return gsp_fail(err, GSP_E_IO, EIO, "cannot %s '%s%s%s'", ops[c->op].doing, s->root, slash, c->path);
    case WHAT_ENOSPC:
        return gsp_fail(err, GSP_E_NOSPC, ENOSPC, "cannot %s '%s%s%s'", ops[c->op].doing, s->root, slash, c->path);
    case WHAT_DELAY:
        return wait_a_while(s, err);
    case WHAT_KILL:
        (void)raise(SIGKILL);
        return 0;
    case WHAT_PAUSE:
        return pause_here(s, err);
    case WHAT_SHORT_READ:
    case WHAT_SHORT_WRITE:
        return 0; /* the operation itself looks at strikes */
    }
    return 0;
}

int
fault_begin(struct fault_call *c, struct fault_store *s, enum fault_op op, const char *path, struct gsp_error *err)
{
    struct fault_state *state = s->state;
    *c = (struct fault_call){.store = s, .op = op, .path = path};
    if ((s->plan.ops >> op & 1u) == 0 || (s->plan.path != NULL && strstr(path, s->plan.path) == NULL))
        return 0;
    c->strikes = is_due(&s->plan, atomic_fetch_add(&state->count, 1) + 1);
    if (!c->strikes)
        return 0;
    if (atomic_fetch_add(&state->struck, 1) == 0)
        (void)snprintf(state->first, sizeof state->first, "%s %s/%s", ops[op].name, s->root, path);
    state->host->log(state->host->ctx, GSP_LOG_VERBOSE, "Fault '%s' strikes %s of '%s/%s'", whats[s->plan.what],
        ops[op].name, s->root, path);
    /* A full disk takes what still fits: pwritev does that first. An operation that changes nothing cannot
     * fail after its effect. */
    int later = (s->plan.after && (ops[op].changes || s->plan.what == WHAT_KILL)) ||
                (s->plan.what == WHAT_ENOSPC && op == OP_PWRITEV);
    return later ? 0 : strike(c, err);
}

int
fault_end(const struct fault_call *c, int rc, struct gsp_error *err)
{
    const struct fault_plan *plan = &c->store->plan;
    if (rc != 0 || !c->strikes || !plan->after || (!ops[c->op].changes && plan->what != WHAT_KILL))
        return rc;
    return strike(c, err);
}

/* ---- the report -------------------------------------------------------------------------------- */

static int
count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;
    if (dir == NULL)
        return -1;
    for (const struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    (void)closedir(dir);
    return n;
}

int
fault_descriptors(void)
{
    return count_entries("/proc/self/fd") - 1; /* the one of the listing itself */
}

static int
has_children(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

void
fault_report(const struct fault_state *state)
{
    FILE *out = state->report[0] != '\0' ? fopen(state->report, "we") : NULL;
    if (out == NULL)
        return;
    /* The report itself is open now. */
    int descriptors = fault_descriptors() - 1 - state->descriptors;
    (void)fprintf(out, "operations %llu\nstruck %llu\n", (unsigned long long)atomic_load(&state->count),
        (unsigned long long)atomic_load(&state->struck));
    (void)fprintf(out, "stores %d\nfiles %d\nputs %d\n", atomic_load(&state->stores), atomic_load(&state->files),
        atomic_load(&state->puts));
    (void)fprintf(out, "descriptors %d\nthreads %d\nchildren %d\n", descriptors, count_entries("/proc/self/task") - 1,
        has_children());
    if (state->first[0] != '\0')
        (void)fprintf(out, "first %s\n", state->first);
    (void)fclose(out);
}
