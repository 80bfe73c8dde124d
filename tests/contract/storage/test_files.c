/* SPDX-License-Identifier: Apache-2.0
 * Reading, writing, syncing: what every storage owes the core. */
#include "tests/contract/storage/fixture.h"

#include <pthread.h>
#include <sys/stat.h>

#define MIB (1u << 20)

static void
limits_make_sense(void **state)
{
    struct fixture *fx = *state;
    struct gsp_limits limits = {.struct_size = sizeof limits};
    assert_int_equal(fx->ops->limits(fx->store, &limits, &fx->err), 0);
    assert_int_equal(limits.struct_size, sizeof limits);
    assert_true(limits.align >= 1 && (limits.align & (limits.align - 1)) == 0);
    assert_true(limits.io_max >= 65536);
    assert_true(limits.iov_max >= 1);
}

static void
a_put_is_the_file(void **state)
{
    struct fixture *fx = *state;
    void *put = begin(fx, "file", 0600, 0);
    append(fx, put, "hello ", 6, 0);
    append(fx, put, "world", 5, 6);
    assert_int_equal(fx->ops->put_commit(put, 11, &fx->err), 0);
    assert_content(fx, "file", "hello world");
    /* an empty one */
    put = begin(fx, "empty", 0600, 0);
    assert_int_equal(fx->ops->put_commit(put, 0, &fx->err), 0);
    assert_int_equal(stat_of(fx, "empty").size, 0);
    /* replaced by a shorter one */
    write_file(fx, "file", "short");
    assert_content(fx, "file", "short");
}

static void
commit_sets_exactly_the_size(void **state)
{
    struct fixture *fx = *state;
    static const uint32_t flags[] = {0, GSP_PUT_ATOMIC, GSP_PUT_ATOMIC | GSP_PUT_VOLATILE};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        size_t len;
        void *put = begin(fx, "file", 0600, flags[i]);
        append(fx, put, "abcdef", 6, 0);
        assert_int_equal(fx->ops->put_commit(put, 3, &fx->err), 0);
        assert_content(fx, "file", "abc");
        put = begin(fx, "file", 0600, flags[i]);
        append(fx, put, "ab", 2, 0);
        assert_int_equal(fx->ops->put_commit(put, 5000, &fx->err), 0);
        char *data = read_file(fx, "file", &len);
        assert_int_equal(len, 5000);
        assert_memory_equal(data, "ab", 3);
        for (size_t at = 2; at < len; at++)
            assert_int_equal(data[at], 0);
        free(data);
    }
}

static void
gaps_read_as_zeros(void **state)
{
    struct fixture *fx = *state;
    size_t len;
    void *put = begin(fx, "file", 0600, 0);
    append(fx, put, "a", 1, 10000);
    append(fx, put, "b", 1, 3 * MIB);
    assert_int_equal(fx->ops->put_commit(put, 3 * MIB + 1, &fx->err), 0);
    char *data = read_file(fx, "file", &len);
    assert_int_equal(len, 3 * MIB + 1);
    for (size_t at = 0; at < len; at++)
        assert_int_equal(data[at], at == 10000 ? 'a' : at == 3 * MIB ? 'b' : 0);
    free(data);
}

static void
offsets_are_64_bits(void **state)
{
    struct fixture *fx = *state;
    if ((fx->caps & GSP_STORE_SPARSE) == 0)
        not_applicable("no holes");
    uint64_t far = 5ull << 30;
    char buf[8];
    struct iovec iov = {buf, sizeof buf};
    void *file, *put = begin(fx, "file", 0600, 0);
    append(fx, put, "end", 3, far);
    assert_int_equal(fx->ops->put_commit(put, far + 3, &fx->err), 0);
    assert_int_equal(stat_of(fx, "file").size, far + 3);
    assert_int_equal(fx->ops->file_open(fx->store, "file", &file, &fx->err), 0);
    assert_int_equal(fx->ops->preadv(file, &iov, 1, far, &fx->err), 3);
    assert_memory_equal(buf, "end", 3);
    fx->ops->file_close(file);
}

