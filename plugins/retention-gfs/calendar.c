/* SPDX-License-Identifier: Apache-2.0 */
#include "calendar.h"

#include <stdio.h>

#define YEAR_1 (-719162)  /* 0001-01-01 */
#define YEAR_9999 2932896 /* 9999-12-31 */
#define CYCLE (400 * 365 + 97)

struct date {
    int year, month, day; /* month and day from 1 */
    int day_of_year;      /* from 0 */
};

static int
is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int64_t
within(int64_t day)
{
    return day < YEAR_1 ? YEAR_1 : day > YEAR_9999 ? YEAR_9999 : day;
}

static struct date
date_of(int64_t day)
{
    static const int month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int left = (int)(within(day) - YEAR_1);
    struct date d = {.year = 1 + left / CYCLE * 400, .month = 1};
    left %= CYCLE;
    /* At most 399 steps: the first guess is never too late. */
    int guess = left / 366;
    for (int y = 0; y < guess; y++)
        left -= is_leap(d.year + y) ? 366 : 365;
    d.year += guess;
    while (left >= (is_leap(d.year) ? 366 : 365))
        left -= is_leap(d.year++) ? 366 : 365;
    d.day_of_year = left;
    for (;;) {
        int days = month_days[d.month - 1] + (d.month == 2 && is_leap(d.year));
        if (left < days)
            break;
        left -= days;
        d.month++;
    }
    d.day = left + 1;
    return d;
}

/* 0001-01-01 was a Monday. */
static int64_t
monday_of(int64_t day)
{
    day = within(day);
    return day - (day - YEAR_1) % 7;
}

int64_t
period_number(enum period period, int64_t day)
{
    struct date d;
    switch (period) {
    case PERIOD_WEEK:
        return monday_of(day);
    case PERIOD_MONTH:
        d = date_of(day);
        return d.year * 12 + d.month;
    case PERIOD_YEAR:
        return date_of(day).year;
    case PERIOD_DAY:
    case PERIODS:
    default:
        return within(day);
    }
}

void
period_name(enum period period, int64_t day, char *buf, size_t size)
{
    struct date d = date_of(day);
    switch (period) {
    case PERIOD_WEEK:
        d = date_of(monday_of(day) + 3);
        (void)snprintf(buf, size, "%04d-W%02d", d.year, d.day_of_year / 7 + 1);
        return;
    case PERIOD_MONTH:
        (void)snprintf(buf, size, "%04d-%02d", d.year, d.month);
        return;
    case PERIOD_YEAR:
        (void)snprintf(buf, size, "%04d", d.year);
        return;
    case PERIOD_DAY:
    case PERIODS:
    default:
        (void)snprintf(buf, size, "%04d-%02d-%02d", d.year, d.month, d.day);
        return;
    }
}
