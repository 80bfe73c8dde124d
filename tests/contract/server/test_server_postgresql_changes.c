/* SPDX-License-Identifier: Apache-2.0
 * Changed blocks as the PostgreSQL dialect finds them in WAL made here. */
#include "server_postgresql_wal.h"

#define XLOG 0
#define TRANSACTION 1
#define STORAGE 2
#define DATABASE 4
#define HEAP 10

/* Flags of block references and of their images. */
enum { FSM = 1, VM = 2, IMAGE = 0x10, DATA = 0x20, SAME = 0x80 };
enum { HOLE = 1, PGLZ_14 = 2, APPLY_15 = 2, APPLY_14 = 4, PGLZ_15 = 4, LZ4_15 = 8, ZSTD_15 = 16 };

/* A record while it is made. */
struct record {
    uint8_t bytes[2 * SEG];
    uint32_t head;   /* bytes up to the end of the headers */
    uint32_t after;  /* bytes that follow them */
    uint8_t next_id; /* of a block reference */
};

static struct record *
new_record(void)
{
    struct record *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->head = 24;
    return r;
}

static void
put_name(uint8_t *p, uint32_t space, uint32_t db, uint32_t relation)
{
    put32(p, space);
    put32(p + 4, db);
    put32(p + 8, relation);
}

/* image_flags count with IMAGE; compressed tells whether they say so in the version at hand. */
static void
add_block(struct record *r, uint32_t flags, uint32_t image_flags, int compressed, uint32_t relation, uint32_t block)
{
    uint8_t *p = r->bytes + r->head;
    *p++ = r->next_id++;
    *p++ = (uint8_t)flags;
    put16(p, flags & DATA ? 21 : 0);
    r->after += flags & DATA ? 21 : 0;
    p += 2;
    if (flags & IMAGE) {
        put16(p, 700);
        put16(p + 2, 100);
        p[4] = (uint8_t)image_flags;
        p += 5;
        r->after += 700;
        if (compressed && (image_flags & HOLE)) {
            put16(p, 7000);
            p += 2;
        }
    }
    if (!(flags & SAME)) {
        put_name(p, 1663, 5, relation);
        p += 12;
    }
    put32(p, block);
    r->head = (uint32_t)(p + 4 - r->bytes);
}

/* Add main data and append the record. data: its begin, the rest is zeros. */
static gsp_lsn
end_record(
    struct wal *w, struct record *r, uint32_t len, const void *data, uint32_t data_len, uint8_t manager, uint8_t info)
{
    gsp_lsn start;
    if (len > 0) {
        r->bytes[r->head++] = len < 256 ? 255 : 254;
        if (len < 256)
            r->bytes[r->head++] = (uint8_t)len;
        else
            put32(r->bytes + r->head, len);
        r->head += len < 256 ? 0 : 4;
        if (data != NULL)
            memcpy(r->bytes + r->head + r->after, data, data_len);
    }
    start = put_record(w, r->bytes, r->head + r->after + len, manager, info);
    free(r);
    return start;
}

/* A record with one block reference and a bit of main data. */
static gsp_lsn
add_change(struct wal *w, uint32_t relation, uint32_t block)
{
    struct record *r = new_record();
    add_block(r, DATA, 0, 0, relation, block);
    return end_record(w, r, 13, NULL, 0, HEAP, 0); /* 80 bytes: no padding behind it */
}

static void
add_plain(struct wal *w, const void *data, uint32_t len, uint8_t manager, uint8_t info)
{
    (void)end_record(w, new_record(), len, data, len, manager, info);
}

/* ---- what is found ------------------------------------------------------------------------------ */

struct found {
    uint32_t n, calls, largest;
    struct gsp_change changes[70000];
    int fail_at; /* the call that is to fail, counted from 1 */
};

static int
collect(void *arg, const struct gsp_change *changes, uint32_t n, struct gsp_error *err)
{
    struct found *f = arg;
    assert_true(n > 0 && f->n + n <= COUNT(f->changes));
    if ((int)++f->calls == f->fail_at)
        return gsp_fail(err, GSP_E_NOSPC, 0, "no more");
    memcpy(f->changes + f->n, changes, n * sizeof *changes);
    f->n += n;
    f->largest = n > f->largest ? n : f->largest;
    return 0;
}

