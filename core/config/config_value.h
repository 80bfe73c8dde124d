/* SPDX-License-Identifier: Apache-2.0
 * Inside core/config: from what a user wrote to the one way in which a value is kept. */
#ifndef CONFIG_CONFIG_VALUE_H
#define CONFIG_CONFIG_VALUE_H

#include "core/config/config.h"

enum { CONFIG_VALUE_MAX = 64 * 1024, CONFIG_KEY_SIZE = 64, CONFIG_PLUGIN_KEY_SIZE = 4 * CONFIG_KEY_SIZE };

/* config_canonical - check a text and return its canonical form, malloc'ed. errors CONFIG NOMEM */
int config_canonical(const struct config_def *def, const char *text, char **ret, struct gsp_error *err);

/* config_split_plugin_key - "kind.name.key" into its parts, the key's letters lowered and '_' made '-'.
 * name and key are the caller's, CONFIG_KEY_SIZE bytes each. Returns 1, 0 when it is no such key. */
int config_split_plugin_key(const char *text, uint32_t *ret_kind, char *name, char *key);

#endif
