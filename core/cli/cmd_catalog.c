/* SPDX-License-Identifier: Apache-2.0
 * init, add-instance, del-instance: the skeleton of a catalog. */
#include <inttypes.h>
#include <stdlib.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/cli/cli.h"

int
cmd_init(struct cli *cli, struct gsp_error *err)
{
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_start_log(cli, err);
    if (rc == 0)
        rc = catalog_init(&cli->engine.repo, err);
    if (rc == 0)
        log_info("Backup catalog '%s' successfully inited", cli->backup_path);
    return rc;
}

/* Settings of the command line become the instance's; what only concerns this call does not. */
static int
remember_settings(struct cli *cli, struct conf_file *conf, int all, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < config_defs_n && rc == 0; i++) {
        const struct config_def *def = &config_defs[i];
        if (!(def->flags & CONFIG_IN_INSTANCE) || (!all && (def->flags & CONFIG_NOT_PERSISTED)))
            continue;
        if (config_get_source(cli->cfg, def->key) == CONFIG_CMDLINE)
            rc = conf_file_set(conf, def->key, config_get(cli->cfg, def->key), err);
    }
    return rc;
}

static int
describe_cluster(struct cli *cli, const char *pgdata, struct conf_file *conf, struct gsp_error *err)
{
    struct data_side side;
    char system_id[24];
    int rc = data_side_open(&side, cli->cfg, cli->reg, pgdata, err);
    if (rc != 0)
        return rc;
    (void)snprintf(system_id, sizeof system_id, "%" PRIu64, side.cluster.system_id);
    data_side_close(&side);
    rc = conf_file_set(conf, "pgdata", pgdata, err);
    return rc == 0 ? conf_file_set(conf, "system-identifier", system_id, err) : rc;
}

int
cmd_add_instance(struct cli *cli, struct gsp_error *err)
{
    auto_free char *pgdata = NULL;
    const char *name = cli->value[OPT_INSTANCE];
    int rc = cli_open_repo(cli, err);
    if (rc == 0 && name == NULL)
        rc = gsp_fail(err, GSP_E_USAGE, 0, "required parameter not specified: --instance");
    if (rc == 0)
        rc = instance_name_check(name, err);
    if (rc == 0)
        rc = cli_check_catalog(cli, err);
    if (rc == 0)
        rc = cli_start_log(cli, err);
    if (rc == 0)
        rc = cli_pgdata(cli, &pgdata, err);
    if (rc == 0)
        rc = conf_file_new(&cli->conf, err);
    if (rc == 0)
        rc = remember_settings(cli, cli->conf, 0, err);
    if (rc == 0)
        rc = describe_cluster(cli, pgdata, cli->conf, err);
    if (rc == 0)
        rc = instance_create(&cli->engine.repo, name, cli->conf, err);
    if (rc == 0)
        log_info("Instance '%s' successfully inited", name);
    return rc;
}

/* Every lock before the first backup goes. */
static int
delete_all_backups(struct cli *cli, struct gsp_error *err)
{
    struct engine *e = &cli->engine;
    auto_backup_list list = {0};
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc != 0)
        return rc;
    struct backup_lock **locks = calloc(list.n + 1, sizeof *locks);
    if (locks == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < list.n && rc == 0; i++)
        rc = backup_lock_exclusive(&e->repo, e->instance, &list.backups[i], &locks[i], err);
    for (size_t i = 0; i < list.n; i++) {
        if (rc == 0)
            rc = delete_backup(e, &list.backups[i], locks[i], err);
        else
            backup_unlock(locks[i]);
    }
    free(locks);
    return rc;
}

/* A deletion that was interrupted at its very end, or an instance that was never finished, has no settings. */
static int
open_instance_to_delete(struct cli *cli, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = cli_open_instance(cli, &problem);
    if (rc == GSP_E_NOENT && cli->engine.instance != NULL) {
        int unfinished = instance_is_unfinished(&cli->engine.repo, cli->engine.instance, err);
        if (unfinished != 0)
            return unfinished > 0 ? cli_start_log(cli, err) : unfinished;
    }
    if (rc != 0)
        *err = problem;
    return rc;
}

/* Under the instance's lock: no backup begins here any more. */
int
cmd_del_instance(struct cli *cli, struct gsp_error *err)
{
    struct backup_lock *lock = NULL;
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = open_instance_to_delete(cli, err);
    if (rc == 0)
        rc = instance_lock(&cli->engine.repo, cli->engine.instance, &lock, err);
    if (rc == 0)
        rc = delete_all_backups(cli, err);
    if (rc == 0)
        rc = instance_remove(&cli->engine.repo, cli->engine.instance, err);
    backup_unlock(lock);
    if (rc == 0)
        log_info("Instance '%s' successfully deleted", cli->engine.instance);
    return rc;
}

int
cmd_set_config(struct cli *cli, struct gsp_error *err)
{
    struct engine *e = &cli->engine;
    struct backup_lock *lock = NULL;
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    if (rc != 0)
        return rc;
    /* Read again under the lock: another command's settings are not lost. */
    conf_file_free(cli->conf);
    cli->conf = NULL;
    rc = instance_lock(&e->repo, e->instance, &lock, err);
    if (rc == 0)
        rc = instance_conf_read(&e->repo, e->instance, &cli->conf, err);
    if (rc == 0)
        rc = remember_settings(cli, cli->conf, 1, err);
    if (rc == 0)
        rc = instance_conf_write(&e->repo, e->instance, cli->conf, err);
    backup_unlock(lock);
    return rc;
}
