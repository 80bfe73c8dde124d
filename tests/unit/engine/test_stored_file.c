/* SPDX-License-Identifier: Apache-2.0
 * Reading back what the copy wrote. */
#include "engine_test.h"

#include "core/engine/stored_file.h"

enum { PAGES = 300 };

struct stored_fixture {
    struct copy_fixture copied;
    struct engine e;
    struct backup b;
    struct stored_backup sb;
    struct stored_reader *r;
};

/* A file of the catalog that holds no pages: bytes that differ, longer than a window. */
enum { CONF_LEN = 1024 * 1024 + 777 };

static void
make_conf(char *bytes)
{
    for (size_t i = 0; i < CONF_LEN; i++)
        bytes[i] = (char)(1 + i % 250);
}

/* The file list of what was copied, then everything opened as validate and restore do. */
static void
open_stored(struct stored_fixture *f, void (*change)(struct filelist *list))
{
    struct gsp_error err;
    auto_filelist list = {0};
    ok(filelist_new(&list, &err));
    for (size_t i = 0; i < f->copied.src.n_files; i++) {
        const struct file_entry *from = &f->copied.src.files[i].entry;
        struct file_entry *e = filelist_add(&list, from->path, from->compress_alg, &err);
        const char *path = e->path, *alg = e->compress_alg;
        *e = *from;
        e->path = path;
        e->compress_alg = alg;
    }
    if (change != NULL)
        change(&list);
    backup_init(&f->b);
    f->b.dir = strdup("ID");
    f->b.block_size = SIZE;
    ok(filelist_write(&f->copied.repo, BACKUP_DIR "/backup_content.control", &list, &f->b.content_crc, &err));
    ok(config_new(&f->e.cfg, &err));
    ok(registry_new(&f->e.reg, &err));
    ok(registry_add(f->e.reg, &toy_codec_plugin, &err));
    f->e.repo = f->copied.repo; /* borrowed */
    f->e.instance = "main";
    ok(stored_backup_open(&f->sb, &f->e, &f->b, &err));
    ok(stored_reader_new(&f->sb, &f->r, &err));
}

static void
copy_something(struct stored_fixture *f, int compressed)
{
    struct gsp_error err;
    auto_free char *conf = malloc(CONF_LEN);
    make_conf(conf);
    memset(f, 0, sizeof *f);
    copy_fixture_open(&f->copied, compressed);
    add_pages(&f->copied, "1", 5);
    add_pages(&f->copied, "2", PAGES);
    add_source(&f->copied, "conf", conf, CONF_LEN, CONF_LEN, GSP_CLASS_COPY);
    ok(copy_files(&f->copied.copy, 1, 0, &err));
    commit_map(&f->copied);
}

static void
stored_fixture_close(struct stored_fixture *f)
{
    stored_reader_free(f->r);
    stored_backup_close(&f->sb);
    backup_clear(&f->b);
    registry_free(f->e.reg);
    config_free(f->e.cfg);
    copy_fixture_close(&f->copied);
}

/* Read a file to its end, as pages or as bytes. How much there was: *ret_n. */
static int
read_whole(struct stored_fixture *f, const char *path, int as_pages, uint32_t *ret_n, struct gsp_error *err)
{
    const struct file_entry *e = filelist_find(&f->sb.list, path, 0);
    assert_non_null(e);
    *ret_n = 0;
    int rc = stored_reader_begin(f->r, e, as_pages, err);
    while (rc == 0) {
        const uint8_t *bytes;
        int64_t n;
        if (as_pages) {
            rc = stored_reader_pages(f->r, err);
            n = rc == 0 ? f->r->batch->n : 0;
        } else {
            n = stored_reader_bytes(f->r, &bytes, err);
            rc = n < 0 ? (int)n : 0;
        }
        if (n <= 0)
            break;
        *ret_n += (uint32_t)n;
    }
    return rc == 0 ? stored_reader_end(f->r, err) : rc;
}

/* ---- what is right -------------------------------------------------------------------------------- */

