/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/backup_start.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/engine/backup_room.h"

static int
bind_mode(struct backup_start *s, struct engine *e, const struct backup_options *opts, struct gsp_error *err)
{
    struct plugin *mode;
    int rc = registry_find(e->reg, GSP_KIND_MODE, opts->mode, &mode, err);
    if (rc == 0)
        rc = plugin_load(mode, err);
    if (rc == 0)
        rc = config_bind(e->cfg, mode, &s->mode_opts, err);
    if (rc == 0) {
        s->mode = mode;
        s->mode_ops = mode->ops;
        s->is_incremental = (s->mode_ops->flags & GSP_MODE_INCREMENTAL) != 0;
    }
    return rc;
}

/* The stock gs_probackup, which has nothing but FULL and PTRACK, fails on every listing of a catalog that holds another
 * mode. It keeps the backups of openGauss, which calls itself 9.2. */
static int
check_mode_allowed(const struct backup_start *s, struct engine *e, struct gsp_error *err)
{
    const char *label = s->mode_ops->label, *allowed = config_get(e->cfg, "catalog.new-modes");
    if (strcmp(label, "FULL") == 0 || strcmp(label, "PTRACK") == 0 || strcmp(s->data.cluster.version, "9.2") != 0 ||
        (allowed != NULL && strcmp(allowed, "true") == 0))
        return 0;
    (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0,
        "mode %s is not taken of openGauss: the stock gs_probackup could not list this catalog any more", label);
    return gsp_hint(err,
        "use -b PTRACK; or, if no other program reads the catalog, set \"catalog: {new-modes: true}\" in "
        "the site configuration");
}

int
check_owner(const char *path, uint32_t uid, struct gsp_error *err)
{
    if (geteuid() == uid)
        return 0;
    struct passwd entry, *found = NULL;
    char buf[1024], name[64];
    if (getpwuid_r(uid, &entry, buf, sizeof buf, &found) == 0 && found != NULL)
        (void)snprintf(name, sizeof name, "%s", found->pw_name);
    else
        (void)snprintf(name, sizeof name, "#%" PRIu32, uid);
    (void)gsp_fail(err, GSP_E_PERM, 0, "'%s' belongs to user %s, and gs_probackup runs as another user", path, name);
    return gsp_hint(err, "run it as the owner: sudo -u %s gs_probackup ...", name);
}

/* The server is that of the data directory, and of the instance. */
static int
check_identity(struct backup_start *s, struct engine *e, struct gsp_error *err)
{
    const struct gsp_cluster *cluster = &s->data.cluster;
    uint64_t expected = config_get_u64(e->cfg, "system-identifier");
    s->identity.struct_size = sizeof s->identity;
    int rc = s->server_ops->identify(s->srv, &s->identity, err);
    if (rc != 0)
        return rc;
    if (s->identity.system_id != cluster->system_id) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0,
            "Backup data directory was initialized for system id %" PRIu64
            ", but connected instance system id is %" PRIu64,
            cluster->system_id, s->identity.system_id);
        return gsp_hint(err, "-D must be the data directory of the server that -h and -p lead to");
    }
    if (expected != 0 && expected != cluster->system_id) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0,
            "Backup data directory was initialized for system id %" PRIu64
            ", but target backup directory system id is %" PRIu64,
            cluster->system_id, expected);
        return gsp_hint(err, "this instance of the catalog belongs to another cluster; use add-instance for this one");
    }
    if (s->identity.page_size != cluster->page_size)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "block_size(%u) is not compatible(%u expected)",
            s->identity.page_size, cluster->page_size);
    if (s->identity.in_recovery)
        log_info("Backup is going to be taken from standby");
    log_log("%s, system id %" PRIu64 ", page checksums are %s", s->identity.version, cluster->system_id,
        cluster->checksum_version != 0 ? "on" : "off");
    if (cluster->checksum_version == 0)
        log_warning(
            "This cluster was initialized without data block checksums, gs_probackup will not be able to detect "
            "corruption of data pages beyond their headers");
    return 0;
}

static int
set_password(struct engine *e, const struct plugin *server, const char *password, struct gsp_error *err)
{
    char key[64];
    (void)snprintf(key, sizeof key, "server.%s.password", server->name);
    return config_set(e->cfg, key, password, CONFIG_CMDLINE, "-W (--password)", err);
}

static int
connect_once(struct backup_start *s, struct engine *e, struct gsp_error *err)
{
    const struct plugin *server = s->data.server;
    plugin_free_options(s->server_opts);
    s->server_opts = NULL;
    int rc = config_bind(e->cfg, server, &s->server_opts, err);
    return rc == 0 ? s->server_ops->open(server->state, s->server_opts, &s->srv, err) : rc;
}

