/* SPDX-License-Identifier: Apache-2.0 */
#include "core/catalog/lock_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/number.h"

enum { OWNER_BYTES_MAX = 256 * 1024, START_FIELD = 22, PROC_BYTES = 1024 };

void
lock_owners_free(struct lock_owners *list)
{
    free(list->v);
    memset(list, 0, sizeof *list);
}

/* The beginning of a small file of /proc as text; 0 when there is none. */
static int
read_proc(const char *path, char *buf, size_t size)
{
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : -1;
    if (n <= 0)
        return 0;
    buf[n] = '\0';
    return 1;
}

/* State letter and start of a process. 0 when /proc does not tell (hidden from us, or gone). */
static int
process_start(int64_t pid, char *ret_state, uint64_t *ret_start)
{
    char path[64], text[PROC_BYTES];
    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    if (!read_proc(path, text, sizeof text))
        return 0;
    /* The name may hold blanks and parentheses: fields are counted behind the last one. The state is the third. */
    const char *p = strrchr(text, ')');
    if (p == NULL || p[1] != ' ' || p[2] == '\0')
        return 0;
    p += 2;
    *ret_state = *p;
    for (int field = 3; field < START_FIELD; field++) {
        p = strchr(p, ' ');
        if (p == NULL)
            return 0;
        p++;
    }
    return parse_u64n(p, strspn(p, "0123456789"), UINT64_MAX, ret_start);
}

void
lock_owner_self(int shared, struct lock_owner *ret)
{
    char state;
    memset(ret, 0, sizeof *ret);
    ret->shared = shared;
    ret->pid = getpid();
    (void)process_start(ret->pid, &state, &ret->start);
    if (gethostname(ret->host, sizeof ret->host - 1) != 0 || ret->host[0] == '\0')
        memcpy(ret->host, "?", 2);
    if (!read_proc("/proc/sys/kernel/random/boot_id", ret->boot, sizeof ret->boot))
        memcpy(ret->boot, "?", 2);
    ret->boot[strcspn(ret->boot, "\n")] = '\0';
}

enum lock_holder
lock_holder_state(int64_t pid, const struct lock_owner *owner)
{
    char state;
    uint64_t start;
    struct lock_owner self;
    lock_owner_self(0, &self);
    if (owner != NULL && strcmp(owner->host, self.host) != 0)
        return LOCK_HOLDER_ELSEWHERE;
    if (owner != NULL && strcmp(owner->boot, self.boot) != 0)
        return LOCK_HOLDER_DEAD;
    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH)
        return LOCK_HOLDER_DEAD;
    if (!process_start(pid, &state, &start))
        return LOCK_HOLDER_ALIVE;
    int reused = owner != NULL && owner->start != 0 && owner->start != start;
    return state == 'Z' || state == 'X' || reused ? LOCK_HOLDER_DEAD : LOCK_HOLDER_ALIVE;
}

/* ---- the files ---- */

/* A whole small file; a missing one is empty. */
static int
read_small(struct store *s, const char *path, struct strbuf *text, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = store_read_all(s, path, OWNER_BYTES_MAX, text, &problem);
    if (rc == GSP_E_NOENT)
        return 0;
    if (rc != 0)
        *err = problem;
    return rc;
}

/* The next word of a line; moves *p behind it and its blank. */
static int
take_word(const char **p, const char *end, const char **ret, size_t *ret_len)
{
    const char *word = *p;
    while (*p < end && **p != ' ')
        ++*p;
    *ret = word;
    *ret_len = (size_t)(*p - word);
    if (*p == end || *ret_len == 0)
        return 0;
    ++*p;
    return 1;
}

