/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/conf_file.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <ini.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/config/config_value.h"

enum {
    CONF_FILE_MAX = 8 * 1024 * 1024,
    CONF_LINE_MAX = 2 * CONFIG_VALUE_MAX + 1024, /* a value of nothing but quotes, and a comment */
    CONF_EXCERPT = 160,
};

struct conf_line {
    char *raw;                    /* as it stands in the file, without the newline */
    char *key;                    /* as written; NULL for comments and blank lines */
    char *value;                  /* without quotes */
    const struct config_def *def; /* NULL when the key is unknown */
    size_t comment;               /* offset in raw of a comment behind the value, 0 = none */
    size_t line, column;          /* of the value, from 1 */
};

struct conf_file {
    char *name;
    struct conf_line *lines;
    size_t n, cap;
};

static int
no_memory(struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static void
line_clear(struct conf_line *line)
{
    free(line->raw);
    free(line->key);
    free(line->value);
}

int
conf_file_new(struct conf_file **ret, struct gsp_error *err)
{
    struct conf_file *conf = calloc(1, sizeof *conf);
    if (conf == NULL)
        return no_memory(err);
    *ret = conf;
    return 0;
}

void
conf_file_free(struct conf_file *conf)
{
    if (conf == NULL)
        return;
    for (size_t i = 0; i < conf->n; i++)
        line_clear(&conf->lines[i]);
    free(conf->lines);
    free(conf->name);
    free(conf);
}

/* Takes the line's texts over, also on failure. */
static int
insert_line(struct conf_file *conf, size_t at, struct conf_line line, struct gsp_error *err)
{
    if (conf->n == conf->cap) {
        size_t cap = conf->cap == 0 ? 64 : conf->cap * 2;
        struct conf_line *grown = realloc(conf->lines, cap * sizeof *grown);
        if (grown == NULL) {
            line_clear(&line);
            return no_memory(err);
        }
        conf->lines = grown;
        conf->cap = cap;
    }
    memmove(conf->lines + at + 1, conf->lines + at, (conf->n - at) * sizeof line);
    conf->lines[at] = line;
    conf->n++;
    return 0;
}

static void
remove_line(struct conf_file *conf, size_t at)
{
    line_clear(&conf->lines[at]);
    conf->n--;
    memmove(conf->lines + at, conf->lines + at + 1, (conf->n - at) * sizeof conf->lines[0]);
}

/* ---- reading ----------------------------------------------------------------------------------- */

/* inih walks the lines and knows what a key is; it never sees a value, because it would cut it at " ;"
 * and at 200 bytes. It gets `key=<index>`, and the value waits at that index. */
struct scanner {
    struct conf_file *conf;
    const char *name;
    const char *text;
    size_t len, pos;
    struct gsp_error *err;
};

static int
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static size_t
skip_blanks(const char *s, size_t i)
{
    while (is_blank(s[i]))
        i++;
    return i;
}

static int
is_key_char(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '.';
}

/* Part of a line for a message: what follows the name of a secret is nobody's business. */
static void
excerpt(const char *raw, char buf[CONF_EXCERPT])
{
    char key[CONFIG_KEY_SIZE];
    size_t start = skip_blanks(raw, 0), len = 0;
    while (is_key_char(raw[start + len]))
        len++;
    (void)snprintf(key, sizeof key, "%.*s", (int)(len < sizeof key ? len : sizeof key - 1), raw + start);
    const struct config_def *def = config_def_find(key);
    if (def != NULL && (def->flags & CONFIG_SECRET) != 0)
        (void)snprintf(buf, CONF_EXCERPT, "%s = ***", key);
    else
        (void)snprintf(buf, CONF_EXCERPT, "%.*s", CONF_EXCERPT - 1, raw);
}

static int
fail_syntax(struct scanner *s, size_t line, size_t offset, const char *raw, const char *why)
{
    char part[CONF_EXCERPT];
    excerpt(raw, part);
    (void)gsp_fail(s->err, GSP_E_CONFIG, 0, "%s:%zu:%zu: Syntax error in \"%s\"", s->name, line, offset + 1, part);
    return gsp_hint(s->err, "%s", why);
}

/* '...' with '' for a quote. Returns the offset behind the closing quote, 0 without one. */
static size_t
read_quoted(const char *raw, size_t i, struct strbuf *value)
{
    for (i++;; i++) {
        if (raw[i] == '\0')
            return 0;
        if (raw[i] == '\'' && raw[i + 1] != '\'')
            return i + 1;
        i += raw[i] == '\'';
        strbuf_putc(value, raw[i]);
    }
}

/* Up to a comment or any blank but a space, without the spaces at the end. */
static size_t
read_plain(const char *raw, size_t i, struct strbuf *value)
{
    size_t n = strcspn(raw + i, "#\t\r\v");
    size_t kept = n;
    while (kept > 0 && is_blank(raw[i + kept - 1]))
        kept--;
    strbuf_add(value, raw + i, kept);
    return i + n;
}

/* Split a line that is neither blank nor a comment; *ret_key_len tells where its key ends. */
static int
split_line(struct scanner *s, struct conf_line *line, size_t start, size_t *ret_key_len)
{
    static const char form[] = "a line is: key = value, with 'quotes' around a value that holds blanks or #";
    auto_strbuf value = STRBUF_INIT;
    const char *raw = line->raw;
    size_t len = 0;
    while (is_key_char(raw[start + len]))
        len++;
    size_t i = skip_blanks(raw, start + len);
    if (len == 0 || len >= CONFIG_KEY_SIZE)
        return fail_syntax(s, line->line, start, raw, len == 0 ? form : "the key is too long");
    if (raw[i] != '=')
        return fail_syntax(s, line->line, i, raw, form);
    i = skip_blanks(raw, i + 1);
    line->column = i + 1;
    size_t behind = raw[i] == '\'' ? read_quoted(raw, i, &value) : read_plain(raw, i, &value);
    if (behind == 0)
        return fail_syntax(s, line->line, i, raw, "the closing quote is missing; a quote inside is written twice");
    i = skip_blanks(raw, behind);
    if (raw[i] != '\0' && raw[i] != '#')
        return fail_syntax(s, line->line, i, raw, form);
    line->comment = raw[i] == '#' ? i : 0;
    if (value.len > CONFIG_VALUE_MAX)
        return gsp_fail(s->err, GSP_E_CONFIG, 0, "%s:%zu:%zu: the value is longer than %d bytes", s->name, line->line,
            line->column, (int)CONFIG_VALUE_MAX);
    line->value = strbuf_steal(&value);
    *ret_key_len = len;
    return line->value != NULL ? 0 : no_memory(s->err);
}

/* Read one physical line into the table. For a key, *ret_key points to it. */
static int
scan_line(struct scanner *s, const char **ret_key, size_t *ret_key_len)
{
    struct conf_line line = {.line = s->conf->n + 1};
    const char *text = s->text + s->pos;
    const char *newline = memchr(text, '\n', s->len - s->pos);
    size_t n = newline != NULL ? (size_t)(newline - text) : s->len - s->pos;
    const char *nul = memchr(text, '\0', n);
    s->pos += n + (newline != NULL);
    if (n > CONF_LINE_MAX)
        return gsp_fail(s->err, GSP_E_CONFIG, 0, "%s:%zu:%d: the line is longer than %d bytes", s->name, line.line,
            (int)CONF_LINE_MAX + 1, (int)CONF_LINE_MAX);
    if (nul != NULL)
        return gsp_fail(
            s->err, GSP_E_CONFIG, 0, "%s:%zu:%zu: there is a NUL byte", s->name, line.line, (size_t)(nul - text) + 1);
    line.raw = strndup(text, n);
    if (line.raw == NULL)
        return no_memory(s->err);
    size_t start = skip_blanks(line.raw, 0);
    if (line.raw[start] != '\0' && line.raw[start] != '#') {
        if (split_line(s, &line, start, ret_key_len) != 0) {
            line_clear(&line);
            return s->err->code;
        }
        *ret_key = line.raw + start;
    }
    return insert_line(s->conf, s->conf->n, line, s->err);
}

/* Reader for inih: NULL at the end and after an error, which then stands in s->err. */
static char *
give_line(char *buf, int size, void *arg)
{
    struct scanner *s = arg;
    const char *key = NULL;
    size_t len = 0;
    while (key == NULL) {
        if (s->pos >= s->len || scan_line(s, &key, &len) != 0)
            return NULL;
    }
    int n = snprintf(buf, (size_t)size, "%.*s=%zu\n", (int)len, key, s->conf->n - 1);
    if (n < 0 || n >= size) {
        (void)gsp_fail(s->err, GSP_E_BUG, 0, "inih reads lines of %d bytes only", size);
        return NULL;
    }
    return buf;
}

static int
take_pair(void *arg, const char *section, const char *key, const char *value)
{
    struct scanner *s = arg;
    uint64_t index;
    (void)section;
    if (!parse_u64(value, s->conf->n - 1, &index))
        return 0;
    struct conf_line *line = &s->conf->lines[index];
    line->key = strdup(key);
    line->def = config_def_find(key);
    if (line->def != NULL && (line->def->flags & CONFIG_IN_INSTANCE) == 0)
        line->def = NULL;
    if (line->key == NULL)
        (void)no_memory(s->err);
    return line->key != NULL;
}

int
conf_file_parse(const char *text, size_t len, const char *name, struct conf_file **ret, struct gsp_error *err)
{
    struct conf_file *conf = NULL;
    if (len > CONF_FILE_MAX)
        return gsp_fail(err, GSP_E_CONFIG, 0, "'%s' is larger than %d bytes", name, (int)CONF_FILE_MAX);
    int rc = conf_file_new(&conf, err);
    if (rc != 0)
        return rc;
    struct scanner s = {conf, name, text, len, 0, err};
    conf->name = strdup(name);
    if (conf->name == NULL)
        (void)no_memory(err);
    else if (ini_parse_stream(give_line, &s, take_pair, &s) != 0)
        (void)gsp_fail(err, GSP_E_BUG, 0, "%s: inih does not take what our reader gives it", name);
    if (err->code != 0) {
        conf_file_free(conf);
        return err->code;
    }
    *ret = conf;
    return 0;
}

/* ---- use --------------------------------------------------------------------------------------- */

int
conf_file_apply(const struct conf_file *conf, struct config *cfg, struct gsp_error *err)
{
    const char *name = conf->name != NULL ? conf->name : "pg_probackup.conf";
    auto_strbuf unknown = STRBUF_INIT;
    for (size_t i = 0; i < conf->n; i++) {
        const struct conf_line *line = &conf->lines[i];
        char origin[512];
        if (line->key == NULL)
            continue;
        if (line->def == NULL) {
            strbuf_printf(&unknown, "%s\"%s\"", unknown.len > 0 ? ", " : "", line->key);
            continue;
        }
        (void)snprintf(origin, sizeof origin, "%.400s:%zu:%zu", name, line->line, line->column);
        int rc = config_set(cfg, line->def->key, line->value, CONFIG_INSTANCE, origin, err);
        if (rc != 0)
            return rc;
    }
    if (unknown.len > 0)
        log_warning("Invalid option %s in file \"%s\", ignored", strbuf_str(&unknown), name);
    return 0;
}

static int
line_has_key(const struct conf_line *line, const char *key, const struct config_def *def)
{
    if (line->key == NULL)
        return 0;
    return def != NULL ? line->def == def : strcmp(line->key, key) == 0;
}

/* The last line with a key, which is the one that counts; conf->n without one. */
static size_t
find_key(const struct conf_file *conf, const char *key)
{
    const struct config_def *def = config_def_find(key);
    for (size_t i = conf->n; i-- > 0;)
        if (line_has_key(&conf->lines[i], key, def))
            return i;
    return conf->n;
}

const char *
conf_file_get(const struct conf_file *conf, const char *key)
{
    size_t at = find_key(conf, key);
    return at < conf->n ? conf->lines[at].value : NULL;
}

/* ---- changing ---------------------------------------------------------------------------------- */

/* `key = value`, in quotes where the stock reader would end the value too early, with the comment that
 * stood behind it. That reader keeps blanks before a comment as part of an unquoted value. */
static char *
format_line(const char *key, const char *value, const char *comment)
{
    auto_strbuf out = STRBUF_INIT;
    int quote = comment != NULL || strpbrk(value, " \t\v\f#'") != NULL;
    strbuf_printf(&out, "%s = %s", key, quote ? "'" : "");
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\'')
            strbuf_putc(&out, '\'');
        strbuf_putc(&out, *p);
    }
    if (quote)
        strbuf_putc(&out, '\'');
    if (comment != NULL)
        strbuf_printf(&out, " %s", comment);
    return strbuf_steal(&out);
}

