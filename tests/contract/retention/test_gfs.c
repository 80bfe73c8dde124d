/* SPDX-License-Identifier: Apache-2.0
 * retention-gfs: which backups of calendars written by hand. */
#include "tests/contract/retention/retention_test.h"

#include <stdio.h>
#include <time.h>

struct schedule {
    int64_t daily, weekly, monthly, yearly;
};

static int64_t
schedule_value(void *arg, const struct gsp_option *opt)
{
    const struct schedule *schedule = arg;
    if (strcmp(opt->key, "daily") == 0)
        return schedule->daily;
    if (strcmp(opt->key, "weekly") == 0)
        return schedule->weekly;
    if (strcmp(opt->key, "monthly") == 0)
        return schedule->monthly;
    assert_string_equal(opt->key, "yearly");
    return schedule->yearly;
}

static void
plan_by(const struct catalog *c, struct schedule schedule, struct gsp_verdict verdicts[BACKUPS_MAX])
{
    void *opts = bind_numbers(schedule_value, &schedule);
    plan(c, opts, verdicts);
    plugin_free_options(opts);
}

/* A FULL backup at each of these local times, named A, B, ... */
static void
full_backups(struct catalog *c, const char *now, const char *const *times, size_t n)
{
    *c = (struct catalog){.now = at(now)};
    for (size_t i = 0; i < n; i++)
        add(c, (char[]){(char)('A' + i), '\0'}, NULL, at(times[i]));
}

/* Those not named in `kept` expire; "A:daily 2026-11-17;B:..." */
static void
assert_kept(const struct catalog *c, const struct gsp_verdict *verdicts, const char *kept)
{
    for (uint32_t i = 0; i < c->n; i++) {
        char mark[24], reason[160] = "";
        (void)snprintf(mark, sizeof mark, "%s:", c->ids[i]);
        const char *p = strstr(kept, mark);
        if (p == NULL) {
            assert_verdict(c, verdicts, c->ids[i], "expire", "");
            continue;
        }
        p += strlen(mark);
        (void)snprintf(reason, sizeof reason, "%.*s", (int)strcspn(p, ";"), p);
        assert_verdict(c, verdicts, c->ids[i], "keep", reason);
        assert_string_equal(verdicts[i].reason, reason);
    }
}

static void
the_newest_of_each_period_stays(void **state)
{
    (void)state;
    static const char *const times[] = {
        "2025-12-31 23:00:00", /* A Wednesday, W01 of 2026 */
        "2026-08-31 01:00:00", /* B Monday, W36 */
        "2026-09-30 01:00:00", /* C Wednesday, W40 */
        "2026-11-01 23:00:00", /* D Sunday, W44 */
        "2026-11-09 02:00:00", /* E Monday, W46 */
        "2026-11-15 23:59:59", /* F Sunday, W46 */
        "2026-11-16 00:00:00", /* G Monday, W47 */
        "2026-11-20 01:00:00", /* H Friday */
        "2026-11-20 22:00:00", /* I */
        "2026-11-21 01:00:00", /* J Saturday */
    };
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    use_zone("UTC0");
    full_backups(&c, "2026-11-21 12:00:00", times, sizeof times / sizeof times[0]);
    plan_by(&c, (struct schedule){.daily = 1}, v);
    assert_kept(&c, v, "J:daily 2026-11-21");
    plan_by(&c, (struct schedule){.daily = 3}, v);
    assert_kept(&c, v, "G:daily 2026-11-16;I:daily 2026-11-20;J:daily 2026-11-21");
    plan_by(&c, (struct schedule){.weekly = 3}, v);
    assert_kept(&c, v, "D:weekly 2026-W44;F:weekly 2026-W46;J:weekly 2026-W47");
    plan_by(&c, (struct schedule){.monthly = 2}, v); /* October has none and takes no place */
    assert_kept(&c, v, "C:monthly 2026-09;J:monthly 2026-11");
    plan_by(&c, (struct schedule){.yearly = 5}, v);
    assert_kept(&c, v, "A:yearly 2025;J:yearly 2026");
    plan_by(&c, (struct schedule){2, 2, 3, 2}, v);
    assert_kept(&c, v,
        "A:yearly 2025;B:monthly 2026-08;C:monthly 2026-09;F:weekly 2026-W46;I:daily 2026-11-20;"
        "J:daily 2026-11-21, weekly 2026-W47, monthly 2026-11, yearly 2026");
    plan_by(&c, (struct schedule){100000, 0, 0, 0}, v);
    assert_verdict(&c, v, "H", "expire", "a newer one stands for its day");
    assert_verdict(&c, v, "A", "keep", "daily 2025-12-31");
    plan_by(&c, (struct schedule){0}, v);
    assert_verdict(&c, v, "A", "keep", "no retention policy is set");
}

