/* SPDX-License-Identifier: Apache-2.0
 * The tables of commands and options make sense in themselves, and help shows them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/cli/cli.h"

enum { HELP_COLUMNS = 120 };

static void
names_and_letters_are_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_defs_n; i++) {
        const struct option_def *a = &option_defs[i];
        assert_true(a->name[0] >= 'a' && a->name[0] <= 'z');
        assert_int_equal(strspn(a->name, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(a->name));
        if (a->short_name != 0 && strchr("?:-;=", a->short_name) != NULL)
            fail_msg("-%c means something else to getopt", a->short_name);
        for (size_t k = 0; k < i; k++) {
            const struct option_def *b = &option_defs[k];
            if (strcmp(a->name, b->name) == 0)
                fail_msg("--%s is there twice", a->name);
            if (a->short_name != 0 && a->short_name == b->short_name)
                fail_msg("-%c is --%s and --%s", a->short_name, a->name, b->name);
        }
    }
}

static void
options_are_somebodys(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_defs_n; i++) {
        const struct option_def *o = &option_defs[i];
        if ((o->commands == 0 && o->id != OPT_LEFTOVER) || (o->commands & ~(unsigned)CMD_ALL) != 0)
            fail_msg("--%s belongs to no command, or to one that is not there", o->name);
        if ((o->unsupported & ~o->commands) != 0)
            fail_msg("--%s is unsupported where it has no meaning", o->name);
        if ((unsigned)o->id > OPT_CONFIG_KEY || (unsigned)o->argument > ARG_REPEATED)
            fail_msg("--%s is of no kind", o->name);
    }
}

/* Whoever has an identity of its own has one meaning: names that share it are aliases. */
static void
aliases_agree(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_defs_n; i++) {
        const struct option_def *a = &option_defs[i];
        for (size_t k = 0; k < i && a->id != OPT_CONFIG_KEY; k++) {
            const struct option_def *b = &option_defs[k];
            if (a->id == b->id && (a->commands != b->commands || a->unsupported != b->unsupported))
                fail_msg("--%s and --%s are the same option in different places", a->name, b->name);
        }
    }
    for (unsigned id = 0; id < OPT_CONFIG_KEY; id++) {
        size_t i = 0;
        while (i < option_defs_n && (unsigned)option_defs[i].id != id)
            i++;
        if (i == option_defs_n)
            fail_msg("no option has the id %u", id);
    }
}

static void
keys_of_the_configuration_and_options_are_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_defs_n; i++) {
        const struct option_def *o = &option_defs[i];
        const struct config_def *def = config_def_find(o->name);
        if (o->id != OPT_CONFIG_KEY)
            continue;
        if (def == NULL || strcmp(def->key, o->name) != 0 || (def->flags & CONFIG_NO_CMDLINE) != 0)
            fail_msg("--%s is no key that the command line may set", o->name);
        if ((o->argument == ARG_NONE) != (def->type == CONFIG_BOOL))
            fail_msg("--%s takes a value and its key does not, or the other way round", o->name);
    }
    /* And back: what pg_probackup.conf may hold can be given on the command line. */
    for (size_t i = 0; i < config_defs_n; i++) {
        const struct config_def *def = &config_defs[i];
        size_t k = 0;
        if (!(def->flags & CONFIG_IN_INSTANCE) || (def->flags & CONFIG_NO_CMDLINE))
            continue;
        while (k < option_defs_n && strcmp(option_defs[k].name, def->key) != 0)
            k++;
        if (k == option_defs_n)
            fail_msg("no option for the key %s", def->key);
    }
}

static void
every_command_can_be_reached(void **state)
{
    (void)state;
    unsigned all = 0;
    for (const struct command *c = commands; c->name != NULL; c++) {
        assert_ptr_equal(command_find(c->name), c);
        assert_true(c->bit != 0 && (c->bit & (c->bit - 1)) == 0);
        assert_int_equal(all & c->bit, 0);
        all |= c->bit;
        assert_true(c->summary[0] != '\0' && c->arguments != NULL);
        assert_true(c->run != NULL || c->bit == CMD_MERGE); /* the only one that is still to come */
    }
    assert_int_equal(all, CMD_ALL);
    assert_null(command_find("bac"));
    assert_null(command_find("Backup"));
    assert_null(command_find(""));
}

/* Lines that fit a terminal, end in no blank, and hold nothing odd. */
static void
assert_tidy(const char *text, const char *of)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        if (text[len] != '\n' || len > HELP_COLUMNS || (len > 0 && text[len - 1] == ' '))
            fail_msg("help of %s: '%.*s'", of, (int)len, text);
        if (strstr(text, "(null)") != NULL)
            fail_msg("help of %s has holes", of);
        text += len + 1;
    }
}

/* The line of an option, NULL without one. */
static const char *
line_of(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = text; (at = strstr(at, " --")) != NULL; at += 3)
        if (strncmp(at + 3, name, len) == 0 && strchr("= \n", at[3 + len]) != NULL)
            return at;
    return NULL;
}

