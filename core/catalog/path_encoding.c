/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/catalog/filelist.h"

/* Length of the well-formed UTF-8 sequence at p (RFC 3629: no surrogates, no overlong forms), 0 when it is none. */
static size_t
utf8_sequence(const unsigned char *p)
{
    if (p[0] < 0x80)
        return 1;
    size_t len = p[0] >= 0xC2 && p[0] <= 0xDF   ? 2
                 : p[0] >= 0xE0 && p[0] <= 0xEF ? 3
                 : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
                                                : 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) || (p[0] == 0xF0 && p[1] < 0x90) ||
        (p[0] == 0xF4 && p[1] > 0x8F))
        return 0;
    return len;
}

/* How many bytes at p can stand as they are; 0 when the byte must be encoded. */
static size_t
plain_bytes(const unsigned char *p)
{
    if (*p < 0x20 || *p == 0x7F || *p == '"' || *p == ',' || *p == '\\')
        return 0;
    return utf8_sequence(p);
}

int
path_needs_encoding(const char *path)
{
    for (const unsigned char *p = (const unsigned char *)path; *p != '\0';) {
        size_t n = plain_bytes(p);
        if (n == 0)
            return 1;
        p += n;
    }
    return 0;
}

char *
path_encode(const char *path)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = malloc(strlen(path) * 3 + 1);
    if (out == NULL)
        return NULL;
    char *to = out;
    for (const unsigned char *p = (const unsigned char *)path; *p != '\0';) {
        size_t n = *p == '%' ? 0 : plain_bytes(p);
        if (n == 0) {
            *to++ = '%';
            *to++ = hex[*p >> 4];
            *to++ = hex[*p & 15];
            p++;
        }
        for (; n > 0; n--)
            *to++ = (char)*p++;
    }
    *to = '\0';
    return out;
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int
path_decode(const char *path, char **ret)
{
    char *out = malloc(strlen(path) + 1);
    if (out == NULL)
        return 0;
    char *to = out;
    for (const char *p = path; *p != '\0';) {
        if (*p != '%') {
            *to++ = *p++;
            continue;
        }
        int high = hex_value(p[1]), low = high < 0 ? -1 : hex_value(p[2]);
        int byte = low < 0 ? 0 : high * 16 + low;
        /* An encoded slash or NUL would make another path out of the one that was checked. */
        if (byte == 0 || byte == '/') {
            free(out);
            return 0;
        }
        *to++ = (char)byte;
        p += 3;
    }
    *to = '\0';
    *ret = out;
    return 1;
}
