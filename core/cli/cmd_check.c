/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/check.h"

#include <stdlib.h>

#include "core/base/cleanup.h"
#include "core/base/json_writer.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/cli/cli.h"

static const char *const states[] = {
    [GSP_PROBE_OK] = "OK", [GSP_PROBE_WARNING] = "WARNING", [GSP_PROBE_ERROR] = "ERROR"};

static void
print_plain(const struct check_report *report, struct strbuf *out)
{
    for (size_t i = 0; i < report->n; i++) {
        const struct check_probe *p = &report->probes[i];
        strbuf_printf(out, "%-8s %-19s %s\n", states[p->state], p->name, p->found);
        if (p->fix != NULL)
            strbuf_printf(out, "%-8s %-19s %s\n", "", "  fix:", p->fix);
    }
}

static void
print_json(const struct cli *cli, const struct check_report *report, struct strbuf *out)
{
    struct json_writer w;
    json_begin(&w, out);
    json_open(&w, NULL, '{');
    json_string(&w, "instance", cli->engine.instance);
    json_string(&w, "state", states[report->worst]);
    json_open(&w, "probes", '[');
    for (size_t i = 0; i < report->n; i++) {
        const struct check_probe *p = &report->probes[i];
        json_open(&w, NULL, '{');
        json_string(&w, "state", states[p->state]);
        json_string(&w, "probe", p->name);
        json_string(&w, "found", p->found);
        if (p->fix != NULL)
            json_string(&w, "fix", p->fix);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
}

int
cmd_check(struct cli *cli, struct gsp_error *err)
{
    auto_free char *pgdata = NULL;
    auto_strbuf out = STRBUF_INIT;
    struct check_report report = {0};
    struct check_options opts = {.max_age_us = INT64_C(86400000000),
        .connect = {.password = cli->value[OPT_PASSWORD],
            .ask_password = cli_given(cli, OPT_NO_PASSWORD) ? NULL : ask_password}};
    int json = cli_format_is_json(cli, err);
    int rc = json < 0 ? json : cli_open_repo(cli, err);
    if (cli_given(cli, OPT_MAX_AGE))
        (void)parse_duration_us(cli->value[OPT_MAX_AGE], 1000000, &opts.max_age_us);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    if (rc == 0)
        rc = cli_pgdata(cli, &pgdata, err);
    if (rc == 0)
        rc = config_set(cli->cfg, "pgdata", pgdata, CONFIG_CMDLINE, config_get_origin(cli->cfg, "pgdata"), err);
    if (rc == 0)
        rc = check_run(&cli->engine, &opts, &report, err);
    if (rc == 0) {
        if (json)
            print_json(cli, &report, &out);
        else
            print_plain(&report, &out);
        rc = cli_print(&out, err);
        cli->exit_code = (int)report.worst;
    }
    check_report_clear(&report);
    return rc;
}
