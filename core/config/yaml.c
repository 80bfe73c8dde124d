/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yaml.h>

#include "core/base/cleanup.h"
#include "core/config/config.h"
#include "core/config/config_value.h"

enum { YAML_FILE_MAX = 1024 * 1024, YAML_KEYS_MAX = 1024, YAML_ORIGIN_SIZE = 512 };

static const char sections[] = "plugin, server, mode, compressor, storage, retention, defaults, catalog";

/* The file is walked event by event, so that nothing is built from a file that is not ours. */
struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; of type NO_EVENT when there is none */
    struct config *cfg;
    const char *name, *text;
    size_t len;
    char *seen[YAML_KEYS_MAX]; /* paths so far, to find duplicates */
    size_t seen_n;
    struct gsp_error *err;
};

static void
reader_end(struct reader *y)
{
    for (size_t i = 0; i < y->seen_n; i++)
        free(y->seen[i]);
    yaml_event_delete(&y->event);
    yaml_parser_delete(&y->parser);
}

static int GSP_PRINTF(3, 4) fail_at(struct reader *y, yaml_mark_t mark, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return gsp_fail(y->err, GSP_E_CONFIG, 0, "%s:%zu:%zu: %s", y->name, mark.line + 1, mark.column + 1, text);
}

static int
fail_parser(struct reader *y)
{
    yaml_mark_t mark = y->parser.problem_mark;
    if (y->parser.error == YAML_MEMORY_ERROR)
        return gsp_fail(y->err, GSP_E_NOMEM, 0, "out of memory");
    if (y->parser.error == YAML_READER_ERROR) {
        /* Bad bytes are reported by offset only. */
        size_t offset = y->parser.problem_offset < y->len ? y->parser.problem_offset : y->len;
        mark = (yaml_mark_t){.index = offset};
        for (size_t i = 0; i < offset; i++) {
            mark.column = y->text[i] == '\n' ? 0 : mark.column + 1;
            mark.line += y->text[i] == '\n';
        }
    }
    return fail_at(y, mark, "%s%s%s", y->parser.problem != NULL ? y->parser.problem : "this is not YAML",
        y->parser.context != NULL ? " " : "", y->parser.context != NULL ? y->parser.context : "");
}

/* Parts of YAML that a reader of the file would have to look up elsewhere in it, or in a manual. */
static int
check_event(struct reader *y)
{
    const yaml_event_t *e = &y->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_ALIAS_EVENT)
        return fail_at(y, e->start_mark, "an alias is not supported here");
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    if (anchor != NULL)
        return fail_at(y, e->start_mark, "an anchor is not supported here");
    if (tag != NULL)
        return fail_at(y, e->start_mark, "a tag is not supported here");
    if (e->type != YAML_SCALAR_EVENT)
        return 0;
    if (e->data.scalar.length > CONFIG_VALUE_MAX)
        return fail_at(y, e->start_mark, "the value is longer than %d bytes", (int)CONFIG_VALUE_MAX);
    if (memchr(e->data.scalar.value, '\0', e->data.scalar.length) != NULL)
        return fail_at(y, e->start_mark, "the value holds a NUL byte");
    return 0;
}

static int
next(struct reader *y)
{
    yaml_event_delete(&y->event);
    if (!yaml_parser_parse(&y->parser, &y->event))
        return fail_parser(y);
    return check_event(y);
}

static const char *
scalar(const struct reader *y)
{
    return (const char *)y->event.data.scalar.value;
}