/* ISO weeks around New Year: the year of a week is that of its Thursday. */
static void
weeks_at_the_border_of_a_year(void **state)
{
    (void)state;
    static const struct {
        const char *day, *week;
    } cases[] = {
        {"2020-12-27", "weekly 2020-W52"},
        {"2020-12-28", "weekly 2020-W53"},
        {"2020-12-31", "weekly 2020-W53"},
        {"2021-01-01", "weekly 2020-W53"},
        {"2021-01-03", "weekly 2020-W53"},
        {"2021-01-04", "weekly 2021-W01"},
        {"2024-12-29", "weekly 2024-W52"},
        {"2024-12-30", "weekly 2025-W01"},
        {"2026-12-31", "weekly 2026-W53"},
        {"2027-01-03", "weekly 2026-W53"},
        {"2027-01-04", "weekly 2027-W01"},
        {"2000-01-01", "weekly 1999-W52"},
        {"2000-02-29", "weekly 2000-W09"},
        {"2016-01-03", "weekly 2015-W53"},
        {"1970-01-01", "weekly 1970-W01"},
        {"9999-12-30", "weekly 9999-W52"},
    };
    use_zone("UTC0");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        struct gsp_verdict v[BACKUPS_MAX];
        (void)snprintf(text, sizeof text, "%s 13:00:00", cases[i].day);
        struct catalog c = {.now = at(text) + HOUR};
        add(&c, "A", NULL, at(text));
        plan_by(&c, (struct schedule){.weekly = 1}, v);
        assert_verdict(&c, v, "A", "keep", cases[i].week);
        (void)snprintf(text, sizeof text, "daily %s", cases[i].day);
        plan_by(&c, (struct schedule){.daily = 1}, v);
        assert_verdict(&c, v, "A", "keep", text);
        (void)snprintf(text, sizeof text, "monthly %.7s", cases[i].day);
        plan_by(&c, (struct schedule){.monthly = 1}, v);
        assert_verdict(&c, v, "A", "keep", text);
    }
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    static const char *const new_year[] = {"2020-12-28 10:00:00", "2021-01-03 10:00:00", "2021-01-04 10:00:00"};
    full_backups(&c, "2021-01-04 12:00:00", new_year, 3);
    plan_by(&c, (struct schedule){.weekly = 2}, v); /* one week, two years */
    assert_kept(&c, v, "B:weekly 2020-W53;C:weekly 2021-W01");
    plan_by(&c, (struct schedule){.yearly = 2, .monthly = 2}, v);
    assert_kept(&c, v, "A:monthly 2020-12, yearly 2020;C:monthly 2021-01, yearly 2021");
}

/* Every day of 800 years has the date that the C library gives it. */
static void
days_have_the_dates_of_the_calendar(void **state)
{
    (void)state;
    use_zone("UTC0");
    struct gsp_verdict v[BACKUPS_MAX];
    struct schedule schedule = {1, 1, 1, 1};
    void *opts = bind_numbers(schedule_value, &schedule);
    for (int64_t day = -135000; day < 160000; day++) {
        char expected[100];
        time_t seconds = (time_t)(day * 86400 + 3600);
        struct tm tm;
        struct catalog c = {.now = (int64_t)seconds * SECOND + HOUR};
        add(&c, "A", NULL, (int64_t)seconds * SECOND);
        plan(&c, opts, v);
        assert_non_null(gmtime_r(&seconds, &tm));
        assert_int_not_equal(
            strftime(expected, sizeof expected, "daily %Y-%m-%d, weekly %G-W%V, monthly %Y-%m, yearly %Y", &tm), 0);
        assert_string_equal(v[0].reason, expected);
    }
    plugin_free_options(opts);
}

