/* SPDX-License-Identifier: Apache-2.0
 * Directories, names and links: what every storage owes the core. */
#include "tests/contract/storage/fixture.h"

#include <time.h>

static void
the_root_need_not_exist(void **state)
{
    struct fixture *fx = *state;
    char root[200];
    void *store = NULL;
    struct gsp_stat st;
    (void)snprintf(root, sizeof root, "%s/not/yet/there", fx->root);
    assert_int_equal(fx->ops->open(subject.plugin->state, subject.opts, root, &store, &fx->err), 0);
    assert_fails(fx, fx->ops->stat(store, "", &st, &fx->err), GSP_E_NOENT, root);
    assert_false(exists(fx, "not"));
    if (fx->ops->mkdir != NULL) {
        assert_fails(fx, fx->ops->mkdir(store, "", 0700, 0, &fx->err), GSP_E_NOENT, root);
        assert_int_equal(fx->ops->mkdir(store, "", 0700, GSP_MKDIR_PARENTS, &fx->err), 0);
        assert_true(exists(fx, "not/yet/there"));
    }
    fx->ops->close(store);
    fx->ops->close(NULL);
}

static int
count_calls(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err)
{
    (void)entries;
    (void)n;
    *(int *)arg += 1;
    return gsp_fail(err, GSP_E_TIMEOUT, 0, "enough");
}

static void
list_shows_what_is_there(void **state)
{
    struct fixture *fx = *state;
    struct names names;
    list_names(fx, "", &names);
    assert_int_equal(names.n, 0);
    assert_int_equal(names.batches, 0);
    free_names(&names);
    make_dir(fx, "dir");
    write_file(fx, "file", "12345");
    write_file(fx, ".hidden", "");
    write_file(fx, "dir/inner", "x");
    list_names(fx, "", &names);
    assert_int_equal(names.n, 3);
    const struct gsp_stat *st = find_name(&names, "file");
    assert_non_null(st);
    assert_int_equal(st->type, GSP_FILE_REGULAR);
    assert_int_equal(st->size, 5);
    assert_int_equal(st->flags, 0);
    struct gsp_stat direct = stat_of(fx, "file");
    assert_memory_equal(st, &direct, sizeof direct);
    assert_int_equal(find_name(&names, "dir")->type, GSP_FILE_DIRECTORY);
    assert_int_equal(find_name(&names, ".hidden")->size, 0);
    free_names(&names);
    list_names(fx, "dir", &names);
    assert_int_equal(names.n, 1);
    assert_non_null(find_name(&names, "inner"));
    free_names(&names);
}

static void
list_stops_when_told_and_fails_where_nothing_is(void **state)
{
    struct fixture *fx = *state;
    int calls = 0;
    struct names names = {0};
    write_file(fx, "file", "x");
    assert_fails(fx, fx->ops->list(fx->store, "", count_calls, &calls, &fx->err), GSP_E_TIMEOUT, "enough");
    assert_int_equal(calls, 1);
    assert_fails(fx, fx->ops->list(fx->store, "none", count_calls, &names, &fx->err), GSP_E_NOENT, "none");
    assert_fails(fx, fx->ops->list(fx->store, "file", count_calls, &names, &fx->err), GSP_E_NOENT, "file");
}

static void
a_big_directory_is_listed_whole(void **state)
{
    struct fixture *fx = *state;
    enum { MANY = 1500 };
    struct names names;
    char name[64], seen[MANY] = {0};
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        write_file(fx, name, "x");
    }
    list_names(fx, "", &names);
    assert_int_equal(names.n, MANY);
    for (uint32_t i = 0; i < names.n; i++) {
        long number = strtol(names.entry[i].name, NULL, 10);
        assert_in_range(number, 0, MANY - 1);
        assert_false(seen[number]);
        seen[number] = 1;
        assert_int_equal(names.entry[i].st.size, 1);
    }
    free_names(&names);
}

