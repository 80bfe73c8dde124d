/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/timestamp.h"
#include "core/catalog/lock_file.h"

#define DIR "backups/main/S44WE8"

static struct backup the_backup = {.id = "S44WE8", .dir = (char *)(uintptr_t) "S44WE8"};

static void
catalog_with_backup(struct store *s)
{
    struct gsp_error err;
    mem_catalog(s);
    ok(store_mkdir(s, DIR, 0700, 0, &err));
}

/* Another process that lives until it is ended. */
static pid_t
start_process(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (;;)
            (void)pause();
    }
    assert_true(pid > 0);
    return pid;
}

static void
end_process(pid_t pid)
{
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
}

static pid_t
dead_pid(void)
{
    pid_t pid = start_process();
    end_process(pid);
    return pid;
}

static void
put_pid(struct store *s, const char *name, int64_t pid)
{
    char path[128], text[32];
    (void)snprintf(path, sizeof path, DIR "/%s", name);
    (void)snprintf(text, sizeof text, "%" PRId64 "\n", pid);
    mem_put(s, path, text);
}

static void
put_owner(struct store *s, const struct lock_owner *owner)
{
    struct gsp_error err;
    struct lock_owner copy = *owner;
    struct lock_owners list = {.v = &copy, .n = 1};
    ok(lock_owners_write(s, DIR "/backup.owner", &list, 0, &err));
}

static int
exclusive(struct store *s, struct backup_lock **ret, struct gsp_error *err)
{
    *ret = NULL;
    return backup_lock_exclusive(s, "main", &the_backup, ret, err);
}

static int
shared(struct store *s, struct backup_lock **ret, struct gsp_error *err)
{
    *ret = NULL;
    return backup_lock_shared(s, "main", &the_backup, ret, err);
}

static void
assert_no_files(struct store *s)
{
    struct gsp_error err;
    assert_int_equal(store_dir_is_empty(s, DIR, &err), 1);
}

static void
must_take_over(struct store *s)
{
    struct gsp_error err;
    struct backup_lock *lock;
    char text[32];
    assert_int_equal(backup_lock_is_held(s, "main", &the_backup, &err), 0);
    ok(exclusive(s, &lock, &err));
    (void)snprintf(text, sizeof text, "%d\n", (int)getpid());
    assert_content(s, DIR "/backup.pid", text);
    assert_int_equal(backup_lock_is_held(s, "main", &the_backup, &err), 1);
    backup_unlock(lock);
    assert_no_files(s);
}

static void
must_refuse(struct store *s, const char *host)
{
    struct gsp_error err;
    struct backup_lock *lock;
    int64_t began = monotonic_us();
    assert_int_equal(backup_lock_is_held(s, "main", &the_backup, &err), 1);
    fails(exclusive(s, &lock, &err), GSP_E_LOCKED);
    assert_null(lock);
    assert_non_null(strstr(err.msg, "Cannot lock backup S44WE8 directory: process "));
    assert_non_null(strstr(err.msg, host));
    assert_true(err.hint[0] != '\0' && monotonic_us() - began < 5 * 1000000);
}

static void
one_exclusive_lock_at_a_time(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock;
    catalog_with_backup(&s);
    ok(exclusive(&s, &lock, &err));
    must_refuse(&s, "");
    backup_unlock(lock);
    assert_no_files(&s);
    backup_unlock(NULL);
    store_close(&s);
}

static void
a_lock_follows_its_directory(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock;
    struct backup moved = {.id = "S44WE8", .dir = (char *)(uintptr_t) ".merged-S44WE8"};
    catalog_with_backup(&s);
    ok(exclusive(&s, &lock, &err));
    ok(store_rename(&s, DIR, "backups/main/.merged-S44WE8", &err));
    ok(backup_lock_moved(lock, "main", &moved, &err));
    assert_int_equal(store_exists(&s, "backups/main/.merged-S44WE8/backup.pid", &err), 1);
    backup_unlock(lock);
    assert_int_equal(store_dir_is_empty(&s, "backups/main/.merged-S44WE8", &err), 1);
    store_close(&s);
}

