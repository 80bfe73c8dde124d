/* SPDX-License-Identifier: Apache-2.0 */
#include "standard.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define DAY_US INT64_C(86400000000)
#define NONE UINT32_MAX

/* What is found out about one backup. */
struct finding {
    uint32_t root;      /* its FULL backup, itself for a FULL one; NONE when its parents do not lead to one */
    uint32_t needed_by; /* of one that is expired: the newest that stays and is based on it with only expired ones
                           between them; NONE */
    uint32_t needed;    /* how many such there are */
    int64_t age;        /* local days */
    int is_counted;     /* one of the newest valid FULL backups that redundancy asks for */
    int is_expired;
};

struct planner {
    const struct standard_options *opts;
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
    if (x->start_time_us != y->start_time_us)
        return x->start_time_us > y->start_time_us ? -1 : 1;
    return strcmp(y->id, x->id);
}

struct place *
places_new(const struct gsp_retention_backup *backups, uint32_t n)
{
    struct place *places = calloc((size_t)n + 1, sizeof *places);
    if (places == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        places[i] = (struct place){backups[i].start_time_us, backups[i].id, i};
    qsort(places, n, sizeof *places, newest_first);
    return places;
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

/* Parents that form a circle lead nowhere. */
static uint32_t
find_root(const struct planner *p, uint32_t i)
{
    for (uint32_t steps = 0; i != NONE && steps < p->n; steps++) {
        if (p->backups[i].full)
            return i;
        i = p->backups[i].parent;
    }
    return NONE;
}

static void
find_out(struct planner *p)
{
    int64_t today = p->env->local_day(p->env->ctx, p->env->now_us), counted = 0;
    for (uint32_t k = 0; k < p->n; k++) {
        uint32_t i = p->order[k].index;
        const struct gsp_retention_backup *b = &p->backups[i];
        struct finding *f = &p->found[i];
        f->root = find_root(p, i);
        f->needed_by = NONE;
        f->age = today - p->env->local_day(p->env->ctx, gsp_backup_time(b));
        f->is_counted = b->full && b->status == GSP_BACKUP_VALID && counted < p->opts->redundancy;
        counted += f->is_counted;
    }
}

static int
is_kept_by_redundancy(const struct planner *p, const struct finding *f)
{
    return p->opts->redundancy > 0 && f->root != NONE && p->found[f->root].is_counted;
}

static int
is_kept_by_window(const struct planner *p, const struct finding *f)
{
    return p->opts->window > 0 && f->age < p->opts->window;
}

static int
is_set(const struct planner *p)
{
    return p->opts->redundancy > 0 || p->opts->window > 0;
}

/* Of two policies one that is kept to is enough. */
static int
is_expired(const struct planner *p, uint32_t i)
{
    const struct gsp_retention_backup *b = &p->backups[i];
    const struct finding *f = &p->found[i];
    return is_set(p) && !is_kept_by_redundancy(p, f) && !is_kept_by_window(p, f) && !is_busy(b) &&
           !gsp_backup_is_pinned(p->env, b);
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
            if (p->found[up].needed_by == NONE)
                p->found[up].needed_by = i;
            p->found[up].needed++;
            up = p->backups[up].parent;
        }
    }
}

/* Can everything below it become one backup with it, and nobody misses anything? */
static int
is_merge(const struct planner *p, uint32_t i)
{
    const struct gsp_retention_backup *b = &p->backups[i];
    if (p->found[i].is_expired || b->full || b->status != GSP_BACKUP_VALID || p->found[i].root == NONE)
        return 0;
    while (!b->full) {
        const struct finding *f = &p->found[b->parent];
        b = &p->backups[b->parent];
        if (!f->is_expired || f->needed > 1 || b->status != GSP_BACKUP_VALID)
            return 0;
    }
    return 1;
}

/* ---- words --------------------------------------------------------------------------------------- */

static const char *
full_id(const struct planner *p, const struct finding *f)
{
    return f->root != NONE ? p->backups[f->root].id : "";
}

static void
explain_kept(const struct planner *p, uint32_t i, int merge, char *buf, size_t size)
{
    const struct gsp_retention_backup *b = &p->backups[i];
    const struct finding *f = &p->found[i];
    const char *tail = merge ? "; all it is based on is expired, --merge-expired makes it FULL" : "";
    if (is_busy(b))
        (void)snprintf(buf, size, "being made or merged, or not readable just now");
    else if (!is_set(p))
        (void)snprintf(buf, size, "no retention policy is set");
    else if (is_kept_by_redundancy(p, f))
        (void)snprintf(buf, size, "%s%s%sone of the %lld newest valid FULL backups", b->full ? "" : "based on ",
            b->full ? "" : full_id(p, f), b->full ? "" : ", ", (long long)p->opts->redundancy);
    else if (is_kept_by_window(p, f))
        (void)snprintf(buf, size, "%lldd old, in the window of %lldd%s", (long long)(f->age > 0 ? f->age : 0),
            (long long)p->opts->window, tail);
    else
        (void)snprintf(buf, size, "pinned, for %lldh more%s",
            (long long)((b->expire_time_us - p->env->now_us) / (DAY_US / 24)), tail);
}

