/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/cleanup.h"
#include "core/base/path.h"
#include "core/cli/cli.h"
#include "core/engine/restore_plan.h"

/* OLD=NEW with "\=" for an equals sign inside a path. */
static int
parse_mapping(const char *text, struct directory_mapping *ret, struct gsp_error *err)
{
    char side[2][PATH_SIZE];
    size_t len[2] = {0, 0};
    int which = 0;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '=' && which == 0) {
            which = 1;
            continue;
        }
        if (*p == '\\' && p[1] == '=')
            p++;
        if (len[which] + 1 >= PATH_SIZE)
            return gsp_fail(err, GSP_E_USAGE, 0, "mapping is too long: '%.64s...'", text);
        side[which][len[which]++] = *p;
    }
    side[0][len[0]] = side[1][len[1]] = '\0';
    if (which == 0 || side[0][0] != '/' || side[1][0] != '/') {
        (void)gsp_fail(
            err, GSP_E_USAGE, 0, "invalid mapping format \"%s\", must be \"OLDDIR=NEWDIR\" with absolute paths", text);
        return gsp_hint(err, "write \\= for an equals sign inside a path");
    }
    ret->from = path_canonical(side[0]);
    ret->to = path_canonical(side[1]);
    return ret->from != NULL && ret->to != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

/* Scripts for the stock tool name a tablespace with both options: that is fine when they agree. */
static int
check_mappings(const struct directory_mapping *mappings, size_t n, struct gsp_error *err)
{
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(mappings[i].from, mappings[k].from) == 0 && strcmp(mappings[i].to, mappings[k].to) != 0)
                return gsp_fail(err, GSP_E_USAGE, 0, "directory '%s' is mapped to '%s' and to '%s'", mappings[i].from,
                    mappings[k].to, mappings[i].to);
    return 0;
}

static int
parse_incremental(const char *mode, enum restore_incremental *ret, struct gsp_error *err)
{
    if (mode == NULL || strcasecmp(mode, "none") == 0)
        return 0;
    if (strcasecmp(mode, "checksum") == 0)
        *ret = INCREMENTAL_CHECKSUM;
    else if (strcasecmp(mode, "lsn") == 0)
        *ret = INCREMENTAL_LSN;
    else
        return gsp_fail(err, GSP_E_USAGE, 0, "Invalid value for '--incremental-mode' option: '%s'", mode);
    return 0;
}

/* A restore that would be refused is what the plan says, and the exit code. */
static int
show_plan(struct cli *cli, const struct restore_options *opts, struct gsp_error *err)
{
    auto_strbuf out = STRBUF_INIT;
    struct restore_plan plan = {0};
    int json = cli_format_is_json(cli, err);
    int rc = json < 0 ? json : restore_plan_make(&cli->engine, opts, &plan, err);
    if (rc == 0) {
        if (json)
            print_plan_json(&plan, &out);
        else
            print_plan(&plan, &out);
        rc = cli_print(&out, err);
        cli->exit_code = plan.n_refusals > 0;
    }
    restore_plan_free(&plan);
    return rc;
}

int
cmd_restore(struct cli *cli, struct gsp_error *err)
{
    auto_free char *pgdata = NULL;
    struct directory_mapping mappings[CLI_VALUES_MAX] = {{0}};
    char id[BACKUP_ID_SIZE];
    enum restore_incremental incremental = INCREMENTAL_NONE;
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    if (rc == 0)
        rc = parse_incremental(cli->value[OPT_INCREMENTAL_MODE], &incremental, err);
    struct cli_target target = {0};
    if (rc == 0)
        rc = cli_target(cli, &target, err);
    if (rc == 0 && cli_given(cli, OPT_BACKUP_ID))
        rc = cli_backup_id(cli, id, err);
    if (rc == 0)
        rc = cli_pgdata(cli, &pgdata, err);
    for (size_t i = 0; i < cli->n_mappings && rc == 0; i++) {
        mappings[i].is_external = cli->mapping_is_external[i];
        rc = parse_mapping(cli->mappings[i], &mappings[i], err);
    }
    if (rc == 0)
        rc = check_mappings(mappings, cli->n_mappings, err);
    struct restore_options opts = {.pgdata = pgdata,
        .incremental = incremental,
        .id = cli_given(cli, OPT_BACKUP_ID) ? id : NULL,
        .target = target.recovery,
        .mappings = mappings,
        .n_mappings = cli->n_mappings,
        .no_validate = cli_given(cli, OPT_NO_VALIDATE),
        .skip_block_validation = cli_given(cli, OPT_SKIP_BLOCK_VALIDATION),
        .force = cli_given(cli, OPT_FORCE),
        .skip_external_dirs = cli_given(cli, OPT_SKIP_EXTERNAL_DIRS)};
    if (rc == 0)
        rc = cli_given(cli, OPT_PLAN) ? show_plan(cli, &opts, err) : restore_run(&cli->engine, &opts, err);
    for (size_t i = 0; i < cli->n_mappings; i++) {
        free((void *)(uintptr_t)mappings[i].from);
        free((void *)(uintptr_t)mappings[i].to);
    }
    return rc;
}
