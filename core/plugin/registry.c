/* SPDX-License-Identifier: Apache-2.0 */
#include "core/plugin/registry.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/path.h"
#include "core/base/strbuf.h"
#include "core/plugin/loader.h"

struct refusal {
    struct plugin_refusal pub;
    char *file;
};

struct registry {
    struct host_services host;
    char **dirs; /* real paths, in search order */
    size_t dirs_n;
    char *missing_dir;             /* where plugins would be installed, when there is no such directory */
    struct plugin_entry **entries; /* in kind and name order */
    size_t entries_n;
    struct refusal *refusals;
    size_t refusals_n;
};

/* A file in one of the directories, judged by its name. */
struct candidate {
    uint32_t kind; /* 0: the name says no kind */
    char name[32];
    char *file;
};
struct candidates {
    struct candidate *items;
    size_t n;
};

static void
candidates_free(struct candidates *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->items[i].file);
    free(list->items);
}
#define auto_candidates __attribute__((cleanup(candidates_free))) struct candidates

static int
no_memory(struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

int
registry_new(struct registry **ret, struct gsp_error *err)
{
    int rc = loader_init(err);
    if (rc != 0)
        return rc;
    struct registry *reg = calloc(1, sizeof *reg);
    if (reg == NULL) {
        loader_exit();
        return no_memory(err);
    }
    host_services_init(&reg->host, reg);
    *ret = reg;
    return 0;
}

const struct gsp_host *
registry_host(const struct registry *reg)
{
    return &reg->host.table;
}

void
registry_set_lookup(struct registry *reg, plugin_lookup lookup, void *arg)
{
    reg->host.lookup = lookup;
    reg->host.lookup_arg = arg;
}

void
registry_free(struct registry *reg)
{
    if (reg == NULL)
        return;
    for (size_t i = 0; i < reg->entries_n; i++)
        plugin_entry_free(reg->entries[i]);
    for (size_t i = 0; i < reg->refusals_n; i++)
        free(reg->refusals[i].file);
    for (size_t i = 0; i < reg->dirs_n; i++)
        free(reg->dirs[i]);
    free(reg->entries);
    free(reg->refusals);
    free(reg->dirs);
    free(reg->missing_dir);
    free(reg);
    loader_exit();
}

int
registry_add_dir(struct registry *reg, const char *dir, struct gsp_error *err)
{
    struct stat st;
    if (dir[0] != '/')
        return gsp_fail(err, GSP_E_CONFIG, 0, "plugin directory '%s' is not an absolute path", dir);
    /* The real path: a link on the way cannot be turned to another place afterwards. */
    auto_free char *real = realpath(dir, NULL);
    if (real == NULL || stat(real, &st) != 0)
        return gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot use plugin directory '%s'", dir);
    if (!S_ISDIR(st.st_mode))
        return gsp_fail(err, GSP_E_CONFIG, 0, "plugin directory '%s' is not a directory", dir);
    if (loader_check_owner(real, &st, err) != 0)
        return gsp_prefix(err, "plugin directory");
    for (size_t i = 0; i < reg->dirs_n; i++)
        if (strcmp(reg->dirs[i], real) == 0)
            return 0;
    char **grown = realloc(reg->dirs, (reg->dirs_n + 1) * sizeof *grown);
    if (grown == NULL)
        return no_memory(err);
    reg->dirs = grown;
    reg->dirs[reg->dirs_n++] = steal(&real);
    return 0;
}

static int
is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int
is_subdir_entry(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* An uninstalled program: every folder below `plugins` of its build tree. */
static int
add_build_dirs(struct registry *reg, const char *plugins, struct gsp_error *err)
{
    struct dirent **names = NULL;
    int n = scandir(plugins, &names, is_subdir_entry, alphasort);
    if (n < 0)
        return errno == ENOENT ? 0 : gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot list '%s'", plugins);
    int rc = 0;
    for (int i = 0; i < n; i++) {
        char dir[PATH_SIZE];
        if (rc == 0 && path_join(dir, plugins, names[i]->d_name) && is_dir(dir))
            rc = registry_add_dir(reg, dir, err);
        free(names[i]);
    }
    free(names);
    return rc;
}

int
registry_add_default_dirs(struct registry *reg, struct gsp_error *err)
{
    char exe[PATH_SIZE], marker[PATH_SIZE], dir[PATH_SIZE];
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (len < 0)
        return gsp_fail(err, gsp_code_of_errno(errno), errno, "cannot find the program's own path, /proc/self/exe");
    exe[len] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash != NULL)
        *slash = '\0';
    if (!path_join(marker, exe, "meson-private") || !path_join(dir, exe, GSP_LIBDIR_FROM_BINDIR))
        return gsp_fail(err, GSP_E_CONFIG, 0, "the program's own path is too long: '%.200s...'", exe);
    if (is_dir(marker))
        return path_join(dir, exe, "plugins") ? add_build_dirs(reg, dir, err) : 0;
    if (!is_dir(dir)) {
        /* Not an error before a plugin is needed: the hint then names this place. */
        free(reg->missing_dir);
        reg->missing_dir = strdup(dir);
        return reg->missing_dir != NULL ? 0 : no_memory(err);
    }
    return registry_add_dir(reg, dir, err);
}

/* Where kind and name stand or would stand; *ret_found tells which. */
static size_t
entry_place(const struct registry *reg, uint32_t kind, const char *name, int *ret_found)
{
    size_t i = 0;
    *ret_found = 0;
    for (; i < reg->entries_n; i++) {
        const struct plugin *p = &reg->entries[i]->pub;
        int order = p->kind != kind ? (p->kind < kind ? -1 : 1) : strcmp(p->name, name);
        if (order >= 0) {
            *ret_found = order == 0;
            break;
        }
    }
    return i;
}

/* Takes the entry over, also on failure. */
static int
insert_entry(struct registry *reg, struct plugin_entry *entry, struct gsp_error *err)
{
    int found;
    size_t at = entry_place(reg, entry->pub.kind, entry->pub.name, &found);
    if (found) {
        (void)gsp_fail(err, GSP_E_EXIST, 0, "there already is a %s plugin '%s'", plugin_kind_name(entry->pub.kind),
            entry->pub.name);
        plugin_entry_free(entry);
        return err->code;
    }
    struct plugin_entry **grown = realloc(reg->entries, (reg->entries_n + 1) * sizeof *grown);
    if (grown == NULL) {
        plugin_entry_free(entry);
        return no_memory(err);
    }
    reg->entries = grown;
    memmove(grown + at + 1, grown + at, (reg->entries_n - at) * sizeof *grown);
    grown[at] = entry;
    entry->host = &reg->host.table;
    reg->entries_n++;
    return 0;
}

int
registry_add(struct registry *reg, const struct gsp_plugin *desc, struct gsp_error *err)
{
    struct plugin_entry *entry = NULL;
    int rc = plugin_entry_wrap(desc, &entry, err);
    return rc != 0 ? rc : insert_entry(reg, entry, err);
}

/* "<kind>-<name>.so" into its parts: 1 for a shared object, with kind 0 when the name says none. */
static int
parse_file_name(const char *file, struct candidate *ret)
{
    size_t len = strlen(file);
    if (len <= 3 || strcmp(file + len - 3, ".so") != 0 || file[0] == '.')
        return 0;
    const char *dash = strchr(file, '-');
    ret->kind = 0;
    ret->name[0] = '\0';
    if (dash == NULL)
        return 1;
    size_t name_len = len - 3 - (size_t)(dash + 1 - file);
    if (name_len >= sizeof ret->name)
        return 1;
    memcpy(ret->name, dash + 1, name_len);
    ret->name[name_len] = '\0';
    if (plugin_name_is_good(ret->name))
        (void)plugin_kind_parse(file, (size_t)(dash - file), &ret->kind);
    return 1;
}

static int
add_candidate(struct candidates *list, const char *dir, const char *name, uint32_t kind, struct gsp_error *err)
{
    struct candidate c;
    char file[PATH_SIZE];
    if (!parse_file_name(name, &c) || (kind != 0 && c.kind != kind) || !path_join(file, dir, name) || is_dir(file))
        return 0;
    struct candidate *grown = realloc(list->items, (list->n + 1) * sizeof *grown);
    if (grown == NULL)
        return no_memory(err);
    list->items = grown;
    c.file = strdup(file);
    if (c.file == NULL)
        return no_memory(err);
    list->items[list->n++] = c;
    return 0;
}

/* All plugin files of a kind (0 = all), directory by directory, sorted by name within each. A
 * directory that cannot be read counts as empty: registry_add_dir looked at it. */
static int
scan_dirs(const struct registry *reg, uint32_t kind, struct candidates *ret, struct gsp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < reg->dirs_n; i++) {
        struct dirent **names = NULL;
        int n = scandir(reg->dirs[i], &names, NULL, alphasort);
        for (int k = 0; k < n; k++) {
            if (rc == 0)
                rc = add_candidate(ret, reg->dirs[i], names[k]->d_name, kind, err);
            free(names[k]);
        }
        free(names);
    }
    return rc;
}

