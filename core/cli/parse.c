/* SPDX-License-Identifier: Apache-2.0
 * From argv to values. getopt_long does the splitting, the tables say what is what. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/log.h"
#include "core/cli/cli.h"

enum { LONG_OPTION_BASE = 256, OPTIONS_MAX = 128 };

static int
unsupported(const struct cli *cli, const struct option_def *def, struct gsp_error *err)
{
    (void)gsp_fail(
        err, GSP_E_UNSUPPORTED, 0, "option --%s is not supported yet with '%s'", def->name, cli->command->name);
    return gsp_hint(err, "see 'gs_probackup help %s' for what is", cli->command->name);
}

/* The option that getopt means by a code or letter, NULL for a letter nobody has. */
static const struct option_def *
def_of(int code)
{
    if (code >= LONG_OPTION_BASE)
        return &option_defs[code - LONG_OPTION_BASE];
    for (size_t i = 0; i < option_defs_n; i++)
        if (code != 0 && option_defs[i].short_name == code)
            return &option_defs[i];
    return NULL;
}

/* getopt says only "no", and in optopt which option it knew: find out whether the name is unknown or could be
 * several. A value is not repeated, it may be a secret. */
static int
explain_refusal(const struct cli *cli, const char *arg, struct gsp_error *err)
{
    char candidates[256] = "";
    int n = 0, is_long = strncmp(arg, "--", 2) == 0;
    size_t len = is_long ? strcspn(arg, "=") : strlen(arg);
    const struct option_def *known = def_of(optopt);
    for (size_t i = 0; i < option_defs_n && is_long; i++) {
        const char *name = option_defs[i].name;
        if (strncmp(name, arg + 2, len - 2) != 0 || !(option_defs[i].commands & cli->command->bit))
            continue;
        size_t used = strlen(candidates);
        (void)snprintf(candidates + used, sizeof candidates - used, "%s--%s", n > 0 ? ", " : "", name);
        n++;
    }
    if (known != NULL)
        (void)gsp_fail(err, GSP_E_USAGE, 0, "option '%.*s' is used the wrong way: it takes %s", (int)len, arg,
            known->argument == ARG_NONE ? "no value" : "a value");
    else if (n > 1)
        (void)gsp_fail(err, GSP_E_USAGE, 0, "option '%.*s' is ambiguous; possibilities: %s", (int)len, arg, candidates);
    else if (n == 1)
        (void)gsp_fail(err, GSP_E_USAGE, 0, "option '%.*s' is too short; write %s", (int)len, arg, candidates);
    else
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Option is not found: '%.*s'", (int)len, arg);
    return gsp_hint(err, "Try \"gs_probackup help %s\" for more information.", cli->command->name);
}

static int
append(const char **list, size_t *n, const char *value, const char *name, struct gsp_error *err)
{
    if (*n == CLI_VALUES_MAX)
        return gsp_fail(err, GSP_E_USAGE, 0, "option --%s is given more than %d times", name, CLI_VALUES_MAX);
    list[(*n)++] = value;
    return 0;
}

static int
refused(const struct cli *cli, const struct option_def *def, struct gsp_error *err)
{
    const char *command = cli->command->name;
    if (def->id == OPT_BACKUP_ID)
        return gsp_fail(
            err, GSP_E_USAGE, 0, "Cannot use -i (--backup-id) option together with the \"%s\" command", command);
    return gsp_fail(err, GSP_E_USAGE, 0, "You cannot specify \"--%s\" %s with the \"%s\" command", def->name,
        def->id == OPT_FORCE ? "flag" : "option", command);
}

/* A password, or a plugin's option that may be one, must not stay where ps shows it: it is kept as a copy and
 * overwritten in argv. */
int
option_is_secret(const struct option_def *def)
{
    return def->id == OPT_PASSWORD || def->id == OPT_SET || def->id == OPT_ENCRYPTION ||
           strcmp(def->name, "access-key") == 0;
}

