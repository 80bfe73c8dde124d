/* SPDX-License-Identifier: Apache-2.0
 * The one growable byte buffer. Growth failure is sticky: appends after it do nothing, and
 * strbuf_ok() tells once at the end, so builders need no check per append. */
#ifndef BASE_STRBUF_H
#define BASE_STRBUF_H

#include <stdarg.h>
#include <stddef.h>

#include "gsp/error.h"

struct strbuf {
    char *data; /* NUL-terminated when len > 0 or cap > 0; NULL before the first append */
    size_t len; /* bytes without the NUL */
    size_t cap;
    int failed;
};

#define STRBUF_INIT   \
    {                 \
        NULL, 0, 0, 0 \
    }

void strbuf_free(struct strbuf *sb);
void strbuf_reset(struct strbuf *sb);
/* strbuf_reserve - make room for n more bytes; returns where they go, NULL when out of memory. */
char *strbuf_reserve(struct strbuf *sb, size_t n);
void strbuf_add(struct strbuf *sb, const void *data, size_t n);
void strbuf_puts(struct strbuf *sb, const char *text);
void strbuf_putc(struct strbuf *sb, char c);
void strbuf_printf(struct strbuf *sb, const char *fmt, ...) GSP_PRINTF(2, 3);
/* strbuf_str - the text so far, "" for an empty buffer; valid until the next append. */
const char *strbuf_str(const struct strbuf *sb);
/* strbuf_steal - hand the text over as a malloc'ed string ("" when empty), NULL after a failure. */
char *strbuf_steal(struct strbuf *sb);
/* strbuf_check - 0, or NOMEM when any append failed. */
int strbuf_check(const struct strbuf *sb, struct gsp_error *err);

#define auto_strbuf __attribute__((cleanup(strbuf_free))) struct strbuf

#endif
