/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bytes.h"

int
pg_digits(const char **text, uint64_t max, uint64_t *ret)
{
    const char *p = *text;
    uint64_t v = 0;
    if (*p < '1' || *p > '9')
        return 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (v > max / 10 || v * 10 > max - digit)
            return 0;
        v = v * 10 + digit;
    }
    *text = p;
    *ret = v;
    return 1;
}
