/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/plugin/fixture.h"

#include "core/base/cancel.h"
#include "core/base/log.h"
#include "tests/doubles/idle_compressor.h"
#include "tests/doubles/storage_mem.h"

/* What the plugin below saw. */
static struct {
    int loads, unloads;
    const struct gsp_host *host;
    void *unloaded;
} seen;
static int state_of_plugin;

static int
load_well(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    (void)err;
    seen.loads++;
    seen.host = host;
    *ret_state = &state_of_plugin;
    return 0;
}

static int
load_badly(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    (void)host;
    (void)ret_state;
    seen.loads++;
    return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "its library is missing");
}

static int
load_silently(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    (void)host;
    (void)ret_state;
    (void)err;
    return GSP_E_IO;
}

static void
unload(void *state)
{
    seen.unloads++;
    seen.unloaded = state;
}

static struct plugin *
add(struct fixture *f, int (*load)(const struct gsp_host *, void **, struct gsp_error *))
{
    const struct gsp_plugin d = {
        .struct_size = sizeof d,
        .abi_major = GSP_ABI_MAJOR,
        .kind = GSP_KIND_COMPRESSOR,
        .thread_model = GSP_THREAD_ANY,
        .name = "double",
        .version = "1",
        .summary = "test double",
        .ops = &idle_compressor_ops,
        .load = load,
        .unload = unload,
    };
    struct plugin *plugin = NULL;
    memset(&seen, 0, sizeof seen);
    assert_int_equal(registry_add(f->reg, &d, &f->err), 0);
    assert_int_equal(registry_find(f->reg, GSP_KIND_COMPRESSOR, "double", &plugin, &f->err), 0);
    return plugin;
}

static void
loads_once_and_unloads_with_the_registry(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = add(f, load_well);
    assert_int_equal(seen.loads, 0);
    assert_int_equal(plugin_load(plugin, &f->err), 0);
    assert_int_equal(plugin_load(plugin, &f->err), 0);
    assert_int_equal(seen.loads, 1);
    assert_ptr_equal(plugin->state, &state_of_plugin);
    assert_ptr_equal(seen.host, registry_host(f->reg));
    registry_free(f->reg);
    f->reg = NULL;
    assert_int_equal(seen.unloads, 1);
    assert_ptr_equal(seen.unloaded, &state_of_plugin);
}

static void
does_not_unload_what_was_not_loaded(void **state)
{
    struct fixture *f = *state;
    (void)add(f, load_well);
    registry_free(f->reg);
    f->reg = NULL;
    assert_int_equal(seen.unloads, 0);
}

static void
reports_a_failed_load(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = add(f, load_badly);
    assert_int_equal(plugin_load(plugin, &f->err), GSP_E_UNSUPPORTED);
    assert_string_equal(f->err.msg, "plugin 'compressor-double': its library is missing");
    registry_free(f->reg);
    f->reg = NULL;
    assert_int_equal(seen.unloads, 0);
}

static void
reports_a_load_that_gives_no_reason(void **state)
{
    struct fixture *f = *state;
    struct plugin *plugin = add(f, load_silently);
    assert_int_equal(plugin_load(plugin, &f->err), GSP_E_BUG);
    assert_error(&f->err, GSP_E_BUG, "compressor-double", "without a reason");
}

static void
offers_the_core_services(void **state)
{
    const struct fixture *f = *state;
    const struct gsp_host *host = registry_host(f->reg);
    assert_int_equal(host->struct_size, sizeof *host);
    assert_int_equal(host->abi_major, GSP_ABI_MAJOR);
    assert_int_equal(host->crc32c(0, "123456789", 9), 0xE3069283u);
    assert_int_equal(host->crc32c(host->crc32c(0, "1234", 4), "56789", 5), 0xE3069283u);
    assert_int_equal(host->cancelled(host->ctx), 0);
    cancel_request();
    assert_int_not_equal(host->cancelled(host->ctx), 0);
}

/* ---- a storage that wraps another one ----------------------------------------------------------- */

struct wrap_options {
    const char *inner;
};
static const struct gsp_option wrap_option_table[] = {
    {.key = "inner", .type = GSP_OPT_STRING, .def = "mem", .help = "storage to wrap", .offset = 0}, {0}};
static const struct gsp_host *wrap_host;
static unsigned wraps_open;

static int
wrap_load(const struct gsp_host *host, void **ret_state, struct gsp_error *err)
{
    (void)ret_state;
    (void)err;
    wrap_host = host;
    return 0;
}

static int
wrap_open(void *plugin_state, const void *opts, const char *root, void **ret_store, struct gsp_error *err)
{
    (void)plugin_state;
    const struct wrap_options *o = opts;
    struct gsp_store *inner = calloc(1, sizeof *inner);
    assert_non_null(inner);
    int rc = wrap_host->store_open(wrap_host->ctx, o->inner, root, inner, err);
    if (rc != 0) {
        free(inner);
        return rc;
    }
    wraps_open++;
    *ret_store = inner;
    return 0;
}