static void
days_are_those_of_the_zone(void **state)
{
    (void)state;
    static const struct {
        const char *zone, *before, *after, *kept;
    } cases[] = {
        {"UTC0", "2026-11-20 23:59:59", "2026-11-21 00:00:00", "A:daily 2026-11-20;B:daily 2026-11-21"},
        {"<+0530>-5:30", "2026-11-20 23:59:59", "2026-11-21 00:00:00", "A:daily 2026-11-20;B:daily 2026-11-21"},
        {"<-0330>3:30", "2026-12-31 23:59:59", "2027-01-01 00:00:00", "A:daily 2026-12-31;B:daily 2027-01-01"},
        /* 25 hours of one day; an hour that there is twice; 23 hours; half an hour */
        {"EST5EDT,M3.2.0,M11.1.0", "2026-11-01 00:00:00", "2026-11-01 23:59:59", "B:daily 2026-11-01"},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-11-01 23:59:59", "2026-11-02 00:00:00",
            "A:daily 2026-11-01;B:daily 2026-11-02"},
        {"EST5EDT,M3.2.0,M11.1.0", "2026-03-08 00:00:00", "2026-03-08 23:59:59", "B:daily 2026-03-08"},
        {"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2026-04-05 00:00:00", "2026-04-05 23:59:59", "B:daily 2026-04-05"},
        {"<-03>3<-02>,M10.3.0/0,M2.3.0/0", "2026-10-17 23:59:59", "2026-10-18 01:00:00",
            "A:daily 2026-10-17;B:daily 2026-10-18"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct catalog c;
        struct gsp_verdict v[BACKUPS_MAX];
        use_zone(cases[i].zone);
        full_backups(&c, "2027-06-01 00:00:00", (const char *const[]){cases[i].before, cases[i].after}, 2);
        plan_by(&c, (struct schedule){.daily = 5}, v);
        assert_kept(&c, v, cases[i].kept);
    }
}

static void
ancestors_pins_and_work_stay(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    use_zone("UTC0");
    c = (struct catalog){.now = at("2026-11-21 12:00:00")};
    add(&c, "F", NULL, at("2026-11-15 01:00:00"));
    add(&c, "F1", "F", at("2026-11-16 01:00:00"));
    add(&c, "F2", "F1", at("2026-11-17 01:00:00"));
    add(&c, "F3", "F2", at("2026-11-18 01:00:00"));
    add(&c, "PIN", NULL, at("2026-11-10 01:00:00"))->expire_time_us = c.now + 50 * HOUR;
    add(&c, "OVER", NULL, at("2026-11-11 01:00:00"))->expire_time_us = c.now;
    add(&c, "BUSY", NULL, at("2026-11-12 01:00:00"))->status = GSP_BACKUP_BUSY;
    plan_by(&c, (struct schedule){.daily = 1}, v);
    assert_verdict(&c, v, "F3", "keep", "daily 2026-11-18");
    assert_verdict(&c, v, "F2", "needed", "backup F3 is based on it");
    assert_verdict(&c, v, "F1", "needed", "");
    assert_verdict(&c, v, "F", "needed", "backup F3 is based on it");
    assert_verdict(&c, v, "PIN", "keep", "pinned, for 50h more");
    assert_verdict(&c, v, "OVER", "expire", "");
    assert_verdict(&c, v, "BUSY", "keep", "being made or merged");
    assert_int_equal(v[find(&c, "PIN")].age_max_days, 13);
    assert_int_equal(v[find(&c, "F3")].age_days, 3);
    assert_int_equal(v[find(&c, "F3")].age_max_days, 0);
    assert_int_equal(v[find(&c, "F3")].redundancy, 1);
    assert_int_equal(v[find(&c, "F")].redundancy, 1);
    assert_int_equal(v[find(&c, "PIN")].redundancy, 4);
}

static void
only_what_can_be_restored_stands_for_a_day(void **state)
{
    (void)state;
    struct catalog c;
    struct gsp_verdict v[BACKUPS_MAX];
    use_zone("UTC0");
    c = (struct catalog){.now = at("2026-11-21 12:00:00")};
    add(&c, "OLD", NULL, at("2026-11-18 01:00:00"));
    add(&c, "GOOD", NULL, at("2026-11-20 01:00:00"));
    add(&c, "BAD", NULL, at("2026-11-20 05:00:00"))->status = GSP_BACKUP_BROKEN;
    add(&c, "ONBAD", "BAD", at("2026-11-20 06:00:00"));
    add(&c, "ORPHAN", "BAD", at("2026-11-21 07:00:00"))->parent = GSP_NO_PARENT;
    plan_by(&c, (struct schedule){.daily = 2}, v);
    assert_verdict(&c, v, "GOOD", "keep", "daily 2026-11-20");
    assert_verdict(&c, v, "OLD", "keep", "daily 2026-11-18");
    assert_verdict(&c, v, "BAD", "expire", "not restorable");
    assert_verdict(&c, v, "ONBAD", "expire", "not restorable");
    assert_verdict(&c, v, "ORPHAN", "expire", "not restorable");
}

