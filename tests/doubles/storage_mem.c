/* SPDX-License-Identifier: Apache-2.0 */
#include "storage_mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define CAP(max) ((max) > 0 ? (max) : 1)

/* Content, shared by its name and by whoever has it open. */
struct mem_data {
    unsigned char *bytes;
    size_t len, cap;
    unsigned refs;
};

struct mem_node {
    char *path;
    uint32_t mode; /* with type bits */
    int64_t mtime_us;
    uint64_t ino;
    struct mem_data *data; /* NULL for a directory */
};

struct mem_store {
    pthread_mutex_t lock; /* everything below, and all content */
    struct mem_node *nodes;
    size_t n, cap;
    uint64_t next_ino;
    uint64_t writes_left, failures_left;
    int fail_errno;
};

struct mem_file {
    struct mem_store *store;
    struct mem_data *data;
};

struct mem_put {
    struct mem_store *store;
    struct mem_data *data;
    char *path;
    uint32_t mode, flags;
    uint64_t next_offset;
};

static int
fail(struct gsp_error *err, int sys_errno, const char *what, const char *path)
{
    return gsp_fail(err, gsp_code_of_errno(sys_errno), sys_errno, "cannot %s 'mem:%s'", what, path);
}

static void
data_unref(struct mem_data *data)
{
    if (data == NULL || --data->refs > 0)
        return;
    free(data->bytes);
    free(data);
}

static int
data_resize(struct mem_data *data, uint64_t len)
{
    if (len > SIZE_MAX / 2)
        return 0;
    if (len > data->cap) {
        size_t cap = data->cap * 2 > len ? data->cap * 2 : (size_t)len;
        unsigned char *grown = realloc(data->bytes, CAP(cap));
        if (grown == NULL)
            return 0;
        data->bytes = grown;
        data->cap = cap;
    }
    if (len > data->len)
        memset(data->bytes + data->len, 0, (size_t)len - data->len);
    data->len = (size_t)len;
    return 1;
}

static struct mem_node *
find(struct mem_store *s, const char *path)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->nodes[i].path, path) == 0)
            return &s->nodes[i];
    return NULL;
}

/* Name of `path` inside directory `dir`, NULL when it is not directly in it. */
static const char *
name_in(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    if (path[0] == '\0' || strncmp(path, dir, len) != 0)
        return NULL;
    const char *name = len == 0 ? path : path[len] == '/' ? path + len + 1 : NULL;
    return name != NULL && strchr(name, '/') == NULL ? name : NULL;
}

static int
parent_exists(struct mem_store *s, const char *path)
{
    char parent[4096];
    const char *slash = strrchr(path, '/');
    size_t len = slash != NULL ? (size_t)(slash - path) : 0;
    if (path[0] == '\0' || len >= sizeof parent)
        return path[0] == '\0';
    memcpy(parent, path, len);
    parent[len] = '\0';
    struct mem_node *node = find(s, parent);
    return node != NULL && node->data == NULL;
}

static struct mem_node *
add(struct mem_store *s, const char *path, uint32_t mode, struct mem_data *data)
{
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 16 : s->cap * 2;
        struct mem_node *grown = realloc(s->nodes, cap * sizeof *grown);
        if (grown == NULL)
            return NULL;
        s->nodes = grown;
        s->cap = cap;
    }
    char *copy = strdup(path);
    if (copy == NULL)
        return NULL;
    struct mem_node *node = &s->nodes[s->n++];
    *node = (struct mem_node){.path = copy, .mode = mode, .ino = ++s->next_ino, .data = data};
    return node;
}

static void
drop(struct mem_store *s, struct mem_node *node)
{
    data_unref(node->data);
    free(node->path);
    *node = s->nodes[--s->n];
}

/* Counts a changing operation; non-zero when it must fail. The caller holds the lock. */
static int
refuse(struct mem_store *s, struct gsp_error *err, const char *what, const char *path)
{
    if (s->failures_left == 0)
        return 0;
    if (s->writes_left > 0) {
        s->writes_left--;
        return 0;
    }
    s->failures_left--;
    return fail(err, s->fail_errno, what, path);
}

