/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/config_value.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/log.h"
#include "core/base/number.h"

enum { VALUE_TEXT_SIZE = 64 };

/* The stock tool's words for a value it does not like, and what it would like instead. */
static int GSP_PRINTF(5, 6) fail_value(
    const struct config_def *def, const char *text, const char *what, struct gsp_error *err, const char *hint, ...)
{
    /* The tool has options with two dashes; keys with a dot exist only in YAML and for --set. */
    const char *dashes = strchr(def->key, '.') == NULL ? "--" : "";
    const char *shown = (def->flags & CONFIG_SECRET) != 0 && text[0] != '\0' ? "***" : text;
    (void)gsp_fail(err, GSP_E_CONFIG, 0, "Option %s%s should be %s: '%.256s'", dashes, def->key, what, shown);
    va_list ap;
    va_start(ap, hint);
    if (err->hint[0] == '\0')
        (void)vsnprintf(err->hint, sizeof err->hint, hint, ap);
    va_end(ap);
    return err->code;
}

static const char *const log_levels[] = {"verbose", "log", "info", "notice", "warning", "error", "off", NULL};
static const char *const formats[] = {"plain", "json", NULL};
static const char *const compressors[] = {"none", "zlib", "pglz", "lz4", "zstd", NULL};

const char *const *
config_type_words(enum config_type type)
{
    return type == CONFIG_LOGLEVEL   ? log_levels
           : type == CONFIG_COMPRESS ? compressors
           : type == CONFIG_FORMAT   ? formats
                                     : NULL;
}

uint32_t
config_uint_max(const struct config_def *def)
{
    return strcmp(def->key, "compress-level") == 0 ? 9 : UINT32_MAX;
}

static int
canonical_unsigned(const struct config_def *def, const char *text, char *buf, struct gsp_error *err)
{
    uint64_t v, max = def->type == CONFIG_UINT ? UINT32_MAX : UINT64_MAX;
    if (!parse_u64_c(text, max, &v))
        return fail_value(def, text, def->type == CONFIG_UINT ? "a 32bit unsigned integer" : "a 64bit unsigned integer",
            err, "write a whole number from 0 to %" PRIu64, max);
    if (def->type == CONFIG_UINT && v > config_uint_max(def))
        return gsp_fail(
            err, GSP_E_CONFIG, 0, "--%s value must be in the range from 0 to %" PRIu32, def->key, config_uint_max(def));
    (void)snprintf(buf, VALUE_TEXT_SIZE, "%" PRIu64, v);
    return 0;
}

static int
canonical_int(const struct config_def *def, const char *text, char *buf, struct gsp_error *err)
{
    uint64_t v;
    int negative = text[0] == '-';
    if (!parse_u64_c(text + negative, (uint64_t)INT32_MAX + (negative ? 1 : 0), &v))
        return fail_value(
            def, text, "a 32bit signed integer", err, "write a whole number from %d to %d", INT32_MIN, INT32_MAX);
    (void)snprintf(buf, VALUE_TEXT_SIZE, "%s%" PRIu64, negative && v != 0 ? "-" : "", v);
    return 0;
}

static int
canonical_duration(const struct config_def *def, const char *text, char *buf, struct gsp_error *err)
{
    int seconds = def->type == CONFIG_SECONDS;
    int64_t us;
    /* The stock tool keeps these seconds in 32 bits: a larger value would be misread there. */
    if (!parse_duration_us(text, seconds ? 1000000 : 60000000, &us) || (seconds && us > (int64_t)UINT32_MAX * 1000000))
        return fail_value(def, text, seconds ? "a 32bit unsigned integer" : "a 64bit unsigned integer", err,
            "write a whole number with the unit ms, s, min, h or d; without a unit it counts %s",
            seconds ? "seconds" : "minutes");
    format_duration_exact(us, buf, VALUE_TEXT_SIZE);
    return 0;
}

static int
canonical_kbytes(const struct config_def *def, const char *text, char *buf, struct gsp_error *err)
{
    uint64_t bytes;
    if (!parse_size(text, 1024, &bytes) || bytes % 1024 != 0)
        return fail_value(def, text, "a 64bit unsigned integer", err,
            "write a whole number with the unit kB, MB, GB or TB; without a unit it counts kB");
    format_size_exact(bytes, buf, VALUE_TEXT_SIZE);
    return 0;
}

static int
canonical_bool(const struct config_def *def, const char *text, char *buf, struct gsp_error *err)
{
    int v;
    if (!parse_bool(text, &v))
        return fail_value(def, text, "a boolean", err, "write true or false");
    (void)snprintf(buf, VALUE_TEXT_SIZE, "%s", v ? "true" : "false");
    return 0;
}

