/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "core/base/log.h"
#include "core/cli/cli.h"
#include "core/engine/recovery_target.h"

static int
validate_instances(struct cli *cli, const struct validate_options *opts, size_t *bad, struct gsp_error *err)
{
    char **names = NULL;
    size_t n = 0;
    int rc = catalog_instances(&cli->engine.repo, &names, &n, err);
    for (size_t i = 0; i < n; i++) {
        size_t bad_here = 0;
        cli->engine.instance = names[i];
        if (rc == 0)
            rc = validate_run(&cli->engine, opts, &bad_here, err);
        *bad += bad_here;
        free(names[i]);
    }
    free(names);
    cli->engine.instance = NULL;
    return rc;
}

int
cmd_validate(struct cli *cli, struct gsp_error *err)
{
    char id[BACKUP_ID_SIZE];
    size_t bad = 0;
    struct cli_target target = {0};
    struct validate_options opts = {.skip_block_validation = cli_given(cli, OPT_SKIP_BLOCK_VALIDATION)};
    int rc = cli_open_repo(cli, err);
    if (rc == 0 && cli_given(cli, OPT_BACKUP_ID)) {
        rc = cli_backup_id(cli, id, err);
        opts.id = id;
    }
    if (rc == 0)
        rc = cli_target(cli, &target, err);
    int targeted = recovery_target_is_given(&target.recovery);
    opts.target = target.recovery;
    if (rc == 0 && (opts.id != NULL || targeted) && !cli_given(cli, OPT_INSTANCE))
        rc = gsp_fail(err, GSP_E_USAGE, 0, "required parameter not specified: --instance");
    if (rc == 0)
        rc = cli_check_catalog(cli, err);
    if (rc == 0)
        rc = cli_given(cli, OPT_INSTANCE) ? cli_open_instance(cli, err) : cli_start_log(cli, err);
    if (rc == 0 && targeted)
        rc = validate_target_run(&cli->engine, &opts, id, &bad, err);
    else if (rc == 0)
        rc = cli_given(cli, OPT_INSTANCE) ? validate_run(&cli->engine, &opts, &bad, err)
                                          : validate_instances(cli, &opts, &bad, err);
    if (rc != 0)
        return rc;
    if (bad > 0)
        log_warning("Some backups are not valid");
    else if (opts.id != NULL || targeted)
        log_info("Validate of backup %s completed.", id);
    else
        log_info("All backups are valid");
    cli->exit_code = bad > 0;
    return 0;
}
