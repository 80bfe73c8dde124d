/* SPDX-License-Identifier: Apache-2.0
 * Inside core/plugin: one plugin, from its shared object or descriptor to the core's own tables.
 * thread main */
#ifndef PLUGIN_LOADER_H
#define PLUGIN_LOADER_H

#include <sys/stat.h>

#include "core/plugin/registry.h"

union plugin_ops {
    struct gsp_server_ops server;
    struct gsp_mode_ops mode;
    struct gsp_compressor_ops compressor;
    struct gsp_storage_ops storage;
    struct gsp_retention_ops retention;
};

/* The services one registry's plugins get; they reach the registry through it. */
struct host_services {
    struct gsp_host table; /* table.ctx is this struct */
    struct registry *reg;
    plugin_lookup lookup; /* NULL: every option has its default */
    void *lookup_arg;
    unsigned open_depth; /* of store_open within store_open */
};
void host_services_init(struct host_services *host, struct registry *reg);

struct plugin_entry {
    struct plugin pub; /* first, so that a struct plugin * leads back here */
    struct gsp_plugin desc;
    union plugin_ops ops;
    struct gsp_dialect_ops dialect; /* kind server */
    const struct gsp_host *host;    /* of the registry it is in */
    void *module;                   /* of libltdl; NULL for a descriptor in memory */
    char *file;
    int loaded;
};

/* loader_init, loader_exit - bracket every use of the functions below; they nest. */
int loader_init(struct gsp_error *err);
void loader_exit(void);

/* loader_check_owner - a file or directory that somebody else can change is not to be trusted with
 * code. errors PERM */
int loader_check_owner(const char *path, const struct stat *st, struct gsp_error *err);

/* plugin_entry_open - open a file that must hold the plugin `name` of `kind`. Free with
 * plugin_entry_free. errors all refusals, naming the file */
int plugin_entry_open(
    const char *file, uint32_t kind, const char *name, struct plugin_entry **ret, struct gsp_error *err);
/* plugin_entry_wrap - the same for a descriptor in memory, which must outlive the entry. */
int plugin_entry_wrap(const struct gsp_plugin *desc, struct plugin_entry **ret, struct gsp_error *err);
/* plugin_entry_free - unload, close, free. NULL is fine. */
void plugin_entry_free(struct plugin_entry *entry);

/* plugin_name_is_good - [a-z0-9_]{1,31} */
int plugin_name_is_good(const char *name);

/* descriptor_adopt - check a foreign descriptor and copy it, its operations and its dialect into the
 * entry's zeroed tables. errors VERSION UNSUPPORTED BUG */
int descriptor_adopt(struct plugin_entry *entry, const struct gsp_plugin *desc, struct gsp_error *err);
/* options_check_table - errors BUG, naming the option */
int options_check_table(const struct gsp_plugin *desc, struct gsp_error *err);

#endif
