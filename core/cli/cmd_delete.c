/* SPDX-License-Identifier: Apache-2.0 */
#include "core/cli/cli.h"

int
cmd_delete(struct cli *cli, struct gsp_error *err)
{
    char id[BACKUP_ID_SIZE];
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    if (rc == 0 && !cli_given(cli, OPT_BACKUP_ID)) {
        (void)gsp_fail(err, GSP_E_USAGE, 0,
            "You must specify at least one of the delete options: --delete-expired |--delete-wal |--merge-expired "
            "|--status |(-i, --backup-id)");
        rc = gsp_hint(err, "only -i is supported yet");
    }
    if (rc == 0)
        rc = cli_backup_id(cli, id, err);
    return rc == 0 ? delete_run(&cli->engine, id, err) : rc;
}
