/* SPDX-License-Identifier: Apache-2.0
 * The options that say where a recovery is to end. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "core/base/number.h"
#include "core/base/timestamp.h"
#include "core/cli/cli.h"

static int
invalid(const char *option, const char *text, const char *hint, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_USAGE, 0, "Invalid value for '--%s' option '%.128s'", option, text);
    return gsp_hint(err, "%s", hint);
}

/* A fraction of the seconds stands behind the second colon. Returns where, or the end of text. */
static const char *
find_fraction(const char *text)
{
    const char *p = strchr(text, ':');
    p = p != NULL ? strchr(p + 1, ':') : NULL;
    if (p == NULL)
        return text + strlen(text);
    p++;
    while (isdigit((unsigned char)*p))
        p++;
    return (*p == '.' || *p == ',') && isdigit((unsigned char)p[1]) ? p : text + strlen(text);
}

/* With an explicit zone: the server's own may be another one. */
static void
format_time(int64_t time_us, char *buf, size_t size)
{
    char seconds[TIMESTAMP_SIZE];
    timestamp_format(time_us / 1000000, seconds);
    size_t len = strlen("2000-01-01 00:00:00");
    if (time_us % 1000000 == 0 || strlen(seconds) < len)
        (void)snprintf(buf, size, "%s", seconds);
    else
        (void)snprintf(buf, size, "%.*s.%06" PRId64 "%s", (int)len, seconds, time_us % 1000000, seconds + len);
}

static int
parse_time(const char *text, struct cli_target *ret, struct gsp_error *err)
{
    char rest[128];
    int64_t seconds, micros = 0, unit = 100000;
    const char *fraction = find_fraction(text), *behind = fraction;
    for (behind += *behind != '\0'; isdigit((unsigned char)*behind); behind++, unit /= 10)
        micros += (*behind - '0') * unit;
    int len = snprintf(rest, sizeof rest, "%.*s%s", (int)(fraction - text), text, behind);
    if (len >= (int)sizeof rest || !timestamp_parse(rest, 0, &seconds))
        return invalid("recovery-target-time", text,
            "write it like '2026-05-01 10:20:30.5+02'; without a zone it is local time", err);
    ret->recovery.time_us = seconds * 1000000 + micros;
    format_time(ret->recovery.time_us, ret->text, sizeof ret->text);
    ret->recovery.text = ret->text;
    return 0;
}

static int
parse_xid(const char *text, struct cli_target *ret, struct gsp_error *err)
{
    if (!parse_u64_c(text, UINT64_MAX, &ret->recovery.xid) || ret->recovery.xid == 0 || isalpha((unsigned char)text[0]))
        return invalid(
            "recovery-target-xid", text, "a transaction id is a number, such as txid_current() gives it", err);
    (void)snprintf(ret->text, sizeof ret->text, "%" PRIu64, ret->recovery.xid);
    ret->recovery.text = ret->text;
    return 0;
}

static int
parse_target_lsn(const char *text, struct cli_target *ret, struct gsp_error *err)
{
    if (!parse_lsn(text, &ret->recovery.lsn) || ret->recovery.lsn == 0) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Invalid value of '--recovery-target-lsn' option '%.128s'", text);
        return gsp_hint(err, "a position in WAL is written like 16/B374D848");
    }
    (void)snprintf(ret->text, sizeof ret->text, GSP_LSN_FMT, GSP_LSN_ARGS(ret->recovery.lsn));
    ret->recovery.text = ret->text;
    return 0;
}

static int
parse_name(const char *text, struct cli_target *ret, struct gsp_error *err)
{
    if (text[0] == '\0')
        return invalid("recovery-target-name", text, "it is the name of a restore point", err);
    ret->recovery.text = text;
    return 0;
}

static int
parse_inclusive(const struct cli *cli, struct cli_target *ret, struct gsp_error *err)
{
    const char *text = cli->value[OPT_TARGET_INCLUSIVE];
    int inclusive;
    if (text == NULL)
        return 0;
    if (!parse_bool(text, &inclusive))
        return invalid("recovery-target-inclusive", text, "it is true or false", err);
    if (ret->recovery.kind == GSP_RECOVERY_NONE || ret->recovery.kind == GSP_RECOVERY_IMMEDIATE)
        return gsp_fail(err, GSP_E_USAGE, 0,
            "The '--recovery-target-inclusive' option can be applied only when either of '--recovery-target-time', "
            "'--recovery-target-xid', '--recovery-target-lsn' or '--recovery-target-name' is specified");
    ret->recovery.flags = inclusive ? GSP_RECOVERY_INCLUSIVE : GSP_RECOVERY_EXCLUSIVE;
    return 0;
}

static int
parse_timeline(const struct cli *cli, struct cli_target *ret, struct gsp_error *err)
{
    const char *text = cli->value[OPT_TARGET_TIMELINE];
    uint64_t timeline = 0;
    if (text == NULL)
        return 0;
    if (!parse_u64_c(text, UINT32_MAX, &timeline) || timeline == 0) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Option --timeline should be a 32bit unsigned integer: '%.128s'", text);
        return gsp_hint(err, "timelines are counted from 1");
    }
    ret->recovery.timeline = (uint32_t)timeline;
    return 0;
}

int
cli_target(const struct cli *cli, struct cli_target *ret, struct gsp_error *err)
{
    static const struct {
        enum option_id id;
        uint32_t kind;
        int (*parse)(const char *text, struct cli_target *ret, struct gsp_error *err);
    } kinds[] = {
        {OPT_TARGET_TIME, GSP_RECOVERY_TIME, parse_time},
        {OPT_TARGET_XID, GSP_RECOVERY_XID, parse_xid},
        {OPT_TARGET_LSN, GSP_RECOVERY_LSN, parse_target_lsn},
        {OPT_TARGET_NAME, GSP_RECOVERY_NAME, parse_name},
        {OPT_TARGET_IMMEDIATE, GSP_RECOVERY_IMMEDIATE, NULL},
    };
    *ret = (struct cli_target){.recovery = {.struct_size = sizeof ret->recovery}};
    int rc = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && rc == 0; i++) {
        if (!cli_given(cli, kinds[i].id))
            continue;
        if (ret->recovery.kind != GSP_RECOVERY_NONE)
            return gsp_fail(err, GSP_E_USAGE, 0,
                "At most one of '--recovery-target-time', '--recovery-target-xid', '--recovery-target-lsn', "
                "'--recovery-target-name' or '--immediate' options can be specified");
        ret->recovery.kind = kinds[i].kind;
        if (kinds[i].parse != NULL)
            rc = kinds[i].parse(cli->value[kinds[i].id], ret, err);
    }
    if (rc == 0)
        rc = parse_inclusive(cli, ret, err);
    return rc == 0 ? parse_timeline(cli, ret, err) : rc;
}
