/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/json_writer.h"

#include <inttypes.h>

void
json_begin(struct json_writer *w, struct strbuf *out)
{
    w->out = out;
    w->depth = 0;
    w->first = 1;
}

void
json_quote(struct strbuf *out, const char *value)
{
    strbuf_putc(out, '"');
    for (const char *p = value; *p != '\0'; p++) {
        switch (*p) {
        case '\b':
            strbuf_puts(out, "\\b");
            break;
        case '\f':
            strbuf_puts(out, "\\f");
            break;
        case '\n':
            strbuf_puts(out, "\\n");
            break;
        case '\r':
            strbuf_puts(out, "\\r");
            break;
        case '\t':
            strbuf_puts(out, "\\t");
            break;
        case '"':
        case '\\':
            strbuf_putc(out, '\\');
            strbuf_putc(out, *p);
            break;
        default:
            if ((unsigned char)*p < 0x20)
                strbuf_printf(out, "\\u%04x", (unsigned)*p);
            else
                strbuf_putc(out, *p);
        }
    }
    strbuf_putc(out, '"');
}

static void
json_newline(struct json_writer *w)
{
    strbuf_printf(w->out, "\n%*s", w->depth * 4, "");
}

/* Comma, line break and key before a value. */
static void
json_lead(struct json_writer *w, const char *key)
{
    if (w->depth > 0) {
        if (!w->first)
            strbuf_putc(w->out, ',');
        json_newline(w);
    }
    w->first = 0;
    if (key != NULL) {
        json_quote(w->out, key);
        strbuf_puts(w->out, ": ");
    }
}

void
json_open(struct json_writer *w, const char *key, char open)
{
    json_lead(w, key);
    strbuf_putc(w->out, open);
    w->depth++;
    w->first = 1;
}

void
json_close(struct json_writer *w, char close)
{
    w->depth--;
    json_newline(w);
    strbuf_putc(w->out, close);
    w->first = 0;
    if (w->depth == 0)
        strbuf_putc(w->out, '\n');
}

void
json_string(struct json_writer *w, const char *key, const char *value)
{
    json_lead(w, key);
    json_quote(w->out, value);
}

void
json_u64(struct json_writer *w, const char *key, uint64_t value)
{
    json_lead(w, key);
    strbuf_printf(w->out, "%" PRIu64, value);
}

void
json_i64(struct json_writer *w, const char *key, int64_t value)
{
    json_lead(w, key);
    strbuf_printf(w->out, "%" PRId64, value);
}

void
json_bool(struct json_writer *w, const char *key, int value)
{
    json_lead(w, key);
    strbuf_puts(w->out, value ? "true" : "false");
}