/* Removing while listing is how trees are removed. */
static int
remove_listed(void *arg, const struct gsp_dirent *entries, uint32_t n, struct gsp_error *err)
{
    struct fixture *fx = arg;
    for (uint32_t i = 0; i < n; i++)
        if (fx->ops->remove(fx->store, &entries[i].name, 1, err) != 0)
            return err->code;
    return 0;
}

static void
entries_can_go_while_they_are_listed(void **state)
{
    struct fixture *fx = *state;
    struct names names;
    char name[64];
    for (int i = 0; i < 700; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        write_file(fx, name, "x");
    }
    assert_int_equal(fx->ops->list(fx->store, "", remove_listed, fx, &fx->err), 0);
    list_names(fx, "", &names);
    assert_int_equal(names.n, 0);
    free_names(&names);
}

static void
stat_tells_type_size_and_time(void **state)
{
    struct fixture *fx = *state;
    struct gsp_stat st;
    int64_t before = (int64_t)time(NULL) * 1000000;
    write_file(fx, "file", "123");
    st = stat_of(fx, "file");
    assert_int_equal(st.type, GSP_FILE_REGULAR);
    assert_int_equal(st.mode, 0100600);
    assert_int_equal(st.size, 3);
    assert_true(st.mtime_us >= before - 2000000 && st.mtime_us < before + 3600000000);
    assert_int_equal(stat_of(fx, "").type, GSP_FILE_DIRECTORY);
    assert_int_equal(stat_of(fx, "").mode, 040700);
    memset(&st, 0x55, sizeof st);
    assert_fails(fx, fx->ops->stat(fx->store, "none", &st, &fx->err), GSP_E_NOENT, "none");
    assert_fails(fx, fx->ops->stat(fx->store, "file/below", &st, &fx->err), GSP_E_NOENT, "file/below");
    /* untouched on failure */
    assert_int_equal(st.type, 0x55555555);
}

static void
directories_have_an_identity(void **state)
{
    struct fixture *fx = *state;
    make_dir(fx, "a");
    make_dir(fx, "b");
    struct gsp_stat a = stat_of(fx, "a"), again = stat_of(fx, "a"), b = stat_of(fx, "b");
    assert_int_equal(a.dev, again.dev);
    assert_int_equal(a.ino, again.ino);
    assert_true(a.ino == 0 || a.ino != b.ino || a.dev != b.dev);
}

static void
names_are_bytes(void **state)
{
    struct fixture *fx = *state;
    char longest[256];
    memset(longest, 'n', 255);
    longest[255] = '\0';
    const char *const odd[] = {"new\nline", "quo\"te", "it's", "back\\slash", "\xff\xfe not utf-8", " blank ", "-rf",
        "%41", "a,b", "tab\there", "\x01", "...", longest};
    enum { N = sizeof odd / sizeof odd[0] };
    struct names names;
    for (int i = 0; i < N; i++)
        write_file(fx, odd[i], odd[i]);
    list_names(fx, "", &names);
    assert_int_equal(names.n, N);
    for (int i = 0; i < N; i++) {
        assert_non_null(find_name(&names, odd[i]));
        assert_content(fx, odd[i], odd[i]);
        /* the atomic way takes the same names */
        void *put = begin(fx, odd[i], 0600, GSP_PUT_ATOMIC);
        assert_int_equal(fx->ops->put_commit(put, 0, &fx->err), 0);
        assert_content(fx, odd[i], "");
    }
    free_names(&names);
    assert_int_equal(fx->ops->remove(fx->store, odd, N, &fx->err), 0);
    list_names(fx, "", &names);
    assert_int_equal(names.n, 0);
}

static void
too_long_a_name_is_an_error(void **state)
{
    struct fixture *fx = *state;
    struct gsp_stat st;
    char name[300];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    assert_true(fx->ops->stat(fx->store, name, &st, &fx->err) < 0);
    gsp_error_clear(&fx->err);
    char *path = malloc(9000);
    assert_non_null(path);
    for (int i = 0; i < 9000; i++)
        path[i] = i % 2 == 0 ? 'd' : '/';
    path[8999] = '\0';
    assert_true(fx->ops->stat(fx->store, path, &st, &fx->err) < 0);
    gsp_error_clear(&fx->err);
    assert_true(fx->ops->mkdir(fx->store, path, 0700, GSP_MKDIR_PARENTS, &fx->err) < 0);
    free(path);
}

