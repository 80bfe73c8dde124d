/* SPDX-License-Identifier: Apache-2.0
 * What every retention policy owes the core, whatever it decides. */
#include "tests/contract/retention/retention_test.h"

#define CATALOGS 10000

static int64_t
random_value(void *arg, const struct gsp_option *opt)
{
    struct chance *chance = arg;
    int64_t value = below(chance, 2) ? 0 : below(chance, 12);
    return value < opt->min ? opt->min : value;
}

/* Every number in reach of the catalogs, often 0. Free with plugin_free_options. */
static void *
random_options(struct chance *chance)
{
    return bind_numbers(random_value, chance);
}

static int
stays(const struct gsp_verdict *v)
{
    return v->action != GSP_VERDICT_EXPIRE;
}

static void
assert_ancestors_stay(const struct catalog *c, const struct gsp_verdict *verdicts, uint32_t i)
{
    for (uint32_t up = c->backups[i].parent, steps = 0; up != GSP_NO_PARENT && steps < c->n; steps++) {
        assert_true(stays(&verdicts[up]));
        up = c->backups[up].parent;
    }
}

/* Is a above b, with no `but` on the way? */
static int
is_above_without(const struct catalog *c, uint32_t a, uint32_t b, uint32_t but)
{
    for (uint32_t steps = 0; b != GSP_NO_PARENT && b != but && steps <= c->n; steps++) {
        b = c->backups[b].parent;
        if (b == a)
            return 1;
    }
    return 0;
}

/* A merge takes away all ancestors: they are expired and whole, and nobody else who stays is based on one. */
static void
assert_can_be_merged(const struct catalog *c, const struct gsp_verdict *verdicts, uint32_t i)
{
    const struct gsp_retention_backup *b = &c->backups[i];
    uint32_t steps = 0;
    assert_int_equal(b->status, GSP_BACKUP_VALID);
    assert_false(b->full);
    assert_false(verdicts[i].expired);
    for (uint32_t up = b->parent;; up = c->backups[up].parent) {
        assert_int_not_equal(up, GSP_NO_PARENT);
        assert_in_range(steps++, 0, c->n);
        assert_int_equal(c->backups[up].status, GSP_BACKUP_VALID);
        assert_true(verdicts[up].expired);
        assert_int_equal(verdicts[up].action, GSP_VERDICT_KEEP);
        for (uint32_t other = 0; other < c->n; other++)
            assert_false(other != i && !verdicts[other].expired && is_above_without(c, up, other, i));
        if (c->backups[up].full)
            return;
    }
}

static void
check_verdicts(const struct catalog *c, const struct gsp_verdict *verdicts)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct gsp_verdict *v = &verdicts[i];
        const struct gsp_retention_backup *b = &c->backups[i];
        size_t len = strnlen(v->reason, sizeof v->reason);
        assert_in_range(v->action, GSP_VERDICT_KEEP, GSP_VERDICT_MERGE);
        assert_in_range(v->expired, 0, 1);
        assert_in_range(len, 1, sizeof v->reason - 1);
        for (size_t k = 0; k < len; k++)
            assert_in_range(v->reason[k], ' ', '~');
        if (b->status == GSP_BACKUP_BUSY || b->expire_time_us > c->now)
            assert_false(v->expired);
        if (stays(v))
            assert_ancestors_stay(c, verdicts, i);
        else
            assert_true(v->expired);
        if (v->action == GSP_VERDICT_MERGE)
            assert_can_be_merged(c, verdicts, i);
    }
}

static void
assert_same_verdict(const struct gsp_verdict *a, const struct gsp_verdict *b)
{
    assert_int_equal(a->action, b->action);
    assert_int_equal(a->expired, b->expired);
    assert_int_equal(a->redundancy, b->redundancy);
    assert_int_equal(a->redundancy_max, b->redundancy_max);
    assert_int_equal(a->age_days, b->age_days);
    assert_int_equal(a->age_max_days, b->age_max_days);
    assert_string_equal(a->reason, b->reason);
}

