/* SPDX-License-Identifier: Apache-2.0
 * Pages that the stock tool compressed, found through GSP_FIXTURES: all are read, written again and read again; where
 * the format leaves no choice, written the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/arena.h"
#include "core/base/bytes.h"
#include "core/base/cleanup.h"
#include "core/catalog/filelist.h"
#include "core/io/page_batch.h"
#include "tests/contract/plugin_under_test.h"

static const struct {
    const char *compressor, *archive, *id;
    int same; /* one encoder made them all */
} recorded[] = {
    {"zlib", "full-ptrack-ptrackzlib", "bk/backups/main/TOW4VE", 0},
    {"pglz", "pglz-lz4-zstd-extdirs", "bk2/backups/main/TOW55F", 0},
    {"lz4", "pglz-lz4-zstd-extdirs", "bk2/backups/main/TOW55Q", 1},
    {"zstd", "pglz-lz4-zstd-extdirs", "bk2/backups/main/TOW55V", 0},
};

enum { PAGE = 8192, FILES_MAX = 1500 };

static struct plugin_under_test subject;

/* unpack - what tar says to these arguments about an archive. */
static FILE *
unpack(const char *archive, const char *arguments)
{
    char command[4096];
    (void)snprintf(command, sizeof command, "zstd -dc '%s/opengauss/catalogs/%s.tar.zst' 2>/dev/null | tar -xO %s",
        getenv("GSP_FIXTURES"), archive, arguments);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    return out;
}

/* Stored files of one backup that the compressor has made, one path a line. */
static void
write_names(const char *archive, const char *id, const char *names)
{
    char line[8192], arguments[512];
    struct gsp_error err = {0};
    size_t n = 0;
    FILE *to = fopen(names, "w");
    assert_non_null(to);
    (void)snprintf(arguments, sizeof arguments, "--occurrence=1 '%s/backup_content.control'", id);
    FILE *list = unpack(archive, arguments);
    while (n < FILES_MAX && fgets(line, sizeof line, list) != NULL) {
        struct arena *arena = arena_new();
        struct file_entry f = {0};
        assert_int_equal(filelist_parse_line(arena, line, strcspn(line, "\n"), &f, &err), 0);
        if (f.is_datafile && f.size > 0 && strcmp(f.compress_alg, subject.plugin->name) == 0) {
            assert_true(fprintf(to, "%s/database/%s\n", id, f.path) > 0);
            n++;
        }
        arena_free(arena);
    }
    (void)pclose(list);
    assert_int_equal(fclose(to), 0);
    assert_true(n > 0);
}

/* Pages that were stored as they are lie where their frames are. */
static void
gather(struct page_batch *b)
{
    for (uint32_t i = 0; b->data != page_batch_page(b, 0) && i < b->n; i++)
        memcpy(page_batch_page(b, i), b->enc + b->out_span[i].off, PAGE);
}

/* check_batch - the whole frames at the start of stored[0..len). Returns their bytes. */
static uint32_t
check_batch(struct page_batch *b, const uint8_t *stored, uint32_t len, int same)
{
    static uint8_t pages[PAGE_BATCH_BYTES];
    struct gsp_error err = {0};
    const uint8_t *ours;
    uint32_t used, again, ours_len;
    memcpy(b->enc, stored, len);
    if (page_batch_unframe(b, len, &used, &err) != 0)
        fail_msg("%s", err.msg);
    gather(b);
    for (uint32_t i = 0; i < b->n; i++)
        memcpy(pages + (size_t)i * PAGE, page_batch_page(b, i), PAGE);
    uint32_t n = b->n;
    if (page_batch_frame(b, &ours, &ours_len, &err) != 0)
        fail_msg("%s", err.msg);
    if (same) {
        assert_int_equal(ours_len, used);
        assert_memory_equal(ours, stored, used);
    }
    if (page_batch_unframe(b, ours_len, &again, &err) != 0)
        fail_msg("%s", err.msg);
    gather(b);
    assert_int_equal(again, ours_len);
    assert_int_equal(b->n, n);
    for (uint32_t i = 0; i < n; i++)
        assert_memory_equal(page_batch_page(b, i), pages + (size_t)i * PAGE, PAGE);
    return used;
}

static void
pages_of_the_stock_tool(void **state)
{
    (void)state;
    size_t at = 0;
    while (strcmp(recorded[at].compressor, subject.plugin->name) != 0)
        at++;
    char names[] = "/tmp/gsp-stock-pages-XXXXXX", arguments[64];
    int fd = mkstemp(names);
    assert_true(fd >= 0 && close(fd) == 0);
    write_names(recorded[at].archive, recorded[at].id, names);
    (void)snprintf(arguments, sizeof arguments, "-T %s", names);
    FILE *in = unpack(recorded[at].archive, arguments);
    struct page_batch b;
    struct gsp_error err = {0};
    assert_int_equal(page_batch_init(&b, PAGE, subject.plugin->ops, subject.plugin->state, subject.opts, &err), 0);
    auto_free uint8_t *window = malloc(b.enc_cap);
    assert_non_null(window);
    uint64_t pages = 0;
    uint32_t len = 0;
    /* Frames of one file follow those of another without a seam. */
    for (size_t got = 1; got > 0 || len > 0;) {
        got = fread(window + len, 1, b.enc_cap - len, in);
        len += (uint32_t)got;
        uint32_t used = check_batch(&b, window, len, recorded[at].same);
        assert_true(used > 0 || len == 0);
        pages += b.n;
        len -= used;
        memmove(window, window + used, len);
    }
    assert_int_equal(pclose(in), 0);
    print_message("# %llu pages\n", (unsigned long long)pages);
    assert_true(pages >= 8);
    page_batch_free(&b);
    assert_int_equal(unlink(names), 0);
}

int
main(int argc, char **argv)
{
    if (getenv("GSP_FIXTURES") == NULL) {
        print_message("1..0 # SKIP GSP_FIXTURES is not set: no catalogs of the stock tool here\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(pages_of_the_stock_tool)};
    if (plugin_under_test_open(&subject, GSP_KIND_COMPRESSOR, argc > 1 ? argv[1] : NULL) != 0)
        return 1;
    int failed = cmocka_run_group_tests_name("stock_pages", tests, NULL, NULL);
    plugin_under_test_close(&subject);
    return failed;
}