static void
explain_expired(const struct planner *p, uint32_t i, char *buf, size_t size)
{
    const struct gsp_retention_backup *b = &p->backups[i];
    const struct finding *f = &p->found[i];
    char age[64] = "", count[80] = "";
    if (p->opts->window > 0)
        (void)snprintf(
            age, sizeof age, "%lldd old, the window is %lldd", (long long)f->age, (long long)p->opts->window);
    if (p->opts->redundancy > 0)
        (void)snprintf(count, sizeof count, "not %s the %lld newest valid FULL backups",
            b->full ? "one of" : "based on one of", (long long)p->opts->redundancy);
    int needed = f->needed_by != NONE;
    (void)snprintf(buf, size, "%s%s%s%s%s%s", age, age[0] != '\0' && count[0] != '\0' ? "; " : "", count,
        needed ? "; backup " : "", needed ? p->backups[f->needed_by].id : "", needed ? " is based on it" : "");
}

static uint32_t
clamp(int64_t v)
{
    return v < 0 ? 0 : v < UINT32_MAX ? (uint32_t)v : UINT32_MAX;
}

static void
put_verdicts(const struct planner *p, struct gsp_verdict *ret)
{
    uint32_t redundancy = 1;
    for (uint32_t k = 0; k < p->n; k++) {
        uint32_t i = p->order[k].index;
        const struct gsp_retention_backup *b = &p->backups[i];
        const struct finding *f = &p->found[i];
        int64_t age_max = p->opts->window;
        if (gsp_backup_is_pinned(p->env, b))
            age_max = (b->expire_time_us - gsp_backup_time(b)) / DAY_US;
        ret[i] = (struct gsp_verdict){.action = GSP_VERDICT_KEEP,
            .expired = (uint32_t)f->is_expired,
            .redundancy = redundancy,
            .redundancy_max = clamp(p->opts->redundancy),
            .age_days = clamp(f->age),
            .age_max_days = clamp(age_max)};
        if (is_merge(p, i))
            ret[i].action = GSP_VERDICT_MERGE;
        else if (f->is_expired && f->needed_by == NONE)
            ret[i].action = GSP_VERDICT_EXPIRE;
        if (f->is_expired)
            explain_expired(p, i, ret[i].reason, sizeof ret[i].reason);
        else
            explain_kept(p, i, ret[i].action == GSP_VERDICT_MERGE, ret[i].reason, sizeof ret[i].reason);
        redundancy += b->full;
    }
}

static int
standard_plan(void *state, const void *opts, const struct gsp_retention_env *env,
    const struct gsp_retention_backup *backups, uint32_t n, struct gsp_verdict *ret, struct gsp_error *err)
{
    (void)state;
    int rc = check_input(backups, n, err);
    if (rc != 0)
        return rc;
    struct planner p = {.opts = opts, .env = env, .backups = backups, .n = n};
    p.order = places_new(backups, n);
    p.found = calloc((size_t)n + 1, sizeof *p.found);
    if (p.order != NULL && p.found != NULL) {
        find_out(&p);
        for (uint32_t i = 0; i < n; i++)
            p.found[i].is_expired = is_expired(&p, i);
        mark_needed(&p);
        put_verdicts(&p, ret);
        rc = is_set(&p) ? 0 : GSP_PLAN_NOT_SET;
    } else {
        rc = gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    free(p.order);
    free(p.found);
    return rc;
}

static const struct gsp_retention_ops standard_ops = {
    .struct_size = sizeof standard_ops,
    .plan = standard_plan,
    .plan_wal = standard_plan_wal,
};

static const struct gsp_option standard_option_table[] = {
    {.key = "redundancy",
        .type = GSP_OPT_INT,
        .def = "0",
        .help = "valid FULL backups to keep with all that is based on them; 0 = not set",
        .offset = offsetof(struct standard_options, redundancy),
        .max = UINT32_MAX,
        .legacy_key = "retention-redundancy"},
    {.key = "window",
        .type = GSP_OPT_INT,
        .def = "0",
        .help = "days to keep backups for, today is the first one; 0 = not set",
        .offset = offsetof(struct standard_options, window),
        .max = UINT32_MAX,
        .legacy_key = "retention-window"},
    {.key = "wal-depth",
        .type = GSP_OPT_INT,
        .def = "0",
        .help = "newest valid backups of each timeline from which WAL is kept; 0 = all",
        .offset = offsetof(struct standard_options, wal_depth),
        .max = UINT32_MAX,
        .legacy_key = "wal-depth"},
    {.key = NULL},
};

static const struct gsp_plugin standard_plugin = {
    .struct_size = sizeof standard_plugin,
    .abi_major = GSP_ABI_MAJOR,
    .abi_minor = GSP_ABI_MINOR,
    .kind = GSP_KIND_RETENTION,
    .thread_model = GSP_THREAD_ANY,
    .name = "standard",
    .version = "1.0",
    .summary = "a number of FULL backups, a window of days, or both; WAL by depth",
    .options = standard_option_table,
    .options_size = sizeof(struct standard_options),
    .ops = &standard_ops,
};

const struct gsp_plugin *
gsp_plugin_entry(void)
{
    return &standard_plugin;
}
