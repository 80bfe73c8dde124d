/* SPDX-License-Identifier: Apache-2.0
 * The registry: which plugins there are, and the loaded ones. Everything is opened by the main
 * thread before workers start; afterwards a plugin is read-only. */
#ifndef PLUGIN_REGISTRY_H
#define PLUGIN_REGISTRY_H

#include "gsp/compressor.h"
#include "gsp/mode.h"
#include "gsp/plugin.h"
#include "gsp/retention.h"
#include "gsp/server.h"
#include "gsp/storage.h"

struct registry;

struct plugin {
    uint32_t kind;
    const char *name;
    const struct gsp_plugin *desc; /* the core's zero-filled copy */
    const void *ops;               /* the core's zero-filled copy of the kind's table */
    const char *file;              /* absolute path, NULL for one added in memory */
    void *state;                   /* from load(); NULL before plugin_load */
};

/* A plugin file that was looked at and refused, for `plugin list`. */
struct plugin_refusal {
    const char *file;
    struct gsp_error err;
};

/* plugin_kind_name - "server", "mode"...; NULL for an unknown kind. plugin_kind_parse - 1 or 0. */
const char *plugin_kind_name(uint32_t kind);
int plugin_kind_parse(const char *text, size_t len, uint32_t *ret);

int registry_new(struct registry **ret, struct gsp_error *err);
void registry_free(struct registry *reg);

/* registry_add_default_dirs - the directory of the installed plugins, found from the program's own
 * path (`<bindir>/../<libdir>/gs_probackup/plugins-1`), or the folders of the build tree when the program runs
 * uninstalled. */
int registry_add_default_dirs(struct registry *reg, struct gsp_error *err);
/* registry_add_dir - search here too, after the ones before. Absolute path. The directory must belong
 * to root or the user and be writable by no other. errors CONFIG PERM NOENT */
int registry_add_dir(struct registry *reg, const char *dir, struct gsp_error *err);
/* registry_add - add a descriptor that is already in memory (tests). errors EXIST and all checks */
int registry_add(struct registry *reg, const struct gsp_plugin *desc, struct gsp_error *err);

/* registry_find - open <kind>-<name>.so from the first directory that has it, check it, copy its
 * tables. errors UNSUPPORTED (no such plugin; the hint lists those there are) and every refusal. */
int registry_find(struct registry *reg, uint32_t kind, const char *name, struct plugin **ret, struct gsp_error *err);
/* registry_open_all - open every file of a kind (0 = all kinds); refused ones are kept as refusals.
 * errors only NOMEM and EXIST (two files claim one kind and name). */
int registry_open_all(struct registry *reg, uint32_t kind, struct gsp_error *err);
/* Opened plugins by index, in kind and name order; NULL behind the last. */
struct plugin *registry_at(struct registry *reg, uint32_t index);
const struct plugin_refusal *registry_refusal_at(struct registry *reg, uint32_t index);

/* plugin_load - call load() once, with the host services. */
int plugin_load(struct plugin *plugin, struct gsp_error *err);

/* Where an option's text comes from: returns 1 and the value with its origin ("file:line", "--option",
 * "environment X"), 0 when nobody set it. */
typedef int (*plugin_lookup)(void *arg, const struct plugin *plugin, const struct gsp_option *opt,
    const char **ret_text, const char **ret_origin);

/* plugin_bind_options - parse the plugin's options into a new struct of options_size. Free with
 * plugin_free_options after the instance is closed. errors CONFIG naming origin, option and allowed range */
int plugin_bind_options(
    const struct plugin *plugin, plugin_lookup lookup, void *arg, void **ret_opts, struct gsp_error *err);
void plugin_free_options(void *opts);
/* plugin_option_check - is text a good value for the option? For configuration files. */
int plugin_option_check(const struct gsp_option *opt, const char *text, struct gsp_error *err);
/* plugin_option_type_name - "integer", "duration"... */
const char *plugin_option_type_name(uint32_t type);

/* registry_host - the services that the plugins of this registry get. */
const struct gsp_host *registry_host(const struct registry *reg);
/* registry_set_lookup - where the options of plugins come from that a plugin opens (gsp_host.store_open).
 * Without it they have their defaults. arg must outlive the registry. */
void registry_set_lookup(struct registry *reg, plugin_lookup lookup, void *arg);

#endif
