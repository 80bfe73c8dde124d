/* SPDX-License-Identifier: Apache-2.0
 * retention-standard: which backups of catalogs written by hand, and which WAL. */
#include "tests/contract/retention/retention_test.h"

#include <stdio.h>

struct policy {
    int64_t redundancy, window, wal_depth;
};

static int64_t
policy_value(void *arg, const struct gsp_option *opt)
{
    const struct policy *policy = arg;
    if (strcmp(opt->key, "redundancy") == 0)
        return policy->redundancy;
    if (strcmp(opt->key, "window") == 0)
        return policy->window;
    assert_string_equal(opt->key, "wal-depth");
    return policy->wal_depth;
}

static void
plan_by(const struct catalog *c, struct policy policy, struct gsp_verdict verdicts[BACKUPS_MAX])
{
    void *opts = bind_numbers(policy_value, &policy);
    plan(c, opts, verdicts);
    plugin_free_options(opts);
}

/* Two weeks: FULL on Sundays, PAGE in between; it is Saturday, the 21st, noon. */
static void
two_weeks(struct catalog *c)
{
    use_zone("UTC0");
    *c = (struct catalog){.now = at("2026-11-21 12:00:00")};
    add(c, "F1", NULL, at("2026-11-08 23:00:00"));
    add(c, "F1A", "F1", at("2026-11-10 23:00:00"));
    add(c, "F1B", "F1A", at("2026-11-14 23:00:00"));
    add(c, "F2", NULL, at("2026-11-15 23:00:00"));
    add(c, "F2A", "F2", at("2026-11-17 23:00:00"));
    add(c, "F2B", "F2A", at("2026-11-20 23:00:00"));
}

static void
without_a_policy_nothing_goes(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    two_weeks(&c);
    plan_by(&c, (struct policy){.wal_depth = 1}, v);
    for (uint32_t i = 0; i < c.n; i++)
        assert_verdict(&c, v, c.ids[i], "keep", "no retention policy is set");
}

static void
redundancy_keeps_whole_chains(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    two_weeks(&c);
    plan_by(&c, (struct policy){.redundancy = 1}, v);
    assert_verdict(&c, v, "F1", "expire", "not one of the 1 newest valid FULL backups");
    assert_verdict(&c, v, "F1A", "expire", "not based on one of the 1 newest valid FULL backups");
    assert_verdict(&c, v, "F1B", "expire", "");
    assert_verdict(&c, v, "F2", "keep", "one of the 1 newest valid FULL backups");
    assert_verdict(&c, v, "F2A", "keep", "based on F2, one of the 1 newest valid FULL backups");
    assert_verdict(&c, v, "F2B", "keep", "based on F2");
    plan_by(&c, (struct policy){.redundancy = 2}, v);
    for (uint32_t i = 0; i < c.n; i++)
        assert_verdict(&c, v, c.ids[i], "keep", "one of the 2 newest");
    plan_by(&c, (struct policy){.redundancy = UINT32_MAX}, v);
    assert_verdict(&c, v, "F1", "keep", "");
}

static void
only_valid_full_backups_count_for_redundancy(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    two_weeks(&c);
    add(&c, "F3", NULL, at("2026-11-21 01:00:00"))->status = GSP_BACKUP_BROKEN;
    add(&c, "F3A", "F3", at("2026-11-21 02:00:00"))->status = GSP_BACKUP_BROKEN;
    add(&c, "F2C", "F2B", at("2026-11-21 03:00:00"))->status = GSP_BACKUP_BROKEN;
    struct gsp_retention_backup *lost = add(&c, "LOST", "F2B", at("2026-11-21 04:00:00"));
    lost->parent = GSP_NO_PARENT;
    plan_by(&c, (struct policy){.redundancy = 1}, v);
    assert_verdict(&c, v, "F1", "expire", "");
    assert_verdict(&c, v, "F2", "keep", "");
    assert_verdict(&c, v, "F2B", "keep", "");
    assert_verdict(&c, v, "F2C", "keep", "based on F2"); /* whatever its status */
    assert_verdict(&c, v, "F3", "expire", "not one of");
    assert_verdict(&c, v, "F3A", "expire", "not based on");
    assert_verdict(&c, v, "LOST", "expire", "not based on");
    c.backups[find(&c, "F2")].status = GSP_BACKUP_BROKEN;
    plan_by(&c, (struct policy){.redundancy = 1}, v);
    assert_verdict(&c, v, "F1B", "keep", "based on F1");
    assert_verdict(&c, v, "F2", "expire", "");
    assert_verdict(&c, v, "F2B", "expire", "");
}

