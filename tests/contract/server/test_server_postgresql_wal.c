/* SPDX-License-Identifier: Apache-2.0
 * The PostgreSQL dialect on WAL made here. */
#include "server_postgresql_test.h"

#define SEG (1u << 20)
#define BLOCK 8192u
#define SEGMENTS 6
#define FIRST ((gsp_lsn)3 * SEG) /* LSN of the first byte made here */

/* A piece of WAL that grows record by record. */
struct wal {
    uint8_t *data;          /* SEGMENTS segments from FIRST on */
    gsp_lsn at;             /* where the next byte goes */
    gsp_lsn prev;           /* last record */
    uint64_t len[SEGMENTS]; /* bytes each segment file has */
    uint32_t timeline;
    int missing; /* segment without a file, -1 = none */
};

static uint32_t
head_size(gsp_lsn at)
{
    return at % SEG == 0 ? 40 : 24;
}

static void
start_page(struct wal *w, uint32_t flags, uint32_t rest)
{
    uint8_t *p = w->data + (w->at - FIRST);
    int first = w->at % SEG == 0;
    put16(p, 0xD110);
    put16(p + 2, flags | (first ? 2 : 0));
    put32(p + 4, w->timeline);
    put64(p + 8, w->at);
    put32(p + 16, rest);
    if (first) {
        put64(p + 24, SYSTEM_ID);
        put32(p + 32, SEG);
        put32(p + 36, BLOCK);
    }
    w->at += head_size(w->at);
}

/* Write up to `keep` bytes of a record; the page headers between are made on the way. */
static void
put_bytes(struct wal *w, const uint8_t *p, uint32_t len, uint32_t keep)
{
    uint32_t done = 0;
    while (done < keep) {
        uint32_t room = BLOCK - (uint32_t)(w->at % BLOCK);
        if (w->at % BLOCK == 0) {
            start_page(w, done > 0 ? 1 : 0, done > 0 ? len - done : 0);
            room = BLOCK - (uint32_t)(w->at % BLOCK);
        }
        if (room > keep - done)
            room = keep - done;
        memcpy(w->data + (w->at - FIRST), p + done, room);
        w->at += room;
        done += room;
    }
}

/* A record of total bytes; returns where it starts. info 0x40 of manager 0 fills the segment. */
static gsp_lsn
add_record(struct wal *w, uint32_t total, uint8_t manager, uint8_t info)
{
    uint8_t *rec = calloc(1, total);
    gsp_lsn start;
    assert_non_null(rec);
    if (w->at % BLOCK == 0)
        start_page(w, 0, 0);
    start = w->at;
    for (uint32_t i = 24; i < total; i++)
        rec[i] = (uint8_t)(i * 7 + start);
    put32(rec, total);
    put64(rec + 8, w->prev);
    rec[16] = info;
    rec[17] = manager;
    put32(rec + 20, slow_crc(slow_crc(0, rec + 24, total - 24), rec, 20));
    put_bytes(w, rec, total, total);
    w->at = (w->at + 7) & ~(gsp_lsn)7;
    if (manager == 0 && info == 0x40)
        w->at = (w->at + SEG - 1) / SEG * SEG;
    w->prev = start;
    free(rec);
    return start;
}

static int64_t
read_wal(void *ctx, const char *segment, uint64_t offset, void *buf, uint32_t len, struct gsp_error *err)
{
    const struct wal *w = ctx;
    char name[25];
    for (int i = 0; i < SEGMENTS; i++) {
        (void)snprintf(name, sizeof name, "%08X%08X%08X", w->timeline, 0, (unsigned)(FIRST / SEG) + (unsigned)i);
        if (strcmp(name, segment) != 0 || i == w->missing)
            continue;
        if (offset >= w->len[i])
            return 0;
        if (len > w->len[i] - offset)
            len = (uint32_t)(w->len[i] - offset);
        if (len > 100000)
            len = 100000; /* short reads are allowed */
        memcpy(buf, w->data + (size_t)i * SEG + offset, len);
        return len;
    }
    return gsp_fail(err, GSP_E_NOENT, 0, "no such file");
}

static int
setup_wal(void **state)
{
    struct wal *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->data = calloc(SEGMENTS, SEG);
    assert_non_null(w->data);
    w->at = FIRST;
    w->prev = FIRST - 64;
    w->timeline = 1;
    w->missing = -1;
    for (int i = 0; i < SEGMENTS; i++)
        w->len[i] = SEG;
    *state = w;
    return 0;
}

static int
free_wal(void **state)
{
    struct wal *w = *state;
    free(w->data);
    free(w);
    return 0;
}

static int
verify(struct wal *w, gsp_lsn from, gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err)
{
    struct gsp_cluster c = cluster_15();
    struct gsp_wal_source source = {w, read_wal};
    memset(err, 0, sizeof *err);
    return dialect()->wal_verify(&c, &source, w->timeline, from, to, ret_end, err);
}

static void
wal_of_all_record_sizes_is_walked(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end, middle = 0;
    uint32_t n = 0;
    while (w->at < FIRST + 3 * (gsp_lsn)SEG) {
        gsp_lsn start = add_record(w, 24 + (n * 37) % 9001, (uint8_t)(1 + n % 20), 0);
        if (n++ == 50)
            middle = start;
    }
    (void)add_record(w, 2 * SEG, 21, 0); /* larger than a segment */
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
    assert_int_equal(end, w->at);
    assert_int_equal(verify(w, middle, w->at, &end, &err), 0);
    assert_int_equal(end, w->at);
    assert_int_equal(verify(w, FIRST + 2 * BLOCK, w->at, &end, &err), 0); /* within a record */
    assert_int_equal(verify(w, FIRST, middle + 1, &end, &err), 0);
    assert_true(end > middle && end < w->at);
    assert_int_equal(verify(w, FIRST, w->at + 1, &end, &err), GSP_E_CORRUPT);
    assert_int_equal(end, w->at);
}