/* Where is the next byte that is not zero? The store may be careful, but must not pass over one. */
static void
check_next_data(struct fixture *fx, void *file, uint64_t offset, uint64_t next, uint64_t *ret)
{
    *ret = UINT64_MAX;
    assert_int_equal(fx->ops->next_data(file, offset, ret, &fx->err), 0);
    assert_true(*ret >= offset && *ret <= next);
}

static void
holes_are_told(void **state)
{
    struct fixture *fx = *state;
    uint64_t far = 5ull << 30, at;
    if (fx->ops->next_data == NULL || (fx->caps & GSP_STORE_SPARSE) == 0)
        not_applicable("no holes");
    void *file, *put = begin(fx, "file", 0600, 0);
    append(fx, put, "begin", 5, 0);
    append(fx, put, "middle", 6, far);
    assert_int_equal(fx->ops->put_commit(put, 2 * far, &fx->err), 0);
    uint64_t holes = stat_of(fx, "file").holes;
    assert_int_equal(fx->ops->file_open(fx->store, "file", &file, &fx->err), 0);
    check_next_data(fx, file, 0, 0, &at);
    check_next_data(fx, file, 4, 4, &at);
    check_next_data(fx, file, 100 * MIB, far, &at);
    assert_true(at > 100 * MIB || holes == 0);
    check_next_data(fx, file, far, far, &at);
    check_next_data(fx, file, far + 100 * MIB, 2 * far, &at);
    assert_true(at == 2 * far || holes == 0);
    check_next_data(fx, file, 2 * far, 2 * far, &at);
    check_next_data(fx, file, 3 * far, 3 * far, &at);
    fx->ops->file_close(file);
    assert_true(holes < 2 * far);
    write_file(fx, "full", "no hole");
    assert_int_equal(stat_of(fx, "full").holes, 0);
}

/* ---- atomic and exclusive ---------------------------------------------------------------------- */

static void
an_atomic_put_shows_at_commit_only(void **state)
{
    struct fixture *fx = *state;
    void *put = begin(fx, "new", 0600, GSP_PUT_ATOMIC);
    append(fx, put, "1", 1, 0);
    assert_false(exists(fx, "new"));
    assert_int_equal(fx->ops->put_commit(put, 1, &fx->err), 0);
    assert_content(fx, "new", "1");
    put = begin(fx, "new", 0644, GSP_PUT_ATOMIC);
    append(fx, put, "22", 2, 0);
    assert_content(fx, "new", "1");
    assert_int_equal(stat_of(fx, "new").mode, 0100600);
    assert_int_equal(fx->ops->put_commit(put, 2, &fx->err), 0);
    assert_content(fx, "new", "22");
    assert_int_equal(stat_of(fx, "new").mode, 0100644);
    struct names names;
    list_names(fx, "", &names);
    assert_int_equal(names.n, 1);
    free_names(&names);
}

static void
abort_leaves_nothing(void **state)
{
    struct fixture *fx = *state;
    struct names names;
    write_file(fx, "old", "old");
    static const uint32_t flags[] = {
        0, GSP_PUT_ATOMIC, GSP_PUT_EXCL, GSP_PUT_ATOMIC | GSP_PUT_EXCL, GSP_PUT_ATOMIC | GSP_PUT_VOLATILE};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        void *put = begin(fx, "new", 0600, flags[i]);
        append(fx, put, "x", 1, 0);
        fx->ops->put_abort(put);
        put = begin(fx, "new", 0600, flags[i]);
        fx->ops->put_abort(put);
    }
    void *put = begin(fx, "old", 0600, GSP_PUT_ATOMIC);
    append(fx, put, "x", 1, 0);
    fx->ops->put_abort(put);
    list_names(fx, "", &names);
    assert_int_equal(names.n, 1);
    assert_content(fx, "old", "old");
    free_names(&names);
    fx->ops->put_abort(NULL);
}