static struct found *
new_found(void)
{
    struct found *f = calloc(1, sizeof *f);
    assert_non_null(f);
    return f;
}

static int
scan_as(const char *version, struct wal *w, gsp_lsn from, gsp_lsn to, struct found *f, struct gsp_error *err)
{
    struct gsp_cluster c = cluster_15();
    struct gsp_wal_source source = {w, read_wal};
    (void)snprintf(c.version, sizeof c.version, "%s", version);
    memset(err, 0, sizeof *err);
    f->n = f->calls = 0;
    return dialect()->wal_changes(&c, &source, w->timeline, from, to, collect, f, err);
}

static int
scan(struct wal *w, gsp_lsn from, gsp_lsn to, struct found *f, struct gsp_error *err)
{
    return scan_as("15", w, from, to, f, err);
}

static void
expect(const struct found *f, uint32_t i, uint32_t kind, uint32_t space, uint32_t db, uint32_t relation, uint32_t block,
    uint32_t count)
{
    const struct gsp_change *c = &f->changes[i];
    assert_true(i < f->n);
    if (c->kind != kind || c->space_oid != space || c->db_oid != db || c->relation != relation || c->block != block ||
        c->count != count)
        fail_msg("change %u: kind %u of %u/%u/%u, block %u, count %u", i, c->kind, c->space_oid, c->db_oid, c->relation,
            c->block, c->count);
}

static void
expect_blocks(const struct found *f, uint32_t i, uint32_t relation, uint32_t block, uint32_t count)
{
    expect(f, i, GSP_CHANGE_BLOCKS, 1663, 5, relation, block, count);
}

/* ---- tests -------------------------------------------------------------------------------------- */

static void
main_fork_blocks_are_found(void **state)
{
    struct wal *w = *state;
    struct record *r = new_record();
    struct found *f = new_found();
    struct gsp_error err;
    add_block(r, DATA, 0, 0, 16384, 7);
    add_block(r, SAME, 0, 0, 0, 90);
    add_block(r, VM, 0, 0, 16384, 3);
    add_block(r, SAME | FSM, 0, 0, 0, 4);
    add_block(r, IMAGE | DATA, HOLE | APPLY_15, 0, 16390, 0);
    (void)end_record(w, r, 300, NULL, 0, HEAP, 0x70);
    add_plain(w, "commit", 6, TRANSACTION, 0);
    assert_int_equal(scan(w, FIRST, w->at, f, &err), 0);
    assert_int_equal(f->n, 3);
    expect_blocks(f, 0, 16384, 7, 1);
    expect_blocks(f, 1, 16384, 90, 1);
    expect_blocks(f, 2, 16390, 0, 1);
    free(f);
}

static void
neighbours_and_repetitions_become_one_change(void **state)
{
    struct wal *w = *state;
    static const uint32_t blocks[] = {5, 5, 6, 7, 6, 8, 5, 4, UINT32_MAX - 1};
    struct found *f = new_found();
    struct gsp_error err;
    for (uint32_t i = 0; i < COUNT(blocks); i++)
        (void)add_change(w, 16384, blocks[i]);
    (void)add_change(w, 16385, 9);
    assert_int_equal(scan(w, FIRST, w->at, f, &err), 0);
    assert_int_equal(f->n, 4);
    expect_blocks(f, 0, 16384, 5, 4);
    expect_blocks(f, 1, 16384, 4, 1);
    expect_blocks(f, 2, 16384, UINT32_MAX - 1, 1);
    expect_blocks(f, 3, 16385, 9, 1);
    free(f);
}