static void
a_window_makes_merges(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    two_weeks(&c);
    plan_by(&c, (struct policy){.window = 7}, v); /* from the 15th */
    assert_verdict(&c, v, "F1", "expire", "13d old, the window is 7d");
    assert_verdict(&c, v, "F1B", "expire", "7d old, the window is 7d");
    assert_verdict(&c, v, "F2", "keep", "6d old, in the window of 7d");
    assert_verdict(&c, v, "F2B", "keep", "1d old");
    plan_by(&c, (struct policy){.window = 8}, v); /* F1B, of the 14th, is in; the one below and FULL are not */
    assert_verdict(&c, v, "F1", "needed", "13d old, the window is 8d; backup F1B is based on it");
    assert_verdict(&c, v, "F1A", "needed", "backup F1B is based on it");
    assert_verdict(&c, v, "F1B", "merge", "7d old, in the window of 8d; all it is based on is expired");
    assert_verdict(&c, v, "F2", "keep", "");
    plan_by(&c, (struct policy){.window = 12}, v); /* the oldest incremental one that is in: nothing in between */
    assert_verdict(&c, v, "F1", "needed", "backup F1A is based on it");
    assert_verdict(&c, v, "F1A", "merge", "");
    assert_verdict(&c, v, "F1B", "keep", "");
    plan_by(&c, (struct policy){.window = 1}, v);
    assert_verdict(&c, v, "F2B", "expire", "1d old, the window is 1d");
    plan_by(&c, (struct policy){.window = UINT32_MAX}, v);
    assert_verdict(&c, v, "F1", "keep", "");
}

static void
both_have_to_be_violated(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    two_weeks(&c);
    plan_by(&c, (struct policy){.redundancy = 1, .window = 1}, v);
    assert_verdict(&c, v, "F1B", "expire", "7d old, the window is 1d; not based on one of the 1 newest");
    assert_verdict(&c, v, "F2", "keep", "one of the 1 newest"); /* the window alone would let it go */
    plan_by(&c, (struct policy){.redundancy = 1, .window = 14}, v);
    assert_verdict(&c, v, "F1", "keep", "in the window of 14d"); /* redundancy alone would let it go */
    assert_verdict(&c, v, "F1B", "keep", "in the window of 14d");
    plan_by(&c, (struct policy){.redundancy = 1, .window = 8}, v);
    assert_verdict(&c, v, "F1A", "needed", "11d old, the window is 8d; not based on one of the 1 newest");
    assert_verdict(&c, v, "F1B", "merge", "");
}

static void
a_pinned_backup_stays_and_its_ancestors_too(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    two_weeks(&c);
    c.backups[find(&c, "F1A")].expire_time_us = c.now + 36 * HOUR;
    c.backups[find(&c, "F1")].expire_time_us = c.now; /* over */
    plan_by(&c, (struct policy){.redundancy = 1}, v);
    assert_verdict(&c, v, "F1", "needed", "backup F1A is based on it");
    assert_verdict(&c, v, "F1A", "merge", "pinned, for 36h more");
    assert_verdict(&c, v, "F1B", "expire", "");
    assert_int_equal(v[find(&c, "F1A")].age_max_days, 12); /* from its time to the end of the pin */
    c.backups[find(&c, "F1")].expire_time_us = c.now + 1;
    plan_by(&c, (struct policy){.redundancy = 1}, v);
    assert_verdict(&c, v, "F1", "keep", "pinned");
    assert_verdict(&c, v, "F1A", "keep", "pinned"); /* nothing to merge: what it is based on stays for its own sake */
}

