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

/* Bytes of the UTF-8 character at p, 0 when there is none. */
static size_t
utf8_length(const unsigned char *p)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
    for (size_t n = 1; n <= 4; n++) {
        if ((*p & forms[n - 1].mask) != forms[n - 1].lead)
            continue;
        uint32_t c = *p & (unsigned char)~forms[n - 1].mask;
        for (size_t i = 1; i < n; i++) {
            if ((p[i] & 0xC0) != 0x80)
                return 0;
            c = c << 6 | (p[i] & 0x3Fu);
        }
        return c < forms[n - 1].least || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF) ? 0 : n;
    }
    return 0;
}

/* One character of any other kind; returns its last byte. */
static const char *
put_character(struct strbuf *out, const char *p)
{
    size_t n = utf8_length((const unsigned char *)p);
    if (n == 0)
        strbuf_puts(out, "\\ufffd");
    else if ((unsigned char)*p < 0x20)
        strbuf_printf(out, "\\u%04x", (unsigned)*p);
    for (size_t i = 0; i < n && (unsigned char)*p >= 0x20; i++)
        strbuf_putc(out, p[i]);
    return n > 1 ? p + n - 1 : p;
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
            p = put_character(out, p);
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
json_ratio(struct json_writer *w, const char *key, double value)
{
    json_lead(w, key);
    strbuf_printf(w->out, "%.2f", value);
}

void
json_bool(struct json_writer *w, const char *key, int value)
{
    json_lead(w, key);
    strbuf_puts(w->out, value ? "true" : "false");
}