static void
image_headers_are_read_as_their_version_has_them(void **state)
{
    static const struct {
        const char *version;
        uint16_t magic;
        uint32_t flags;
        int compressed;
    } cases[] = {
        {"12", 0xD101, HOLE | PGLZ_14 | APPLY_14, 1},
        {"14", 0xD10D, HOLE | PGLZ_14, 1},
        {"14", 0xD10D, HOLE | APPLY_14, 0},
        {"14", 0xD10D, PGLZ_14 | APPLY_14, 1},
        {"15", 0xD110, HOLE | APPLY_15, 0},
        {"15", 0xD110, HOLE | APPLY_15 | PGLZ_15, 1},
        {"16", 0xD113, HOLE | LZ4_15, 1},
        {"17", 0xD116, HOLE | APPLY_15 | ZSTD_15, 1},
        {"18", 0xD118, ZSTD_15, 1},
    };
    struct found *f = new_found();
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct record *r = new_record();
        struct gsp_error err;
        void *each;
        struct wal *w;
        assert_int_equal(setup_wal(&each), 0);
        w = each;
        w->magic = cases[i].magic;
        add_block(r, IMAGE, cases[i].flags, cases[i].compressed, 16384, 1);
        add_block(r, IMAGE | SAME, cases[i].flags, cases[i].compressed, 0, 77);
        (void)end_record(w, r, 0, NULL, 0, XLOG, 0xB0);
        if (scan_as(cases[i].version, w, FIRST, w->at, f, &err) != 0)
            fail_msg("version %s, flags %u: %s", cases[i].version, cases[i].flags, err.msg);
        assert_int_equal(f->n, 2);
        expect_blocks(f, 1, 16384, 77, 1);
        assert_int_equal(free_wal(&each), 0);
    }
    free(f);
}

static void
headers_may_cross_pages_and_records_segments(void **state)
{
    struct wal *w = *state;
    struct found *f = new_found();
    struct gsp_error err;
    uint32_t n = 0;
    /* All places of a page boundary within the headers of 33 references. */
    while (w->at < FIRST + SEG - 3 * BLOCK) {
        struct record *r = new_record();
        uint32_t room = BLOCK - (uint32_t)(w->at % BLOCK), blocks = 1 + n % 33;
        for (uint32_t i = 0; i < blocks; i++)
            add_block(r, i % 3 == 0 ? DATA | IMAGE : DATA, HOLE | LZ4_15, 1, 20000 + i, 2 * n);
        (void)end_record(w, r, 60 + room % 40, NULL, 0, HEAP, 0);
        n++;
    }
    struct record *large = new_record();
    add_block(large, DATA, 0, 0, 30000, 1);
    (void)end_record(w, large, SEG + SEG / 2, NULL, 0, 21, 0); /* over three segments */
    assert_int_equal(scan(w, FIRST, w->at, f, &err), 0);
    uint32_t wanted = 1, seen = 0;
    for (uint32_t i = 0; i < n; i++)
        wanted += 1 + i % 33;
    for (uint32_t i = 0; i < f->n; i++)
        seen += f->changes[i].count;
    assert_int_equal(seen, wanted);
    expect_blocks(f, f->n - 1, 30000, 1, 1);
    assert_int_equal(f->largest, 512);
    free(f);
}

static void
records_count_where_they_start(void **state)
{
    struct wal *w = *state;
    struct found *whole = new_found(), *part = new_found();
    struct gsp_error err;
    gsp_lsn second, cut;
    uint32_t n = 0, seen = 0;
    (void)add_change(w, 16384, 1);
    second = add_change(w, 16384, 3);
    assert_int_equal(scan(w, FIRST, second, part, &err), 0);
    assert_int_equal(part->n, 1);
    assert_int_equal(scan(w, second, w->at, part, &err), 0);
    assert_int_equal(part->n, 1);
    expect_blocks(part, 0, 16384, 3, 1);
    assert_int_equal(scan(w, second, second + 8, part, &err), 0); /* it ends behind `to` */
    assert_int_equal(part->n, 1);
    while (w->at < FIRST + 3 * (gsp_lsn)SEG) {
        struct record *r = new_record();
        add_block(r, DATA, 0, 0, 20000, 2 * n);
        (void)end_record(w, r, 100 + (n * 7919) % 20000, NULL, 0, HEAP, 0);
        n++;
    }
    assert_int_equal(scan(w, FIRST, w->at, whole, &err), 0);
    for (cut = FIRST; cut < w->at; cut += SEG) {
        gsp_lsn end = cut + SEG < w->at ? cut + SEG : w->at;
        assert_int_equal(scan(w, cut, end, part, &err), 0);
        assert_memory_equal(part->changes, whole->changes + seen, part->n * sizeof part->changes[0]);
        seen += part->n;
    }
    assert_int_equal(seen, whole->n);
    free(whole);
    free(part);
}