static void
pages_come_back(void **state)
{
    (void)state;
    for (int compressed = 0; compressed < 2; compressed++) {
        struct stored_fixture f;
        struct gsp_error err;
        copy_something(&f, compressed);
        open_stored(&f, NULL);
        const struct file_entry *e = filelist_find(&f.sb.list, "2", 0);
        assert_null(stored_codec_error(&f.sb, e));
        for (int round = 0; round < 2; round++) { /* a reader is used again */
            uint32_t done = 0;
            ok(stored_reader_begin(f.r, e, 1, &err));
            for (;;) {
                ok(stored_reader_pages(f.r, &err));
                const struct page_batch *b = f.r->batch;
                for (uint32_t i = 0; i < b->n; i++) {
                    uint8_t want[SIZE];
                    make_page(want, done + i);
                    assert_memory_equal(b->data + (size_t)i * b->stride, want, SIZE);
                    assert_int_equal(b->block[i], done + i);
                    const struct page_header *h = stored_reader_header(f.r, i);
                    assert_int_equal(h->block, done + i);
                    assert_int_equal(h->lsn, 0x1000 + done + i);
                }
                if (b->n == 0)
                    break;
                done += b->n;
            }
            ok(stored_reader_end(f.r, &err));
            assert_int_equal(done, PAGES);
        }
        stored_fixture_close(&f);
    }
}

static void
bytes_come_back(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct gsp_error err;
    auto_free char *want = malloc(CONF_LEN);
    size_t done = 0;
    const uint8_t *bytes;
    int64_t n;
    uint32_t len;
    make_conf(want);
    copy_something(&f, 1);
    open_stored(&f, NULL);
    ok(stored_reader_begin(f.r, filelist_find(&f.sb.list, "conf", 0), 0, &err));
    while ((n = stored_reader_bytes(f.r, &bytes, &err)) > 0) {
        assert_memory_equal(bytes, want + done, (size_t)n);
        done += (size_t)n;
    }
    assert_int_equal(n, 0);
    assert_int_equal(done, CONF_LEN);
    ok(stored_reader_end(f.r, &err));
    ok(read_whole(&f, "2", 0, &len, &err)); /* a data file as bytes */
    assert_int_equal(len, filelist_find(&f.sb.list, "2", 0)->size);
    ok(read_whole(&f, "1", 1, &len, &err)); /* and pages again */
    assert_int_equal(len, 5);
    stored_fixture_close(&f);
}

static void
forget_headers(struct filelist *list)
{
    for (size_t i = 0; i < list->n; i++)
        list->entries[i].n_headers = 0;
}

static void
files_without_a_map_speak_for_themselves(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct gsp_error err;
    uint32_t n;
    copy_something(&f, 1);
    open_stored(&f, forget_headers);
    ok(store_remove(&f.copied.repo, BACKUP_DIR "/page_header_map", &err));
    ok(read_whole(&f, "2", 1, &n, &err));
    assert_int_equal(n, PAGES);
    ok(stored_reader_begin(f.r, filelist_find(&f.sb.list, "1", 0), 1, &err));
    ok(stored_reader_pages(f.r, &err));
    assert_null(stored_reader_header(f.r, 0));
    stored_fixture_close(&f);
}

static void
paths_follow_the_kind_of_file(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct gsp_error err;
    char path[PATH_SIZE];
    struct file_entry e = {.path = "a/b"};
    copy_something(&f, 0);
    open_stored(&f, NULL);
    ok(stored_path(&f.sb, &e, path, &err));
    assert_string_equal(path, BACKUP_DIR "/database/a/b");
    e.file_type = 1;
    ok(stored_path(&f.sb, &e, path, &err));
    assert_string_equal(path, BACKUP_DIR "/dssdata/a/b");
    e.external_dir_num = 3;
    ok(stored_path(&f.sb, &e, path, &err));
    assert_string_equal(path, BACKUP_DIR "/external_directories/externaldir3/a/b");
    static char deep[PATH_SIZE];
    memset(deep, 'd', sizeof deep - 1);
    e.path = deep;
    fails(stored_path(&f.sb, &e, path, &err), GSP_E_CORRUPT);
    stored_fixture_close(&f);
}

/* ---- what is wrong -------------------------------------------------------------------------------- */

/* Replace a stored file by its bytes changed. */
static void
spoil(struct stored_fixture *f, const char *path, void (*change)(struct strbuf *bytes))
{
    struct gsp_error err;
    auto_strbuf bytes = STRBUF_INIT;
    ok(store_read_all(&f->copied.repo, path, 1 << 24, &bytes, &err));
    change(&bytes);
    ok(store_write_all(&f->copied.repo, path, 0600, 0, bytes.data, bytes.len, &err));
}