static void
wal_may_end_at_a_page_or_segment(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    (void)add_record(w, BLOCK - 40, 1, 0);
    assert_int_equal(w->at, FIRST + BLOCK);
    assert_int_equal(verify(w, FIRST + 40, w->at, &end, &err), 0);
    assert_int_equal(verify(w, FIRST + 40, w->at + 24, &end, &err), 0); /* next page is not there yet */
    assert_int_equal(end, FIRST + BLOCK);
    assert_int_equal(verify(w, FIRST + 40, w->at + 32, &end, &err), GSP_E_CORRUPT);
    (void)add_record(w, 24, 0, 0x40);
    assert_int_equal(w->at, FIRST + SEG);
    w->missing = 1;
    assert_int_equal(verify(w, FIRST + 40, w->at, &end, &err), 0);
    assert_int_equal(verify(w, FIRST + 40, w->at + 40, &end, &err), 0);
    assert_int_equal(end, FIRST + SEG);
    w->missing = -1;
    (void)add_record(w, 100, 1, 0);
    assert_int_equal(verify(w, FIRST + 40, w->at, &end, &err), 0);
}

static void
missing_wal_names_segment_and_position(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    while (w->at < FIRST + 2 * (gsp_lsn)SEG)
        (void)add_record(w, 5000, 1, 0);
    w->missing = 1;
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, "000000010000000000000004"));
    assert_non_null(strstr(err.msg, "0/400000"));
    assert_true(end <= FIRST + SEG && end > FIRST + SEG - 6000);
    w->missing = -1;
    w->len[1] = SEG / 2;
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_CORRUPT);
    assert_true(end <= FIRST + SEG + SEG / 2);
}

static void
damaged_wal_is_corrupt(void **state)
{
    static const struct {
        uint32_t at;
        const char *what;
    } cases[] = {
        {BLOCK, "magic"},
        {BLOCK + 2, "flags"},
        {BLOCK + 4, "timeline"},
        {BLOCK + 9, "address"},
        {BLOCK + 16, "continue"},
        {24, "system id"},
        {33, "segments of"},
        {40 + 8, "predecessor"},
        {40 + 17, "resource manager"},
        {40 + 30, "checksum"},
        {BLOCK + 500, "checksum"},
        {43, "length"},
    };
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    for (int i = 0; i < 300; i++)
        (void)add_record(w, 3000, 1, 0);
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t was = w->data[cases[i].at];
        w->data[cases[i].at] = (uint8_t)(was ^ 0x60);
        if (strcmp(cases[i].what, "predecessor") == 0)
            put64(w->data + 48, FIRST + SEG);
        assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_CORRUPT);
        if (strstr(err.msg, cases[i].what) == NULL)
            fail_msg("byte %u: %s", cases[i].at, err.msg);
        w->data[cases[i].at] = was;
        if (strcmp(cases[i].what, "predecessor") == 0)
            put64(w->data + 48, FIRST - 64);
    }
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
}

static void
record_given_up_by_a_crash_is_passed(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    uint8_t half[BLOCK * 2] = {0};
    gsp_lsn end, broken;
    (void)add_record(w, 1000, 1, 0);
    broken = w->at;
    put32(half, sizeof half);
    put64(half + 8, w->prev);
    half[17] = 1;
    put_bytes(w, half, sizeof half, BLOCK - (uint32_t)(w->at % BLOCK));
    start_page(w, 8, 0);
    (void)add_record(w, 64, 0, 0xD0);
    (void)add_record(w, 500, 1, 0);
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
    assert_int_equal(end, w->at);
    w->data[BLOCK + 2] = 0;
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_CORRUPT);
    assert_int_equal(end, broken);
}

static void
wal_of_an_older_timeline_may_begin_a_segment(void **state)
{
    struct wal *w = *state;
    struct gsp_error err;
    gsp_lsn end;
    for (int i = 0; i < 10; i++)
        (void)add_record(w, 4000, 1, 0);
    w->timeline = 2; /* the file is named after the new timeline */
    for (int i = 0; i < 10; i++)
        (void)add_record(w, 4000, 1, 0);
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), 0);
    w->timeline = 1;
    assert_int_equal(verify(w, FIRST, w->at, &end, &err), GSP_E_CORRUPT);
}

static void
wal_of_an_unknown_version_is_refused(void **state)
{
    struct wal *w = *state;
    struct gsp_cluster c = cluster_15();
    struct gsp_wal_source source = {w, read_wal};
    struct gsp_error err = {0};
    gsp_lsn end;
    (void)snprintf(c.version, sizeof c.version, "9.2");
    assert_int_equal(dialect()->wal_verify(&c, &source, 1, FIRST, FIRST + 100, &end, &err), GSP_E_VERSION);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(wal_of_all_record_sizes_is_walked, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(wal_may_end_at_a_page_or_segment, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(missing_wal_names_segment_and_position, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(damaged_wal_is_corrupt, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(record_given_up_by_a_crash_is_passed, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(wal_of_an_older_timeline_may_begin_a_segment, setup_wal, free_wal),
        cmocka_unit_test_setup_teardown(wal_of_an_unknown_version_is_refused, setup_wal, free_wal),
    };
    return cmocka_run_group_tests_name("server-postgresql-wal", tests, NULL, NULL);
}
