/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/timestamp.h"
#include "core/cli/cli.h"

/* --ttl counts from the recovery time; 0 unpins. Returns the new expire time in *ret. */
static int
parse_pin(struct cli *cli, const struct backup *b, int64_t *ret, struct gsp_error *err)
{
    const char *ttl = cli->value[OPT_TTL], *until = cli->value[OPT_EXPIRE_TIME];
    int64_t us = 0;
    if (until != NULL) {
        (void)timestamp_parse(until, 0, ret);
        return 0;
    }
    (void)parse_duration_us(ttl, 1000000, &us);
    if (us > 0 && b->recovery_time <= 0)
        return gsp_fail(
            err, GSP_E_CORRUPT, 0, "Failed to set 'expire-time' for backup %s: invalid 'recovery-time'", b->id);
    /* Rounded up: what was asked for must not unpin. */
    int64_t expire = us > 0 ? b->recovery_time + us / 1000000 + (us % 1000000 != 0) : 0;
    if (!timestamp_in_range(expire) && expire != 0) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Invalid value for '--ttl' option: '%s'", ttl);
        return gsp_hint(err, "backup %s cannot be pinned beyond the year 9999", b->id);
    }
    *ret = expire;
    return 0;
}

static int
change_pin(struct cli *cli, struct backup *b, struct gsp_error *err)
{
    int64_t expire = 0;
    char when[TIMESTAMP_SIZE];
    int rc = parse_pin(cli, b, &expire, err);
    if (rc != 0)
        return rc;
    if (expire == 0 && b->expire_time == 0)
        log_warning("Backup %s is not pinned, nothing to unpin", b->id);
    else if (expire == 0)
        log_info("Backup %s is unpinned", b->id);
    timestamp_format(expire, when);
    if (expire != 0)
        log_info("Backup %s is pinned until '%s'", b->id, when);
    b->expire_time = expire;
    return 0;
}

static int
change_note(struct cli *cli, struct backup *b, struct gsp_error *err)
{
    const char *text = cli->value[OPT_NOTE];
    char *note = strndup(text, strcspn(text, "\r\n"));
    if (note == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    free(b->note);
    b->note = NULL;
    if (strcmp(note, "none") == 0 || note[0] == '\0') {
        free(note);
        log_info("Removing note from backup %s", b->id);
        return 0;
    }
    b->note = note;
    log_info("Adding note to backup %s: '%s'", b->id, note);
    return 0;
}

/* Read again under the lock: another command's verdict or note is not lost. */
static int
change_locked(struct cli *cli, struct backup *b, struct gsp_error *err)
{
    struct engine *e = &cli->engine;
    int rc = backup_reread(&e->repo, e->instance, b, err);
    if (rc == 0 && b->status == BACKUP_RUNNING) {
        log_warning("Backup %s has status RUNNING and its process is gone, change it to ERROR", b->id);
        b->status = BACKUP_ERROR;
    }
    if (rc == 0 && cli_given(cli, OPT_NOTE))
        rc = change_note(cli, b, err);
    if (rc == 0 && (cli_given(cli, OPT_TTL) || cli_given(cli, OPT_EXPIRE_TIME)))
        rc = change_pin(cli, b, err);
    return rc == 0 ? backup_save(&e->repo, e->instance, b, err) : rc;
}

static int
not_found(const char *id, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_NOENT, 0, "Failed to find backup %s", id);
    return gsp_hint(err, "see 'gs_probackup show' for the backups there are");
}

int
cli_change_backup(struct cli *cli, const char *id, struct gsp_error *err)
{
    struct engine *e = &cli->engine;
    auto_backup_list list = {0};
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc != 0)
        return rc;
    struct backup *b = backup_list_find(&list, id);
    if (b == NULL || b->status == BACKUP_UNKNOWN)
        return not_found(id, err);
    struct backup_lock *lock = NULL;
    struct gsp_error gone = {0};
    rc = backup_lock_brief(&e->repo, e->instance, b, &lock, &gone);
    if (rc == GSP_E_NOENT)
        return not_found(id, err);
    if (rc == 0)
        rc = change_locked(cli, b, err);
    else
        *err = gone;
    backup_unlock(lock);
    return rc;
}

int
cmd_set_backup(struct cli *cli, struct gsp_error *err)
{
    char id[BACKUP_ID_SIZE];
    int rc = cli_open_repo(cli, err);
    if (rc == 0)
        rc = cli_open_instance(cli, err);
    if (rc == 0 && !cli_given(cli, OPT_BACKUP_ID))
        rc = gsp_fail(err, GSP_E_USAGE, 0, "You must specify parameter (-i, --backup-id) for 'set-backup' command");
    if (rc == 0)
        rc = cli_backup_id(cli, id, err);
    if (rc == 0 && !cli_given(cli, OPT_NOTE) && !cli_given(cli, OPT_TTL) && !cli_given(cli, OPT_EXPIRE_TIME)) {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "Nothing to set by 'set-backup' command");
        rc = gsp_hint(err, "give --note, --ttl or --expire-time");
    }
    return rc == 0 ? cli_change_backup(cli, id, err) : rc;
}