static void
a_control_file_can_be_changed_under_readers_not_under_a_writer(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock = NULL, *brief = NULL;
    catalog_with_backup(&s);
    ok(shared(&s, &lock, &err));
    ok(backup_lock_brief(&s, "main", &the_backup, &brief, &err));
    assert_non_null(brief);
    must_refuse(&s, "");
    backup_unlock(brief);
    backup_unlock(lock);
    /* Who holds it exclusively may change it anyway. */
    ok(exclusive(&s, &lock, &err));
    ok(backup_lock_brief(&s, "main", &the_backup, &brief, &err));
    assert_null(brief);
    backup_unlock(lock);
    pid_t writer = start_process();
    put_pid(&s, "backup.pid", writer);
    fails(backup_lock_brief(&s, "main", &the_backup, &brief, &err), GSP_E_LOCKED);
    end_process(writer);
    ok(backup_lock_brief(&s, "main", &the_backup, &brief, &err)); /* stale by now */
    backup_unlock(brief);
    assert_no_files(&s);
    store_close(&s);
}

static void
an_instance_has_one_holder(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock = NULL, *second = NULL;
    char text[32];
    mem_catalog(&s);
    ok(instance_lock(&s, "main", &lock, &err));
    fails(instance_lock(&s, "main", &second, &err), GSP_E_LOCKED);
    assert_non_null(strstr(err.msg, "Cannot lock instance 'main' directory: process "));
    backup_unlock(lock);
    assert_int_equal(store_dir_is_empty(&s, "backups/main", &err), 1);
    (void)snprintf(text, sizeof text, "%d\n", (int)dead_pid());
    mem_put(&s, "backups/main/instance.pid", text);
    ok(instance_lock(&s, "main", &lock, &err));
    backup_unlock(lock);
    assert_int_equal(store_dir_is_empty(&s, "backups/main", &err), 1);
    fails(instance_lock(&s, "none", &lock, &err), GSP_E_NOENT);
    store_close(&s);
}

static void
readers_share_and_keep_writers_out(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *a, *b, *c;
    char text[64];
    catalog_with_backup(&s);
    ok(shared(&s, &a, &err));
    ok(shared(&s, &b, &err));
    (void)snprintf(text, sizeof text, "%d\n%d\n", (int)getpid(), (int)getpid());
    assert_content(&s, DIR "/backup_ro.pid", text);
    assert_int_equal(store_exists(&s, DIR "/backup.pid", &err), 0);
    fails(exclusive(&s, &c, &err), GSP_E_LOCKED);
    backup_unlock(a);
    fails(exclusive(&s, &c, &err), GSP_E_LOCKED);
    backup_unlock(b);
    assert_no_files(&s);
    ok(exclusive(&s, &c, &err));
    fails(shared(&s, &a, &err), GSP_E_LOCKED);
    backup_unlock(c);
    store_close(&s);
}

static void
locks_of_the_stock_tool_count_by_their_pid(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock;
    pid_t alive = start_process(), dead = dead_pid();
    catalog_with_backup(&s);
    put_pid(&s, "backup.pid", alive);
    must_refuse(&s, "");
    ok(store_remove(&s, DIR "/backup.pid", &err));
    put_pid(&s, "backup_ro.pid", alive);
    fails(exclusive(&s, &lock, &err), GSP_E_LOCKED);
    assert_int_equal(store_exists(&s, DIR "/backup.pid", &err), 0);
    put_pid(&s, "backup_ro.pid", dead);
    ok(shared(&s, &lock, &err));
    backup_unlock(lock);
    assert_no_files(&s);
    put_pid(&s, "backup.pid", dead);
    must_take_over(&s);
    end_process(alive);
    store_close(&s);
}