static void
help_of_each_command_shows_its_options(void **state)
{
    (void)state;
    for (const struct command *c = commands; c->name != NULL; c++) {
        auto_strbuf text = STRBUF_INIT;
        char usage[64];
        help_command(&text, c);
        assert_int_equal(text.failed, 0);
        assert_tidy(text.data, c->name);
        assert_int_equal(strncmp(text.data, "gs_probackup ", 13), 0);
        assert_non_null(strstr(text.data, c->summary));
        (void)snprintf(usage, sizeof usage, "Usage: gs_probackup %s ", c->name);
        assert_non_null(strstr(text.data, usage));
        const char *options = strstr(text.data, "Options:\n");
        assert_non_null(options);
        for (size_t i = 0; i < option_defs_n; i++) {
            const struct option_def *o = &option_defs[i];
            int wanted = o->help != NULL && option_fate(o, c) == OPTION_TAKEN;
            const char *line = line_of(options, o->name);
            if (wanted != (line != NULL))
                fail_msg("help of %s and --%s", c->name, o->name);
            if (!wanted)
                continue;
            if (strstr(line, o->help) == NULL)
                fail_msg("help of %s: --%s is cut", c->name, o->name);
            if (o->placeholder != NULL &&
                strncmp(line + 3 + strlen(o->name) + 1, o->placeholder, strlen(o->placeholder)) != 0)
                fail_msg("help of %s: --%s without its value", c->name, o->name);
            if (o->short_name != 0 && (line[-3] != '-' || line[-2] != o->short_name || line[-1] != ','))
                fail_msg("help of %s: --%s without its letter", c->name, o->name);
        }
    }
}

static void
shown_options_say_what_their_value_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_defs_n; i++) {
        const struct option_def *o = &option_defs[i];
        if (o->help == NULL)
            continue;
        if ((o->placeholder != NULL) != (o->argument != ARG_NONE))
            fail_msg("--%s takes a value and help does not say so, or the other way round", o->name);
        if (o->help[0] == '\0' || o->help[strlen(o->help) - 1] == '.')
            fail_msg("help of --%s: '%s'", o->name, o->help);
    }
}

/* Completion, the man page and the walk over all options know the values from here. */
static void
every_value_is_of_a_type(void **state)
{
    (void)state;
    for (size_t i = 0; i < option_defs_n; i++) {
        const struct option_def *o = &option_defs[i];
        const struct option_value v = option_value(o);
        if (v.type == VALUE_UNSET)
            fail_msg("nobody says what the value of --%s is", o->name);
        if ((v.type == VALUE_FLAG) != (o->argument == ARG_NONE))
            fail_msg("--%s takes a value and is a flag, or the other way round", o->name);
        if ((v.type == VALUE_ENUM || v.type == VALUE_WORD) && (v.words == NULL || v.words[0] == NULL))
            fail_msg("--%s is one of no words", o->name);
        if (v.type == VALUE_U32 && v.max == 0)
            fail_msg("--%s has no range", o->name);
    }
}

static void
the_listing_for_programs_has_every_row(void **state)
{
    (void)state;
    auto_strbuf text = STRBUF_INIT;
    help_json(&text);
    assert_int_equal(text.failed, 0);
    for (size_t i = 0; i < option_defs_n; i++) {
        char line[80];
        (void)snprintf(line, sizeof line, "\n            \"name\": \"%s\",\n", option_defs[i].name);
        if (strstr(text.data, line) == NULL)
            fail_msg("--%s is missing", option_defs[i].name);
    }
}

static void
the_overview_shows_every_command(void **state)
{
    (void)state;
    auto_strbuf text = STRBUF_INIT;
    help_overview(&text);
    assert_tidy(text.data, "all");
    for (const struct command *c = commands; c->name != NULL; c++) {
        char start[40];
        (void)snprintf(start, sizeof start, "\n  %-14s ", c->name);
        const char *line = strstr(text.data, start);
        assert_non_null(line);
        assert_int_equal(strncmp(line + strlen(start), c->summary, strlen(c->summary)), 0);
        const char *end = strchr(line + 1, '\n');
        assert_int_equal(strncmp(end - 19, "(not supported yet)", 19) == 0, c->run == NULL);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_letters_are_unique),
        cmocka_unit_test(options_are_somebodys),
        cmocka_unit_test(aliases_agree),
        cmocka_unit_test(keys_of_the_configuration_and_options_are_the_same),
        cmocka_unit_test(every_command_can_be_reached),
        cmocka_unit_test(help_of_each_command_shows_its_options),
        cmocka_unit_test(shown_options_say_what_their_value_is),
        cmocka_unit_test(every_value_is_of_a_type),
        cmocka_unit_test(the_listing_for_programs_has_every_row),
        cmocka_unit_test(the_overview_shows_every_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
