/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/plugin/fixture.h"

/* Functions are never called here: one stands for all. */
static void
nothing(void)
{
}

static void *
function(void)
{
    void (*f)(void) = nothing;
    void *p;
    memcpy(&p, &f, sizeof p);
    return p;
}

/* Fill a table of pointers behind its two leading integers. */
static void
fill(void *table, size_t size)
{
    uint32_t struct_size = (uint32_t)size;
    void *p = function();
    memset(table, 0, size);
    memcpy(table, &struct_size, sizeof struct_size);
    for (size_t at = 2 * sizeof(uint32_t); at < size; at += sizeof p)
        memcpy((char *)table + at, &p, sizeof p);
}

static struct gsp_plugin
descriptor(uint32_t kind, const void *ops)
{
    return (struct gsp_plugin){
        .struct_size = sizeof(struct gsp_plugin),
        .abi_major = GSP_ABI_MAJOR,
        .abi_minor = GSP_ABI_MINOR,
        .kind = kind,
        .thread_model = GSP_THREAD_HANDLE,
        .name = "double",
        .version = "1",
        .summary = "test double",
        .ops = ops,
    };
}

static struct plugin *
add(struct fixture *f, const struct gsp_plugin *desc)
{
    struct plugin *plugin = NULL;
    gsp_error_clear(&f->err);
    if (registry_add(f->reg, desc, &f->err) == 0)
        assert_int_equal(registry_find(f->reg, desc->kind, desc->name, &plugin, &f->err), 0);
    return plugin;
}

static void
checks_every_field_of_the_descriptor(void **state)
{
    struct fixture *f = *state;
    struct gsp_compressor_ops ops;
    fill(&ops, sizeof ops);
    const struct gsp_plugin good = descriptor(GSP_KIND_COMPRESSOR, &ops);
    struct gsp_plugin d = good;
    assert_null(add(f, NULL));
    d.abi_major = 0;
    assert_null(add(f, &d));
    assert_error(&f->err, GSP_E_VERSION, "plugin ABI 0", "plugin ABI 1");
    d = good;
    d.struct_size = offsetof(struct gsp_plugin, ops);
    assert_null(add(f, &d));
    assert_error(&f->err, GSP_E_BUG, "struct_size of its descriptor", "");
    d = good;
    d.kind = 6;
    assert_null(add(f, &d));
    assert_error(&f->err, GSP_E_UNSUPPORTED, "kind 6", "");
    d = good;
    d.thread_model = 3;
    assert_null(add(f, &d));
    assert_error(&f->err, GSP_E_UNSUPPORTED, "thread model 3", "");
    static const char *const names[] = {NULL, "", "Double", "dou-ble", "dou/ble", "x1234567890123456789012345678901"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        d = good;
        d.name = names[i];
        gsp_error_clear(&f->err);
        assert_int_equal(registry_add(f->reg, &d, &f->err), GSP_E_BUG);
        assert_error(&f->err, GSP_E_BUG, "name", "");
    }
    d = good;
    d.version = NULL;
    assert_null(add(f, &d));
    assert_error(&f->err, GSP_E_BUG, "no version", "");
    d = good;
    d.summary = NULL;
    assert_null(add(f, &d));
    assert_error(&f->err, GSP_E_BUG, "no summary", "");
    d = good;
    d.ops = NULL;
    assert_null(add(f, &d));
    assert_error(&f->err, GSP_E_BUG, "no table of compressor operations", "");
    d = good;
    d.abi_minor = 99; /* a newer minor only adds */
    assert_non_null(add(f, &d));
}

/* Every table: each required pointer is missed by name, each other one is not. */
static void
check_required(struct fixture *f, uint32_t kind, void *ops, void *table, size_t size, const char *const *names)
{
    const struct gsp_plugin d = descriptor(kind, ops);
    for (size_t i = 0; names[i] != NULL; i++) {
        char *slot = (char *)table + 2 * sizeof(uint32_t) + i * sizeof(void *);
        char kept[sizeof(void *)], quoted[64];
        assert_true((size_t)(slot - (char *)table) < size);
        memcpy(kept, slot, sizeof kept);
        memset(slot, 0, sizeof kept);
        gsp_error_clear(&f->err);
        assert_int_equal(registry_add(f->reg, &d, &f->err), GSP_E_BUG);
        (void)snprintf(quoted, sizeof quoted, "lacks '%s'", names[i]);
        assert_error(&f->err, GSP_E_BUG, quoted, "");
        memcpy(slot, kept, sizeof kept);
    }
    assert_non_null(add(f, &d));
}

