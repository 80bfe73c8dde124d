/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include <inttypes.h>
#include <stdio.h>

#include "server/probes.h"

#define SENDER_TIMEOUT_MS_MIN 6000 /* the server's default; the receiver reports every 2 s */

/* The settings that are looked at. */
enum setting {
    WAL_LEVEL,
    WAL_SENDERS,
    SLOTS,
    KEEP_SEGMENTS,
    SENDER_TIMEOUT,
    CHECKPOINT_TIMEOUT,
    SESSION_TIMEOUT,
    TRACKING,
    COMMIT,
    STANDBY_NAMES,
    AVAILABLE,
    ENCRYPTION,
    SETTINGS
};
static const char *const setting_names[SETTINGS] = {"wal_level", "max_wal_senders", "max_replication_slots",
    "wal_keep_segments", "wal_sender_timeout", "checkpoint_timeout", "session_timeout", "enable_cbm_tracking",
    "synchronous_commit", "synchronous_standby_names", "most_available_sync", "password_encryption_type"};

struct checks {
    struct pg_probes probes;
    struct og_session *session;
    int is_standby;
    char value[SETTINGS][64];
};

/* ---- rights and login --------------------------------------------------------------------------- */

static int
check_rights(struct checks *c, struct gsp_error *err)
{
    struct og_rights rights = {0};
    struct gsp_error problem = {0};
    char fix[PG_PROBE_TEXT];
    int wants_map = (c->probes.flags & GSP_CHECK_CHANGED_BLOCKS) != 0;
    int rc = og_session_rights(c->session, &rights, &problem);
    if (rc != 0 && (c->probes.link->lost || (rc != GSP_E_PERM && rc != GSP_E_SERVER))) {
        *err = problem;
        return rc;
    }
    if (rc != 0)
        return pg_tell(
            &c->probes, GSP_PROBE_WARNING, "rights", "see the message", err, "could not be looked at: %s", problem.msg);
    (void)snprintf(fix, sizeof fix, "ALTER ROLE \"%s\" SYSADMIN;", c->probes.user);
    if (rights.is_admin || rights.operation_mode)
        return pg_tell(
            &c->probes, GSP_PROBE_OK, "rights", NULL, err, "role \"%s\" has what a backup needs", c->probes.user);
    if (!rights.may_replicate)
        return pg_tell(&c->probes, GSP_PROBE_ERROR, "rights", fix, err,
            "role \"%s\" is neither SYSADMIN nor REPLICATION, and may not run backups", c->probes.user);
    if (c->is_standby && !wants_map)
        return pg_tell(
            &c->probes, GSP_PROBE_OK, "rights", NULL, err, "role \"%s\" has what a backup needs", c->probes.user);
    return pg_tell(&c->probes, GSP_PROBE_ERROR, "rights", fix, err,
        "role \"%s\" is not SYSADMIN: it may create no restore points and not read the map of changed blocks",
        c->probes.user);
}

static int
check_clock(struct checks *c, struct gsp_error *err)
{
    return pg_probe_clock(&c->probes, err);
}

/* A libpq of openGauss is the one that has an option of openGauss' own. */
static int
is_own_libpq(void)
{
    PQconninfoOption *known = PQconndefaults();
    int found = 0;
    for (const PQconninfoOption *o = known; o != NULL && o->keyword != NULL && !found; o++)
        found = strcmp(o->keyword, "rw_timeout") == 0;
    PQconninfoFree(known);
    return found;
}

/* This session could log in; the next one may be of another role or come another way. */
static int
check_login(struct checks *c, struct gsp_error *err)
{
    const char *type = c->value[ENCRYPTION];
    int is_own = is_own_libpq(), late = !is_own && pg_probe_number(type) >= 2;
    return pg_tell(&c->probes, late ? GSP_PROBE_WARNING : GSP_PROBE_OK, "login",
        "run with the libpq of openGauss (LD_LIBRARY_PATH=$GAUSSHOME/lib), or set password_encryption_type = 1 and "
        "then the password of the role again",
        err,
        late ? "password_encryption_type is %s: passwords set now are of no use with the libpq that is loaded, "
               "PostgreSQL's"
             : "password_encryption_type is %s%s",
        type, is_own ? ", and the libpq that is loaded is openGauss' own" : "");
}

/* ---- settings ----------------------------------------------------------------------------------- */