static void
cut_one_byte(struct strbuf *bytes)
{
    bytes->len--;
}

static void
cut_within_a_header(struct strbuf *bytes)
{
    bytes->len = 5;
}

static void
cut_everything(struct strbuf *bytes)
{
    bytes->len = 0;
}

/* The frames are whole, there are too few of them. */
static void
cut_a_page(struct strbuf *bytes)
{
    uint32_t last = 0;
    for (uint32_t at = 0; at < bytes->len; at += PAGE_FRAME_BYTES + load_le32((const uint8_t *)bytes->data + at + 4))
        last = at;
    bytes->len = last;
}

static void
add_one_byte(struct strbuf *bytes)
{
    strbuf_putc(bytes, 'x');
}

static void
flip_a_bit_of_a_page(struct strbuf *bytes)
{
    bytes->data[100] ^= 4;
}

static void
flip_a_block_number(struct strbuf *bytes)
{
    bytes->data[0] ^= 4;
}

static void
make_a_size_impossible(struct strbuf *bytes)
{
    bytes->data[6] = 0x7f;
}

static void
damaged_files_are_corrupt(void **state)
{
    (void)state;
    static const struct {
        void (*spoil)(struct strbuf *);
        const char *said;
    } ways[] = {
        {cut_one_byte, "ends in the middle of a page"},
        {cut_within_a_header, "ends in the middle of a page"},
        {cut_everything, "0 bytes long instead of "},
        {cut_a_page, " bytes long instead of "},
        {add_one_byte, "longer than the listed "},
        {flip_a_bit_of_a_page, "Invalid CRC: "},
        {flip_a_block_number, "block 4 stands where the page header map has block 0"},
        {make_a_size_impossible, "states a size of "},
    };
    for (int compressed = 0; compressed < 2; compressed++) {
        for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
            struct stored_fixture f;
            struct gsp_error err;
            uint32_t n;
            copy_something(&f, compressed);
            open_stored(&f, NULL);
            spoil(&f, DATABASE_DIR "/2", ways[i].spoil);
            fails(read_whole(&f, "2", 1, &n, &err), GSP_E_CORRUPT);
            if (strstr(err.msg, ways[i].said) == NULL)
                fail_msg("way %zu: %s", i, err.msg);
            fails(read_whole(&f, "2", 0, &n, &err), GSP_E_CORRUPT);
            ok(read_whole(&f, "1", 1, &n, &err)); /* the next one is read all the same */
            spoil(&f, DATABASE_DIR "/conf", ways[i].spoil);
            fails(read_whole(&f, "conf", 0, &n, &err), GSP_E_CORRUPT);
            stored_fixture_close(&f);
        }
    }
}

static void
missing_files_are_told(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct gsp_error err;
    uint32_t n;
    copy_something(&f, 0);
    open_stored(&f, NULL);
    ok(store_remove(&f.copied.repo, DATABASE_DIR "/conf", &err));
    ok(store_remove(&f.copied.repo, BACKUP_DIR "/page_header_map", &err));
    fails(read_whole(&f, "conf", 0, &n, &err), GSP_E_NOENT);
    fails(read_whole(&f, "1", 1, &n, &err), GSP_E_NOENT);
    assert_non_null(strstr(err.msg, "page_header_map"));
    stored_fixture_close(&f);
}

/* Two files whose records were exchanged: each of them good in itself. */
static void
exchange_maps(struct filelist *list)
{
    struct file_entry *a = NULL, *b = NULL;
    for (size_t i = 0; i < list->n; i++) {
        if (strcmp(list->entries[i].path, "1") == 0)
            a = &list->entries[i];
        if (strcmp(list->entries[i].path, "3") == 0)
            b = &list->entries[i];
    }
    struct file_entry old = *a;
    a->hdr_off = b->hdr_off;
    a->hdr_size = b->hdr_size;
    a->hdr_crc = b->hdr_crc;
    b->hdr_off = old.hdr_off;
    b->hdr_size = old.hdr_size;
    b->hdr_crc = old.hdr_crc;
}