/* ---- links ------------------------------------------------------------------------------------- */

#define NEED_LINKS(fx)                             \
    do {                                           \
        if (((fx)->caps & GSP_STORE_SYMLINK) == 0) \
            not_applicable("no symbolic links");   \
    } while (0)

static void
make_link(struct fixture *fx, const char *target, const char *path)
{
    assert_int_equal(fx->ops->symlink(fx->store, target, path, &fx->err), 0);
}

static void
links_are_followed_and_told(void **state)
{
    struct fixture *fx = *state;
    struct names names, below;
    NEED_LINKS(fx);
    make_dir(fx, "dir");
    write_file(fx, "dir/file", "content");
    make_link(fx, "dir/file", "to-file");
    make_link(fx, "dir", "to-dir");
    make_link(fx, "to-file", "to-link");
    list_names(fx, "", &names);
    assert_int_equal(names.n, 4);
    assert_int_equal(find_name(&names, "to-file")->type, GSP_FILE_REGULAR);
    assert_int_equal(find_name(&names, "to-file")->size, 7);
    assert_int_equal(find_name(&names, "to-file")->flags & GSP_STAT_LINK, GSP_STAT_LINK);
    assert_int_equal(find_name(&names, "to-link")->size, 7);
    assert_int_equal(find_name(&names, "to-dir")->type, GSP_FILE_DIRECTORY);
    assert_int_equal(find_name(&names, "to-dir")->flags & GSP_STAT_LINK, GSP_STAT_LINK);
    assert_int_equal(find_name(&names, "to-dir")->ino, find_name(&names, "dir")->ino);
    assert_int_equal(find_name(&names, "dir")->flags & GSP_STAT_LINK, 0);
    assert_int_equal(stat_of(fx, "to-dir").flags & GSP_STAT_LINK, GSP_STAT_LINK);
    list_names(fx, "to-dir", &below);
    assert_int_equal(below.n, 1);
    assert_content(fx, "to-file", "content");
    assert_content(fx, "to-dir/file", "content");
    free_names(&names);
    free_names(&below);
}

static void
dangling_and_looping_links_are_told(void **state)
{
    struct fixture *fx = *state;
    struct names names;
    NEED_LINKS(fx);
    write_file(fx, "file", "x");
    make_link(fx, "nowhere", "dangling");
    make_link(fx, "file/below", "through-a-file");
    make_link(fx, "loop", "loop");
    make_link(fx, "pong", "ping");
    make_link(fx, "ping", "pong");
    list_names(fx, "", &names);
    assert_int_equal(names.n, 6);
    const char *const bad[] = {"dangling", "through-a-file", "loop", "ping", "pong"};
    for (int i = 0; i < 5; i++) {
        const struct gsp_stat *st = find_name(&names, bad[i]);
        assert_non_null(st);
        assert_int_equal(st->type, GSP_FILE_DANGLING);
        assert_int_equal(st->flags & GSP_STAT_LINK, GSP_STAT_LINK);
        assert_int_equal(stat_of(fx, bad[i]).type, GSP_FILE_DANGLING);
        void *file = NULL;
        assert_true(fx->ops->file_open(fx->store, bad[i], &file, &fx->err) < 0);
        assert_null(file);
        gsp_error_clear(&fx->err);
    }
    free_names(&names);
}

static void
a_link_back_up_keeps_its_identity(void **state)
{
    struct fixture *fx = *state;
    NEED_LINKS(fx);
    make_dir(fx, "dir");
    make_link(fx, "..", "dir/up");
    struct gsp_stat root = stat_of(fx, ""), up = stat_of(fx, "dir/up"), twice = stat_of(fx, "dir/up/dir/up");
    assert_int_equal(up.ino, root.ino);
    assert_int_equal(up.dev, root.dev);
    assert_int_equal(twice.ino, root.ino);
    assert_true(root.ino != 0 || root.dev != 0);
}