static void
merges_take_nothing_from_others(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    use_zone("UTC0");
    c = (struct catalog){.now = at("2026-11-21 12:00:00")};
    add(&c, "F", NULL, at("2026-11-01 10:00:00"));
    add(&c, "A", "F", at("2026-11-02 10:00:00"));
    add(&c, "A1", "A", at("2026-11-20 10:00:00"));
    add(&c, "A2", "A1", at("2026-11-20 11:00:00"));
    add(&c, "B", "F", at("2026-11-03 10:00:00"));
    plan_by(&c, (struct policy){.window = 7}, v);
    assert_verdict(&c, v, "A1", "merge", "");
    assert_verdict(&c, v, "B", "expire", ""); /* based on what goes away, and gone before */
    add(&c, "B1", "B", at("2026-11-20 12:00:00"));
    plan_by(&c, (struct policy){.window = 7}, v);
    assert_verdict(&c, v, "F", "needed", "");
    assert_verdict(&c, v, "A", "needed", "backup A1 is based on it");
    assert_verdict(&c, v, "A1", "keep", "");
    assert_verdict(&c, v, "B1", "keep", "");
    c.n--;
    c.backups[find(&c, "A")].status = GSP_BACKUP_BROKEN; /* of such nothing good can be made */
    plan_by(&c, (struct policy){.window = 7}, v);
    assert_verdict(&c, v, "A", "needed", "");
    assert_verdict(&c, v, "A1", "keep", "");
    c.backups[find(&c, "A")].status = GSP_BACKUP_VALID;
    c.backups[find(&c, "A1")].status = GSP_BACKUP_BROKEN;
    plan_by(&c, (struct policy){.window = 7}, v);
    assert_verdict(&c, v, "F", "needed", "");
    assert_verdict(&c, v, "A1", "keep", "");
}

static void
unfinished_work_is_left_alone(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    two_weeks(&c);
    c.backups[find(&c, "F1B")].status = GSP_BACKUP_BUSY;
    add(&c, "NEW", NULL, at("2026-11-21 11:00:00"))->status = GSP_BACKUP_BUSY;
    plan_by(&c, (struct policy){.redundancy = 1}, v);
    assert_verdict(&c, v, "NEW", "keep", "being made or merged");
    assert_verdict(&c, v, "F2", "keep", "one of the 1 newest"); /* what is being made does not count yet */
    assert_verdict(&c, v, "F1", "needed", "");
    assert_verdict(&c, v, "F1A", "needed", "");
    assert_verdict(&c, v, "F1B", "keep", "being made or merged");
}

/* "Redundancy: 1/2, Time Window: 3d/7d. Active" */
static void
the_numbers_of_the_report(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    static const uint32_t redundancy[] = {2, 2, 2, 1, 1, 1}, age[] = {13, 11, 7, 6, 4, 1};
    two_weeks(&c);
    plan_by(&c, (struct policy){.redundancy = 5, .window = 30}, v);
    for (uint32_t i = 0; i < c.n; i++) {
        assert_int_equal(v[i].redundancy, redundancy[i]);
        assert_int_equal(v[i].redundancy_max, 5);
        assert_int_equal(v[i].age_days, age[i]);
        assert_int_equal(v[i].age_max_days, 30);
    }
    /* A recovery time is what counts; without one the start. A clock that went back makes no negative age. */
    c.backups[0].recovery_time_us = at("2026-11-20 00:00:00");
    c.backups[1].recovery_time_us = 0;
    c.backups[2].recovery_time_us = at("2026-12-24 00:00:00");
    plan_by(&c, (struct policy){.window = 2}, v);
    assert_int_equal(v[0].age_days, 1);
    assert_int_equal(v[1].age_days, 11);
    assert_int_equal(v[2].age_days, 0);
    assert_verdict(&c, v, "F1", "keep", "1d old, in the window of 2d");
    assert_verdict(&c, v, "F1B", "keep", "0d old");
}

