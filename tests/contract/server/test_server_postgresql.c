/* SPDX-License-Identifier: Apache-2.0
 * The PostgreSQL dialect on control files, directories and pages made here. */
#include "server_postgresql_test.h"

/* ---- descriptor --------------------------------------------------------------------------------- */

static void
descriptor_is_complete(void **state)
{
    const struct gsp_plugin *p = gsp_plugin_entry();
    const struct gsp_server_ops *ops = p->ops;
    (void)state;
    assert_int_equal(p->kind, GSP_KIND_SERVER);
    assert_string_equal(p->name, "postgresql");
    assert_int_equal(p->abi_major, GSP_ABI_MAJOR);
    assert_int_equal(ops->struct_size, sizeof *ops);
    assert_int_equal(ops->dialect->struct_size, sizeof *ops->dialect);
    for (const struct gsp_option *o = p->options; o->key != NULL; o++)
        assert_true(o->offset + 8 <= p->options_size);
}

/* ---- control file ------------------------------------------------------------------------------- */

static void
make_control(uint8_t control[8192], uint32_t version, uint32_t catalog, uint32_t crc_at)
{
    memset(control, 0, 8192);
    put64(control, SYSTEM_ID);
    put32(control + 8, version);
    put32(control + 12, catalog);
    put32(control + 16, 6);
    put64(control + 40, UINT64_C(0x1600000028));
    put32(control + 48, 3);
    put32(control + 216, 8192);
    put32(control + 220, 131072);
    put32(control + 224, 8192);
    put32(control + 228, 16 << 20);
    put32(control + 252, 1);
    put32(control + crc_at, slow_crc(0, control, crc_at));
}

static void
control_of_every_version_is_read(void **state)
{
    static const struct {
        uint32_t version, catalog, crc_at;
        const char *major, *dir;
    } cases[] = {
        {1201, 201909212, 288, "12", "PG_12_201909212"},
        {1300, 202007201, 288, "13", "PG_13_202007201"},
        {1300, 202107181, 288, "14", "PG_14_202107181"},
        {1300, 202209061, 288, "15", "PG_15_202209061"},
        {1300, 202307071, 288, "16", "PG_16_202307071"},
        {1700, 202406281, 288, "17", "PG_17_202406281"},
        {1800, 202506291, 292, "18", "PG_18_202506291"},
    };
    uint8_t control[8192];
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gsp_cluster c = {.struct_size = sizeof c};
        struct gsp_error err = {0};
        uint32_t crc = 0;
        make_control(control, cases[i].version, cases[i].catalog, cases[i].crc_at);
        assert_int_equal(dialect()->bid(control, sizeof control), 100);
        assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &err), 0);
        assert_string_equal(c.version, cases[i].major);
        assert_string_equal(c.tablespace_dir, cases[i].dir);
        assert_int_equal(c.system_id, SYSTEM_ID);
        assert_int_equal(c.redo_lsn, UINT64_C(0x1600000028));
        assert_int_equal(c.timeline, 3);
        assert_int_equal(c.page_size, 8192);
        assert_int_equal(c.segment_blocks, 131072);
        assert_int_equal(c.wal_segment_size, 16 << 20);
        assert_int_equal(c.checksum_version, 1);
        assert_true(c.running);
        assert_int_equal(dialect()->control_crc(control, sizeof control, &crc, &err), 0);
        assert_int_equal(crc, slow_crc(0, control, cases[i].crc_at));
    }
}

static void
control_shut_down_is_not_running(void **state)
{
    uint8_t control[8192];
    struct gsp_cluster c = {.struct_size = sizeof c};
    struct gsp_error err = {0};
    (void)state;
    make_control(control, 1300, 202209061, 288);
    put32(control + 16, 1);
    put32(control + 288, slow_crc(0, control, 288));
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &err), 0);
    assert_false(c.running);
}