static void
readlink_gives_the_target_as_it_was_given(void **state)
{
    struct fixture *fx = *state;
    char buf[64];
    NEED_LINKS(fx);
    make_link(fx, "/no where/'x'", "link");
    write_file(fx, "file", "x");
    assert_int_equal(fx->ops->readlink(fx->store, "link", buf, sizeof buf, &fx->err), 0);
    assert_string_equal(buf, "/no where/'x'");
    assert_int_equal(fx->ops->readlink(fx->store, "link", buf, 14, &fx->err), 0);
    assert_fails(fx, fx->ops->readlink(fx->store, "link", buf, 13, &fx->err), GSP_E_CONFIG, "link");
    assert_fails(fx, fx->ops->readlink(fx->store, "none", buf, sizeof buf, &fx->err), GSP_E_NOENT, "none");
    assert_true(fx->ops->readlink(fx->store, "file", buf, sizeof buf, &fx->err) < 0);
    gsp_error_clear(&fx->err);
    assert_fails(fx, fx->ops->symlink(fx->store, "x", "link", &fx->err), GSP_E_EXIST, "link");
    assert_fails(fx, fx->ops->symlink(fx->store, "x", "none/link", &fx->err), GSP_E_NOENT, "none/link");
}

/* ---- making, removing, renaming ---------------------------------------------------------------- */

static void
mkdir_makes_one_or_all(void **state)
{
    struct fixture *fx = *state;
    assert_int_equal(fx->ops->mkdir(fx->store, "a", 0750, 0, &fx->err), 0);
    assert_int_equal(stat_of(fx, "a").mode, 040750);
    assert_fails(fx, fx->ops->mkdir(fx->store, "a", 0700, 0, &fx->err), GSP_E_EXIST, "a");
    assert_fails(fx, fx->ops->mkdir(fx->store, "b/c/d", 0700, 0, &fx->err), GSP_E_NOENT, "b/c/d");
    assert_int_equal(fx->ops->mkdir(fx->store, "b/c/d", 0711, GSP_MKDIR_PARENTS, &fx->err), 0);
    assert_int_equal(stat_of(fx, "b").mode, 040711);
    assert_int_equal(stat_of(fx, "b/c").mode, 040711);
    assert_int_equal(stat_of(fx, "b/c/d").mode, 040711);
    /* what is there keeps its mode */
    assert_int_equal(fx->ops->mkdir(fx->store, "b/c/d", 0700, GSP_MKDIR_PARENTS, &fx->err), 0);
    assert_int_equal(fx->ops->mkdir(fx->store, "b/c/e", 0700, GSP_MKDIR_PARENTS, &fx->err), 0);
    assert_int_equal(stat_of(fx, "b/c/d").mode, 040711);
    assert_int_equal(stat_of(fx, "b/c").mode, 040711);
    write_file(fx, "file", "x");
    assert_fails(fx, fx->ops->mkdir(fx->store, "file", 0700, GSP_MKDIR_PARENTS, &fx->err), GSP_E_EXIST, "file");
    assert_true(fx->ops->mkdir(fx->store, "file/x/y", 0700, GSP_MKDIR_PARENTS, &fx->err) < 0);
    assert_non_null(strstr(fx->err.msg, "file"));
    gsp_error_clear(&fx->err);
    assert_fails(fx, fx->ops->mkdir(fx->store, "new", 0700, 0x80, &fx->err), GSP_E_UNSUPPORTED, "flags");
    assert_false(exists(fx, "new"));
}