static void
wrong_crc_of_map(struct filelist *list)
{
    for (size_t i = 0; i < list->n; i++)
        list->entries[i].hdr_crc ^= 1;
}

static void
wrong_crc(struct filelist *list)
{
    for (size_t i = 0; i < list->n; i++)
        list->entries[i].crc ^= 1;
}

static void
maps_and_files_must_agree(void **state)
{
    (void)state;
    static void (*const ways[])(struct filelist *) = {exchange_maps, wrong_crc_of_map, wrong_crc};
    static const char *const said[] = {"page header map", "page_header_map: ", "Invalid CRC"};
    for (size_t i = 0; i < 3; i++) {
        struct stored_fixture f;
        struct gsp_error err;
        uint32_t n;
        auto_free uint8_t *pages = calloc(5, SIZE);
        memset(&f, 0, sizeof f);
        copy_fixture_open(&f.copied, 1);
        add_pages(&f.copied, "1", 5);
        /* As many pages and bytes in all as "1", of other lengths. */
        for (uint32_t k = 0; k < 5; k++)
            make_page(pages + k * SIZE, (k + 1) % 5);
        for (uint32_t k = 0; k < 5; k++) {
            uint32_t from = (k + 1) % 5;
            toy_page(pages + k * SIZE, SIZE, k, 1, from % 3 == 0 ? SIZE - TOY_PAGE_HEADER : 200 + from, 1);
        }
        add_source(&f.copied, "3", pages, 5 * SIZE, 5 * SIZE, GSP_CLASS_PAGES);
        ok(copy_files(&f.copied.copy, 1, 0, &err));
        commit_map(&f.copied);
        assert_int_equal(f.copied.src.files[0].entry.size, f.copied.src.files[1].entry.size);
        open_stored(&f, ways[i]);
        fails(read_whole(&f, "1", 1, &n, &err), GSP_E_CORRUPT);
        assert_non_null(strstr(err.msg, said[i]));
        stored_fixture_close(&f);
    }
}

static void
list_too_few_blocks(struct filelist *list)
{
    for (size_t i = 0; i < list->n; i++)
        list->entries[i].n_blocks -= list->entries[i].n_blocks > 0;
}

static void
list_too_many_blocks(struct filelist *list)
{
    for (size_t i = 0; i < list->n; i++)
        list->entries[i].n_blocks += list->entries[i].n_blocks > 0;
}

static void
full_backups_hold_every_block(void **state)
{
    (void)state;
    static void (*const ways[])(struct filelist *) = {list_too_few_blocks, list_too_many_blocks};
    static const char *const said[] = {"more blocks than the listed 4", "5 blocks instead of the listed 6"};
    for (size_t i = 0; i < 2; i++) {
        struct stored_fixture f;
        struct gsp_error err;
        uint32_t n;
        copy_something(&f, 1);
        open_stored(&f, ways[i]);
        ok(read_whole(&f, "1", 1, &n, &err)); /* an increment holds what it holds */
        f.b.mode = strdup("FULL");
        fails(read_whole(&f, "1", 1, &n, &err), GSP_E_CORRUPT);
        assert_non_null(strstr(err.msg, said[i]));
        stored_fixture_close(&f);
    }
}

static void
lists_name_a_file_once(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct stored_backup sb;
    struct gsp_error err;
    auto_filelist list = {0};
    copy_something(&f, 0);
    open_stored(&f, NULL);
    ok(filelist_read(&f.copied.repo, BACKUP_DIR "/backup_content.control", 0, &list, &err));
    list.entries[0].path = list.entries[1].path;
    ok(filelist_write(&f.copied.repo, BACKUP_DIR "/backup_content.control", &list, &f.b.content_crc, &err));
    fails(stored_backup_open(&sb, &f.e, &f.b, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "twice"));
    stored_backup_close(&sb);
    stored_fixture_close(&f);
}

static void
name_a_strange_compressor(struct filelist *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->entries[i].path, "1") == 0)
            list->entries[i].compress_alg = "strange";
}

