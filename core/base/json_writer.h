/* SPDX-License-Identifier: Apache-2.0
 * JSON in the stock tool's layout: 4-space indents, one member a line, `"key": value`. */
#ifndef BASE_JSON_WRITER_H
#define BASE_JSON_WRITER_H

#include <stdint.h>

#include "core/base/strbuf.h"

struct json_writer {
    struct strbuf *out;
    int depth;
    int first; /* nothing written yet at this depth */
};

void json_begin(struct json_writer *w, struct strbuf *out);
/* Containers; key NULL inside an array or at the top. `open` is '{' or '['. */
void json_open(struct json_writer *w, const char *key, char open);
void json_close(struct json_writer *w, char close);
/* Members; key NULL inside an array. Bytes that are no UTF-8 become U+FFFD. */
void json_string(struct json_writer *w, const char *key, const char *value);
void json_u64(struct json_writer *w, const char *key, uint64_t value);
void json_i64(struct json_writer *w, const char *key, int64_t value);
void json_ratio(struct json_writer *w, const char *key, double value); /* two digits behind the point */
void json_bool(struct json_writer *w, const char *key, int value);
/* json_quote - one string literal with its quotes. */
void json_quote(struct strbuf *out, const char *value);

#endif