static int
replace_value(struct conf_line *line, const char *value, struct gsp_error *err)
{
    if (strcmp(line->value, value) == 0)
        return 0;
    const char *comment = line->comment > 0 ? line->raw + line->comment : NULL;
    auto_free char *copy = strdup(value);
    auto_free char *raw = format_line(line->key, value, comment);
    if (copy == NULL || raw == NULL)
        return no_memory(err);
    line->comment = comment != NULL ? strlen(raw) - strlen(comment) : 0;
    free(line->value);
    free(line->raw);
    line->value = steal(&copy);
    line->raw = steal(&raw);
    return 0;
}

static int
is_header(const struct conf_line *line, const char *group)
{
    return line->key == NULL && strncmp(line->raw, "# ", 2) == 0 && strcmp(line->raw + 2, group) == 0;
}

static size_t
find_header(const struct conf_file *conf, const char *group)
{
    size_t i = 0;
    while (i < conf->n && !is_header(&conf->lines[i], group))
        i++;
    return i;
}

/* Where a key goes in the lines of its group: behind its predecessors, else before its successors.
 * conf->n + 1 when the file has no line of the group. */
static size_t
place_in_group(const struct conf_file *conf, const struct config_def *def)
{
    size_t before = conf->n + 1;
    for (size_t i = conf->n; i-- > 0;) {
        const struct config_def *other = conf->lines[i].def;
        if (other == NULL || other->group != def->group)
            continue;
        if (other < def)
            return i + 1;
        before = i;
    }
    return before;
}