static void
no_catalog_makes_it_break_a_promise(void **state)
{
    (void)state;
    static const char *const zones[] = {"UTC0", "<+0530>-5:30", "EST5EDT,M3.2.0,M11.1.0"};
    struct chance chance = {UINT64_C(20261122)};
    struct gsp_verdict verdicts[BACKUPS_MAX], again[BACKUPS_MAX];
    uint32_t gone = 0, kept = 0, from[BACKUPS_MAX];
    for (int round = 0; round < CATALOGS; round++) {
        struct catalog c, other;
        use_zone(zones[round % 3]);
        void *opts = random_options(&chance);
        random_catalog(&chance, &c);
        plan(&c, opts, verdicts);
        check_verdicts(&c, verdicts);
        plan(&c, opts, again);
        for (uint32_t i = 0; i < c.n; i++)
            assert_same_verdict(&verdicts[i], &again[i]);
        shuffle(&chance, &c, &other, from);
        plan(&other, opts, again);
        for (uint32_t i = 0; i < c.n; i++)
            assert_same_verdict(&verdicts[from[i]], &again[i]);
        for (uint32_t i = 0; i < c.n; i++) {
            if (stays(&verdicts[i]))
                kept++;
            else
                gone++;
        }
        plugin_free_options(opts);
    }
    /* It was asked something. */
    assert_in_range(gone, CATALOGS, UINT32_MAX);
    assert_in_range(kept, CATALOGS, UINT32_MAX);
}

/* Without what was deleted nothing else goes. */
static void
a_second_run_finds_nothing_more(void **state)
{
    (void)state;
    use_zone("UTC0");
    struct chance chance = {UINT64_C(7)};
    for (int round = 0; round < 2000; round++) {
        struct catalog c;
        struct gsp_verdict verdicts[BACKUPS_MAX];
        void *opts = random_options(&chance);
        random_catalog(&chance, &c);
        plan(&c, opts, verdicts);
        carry_out(&c, verdicts, 0);
        plan(&c, opts, verdicts);
        for (uint32_t i = 0; i < c.n; i++)
            assert_true(stays(&verdicts[i]));
        plugin_free_options(opts);
    }
}

/* Nothing that could be restored and stays is lost by a deletion or a merge. */
static void
what_stays_can_be_restored_as_before(void **state)
{
    (void)state;
    use_zone("UTC0");
    struct chance chance = {UINT64_C(8)};
    for (int round = 0; round < CATALOGS; round++) {
        struct catalog c;
        struct gsp_verdict verdicts[BACKUPS_MAX];
        char whole[BACKUPS_MAX][16];
        uint32_t n = 0;
        void *opts = random_options(&chance);
        random_catalog(&chance, &c);
        plan(&c, opts, verdicts);
        for (uint32_t i = 0; i < c.n; i++)
            if (!verdicts[i].expired && is_whole(&c, i))
                memcpy(whole[n++], c.ids[i], sizeof whole[0]);
        carry_out(&c, verdicts, 1);
        for (uint32_t i = 0; i < n; i++)
            assert_true(is_whole(&c, find(&c, whole[i])));
        plugin_free_options(opts);
    }
}

static void
nothing_expires_unless_somebody_asked(void **state)
{
    (void)state;
    use_zone("UTC0");
    struct chance chance = {UINT64_C(99)};
    for (int round = 0; round < 200; round++) {
        struct catalog c;
        struct gsp_verdict verdicts[BACKUPS_MAX];
        random_catalog(&chance, &c);
        plan(&c, subject.opts, verdicts); /* the defaults */
        for (uint32_t i = 0; i < c.n; i++) {
            assert_int_equal(verdicts[i].action, GSP_VERDICT_KEEP);
            assert_false(verdicts[i].expired);
        }
    }
}

