/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/base/cancel.h"

/* ---- checks --------------------------------------------------------------------------------------- */

/* The stored file is the row of these pages, its entry and its header records say the same. */
static void
assert_stored_pages(struct copy_fixture *f, const char *path, const uint8_t *pages, uint32_t n)
{
    char name[PATH_SIZE];
    struct gsp_error err;
    struct page_batch b;
    auto_strbuf bytes = STRBUF_INIT;
    auto_store_file map = {0};
    auto_free struct page_header *headers = NULL;
    const struct file_entry *e = &source(f, path)->entry;
    assert_true(path_join(name, "database", path));
    stored_bytes(f, name, &bytes);
    assert_int_equal(e->size, bytes.len);
    assert_int_equal(e->crc, crc32c(0, bytes.data, bytes.len));
    assert_int_equal(e->n_blocks, n);
    assert_int_equal(e->n_headers, n);
    assert_string_equal(e->compress_alg, f->copy.codec_name);
    ok(store_file_open(&f->repo, BACKUP_DIR "/page_header_map", &map, &err));
    ok(header_map_load(&map, e, &headers, &err));
    ok(page_batch_init(&b, SIZE, codec_ops(&f->codec), NULL, NULL, &err));
    for (uint32_t done = 0, at = 0, used; done < n; done += b.n, at += used) {
        uint32_t len = bytes.len - at < b.enc_cap ? (uint32_t)(bytes.len - at) : b.enc_cap;
        memcpy(b.enc, bytes.data + at, len);
        ok(page_batch_unframe(&b, len, &used, &err));
        assert_true(b.n > 0);
        page_batch_check(&b, &toy_dialect, &f->side.cluster, 0);
        for (uint32_t i = 0; i < b.n; i++) {
            const struct page_header *h = &headers[done + i];
            assert_int_equal(b.block[i], done + i);
            assert_memory_equal(b.data + (size_t)i * b.stride, pages + (size_t)(done + i) * SIZE, SIZE);
            assert_int_equal(h->block, done + i);
            assert_int_equal(h->pos, at + b.out_span[i].off - PAGE_FRAME_BYTES);
            assert_int_equal(h->lsn, b.lsn[i]);
            assert_int_equal(h->checksum, b.sum[i]);
        }
    }
    page_batch_free(&b);
}

static void
assert_stored_as_made(struct copy_fixture *f, const char *path, uint32_t n)
{
    auto_free uint8_t *pages = malloc((size_t)n * SIZE);
    assert_non_null(pages);
    for (uint32_t i = 0; i < n; i++)
        make_page(pages + (size_t)i * SIZE, i);
    assert_stored_pages(f, path, pages, n);
}

/* ---- whole files ---------------------------------------------------------------------------------- */

static void
data_files_are_stored_page_by_page(void **state)
{
    (void)state;
    for (int compressed = 0; compressed < 2; compressed++) {
        struct copy_fixture f;
        struct gsp_error err;
        copy_fixture_open(&f, compressed);
        add_pages(&f, "1", 1);
        add_pages(&f, "300", 300); /* more than a batch */
        add_pages(&f, "128", 128);
        add_pages(&f, "2", 2);
        ok(copy_files(&f.copy, 3, 0, &err));
        assert_string_equal(f.src.files[0].source, "300"); /* largest first */
        assert_string_equal(f.src.files[3].source, "1");
        commit_map(&f);
        assert_stored_as_made(&f, "1", 1);
        assert_stored_as_made(&f, "2", 2);
        assert_stored_as_made(&f, "128", 128);
        assert_stored_as_made(&f, "300", 300);
        assert_int_equal(f.copy.uncompressed_bytes, 431 * SIZE);
        assert_int_equal(f.copy.repeated_reads + f.copy.corrupt_pages + f.copy.torn_lsn, 0);
        assert_true(compressed ? source(&f, "300")->entry.size < 200 * SIZE
                               : source(&f, "300")->entry.size == 300 * (int64_t)STRIDE);
        assert_int_equal(f.copy.progress.bytes, 431 * SIZE);
        assert_int_equal(f.copy.progress.files, 4);
        copy_fixture_close(&f);
    }
}

static void
zero_pages_are_kept(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    auto_free uint8_t *pages = calloc(3, SIZE);
    toy_page(pages + SIZE, SIZE, 1, 5, 100, 1);
    copy_fixture_open(&f, 0);
    add_source(&f, "1", pages, 3 * SIZE, 3 * SIZE, GSP_CLASS_PAGES);
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    assert_stored_pages(&f, "1", pages, 3);
    copy_fixture_close(&f);
}