static int
fail_clash(uint32_t kind, const char *name, const char *one, const char *other, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_EXIST, 0, "two files claim to be the %s plugin '%s': '%s' and '%s'",
        plugin_kind_name(kind), name, one, other);
    return gsp_hint(err, "remove one of them, or its directory from plugin.path");
}

/* Say which plugins of the kind there are. */
static void
hint_known(const struct registry *reg, uint32_t kind, struct gsp_error *err)
{
    auto_strbuf names = STRBUF_INIT;
    auto_candidates list = {NULL, 0};
    struct gsp_error ignored = {0};
    (void)scan_dirs(reg, kind, &list, &ignored);
    for (size_t i = 0; i < reg->entries_n; i++)
        if (reg->entries[i]->pub.kind == kind && reg->entries[i]->file == NULL)
            strbuf_printf(&names, "%s%s", names.len > 0 ? ", " : "", reg->entries[i]->pub.name);
    for (size_t i = 0; i < list.n; i++)
        strbuf_printf(&names, "%s%s", names.len > 0 ? ", " : "", list.items[i].name);
    if (names.len > 0)
        (void)gsp_hint(err, "there are: %s", strbuf_str(&names));
    else if (reg->missing_dir != NULL)
        (void)gsp_hint(err, "plugins belong into '%s', which does not exist", reg->missing_dir);
    else if (reg->dirs_n > 0)
        (void)gsp_hint(err, "no plugin of this kind is in '%s'", reg->dirs[0]);
}

