/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/retention/retention_test.h"

#include <stdio.h>
#include <time.h>

struct plugin_under_test subject;

void
use_zone(const char *posix_tz)
{
    assert_int_equal(setenv("TZ", posix_tz, 1), 0);
    tzset();
}

int64_t
at(const char *text)
{
    struct tm tm = {.tm_isdst = -1};
    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    tm.tm_isdst = -1;
    return (int64_t)mktime(&tm) * SECOND;
}

static int64_t
local_day(void *ctx, int64_t time_us)
{
    (void)ctx;
    time_t seconds = (time_t)(time_us / SECOND);
    struct tm tm;
    assert_non_null(localtime_r(&seconds, &tm));
    /* Noon of that date, read as UTC. */
    struct tm noon = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday, .tm_hour = 12};
    return ((int64_t)timegm(&noon) - INT64_C(12) * 3600) / 86400;
}

struct gsp_retention_env
env_at(int64_t now_us)
{
    return (struct gsp_retention_env){
        .struct_size = sizeof(struct gsp_retention_env), .now_us = now_us, .local_day = local_day};
}

uint32_t
find(const struct catalog *c, const char *id)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (strcmp(c->ids[i], id) == 0)
            return i;
    fail_msg("no backup %s", id);
    return 0;
}

struct gsp_retention_backup *
add(struct catalog *c, const char *id, const char *parent, int64_t time_us)
{
    assert_in_range(c->n, 0, BACKUPS_MAX - 1);
    struct gsp_retention_backup *b = &c->backups[c->n];
    (void)snprintf(c->ids[c->n], sizeof c->ids[c->n], "%s", id);
    *b = (struct gsp_retention_backup){
        .id = c->ids[c->n],
        .parent = parent != NULL ? find(c, parent) : GSP_NO_PARENT,
        .full = parent == NULL,
        .status = GSP_BACKUP_VALID,
        .timeline = 1,
        .start_time_us = time_us,
        .recovery_time_us = time_us,
        .start_lsn = 0x1000000u * (c->n + 1ull) + 0x28,
        .stop_lsn = 0x1000000u * (c->n + 1ull) + 0x100,
        .bytes = 1 << 20,
    };
    c->n++;
    return b;
}

static int
nobody_set_it(void *arg, const struct plugin *plugin, const struct gsp_option *opt, const char **ret_text,
    const char **ret_origin)
{
    (void)arg;
    (void)plugin;
    (void)opt;
    (void)ret_text;
    (void)ret_origin;
    return 0;
}

void *
bind_numbers(int64_t (*value_of)(void *arg, const struct gsp_option *opt), void *arg)
{
    struct gsp_error err = {0};
    void *opts = NULL;
    assert_int_equal(plugin_bind_options(subject.plugin, nobody_set_it, NULL, &opts, &err), 0);
    const struct gsp_option *table = subject.plugin->desc->options;
    for (size_t i = 0; table != NULL && table[i].key != NULL; i++) {
        if (table[i].type != GSP_OPT_INT)
            continue;
        int64_t value = value_of(arg, &table[i]);
        memcpy((char *)opts + table[i].offset, &value, sizeof value);
    }
    return opts;
}

void
plan(const struct catalog *c, const void *opts, struct gsp_verdict ret[BACKUPS_MAX])
{
    const struct gsp_retention_env env = env_at(c->now);
    struct gsp_error err = {0};
    memset(ret, 0xee, BACKUPS_MAX * sizeof *ret);
    int rc = retention_ops()->plan(subject.plugin->state, opts, &env, c->backups, c->n, ret, &err);
    assert_true(rc == 0 || rc == GSP_PLAN_NOT_SET);
    assert_int_equal(err.code, 0);
    for (uint32_t i = 0; i < c->n && rc == GSP_PLAN_NOT_SET; i++)
        assert_true(ret[i].action == GSP_VERDICT_KEEP && !ret[i].expired);
    if (c->n < BACKUPS_MAX)
        assert_int_equal(ret[c->n].action, 0xeeeeeeeeu); /* not one more than was asked for */
}

void
assert_verdict(const struct catalog *c, const struct gsp_verdict *verdicts, const char *id, const char *expected,
    const char *reason)
{
    const struct gsp_verdict *v = &verdicts[find(c, id)];
    const char *is = v->action == GSP_VERDICT_EXPIRE  ? "expire"
                     : v->action == GSP_VERDICT_MERGE ? "merge"
                     : v->expired                     ? "needed"
                                                      : "keep";
    if (strcmp(is, expected) != 0 || strstr(v->reason, reason) == NULL)
        fail_msg("backup %s: %s (%s), expected: %s (%s)", id, is, v->reason, expected, reason);
}

