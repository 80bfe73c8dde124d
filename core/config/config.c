/* SPDX-License-Identifier: Apache-2.0 */
#include "core/config/config.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/number.h"
#include "core/config/config_store.h"
#include "core/config/config_value.h"

static int
no_memory(struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static void
slot_clear(struct config_slot *slot)
{
    free(slot->text);
    free(slot->origin);
    *slot = (struct config_slot){NULL, NULL};
}

static void
item_clear(struct config_item *item)
{
    for (size_t i = 0; i < CONFIG_SOURCES; i++)
        slot_clear(&item->slots[i]);
    free(item->key);
}

int
config_new(struct config **ret, struct gsp_error *err)
{
    struct config *cfg = calloc(1, sizeof *cfg);
    if (cfg == NULL)
        return no_memory(err);
    cfg->core = calloc(config_defs_n, sizeof *cfg->core);
    if (cfg->core == NULL) {
        free(cfg);
        return no_memory(err);
    }
    for (size_t i = 0; i < config_defs_n; i++) {
        const char *def = config_defs[i].def;
        if (def != NULL && config_set(cfg, config_defs[i].key, def, CONFIG_DEFAULT, "default", err) != 0) {
            config_free(cfg);
            return err->code;
        }
    }
    *ret = cfg;
    return 0;
}

void
config_free(struct config *cfg)
{
    if (cfg == NULL)
        return;
    for (size_t i = 0; i < config_defs_n; i++)
        item_clear(&cfg->core[i]);
    for (size_t i = 0; i < cfg->plugin_n; i++)
        item_clear(&cfg->plugin[i]);
    free(cfg->core);
    free(cfg->plugin);
    free(cfg);
}

/* "kind.name.key" as it is stored. 1, or 0 when it is no such key. */
static int
plugin_key(const char *text, char buf[CONFIG_PLUGIN_KEY_SIZE])
{
    char name[CONFIG_KEY_SIZE], key[CONFIG_KEY_SIZE];
    uint32_t kind;
    if (!config_split_plugin_key(text, &kind, name, key))
        return 0;
    (void)snprintf(buf, CONFIG_PLUGIN_KEY_SIZE, "%s.%s.%s", plugin_kind_name(kind), name, key);
    return 1;
}

/* Where a stored plugin key is or would be; *ret_found tells which. */
static size_t
plugin_place(const struct config *cfg, const char *stored, int *ret_found)
{
    size_t i = 0;
    int order = -1;
    while (i < cfg->plugin_n && (order = strcmp(cfg->plugin[i].key, stored)) < 0)
        i++;
    *ret_found = i < cfg->plugin_n && order == 0;
    return i;
}

struct config_item *
config_item_find(const struct config *cfg, const char *key)
{
    char stored[CONFIG_PLUGIN_KEY_SIZE];
    const struct config_def *def = config_def_find(key);
    if (def != NULL)
        return &cfg->core[def - config_defs];
    if (!plugin_key(key, stored))
        return NULL;
    int found;
    size_t at = plugin_place(cfg, stored, &found);
    return found ? &cfg->plugin[at] : NULL;
}

/* The item of a plugin's key, made when it is new; NULL when out of memory. */
static struct config_item *
plugin_item(struct config *cfg, const char *stored)
{
    int found;
    size_t at = plugin_place(cfg, stored, &found);
    if (found)
        return &cfg->plugin[at];
    auto_free char *copy = strdup(stored);
    struct config_item *grown = realloc(cfg->plugin, (cfg->plugin_n + 1) * sizeof *grown);
    if (grown != NULL)
        cfg->plugin = grown;
    if (grown == NULL || copy == NULL)
        return NULL;
    memmove(grown + at + 1, grown + at, (cfg->plugin_n - at) * sizeof *grown);
    grown[at] = (struct config_item){.key = steal(&copy)};
    cfg->plugin_n++;
    return &grown[at];
}

static int
unknown_key(const char *key, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_CONFIG, 0, "Invalid option \"%.128s\"", key);
    return gsp_hint(err, "show-config lists the options that have a value; an option of a plugin is kind.name.key");
}

static int
check_source(const struct config_def *def, enum config_source source, struct gsp_error *err)
{
    if (source == CONFIG_CMDLINE && (def->flags & CONFIG_NO_CMDLINE) != 0)
        return gsp_fail(err, GSP_E_CONFIG, 0, "Option %s cannot be specified in command line", def->key);
    if ((source == CONFIG_INSTANCE && (def->flags & CONFIG_IN_INSTANCE) == 0) ||
        (source == CONFIG_YAML && (def->flags & (CONFIG_IN_INSTANCE | CONFIG_IN_YAML)) == 0))
        return unknown_key(def->key, err);
    return 0;
}

static int
set_core(struct config *cfg, const struct config_def *def, const char *text, enum config_source source, char **ret_text,
    struct config_item **ret_item, struct gsp_error *err)
{
    int rc = check_source(def, source, err);
    if (rc == 0)
        rc = config_canonical(def, text, ret_text, err);
    *ret_item = &cfg->core[def - config_defs];
    return rc;
}

static int
set_plugin(struct config *cfg, const char *key, const char *text, char **ret_text, struct config_item **ret_item,
    struct gsp_error *err)
{
    char stored[CONFIG_PLUGIN_KEY_SIZE];
    if (!plugin_key(key, stored))
        return unknown_key(key, err);
    if (strlen(text) > CONFIG_VALUE_MAX)
        return gsp_fail(
            err, GSP_E_CONFIG, 0, "the value of option %s is longer than %d bytes", stored, (int)CONFIG_VALUE_MAX);
    *ret_item = plugin_item(cfg, stored);
    *ret_text = strdup(text);
    return 0;
}

