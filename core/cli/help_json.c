/* SPDX-License-Identifier: Apache-2.0
 * `help --format=json`: the tables of commands and options for other programs. The completion script, the option lists
 * of the man page and the test that walks all options are made from it. */
#include "core/base/json_writer.h"
#include "core/cli/cli.h"

static void
json_type(struct json_writer *w, const struct option_value *v)
{
    static const struct {
        const char *name, *unit;
    } types[] = {[VALUE_FLAG] = {"flag", NULL},
        [VALUE_STRING] = {"string", NULL},
        [VALUE_TEXT] = {"text", NULL},
        [VALUE_U32] = {"u32", NULL},
        [VALUE_I32] = {"i32", NULL},
        [VALUE_U64] = {"u64", NULL},
        [VALUE_SECONDS] = {"duration", "s"},
        [VALUE_MINUTES] = {"duration", "min"},
        [VALUE_KBYTES] = {"size", "kB"},
        [VALUE_TIMESTAMP] = {"timestamp", NULL},
        [VALUE_ENUM] = {"enum", NULL},
        [VALUE_WORD] = {"word", NULL},
        [VALUE_BACKUP_ID] = {"backup-id", NULL},
        [VALUE_MAPPING] = {"mapping", NULL},
        [VALUE_SETTING] = {"setting", NULL},
        [VALUE_TARGET] = {"recovery-target", NULL}};
    json_string(w, "type", types[v->type].name != NULL ? types[v->type].name : "");
    if (types[v->type].unit != NULL)
        json_string(w, "unit", types[v->type].unit);
    if (v->type == VALUE_U32)
        json_u64(w, "max", v->max);
    if (v->words == NULL)
        return;
    json_open(w, "values", '[');
    for (size_t i = 0; v->words[i] != NULL; i++)
        json_string(w, NULL, v->words[i]);
    json_close(w, ']');
}

static void
json_commands(struct json_writer *w, const char *key, const struct option_def *o, enum option_fate fate)
{
    json_open(w, key, '[');
    for (const struct command *c = commands; c->name != NULL; c++)
        if (option_fate(o, c) == fate)
            json_string(w, NULL, c->name);
    json_close(w, ']');
}

static void
json_option(struct json_writer *w, const struct option_def *o)
{
    char letter[] = {o->short_name, '\0'};
    const struct option_value v = option_value(o);
    const struct config_def *key = o->id == OPT_CONFIG_KEY ? config_def_find(o->name) : NULL;
    json_open(w, NULL, '{');
    json_string(w, "name", o->name);
    if (o->short_name != 0)
        json_string(w, "short", letter);
    if (option_alias_of(o) != o)
        json_string(w, "alias-of", option_alias_of(o)->name);
    json_bool(w, "repeatable", o->argument == ARG_REPEATED);
    json_type(w, &v);
    if (o->placeholder != NULL)
        json_string(w, "placeholder", o->placeholder);
    if (o->help != NULL)
        json_string(w, "help", o->help);
    json_bool(w, "stored", key != NULL && (key->flags & CONFIG_IN_INSTANCE));
    json_bool(w, "secret", option_is_secret(o));
    if (key != NULL && key->def != NULL)
        json_string(w, "default", key->def);
    if (key != NULL && key->env != NULL)
        json_string(w, "environment", key->env);
    /* What is in none of these lists is ignored with a warning. */
    json_commands(w, "commands", o, OPTION_TAKEN);
    json_commands(w, "unsupported", o, OPTION_UNSUPPORTED);
    json_commands(w, "refused", o, OPTION_REFUSED);
    json_close(w, '}');
}

void
help_json(struct strbuf *out)
{
    struct json_writer w;
    json_begin(&w, out);
    json_open(&w, NULL, '{');
    json_open(&w, "commands", '[');
    for (const struct command *c = commands; c->name != NULL; c++) {
        json_open(&w, NULL, '{');
        json_string(&w, "name", c->name);
        json_string(&w, "summary", c->summary);
        json_string(&w, "arguments", c->arguments);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_open(&w, "options", '[');
    for (size_t i = 0; i < option_defs_n; i++)
        json_option(&w, &option_defs[i]);
    json_close(&w, ']');
    json_close(&w, '}');
}