static void
excl_does_not_replace(void **state)
{
    struct fixture *fx = *state;
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = 0600, .flags = GSP_PUT_EXCL};
    void *put = NULL;
    write_file(fx, "file", "old");
    assert_fails(fx, fx->ops->put_begin(fx->store, "file", &opts, &put, &fx->err), GSP_E_EXIST, "file");
    assert_null(put);
    assert_content(fx, "file", "old");
    opts.flags |= GSP_PUT_ATOMIC;
    assert_fails(fx, fx->ops->put_begin(fx->store, "file", &opts, &put, &fx->err), GSP_E_EXIST, "file");
    put = begin(fx, "other", 0600, GSP_PUT_EXCL);
    append(fx, put, "x", 1, 0);
    assert_int_equal(fx->ops->put_commit(put, 1, &fx->err), 0);
    assert_content(fx, "other", "x");
}

static void
of_two_exclusive_writers_one_wins(void **state)
{
    struct fixture *fx = *state;
    struct names names;
    void *one = begin(fx, "lock", 0600, GSP_PUT_EXCL | GSP_PUT_ATOMIC);
    void *two = begin(fx, "lock", 0600, GSP_PUT_EXCL | GSP_PUT_ATOMIC);
    append(fx, one, "1", 1, 0);
    append(fx, two, "2", 1, 0);
    assert_int_equal(fx->ops->put_commit(two, 1, &fx->err), 0);
    assert_fails(fx, fx->ops->put_commit(one, 1, &fx->err), GSP_E_EXIST, "lock");
    assert_content(fx, "lock", "2");
    list_names(fx, "", &names);
    assert_int_equal(names.n, 1);
    free_names(&names);
}

static void
update_keeps_what_is_not_written_over(void **state)
{
    struct fixture *fx = *state;
    write_file(fx, "file", "0123456789");
    void *put = begin(fx, "file", 0640, GSP_PUT_UPDATE);
    append(fx, put, "ab", 2, 2);
    append(fx, put, "c", 1, 6);
    assert_int_equal(fx->ops->put_commit(put, 10, &fx->err), 0);
    assert_content(fx, "file", "01ab45c789");
    assert_int_equal(stat_of(fx, "file").mode, 0100640);
    put = begin(fx, "file", 0600, GSP_PUT_UPDATE); /* cut */
    assert_int_equal(fx->ops->put_commit(put, 3, &fx->err), 0);
    assert_content(fx, "file", "01a");
    put = begin(fx, "file", 0600, GSP_PUT_UPDATE); /* grown by what is written, then cut to where it ends */
    append(fx, put, "wxyz", 4, 2);
    assert_int_equal(fx->ops->put_commit(put, 5, &fx->err), 0);
    assert_content(fx, "file", "01wxy");
    size_t len;
    put = begin(fx, "file", 0600, GSP_PUT_UPDATE); /* a gap behind the old end, and behind what was written */
    append(fx, put, "z", 1, 7);
    assert_int_equal(fx->ops->put_commit(put, 9, &fx->err), 0);
    char *data = read_file(fx, "file", &len);
    assert_int_equal(len, 9);
    assert_memory_equal(data, "01wxy\0\0z\0", 9);
    free(data);
}

static void
an_update_that_is_dropped_leaves_the_file(void **state)
{
    struct fixture *fx = *state;
    struct names names;
    write_file(fx, "file", "old file");
    void *put = begin(fx, "file", 0600, GSP_PUT_UPDATE);
    fx->ops->put_abort(put);
    assert_content(fx, "file", "old file");
    put = begin(fx, "file", 0600, GSP_PUT_UPDATE);
    append(fx, put, "new", 3, 0);
    fx->ops->put_abort(put);
    assert_content(fx, "file", "new file");
    list_names(fx, "", &names);
    assert_int_equal(names.n, 1);
    free_names(&names);
}

