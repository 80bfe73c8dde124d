/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/plugin/fixture.h"

#include <elf.h>

/* Install a double, add the directory, ask for the plugin. */
static int
find_double(struct fixture *f, const char *double_name, const char *as)
{
    char path[PATH_SIZE], file[128];
    struct plugin *plugin = NULL;
    (void)snprintf(file, sizeof file, "mode-%s.so", as);
    fixture_install(f, double_name, "", file, path);
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    int rc = registry_find(f->reg, GSP_KIND_MODE, as, &plugin, &f->err);
    assert_int_equal(rc, f->err.code);
    if (rc != 0) {
        assert_null(plugin);
        assert_non_null(strstr(f->err.msg, path));
    }
    return rc;
}

static void
opens_a_good_plugin(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = NULL, *again = NULL;
    struct gsp_plan plan = {0};
    struct gsp_file file = {0};
    assert_int_equal(find_double(f, "mode-good", "good"), 0);
    assert_int_equal(registry_find(f->reg, GSP_KIND_MODE, "good", &plugin, &f->err), 0);
    assert_int_equal(registry_find(f->reg, GSP_KIND_MODE, "good", &again, &f->err), 0);
    assert_ptr_equal(plugin, again);
    assert_string_equal(plugin->name, "good");
    assert_int_equal(plugin->kind, GSP_KIND_MODE);
    assert_non_null(strstr(plugin->file, "/mode-good.so"));
    assert_string_equal(plugin->desc->summary, "test double");
    const struct gsp_mode_ops *ops = plugin->ops;
    assert_string_equal(ops->label, "DOUBLE");
    assert_int_equal(ops->plan_files(NULL, &file, 1, &plan, &f->err), 0);
    assert_int_equal(plan.action, GSP_PLAN_ALL);
    assert_null(plugin->state);
    assert_int_equal(plugin_load(plugin, &f->err), 0);
}

static void
refuses_another_major_naming_both(void **state)
{
    struct fixture *f = *state;
    (void)find_double(f, "mode-major", "major");
    assert_error(&f->err, GSP_E_VERSION, "plugin ABI 7", "plugin ABI 1");
    assert_string_not_equal(f->err.hint, "");
}

static void
refuses_a_missing_operation_by_name(void **state)
{
    struct fixture *f = *state;
    (void)find_double(f, "mode-noop", "noop");
    assert_error(&f->err, GSP_E_BUG, "lacks 'plan_files'", "table of mode operations");
}

static void
refuses_an_unresolved_symbol_by_name(void **state)
{
    struct fixture *f = *state;
    (void)find_double(f, "mode-unresolved", "unresolved");
    assert_error(&f->err, GSP_E_UNSUPPORTED, "gsp_double_defined_nowhere", "cannot load it");
}

static void
refuses_another_kind_than_the_file_name(void **state)
{
    struct fixture *f = *state;
    (void)find_double(f, "mode-wrongkind", "wrongkind");
    assert_error(&f->err, GSP_E_CONFIG, "its kind is compressor", "file name says mode");
}

static void
refuses_an_unknown_kind(void **state)
{
    struct fixture *f = *state;
    (void)find_double(f, "mode-unknownkind", "unknownkind");
    assert_error(&f->err, GSP_E_UNSUPPORTED, "kind 77 is unknown", "");
}

static void
refuses_another_name_than_the_file_name(void **state)
{
    struct fixture *f = *state;
    (void)find_double(f, "mode-wrongname", "wrongname");
    assert_error(&f->err, GSP_E_CONFIG, "its name is 'other'", "file name says 'wrongname'");
}

static void
refuses_a_library_that_is_no_plugin(void **state)
{
    struct fixture *f = *state;
    (void)find_double(f, "mode-noentry", "noentry");
    assert_error(&f->err, GSP_E_UNSUPPORTED, "gsp_plugin_entry", "not a plugin");
}

static void
refuses_an_entry_without_descriptor(void **state)
{
    struct fixture *f = *state;
    (void)find_double(f, "mode-nodescriptor", "nodescriptor");
    assert_error(&f->err, GSP_E_BUG, "no descriptor", "");
}

static void
refuses_a_text_file(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = NULL;
    char path[PATH_SIZE];
    assert_true(path_join(path, f->dir, "mode-text.so"));
    fixture_write(path, "this is text, and long enough to hold what an ELF header would hold, which it is not\n");
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    (void)registry_find(f->reg, GSP_KIND_MODE, "text", &plugin, &f->err);
    assert_error(&f->err, GSP_E_CORRUPT, "no ELF header", path);
}