static void
later_segments_are_checked_as_such(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    uint8_t page[SIZE];
    toy_page(page, SIZE, 2 * TOY_SEGMENT_BLOCKS, 5, 100, 1);
    copy_fixture_open(&f, 0);
    add_source(&f, "1.2", page, SIZE, SIZE, GSP_CLASS_PAGES);
    source(&f, "1.2")->entry.segment = 2;
    ok(copy_files(&f.copy, 1, 0, &err));
    copy_fixture_close(&f);
}

static void
empty_files_leave_nothing_in_the_catalog(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    copy_fixture_open(&f, 1);
    add_source(&f, "1", "", 0, 0, GSP_CLASS_PAGES);
    add_source(&f, "conf", "", 0, 0, GSP_CLASS_COPY);
    ok(copy_files(&f.copy, 2, 0, &err));
    commit_map(&f);
    assert_false(is_stored(&f, "database/1"));
    assert_false(is_stored(&f, "database/conf"));
    assert_false(is_stored(&f, "page_header_map"));
    for (size_t i = 0; i < 2; i++) {
        const struct source_file *s = &f.src.files[i];
        assert_true(s->entry.size == 0 && s->entry.crc == 0 && s->entry.n_headers == 0 && !s->vanished);
    }
    copy_fixture_close(&f);
}

/* The control file is not for copy_files, a file may be gone by now, and grow after the scan. */
static void
files_come_and_go_meanwhile(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    copy_fixture_open(&f, 0);
    add_pages(&f, "1", 4);
    add_pages(&f, "2", 4);
    add_source(&f, "conf", "x", 1, 1, GSP_CLASS_COPY);
    add_source(&f, "log", "grown since", 11, 5, GSP_CLASS_COPY);
    add_source(&f, "control", "xxxxx", 5, 5, GSP_CLASS_CONTROL);
    source(&f, "1")->size = 2 * SIZE; /* as the scan saw it */
    ok(store_remove(&f.side.store, "2", &err));
    ok(store_remove(&f.side.store, "conf", &err));
    ok(copy_files(&f.copy, 2, 0, &err));
    commit_map(&f);
    assert_stored_as_made(&f, "1", 2);
    assert_true(source(&f, "2")->vanished && source(&f, "conf")->vanished);
    assert_false(source(&f, "1")->vanished || source(&f, "log")->vanished);
    assert_false(is_stored(&f, "database/2") || is_stored(&f, "database/conf") || is_stored(&f, "database/control"));
    assert_content(&f.repo, DATABASE_DIR "/log", "grown since");
    assert_int_equal(source(&f, "log")->entry.size, 11);
    assert_int_equal(source(&f, "log")->entry.crc, crc32c(0, "grown since", 11));
    copy_fixture_close(&f);
}

static void
a_partial_last_page_is_left_out(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    auto_free uint8_t *bytes = calloc(4, SIZE);
    for (uint32_t i = 0; i < 4; i++)
        make_page(bytes + i * SIZE, i);
    copy_fixture_open(&f, 0);
    add_source(&f, "1", bytes, 3 * SIZE + 100, 3 * SIZE + 100, GSP_CLASS_PAGES);
    add_source(&f, "2", bytes, 100, 100, GSP_CLASS_PAGES);
    ok(copy_files(&f.copy, 1, 0, &err));
    commit_map(&f);
    assert_stored_as_made(&f, "1", 3);
    assert_int_equal(source(&f, "2")->entry.size, 0);
    assert_false(is_stored(&f, "database/2"));
    copy_fixture_close(&f);
}

static void
files_longer_than_a_segment_are_refused(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    copy_fixture_open(&f, 0);
    add_pages(&f, "1", 1);
    source(&f, "1")->size = (UINT64_C(1) << 32) * SIZE; /* a count of blocks that wraps to 0 */
    fails(copy_files(&f.copy, 1, 0, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "file '1'"));
    copy_fixture_close(&f);
}

/* ---- reads that a running server disturbs --------------------------------------------------------- */

enum { FOREVER = 1000000 };

/* What the hook below does to the reads of one file. */
struct weather {
    const char *path;
    uint32_t block; /* torn in the first `bad_reads` reads of it */
    unsigned bad_reads;
    unsigned truncate_at_read; /* 1 = the first read of the file; 0 = never */
    uint64_t truncate_to;
    unsigned reads_of[8]; /* by block */
    unsigned reads;
};

