/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"

#define SETTINGS_FILE "postgresql.auto.conf"
#define NAME_MAX_BYTES 63u

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

struct text {
    char *bytes;
    size_t len, cap;
};

static int
put(struct text *t, const char *bytes, size_t len, struct gsp_error *err)
{
    if (t->cap - t->len <= len) {
        size_t cap = (t->cap + len) * 2 + 256;
        char *grown = realloc(t->bytes, cap);
        if (grown == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        t->bytes = grown;
        t->cap = cap;
    }
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    t->bytes[t->len] = '\0';
    return 0;
}

/* name = 'value'. In a quoted value of the settings file a quote and a backslash are written twice. */
static int
put_setting(struct text *t, const char *name, const char *value, struct gsp_error *err)
{
    if (strpbrk(value, "\r\n") != NULL)
        return gsp_fail(err, GSP_E_CONFIG, 0, "%s must be a single line: '%.128s'", name, value);
    int rc = put(t, name, strlen(name), err);
    if (rc == 0)
        rc = put(t, " = '", 4, err);
    for (const char *p = value; *p != '\0' && rc == 0; p++) {
        rc = put(t, p, 1, err);
        if (rc == 0 && (*p == '\'' || *p == '\\'))
            rc = put(t, p, 1, err);
    }
    return rc == 0 ? put(t, "'\n", 2, err) : rc;
}

static int
put_target(struct text *t, const struct gsp_recovery *r, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < TARGETS && rc == 0; i++)
        if (targets[i].kind != r->kind)
            rc = put_setting(t, targets[i].name, "", err);
    for (size_t i = 0; i < TARGETS && rc == 0; i++)
        if (targets[i].kind == r->kind)
            rc = put_setting(t, targets[i].name, r->kind == GSP_RECOVERY_IMMEDIATE ? "immediate" : r->text, err);
    return rc;
}

static int
put_settings(struct text *t, const struct gsp_recovery *r, struct gsp_error *err)
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
        rc = put_setting(t, "restore_command", command, err);
    if (rc == 0)
        rc = put_target(t, r, err);
    if (rc == 0)
        rc = put_setting(t, "recovery_target_inclusive", r->flags & GSP_RECOVERY_EXCLUSIVE ? "false" : "true", err);
    if (rc == 0)
        rc = put_setting(t, "recovery_target_timeline", timeline, err);
    return rc == 0 ? put_setting(t, "recovery_target_action", "promote", err) : rc;
}

int
pg_recovery_files(const struct gsp_cluster *cluster, const struct gsp_recovery *recovery, gsp_recovery_cb cb, void *arg,
    struct gsp_error *err)
{
    struct text settings = {0};
    int wanted = recovery->kind != GSP_RECOVERY_NONE || recovery->restore_command != NULL || recovery->timeline != 0;
    int rc = put(&settings, "", 0, err);
    (void)cluster; /* all versions known here do it this way */
    if (rc == 0 && recovery->kind == GSP_RECOVERY_NAME && strlen(recovery->text) > NAME_MAX_BYTES)
        rc = gsp_fail(err, GSP_E_CONFIG, 0, "the name of a restore point has at most %u bytes: '%.128s'",
            NAME_MAX_BYTES, recovery->text);
    if (rc == 0 && wanted)
        rc = put_settings(&settings, recovery, err);
    const struct gsp_recovery_file files[] = {
        {.path = "standby.signal"},
        {.path = SETTINGS_FILE, .text = settings.bytes, .mode = 0600, .flags = GSP_RECOVERY_FILE_APPEND},
        {.path = "recovery.signal", .text = wanted ? "" : NULL, .mode = 0600},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0] && rc == 0; i++)
        rc = cb(arg, &files[i], err);
    free(settings.bytes);
    return rc;
}
