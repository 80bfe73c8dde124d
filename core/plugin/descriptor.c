/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include "core/plugin/loader.h"

/* An operation or constant that a table of this kind cannot do without. */
struct required {
    const char *name;
    size_t offset;
};
#define REQUIRED(table, field)                \
    {                                         \
#field, offsetof(struct table, field) \
    }
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct required server_required[] = {
    REQUIRED(gsp_server_ops, dialect),
    REQUIRED(gsp_server_ops, open),
    REQUIRED(gsp_server_ops, close),
    REQUIRED(gsp_server_ops, identify),
    REQUIRED(gsp_server_ops, backup_begin),
    REQUIRED(gsp_server_ops, backup_end),
    REQUIRED(gsp_server_ops, databases),
    REQUIRED(gsp_server_ops, wal_open),
    REQUIRED(gsp_server_ops, wal_stream),
    REQUIRED(gsp_server_ops, wal_close),
};
static const struct required dialect_required[] = {
    REQUIRED(gsp_dialect_ops, control_path),
    REQUIRED(gsp_dialect_ops, wal_dir),
    REQUIRED(gsp_dialect_ops, label_file),
    REQUIRED(gsp_dialect_ops, map_file),
    REQUIRED(gsp_dialect_ops, pid_file),
    REQUIRED(gsp_dialect_ops, tablespace_root),
    REQUIRED(gsp_dialect_ops, bid),
    REQUIRED(gsp_dialect_ops, control_parse),
    REQUIRED(gsp_dialect_ops, control_crc),
    REQUIRED(gsp_dialect_ops, classify),
    REQUIRED(gsp_dialect_ops, pages_check),
    REQUIRED(gsp_dialect_ops, wal_verify),
};
static const struct required mode_required[] = {
    REQUIRED(gsp_mode_ops, label),
    REQUIRED(gsp_mode_ops, begin),
    REQUIRED(gsp_mode_ops, plan_files),
    REQUIRED(gsp_mode_ops, end),
};
static const struct required compressor_required[] = {
    REQUIRED(gsp_compressor_ops, bound),
    REQUIRED(gsp_compressor_ops, ctx_new),
    REQUIRED(gsp_compressor_ops, ctx_free),
    REQUIRED(gsp_compressor_ops, encode),
    REQUIRED(gsp_compressor_ops, decode),
};
static const struct required storage_required[] = {
    REQUIRED(gsp_storage_ops, open),
    REQUIRED(gsp_storage_ops, close),
    REQUIRED(gsp_storage_ops, limits),
    REQUIRED(gsp_storage_ops, list),
    REQUIRED(gsp_storage_ops, stat),
    REQUIRED(gsp_storage_ops, file_open),
    REQUIRED(gsp_storage_ops, preadv),
    REQUIRED(gsp_storage_ops, file_close),
};
static const struct required retention_required[] = {
    REQUIRED(gsp_retention_ops, plan),
    REQUIRED(gsp_retention_ops, plan_wal),
};

static const struct kind {
    uint32_t kind;
    const char *name;
    size_t ops_size;
    const struct required *required;
    size_t required_n;
} kinds[] = {
    {GSP_KIND_SERVER, "server", sizeof(struct gsp_server_ops), server_required, COUNT(server_required)},
    {GSP_KIND_MODE, "mode", sizeof(struct gsp_mode_ops), mode_required, COUNT(mode_required)},
    {GSP_KIND_COMPRESSOR, "compressor", sizeof(struct gsp_compressor_ops), compressor_required,
        COUNT(compressor_required)},
    {GSP_KIND_STORAGE, "storage", sizeof(struct gsp_storage_ops), storage_required, COUNT(storage_required)},
    {GSP_KIND_RETENTION, "retention", sizeof(struct gsp_retention_ops), retention_required, COUNT(retention_required)},
};

static const struct kind *
kind_find(uint32_t kind)
{
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (kinds[i].kind == kind)
            return &kinds[i];
    return NULL;
}

const char *
plugin_kind_name(uint32_t kind)
{
    const struct kind *k = kind_find(kind);
    return k != NULL ? k->name : NULL;
}

int
plugin_kind_parse(const char *text, size_t len, uint32_t *ret)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        if (strlen(kinds[i].name) == len && memcmp(kinds[i].name, text, len) == 0) {
            *ret = kinds[i].kind;
            return 1;
        }
    }
    return 0;
}

int
plugin_name_is_good(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return len >= 1 && len <= 31 && name[len] == '\0';
}