int
registry_find(struct registry *reg, uint32_t kind, const char *name, struct plugin **ret, struct gsp_error *err)
{
    const char *kind_name = plugin_kind_name(kind);
    int found;
    size_t at = entry_place(reg, kind, name, &found);
    if (found) {
        *ret = &reg->entries[at]->pub;
        return 0;
    }
    char file[PATH_SIZE] = "";
    for (size_t i = 0; kind_name != NULL && plugin_name_is_good(name) && i < reg->dirs_n; i++) {
        char base[64], other[PATH_SIZE];
        (void)snprintf(base, sizeof base, "%s-%s.so", kind_name, name);
        if (!path_join(other, reg->dirs[i], base) || access(other, F_OK) != 0)
            continue;
        if (file[0] != '\0')
            return fail_clash(kind, name, file, other, err);
        memcpy(file, other, sizeof file);
    }
    if (file[0] == '\0') {
        (void)gsp_fail(
            err, GSP_E_UNSUPPORTED, 0, "there is no %s plugin '%.64s'", kind_name != NULL ? kind_name : "such", name);
        hint_known(reg, kind, err);
        return err->code;
    }
    struct plugin_entry *entry = NULL;
    int rc = plugin_entry_open(file, kind, name, &entry, err);
    if (rc == 0)
        rc = insert_entry(reg, entry, err);
    if (rc == 0)
        *ret = &entry->pub;
    return rc;
}

/* Keep the reason why a file was refused, once per file. */
static int
add_refusal(struct registry *reg, const char *file, const struct gsp_error *why, struct gsp_error *err)
{
    for (size_t i = 0; i < reg->refusals_n; i++)
        if (strcmp(reg->refusals[i].file, file) == 0)
            return 0;
    struct refusal *grown = realloc(reg->refusals, (reg->refusals_n + 1) * sizeof *grown);
    if (grown == NULL)
        return no_memory(err);
    reg->refusals = grown;
    struct refusal *r = &grown[reg->refusals_n];
    r->file = strdup(file);
    if (r->file == NULL)
        return no_memory(err);
    r->pub.file = r->file;
    r->pub.err = *why;
    reg->refusals_n++;
    return 0;
}

static int
open_candidate(struct registry *reg, const struct candidate *c, struct gsp_error *err)
{
    struct gsp_error why = {0};
    struct plugin_entry *entry = NULL;
    int found;
    if (c->kind == 0) {
        (void)gsp_fail(&why, GSP_E_CONFIG, 0, "plugin '%s': the name of a plugin file is <kind>-<name>.so", c->file);
        (void)gsp_hint(&why, "kinds are server, mode, compressor, storage; a name has a-z, 0-9 and _");
        return add_refusal(reg, c->file, &why, err);
    }
    size_t at = entry_place(reg, c->kind, c->name, &found);
    if (found) {
        const char *file = reg->entries[at]->file;
        if (file != NULL && strcmp(file, c->file) == 0)
            return 0;
        return fail_clash(c->kind, c->name, file != NULL ? file : "built in", c->file, err);
    }
    int rc = plugin_entry_open(c->file, c->kind, c->name, &entry, &why);
    if (rc == GSP_E_NOMEM)
        return no_memory(err);
    return rc == 0 ? insert_entry(reg, entry, err) : add_refusal(reg, c->file, &why, err);
}

int
registry_open_all(struct registry *reg, uint32_t kind, struct gsp_error *err)
{
    auto_candidates list = {NULL, 0};
    int rc = scan_dirs(reg, kind, &list, err);
    /* Clashes before anything is opened: which of the two would win must not matter. */
    for (size_t i = 0; rc == 0 && i < list.n; i++)
        for (size_t k = 0; rc == 0 && k < i; k++)
            if (list.items[i].kind != 0 && list.items[i].kind == list.items[k].kind &&
                strcmp(list.items[i].name, list.items[k].name) == 0)
                rc = fail_clash(list.items[i].kind, list.items[i].name, list.items[k].file, list.items[i].file, err);
    for (size_t i = 0; rc == 0 && i < list.n; i++)
        rc = open_candidate(reg, &list.items[i], err);
    return rc;
}

struct plugin *
registry_at(struct registry *reg, uint32_t index)
{
    return index < reg->entries_n ? &reg->entries[index]->pub : NULL;
}

const struct plugin_refusal *
registry_refusal_at(struct registry *reg, uint32_t index)
{
    return index < reg->refusals_n ? &reg->refusals[index].pub : NULL;
}