static void
a_segment_within_a_record_needs_no_other(void **state)
{
    struct wal *w = *state;
    struct record *r = new_record();
    struct found *f = new_found();
    struct gsp_error err;
    add_block(r, DATA, 0, 0, 16384, 1);
    (void)end_record(w, r, 2 * SEG - 500, NULL, 0, 21, 0);
    w->missing = 2;
    assert_int_equal(scan(w, FIRST + SEG, FIRST + 2 * (gsp_lsn)SEG, f, &err), 0);
    assert_int_equal(f->n, 0);
    assert_int_equal(scan(w, FIRST, FIRST + SEG, f, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, "000000010000000000000005"));
    free(f);
}

static void
files_made_and_cut_are_told(void **state)
{
    struct wal *w = *state;
    struct found *f = new_found();
    struct gsp_error err;
    uint8_t create[16], truncate[20];
    put_name(create, 16400, 5, 16384);
    put32(create + 12, 0);
    add_plain(w, create, sizeof create, STORAGE, 0x10);
    put32(create + 12, 3);
    add_plain(w, create, sizeof create, STORAGE, 0x10); /* an init fork */
    put32(truncate, 77);
    put_name(truncate + 4, 1663, 5, 16385);
    put32(truncate + 16, 7);
    add_plain(w, truncate, sizeof truncate, STORAGE, 0x20);
    put32(truncate + 16, 6);
    add_plain(w, truncate, sizeof truncate, STORAGE, 0x20); /* the other forks only */
    assert_int_equal(scan(w, FIRST, w->at, f, &err), 0);
    assert_int_equal(f->n, 2);
    expect(f, 0, GSP_CHANGE_FROM, 16400, 5, 16384, 0, 0);
    expect(f, 1, GSP_CHANGE_FROM, 1663, 5, 16385, 77, 0);
    free(f);
}

static void
databases_made_of_files_are_told(void **state)
{
    struct wal *w = *state;
    struct found *f = new_found();
    struct gsp_error err;
    uint8_t create[16];
    put32(create, 17000);
    put32(create + 4, 1663);
    put32(create + 8, 1);
    put32(create + 12, 1663);
    add_plain(w, create, 16, DATABASE, 0x00);
    add_plain(w, create, 16, DATABASE, 0x20);
    put32(create + 4, 16400);
    add_plain(w, create, 8, DATABASE, 0x10);
    assert_int_equal(scan(w, FIRST, w->at, f, &err), 0);
    assert_int_equal(f->n, 2);
    expect(f, 0, GSP_CHANGE_DATABASE, 1663, 17000, 0, 0, 0);
    expect(f, 1, GSP_CHANGE_DATABASE, 16400, 17000, 0, 0, 0);
    free(f);
}

static void
dropping_a_database_is_no_change_before_15(void **state)
{
    struct wal *w = *state;
    struct found *f = new_found();
    struct gsp_error err;
    uint8_t drop[8] = {1, 0, 0, 0, 2};
    w->magic = 0xD10D;
    add_plain(w, drop, sizeof drop, DATABASE, 0x10);
    assert_int_equal(scan_as("14", w, FIRST, w->at, f, &err), 0);
    assert_int_equal(f->n, 0);
    free(f);
}

static void
minimal_wal_is_refused(void **state)
{
    struct wal *w = *state;
    struct found *f = new_found();
    struct gsp_error err;
    uint8_t parameters[26] = {0};
    gsp_lsn last;
    (void)add_change(w, 16384, 1);
    put32(parameters + 20, 1);
    add_plain(w, parameters, sizeof parameters, XLOG, 0x60);
    last = w->at;
    put32(parameters + 20, 0);
    add_plain(w, parameters, sizeof parameters, XLOG, 0x60);
    assert_int_equal(scan(w, FIRST, last, f, &err), 0);
    assert_int_equal(scan(w, FIRST, w->at, f, &err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "wal_level = minimal"));
    assert_non_null(strstr(err.msg, "000000010000000000000003"));
    assert_non_null(strstr(err.hint, "DELTA"));
    free(f);
}

