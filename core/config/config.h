/* SPDX-License-Identifier: Apache-2.0
 * Configuration: one table of key -> text with the source and place of every value.
 * Precedence: default < YAML < environment < pg_probackup.conf < command line; within one source the
 * last one wins. Keys are those of pg_probackup.conf ("pghost"), the core's own ("storage.repo",
 * "plugin.path"), and "kind.name.key" for options of plugins. Not thread-safe; frozen once work starts. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "core/base/strbuf.h"
#include "core/io/store.h"
#include "core/plugin/registry.h"

enum config_source { CONFIG_DEFAULT, CONFIG_YAML, CONFIG_ENV, CONFIG_INSTANCE, CONFIG_CMDLINE };

/* Types of the core's own keys. Numbers and units as in the user manual. */
enum config_type {
    CONFIG_STRING,
    CONFIG_BOOL, /* canonical: true, false */
    CONFIG_UINT, /* 32 bit */
    CONFIG_INT,  /* 32 bit, signed */
    CONFIG_U64,
    CONFIG_SECONDS,  /* duration, bare number counts seconds; canonical: largest exact unit */
    CONFIG_MINUTES,  /* duration, bare number counts minutes */
    CONFIG_KBYTES,   /* size, bare number counts kB */
    CONFIG_LOGLEVEL, /* canonical: upper case */
    CONFIG_FORMAT,   /* plain or json, or a beginning of these */
    CONFIG_COMPRESS, /* none or the name of a compressor; canonical: lower case, prefixes expanded (zlib lz4 zstd pglz
                        none) */
};

#define CONFIG_IN_INSTANCE 1u    /* a key of pg_probackup.conf, may stand under `defaults:` in YAML */
#define CONFIG_IN_YAML 2u        /* a key of the site's YAML */
#define CONFIG_SECRET 4u         /* printed as *** */
#define CONFIG_NO_CMDLINE 8u     /* not accepted on the command line */
#define CONFIG_ALWAYS_SHOWN 16u  /* show-config prints it even when it is only a default */
#define CONFIG_NOT_PERSISTED 32u /* add-instance does not write it into pg_probackup.conf */

struct config_def {
    const char *key;
    enum config_type type;
    uint32_t flags;
    const char *def;   /* canonical text, NULL = unset */
    const char *env;   /* environment variable, NULL = none */
    const char *group; /* comment line of pg_probackup.conf, without "# " */
};

/* All keys of the core: pg_probackup.conf's first, in the stock tool's order. */
extern const struct config_def config_defs[];
extern const size_t config_defs_n;
const struct config_def *config_def_find(const char *key); /* case-insensitive, '_' == '-'; NULL */
/* config_uint_max - the largest value of a CONFIG_UINT. */
uint32_t config_uint_max(const struct config_def *def);
/* config_type_words - the words that a value of a type may be, ended by NULL; NULL when it is no word. */
const char *const *config_type_words(enum config_type type);

struct config;

int config_new(struct config **ret, struct gsp_error *err);
void config_free(struct config *cfg);

/* config_set - check, canonicalise and store. origin as shown to the user ("--pghost",
 * "/etc/...yaml:12:3"). Keys "kind.name.key" are stored unchecked, config_check_plugins does that later.
 * errors CONFIG: "option --NAME should be ...: 'VALUE'" in the stock tool's words, with the origin */
int config_set(struct config *cfg, const char *key, const char *text, enum config_source source, const char *origin,
    struct gsp_error *err);
/* config_unset - drop what a source said about a key. */
void config_unset(struct config *cfg, const char *key, enum config_source source);

/* config_get - the winning text or NULL. The typed ones return the default for an unset key (0 when
 * there is none): the text was checked when it was set. */
const char *config_get(const struct config *cfg, const char *key);
enum config_source config_get_source(const struct config *cfg, const char *key);
const char *config_get_origin(const struct config *cfg, const char *key);
uint64_t config_get_u64(const struct config *cfg, const char *key);
int64_t config_get_us(const struct config *cfg, const char *key);
uint64_t config_get_bytes(const struct config *cfg, const char *key);
int config_get_bool(const struct config *cfg, const char *key);

/* config_load_env - every def that has an environment variable. */
int config_load_env(struct config *cfg, struct gsp_error *err);
/* config_load_yaml - a site file of at most 1 MiB that not everybody can write. errors CONFIG with
 * file:line:column; NOENT; PERM and IO. config_parse_yaml - the same for text in memory; name is for origins. */
int config_load_yaml(struct config *cfg, const char *path, struct gsp_error *err);
int config_parse_yaml(struct config *cfg, const char *text, size_t len, const char *name, struct gsp_error *err);
/* config_check_plugins - every "kind.name.key" that YAML or --set gave must be an option of a plugin
 * that exists, with a good value. Opens those plugins. */
int config_check_plugins(struct config *cfg, struct registry *reg, struct gsp_error *err);
/* config_bind - options of a plugin from kind.name.key and the legacy keys. Free: plugin_free_options */
int config_bind(struct config *cfg, const struct plugin *plugin, void **ret_opts, struct gsp_error *err);
/* config_serve - plugins that open other plugins get those with their options from here, too. cfg must
 * outlive the registry. */
void config_serve(struct config *cfg, struct registry *reg);

/* Walk the effective values in a fixed order (defs, then plugin keys by name). */
struct config_value {
    const char *key, *text, *origin, *group;
    enum config_source source;
    uint32_t flags;
};
/* config_value_at - 1 and the value, 0 behind the last. show: only what show-config prints. */
int config_value_at(const struct config *cfg, size_t index, struct config_value *ret);

#endif