static void
update_takes_only_a_file_that_is_there(void **state)
{
    struct fixture *fx = *state;
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = 0600, .flags = GSP_PUT_UPDATE};
    void *put = NULL;
    make_dir(fx, "dir");
    write_file(fx, "file", "x");
    assert_fails(fx, fx->ops->put_begin(fx->store, "none", &opts, &put, &fx->err), GSP_E_NOENT, "none");
    assert_false(exists(fx, "none"));
    assert_true(fx->ops->put_begin(fx->store, "dir", &opts, &put, &fx->err) < 0);
    gsp_error_clear(&fx->err);
    opts.flags = GSP_PUT_UPDATE | GSP_PUT_EXCL;
    assert_fails(fx, fx->ops->put_begin(fx->store, "file", &opts, &put, &fx->err), GSP_E_UNSUPPORTED, "flags");
    opts.flags = GSP_PUT_UPDATE | GSP_PUT_ATOMIC;
    assert_fails(fx, fx->ops->put_begin(fx->store, "file", &opts, &put, &fx->err), GSP_E_UNSUPPORTED, "flags");
    opts.flags = GSP_PUT_VOLATILE;
    assert_fails(fx, fx->ops->put_begin(fx->store, "file", &opts, &put, &fx->err), GSP_E_UNSUPPORTED, "flags");
    opts.flags = GSP_PUT_UPDATE;
    if ((fx->caps & GSP_STORE_SYMLINK) != 0) {
        assert_int_equal(fx->ops->symlink(fx->store, "file", "link", &fx->err), 0);
        assert_fails(fx, fx->ops->put_begin(fx->store, "link", &opts, &put, &fx->err), GSP_E_EXIST, "link");
    }
    assert_null(put);
    assert_content(fx, "file", "x");
}

static void
a_link_is_a_second_name(void **state)
{
    struct fixture *fx = *state;
    const char *const first = "dir/first";
    if (fx->ops->link == NULL)
        not_applicable("no links");
    make_dir(fx, "dir");
    make_dir(fx, "other");
    write_file(fx, first, "content");
    assert_int_equal(fx->ops->link(fx->store, first, "other/second", &fx->err), 0);
    assert_content(fx, "other/second", "content");
    assert_int_equal(stat_of(fx, "other/second").ino, stat_of(fx, first).ino);
    assert_int_equal(stat_of(fx, "other/second").flags, 0);
    assert_fails(fx, fx->ops->link(fx->store, "none", "third", &fx->err), GSP_E_NOENT, "none");
    assert_fails(fx, fx->ops->link(fx->store, first, "none/third", &fx->err), GSP_E_NOENT, "");
    assert_fails(fx, fx->ops->link(fx->store, first, "other/second", &fx->err), GSP_E_EXIST, "");
    assert_true(fx->ops->link(fx->store, "dir", "third", &fx->err) < 0);
    assert_true(fx->err.code != GSP_E_UNSUPPORTED);
    gsp_error_clear(&fx->err);
    void *put = begin(fx, "dir/first", 0600, GSP_PUT_ATOMIC); /* one name gets other content, the other one keeps it */
    append(fx, put, "new", 3, 0);
    assert_int_equal(fx->ops->put_commit(put, 3, &fx->err), 0);
    assert_content(fx, "other/second", "content");
    assert_int_equal(fx->ops->remove(fx->store, &first, 1, &fx->err), 0);
    assert_content(fx, "other/second", "content");
}

static void
put_begin_refuses_what_cannot_be(void **state)
{
    struct fixture *fx = *state;
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = 0600};
    void *put = NULL;
    make_dir(fx, "dir");
    write_file(fx, "file", "x");
    for (uint32_t flags = 0; flags <= GSP_PUT_ATOMIC; flags++) {
        opts.flags = flags;
        assert_fails(fx, fx->ops->put_begin(fx->store, "no/file", &opts, &put, &fx->err), GSP_E_NOENT, "no/file");
        assert_fails(fx, fx->ops->put_begin(fx->store, "file/x", &opts, &put, &fx->err), GSP_E_NOENT, "file/x");
    }
    opts.flags = 0;
    assert_true(fx->ops->put_begin(fx->store, "dir", &opts, &put, &fx->err) < 0);
    gsp_error_clear(&fx->err);
    opts.flags = 8;
    assert_fails(fx, fx->ops->put_begin(fx->store, "new", &opts, &put, &fx->err), GSP_E_UNSUPPORTED, "flags");
    opts.flags = 0;
    opts.struct_size = 4;
    assert_fails(fx, fx->ops->put_begin(fx->store, "new", &opts, &put, &fx->err), GSP_E_BUG, "gsp_put_opts");
    assert_null(put);
    assert_false(exists(fx, "new"));
}

