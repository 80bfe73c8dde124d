/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/number.h"
#include "core/plugin/loader.h"

enum { OPTIONS_MAX = 256, OPTION_KEY_MAX = 63, OPTIONS_SIZE_MAX = 4096 };

const char *
plugin_option_type_name(uint32_t type)
{
    switch (type) {
    case GSP_OPT_BOOL:
        return "boolean";
    case GSP_OPT_INT:
        return "integer";
    case GSP_OPT_DURATION:
        return "duration";
    case GSP_OPT_STRING:
        return "string";
    case GSP_OPT_SECRET:
        return "secret";
    default:
        return NULL;
    }
}

static size_t
field_size(uint32_t type)
{
    switch (type) {
    case GSP_OPT_BOOL:
        return sizeof(int32_t);
    case GSP_OPT_INT:
    case GSP_OPT_DURATION:
        return sizeof(int64_t);
    default:
        return sizeof(const char *);
    }
}

static int
is_text(const struct gsp_option *opt)
{
    return opt->type == GSP_OPT_STRING || opt->type == GSP_OPT_SECRET;
}

static int
is_limited(const struct gsp_option *opt)
{
    return opt->min != 0 || opt->max != 0;
}

/* 1 and the number behind a text, 0 when the text is no good. Strings are always good. */
static int
parse_number(const struct gsp_option *opt, const char *text, int64_t *ret)
{
    int64_t v = 0;
    int boolean;
    switch (opt->type) {
    case GSP_OPT_BOOL:
        if (!parse_bool(text, &boolean))
            return 0;
        *ret = boolean;
        return 1;
    case GSP_OPT_INT:
        if (!parse_i64(text, INT64_MIN, INT64_MAX, &v))
            return 0;
        break;
    case GSP_OPT_DURATION:
        if (!parse_duration_us(text, 1000000, &v))
            return 0;
        break;
    default:
        *ret = 0;
        return 1;
    }
    if (is_limited(opt) && (v < opt->min || v > opt->max))
        return 0;
    *ret = v;
    return 1;
}

/* What a good value looks like: "an integer from 0 to 9". */
static void
describe(const struct gsp_option *opt, char *buf, size_t size)
{
    char low[40], high[40];
    switch (opt->type) {
    case GSP_OPT_BOOL:
        (void)snprintf(buf, size, "a boolean");
        break;
    case GSP_OPT_INT:
        if (is_limited(opt))
            (void)snprintf(buf, size, "an integer from %" PRId64 " to %" PRId64, opt->min, opt->max);
        else
            (void)snprintf(buf, size, "an integer");
        break;
    case GSP_OPT_DURATION:
        if (is_limited(opt)) {
            format_duration_exact(opt->min, low, sizeof low);
            format_duration_exact(opt->max, high, sizeof high);
            (void)snprintf(buf, size, "a duration from %s to %s", low, high);
        } else {
            (void)snprintf(buf, size, "a duration");
        }
        break;
    default:
        (void)snprintf(buf, size, "a string");
        break;
    }
}

static int
parse_or_fail(const struct gsp_option *opt, const char *text, int64_t *ret, struct gsp_error *err)
{
    if (parse_number(opt, text, ret))
        return 0;
    char what[128];
    describe(opt, what, sizeof what);
    (void)gsp_fail(err, GSP_E_CONFIG, 0, "option '%s' should be %s: '%.128s'", opt->key, what, text);
    if (opt->type == GSP_OPT_BOOL)
        return gsp_hint(err, "write true or false");
    if (opt->type == GSP_OPT_DURATION)
        return gsp_hint(err, "write a whole number with the unit ms, s, min, h or d; without a unit it counts seconds");
    return err->code;
}

int
plugin_option_check(const struct gsp_option *opt, const char *text, struct gsp_error *err)
{
    int64_t ignored;
    return parse_or_fail(opt, text, &ignored, err);
}

