/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/engine/retention.h"

/* A catalog, and a policy that says what the test wants, and remembers what it saw. */
static struct {
    struct gsp_verdict verdicts[2][8]; /* of the first call, and of later ones */
    struct gsp_retention_backup seen[8];
    uint32_t n;
    int calls;
    int64_t day; /* of day_us */
    gsp_lsn limit;
} policy;

/* 2024-01-15 20:00 UTC: the next day already in India. */
static const int64_t day_us = INT64_C(1705348800) * 1000000;
enum { DAY_OF_IT = 19737, EPOCH = 1700000000 };

static int
fake_plan(void *state, const void *opts, const struct gsp_retention_env *env,
    const struct gsp_retention_backup *backups, uint32_t n, struct gsp_verdict *ret, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)err;
    assert_in_range(n, 0, 8);
    memcpy(policy.seen, backups, n * sizeof *backups);
    policy.n = n;
    policy.day = env->local_day(env->ctx, day_us);
    memcpy(ret, policy.verdicts[policy.calls > 0], n * sizeof *ret);
    policy.calls++;
    return 0;
}

static int
fake_plan_wal(void *state, const void *opts, const struct gsp_retention_backup *backups, uint32_t n,
    const struct gsp_retention_timeline *timelines, uint32_t n_timelines, gsp_lsn *ret, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)backups;
    (void)n;
    (void)timelines;
    (void)err;
    for (uint32_t t = 0; t < n_timelines; t++)
        ret[t] = policy.limit;
    return 0;
}

static const struct gsp_retention_ops fake_ops = {
    .struct_size = sizeof fake_ops, .plan = fake_plan, .plan_wal = fake_plan_wal};
static const struct gsp_plugin fake_plugin = {.struct_size = sizeof fake_plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_RETENTION,
    .thread_model = GSP_THREAD_ANY,
    .name = "fake",
    .version = "1.0",
    .summary = "what the test says",
    .ops = &fake_ops};

struct fixture {
    struct copy_fixture f;
    struct engine e;
};

static void
open_fixture(struct fixture *x)
{
    struct gsp_error err;
    memset(x, 0, sizeof *x);
    memset(&policy, 0, sizeof policy);
    copy_fixture_open(&x->f, 0);
    ok(store_remove_tree(&x->f.repo, BACKUP_DIR, &err));
    ok(store_mkdir(&x->f.repo, "wal/main", 0700, GSP_MKDIR_PARENTS, &err));
    x->e = (struct engine){.repo = x->f.repo, .instance = "main", .threads = 1};
    ok(registry_new(&x->e.reg, &err));
    ok(registry_add(x->e.reg, &fake_plugin, &err));
    ok(config_new(&x->e.cfg, &err));
    ok(config_set(x->e.cfg, "retention.plugin", "fake", CONFIG_YAML, "test", &err));
}

static void
close_fixture(struct fixture *x)
{
    config_free(x->e.cfg);
    registry_free(x->e.reg);
    copy_fixture_close(&x->f);
}

static void
backup_at(struct backup *b, int second)
{
    backup_init(b);
    b->start_time = EPOCH + second;
    backup_id_format(b->start_time, b->id);
    b->dir = strdup(b->id);
    b->compress_alg = strdup("none");
    b->program_version = strdup("2.4.2");
    b->status = BACKUP_OK;
    b->timeline = 1;
    b->stream = 1;
}

/* parent 0: FULL. Ready to be changed and saved. */
static void
make(struct backup *b, int second, int parent)
{
    backup_at(b, second);
    b->mode = strdup(parent == 0 ? "FULL" : "DELTA");
    if (parent != 0)
        backup_id_format(EPOCH + parent, b->parent_id);
}

static void
save(struct fixture *x, struct backup *b)
{
    char path[PATH_SIZE];
    struct gsp_error err;
    ok(backup_path(path, "main", b, NULL, &err));
    ok(store_mkdir(&x->f.repo, path, 0700, GSP_MKDIR_PARENTS, &err));
    ok(backup_save(&x->f.repo, "main", b, &err));
    backup_clear(b);
}

static void
add(struct fixture *x, int second, int parent, enum backup_status status)
{
    struct backup b;
    make(&b, second, parent);
    b.status = status;
    save(x, &b);
}

