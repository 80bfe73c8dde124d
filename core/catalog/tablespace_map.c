/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/path.h"
#include "core/catalog/catalog.h"

enum { OID_DIGITS_MAX = 10, ENTRIES_MAX = 8192 };

void
tablespaces_free(struct tablespace *spaces, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(spaces[i].oid);
        free(spaces[i].location);
    }
    free(spaces);
}

static int
corrupt(size_t line, const char *why, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "tablespace_map, line %zu: %s", line, why);
}

/* The path at *p up to an unescaped line end; a backslash takes the next byte as it is. Moves *p behind the line. */
static char *
scan_location(const char **p, const char *end)
{
    size_t len = 0, max = (size_t)(end - *p) < PATH_SIZE ? (size_t)(end - *p) : PATH_SIZE;
    char *out = malloc(max + 1);
    if (out == NULL)
        return NULL;
    const char *c = *p;
    for (; c < end && *c != '\n' && len < max; c++) {
        if (*c == '\\' && c + 1 < end)
            c++;
        out[len++] = *c;
    }
    out[len] = '\0';
    *p = c;
    return out;
}

static int
parse_line(const char **p, const char *end, size_t line, struct tablespace *ret, struct gsp_error *err)
{
    size_t digits = 0;
    while (*p + digits < end && (*p)[digits] >= '0' && (*p)[digits] <= '9')
        digits++;
    if (digits == 0 || digits > OID_DIGITS_MAX)
        return corrupt(line, "no tablespace OID at its beginning", err);
    const char *location = *p + digits;
    while (location < end && (*location == ' ' || *location == '\t'))
        location++;
    if (location == *p + digits || location == end || *location == '\n')
        return corrupt(line, "no location behind the OID", err);
    ret->oid = strndup(*p, digits);
    *p = location;
    ret->location = scan_location(p, end);
    if (ret->oid == NULL || ret->location == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    if (*p < end && **p != '\n')
        return corrupt(line, "a location that is too long", err);
    if (strlen(ret->location) >= PATH_SIZE)
        return corrupt(line, "a location that is too long", err);
    *p += *p < end;
    return 0;
}

static int
is_listed(const struct tablespace *spaces, size_t n, const char *oid)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(spaces[i].oid, oid) == 0)
            return 1;
    return 0;
}

static struct tablespace *
add_slot(struct tablespace **spaces, size_t n)
{
    /* Grown at powers of two. */
    if ((n & (n - 1)) == 0) {
        struct tablespace *grown = realloc(*spaces, (n == 0 ? 1 : n * 2) * sizeof *grown);
        if (grown == NULL)
            return NULL;
        *spaces = grown;
    }
    memset(&(*spaces)[n], 0, sizeof **spaces);
    return &(*spaces)[n];
}

int
tablespace_map_parse(const char *text, size_t len, struct tablespace **ret, size_t *ret_n, struct gsp_error *err)
{
    struct tablespace *spaces = NULL;
    size_t n = 0;
    const char *end = text + len;
    int rc = len > 0 && memchr(text, '\0', len) != NULL ? corrupt(1, "a NUL byte", err) : 0;
    for (const char *p = text; p < end && rc == 0;) {
        struct tablespace *slot = n < ENTRIES_MAX ? add_slot(&spaces, n) : NULL;
        if (slot == NULL) {
            rc = n < ENTRIES_MAX ? gsp_fail(err, GSP_E_NOMEM, 0, "out of memory")
                                 : corrupt(n + 1, "too many lines", err);
            break;
        }
        rc = parse_line(&p, end, n + 1, slot, err);
        n++;
        if (rc == 0 && is_listed(spaces, n - 1, slot->oid))
            rc = corrupt(n, "the tablespace stands twice", err);
    }
    if (rc != 0) {
        tablespaces_free(spaces, n);
        return rc;
    }
    *ret = spaces;
    *ret_n = n;
    return 0;
}

void
database_map_add_line(struct strbuf *out, uint32_t oid, const char *name)
{
    strbuf_printf(out, "{\"dbOid\":\"%" PRIu32 "\", \"datname\":\"%s\"}\n", oid, name);
}
