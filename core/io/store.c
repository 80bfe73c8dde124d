/* SPDX-License-Identifier: Apache-2.0 */
#include "core/io/store.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/path.h"

int
store_open(struct store *s, const struct gsp_storage_ops *ops, void *state, const void *opts, const char *root,
    struct gsp_error *err)
{
    memset(s, 0, sizeof *s);
    char *root_copy = strdup(root);
    if (root_copy == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int rc = ops->open(state, opts, root, &s->handle, err);
    if (rc != 0) {
        free(root_copy);
        return rc;
    }
    s->ops = ops;
    s->root = root_copy;
    s->limits.struct_size = sizeof s->limits;
    rc = ops->limits(s->handle, &s->limits, err);
    if (rc == 0 && (s->limits.align == 0 || s->limits.io_max < 65536 || s->limits.iov_max == 0))
        rc = gsp_fail(err, GSP_E_BUG, 0, "storage of '%s' states impossible limits", root);
    if (rc != 0)
        store_close(s);
    return rc;
}

void
store_close(struct store *s)
{
    if (s->ops != NULL)
        s->ops->close(s->handle);
    free((void *)(uintptr_t)s->root);
    memset(s, 0, sizeof *s);
}

/* An operation a read-only storage may leave out. */
static int
absent(const struct store *s, const char *what, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the storage of '%s' cannot %s", s->root, what);
    return gsp_hint(
        err, "choose a storage that can be written to (storage.repo and storage.data in the site configuration)");
}

int
store_stat(struct store *s, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    return s->ops->stat(s->handle, path, ret, err);
}

/* 1 and its stat, 0 when there is nothing of that name, or a code. */
static int
find(struct store *s, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    struct gsp_error probe = {0};
    int rc = store_stat(s, path, ret, &probe);
    if (rc == GSP_E_NOENT)
        return 0;
    if (rc != 0) {
        *err = probe;
        return rc;
    }
    return 1;
}

int
store_exists(struct store *s, const char *path, struct gsp_error *err)
{
    struct gsp_stat st;
    return find(s, path, &st, err);
}

static int
stop_at_first(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err)
{
    (void)arg;
    (void)entries;
    (void)err;
    return n > 0;
}

int
store_dir_is_empty(struct store *s, const char *path, struct gsp_error *err)
{
    struct gsp_error probe = {0};
    int rc = s->ops->list(s->handle, path, stop_at_first, NULL, &probe);
    if (rc == GSP_E_NOENT || rc == 0)
        return 1;
    if (rc > 0)
        return 0;
    *err = probe;
    return rc;
}

int
store_read_all(struct store *s, const char *path, size_t max_bytes, struct strbuf *sb, struct gsp_error *err)
{
    auto_store_file f = {0};
    int rc = store_file_open(s, path, &f, err);
    if (rc != 0)
        return rc;
    enum { CHUNK = 128 * 1024 };
    for (uint64_t offset = 0;;) {
        char *to = strbuf_reserve(sb, CHUNK);
        if (to == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        int64_t n = store_file_pread(&f, to, CHUNK, offset, err);
        if (n < 0)
            return (int)n;
        sb->len += (size_t)n;
        sb->data[sb->len] = '\0';
        offset += (uint64_t)n;
        if (offset > max_bytes)
            return gsp_fail(err, GSP_E_CORRUPT, 0, "'%s/%s' is longer than %zu bytes", s->root, path, max_bytes);
        /* Settings that were cut off would be written back without what is missing: the end is believed when
         * nothing at all comes. */
        if (n == 0)
            return 0;
    }
}

int
store_write_all(struct store *s, const char *path, uint32_t mode, uint32_t flags, const void *data, size_t len,
    struct gsp_error *err)
{
    auto_store_put p = {0};
    int rc = store_put_begin(s, path, mode, flags, &p, err);
    if (rc == 0 && len > 0)
        rc = store_put_pwrite(&p, data, len, 0, err);
    return rc == 0 ? store_put_commit(&p, len, err) : rc;
}

int
store_mkdir(struct store *s, const char *path, uint32_t mode, uint32_t flags, struct gsp_error *err)
{
    return s->ops->mkdir != NULL ? s->ops->mkdir(s->handle, path, mode, flags, err)
                                 : absent(s, "make directories", err);
}

int
store_remove(struct store *s, const char *path, struct gsp_error *err)
{
    return s->ops->remove != NULL ? s->ops->remove(s->handle, &path, 1, err) : absent(s, "remove files", err);
}

int
store_rename(struct store *s, const char *from, const char *to, struct gsp_error *err)
{
    return s->ops->rename != NULL ? s->ops->rename(s->handle, from, to, err) : absent(s, "rename files", err);
}

int
store_link(struct store *s, const char *from, const char *to, struct gsp_error *err)
{
    return s->ops->link != NULL ? s->ops->link(s->handle, from, to, err) : absent(s, "link files", err);
}

int
store_sync(struct store *s, const char *path, struct gsp_error *err)
{
    return s->ops->sync != NULL ? s->ops->sync(s->handle, &path, 1, err) : 0;
}

static int
is_tree(const struct gsp_stat *st)
{
    return st->type == GSP_FILE_DIRECTORY && !(st->flags & GSP_STAT_LINK);
}

static int
fail_mount(struct store *s, const char *path, struct gsp_error *err)
{
    (void)gsp_fail(
        err, GSP_E_UNSUPPORTED, 0, "'%s/%s' is a mount point, what is below it is not removed", s->root, path);
    return gsp_hint(err, "look at what is mounted there, unmount it, and try again");
}

static int
remove_tree(struct store *s, const char *path, struct gsp_error *err)
{
    auto_listing list = {0};
    struct gsp_error probe = {0};
    int rc = store_list(s, path, &list, &probe);
    if (rc == GSP_E_NOENT)
        return 0; /* gone meanwhile */
    if (rc != 0) {
        *err = probe;
        return rc;
    }
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        char child[PATH_SIZE];
        if (!path_join(child, path, list.entries[i].name))
            return gsp_fail(err, GSP_E_BUG, 0, "path too long below '%s/%s'", s->root, path);
        if (list.entries[i].st.flags & GSP_STAT_MOUNT)
            rc = fail_mount(s, child, err);
        else
            rc = is_tree(&list.entries[i].st) ? remove_tree(s, child, err) : store_remove(s, child, err);
    }
    return rc == 0 ? store_remove(s, path, err) : rc;
}

int
store_remove_tree(struct store *s, const char *path, struct gsp_error *err)
{
    struct gsp_stat st;
    int rc = find(s, path, &st, err);
    if (rc <= 0)
        return rc;
    if (st.flags & GSP_STAT_MOUNT)
        return fail_mount(s, path, err);
    return is_tree(&st) ? remove_tree(s, path, err) : store_remove(s, path, err);
}

static int
collect(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err)
{
    struct store_listing *list = arg;
    if (list->n + n > list->cap) {
        size_t cap = (list->n + n) * 2;
        struct store_entry *grown = realloc(list->entries, cap * sizeof *grown);
        if (grown == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        list->entries = grown;
        list->cap = cap;
    }
    for (uint32_t i = 0; i < n; i++) {
        char *name = strdup(entries[i].name);
        if (name == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        list->entries[list->n++] = (struct store_entry){.name = name, .st = entries[i].st};
    }
    return 0;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(((const struct store_entry *)a)->name, ((const struct store_entry *)b)->name);
}

int
store_list(struct store *s, const char *dir, struct store_listing *ret, struct gsp_error *err)
{
    struct store_listing list = {0};
    int rc = s->ops->list(s->handle, dir, collect, &list, err);
    if (rc != 0) {
        store_listing_free(&list);
        return rc;
    }
    if (list.n > 1)
        qsort(list.entries, list.n, sizeof *list.entries, by_name);
    *ret = list;
    return 0;
}

void
store_listing_free(struct store_listing *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->entries[i].name);
    free(list->entries);
    memset(list, 0, sizeof *list);
}

int
store_file_open(struct store *s, const char *path, struct store_file *ret, struct gsp_error *err)
{
    void *handle;
    int rc = s->ops->file_open(s->handle, path, &handle, err);
    if (rc == 0)
        *ret = (struct store_file){.store = s, .handle = handle};
    return rc;
}

static uint64_t
iov_bytes(const struct iovec *iov, uint32_t n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

int64_t
store_file_preadv(struct store_file *f, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    int64_t got = f->store->ops->preadv(f->handle, iov, n, offset, err);
    if (got > 0 && (uint64_t)got > iov_bytes(iov, n))
        return gsp_fail(err, GSP_E_BUG, 0, "the storage of '%s' read more than was asked for", f->store->root);
    return got;
}

int64_t
store_file_pread(struct store_file *f, void *buf, size_t len, uint64_t offset, struct gsp_error *err)
{
    size_t done = 0;
    while (done < len) {
        size_t part = len - done < f->store->limits.io_max ? len - done : f->store->limits.io_max;
        struct iovec iov = {.iov_base = (char *)buf + done, .iov_len = part};
        int64_t n = store_file_preadv(f, &iov, 1, offset + done, err);
        if (n < 0)
            return n;
        done += (size_t)n;
        if ((size_t)n < part)
            break;
    }
    return (int64_t)done;
}

int
store_file_next_data(struct store_file *f, uint64_t offset, uint64_t *ret_offset, struct gsp_error *err)
{
    uint64_t next = offset;
    int rc = f->store->ops->next_data != NULL ? f->store->ops->next_data(f->handle, offset, &next, err) : 0;
    if (rc == 0 && next < offset)
        rc = gsp_fail(err, GSP_E_BUG, 0, "the storage of '%s' found data before where it was to look", f->store->root);
    if (rc == 0)
        *ret_offset = next;
    return rc;
}

void
store_file_close(struct store_file *f)
{
    if (f->handle != NULL)
        f->store->ops->file_close(f->handle);
    f->handle = NULL;
}

int
store_put_begin(
    struct store *s, const char *path, uint32_t mode, uint32_t flags, struct store_put *ret, struct gsp_error *err)
{
    if (s->ops->put_begin == NULL)
        return absent(s, "write files", err);
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = mode & 07777, .flags = flags};
    void *handle;
    int rc = s->ops->put_begin(s->handle, path, &opts, &handle, err);
    if (rc == 0)
        *ret = (struct store_put){.store = s, .handle = handle};
    return rc;
}

int
store_put_pwrite(struct store_put *p, const void *buf, size_t len, uint64_t offset, struct gsp_error *err)
{
    for (size_t done = 0; done < len;) {
        size_t part = len - done < p->store->limits.io_max ? len - done : p->store->limits.io_max;
        struct iovec iov = {.iov_base = (char *)(uintptr_t)buf + done, .iov_len = part};
        int rc = store_put_pwritev(p, &iov, 1, offset + done, err);
        if (rc != 0)
            return rc;
        done += part;
    }
    return 0;
}

/* Bytes from `at` to the end of the block of the file, or of the buffer. */
static size_t
block_at(uint64_t offset, size_t at, size_t len)
{
    enum { HOLE_BYTES = 4096 };
    size_t left = HOLE_BYTES - (size_t)((offset + at) % HOLE_BYTES);
    return left < len - at ? left : len - at;
}

static int
is_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

int
store_put_sparse(struct store_put *p, const void *buf, size_t len, uint64_t offset, struct gsp_error *err)
{
    const uint8_t *data = buf;
    for (size_t from = 0, to = 0; to < len; from = to) {
        while (to < len && !is_zero(data + to, block_at(offset, to, len)))
            to += block_at(offset, to, len);
        int rc = to > from ? store_put_pwrite(p, data + from, to - from, offset + from, err) : 0;
        if (rc != 0)
            return rc;
        while (to < len && is_zero(data + to, block_at(offset, to, len)))
            to += block_at(offset, to, len);
    }
    return 0;
}

int
store_put_pwritev(struct store_put *p, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    int64_t put = p->store->ops->pwritev(p->handle, iov, n, offset, err);
    if (put < 0)
        return (int)put;
    if ((uint64_t)put != iov_bytes(iov, n))
        return gsp_fail(err, GSP_E_BUG, 0, "the storage of '%s' wrote less than was asked for", p->store->root);
    return 0;
}

int
store_put_commit(struct store_put *p, uint64_t size, struct gsp_error *err)
{
    void *handle = p->handle;
    p->handle = NULL;
    return p->store->ops->put_commit(handle, size, err);
}

void
store_put_abort(struct store_put *p)
{
    if (p->handle != NULL)
        p->store->ops->put_abort(p->handle);
    p->handle = NULL;
}