/* The first second of a day that the window includes, and the last one that it does not. */
static void
days_begin_at_midnight_of_the_zone(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *now, *in, *out;
        int64_t window;
    } cases[] = {
        {"UTC0", "2026-11-21 23:59:59", "2026-11-15 00:00:00", "2026-11-14 23:59:59", 7},
        {"UTC0", "2026-11-21 00:00:00", "2026-11-15 00:00:00", "2026-11-14 23:59:59", 7},
        {"CST-8", "2026-11-21 03:00:00", "2026-11-21 00:00:00", "2026-11-20 23:59:59", 1},
        {"<+0530>-5:30", "2026-11-21 03:00:00", "2026-11-15 00:00:00", "2026-11-14 23:59:59", 7},
        {"<-0930>9:30", "2026-11-21 20:00:00", "2026-11-15 00:00:00", "2026-11-14 23:59:59", 7},
        /* The clock was put back on 2026-11-01, so the window holds 7 * 24 + 1 hours; on 2026-03-08 forth. */
        {"EST5EDT,M3.2.0,M11.1.0", "2026-11-04 12:00:00", "2026-10-29 00:00:00", "2026-10-28 23:59:59", 7},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-03-09 12:00:00", "2026-03-03 00:00:00", "2026-03-02 23:59:59", 7},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-03-08 12:00:00", "2026-03-08 00:00:00", "2026-03-07 23:59:59", 1},
        /* by half an hour, on 2026-10-04 */
        {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2026-10-05 12:00:00", "2026-10-04 00:00:00", "2026-10-03 23:59:59",
            2},
        /* 2026-10-18 begins at one o'clock */
        {"<-03>3<-02>,M10.3.0/0,M2.3.0/0", "2026-10-18 12:00:00", "2026-10-18 01:00:00", "2026-10-17 23:59:59", 1},
        {"UTC0", "2026-03-01 12:00:00", "2026-02-28 00:00:00", "2026-02-27 23:59:59", 2},
        {"UTC0", "2028-03-01 12:00:00", "2028-02-29 00:00:00", "2028-02-28 23:59:59", 2},
        {"UTC0", "2027-01-01 12:00:00", "2026-12-31 00:00:00", "2026-12-30 23:59:59", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_verdict v[BACKUPS_MAX];
        use_zone(cases[i].zone);
        struct catalog c = {.now = at(cases[i].now)};
        add(&c, "OUT", NULL, at(cases[i].out));
        add(&c, "IN", NULL, at(cases[i].in));
        assert_true(c.backups[1].start_time_us - c.backups[0].start_time_us == SECOND);
        plan_by(&c, (struct policy){.window = cases[i].window}, v);
        assert_verdict(&c, v, "IN", "keep", "");
        assert_verdict(&c, v, "OUT", "expire", "");
    }
}

static void
enough_restorable_full_backups_are_left(void **state)
{
    (void)state;
    use_zone("UTC0");
    struct chance chance = {UINT64_C(424242)};
    uint32_t gone = 0;
    for (int round = 0; round < 10000; round++) {
        struct catalog c;
        struct gsp_verdict v[BACKUPS_MAX];
        struct policy policy = {.redundancy = 1 + below(&chance, 6), .window = below(&chance, 20)};
        int64_t have = 0, left = 0;
        random_catalog(&chance, &c);
        plan_by(&c, policy, v);
        for (uint32_t i = 0; i < c.n; i++) {
            int counts = c.backups[i].full && c.backups[i].status == GSP_BACKUP_VALID;
            have += counts;
            left += counts && v[i].action != GSP_VERDICT_EXPIRE;
            gone += v[i].action == GSP_VERDICT_EXPIRE;
        }
        assert_true(left >= (have < policy.redundancy ? have : policy.redundancy));
    }
    assert_true(gone > 10000);
}

static void
a_window_lets_nothing_go_that_is_in_it(void **state)
{
    (void)state;
    use_zone("UTC0");
    struct chance chance = {UINT64_C(515151)};
    uint32_t merges = 0;
    for (int round = 0; round < 10000; round++) {
        struct catalog c;
        struct gsp_verdict v[BACKUPS_MAX];
        struct policy policy = {.redundancy = below(&chance, 4), .window = 1 + below(&chance, 20)};
        random_catalog(&chance, &c);
        plan_by(&c, policy, v);
        for (uint32_t i = 0; i < c.n; i++) {
            merges += v[i].action == GSP_VERDICT_MERGE;
            if (v[i].age_days < (uint32_t)policy.window)
                assert_false(v[i].expired);
        }
    }
    assert_true(merges > 1000);
}

/* Day by day: FULL on Sundays, incremental else, and what the policy says is done after each. */
static void
run_schedule(struct policy policy, int merge, void (*check)(const struct catalog *c, struct policy policy, int day))
{
    struct catalog c = {0};
    char id[16], parent[16] = "";
    use_zone("CET-1CEST,M3.5.0,M10.5.0/3");
    for (int day = 0; day < 60; day++) {
        struct gsp_verdict v[BACKUPS_MAX];
        c.now = at("2026-10-04 22:00:00") + day * DAY; /* a Sunday; on the 25th the clock is put back */
        (void)snprintf(id, sizeof id, "D%02d", day);
        (void)add(&c, id, day % 7 == 0 ? NULL : parent, c.now);
        memcpy(parent, id, sizeof parent);
        plan_by(&c, policy, v);
        carry_out(&c, v, merge);
        for (uint32_t i = 0; i < c.n; i++)
            assert_true(is_whole(&c, i));
        check(&c, policy, day);
    }
}