static void
control_damage_is_corrupt(void **state)
{
    uint8_t control[8192];
    struct gsp_cluster c = {.struct_size = sizeof c};
    uint32_t crc = 77;
    (void)state;
    for (uint32_t at = 16; at < 292; at += 23) {
        struct gsp_error err = {0};
        make_control(control, 1300, 202209061, 288);
        control[at] ^= 0x10;
        assert_int_equal(dialect()->bid(control, sizeof control), 0);
        assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &err), GSP_E_CORRUPT);
        assert_int_equal(dialect()->control_crc(control, sizeof control, &crc, &err), GSP_E_CORRUPT);
        assert_int_equal(crc, 77);
    }
    for (uint32_t len = 0; len < 300; len += 37) {
        struct gsp_error err = {0};
        assert_int_equal(dialect()->bid(control, len), 0);
        assert_int_equal(dialect()->control_parse(control, len, &c, &err), GSP_E_CORRUPT);
    }
}

static void
control_of_other_versions_is_named(void **state)
{
    uint8_t control[8192];
    struct gsp_cluster c = {.struct_size = sizeof c};
    struct gsp_error newer = {0}, older = {0}, gauss = {0}, unreleased = {0};
    (void)state;
    make_control(control, 1900, 202606301, 296);
    assert_int_equal(dialect()->bid(control, sizeof control), 50);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &newer), GSP_E_VERSION);
    assert_non_null(strstr(newer.msg, "newest known one, 18"));
    make_control(control, 1100, 201809051, 288);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &older), GSP_E_VERSION);
    assert_non_null(strstr(older.msg, "oldest known one, 12"));
    make_control(control, 923, 201611171, 224);
    assert_int_equal(dialect()->bid(control, sizeof control), 0);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &gauss), GSP_E_VERSION);
    assert_non_null(strstr(gauss.msg, "of openGauss, not of PostgreSQL"));
    make_control(control, 1300, 202209062, 288);
    assert_int_equal(dialect()->control_parse(control, sizeof control, &c, &unreleased), GSP_E_VERSION);
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

