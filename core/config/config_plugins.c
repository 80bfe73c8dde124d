/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "core/config/config_store.h"
#include "core/config/config_value.h"

static int
fail_unknown_option(const struct plugin *plugin, const char *key, struct gsp_error *err)
{
    auto_strbuf known = STRBUF_INIT;
    for (const struct gsp_option *opt = plugin->desc->options; opt != NULL && opt->key != NULL; opt++)
        strbuf_printf(&known, "%s%s", known.len > 0 ? ", " : "", opt->key);
    (void)gsp_fail(err, GSP_E_CONFIG, 0, "the %s plugin '%s' has no option '%s'", plugin_kind_name(plugin->kind),
        plugin->name, key);
    if (known.len == 0)
        return gsp_hint(err, "it has no options");
    return gsp_hint(err, "its options are: %s", strbuf_str(&known));
}

static const struct gsp_option *
find_option(const struct plugin *plugin, const char *key)
{
    const struct gsp_option *opt = plugin->desc->options;
    while (opt != NULL && opt->key != NULL && strcmp(opt->key, key) != 0)
        opt++;
    return opt != NULL && opt->key != NULL ? opt : NULL;
}

static int
check_item(struct config_item *item, struct registry *reg, const char **ret_origin, struct gsp_error *err)
{
    char name[CONFIG_KEY_SIZE], key[CONFIG_KEY_SIZE];
    uint32_t kind;
    struct plugin *plugin = NULL;
    enum config_source source;
    const struct config_slot *winner = config_item_winner(item, &source);
    if (winner == NULL)
        return 0;
    *ret_origin = winner->origin;
    if (!config_split_plugin_key(item->key, &kind, name, key))
        return gsp_fail(err, GSP_E_BUG, 0, "the key '%s' was stored unchecked", item->key);
    int rc = registry_find(reg, kind, name, &plugin, err);
    if (rc != 0)
        return rc;
    const struct gsp_option *opt = find_option(plugin, key);
    if (opt == NULL)
        return fail_unknown_option(plugin, key, err);
    if (opt->type == GSP_OPT_SECRET)
        item->flags |= CONFIG_SECRET;
    for (size_t i = 0; i < CONFIG_SOURCES; i++) {
        if (item->slots[i].text == NULL)
            continue;
        *ret_origin = item->slots[i].origin;
        if (plugin_option_check(opt, item->slots[i].text, err) != 0)
            return gsp_prefix(err, "%s.%s", plugin_kind_name(kind), name);
    }
    return 0;
}

int
config_check_plugins(struct config *cfg, struct registry *reg, struct gsp_error *err)
{
    for (size_t i = 0; i < cfg->plugin_n; i++) {
        const char *origin = "";
        if (check_item(&cfg->plugin[i], reg, &origin, err) != 0)
            return gsp_prefix(err, "%s", origin);
    }
    return 0;
}

/* Of the option's own key and its name in pg_probackup.conf the stronger source wins; the own key when
 * both are equally strong. */
static int
lookup(void *arg, const struct plugin *plugin, const struct gsp_option *opt, const char **ret_text,
    const char **ret_origin)
{
    const struct config *cfg = arg;
    char key[CONFIG_PLUGIN_KEY_SIZE];
    enum config_source own_source, legacy_source;
    (void)snprintf(key, sizeof key, "%s.%s.%s", plugin_kind_name(plugin->kind), plugin->name, opt->key);
    const struct config_slot *own = config_item_winner(config_item_find(cfg, key), &own_source);
    const struct config_slot *legacy = NULL;
    if (opt->legacy_key != NULL)
        legacy = config_item_winner(config_item_find(cfg, opt->legacy_key), &legacy_source);
    if (legacy != NULL && (own == NULL || legacy_source > own_source))
        own = legacy;
    if (own == NULL)
        return 0;
    *ret_text = own->text;
    *ret_origin = own->origin;
    return 1;
}

int
config_bind(struct config *cfg, const struct plugin *plugin, void **ret_opts, struct gsp_error *err)
{
    return plugin_bind_options(plugin, lookup, cfg, ret_opts, err);
}

void
config_serve(struct config *cfg, struct registry *reg)
{
    registry_set_lookup(reg, lookup, cfg);
}