static void
missing_compressors_fail_only_their_files(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct gsp_error err;
    uint32_t n;
    copy_something(&f, 1);
    open_stored(&f, name_a_strange_compressor);
    const struct gsp_error *why = stored_codec_error(&f.sb, filelist_find(&f.sb.list, "1", 0));
    assert_non_null(why);
    assert_int_equal(why->code, GSP_E_UNSUPPORTED);
    assert_null(stored_codec_error(&f.sb, filelist_find(&f.sb.list, "2", 0)));
    fails(read_whole(&f, "1", 1, &n, &err), GSP_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "strange"));
    ok(read_whole(&f, "1", 0, &n, &err)); /* its bytes can be checked all the same */
    ok(read_whole(&f, "2", 1, &n, &err));
    assert_int_equal(n, PAGES);
    stored_fixture_close(&f);
}

static void
compressed_pages_need_a_compressor(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct gsp_error err;
    uint32_t n;
    copy_something(&f, 1);
    for (size_t i = 0; i < f.copied.src.n_files; i++)
        f.copied.src.files[i].entry.compress_alg = "none";
    open_stored(&f, NULL);
    fails(read_whole(&f, "1", 1, &n, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "listed as uncompressed"));
    stored_fixture_close(&f);
}

static void
hostile_backups_are_refused(void **state)
{
    (void)state;
    struct stored_fixture f;
    struct gsp_error err;
    uint32_t n;
    struct stored_backup sb;
    copy_something(&f, 0);
    open_stored(&f, NULL);
    stored_reader_free(f.r);
    f.sb.page_size = 7; /* as a control file may say */
    ok(stored_reader_new(&f.sb, &f.r, &err));
    fails(read_whole(&f, "1", 1, &n, &err), GSP_E_CORRUPT);
    f.b.content_crc ^= 1;
    fails(stored_backup_open(&sb, &f.e, &f.b, &err), GSP_E_CORRUPT);
    stored_backup_close(&sb);
    ok(store_remove(&f.copied.repo, BACKUP_DIR "/backup_content.control", &err));
    fails(stored_backup_open(&sb, &f.e, &f.b, &err), GSP_E_NOENT);
    stored_backup_close(&sb);
    stored_fixture_close(&f);
}

/* ---- salvage -------------------------------------------------------------------------------------- */

/* Read pages as far as they go, to a failure or a premature end, then salvage the rest. The blocks seen must be
 * in order and what they were. */
static void
salvage(struct stored_fixture *f, const char *path, uint32_t *ret_read, uint32_t *ret_saved, uint32_t *ret_lost)
{
    struct gsp_error err = {0};
    uint32_t next = 0;
    const struct page_batch *b;
    *ret_read = *ret_saved = *ret_lost = 0;
    ok(stored_reader_begin(f->r, filelist_find(&f->sb.list, path, 0), 1, &err));
    while (stored_reader_pages(f->r, &err) == 0 && f->r->batch->n > 0)
        *ret_read += f->r->batch->n;
    for (;;) {
        ok(stored_reader_salvage(f->r, ret_lost, &err));
        b = f->r->batch;
        if (b->n == 0)
            return;
        assert_int_equal(b->n, 1);
        assert_true(b->block[0] >= next);
        next = b->block[0] + 1;
        uint8_t want[SIZE];
        make_page(want, b->block[0]);
        assert_memory_equal(b->data, want, SIZE);
        (*ret_saved)++;
    }
}

static void
spoil_three_pages(struct strbuf *bytes)
{
    uint32_t at = 0;
    for (uint32_t i = 0; at < bytes->len; i++) {
        uint8_t *frame = (uint8_t *)bytes->data + at;
        at += PAGE_FRAME_BYTES + load_le32(frame + 4);
        if (i == 5)
            store_le32(frame + 4, 0); /* no size */
        if (i == 70)
            store_le32(frame, 71); /* another block */
        if (i == PAGES - 1)
            store_le32(frame + 4, SIZE + 1);
    }
}

static void
what_is_left_of_a_file_is_salvaged(void **state)
{
    (void)state;
    for (int compressed = 0; compressed < 2; compressed++) {
        struct stored_fixture f;
        uint32_t read, saved, lost;
        copy_something(&f, compressed);
        open_stored(&f, NULL);
        spoil(&f, DATABASE_DIR "/2", spoil_three_pages);
        salvage(&f, "2", &read, &saved, &lost);
        assert_int_equal(read, 0); /* the first batch was not handed over */
        assert_int_equal(saved, PAGES - 3);
        assert_int_equal(lost, 3);
        stored_fixture_close(&f);
        /* Nothing to find pages by. */
        copy_something(&f, compressed);
        open_stored(&f, forget_headers);
        spoil(&f, DATABASE_DIR "/2", spoil_three_pages);
        salvage(&f, "2", &read, &saved, &lost);
        assert_int_equal(saved + lost, 0);
        stored_fixture_close(&f);
    }
}