static void
modes_are_exact_whatever_the_umask(void **state)
{
    struct fixture *fx = *state;
    static const mode_t umasks[] = {077, 0, 022};
    static const uint32_t modes[] = {0600, 0644, 0666, 0777, 0400, 0640};
    static const uint32_t flags[] = {0, GSP_PUT_ATOMIC, GSP_PUT_EXCL};
    for (int u = 0; u < 3; u++)
        for (int m = 0; m < 6; m++)
            for (int f = 0; f < 3; f++) {
                char name[64], dir[64];
                mode_t old = umask(umasks[u]);
                (void)snprintf(name, sizeof name, "f%d%d%d", u, m, f);
                (void)snprintf(dir, sizeof dir, "d%d%d%d", u, m, f);
                void *put = begin(fx, name, modes[m], flags[f]);
                append(fx, put, "x", 1, 0);
                assert_int_equal(fx->ops->put_commit(put, 1, &fx->err), 0);
                assert_int_equal(fx->ops->mkdir(fx->store, dir, modes[m] | 0700, 0, &fx->err), 0);
                assert_int_equal(umask(old), umasks[u]);
                assert_int_equal(stat_of(fx, name).mode, 0100000 | modes[m]);
                assert_int_equal(stat_of(fx, dir).mode, 040700 | modes[m]);
            }
    /* also for a file that was there */
    write_file(fx, "file", "x");
    assert_int_equal(fx->ops->put_commit(begin(fx, "file", 0664, 0), 0, &fx->err), 0);
    assert_int_equal(stat_of(fx, "file").mode, 0100664);
}

/* ---- reading ----------------------------------------------------------------------------------- */

static void
reads_end_where_the_file_ends(void **state)
{
    struct fixture *fx = *state;
    char buf[32];
    void *file = NULL;
    write_file(fx, "file", "0123456789");
    assert_int_equal(fx->ops->file_open(fx->store, "file", &file, &fx->err), 0);
    struct {
        uint64_t offset;
        size_t len;
        int64_t want;
    } cases[] = {{0, 10, 10}, {0, 32, 10}, {3, 4, 4}, {9, 5, 1}, {10, 5, 0}, {11, 5, 0}, {1ull << 40, 5, 0}, {0, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct iovec iov = {buf, cases[i].len};
        memset(buf, '#', sizeof buf);
        assert_int_equal(fx->ops->preadv(file, &iov, 1, cases[i].offset, &fx->err), cases[i].want);
        assert_memory_equal(buf, &"0123456789"[cases[i].want > 0 ? cases[i].offset : 0], (size_t)cases[i].want);
        assert_int_equal(buf[cases[i].want], '#');
    }
    assert_int_equal(fx->ops->preadv(file, NULL, 0, 0, &fx->err), 0);
    fx->ops->file_close(file);
    fx->ops->file_close(NULL);
}

static void
only_regular_files_open(void **state)
{
    struct fixture *fx = *state;
    void *file = NULL;
    make_dir(fx, "dir");
    assert_fails(fx, fx->ops->file_open(fx->store, "none", &file, &fx->err), GSP_E_NOENT, "none");
    assert_true(fx->ops->file_open(fx->store, "dir", &file, &fx->err) < 0);
    assert_non_null(strstr(fx->err.msg, "dir"));
    assert_null(file);
}

static void
an_open_file_grows_and_survives_removal(void **state)
{
    struct fixture *fx = *state;
    char buf[16];
    struct iovec iov = {buf, sizeof buf};
    void *file = NULL, *put = begin(fx, "file", 0600, 0);
    append(fx, put, "ab", 2, 0);
    assert_int_equal(fx->ops->file_open(fx->store, "file", &file, &fx->err), 0);
    append(fx, put, "cd", 2, 2);
    assert_int_equal(fx->ops->preadv(file, &iov, 1, 0, &fx->err), 4);
    assert_int_equal(fx->ops->put_commit(put, 4, &fx->err), 0);
    assert_int_equal(fx->ops->remove(fx->store, &(const char *){"file"}, 1, &fx->err), 0);
    assert_int_equal(fx->ops->preadv(file, &iov, 1, 1, &fx->err), 3);
    assert_memory_equal(buf, "bcd", 3);
    fx->ops->file_close(file);
}

/* Many small pieces, some empty, in both directions and of different cuts. */
static void
vectors_are_gathered_and_scattered(void **state)
{
    struct fixture *fx = *state;
    struct gsp_limits limits = {.struct_size = sizeof limits};
    assert_int_equal(fx->ops->limits(fx->store, &limits, &fx->err), 0);
    uint32_t n = limits.iov_max < 1024 ? limits.iov_max : 1024;
    enum { PIECE = 96 };
    uint8_t *out = malloc(n * PIECE), *in = malloc(n * PIECE + 1);
    struct iovec *iov = calloc(n, sizeof *iov);
    assert_non_null(out);
    assert_non_null(in);
    assert_non_null(iov);
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t len = i % 5 == 3 ? 0 : i % PIECE;
        for (size_t b = 0; b < len; b++)
            out[total + b] = (uint8_t)(i * 7 + b);
        iov[i] = (struct iovec){out + total, len};
        total += len;
    }
    void *file = NULL, *put = begin(fx, "file", 0600, 0);
    assert_int_equal(fx->ops->pwritev(put, iov, n, 0, &fx->err), total);
    assert_int_equal(fx->ops->pwritev(put, iov, 0, total, &fx->err), 0);
    assert_int_equal(fx->ops->put_commit(put, total, &fx->err), 0);
    size_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t len = i % 7 == 0 ? 0 : (i * 13) % PIECE;
        iov[i] = (struct iovec){in + at, at + len > total ? 0 : len};
        at += iov[i].iov_len;
    }
    assert_int_equal(fx->ops->file_open(fx->store, "file", &file, &fx->err), 0);
    assert_int_equal(fx->ops->preadv(file, iov, n, 0, &fx->err), at);
    assert_memory_equal(in, out, at);
    /* the end of the file in the middle of the vector */
    struct iovec past[3] = {{in, 10}, {in + 10, 10}, {in + 20, 10}};
    assert_int_equal(fx->ops->preadv(file, past, 3, total - 15, &fx->err), 15);
    assert_memory_equal(in, out + total - 15, 15);
    fx->ops->file_close(file);
    free(iov);
    free(in);
    free(out);
}

