/* SPDX-License-Identifier: Apache-2.0
 * The tables of commands and options. Help, parsing and the checks all come from here. */
#include "core/cli/cli.h"

#include <string.h>

const struct command commands[] = {
    {"init", CMD_INIT, "make an empty backup catalog", "", cmd_init},
    {"add-instance", CMD_ADD_INSTANCE, "add a database cluster to the catalog", "", cmd_add_instance},
    {"del-instance", CMD_DEL_INSTANCE, "remove a cluster and all of its backups from the catalog", "",
        cmd_del_instance},
    {"set-config", CMD_SET_CONFIG, "change the stored settings of an instance", "", cmd_set_config},
    {"show-config", CMD_SHOW_CONFIG, "print the settings of an instance", "", cmd_show_config},
    {"set-backup", CMD_SET_BACKUP, "change the note or the pin of a backup", "", cmd_set_backup},
    {"show", CMD_SHOW, "list the backups, or describe one", "", cmd_show},
    {"backup", CMD_BACKUP, "take a backup", "", cmd_backup},
    {"restore", CMD_RESTORE, "restore a backup into a data directory", "", cmd_restore},
    {"validate", CMD_VALIDATE, "check that backups are complete and undamaged", "", cmd_validate},
    {"merge", CMD_MERGE, "merge incremental backups into their FULL backup", "", cmd_merge},
    {"delete", CMD_DELETE, "delete backups: one and those made on top of it, or expired ones", "", cmd_delete},
    {"check", CMD_CHECK, "look whether backups work and will go on to, for monitoring", "", cmd_check},
    {"plugin", CMD_PLUGIN, "list the plugins, or describe one", "list|info [NAME]", cmd_plugin},
    {0},
};

