/* SPDX-License-Identifier: Apache-2.0
 * Catalogs for the retention suites, written by hand or by chance, and the calendar of a zone. */
#ifndef CONTRACT_RETENTION_TEST_H
#define CONTRACT_RETENTION_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/contract/plugin_under_test.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

#define BACKUPS_MAX 64
#define TIMELINES_MAX 8

extern struct plugin_under_test subject;

static inline const struct gsp_retention_ops *
retention_ops(void)
{
    return subject.plugin->ops;
}

/* A zone as the C library knows it, by a rule that needs no data of the machine. */
void use_zone(const char *posix_tz);
/* at - local time of the zone in use, "2026-11-22 10:00:00". */
int64_t at(const char *text);
struct gsp_retention_env env_at(int64_t now_us);

struct catalog {
    struct gsp_retention_backup backups[BACKUPS_MAX];
    char ids[BACKUPS_MAX][16];
    uint32_t n;
    struct gsp_retention_timeline timelines[TIMELINES_MAX];
    uint32_t n_timelines;
    int64_t now;
};

/* add - a backup; parent: id of an earlier one, NULL for a FULL one. Returns it, to be changed. */
struct gsp_retention_backup *add(struct catalog *c, const char *id, const char *parent, int64_t time_us);
uint32_t find(const struct catalog *c, const char *id);

/* bind_numbers - the plugin's options, each from value_of(arg, option). Free with plugin_free_options. */
void *bind_numbers(int64_t (*value_of)(void *arg, const struct gsp_option *opt), void *arg);

/* plan - verdicts in the order of the catalog; fails the test unless there are. */
void plan(const struct catalog *c, const void *opts, struct gsp_verdict ret[BACKUPS_MAX]);
/* assert_verdict - expected: "keep", "needed" (kept for another one's sake), "merge" or "expire"; reason: a part of it
 */
void assert_verdict(const struct catalog *c, const struct gsp_verdict *verdicts, const char *id, const char *expected,
    const char *reason);

/* carry_out - delete what expires and, if merge, make FULL what can be merged: what the core makes of the verdicts. */
void carry_out(struct catalog *c, const struct gsp_verdict *verdicts, int merge);
/* is_whole - does its chain lead to a FULL backup, with valid ones only? */
int is_whole(const struct catalog *c, uint32_t i);

/* Chance, the same in every run. */
struct chance {
    uint64_t state;
};
uint32_t below(struct chance *chance, uint32_t limit);
/* random_catalog - chains, branches, orphans, circles of parents, pins, every status, equal times, several timelines.
 */
void random_catalog(struct chance *chance, struct catalog *c);
/* shuffle - the same catalog in another order. from[i]: which place backup i had */
void shuffle(struct chance *chance, const struct catalog *c, struct catalog *ret, uint32_t from[BACKUPS_MAX]);

#endif
