/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stddef.h>

#include "core/config/config.h"

#define INSTANCE CONFIG_IN_INSTANCE
#define SHOWN CONFIG_ALWAYS_SHOWN
#define PASSING CONFIG_NOT_PERSISTED

static const char group_instance[] = "Backup instance information";
static const char group_connection[] = "Connection parameters";
static const char group_archive[] = "Archive parameters";
static const char group_logging[] = "Logging parameters";
static const char group_retention[] = "Retention parameters";
static const char group_compression[] = "Compression parameters";
static const char group_remote[] = "Remote access parameters";
static const char group_dss[] = "DSS connect parameters";
static const char group_s3[] = "S3 connect parameters";

/* Order and groups are those of the file the stock tool writes. */
const struct config_def config_defs[] = {
    {"pgdata", CONFIG_STRING, INSTANCE, NULL, "PGDATA", group_instance},
    {"system-identifier", CONFIG_U64, INSTANCE | SHOWN | CONFIG_NO_CMDLINE, NULL, NULL, group_instance},
    /* Written by pg_probackup 2.5; the control file of the cluster tells it too. */
    {"xlog-seg-size", CONFIG_U64, INSTANCE | CONFIG_NO_CMDLINE, NULL, NULL, group_instance},
    {"external-dirs", CONFIG_STRING, INSTANCE, NULL, NULL, group_instance},

    {"pgdatabase", CONFIG_STRING, INSTANCE | SHOWN, NULL, "PGDATABASE", group_connection},
    {"pghost", CONFIG_STRING, INSTANCE, NULL, "PGHOST", group_connection},
    {"pgport", CONFIG_STRING, INSTANCE, NULL, "PGPORT", group_connection},
    {"pguser", CONFIG_STRING, INSTANCE, NULL, "PGUSER", group_connection},

    {"archive-timeout", CONFIG_SECONDS, INSTANCE | SHOWN, "5min", NULL, group_archive},
    {"archive-host", CONFIG_STRING, INSTANCE, NULL, NULL, group_archive},
    {"archive-port", CONFIG_STRING, INSTANCE, NULL, NULL, group_archive},
    {"archive-user", CONFIG_STRING, INSTANCE, NULL, NULL, group_archive},
    {"restore-command", CONFIG_STRING, INSTANCE, NULL, NULL, group_archive},

    {"log-level-console", CONFIG_LOGLEVEL, INSTANCE | SHOWN, "INFO", NULL, group_logging},
    {"log-level-file", CONFIG_LOGLEVEL, INSTANCE | SHOWN, "OFF", NULL, group_logging},
    {"log-filename", CONFIG_STRING, INSTANCE | SHOWN, "pg_probackup.log", NULL, group_logging},
    {"error-log-filename", CONFIG_STRING, INSTANCE, NULL, NULL, group_logging},
    {"log-directory", CONFIG_STRING, INSTANCE | SHOWN, NULL, NULL, group_logging},
    {"log-rotation-size", CONFIG_KBYTES, INSTANCE | SHOWN, "0TB", NULL, group_logging},
    {"log-rotation-age", CONFIG_MINUTES, INSTANCE | SHOWN, "0d", NULL, group_logging},

    {"retention-redundancy", CONFIG_UINT, INSTANCE | SHOWN, "0", NULL, group_retention},
    {"retention-window", CONFIG_UINT, INSTANCE | SHOWN, "0", NULL, group_retention},
    {"wal-depth", CONFIG_UINT, INSTANCE | SHOWN, "0", NULL, group_retention},

    {"compress-algorithm", CONFIG_COMPRESS, INSTANCE | SHOWN, "none", NULL, group_compression},
    {"compress-level", CONFIG_UINT, INSTANCE | SHOWN, "1", NULL, group_compression},

    {"remote-proto", CONFIG_STRING, INSTANCE | SHOWN | PASSING, "ssh", NULL, group_remote},
    {"remote-host", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_remote},
    {"remote-port", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_remote},
    {"remote-path", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_remote},
    {"remote-user", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_remote},
    {"ssh-options", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_remote},
    {"ssh-config", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_remote},
    {"remote-libpath", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_remote},

    {"enable-dss", CONFIG_BOOL, INSTANCE | SHOWN, "false", NULL, group_dss},
    {"vgname", CONFIG_STRING, INSTANCE, NULL, NULL, group_dss},
    {"socketpath", CONFIG_STRING, INSTANCE, NULL, NULL, group_dss},
    {"instance-id", CONFIG_INT, INSTANCE | SHOWN, "-1", NULL, group_dss},

    {"access-id", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_s3},
    {"access-key", CONFIG_STRING, INSTANCE | PASSING | CONFIG_SECRET, NULL, NULL, group_s3},
    {"endpoint", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_s3},
    {"region", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_s3},
    {"access-bucket", CONFIG_STRING, INSTANCE | PASSING, NULL, NULL, group_s3},

    /* Not in the instance's file: the stock tool refuses one with a key that it does not know. */
    {"log-format-file", CONFIG_FORMAT, CONFIG_IN_YAML, "plain", NULL, NULL},
    {"rw-timeout", CONFIG_SECONDS, CONFIG_IN_YAML, "2min", NULL, NULL},
    {"plugin.path", CONFIG_STRING, CONFIG_IN_YAML, NULL, NULL, NULL},
    {"server.plugin", CONFIG_STRING, CONFIG_IN_YAML, "auto", NULL, NULL},
    {"storage.repo", CONFIG_STRING, CONFIG_IN_YAML, "fs", NULL, NULL},
    {"storage.data", CONFIG_STRING, CONFIG_IN_YAML, "fs", NULL, NULL},
    {"retention.plugin", CONFIG_STRING, CONFIG_IN_YAML, "standard", NULL, NULL},
    {"catalog.new-modes", CONFIG_BOOL, CONFIG_IN_YAML, "false", NULL, NULL},
};
const size_t config_defs_n = sizeof config_defs / sizeof config_defs[0];

static int
key_char(char c)
{
    return c == '_' ? '-' : tolower((unsigned char)c);
}

const struct config_def *
config_def_find(const char *key)
{
    for (size_t i = 0; i < config_defs_n; i++) {
        const char *a = config_defs[i].key, *b = key;
        while (*a != '\0' && *a == key_char(*b)) {
            a++;
            b++;
        }
        if (*a == '\0' && *b == '\0')
            return &config_defs[i];
    }
    return NULL;
}
