/* SPDX-License-Identifier: Apache-2.0
 * A chain of backups that number their external directories differently. */
#include "engine_test.h"

#include "core/engine/chain.h"

enum { MEMBERS = 3 };

struct fixture {
    struct engine e;
    struct backup b[MEMBERS]; /* [0] is the newest */
    struct filelist lists[MEMBERS];
    struct chain chain;
    struct chain_reader *in;
};

static const char *const dirs_of[MEMBERS] = {"/0:/b:/c", "/c:/a:/b", "/b:/c"};

static void
fixture_begin(struct fixture *f)
{
    struct gsp_error err;
    memset(f, 0, sizeof *f);
    log_set_console(LOG_LEVEL_OFF);
    mem_store(&f->e.repo);
    ok(config_new(&f->e.cfg, &err));
    ok(registry_new(&f->e.reg, &err));
    f->e.instance = "main";
    f->e.threads = 1;
    for (size_t k = 0; k < MEMBERS; k++) {
        struct backup *b = &f->b[k];
        backup_init(b);
        (void)snprintf(b->id, sizeof b->id, "M%d", (int)k);
        b->dir = strdup(b->id);
        b->mode = strdup(k + 1 == MEMBERS ? "FULL" : "DELTA");
        b->program_version = strdup("2.4.2");
        b->made_by = strdup("1.0");
        b->external_dirs = strdup(dirs_of[k]);
        ok(filelist_new(&f->lists[k], &err));
    }
}

static void
open_chain(struct fixture *f)
{
    const struct backup *backups[MEMBERS];
    struct gsp_error err;
    char path[64];
    for (size_t k = 0; k < MEMBERS; k++) {
        backups[k] = &f->b[k];
        (void)snprintf(path, sizeof path, "backups/main/%s/backup_content.control", f->b[k].id);
        ok(filelist_write(&f->e.repo, path, &f->lists[k], &f->b[k].content_crc, &err));
    }
    ok(chain_open(&f->chain, &f->e, backups, MEMBERS, &err));
    ok(chain_reader_new(&f->chain, &f->in, &err));
}

static void
fixture_end(struct fixture *f)
{
    chain_reader_free(f->in);
    chain_close(&f->chain);
    for (size_t k = 0; k < MEMBERS; k++) {
        backup_clear(&f->b[k]);
        filelist_clear(&f->lists[k]);
    }
    store_close(&f->e.repo);
    registry_free(f->e.reg);
    config_free(f->e.cfg);
}

static void
add_external(struct fixture *f, size_t k, int32_t number, const char *path, const char *text)
{
    struct gsp_error err;
    char full[128];
    struct file_entry *e = filelist_add(&f->lists[k], path, "none", &err);
    assert_non_null(e);
    e->mode = S_IFREG | 0600;
    e->external_dir_num = number;
    e->size = text != NULL ? (int64_t)strlen(text) : FILE_UNCHANGED;
    if (text == NULL)
        return;
    e->crc = crc32c(0, text, strlen(text));
    (void)snprintf(full, sizeof full, "backups/main/%s/" EXTERNAL_DIR_FORMAT, f->b[k].id, number);
    ok(store_mkdir(&f->e.repo, full, 0700, GSP_MKDIR_PARENTS, &err));
    (void)snprintf(full, sizeof full, "backups/main/%s/" EXTERNAL_DIR_FORMAT "/%s", f->b[k].id, number, path);
    ok(store_write_all(&f->e.repo, full, 0600, 0, text, strlen(text), &err));
}

static void
check_external(struct fixture *f, int32_t number, const char *path, const char *want)
{
    struct gsp_error err;
    const struct filelist *list = &f->chain.members[0].list;
    const struct file_entry *e = filelist_find(list, path, number), *stored;
    struct stored_reader *in;
    const uint8_t *bytes;
    size_t member;
    assert_non_null(e);
    ok(chain_find(f->in, (size_t)(e - list->entries), &member, &stored, &err));
    ok(chain_stored_reader(f->in, member, &in, &err));
    ok(stored_reader_begin(in, stored, 0, &err));
    assert_int_equal(stored_reader_bytes(in, &bytes, &err), strlen(want));
    assert_memory_equal(bytes, want, strlen(want));
    assert_int_equal(stored_reader_bytes(in, &bytes, &err), 0);
    ok(stored_reader_end(in, &err));
}

/* /a, /b and /c under other numbers in each member, with files of one name in all of them. */
static void
external_directories_are_matched_by_path(void **state)
{
    (void)state;
    struct fixture f;
    fixture_begin(&f);
    add_external(&f, 2, 1, "same", "b of M2");
    add_external(&f, 2, 2, "same", "c of M2");
    add_external(&f, 2, 2, "kept", "kept in c of M2");
    add_external(&f, 2, 3, "same", "of no directory");
    add_external(&f, 1, 1, "same", "a of M1");
    add_external(&f, 1, 2, "same", NULL);
    add_external(&f, 1, 3, "same", "c of M1");
    add_external(&f, 1, 3, "kept", NULL);
    add_external(&f, 0, 1, "same", "0 of M0");
    add_external(&f, 0, 2, "same", NULL);
    add_external(&f, 0, 3, "same", NULL);
    add_external(&f, 0, 3, "kept", NULL);
    open_chain(&f);
    check_external(&f, 1, "same", "0 of M0");
    check_external(&f, 2, "same", "b of M2");
    check_external(&f, 3, "same", "c of M1");
    check_external(&f, 3, "kept", "kept in c of M2");
    fixture_end(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(external_directories_are_matched_by_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
