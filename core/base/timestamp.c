/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/timestamp.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A day from both ends of the years that are read: no zone leads out of them. */
#define FIRST_SECOND INT64_C(86400)
#define LAST_SECOND INT64_C(253402214400)

void
timestamp_format(int64_t seconds, char buf[TIMESTAMP_SIZE])
{
    time_t t = (time_t)seconds;
    struct tm tm;
    if (localtime_r(&t, &tm) == NULL) {
        (void)snprintf(buf, TIMESTAMP_SIZE, "----");
        return;
    }
    size_t n = strftime(buf, TIMESTAMP_SIZE, "%Y-%m-%d %H:%M:%S", &tm);
    long off = tm.tm_gmtoff;
    char sign = off < 0 ? '-' : '+';
    long minutes = (off < 0 ? -off : off) / 60;
    if (minutes % 60 != 0)
        (void)snprintf(buf + n, TIMESTAMP_SIZE - n, "%c%02ld:%02ld", sign, minutes / 60, minutes % 60);
    else
        (void)snprintf(buf + n, TIMESTAMP_SIZE - n, "%c%02ld", sign, minutes / 60);
}

/* Up to `max` digits as a number; moves *p behind them. -1 without any digit. */
static long
scan_field(const char **p, int max)
{
    long v = 0;
    int n = 0;
    while (n < max && isdigit((unsigned char)**p)) {
        v = v * 10 + (**p - '0');
        (*p)++;
        n++;
    }
    return n == 0 ? -1 : v;
}

/* A zone at *p: Z, or a sign with HH, HHMM or HH:MM[:SS]. Returns 1 with seconds east of UTC. */
static int
scan_zone(const char **p, long *ret_seconds)
{
    if (**p == 'Z' || **p == 'z') {
        (*p)++;
        *ret_seconds = 0;
        return 1;
    }
    if (**p != '+' && **p != '-')
        return 0;
    long sign = **p == '-' ? -1 : 1;
    (*p)++;
    long hours = scan_field(p, 2), part[2] = {0, 0};
    if (hours < 0 || hours > 15)
        return 0;
    for (int i = 0; i < 2 && (**p == ':' || isdigit((unsigned char)**p)); i++) {
        if (**p == ':')
            (*p)++;
        part[i] = scan_field(p, 2);
        if (part[i] < 0 || part[i] > 59)
            return 0;
    }
    *ret_seconds = sign * (hours * 3600 + part[0] * 60 + part[1]);
    return 1;
}

static long
days_of_month(long year, long month)
{
    static const long days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

static int
fields_in_range(const long f[6])
{
    return f[0] >= 1970 && f[0] <= 9999 && f[1] >= 1 && f[1] <= 12 && f[2] >= 1 && f[2] <= days_of_month(f[0], f[1]) &&
           f[3] <= 23 && f[4] <= 59 && f[5] <= 60;
}

static long
offset_at(int64_t seconds)
{
    time_t t = (time_t)seconds;
    struct tm tm;
    return localtime_r(&t, &tm) != NULL ? tm.tm_gmtoff : 0;
}

/* A local time that was read as if it were UTC. mktime would guess where a clock is set back or forward; here it is as
 * in PostgreSQL: of an hour that comes twice the second one, and an hour that is left out counts on from before. */
static int64_t
local_to_utc(int64_t fields)
{
    long before = offset_at(fields - 86400), after = offset_at(fields + 86400);
    return offset_at(fields - after) == after ? fields - after : fields - before;
}

int
timestamp_in_range(int64_t seconds)
{
    return seconds >= FIRST_SECOND && seconds <= LAST_SECOND;
}

int
timestamp_parse(const char *text, int utc_default, int64_t *ret_seconds)
{
    long f[6] = {0, 0, 0, 0, 0, 0};
    const char *p = text;
    int n = 0;
    while (isspace((unsigned char)*p))
        p++;
    for (; n < 6; n++) {
        const char *before = p;
        /* A sign behind the third field begins the zone; between date fields it is a separator. */
        if (n > 0) {
            if (*p == '\0' || *p == 'Z' || *p == 'z' || *p == '+' || (*p == '-' && n >= 3))
                break;
            if (!isdigit((unsigned char)*p))
                p++;
            while (*p == ' ')
                p++;
        }
        f[n] = scan_field(&p, n == 0 ? 4 : 2);
        if (f[n] < 0) {
            f[n] = 0;
            p = before;
            break;
        }
    }
    if (n < 3 || !fields_in_range(f))
        return 0;
    while (*p == ' ')
        p++;
    long zone = 0;
    int has_zone = *p != '\0' && !isspace((unsigned char)*p);
    if (has_zone && !scan_zone(&p, &zone))
        return 0;
    while (isspace((unsigned char)*p))
        p++;
    if (*p != '\0')
        return 0;
    struct tm tm;
    memset(&tm, 0, sizeof tm);
    tm.tm_year = (int)f[0] - 1900;
    tm.tm_mon = (int)f[1] - 1;
    tm.tm_mday = (int)f[2];
    tm.tm_hour = (int)f[3];
    tm.tm_min = (int)f[4];
    tm.tm_sec = (int)f[5];
    int64_t seconds = (int64_t)timegm(&tm);
    seconds = has_zone || utc_default ? seconds - zone : local_to_utc(seconds);
    if (!timestamp_in_range(seconds))
        return 0;
    *ret_seconds = seconds;
    return 1;
}

static int64_t
clock_us(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
now_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t
now_seconds(void)
{
    return now_us() / 1000000;
}

int64_t
monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}