int
config_set(struct config *cfg, const char *key, const char *text, enum config_source source, const char *origin,
    struct gsp_error *err)
{
    const struct config_def *def = config_def_find(key);
    struct config_item *item = NULL;
    auto_free char *copy = NULL;
    auto_free char *place = strdup(origin);
    int rc = def != NULL ? set_core(cfg, def, text, source, &copy, &item, err)
                         : set_plugin(cfg, key, text, &copy, &item, err);
    if (rc == 0 && (item == NULL || copy == NULL || place == NULL))
        rc = no_memory(err);
    if (rc != 0) /* On the command line the message names the option already. */
        return source == CONFIG_CMDLINE ? rc : gsp_prefix(err, "%s", origin);
    slot_clear(&item->slots[source]);
    item->slots[source] = (struct config_slot){steal(&copy), steal(&place)};
    return 0;
}

void
config_unset(struct config *cfg, const char *key, enum config_source source)
{
    struct config_item *item = config_item_find(cfg, key);
    if (item != NULL)
        slot_clear(&item->slots[source]);
}

const struct config_slot *
config_item_winner(const struct config_item *item, enum config_source *ret)
{
    for (size_t i = CONFIG_SOURCES; item != NULL && i-- > 0;) {
        if (item->slots[i].text != NULL) {
            *ret = (enum config_source)i;
            return &item->slots[i];
        }
    }
    *ret = CONFIG_DEFAULT;
    return NULL;
}

const char *
config_get(const struct config *cfg, const char *key)
{
    enum config_source source;
    const struct config_slot *slot = config_item_winner(config_item_find(cfg, key), &source);
    return slot != NULL ? slot->text : NULL;
}

enum config_source
config_get_source(const struct config *cfg, const char *key)
{
    enum config_source source;
    (void)config_item_winner(config_item_find(cfg, key), &source);
    return source;
}

const char *
config_get_origin(const struct config *cfg, const char *key)
{
    enum config_source source;
    const struct config_slot *slot = config_item_winner(config_item_find(cfg, key), &source);
    return slot != NULL ? slot->origin : NULL;
}

uint64_t
config_get_u64(const struct config *cfg, const char *key)
{
    uint64_t v = 0;
    const char *text = config_get(cfg, key);
    return text != NULL && parse_u64(text, UINT64_MAX, &v) ? v : 0;
}

int64_t
config_get_us(const struct config *cfg, const char *key)
{
    int64_t v = 0;
    const char *text = config_get(cfg, key);
    return text != NULL && parse_duration_us(text, 1, &v) ? v : 0;
}

uint64_t
config_get_bytes(const struct config *cfg, const char *key)
{
    uint64_t v = 0;
    const char *text = config_get(cfg, key);
    return text != NULL && parse_size(text, 1, &v) ? v : 0;
}

int
config_get_bool(const struct config *cfg, const char *key)
{
    int v = 0;
    const char *text = config_get(cfg, key);
    return text != NULL && parse_bool(text, &v) ? v : 0;
}

/* An empty variable counts as one that is not set. */
static int
set_from_env(struct config *cfg, const char *key, const char *env, struct gsp_error *err)
{
    char origin[64];
    const char *text = getenv(env);
    if (text == NULL || text[0] == '\0')
        return 0;
    (void)snprintf(origin, sizeof origin, "environment %s", env);
    return config_set(cfg, key, text, CONFIG_ENV, origin, err);
}

/* Without PGDATABASE the manual asks for the name in PGUSER, and then for that of the current user. */
static int
set_fallback_database(struct config *cfg, struct gsp_error *err)
{
    int rc = set_from_env(cfg, "pgdatabase", "PGUSER", err);
    if (rc != 0)
        return rc;
    struct passwd entry, *user = NULL;
    char buf[4096];
    if (getpwuid_r(geteuid(), &entry, buf, sizeof buf, &user) != 0 || user == NULL || user->pw_name[0] == '\0')
        return 0;
    return config_set(cfg, "pgdatabase", user->pw_name, CONFIG_DEFAULT, "name of the current user", err);
}

int
config_load_env(struct config *cfg, struct gsp_error *err)
{
    int rc = set_fallback_database(cfg, err);
    for (size_t i = 0; rc == 0 && i < config_defs_n; i++)
        if (config_defs[i].env != NULL)
            rc = set_from_env(cfg, config_defs[i].key, config_defs[i].env, err);
    return rc;
}

int
config_value_at(const struct config *cfg, size_t index, struct config_value *ret)
{
    size_t seen = 0;
    for (size_t i = 0; i < config_defs_n + cfg->plugin_n; i++) {
        int core = i < config_defs_n;
        const struct config_item *item = core ? &cfg->core[i] : &cfg->plugin[i - config_defs_n];
        enum config_source source;
        const struct config_slot *slot = config_item_winner(item, &source);
        if (slot == NULL || seen++ < index)
            continue;
        *ret = (struct config_value){
            .key = core ? config_defs[i].key : item->key,
            .text = slot->text,
            .origin = slot->origin,
            .group = core ? config_defs[i].group : NULL,
            .source = source,
            .flags = core ? config_defs[i].flags : item->flags,
        };
        return 1;
    }
    return 0;
}