static size_t
backups_left(struct fixture *x)
{
    auto_backup_list list = {0};
    struct gsp_error err;
    ok(backup_list_read(&x->f.repo, "main", &list, &err));
    return list.n;
}

/* Verdicts newest first, as letters: k, e, m. */
static void
decide(int call, const char *letters)
{
    for (int i = 0; letters[i] != '\0'; i++)
        policy.verdicts[call][i] = (struct gsp_verdict){.action = letters[i] == 'k'   ? GSP_VERDICT_KEEP
                                                                  : letters[i] == 'e' ? GSP_VERDICT_EXPIRE
                                                                  : letters[i] == 'm' ? GSP_VERDICT_MERGE
                                                                                      : 0u,
            .reason = "because"};
}

static const struct retention_options deleting = {.delete_expired = 1};

/* A plugin that is wrong must not cost a backup. */
static void
policy_that_breaks_its_rules(void **state)
{
    (void)state;
    static const struct {
        const char *verdicts;
        enum backup_status newest;
        int is_pinned;
        const char *message;
    } cases[] = {
        {"ke", BACKUP_OK, 0, "the base of backup"},
        {"me", BACKUP_OK, 0, "the base of backup"},
        {"ek", BACKUP_OK, 1, "which is pinned"},
        {"ek", BACKUP_MERGING, 0, "which is in use"},
        {"ek", BACKUP_MERGED, 0, "which is in use"},
        {"xk", BACKUP_OK, 0, "no verdict"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture x;
        struct gsp_error err = {0};
        struct backup b;
        open_fixture(&x);
        add(&x, 1, 0, BACKUP_OK);
        make(&b, 2, 1);
        b.status = cases[i].newest;
        b.expire_time = cases[i].is_pinned ? INT64_C(32503680000) : 0;
        save(&x, &b);
        decide(0, cases[i].verdicts);
        assert_int_equal(retention_run(&x.e, &deleting, &err), GSP_E_BUG);
        if (strstr(err.msg, cases[i].message) == NULL)
            fail_msg("case %zu: %s", i, err.msg);
        assert_int_equal(backups_left(&x), 2);
        close_fixture(&x);
    }
}

static void
what_a_policy_sees(void **state)
{
    (void)state;
    struct fixture x;
    struct gsp_error err;
    struct backup b;
    assert_int_equal(setenv("TZ", "<+0530>-5:30", 1), 0);
    open_fixture(&x);
    make(&b, 1, 0);
    backup_id_format(EPOCH + 2, b.parent_id); /* a FULL one has none, whatever its file says */
    b.data_bytes = 1000;
    b.wal_bytes = 24;
    b.recovery_time = EPOCH + 5;
    b.expire_time = EPOCH + 9;
    save(&x, &b);
    add(&x, 2, 1, BACKUP_DONE);
    add(&x, 3, 77, BACKUP_ORPHAN); /* its parent is missing */
    add(&x, 4, 3, BACKUP_DELETING);
    add(&x, 5, 1, BACKUP_MERGING);
    add(&x, 6, 1, BACKUP_RUNNING); /* nobody runs it */
    make(&b, 7, 0);
    free(b.dir);
    b.dir = strdup("COPY"); /* not the directory of its ID */
    save(&x, &b);
    ok(store_mkdir(&x.f.repo, "backups/main/lost+found", 0700, 0, &err)); /* nobody's backup */
    decide(0, "kkkkkkkk");
    ok(retention_run(&x.e, &(struct retention_options){.delete_expired = 1, .dry_run = 1}, &err));
    unsetenv("TZ");
    assert_int_equal(policy.day, DAY_OF_IT + 1);
    assert_int_equal(policy.n, 8);
    assert_int_equal(policy.seen[7].status, GSP_BACKUP_BUSY);
    static const uint32_t states[] = {GSP_BACKUP_BUSY, GSP_BACKUP_BROKEN, GSP_BACKUP_BUSY, GSP_BACKUP_BROKEN,
        GSP_BACKUP_BROKEN, GSP_BACKUP_VALID, GSP_BACKUP_VALID};
    static const uint32_t parents[] = {GSP_NO_PARENT, 6, 6, 4, GSP_NO_PARENT, 6, GSP_NO_PARENT};
    for (uint32_t i = 0; i < 7; i++) {
        assert_int_equal(policy.seen[i].status, states[i]);
        assert_int_equal(policy.seen[i].parent, parents[i]);
        assert_int_equal(policy.seen[i].full, i == 0 || i == 6);
    }
    assert_int_equal(policy.seen[6].bytes, 1024);
    assert_int_equal(policy.seen[6].start_time_us, (EPOCH + INT64_C(1)) * 1000000);
    assert_int_equal(policy.seen[6].recovery_time_us, (EPOCH + INT64_C(5)) * 1000000);
    assert_int_equal(policy.seen[6].expire_time_us, (EPOCH + INT64_C(9)) * 1000000);
    assert_int_equal(policy.seen[5].bytes, -1);
    close_fixture(&x);
}

/* With the locks held the policy is asked again, and its second word counts. */
static void
judged_again_under_locks(void **state)
{
    (void)state;
    struct fixture x;
    struct gsp_error err;
    struct backup_lock *lock = NULL;
    struct backup b;
    open_fixture(&x);
    add(&x, 1, 0, BACKUP_OK);
    add(&x, 2, 0, BACKUP_OK);
    decide(0, "ee");
    decide(1, "ke");
    ok(retention_run(&x.e, &deleting, &err));
    assert_int_equal(policy.calls, 2);
    assert_int_equal(backups_left(&x), 1);
    backup_at(&b, 2);
    ok(backup_lock_exclusive(&x.f.repo, "main", &b, &lock, &err)); /* nobody holds it any more */
    backup_unlock(lock);
    backup_clear(&b);
    close_fixture(&x);
}

static void
dry_run_deletes_nothing(void **state)
{
    (void)state;
    struct fixture x;
    struct gsp_error err;
    open_fixture(&x);
    add(&x, 1, 0, BACKUP_OK);
    add(&x, 2, 0, BACKUP_RUNNING);
    decide(0, "ee");
    ok(retention_run(&x.e, &(struct retention_options){.delete_expired = 1, .delete_wal = 1, .dry_run = 1}, &err));
    assert_int_equal(policy.calls, 1);
    assert_int_equal(backups_left(&x), 2);
    close_fixture(&x);
}

/* Whatever the policy says of WAL: a backup without its own cannot be restored without that from start to stop. */
static void
wal_of_archive_backups_stays(void **state)
{
    (void)state;
    static const char *const names[] = {"000000010000000000000001", "000000010000000000000002.gz",
        "000000010000000000000003", "000000010000000000000004", "000000010000000100000000", "000000020000000000000002",
        "000000000000000000000002", "0000000100000000000000ff", "x"};
    static const char *const stay[] = {"000000010000000000000002.gz", "000000010000000000000003",
        "000000000000000000000002", "0000000100000000000000ff", "x"};
    enum { SEGMENT = 1 << 24 };
    struct fixture x;
    struct gsp_error err;
    struct backup b;
    auto_listing left = {0};
    char *segment = calloc(1, SEGMENT);
    open_fixture(&x);
    make(&b, 1, 0);
    b.stream = 0;
    b.status = BACKUP_CORRUPT; /* no help to find the size of segments */
    b.start_lsn = 0x2000028;
    b.stop_lsn = 0x3000100;
    save(&x, &b);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "wal/main/%s", names[i]);
        ok(store_write_all(&x.f.repo, path, 0600, 0, segment, SEGMENT, &err));
    }
    policy.limit = GSP_WAL_ALL;
    ok(retention_run(&x.e, &(struct retention_options){.delete_wal = 1}, &err));
    ok(store_list(&x.f.repo, "wal/main", &left, &err));
    assert_int_equal(left.n, sizeof stay / sizeof stay[0]);
    for (size_t i = 0; i < left.n; i++) {
        int found = 0;
        for (size_t k = 0; k < sizeof stay / sizeof stay[0]; k++)
            found |= strcmp(left.entries[i].name, stay[k]) == 0;
        if (!found)
            fail_msg("%s should be gone", left.entries[i].name);
    }
    free(segment);
    close_fixture(&x);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy_that_breaks_its_rules),
        cmocka_unit_test(what_a_policy_sees),
        cmocka_unit_test(judged_again_under_locks),
        cmocka_unit_test(dry_run_deletes_nothing),
        cmocka_unit_test(wal_of_archive_backups_stays),
    };
    return cmocka_run_group_tests_name("engine/retention", tests, NULL, NULL);
}
