/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/log.h"
#include "core/cli/cli.h"

static int
print_version(struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    strbuf_printf(&text, "gs_probackup %s (catalog format %s)\n", program_version, CATALOG_FORMAT_VERSION);
    return cli_print(&text, err);
}

static int
print_help(const char *name, int json, struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    const struct command *command = name != NULL ? command_find(name) : NULL;
    if (name != NULL && command == NULL) {
        int known = strcmp(name, "help") == 0 || strcmp(name, "version") == 0;
        (void)gsp_fail(
            err, GSP_E_USAGE, 0, known ? "No help page for \"%s\" command." : "Unknown command \"%s\".", name);
        return gsp_hint(err, "Try gs_probackup help");
    }
    if (json)
        help_json(&text);
    else if (command != NULL)
        help_command(&text, command);
    else
        help_overview(&text);
    return cli_print(&text, err);
}

/* help [COMMAND], or help --format=json: all tables at once. */
static int
run_help(struct cli *cli, int argc, char **argv, struct gsp_error *err)
{
    static const char format[] = "--format=";
    if (argc < 3 || strncmp(argv[2], format, sizeof format - 1) != 0)
        return print_help(argc > 2 ? argv[2] : NULL, 0, err);
    cli->value[OPT_FORMAT] = argv[2] + sizeof format - 1;
    int json = cli_format_is_json(cli, err);
    return json < 0 ? json : print_help(argc > 3 ? argv[3] : NULL, json, err);
}

/* Site configuration: --config, or the installed one when it is there. */
static int
load_site_config(struct cli *cli, struct gsp_error *err)
{
    struct gsp_error missing = {0};
    if (cli_given(cli, OPT_CONFIG))
        return config_load_yaml(cli->cfg, cli->value[OPT_CONFIG], err);
    int rc = config_load_yaml(cli->cfg, GSP_SYSCONFDIR "/gs_probackup/gs_probackup.yaml", &missing);
    if (rc == 0 || rc == GSP_E_NOENT)
        return 0;
    *err = missing;
    return rc;
}

static int
add_plugin_dirs(struct cli *cli, struct gsp_error *err)
{
    const char *path = config_get(cli->cfg, "plugin.path");
    int rc = registry_add_default_dirs(cli->reg, err);
    while (rc == 0 && path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");
        char *dir = strndup(path, len);
        if (dir == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        rc = len > 0 ? registry_add_dir(cli->reg, dir, err) : 0;
        free(dir);
        path += len + (path[len] == ':');
    }
    return rc;
}

static int
run_command(struct cli *cli, int argc, char **argv, struct gsp_error *err)
{
    int rc = config_new(&cli->cfg, err);
    if (rc == 0)
        rc = registry_new(&cli->reg, err);
    if (rc == 0) {
        config_serve(cli->cfg, cli->reg);
        rc = config_load_env(cli->cfg, err);
    }
    if (rc == 0)
        rc = cli_parse(cli, argc, argv, err);
    if (rc == 0 && cli_given(cli, OPT_HELP))
        return print_help(cli->command->name, 0, err);
    if (rc == 0 && cli->command->run == NULL) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "'%s' is not supported yet", cli->command->name);
        return gsp_hint(err, "see gs_probackup(1), section NOT SUPPORTED YET");
    }
    if (rc == 0)
        rc = load_site_config(cli, err);
    if (rc == 0)
        rc = add_plugin_dirs(cli, err);
    if (rc == 0)
        rc = config_check_plugins(cli->cfg, cli->reg, err);
    return rc == 0 ? cli->command->run(cli, err) : rc;
}

static void
close_cli(struct cli *cli)
{
    if (cli->engine.repo.ops != NULL)
        store_close(&cli->engine.repo);
    plugin_free_options(cli->repo_opts);
    conf_file_free(cli->conf);
    registry_free(cli->reg);
    config_free(cli->cfg);
    free(cli->backup_path_owned);
    free((void *)(uintptr_t)cli->value[OPT_PASSWORD]);
    for (size_t i = 0; i < cli->n_sets; i++)
        free((void *)(uintptr_t)cli->sets[i]);
}

static int
dispatch(struct cli *cli, int argc, char **argv, struct gsp_error *err)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    if (word == NULL) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "No subcommand specified");
        return gsp_hint(err, "Try \"gs_probackup help\"");
    }
    if (strcmp(word, "version") == 0 || strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        return print_version(err);
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-?") == 0)
        return run_help(cli, argc, argv, err);
    cli->command = command_find(word);
    if (cli->command == NULL) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Unknown subcommand \"%s\"", word);
        return gsp_hint(err, "Try \"gs_probackup help\"");
    }
    return run_command(cli, argc - 1, argv + 1, err);
}

int
main(int argc, char **argv)
{
    struct cli cli = {.argv = argv};
    struct gsp_error err = {0};
    cancel_install();
    int rc = dispatch(&cli, argc, argv, &err);
    if (rc != 0)
        log_error(&err);
    close_cli(&cli);
    log_close();
    if (rc != 0)
        return cli.command != NULL && cli.command->bit == CMD_CHECK ? CHECK_NOT_DONE : 1;
    return cli.exit_code;
}