static void
disturb(struct spy *spy, const char *path, uint64_t offset, const struct iovec *iov, int64_t *got)
{
    struct weather *w = spy->arg;
    if (strcmp(path, w->path) != 0)
        return;
    w->reads++;
    if (w->truncate_at_read != 0 && w->reads >= w->truncate_at_read) {
        int64_t left = offset < w->truncate_to ? (int64_t)(w->truncate_to - offset) : 0;
        *got = *got < left ? *got : left;
    }
    /* The product reads a page into one part. */
    for (uint32_t i = 0; (int64_t)i < *got / SIZE; i++) {
        uint32_t block = (uint32_t)(offset / SIZE) + i;
        if (block < 8 && w->reads_of[block]++ < w->bad_reads && block == w->block)
            ((uint8_t *)iov[i].iov_base)[SIZE - 1] ^= 0xFF;
    }
}

static void
disturb_stat(struct spy *spy, const char *path, struct gsp_stat *st)
{
    const struct weather *w = spy->arg;
    if (strcmp(path, w->path) == 0 && w->truncate_at_read != 0 && w->reads >= w->truncate_at_read)
        st->size = w->truncate_to;
}

static void
torn_pages_are_read_again(void **state)
{
    (void)state;
    for (int compressed = 0; compressed < 2; compressed++) {
        struct copy_fixture f;
        struct gsp_error err;
        struct weather w = {.path = "1", .block = 2, .bad_reads = 3};
        copy_fixture_open(&f, compressed);
        add_pages(&f, "1", 5);
        f.data_spy.after_read = disturb;
        f.data_spy.arg = &w;
        ok(copy_files(&f.copy, 1, 0, &err));
        commit_map(&f);
        for (uint32_t i = 0; i < 5; i++) /* only that page */
            assert_int_equal(w.reads_of[i], i == 2 ? 4 : 1);
        assert_int_equal(f.copy.repeated_reads, 3);
        assert_int_equal(f.copy.corrupt_pages, 0);
        assert_int_equal(f.copy.torn_lsn, 0);
        assert_stored_as_made(&f, "1", 5);
        copy_fixture_close(&f);
    }
}

static void
broken_pages_are_reported_and_the_rest_is_copied(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    struct log_capture log;
    auto_strbuf text = STRBUF_INIT;
    auto_free uint8_t *pages = calloc(5, SIZE);
    for (uint32_t i = 0; i < 5; i++)
        make_page(pages + i * SIZE, i);
    pages[SIZE + 100] ^= 1;                                    /* older than the start */
    toy_page(pages + 3 * SIZE, SIZE, 3, START_LSN + 8, 10, 1); /* newer, but no page at all */
    pages[3 * SIZE + 10] ^= 1;
    copy_fixture_open(&f, 0);
    add_source(&f, "1", pages, 5 * SIZE, 5 * SIZE, GSP_CLASS_PAGES);
    add_pages(&f, "2", 3);
    add_source(&f, "conf", "abc", 3, 3, GSP_CLASS_COPY);
    log_capture_begin(&log);
    fails(copy_files(&f.copy, 1, 0, &err), GSP_E_CORRUPT);
    log_capture_end(&log, &text);
    assert_non_null(strstr(err.msg, "2 corrupt page(s) in the data directory '/data'"));
    assert_true(err.hint[0] != '\0');
    assert_non_null(strstr(strbuf_str(&text), "WARNING: Corruption detected in file \"1\", block 1: page verification "
                                              "failed, LSN 0/1001, stored checksum "));
    assert_non_null(strstr(strbuf_str(&text), "file \"1\", block 3: page header invalid, LSN 0/2000008"));
    assert_null(strstr(strbuf_str(&text), "block 0:"));
    commit_map(&f);
    assert_int_equal(f.copy.corrupt_pages, 2);
    assert_int_equal(f.copy.torn_lsn, 0);
    assert_stored_pages(&f, "1", pages, 5); /* as it is: somebody may want the rest of it */
    assert_stored_as_made(&f, "2", 3);
    assert_content(&f.repo, DATABASE_DIR "/conf", "abc");
    copy_fixture_close(&f);
}