/* The newest backup that can be restored survives every schedule. */
static void
the_last_good_one_never_goes(void **state)
{
    (void)state;
    use_zone("UTC0");
    struct chance chance = {UINT64_C(616161)};
    for (int round = 0; round < 10000; round++) {
        struct catalog c;
        struct gsp_verdict v[BACKUPS_MAX];
        struct schedule schedule = {below(&chance, 4), below(&chance, 4), below(&chance, 4), below(&chance, 4)};
        const struct gsp_retention_backup *last = NULL;
        random_catalog(&chance, &c);
        plan_by(&c, schedule, v);
        for (uint32_t i = 0; i < c.n; i++) {
            const struct gsp_retention_backup *b = &c.backups[i];
            if (!b->full || b->status != GSP_BACKUP_VALID)
                continue;
            /* a FULL backup or one of a later time is there */
            if (last == NULL || gsp_backup_time(b) > gsp_backup_time(last))
                last = b;
        }
        int is_left = last == NULL;
        for (uint32_t i = 0; i < c.n; i++)
            is_left |= v[i].action == GSP_VERDICT_KEEP && c.backups[i].status == GSP_BACKUP_VALID && last != NULL &&
                       gsp_backup_time(&c.backups[i]) >= gsp_backup_time(last);
        assert_true(is_left);
    }
}

/* A FULL backup each day for a year and a half, the policy carried out each day: as many stay as it names, less those
 * that stand for several periods. */
static void
five_hundred_days(void **state)
{
    (void)state;
    struct catalog c = {0};
    struct gsp_verdict v[BACKUPS_MAX];
    use_zone("EST5EDT,M3.2.0,M11.1.0");
    for (int day = 0; day < 500; day++) {
        char id[16];
        c.now = at("2025-08-01 22:00:00") + day * DAY;
        (void)snprintf(id, sizeof id, "D%03d", day);
        (void)add(&c, id, NULL, c.now);
        plan_by(&c, (struct schedule){7, 4, 12, 2}, v);
        carry_out(&c, v, 1);
        assert_in_range(c.n, day < 7 ? (uint32_t)day + 1 : 7, 7 + 3 + 11 + 1);
    }
    plan_by(&c, (struct schedule){7, 4, 12, 2}, v); /* 2026-12-13, a Sunday */
    assert_int_equal(c.n, 7 + 3 + 11 + 1);          /* 2025 is none of the twelve months */
    assert_verdict(&c, v, "D499", "keep", "daily 2026-12-13, weekly 2026-W50, monthly 2026-12, yearly 2026");
    assert_verdict(&c, v, "D493", "keep", "daily 2026-12-07");
    assert_verdict(&c, v, "D492", "keep", "weekly 2026-W49"); /* Sunday, the 6th */
    assert_verdict(&c, v, "D478", "keep", "weekly 2026-W47");
    assert_verdict(&c, v, "D486", "keep", "monthly 2026-11");
    assert_verdict(&c, v, "D152", "keep", "yearly 2025");
}

static void
wal_goes_before_the_first_backup_of_all(void **state)
{
    (void)state;
    struct catalog c = {
        .timelines = {{.timeline = 2, .parent = 1, .switch_lsn = 900}, {.timeline = 1}}, .n_timelines = 2};
    struct gsp_error err = {0};
    gsp_lsn before[2];
    add(&c, "A", NULL, DAY)->start_lsn = 500;
    add(&c, "B", NULL, 2 * DAY)->start_lsn = 400;
    assert_int_equal(
        retention_ops()->plan_wal(subject.plugin->state, subject.opts, c.backups, 2, c.timelines, 2, before, &err), 0);
    assert_int_equal(before[0], 400);
    assert_int_equal(before[1], 400);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_newest_of_each_period_stays),
        cmocka_unit_test(weeks_at_the_border_of_a_year),
        cmocka_unit_test(days_have_the_dates_of_the_calendar),
        cmocka_unit_test(days_are_those_of_the_zone),
        cmocka_unit_test(ancestors_pins_and_work_stay),
        cmocka_unit_test(only_what_can_be_restored_stands_for_a_day),
        cmocka_unit_test(the_last_good_one_never_goes),
        cmocka_unit_test(five_hundred_days),
        cmocka_unit_test(wal_goes_before_the_first_backup_of_all),
    };
    if (plugin_under_test_open(&subject, GSP_KIND_RETENTION, argc > 1 ? argv[1] : NULL) != 0)
        return 1;
    int failed = cmocka_run_group_tests_name("retention-gfs", tests, NULL, NULL);
    plugin_under_test_close(&subject);
    return failed;
}