void
carry_out(struct catalog *c, const struct gsp_verdict *verdicts, int merge)
{
    uint32_t to[BACKUPS_MAX];
    int goes[BACKUPS_MAX];
    for (uint32_t i = 0; i < c->n; i++)
        goes[i] = verdicts[i].action == GSP_VERDICT_EXPIRE;
    for (uint32_t i = 0; i < c->n; i++) {
        if (!merge || verdicts[i].action != GSP_VERDICT_MERGE)
            continue;
        for (uint32_t up = c->backups[i].parent; up != GSP_NO_PARENT; up = c->backups[up].parent)
            goes[up] = 1;
        c->backups[i].full = 1;
        c->backups[i].parent = GSP_NO_PARENT;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        to[i] = n;
        if (goes[i])
            continue;
        c->backups[n] = c->backups[i];
        memmove(c->ids[n], c->ids[i], sizeof c->ids[n]);
        c->backups[n].id = c->ids[n];
        n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t parent = c->backups[i].parent;
        if (parent == GSP_NO_PARENT)
            continue;
        assert_false(goes[parent]);
        c->backups[i].parent = to[parent];
    }
    c->n = n;
}

int
is_whole(const struct catalog *c, uint32_t i)
{
    for (uint32_t steps = 0; i != GSP_NO_PARENT && steps < c->n; steps++) {
        if (c->backups[i].status != GSP_BACKUP_VALID)
            return 0;
        if (c->backups[i].full)
            return 1;
        i = c->backups[i].parent;
    }
    return 0;
}

/* xorshift64* */
uint32_t
below(struct chance *chance, uint32_t limit)
{
    chance->state ^= chance->state >> 12;
    chance->state ^= chance->state << 25;
    chance->state ^= chance->state >> 27;
    return (uint32_t)((chance->state * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % limit;
}

static void
random_timelines(struct chance *chance, struct catalog *c)
{
    c->n_timelines = 1 + below(chance, TIMELINES_MAX);
    for (uint32_t t = 0; t < c->n_timelines; t++) {
        uint32_t parent = t > 0 ? below(chance, t + 1) : 0; /* 0: not known */
        c->timelines[t] = (struct gsp_retention_timeline){.timeline = t + 1, .parent = parent};
        if (parent != 0) /* later than the parent itself branched off */
            c->timelines[t].switch_lsn =
                c->timelines[parent - 1].switch_lsn + UINT64_C(0x1000000) * (1 + below(chance, 16));
    }
}

static void
random_backup(struct chance *chance, struct catalog *c, int64_t time_us)
{
    static const uint32_t statuses[] = {GSP_BACKUP_BROKEN, GSP_BACKUP_BUSY};
    char id[16];
    (void)snprintf(id, sizeof id, "B%03u", c->n);
    struct gsp_retention_backup *b = add(c, id, NULL, time_us);
    uint32_t i = c->n - 1;
    if (i > 0 && below(chance, 3) != 0) {
        b->full = 0;
        if (below(chance, 20) != 0) /* else an orphan */
            b->parent = below(chance, 2) ? i - 1 : below(chance, i);
    }
    if (below(chance, 5) == 0)
        b->status = statuses[below(chance, 2)];
    if (below(chance, 8) == 0)
        b->expire_time_us = c->now + (int64_t)below(chance, 40) * DAY - 20 * DAY;
    if (below(chance, 6) == 0)
        b->recovery_time_us = below(chance, 2) ? 0 : b->recovery_time_us - (int64_t)below(chance, 100) * HOUR;
    b->timeline = 1 + below(chance, c->n_timelines);
    if (below(chance, 20) == 0)
        b->start_lsn = b->stop_lsn = 0;
    if (b->start_lsn != 0) {
        gsp_lsn from = c->timelines[b->timeline - 1].switch_lsn;
        b->start_lsn = from + 0x28 + UINT64_C(0x100000) * (1 + below(chance, 100));
        b->stop_lsn = b->start_lsn + UINT64_C(0x100) * (1 + below(chance, 1000));
    }
}

void
random_catalog(struct chance *chance, struct catalog *c)
{
    *c = (struct catalog){.now = INT64_C(1795000000) * SECOND};
    random_timelines(chance, c);
    uint32_t n = below(chance, 40);
    int64_t time_us = c->now - (int64_t)below(chance, 60) * DAY;
    for (uint32_t i = 0; i < n; i++) {
        random_backup(chance, c, time_us);
        time_us += below(chance, 6) == 0 ? 0 : (int64_t)below(chance, 72) * HOUR;
    }
    if (n > 2 && below(chance, 20) == 0) { /* a hostile catalog: the parents go round */
        for (uint32_t i = 0; i < 3; i++) {
            c->backups[i].full = 0;
            c->backups[i].parent = (i + 1) % 3;
        }
    }
}

void
shuffle(struct chance *chance, const struct catalog *c, struct catalog *ret, uint32_t from[BACKUPS_MAX])
{
    uint32_t to[BACKUPS_MAX];
    *ret = *c;
    for (uint32_t i = 0; i < c->n; i++)
        from[i] = i;
    for (uint32_t i = c->n; i > 1; i--) {
        uint32_t k = below(chance, i), kept = from[i - 1];
        from[i - 1] = from[k];
        from[k] = kept;
    }
    for (uint32_t i = 0; i < c->n; i++)
        to[from[i]] = i;
    for (uint32_t i = 0; i < c->n; i++) {
        ret->backups[i] = c->backups[from[i]];
        if (ret->backups[i].parent != GSP_NO_PARENT)
            ret->backups[i].parent = to[ret->backups[i].parent];
    }
}
