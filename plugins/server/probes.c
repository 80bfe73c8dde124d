/* SPDX-License-Identifier: Apache-2.0 */
#include "server/probes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

#define CLOCK_LIMIT_US INT64_C(2000000)

int
pg_tell(
    struct pg_probes *p, uint32_t state, const char *name, const char *fix, struct gsp_error *err, const char *fmt, ...)
{
    char found[PG_PROBE_TEXT];
    va_list args;
    va_start(args, fmt);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, one line above */
    (void)vsnprintf(found, sizeof found, fmt, args);
    va_end(args);
    struct gsp_probe probe = {.struct_size = sizeof probe,
        .state = state,
        .name = name,
        .found = found,
        .fix = state != GSP_PROBE_OK ? fix : NULL};
    return p->cb(p->arg, &probe, err);
}

int
pg_probe_ask(struct pg_probes *p, const char *name, const char *sql, PGresult **ret, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    *ret = NULL;
    int rc = pg_link_query(p->link, sql, 0, NULL, pg_now_us() + p->link->timeout_us, ret, &problem);
    if (rc == 0)
        return 0;
    if (p->link->lost || (rc != GSP_E_PERM && rc != GSP_E_SERVER)) {
        *err = problem;
        return rc;
    }
    return pg_tell(p, GSP_PROBE_WARNING, name, problem.hint[0] != '\0' ? problem.hint : "see the message", err,
        "could not be looked at: %s", problem.msg);
}

uint64_t
pg_probe_number(const char *text)
{
    uint64_t n;
    const char *at = text;
    return pg_digits(&at, UINT64_MAX, &n) ? n : 0;
}

/* reset_val: the session lifted some limits for itself. */
int
pg_probes_read(struct pg_probes *p, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_probe_ask(p, "settings", "SELECT name, reset_val FROM pg_catalog.pg_settings", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    for (int i = 0; i < PQntuples(res); i++)
        for (uint32_t k = 0; k < p->n_values; k++)
            if (strcmp(pg_cell(res, i, 0), p->names[k]) == 0)
                (void)snprintf(p->value[k], sizeof p->value[k], "%s", pg_cell(res, i, 1));
    PQclear(res);
    return 0;
}

/* The beginning of a backup waits for a checkpoint: at once, or with -C spread over up to two periods, which is added
 * to the time limit by itself. */
int
pg_probe_checkpoint(struct pg_probes *p, int64_t wait_us, const char *period_s, struct gsp_error *err)
{
    int64_t period_us = (int64_t)pg_probe_number(period_s) * 1000000;
    int is_short = wait_us < 60000000 && wait_us < period_us;
    return pg_tell(p, is_short ? GSP_PROBE_WARNING : GSP_PROBE_OK, "archive-timeout",
        "gs_probackup set-config --archive-timeout=5min", err,
        is_short ? "--archive-timeout is %" PRId64 " s, less than a checkpoint of a busy server can take "
                   "(checkpoint_timeout is %" PRId64 " s)"
                 : "a backup waits %" PRId64 " s for its checkpoint, checkpoint_timeout is %" PRId64 " s",
        wait_us / 1000000, period_us / 1000000);
}

int
pg_probe_senders(struct pg_probes *p, const char *setting, struct gsp_error *err)
{
    PGresult *res;
    int rc =
        pg_probe_ask(p, "wal-senders", "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    uint64_t used = pg_probe_number(pg_cell(res, 0, 0)), all = pg_probe_number(setting);
    PQclear(res);
    return pg_tell(p, used < all ? GSP_PROBE_OK : GSP_PROBE_ERROR, "wal-senders",
        "ALTER SYSTEM SET max_wal_senders = 10; then restart the server; or end a receiver that nobody needs", err,
        "%" PRIu64 " of max_wal_senders = %" PRIu64 " are in use", used, all);
}

static int64_t
wall_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int
pg_probe_clock(struct pg_probes *p, struct gsp_error *err)
{
    PGresult *res;
    int64_t before = wall_us();
    int rc = pg_probe_ask(p, "clock",
        "SELECT (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    int64_t after = wall_us(), theirs = (int64_t)pg_probe_number(pg_cell(res, 0, 0));
    PQclear(res);
    /* The answer was made at some moment in between. */
    int64_t apart = theirs > after ? theirs - after : theirs < before ? before - theirs : 0;
    return pg_tell(p, apart > CLOCK_LIMIT_US ? GSP_PROBE_WARNING : GSP_PROBE_OK, "clock",
        "synchronise the clocks of both machines: times of recovery and of retention depend on them", err,
        "the clocks of server and host are %.1f s apart", (double)apart / 1e6);
}