const struct command *
command_find(const char *name)
{
    for (const struct command *c = commands; c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

/* Commands that may be given any key of pg_probackup.conf, because they work with the instance. */
#define CMD_CONNECT (CMD_BACKUP | CMD_CHECK | CMD_SET_CONFIG | CMD_ADD_INSTANCE)
#define CMD_STORED (CMD_SET_CONFIG | CMD_ADD_INSTANCE)
#define CMD_LOGGED (CMD_ALL & ~(unsigned)CMD_PLUGIN)
#define CMD_WITH_INSTANCE (CMD_ALL & ~(unsigned)(CMD_INIT | CMD_PLUGIN))
#define CMD_TARGET (CMD_RESTORE | CMD_VALIDATE)
#define CMD_REMOTE (CMD_BACKUP | CMD_RESTORE | CMD_ADD_INSTANCE | CMD_SET_CONFIG)
#define CMD_EXPIRE (CMD_BACKUP | CMD_DELETE)

#define KEY OPT_CONFIG_KEY

/* name, short, id, argument, commands, unsupported in, placeholder, help */
const struct option_def option_defs[] = {
    {"help", 0, OPT_HELP, ARG_NONE, CMD_ALL, 0, NULL, "print this help"},
    {"backup-path", 'B', OPT_BACKUP_PATH, ARG_VALUE, CMD_ALL & ~(unsigned)CMD_PLUGIN, 0, "DIR",
        "backup catalog (environment: BACKUP_PATH)"},
    {"instance", 0, OPT_INSTANCE, ARG_VALUE, CMD_WITH_INSTANCE, 0, "NAME", "name of the instance in the catalog"},
    {"pgdata", 'D', KEY, ARG_VALUE, CMD_ADD_INSTANCE | CMD_SET_CONFIG | CMD_BACKUP | CMD_RESTORE | CMD_CHECK, 0, "DIR",
        "data directory of the cluster (environment: PGDATA)"},
    {"backup-id", 'i', OPT_BACKUP_ID, ARG_VALUE,
        CMD_SHOW | CMD_RESTORE | CMD_VALIDATE | CMD_DELETE | CMD_MERGE | CMD_SET_BACKUP, 0, "ID", "backup to work on"},
    {"backup-mode", 'b', OPT_BACKUP_MODE, ARG_VALUE, CMD_BACKUP, 0, "MODE",
        "FULL, or what changed since the last backup: PTRACK, DELTA, PAGE"},
    {"threads", 'j', OPT_THREADS, ARG_VALUE, CMD_BACKUP | CMD_RESTORE | CMD_VALIDATE | CMD_MERGE | CMD_DELETE, 0, "N",
        "number of parallel workers (default 1)"},
    {"progress", 0, OPT_PROGRESS, ARG_NONE, CMD_BACKUP | CMD_RESTORE | CMD_VALIDATE | CMD_MERGE | CMD_DELETE, 0, NULL,
        "show progress even when stderr is no terminal"},
    {"format", 0, OPT_FORMAT, ARG_VALUE, CMD_SHOW | CMD_SHOW_CONFIG | CMD_PLUGIN | CMD_CHECK | CMD_RESTORE, 0,
        "plain|json", "format of the output (default plain)"},
    {"origin", 0, OPT_ORIGIN, ARG_NONE, CMD_SHOW_CONFIG, 0, NULL, "print where each value comes from"},
    {"archive", 0, OPT_ARCHIVE, ARG_NONE, CMD_SHOW, 0, NULL, "show the archived WAL instead of the backups"},

    {"smooth-checkpoint", 'C', OPT_SMOOTH_CHECKPOINT, ARG_NONE, CMD_BACKUP, 0, NULL,
        "spread the initial checkpoint over time"},
    {"slot", 'S', OPT_SLOT, ARG_VALUE, CMD_BACKUP, 0, "NAME",
        "replication slot for the WAL stream; without it a temporary one is made"},
    {"temp-slot", 0, OPT_TEMP_SLOT, ARG_NONE, CMD_BACKUP, 0, NULL,
        "make the slot named by -S (default pg_probackup_slot) a temporary one"},
    {"stream", 0, OPT_STREAM, ARG_NONE, CMD_BACKUP, 0, NULL, "stream WAL into the backup; always so"},
    {"backup-pg-log", 0, OPT_BACKUP_PG_LOG, ARG_NONE, CMD_BACKUP, 0, NULL, "back up the server's log files too"},
    {"backup-pg-replslot", 0, OPT_BACKUP_PG_REPLSLOT, ARG_NONE, CMD_BACKUP, 0, NULL, "back up replication slots too"},
    {"archive-timeout", 0, KEY, ARG_VALUE, CMD_BACKUP | CMD_CHECK | CMD_STORED, 0, "TIME",
        "longest wait for the checkpoint, and for WAL (default 5min)"},
    {"rw-timeout", 't', KEY, ARG_VALUE, CMD_BACKUP | CMD_CHECK, 0, "TIME",
        "longest silence of the server on a connection (default 2min)"},
    {"verify-map", 0, OPT_VERIFY_MAP, ARG_VALUE, CMD_BACKUP, 0, "N",
        "compare N of 1000 pages that are left out as unchanged with the parent"},
    {"no-validate", 0, OPT_NO_VALIDATE, ARG_NONE, CMD_BACKUP | CMD_RESTORE, 0, NULL, "do not validate the backup"},
    {"skip-block-validation", 0, OPT_SKIP_BLOCK_VALIDATION, ARG_NONE, CMD_BACKUP | CMD_RESTORE | CMD_VALIDATE, 0, NULL,
        "validate whole files only, not their pages"},
    {"no-sync", 0, OPT_NO_SYNC, ARG_NONE, CMD_BACKUP | CMD_RESTORE, 0, NULL, "do not wait until the files are on disk"},
    {"note", 0, OPT_NOTE, ARG_VALUE, CMD_BACKUP | CMD_SET_BACKUP, 0, "TEXT", "a note on the backup; 'none' removes it"},
    {"ttl", 0, OPT_TTL, ARG_VALUE, CMD_BACKUP | CMD_SET_BACKUP, 0, "TIME",
        "pin the backup for this long after its recovery time; 0 unpins"},
    {"expire-time", 0, OPT_EXPIRE_TIME, ARG_VALUE, CMD_BACKUP | CMD_SET_BACKUP, 0, "TIMESTAMP",
        "pin the backup until this moment"},

    {"tablespace-mapping", 'T', OPT_TABLESPACE_MAPPING, ARG_REPEATED, CMD_RESTORE, 0, "OLD=NEW",
        "put a tablespace elsewhere; may be repeated"},
    {"plan", 0, OPT_PLAN, ARG_NONE, CMD_RESTORE, 0, NULL,
        "only tell: the backups and WAL that are needed, the room, and what can be recovered to"},
    {"max-age", 0, OPT_MAX_AGE, ARG_VALUE, CMD_CHECK, 0, "TIME",
        "warn when the last good backup is older (default 1d)"},
    {"force", 0, OPT_FORCE, ARG_NONE, CMD_RESTORE, 0, NULL, "restore a corrupt backup as far as it goes"},
    {"incremental-mode", 'I', OPT_INCREMENTAL_MODE, ARG_VALUE, CMD_RESTORE, 0, "MODE",
        "checksum or lsn: write only what differs from what is there"},
    {"external-mapping", 0, OPT_EXTERNAL_MAPPING, ARG_REPEATED, CMD_RESTORE, 0, "OLD=NEW",
        "put an external directory elsewhere, or a tablespace as -T does; may be repeated"},
    {"skip-external-dirs", 0, OPT_SKIP_EXTERNAL_DIRS, ARG_NONE, CMD_RESTORE, 0, NULL, "leave out external directories"},
    {"recovery-target-time", 0, OPT_TARGET_TIME, ARG_VALUE, CMD_TARGET, 0, "TIME",
        "recover up to this moment, such as '2026-05-01 10:20:30.5+02'"},
    {"time", 0, OPT_TARGET_TIME, ARG_VALUE, CMD_TARGET, 0, NULL, NULL},
    {"recovery-target-xid", 0, OPT_TARGET_XID, ARG_VALUE, CMD_TARGET, 0, "XID", "recover up to this transaction"},
    {"xid", 0, OPT_TARGET_XID, ARG_VALUE, CMD_TARGET, 0, NULL, NULL},
    {"recovery-target-lsn", 0, OPT_TARGET_LSN, ARG_VALUE, CMD_TARGET, 0, "LSN", "recover up to this position in WAL"},
    {"lsn", 0, OPT_TARGET_LSN, ARG_VALUE, CMD_TARGET, 0, NULL, NULL},
    {"recovery-target-name", 0, OPT_TARGET_NAME, ARG_VALUE, CMD_TARGET, 0, "NAME",
        "recover to this restore point, or to the end of the backup with this recovery-name"},
    {"recovery-target-inclusive", 0, OPT_TARGET_INCLUSIVE, ARG_VALUE, CMD_TARGET, 0, "BOOL",
        "whether what the target names is part of it (default true)"},
    {"inclusive", 0, OPT_TARGET_INCLUSIVE, ARG_VALUE, CMD_TARGET, 0, NULL, NULL},
    {"timeline", 0, OPT_TARGET_TIMELINE, ARG_VALUE, CMD_TARGET, 0, "N",
        "recover along this timeline (default: the newest)"},
    {"immediate", 0, OPT_TARGET_IMMEDIATE, ARG_NONE, CMD_TARGET, 0, NULL,
        "recover only until the cluster is consistent"},
    {"status", 0, OPT_STATUS, ARG_VALUE, CMD_DELETE, 0, "STATUS",
        "delete all backups of this status, and those made on top of them"},
    {"delete-expired", 0, OPT_DELETE_EXPIRED, ARG_NONE, CMD_EXPIRE, 0, NULL,
        "delete backups that the retention policy does not ask for"},
    {"expired", 0, OPT_DELETE_EXPIRED, ARG_NONE, CMD_EXPIRE, 0, NULL, NULL},
    {"merge-expired", 0, OPT_MERGE_EXPIRED, ARG_NONE, CMD_EXPIRE, 0, NULL,
        "merge the oldest backup to be kept with its expired parents"},
    {"delete-wal", 0, OPT_DELETE_WAL, ARG_NONE, CMD_EXPIRE, 0, NULL, "remove archived WAL that no backup needs"},
    {"wal", 0, OPT_DELETE_WAL, ARG_NONE, CMD_EXPIRE, 0, NULL, NULL},
    {"dry-run", 0, OPT_DRY_RUN, ARG_NONE, CMD_EXPIRE, 0, NULL,
        "only say what would be deleted, merged or removed, and why"},

    {"pgdatabase", 'd', KEY, ARG_VALUE, CMD_CONNECT, 0, "NAME", "database to connect to (environment: PGDATABASE)"},
    {"pghost", 'h', KEY, ARG_VALUE, CMD_CONNECT, 0, "HOST", "server host or socket directory (environment: PGHOST)"},
    {"pgport", 'p', KEY, ARG_VALUE, CMD_CONNECT, 0, "PORT", "server port (environment: PGPORT)"},
    {"pguser", 'U', KEY, ARG_VALUE, CMD_CONNECT, 0, "NAME", "user to connect as (environment: PGUSER)"},
    {"no-password", 'w', OPT_NO_PASSWORD, ARG_NONE, CMD_BACKUP | CMD_CHECK, 0, NULL, "never ask for a password"},
    {"password", 'W', OPT_PASSWORD, ARG_VALUE, CMD_BACKUP | CMD_CHECK, 0, "PASSWORD",
        "password; prefer a prompt or ~/.pgpass"},

    {"compress-algorithm", 0, KEY, ARG_VALUE, CMD_BACKUP | CMD_STORED, 0, "NAME",
        "none (default), zlib, pglz, lz4, zstd or another compressor plugin"},
    {"compress-level", 0, KEY, ARG_VALUE, CMD_BACKUP | CMD_STORED, 0, "N", "0 to 9 (default 1)"},
    {"compress", 0, OPT_COMPRESS, ARG_NONE, CMD_BACKUP | CMD_SET_CONFIG, 0, NULL,
        "same as --compress-algorithm=zlib --compress-level=1"},

    {"external-dirs", 'E', KEY, ARG_VALUE, CMD_BACKUP | CMD_STORED, 0, "DIR[:DIR...]",
        "back up these directories, too; 'none' for none"},
    {"restore-command", 0, KEY, ARG_VALUE, CMD_STORED | CMD_RESTORE, 0, "COMMAND",
        "how the server fetches archived WAL while it recovers; 'none' for none"},
    {"archive-host", 0, KEY, ARG_VALUE, CMD_STORED, 0, NULL, NULL},
    {"archive-port", 0, KEY, ARG_VALUE, CMD_STORED, 0, NULL, NULL},
    {"archive-user", 0, KEY, ARG_VALUE, CMD_STORED, 0, NULL, NULL},
    {"retention-redundancy", 0, KEY, ARG_VALUE, CMD_EXPIRE | CMD_STORED, 0, "N", "FULL backups to keep"},
    {"retention-window", 0, KEY, ARG_VALUE, CMD_EXPIRE | CMD_STORED, 0, "DAYS", "days to keep backups for"},
    {"wal-depth", 0, KEY, ARG_VALUE, CMD_EXPIRE | CMD_STORED, 0, "N",
        "backups per timeline that keep their archived WAL"},

    {"log-level-console", 0, KEY, ARG_VALUE, CMD_LOGGED, 0, "LEVEL",
        "verbose, log, info (default), warning, error or off"},
    {"log-level-file", 0, KEY, ARG_VALUE, CMD_LOGGED, 0, "LEVEL", "the same for the log file (default off)"},
    {"log-format-file", 0, KEY, ARG_VALUE, CMD_LOGGED, 0, "plain|json",
        "format of log files: text, or a JSON object a line; not stored"},
    {"log-filename", 0, KEY, ARG_VALUE, CMD_LOGGED, 0, "PATTERN",
        "log file, a strftime pattern (default pg_probackup.log)"},
    {"error-log-filename", 0, KEY, ARG_VALUE, CMD_LOGGED, 0, "PATTERN", "log file for errors only"},
    {"log-directory", 0, KEY, ARG_VALUE, CMD_LOGGED, 0, "DIR", "directory of log files (default BACKUP_PATH/log)"},
    {"log-rotation-size", 0, KEY, ARG_VALUE, CMD_LOGGED, 0, "SIZE", "start a new log file beyond this size"},
    {"log-rotation-age", 0, KEY, ARG_VALUE, CMD_LOGGED, 0, "TIME", "start a new log file after this time"},

    {"remote-proto", 0, KEY, ARG_VALUE, CMD_REMOTE, 0, NULL, NULL},
    {"remote-host", 0, KEY, ARG_VALUE, CMD_REMOTE, CMD_BACKUP | CMD_RESTORE | CMD_ADD_INSTANCE, NULL, NULL},
    {"remote-port", 0, KEY, ARG_VALUE, CMD_REMOTE, 0, NULL, NULL},
    {"remote-path", 0, KEY, ARG_VALUE, CMD_REMOTE, 0, NULL, NULL},
    {"remote-user", 0, KEY, ARG_VALUE, CMD_REMOTE, 0, NULL, NULL},
    {"ssh-options", 0, KEY, ARG_VALUE, CMD_REMOTE, 0, NULL, NULL},
    {"ssh-config", 0, KEY, ARG_VALUE, CMD_REMOTE, 0, NULL, NULL},
    {"remote-libpath", 0, KEY, ARG_VALUE, CMD_REMOTE, 0, NULL, NULL},
    {"enable-dss", 0, KEY, ARG_NONE, CMD_REMOTE, CMD_REMOTE, NULL, NULL},
    {"vgname", 0, KEY, ARG_VALUE, CMD_REMOTE, CMD_REMOTE, NULL, NULL},
    {"socketpath", 0, KEY, ARG_VALUE, CMD_REMOTE, CMD_REMOTE, NULL, NULL},
    {"instance-id", 0, KEY, ARG_VALUE, CMD_REMOTE, CMD_REMOTE, NULL, NULL},
    {"media-type", 'M', OPT_MEDIA_TYPE, ARG_VALUE, CMD_ALL, 0, NULL, NULL},
    {"s3-status", 0, OPT_S3_STATUS, ARG_VALUE, CMD_SET_BACKUP, CMD_SET_BACKUP, NULL, NULL},
    {"access-id", 0, KEY, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"access-key", 0, KEY, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"access-bucket", 0, KEY, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"endpoint", 0, KEY, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"region", 0, KEY, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"with-encryption", 0, OPT_ENCRYPTION, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"with-key", 0, OPT_ENCRYPTION, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"with-salt", 0, OPT_ENCRYPTION, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"with-device-params", 0, OPT_ENCRYPTION, ARG_VALUE, CMD_ALL, CMD_ALL, NULL, NULL},
    {"gen-key", 0, OPT_ENCRYPTION, ARG_NONE, CMD_ALL, CMD_ALL, NULL, NULL},

    /* The stock tool parses these for commands it no longer has. */
    {"wal-file-path", 0, OPT_LEFTOVER, ARG_VALUE, 0, 0, NULL, NULL},
    {"wal-file-name", 0, OPT_LEFTOVER, ARG_VALUE, 0, 0, NULL, NULL},
    {"overwrite", 0, OPT_LEFTOVER, ARG_NONE, 0, 0, NULL, NULL},
    {"no-ready-rename", 0, OPT_LEFTOVER, ARG_NONE, 0, 0, NULL, NULL},
    {"batch-size", 0, OPT_LEFTOVER, ARG_VALUE, 0, 0, NULL, NULL},
    {"prefetch-dir", 0, OPT_LEFTOVER, ARG_VALUE, 0, 0, NULL, NULL},
    {"no-validate-wal", 0, OPT_LEFTOVER, ARG_NONE, 0, 0, NULL, NULL},

    {"config", 0, OPT_CONFIG, ARG_VALUE, CMD_ALL, 0, "FILE", "site configuration instead of the installed one"},
    {"set", 0, OPT_SET, ARG_REPEATED, CMD_ALL, 0, "KIND.NAME.KEY=VALUE", "set an option of a plugin; may be repeated"},
};
const size_t option_defs_n = sizeof option_defs / sizeof option_defs[0];
