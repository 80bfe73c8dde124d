/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit time_units[] = {
    {"ms", 1000},
    {"s", 1000000},
    {"min", 60ull * 1000000},
    {"h", 3600ull * 1000000},
    {"d", 86400ull * 1000000},
};
static const struct unit size_units[] = {
    {"B", 1},
    {"kB", 1ull << 10},
    {"KB", 1ull << 10},
    {"MB", 1ull << 20},
    {"GB", 1ull << 30},
    {"TB", 1ull << 40},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Digits of a base at *text, stopping behind the last one. 0 when there is none or it overflows. */
static int
scan_digits(const char **text, const char *end, unsigned base, uint64_t max, uint64_t *ret)
{
    const char *p = *text;
    uint64_t v = 0;
    for (; p < end; p++) {
        unsigned digit;
        if (*p >= '0' && *p <= '9')
            digit = (unsigned)(*p - '0');
        else if (base == 16 && (*p | 0x20) >= 'a' && (*p | 0x20) <= 'f')
            digit = (unsigned)((*p | 0x20) - 'a') + 10;
        else
            break;
        if (digit >= base)
            break;
        if (v > (max - digit) / base || digit > max)
            return 0;
        v = v * base + digit;
    }
    if (p == *text)
        return 0;
    *text = p;
    *ret = v;
    return 1;
}

int
parse_u64n(const char *text, size_t len, uint64_t max, uint64_t *ret)
{
    const char *p = text;
    uint64_t v;
    if (!scan_digits(&p, text + len, 10, max, &v) || p != text + len)
        return 0;
    *ret = v;
    return 1;
}

int
parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
    return parse_u64n(text, strlen(text), max, ret);
}

int
parse_i64(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    int negative = text[0] == '-';
    uint64_t v;
    if (!parse_u64(text + negative, negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX, &v))
        return 0;
    int64_t s = negative ? (v == (uint64_t)INT64_MAX + 1 ? INT64_MIN : -(int64_t)v) : (int64_t)v;
    if (s < min || s > max)
        return 0;
    *ret = s;
    return 1;
}

int
parse_u64_c(const char *text, uint64_t max, uint64_t *ret)
{
    if (strcmp(text, "INFINITE") == 0) {
        *ret = max;
        return 1;
    }
    const char *end = text + strlen(text);
    unsigned base = 10;
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
    } else if (text[0] == '0' && text[1] != '\0') {
        base = 8;
        text += 1;
    }
    uint64_t v;
    if (!scan_digits(&text, end, base, max, &v) || text != end)
        return 0;
    *ret = v;
    return 1;
}

int
parse_bool(const char *text, int *ret)
{
    static const struct {
        const char *word;
        size_t least;
        int value;
    } words[] = {{"true", 1, 1}, {"false", 1, 0}, {"yes", 1, 1}, {"no", 1, 0}, {"on", 2, 1}, {"off", 2, 0}, {"1", 1, 1},
        {"0", 1, 0}};
    size_t len = strlen(text);
    for (size_t i = 0; i < COUNT(words); i++) {
        if (len >= words[i].least && len <= strlen(words[i].word) && strncasecmp(text, words[i].word, len) == 0) {
            *ret = words[i].value;
            return 1;
        }
    }
    return 0;
}

static int
parse_with_unit(const char *text, uint64_t base, const struct unit *units, size_t n, uint64_t max, uint64_t *ret)
{
    const char *end = text + strlen(text);
    uint64_t v;
    while (*text == ' ')
        text++;
    if (!scan_digits(&text, end, 10, UINT64_MAX, &v))
        return 0;
    while (*text == ' ')
        text++;
    uint64_t factor = 0;
    if (*text == '\0')
        factor = base;
    for (size_t i = 0; i < n && factor == 0; i++)
        if (strcmp(text, units[i].name) == 0)
            factor = units[i].factor;
    if (factor == 0 || v > max / factor)
        return 0;
    *ret = v * factor;
    return 1;
}

int
parse_duration_us(const char *text, int64_t base_us, int64_t *ret_us)
{
    uint64_t v;
    if (!parse_with_unit(text, (uint64_t)base_us, time_units, COUNT(time_units), INT64_MAX, &v))
        return 0;
    *ret_us = (int64_t)v;
    return 1;
}

int
parse_size(const char *text, uint64_t base_bytes, uint64_t *ret_bytes)
{
    return parse_with_unit(text, base_bytes, size_units, COUNT(size_units), UINT64_MAX, ret_bytes);
}

static void
format_exact(uint64_t v, const struct unit *units, size_t n, char *buf, size_t size)
{
    for (size_t i = n; i-- > 0;) {
        if (v % units[i].factor == 0 && strcmp(units[i].name, "KB") != 0) {
            (void)snprintf(buf, size, "%" PRIu64 "%s", v / units[i].factor, units[i].name);
            return;
        }
    }
    (void)snprintf(buf, size, "%" PRIu64 "us", v);
}

void
format_duration_exact(int64_t us, char *buf, size_t size)
{
    format_exact((uint64_t)us, time_units, COUNT(time_units), buf, size);
}

void
format_size_exact(uint64_t bytes, char *buf, size_t size)
{
    format_exact(bytes, size_units, COUNT(size_units), buf, size);
}

void
format_size_pretty(int64_t bytes, char *buf, size_t size)
{
    static const char *const names[] = {"kB", "MB", "GB", "TB"};
    if (bytes <= 0) {
        (void)snprintf(buf, size, "0");
        return;
    }
    if (bytes < 10240) {
        (void)snprintf(buf, size, "%" PRId64 "B", bytes);
        return;
    }
    /* Half units keep one bit for rounding. */
    int64_t half = bytes >> 9;
    size_t i = 0;
    while (half >= 20479 && i + 1 < COUNT(names)) {
        half >>= 10;
        i++;
    }
    (void)snprintf(buf, size, "%" PRId64 "%s", (half + 1) / 2, names[i]);
}

void
format_interval_pretty(int64_t us, char *buf, size_t size)
{
    int64_t ms = us / 1000;
    int64_t s = ms / 1000, m = s / 60, h = m / 60, d = h / 24;
    if (ms <= 0)
        (void)snprintf(buf, size, "0");
    else if (d > 0)
        (void)snprintf(buf, size, "%" PRId64 "d:%" PRId64 "h", d, h % 24);
    else if (h > 0)
        (void)snprintf(buf, size, "%" PRId64 "h:%" PRId64 "m", h, m % 60);
    else if (m > 0)
        (void)snprintf(buf, size, "%" PRId64 "m:%" PRId64 "s", m, s % 60);
    else if (s > 0 && ms % 1000 > 0)
        (void)snprintf(buf, size, "%" PRId64 "s:%" PRId64 "ms", s, ms % 1000);
    else if (s > 0)
        (void)snprintf(buf, size, "%" PRId64 "s", s);
    else
        (void)snprintf(buf, size, "%" PRId64 "ms", ms);
}
