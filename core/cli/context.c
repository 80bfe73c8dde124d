/* SPDX-License-Identifier: Apache-2.0
 * What commands share: the catalog, the instance, the log, the output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/cli/cli.h"

static int
take_threads(struct cli *cli, struct gsp_error *err)
{
    uint64_t n = 1;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *text = cli->value[OPT_THREADS];
    if (text != NULL)
        (void)parse_u64_c(text, UINT32_MAX, &n);
    if (cores > 0 && n > 10 * (uint64_t)cores) {
        (void)gsp_fail(err, GSP_E_USAGE, 0,
            "Invalid value for '-j' option: %s, the number of cores available is %ld, more than 10 times is not "
            "allowed.",
            text, cores);
        return gsp_hint(err, "-j %ld uses every core once", cores);
    }
    cli->engine.threads = n == 0 ? 1 : (unsigned)n;
    return 0;
}

int
cli_open_repo(struct cli *cli, struct gsp_error *err)
{
    const char *path = cli_given(cli, OPT_BACKUP_PATH) ? cli->value[OPT_BACKUP_PATH] : getenv("BACKUP_PATH");
    if (path == NULL || *path == '\0') {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "required parameter not specified: BACKUP_PATH (-B, --backup-path)");
        return gsp_hint(err, "give the directory of the backup catalog with -B, or in the environment as BACKUP_PATH");
    }
    if (path[0] != '/')
        return gsp_fail(err, GSP_E_USAGE, 0, "-B, --backup-path must be an absolute path");
    cli->backup_path_owned = path_canonical(path);
    if (cli->backup_path_owned == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    cli->backup_path = cli->backup_path_owned;
    int rc = take_threads(cli, err);
    if (rc == 0)
        rc = engine_open_store(
            cli->cfg, cli->reg, "storage.repo", cli->backup_path, &cli->engine.repo, &cli->repo_opts, err);
    cli->engine.cfg = cli->cfg;
    cli->engine.reg = cli->reg;
    cli->engine.progress = cli_given(cli, OPT_PROGRESS);
    cli->engine.no_sync = cli_given(cli, OPT_NO_SYNC);
    return rc;
}

int
cli_check_catalog(struct cli *cli, struct gsp_error *err)
{
    struct gsp_stat st = {0};
    struct gsp_error missing = {0};
    int rc = store_stat(&cli->engine.repo, "", &st, &missing);
    if (rc == 0 && st.type != GSP_FILE_DIRECTORY)
        return gsp_fail(err, GSP_E_USAGE, 0, "-B, --backup-path must be a path to directory: '%s'", cli->backup_path);
    if (rc == 0)
        rc = store_stat(&cli->engine.repo, "backups", &st, &missing);
    if (rc == 0)
        return 0;
    if (rc != GSP_E_NOENT) {
        *err = missing;
        return rc;
    }
    (void)gsp_fail(err, GSP_E_NOENT, 0, "Cannot open directory \"%s/backups\": there is no backup catalog in '%s'",
        cli->backup_path, cli->backup_path);
    return gsp_hint(err, "make one with: gs_probackup init -B %s", cli->backup_path);
}

int
cli_open_instance(struct cli *cli, struct gsp_error *err)
{
    const char *name = cli->value[OPT_INSTANCE];
    if (name == NULL) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "required parameter not specified: --instance");
        return gsp_hint(err, "see 'gs_probackup show -B %s' for the instances there are", cli->backup_path);
    }
    int rc = instance_name_check(name, err);
    if (rc == 0)
        rc = cli_check_catalog(cli, err);
    if (rc == 0)
        rc = instance_check(&cli->engine.repo, name, err);
    if (rc == 0)
        rc = instance_conf_read(&cli->engine.repo, name, &cli->conf, err);
    if (rc == 0)
        rc = conf_file_apply(cli->conf, cli->cfg, err);
    cli->engine.instance = name;
    return rc == 0 ? cli_start_log(cli, err) : rc;
}

/* As the stock tool, into the log file. */
static int
log_command_line(const struct cli *cli, struct gsp_error *err)
{
    enum {
        LOGGED = CMD_BACKUP | CMD_RESTORE | CMD_VALIDATE | CMD_DELETE | CMD_MERGE | CMD_SET_CONFIG | CMD_SET_BACKUP
    };
    auto_strbuf line = STRBUF_INIT;
    if (!(cli->command->bit & LOGGED))
        return 0;
    strbuf_puts(&line, "command:");
    for (char **arg = cli->argv; *arg != NULL; arg++)
        strbuf_printf(&line, " %s", *arg);
    int rc = strbuf_check(&line, err);
    /* One event is one line, whatever a note holds. */
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] == '\n' || line.data[i] == '\r')
            line.data[i] = ' ';
    if (rc == 0)
        log_to_file(LOG_LEVEL_INFO, strbuf_str(&line));
    return rc;
}

