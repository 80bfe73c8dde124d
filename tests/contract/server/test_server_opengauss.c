/* SPDX-License-Identifier: Apache-2.0
 * The openGauss dialect on control files, directories and pages made here. */
#include "server_opengauss_test.h"

/* ---- descriptor --------------------------------------------------------------------------------- */

static void
descriptor_is_complete(void **state)
{
    const struct gsp_plugin *p = gsp_plugin_entry();
    const struct gsp_server_ops *ops = p->ops;
    (void)state;
    assert_int_equal(p->kind, GSP_KIND_SERVER);
    assert_string_equal(p->name, "opengauss");
    assert_int_equal(p->abi_major, GSP_ABI_MAJOR);
    assert_int_equal(ops->struct_size, sizeof *ops);
    assert_int_equal(ops->dialect->struct_size, sizeof *ops->dialect);
    assert_string_equal(ops->dialect->wal_dir, "pg_xlog");
    assert_null(ops->dialect->wal_changes);
    for (const struct gsp_option *o = p->options; o->key != NULL; o++)
        assert_true(o->offset + 8 <= p->options_size);
}

/* ---- control file ------------------------------------------------------------------------------- */

enum { CRC_AT = 224 };

static void
make_control(uint8_t control[8192], uint32_t version, uint32_t catalog)
{
    memset(control, 0, 8192);
    put64(control, SYSTEM_ID);
    put32(control + 8, version);
    put32(control + 12, catalog);
    put32(control + 16, 7); /* another timeline, which is not that of WAL */
    put32(control + 20, 6);
    put64(control + 32, 77);
    put64(control + 48, UINT64_C(0x1600000028));
    put32(control + 56, 3);
    put32(control + 192, 8192);
    put32(control + 196, 131072);
    put32(control + 200, 8192);
    put32(control + 204, 16 << 20);
    put32(control + CRC_AT, slow_crc(0, control, CRC_AT));
}

static void
control_file_is_read(void **state)
{
    uint8_t control[8192];
    struct gsp_cluster c = {.struct_size = sizeof c};
    struct gsp_error err = {0};
    uint32_t crc = 0;
    (void)state;
    make_control(control, 923, 201611171);
    assert_int_equal(dialect()->bid(control, sizeof control), 100);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &err), 0);
    assert_int_equal(c.control_version, 923);
    assert_int_equal(c.catalog_version, 201611171);
    assert_string_equal(c.version, "9.2");
    assert_string_equal(c.tablespace_dir, "PG_9.2_201611171");
    assert_int_equal(c.system_id, SYSTEM_ID);
    assert_int_equal(c.redo_lsn, UINT64_C(0x1600000028));
    assert_int_equal(c.timeline, 3);
    assert_int_equal(c.page_size, 8192);
    assert_int_equal(c.segment_blocks, 131072);
    assert_int_equal(c.wal_block_size, 8192);
    assert_int_equal(c.wal_segment_size, 16 << 20);
    assert_int_equal(c.checksum_version, 1);
    assert_true(c.running);
    assert_int_equal(dialect()->control_crc(control, sizeof control, &crc, &err), 0);
    assert_int_equal(crc, slow_crc(0, control, CRC_AT));
    for (uint32_t shut_down = 1; shut_down <= 2; shut_down++) {
        put32(control + 20, shut_down);
        put32(control + CRC_AT, slow_crc(0, control, CRC_AT));
        assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &err), 0);
        assert_false(c.running);
    }
}

static void
control_damage_is_corrupt(void **state)
{
    uint8_t control[8192];
    struct gsp_cluster c = {.struct_size = sizeof c};
    uint32_t crc = 77;
    (void)state;
    for (uint32_t at = 16; at < CRC_AT + 4; at += 13) {
        struct gsp_error err = {0};
        make_control(control, 923, 201611171);
        control[at] ^= 0x10;
        assert_int_equal(dialect()->bid(control, sizeof control), 0);
        assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &err), GSP_E_CORRUPT);
        assert_int_equal(dialect()->control_crc(control, sizeof control, &crc, &err), GSP_E_CORRUPT);
        assert_int_equal(crc, 77);
    }
    for (uint32_t len = 0; len < 232; len += 29) {
        struct gsp_error err = {0};
        assert_int_equal(dialect()->bid(control, len), 0);
        assert_int_equal(dialect()->control_parse(control, len, &c, &err), GSP_E_CORRUPT);
    }
    make_control(control, 923, 201611171);
    put32(control + 204, 3 << 20);
    put32(control + CRC_AT, slow_crc(0, control, CRC_AT));
    struct gsp_error err = {0};
    assert_int_equal(dialect()->bid(control, sizeof control), 0);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "impossible sizes"));
}