static int
canonical_loglevel(const struct config_def *def, const char *text, char *buf, struct gsp_error *err)
{
    enum log_level level;
    if (!log_level_parse(text, &level))
        return fail_value(def, text, "a log level", err, "write one of verbose, log, info, warning, error, off");
    (void)snprintf(buf, VALUE_TEXT_SIZE, "%s", log_level_name(level));
    return 0;
}

static int
canonical_format(const struct config_def *def, const char *text, char *buf, struct gsp_error *err)
{
    size_t len = strlen(text);
    for (size_t i = 0; len > 0 && formats[i] != NULL; i++) {
        if (strncasecmp(formats[i], text, len) == 0) {
            (void)snprintf(buf, VALUE_TEXT_SIZE, "%s", formats[i]);
            return 0;
        }
    }
    return fail_value(def, text, "a format", err, "write plain or json");
}

static int
canonical_compress(const struct config_def *def, const char *text, char *buf, struct gsp_error *err)
{
    char lower[32] = "";
    size_t len = strlen(text), matches = 0;
    if (len < sizeof lower)
        for (size_t i = 0; i < len; i++)
            lower[i] = (char)tolower((unsigned char)text[i]);
    const char *name = lower;
    for (size_t i = 0; len > 0 && compressors[i] != NULL; i++) {
        if (strncmp(compressors[i], lower, len) == 0) {
            name = compressors[i];
            matches++;
        }
    }
    /* Any other word may be the compressor of a vendor: whether it exists is asked when it is used. */
    size_t good = strspn(lower, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (lower[0] == '\0' || lower[good] != '\0' || matches > 1)
        return fail_value(def, text, "a compression algorithm", err,
            "write none, zlib, pglz, lz4, zstd (or an unambiguous beginning of these) or the name of a compressor "
            "plugin");
    (void)snprintf(buf, VALUE_TEXT_SIZE, "%s", name);
    return 0;
}

static int
check_string(const struct config_def *def, const char *text, struct gsp_error *err)
{
    if (text[0] == '\0' || strpbrk(text, "\r\n") != NULL)
        return fail_value(def, text, "a valid string", err, "it must not be empty and must be one line");
    return 0;
}

int
config_canonical(const struct config_def *def, const char *text, char **ret, struct gsp_error *err)
{
    char buf[VALUE_TEXT_SIZE];
    const char *value = buf;
    int rc;
    if (strlen(text) > CONFIG_VALUE_MAX)
        return gsp_fail(
            err, GSP_E_CONFIG, 0, "the value of option %s is longer than %d bytes", def->key, (int)CONFIG_VALUE_MAX);
    switch (def->type) {
    case CONFIG_BOOL:
        rc = canonical_bool(def, text, buf, err);
        break;
    case CONFIG_UINT:
    case CONFIG_U64:
        rc = canonical_unsigned(def, text, buf, err);
        break;
    case CONFIG_INT:
        rc = canonical_int(def, text, buf, err);
        break;
    case CONFIG_SECONDS:
    case CONFIG_MINUTES:
        rc = canonical_duration(def, text, buf, err);
        break;
    case CONFIG_KBYTES:
        rc = canonical_kbytes(def, text, buf, err);
        break;
    case CONFIG_FORMAT:
        rc = canonical_format(def, text, buf, err);
        break;
    case CONFIG_LOGLEVEL:
        rc = canonical_loglevel(def, text, buf, err);
        break;
    case CONFIG_COMPRESS:
        rc = canonical_compress(def, text, buf, err);
        break;
    case CONFIG_STRING:
    default:
        rc = check_string(def, text, err);
        value = text;
        break;
    }
    if (rc != 0)
        return rc;
    char *copy = strdup(value);
    if (copy == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    *ret = copy;
    return 0;
}

int
config_split_plugin_key(const char *text, uint32_t *ret_kind, char *name, char *key)
{
    const char *dot = strchr(text, '.');
    const char *last = dot != NULL ? strchr(dot + 1, '.') : NULL;
    if (last == NULL || !plugin_kind_parse(text, (size_t)(dot - text), ret_kind))
        return 0;
    size_t name_len = (size_t)(last - dot - 1), key_len = strlen(last + 1);
    if (name_len == 0 || name_len > 31 || key_len == 0 || key_len > 63)
        return 0;
    (void)snprintf(name, CONFIG_KEY_SIZE, "%.*s", (int)name_len, dot + 1);
    for (size_t i = 0; i <= key_len; i++)
        key[i] = last[1 + i] == '_' ? '-' : (char)tolower((unsigned char)last[1 + i]);
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0' &&
           key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}
