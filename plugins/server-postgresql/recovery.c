/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"

#include "server/settings.h"

#define SETTINGS_FILE "postgresql.auto.conf"

/* The settings that name a target. Only one may be set, and setting one to nothing while another is set is an error,
 * too: all are emptied first, and the last line is the one that counts. */
static const struct {
    uint32_t kind;
    const char *name;
} targets[] = {
    {GSP_RECOVERY_IMMEDIATE, "recovery_target"},
    {GSP_RECOVERY_TIME, "recovery_target_time"},
    {GSP_RECOVERY_XID, "recovery_target_xid"},
    {GSP_RECOVERY_LSN, "recovery_target_lsn"},
    {GSP_RECOVERY_NAME, "recovery_target_name"},
};
#define TARGETS (sizeof targets / sizeof targets[0])

static int
put_target(struct pg_settings *s, const struct gsp_recovery *r, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < TARGETS && rc == 0; i++)
        if (targets[i].kind != r->kind)
            rc = pg_settings_put(s, targets[i].name, "", err);
    for (size_t i = 0; i < TARGETS && rc == 0; i++)
        if (targets[i].kind == r->kind)
            rc = pg_settings_put(s, targets[i].name, r->kind == GSP_RECOVERY_IMMEDIATE ? "immediate" : r->text, err);
    return rc;
}

static int
put_settings(struct pg_settings *s, const struct gsp_recovery *r, struct gsp_error *err)
{
    char timeline[16] = "latest";
    const char *command = r->restore_command;
    int rc = 0;
    if (r->timeline != 0)
        (void)snprintf(timeline, sizeof timeline, "%u", (unsigned)r->timeline);
    /* The server insists on a command; one that never has a file makes it read its own WAL. */
    if (command == NULL && (r->flags & GSP_RECOVERY_LOCAL))
        command = "false";
    if (command != NULL)
        rc = pg_settings_put(s, "restore_command", command, err);
    if (rc == 0)
        rc = put_target(s, r, err);
    if (rc == 0)
        rc = pg_settings_put(s, "recovery_target_inclusive", r->flags & GSP_RECOVERY_EXCLUSIVE ? "false" : "true", err);
    if (rc == 0)
        rc = pg_settings_put(s, "recovery_target_timeline", timeline, err);
    return rc == 0 ? pg_settings_put(s, "recovery_target_action", "promote", err) : rc;
}

int
pg_recovery_files(const struct gsp_cluster *cluster, const struct gsp_recovery *recovery, gsp_recovery_cb cb, void *arg,
    struct gsp_error *err)
{
    struct pg_settings settings = {0};
    int wanted = recovery->kind != GSP_RECOVERY_NONE || recovery->restore_command != NULL || recovery->timeline != 0;
    (void)cluster; /* all versions known here do it this way */
    int rc = recovery->kind == GSP_RECOVERY_NAME ? pg_settings_check_name(recovery->text, err) : 0;
    if (rc == 0 && wanted)
        rc = put_settings(&settings, recovery, err);
    const struct gsp_recovery_file files[] = {
        {.path = "standby.signal"},
        {.path = SETTINGS_FILE,
            .text = settings.text != NULL ? settings.text : "",
            .mode = 0600,
            .flags = GSP_RECOVERY_FILE_APPEND},
        {.path = "recovery.signal", .text = wanted ? "" : NULL, .mode = 0600},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0] && rc == 0; i++)
        rc = cb(arg, &files[i], err);
    pg_settings_clear(&settings);
    return rc;
}
