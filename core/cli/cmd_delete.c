/* SPDX-License-Identifier: Apache-2.0 */
#include "core/cli/cli.h"

#include "core/base/log.h"

/* What is deleted is said in one way. */
static int
check_choice(const struct cli *cli, struct gsp_error *err)
{
    static const struct {
        enum option_id id;
        const char *name;
    } ways[] = {
        {OPT_DELETE_EXPIRED, "--delete-expired"}, {OPT_MERGE_EXPIRED, "--merge-expired"}, {OPT_STATUS, "--status"}};
    int any = cli_given(cli, OPT_BACKUP_ID) || cli_given(cli, OPT_DELETE_WAL);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (!cli_given(cli, ways[i].id))
            continue;
        any = 1;
        if (cli_given(cli, OPT_BACKUP_ID))
            return gsp_fail(
                err, GSP_E_USAGE, 0, "You cannot specify %s and (-i, --backup-id) options together", ways[i].name);
        if (ways[i].id != OPT_STATUS && cli_given(cli, OPT_STATUS))
            return gsp_fail(err, GSP_E_USAGE, 0, "You cannot specify %s and --status options together", ways[i].name);
    }
    if (any)
        return 0;
    (void)gsp_fail(err, GSP_E_USAGE, 0,
        "You must specify at least one of the delete options: --delete-expired |--delete-wal |--merge-expired "
        "|--status |(-i, --backup-id)");
    return gsp_hint(err, "with --dry-run nothing is deleted, and it is said what would be");
}

struct retention_options
cli_retention(const struct cli *cli)
{
    return (struct retention_options){.delete_expired = cli_given(cli, OPT_DELETE_EXPIRED),
        .merge_expired = cli_given(cli, OPT_MERGE_EXPIRED),
        .delete_wal = cli_given(cli, OPT_DELETE_WAL),
        .dry_run = cli_given(cli, OPT_DRY_RUN)};
}

int
cmd_delete(struct cli *cli, struct gsp_error *err)
{
    char id[BACKUP_ID_SIZE];
    struct retention_options retention = cli_retention(cli);
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    if (rc == 0)
        rc = check_choice(cli, err);
    if (rc != 0)
        return rc;
    if (cli_given(cli, OPT_STATUS)) {
        if (retention.delete_wal)
            log_warning("--delete-wal has no effect together with --status");
        return delete_status_run(&cli->engine, cli->value[OPT_STATUS], retention.dry_run, err);
    }
    if (cli_given(cli, OPT_BACKUP_ID)) {
        rc = cli_backup_id(cli, id, err);
        if (rc == 0)
            rc = delete_run(&cli->engine, id, retention.dry_run, err);
        if (rc != 0 || !retention.delete_wal)
            return rc;
        retention.deleted_id = id;
    }
    return retention_run(&cli->engine, &retention, err);
}