/* Copy what both sides know of a table; the rest of ours stays zero. Half a pointer is never copied:
 * every field behind the first eight bytes of a table is eight bytes wide. */
static int
copy_table(void *to, size_t to_size, const void *from, const char *what, struct gsp_error *err)
{
    uint32_t size;
    memcpy(&size, from, sizeof size);
    if (size < 2 * sizeof(uint32_t))
        return gsp_fail(err, GSP_E_BUG, 0, "struct_size of its %s is %u", what, size);
    size_t n = size < to_size ? size : to_size;
    memset(to, 0, to_size);
    memcpy(to, from, n & ~(size_t)7);
    return 0;
}

static int
check_required(const void *table, const struct required *required, size_t n, const char *what, struct gsp_error *err)
{
    for (size_t i = 0; i < n; i++) {
        uintptr_t p;
        memcpy(&p, (const char *)table + required[i].offset, sizeof p);
        if (p == 0)
            return gsp_fail(err, GSP_E_BUG, 0, "its %s lacks '%s', which is required", what, required[i].name);
    }
    return 0;
}

static int
adopt_ops(struct plugin_entry *entry, const struct kind *kind, struct gsp_error *err)
{
    char what[64];
    (void)snprintf(what, sizeof what, "table of %s operations", kind->name);
    if (entry->desc.ops == NULL)
        return gsp_fail(err, GSP_E_BUG, 0, "it has no %s", what);
    int rc = copy_table(&entry->ops, kind->ops_size, entry->desc.ops, what, err);
    if (rc == 0)
        rc = check_required(&entry->ops, kind->required, kind->required_n, what, err);
    if (rc == 0 && kind->kind == GSP_KIND_SERVER) {
        rc = copy_table(&entry->dialect, sizeof entry->dialect, entry->ops.server.dialect, "dialect", err);
        if (rc == 0)
            rc = check_required(&entry->dialect, dialect_required, COUNT(dialect_required), "dialect", err);
        entry->ops.server.dialect = &entry->dialect;
    }
    return rc;
}

/* Only the first eight bytes of a descriptor are the same in every major version. */
static int
check_version(const struct gsp_plugin *desc, struct gsp_error *err)
{
    if (desc->abi_major != GSP_ABI_MAJOR) {
        (void)gsp_fail(err, GSP_E_VERSION, 0, "it was built for plugin ABI %u, this program has plugin ABI %u",
            desc->abi_major, GSP_ABI_MAJOR);
        return gsp_hint(err, "install the plugin that was built for this version of gs_probackup");
    }
    if (desc->struct_size < offsetof(struct gsp_plugin, load))
        return gsp_fail(err, GSP_E_BUG, 0, "struct_size of its descriptor is %u, less than the %zu of plugin ABI %u.0",
            desc->struct_size, offsetof(struct gsp_plugin, load), GSP_ABI_MAJOR);
    return 0;
}

int
descriptor_adopt(struct plugin_entry *entry, const struct gsp_plugin *desc, struct gsp_error *err)
{
    if (desc == NULL)
        return gsp_fail(err, GSP_E_BUG, 0, "it has no descriptor");
    int rc = check_version(desc, err);
    if (rc == 0)
        rc = copy_table(&entry->desc, sizeof entry->desc, desc, "descriptor", err);
    if (rc != 0)
        return rc;
    const struct gsp_plugin *d = &entry->desc;
    const struct kind *kind = kind_find(d->kind);
    if (kind == NULL)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "its kind %u is unknown", d->kind);
    if (d->thread_model != GSP_THREAD_ANY && d->thread_model != GSP_THREAD_HANDLE)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "its thread model %u is unknown", d->thread_model);
    if (d->name == NULL || !plugin_name_is_good(d->name))
        return gsp_fail(err, GSP_E_BUG, 0, "its name '%.64s' is not 1 to 31 of the characters a-z, 0-9 and _",
            d->name != NULL ? d->name : "");
    if (d->version == NULL || d->summary == NULL)
        return gsp_fail(err, GSP_E_BUG, 0, "it has no %s", d->version == NULL ? "version" : "summary");
    rc = options_check_table(d, err);
    if (rc == 0)
        rc = adopt_ops(entry, kind, err);
    if (rc != 0)
        return rc;
    entry->pub.kind = d->kind;
    entry->pub.name = d->name;
    entry->pub.desc = d;
    entry->pub.ops = &entry->ops;
    return 0;
}