static void
garbage_is_stale(void **state)
{
    (void)state;
    static const char *const contents[] = {"rubbish\n", "-5\n", "0\n", "99999999999999\n", "12 34\n",
        "111111111111111111111111111111111111111111111111111111111111111111111111111111111111\n"};
    struct store s;
    catalog_with_backup(&s);
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        mem_put(&s, DIR "/backup.pid", contents[i]);
        mem_put(&s, DIR "/backup.owner", "rubbish\n\nexclusive 1\n");
        must_take_over(&s);
    }
    store_close(&s);
}

static void
an_empty_lock_is_stale_after_a_while(void **state)
{
    (void)state;
    struct store s;
    int64_t began = monotonic_us();
    catalog_with_backup(&s);
    mem_put(&s, DIR "/backup.pid", "");
    must_take_over(&s);
    int64_t took = monotonic_us() - began;
    assert_true(took > 1000000 && took < 6 * 1000000);
    store_close(&s);
}

static void
owners_tell_reuse_reboot_and_other_hosts(void **state)
{
    (void)state;
    struct store s;
    pid_t alive = start_process();
    struct lock_owner owner;
    catalog_with_backup(&s);
    lock_owner_self(0, &owner);
    owner.pid = alive;
    owner.start = 1;
    put_pid(&s, "backup.pid", alive);
    put_owner(&s, &owner);
    must_take_over(&s);
    lock_owner_self(0, &owner);
    (void)snprintf(owner.boot, sizeof owner.boot, "another-boot");
    put_pid(&s, "backup.pid", getpid());
    put_owner(&s, &owner);
    must_take_over(&s);
    (void)snprintf(owner.host, sizeof owner.host, "far.example");
    owner.pid = dead_pid();
    put_pid(&s, "backup.pid", owner.pid);
    put_owner(&s, &owner);
    must_refuse(&s, "'far.example'");
    end_process(alive);
    store_close(&s);
}

static void
readers_elsewhere_and_rebooted_readers_are_told_apart(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock;
    struct lock_owner owner;
    catalog_with_backup(&s);
    lock_owner_self(1, &owner);
    (void)snprintf(owner.host, sizeof owner.host, "far.example");
    put_pid(&s, "backup_ro.pid", owner.pid);
    put_owner(&s, &owner);
    fails(exclusive(&s, &lock, &err), GSP_E_LOCKED);
    assert_non_null(strstr(err.msg, "far.example"));
    /* Refused, and nothing of the other's is gone. */
    assert_int_equal(store_exists(&s, DIR "/backup.owner", &err), 1);
    lock_owner_self(1, &owner);
    (void)snprintf(owner.boot, sizeof owner.boot, "another-boot");
    put_owner(&s, &owner);
    ok(exclusive(&s, &lock, &err));
    backup_unlock(lock);
    store_close(&s);
}

static void
read_only_catalogs_can_be_read(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock;
    catalog_with_backup(&s);
    storage_mem_fail_writes(s.handle, 0, UINT64_MAX, EROFS);
    ok(shared(&s, &lock, &err));
    assert_non_null(lock);
    backup_unlock(lock);
    fails(exclusive(&s, &lock, &err), GSP_E_PERM);
    storage_mem_fail_writes(s.handle, 0, UINT64_MAX, ENOSPC);
    fails(shared(&s, &lock, &err), GSP_E_NOSPC);
    store_close(&s);
}

static void
a_failure_on_the_way_leaves_no_lock(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock;
    catalog_with_backup(&s);
    /* Three operations each for backup.pid and backup.owner. */
    for (uint64_t step = 0; step < 6; step++) {
        storage_mem_fail_writes(s.handle, step, 1, ENOSPC);
        fails(exclusive(&s, &lock, &err), GSP_E_NOSPC);
        assert_no_files(&s);
    }
    ok(exclusive(&s, &lock, &err));
    ok(store_remove_tree(&s, DIR, &err));
    backup_unlock(lock);
    fails(exclusive(&s, &lock, &err), GSP_E_NOENT);
    store_close(&s);
}

