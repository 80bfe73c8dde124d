/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/strbuf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void
strbuf_free(struct strbuf *sb)
{
    free(sb->data);
    *sb = (struct strbuf)STRBUF_INIT;
}

void
strbuf_reset(struct strbuf *sb)
{
    sb->len = 0;
    sb->failed = 0;
    if (sb->data != NULL)
        sb->data[0] = '\0';
}

char *
strbuf_reserve(struct strbuf *sb, size_t n)
{
    if (sb->failed)
        return NULL;
    if (n >= SIZE_MAX / 2 - sb->len) {
        sb->failed = 1;
        return NULL;
    }
    size_t need = sb->len + n + 1;
    if (need > sb->cap) {
        size_t cap = sb->cap < 64 ? 64 : sb->cap;
        while (cap < need)
            cap *= 2;
        char *grown = realloc(sb->data, cap);
        if (grown == NULL) {
            sb->failed = 1;
            return NULL;
        }
        sb->data = grown;
        sb->cap = cap;
    }
    return sb->data + sb->len;
}

void
strbuf_add(struct strbuf *sb, const void *data, size_t n)
{
    char *to = strbuf_reserve(sb, n);
    if (to == NULL)
        return;
    if (n > 0)
        memcpy(to, data, n);
    to[n] = '\0';
    sb->len += n;
}

void
strbuf_puts(struct strbuf *sb, const char *text)
{
    strbuf_add(sb, text, strlen(text));
}

void
strbuf_putc(struct strbuf *sb, char c)
{
    strbuf_add(sb, &c, 1);
}

void
strbuf_printf(struct strbuf *sb, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        sb->failed = 1;
    } else {
        char *to = strbuf_reserve(sb, (size_t)n);
        if (to != NULL) {
            (void)vsnprintf(to, (size_t)n + 1, fmt, again);
            sb->len += (size_t)n;
        }
    }
    va_end(again);
}

const char *
strbuf_str(const struct strbuf *sb)
{
    return sb->data != NULL ? sb->data : "";
}

char *
strbuf_steal(struct strbuf *sb)
{
    strbuf_add(sb, "", 0);
    if (sb->failed)
        return NULL;
    char *text = sb->data;
    *sb = (struct strbuf)STRBUF_INIT;
    return text;
}

int
strbuf_check(const struct strbuf *sb, struct gsp_error *err)
{
    return sb->failed ? gsp_fail(err, GSP_E_NOMEM, 0, "out of memory") : 0;
}
