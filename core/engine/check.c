/* SPDX-License-Identifier: Apache-2.0
 * The server and the data directory. The catalog: check_catalog.c. */
#include "core/engine/check.h"

#include <inttypes.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/engine/backup_start.h"
#include "core/engine/check_tell.h"

struct server_check {
    struct engine *e;
    const struct check_options *opts;
    struct check_report *report;
    struct backup_start s;
};

/* Is the data directory of the server the one of -D? Its own name for it can lead there on another way. */
static int
check_same_directory(struct server_check *c, struct gsp_error *err)
{
    struct store theirs = {0};
    void *theirs_opts = NULL;
    struct gsp_stat ours_st = {0}, theirs_st = {0};
    struct gsp_error problem = {0};
    const char *ours = c->s.data.store.root, *named = c->s.identity.data_directory;
    if (named[0] == '\0')
        return check_tell(c->report, GSP_PROBE_OK, "data-directory", NULL, err,
            "'%s' is of the server's cluster; whether it is the server's own the role may not see (GRANT "
            "pg_read_all_settings)",
            ours);
    int rc = engine_open_store(c->e->cfg, c->e->reg, "storage.data", named, &theirs, &theirs_opts, &problem);
    if (rc == 0)
        rc = store_stat(&theirs, "", &theirs_st, &problem);
    if (rc == 0)
        rc = store_stat(&c->s.data.store, "", &ours_st, &problem);
    if (theirs.ops != NULL)
        store_close(&theirs);
    plugin_free_options(theirs_opts);
    if (rc == 0 && theirs_st.dev == ours_st.dev && theirs_st.ino == ours_st.ino)
        return check_tell(c->report, GSP_PROBE_OK, "data-directory", NULL, err, "'%s' is the server's", ours);
    return check_tell(c->report, GSP_PROBE_ERROR, "data-directory",
        "-D and -h, -p must lead to the same server: give the right ones, or store them with set-config", err,
        "'%s' is not the server's data directory, that is '%s'", ours, named);
}

static int
check_system_id(struct server_check *c, struct gsp_error *err)
{
    uint64_t of_server = c->s.identity.system_id, of_data = c->s.data.cluster.system_id;
    uint64_t of_instance = config_get_u64(c->e->cfg, "system-identifier");
    if (of_server != of_data)
        return check_tell(c->report, GSP_PROBE_ERROR, "system-id",
            "-D and -h, -p must lead to the same server: give the right ones, or store them with set-config", err,
            "the server has %" PRIu64 ", its data directory should be '%s', which has %" PRIu64, of_server,
            c->s.data.store.root, of_data);
    if (of_instance != 0 && of_instance != of_data)
        return check_tell(c->report, GSP_PROBE_ERROR, "system-id",
            "this instance of the catalog belongs to another cluster; use add-instance for this one", err,
            "the server has %" PRIu64 ", instance '%s' has %" PRIu64, of_server, c->e->instance, of_instance);
    return check_tell(c->report, GSP_PROBE_OK, "system-id", NULL, err,
        "%" PRIu64 ": server (%s%s), data directory and instance agree", of_server, c->s.identity.version,
        c->s.identity.in_recovery ? ", a standby" : "");
}

/* Nothing tells as well whether it works as doing it. */
static int
check_replication(struct server_check *c, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = c->s.server_ops->wal_open(c->s.srv, NULL, 0, &c->s.wal, &problem);
    if (rc != 0)
        return check_tell_problem(c->report, "replication", &problem, err);
    c->s.server_ops->wal_close(c->s.wal);
    c->s.wal = NULL;
    return check_tell(c->report, GSP_PROBE_OK, "replication", NULL, err, "a replication connection can be opened");
}

static int
take_probe(void *arg, const struct gsp_probe *probe, struct gsp_error *err)
{
    struct server_check *c = arg;
    uint32_t state = probe->state <= GSP_PROBE_ERROR ? probe->state : GSP_PROBE_ERROR;
    return check_tell(c->report, state, probe->name, probe->fix, err, "%s", probe->found);
}

static int
takes_ptrack(struct engine *e, int *ret, struct gsp_error *err)
{
    auto_backup_list list = {0};
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    *ret = 0;
    for (size_t i = 0; i < list.n; i++)
        *ret |= list.backups[i].mode != NULL && strcmp(list.backups[i].mode, "PTRACK") == 0;
    return rc;
}

/* The dialect's own probes. */
static int
check_session(struct server_check *c, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int ptrack = 0, rc = takes_ptrack(c->e, &ptrack, err);
    if (rc == 0)
        rc = check_tell(c->report, GSP_PROBE_OK, "connection", NULL, err, "the server answers");
    if (rc != 0)
        return rc;
    c->s.identity.struct_size = sizeof c->s.identity;
    if (c->s.server_ops->check != NULL)
        rc = c->s.server_ops->check(
            c->s.srv, ptrack ? GSP_CHECK_CHANGED_BLOCKS : 0, &c->s.identity, take_probe, c, &problem);
    else
        rc = c->s.server_ops->identify(c->s.srv, &c->s.identity, &problem);
    if (rc != 0)
        return check_tell_problem(c->report, "connection", &problem, err);
    rc = check_system_id(c, err);
    if (rc == 0 && c->s.identity.system_id == c->s.data.cluster.system_id)
        rc = check_same_directory(c, err);
    return rc == 0 ? check_replication(c, err) : rc;
}

static int
check_server(struct server_check *c, struct gsp_error *err)
{
    struct gsp_stat st;
    struct gsp_error problem = {0};
    const char *pgdata = config_get(c->e->cfg, "pgdata");
    int rc = data_side_open(&c->s.data, c->e->cfg, c->e->reg, pgdata, &problem);
    if (rc == 0)
        rc = store_stat(&c->s.data.store, "", &st, &problem);
    if (rc == 0)
        rc = check_owner(pgdata, st.uid, &problem);
    if (rc != 0) {
        rc = check_tell_problem(c->report, "data-directory", &problem, err);
        if (rc != 0 || c->s.data.server == NULL)
            return rc;
    }
    rc = backup_start_connect(&c->s, c->e, &c->opts->connect, &problem);
    return rc == 0 ? check_session(c, err) : check_tell_problem(c->report, "connection", &problem, err);
}

int
check_run(struct engine *e, const struct check_options *opts, struct check_report *ret, struct gsp_error *err)
{
    struct server_check c = {.e = e, .opts = opts, .report = ret};
    int rc = check_server(&c, err);
    backup_start_close(&c.s);
    return rc == 0 ? check_catalog(e, opts, ret, err) : rc;
}
