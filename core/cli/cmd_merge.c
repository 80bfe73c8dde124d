/* SPDX-License-Identifier: Apache-2.0 */
#include "core/cli/cli.h"

int
cmd_merge(struct cli *cli, struct gsp_error *err)
{
    char id[BACKUP_ID_SIZE];
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    if (rc == 0 && !cli_given(cli, OPT_BACKUP_ID))
        rc = gsp_fail(err, GSP_E_USAGE, 0, "required parameter is not specified: --backup-id");
    if (rc == 0)
        rc = cli_backup_id(cli, id, err);
    return rc == 0 ? merge_run(&cli->engine, id, err) : rc;
}
