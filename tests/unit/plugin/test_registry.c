/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/plugin/fixture.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static int
begin(void *state, const void *opts, const struct gsp_mode_env *env, void **ret_plan, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)env;
    (void)ret_plan;
    return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "never called");
}

static int
plan_files(void *plan, const struct gsp_file *files, uint32_t n, struct gsp_plan *ret, struct gsp_error *err)
{
    (void)plan;
    (void)files;
    (void)n;
    (void)ret;
    return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "never called");
}

static void
end(void *plan)
{
    (void)plan;
}

static const struct gsp_mode_ops ops = {
    .struct_size = sizeof ops, .label = "MEMORY", .begin = begin, .plan_files = plan_files, .end = end};
static const struct gsp_plugin in_memory = {
    .struct_size = sizeof in_memory,
    .abi_major = GSP_ABI_MAJOR,
    .kind = GSP_KIND_MODE,
    .thread_model = GSP_THREAD_ANY,
    .name = "memory",
    .version = "1",
    .summary = "in memory",
    .ops = &ops,
};

static void
knows_its_kinds(void **state)
{
    (void)state;
    static const char *const names[] = {"server", "mode", "compressor", "storage", "retention"};
    for (uint32_t kind = 1; kind <= 5; kind++) {
        uint32_t parsed = 0;
        assert_string_equal(plugin_kind_name(kind), names[kind - 1]);
        assert_int_equal(plugin_kind_parse(names[kind - 1], strlen(names[kind - 1]), &parsed), 1);
        assert_int_equal(parsed, kind);
    }
    uint32_t untouched = 9;
    assert_null(plugin_kind_name(0));
    assert_null(plugin_kind_name(6));
    assert_int_equal(plugin_kind_parse("mode", 3, &untouched), 0);
    assert_int_equal(plugin_kind_parse("modes", 5, &untouched), 0);
    assert_int_equal(untouched, 9);
}

static void
refuses_directories_that_cannot_be_trusted(void **state)
{
    struct fixture *f = *state;
    char dir[PATH_SIZE], missing[PATH_SIZE], file[PATH_SIZE];
    const struct {
        mode_t mode;
        int code;
    } cases[] = {{0775, GSP_E_PERM}, {0757, GSP_E_PERM}, {01777, GSP_E_PERM}, {0755, 0}, {0700, 0}};
    fixture_mkdir(f, "plugins", dir);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_error err = {0};
        assert_int_equal(chmod(dir, cases[i].mode), 0);
        assert_int_equal(registry_add_dir(f->reg, dir, &err), cases[i].code);
        if (cases[i].code != 0)
            assert_error(&err, GSP_E_PERM, dir, "can be written by");
    }
    struct gsp_error err = {0};
    assert_true(path_join(missing, f->dir, "missing"));
    assert_int_equal(registry_add_dir(f->reg, missing, &err), GSP_E_NOENT);
    gsp_error_clear(&err);
    assert_int_equal(registry_add_dir(f->reg, "plugins", &err), GSP_E_CONFIG);
    gsp_error_clear(&err);
    assert_true(path_join(file, f->dir, "file"));
    fixture_write(file, "");
    assert_int_equal(registry_add_dir(f->reg, file, &err), GSP_E_CONFIG);
    if (geteuid() == 0) {
        gsp_error_clear(&err);
        assert_int_equal(chown(dir, 12345, 12345), 0);
        assert_int_equal(registry_add_dir(f->reg, dir, &err), GSP_E_PERM);
    }
}

static void
finds_in_the_directory_that_has_it(void **state)
{
    struct fixture *f = *state;
    char one[PATH_SIZE], two[PATH_SIZE], path[PATH_SIZE];
    struct plugin *plugin = NULL;
    fixture_mkdir(f, "one", one);
    fixture_mkdir(f, "two", two);
    fixture_install(f, "mode-good", "two", "mode-good.so", path);
    assert_int_equal(registry_add_dir(f->reg, one, &f->err), 0);
    assert_int_equal(registry_add_dir(f->reg, two, &f->err), 0);
    assert_int_equal(registry_find(f->reg, GSP_KIND_MODE, "good", &plugin, &f->err), 0);
    assert_string_equal(plugin->file, path);
}

static void
refuses_one_name_in_two_directories(void **state)
{
    struct fixture *f = *state;
    char one[PATH_SIZE], two[PATH_SIZE], first[PATH_SIZE], second[PATH_SIZE];
    struct plugin *plugin = NULL;
    fixture_mkdir(f, "one", one);
    fixture_mkdir(f, "two", two);
    fixture_install(f, "mode-good", "one", "mode-good.so", first);
    fixture_install(f, "mode-good", "two", "mode-good.so", second);
    assert_int_equal(registry_add_dir(f->reg, one, &f->err), 0);
    assert_int_equal(registry_add_dir(f->reg, one, &f->err), 0); /* the same twice is once */
    assert_int_equal(registry_open_all(f->reg, 0, &f->err), 0);
    assert_int_equal(registry_add_dir(f->reg, two, &f->err), 0);
    assert_int_equal(registry_open_all(f->reg, 0, &f->err), GSP_E_EXIST);
    assert_error(&f->err, GSP_E_EXIST, first, second);

    struct registry *fresh = NULL;
    struct gsp_error err = {0};
    assert_int_equal(registry_new(&fresh, &err), 0);
    assert_int_equal(registry_add_dir(fresh, one, &err), 0);
    assert_int_equal(registry_add_dir(fresh, two, &err), 0);
    assert_int_equal(registry_find(fresh, GSP_KIND_MODE, "good", &plugin, &err), GSP_E_EXIST);
    assert_error(&err, GSP_E_EXIST, first, second);
    assert_null(plugin);
    registry_free(fresh);
}

