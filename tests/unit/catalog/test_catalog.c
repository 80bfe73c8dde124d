/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

#include <sys/stat.h>

static void
assert_mode(struct store *s, const char *path, uint32_t mode)
{
    struct gsp_error err;
    struct gsp_stat st;
    ok(store_stat(s, path, &st, &err));
    assert_int_equal(st.mode, mode);
}

static void
init_makes_the_skeleton(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    ok(store_open(&s, &storage_mem_ops, NULL, NULL, "/mem", &err));
    ok(catalog_init(&s, &err));
    assert_mode(&s, "", S_IFDIR | 0700);
    assert_mode(&s, "backups", S_IFDIR | 0700);
    assert_mode(&s, "wal", S_IFDIR | 0700);
    fails(catalog_init(&s, &err), GSP_E_EXIST);
    assert_string_equal(err.msg, "backup catalog already exist and it's not empty");
    store_close(&s);
    mem_store(&s);
    ok(catalog_init(&s, &err));
    store_close(&s);
}

static void
a_failed_init_can_be_repeated(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < 4; step++) {
        struct store s;
        struct gsp_error err;
        mem_store(&s);
        storage_mem_fail_writes(s.handle, step, 1, ENOSPC);
        fails(catalog_init(&s, &err), GSP_E_NOSPC);
        ok(catalog_init(&s, &err));
        store_close(&s);
    }
}

static void
names_cannot_leave_the_catalog(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", "/a", ".hidden", "-x", "a\nb", "a\x7f"};
    struct gsp_error err;
    char lengthy[300];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        fails(instance_name_check(bad[i], &err), GSP_E_USAGE);
    memset(lengthy, 'x', 256);
    lengthy[256] = '\0';
    fails(instance_name_check(lengthy, &err), GSP_E_USAGE);
    lengthy[255] = '\0';
    ok(instance_name_check(lengthy, &err));
    ok(instance_name_check("prod 1.éa-b_c", &err));
    struct store s;
    mem_catalog(&s);
    fails(instance_remove(&s, "..", &err), GSP_E_USAGE);
    fails(instance_check(&s, "../backups", &err), GSP_E_USAGE);
    store_close(&s);
}

static struct conf_file *
some_conf(void)
{
    struct gsp_error err;
    struct conf_file *conf = NULL;
    ok(conf_file_new(&conf, &err));
    ok(conf_file_set(conf, "pgdata", "/srv/pgdata", &err));
    ok(conf_file_set(conf, "system-identifier", "42", &err));
    return conf;
}

static void
instances_are_made_listed_and_removed(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct conf_file *conf = some_conf(), *read = NULL;
    char **names;
    size_t n = 0;
    mem_store(&s);
    fails(instance_create(&s, "b", conf, &err), GSP_E_NOENT);
    fails(instance_check(&s, "b", &err), GSP_E_NOENT);
    assert_non_null(strstr(err.hint, "init"));
    ok(catalog_init(&s, &err));
    ok(instance_create(&s, "b", conf, &err));
    ok(instance_create(&s, "a", conf, &err));
    assert_mode(&s, "backups/b", S_IFDIR | 0700);
    assert_mode(&s, "wal/b", S_IFDIR | 0700);
    assert_mode(&s, "backups/b/pg_probackup.conf", S_IFREG | 0600);
    ok(instance_conf_read(&s, "b", &read, &err));
    assert_string_equal(conf_file_get(read, "pgdata"), "/srv/pgdata");
    conf_file_free(read);
    ok(store_mkdir(&s, "backups/without", 0700, 0, &err));
    ok(catalog_instances(&s, &names, &n, &err));
    assert_int_equal(n, 2);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "b");
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
    ok(instance_check(&s, "a", &err));
    fails(instance_check(&s, "c", &err), GSP_E_NOENT);
    assert_string_equal(err.msg, "Instance 'c' does not exist in this backup catalog");
    assert_non_null(strstr(err.hint, "'a', 'b'"));
    mem_put(&s, "wal/a/000000010000000000000001", "x");
    ok(store_mkdir(&s, "backups/a/.merge-S44WE8/database", 0700, GSP_MKDIR_PARENTS, &err));
    ok(instance_remove(&s, "a", &err));
    assert_int_equal(store_exists(&s, "backups/a", &err), 0);
    assert_int_equal(store_exists(&s, "wal/a", &err), 0);
    conf_file_free(conf);
    store_close(&s);
}

