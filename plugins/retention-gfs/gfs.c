/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "gsp/retention.h"

#include "calendar.h"

#define DAY_US INT64_C(86400000000)
#define COUNT_MAX 100000

static const char *const period_words[PERIODS] = {"daily", "weekly", "monthly", "yearly"};

struct gfs_options {
    int64_t count[PERIODS];
};

/* A backup's place in the order of time, whatever order the core has them in. */
struct place {
    int64_t time_us, start_time_us;
    const char *id;
    uint32_t index;
};

struct finding {
    int64_t day;        /* local */
    uint32_t slots;     /* bit per period: it stands for one */
    uint32_t needed_by; /* of an expired one: who stays and is based on it; GSP_NO_PARENT */
    int is_expired;
};

struct planner {
    const struct gfs_options *opts;
    const struct gsp_retention_env *env;
    const struct gsp_retention_backup *backups;
    uint32_t n;
    struct place *order;
    struct finding *found;
};

static int
newest_first(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->time_us != y->time_us)
        return x->time_us > y->time_us ? -1 : 1;
    if (x->start_time_us != y->start_time_us)
        return x->start_time_us > y->start_time_us ? -1 : 1;
    return strcmp(y->id, x->id);
}

static int
check_input(const struct gsp_retention_backup *backups, uint32_t n, struct gsp_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct gsp_retention_backup *b = &backups[i];
        if (b->parent != GSP_NO_PARENT && (b->parent >= n || b->full))
            return gsp_fail(err, GSP_E_BUG, 0, "backup %s %s", b->id,
                b->full ? "is FULL and has a parent" : "has a parent that is not in the list");
    }
    return 0;
}

static int
is_busy(const struct gsp_retention_backup *b)
{
    return b->status != GSP_BACKUP_VALID && b->status != GSP_BACKUP_BROKEN;
}

/* Valid down to its FULL backup. */
static int
is_restorable(const struct planner *p, uint32_t i)
{
    for (uint32_t steps = 0; i != GSP_NO_PARENT && steps < p->n; steps++) {
        const struct gsp_retention_backup *b = &p->backups[i];
        if (b->status != GSP_BACKUP_VALID)
            return 0;
        if (b->full)
            return 1;
        i = b->parent;
    }
    return 0;
}

static int
is_set(const struct planner *p)
{
    for (int period = 0; period < PERIODS; period++)
        if (p->opts->count[period] > 0)
            return 1;
    return 0;
}

/* The first one met of each period is the newest one. */
static void
give_slots(struct planner *p, int period)
{
    int64_t last = INT64_MIN, left = p->opts->count[period];
    for (uint32_t k = 0; k < p->n && left > 0; k++) {
        uint32_t i = p->order[k].index;
        int64_t number = period_number((enum period)period, p->found[i].day);
        if (number == last || !is_restorable(p, i))
            continue;
        p->found[i].slots |= 1u << period;
        last = number;
        left--;
    }
}

/* What stays needs its ancestors. Above the first one that stays itself, that one sees to it. */
static void
mark_needed(struct planner *p)
{
    for (uint32_t k = 0; k < p->n; k++) {
        uint32_t i = p->order[k].index, up = p->backups[i].parent;
        if (p->found[i].is_expired)
            continue;
        for (uint32_t steps = 0; up != GSP_NO_PARENT && p->found[up].is_expired && steps < p->n; steps++) {
            if (p->found[up].needed_by == GSP_NO_PARENT)
                p->found[up].needed_by = i;
            up = p->backups[up].parent;
        }
    }
}

static void
find_out(struct planner *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        p->found[i].day = p->env->local_day(p->env->ctx, gsp_backup_time(&p->backups[i]));
        p->found[i].needed_by = GSP_NO_PARENT;
    }
    for (int period = 0; period < PERIODS; period++)
        give_slots(p, period);
    for (uint32_t i = 0; i < p->n; i++)
        p->found[i].is_expired = is_set(p) && p->found[i].slots == 0 && !is_busy(&p->backups[i]) &&
                                 !gsp_backup_is_pinned(p->env, &p->backups[i]);
    mark_needed(p);
}

/* ---- words --------------------------------------------------------------------------------------- */

static void
explain_slots(const struct finding *f, char *buf, size_t size)
{
    size_t used = 0;
    for (int period = 0; period < PERIODS; period++) {
        char name[32];
        if ((f->slots & 1u << period) == 0 || used >= size)
            continue;
        period_name((enum period)period, f->day, name, sizeof name);
        used += (size_t)snprintf(buf + used, size - used, "%s%s %s", used > 0 ? ", " : "", period_words[period], name);
    }
}

static void
explain_expired(const struct planner *p, uint32_t i, char *buf, size_t size)
{
    const struct finding *f = &p->found[i];
    const char *why = is_restorable(p, i) ? "a newer one stands for its day, week, month and year, or they are too old"
                                          : "not restorable: it stands for no day";
    int needed = f->needed_by != GSP_NO_PARENT;
    (void)snprintf(buf, size, "%s%s%s%s", why, needed ? "; backup " : "", needed ? p->backups[f->needed_by].id : "",
        needed ? " is based on it" : "");
}