/* ---- threads ----------------------------------------------------------------------------------- */

struct worker {
    struct fixture *fx;
    uint32_t number;
    int bad;
};

static int
write_and_read_back(struct worker *w, const char *path, uint32_t flags, uint8_t *buf, uint8_t *back, size_t len)
{
    const struct gsp_storage_ops *ops = w->fx->ops;
    struct gsp_error err = {0};
    struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = 0600, .flags = flags};
    struct iovec out = {buf, len}, in = {back, len + 1};
    void *put = NULL, *file = NULL;
    if (ops->put_begin(w->fx->store, path, &opts, &put, &err) != 0)
        return 0;
    if (ops->pwritev(put, &out, 1, 0, &err) != (int64_t)len) {
        ops->put_abort(put);
        return 0;
    }
    if (ops->put_commit(put, len, &err) != 0 || ops->file_open(w->fx->store, path, &file, &err) != 0)
        return 0;
    int64_t got = ops->preadv(file, &in, 1, 0, &err);
    ops->file_close(file);
    return got == (int64_t)len && memcmp(buf, back, len) == 0;
}

static void *
work(void *arg)
{
    struct worker *w = arg;
    uint8_t buf[20000], back[20001];
    struct gsp_error err = {0};
    for (uint32_t i = 0; i < 60 && !w->bad; i++) {
        char path[64];
        const char *sync_path = path;
        memset(buf, (int)(w->number * 60 + i), sizeof buf);
        (void)snprintf(path, sizeof path, "w%u-%u", w->number, i);
        w->bad = !write_and_read_back(w, path, i % 3 == 0 ? GSP_PUT_ATOMIC : 0, buf, back, 1 + i * 333);
        if (i % 4 == 0 && !w->bad)
            w->bad = w->fx->ops->sync(w->fx->store, &sync_path, 1, &err) != 0;
        /* and all of them at one name, whose winner is whoever comes last */
        if (!w->bad && i % 8 == 0) {
            struct gsp_put_opts opts = {.struct_size = sizeof opts, .mode = 0600, .flags = GSP_PUT_ATOMIC};
            void *put = NULL;
            w->bad = w->fx->ops->put_begin(w->fx->store, "common", &opts, &put, &err) != 0 ||
                     w->fx->ops->put_commit(put, 10, &err) != 0;
        }
    }
    return NULL;
}

