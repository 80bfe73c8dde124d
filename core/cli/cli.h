/* SPDX-License-Identifier: Apache-2.0
 * The command line: one table of options, one of commands, and what a command gets to work with. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "core/engine/engine.h"

/* Commands as bits, for the table of options. */
enum {
    CMD_INIT = 1 << 0,
    CMD_ADD_INSTANCE = 1 << 1,
    CMD_DEL_INSTANCE = 1 << 2,
    CMD_SET_CONFIG = 1 << 3,
    CMD_SET_BACKUP = 1 << 4,
    CMD_SHOW_CONFIG = 1 << 5,
    CMD_SHOW = 1 << 6,
    CMD_BACKUP = 1 << 7,
    CMD_RESTORE = 1 << 8,
    CMD_VALIDATE = 1 << 9,
    CMD_MERGE = 1 << 10,
    CMD_DELETE = 1 << 11,
    CMD_PLUGIN = 1 << 12,
    CMD_CHECK = 1 << 13,
    CMD_ALL = (1 << 14) - 1,
};

enum option_id {
    OPT_HELP,
    OPT_BACKUP_PATH,
    OPT_INSTANCE,
    OPT_BACKUP_ID,
    OPT_THREADS,
    OPT_PROGRESS,
    OPT_FORMAT,
    OPT_ORIGIN,
    OPT_ARCHIVE,
    OPT_BACKUP_MODE,
    OPT_SMOOTH_CHECKPOINT,
    OPT_SLOT,
    OPT_TEMP_SLOT,
    OPT_STREAM,
    OPT_BACKUP_PG_LOG,
    OPT_BACKUP_PG_REPLSLOT,
    OPT_NO_VALIDATE,
    OPT_SKIP_BLOCK_VALIDATION,
    OPT_NO_SYNC,
    OPT_NOTE,
    OPT_VERIFY_MAP,
    OPT_TTL,
    OPT_EXPIRE_TIME,
    OPT_NO_PASSWORD,
    OPT_PASSWORD,
    OPT_COMPRESS,
    OPT_FORCE,
    OPT_INCREMENTAL_MODE,
    OPT_TABLESPACE_MAPPING,
    OPT_EXTERNAL_MAPPING,
    OPT_SKIP_EXTERNAL_DIRS,
    OPT_TARGET_TIME,
    OPT_TARGET_XID,
    OPT_TARGET_LSN,
    OPT_TARGET_NAME,
    OPT_TARGET_INCLUSIVE,
    OPT_TARGET_TIMELINE,
    OPT_TARGET_IMMEDIATE,
    OPT_STATUS,
    OPT_DELETE_EXPIRED,
    OPT_MERGE_EXPIRED,
    OPT_DELETE_WAL,
    OPT_DRY_RUN,
    OPT_PLAN,
    OPT_MAX_AGE,
    OPT_CONFIG,
    OPT_SET,
    OPT_MEDIA_TYPE,
    OPT_S3_STATUS,
    OPT_ENCRYPTION,
    OPT_LEFTOVER,
    OPT_CONFIG_KEY, /* every option that is a key of the configuration */
};

enum option_argument { ARG_NONE, ARG_VALUE, ARG_REPEATED };

struct option_def {
    const char *name;
    char short_name; /* or 0 */
    enum option_id id;
    enum option_argument argument;
    unsigned commands;       /* where it has a meaning; elsewhere it is ignored with a warning */
    unsigned unsupported;    /* commands that refuse it, because it is not built yet */
    const char *placeholder; /* of the value, in help */
    const char *help;        /* NULL: not shown (aliases and leftovers of the stock tool) */
};

extern const struct option_def option_defs[];
extern const size_t option_defs_n;

/* What the value of an option is. */
enum value_type {
    VALUE_UNSET, /* nobody said it: a gap in the table */
    VALUE_FLAG,  /* there is none */
    VALUE_STRING,
    VALUE_TEXT, /* as VALUE_STRING, but may be empty */
    VALUE_U32,
    VALUE_I32,
    VALUE_U64,
    VALUE_SECONDS, /* a duration; a bare number counts seconds */
    VALUE_MINUTES,
    VALUE_KBYTES, /* a size; a bare number counts kB */
    VALUE_TIMESTAMP,
    VALUE_ENUM, /* one of words */
    VALUE_WORD, /* one of words, or the name of a plugin */
    VALUE_BACKUP_ID,
    VALUE_MAPPING, /* OLD=NEW */
    VALUE_SETTING, /* KIND.NAME.KEY=VALUE */
    VALUE_TARGET,  /* of recovery: checked with the other targets */
};

struct option_value {
    enum value_type type;
    uint32_t max;             /* of VALUE_U32 */
    const char *const *words; /* of VALUE_ENUM and VALUE_WORD, ended by NULL */
};

/* option_values.c: option_value - of a row of the table. option_value_check - is text one, as far as that does not
 * depend on anything else? errors USAGE */
struct option_value option_value(const struct option_def *def);
int option_value_check(const struct option_def *def, const char *text, struct gsp_error *err);
/* option_value_fail - in the stock tool's words: "Option -c, --name should be WHAT: 'TEXT'". Returns USAGE. */
int option_value_fail(const struct option_def *def, const char *what, const char *text, struct gsp_error *err);
/* option_alias_of - the row of the option's first name; the row itself when it is that. */
const struct option_def *option_alias_of(const struct option_def *def);
/* option_is_secret - must its value not stay where ps shows it? */
int option_is_secret(const struct option_def *def);

