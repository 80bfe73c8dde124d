/* SPDX-License-Identifier: Apache-2.0
 * For storages that keep their files in a directory of this machine: what only a look from outside shows. */
#include "tests/contract/storage/fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/cancel.h"

#define NOBODY 65534

static const char *
full_path(struct fixture *fx, const char *path)
{
    static char full[4096];
    (void)snprintf(full, sizeof full, "%s/%s", fx->root, path);
    return full;
}

/* Descriptors this process has; *ret_inherited: those a child would get, without the standard ones. */
static int
count_descriptors(int *ret_inherited)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    *ret_inherited = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        int fd = (int)strtol(entry->d_name, NULL, 10);
        if (entry->d_name[0] == '.' || fd == dirfd(dir))
            continue;
        n++;
        int flags = fcntl(fd, F_GETFD);
        *ret_inherited += fd > 2 && flags >= 0 && (flags & FD_CLOEXEC) == 0;
    }
    (void)closedir(dir);
    return n;
}

static void
the_root_is_absolute(void **state)
{
    struct fixture *fx = *state;
    static const char *const roots[] = {"", "relative/dir", "."};
    for (int i = 0; i < 3; i++) {
        void *store = NULL;
        int rc = fx->ops->open(subject.plugin->state, subject.opts, roots[i], &store, &fx->err);
        assert_int_equal(rc, GSP_E_CONFIG);
        assert_true(fx->err.hint[0] != '\0');
        assert_null(store);
        gsp_error_clear(&fx->err);
    }
    char slashes[200];
    void *store = NULL;
    struct gsp_stat st;
    (void)snprintf(slashes, sizeof slashes, "%s///", fx->root);
    write_file(fx, "file", "x");
    assert_int_equal(fx->ops->open(subject.plugin->state, subject.opts, slashes, &store, &fx->err), 0);
    assert_int_equal(fx->ops->stat(store, "file", &st, &fx->err), 0);
    assert_fails(fx, fx->ops->stat(store, "none", &st, &fx->err), GSP_E_NOENT, full_path(fx, "none"));
    fx->ops->close(store);
    assert_int_equal(fx->ops->open(subject.plugin->state, subject.opts, "/", &store, &fx->err), 0);
    assert_int_equal(fx->ops->stat(store, "", &st, &fx->err), 0);
    assert_int_equal(fx->ops->stat(store, full_path(fx, "file") + 1, &st, &fx->err), 0);
    fx->ops->close(store);
}

static void
descriptors_are_closed_and_not_inherited(void **state)
{
    struct fixture *fx = *state;
    int before, during, inherited, base;
    struct names names;
    void *file = NULL, *put = NULL;
    write_file(fx, "file", "x"); /* the store may keep something from its first write on */
    before = count_descriptors(&base);
    for (uint32_t flags = 0; flags <= GSP_PUT_ATOMIC; flags++) {
        put = begin(fx, "other", 0600, flags);
        assert_int_equal(fx->ops->file_open(fx->store, "file", &file, &fx->err), 0);
        during = count_descriptors(&inherited);
        assert_int_equal(during, before + 2);
        assert_int_equal(inherited, base);
        fx->ops->file_close(file);
        assert_int_equal(fx->ops->put_commit(put, 3, &fx->err), 0);
        fx->ops->put_abort(begin(fx, "third", 0600, flags));
    }
    list_names(fx, "", &names);
    free_names(&names);
    const char *paths[12] = {"", "file", "other", "", "file", "other", "", "file", "other", "", "file", "other"};
    assert_int_equal(fx->ops->sync(fx->store, paths, 12, &fx->err), 0);
    assert_int_equal(fx->ops->sync(fx->store, paths, 3, &fx->err), 0);
    make_dir(fx, "dir");
    assert_true(fx->ops->file_open(fx->store, "dir", &file, &fx->err) < 0);
    assert_int_equal(count_descriptors(&inherited), before);
    assert_int_equal(inherited, base);
}