/* A login that fails for want of a password is tried once more with one from the user. */
int
backup_start_connect(struct backup_start *s, struct engine *e, const struct backup_options *opts, struct gsp_error *err)
{
    struct plugin *server = NULL;
    int rc = registry_find(e->reg, GSP_KIND_SERVER, s->data.server->name, &server, err);
    if (rc != 0 || server == NULL)
        return rc;
    s->server_ops = server->ops;
    rc = plugin_load(server, err);
    if (rc == 0 && opts->password != NULL)
        rc = set_password(e, server, opts->password, err);
    if (rc != 0)
        return rc;
    struct gsp_error first = {0};
    rc = connect_once(s, e, &first);
    if (rc == GSP_E_PERM && strcmp(first.where, "password") == 0 && opts->ask_password != NULL &&
        opts->password == NULL) {
        auto_free char *password = opts->ask_password(opts->ask_arg, err);
        if (password == NULL)
            return err->code;
        rc = set_password(e, server, password, err);
        explicit_bzero(password, strlen(password));
        return rc == 0 ? connect_once(s, e, err) : rc;
    }
    if (rc != 0)
        *err = first;
    return rc;
}

static int
open_wal(struct backup_start *s, const struct backup_options *opts, struct gsp_error *err)
{
    if (opts->slot != NULL || opts->temp_slot)
        return s->server_ops->wal_open(s->srv, opts->slot != NULL ? opts->slot : "pg_probackup_slot",
            opts->temp_slot ? GSP_WAL_TEMP_SLOT : 0, &s->wal, err);
    struct gsp_error no_slot = {0};
    int rc = s->server_ops->wal_open(s->srv, NULL, GSP_WAL_TEMP_SLOT, &s->wal, &no_slot);
    if (rc != GSP_E_SERVER) {
        if (rc != 0)
            *err = no_slot;
        return rc;
    }
    /* Nobody asked for a slot, and a server that has none left could always be backed up without. */
    rc = s->server_ops->wal_open(s->srv, NULL, 0, &s->wal, err);
    if (rc == 0)
        log_warning("No replication slot holds the WAL of this backup: %s", no_slot.msg);
    return rc;
}

static int
open_all(struct backup_start *s, struct engine *e, const struct backup_options *opts, struct gsp_error *err)
{
    const char *pgdata = config_get(e->cfg, "pgdata");
    struct gsp_stat st;
    if (pgdata == NULL)
        return gsp_fail(err, GSP_E_USAGE, 0, "required parameter not specified: PGDATA (-D, --pgdata)");
    int rc = bind_mode(s, e, opts, err);
    if (rc == 0) {
        s->codec_name = config_get(e->cfg, "compress-algorithm");
        rc = codec_open(e, s->codec_name, &s->codec, err);
    }
    if (rc == 0)
        rc = data_side_open(&s->data, e->cfg, e->reg, pgdata, err);
    if (rc == 0)
        rc = store_stat(&s->data.store, "", &st, err);
    if (rc == 0)
        rc = check_owner(pgdata, st.uid, err);
    if (rc == 0)
        rc = check_mode_allowed(s, e, err);
    if (rc == 0)
        rc = external_sources_open(&s->external, e, &s->data, err);
    if (rc == 0)
        rc = backup_start_connect(s, e, opts, err);
    if (rc == 0)
        rc = check_identity(s, e, err);
    if (rc == 0)
        rc = backup_room_check(s, e, err);
    return rc == 0 ? open_wal(s, opts, err) : rc;
}

int
backup_start_open(struct backup_start *s, struct engine *e, const struct backup_options *opts, struct gsp_error *err)
{
    memset(s, 0, sizeof *s);
    s->classify_flags = (opts->include_logs ? GSP_CLASSIFY_LOGS : 0) | (opts->include_slots ? GSP_CLASSIFY_SLOTS : 0);
    return open_all(s, e, opts, err);
}

void
backup_start_end_session(struct backup_start *s)
{
    if (s->wal != NULL)
        s->server_ops->wal_close(s->wal);
    s->wal = NULL;
    if (s->srv != NULL)
        s->server_ops->close(s->srv);
    s->srv = NULL;
}

void
backup_start_close(struct backup_start *s)
{
    backup_start_end_session(s);
    plugin_free_options(s->server_opts);
    plugin_free_options(s->mode_opts);
    codec_close(&s->codec);
    external_sources_close(&s->external);
    data_side_close(&s->data);
}