/* `section:` with nothing, or only comments, behind it. */
static int
is_nothing(const struct reader *y)
{
    return y->event.type == YAML_SCALAR_EVENT && y->event.data.scalar.length == 0 &&
           y->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* Note a path; the second time is an error. */
static int
see(struct reader *y, const char *path, yaml_mark_t mark)
{
    for (size_t i = 0; i < y->seen_n; i++)
        if (strcmp(y->seen[i], path) == 0)
            return fail_at(y, mark, "'%s' is here for the second time", path);
    if (y->seen_n == YAML_KEYS_MAX)
        return fail_at(y, mark, "there are more than %d keys", (int)YAML_KEYS_MAX);
    y->seen[y->seen_n] = strdup(path);
    if (y->seen[y->seen_n] == NULL)
        return gsp_fail(y->err, GSP_E_NOMEM, 0, "out of memory");
    y->seen_n++;
    return 0;
}

static int
set_at(struct reader *y, const char *key, const char *text, yaml_mark_t mark)
{
    char origin[YAML_ORIGIN_SIZE];
    (void)snprintf(origin, sizeof origin, "%s:%zu:%zu", y->name, mark.line + 1, mark.column + 1);
    return config_set(y->cfg, key, text, CONFIG_YAML, origin, y->err);
}

static int
read_scalar(struct reader *y, const char *key)
{
    yaml_mark_t mark = y->event.start_mark;
    if (y->event.type != YAML_SCALAR_EVENT)
        return fail_at(y, mark, "'%s' should be a single value", key);
    if (is_nothing(y))
        return fail_at(y, mark, "'%s' has no value", key);
    return set_at(y, key, scalar(y), mark);
}

/* plugin.path: absolute directories, kept as one text joined by ':'. */
static int
read_path_list(struct reader *y, const char *key)
{
    auto_strbuf joined = STRBUF_INIT;
    yaml_mark_t mark = y->event.start_mark;
    if (y->event.type != YAML_SEQUENCE_START_EVENT)
        return fail_at(y, mark, "'%s' should be a list of directories", key);
    for (;;) {
        int rc = next(y);
        if (rc != 0)
            return rc;
        if (y->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (y->event.type != YAML_SCALAR_EVENT || scalar(y)[0] != '/' || strchr(scalar(y), ':') != NULL)
            return fail_at(y, y->event.start_mark, "'%s' should hold absolute paths of directories without ':'", key);
        if (joined.len > 0)
            strbuf_putc(&joined, ':');
        strbuf_puts(&joined, scalar(y));
    }
    if (strbuf_check(&joined, y->err) != 0)
        return y->err->code;
    return joined.len > 0 ? set_at(y, key, strbuf_str(&joined), mark) : 0;
}

/* Level of a mapping: the file itself, a section of it, the options of one plugin. */
enum level { LEVEL_FILE, LEVEL_SECTION, LEVEL_PLUGIN };

static int read_mapping(struct reader *y, enum level level, const char *path);

static int
read_section_value(struct reader *y, const char *path, yaml_mark_t key_mark)
{
    const char *dot = strchr(path, '.');
    uint32_t kind;
    if (strncmp(path, "defaults.", 9) == 0)
        return read_scalar(y, dot + 1);
    if (strcmp(path, "plugin.path") == 0)
        return read_path_list(y, path);
    if (config_def_find(path) != NULL)
        return read_scalar(y, path);
    if (!plugin_kind_parse(path, (size_t)(dot - path), &kind)) {
        (void)fail_at(y, key_mark, "'%s' is unknown", path);
        return gsp_hint(
            y->err, "'%.*s' has only the key '%s'", (int)(dot - path), path, path[0] == 'p' ? "path" : "new-modes");
    }
    if (is_nothing(y))
        return 0;
    if (y->event.type != YAML_MAPPING_START_EVENT) {
        (void)fail_at(y, key_mark, "'%s' should be a plugin with its options below", path);
        return gsp_hint(y->err, "write the options of a plugin as %s: {key: value}", path);
    }
    return read_mapping(y, LEVEL_PLUGIN, path);
}

static int
is_section(const char *path)
{
    size_t len = strlen(path);
    for (const char *p = sections; *p != '\0'; p += strspn(p, ", ")) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, path, len) == 0)
            return 1;
        p += n;
    }
    return 0;
}

/* The value behind a key; y->event is its first event. */
static int
read_value(struct reader *y, enum level level, const char *path, yaml_mark_t key_mark)
{
    switch (level) {
    case LEVEL_FILE:
        if (!is_section(path)) {
            (void)fail_at(y, key_mark, "the section '%s' is unknown", path);
            return gsp_hint(y->err, "sections are %s", sections);
        }
        if (is_nothing(y))
            return 0;
        if (y->event.type != YAML_MAPPING_START_EVENT)
            return fail_at(y, y->event.start_mark, "the section '%s' should hold keys and values", path);
        return read_mapping(y, LEVEL_SECTION, path);
    case LEVEL_SECTION:
        return read_section_value(y, path, key_mark);
    case LEVEL_PLUGIN:
    default:
        return read_scalar(y, path);
    }
}