static int
take_value(struct cli *cli, const struct option_def *def, const char *value, unsigned char *seen, struct gsp_error *err)
{
    char origin[64];
    (void)snprintf(origin, sizeof origin, "--%s", def->name);
    enum option_fate fate = option_fate(def, cli->command);
    if (fate == OPTION_UNSUPPORTED)
        return unsupported(cli, def, err);
    if (fate == OPTION_REFUSED)
        return refused(cli, def, err);
    if (fate == OPTION_IGNORED) {
        log_warning("option --%s has no meaning for '%s' and is ignored", def->name, cli->command->name);
        return 0;
    }
    if (*seen && def->argument == ARG_VALUE)
        return option_value_fail(def, "specified only once", option_is_secret(def) ? "***" : value, err);
    *seen = 1;
    if (def->id == OPT_CONFIG_KEY)
        return config_set(cli->cfg, def->name, value != NULL ? value : "true", CONFIG_CMDLINE, origin, err);
    if (value != NULL && option_value_check(def, value, err) != 0)
        return err->code;
    if (option_is_secret(def) && value != NULL) {
        value = strdup(value); /* freed with the rest of struct cli */
        if (value == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    }
    if (def->id == OPT_EXTERNAL_MAPPING && cli->n_mappings < CLI_VALUES_MAX)
        cli->mapping_is_external[cli->n_mappings] = 1;
    if (def->argument == ARG_REPEATED)
        return def->id == OPT_SET ? append(cli->sets, &cli->n_sets, value, def->name, err)
                                  : append(cli->mappings, &cli->n_mappings, value, def->name, err);
    cli->value[def->id] = value != NULL ? value : "";
    return 0;
}

static void
build_getopt_tables(struct option *longs, char *shorts)
{
    *shorts++ = '-'; /* positional arguments are handed over in their place */
    *shorts++ = ':';
    for (size_t i = 0; i < option_defs_n; i++) {
        int has_arg = option_defs[i].argument == ARG_NONE ? no_argument : required_argument;
        longs[i] = (struct option){.name = option_defs[i].name, .has_arg = has_arg, .val = LONG_OPTION_BASE + (int)i};
        if (option_defs[i].short_name != 0) {
            *shorts++ = option_defs[i].short_name;
            if (has_arg == required_argument)
                *shorts++ = ':';
        }
    }
    *shorts = '\0';
    longs[option_defs_n] = (struct option){0};
}

static int
take_positional(struct cli *cli, const char *text, struct gsp_error *err)
{
    if (cli->n_positional == sizeof cli->positional / sizeof cli->positional[0] || cli->command->arguments[0] == '\0')
        return gsp_fail(err, GSP_E_USAGE, 0, "unexpected argument '%s'", text);
    cli->positional[cli->n_positional++] = text;
    return 0;
}

/* Behind "--" everything is an argument. */
static int
take_rest(struct cli *cli, int argc, char **argv, struct gsp_error *err)
{
    int rc = 0;
    for (int i = optind; i < argc && rc == 0; i++)
        rc = take_positional(cli, argv[i], err);
    return rc;
}

static void
mask(const struct option_def *def, char *value)
{
    const char *name_end = def->id == OPT_SET ? strchr(value, '=') : NULL;
    size_t kept = name_end != NULL ? (size_t)(name_end + 1 - value) : 0;
    memset(value + kept, '*', strlen(value + kept));
}

static int
parse_all(struct cli *cli, int argc, char **argv, struct gsp_error *err)
{
    struct option longs[OPTIONS_MAX + 1];
    char shorts[2 * OPTIONS_MAX + 3];
    unsigned char seen[OPTIONS_MAX] = {0};
    _Static_assert(OPTIONS_MAX < 1024, "tables on the stack");
    if (option_defs_n > OPTIONS_MAX)
        return gsp_fail(err, GSP_E_BUG, 0, "too many options");
    build_getopt_tables(longs, shorts);
    opterr = 0;
    optind = 1;
    for (;;) {
        int at = optind;
        int code = getopt_long(argc, argv, shorts, longs, NULL);
        if (code == -1)
            return take_rest(cli, argc, argv, err);
        if (code == '?' || code == ':')
            return explain_refusal(cli, argv[optind > at ? optind - 1 : at], err);
        int rc;
        if (code == 1) {
            rc = take_positional(cli, optarg, err);
        } else {
            const struct option_def *def = def_of(code);
            rc = take_value(cli, def, optarg, &seen[option_alias_of(def) - option_defs], err);
            if (optarg != NULL && option_is_secret(def))
                mask(def, optarg);
        }
        if (rc != 0)
            return rc;
    }
}

static int
take_sets(struct cli *cli, struct gsp_error *err)
{
    for (size_t i = 0; i < cli->n_sets; i++) {
        char key[128];
        const char *eq = strchr(cli->sets[i], '=');
        if (eq == NULL || (size_t)(eq - cli->sets[i]) >= sizeof key) {
            (void)gsp_fail(err, GSP_E_USAGE, 0, "--set needs KIND.NAME.KEY=VALUE");
            return gsp_hint(err, "for example --set compressor.zlib.level=3; see 'gs_probackup plugin info NAME'");
        }
        (void)snprintf(key, sizeof key, "%.*s", (int)(eq - cli->sets[i]), cli->sets[i]);
        int rc = config_set(cli->cfg, key, eq + 1, CONFIG_CMDLINE, "--set", err);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int
cli_parse(struct cli *cli, int argc, char **argv, struct gsp_error *err)
{
    int rc = parse_all(cli, argc, argv, err);
    if (rc == 0)
        rc = take_sets(cli, err);
    if (rc != 0 || cli_given(cli, OPT_HELP))
        return rc;
    if (cli_given(cli, OPT_PASSWORD) && cli_given(cli, OPT_NO_PASSWORD))
        return gsp_fail(err, GSP_E_USAGE, 0, "You cannot specify --password and --no-password options together");
    if (cli_given(cli, OPT_TTL) && cli_given(cli, OPT_EXPIRE_TIME))
        return gsp_fail(err, GSP_E_USAGE, 0, "You cannot specify '--expire-time' and '--ttl' options together");
    if (cli_given(cli, OPT_NOTE) && strlen(cli->value[OPT_NOTE]) > 1024)
        return gsp_fail(err, GSP_E_USAGE, 0, "Backup note cannot exceed 1024 bytes");
    if (cli_given(cli, OPT_MEDIA_TYPE) &&
        (cli->value[OPT_MEDIA_TYPE][0] == '\0' ||
            strncasecmp("disk", cli->value[OPT_MEDIA_TYPE], strlen(cli->value[OPT_MEDIA_TYPE])) != 0)) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "media type '%s' is not supported", cli->value[OPT_MEDIA_TYPE]);
        return gsp_hint(err, "keep the catalog in a file system (-M disk)");
    }
    if (cli_given(cli, OPT_FORMAT) && cli_format_is_json(cli, err) < 0)
        return err->code;
    if (cli_given(cli, OPT_COMPRESS)) {
        rc = config_set(cli->cfg, "compress-algorithm", "zlib", CONFIG_CMDLINE, "--compress", err);
        if (rc == 0 && config_get_source(cli->cfg, "compress-level") != CONFIG_CMDLINE)
            rc = config_set(cli->cfg, "compress-level", "1", CONFIG_CMDLINE, "--compress", err);
    }
    return rc;
}
