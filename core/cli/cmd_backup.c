/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/cli/cli.h"

/* What an instance may be configured for and this version cannot do must not be left out silently. */
static int
refuse_unsupported_settings(const struct cli *cli, struct gsp_error *err)
{
    static const char *const keys[] = {"remote-host", "vgname"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *text = config_get(cli->cfg, keys[i]);
        if (text == NULL || strcmp(text, "none") == 0)
            continue;
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "%s is set to '%s' (%s), which is not supported yet", keys[i], text,
            config_get_origin(cli->cfg, keys[i]));
        return gsp_hint(err, "remove the setting to go on without it: gs_probackup set-config; see gs_probackup(1)");
    }
    return 0;
}

/* Any beginning of a mode's name, in any case, as the stock tool takes it. */
static int
parse_mode(const char *text, const char **ret, struct gsp_error *err)
{
    static const char *const modes[] = {"full", "ptrack", "delta", "page"};
    if (text == NULL) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "required parameter not specified: BACKUP_MODE (-b, --backup-mode)");
        return gsp_hint(err, "take a full backup with -b FULL");
    }
    for (size_t i = 0; i < sizeof modes / sizeof modes[0] && text[0] != '\0'; i++) {
        if (strncasecmp(modes[i], text, strlen(text)) == 0) {
            *ret = modes[i];
            return 0;
        }
    }
    (void)gsp_fail(err, GSP_E_USAGE, 0, "invalid backup-mode \"%s\"", text);
    return gsp_hint(err, "see 'gs_probackup plugin list' for the modes there are");
}

static int
check_compression(const struct config *cfg, struct gsp_error *err)
{
    if (config_get_source(cfg, "compress-level") == CONFIG_CMDLINE &&
        config_get_source(cfg, "compress-algorithm") == CONFIG_DEFAULT)
        return gsp_fail(
            err, GSP_E_USAGE, 0, "Cannot specify compress-level option alone without compress-algorithm option");
    uint64_t level = config_get_u64(cfg, "compress-level");
    const char *algorithm = config_get(cfg, "compress-algorithm");
    if (level == 0 && (strcmp(algorithm, "zlib") == 0 || strcmp(algorithm, "zstd") == 0))
        log_warning("Compression level 0 will lead to data bloat!");
    if (level > 1 && strcmp(algorithm, "lz4") == 0)
        log_warning("Compression level will be set to 1 due to lz4 only supports level 0 and 1!");
    return 0;
}

int
cmd_backup(struct cli *cli, struct gsp_error *err)
{
    auto_free char *pgdata = NULL;
    auto_free char *note = NULL;
    char id[BACKUP_ID_SIZE] = "";
    struct retention_options retention = cli_retention(cli);
    uint64_t per_mille = 0;
    int with_retention = retention.delete_expired || retention.merge_expired || retention.delete_wal;
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    if (cli_given(cli, OPT_VERIFY_MAP))
        (void)parse_u64_c(cli->value[OPT_VERIFY_MAP], UINT32_MAX, &per_mille);
    struct backup_options opts = {.slot = cli->value[OPT_SLOT],
        .smooth_checkpoint = cli_given(cli, OPT_SMOOTH_CHECKPOINT),
        .temp_slot = cli_given(cli, OPT_TEMP_SLOT),
        .include_logs = cli_given(cli, OPT_BACKUP_PG_LOG),
        .include_slots = cli_given(cli, OPT_BACKUP_PG_REPLSLOT),
        .no_validate = cli_given(cli, OPT_NO_VALIDATE),
        .skip_block_validation = cli_given(cli, OPT_SKIP_BLOCK_VALIDATION),
        .password = cli->value[OPT_PASSWORD],
        .verify_per_mille = (unsigned)per_mille,
        .ask_password = cli_given(cli, OPT_NO_PASSWORD) ? NULL : ask_password};
    if (rc == 0)
        rc = parse_mode(cli->value[OPT_BACKUP_MODE], &opts.mode, err);
    if (rc == 0)
        rc = refuse_unsupported_settings(cli, err);
    if (rc == 0)
        rc = cli_pgdata(cli, &pgdata, err);
    if (rc == 0)
        rc = config_set(cli->cfg, "pgdata", pgdata, CONFIG_CMDLINE, config_get_origin(cli->cfg, "pgdata"), err);
    if (rc == 0)
        rc = check_compression(cli->cfg, err);
    if (rc == 0 && cli_given(cli, OPT_NOTE)) {
        const char *text = cli->value[OPT_NOTE];
        note = strndup(text, strcspn(text, "\r\n"));
        opts.note = note;
    }
    if (rc == 0 && with_retention)
        rc = retention_check(&cli->engine, err);
    if (rc == 0)
        rc = backup_run(&cli->engine, &opts, id, err);
    if (rc == 0 && (cli_given(cli, OPT_TTL) || cli_given(cli, OPT_EXPIRE_TIME))) {
        cli->value[OPT_NOTE] = NULL; /* it is in place already */
        rc = cli_change_backup(cli, id, err);
    }
    return rc == 0 && with_retention ? retention_run(&cli->engine, &retention, err) : rc;
}
