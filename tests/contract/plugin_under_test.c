/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/plugin_under_test.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    const char *key, *value;
    int used;
};

static int
lookup(void *arg, const struct plugin *plugin, const struct gsp_option *opt, const char **ret_text,
    const char **ret_origin)
{
    (void)plugin;
    struct setting *setting = arg;
    if (setting == NULL || strcmp(setting->key, opt->key) != 0)
        return 0;
    setting->used = 1;
    *ret_text = setting->value;
    *ret_origin = "the test";
    return 1;
}

/* "<dir>/<kind>-<name>.so" in its parts, cut in place. */
static int
split_file(char *file, const char *kind, const char **ret_dir, const char **ret_name)
{
    char *slash = strrchr(file, '/');
    if (slash == NULL)
        return -1;
    *slash = '\0';
    char *name = slash + 1, *end = strstr(name, ".so");
    size_t len = strlen(kind);
    if (strncmp(name, kind, len) != 0 || name[len] != '-' || end == NULL)
        return -1;
    *end = '\0';
    *ret_dir = file;
    *ret_name = name + len + 1;
    return 0;
}

int
plugin_under_test_open(struct plugin_under_test *t, uint32_t kind, const char *file)
{
    struct gsp_error err = {0};
    const char *dir, *name;
    char full[PATH_MAX];
    *t = (struct plugin_under_test){0};
    if (file == NULL || realpath(file, full) == NULL || split_file(full, plugin_kind_name(kind), &dir, &name) != 0) {
        (void)fprintf(stderr, "the argument must be the file of a %s plugin\n", plugin_kind_name(kind));
        return -1;
    }
    if (registry_new(&t->registry, &err) == 0 && registry_add_dir(t->registry, dir, &err) == 0 &&
        registry_find(t->registry, kind, name, &t->plugin, &err) == 0 && plugin_load(t->plugin, &err) == 0 &&
        plugin_bind_options(t->plugin, lookup, NULL, &t->opts, &err) == 0)
        return 0;
    (void)fprintf(stderr, "%s\n", err.msg);
    plugin_under_test_close(t);
    return -1;
}

void
plugin_under_test_close(struct plugin_under_test *t)
{
    plugin_free_options(t->opts);
    registry_free(t->registry);
    *t = (struct plugin_under_test){0};
}

void *
plugin_under_test_bind(struct plugin_under_test *t, const char *key, const char *value)
{
    struct gsp_error err = {0};
    struct setting setting = {key, value, 0};
    void *opts = NULL;
    if (plugin_bind_options(t->plugin, lookup, &setting, &opts, &err) != 0)
        return NULL;
    if (setting.used)
        return opts;
    plugin_free_options(opts);
    return NULL;
}
