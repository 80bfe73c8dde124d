/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

#include <sys/stat.h>

static void
put_control(struct store *s, const char *dir, const char *file)
{
    struct gsp_error err;
    char path[128];
    auto_strbuf text = STRBUF_INIT;
    data_read(file, &text);
    (void)snprintf(path, sizeof path, "backups/main/%s", dir);
    ok(store_mkdir(s, path, 0700, 0, &err));
    (void)snprintf(path, sizeof path, "backups/main/%s/backup.control", dir);
    mem_put(s, path, text.data);
}

static void
backups_are_listed_newest_first(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_backup_list list = {0};
    mem_catalog(&s);
    put_control(&s, "S44WE8", "full.control");
    put_control(&s, "S44WEX", "increment.control");
    ok(store_mkdir(&s, "backups/main/S44WF0", 0700, 0, &err));
    ok(store_mkdir(&s, "backups/main/.merge-S44WEX", 0700, 0, &err));
    ok(store_mkdir(&s, "backups/main/a directory with a long name", 0700, 0, &err));
    mem_put(&s, "backups/main/pg_probackup.conf", "pgdata = /x\n");
    ok(backup_list_read(&s, "main", &list, &err));
    assert_int_equal(list.n, 4);
    assert_string_equal(list.backups[0].id, "S44WF0");
    assert_int_equal(list.backups[0].status, BACKUP_UNKNOWN);
    assert_int_equal(list.backups[0].start_time, 1700000028);
    assert_string_equal(list.backups[1].id, "S44WEX");
    assert_string_equal(list.backups[2].dir, "S44WE8");
    assert_string_equal(list.backups[3].dir, "a directory with a long name");
    assert_ptr_equal(backup_list_find(&list, "S44WE8"), &list.backups[2]);
    assert_null(backup_list_find(&list, "S44WE9"));
    store_close(&s);
}

static void
the_control_file_names_the_backup_not_the_directory(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_backup_list list = {0};
    char path[PATH_SIZE];
    mem_catalog(&s);
    put_control(&s, "S44WEX", "full.control");
    ok(backup_list_read(&s, "main", &list, &err));
    assert_string_equal(list.backups[0].id, "S44WE8");
    assert_string_equal(list.backups[0].dir, "S44WEX");
    ok(backup_path(path, "main", &list.backups[0], "database", &err));
    assert_string_equal(path, "backups/main/S44WEX/database");
    ok(backup_path(path, "main", &list.backups[0], NULL, &err));
    assert_string_equal(path, "backups/main/S44WEX");
    store_close(&s);
}

static void
a_missing_instance_is_an_error(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_backup_list list = {0};
    mem_catalog(&s);
    fails(backup_list_read(&s, "other", &list, &err), GSP_E_NOENT);
    ok(backup_list_read(&s, "main", &list, &err));
    assert_int_equal(list.n, 0);
    store_close(&s);
}

static void
descent_follows_parents_and_ends_in_circles(void **state)
{
    (void)state;
    struct backup b[4] = {{.id = "D", .parent_id = "C"}, {.id = "C", .parent_id = "B"}, {.id = "B", .parent_id = "C"},
        {.id = "A", .parent_id = "GONE"}};
    struct backup_list list = {.backups = b, .n = 4, .cap = 4};
    assert_int_equal(backup_is_descendant(&list, &b[0], "B"), 1);
    assert_int_equal(backup_is_descendant(&list, &b[0], "D"), 1);
    assert_int_equal(backup_is_descendant(&list, &b[0], "A"), 0);
    assert_int_equal(backup_is_descendant(&list, &b[2], "D"), 0);
    assert_int_equal(backup_is_descendant(&list, &b[3], "B"), 0);
}