static void
misses_required_operations_by_name(void **state)
{
    struct fixture *f = *state;
    struct gsp_server_ops server;
    struct gsp_dialect_ops dialect;
    struct gsp_mode_ops mode;
    struct gsp_compressor_ops compressor;
    struct gsp_storage_ops storage;
    struct gsp_retention_ops retention;
    static const char *const server_names[] = {"dialect", "open", "close", "identify", "backup_begin", "backup_end",
        "databases", "wal_open", "wal_stream", "wal_close", NULL};
    static const char *const dialect_names[] = {"control_path", "wal_dir", "label_file", "map_file", "pid_file",
        "tablespace_root", "bid", "control_parse", "control_crc", "classify", "pages_check", "wal_verify", NULL};
    static const char *const mode_names[] = {"label", "begin", "plan_files", "end", NULL};
    static const char *const compressor_names[] = {"bound", "ctx_new", "ctx_free", "encode", "decode", NULL};
    static const char *const storage_names[] = {
        "open", "close", "limits", "list", "stat", "file_open", "preadv", "file_close", NULL};
    static const char *const retention_names[] = {"plan", "plan_wal", NULL};
    fill(&mode, sizeof mode);
    check_required(f, GSP_KIND_MODE, &mode, &mode, sizeof mode, mode_names);
    fill(&compressor, sizeof compressor);
    check_required(f, GSP_KIND_COMPRESSOR, &compressor, &compressor, sizeof compressor, compressor_names);
    fill(&storage, sizeof storage);
    check_required(f, GSP_KIND_STORAGE, &storage, &storage, sizeof storage, storage_names);
    fill(&retention, sizeof retention);
    check_required(f, GSP_KIND_RETENTION, &retention, &retention, sizeof retention, retention_names);
    fill(&server, sizeof server);
    fill(&dialect, sizeof dialect);
    server.dialect = &dialect;
    check_required(f, GSP_KIND_SERVER, &server, &server, sizeof server, server_names);

    struct registry *fresh = NULL;
    assert_int_equal(registry_new(&fresh, &f->err), 0);
    struct fixture second = {.reg = fresh};
    check_required(&second, GSP_KIND_SERVER, &server, &dialect, sizeof dialect, dialect_names);
    registry_free(fresh);
}

static void
fills_up_a_smaller_table_with_null(void **state)
{
    struct fixture *f = *state;
    struct gsp_storage_ops ops;
    fill(&ops, sizeof ops);
    /* As from before put_begin was invented; what stands behind must not be read. */
    ops.struct_size = offsetof(struct gsp_storage_ops, put_begin);
    struct gsp_plugin d = descriptor(GSP_KIND_STORAGE, &ops);
    d.struct_size = offsetof(struct gsp_plugin, load);
    memset(&d.load, 0xff, sizeof d.load);
    memset(&d.unload, 0xff, sizeof d.unload);
    struct plugin *plugin = add(f, &d);
    assert_non_null(plugin);
    const struct gsp_storage_ops *copy = plugin->ops;
    assert_ptr_equal(copy->file_close, ops.file_close);
    assert_null(copy->put_begin);
    assert_null(copy->space);
    assert_null(plugin->desc->load);
    assert_null(plugin->desc->unload);
    assert_int_equal(plugin_load(plugin, &f->err), 0);
}

static void
never_copies_half_a_pointer(void **state)
{
    struct fixture *f = *state;
    struct gsp_storage_ops ops;
    fill(&ops, sizeof ops);
    ops.struct_size = offsetof(struct gsp_storage_ops, put_begin) + 4;
    const struct gsp_plugin d = descriptor(GSP_KIND_STORAGE, &ops);
    struct plugin *plugin = add(f, &d);
    assert_non_null(plugin);
    assert_null(((const struct gsp_storage_ops *)plugin->ops)->put_begin);
}

static void
takes_what_it_knows_of_a_larger_table(void **state)
{
    struct fixture *f = *state;
    struct {
        struct gsp_compressor_ops ops;
        void *added[4];
    } big;
    struct {
        struct gsp_plugin desc;
        void *added[4];
    } big_desc;
    fill(&big, sizeof big);
    memset(&big_desc, 0xff, sizeof big_desc);
    big_desc.desc = descriptor(GSP_KIND_COMPRESSOR, &big);
    big_desc.desc.struct_size = sizeof big_desc;
    struct plugin *plugin = add(f, &big_desc.desc);
    assert_non_null(plugin);
    assert_ptr_equal(((const struct gsp_compressor_ops *)plugin->ops)->decode, big.ops.decode);
    assert_null(plugin->desc->load);
}

static void
refuses_a_table_without_size(void **state)
{
    struct fixture *f = *state;
    struct gsp_mode_ops ops;
    fill(&ops, sizeof ops);
    ops.struct_size = 0;
    const struct gsp_plugin d = descriptor(GSP_KIND_MODE, &ops);
    assert_null(add(f, &d));
    assert_error(&f->err, GSP_E_BUG, "struct_size of its table of mode operations is 0", "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(checks_every_field_of_the_descriptor),
        TEST(misses_required_operations_by_name),
        TEST(fills_up_a_smaller_table_with_null),
        TEST(never_copies_half_a_pointer),
        TEST(takes_what_it_knows_of_a_larger_table),
        TEST(refuses_a_table_without_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