void
storage_mem_fail_writes(void *store, uint64_t after, uint64_t times, int sys_errno)
{
    struct mem_store *s = store;
    (void)pthread_mutex_lock(&s->lock);
    s->writes_left = after;
    s->failures_left = times;
    s->fail_errno = sys_errno;
    (void)pthread_mutex_unlock(&s->lock);
}

static int
mem_open(void *state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)root;
    struct mem_store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    (void)pthread_mutex_init(&s->lock, NULL);
    *ret_store = s;
    return 0;
}

static void
mem_close(void *store)
{
    struct mem_store *s = store;
    if (s == NULL)
        return;
    while (s->n > 0)
        drop(s, &s->nodes[s->n - 1]);
    free(s->nodes);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static int
mem_limits(void *store, struct gsp_limits *ret, struct gsp_error *err)
{
    (void)store;
    (void)err;
    uint32_t size = ret->struct_size;
    struct gsp_limits limits = {.struct_size = size, .align = 1, .io_max = 1 << 20, .iov_max = 16};
    memcpy(ret, &limits, size < sizeof limits ? size : sizeof limits);
    return 0;
}

static void
fill_stat(const struct mem_node *node, struct gsp_stat *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->type = node->data != NULL ? GSP_FILE_REGULAR : GSP_FILE_DIRECTORY;
    ret->mode = node->mode;
    ret->size = node->data != NULL ? node->data->len : 0;
    ret->mtime_us = node->mtime_us;
    ret->dev = 1;
    ret->ino = node->ino;
}

/* A snapshot first: the callback may use the store. */
static int
mem_list(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    struct mem_store *s = store;
    (void)pthread_mutex_lock(&s->lock);
    struct mem_node *node = find(s, dir);
    int bad = node == NULL ? ENOENT : node->data != NULL ? ENOTDIR : 0;
    struct gsp_dirent *entries = calloc(s->n + 1, sizeof *entries);
    uint32_t n = 0;
    for (size_t i = 0; entries != NULL && bad == 0 && i < s->n; i++) {
        const char *name = name_in(s->nodes[i].path, dir);
        if (name == NULL)
            continue;
        fill_stat(&s->nodes[i], &entries[n].st);
        entries[n].name = strdup(name);
        n += entries[n].name != NULL;
    }
    (void)pthread_mutex_unlock(&s->lock);
    int rc = entries == NULL ? gsp_fail(err, GSP_E_NOMEM, 0, "out of memory")
             : bad != 0      ? fail(err, bad, "list", dir)
                             : 0;
    /* Batches of two, so that callers meet more than one. */
    for (uint32_t i = 0; i < n && rc == 0; i += 2)
        rc = cb(arg, entries + i, n - i < 2 ? n - i : 2, err);
    for (uint32_t i = 0; i < n; i++)
        free((void *)(uintptr_t)entries[i].name);
    free(entries);
    return rc;
}

static int
mem_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    struct mem_store *s = store;
    (void)pthread_mutex_lock(&s->lock);
    struct mem_node *node = find(s, path);
    if (node != NULL)
        fill_stat(node, ret);
    (void)pthread_mutex_unlock(&s->lock);
    return node != NULL ? 0 : fail(err, ENOENT, "stat", path);
}

