/* SPDX-License-Identifier: Apache-2.0
 * Binding plugins to the places they work on. */
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/engine/engine.h"

int
engine_open_store(struct config *cfg, struct registry *reg, const char *which, const char *root, struct store *ret,
    void **ret_opts, struct gsp_error *err)
{
    struct plugin *plugin;
    void *opts = NULL;
    int rc = registry_find(reg, GSP_KIND_STORAGE, config_get(cfg, which), &plugin, err);
    if (rc == 0)
        rc = plugin_load(plugin, err);
    if (rc == 0)
        rc = config_bind(cfg, plugin, &opts, err);
    if (rc == 0)
        rc = store_open(ret, plugin->ops, plugin->state, opts, root, err);
    if (rc == 0 && ret->limits.align != 1) {
        store_close(ret);
        rc = gsp_fail(
            err, GSP_E_UNSUPPORTED, 0, "storage '%s' asks for aligned I/O, which is not supported yet", plugin->name);
    }
    if (rc != 0) {
        plugin_free_options(opts);
        return rc;
    }
    *ret_opts = opts;
    return 0;
}

/* The highest bidder among the server plugins, or the one the configuration forces. */
static int
choose_server(struct config *cfg, struct registry *reg, const struct strbuf *control, const struct plugin **ret,
    struct gsp_error *err)
{
    const char *forced = config_get(cfg, "server.plugin");
    struct plugin *found;
    if (forced != NULL && strcmp(forced, "auto") != 0) {
        int rc = registry_find(reg, GSP_KIND_SERVER, forced, &found, err);
        if (rc == 0)
            *ret = found;
        return rc;
    }
    int rc = registry_open_all(reg, GSP_KIND_SERVER, err);
    if (rc != 0)
        return rc;
    int best = 0;
    for (uint32_t i = 0; (found = registry_at(reg, i)) != NULL; i++) {
        if (found->kind != GSP_KIND_SERVER)
            continue;
        const struct gsp_server_ops *ops = found->ops;
        int bid = ops->dialect->bid(strbuf_str(control), (uint32_t)control->len);
        if (bid > best) {
            best = bid;
            *ret = found;
        }
    }
    if (best > 0)
        return 0;
    (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "no server plugin recognises this control file");
    return gsp_hint(err, "see 'gs_probackup plugin list' for the servers that are supported; a plugin that was refused "
                         "is listed there with the reason");
}

/* Read a control file through a store, choose the dialect, parse. name: the path for the plugins' common
 * case, tried for each known dialect. */
static int
read_control(struct config *cfg, struct registry *reg, struct store *s, const char *prefix, const struct plugin **ret,
    struct gsp_cluster *ret_cluster, struct gsp_error *err)
{
    static const char control_path[] = "global/pg_control";
    char path[4096];
    auto_strbuf control = STRBUF_INIT;
    (void)snprintf(path, sizeof path, "%s%s", prefix, control_path);
    int rc = store_read_all(s, path, CONTROL_FILE_MAX, &control, err);
    if (rc == 0)
        rc = choose_server(cfg, reg, &control, ret, err);
    if (rc == 0) {
        const struct gsp_server_ops *ops = (*ret)->ops;
        ret_cluster->struct_size = sizeof *ret_cluster;
        rc = ops->dialect->control_parse(strbuf_str(&control), (uint32_t)control.len, ret_cluster, err);
    }
    return rc != 0 ? gsp_prefix(err, "control file '%s/%s'", s->root, path) : 0;
}

int
data_side_open(
    struct data_side *side, struct config *cfg, struct registry *reg, const char *pgdata, struct gsp_error *err)
{
    memset(side, 0, sizeof *side);
    int rc = engine_open_store(cfg, reg, "storage.data", pgdata, &side->store, &side->store_opts, err);
    if (rc != 0)
        return rc;
    struct gsp_stat st;
    struct gsp_error missing = {0};
    rc = store_stat(&side->store, "", &st, &missing);
    if (rc == GSP_E_NOENT)
        (void)gsp_fail(err, rc, 0, "Directory does not exist: '%s'", pgdata);
    else if (rc != 0)
        *err = missing;
    if (rc == 0 && st.type != GSP_FILE_DIRECTORY)
        rc = gsp_fail(err, GSP_E_NOENT, 0, "'%s' is not a directory", pgdata);
    if (rc == 0)
        rc = read_control(cfg, reg, &side->store, "", &side->server, &side->cluster, err);
    if (rc == 0)
        side->dialect = ((const struct gsp_server_ops *)side->server->ops)->dialect;
    if (rc == GSP_E_NOENT)
        (void)gsp_hint(err, "-D (--pgdata) must name the data directory of a database cluster");
    if (rc != 0)
        data_side_close(side);
    return rc;
}

int
data_side_refresh(struct data_side *side, struct gsp_error *err)
{
    auto_strbuf control = STRBUF_INIT;
    int rc = store_read_all(&side->store, side->dialect->control_path, CONTROL_FILE_MAX, &control, err);
    return rc == 0 ? side->dialect->control_parse(control.data, (uint32_t)control.len, &side->cluster, err) : rc;
}

void
data_side_close(struct data_side *side)
{
    if (side->store.ops != NULL)
        store_close(&side->store);
    plugin_free_options(side->store_opts);
    memset(side, 0, sizeof *side);
}

int
dialect_of_backup(struct engine *e, const struct backup *b, const struct gsp_dialect_ops **ret_dialect,
    struct gsp_cluster *ret_cluster, struct gsp_error *err)
{
    char prefix[4096];
    const struct plugin *server = NULL;
    int rc = backup_path(prefix, e->instance, b, "database/", err);
    if (rc == 0)
        rc = read_control(e->cfg, e->reg, &e->repo, prefix, &server, ret_cluster, err);
    if (rc == 0)
        *ret_dialect = ((const struct gsp_server_ops *)server->ops)->dialect;
    return rc;
}

int
codec_open(struct engine *e, const char *name, struct codec *ret, struct gsp_error *err)
{
    struct plugin *plugin;
    *ret = (struct codec){0};
    if (strcmp(name, "none") == 0)
        return 0;
    int rc = registry_find(e->reg, GSP_KIND_COMPRESSOR, name, &plugin, err);
    if (rc == 0)
        rc = plugin_load(plugin, err);
    if (rc == 0)
        rc = config_bind(e->cfg, plugin, &ret->opts, err);
    if (rc == 0)
        ret->plugin = plugin;
    return rc;
}

void
codec_close(struct codec *codec)
{
    plugin_free_options(codec->opts);
    *codec = (struct codec){0};
}
