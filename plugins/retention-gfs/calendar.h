/* SPDX-License-Identifier: Apache-2.0
 * From the number of a local day to the period it belongs to. */
#ifndef RETENTION_GFS_CALENDAR_H
#define RETENTION_GFS_CALENDAR_H

#include <stddef.h>
#include <stdint.h>

enum period { PERIOD_DAY, PERIOD_WEEK, PERIOD_MONTH, PERIOD_YEAR, PERIODS };

/* period_number - which one: the same for all its days, and greater for each later one. Weeks are those of ISO 8601:
 * they begin on Monday. day: from 1970-01-01, of the years 1 to 9999; others count as the nearest of these. */
int64_t period_number(enum period period, int64_t day);
/* period_name - as "2026-11-17", "2026-W47", "2026-11", "2026". A week belongs to the year of its Thursday. */
void period_name(enum period period, int64_t day, char *buf, size_t size);

#endif
