/* SPDX-License-Identifier: Apache-2.0
 * Inside core/config: how values are kept, one slot for each source that said something. */
#ifndef CONFIG_CONFIG_STORE_H
#define CONFIG_CONFIG_STORE_H

#include "core/config/config.h"

enum { CONFIG_SOURCES = CONFIG_CMDLINE + 1 };

struct config_slot {
    char *text; /* canonical; NULL = nothing said */
    char *origin;
};

struct config_item {
    char *key; /* "kind.name.key"; NULL for the core's, whose place is that of their def */
    struct config_slot slots[CONFIG_SOURCES];
    uint32_t flags; /* of a plugin's key: CONFIG_SECRET, once config_check_plugins has seen it */
};

struct config {
    struct config_item *core;   /* config_defs_n */
    struct config_item *plugin; /* sorted by key */
    size_t plugin_n;
};

/* config_item_find - NULL when there is no such key. */
struct config_item *config_item_find(const struct config *cfg, const char *key);
/* config_item_winner - the slot that counts and its source; NULL when nobody set the item (or item is NULL). */
const struct config_slot *config_item_winner(const struct config_item *item, enum config_source *ret);

#endif