static void
only_the_status_changes(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct gsp_stat st;
    auto_backup_list list = {0};
    auto_strbuf want = STRBUF_INIT;
    mem_catalog(&s);
    put_control(&s, "S44WE8", "full.control");
    ok(backup_list_read(&s, "main", &list, &err));
    struct backup *b = &list.backups[0];
    /* What somebody changed since is kept. */
    free(b->note);
    b->note = NULL;
    ok(backup_set_status(&s, "main", b, BACKUP_CORRUPT, &err));
    assert_int_equal(b->status, BACKUP_CORRUPT);
    data_read("full.control", &want);
    memcpy(strstr(want.data, "MERGING"), "CORRUPT", 7);
    assert_content(&s, "backups/main/S44WE8/backup.control", want.data);
    ok(store_stat(&s, "backups/main/S44WE8/backup.control", &st, &err));
    assert_int_equal(st.mode, S_IFREG | 0600);
    /* The same status again writes nothing: a read-only catalog does not mind. */
    storage_mem_fail_writes(s.handle, 0, UINT64_MAX, EROFS);
    ok(backup_set_status(&s, "main", b, BACKUP_CORRUPT, &err));
    fails(backup_set_status(&s, "main", b, BACKUP_OK, &err), GSP_E_PERM);
    assert_int_equal(b->status, BACKUP_CORRUPT);
    store_close(&s);
}

static void
lists_are_checked_against_the_control_file(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_backup_list list = {0};
    auto_filelist files = {0};
    auto_strbuf text = STRBUF_INIT;
    mem_catalog(&s);
    put_control(&s, "S44WE8", "full.control");
    data_read("list.control", &text);
    mem_put(&s, "backups/main/S44WE8/backup_content.control", text.data);
    ok(backup_list_read(&s, "main", &list, &err));
    fails(backup_read_filelist(&s, "main", &list.backups[0], &files, &err), GSP_E_CORRUPT);
    list.backups[0].content_crc = 0;
    ok(backup_read_filelist(&s, "main", &list.backups[0], &files, &err));
    assert_int_equal(files.n, 6);
    store_close(&s);
}

/* Between the two renames of a merge, and only then, what it built is the backup. */
static void
what_a_merge_built_stands_in_for_the_backup(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    auto_backup_list list = {0};
    char path[PATH_SIZE];
    mem_catalog(&s);
    put_control(&s, ".merge-S44WE8", "full.control");
    ok(backup_list_read(&s, "main", &list, &err));
    assert_int_equal(list.n, 0);
    backup_list_clear(&list);
    put_control(&s, ".merged-S44WE8", "increment.control");
    ok(backup_list_read(&s, "main", &list, &err));
    assert_int_equal(list.n, 1);
    assert_string_equal(list.backups[0].id, "S44WE8");
    assert_string_equal(list.backups[0].dir, ".merge-S44WE8");
    ok(backup_path(path, "main", &list.backups[0], "database", &err));
    assert_string_equal(path, "backups/main/.merge-S44WE8/database");
    backup_list_clear(&list);
    put_control(&s, "S44WE8", "full.control");
    ok(backup_list_read(&s, "main", &list, &err));
    assert_int_equal(list.n, 1);
    assert_string_equal(list.backups[0].dir, "S44WE8");
    store_close(&s);
}

static void
descent_goes_up_to_a_missing_ancestor(void **state)
{
    (void)state;
    struct backup backups[] = {{.id = "C", .parent_id = "B"}, {.id = "B", .parent_id = "A"}, {.id = "F"}};
    struct backup_list list = {.backups = backups, .n = 3};
    assert_true(backup_is_descendant(&list, &backups[0], "A"));
    assert_true(backup_is_descendant(&list, &backups[1], "A"));
    assert_false(backup_is_descendant(&list, &backups[2], "A"));
    assert_false(backup_is_descendant(&list, &backups[2], ""));
}

int
main(void)
{
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backups_are_listed_newest_first),
        cmocka_unit_test(the_control_file_names_the_backup_not_the_directory),
        cmocka_unit_test(a_missing_instance_is_an_error),
        cmocka_unit_test(descent_follows_parents_and_ends_in_circles),
        cmocka_unit_test(what_a_merge_built_stands_in_for_the_backup),
        cmocka_unit_test(descent_goes_up_to_a_missing_ancestor),
        cmocka_unit_test(only_the_status_changes),
        cmocka_unit_test(lists_are_checked_against_the_control_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