static int
parse_owner(const char *line, const char *end, struct lock_owner *ret)
{
    const char *kind, *pid, *start, *boot, *p = line;
    size_t kind_len, pid_len, start_len, boot_len;
    uint64_t pid_value;
    memset(ret, 0, sizeof *ret);
    if (!take_word(&p, end, &kind, &kind_len) || !take_word(&p, end, &pid, &pid_len) ||
        !take_word(&p, end, &start, &start_len) || !take_word(&p, end, &boot, &boot_len))
        return 0;
    size_t host_len = (size_t)(end - p);
    if (!parse_u64n(pid, pid_len, INT_MAX, &pid_value) || pid_value == 0 ||
        !parse_u64n(start, start_len, UINT64_MAX, &ret->start) || boot_len >= LOCK_BOOT_SIZE || host_len == 0 ||
        host_len >= LOCK_HOST_SIZE)
        return 0;
    ret->shared = kind_len == strlen("shared") && memcmp(kind, "shared", kind_len) == 0;
    ret->pid = (int64_t)pid_value;
    memcpy(ret->boot, boot, boot_len);
    memcpy(ret->host, p, host_len);
    return 1;
}

int
lock_owners_read(struct store *s, const char *path, struct lock_owners *ret, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    auto_lock_owners list = {0};
    int rc = read_small(s, path, &text, err);
    const char *end = strbuf_str(&text) + text.len;
    for (const char *line = strbuf_str(&text); line < end && rc == 0;) {
        const char *lf = memchr(line, '\n', (size_t)(end - line));
        struct lock_owner owner;
        if (lf == NULL)
            break;
        if (parse_owner(line, lf, &owner))
            rc = lock_owners_add(&list, &owner, err);
        line = lf + 1;
    }
    if (rc == 0) {
        *ret = list;
        memset(&list, 0, sizeof list);
    }
    return rc;
}

int
lock_owners_write(
    struct store *s, const char *path, const struct lock_owners *list, uint32_t put_flags, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    if (list->n == 0)
        return store_remove(s, path, err);
    for (size_t i = 0; i < list->n; i++) {
        const struct lock_owner *o = &list->v[i];
        strbuf_printf(&text, "%s %" PRId64 " %" PRIu64 " %s %s\n", o->shared ? "shared" : "exclusive", o->pid, o->start,
            o->boot, o->host);
    }
    int rc = strbuf_check(&text, err);
    return rc == 0 ? store_write_all(s, path, 0600, GSP_PUT_ATOMIC | put_flags, text.data, text.len, err) : rc;
}

int
lock_owners_add(struct lock_owners *list, const struct lock_owner *owner, struct gsp_error *err)
{
    struct lock_owner *grown = realloc(list->v, (list->n + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    list->v = grown;
    list->v[list->n++] = *owner;
    return 0;
}

void
lock_owners_drop(struct lock_owners *list, int shared, int64_t pid)
{
    size_t kept = 0;
    int found = 0;
    for (size_t i = 0; i < list->n; i++) {
        int drop = list->v[i].shared == shared && (pid == 0 || (list->v[i].pid == pid && !found));
        found |= drop;
        if (!drop)
            list->v[kept++] = list->v[i];
    }
    list->n = kept;
}

const struct lock_owner *
lock_owners_find(const struct lock_owners *list, int shared, int64_t pid)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->v[i].shared == shared && list->v[i].pid == pid)
            return &list->v[i];
    return NULL;
}

int
lock_pids_read(struct store *s, const char *path, int64_t **ret, size_t *ret_n, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    int rc = read_small(s, path, &text, err);
    if (rc != 0)
        return rc;
    /* A pid takes at least two bytes with its line end. */
    int64_t *pids = calloc(text.len / 2 + 1, sizeof *pids);
    if (pids == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    size_t n = 0;
    for (const char *p = strbuf_str(&text); *p != '\0';) {
        size_t len = strcspn(p, "\n");
        uint64_t pid;
        if (parse_u64n(p, len, INT_MAX, &pid) && pid > 0)
            pids[n++] = (int64_t)pid;
        p += len + (p[len] == '\n');
    }
    *ret = pids;
    *ret_n = n;
    return 0;
}