static void
torn_pages_newer_than_the_start_are_left_to_wal(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    auto_free uint8_t *pages = calloc(3, SIZE);
    static const gsp_lsn lsn[] = {START_LSN + 1, START_LSN + 0x500, START_LSN + 0x300};
    for (uint32_t i = 0; i < 3; i++) {
        toy_page(pages + i * SIZE, SIZE, i, lsn[i], 100, i);
        pages[i * SIZE + 100] ^= 1;
    }
    copy_fixture_open(&f, 0);
    add_source(&f, "1", pages, 3 * SIZE, 3 * SIZE, GSP_CLASS_PAGES);
    ok(copy_files(&f.copy, 1, 0, &err));
    assert_int_equal(f.copy.corrupt_pages, 0);
    assert_int_equal(f.copy.torn_lsn, START_LSN + 0x500); /* the highest of them */
    copy_fixture_close(&f);

    /* At the start itself is not newer. */
    copy_fixture_open(&f, 0);
    toy_page(pages, SIZE, 0, START_LSN, 100, 0);
    pages[100] ^= 1;
    add_source(&f, "1", pages, SIZE, SIZE, GSP_CLASS_PAGES);
    fails(copy_files(&f.copy, 1, 0, &err), GSP_E_CORRUPT);
    copy_fixture_close(&f);
}

