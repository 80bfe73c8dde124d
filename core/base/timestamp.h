/* SPDX-License-Identifier: Apache-2.0
 * Points in time: seconds since the epoch, and their ISO form with a zone offset. */
#ifndef BASE_TIMESTAMP_H
#define BASE_TIMESTAMP_H

#include <stddef.h>
#include <stdint.h>

enum { TIMESTAMP_SIZE = 40 };

/* timestamp_format - "2024-05-01 10:20:30+08" in the local zone (":MM" when not whole hours). */
void timestamp_format(int64_t seconds, char buf[TIMESTAMP_SIZE]);
/* timestamp_parse - at least a date; fields may be split by anything that is no digit or letter. The years 1970 to
 * 9999, but for a day at both ends: what is read can be printed and read in every zone.
 * Without a zone the text is UTC (files) or local time (command line): of an hour that comes twice the second one, and
 * one that is left out counts on from before, as in PostgreSQL. Returns 1 or 0. */
int timestamp_parse(const char *text, int utc_default, int64_t *ret_seconds);
/* timestamp_in_range - can these seconds be printed and read again? 1 or 0. */
int timestamp_in_range(int64_t seconds);
/* now_seconds, now_us - wall clock; monotonic_us - for intervals and deadlines. */
int64_t now_seconds(void);
int64_t now_us(void);
int64_t monotonic_us(void);

#endif
