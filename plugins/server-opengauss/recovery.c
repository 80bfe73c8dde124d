/* SPDX-License-Identifier: Apache-2.0 */
#include "opengauss.h"

#include "server/settings.h"

#define RECOVERY_FILE "recovery.conf"

/* The server reads times of whole seconds only. Either neighbour of another is not what was asked for: the earlier one
 * loses transactions, the later one may have the one that was to be undone. */
static int
put_time(struct pg_settings *s, const struct gsp_recovery *r, struct gsp_error *err)
{
    char text[128];
    const char *fraction = strchr(r->text, '.');
    size_t digits = fraction != NULL ? strspn(fraction + 1, "0123456789") : 0;
    if (r->time_us % 1000000 != 0) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "openGauss recovers to whole seconds only, not to '%.128s'", r->text);
        return gsp_hint(err, "Leave the fraction away for what was committed up to that second, or name the "
                             "transaction with --recovery-target-xid or a place with --recovery-target-lsn.");
    }
    if (fraction == NULL)
        return pg_settings_put(s, "recovery_target_time", r->text, err);
    if (snprintf(text, sizeof text, "%.*s%s", (int)(fraction - r->text), r->text, fraction + 1 + digits) >=
        (int)sizeof text)
        return gsp_fail(err, GSP_E_CONFIG, 0, "the time '%.128s' is too long", r->text);
    return pg_settings_put(s, "recovery_target_time", text, err);
}

static int
put_target(struct pg_settings *s, const struct gsp_recovery *r, struct gsp_error *err)
{
    int rc;
    switch (r->kind) {
    case GSP_RECOVERY_TIME:
        return put_time(s, r, err);
    case GSP_RECOVERY_XID:
        return pg_settings_put(s, "recovery_target_xid", r->text, err);
    case GSP_RECOVERY_LSN:
        return pg_settings_put(s, "recovery_target_lsn", r->text, err);
    case GSP_RECOVERY_NAME:
        rc = pg_settings_check_name(r->text, err);
        return rc == 0 ? pg_settings_put(s, "recovery_target_name", r->text, err) : rc;
    default:
        return 0;
    }
}

static int
put_settings(struct pg_settings *s, const struct gsp_recovery *r, struct gsp_error *err)
{
    char timeline[16];
    const char *command = r->restore_command;
    /* The server insists on a command; one that never has a file makes it read its own WAL. */
    if (command == NULL && (r->flags & GSP_RECOVERY_LOCAL))
        command = "false";
    int rc = command != NULL ? pg_settings_put(s, "restore_command", command, err) : 0;
    if (rc == 0)
        rc = put_target(s, r, err);
    if (rc == 0 && (r->flags & (GSP_RECOVERY_INCLUSIVE | GSP_RECOVERY_EXCLUSIVE)))
        rc = pg_settings_put(s, "recovery_target_inclusive", r->flags & GSP_RECOVERY_EXCLUSIVE ? "false" : "true", err);
    if (rc == 0 && r->timeline != 0) {
        (void)snprintf(timeline, sizeof timeline, "%u", (unsigned)r->timeline);
        rc = pg_settings_put(s, "recovery_target_timeline", timeline, err);
    }
    return rc == 0 ? pg_settings_put(s, "pause_at_recovery_target", "false", err) : rc;
}

int
og_recovery_files(const struct gsp_cluster *cluster, const struct gsp_recovery *recovery, gsp_recovery_cb cb, void *arg,
    struct gsp_error *err)
{
    struct pg_settings settings = {0};
    int immediate = recovery->kind == GSP_RECOVERY_IMMEDIATE;
    int wanted = !immediate &&
                 (recovery->kind != GSP_RECOVERY_NONE || recovery->restore_command != NULL || recovery->timeline != 0);
    int rc = 0;
    (void)cluster;
    /* There is no setting for it. Without any, recovery ends with the WAL that came with the backup. */
    if (immediate && !(recovery->flags & GSP_RECOVERY_LOCAL)) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "openGauss cannot be told to end recovery as soon as it is consistent");
        rc = gsp_hint(err, "Name the end of the backup instead: --recovery-target-lsn with its stop LSN, which "
                           "'gs_probackup show' tells.");
    }
    if (rc == 0 && wanted)
        rc = put_settings(&settings, recovery, err);
    const struct gsp_recovery_file file = {.path = RECOVERY_FILE, .text = wanted ? settings.text : NULL, .mode = 0600};
    if (rc == 0)
        rc = cb(arg, &file, err);
    pg_settings_clear(&settings);
    return rc;
}