static void
remove_takes_what_is_there_in_order(void **state)
{
    struct fixture *fx = *state;
    make_dir(fx, "dir");
    write_file(fx, "dir/file", "x");
    write_file(fx, "other", "x");
    const char *const wrong_order[] = {"other", "dir", "dir/file"};
    assert_fails(fx, fx->ops->remove(fx->store, wrong_order, 3, &fx->err), GSP_E_EXIST, "dir");
    assert_false(exists(fx, "other"));
    assert_true(exists(fx, "dir/file"));
    const char *const order[] = {"never/was", "dir/file", "dir/file/below", "dir", "dir"};
    assert_int_equal(fx->ops->remove(fx->store, order, 5, &fx->err), 0);
    assert_false(exists(fx, "dir"));
    assert_int_equal(fx->ops->remove(fx->store, NULL, 0, &fx->err), 0);
}

static void
remove_takes_links_and_not_their_targets(void **state)
{
    struct fixture *fx = *state;
    NEED_LINKS(fx);
    make_dir(fx, "dir");
    write_file(fx, "dir/file", "x");
    make_link(fx, "dir", "to-dir");
    make_link(fx, "dir/file", "to-file");
    make_link(fx, "nowhere", "dangling");
    const char *const links[] = {"to-dir", "to-file", "dangling"};
    assert_int_equal(fx->ops->remove(fx->store, links, 3, &fx->err), 0);
    for (int i = 0; i < 3; i++)
        assert_false(exists(fx, links[i]));
    assert_true(exists(fx, "dir/file"));
}

static void
rename_moves_and_replaces(void **state)
{
    struct fixture *fx = *state;
    make_dir(fx, "dir");
    write_file(fx, "one", "1");
    write_file(fx, "dir/two", "2");
    assert_int_equal(fx->ops->rename(fx->store, "one", "dir/two", &fx->err), 0);
    assert_false(exists(fx, "one"));
    assert_content(fx, "dir/two", "1");
    assert_int_equal(fx->ops->rename(fx->store, "dir", "moved", &fx->err), 0);
    assert_content(fx, "moved/two", "1");
    assert_fails(fx, fx->ops->rename(fx->store, "none", "x", &fx->err), GSP_E_NOENT, "none");
    make_dir(fx, "full");
    write_file(fx, "full/file", "x");
    assert_fails(fx, fx->ops->rename(fx->store, "moved", "full", &fx->err), GSP_E_EXIST, "full");
    assert_content(fx, "moved/two", "1");
}

static void
chmod_is_exact(void **state)
{
    struct fixture *fx = *state;
    write_file(fx, "file", "x");
    make_dir(fx, "dir");
    assert_int_equal(fx->ops->chmod(fx->store, "file", 0644, &fx->err), 0);
    assert_int_equal(stat_of(fx, "file").mode, 0100644);
    assert_int_equal(fx->ops->chmod(fx->store, "dir", 0755, &fx->err), 0);
    assert_int_equal(stat_of(fx, "dir").mode, 040755);
    assert_fails(fx, fx->ops->chmod(fx->store, "none", 0644, &fx->err), GSP_E_NOENT, "none");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(the_root_need_not_exist),
        FIXTURE_TEST(list_shows_what_is_there),
        FIXTURE_TEST(list_stops_when_told_and_fails_where_nothing_is),
        FIXTURE_TEST(a_big_directory_is_listed_whole),
        FIXTURE_TEST(entries_can_go_while_they_are_listed),
        FIXTURE_TEST(stat_tells_type_size_and_time),
        FIXTURE_TEST(directories_have_an_identity),
        FIXTURE_TEST(names_are_bytes),
        FIXTURE_TEST(too_long_a_name_is_an_error),
        FIXTURE_TEST(links_are_followed_and_told),
        FIXTURE_TEST(dangling_and_looping_links_are_told),
        FIXTURE_TEST(a_link_back_up_keeps_its_identity),
        FIXTURE_TEST(readlink_gives_the_target_as_it_was_given),
        FIXTURE_TEST(mkdir_makes_one_or_all),
        FIXTURE_TEST(remove_takes_what_is_there_in_order),
        FIXTURE_TEST(remove_takes_links_and_not_their_targets),
        FIXTURE_TEST(rename_moves_and_replaces),
        FIXTURE_TEST(chmod_is_exact),
    };
    return fixture_main(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