/* Where a new group starts: before the header of the next group that the file has, else at the end. */
static size_t
place_of_group(const struct conf_file *conf, const struct config_def *def)
{
    for (const struct config_def *later = def; later < config_defs + config_defs_n; later++) {
        if (later->group == NULL || later->group == def->group)
            continue;
        size_t at = find_header(conf, later->group);
        if (at < conf->n)
            return at;
    }
    return conf->n;
}

static int
insert_header(struct conf_file *conf, size_t at, const char *group, struct gsp_error *err)
{
    struct conf_line line = {0};
    auto_strbuf text = STRBUF_INIT;
    strbuf_printf(&text, "# %s", group);
    line.raw = strbuf_steal(&text);
    return line.raw != NULL ? insert_line(conf, at, line, err) : no_memory(err);
}

static int
add_key(struct conf_file *conf, const struct config_def *def, const char *value, struct gsp_error *err)
{
    struct conf_line line = {.def = def};
    size_t at = place_in_group(conf, def);
    if (at > conf->n) {
        at = find_header(conf, def->group);
        if (at == conf->n) {
            at = place_of_group(conf, def);
            int rc = insert_header(conf, at, def->group, err);
            if (rc != 0)
                return rc;
        }
        at++;
    }
    line.key = strdup(def->key);
    line.value = strdup(value);
    line.raw = format_line(def->key, value, NULL);
    if (line.key != NULL && line.value != NULL && line.raw != NULL)
        return insert_line(conf, at, line, err);
    line_clear(&line);
    return no_memory(err);
}

