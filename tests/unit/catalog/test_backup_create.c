/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

#include <sys/stat.h>

#include "core/base/cancel.h"
#include "core/base/timestamp.h"

static void
ids_are_unique_and_ascend(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct gsp_stat st;
    char path[PATH_SIZE], id[BACKUP_ID_SIZE];
    auto_backup first, second;
    backup_init(&first);
    backup_init(&second);
    first.status = second.status = BACKUP_RUNNING;
    mem_catalog(&s);
    /* What an interrupted backup left goes. */
    ok(store_mkdir(&s, "backups/main/" BACKUP_NEW_PREFIX "S44WE8", 0700, 0, &err));
    mem_put(&s, "backups/main/" BACKUP_NEW_PREFIX "S44WE8/backup.pid", "");
    struct backup_lock *locks[2] = {NULL, NULL};
    ok(backup_create(&s, "main", &first, &locks[0], &err));
    ok(backup_create(&s, "main", &second, &locks[1], &err));
    assert_true(second.start_time > first.start_time && second.start_time <= now_seconds());
    assert_int_equal(store_exists(&s, "backups/main/" BACKUP_NEW_PREFIX "S44WE8", &err), 0);
    backup_id_format(first.start_time, id);
    assert_string_equal(first.id, id);
    assert_string_equal(first.dir, id);
    ok(backup_path(path, "main", &first, NULL, &err));
    ok(store_stat(&s, path, &st, &err));
    assert_int_equal(st.mode, S_IFDIR | 0700);
    /* From the beginning each has its lock, which is told apart from a stale one, and says what it is. */
    assert_int_equal(backup_lock_is_held(&s, "main", &first, &err), 1);
    auto_backup_list list = {0};
    ok(backup_list_read(&s, "main", &list, &err));
    assert_int_equal(list.n, 2);
    assert_int_equal(list.backups[0].status, BACKUP_RUNNING);
    backup_unlock(locks[0]);
    backup_unlock(locks[1]);
    assert_int_equal(backup_lock_is_held(&s, "main", &second, &err), 0);
    store_close(&s);
}

static void
make_backup_at(struct store *s, int64_t when, int with_control)
{
    struct gsp_error err;
    char path[PATH_SIZE], id[BACKUP_ID_SIZE];
    backup_id_format(when, id);
    struct backup b = {.dir = id};
    ok(backup_path(path, "main", &b, NULL, &err));
    ok(store_mkdir(s, path, 0700, 0, &err));
    ok(backup_path(path, "main", &b, "backup.control", &err));
    if (with_control)
        mem_put(s, path, "x");
}

static void
a_clock_that_went_back_is_told(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock = NULL;
    auto_backup b;
    backup_init(&b);
    mem_catalog(&s);
    make_backup_at(&s, now_seconds() + 3600, 1);
    fails(backup_create(&s, "main", &b, &lock, &err), GSP_E_CONFIG);
    assert_non_null(strstr(err.msg, "the clock went back"));
    assert_true(err.hint[0] != '\0');
    assert_null(b.dir);
    store_close(&s);
}

static void
a_word_is_no_backup_of_the_future(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock = NULL;
    auto_backup b;
    backup_init(&b);
    mem_catalog(&s);
    ok(store_mkdir(&s, "backups/main/TEMPORARY", 0700, 0, &err));
    make_backup_at(&s, now_seconds() + 7200, 0);
    ok(backup_create(&s, "main", &b, &lock, &err));
    backup_unlock(lock);
    store_close(&s);
}

static void
a_failed_sync_leaves_nothing(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock = NULL;
    auto_backup b;
    backup_init(&b);
    mem_catalog(&s);
    /* Whatever fails up to the moment when the lock is let go. */
    int rc = GSP_E_IO;
    for (uint64_t n = 0; rc != 0; n++) {
        storage_mem_fail_writes(s.handle, n, 1, EIO);
        err = (struct gsp_error){0};
        rc = backup_create(&s, "main", &b, &lock, &err);
        storage_mem_fail_writes(s.handle, 0, 0, 0);
        auto_listing left = {0};
        struct gsp_error ignored = {0};
        assert_int_equal(store_list(&s, "backups/main", &left, &ignored), 0);
        for (size_t i = 0; i < left.n && rc != 0; i++)
            assert_int_equal(strncmp(left.entries[i].name, INSTANCE_LOCK_PREFIX, strlen(INSTANCE_LOCK_PREFIX)), 0);
    }
    backup_unlock(lock);
    fails(backup_create(&s, "none", &b, &lock, &err), GSP_E_NOENT);
    store_close(&s);
}

/* Last: nothing takes the cancel flag back. */
static void
waiting_ends_when_cancelled(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock = NULL;
    auto_backup b;
    backup_init(&b);
    mem_catalog(&s);
    make_backup_at(&s, now_seconds() + 9, 1);
    cancel_request();
    fails(backup_create(&s, "main", &b, &lock, &err), GSP_E_CANCELLED);
    store_close(&s);
}

int
main(void)
{
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_unique_and_ascend),
        cmocka_unit_test(a_clock_that_went_back_is_told),
        cmocka_unit_test(a_word_is_no_backup_of_the_future),
        cmocka_unit_test(a_failed_sync_leaves_nothing),
        cmocka_unit_test(waiting_ends_when_cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