static int
check_wal_level(struct checks *c, struct gsp_error *err)
{
    int minimal = strcmp(c->value[WAL_LEVEL], "minimal") == 0;
    return pg_tell(&c->probes, minimal ? GSP_PROBE_ERROR : GSP_PROBE_OK, "wal-level",
        "gs_guc set -D PGDATA -c \"wal_level=hot_standby\"; then restart the server, and take a FULL backup", err,
        "wal_level is %s", c->value[WAL_LEVEL]);
}

static int
check_timeouts(struct checks *c, struct gsp_error *err)
{
    uint64_t sender_ms = pg_probe_number(c->value[SENDER_TIMEOUT]);
    int late = sender_ms > 0 && sender_ms < SENDER_TIMEOUT_MS_MIN;
    int rc = pg_tell(&c->probes, late ? GSP_PROBE_WARNING : GSP_PROBE_OK, "wal-sender-timeout",
        "gs_guc reload -D PGDATA -c \"wal_sender_timeout=30s\"", err, "wal_sender_timeout is %" PRIu64 " ms%s",
        sender_ms, late ? ": a short stall of the catalog's disk ends the WAL stream" : " (0 = never)");
    if (rc == 0)
        rc = pg_tell(&c->probes, GSP_PROBE_OK, "session-timeout", NULL, err,
            "session_timeout is %s s (0 = never): a backup lifts it for itself", c->value[SESSION_TIMEOUT]);
    return rc;
}

static int
check_senders(struct checks *c, struct gsp_error *err)
{
    return pg_probe_senders(&c->probes, c->value[WAL_SENDERS], err);
}