/* Drop every line of a key, and the header of its group when nothing is left below it. */
static void
remove_key(struct conf_file *conf, const struct config_def *def)
{
    int removed = 0;
    for (size_t i = conf->n; i-- > 0;) {
        if (conf->lines[i].def == def) {
            remove_line(conf, i);
            removed = 1;
        }
    }
    size_t header = find_header(conf, def->group);
    if (removed && header < conf->n && place_in_group(conf, def) > conf->n)
        remove_line(conf, header);
}

int
conf_file_set(struct conf_file *conf, const char *key, const char *value, struct gsp_error *err)
{
    const struct config_def *def = config_def_find(key);
    if (def == NULL || (def->flags & CONFIG_IN_INSTANCE) == 0)
        return gsp_fail(err, GSP_E_CONFIG, 0, "Invalid option \"%.128s\"", key);
    if (value == NULL) {
        remove_key(conf, def);
        return 0;
    }
    auto_free char *canonical = NULL;
    int rc = config_canonical(def, value, &canonical, err);
    if (rc != 0)
        return rc;
    size_t at = find_key(conf, def->key);
    return at < conf->n ? replace_value(&conf->lines[at], canonical, err) : add_key(conf, def, canonical, err);
}

int
conf_file_format(const struct conf_file *conf, struct strbuf *out, struct gsp_error *err)
{
    for (size_t i = 0; i < conf->n; i++) {
        strbuf_puts(out, conf->lines[i].raw);
        strbuf_putc(out, '\n');
    }
    return strbuf_check(out, err);
}
