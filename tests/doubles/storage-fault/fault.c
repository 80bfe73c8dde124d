/* SPDX-License-Identifier: Apache-2.0
 * Storage "fault": hands every operation on to another storage, and lets the n-th one fail. */
#include "fault.h"

#include <stdlib.h>
#include <string.h>

struct fault_handle {
    struct fault_store *store;
    void *inner;
    char path[];
};

static struct fault_handle *
handle_new(struct fault_store *s, const char *path)
{
    size_t len = strlen(path) + 1;
    struct fault_handle *h = malloc(sizeof *h + len);
    if (h == NULL)
        return NULL;
    h->store = s;
    h->inner = NULL;
    memcpy(h->path, path, len);
    return h;
}

static int
no_memory(struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static int
absent(const struct fault_store *s, const char *what, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the storage of '%s' cannot %s", s->root, what);
}

/* ---- stores ------------------------------------------------------------------------------------ */

static void
store_free(struct fault_store *s)
{
    if (s == NULL)
        return;
    if (s->inner.ops != NULL)
        s->state->host->store_close(s->state->host->ctx, &s->inner);
    free(s->root);
    free(s);
}

static int
fault_open(void *plugin_state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    struct fault_state *state = plugin_state;
    const struct fault_options *o = opts;
    struct fault_call c;
    struct fault_store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return no_memory(err);
    s->state = state;
    s->root = strdup(root);
    int rc = s->root != NULL ? fault_plan_parse(o, &s->plan, err) : no_memory(err);
    if (rc == 0 && o->report != NULL)
        (void)snprintf(state->report, sizeof state->report, "%s", o->report);
    if (rc == 0)
        rc = fault_begin(&c, s, OP_OPEN, "", err);
    if (rc == 0)
        rc = fault_end(&c, state->host->store_open(state->host->ctx, o->inner, root, &s->inner, err), err);
    if (rc != 0) {
        store_free(s);
        return rc;
    }
    atomic_fetch_add(&state->stores, 1);
    *ret_store = s;
    return 0;
}

static void
fault_close(void *store)
{
    struct fault_store *s = store;
    if (s != NULL)
        atomic_fetch_sub(&s->state->stores, 1);
    store_free(s);
}

static int
fault_limits(void *store, struct gsp_limits *ret, struct gsp_error *err)
{
    struct fault_store *s = store;
    return s->inner.ops->limits(s->inner.store, ret, err);
}

/* ---- names ------------------------------------------------------------------------------------- */

static int
fault_list(void *store, const char *dir,
    int (*cb)(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    int rc = fault_begin(&c, s, OP_LIST, dir, err);
    return rc == 0 ? fault_end(&c, s->inner.ops->list(s->inner.store, dir, cb, arg, err), err) : rc;
}

static int
fault_stat(void *store, const char *path, struct gsp_stat *ret, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    int rc = fault_begin(&c, s, OP_STAT, path, err);
    return rc == 0 ? fault_end(&c, s->inner.ops->stat(s->inner.store, path, ret, err), err) : rc;
}

static int
fault_mkdir(void *store, const char *path, uint32_t mode, uint32_t flags, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    if (s->inner.ops->mkdir == NULL)
        return absent(s, "make directories", err);
    int rc = fault_begin(&c, s, OP_MKDIR, path, err);
    return rc == 0 ? fault_end(&c, s->inner.ops->mkdir(s->inner.store, path, mode, flags, err), err) : rc;
}

static int
fault_remove(void *store, const char *const *paths, uint32_t n, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    if (s->inner.ops->remove == NULL)
        return absent(s, "remove files", err);
    int rc = fault_begin(&c, s, OP_REMOVE, n > 0 ? paths[0] : "", err);
    return rc == 0 ? fault_end(&c, s->inner.ops->remove(s->inner.store, paths, n, err), err) : rc;
}

static int
fault_rename(void *store, const char *from, const char *to, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    if (s->inner.ops->rename == NULL)
        return absent(s, "rename files", err);
    int rc = fault_begin(&c, s, OP_RENAME, from, err);
    return rc == 0 ? fault_end(&c, s->inner.ops->rename(s->inner.store, from, to, err), err) : rc;
}

static int
fault_link(void *store, const char *from, const char *to, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    if (s->inner.ops->link == NULL)
        return absent(s, "link files", err);
    int rc = fault_begin(&c, s, OP_LINK, from, err);
    return rc == 0 ? fault_end(&c, s->inner.ops->link(s->inner.store, from, to, err), err) : rc;
}

static int
fault_symlink(void *store, const char *target, const char *path, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    if (s->inner.ops->symlink == NULL)
        return absent(s, "make links", err);
    int rc = fault_begin(&c, s, OP_SYMLINK, path, err);
    return rc == 0 ? fault_end(&c, s->inner.ops->symlink(s->inner.store, target, path, err), err) : rc;
}

static int
fault_readlink(void *store, const char *path, char *buf, uint32_t size, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    if (s->inner.ops->readlink == NULL)
        return absent(s, "read links", err);
    int rc = fault_begin(&c, s, OP_READLINK, path, err);
    return rc == 0 ? fault_end(&c, s->inner.ops->readlink(s->inner.store, path, buf, size, err), err) : rc;
}

static int
fault_chmod(void *store, const char *path, uint32_t mode, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    if (s->inner.ops->chmod == NULL)
        return absent(s, "change modes", err);
    int rc = fault_begin(&c, s, OP_CHMOD, path, err);
    return rc == 0 ? fault_end(&c, s->inner.ops->chmod(s->inner.store, path, mode, err), err) : rc;
}

static int
fault_sync(void *store, const char *const *paths, uint32_t n, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    int rc = fault_begin(&c, s, OP_SYNC, n > 0 ? paths[0] : "", err);
    if (rc == 0 && s->inner.ops->sync != NULL)
        rc = s->inner.ops->sync(s->inner.store, paths, n, err);
    return fault_end(&c, rc, err);
}

static int
fault_space(void *store, const char *path, struct gsp_space *ret, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    int rc = fault_begin(&c, s, OP_SPACE, path, err);
    if (rc != 0)
        return rc;
    if (s->inner.ops->space != NULL)
        return fault_end(&c, s->inner.ops->space(s->inner.store, path, ret, err), err);
    if (ret->struct_size < sizeof *ret)
        return gsp_fail(err, GSP_E_BUG, 0, "struct gsp_space is too small");
    /* Not known there, and no operation of ours can be absent for one storage only. */
    ret->free_bytes = ret->total_bytes = INT64_MAX;
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------------- */

static int
fault_file_open(void *store, const char *path, void **ret_file, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    struct fault_handle *h = handle_new(s, path);
    int rc = h != NULL ? fault_begin(&c, s, OP_FILE_OPEN, path, err) : no_memory(err);
    if (rc == 0)
        rc = fault_end(&c, s->inner.ops->file_open(s->inner.store, path, &h->inner, err), err);
    if (rc != 0) {
        free(h);
        return rc;
    }
    atomic_fetch_add(&s->state->files, 1);
    *ret_file = h;
    return 0;
}

static int64_t
fault_preadv(void *file, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    struct fault_handle *h = file;
    struct fault_call c;
    int rc = fault_begin(&c, h->store, OP_PREADV, h->path, err);
    if (rc != 0)
        return rc;
    int64_t got = h->store->inner.ops->preadv(h->inner, iov, n, offset, err);
    rc = fault_end(&c, got < 0 ? (int)got : 0, err);
    if (rc != 0)
        return rc;
    return c.strikes && h->store->plan.what == WHAT_SHORT_READ ? got - got / 2 : got;
}

static int
fault_next_data(void *file, uint64_t offset, uint64_t *ret_offset, struct gsp_error *err)
{
    struct fault_handle *h = file;
    struct fault_call c;
    int rc = fault_begin(&c, h->store, OP_NEXT_DATA, h->path, err);
    if (rc != 0)
        return rc;
    uint64_t next = offset; /* all that is known without the operation */
    if (h->store->inner.ops->next_data != NULL)
        rc = h->store->inner.ops->next_data(h->inner, offset, &next, err);
    rc = fault_end(&c, rc, err);
    if (rc == 0)
        *ret_offset = next;
    return rc;
}

static void
fault_file_close(void *file)
{
    struct fault_handle *h = file;
    if (h == NULL)
        return;
    atomic_fetch_sub(&h->store->state->files, 1);
    h->store->inner.ops->file_close(h->inner);
    free(h);
}

/* ---- writing ----------------------------------------------------------------------------------- */

static int
fault_put_begin(void *store, const char *path, const struct gsp_put_opts *opts, void **ret_put, struct gsp_error *err)
{
    struct fault_store *s = store;
    struct fault_call c;
    if (s->inner.ops->put_begin == NULL)
        return absent(s, "write files", err);
    struct fault_handle *h = handle_new(s, path);
    int rc = h != NULL ? fault_begin(&c, s, OP_PUT_BEGIN, path, err) : no_memory(err);
    if (rc == 0) {
        rc = s->inner.ops->put_begin(s->inner.store, path, opts, &h->inner, err);
        int begun = rc == 0;
        rc = fault_end(&c, rc, err);
        struct gsp_error ignored = {0};
        /* Struck after its effect: the empty file is there, and nobody has the put. */
        if (begun && rc != 0 && (opts->flags & (GSP_PUT_ATOMIC | GSP_PUT_UPDATE)) == 0)
            (void)s->inner.ops->put_commit(h->inner, 0, &ignored);
        else if (begun && rc != 0)
            s->inner.ops->put_abort(h->inner);
    }
    if (rc != 0) {
        free(h);
        return rc;
    }
    atomic_fetch_add(&s->state->puts, 1);
    *ret_put = h;
    return 0;
}

static int64_t
write_half(struct fault_handle *h, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    uint64_t half = 0, done = 0;
    for (uint32_t i = 0; i < n; i++)
        half += iov[i].iov_len;
    half /= 2;
    for (uint32_t i = 0; i < n && done < half; i++) {
        struct iovec part = iov[i];
        if (part.iov_len > half - done)
            part.iov_len = half - done;
        int64_t put = h->store->inner.ops->pwritev(h->inner, &part, 1, offset + done, err);
        if (put < 0)
            return put;
        done += (uint64_t)put;
    }
    return (int64_t)done;
}

static int64_t
fault_pwritev(void *put, const struct iovec *iov, uint32_t n, uint64_t offset, struct gsp_error *err)
{
    struct fault_handle *h = put;
    struct fault_store *s = h->store;
    struct fault_call c;
    int rc = fault_begin(&c, s, OP_PWRITEV, h->path, err);
    if (rc != 0)
        return rc;
    int cut = c.strikes && (s->plan.what == WHAT_ENOSPC || s->plan.what == WHAT_SHORT_WRITE);
    int64_t done = cut ? write_half(h, iov, n, offset, err) : s->inner.ops->pwritev(h->inner, iov, n, offset, err);
    if (cut && done >= 0 && s->plan.what == WHAT_ENOSPC)
        return gsp_fail(err, GSP_E_NOSPC, ENOSPC, "cannot write file '%s/%s'", s->root, h->path);
    rc = fault_end(&c, done < 0 ? (int)done : 0, err);
    return rc != 0 ? rc : done;
}

static int
fault_put_commit(void *put, uint64_t size, struct gsp_error *err)
{
    struct fault_handle *h = put;
    struct fault_store *s = h->store;
    struct fault_call c;
    int rc = fault_begin(&c, s, OP_PUT_COMMIT, h->path, err);
    if (rc == 0)
        rc = fault_end(&c, s->inner.ops->put_commit(h->inner, size, err), err);
    else
        s->inner.ops->put_abort(h->inner);
    atomic_fetch_sub(&s->state->puts, 1);
    free(h);
    return rc;
}

static void
fault_put_abort(void *put)
{
    struct fault_handle *h = put;
    if (h == NULL)
        return;
    atomic_fetch_sub(&h->store->state->puts, 1);
    h->store->inner.ops->put_abort(h->inner);
    free(h);
}

/* ---- the plugin -------------------------------------------------------------------------------- */

static const struct gsp_storage_ops fault_ops = {
    .struct_size = sizeof(struct gsp_storage_ops),
    .open = fault_open,
    .close = fault_close,
    .limits = fault_limits,
    .list = fault_list,
    .stat = fault_stat,
    .file_open = fault_file_open,
    .preadv = fault_preadv,
    .file_close = fault_file_close,
    .put_begin = fault_put_begin,
    .pwritev = fault_pwritev,
    .put_commit = fault_put_commit,
    .put_abort = fault_put_abort,
    .mkdir = fault_mkdir,
    .remove = fault_remove,
    .rename = fault_rename,
    .symlink = fault_symlink,
    .readlink = fault_readlink,
    .chmod = fault_chmod,
    .sync = fault_sync,
    .space = fault_space,
    .next_data = fault_next_data,
    .link = fault_link,
};

#define AT(field) (uint32_t) offsetof(struct fault_options, field)

static const struct gsp_option options[] = {
    {.key = "inner", .type = GSP_OPT_STRING, .def = "fs", .help = "storage that does the work", .offset = AT(inner)},
    {.key = "at",
        .type = GSP_OPT_INT,
        .def = "0",
        .help = "number of the operation that the fault strikes; 0: none",
        .offset = AT(at),
        .min = 0,
        .max = INT64_MAX},
    {.key = "times",
        .type = GSP_OPT_INT,
        .def = "1",
        .help = "how many operations it strikes; 0: this one and all that follow",
        .offset = AT(times),
        .min = 0,
        .max = INT64_MAX},
    {.key = "what",
        .type = GSP_OPT_STRING,
        .def = "eio",
        .help = "eio, enospc, short-read, short-write, delay, kill or pause",
        .offset = AT(what)},
    {.key = "when",
        .type = GSP_OPT_STRING,
        .def = "before",
        .help = "before the operation, or after it took effect",
        .offset = AT(when)},
    {.key = "ops",
        .type = GSP_OPT_STRING,
        .def = "all",
        .help = "operations that count: all, read, write, or a list of names",
        .offset = AT(ops)},
    {.key = "path",
        .type = GSP_OPT_STRING,
        .help = "only operations on paths that contain this count",
        .offset = AT(path)},
    {.key = "pause",
        .type = GSP_OPT_STRING,
        .help = "a pause writes to the FIFO of this name with .reached, and waits for the one with .go",
        .offset = AT(pause)},
    {.key = "delay",
        .type = GSP_OPT_DURATION,
        .def = "100ms",
        .help = "how long a delay is",
        .offset = AT(delay_us),
        .min = 1000,
        .max = INT64_C(3600000000)},
    {.key = "report",
        .type = GSP_OPT_STRING,
        .help = "file for the number of operations and what was left open, written at the end",
        .offset = AT(report)},
    {.key = NULL},
};

static int
fault_load(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    struct fault_state *state = calloc(1, sizeof *state);
    if (state == NULL)
        return no_memory(err);
    state->host = host;
    state->descriptors = fault_descriptors();
    *ret_state = state;
    return 0;
}

static void
fault_unload(void *state)
{
    fault_report(state);
    free(state);
}

static const struct gsp_plugin fault_plugin = {
    .struct_size = sizeof(struct gsp_plugin),
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_STORAGE,
    .thread_model = GSP_THREAD_ANY,
    .name = "fault",
    .version = "1.0",
    .summary = "another storage whose n-th operation fails, for tests",
    .options = options,
    .options_size = sizeof(struct fault_options),
    .ops = &fault_ops,
    .load = fault_load,
    .unload = fault_unload,
};

GSP_EXPORT const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &fault_plugin;
}
