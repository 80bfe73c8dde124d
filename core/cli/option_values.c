/* SPDX-License-Identifier: Apache-2.0
 * What the values of options are, and what a command makes of an option that it is given. */
#include <inttypes.h>
#include <string.h>

#include "core/base/number.h"
#include "core/base/timestamp.h"
#include "core/cli/cli.h"

enum { VERIFY_MAP_MAX = 1000 };

static const char *const formats[] = {"plain", "json", NULL};
static const char *const modes[] = {"FULL", "PTRACK", "DELTA", "PAGE", NULL};
static const char *const incremental_modes[] = {"none", "checksum", "lsn", NULL};
static const char *const media_types[] = {"disk", NULL};
static const char *const statuses[] = {
    "OK", "ERROR", "RUNNING", "MERGING", "MERGED", "DELETING", "DONE", "ORPHAN", "CORRUPT", NULL};

/* By option_id: names of one option share its kind of value. */
static const struct option_value values[OPT_CONFIG_KEY] = {
    [OPT_BACKUP_PATH] = {.type = VALUE_STRING},
    [OPT_INSTANCE] = {.type = VALUE_STRING},
    [OPT_BACKUP_ID] = {.type = VALUE_BACKUP_ID},
    [OPT_THREADS] = {.type = VALUE_U32, .max = UINT32_MAX},
    [OPT_FORMAT] = {.type = VALUE_ENUM, .words = formats},
    [OPT_BACKUP_MODE] = {.type = VALUE_ENUM, .words = modes},
    [OPT_SLOT] = {.type = VALUE_STRING},
    [OPT_NOTE] = {.type = VALUE_TEXT},
    [OPT_VERIFY_MAP] = {.type = VALUE_U32, .max = VERIFY_MAP_MAX},
    [OPT_TTL] = {.type = VALUE_SECONDS},
    [OPT_EXPIRE_TIME] = {.type = VALUE_TIMESTAMP},
    [OPT_MAX_AGE] = {.type = VALUE_SECONDS},
    [OPT_PASSWORD] = {.type = VALUE_TEXT},
    [OPT_INCREMENTAL_MODE] = {.type = VALUE_ENUM, .words = incremental_modes},
    [OPT_TABLESPACE_MAPPING] = {.type = VALUE_MAPPING},
    [OPT_EXTERNAL_MAPPING] = {.type = VALUE_MAPPING},
    [OPT_TARGET_TIME] = {.type = VALUE_TARGET},
    [OPT_TARGET_XID] = {.type = VALUE_TARGET},
    [OPT_TARGET_LSN] = {.type = VALUE_TARGET},
    [OPT_TARGET_NAME] = {.type = VALUE_TARGET},
    [OPT_TARGET_INCLUSIVE] = {.type = VALUE_TARGET},
    [OPT_TARGET_TIMELINE] = {.type = VALUE_TARGET},
    [OPT_STATUS] = {.type = VALUE_ENUM, .words = statuses},
    [OPT_CONFIG] = {.type = VALUE_STRING},
    [OPT_SET] = {.type = VALUE_SETTING},
    [OPT_MEDIA_TYPE] = {.type = VALUE_ENUM, .words = media_types},
    [OPT_S3_STATUS] = {.type = VALUE_STRING},
    [OPT_ENCRYPTION] = {.type = VALUE_TEXT},
    [OPT_LEFTOVER] = {.type = VALUE_TEXT},
};

static struct option_value
value_of_key(const struct config_def *key)
{
    static const enum value_type types[] = {[CONFIG_STRING] = VALUE_STRING,
        [CONFIG_BOOL] = VALUE_FLAG,
        [CONFIG_UINT] = VALUE_U32,
        [CONFIG_INT] = VALUE_I32,
        [CONFIG_U64] = VALUE_U64,
        [CONFIG_SECONDS] = VALUE_SECONDS,
        [CONFIG_MINUTES] = VALUE_MINUTES,
        [CONFIG_KBYTES] = VALUE_KBYTES,
        [CONFIG_LOGLEVEL] = VALUE_ENUM,
        [CONFIG_FORMAT] = VALUE_ENUM,
        [CONFIG_COMPRESS] = VALUE_WORD};
    struct option_value v = {.type = types[key->type], .words = config_type_words(key->type)};
    if (v.type == VALUE_U32)
        v.max = config_uint_max(key);
    return v;
}

struct option_value
option_value(const struct option_def *def)
{
    if (def->argument == ARG_NONE)
        return (struct option_value){.type = VALUE_FLAG};
    if (def->id == OPT_CONFIG_KEY)
        return value_of_key(config_def_find(def->name));
    return values[def->id];
}

int
option_value_fail(const struct option_def *def, const char *what, const char *text, struct gsp_error *err)
{
    char letter[] = {'-', def->short_name, ',', ' ', '\0'};
    return gsp_fail(err, GSP_E_USAGE, 0, "Option %s--%s should be %s: '%.256s'", def->short_name != 0 ? letter : "",
        def->name, what, text);
}

static int
check_u32(const struct option_def *def, uint32_t max, const char *text, struct gsp_error *err)
{
    char range[64] = "a 32bit unsigned integer";
    uint64_t n;
    if (parse_u64_c(text, max, &n))
        return 0;
    if (max != UINT32_MAX)
        (void)snprintf(range, sizeof range, "a whole number from 0 to %" PRIu32, max);
    (void)option_value_fail(def, range, text, err);
    return gsp_hint(err, "write a whole number from 0 to %" PRIu32, max);
}

int
option_value_check(const struct option_def *def, const char *text, struct gsp_error *err)
{
    struct option_value v = option_value(def);
    int64_t n;
    if (v.type == VALUE_U32)
        return check_u32(def, v.max, text, err);
    if (v.type == VALUE_STRING && text[0] == '\0')
        return option_value_fail(def, "a valid string", text, err);
    if (v.type == VALUE_SECONDS && !parse_duration_us(text, 1000000, &n)) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Invalid value for '--%s' option: '%.256s'", def->name, text);
        return gsp_hint(err, "a whole number with ms, s, min, h or d, for example --%s=30d", def->name);
    }
    if (v.type == VALUE_TIMESTAMP && !timestamp_parse(text, 0, &n)) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Invalid value for '--%s' option: '%.256s'", def->name, text);
        return gsp_hint(err, "a moment from 1970-01-02 to 9999-12-30, such as '2031-01-01 00:00:00+08'");
    }
    return 0;
}

enum option_fate
option_fate(const struct option_def *def, const struct command *command)
{
    if (def->unsupported & command->bit)
        return OPTION_UNSUPPORTED;
    if (def->commands & command->bit)
        return OPTION_TAKEN;
    /* Settings that are not stored still take part in what is shown. */
    if (def->id == OPT_CONFIG_KEY && command->bit == CMD_SHOW_CONFIG)
        return OPTION_TAKEN;
    /* Most options that a command has no use for are only warned about, as scripts for the stock tool carry them; these
     * would change what the user thinks is being done. */
    if (def->id == OPT_BACKUP_ID)
        return OPTION_REFUSED;
    if (command->bit == CMD_VALIDATE && (def->id == OPT_NO_VALIDATE || def->id == OPT_FORCE))
        return OPTION_REFUSED;
    return OPTION_IGNORED;
}

const struct option_def *
option_alias_of(const struct option_def *def)
{
    if (def->id == OPT_CONFIG_KEY || def->id == OPT_ENCRYPTION || def->id == OPT_LEFTOVER)
        return def;
    const struct option_def *first = option_defs;
    while (first->id != def->id)
        first++;
    return first;
}