int
cli_start_log(struct cli *cli, struct gsp_error *err)
{
    enum log_level console = LOG_LEVEL_INFO, file = LOG_LEVEL_OFF;
    char directory[PATH_SIZE];
    const char *text = config_get(cli->cfg, "log-level-console");
    if (text != NULL)
        (void)log_level_parse(text, &console);
    text = config_get(cli->cfg, "log-level-file");
    if (text != NULL)
        (void)log_level_parse(text, &file);
    log_set_console(console);
    const char *configured = config_get(cli->cfg, "log-directory");
    if (configured == NULL && !path_join(directory, cli->backup_path, "log"))
        return gsp_fail(err, GSP_E_USAGE, 0, "the backup path is too long");
    struct log_file_config config = {.directory = configured != NULL ? configured : directory,
        .filename = config_get(cli->cfg, "log-filename"),
        .error_filename = config_get(cli->cfg, "error-log-filename"),
        .level = file,
        .rotation_bytes = config_get_bytes(cli->cfg, "log-rotation-size"),
        .rotation_age_us = config_get_us(cli->cfg, "log-rotation-age"),
        .json = strcmp(config_get(cli->cfg, "log-format-file"), "json") == 0};
    log_about(cli->value[OPT_INSTANCE], NULL);
    int rc = log_open_file(&config, err);
    return rc == 0 ? log_command_line(cli, err) : rc;
}

int
cli_pgdata(struct cli *cli, char **ret, struct gsp_error *err)
{
    const char *text = config_get(cli->cfg, "pgdata");
    if (text == NULL) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "required parameter not specified: PGDATA (-D, --pgdata)");
        return gsp_hint(err, "give the data directory with -D");
    }
    if (text[0] != '/')
        return gsp_fail(err, GSP_E_USAGE, 0, "-D, --pgdata must be an absolute path");
    *ret = path_canonical(text);
    return *ret != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

int
cli_format_is_json(const struct cli *cli, struct gsp_error *err)
{
    const char *text = cli->value[OPT_FORMAT];
    size_t len = text != NULL ? strlen(text) : 0;
    if (text == NULL || (len > 0 && len <= 5 && strncasecmp("plain", text, len) == 0))
        return 0;
    if (len > 0 && len <= 4 && strncasecmp("json", text, len) == 0)
        return 1;
    (void)gsp_fail(err, GSP_E_USAGE, 0, "Invalid show format \"%s\"", text);
    return gsp_hint(err, "--format is plain or json");
}

int
cli_print(const struct strbuf *text, struct gsp_error *err)
{
    int rc = strbuf_check(text, err);
    if (rc != 0)
        return rc;
    /* A full disk or a closed pipe must not look like an empty result. */
    if (fwrite(strbuf_str(text), 1, text->len, stdout) != text->len || fflush(stdout) != 0)
        return gsp_fail(err, GSP_E_IO, errno, "cannot write to standard output");
    return 0;
}

int
cli_backup_id(struct cli *cli, char id[BACKUP_ID_SIZE], struct gsp_error *err)
{
    const char *text = cli->value[OPT_BACKUP_ID];
    int64_t start_time;
    if (!backup_id_parse(text, &start_time))
        return gsp_fail(err, GSP_E_USAGE, 0, "Invalid backup-id \"%s\"", text);
    backup_id_format(start_time, id);
    log_about(NULL, id);
    return 0;
}