static void
refuses_a_directory(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = NULL;
    char path[PATH_SIZE];
    fixture_mkdir(f, "mode-dir.so", path);
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    (void)registry_find(f->reg, GSP_KIND_MODE, "dir", &plugin, &f->err);
    assert_error(&f->err, GSP_E_CORRUPT, "not a regular file", path);
}

/* However many bytes are missing, the answer is an error and never a signal. */
static void
refuses_truncated_files(void **state)
{
    struct fixture *f = *state;
    char from[PATH_SIZE];
    struct stat st;
    fixture_double(from, "mode-good.so");
    assert_int_equal(stat(from, &st), 0);
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    const size_t sizes[] = {0, 3, 20, 63, 64, 200, 4096, (size_t)st.st_size / 2, (size_t)st.st_size - 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char path[PATH_SIZE], name[16], file[32];
        struct plugin *plugin = NULL;
        struct gsp_error err = {0};
        (void)snprintf(name, sizeof name, "cut%zu", i);
        (void)snprintf(file, sizeof file, "mode-%s.so", name);
        assert_true(path_join(path, f->dir, file));
        fixture_copy(from, path, sizes[i], 0755);
        (void)registry_find(f->reg, GSP_KIND_MODE, name, &plugin, &err);
        assert_error(&err, GSP_E_CORRUPT, path, "");
    }
}

/* Change one field of the ELF header of a good plugin and see it refused. */
static void
refuse_with_header(struct fixture *f, const char *name, size_t offset, unsigned char byte, int code, const char *text)
{
    char path[PATH_SIZE], file[32];
    struct plugin *plugin = NULL;
    struct gsp_error err = {0};
    (void)snprintf(file, sizeof file, "mode-%s.so", name);
    fixture_install(f, "mode-good", "", file, path);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    assert_int_equal(close(fd), 0);
    (void)registry_find(f->reg, GSP_KIND_MODE, name, &plugin, &err);
    assert_error(&err, code, text, path);
}

static void
refuses_files_of_other_machines(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    refuse_with_header(f, "bits", EI_CLASS, ELFCLASS32, GSP_E_UNSUPPORTED, "64-bit");
    refuse_with_header(f, "machine", offsetof(Elf64_Ehdr, e_machine), 0xf7, GSP_E_UNSUPPORTED, "another machine");
    refuse_with_header(f, "type", offsetof(Elf64_Ehdr, e_type), ET_REL, GSP_E_CORRUPT, "not a shared object");
    refuse_with_header(f, "phnum", offsetof(Elf64_Ehdr, e_phnum) + 1, 0xff, GSP_E_CORRUPT, "truncated");
    refuse_with_header(f, "phoff", offsetof(Elf64_Ehdr, e_phoff) + 7, 0xff, GSP_E_CORRUPT, "truncated");
    refuse_with_header(f, "shoff", offsetof(Elf64_Ehdr, e_shoff) + 7, 0xff, GSP_E_CORRUPT, "truncated");
}

static void
refuses_a_file_that_others_can_write(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = NULL;
    char path[PATH_SIZE];
    fixture_install(f, "mode-good", "", "mode-good.so", path);
    assert_int_equal(chmod(path, 0775), 0);
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    (void)registry_find(f->reg, GSP_KIND_MODE, "good", &plugin, &f->err);
    assert_error(&f->err, GSP_E_PERM, "can be written by its group", path);
    assert_non_null(strstr(f->err.hint, "chmod go-w"));
}

static void
refuses_a_file_of_another_user(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = NULL;
    char path[PATH_SIZE];
    if (geteuid() != 0)
        skip(); /* only root can give a file away */
    fixture_install(f, "mode-good", "", "mode-good.so", path);
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_int_equal(registry_add_dir(f->reg, f->dir, &f->err), 0);
    (void)registry_find(f->reg, GSP_KIND_MODE, "good", &plugin, &f->err);
    assert_error(&f->err, GSP_E_PERM, "belongs to user id 12345", path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(opens_a_good_plugin),
        TEST(refuses_another_major_naming_both),
        TEST(refuses_a_missing_operation_by_name),
        TEST(refuses_an_unresolved_symbol_by_name),
        TEST(refuses_another_kind_than_the_file_name),
        TEST(refuses_an_unknown_kind),
        TEST(refuses_another_name_than_the_file_name),
        TEST(refuses_a_library_that_is_no_plugin),
        TEST(refuses_an_entry_without_descriptor),
        TEST(refuses_a_text_file),
        TEST(refuses_a_directory),
        TEST(refuses_truncated_files),
        TEST(refuses_files_of_other_machines),
        TEST(refuses_a_file_that_others_can_write),
        TEST(refuses_a_file_of_another_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