static void
existing_directories_are_not_touched(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct conf_file *conf = some_conf();
    mem_catalog(&s);
    mem_put(&s, "backups/main/file", "x");
    fails(instance_create(&s, "main", conf, &err), GSP_E_EXIST);
    assert_string_equal(err.msg, "Instance 'main' backup directory already exists: '/mem/backups/main'");
    ok(store_remove(&s, "backups/main/file", &err));
    ok(store_remove(&s, "backups/main", &err));
    mem_put(&s, "wal/main/segment", "x");
    fails(instance_create(&s, "main", conf, &err), GSP_E_EXIST);
    assert_string_equal(err.msg, "Instance 'main' WAL archive directory already exists: '/mem/wal/main'");
    assert_int_equal(store_exists(&s, "backups/main", &err), 0);
    assert_content(&s, "wal/main/segment", "x");
    conf_file_free(conf);
    store_close(&s);
}

static void
a_failed_creation_leaves_nothing(void **state)
{
    (void)state;
    struct gsp_error err;
    struct conf_file *conf = some_conf();
    for (uint64_t step = 0;; step++) {
        struct store s;
        mem_catalog(&s);
        storage_mem_fail_writes(s.handle, step, 1, ENOSPC);
        err = (struct gsp_error){0};
        int rc = instance_create(&s, "new", conf, &err);
        if (rc == 0) {
            store_close(&s);
            assert_true(step >= 5);
            break;
        }
        assert_int_equal(rc, GSP_E_NOSPC);
        assert_int_equal(store_exists(&s, "backups/new", &err), 0);
        assert_int_equal(store_exists(&s, "wal/new", &err), 0);
        ok(instance_create(&s, "new", conf, &err));
        store_close(&s);
    }
    conf_file_free(conf);
}

/* What a crash leaves of init, add-instance and set-config. */
static void
interrupted_commands_can_be_repeated(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct conf_file *conf = some_conf();
    mem_store(&s);
    ok(store_mkdir(&s, "backups", 0700, GSP_MKDIR_PARENTS, &err));
    ok(catalog_init(&s, &err));
    fails(catalog_init(&s, &err), GSP_E_EXIST);
    ok(store_mkdir(&s, "backups/new", 0700, 0, &err));
    ok(store_mkdir(&s, "wal/new", 0700, 0, &err));
    mem_put(&s, "backups/new/pg_probackup.conf-17-0.tmp", "pg");
    ok(instance_create(&s, "new", conf, &err));
    fails(instance_create(&s, "new", conf, &err), GSP_E_EXIST);
    ok(instance_remove(&s, "new", &err));
    assert_int_equal(store_exists(&s, "backups/new", &err), 0);
    conf_file_free(conf);
    store_close(&s);
}

static void
unknown_things_keep_an_instance(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    mem_catalog(&s);
    mem_put(&s, "backups/main/pg_probackup.conf", "pgdata = /x\n");
    mem_put(&s, "backups/main/todo.txt", "x");
    mem_put(&s, "wal/main/segment", "x");
    fails(instance_remove(&s, "main", &err), GSP_E_EXIST);
    assert_non_null(strstr(err.msg, "Can't remove \"/mem/backups/main\": "));
    assert_content(&s, "wal/main/segment", "x");
    assert_content(&s, "backups/main/pg_probackup.conf", "pgdata = /x\n");
    ok(store_remove(&s, "backups/main/todo.txt", &err));
    ok(instance_remove(&s, "main", &err));
    store_close(&s);
}

static void
a_missing_configuration_is_told(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct conf_file *conf = NULL;
    mem_catalog(&s);
    fails(instance_conf_read(&s, "main", &conf, &err), GSP_E_NOENT);
    assert_true(err.hint[0] != '\0');
    store_close(&s);
}

int
main(void)
{
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_makes_the_skeleton),
        cmocka_unit_test(a_failed_init_can_be_repeated),
        cmocka_unit_test(names_cannot_leave_the_catalog),
        cmocka_unit_test(instances_are_made_listed_and_removed),
        cmocka_unit_test(existing_directories_are_not_touched),
        cmocka_unit_test(a_failed_creation_leaves_nothing),
        cmocka_unit_test(interrupted_commands_can_be_repeated),
        cmocka_unit_test(unknown_things_keep_an_instance),
        cmocka_unit_test(a_missing_configuration_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