static void
holes_cost_no_room(void **state)
{
    struct fixture *fx = *state;
    struct stat st;
    if ((fx->caps & GSP_STORE_SPARSE) == 0)
        not_applicable("no holes");
    void *put = begin(fx, "file", 0600, 0);
    append(fx, put, "x", 1, 64u << 20);
    assert_int_equal(fx->ops->put_commit(put, 128u << 20, &fx->err), 0);
    assert_int_equal(stat(full_path(fx, "file"), &st), 0);
    assert_int_equal(st.st_size, 128u << 20);
    assert_true(st.st_blocks < 2048);
}

static void
writing_never_follows_a_link(void **state)
{
    struct fixture *fx = *state;
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = 0600};
    void *put = NULL;
    write_file(fx, "precious", "precious");
    assert_int_equal(symlink("precious", full_path(fx, "link")), 0);
    assert_int_equal(symlink("not-there", full_path(fx, "dangling")), 0);
    assert_true(fx->ops->put_begin(fx->store, "link", &opts, &put, &fx->err) < 0);
    gsp_error_clear(&fx->err);
    assert_true(fx->ops->put_begin(fx->store, "dangling", &opts, &put, &fx->err) < 0);
    gsp_error_clear(&fx->err);
    assert_null(put);
    assert_content(fx, "precious", "precious");
    assert_false(exists(fx, "not-there"));
    /* the atomic way puts the file in the link's place */
    assert_int_equal(fx->ops->put_commit(begin(fx, "link", 0600, GSP_PUT_ATOMIC), 0, &fx->err), 0);
    assert_int_equal(stat_of(fx, "link").flags, 0);
    assert_content(fx, "precious", "precious");
}

static void
a_pipe_in_the_way_does_not_block(void **state)
{
    struct fixture *fx = *state;
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = 0600};
    void *handle = NULL;
    assert_int_equal(mkfifo(full_path(fx, "pipe"), 0600), 0);
    assert_int_equal(stat_of(fx, "pipe").type, GSP_FILE_OTHER);
    assert_fails(fx, fx->ops->file_open(fx->store, "pipe", &handle, &fx->err), GSP_E_IO, "pipe");
    assert_true(fx->ops->put_begin(fx->store, "pipe", &opts, &handle, &fx->err) < 0);
    assert_null(handle);
    assert_true(exists(fx, "pipe"));
}

static void
a_left_over_temporary_file_is_no_obstacle(void **state)
{
    struct fixture *fx = *state;
    char name[64];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "file-%ld-%d.tmp", (long)getpid(), i);
        write_file(fx, name, "left over");
    }
    void *put = begin(fx, "file", 0600, GSP_PUT_ATOMIC);
    append(fx, put, "new", 3, 0);
    assert_int_equal(fx->ops->put_commit(put, 3, &fx->err), 0);
    assert_content(fx, "file", "new");
    assert_content(fx, name, "left over");
}

static void
a_missing_right_is_explained(void **state)
{
    struct fixture *fx = *state;
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = 0600};
    void *handle = NULL;
    struct gsp_stat st;
    if (geteuid() != 0)
        not_applicable("only root can become somebody else");
    write_file(fx, "secret", "x");
    make_dir(fx, "closed");
    write_file(fx, "closed/file", "x");
    assert_int_equal(fx->ops->chmod(fx->store, "", 0755, &fx->err), 0);
    struct gsp_error errors[6] = {0};
    const char *paths[] = {"secret"}, *named[6] = {"secret", "new", "secret", "closed/file", "dir", "secret"};
    assert_int_equal(seteuid(NOBODY), 0);
    (void)fx->ops->file_open(fx->store, "secret", &handle, &errors[0]);
    (void)fx->ops->put_begin(fx->store, "new", &opts, &handle, &errors[1]);
    (void)fx->ops->put_begin(fx->store, "secret", &opts, &handle, &errors[2]);
    (void)fx->ops->stat(fx->store, "closed/file", &st, &errors[3]);
    (void)fx->ops->mkdir(fx->store, "dir", 0700, 0, &errors[4]);
    (void)fx->ops->remove(fx->store, paths, 1, &errors[5]);
    assert_int_equal(seteuid(0), 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(errors[i].code, GSP_E_PERM);
        assert_non_null(strstr(errors[i].msg, named[i]));
        assert_non_null(strstr(errors[i].hint, "owner"));
    }
    assert_null(handle);
    assert_content(fx, "secret", "x");
}

