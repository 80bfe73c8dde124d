/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/base/json_writer.h"
#include "core/cli/cli.h"

static const char *const source_names[] = {
    [CONFIG_DEFAULT] = "default",
    [CONFIG_YAML] = "site configuration",
    [CONFIG_ENV] = "environment",
    [CONFIG_INSTANCE] = "pg_probackup.conf",
    [CONFIG_CMDLINE] = "command line",
};

static const char *
shown_text(const struct config_value *v)
{
    return v->flags & CONFIG_SECRET ? "***" : v->text;
}

static const char *
shown_origin(const struct config_value *v)
{
    return v->origin != NULL ? v->origin : source_names[v->source];
}

/* The settings of the instance; with --origin everything that is in force, the site's and the plugins' too. */
static int
next_shown(struct cli *cli, size_t *index, struct config_value *v)
{
    while (config_value_at(cli->cfg, (*index)++, v))
        if ((v->flags & CONFIG_IN_INSTANCE) || cli_given(cli, OPT_ORIGIN))
            return 1;
    return 0;
}

static void
print_plain(struct cli *cli, struct strbuf *out)
{
    struct config_value v;
    const char *group = NULL;
    size_t index = 0;
    while (next_shown(cli, &index, &v)) {
        if (v.group != NULL && (group == NULL || strcmp(group, v.group) != 0))
            strbuf_printf(out, "# %s\n", v.group);
        group = v.group;
        strbuf_printf(out, "%s = %s", v.key, shown_text(&v));
        if (cli_given(cli, OPT_ORIGIN))
            strbuf_printf(out, "    # %s", shown_origin(&v));
        strbuf_putc(out, '\n');
    }
}

static void
print_json(struct cli *cli, struct strbuf *out)
{
    struct json_writer w;
    struct config_value v;
    json_begin(&w, out);
    json_open(&w, NULL, '{');
    size_t index = 0;
    while (next_shown(cli, &index, &v)) {
        if (!cli_given(cli, OPT_ORIGIN)) {
            json_string(&w, v.key, shown_text(&v));
            continue;
        }
        json_open(&w, v.key, '{');
        json_string(&w, "value", shown_text(&v));
        json_string(&w, "source", source_names[v.source]);
        json_string(&w, "origin", shown_origin(&v));
        json_close(&w, '}');
    }
    json_close(&w, '}');
}

int
cmd_show_config(struct cli *cli, struct gsp_error *err)
{
    auto_strbuf out = STRBUF_INIT;
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    int json = rc == 0 ? cli_format_is_json(cli, err) : rc;
    if (json < 0)
        return json;
    if (json)
        print_json(cli, &out);
    else
        print_plain(cli, &out);
    return cli_print(&out, err);
}