static void
a_takeover_that_never_ended_is_told(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    struct backup_lock *lock;
    catalog_with_backup(&s);
    put_pid(&s, "backup.pid", dead_pid());
    put_pid(&s, "backup.takeover", dead_pid());
    fails(exclusive(&s, &lock, &err), GSP_E_LOCKED);
    assert_non_null(strstr(err.hint, "/mem/" DIR "/backup.takeover"));
    store_close(&s);
}

enum { RACERS = 8, ROUNDS = 8 };

struct race {
    struct store *s;
    pthread_barrier_t *start, *end;
    int won, failed_otherwise;
};

static void *
run_racer(void *arg)
{
    struct race *r = arg;
    for (int round = 0; round < ROUNDS; round++) {
        struct gsp_error err = {0};
        struct backup_lock *lock = NULL;
        (void)pthread_barrier_wait(r->start);
        int rc = backup_lock_exclusive(r->s, "main", &the_backup, &lock, &err);
        r->won += rc == 0;
        r->failed_otherwise += rc != 0 && rc != GSP_E_LOCKED;
        (void)pthread_barrier_wait(r->end);
        backup_unlock(lock);
        (void)pthread_barrier_wait(r->end);
    }
    return NULL;
}

/* Threads stand for processes here: the lock knows nothing of either but the files. */
static void
of_many_takers_one_wins(void **state)
{
    (void)state;
    struct store s;
    struct gsp_error err;
    pthread_barrier_t start, end;
    pthread_t threads[RACERS];
    struct race races[RACERS];
    struct lock_owner owner;
    int won = 0;
    pid_t dead = dead_pid();
    catalog_with_backup(&s);
    lock_owner_self(0, &owner);
    owner.pid = dead;
    (void)pthread_barrier_init(&start, NULL, RACERS + 1);
    (void)pthread_barrier_init(&end, NULL, RACERS + 1);
    for (int i = 0; i < RACERS; i++) {
        races[i] = (struct race){.s = &s, .start = &start, .end = &end};
        assert_int_equal(pthread_create(&threads[i], NULL, run_racer, &races[i]), 0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        put_pid(&s, "backup.pid", dead);
        put_owner(&s, &owner);
        (void)pthread_barrier_wait(&start);
        (void)pthread_barrier_wait(&end);
        (void)pthread_barrier_wait(&end);
    }
    for (int i = 0; i < RACERS; i++) {
        (void)pthread_join(threads[i], NULL);
        won += races[i].won;
        assert_int_equal(races[i].failed_otherwise, 0);
    }
    assert_int_equal(won, ROUNDS);
    assert_int_equal(store_exists(&s, DIR "/backup.pid", &err), 0);
    store_close(&s);
}

int
main(void)
{
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_exclusive_lock_at_a_time),
        cmocka_unit_test(a_lock_follows_its_directory),
        cmocka_unit_test(a_control_file_can_be_changed_under_readers_not_under_a_writer),
        cmocka_unit_test(an_instance_has_one_holder),
        cmocka_unit_test(readers_share_and_keep_writers_out),
        cmocka_unit_test(locks_of_the_stock_tool_count_by_their_pid),
        cmocka_unit_test(garbage_is_stale),
        cmocka_unit_test(an_empty_lock_is_stale_after_a_while),
        cmocka_unit_test(owners_tell_reuse_reboot_and_other_hosts),
        cmocka_unit_test(readers_elsewhere_and_rebooted_readers_are_told_apart),
        cmocka_unit_test(read_only_catalogs_can_be_read),
        cmocka_unit_test(a_failure_on_the_way_leaves_no_lock),
        cmocka_unit_test(a_takeover_that_never_ended_is_told),
        cmocka_unit_test(of_many_takers_one_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