static void
explain(const struct planner *p, uint32_t i, char *buf, size_t size)
{
    const struct gsp_retention_backup *b = &p->backups[i];
    const struct finding *f = &p->found[i];
    if (f->is_expired)
        explain_expired(p, i, buf, size);
    else if (is_busy(b))
        (void)snprintf(buf, size, "being made or merged, or not readable just now");
    else if (!is_set(p))
        (void)snprintf(buf, size, "no retention policy is set");
    else if (f->slots != 0)
        explain_slots(f, buf, size);
    else
        (void)snprintf(
            buf, size, "pinned, for %lldh more", (long long)((b->expire_time_us - p->env->now_us) / (DAY_US / 24)));
}

static uint32_t
clamp(int64_t v)
{
    return v < 0 ? 0 : v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

static void
put_verdicts(const struct planner *p, struct gsp_verdict *ret)
{
    int64_t today = p->env->local_day(p->env->ctx, p->env->now_us);
    uint32_t redundancy = 1;
    for (uint32_t k = 0; k < p->n; k++) {
        uint32_t i = p->order[k].index;
        const struct gsp_retention_backup *b = &p->backups[i];
        const struct finding *f = &p->found[i];
        int is_needed = f->needed_by != GSP_NO_PARENT, pinned = gsp_backup_is_pinned(p->env, b);
        ret[i] = (struct gsp_verdict){.action = f->is_expired && !is_needed ? GSP_VERDICT_EXPIRE : GSP_VERDICT_KEEP,
            .expired = (uint32_t)f->is_expired,
            .redundancy = redundancy,
            .age_days = clamp(today - f->day),
            .age_max_days = pinned ? clamp((b->expire_time_us - gsp_backup_time(b)) / DAY_US) : 0};
        explain(p, i, ret[i].reason, sizeof ret[i].reason);
        redundancy += b->full;
    }
}

static int
gfs_plan(void *state, const void *opts, const struct gsp_retention_env *env, const struct gsp_retention_backup *backups,
    uint32_t n, struct gsp_verdict *ret, struct gsp_error *err)
{
    (void)state;
    int rc = check_input(backups, n, err);
    if (rc != 0)
        return rc;
    struct planner p = {.opts = opts, .env = env, .backups = backups, .n = n};
    p.order = calloc((size_t)n + 1, sizeof *p.order);
    p.found = calloc((size_t)n + 1, sizeof *p.found);
    if (p.order != NULL && p.found != NULL) {
        for (uint32_t i = 0; i < n; i++)
            p.order[i] = (struct place){gsp_backup_time(&backups[i]), backups[i].start_time_us, backups[i].id, i};
        qsort(p.order, n, sizeof *p.order, newest_first);
        find_out(&p);
        put_verdicts(&p, ret);
        rc = is_set(&p) ? 0 : GSP_PLAN_NOT_SET;
    } else {
        rc = gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    free(p.order);
    free(p.found);
    return rc;
}

/* WAL positions grow along every way through the timelines: before the first start of all backups nobody needs any. */
static int
gfs_plan_wal(void *state, const void *opts, const struct gsp_retention_backup *backups, uint32_t n,
    const struct gsp_retention_timeline *timelines, uint32_t n_timelines, gsp_lsn *ret, struct gsp_error *err)
{
    (void)state;
    (void)opts;
    (void)timelines;
    (void)err;
    gsp_lsn first = GSP_WAL_ALL;
    for (uint32_t i = 0; i < n; i++)
        if ((backups[i].start_lsn != 0 || is_busy(&backups[i])) && backups[i].start_lsn < first)
            first = backups[i].start_lsn;
    for (uint32_t t = 0; t < n_timelines; t++)
        ret[t] = first;
    return 0;
}

static const struct gsp_retention_ops gfs_ops = {
    .struct_size = sizeof gfs_ops,
    .plan = gfs_plan,
    .plan_wal = gfs_plan_wal,
};

#define COUNT_OPTION(word, period, text)                                        \
    {                                                                           \
        .key = (word), .type = GSP_OPT_INT, .def = "0", .help = (text),         \
        .offset = offsetof(struct gfs_options, count[period]), .max = COUNT_MAX \
    }

static const struct gsp_option gfs_option_table[] = {
    COUNT_OPTION("daily", PERIOD_DAY, "days to keep the newest backup of; 0 = none"),
    COUNT_OPTION("weekly", PERIOD_WEEK, "weeks (ISO 8601) to keep the newest backup of; 0 = none"),
    COUNT_OPTION("monthly", PERIOD_MONTH, "months to keep the newest backup of; 0 = none"),
    COUNT_OPTION("yearly", PERIOD_YEAR, "years to keep the newest backup of; 0 = none"),
    {.key = NULL},
};

static const struct gsp_plugin gfs_plugin = {
    .struct_size = sizeof gfs_plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_RETENTION,
    .thread_model = GSP_THREAD_ANY,
    .name = "gfs",
    .version = "1.0",
    .summary = "the newest backup of each of the last days, weeks, months and years",
    .options = gfs_option_table,
    .options_size = sizeof(struct gfs_options),
    .ops = &gfs_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &gfs_plugin;
}
