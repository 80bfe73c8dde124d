/* SPDX-License-Identifier: Apache-2.0
 * Files of row-compressed relations, made of pages as the stock tool stores them. What the fixtures hold of such pages
 * is compared with the server's own files in tests/integration/test_opengauss_files.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "opengauss.h"

#define PAGE 8192u
#define MAP (OG_EXTENT_BYTES - PAGE)
#define ENTRIES 144u /* in the address page */
#define MARK 0x8000u
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct fixture {
    struct gsp_cluster cluster;
    struct gsp_extent x;
    struct gsp_error err;
};

static void
put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static void
put32(uint8_t *p, uint32_t v)
{
    put16(p, v);
    put16(p + 2, v >> 16);
}

static uint32_t
entry_bytes(const struct fixture *f)
{
    return 6 + 2 * (PAGE / f->x.chunk_size);
}

static uint8_t *
page(const struct fixture *f, uint32_t i)
{
    return f->x.pages + (size_t)i * PAGE;
}

static uint8_t *
entry(const struct fixture *f, uint32_t i)
{
    return f->x.bytes + MAP + ENTRIES + i * entry_bytes(f);
}

static void
make_header(uint8_t *p, uint32_t layout)
{
    put16(p + 10, 0x40);
    put16(p + 12, 664);
    put16(p + 14, 704);
    put16(p + 16, PAGE);
    put16(p + 18, PAGE | layout);
}

/* Sums of the bytes (7k + 3) & 255, calculated by another program. */
static const struct {
    uint32_t size, sum;
} samples[] = {{100, 0x3760226c}, {300, 0x729a114b}, {2500, 0x9e00e21d}, {3000, 0x5e66069d}, {7200, 0xaf8e3418}};

static void
make_compressed(uint8_t *p, uint32_t layout, size_t sample)
{
    uint8_t *prefix = p + (layout == 6 ? 40 : layout == 7 ? 56 : 24);
    make_header(p, layout);
    put16(p + 12, 664 | MARK);
    put32(prefix, samples[sample].sum);
    put16(prefix + 4, samples[sample].size);
    put16(prefix + 6, 4); /* algorithm and flags: nobody asks */
    for (uint32_t k = 0; k < samples[sample].size; k++)
        prefix[8 + k] = (uint8_t)(7 * k + 3);
}

static void
make_plain(const struct fixture *f, uint8_t *p, uint64_t block)
{
    uint32_t number = 0;
    gsp_lsn lsn;
    uint16_t sum, stored;
    uint8_t state;
    struct gsp_pages pages = {
        .struct_size = sizeof pages, .n = 1, .page_size = PAGE, .stride = PAGE, .base_block = block};
    make_header(p, 6);
    for (uint32_t k = 704; k < PAGE; k++)
        p[k] = (uint8_t)(k * k >> 3);
    pages.data = p;
    pages.block = &number;
    pages.lsn = &lsn;
    pages.sum = &sum;
    pages.stored_sum = &stored;
    pages.state = &state;
    og_pages_check(&f->cluster, &pages);
    put16(p + 8, sum);
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->cluster = (struct gsp_cluster){.struct_size = sizeof f->cluster, .page_size = PAGE, .checksum_version = 1};
    f->x = (struct gsp_extent){.struct_size = sizeof f->x, .n = 1, .chunk_size = 1024, .algorithm = 1};
    f->x.pages = calloc(OG_EXTENT_PAGES, PAGE);
    f->x.bytes = calloc(1, OG_EXTENT_BYTES);
    assert_non_null(f->x.pages);
    assert_non_null(f->x.bytes);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    free(f->x.pages);
    free(f->x.bytes);
    free(f);
    return 0;
}

static void
build(struct fixture *f)
{
    int rc = og_extent_build(&f->cluster, &f->x, &f->err);
    if (rc != 0)
        fail_msg("%d: %s", rc, f->err.msg);
}