static void
entries_are_classified(void **state)
{
    static const char ts[] = "pg_tblspc/16400", tsv[] = "pg_tblspc/16400/PG_15_202209061",
                      tsdb[] = "pg_tblspc/16400/PG_15_202209061/5";
    static const struct expect cases[] = {
        {"", "PG_VERSION", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", ".hidden", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "12345", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "backup_label", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "backup_label.old", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "tablespace_map", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "postmaster.pid", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "postgresql.auto.conf", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"", "postgresql.auto.conf.tmp", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "standby.signal", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "socket", GSP_FILE_OTHER, 0, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "gone", GSP_FILE_DANGLING, GSP_STAT_LINK, 0, GSP_CLASS_SKIP, 0, 0},
        {"", "pg_wal", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_wal", LINK_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_xact", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {"", "pg_subtrans", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "log", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "log", DIR_, GSP_CLASSIFY_LOGS, GSP_CLASS_DESCEND, 0, 0},
        {"", "log", DIR_, GSP_CLASSIFY_SLOTS, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_replslot", DIR_, 0, GSP_CLASS_EMPTY, 0, 0},
        {"", "pg_replslot", DIR_, GSP_CLASSIFY_SLOTS, GSP_CLASS_DESCEND, 0, 0},
        {"sub", "pg_wal", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {"sub", "backup_label", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"global", "pg_control", FILE_, 0, GSP_CLASS_CONTROL, 0, 0},
        {"global", "1262", FILE_, 0, GSP_CLASS_PAGES, 0, 0},
        {"global", "1262_fsm", FILE_, 0, GSP_CLASS_PAGES, 0, 0},
        {"global", "pg_filenode.map", FILE_, 0, GSP_CLASS_COPY, 0, 0},
        {"global", "pg_internal.init.123", FILE_, 0, GSP_CLASS_SKIP, 0, 0},
        {"base", "5", DIR_, 0, GSP_CLASS_DESCEND, 5, 0},
        {"base", "pgsql_tmp", DIR_, 0, GSP_CLASS_SKIP, 0, 0},
        {"base", "5x", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {"base/5", "16385", FILE_, 0, GSP_CLASS_PAGES, 5, 0},
        {"base/5", "16385.1", FILE_, 0, GSP_CLASS_PAGES, 5, 1},
        {"base/5", "16385_fsm.2", FILE_, 0, GSP_CLASS_PAGES, 5, 2},
        {"base/5", "16385_vm", FILE_, 0, GSP_CLASS_PAGES, 5, 0},
        {"base/5", "4294967295", FILE_, 0, GSP_CLASS_PAGES, 5, 0},
        {"base/5", "4294967296", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "123.backup", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "123.1x", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "123.", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "123.0", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "0123", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "123_cfm", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "123_vmx", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "123.99999999", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "t3_16385", FILE_, 0, GSP_CLASS_SKIP, 5, 0},
        {"base/5", "t0_16385_fsm.1", FILE_, 0, GSP_CLASS_SKIP, 5, 0},
        {"base/5", "t3_16385.bak", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "t_16385", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "pgsql_tmp12.0", FILE_, 0, GSP_CLASS_SKIP, 5, 0},
        {"base/5", "pg_internal.init", FILE_, 0, GSP_CLASS_SKIP, 5, 0},
        {"base/5", "PG_VERSION", FILE_, 0, GSP_CLASS_COPY, 5, 0},
        {"base/5", "16385", DIR_, 0, GSP_CLASS_DESCEND, 5, 0},
        {"pg_tblspc", "16400", LINK_, 0, GSP_CLASS_TABLESPACE, 0, 0},
        {"pg_tblspc", "16400", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {"pg_tblspc", "other", LINK_, 0, GSP_CLASS_DESCEND, 0, 0},
        {ts, "PG_15_202209061", DIR_, 0, GSP_CLASS_DESCEND, 0, 0},
        {ts, "PG_14_202107181", DIR_, 0, GSP_CLASS_SKIP, 0, 0},
        {tsv, "5", DIR_, 0, GSP_CLASS_DESCEND, 5, 0},
        {tsv, "pgsql_tmp", DIR_, 0, GSP_CLASS_SKIP, 0, 0},
        {tsdb, "16390.3", FILE_, 0, GSP_CLASS_PAGES, 5, 3},
        {tsdb, "t1_16390", FILE_, 0, GSP_CLASS_SKIP, 5, 0},
    };
    struct gsp_cluster c = cluster_15();
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

/* What a change in WAL names: the main fork only, for other forks are changed without a word. */
static void
main_forks_are_known_by_their_relation(void **state)
{
    static const struct {
        const char *dir, *name;
        uint32_t relation, space_oid, db_oid, segment;
    } cases[] = {
        {"global", "1262", 1262, 1664, 0, 0},
        {"global", "1262_fsm", 0, 0, 0, 0},
        {"global", "1262_vm", 0, 0, 0, 0},
        {"global", "pg_control", 0, 0, 0, 0},
        {"base/5", "16385", 16385, 1663, 5, 0},
        {"base/5", "16385.7", 16385, 1663, 5, 7},
        {"base/5", "16385_fsm", 0, 0, 5, 0},
        {"base/5", "16385_fsm.1", 0, 0, 5, 1},
        {"base/5", "16385_vm", 0, 0, 5, 0},
        {"base/5", "16385_init", 0, 0, 5, 0},
        {"base/5", "PG_VERSION", 0, 0, 5, 0},
        {"base/5", "16385.bak", 0, 0, 5, 0},
        {"pg_tblspc/16400/PG_15_202209061/5", "4294967295.2", UINT32_MAX, 16400, 5, 2},
        {"pg_tblspc/16400/PG_15_202209061/5", "16390_vm.2", 0, 0, 5, 2},
        {"pg_tblspc/16400/PG_14_202107181/5", "16390", 0, 0, 0, 0},
        {"", "16390", 0, 0, 0, 0},
    };
    struct gsp_cluster c = cluster_15();
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct gsp_dirent entry = {.name = cases[i].name, .st = {.type = GSP_FILE_REGULAR}};
        struct gsp_class got;
        struct gsp_error err = {0};
        assert_int_equal(dialect()->classify(&c, 0, cases[i].dir, &entry, 1, &got, &err), 0);
        if (got.relation != cases[i].relation || got.space_oid != cases[i].space_oid || got.db_oid != cases[i].db_oid ||
            got.segment != cases[i].segment)
            fail_msg("'%s' in '%s': relation %u/%u/%u, segment %u", cases[i].name, cases[i].dir, got.space_oid,
                got.db_oid, got.relation, got.segment);
    }
}

static void
unlogged_relations_keep_only_their_init_fork(void **state)
{
    static const struct {
        const char *name;
        uint32_t action;
    } cases[] = {
        {"20", GSP_CLASS_SKIP},
        {"20.1", GSP_CLASS_SKIP},
        {"20_fsm", GSP_CLASS_SKIP},
        {"9", GSP_CLASS_PAGES},
        {"20_init", GSP_CLASS_PAGES},
        {"200", GSP_CLASS_PAGES},
        {"20_vm", GSP_CLASS_SKIP},
        {"3_init", GSP_CLASS_PAGES},
        {"3", GSP_CLASS_SKIP},
        {"20.backup", GSP_CLASS_COPY},
    };
    struct gsp_cluster c = cluster_15();
    struct gsp_dirent entries[COUNT(cases)];
    struct gsp_class got[COUNT(cases)];
    struct gsp_error err = {0};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        entries[i] = (struct gsp_dirent){.name = cases[i].name, .st = {.type = GSP_FILE_REGULAR}};
    assert_int_equal(dialect()->classify(&c, 0, "base/5", entries, COUNT(cases), got, &err), 0);
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_int_equal(got[i].action, cases[i].action);
}

static void
unknown_classify_flags_are_refused(void **state)
{
    struct gsp_cluster c = cluster_15();
    struct gsp_error err = {0};
    (void)state;
    assert_int_equal(dialect()->classify(&c, 4, "", NULL, 0, NULL, &err), GSP_E_BUG);
}

/* ---- pages -------------------------------------------------------------------------------------- */

#define PAGE 8192
#define STRIDE (PAGE + 64)

struct checked {
    gsp_lsn lsn;
    uint16_t sum, stored;
    uint8_t state;
};

static void
make_page(uint8_t *page)
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
    put16(page + 18, PAGE | 4);
    put32(page + 20, 0);
}

static struct checked
check_page(const uint8_t *page, uint64_t base_block, uint32_t block, uint32_t checksum_version)
{
    struct gsp_cluster c = cluster_15();
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
    c.checksum_version = checksum_version;
    dialect()->pages_check(&c, &pages);
    return r;
}

/* The values are what page_checksum() of PostgreSQL's pageinspect gives for this page. */
static void
page_checksum_has_known_values(void **state)
{
    _Alignas(8) uint8_t page[PAGE];
    (void)state;
    make_page(page);
    assert_int_equal(check_page(page, 0, 0, 1).sum, 62614);
    assert_int_equal(check_page(page, 131072, 77, 1).sum, 62665);
    put16(page + 8, 4711); /* the stored checksum does not count */
    assert_int_equal(check_page(page, 0, 0, 1).sum, 62614);
}

static void
page_with_its_checksum_is_ok_until_a_bit_flips(void **state)
{
    _Alignas(8) uint8_t page[PAGE];
    struct checked r;
    (void)state;
    make_page(page);
    put16(page + 8, check_page(page, 0, 9, 1).sum);
    r = check_page(page, 0, 9, 1);
    assert_int_equal(r.state, GSP_PAGE_OK);
    assert_int_equal(r.lsn, UINT64_C(0x1628001234));
    assert_int_equal(r.sum, r.stored);
    assert_int_equal(check_page(page, 0, 10, 1).state, GSP_PAGE_CHECKSUM);
    for (uint32_t at = 24; at < PAGE; at += 61) {
        page[at] ^= 1;
        assert_int_equal(check_page(page, 0, 9, 1).state, GSP_PAGE_CHECKSUM);
        page[at] ^= 1;
    }
}

static void
page_without_checksums_is_judged_by_its_header(void **state)
{
    _Alignas(8) uint8_t page[PAGE];
    struct checked r;
    (void)state;
    make_page(page);
    r = check_page(page, 0, 0, 0);
    assert_int_equal(r.state, GSP_PAGE_OK);
    assert_int_equal(r.sum, 0);
    page[10] = 8;
    assert_int_equal(check_page(page, 0, 0, 0).state, GSP_PAGE_HEADER);
}

static void
senseless_page_headers_are_found(void **state)
{
    static const struct {
        uint32_t at, value;
    } cases[] = {{10, 8}, {12, 4001}, {12, 23}, {14, PAGE - 15}, {16, PAGE + 8}, {16, PAGE - 12}, {18, PAGE | 5},
        {18, 4096 | 4}, {14, 0}};
    _Alignas(8) uint8_t page[PAGE];
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        make_page(page);
        put16(page + cases[i].at, cases[i].value);
        assert_int_equal(check_page(page, 0, 0, 1).state, GSP_PAGE_HEADER);
    }
}

static void
zero_page_is_valid_and_one_stray_byte_is_not(void **state)
{
    _Alignas(8) uint8_t page[PAGE] = {0};
    (void)state;
    assert_int_equal(check_page(page, 0, 0, 1).state, GSP_PAGE_ZERO);
    assert_int_equal(check_page(page, 0, 0, 1).sum, 0);
    assert_int_equal(check_page(page, 0, 0, 1).lsn, 0);
    page[PAGE - 1] = 1;
    assert_int_equal(check_page(page, 0, 0, 1).state, GSP_PAGE_HEADER);
}

static void
pages_of_a_batch_are_found_by_stride(void **state)
{
    _Alignas(8) static uint8_t data[3 * STRIDE];
    struct gsp_cluster c = cluster_15();
    uint32_t block[3] = {4, 5, 900};
    gsp_lsn lsn[3];
    uint16_t sum[3], stored[3];
    uint8_t states[3];
    struct gsp_pages pages = {.struct_size = sizeof pages,
        .n = 3,
        .page_size = PAGE,
        .stride = STRIDE,
        .data = data,
        .block = block,
        .lsn = lsn,
        .sum = sum,
        .stored_sum = stored,
        .state = states};
    (void)state;
    make_page(data);
    make_page(data + 2 * STRIDE);
    put16(data + 8, check_page(data, 0, 4, 1).sum);
    put16(data + 2 * STRIDE + 8, check_page(data, 0, 900, 1).sum);
    dialect()->pages_check(&c, &pages);
    assert_int_equal(states[0], GSP_PAGE_OK);
    assert_int_equal(states[1], GSP_PAGE_ZERO);
    assert_int_equal(states[2], GSP_PAGE_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptor_is_complete),
        cmocka_unit_test(control_of_every_version_is_read),
        cmocka_unit_test(control_shut_down_is_not_running),
        cmocka_unit_test(control_damage_is_corrupt),
        cmocka_unit_test(control_of_other_versions_is_named),
        cmocka_unit_test(entries_are_classified),
        cmocka_unit_test(main_forks_are_known_by_their_relation),
        cmocka_unit_test(unlogged_relations_keep_only_their_init_fork),
        cmocka_unit_test(unknown_classify_flags_are_refused),
        cmocka_unit_test(page_checksum_has_known_values),
        cmocka_unit_test(page_with_its_checksum_is_ok_until_a_bit_flips),
        cmocka_unit_test(page_without_checksums_is_judged_by_its_header),
        cmocka_unit_test(senseless_page_headers_are_found),
        cmocka_unit_test(zero_page_is_valid_and_one_stray_byte_is_not),
        cmocka_unit_test(pages_of_a_batch_are_found_by_stride),
    };
    return cmocka_run_group_tests_name("server-postgresql", tests, NULL, NULL);
}
