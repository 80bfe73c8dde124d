/* SPDX-License-Identifier: Apache-2.0
 * Chains that the stock tools made, found through GSP_FIXTURES: every file of every increment, put together, against
 * the frames laid over each other from the oldest backup to the newest. No header map, no compressor is needed for
 * that. */
#include "engine_test.h"

#include <ftw.h>
#include <unistd.h>

#include "core/engine/chain.h"

static const struct {
    const char *archive, *root, *instance;
    size_t increments; /* on top of a FULL backup */
} catalogs[] = {
    {"opengauss/catalogs/full-ptrack-ptrackzlib", "bk", "main", 2},
    {"opengauss/catalogs/before-merge", "bk3", "main", 2},
    {"pg_probackup/pp25", "pp25", "pg15", 3},
};

enum { FILE_MAX = 160 * 1024 * 1024, BLOCKS_MAX = 20000 };

/* A catalog in the file system, read into memory. nftw has no argument to pass. */
static struct store *into;
static size_t prefix_len;

static int
copy_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    struct gsp_error err;
    auto_strbuf bytes = STRBUF_INIT;
    const char *name = path + prefix_len;
    (void)ftw;
    if (type == FTW_D) {
        ok(store_mkdir(into, name, 0700, GSP_MKDIR_PARENTS, &err));
    } else if (type == FTW_F && st->st_size <= FILE_MAX) {
        file_read(path, &bytes);
        ok(store_write_all(into, name, 0600, 0, bytes.data, bytes.len, &err));
    }
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

