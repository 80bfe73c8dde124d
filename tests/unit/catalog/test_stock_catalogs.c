/* SPDX-License-Identifier: Apache-2.0
 * Catalogs that the stock tools made: everything in them is understood, and gs_probackup's own texts are
 * reproduced byte for byte. They are found through GSP_FIXTURES. */
#include "catalog_test.h"

#include <ftw.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/catalog/header_map.h"

static const char *const archives[] = {
    "opengauss/catalogs/recorded",
    "opengauss/catalogs/full-ptrack-ptrackzlib",
    "opengauss/catalogs/pglz-lz4-zstd-extdirs",
    "opengauss/catalogs/before-merge",
    "opengauss/catalogs/after-merge",
    "pg_probackup/pp25",
};

enum { BACKUPS_MAX = 16 };

/* nftw has no argument to pass. */
static char found[BACKUPS_MAX][1024];
static size_t found_n;

static int
note_backup(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    const char *base = path + ftw->base;
    if (type == FTW_F && strcmp(base, "backup.control") == 0 && found_n < BACKUPS_MAX)
        (void)snprintf(found[found_n++], sizeof found[0], "%.*s", ftw->base - 1, path);
    return 0;
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* The small files of one archive below dir. */
static void
unpack(const char *archive, const char *dir)
{
    char command[4096];
    (void)snprintf(command, sizeof command,
        "zstd -dc '%s/%s.tar.zst' | tar -x -C '%s' --no-same-owner --wildcards '*.control' '*page_header_map' "
        "'*/database/tablespace_map'",
        getenv("GSP_FIXTURES"), archive, dir);
    if (system(command) != 0)
        fail_msg("cannot unpack %s", archive);
}

static void
copy_in(struct store *s, const char *dir, const char *name, struct strbuf *text)
{
    char path[2048];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    file_read(path, text);
    struct gsp_error err;
    ok(store_write_all(s, name, 0600, 0, text->data, text->len, &err));
}

static size_t
check_headers(struct store *s, const struct filelist *list)
{
    struct gsp_error err;
    auto_store_file map = {0};
    size_t n = 0;
    ok(store_file_open(s, "page_header_map", &map, &err));
    for (size_t i = 0; i < list->n; i++) {
        auto_free struct page_header *headers = NULL;
        if (list->entries[i].n_headers == 0)
            continue;
        ok(header_map_load(&map, &list->entries[i], &headers, &err));
        n++;
    }
    return n;
}

/* Returns how many files had page headers. */
static size_t
check_backup(const char *dir, int is_stock)
{
    struct store s;
    struct gsp_error err;
    auto_backup b;
    auto_filelist list = {0};
    auto_strbuf control = STRBUF_INIT, lines = STRBUF_INIT, map = STRBUF_INIT, again = STRBUF_INIT;
    uint32_t crc = 0;
    mem_store(&s);
    backup_init(&b);
    copy_in(&s, dir, "backup.control", &control);
    copy_in(&s, dir, "backup_content.control", &lines);
    copy_in(&s, dir, "page_header_map", &map);
    ok(backup_parse(control.data, control.len, dir, &b, &err));
    assert_string_equal(b.id, strrchr(dir, '/') + 1);
    ok(backup_format(&b, &again, &err));
    assert_string_equal(again.data, control.data);
    ok(filelist_read(&s, "backup_content.control", b.content_crc, &list, &err));
    assert_true(list.n > 100);
    size_t with_headers = check_headers(&s, &list);
    ok(filelist_write(&s, "again", &list, &crc, &err));
    if (is_stock)
        assert_content(&s, "again", lines.data);
    filelist_sort(&list);
    assert_non_null(filelist_find(&list, "global/pg_control", 0));
    store_close(&s);
    return with_headers;
}

static void
check_tablespaces(const char *dir)
{
    struct gsp_error err;
    struct tablespace *spaces = NULL;
    char path[2048];
    size_t n = 0;
    auto_strbuf text = STRBUF_INIT;
    (void)snprintf(path, sizeof path, "%s/database/tablespace_map", dir);
    file_read(path, &text);
    ok(tablespace_map_parse(text.data, text.len, &spaces, &n, &err));
    assert_int_equal(n, 1);
    assert_int_equal(spaces[0].location[0], '/');
    tablespaces_free(spaces, n);
}

static void
their_catalogs_are_understood(void **state)
{
    (void)state;
    size_t total = 0, with_headers = 0;
    for (size_t i = 0; i < sizeof archives / sizeof archives[0]; i++) {
        char dir[] = "/tmp/stock-catalog-XXXXXX";
        assert_non_null(mkdtemp(dir));
        unpack(archives[i], dir);
        found_n = 0;
        (void)nftw(dir, note_backup, 16, FTW_PHYS);
        for (size_t k = 0; k < found_n; k++) {
            with_headers += check_backup(found[k], strncmp(archives[i], "opengauss", 9) == 0);
            check_tablespaces(found[k]);
        }
        total += found_n;
        (void)nftw(dir, remove_entry, 16, FTW_PHYS | FTW_DEPTH);
    }
    assert_int_equal(total, 17);
    assert_int_equal(with_headers, 6759);
}

int
main(void)
{
    if (getenv("GSP_FIXTURES") == NULL) {
        print_message("1..0 # SKIP GSP_FIXTURES is not set: no catalogs of the stock tools here\n");
        return 0;
    }
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(their_catalogs_are_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