static void
threads_share_a_store(void **state)
{
    enum { THREADS = 8 };
    struct fixture *fx = *state;
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    struct names names;
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){fx, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].bad, 0);
    }
    list_names(fx, "", &names);
    assert_int_equal(names.n, THREADS * 60 + 1);
    free_names(&names);
}

/* ---- sync and space ---------------------------------------------------------------------------- */

static void
sync_takes_files_and_directories_and_misses_nothing(void **state)
{
    enum { MANY = 40 };
    struct fixture *fx = *state;
    char names[MANY][32];
    const char *paths[MANY + 1];
    make_dir(fx, "dir");
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(names[i], sizeof names[i], i % 2 == 0 ? "%d" : "dir/%d", i);
        write_file(fx, names[i], "x");
        paths[i] = names[i];
    }
    paths[1] = "";
    paths[2] = "dir";
    static const uint32_t counts[] = {0, 1, 3, 8, 9, MANY};
    for (int i = 0; i < 6; i++)
        assert_int_equal(fx->ops->sync(fx->store, paths, counts[i], &fx->err), 0);
    paths[MANY] = "missing";
    assert_fails(fx, fx->ops->sync(fx->store, paths, MANY + 1, &fx->err), GSP_E_NOENT, "missing");
    assert_fails(fx, fx->ops->sync(fx->store, paths + MANY, 1, &fx->err), GSP_E_NOENT, "missing");
}

static void
space_is_told_below_what_exists(void **state)
{
    struct fixture *fx = *state;
    if (fx->ops->space == NULL)
        not_applicable("room is unknown");
    struct gsp_space here = {.struct_size = sizeof here}, below = here, small = {.struct_size = 4};
    assert_int_equal(fx->ops->space(fx->store, "", &here, &fx->err), 0);
    assert_true(here.total_bytes > 0);
    assert_true(here.free_bytes <= here.total_bytes);
    assert_int_equal(fx->ops->space(fx->store, "not/yet/there", &below, &fx->err), 0);
    assert_int_equal(below.total_bytes, here.total_bytes);
    assert_fails(fx, fx->ops->space(fx->store, "", &small, &fx->err), GSP_E_BUG, "gsp_space");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(limits_make_sense),
        FIXTURE_TEST(a_put_is_the_file),
        FIXTURE_TEST(commit_sets_exactly_the_size),
        FIXTURE_TEST(gaps_read_as_zeros),
        FIXTURE_TEST(holes_are_told),
        FIXTURE_TEST(offsets_are_64_bits),
        FIXTURE_TEST(an_atomic_put_shows_at_commit_only),
        FIXTURE_TEST(abort_leaves_nothing),
        FIXTURE_TEST(excl_does_not_replace),
        FIXTURE_TEST(of_two_exclusive_writers_one_wins),
        FIXTURE_TEST(update_keeps_what_is_not_written_over),
        FIXTURE_TEST(an_update_that_is_dropped_leaves_the_file),
        FIXTURE_TEST(update_takes_only_a_file_that_is_there),
        FIXTURE_TEST(a_link_is_a_second_name),
        FIXTURE_TEST(put_begin_refuses_what_cannot_be),
        FIXTURE_TEST(modes_are_exact_whatever_the_umask),
        FIXTURE_TEST(reads_end_where_the_file_ends),
        FIXTURE_TEST(only_regular_files_open),
        FIXTURE_TEST(an_open_file_grows_and_survives_removal),
        FIXTURE_TEST(vectors_are_gathered_and_scattered),
        FIXTURE_TEST(threads_share_a_store),
        FIXTURE_TEST(sync_takes_files_and_directories_and_misses_nothing),
        FIXTURE_TEST(space_is_told_below_what_exists),
    };
    return fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