static void
control_of_others_is_named(void **state)
{
    uint8_t control[8192];
    struct gsp_cluster c = {.struct_size = sizeof c};
    struct gsp_error postgresql = {0}, catalog = {0}, nothing = {0};
    (void)state;
    make_control(control, 1300, 202209061);
    assert_int_equal(dialect()->bid(control, sizeof control), 0);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &postgresql), GSP_E_VERSION);
    assert_non_null(strstr(postgresql.msg, "of PostgreSQL, not of openGauss"));
    assert_true(postgresql.hint[0] != '\0');
    make_control(control, 923, 201611172);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &catalog), GSP_E_VERSION);
    memset(control, 0xFF, sizeof control);
    assert_int_equal(dialect()->bid(control, sizeof control), 0);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &nothing), GSP_E_CORRUPT);
}

/* ---- classify ----------------------------------------------------------------------------------- */

struct expect {
    const char *dir;
    const char *name;
    uint32_t type, link;
    uint32_t flags;
    uint32_t action, db_oid, segment;
};

#define FILE_ GSP_FILE_REGULAR, 0
#define DIR_ GSP_FILE_DIRECTORY, 0
#define LINK_ GSP_FILE_DIRECTORY, GSP_STAT_LINK

/* The rules of docs/formats/opengauss-files.md. */
static void
entries_are_classified(void **state)
{
    static const char ts[] = "pg_tblspc/16393", tsv[] = "pg_tblspc/16393/PG_9.2_201611171_n1",
                      tsdb[] = "pg_tblspc/16393/PG_9.2_201611171_n1/15073";
    static const struct expect cases[] = {
        {"", "PG_VERSION", FILE_, 0, GSP_CLASS_COPY, 0, 0}, {"", ".hidden", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "12345", FILE_, 0, GSP_CLASS_COPY, 0, 0}, {"", "gaussdb.state", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "postgresql.conf.lock", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "postmaster.pid.lock", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "pg_ctl.lock", FILE_, 0, GSP_CLASS_COPY, 0, 0}, {"", "server.key", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "recovery.done", FILE_, 0, GSP_CLASS_COPY, 0, 0}, {"", "recovery.conf", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "probackup_recovery.conf", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "backup_label", FILE_, 0, GSP_CLASS_SKIP, 0, 0}, {"", "backup_label.old", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "tablespace_map", FILE_, 0, GSP_CLASS_SKIP, 0, 0}, {"", "postmaster.pid", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "postmaster.opts", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "socket", GSP_FILE_OTHER, 0, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "gone", GSP_FILE_DANGLING, GSP_STAT_LINK, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "pg_xlog", DIR_, 0, GSP_CLASS_EMPTY, 0, 0}, {"", "pg_xlog", LINK_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_notify", DIR_, 0, GSP_CLASS_EMPTY, 0, 0}, {"", "pg_stat_tmp", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_clog", DIR_, 0, GSP_CLASS_DESCEND, 0, 0}, {"", "pg_csnlog", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {"", "pg_cbm", DIR_, 0, GSP_CLASS_DESCEND, 0, 0}, {"", "undo", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {"", "pg_location", DIR_, 0, GSP_CLASS_DESCEND, 0, 0}, {"", "pg_log", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_log", DIR_, GSP_CLASSIFY_LOGS, GSP_CLASS_DESCEND, 0, 0},
        {"", "pg_log", DIR_, GSP_CLASSIFY_SLOTS, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_replslot", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_replslot", DIR_, GSP_CLASSIFY_SLOTS, GSP_CLASS_DESCEND, 0, 0},
        {"sub", "pg_xlog", DIR_, 0, GSP_CLASS_DESCEND, 0, 0}, {"sub", "recovery.conf", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"pg_clog", "000000000000", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"pg_csnlog", "000000000001", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"undo/permanent", "00000.0000000", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"undo", "undometa", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"global", "pg_control", FILE_, 0, GSP_CLASS_CONTROL, 0, 0},
        {"global", "pg_control.backup", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"global", "pg_dw_0", FILE_, 0, GSP_CLASS_COPY, 0, 0}, {"global", "14431", FILE_, 0, GSP_CLASS_PAGES, 0, 0},
        {"global", "pg_filenode.map.backup", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"global", "pg_internal.init.123", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"base", "15073", DIR_, 0, GSP_CLASS_DESCEND, 15073, 0}, {"base", "pgsql_tmp", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"base/15073", "16384", FILE_, 0, GSP_CLASS_PAGES, 15073, 0},
        {"base/15073", "16384.1", FILE_, 0, GSP_CLASS_PAGES, 15073, 1},
        {"base/15073", "16384_fsm.2", FILE_, 0, GSP_CLASS_PAGES, 15073, 2},
        {"base/15073", "16384_vm", FILE_, 0, GSP_CLASS_PAGES, 15073, 0},
        {"base/15073", "16442_init", FILE_, 0, GSP_CLASS_PAGES, 15073, 0},
        {"base/15073", "16384_bcm", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"base/15073", "1", FILE_, 0, GSP_CLASS_PAGES, 15073, 0},
        {"base/15073", "2_fsm", FILE_, 0, GSP_CLASS_PAGES, 15073, 0},
        {"base/15073", "16426_C1.0", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"base/15073", "16426_C1_bcm", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"base/15073", "16390_b17", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"base/15073", "16406_compress", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"base/15073", "16406.1_compress", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"base/15073", "123.backup", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"base/15073", "t3_16385", FILE_, 0, GSP_CLASS_SKIP, 15073, 0},
        {"base/15073", "t3_16385.bak", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"base/15073", "pg_internal.init", FILE_, 0, GSP_CLASS_SKIP, 15073, 0},
        {"base/15073", "PG_VERSION", FILE_, 0, GSP_CLASS_COPY, 15073, 0},
        {"pg_tblspc", "16393", LINK_, 0, GSP_CLASS_TABLESPACE, 0, 0},
        {"pg_tblspc", "16393", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {"pg_tblspc", "other", LINK_, 0, GSP_CLASS_DESCEND, 0, 0},
        {ts, "PG_9.2_201611171_n1", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {ts, "PG_9.2_201611171", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {ts, "PG_9.2_2016111711", DIR_, 0, GSP_CLASS_SKIP, 0, 0},
        {ts, "PG_15_202209061", DIR_, 0, GSP_CLASS_SKIP, 0, 0}, {ts, "file", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {tsv, "15073", DIR_, 0, GSP_CLASS_DESCEND, 15073, 0}, {tsv, "pgsql_tmp", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {tsdb, "16394.3", FILE_, 0, GSP_CLASS_PAGES, 15073, 3}, {tsdb, "16397", FILE_, 0, GSP_CLASS_PAGES, 15073, 0},
        {"pg_location/a/PG_9.2_201611171_n1/15073", "16397", FILE_, 0, GSP_CLASS_COPY, 0, 0}, /* no tablespace's */
    };
    struct gsp_cluster c = cluster_gauss();
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gsp_dirent entry = {.name = cases[i].name, .st = {.type = cases[i].type, .flags = cases[i].link}};
        struct gsp_class got;
        struct gsp_error err = {0};
        assert_int_equal(dialect()->classify(&c, cases[i].flags, cases[i].dir, &entry, 1, &got, &err), 0);
        if (got.action != cases[i].action || got.db_oid != cases[i].db_oid || got.segment != cases[i].segment)
            fail_msg("'%s' in '%s': action %u, database %u, segment %u", cases[i].name, cases[i].dir, got.action,
                got.db_oid, got.segment);
    }
}

/* What a row of the changed-block map names. */
static void
files_that_the_map_names_have_a_relation(void **state)
{
    static const struct {
        const char *dir, *name;
        uint32_t relation, space_oid, flags;
    } cases[] = {
        {"global", "14431", 14431, 1664, 0},
        {"global", "14431_fsm", 0, 0, 0},
        {"global", "14431_vm", 0, 0, 0},
        {"base/15073", "16384.7", 16384, 1663, 0},
        {"base/15073", "1", 1, 1663, 0},
        {"base/15073", "2.1", 2, 1663, 0},
        {"base/15073", "2_fsm", 0, 0, 0},
        {"base/15073", "16384_init", 0, 0, 0},
        {"base/15073", "16384_compress", 0, 0, GSP_CLASS_SPARSE},
        {"base/15073", "16384_C1.0", 0, 0, 0},
        {"undo", "undometa", 0, 0, GSP_CLASS_OWN_SUMS},
        {"undo/permanent", "00000.meta.0000000", 0, 0, GSP_CLASS_OWN_SUMS},
        {"undo/permanent", "00000.0000000", 0, 0, 0},
        {"pg_tblspc/16393/PG_9.2_201611171_n1/15073", "16394", 16394, 16393, 0},
        {"pg_tblspc/16393/PG_15_202209061/15073", "16394", 0, 0, 0},
        {"pg_location/a/PG_9.2_201611171_n1/15073", "16394", 0, 0, 0},
    };
    struct gsp_cluster c = cluster_gauss();
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gsp_dirent entry = {.name = cases[i].name, .st = {.type = GSP_FILE_REGULAR}};
        struct gsp_class got;
        struct gsp_error err = {0};
        assert_int_equal(dialect()->classify(&c, 0, cases[i].dir, &entry, 1, &got, &err), 0);
        if (got.relation != cases[i].relation || got.space_oid != cases[i].space_oid || got.flags != cases[i].flags)
            fail_msg("'%s' in '%s': relation %u/%u, flags %u", cases[i].name, cases[i].dir, got.space_oid, got.relation,
                got.flags);
    }
}

/* Their changes stand in no WAL, and so in no map. */
static void
unlogged_relations_are_kept_and_not_tracked(void **state)
{
    struct gsp_cluster c = cluster_gauss();
    struct gsp_dirent entries[] = {{.name = "20", .st = {.type = GSP_FILE_REGULAR}},
        {.name = "20_init", .st = {.type = GSP_FILE_REGULAR}}, {.name = "21", .st = {.type = GSP_FILE_REGULAR}}};
    struct gsp_class got[3];
    struct gsp_error err = {0};
    (void)state;
    assert_int_equal(dialect()->classify(&c, 0, "base/5", entries, 3, got, &err), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(got[i].action, GSP_CLASS_PAGES);
    assert_int_equal(got[0].relation, 0);
    assert_int_equal(got[2].relation, 21);
}

static void
directories_of_two_nodes_are_told_apart_or_refused(void **state)
{
    struct gsp_cluster c = cluster_gauss();
    struct gsp_dirent entries[] = {{.name = "PG_9.2_201611171_n1", .st = {.type = GSP_FILE_DIRECTORY}},
        {.name = "PG_9.2_201611171_n1_b", .st = {.type = GSP_FILE_DIRECTORY}},
        {.name = "PG_9.2_201611171_n0", .st = {.type = GSP_FILE_REGULAR}}};
    struct gsp_class got[3];
    struct gsp_error err = {0}, unknown = {0};
    (void)state;
    assert_int_equal(dialect()->classify(&c, 0, "pg_tblspc/1", entries, 3, got, &unknown), GSP_E_CONFIG);
    assert_non_null(strstr(unknown.msg, "PG_9.2_201611171_n1_b"));
    (void)snprintf(c.tablespace_dir, sizeof c.tablespace_dir, "%s", entries[0].name);
    assert_int_equal(dialect()->classify(&c, 0, "pg_tblspc/1", entries, 3, got, &err), 0);
    assert_int_equal(got[0].action, GSP_CLASS_DESCEND);
    assert_int_equal(got[1].action, GSP_CLASS_SKIP);
    assert_int_equal(got[2].action, GSP_CLASS_SKIP);
}

static void
unknown_classify_flags_are_refused(void **state)
{
    struct gsp_cluster c = cluster_gauss();
    struct gsp_error err = {0};
    (void)state;
    assert_int_equal(dialect()->classify(&c, 4, "", NULL, 0, NULL, &err), GSP_E_BUG);
}

/* ---- pages -------------------------------------------------------------------------------------- */

#define PAGE 8192

struct checked {
    gsp_lsn lsn;
    uint16_t sum, stored;
    uint8_t state;
};

static void
make_page(uint8_t *page, uint32_t layout)
{
    for (uint32_t i = 0; i < PAGE; i++)
        page[i] = (uint8_t)(i * 31 + i / 97);
    put32(page, 0x16);
    put32(page + 4, 0x28001234);
    put16(page + 8, 0);
    put16(page + 10, 4);
    put16(page + 12, 200);
    put16(page + 14, 4000);
    put16(page + 16, PAGE - 16);
    put16(page + 18, PAGE | layout);
    put32(page + 20, 0);
}

static struct checked
check_page(const uint8_t *page, uint64_t base_block, uint32_t block)
{
    struct gsp_cluster c = cluster_gauss();
    struct checked r;
    struct gsp_pages pages = {.struct_size = sizeof pages,
        .n = 1,
        .page_size = PAGE,
        .stride = PAGE,
        .base_block = base_block,
        .data = page,
        .block = &block,
        .lsn = &r.lsn,
        .sum = &r.sum,
        .stored_sum = &r.stored,
        .state = &r.state};
    dialect()->pages_check(&c, &pages);
    return r;
}

/* Bytes and values as in the test of PostgreSQL's: the sum is the same. */
static void
checksum_is_that_of_postgresql(void **state)
{
    _Alignas(8) uint8_t page[PAGE];
    (void)state;
    make_page(page, 4);
    assert_int_equal(check_page(page, 0, 0).sum, 62614);
    assert_int_equal(check_page(page, 131072, 77).sum, 62665);
    assert_int_equal(check_page(page, 0, 0).state, GSP_PAGE_HEADER);
}

static void
pages_of_all_layouts_are_checked(void **state)
{
    _Alignas(8) uint8_t page[PAGE];
    (void)state;
    for (uint32_t layout = 5; layout <= 8; layout++) {
        make_page(page, layout);
        put16(page + 10, 0x40);
        put16(page + 8, check_page(page, 131072, 9).sum);
        struct checked r = check_page(page, 131072, 9);
        assert_int_equal(r.state, GSP_PAGE_OK);
        assert_int_equal(r.lsn, UINT64_C(0x1628001234));
        assert_int_equal(r.sum, r.stored);
        assert_int_equal(check_page(page, 131072, 10).state, GSP_PAGE_CHECKSUM);
        page[4711] ^= 1;
        assert_int_equal(check_page(page, 131072, 9).state, GSP_PAGE_CHECKSUM);
    }
}

static void
senseless_page_headers_are_found(void **state)
{
    static const struct {
        uint32_t layout, at, value;
    } cases[] = {{6, 10, 0x240}, {6, 12, 4001}, {6, 12, 39}, {5, 12, 23}, {5, 14, PAGE - 15}, {5, 16, PAGE + 8},
        {5, 16, PAGE - 12}, {5, 18, PAGE | 4}, {5, 18, PAGE | 9}, {5, 18, 4096 | 5}, {5, 18, 0}, {5, 14, 0}};
    _Alignas(8) uint8_t page[PAGE];
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        make_page(page, cases[i].layout);
        put16(page + cases[i].at, cases[i].value);
        assert_int_equal(check_page(page, 0, 0).state, GSP_PAGE_HEADER);
    }
}

static void
new_pages_are_valid(void **state)
{
    _Alignas(8) uint8_t page[PAGE] = {0};
    (void)state;
    assert_int_equal(check_page(page, 0, 0).state, GSP_PAGE_ZERO);
    /* Of a segment file: nothing in it but LSN and checksum, which is checked. */
    put32(page + 4, 0x2B6E0);
    put16(page + 10, 0x40);
    put16(page + 8, check_page(page, 0, 4158).sum);
    assert_int_equal(check_page(page, 0, 4158).state, GSP_PAGE_OK);
    page[100] = 1;
    assert_int_equal(check_page(page, 0, 4158).state, GSP_PAGE_CHECKSUM);
}

static void
address_pages_are_no_pages(void **state)
{
    _Alignas(8) uint8_t page[PAGE] = {0};
    (void)state;
    memset(page, 0x33, 200);
    assert_int_equal(check_page(page, 0, 127).state, GSP_PAGE_HEADER);
    memcpy(page + PAGE - 8, "seg_comp", 8);
    struct checked r = check_page(page, 0, 127);
    assert_int_equal(r.state, GSP_PAGE_OK);
    page[300] = 1;
    assert_int_not_equal(check_page(page, 0, 127).sum, r.sum); /* it can be told from others all the same */
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptor_is_complete),
        cmocka_unit_test(control_file_is_read),
        cmocka_unit_test(control_damage_is_corrupt),
        cmocka_unit_test(control_of_others_is_named),
        cmocka_unit_test(entries_are_classified),
        cmocka_unit_test(files_that_the_map_names_have_a_relation),
        cmocka_unit_test(unlogged_relations_are_kept_and_not_tracked),
        cmocka_unit_test(directories_of_two_nodes_are_told_apart_or_refused),
        cmocka_unit_test(unknown_classify_flags_are_refused),
        cmocka_unit_test(checksum_is_that_of_postgresql),
        cmocka_unit_test(pages_of_all_layouts_are_checked),
        cmocka_unit_test(senseless_page_headers_are_found),
        cmocka_unit_test(new_pages_are_valid),
        cmocka_unit_test(address_pages_are_no_pages),
    };
    return cmocka_run_group_tests_name("server-opengauss", tests, NULL, NULL);
}
