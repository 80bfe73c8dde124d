/* SPDX-License-Identifier: Apache-2.0
 * The plugin a contract suite runs over: loaded by the core's own registry, so that its checks count too. */
#ifndef CONTRACT_PLUGIN_UNDER_TEST_H
#define CONTRACT_PLUGIN_UNDER_TEST_H

#include "core/plugin/registry.h"

struct plugin_under_test {
    struct registry *registry;
    struct plugin *plugin;
    void *opts; /* the defaults, bound */
};

/* not_applicable - leave a test that has nothing to ask of this plugin. cmocka's own skip() counts as a
 * failure in its TAP output. */
#define not_applicable(reason)                             \
    do {                                                   \
        print_message("# not applicable: %s\n", (reason)); \
        return;                                            \
    } while (0)

/* plugin_under_test_open - load <kind>-<name>.so. Returns 0; or -1 with the reason on stderr. */
int plugin_under_test_open(struct plugin_under_test *t, uint32_t kind, const char *file);
void plugin_under_test_close(struct plugin_under_test *t);

/* plugin_under_test_bind - options with one of them set, free with plugin_free_options. NULL when the
 * plugin has no such option or refuses the value. */
void *plugin_under_test_bind(struct plugin_under_test *t, const char *key, const char *value);

#endif
