/* SPDX-License-Identifier: Apache-2.0 */
#include "server/settings.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 63u

static int
put(struct pg_settings *s, const char *bytes, size_t len, struct gsp_error *err)
{
    if (s->cap - s->len <= len) {
        size_t cap = (s->cap + len) * 2 + 256;
        char *grown = realloc(s->text, cap);
        if (grown == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        s->text = grown;
        s->cap = cap;
    }
    memcpy(s->text + s->len, bytes, len);
    s->len += len;
    s->text[s->len] = '\0';
    return 0;
}

/* In a quoted value of the file a quote and a backslash are written twice. */
int
pg_settings_put(struct pg_settings *s, const char *name, const char *value, struct gsp_error *err)
{
    if (strpbrk(value, "\r\n") != NULL)
        return gsp_fail(err, GSP_E_CONFIG, 0, "%s must be a single line: '%.128s'", name, value);
    int rc = put(s, name, strlen(name), err);
    if (rc == 0)
        rc = put(s, " = '", 4, err);
    for (const char *p = value; *p != '\0' && rc == 0; p++) {
        rc = put(s, p, 1, err);
        if (rc == 0 && (*p == '\'' || *p == '\\'))
            rc = put(s, p, 1, err);
    }
    return rc == 0 ? put(s, "'\n", 2, err) : rc;
}

int
pg_settings_check_name(const char *name, struct gsp_error *err)
{
    if (strlen(name) <= NAME_MAX_BYTES)
        return 0;
    return gsp_fail(
        err, GSP_E_CONFIG, 0, "the name of a restore point has at most %u bytes: '%.128s'", NAME_MAX_BYTES, name);
}

void
pg_settings_clear(struct pg_settings *s)
{
    free(s->text);
    *s = (struct pg_settings){0};
}