/* The checksum is right, the headers are not: only a broken or hostile server writes such records. */
static void
senseless_headers_are_corrupt(void **state)
{
    static const struct {
        const char *what;
        uint8_t manager, info;
        uint32_t len;
        uint8_t bytes[40];
    } cases[] = {
        {"unknown header", HEAP, 0, 9, {100, 1, 2, 3, 4, 5, 6, 7, 8}},
        {"main data too long", HEAP, 0, 5, {255, 4, 0, 0, 0}},
        {"main data too short", HEAP, 0, 5, {255, 2, 0, 0, 0}},
        {"huge main data", HEAP, 0, 9, {254, 255, 255, 255, 255, 0, 0, 0, 0}},
        {"reference cut off", HEAP, 0, 3, {0, 0, 0}},
        {"relation cut off", HEAP, 0, 12, {0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}},
        {"image header cut off", HEAP, 0, 6, {0, IMAGE, 0, 0, 1, 1}},
        {"same relation as none", HEAP, 0, 8, {0, SAME, 0, 0, 9, 0, 0, 0}},
        {"no such block", HEAP, 0, 20, {0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 255, 255, 255, 255}},
        {"references out of order", HEAP, 0, 28,
            {1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, SAME, 0, 0, 1, 1, 1, 1}},
        {"short create", STORAGE, 0x10, 14, {255, 12}},
        {"short truncate", STORAGE, 0x20, 18, {255, 16}},
        {"short database", DATABASE, 0, 8, {255, 6}},
        {"short parameters", XLOG, 0x60, 22, {255, 20}},
        {"create with a reference", STORAGE, 0x10, 39,
            {0, DATA, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 255, 16}},
    };
    struct found *f = new_found();
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct record *r = new_record();
        struct gsp_error err;
        void *each;
        struct wal *w;
        assert_int_equal(setup_wal(&each), 0);
        w = each;
        memcpy(r->bytes + 24, cases[i].bytes, sizeof cases[i].bytes);
        (void)put_record(w, r->bytes, 24 + cases[i].len, cases[i].manager, cases[i].info);
        free(r);
        if (scan(w, FIRST, w->at, f, &err) != GSP_E_CORRUPT || strstr(err.msg, "malformed headers") == NULL)
            fail_msg("%s: %s", cases[i].what, err.msg);
        assert_non_null(strstr(err.msg, "000000010000000000000003"));
        assert_int_equal(free_wal(&each), 0);
    }
    free(f);
}

static void
a_failed_callback_ends_the_scan(void **state)
{
    struct wal *w = *state;
    struct found *f = new_found();
    struct gsp_error err;
    for (uint32_t i = 0; i < 1200; i++)
        (void)add_change(w, 16384, 2 * i);
    f->fail_at = 2;
    assert_int_equal(scan(w, FIRST, w->at, f, &err), GSP_E_NOSPC);
    assert_int_equal(f->calls, 2);
    f->fail_at = 3;
    assert_int_equal(scan(w, FIRST, w->at, f, &err), GSP_E_NOSPC);
    assert_int_equal(f->n, 1024);
    free(f);
}

static void
damaged_wal_changes_nothing_silently(void **state)
{
    struct wal *w = *state;
    struct found *f = new_found();
    struct gsp_error err;
    for (uint32_t i = 0; i < 100; i++)
        (void)add_change(w, 16384, 2 * i);
    for (uint32_t at = 40; at < w->at - FIRST; at += 101) {
        w->data[at] ^= 4;
        assert_int_not_equal(scan(w, FIRST, w->at, f, &err), 0);
        w->data[at] ^= 4;
    }
    assert_int_equal(scan(w, FIRST, w->at, f, &err), 0);
    assert_int_equal(f->n, 100);
    free(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_wal, free_wal)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(main_fork_blocks_are_found),
        TEST(neighbours_and_repetitions_become_one_change),
        cmocka_unit_test(image_headers_are_read_as_their_version_has_them),
        TEST(headers_may_cross_pages_and_records_segments),
        TEST(records_count_where_they_start),
        TEST(a_segment_within_a_record_needs_no_other),
        TEST(files_made_and_cut_are_told),
        TEST(databases_made_of_files_are_told),
        TEST(dropping_a_database_is_no_change_before_15),
        TEST(minimal_wal_is_refused),
        cmocka_unit_test(senseless_headers_are_corrupt),
        TEST(a_failed_callback_ends_the_scan),
        TEST(damaged_wal_changes_nothing_silently),
    };
    return cmocka_run_group_tests_name("server-postgresql-changes", tests, NULL, NULL);
}