static void
assert_refused(struct fixture *f, int code, const char *text)
{
    f->err = (struct gsp_error){0};
    assert_int_equal(og_extent_build(&f->cluster, &f->x, &f->err), code);
    if (strstr(f->err.msg, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, f->err.msg);
}

/* As the server of the fixtures wrote them: three chunks for each page and one for the last. */
static void
the_address_page_is_that_of_the_server(void **state)
{
    static const uint8_t head[12] = {3, 0, 0, 0, 7, 0, 0, 0, 0x00, 0x04, 1, 0};
    static const uint8_t want[3][12] = {{0x05, 0x03, 0x04, 0x00, 3, 3, 1, 0, 2, 0, 3, 0},
        {0x08, 0x03, 0x0a, 0x00, 3, 3, 4, 0, 5, 0, 6, 0}, {0x01, 0x01, 0x07, 0x00, 1, 1, 7, 0, 0, 0, 0, 0}};
    struct fixture *f = *state;
    f->x.n = 3;
    make_compressed(page(f, 0), 6, 2);
    make_compressed(page(f, 1), 6, 3);
    make_compressed(page(f, 2), 6, 1);
    build(f);
    assert_memory_equal(f->x.bytes + MAP, head, sizeof head);
    for (uint32_t i = 0; i < 3; i++)
        assert_memory_equal(entry(f, i), want[i], sizeof want[i]);
    for (uint32_t at = ENTRIES + 3 * entry_bytes(f); at < PAGE; at++)
        assert_int_equal(f->x.bytes[MAP + at], 0);
    assert_int_equal(f->x.hole, 2 * 4096);
    assert_int_equal(f->x.hole_end, MAP);
}

static void
pages_lie_in_their_chunks_without_the_mark(void **state)
{
    static const uint32_t layouts[] = {5, 6, 7};
    struct fixture *f = *state;
    f->x.chunk_size = 4096;
    f->x.n = COUNT(layouts);
    for (uint32_t i = 0; i < COUNT(layouts); i++)
        make_compressed(page(f, i), layouts[i], 2);
    build(f);
    for (uint32_t i = 0; i < COUNT(layouts); i++) {
        uint8_t want[4096] = {0};
        make_compressed(want, layouts[i], 2);
        put16(want + 12, 664);
        assert_memory_equal(f->x.bytes + (size_t)i * 4096, want, sizeof want);
    }
}

static void
pages_of_zeros_have_no_chunks(void **state)
{
    struct fixture *f = *state;
    f->x.n = 3;
    put16(page(f, 1) + 12, MARK);
    make_compressed(page(f, 2), 6, 0);
    build(f);
    assert_int_equal(pg_le32(f->x.bytes + MAP + 4), 1);
    for (uint32_t k = 0; k < 2 * entry_bytes(f); k++)
        assert_int_equal(entry(f, 0)[k], 0);
    assert_int_equal(pg_le16(entry(f, 2) + 6), 1);
}

static void
a_full_extent_fits(void **state)
{
    struct fixture *f = *state;
    f->x.chunk_size = 512;
    f->x.n = OG_EXTENT_PAGES;
    f->x.first = 3 * OG_EXTENT_PAGES;
    for (uint32_t i = 0; i < f->x.n; i++)
        make_plain(f, page(f, i), f->x.first + i);
    build(f);
    assert_int_equal(pg_le32(f->x.bytes + MAP + 4), OG_EXTENT_PAGES * 16);
    assert_int_equal(f->x.hole, f->x.hole_end);
    assert_memory_equal(f->x.bytes, f->x.pages, MAP);
    assert_int_equal(pg_le16(entry(f, 126) + 6 + 2 * 15), OG_EXTENT_PAGES * 16);
}

static void
plain_pages_are_known_by_their_checksum(void **state)
{
    struct fixture *f = *state;
    f->x.segment = 1;
    f->x.first = OG_EXTENT_PAGES;
    make_plain(f, page(f, 0), 1024 * OG_EXTENT_PAGES + OG_EXTENT_PAGES);
    put16(page(f, 0) + 12, 664 | MARK);
    build(f);
    assert_int_equal(entry(f, 0)[4], 8);
    f->x.segment = 0;
    assert_refused(f, GSP_E_CORRUPT, "block 127 is neither a page");
}

static void
damage_is_found(void **state)
{
    struct fixture *f = *state;
    static const uint32_t at[] = {45 /* size */, 41 /* sum */, 100 /* data */, 18 /* layout */, 5000 /* behind it */};
    f->x.n = 2;
    make_compressed(page(f, 0), 6, 0);
    for (size_t i = 0; i < COUNT(at); i++) {
        memset(page(f, 1), 0, PAGE);
        make_compressed(page(f, 1), 6, 1);
        page(f, 1)[at[i]] ^= 1;
        memset(f->x.bytes, 0, OG_EXTENT_BYTES);
        assert_refused(f, GSP_E_CORRUPT, "block 1 is neither a page");
    }
}

static void
tolerated_damage_is_counted(void **state)
{
    struct fixture *f = *state;
    f->x.n = 2;
    f->x.tolerant = 1;
    make_compressed(page(f, 0), 6, 1);
    page(f, 0)[60] ^= 1;
    make_compressed(page(f, 1), 6, 1);
    build(f);
    assert_int_equal(f->x.lost, 1);
    assert_int_equal(entry(f, 0)[4], 0);
    assert_int_equal(pg_le16(entry(f, 1) + 6), 1);
}

/* The server would have left such a page as it was. */
static void
compression_saves_a_chunk(void **state)
{
    struct fixture *f = *state;
    make_compressed(page(f, 0), 6, 4);
    assert_refused(f, GSP_E_CORRUPT, "block 0");
    f->x.chunk_size = 512;
    build(f);
    assert_int_equal(entry(f, 0)[4], 15);
}

static void
only_known_kinds_are_made(void **state)
{
    static const struct {
        uint32_t chunk_size, algorithm;
    } bad[] = {{0, 1}, {513, 1}, {8192, 1}, {256, 1}, {1024, 0}, {1024, 5}};
    struct fixture *f = *state;
    f->x.n = 0;
    build(f);
    for (size_t i = 0; i < COUNT(bad); i++) {
        f->x.chunk_size = bad[i].chunk_size;
        f->x.algorithm = bad[i].algorithm;
        assert_refused(f, GSP_E_UNSUPPORTED, "is not known");
    }
}

static void
an_extent_has_a_place(void **state)
{
    struct fixture *f = *state;
    f->x.n = OG_EXTENT_PAGES + 1;
    assert_refused(f, GSP_E_UNSUPPORTED, "are no extent");
    f->x.n = 1;
    f->x.first = 1;
    assert_refused(f, GSP_E_UNSUPPORTED, "are no extent");
    f->x.first = 1024 * OG_EXTENT_PAGES;
    assert_refused(f, GSP_E_UNSUPPORTED, "are no extent");
    f->x.first = 0;
    f->cluster.page_size = 16384;
    assert_refused(f, GSP_E_UNSUPPORTED, "are no extent");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_address_page_is_that_of_the_server),
        TEST(pages_lie_in_their_chunks_without_the_mark),
        TEST(pages_of_zeros_have_no_chunks),
        TEST(a_full_extent_fits),
        TEST(plain_pages_are_known_by_their_checksum),
        TEST(damage_is_found),
        TEST(tolerated_damage_is_counted),
        TEST(compression_saves_a_chunk),
        TEST(only_known_kinds_are_made),
        TEST(an_extent_has_a_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