static int
check_option(const struct gsp_plugin *desc, const struct gsp_option *opt, struct gsp_error *err)
{
    size_t len = strspn(opt->key, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (len == 0 || len > OPTION_KEY_MAX || opt->key[len] != '\0')
        return gsp_fail(err, GSP_E_BUG, 0, "its option key '%.64s' is not 1 to %d of the characters a-z, 0-9 and -",
            opt->key, (int)OPTION_KEY_MAX);
    if (plugin_option_type_name(opt->type) == NULL)
        return gsp_fail(err, GSP_E_BUG, 0, "its option '%s' has the unknown type %u", opt->key, opt->type);
    if (opt->help == NULL)
        return gsp_fail(err, GSP_E_BUG, 0, "its option '%s' has no help", opt->key);
    size_t size = field_size(opt->type);
    if (opt->offset % size != 0 || opt->offset > desc->options_size || size > desc->options_size - opt->offset)
        return gsp_fail(err, GSP_E_BUG, 0, "its option '%s' at offset %u does not fit its options struct of %u bytes",
            opt->key, opt->offset, desc->options_size);
    for (const struct gsp_option *before = desc->options; before < opt; before++)
        if (strcmp(before->key, opt->key) == 0)
            return gsp_fail(err, GSP_E_BUG, 0, "it has the option '%s' twice", opt->key);
    int64_t ignored;
    if (opt->def != NULL && !parse_number(opt, opt->def, &ignored))
        return gsp_fail(
            err, GSP_E_BUG, 0, "the default '%.64s' of its option '%s' is not a good value", opt->def, opt->key);
    return 0;
}

int
options_check_table(const struct gsp_plugin *desc, struct gsp_error *err)
{
    if (desc->options_size > OPTIONS_SIZE_MAX)
        return gsp_fail(err, GSP_E_BUG, 0, "its options struct has %u bytes, %d are allowed", desc->options_size,
            (int)OPTIONS_SIZE_MAX);
    if (desc->options == NULL)
        return 0;
    for (const struct gsp_option *opt = desc->options; opt->key != NULL; opt++) {
        if (opt - desc->options >= OPTIONS_MAX)
            return gsp_fail(err, GSP_E_BUG, 0, "it has more than %d options", (int)OPTIONS_MAX);
        int rc = check_option(desc, opt, err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* The text for an option and where it comes from; NULL when there is none and none is needed. */
static int
find_text(const struct plugin *plugin, const struct gsp_option *opt, plugin_lookup lookup, void *arg,
    const char **ret_text, const char **ret_origin, struct gsp_error *err)
{
    const char *text = NULL, *origin = NULL;
    if (!lookup(arg, plugin, opt, &text, &origin)) {
        text = opt->def;
        origin = "default";
    }
    if (text == NULL && (opt->flags & GSP_OPT_REQUIRED) != 0) {
        const char *kind = plugin_kind_name(plugin->kind);
        (void)gsp_fail(
            err, GSP_E_CONFIG, 0, "required parameter not specified: %s.%s.%s", kind, plugin->name, opt->key);
        return gsp_hint(err, "give --set %s.%s.%s=VALUE%s%s", kind, plugin->name, opt->key,
            opt->legacy_key != NULL ? " or --" : "", opt->legacy_key != NULL ? opt->legacy_key : "");
    }
    *ret_text = text;
    *ret_origin = origin;
    return 0;
}

/* Put one value into its field; texts are copied to *strings, which moves on. */
static int
store_option(const struct plugin *plugin, const struct gsp_option *opt, const char *text, const char *origin,
    char *opts, char **strings, struct gsp_error *err)
{
    char *field = opts + opt->offset;
    if (is_text(opt)) {
        size_t size = strlen(text) + 1;
        memcpy(*strings, text, size);
        memcpy(field, strings, sizeof *strings);
        *strings += size;
        return 0;
    }
    int64_t v = 0;
    int rc = parse_or_fail(opt, text, &v, err);
    if (rc != 0)
        return gsp_prefix(err, "%s: %s.%s", origin, plugin_kind_name(plugin->kind), plugin->name);
    if (opt->type == GSP_OPT_BOOL) {
        int32_t boolean = (int32_t)v;
        memcpy(field, &boolean, sizeof boolean);
    } else {
        memcpy(field, &v, sizeof v);
    }
    return 0;
}

int
plugin_bind_options(
    const struct plugin *plugin, plugin_lookup lookup, void *arg, void **ret_opts, struct gsp_error *err)
{
    const struct gsp_option *options = plugin->desc->options;
    size_t n = 0, size = plugin->desc->options_size;
    while (options != NULL && options[n].key != NULL)
        n++;
    /* Texts first: the struct and all its strings are one block, so that one free ends them. */
    auto_free const char **texts = calloc(2 * n + 1, sizeof *texts);
    if (texts == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < n; i++) {
        int rc = find_text(plugin, &options[i], lookup, arg, &texts[2 * i], &texts[2 * i + 1], err);
        if (rc != 0)
            return rc;
        if (texts[2 * i] != NULL && is_text(&options[i]))
            size += strlen(texts[2 * i]) + 1;
    }
    auto_free char *opts = calloc(1, size + 1);
    if (opts == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    char *strings = opts + plugin->desc->options_size;
    for (size_t i = 0; i < n; i++) {
        if (texts[2 * i] == NULL)
            continue;
        int rc = store_option(plugin, &options[i], texts[2 * i], texts[2 * i + 1], opts, &strings, err);
        if (rc != 0)
            return rc;
    }
    *ret_opts = steal(&opts);
    return 0;
}

void
plugin_free_options(void *opts)
{
    free(opts);
}