static void
names_the_plugins_there_are(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    struct plugin *plugin = NULL;
    fixture_install(f, "mode-good", "", "mode-good.so", path);
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    assert_int_equal(registry_add(f->reg, &in_memory, &f->err), 0);
    assert_int_equal(registry_find(f->reg, GSP_KIND_MODE, "nothere", &plugin, &f->err), GSP_E_UNSUPPORTED);
    assert_string_equal(f->err.msg, "there is no mode plugin 'nothere'");
    assert_string_equal(f->err.hint, "there are: memory, good");
    static const char *const bad[] = {"", "../mode-good", "Good", "go od", "a/b", "x123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gsp_error_clear(&f->err);
        assert_int_equal(registry_find(f->reg, GSP_KIND_MODE, bad[i], &plugin, &f->err), GSP_E_UNSUPPORTED);
    }
}

static void
takes_descriptors_from_memory_once(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = NULL;
    assert_int_equal(registry_add(f->reg, &in_memory, &f->err), 0);
    assert_int_equal(registry_find(f->reg, GSP_KIND_MODE, "memory", &plugin, &f->err), 0);
    assert_null(plugin->file);
    assert_ptr_not_equal(plugin->desc, &in_memory);
    assert_ptr_not_equal(plugin->ops, &ops);
    assert_int_equal(registry_add(f->reg, &in_memory, &f->err), GSP_E_EXIST);
}

static void
opens_all_and_keeps_refusals(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE], text[PATH_SIZE];
    fixture_install(f, "mode-good", "", "mode-good.so", path);
    fixture_install(f, "mode-noop", "", "mode-noop.so", path);
    fixture_install(f, "mode-good", "", "libsomething.so", path);
    assert_true(path_join(text, f->dir, "mode-notes.txt"));
    fixture_write(text, "not looked at");
    assert_int_equal(registry_add(f->reg, &in_memory, &f->err), 0);
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(registry_open_all(f->reg, 0, &f->err), 0);
        assert_string_equal(registry_at(f->reg, 0)->name, "good");
        assert_string_equal(registry_at(f->reg, 1)->name, "memory");
        assert_null(registry_at(f->reg, 2));
        assert_error(&registry_refusal_at(f->reg, 0)->err, GSP_E_CONFIG, "libsomething.so", "<kind>-<name>.so");
        assert_error(&registry_refusal_at(f->reg, 1)->err, GSP_E_BUG, "mode-noop.so", "plan_files");
        assert_non_null(strstr(registry_refusal_at(f->reg, 1)->file, "/mode-noop.so"));
        assert_null(registry_refusal_at(f->reg, 2));
    }
}

static void
opens_one_kind_only(void **state)
{
    struct fixture *f = *state;
    char path[PATH_SIZE];
    fixture_install(f, "mode-good", "", "mode-good.so", path);
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    assert_int_equal(registry_open_all(f->reg, GSP_KIND_STORAGE, &f->err), 0);
    assert_null(registry_at(f->reg, 0));
    assert_int_equal(registry_open_all(f->reg, GSP_KIND_MODE, &f->err), 0);
    assert_string_equal(registry_at(f->reg, 0)->name, "good");
}

static void
needs_no_installed_plugins_until_one_is_asked_for(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = NULL;
    assert_int_equal(registry_add_default_dirs(f->reg, &f->err), 0);
    assert_int_equal(registry_open_all(f->reg, 0, &f->err), 0);
    assert_null(registry_at(f->reg, 0));
    assert_int_equal(registry_find(f->reg, GSP_KIND_MODE, "full", &plugin, &f->err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(f->err.hint, "plugins-1"));
    assert_non_null(strstr(f->err.hint, "does not exist"));
}

/* What a copy of this program at another place does: look for mode-good in its default directories. */
static int
run_as_copy(void)
{
    struct registry *reg = NULL;
    struct plugin *plugin = NULL;
    struct gsp_error err = {0};
    int rc = registry_new(&reg, &err);
    if (rc == 0)
        rc = registry_add_default_dirs(reg, &err);
    if (rc == 0)
        rc = registry_find(reg, GSP_KIND_MODE, "good", &plugin, &err);
    if (rc != 0)
        (void)fprintf(stderr, "# %s\n", err.msg);
    registry_free(reg);
    return rc == 0 ? 0 : 1;
}

static void
finds_the_plugins_of_a_build_tree(void **state)
{
    struct fixture *f = *state;
    char exe[PATH_SIZE], path[PATH_SIZE], copy_word[] = "as-copy";
    int status;
    pid_t pid;
    fixture_mkdir(f, "meson-private", path);
    fixture_mkdir(f, "plugins", path);
    fixture_mkdir(f, "plugins/mode-good", path);
    fixture_install(f, "mode-good", "plugins/mode-good", "mode-good.so", path);
    assert_true(path_join(exe, f->dir, "program"));
    fixture_copy("/proc/self/exe", exe, SIZE_MAX, 0755);
    char *const argv[] = {exe, copy_word, NULL};
    assert_int_equal(posix_spawn(&pid, exe, NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "as-copy") == 0)
        return run_as_copy();
    const struct CMUnitTest tests[] = {
        TEST(knows_its_kinds),
        TEST(refuses_directories_that_cannot_be_trusted),
        TEST(finds_in_the_directory_that_has_it),
        TEST(refuses_one_name_in_two_directories),
        TEST(names_the_plugins_there_are),
        TEST(takes_descriptors_from_memory_once),
        TEST(opens_all_and_keeps_refusals),
        TEST(opens_one_kind_only),
        TEST(needs_no_installed_plugins_until_one_is_asked_for),
        TEST(finds_the_plugins_of_a_build_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