static void
load(struct store *s, const char *archive, const char *root)
{
    char dir[] = "/tmp/gsp-chain-XXXXXX", command[4096], top[256];
    struct gsp_error err;
    assert_non_null(mkdtemp(dir));
    /* Without what is most of the bytes, and of no interest: see is_unpacked. */
    (void)snprintf(command, sizeof command,
        "zstd -dc '%s/%s.tar.zst' | tar -x -C '%s' --sparse --no-same-owner --exclude '*/pg_xlog/*' "
        "--exclude '*/pg_wal/*' --exclude '*_dw*' --exclude '*/wal/*' --exclude '*/base/*/2' --exclude "
        "'*/base/*/2_fsm'",
        getenv("GSP_FIXTURES"), archive, dir);
    assert_int_equal(system(command), 0);
    (void)snprintf(top, sizeof top, "%s/%s/", dir, root);
    into = s;
    prefix_len = strlen(top);
    ok(store_open(s, &storage_mem_ops, NULL, NULL, "/mem", &err));
    assert_int_equal(nftw(top, copy_entry, 16, FTW_PHYS), 0);
    assert_int_equal(nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- the model ------------------------------------------------------------------------------------ */

struct layers {
    struct strbuf stored[8]; /* of each member; borrowed from by frame */
    const uint8_t **frame;   /* BLOCKS_MAX, NULL = nobody has it */
};

static const struct file_entry *
entry_of(const struct filelist *list, const struct file_entry *f)
{
    for (size_t low = 0, high = list->n; low < high;) {
        size_t middle = (low + high) / 2;
        int order = filelist_compare(&list->entries[middle], f);
        if (order == 0)
            return &list->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static void
read_stored(struct engine *e, const struct backup *b, const struct file_entry *f, struct strbuf *ret)
{
    struct gsp_error err;
    char path[PATH_SIZE], where[64] = "database";
    strbuf_reset(ret);
    if (f->external_dir_num > 0)
        (void)snprintf(where, sizeof where, "external_directories/externaldir%d", f->external_dir_num);
    (void)snprintf(path, sizeof path, "backups/%s/%s/%s/%s", e->instance, b->dir, where, f->path);
    ok(store_read_all(&e->repo, path, FILE_MAX, ret, &err));
}

static void
cut(struct layers *l, uint32_t from)
{
    memset(l->frame + from, 0, (BLOCKS_MAX - from) * sizeof *l->frame);
}

static void
lay(struct layers *l, size_t k, struct engine *e, const struct backup *b, const struct file_entry *f)
{
    if (f == NULL || f->n_blocks == 0) {
        cut(l, 0);
        return;
    }
    cut(l, (uint32_t)f->n_blocks);
    if (f->size <= 0)
        return;
    read_stored(e, b, f, &l->stored[k]);
    assert_int_equal(l->stored[k].len, f->size);
    for (size_t at = 0; at < l->stored[k].len;) {
        const uint8_t *frame = (const uint8_t *)l->stored[k].data + at;
        uint32_t block = load_le32(frame);
        assert_true(block < (uint32_t)f->n_blocks);
        l->frame[block] = frame;
        at += PAGE_FRAME_BYTES + load_le32(frame + 4);
    }
}

/* ---- comparing ------------------------------------------------------------------------------------ */

struct counts {
    size_t whole, several, empty, bytes;
};

static void
compare_blocks(struct chain_reader *in, const struct layers *l, size_t member, struct counts *counts)
{
    struct gsp_error err;
    const struct chain_block *blocks;
    uint32_t n, seen = 0;
    ok(chain_blocks(in, &blocks, &n, &err));
    for (uint32_t i = 0; i < BLOCKS_MAX; i++)
        seen += l->frame[i] != NULL;
    assert_int_equal(seen, n);
    for (uint32_t done = 0; done < n;) {
        const uint8_t *frames;
        const char *codec;
        uint32_t len, part, at = 0;
        ok(chain_frames(in, blocks + done, n - done, &frames, &len, &part, &codec, &err));
        assert_true(part > 0);
        for (uint32_t i = 0; i < part; i++) {
            const struct chain_block *b = &blocks[done + i];
            assert_non_null(l->frame[b->block]);
            assert_memory_equal(frames + at, l->frame[b->block], b->len);
            assert_true(member == CHAIN_NONE || b->member == member);
            at += b->len;
        }
        assert_int_equal(at, len);
        done += part;
    }
    *(member != CHAIN_NONE ? &counts->whole : n > 0 ? &counts->several : &counts->empty) += 1;
}

/* The newest stored one, byte for byte. */
static void
compare_bytes(struct engine *e, struct chain_reader *in, const struct backup *b, size_t member,
    const struct file_entry *f, struct counts *counts)
{
    struct gsp_error err;
    auto_strbuf want = STRBUF_INIT;
    struct stored_reader *whole;
    const uint8_t *bytes;
    int64_t got;
    size_t at = 0;
    read_stored(e, b, f, &want);
    ok(chain_stored_reader(in, member, &whole, &err));
    ok(stored_reader_begin(whole, f, 0, &err));
    while ((got = stored_reader_bytes(whole, &bytes, &err)) > 0) {
        assert_memory_equal(bytes, want.data + at, (size_t)got);
        at += (size_t)got;
    }
    if (strcmp(f->path, "global/pg_control") != 0) /* its line has another checksum */
        ok(stored_reader_end(whole, &err));
    assert_int_equal(at, want.len);
    counts->bytes++;
}

/* WAL, double-write files, and two of the segment store that are much like their neighbour. */
static int
is_unpacked(const struct file_entry *f)
{
    const char *name = strrchr(f->path, '/');
    int is_segment = strncmp(f->path, "base/", 5) == 0 && (strcmp(name, "/2") == 0 || strcmp(name, "/2_fsm") == 0);
    return !is_segment && strstr(f->path, "_dw") == NULL && strncmp(f->path, "pg_xlog/", 8) != 0 &&
           strncmp(f->path, "pg_wal/", 7) != 0;
}

static void
compare_chain(struct engine *e, const struct backup *const *backups, size_t n, struct layers *l, struct counts *counts)
{
    struct gsp_error err;
    struct chain c;
    struct chain_reader *in;
    struct filelist lists[8];
    ok(chain_open(&c, e, backups, n, &err));
    ok(chain_reader_new(&c, &in, &err));
    for (size_t k = 0; k < n; k++) {
        ok(backup_read_filelist(&e->repo, e->instance, backups[k], &lists[k], &err));
        filelist_sort(&lists[k]);
    }
    for (size_t i = 0; i < lists[0].n; i++) {
        const struct file_entry *f = &lists[0].entries[i], *found, *newest = NULL;
        size_t member, k = 0;
        assert_int_equal(filelist_compare(f, &c.members[0].list.entries[i]), 0);
        if (file_entry_is_dir(f) || !is_unpacked(f))
            continue;
        ok(chain_find(in, i, &member, &found, &err));
        if (chain_entry_is_paged(f)) {
            for (k = n; k-- > 0;)
                lay(l, k, e, backups[k], entry_of(&lists[k], f));
            compare_blocks(in, l, member, counts);
            continue;
        }
        for (newest = f; newest->size == FILE_UNCHANGED;)
            newest = entry_of(&lists[++k], f);
        assert_int_equal(newest->size, found->size);
        if (newest->size > 0) {
            assert_int_equal(member, k);
            compare_bytes(e, in, backups[k], member, found, counts);
        }
    }
    for (size_t k = 0; k < n; k++)
        filelist_clear(&lists[k]);
    chain_reader_free(in);
    chain_close(&c);
}

static void
stock_chains_are_put_together(void **state)
{
    (void)state;
    log_set_console(LOG_LEVEL_OFF);
    struct layers l = {.frame = calloc(BLOCKS_MAX, sizeof *l.frame)};
    assert_non_null(l.frame);
    for (size_t i = 0; i < sizeof catalogs / sizeof catalogs[0]; i++) {
        struct gsp_error err;
        auto_backup_list list = {0};
        struct counts counts = {0};
        struct engine e = {.instance = catalogs[i].instance, .threads = 2};
        size_t increments = 0;
        load(&e.repo, catalogs[i].archive, catalogs[i].root);
        ok(config_new(&e.cfg, &err));
        ok(registry_new(&e.reg, &err));
        ok(backup_list_read(&e.repo, e.instance, &list, &err));
        for (size_t k = 0; k < list.n; k++) {
            auto_free const struct backup **chain = NULL;
            size_t n = 0;
            ok(backup_chain(&list, &list.backups[k], &chain, &n, &err));
            increments += n > 1;
            compare_chain(&e, chain, n, &l, &counts);
        }
        assert_int_equal(increments, catalogs[i].increments);
        assert_true(counts.whole > 100 && counts.several > 0 && counts.empty > 0 && counts.bytes > 10);
        registry_free(e.reg);
        config_free(e.cfg);
        store_close(&e.repo);
    }
    for (size_t k = 0; k < 8; k++)
        strbuf_free(&l.stored[k]);
    free((void *)l.frame);
}

int
main(void)
{
    if (getenv("GSP_FIXTURES") == NULL) {
        print_message("1..0 # SKIP GSP_FIXTURES is not set: no catalogs of the stock tools here\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(stock_chains_are_put_together)};
    return cmocka_run_group_tests_name("chain_stock", tests, NULL, NULL);
}