/* A primary waits with its commits for a standby; a server of its own ("Normal") waits for none. */
static int
check_commit(struct checks *c, struct gsp_error *err)
{
    PGresult *res;
    int rc = pg_probe_ask(&c->probes, "synchronous-commit",
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication WHERE "
        "pg_catalog.lower(sync_state) IN ('sync', 'quorum')",
        &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    uint64_t n = pg_probe_number(pg_cell(res, 0, 0));
    PQclear(res);
    const char *commit = c->value[COMMIT];
    int waits = strcmp(og_session_role(c->session), "Primary") == 0 && strcmp(commit, "off") != 0 &&
                strcmp(commit, "local") != 0 && c->value[STANDBY_NAMES][0] != '\0' && !pg_is_on(c->value[AVAILABLE]);
    return pg_tell(&c->probes, waits && n == 0 ? GSP_PROBE_WARNING : GSP_PROBE_OK, "synchronous-commit",
        "start the standbys, or gs_guc reload -D PGDATA -c \"most_available_sync=on\"", err,
        waits && n == 0
            ? "synchronous_commit is %s and synchronous_standby_names is '%s', but no such standby is there: "
              "commits hang, and whoever waits for them"
            : "synchronous_commit is %s, synchronous_standby_names is '%s'",
        commit, c->value[STANDBY_NAMES]);
}

/* ---- slots -------------------------------------------------------------------------------------- */

static int
check_slot(struct checks *c, const PGresult *res, int row, struct gsp_error *err)
{
    char fix[PG_PROBE_TEXT];
    const char *slot = pg_cell(res, row, 0), *held = pg_cell(res, row, 2);
    (void)snprintf(fix, sizeof fix, "if nobody comes back for it: SELECT pg_drop_replication_slot('%s');", slot);
    if (strcmp(pg_cell(res, row, 1), "t") == 0)
        return 0;
    return pg_tell(&c->probes, GSP_PROBE_WARNING, "slot-left-behind", fix, err,
        "replication slot '%s' is not in use%s, and keeps the server from removing %s MB of WAL and its map of changed "
        "blocks",
        slot, strstr(slot, "probackup") != NULL ? ", a backup that was killed may have left it behind" : "", held);
}

static int
check_slots(struct checks *c, struct gsp_error *err)
{
    static const char sql[] =
        "SELECT slot_name, active, pg_catalog.round(pg_catalog.pg_xlog_location_diff(CASE WHEN "
        "pg_catalog.pg_is_in_recovery() THEN (pg_catalog.pg_last_xlog_replay_location()).lsn ELSE "
        "pg_catalog.pg_current_xlog_location() END, restart_lsn) / 1048576) FROM pg_catalog.pg_get_replication_slots() "
        "WHERE restart_lsn IS NOT NULL ORDER BY slot_name";
    PGresult *res;
    int rc = pg_probe_ask(&c->probes, "replication-slots", sql, &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    uint64_t used = (uint64_t)PQntuples(res), all = pg_probe_number(c->value[SLOTS]);
    rc = pg_tell(&c->probes, used < all ? GSP_PROBE_OK : GSP_PROBE_WARNING, "replication-slots",
        "drop slots left behind, or gs_guc set -D PGDATA -c \"max_replication_slots=16\" and restart the server", err,
        "%" PRIu64 " of max_replication_slots = %" PRIu64 " are in use%s", used, all,
        used < all ? "" : ": --temp-slot has none to make");
    for (int i = 0; i < PQntuples(res) && rc == 0; i++)
        rc = check_slot(c, res, i, err);
    PQclear(res);
    return rc;
}

/* Nothing holds the WAL of a backup for as long as its receiver is behind, unless it has a slot. */
static int
check_retention(struct checks *c, struct gsp_error *err)
{
    uint64_t keep = pg_probe_number(c->value[KEEP_SEGMENTS]);
    return pg_tell(&c->probes, keep < 16 ? GSP_PROBE_WARNING : GSP_PROBE_OK, "wal-retention",
        "gs_guc reload -D PGDATA -c \"wal_keep_segments=128\"; or take backups with --temp-slot or --slot", err,
        "wal_keep_segments is %" PRIu64 "%s", keep,
        keep < 16 ? ": a busy server removes WAL that a slow receiver of a backup has not read yet" : "");
}

/* ---- changed blocks ----------------------------------------------------------------------------- */

static int
check_changed_blocks(struct checks *c, struct gsp_error *err)
{
    static const char fix[] = "gs_guc reload -D PGDATA -c \"enable_cbm_tracking=on\"; then take a FULL backup";
    int wanted = (c->probes.flags & GSP_CHECK_CHANGED_BLOCKS) != 0;
    PGresult *res;
    int rc;
    if (!pg_is_on(c->value[TRACKING]))
        return pg_tell(&c->probes, wanted ? GSP_PROBE_ERROR : GSP_PROBE_WARNING, "changed-blocks", fix, err,
            wanted ? "enable_cbm_tracking is off, and backups of mode PTRACK are taken of this server"
                   : "enable_cbm_tracking is off: no backups of mode PTRACK");
    rc = pg_probe_ask(&c->probes, "changed-blocks", "SELECT pg_catalog.pg_cbm_tracked_location()", &res, err);
    if (rc != 0 || res == NULL)
        return rc;
    rc = pg_tell(&c->probes, GSP_PROBE_OK, "changed-blocks", NULL, err,
        "enable_cbm_tracking is on, changed blocks are tracked up to %s", pg_cell(res, 0, 0));
    PQclear(res);
    return rc;
}

/* ------------------------------------------------------------------------------------------------- */

int
og_check(void *srv, uint32_t flags, struct gsp_identity *ret, gsp_probe_cb cb, void *arg, struct gsp_error *err)
{
    /* The first ones need no settings. */
    static int (*const probes[])(struct checks * c, struct gsp_error * err) = {check_rights, check_clock, check_login,
        check_wal_level, check_senders, check_slots, check_retention, check_timeouts, check_commit,
        check_changed_blocks};
    const struct pg_base *base = og_session_base(srv);
    struct checks c = {.session = srv};
    c.probes = (struct pg_probes){.link = &og_session_base(srv)->link,
        .flags = flags,
        .user = PQuser(base->link.conn),
        .names = setting_names,
        .n_values = SETTINGS,
        .value = c.value,
        .cb = cb,
        .arg = arg};
    int rc = og_session_identify(srv, ret, err);
    if (rc != 0)
        return rc;
    c.is_standby = (int)ret->in_recovery;
    rc = pg_probes_read(&c.probes, err);
    int is_read = c.value[WAL_LEVEL][0] != '\0';
    for (size_t i = 0; rc == 0 && i < (is_read ? sizeof probes / sizeof probes[0] : 2); i++)
        rc = probes[i](&c, err);
    return rc == 0 && is_read ? pg_probe_checkpoint(&c.probes, base->wait_us, c.value[CHECKPOINT_TIMEOUT], err) : rc;
}