static void
cut_in_two(struct strbuf *bytes)
{
    bytes->len /= 2;
}

static void
pages_behind_the_end_are_lost(void **state)
{
    (void)state;
    struct stored_fixture f;
    uint32_t read, saved, lost;
    copy_something(&f, 0);
    open_stored(&f, NULL);
    spoil(&f, DATABASE_DIR "/2", cut_in_two);
    salvage(&f, "2", &read, &saved, &lost);
    assert_int_equal(read + saved, PAGES / 2);
    assert_int_equal(lost, PAGES / 2);
    stored_fixture_close(&f);
}

/* A map whose only page is as long as a whole file, larger than any buffer for pages. */
static void
maps_of_giant_pages_are_harmless(void **state)
{
    (void)state;
    enum { GIANT = 3 * 1024 * 1024 };
    struct copy_fixture *copied;
    struct stored_fixture f;
    struct gsp_error err;
    struct header_stream *hs = NULL;
    uint32_t read, saved, lost;
    auto_free uint8_t *bytes = calloc(1, GIANT);
    memset(&f, 0, sizeof f);
    copied = &f.copied;
    copy_fixture_open(copied, 0);
    add_source(copied, "1", bytes, 0, 0, GSP_CLASS_PAGES);
    struct file_entry *e = &copied->src.files[0].entry;
    e->size = GIANT;
    ok(header_stream_new(&hs, &err));
    ok(header_stream_add(hs, &(struct page_header){0}, 1, &err));
    ok(header_map_append(copied->copy.map, hs, GIANT, e, &err));
    header_stream_free(hs);
    commit_map(copied);
    ok(store_write_all(&copied->repo, DATABASE_DIR "/1", 0600, 0, bytes, GIANT, &err));
    open_stored(&f, NULL);
    salvage(&f, "1", &read, &saved, &lost);
    assert_int_equal(read + saved, 0);
    assert_int_equal(lost, 1);
    stored_fixture_close(&f);
}

static void
versions_decide_who_reads_a_backup(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        int rc;
    } cases[] = {{"2.4.0", 0}, {"2.4.2", 0}, {"2.5.15", 0}, {"2.5.99", 0}, {"2.6.0", GSP_E_VERSION},
        {"3.0.0", GSP_E_VERSION}, {"2.3.5", GSP_E_UNSUPPORTED}, {"", GSP_E_UNSUPPORTED}, {"new", GSP_E_UNSUPPORTED},
        {NULL, GSP_E_UNSUPPORTED}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gsp_error err = {0};
        struct backup b = {.id = "QWERTY", .program_version = (char *)(uintptr_t)cases[i].version};
        assert_int_equal(stored_backup_check_version(&b, &err), cases[i].rc);
        assert_int_equal(err.code, cases[i].rc);
        assert_true(cases[i].rc == 0 || strstr(err.msg, "backup QWERTY was made by version") != NULL);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_come_back),
        cmocka_unit_test(bytes_come_back),
        cmocka_unit_test(files_without_a_map_speak_for_themselves),
        cmocka_unit_test(paths_follow_the_kind_of_file),
        cmocka_unit_test(damaged_files_are_corrupt),
        cmocka_unit_test(missing_files_are_told),
        cmocka_unit_test(maps_and_files_must_agree),
        cmocka_unit_test(full_backups_hold_every_block),
        cmocka_unit_test(lists_name_a_file_once),
        cmocka_unit_test(missing_compressors_fail_only_their_files),
        cmocka_unit_test(compressed_pages_need_a_compressor),
        cmocka_unit_test(hostile_backups_are_refused),
        cmocka_unit_test(what_is_left_of_a_file_is_salvaged),
        cmocka_unit_test(pages_behind_the_end_are_lost),
        cmocka_unit_test(maps_of_giant_pages_are_harmless),
        cmocka_unit_test(versions_decide_who_reads_a_backup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