static void
wrap_close(void *store)
{
    wrap_host->store_close(wrap_host->ctx, store);
    free(store);
    wraps_open--;
}

static int
set_inner(void *arg, const struct plugin *plugin, const struct gsp_option *opt, const char **ret_text,
    const char **ret_origin)
{
    (void)plugin;
    (void)opt;
    *ret_text = arg;
    *ret_origin = "test";
    return 1;
}

static void
add_storages(struct fixture *f)
{
    struct gsp_storage_ops ops = storage_mem_ops;
    struct gsp_plugin d = {.struct_size = sizeof d,
        .abi_major = GSP_ABI_MAJOR,
        .kind = GSP_KIND_STORAGE,
        .thread_model = GSP_THREAD_ANY,
        .name = "mem",
        .version = "1",
        .summary = "test double",
        .ops = &ops};
    assert_int_equal(registry_add(f->reg, &d, &f->err), 0);
    ops.open = wrap_open;
    ops.close = wrap_close;
    d.name = "wrap";
    d.options = wrap_option_table;
    d.options_size = sizeof(struct wrap_options);
    d.load = wrap_load;
    assert_int_equal(registry_add(f->reg, &d, &f->err), 0);
}

static void
opens_a_storage_for_a_storage(void **state)
{
    struct fixture *f = *state;
    const struct gsp_host *host = registry_host(f->reg);
    struct gsp_store store = {0};
    add_storages(f);
    assert_int_equal(host->store_open(host->ctx, "wrap", "/root", &store, &f->err), 0);
    assert_int_equal(wraps_open, 1);
    const struct gsp_store *inner = store.store;
    assert_non_null(inner->ops->preadv);
    host->store_close(host->ctx, &store);
    assert_null(store.ops);
    assert_int_equal(wraps_open, 0);
    host->store_close(host->ctx, &store);
}

static void
refuses_a_storage_that_cannot_be_opened(void **state)
{
    struct fixture *f = *state;
    const struct gsp_host *host = registry_host(f->reg);
    struct gsp_store store = {0};
    char nothing[] = "nothing", itself[] = "wrap";
    add_storages(f);
    registry_set_lookup(f->reg, set_inner, nothing);
    assert_int_equal(host->store_open(host->ctx, "wrap", "/root", &store, &f->err), GSP_E_UNSUPPORTED);
    assert_error(&f->err, GSP_E_UNSUPPORTED, "no storage plugin", "nothing");
    f->err = (struct gsp_error){0};
    registry_set_lookup(f->reg, set_inner, itself);
    assert_int_equal(host->store_open(host->ctx, "wrap", "/root", &store, &f->err), GSP_E_CONFIG);
    assert_error(&f->err, GSP_E_CONFIG, "wrap", "wrapped more than");
    assert_int_equal(wraps_open, 0);
}

/* Run the host's log with stderr going to a file, and return what it wrote. */
static void
logged(struct fixture *f, uint32_t level, const char *text, char *buf, size_t size)
{
    char path[PATH_SIZE];
    assert_true(path_join(path, f->dir, "stderr"));
    int keep = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(keep >= 0 && fd >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    registry_host(f->reg)->log(registry_host(f->reg)->ctx, level, "%s", text);
    assert_true(dup2(keep, STDERR_FILENO) >= 0);
    ssize_t n = pread(fd, buf, size - 1, 0);
    assert_true(n >= 0);
    buf[n] = '\0';
    (void)close(keep);
    (void)close(fd);
}

static void
logs_at_the_level_asked_for(void **state)
{
    struct fixture *f = *state;
    char text[8192], long_text[4096];
    log_set_console(LOG_LEVEL_INFO);
    logged(f, GSP_LOG_INFO, "100% of it", text, sizeof text);
    assert_string_equal(text, "INFO: 100% of it\n");
    logged(f, GSP_LOG_LOG, "not shown", text, sizeof text);
    assert_string_equal(text, "");
    logged(f, 77, "odd level", text, sizeof text);
    assert_string_equal(text, "WARNING: odd level\n");
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    logged(f, GSP_LOG_WARNING, long_text, text, sizeof text);
    assert_true(strlen(text) > 1000 && strlen(text) < sizeof long_text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(loads_once_and_unloads_with_the_registry), TEST(does_not_unload_what_was_not_loaded),
        TEST(reports_a_failed_load), TEST(reports_a_load_that_gives_no_reason), TEST(logs_at_the_level_asked_for),
        TEST(opens_a_storage_for_a_storage), TEST(refuses_a_storage_that_cannot_be_opened),
        TEST(offers_the_core_services), /* last: it cancels */
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