/* The path of a key, spelled in the one way that the configuration knows it by. */
static int
make_path(struct reader *y, enum level level, const char *parent, char path[CONFIG_PLUGIN_KEY_SIZE])
{
    if (y->event.type != YAML_SCALAR_EVENT || scalar(y)[0] == '\0')
        return fail_at(y, y->event.start_mark, "a key should be a word");
    const char *key = scalar(y);
    if (strlen(key) >= CONFIG_KEY_SIZE || strchr(key, '.') != NULL)
        return fail_at(y, y->event.start_mark, "the key '%.64s' is unknown", key);
    (void)snprintf(path, CONFIG_PLUGIN_KEY_SIZE, "%.128s%s%s", parent, level == LEVEL_FILE ? "" : ".", key);
    if (level == LEVEL_SECTION && strcmp(parent, "defaults") == 0) {
        const struct config_def *def = config_def_find(key);
        /* The identity of one cluster is nobody's default. */
        if (def == NULL || (def->flags & CONFIG_NO_CMDLINE) != 0) {
            (void)fail_at(y, y->event.start_mark, "the key '%s' is unknown in 'defaults'", key);
            return gsp_hint(y->err, "its keys are those of pg_probackup.conf, such as pghost or retention-window");
        }
        (void)snprintf(path, CONFIG_PLUGIN_KEY_SIZE, "defaults.%s", def->key);
    }
    if (level == LEVEL_SECTION && config_def_find(path) != NULL)
        (void)snprintf(path, CONFIG_PLUGIN_KEY_SIZE, "%s", config_def_find(path)->key);
    if (level == LEVEL_PLUGIN) {
        char plugin[CONFIG_KEY_SIZE], option[CONFIG_KEY_SIZE];
        uint32_t kind;
        if (!config_split_plugin_key(path, &kind, plugin, option))
            return fail_at(y, y->event.start_mark, "'%s' cannot be the option of a plugin", path);
        (void)snprintf(path, CONFIG_PLUGIN_KEY_SIZE, "%s.%s.%s", plugin_kind_name(kind), plugin, option);
    }
    return 0;
}

/* Keys and values up to the end of a mapping whose start was just read. */
static int
read_mapping(struct reader *y, enum level level, const char *parent)
{
    for (;;) {
        char path[CONFIG_PLUGIN_KEY_SIZE];
        int rc = next(y);
        if (rc != 0)
            return rc;
        if (y->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        yaml_mark_t mark = y->event.start_mark;
        rc = make_path(y, level, parent, path);
        if (rc == 0)
            rc = see(y, path, mark);
        if (rc == 0)
            rc = next(y);
        if (rc == 0)
            rc = read_value(y, level, path, mark);
        if (rc != 0)
            return rc;
    }
}

static int
read_stream(struct reader *y)
{
    int rc = next(y); /* start of the stream */
    if (rc == 0)
        rc = next(y);
    if (rc != 0 || y->event.type == YAML_STREAM_END_EVENT)
        return rc;
    rc = next(y); /* behind the start of the document */
    if (rc == 0 && !is_nothing(y)) {
        if (y->event.type != YAML_MAPPING_START_EVENT)
            return fail_at(y, y->event.start_mark, "the file should hold sections with keys and values");
        rc = read_mapping(y, LEVEL_FILE, "");
    }
    if (rc == 0)
        rc = next(y); /* end of the document */
    if (rc == 0)
        rc = next(y);
    if (rc == 0 && y->event.type != YAML_STREAM_END_EVENT)
        rc = fail_at(y, y->event.start_mark, "there is a second document");
    return rc;
}

int
config_parse_yaml(struct config *cfg, const char *text, size_t len, const char *name, struct gsp_error *err)
{
    if (len > YAML_FILE_MAX)
        return gsp_fail(err, GSP_E_CONFIG, 0, "'%s' is larger than %d bytes", name, (int)YAML_FILE_MAX);
    auto_free struct reader *y = calloc(1, sizeof *y);
    if (y == NULL || !yaml_parser_initialize(&y->parser))
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    y->cfg = cfg;
    y->name = name;
    y->text = text;
    y->len = len;
    y->err = err;
    yaml_parser_set_input_string(&y->parser, (const unsigned char *)text, len);
    /* Without this a byte order mark would switch to UTF-16. */
    yaml_parser_set_encoding(&y->parser, YAML_UTF8_ENCODING);
    int rc = read_stream(y);
    reader_end(y);
    return rc;
}

static int
read_file(int fd, const char *path, struct strbuf *text, struct gsp_error *err)
{
    for (;;) {
        char *room = strbuf_reserve(text, 65536);
        if (room == NULL)
            return strbuf_check(text, err);
        ssize_t n = read(fd, room, 65536);
        if (n < 0)
            return gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot read '%s'", path);
        text->len += (size_t)n;
        /* Too long is too long: config_parse_yaml says so. */
        if (n == 0 || text->len > YAML_FILE_MAX)
            return 0;
    }
}

int
config_load_yaml(struct config *cfg, const char *path, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    struct stat st;
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        return gsp_fail(err, gsp_code_of_errno(errno), errno, "could not open file \"%s\"", path);
    if (!S_ISREG(st.st_mode))
        return gsp_fail(err, GSP_E_CONFIG, 0, "'%s' is not a regular file", path);
    if ((st.st_mode & S_IWOTH) != 0) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "'%s' can be written by everybody, so it cannot be trusted", path);
        return gsp_hint(err, "chmod o-w '%s'", path);
    }
    int rc = read_file(fd, path, &text, err);
    return rc != 0 ? rc : config_parse_yaml(cfg, strbuf_str(&text), text.len, path, err);
}