static void
files_truncated_meanwhile_end_where_they_end(void **state)
{
    (void)state;
    /* After the first batch; within it; while a torn page is read again; to nothing at once. */
    static const struct {
        struct weather w;
        uint32_t pages, left;
    } cases[] = {
        {{.path = "1", .truncate_at_read = 9, .truncate_to = 140 * SIZE + 10}, 300, 140},
        {{.path = "1", .truncate_at_read = 2, .truncate_to = 20 * SIZE}, 100, 20},
        {{.path = "1", .block = 3, .bad_reads = 2, .truncate_at_read = 2, .truncate_to = 3 * SIZE + 5}, 6, 3},
        {{.path = "1", .truncate_at_read = 1, .truncate_to = 0}, 6, 0},
        {{.path = "1", .block = 0, .bad_reads = 9, .truncate_at_read = 2, .truncate_to = 0}, 6, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct copy_fixture f;
        struct gsp_error err;
        struct weather w = cases[i].w;
        copy_fixture_open(&f, i % 2 == 0);
        add_pages(&f, "1", cases[i].pages);
        f.data_spy.after_read = disturb;
        f.data_spy.after_stat = disturb_stat;
        f.data_spy.arg = &w;
        ok(copy_files(&f.copy, 1, 0, &err));
        commit_map(&f);
        assert_int_equal(f.copy.corrupt_pages, 0);
        if (cases[i].left > 0)
            assert_stored_as_made(&f, "1", cases[i].left);
        else
            assert_true(source(&f, "1")->entry.n_blocks == 0 && !is_stored(&f, "database/1"));
        copy_fixture_close(&f);
    }
}

static void
other_files_truncated_meanwhile_too(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    enum { LEN = 3 * 1024 * 1024, LEFT = 1024 * 1024 + 7 };
    auto_free char *bytes = malloc(LEN);
    struct weather w = {.path = "conf", .truncate_at_read = 2, .truncate_to = LEFT};
    memset(bytes, 'x', LEN);
    copy_fixture_open(&f, 0);
    add_source(&f, "conf", bytes, LEN, LEN, GSP_CLASS_COPY);
    f.data_spy.after_read = disturb;
    f.data_spy.after_stat = disturb_stat;
    f.data_spy.arg = &w;
    ok(copy_files(&f.copy, 1, 0, &err));
    assert_int_equal(source(&f, "conf")->entry.size, LEFT);
    assert_int_equal(source(&f, "conf")->entry.crc, crc32c(0, bytes, LEFT));
    copy_fixture_close(&f);
}

/* arg: unsigned, how many reads give half of what there is. */
static void
halve(struct spy *spy, const char *path, uint64_t offset, const struct iovec *iov, int64_t *got)
{
    unsigned *left = spy->arg;
    (void)path;
    (void)offset;
    (void)iov;
    if (*left > 0) {
        --*left;
        *got /= 2;
    }
}

static void
a_short_read_is_not_the_end_of_a_file(void **state)
{
    (void)state;
    struct gsp_error err;
    for (unsigned times = 1; times < 100; times += 98) {
        struct copy_fixture f;
        unsigned left = times;
        char bytes[1000];
        memset(bytes, 'x', sizeof bytes);
        copy_fixture_open(&f, 0);
        add_pages(&f, "1", 6);
        add_source(&f, "conf", bytes, sizeof bytes, sizeof bytes, GSP_CLASS_COPY);
        f.data_spy.after_read = halve;
        f.data_spy.arg = &left;
        if (times == 1) {
            ok(copy_files(&f.copy, 1, 0, &err));
            commit_map(&f);
            assert_stored_as_made(&f, "1", 6);
            assert_int_equal(source(&f, "conf")->entry.size, sizeof bytes);
        } else {
            fails(copy_files(&f.copy, 1, 0, &err), GSP_E_IO);
            assert_non_null(strstr(err.msg, "reading stops at byte "));
        }
        copy_fixture_close(&f);
    }
}

/* ---- other files ---------------------------------------------------------------------------------- */

static void
runs_of_zeros_become_holes(void **state)
{
    (void)state;
    enum { K = 1024, LEN = 5 * 1024 * K + 333 };
    /* The bytes that are not zero; what may be written is little more than them. */
    static const struct {
        size_t at[3], written_max;
    } cases[] = {
        {{SIZE_MAX, SIZE_MAX, SIZE_MAX}, 0},
        {{0, SIZE_MAX, SIZE_MAX}, 64 * K},
        {{LEN - 1, SIZE_MAX, SIZE_MAX}, 64 * K},
        {{2 * 1024 * K + 5, SIZE_MAX, SIZE_MAX}, 64 * K},
        {{64 * K - 1, 64 * K, 1024 * K - 1}, 3 * 64 * K},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct copy_fixture f;
        struct gsp_error err;
        auto_strbuf stored = STRBUF_INIT;
        auto_free char *bytes = calloc(1, LEN);
        for (size_t k = 0; k < 3; k++)
            if (cases[i].at[k] != SIZE_MAX)
                bytes[cases[i].at[k]] = 'x';
        copy_fixture_open(&f, 1);
        add_source(&f, "map", bytes, LEN, LEN, GSP_CLASS_COPY);
        ok(copy_files(&f.copy, 1, 0, &err));
        assert_true(f.repo_spy.bytes_written <= cases[i].written_max);
        stored_bytes(&f, "database/map", &stored);
        assert_int_equal(stored.len, LEN);
        assert_memory_equal(stored.data, bytes, LEN);
        assert_int_equal(source(&f, "map")->entry.size, LEN);
        assert_int_equal(source(&f, "map")->entry.crc, crc32c(0, bytes, LEN));
        assert_string_equal(source(&f, "map")->entry.compress_alg, "none");
        copy_fixture_close(&f);
    }
}

static void
full_storages_are_told_with_the_file(void **state)
{
    (void)state;
    for (int as_pages = 0; as_pages < 2; as_pages++) {
        struct copy_fixture f;
        struct gsp_error err;
        copy_fixture_open(&f, 0);
        add_pages(&f, "1", 3);
        f.src.files[0].action = as_pages ? GSP_CLASS_PAGES : GSP_CLASS_COPY;
        storage_mem_fail_writes(f.repo_spy.mem, 1, UINT64_MAX, ENOSPC);
        fails(copy_files(&f.copy, 1, 0, &err), GSP_E_NOSPC);
        assert_non_null(strstr(err.msg, "file '1': "));
        assert_false(is_stored(&f, "database/1"));
        copy_fixture_close(&f);
    }
}

/* ---- the control file ----------------------------------------------------------------------------- */

static void
tear_control(struct spy *spy, const char *path, uint64_t offset, const struct iovec *iov, int64_t *got)
{
    int *left = spy->arg;
    (void)path;
    (void)offset;
    if (*got > 8 && (*left)-- > 0)
        ((uint8_t *)iov->iov_base)[7] ^= 1;
}

static void
the_control_file_is_read_until_it_is_whole(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    auto_strbuf stored = STRBUF_INIT;
    uint8_t control[64];
    int torn_reads = 4;
    for (size_t i = 0; i < sizeof control; i++)
        control[i] = (uint8_t)(i * 3);
    uint32_t crc = crc32c(0, control + 4, sizeof control - 4);
    store_le32(control, crc);
    copy_fixture_open(&f, 0);
    add_source(&f, "control", control, sizeof control, sizeof control, GSP_CLASS_CONTROL);
    f.data_spy.after_read = tear_control;
    f.data_spy.arg = &torn_reads;
    ok(copy_control(&f.copy, source(&f, "control"), &err));
    stored_bytes(&f, "database/control", &stored);
    assert_int_equal(stored.len, sizeof control);
    assert_memory_equal(stored.data, control, sizeof control);
    assert_int_equal(source(&f, "control")->entry.size, sizeof control);
    assert_int_equal(source(&f, "control")->entry.crc, crc);
    torn_reads = FOREVER;
    ok(store_remove(&f.repo, DATABASE_DIR "/control", &err));
    fails(copy_control(&f.copy, source(&f, "control"), &err), GSP_E_CORRUPT);
    assert_string_equal(err.msg, "file 'control': the checksum of the control file is wrong");
    assert_false(is_stored(&f, "database/control"));
    copy_fixture_close(&f);
}

/* ---- who else can stop it ------------------------------------------------------------------------- */

static void
endless(struct spy *spy, const char *path, uint64_t offset, const struct iovec *iov, int64_t *got)
{
    (void)spy;
    (void)path;
    (void)offset;
    memset(iov->iov_base, 0, iov->iov_len);
    *got = (int64_t)iov->iov_len;
}

static int
broken_stream(void *wal, gsp_lsn from, uint32_t timeline, gsp_wal_cb cb, void *arg, struct gsp_error *err)
{
    (void)wal;
    (void)from;
    (void)timeline;
    (void)cb;
    (void)arg;
    return gsp_fail(err, GSP_E_NET, 0, "the cable was cut");
}

static void
a_failure_of_the_wal_receiver_stops_the_copy(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    const struct gsp_server_ops ops = {.struct_size = sizeof ops, .wal_stream = broken_stream};
    copy_fixture_open(&f, 0);
    struct wal_target target = {.store = &f.repo, .dir = DATABASE_DIR, .segment_size = 65536, .timeline = 1};
    add_source(&f, "endless", "x", 1, 1, GSP_CLASS_COPY);
    f.data_spy.after_read = endless;
    ok(wal_receiver_start(&ops, NULL, &target, &f.copy.wal, &err));
    fails(copy_files(&f.copy, 1, 0, &err), GSP_E_NET);
    assert_non_null(strstr(err.msg, "the cable was cut"));
    assert_false(is_stored(&f, "database/endless"));
    wal_receiver_free(f.copy.wal);
    copy_fixture_close(&f);
}

/* Last: nothing takes the flag back. */
static void
cancel_at_first_read(struct spy *spy, const char *path, uint64_t offset, const struct iovec *iov, int64_t *got)
{
    cancel_request();
    endless(spy, path, offset, iov, got);
}

static void
ctrl_c_stops_the_copy(void **state)
{
    (void)state;
    struct copy_fixture f;
    struct gsp_error err;
    copy_fixture_open(&f, 0);
    add_source(&f, "endless", "x", 1, 1, GSP_CLASS_COPY);
    f.data_spy.after_read = cancel_at_first_read;
    fails(copy_files(&f.copy, 1, 0, &err), GSP_E_CANCELLED);
    assert_false(is_stored(&f, "database/endless"));
    copy_fixture_close(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(data_files_are_stored_page_by_page),
        cmocka_unit_test(zero_pages_are_kept),
        cmocka_unit_test(later_segments_are_checked_as_such),
        cmocka_unit_test(empty_files_leave_nothing_in_the_catalog),
        cmocka_unit_test(files_come_and_go_meanwhile),
        cmocka_unit_test(a_partial_last_page_is_left_out),
        cmocka_unit_test(files_longer_than_a_segment_are_refused),
        cmocka_unit_test(torn_pages_are_read_again),
        cmocka_unit_test(broken_pages_are_reported_and_the_rest_is_copied),
        cmocka_unit_test(torn_pages_newer_than_the_start_are_left_to_wal),
        cmocka_unit_test(files_truncated_meanwhile_end_where_they_end),
        cmocka_unit_test(other_files_truncated_meanwhile_too),
        cmocka_unit_test(a_short_read_is_not_the_end_of_a_file),
        cmocka_unit_test(runs_of_zeros_become_holes),
        cmocka_unit_test(full_storages_are_told_with_the_file),
        cmocka_unit_test(the_control_file_is_read_until_it_is_whole),
        cmocka_unit_test(a_failure_of_the_wal_receiver_stops_the_copy),
        cmocka_unit_test(ctrl_c_stops_the_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