static void
an_empty_catalog_is_fine(void **state)
{
    (void)state;
    const struct gsp_retention_env env = env_at(0);
    struct gsp_error err = {0};
    const struct gsp_retention_timeline one = {.timeline = 1};
    gsp_lsn lsn = 5;
    /* Nothing is set by default, and that does not depend on the backups. */
    assert_int_equal(
        retention_ops()->plan(subject.plugin->state, subject.opts, &env, NULL, 0, NULL, &err), GSP_PLAN_NOT_SET);
    assert_int_equal(retention_ops()->plan_wal(subject.plugin->state, subject.opts, NULL, 0, NULL, 0, NULL, &err), 0);
    assert_int_equal(retention_ops()->plan_wal(subject.plugin->state, subject.opts, NULL, 0, &one, 1, &lsn, &err), 0);
    assert_int_equal(lsn, GSP_WAL_ALL); /* nobody can use it */
    assert_int_equal(err.code, 0);
}

static void
a_list_that_cannot_be_is_refused(void **state)
{
    (void)state;
    const struct gsp_retention_env env = env_at(DAY);
    struct gsp_verdict verdict = {.action = 77};
    struct gsp_retention_backup b = {.id = "A", .parent = 1, .status = GSP_BACKUP_VALID, .start_time_us = HOUR};
    struct gsp_error err = {0};
    assert_int_equal(
        retention_ops()->plan(subject.plugin->state, subject.opts, &env, &b, 1, &verdict, &err), GSP_E_BUG);
    b.parent = 0;
    b.full = 1;
    gsp_error_clear(&err);
    assert_int_equal(
        retention_ops()->plan(subject.plugin->state, subject.opts, &env, &b, 1, &verdict, &err), GSP_E_BUG);
    assert_int_equal(verdict.action, 77);
}

static void
odd_times_and_words_do_no_harm(void **state)
{
    (void)state;
    use_zone("UTC0");
    static const int64_t times[] = {0, 1, -62135596800, 253402300799, 32503680000};
    struct chance chance = {UINT64_C(5)};
    char long_id[300];
    memset(long_id, 'Z', sizeof long_id - 1);
    long_id[sizeof long_id - 1] = '\0';
    for (int round = 0; round < 500; round++) {
        struct catalog c;
        struct gsp_verdict verdicts[BACKUPS_MAX];
        void *opts = random_options(&chance);
        random_catalog(&chance, &c);
        for (uint32_t i = 0; i < c.n; i++) {
            c.backups[i].recovery_time_us = times[below(&chance, 5)] * SECOND;
            c.backups[i].start_time_us = times[below(&chance, 5)] * SECOND;
            c.backups[i].expire_time_us = below(&chance, 2) ? 0 : times[below(&chance, 5)] * SECOND;
            c.backups[i].status = below(&chance, 6); /* some of a later version */
            if (below(&chance, 2))
                c.backups[i].id = long_id;
        }
        plan(&c, opts, verdicts);
        check_verdicts(&c, verdicts);
        plugin_free_options(opts);
    }
}

/* ---- WAL ----------------------------------------------------------------------------------------- */

static void
plan_wal(const struct catalog *c, const void *opts, gsp_lsn ret[TIMELINES_MAX])
{
    struct gsp_error err = {0};
    for (uint32_t t = 0; t < TIMELINES_MAX; t++)
        ret[t] = 4711;
    assert_int_equal(retention_ops()->plan_wal(
                         subject.plugin->state, opts, c->backups, c->n, c->timelines, c->n_timelines, ret, &err),
        0);
    if (c->n_timelines < TIMELINES_MAX)
        assert_int_equal(ret[c->n_timelines], 4711);
}

/* With whatever options: of every timeline the newest valid backup can be recovered to its end, and what is being made
 * does not lose WAL. */