/* The last days can be restored, each of them. */
static void
check_window(const struct catalog *c, struct policy policy, int day)
{
    for (int64_t back = 0; back < policy.window && back <= day; back++) {
        char id[16];
        (void)snprintf(id, sizeof id, "D%02d", day - (int)back);
        (void)find(c, id);
    }
    assert_in_range(c->n, 1, policy.window + 7); /* and the rest of a chain at most */
}

static void
check_window_merged(const struct catalog *c, struct policy policy, int day)
{
    check_window(c, policy, day);
    assert_in_range(c->n, 1, policy.window);
}

static void
check_redundancy(const struct catalog *c, struct policy policy, int day)
{
    int64_t full = 0;
    for (uint32_t i = 0; i < c->n; i++)
        full += c->backups[i].full;
    assert_true(full == (day / 7 + 1 < policy.redundancy ? day / 7 + 1 : policy.redundancy));
    assert_int_equal(c->n, (full - 1) * 7 + day % 7 + 1);
}

static void
sixty_days_of_a_schedule(void **state)
{
    (void)state;
    run_schedule((struct policy){.window = 10}, 0, check_window);
    run_schedule((struct policy){.window = 10}, 1, check_window_merged);
    run_schedule((struct policy){.redundancy = 2}, 0, check_redundancy);
    run_schedule((struct policy){.redundancy = 2}, 1, check_redundancy);
    run_schedule((struct policy){.redundancy = 1, .window = 10}, 0, check_window);
}

/* ---- WAL ----------------------------------------------------------------------------------------- */

static void
plan_wal_by(const struct catalog *c, int64_t depth, gsp_lsn ret[TIMELINES_MAX])
{
    struct policy policy = {.wal_depth = depth};
    struct gsp_error err = {0};
    void *opts = bind_numbers(policy_value, &policy);
    assert_int_equal(retention_ops()->plan_wal(
                         subject.plugin->state, opts, c->backups, c->n, c->timelines, c->n_timelines, ret, &err),
        0);
    plugin_free_options(opts);
}

static struct gsp_retention_backup *
add_at(struct catalog *c, const char *id, uint32_t timeline, gsp_lsn start_lsn)
{
    struct gsp_retention_backup *b = add(c, id, NULL, (int64_t)(c->n + 1) * DAY);
    b->timeline = timeline;
    b->start_lsn = start_lsn;
    b->stop_lsn = start_lsn + 5;
    return b;
}

static void
wal_before_the_first_backup_may_go(void **state)
{
    (void)state;
    gsp_lsn before[TIMELINES_MAX];
    struct catalog c = {.timelines = {{.timeline = 1}}, .n_timelines = 1};
    plan_wal_by(&c, 0, before);
    assert_int_equal(before[0], GSP_WAL_ALL);
    add_at(&c, "NONE", 1, 0)->status = GSP_BACKUP_BROKEN; /* it never got so far */
    plan_wal_by(&c, 0, before);
    assert_int_equal(before[0], GSP_WAL_ALL);
    add_at(&c, "BAD", 1, 100)->status = GSP_BACKUP_BROKEN;
    add_at(&c, "A", 1, 200);
    add_at(&c, "B", 1, 300);
    add_at(&c, "C", 1, 400);
    plan_wal_by(&c, 0, before);
    assert_int_equal(before[0], 100);
}

static void
wal_depth_counts_valid_backups(void **state)
{
    (void)state;
    gsp_lsn before[TIMELINES_MAX];
    struct catalog c = {.timelines = {{.timeline = 1}}, .n_timelines = 1};
    add_at(&c, "BAD", 1, 100)->status = GSP_BACKUP_BROKEN;
    add_at(&c, "A", 1, 200);
    add_at(&c, "B", 1, 300);
    add_at(&c, "BAD2", 1, 350)->status = GSP_BACKUP_BROKEN;
    add_at(&c, "C", 1, 400);
    static const gsp_lsn expected[] = {100, 400, 300, 200, 100, 100};
    for (int64_t depth = 0; depth < 6; depth++) {
        plan_wal_by(&c, depth, before);
        assert_int_equal(before[0], expected[depth]);
    }
    add_at(&c, "NOW", 1, 380)->status = GSP_BACKUP_BUSY;
    plan_wal_by(&c, 1, before);
    assert_int_equal(before[0], 380);
    add_at(&c, "SOON", 1, 0)->status = GSP_BACKUP_BUSY; /* it will need WAL, from who knows where */
    plan_wal_by(&c, 1, before);
    assert_int_equal(before[0], 0);
}