struct cli;

struct command {
    const char *name;
    unsigned bit;
    const char *summary;
    const char *arguments; /* positional ones, for the usage line */
    int (*run)(struct cli *cli, struct gsp_error *err);
};

extern const struct command commands[];
const struct command *command_find(const char *name);

/* What becomes of an option that a command is given. */
enum option_fate { OPTION_TAKEN, OPTION_IGNORED /* with a warning */, OPTION_REFUSED, OPTION_UNSUPPORTED };
enum option_fate option_fate(const struct option_def *def, const struct command *command);

enum { CLI_VALUES_MAX = 64 };

struct cli {
    const struct command *command;
    const char *value[OPT_CONFIG_KEY]; /* text of a value, "" for a flag that is set, NULL; OPT_PASSWORD malloc'ed */
    const char *mappings[CLI_VALUES_MAX];
    int mapping_is_external[CLI_VALUES_MAX]; /* of --external-mapping, not -T */
    size_t n_mappings;
    const char *sets[CLI_VALUES_MAX]; /* malloc'ed */
    size_t n_sets;
    char **argv; /* the whole command line; secrets are overwritten by cli_parse */
    const char *positional[2];
    size_t n_positional;
    const char *backup_path; /* canonical */
    char *backup_path_owned;
    int exit_code; /* of a command that succeeded in finding fault */

    struct config *cfg;
    struct registry *reg;
    void *repo_opts;
    struct conf_file *conf; /* of the instance */
    struct engine engine;
};

/* cli_parse - fill in values and the command-line source of the configuration. Secrets in argv are
 * overwritten. errors USAGE CONFIG UNSUPPORTED */
int cli_parse(struct cli *cli, int argc, char **argv, struct gsp_error *err);
static inline int
cli_given(const struct cli *cli, enum option_id id)
{
    return cli->value[id] != NULL;
}

/* cli_open_repo - the catalog's store, for -B or BACKUP_PATH. */
int cli_open_repo(struct cli *cli, struct gsp_error *err);
/* cli_check_catalog - is there a catalog at -B? errors NOENT USAGE */
int cli_check_catalog(struct cli *cli, struct gsp_error *err);
/* cli_open_instance - --instance checked, its configuration read and applied. */
int cli_open_instance(struct cli *cli, struct gsp_error *err);
/* cli_start_log - console and file log as configured. */
int cli_start_log(struct cli *cli, struct gsp_error *err);
/* cli_pgdata - -D or the configured pgdata, canonical and absolute; the caller frees *ret. */
int cli_pgdata(struct cli *cli, char **ret, struct gsp_error *err);
/* cli_backup_id - the value of -i, canonical. errors USAGE */
int cli_backup_id(struct cli *cli, char id[BACKUP_ID_SIZE], struct gsp_error *err);
/* target.c: cli_target - where a recovery is to end, as the options say. errors USAGE */
struct cli_target {
    struct gsp_recovery recovery;
    char text[64]; /* of it, unless it is a name */
};
int cli_target(const struct cli *cli, struct cli_target *ret, struct gsp_error *err);
/* cli_retention - what is asked for with the retention policy. */
struct retention_options cli_retention(const struct cli *cli);
/* cli_change_backup - give a backup the note and the pin of the command line. */
int cli_change_backup(struct cli *cli, const char *id, struct gsp_error *err);
/* cli_format_is_json - value of --format: 1, 0, or USAGE. */
int cli_format_is_json(const struct cli *cli, struct gsp_error *err);
/* cli_print - the result of a command, to stdout. errors IO */
int cli_print(const struct strbuf *text, struct gsp_error *err);
/* ask_password - prompt on the terminal, without echo; malloc'ed. errors PERM without a terminal */
char *ask_password(void *arg, struct gsp_error *err);

/* help.c: text of `help`, `help COMMAND` into out. help_json - the tables for programs, help_json.c. */
void help_overview(struct strbuf *out);
void help_command(struct strbuf *out, const struct command *command);
void help_json(struct strbuf *out);

/* One function per command, each in the file of its name. */
int cmd_init(struct cli *cli, struct gsp_error *err);
int cmd_add_instance(struct cli *cli, struct gsp_error *err);
int cmd_del_instance(struct cli *cli, struct gsp_error *err);
int cmd_set_config(struct cli *cli, struct gsp_error *err);
int cmd_show_config(struct cli *cli, struct gsp_error *err);
int cmd_set_backup(struct cli *cli, struct gsp_error *err);
int cmd_show(struct cli *cli, struct gsp_error *err);
int cmd_backup(struct cli *cli, struct gsp_error *err);
int cmd_restore(struct cli *cli, struct gsp_error *err);
int cmd_validate(struct cli *cli, struct gsp_error *err);
int cmd_delete(struct cli *cli, struct gsp_error *err);
int cmd_merge(struct cli *cli, struct gsp_error *err);
int cmd_plugin(struct cli *cli, struct gsp_error *err);
int cmd_check(struct cli *cli, struct gsp_error *err);

/* print_plan.c: what `restore --plan` says, for people and for programs. */
struct restore_plan;
void print_plan(const struct restore_plan *plan, struct strbuf *out);
void print_plan_json(const struct restore_plan *plan, struct strbuf *out);

/* Monitoring systems read 1 as a warning and 2 as an error: a check that did not come about must be neither. */
enum { CHECK_NOT_DONE = 3 };

#endif