static void
too_many_open_files_is_explained(void **state)
{
    struct fixture *fx = *state;
    struct rlimit old, none;
    void *file = NULL;
    write_file(fx, "file", "x");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    int rc = fx->ops->file_open(fx->store, "file", &file, &fx->err);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_int_equal(rc, GSP_E_IO);
    assert_int_equal(fx->err.sys_errno, EMFILE);
    assert_non_null(strstr(fx->err.hint, "ulimit"));
}

/* A limit on the size of files stands for a full disk: both fail in the middle of a write. */
static void
a_full_disk_leaves_the_old_file(void **state)
{
    struct fixture *fx = *state;
    struct rlimit old, low;
    struct names names;
    static char data[20000];
    struct iovec iov = {data, sizeof data};
    write_file(fx, "file", "old");
    void *put = begin(fx, "file", 0600, GSP_PUT_ATOMIC), *plain = begin(fx, "plain", 0600, 0);
    append(fx, put, data, 100, 0);
    append(fx, plain, data, 100, 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = 8192;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    assert_fails(fx, fx->ops->pwritev(put, &iov, 1, 100, &fx->err), GSP_E_NOSPC, "file");
    assert_fails(fx, fx->ops->put_commit(plain, 1u << 20, &fx->err), GSP_E_NOSPC, "plain");
    assert_fails(fx, fx->ops->put_commit(put, 1u << 20, &fx->err), GSP_E_NOSPC, "file");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    (void)signal(SIGXFSZ, SIG_DFL);
    assert_content(fx, "file", "old");
    list_names(fx, "", &names);
    assert_int_equal(names.n, 1);
    free_names(&names);
}

/* The last test: the request cannot be taken back. */
static void
long_work_stops_when_asked_and_clean_up_does_not(void **state)
{
    struct fixture *fx = *state;
    const char *paths[20];
    write_file(fx, "file", "x");
    for (int i = 0; i < 20; i++)
        paths[i] = "file";
    cancel_request();
    int rc_many = fx->ops->sync(fx->store, paths, 20, &fx->err);
    gsp_error_clear(&fx->err);
    int rc_few = fx->ops->sync(fx->store, paths, 2, &fx->err);
    gsp_error_clear(&fx->err);
    int rc_remove = fx->ops->remove(fx->store, paths, 1, &fx->err);
    assert_int_equal(rc_many, GSP_E_CANCELLED);
    assert_int_equal(rc_few, GSP_E_CANCELLED);
    /* Locks and half-written files are removed after the user has asked to stop. */
    assert_int_equal(rc_remove, 0);
    assert_false(exists(fx, "file"));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(the_root_is_absolute),
        FIXTURE_TEST(descriptors_are_closed_and_not_inherited),
        FIXTURE_TEST(holes_cost_no_room),
        FIXTURE_TEST(writing_never_follows_a_link),
        FIXTURE_TEST(a_pipe_in_the_way_does_not_block),
        FIXTURE_TEST(a_left_over_temporary_file_is_no_obstacle),
        FIXTURE_TEST(a_missing_right_is_explained),
        FIXTURE_TEST(too_many_open_files_is_explained),
        FIXTURE_TEST(a_full_disk_leaves_the_old_file),
        FIXTURE_TEST(long_work_stops_when_asked_and_clean_up_does_not),
    };
    return fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