static int
mem_file_open(void *store, const char *path, void **ret_file, struct gsp_error *err)
{
    struct mem_store *s = store;
    struct mem_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    (void)pthread_mutex_lock(&s->lock);
    struct mem_node *node = find(s, path);
    int bad = node == NULL ? ENOENT : node->data == NULL ? EISDIR : 0;
    if (bad == 0) {
        f->store = s;
        f->data = node->data;
        f->data->refs++;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (bad != 0) {
        free(f);
        return fail(err, bad, "open", path);
    }
    *ret_file = f;
    return 0;
}

static int64_t
mem_preadv(void *file, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    struct mem_file *f = file;
    int64_t done = 0;
    (void)err;
    (void)pthread_mutex_lock(&f->store->lock);
    for (uint32_t i = 0; i < n && offset < f->data->len; i++) {
        size_t left = f->data->len - (size_t)offset, part = iov[i].iov_len < left ? iov[i].iov_len : left;
        memcpy(iov[i].iov_base, f->data->bytes + offset, part);
        done += (int64_t)part;
        offset += part;
    }
    (void)pthread_mutex_unlock(&f->store->lock);
    return done;
}

static void
mem_file_close(void *file)
{
    struct mem_file *f = file;
    if (f == NULL)
        return;
    (void)pthread_mutex_lock(&f->store->lock);
    data_unref(f->data);
    (void)pthread_mutex_unlock(&f->store->lock);
    free(f);
}

/* Give a name its content; a file that was there is replaced. */
static int
publish(struct mem_store *s, struct mem_put *p)
{
    struct mem_node *node = find(s, p->path);
    if (node == NULL)
        node = add(s, p->path, 0, NULL);
    if (node == NULL)
        return ENOMEM;
    data_unref(node->data);
    node->data = p->data;
    node->data->refs++;
    node->mode = S_IFREG | p->mode;
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    node->mtime_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    return 0;
}

static int
begin_errno(struct mem_store *s, struct mem_put *p)
{
    struct mem_node *node = find(s, p->path);
    if (node != NULL && node->data == NULL)
        return EISDIR;
    if (node != NULL && p->flags & GSP_PUT_EXCL)
        return EEXIST;
    if (!parent_exists(s, p->path))
        return ENOENT;
    if (p->flags & GSP_PUT_UPDATE) {
        if (node == NULL)
            return ENOENT;
        data_unref(p->data);
        p->data = node->data;
        p->data->refs++;
        node->mode = S_IFREG | p->mode;
        return 0;
    }
    return p->flags & GSP_PUT_ATOMIC ? 0 : publish(s, p);
}

static void
put_free(struct mem_put *p)
{
    data_unref(p->data);
    free(p->path);
    free(p);
}

static int
mem_put_begin(void *store, const char *path, const struct gsp_put_opts *opts, void **ret_put, struct gsp_error *err)
{
    struct mem_store *s = store;
    if (opts->struct_size < offsetof(struct gsp_put_opts, reserved))
        return gsp_fail(err, GSP_E_BUG, 0, "struct gsp_put_opts is too small");
    uint32_t known = opts->flags & GSP_PUT_ATOMIC ? GSP_PUT_ATOMIC | GSP_PUT_EXCL | GSP_PUT_VOLATILE : GSP_PUT_EXCL;
    if (opts->flags != GSP_PUT_UPDATE && (opts->flags & ~known) != 0)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "put_begin: unknown flags 0x%x", opts->flags);
    struct mem_put *p = calloc(1, sizeof *p);
    struct mem_data *data = calloc(1, sizeof *data);
    char *copy = strdup(path);
    if (p == NULL || data == NULL || copy == NULL) {
        free(p);
        free(data);
        free(copy);
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    data->refs = 1;
    *p = (struct mem_put){.store = s, .data = data, .path = copy, .mode = opts->mode, .flags = opts->flags};
    (void)pthread_mutex_lock(&s->lock);
    int rc = refuse(s, err, "create", path);
    if (rc == 0) {
        int bad = begin_errno(s, p);
        rc = bad != 0 ? fail(err, bad, "create", path) : 0;
    }
    if (rc != 0)
        put_free(p);
    (void)pthread_mutex_unlock(&s->lock);
    if (rc == 0)
        *ret_put = p;
    return rc;
}

static int64_t
mem_pwritev(void *put, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    struct mem_put *p = put;
    int64_t done = 0;
    (void)pthread_mutex_lock(&p->store->lock);
    int rc = refuse(p->store, err, "write", p->path);
    if (rc == 0 && offset < p->next_offset)
        rc = gsp_fail(err, GSP_E_BUG, 0, "offsets of 'mem:%s' do not ascend", p->path);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        size_t len = iov[i].iov_len;
        if (offset + len > p->data->len && !data_resize(p->data, offset + len)) {
            rc = fail(err, ENOMEM, "write", p->path);
            break;
        }
        if (len > 0)
            memcpy(p->data->bytes + offset, iov[i].iov_base, len);
        offset += len;
        done += (int64_t)len;
        p->next_offset = offset;
    }
    (void)pthread_mutex_unlock(&p->store->lock);
    return rc == 0 ? done : rc;
}

