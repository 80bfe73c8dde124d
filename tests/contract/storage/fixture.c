/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/storage/fixture.h"

#include <ftw.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

struct plugin_under_test subject;

int
fixture_setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    const char *tmp = getenv("TMPDIR");
    if (fx == NULL)
        return -1;
    (void)snprintf(fx->root, sizeof fx->root, "%s/gsp-store-XXXXXX", tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (mkdtemp(fx->root) == NULL) {
        free(fx);
        return -1;
    }
    fx->ops = subject.plugin->ops;
    struct gsp_limits limits = {.struct_size = sizeof limits};
    /* Not every storage has its root where our mkdtemp made one. */
    if (fx->ops->open(subject.plugin->state, subject.opts, fx->root, &fx->store, &fx->err) != 0 ||
        fx->ops->mkdir(fx->store, "", 0700, GSP_MKDIR_PARENTS, &fx->err) != 0 ||
        fx->ops->limits(fx->store, &limits, &fx->err) != 0) {
        free(fx);
        return -1;
    }
    fx->caps = limits.caps;
    *state = fx;
    return 0;
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int
fixture_teardown(void **state)
{
    struct fixture *fx = *state;
    fx->ops->close(fx->store);
    int rc = nftw(fx->root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(fx);
    return rc;
}

/* "<dir>/storage-<name>.so", the storage that the subject is to wrap. Returns 0; or -1 with the reason on stderr. */
static int
wrap(const char *file)
{
    static const char prefix[] = "/storage-";
    struct gsp_error err = {0};
    char full[PATH_MAX] = "";
    const char *found = realpath(file, full);
    char *slash = strrchr(full, '/'), *end = strrchr(full, '.');
    if (found == NULL || slash == NULL || end == NULL || strncmp(slash, prefix, strlen(prefix)) != 0) {
        (void)fprintf(stderr, "the second argument must be the file of a storage plugin\n");
        return -1;
    }
    *slash = *end = '\0';
    if (registry_add_dir(subject.registry, full, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    plugin_free_options(subject.opts);
    subject.opts = plugin_under_test_bind(&subject, "inner", slash + strlen(prefix));
    return subject.opts != NULL ? 0 : -1;
}

/* What the fixture needs before the first test: the plugin, and the one it wraps. */
static int
load_subject(int argc, char **argv)
{
    int rc = plugin_under_test_open(&subject, GSP_KIND_STORAGE, argc > 1 ? argv[1] : NULL);
    return rc == 0 && argc > 2 ? wrap(argv[2]) : rc;
}

int
fixture_main(int argc, char **argv, const struct CMUnitTest *tests, size_t n)
{
    if (load_subject(argc, argv) != 0)
        return 1;
    int failed = _cmocka_run_group_tests("storage", tests, n, NULL, NULL);
    plugin_under_test_close(&subject);
    return failed;
}

void *
begin(struct fixture *fx, const char *path, uint32_t mode, uint32_t flags)
{
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = mode, .flags = flags};
    void *put = NULL;
    assert_int_equal(fx->ops->put_begin(fx->store, path, &opts, &put, &fx->err), 0);
    assert_non_null(put);
    return put;
}

void
append(struct fixture *fx, void *put, const void *data, size_t len, uint64_t offset)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    assert_int_equal(fx->ops->pwritev(put, &iov, 1, offset, &fx->err), len);
}

void
write_file(struct fixture *fx, const char *path, const char *text)
{
    void *put = begin(fx, path, 0600, 0);
    append(fx, put, text, strlen(text), 0);
    assert_int_equal(fx->ops->put_commit(put, strlen(text), &fx->err), 0);
}

char *
read_file(struct fixture *fx, const char *path, size_t *ret_len)
{
    void *file = NULL;
    size_t size = stat_of(fx, path).size;
    char *data = malloc(size + 2);
    assert_non_null(data);
    assert_int_equal(fx->ops->file_open(fx->store, path, &file, &fx->err), 0);
    struct iovec iov = {data, size + 1};
    assert_int_equal(fx->ops->preadv(file, &iov, 1, 0, &fx->err), size);
    fx->ops->file_close(file);
    data[size] = '\0';
    if (ret_len != NULL)
        *ret_len = size;
    return data;
}

void
assert_content(struct fixture *fx, const char *path, const char *text)
{
    char *data = read_file(fx, path, NULL);
    assert_string_equal(data, text);
    free(data);
}

int
exists(struct fixture *fx, const char *path)
{
    struct gsp_stat st;
    int rc = fx->ops->stat(fx->store, path, &st, &fx->err);
    assert_true(rc == 0 || rc == GSP_E_NOENT);
    gsp_error_clear(&fx->err);
    return rc == 0;
}

struct gsp_stat
stat_of(struct fixture *fx, const char *path)
{
    struct gsp_stat st;
    assert_int_equal(fx->ops->stat(fx->store, path, &st, &fx->err), 0);
    return st;
}

void
make_dir(struct fixture *fx, const char *path)
{
    assert_int_equal(fx->ops->mkdir(fx->store, path, 0700, 0, &fx->err), 0);
}

static int
collect(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err)
{
    struct names *names = arg;
    (void)err;
    void *grown = realloc(names->entry, (names->n + n) * sizeof *names->entry);
    if (grown == NULL || n == 0)
        return GSP_E_NOMEM;
    names->entry = grown;
    names->batches++;
    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(names->entry[names->n].name, sizeof names->entry->name, "%s", entries[i].name);
        names->entry[names->n++].st = entries[i].st;
    }
    return 0;
}

void
list_names(struct fixture *fx, const char *dir, struct names *ret)
{
    *ret = (struct names){0};
    assert_int_equal(fx->ops->list(fx->store, dir, collect, ret, &fx->err), 0);
}

const struct gsp_stat *
find_name(const struct names *names, const char *name)
{
    for (uint32_t i = 0; i < names->n; i++)
        if (strcmp(names->entry[i].name, name) == 0)
            return &names->entry[i].st;
    return NULL;
}

void
free_names(struct names *names)
{
    free(names->entry);
    *names = (struct names){0};
}
