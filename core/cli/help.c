/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/cli/cli.h"

enum { HELP_COLUMN = 34 };

void
help_overview(struct strbuf *out)
{
    strbuf_puts(out, "gs_probackup takes, keeps, checks and restores physical backups of openGauss and PostgreSQL.\n\n"
                     "Usage: gs_probackup COMMAND [OPTIONS]\n\nCommands:\n");
    for (const struct command *c = commands; c->name != NULL; c++)
        strbuf_printf(out, "  %-14s %s%s\n", c->name, c->summary, c->run == NULL ? " (not supported yet)" : "");
    strbuf_puts(out, "  help           print this help, or that of a command: gs_probackup help COMMAND\n"
                     "  version        print the version\n\n"
                     "The first backup of a cluster:\n"
                     "  gs_probackup init -B /backups\n"
                     "  gs_probackup add-instance -B /backups -D /data --instance=main\n"
                     "  gs_probackup backup -B /backups --instance=main -b FULL\n"
                     "  gs_probackup show -B /backups\n"
                     "  gs_probackup restore -B /backups --instance=main -D /new/data\n");
}

void
help_command(struct strbuf *out, const struct command *command)
{
    strbuf_printf(out, "gs_probackup %s - %s\n\nUsage: gs_probackup %s %s%s[OPTIONS]\n\nOptions:\n", command->name,
        command->summary, command->name, command->arguments, command->arguments[0] != '\0' ? " " : "");
    for (size_t i = 0; i < option_defs_n; i++) {
        const struct option_def *o = &option_defs[i];
        char left[80];
        if (o->help == NULL || option_fate(o, command) != OPTION_TAKEN)
            continue;
        char letter[] = {o->short_name != 0 ? '-' : ' ', o->short_name != 0 ? o->short_name : ' ',
            o->short_name != 0 ? ',' : ' ', '\0'};
        int n = snprintf(left, sizeof left, "  %s --%s%s%s", letter, o->name, o->placeholder != NULL ? "=" : "",
            o->placeholder != NULL ? o->placeholder : "");
        if (n >= HELP_COLUMN)
            strbuf_printf(out, "%s\n%*s%s\n", left, HELP_COLUMN, "", o->help);
        else
            strbuf_printf(out, "%-*s%s\n", HELP_COLUMN, left, o->help);
    }
    strbuf_puts(out, "\nLong options may be shortened as long as they stay unique. See also gs_probackup(1).\n");
}