/* Timeline 1: A 200, B 300, C 600; 4 left it at 150, 2 at 500. Timeline 2: D 700; 3 left it at 800. The history of 5 is
 * lost. */
static void
five_timelines(struct catalog *c)
{
    *c = (struct catalog){
        .timelines = {{.timeline = 3, .parent = 2, .switch_lsn = 800}, {.timeline = 2, .parent = 1, .switch_lsn = 500},
            {.timeline = 4, .parent = 1, .switch_lsn = 150}, {.timeline = 5}, {.timeline = 1}},
        .n_timelines = 5};
    add_at(c, "A", 1, 200);
    add_at(c, "B", 1, 300);
    add_at(c, "C", 1, 600);
    add_at(c, "D", 2, 700);
}

static void
wal_of_other_timelines(void **state)
{
    (void)state;
    gsp_lsn w[TIMELINES_MAX];
    struct catalog c;
    five_timelines(&c);
    plan_wal_by(&c, 0, w);
    assert_int_equal(w[0], 0);           /* 3: reached from D */
    assert_int_equal(w[1], 0);           /* 2: reached from A and B */
    assert_int_equal(w[2], GSP_WAL_ALL); /* 4: left 1 before there was a backup */
    assert_int_equal(w[3], GSP_WAL_ALL); /* 5: nobody knows the way, and no backup is on it */
    assert_int_equal(w[4], 200);
    plan_wal_by(&c, 1, w);
    assert_int_equal(w[0], 0); /* 3: from D */
    assert_int_equal(w[1], 700);
    assert_int_equal(w[2], GSP_WAL_ALL);
    assert_int_equal(w[4], 600);
    plan_wal_by(&c, 2, w); /* 2 has not enough: B helps out, and 1 must keep what leads from there */
    assert_int_equal(w[0], 0);
    assert_int_equal(w[1], 0);
    assert_int_equal(w[4], 300);
    c.backups[find(&c, "B")].status = GSP_BACKUP_BROKEN;
    plan_wal_by(&c, 2, w);
    assert_int_equal(w[1], 0);
    assert_int_equal(w[4], 200);
    c.backups[find(&c, "D")].status = GSP_BACKUP_BROKEN; /* 3 is now reached from A, along 1 and 2 */
    plan_wal_by(&c, 1, w);
    assert_int_equal(w[0], 0);
    assert_int_equal(w[1], 0);
    assert_int_equal(w[4], 200);
    add_at(&c, "E", 5, 900);
    plan_wal_by(&c, 3, w);
    assert_int_equal(w[3], 900);
    c.timelines[4] = (struct gsp_retention_timeline){.timeline = 1, .parent = 2, .switch_lsn = 9}; /* a circle */
    plan_wal_by(&c, 9, w);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_policy_nothing_goes),
        cmocka_unit_test(redundancy_keeps_whole_chains),
        cmocka_unit_test(only_valid_full_backups_count_for_redundancy),
        cmocka_unit_test(a_window_makes_merges),
        cmocka_unit_test(both_have_to_be_violated),
        cmocka_unit_test(a_pinned_backup_stays_and_its_ancestors_too),
        cmocka_unit_test(merges_take_nothing_from_others),
        cmocka_unit_test(unfinished_work_is_left_alone),
        cmocka_unit_test(the_numbers_of_the_report),
        cmocka_unit_test(days_begin_at_midnight_of_the_zone),
        cmocka_unit_test(enough_restorable_full_backups_are_left),
        cmocka_unit_test(a_window_lets_nothing_go_that_is_in_it),
        cmocka_unit_test(sixty_days_of_a_schedule),
        cmocka_unit_test(wal_before_the_first_backup_may_go),
        cmocka_unit_test(wal_depth_counts_valid_backups),
        cmocka_unit_test(wal_of_other_timelines),
    };
    if (plugin_under_test_open(&subject, GSP_KIND_RETENTION, argc > 1 ? argv[1] : NULL) != 0)
        return 1;
    int failed = cmocka_run_group_tests_name("retention-standard", tests, NULL, NULL);
    plugin_under_test_close(&subject);
    return failed;
}