static void
wal_of_the_newest_backup_stays(void **state)
{
    (void)state;
    struct chance chance = {UINT64_C(31)};
    for (int round = 0; round < CATALOGS; round++) {
        struct catalog c, other;
        gsp_lsn before[TIMELINES_MAX], again[TIMELINES_MAX], newest[TIMELINES_MAX] = {0};
        uint32_t from[BACKUPS_MAX];
        void *opts = random_options(&chance);
        random_catalog(&chance, &c);
        plan_wal(&c, opts, before);
        for (uint32_t i = 0; i < c.n; i++) {
            const struct gsp_retention_backup *b = &c.backups[i];
            if (b->status == GSP_BACKUP_VALID && b->start_lsn > newest[b->timeline - 1])
                newest[b->timeline - 1] = b->start_lsn;
            if (b->status == GSP_BACKUP_BUSY)
                assert_in_range(before[b->timeline - 1], 0, b->start_lsn);
            for (uint32_t t = 0; b->status == GSP_BACKUP_BUSY && b->start_lsn == 0 && t < c.n_timelines; t++)
                assert_int_equal(before[t], 0);
        }
        for (uint32_t t = 0; t < c.n_timelines; t++)
            if (newest[t] != 0)
                assert_in_range(before[t], 0, newest[t]);
        shuffle(&chance, &c, &other, from);
        plan_wal(&other, opts, again);
        assert_memory_equal(before, again, sizeof before);
        plugin_free_options(opts);
    }
}

/* Can a restore of the backup go on along timeline t? */
static int
is_reachable(const struct catalog *c, const struct gsp_retention_backup *b, uint32_t t)
{
    while (c->timelines[t].parent != 0) {
        gsp_lsn left_at = c->timelines[t].switch_lsn;
        t = c->timelines[t].parent - 1;
        if (c->timelines[t].timeline == b->timeline)
            return b->stop_lsn != 0 && b->stop_lsn <= left_at;
    }
    return 0;
}

/* The defaults ask for no depth: every point in time that a valid backup can be recovered to stays in reach. */
static void
without_a_depth_every_way_stays_open(void **state)
{
    (void)state;
    struct chance chance = {UINT64_C(32)};
    uint32_t ways = 0;
    for (int round = 0; round < CATALOGS; round++) {
        struct catalog c;
        gsp_lsn before[TIMELINES_MAX];
        random_catalog(&chance, &c);
        plan_wal(&c, subject.opts, before);
        for (uint32_t i = 0; i < c.n; i++) {
            const struct gsp_retention_backup *b = &c.backups[i];
            if (b->start_lsn != 0)
                assert_in_range(before[b->timeline - 1], 0, b->start_lsn);
            for (uint32_t t = 0; t < c.n_timelines && b->status == GSP_BACKUP_VALID; t++) {
                if (!is_reachable(&c, b, t))
                    continue;
                assert_in_range(before[t], 0, c.timelines[t].switch_lsn);
                ways++;
            }
        }
    }
    assert_in_range(ways, CATALOGS, UINT32_MAX);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_catalog_makes_it_break_a_promise),
        cmocka_unit_test(a_second_run_finds_nothing_more),
        cmocka_unit_test(what_stays_can_be_restored_as_before),
        cmocka_unit_test(nothing_expires_unless_somebody_asked),
        cmocka_unit_test(an_empty_catalog_is_fine),
        cmocka_unit_test(a_list_that_cannot_be_is_refused),
        cmocka_unit_test(odd_times_and_words_do_no_harm),
        cmocka_unit_test(wal_of_the_newest_backup_stays),
        cmocka_unit_test(without_a_depth_every_way_stays_open),
    };
    if (plugin_under_test_open(&subject, GSP_KIND_RETENTION, argc > 1 ? argv[1] : NULL) != 0)
        return 1;
    int failed = cmocka_run_group_tests_name("retention", tests, NULL, NULL);
    plugin_under_test_close(&subject);
    return failed;
}