/* Take the name away from a file that was not finished, unless it is somebody else's by now. */
static void
unpublish(struct mem_store *s, struct mem_put *p)
{
    struct mem_node *node = find(s, p->path);
    if (!(p->flags & (GSP_PUT_ATOMIC | GSP_PUT_UPDATE)) && node != NULL && node->data == p->data)
        drop(s, node);
}

static int
mem_put_commit(void *put, uint64_t size, struct gsp_error *err)
{
    struct mem_put *p = put;
    struct mem_store *s = p->store;
    (void)pthread_mutex_lock(&s->lock);
    int rc = refuse(s, err, "write", p->path);
    if (rc == 0 && !data_resize(p->data, size))
        rc = fail(err, ENOMEM, "write", p->path);
    if (rc == 0 && p->flags & GSP_PUT_ATOMIC) {
        int bad = p->flags & GSP_PUT_EXCL && find(s, p->path) != NULL ? EEXIST : publish(s, p);
        rc = bad != 0 ? fail(err, bad, "create", p->path) : 0;
    }
    if (rc != 0)
        unpublish(s, p);
    put_free(p);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static void
mem_put_abort(void *put)
{
    struct mem_put *p = put;
    if (p == NULL)
        return;
    struct mem_store *s = p->store;
    (void)pthread_mutex_lock(&s->lock);
    unpublish(s, p);
    put_free(p);
    (void)pthread_mutex_unlock(&s->lock);
}

/* The caller holds the lock. */
static int
make_dir(struct mem_store *s, const char *path, uint32_t mode, uint32_t flags)
{
    struct mem_node *node = find(s, path);
    if (node != NULL)
        return flags & GSP_MKDIR_PARENTS && node->data == NULL ? 0 : EEXIST;
    if (!parent_exists(s, path)) {
        if (!(flags & GSP_MKDIR_PARENTS))
            return ENOENT;
        char parent[4096];
        const char *slash = strrchr(path, '/');
        (void)snprintf(parent, sizeof parent, "%.*s", slash != NULL ? (int)(slash - path) : 0, path);
        int bad = make_dir(s, parent, mode, flags);
        if (bad != 0)
            return bad;
    }
    return add(s, path, S_IFDIR | mode, NULL) != NULL ? 0 : ENOMEM;
}

static int
mem_mkdir(void *store, const char *path, uint32_t mode, uint32_t flags, struct gsp_error *err)
{
    struct mem_store *s = store;
    (void)pthread_mutex_lock(&s->lock);
    int rc = refuse(s, err, "make directory", path);
    if (rc == 0) {
        int bad = make_dir(s, path, mode, flags);
        rc = bad != 0 ? fail(err, bad, "make directory", path) : 0;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static int
has_children(struct mem_store *s, const char *path)
{
    for (size_t i = 0; i < s->n; i++)
        if (name_in(s->nodes[i].path, path) != NULL)
            return 1;
    return 0;
}

static int
mem_remove(void *store, const char *const *paths, uint32_t n, struct gsp_error *err)
{
    struct mem_store *s = store;
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        rc = refuse(s, err, "remove", paths[i]);
        struct mem_node *node = find(s, paths[i]);
        if (rc != 0 || node == NULL)
            continue;
        if (node->data == NULL && has_children(s, paths[i]))
            rc = fail(err, ENOTEMPTY, "remove", paths[i]);
        else
            drop(s, node);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

/* Everything below a renamed directory moves along. */
static int
move_tree(struct mem_store *s, const char *from, const char *to)
{
    size_t len = strlen(from);
    for (size_t i = 0; i < s->n; i++) {
        const char *path = s->nodes[i].path;
        if (strncmp(path, from, len) != 0 || (path[len] != '\0' && path[len] != '/'))
            continue;
        size_t size = strlen(to) + strlen(path + len) + 1;
        char *moved = malloc(size);
        if (moved == NULL)
            return ENOMEM;
        (void)snprintf(moved, size, "%s%s", to, path + len);
        free(s->nodes[i].path);
        s->nodes[i].path = moved;
    }
    return 0;
}

static int
rename_errno(struct mem_store *s, const char *from, const char *to)
{
    struct mem_node *node = find(s, from), *target = find(s, to);
    if (node == NULL || !parent_exists(s, to))
        return ENOENT;
    if (node == target)
        return 0;
    if (target != NULL) {
        if (node->data != NULL && target->data == NULL)
            return EISDIR;
        if (node->data == NULL && target->data != NULL)
            return ENOTDIR;
        if (target->data == NULL && has_children(s, to))
            return ENOTEMPTY;
        drop(s, target);
    }
    return move_tree(s, from, to);
}

static int
mem_rename(void *store, const char *from, const char *to, struct gsp_error *err)
{
    struct mem_store *s = store;
    (void)pthread_mutex_lock(&s->lock);
    int rc = refuse(s, err, "rename", from);
    if (rc == 0) {
        int bad = rename_errno(s, from, to);
        rc = bad != 0 ? fail(err, bad, "rename", from) : 0;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static int
link_errno(struct mem_store *s, const char *from, const char *to)
{
    struct mem_node *node = find(s, from);
    if (node == NULL || !parent_exists(s, to))
        return ENOENT;
    if (node->data == NULL)
        return EISDIR;
    if (find(s, to) != NULL)
        return EEXIST;
    struct mem_data *data = node->data;
    uint32_t mode = node->mode;
    uint64_t ino = node->ino;
    int64_t mtime_us = node->mtime_us;
    struct mem_node *added = add(s, to, mode, data); /* moves the nodes */
    if (added == NULL)
        return ENOMEM;
    added->ino = ino;
    added->mtime_us = mtime_us;
    data->refs++;
    return 0;
}

static int
mem_link(void *store, const char *from, const char *to, struct gsp_error *err)
{
    struct mem_store *s = store;
    (void)pthread_mutex_lock(&s->lock);
    int rc = refuse(s, err, "link", from);
    if (rc == 0) {
        int bad = link_errno(s, from, to);
        rc = bad != 0 ? fail(err, bad, "link", from) : 0;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static int
mem_chmod(void *store, const char *path, uint32_t mode, struct gsp_error *err)
{
    struct mem_store *s = store;
    (void)pthread_mutex_lock(&s->lock);
    int rc = refuse(s, err, "chmod", path);
    struct mem_node *node = find(s, path);
    if (rc == 0 && node == NULL)
        rc = fail(err, ENOENT, "chmod", path);
    if (rc == 0)
        node->mode = (node->mode & (uint32_t)S_IFMT) | (mode & 07777);
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

static int
mem_sync(void *store, const char *const *paths, uint32_t n, struct gsp_error *err)
{
    struct mem_store *s = store;
    int rc = 0;
    (void)pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        rc = refuse(s, err, "sync", paths[i]);
        if (rc == 0 && find(s, paths[i]) == NULL)
            rc = fail(err, ENOENT, "sync", paths[i]);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return rc;
}

const struct gsp_storage_ops storage_mem_ops = {
    .struct_size = sizeof(struct gsp_storage_ops),
    .open = mem_open,
    .close = mem_close,
    .limits = mem_limits,
    .list = mem_list,
    .stat = mem_stat,
    .file_open = mem_file_open,
    .preadv = mem_preadv,
    .file_close = mem_file_close,
    .put_begin = mem_put_begin,
    .pwritev = mem_pwritev,
    .put_commit = mem_put_commit,
    .put_abort = mem_put_abort,
    .mkdir = mem_mkdir,
    .remove = mem_remove,
    .rename = mem_rename,
    .chmod = mem_chmod,
    .sync = mem_sync,
    .link = mem_link,
};
