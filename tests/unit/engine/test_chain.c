/* SPDX-License-Identifier: Apache-2.0
 * Chains of backups made by hand, with any history of a file, against a model that knows only that history. */
#include "engine_test.h"

#include "core/engine/chain.h"

enum { PAGE = 1024, MEMBERS_MAX = 20, BLOCKS_MAX = 32, FILES_MAX = 40 };

/* What one backup says of a file. */
enum state { ABSENT, EMPTY, UNCHANGED, STORED };
struct version {
    enum state state;
    int n_blocks;    /* 0: no pages, a plain file */
    uint32_t stored; /* a bit per block */
    const char *alg; /* NULL: "none" */
};

struct member {
    struct backup b;
    struct filelist list;
    struct header_map_writer *map;
    char path[64];
};

struct fixture {
    struct spy spy;
    struct engine e;
    struct member members[MEMBERS_MAX]; /* [0] is the newest */
    size_t n;
    struct chain chain;
    struct chain_reader *in;
};

static void
fixture_begin(struct fixture *f, size_t n, int is_ours)
{
    struct gsp_error err;
    char path[128];
    memset(f, 0, sizeof *f);
    log_set_console(LOG_LEVEL_OFF);
    ok(store_open(&f->e.repo, &spy_storage_ops, &f->spy, NULL, "/repo", &err));
    ok(store_mkdir(&f->e.repo, "", 0700, GSP_MKDIR_PARENTS, &err));
    ok(config_new(&f->e.cfg, &err));
    ok(registry_new(&f->e.reg, &err));
    ok(registry_add(f->e.reg, &toy_codec_plugin, &err));
    f->e.instance = "main";
    f->e.threads = 4;
    f->n = n;
    for (size_t k = 0; k < n; k++) {
        struct member *m = &f->members[k];
        backup_init(&m->b);
        (void)snprintf(m->b.id, sizeof m->b.id, "M%u", (unsigned)k);
        (void)snprintf(m->path, sizeof m->path, "backups/main/M%zu", k);
        m->b.dir = strdup(m->b.id);
        m->b.mode = strdup(k + 1 == n ? "FULL" : "DELTA");
        m->b.program_version = strdup("2.4.2");
        m->b.made_by = is_ours ? strdup("1.0") : NULL;
        m->b.block_size = PAGE;
        (void)snprintf(path, sizeof path, "%s/database", m->path);
        ok(store_mkdir(&f->e.repo, path, 0700, GSP_MKDIR_PARENTS, &err));
        (void)snprintf(path, sizeof path, "%s/page_header_map", m->path);
        ok(header_map_create(&f->e.repo, path, &m->map, &err));
        ok(filelist_new(&m->list, &err));
    }
}

/* The page that member k stores: no two are alike. */
static void
make_version(uint8_t *page, size_t k, uint32_t block)
{
    uint32_t used = block % 5 == 4 ? PAGE - TOY_PAGE_HEADER : 100 + block * 7 + (uint32_t)k;
    toy_page(page, PAGE, block, 0x1000 * (k + 1) + block, used, (uint32_t)k * 1000 + block);
}

/* The frame of a page as the toy compressor stores it. */
static void
add_frame(struct strbuf *stored, const uint8_t *page, uint32_t block, int is_toy)
{
    uint8_t header[PAGE_FRAME_BYTES];
    uint32_t len = PAGE;
    while (is_toy && page[len - 1] == 0)
        len--;
    store_le32(header, block);
    store_le32(header + 4, len);
    strbuf_add(stored, header, sizeof header);
    for (uint32_t i = 0; i < len; i++)
        strbuf_putc(stored, (char)(len < PAGE ? page[i] ^ TOY_SCRAMBLE : page[i]));
}

static void
store_pages(struct fixture *f, size_t k, struct file_entry *e, uint32_t blocks, struct strbuf *stored)
{
    struct gsp_error err;
    struct header_stream *hs;
    uint8_t page[PAGE];
    ok(header_stream_new(&hs, &err));
    for (uint32_t i = 0; i < BLOCKS_MAX; i++) {
        if (!(blocks & 1u << i))
            continue;
        make_version(page, k, i);
        struct page_header h = {
            .lsn = load_le64(page), .block = i, .pos = (uint32_t)stored->len, .checksum = load_le16(page + 8)};
        ok(header_stream_add(hs, &h, 1, &err));
        add_frame(stored, page, i, strcmp(e->compress_alg, "toy") == 0);
    }
    ok(header_map_append(f->members[k].map, hs, (uint32_t)stored->len, e, &err));
    header_stream_free(hs);
}

/* What member k says of a file, and what it stores of it. */
static void
add_version(struct fixture *f, size_t k, const char *path, const struct version *v)
{
    struct gsp_error err;
    char full[128];
    auto_strbuf stored = STRBUF_INIT;
    if (v->state == ABSENT)
        return;
    struct file_entry *e = filelist_add(&f->members[k].list, path, v->alg != NULL ? v->alg : "none", &err);
    assert_non_null(e);
    e->mode = S_IFREG | 0600;
    e->is_datafile = strncmp(path, "base/", 5) == 0;
    e->n_blocks = v->n_blocks;
    if (v->state == UNCHANGED)
        e->size = FILE_UNCHANGED;
    if (v->state != STORED)
        return;
    if (e->is_datafile)
        store_pages(f, k, e, v->stored, &stored);
    else
        strbuf_printf(&stored, "%s of M%zu", path, k);
    e->size = (int64_t)stored.len;
    e->crc = crc32c(0, stored.data, stored.len);
    (void)snprintf(full, sizeof full, "%s/database/%s", f->members[k].path, path);
    char *slash = strrchr(full, '/');
    *slash = '\0';
    ok(store_mkdir(&f->e.repo, full, 0700, GSP_MKDIR_PARENTS, &err));
    *slash = '/';
    ok(store_write_all(&f->e.repo, full, 0600, 0, stored.data, stored.len, &err));
}

static int
open_chain(struct fixture *f, struct gsp_error *ret_err)
{
    const struct backup *backups[MEMBERS_MAX];
    struct gsp_error err;
    char path[128];
    for (size_t k = 0; k < f->n; k++) {
        struct member *m = &f->members[k];
        backups[k] = &m->b;
        (void)snprintf(path, sizeof path, "%s/backup_content.control", m->path);
        if (m->map == NULL)
            continue;
        ok(filelist_write(&f->e.repo, path, &m->list, &m->b.content_crc, &err));
        ok(header_map_commit(m->map, &err));
        m->map = NULL;
    }
    int rc = chain_open(&f->chain, &f->e, backups, f->n, ret_err);
    return rc == 0 ? chain_reader_new(&f->chain, &f->in, ret_err) : rc;
}

static void
close_chain(struct fixture *f)
{
    chain_reader_free(f->in);
    f->in = NULL;
    chain_close(&f->chain);
}

static void
fixture_end(struct fixture *f)
{
    close_chain(f);
    for (size_t k = 0; k < f->n; k++) {
        backup_clear(&f->members[k].b);
        filelist_clear(&f->members[k].list);
        header_map_abort(f->members[k].map);
    }
    store_close(&f->e.repo);
    registry_free(f->e.reg);
    config_free(f->e.cfg);
}

static size_t
file_of(struct fixture *f, const char *path)
{
    const struct filelist *list = &f->chain.members[0].list;
    const struct file_entry *e = filelist_find(list, path, 0);
    assert_non_null(e);
    return (size_t)(e - list->entries);
}

/* ---- the model ------------------------------------------------------------------------------------ */

/* Which member has a block: its number, or one of these. */
enum { NOBODY = -1 };
struct model {
    int has[BLOCKS_MAX];
    int n_blocks;
};

/* Oldest to newest: a file that is not there has nothing; one that shrank forgot what was behind its end. */
static struct model
expect(const struct version *history, size_t n)
{
    struct model m = {.n_blocks = 0};
    for (size_t i = 0; i < BLOCKS_MAX; i++)
        m.has[i] = NOBODY;
    for (size_t k = n; k-- > 0;) {
        const struct version *v = &history[k];
        int blocks = v->state == ABSENT || v->state == EMPTY ? 0 : v->n_blocks;
        for (int i = 0; i < BLOCKS_MAX; i++) {
            if (i >= blocks)
                m.has[i] = NOBODY;
            else if (v->state == STORED && v->stored & 1u << i)
                m.has[i] = (int)k;
        }
        m.n_blocks = blocks;
    }
    return m;
}

static void
check_pages(struct fixture *f, const struct chain_block *blocks, uint32_t n, int one_by_one)
{
    struct gsp_error err;
    for (uint32_t done = 0; done < n;) {
        struct page_batch *b;
        uint32_t part, len;
        const uint8_t *frames;
        const char *codec;
        ok(chain_pages(f->in, blocks + done, one_by_one ? 1 : n - done, &b, &err));
        assert_in_range(b->n, 1, n - done);
        for (uint32_t i = 0; i < b->n; i++) {
            uint8_t want[PAGE];
            const struct chain_block *at = &blocks[done + i];
            make_version(want, at->member, at->block);
            assert_memory_equal(b->data + (size_t)i * b->stride, want, PAGE);
            assert_int_equal(b->block[i], at->block);
            assert_int_equal(at->lsn, load_le64(want));
            assert_int_equal(at->checksum, load_le16(want + 8));
        }
        ok(chain_frames(f->in, blocks + done, n - done, &frames, &len, &part, &codec, &err));
        assert_in_range(part, 1, n - done);
        uint32_t at = 0;
        for (uint32_t i = 0; i < part; i++) {
            assert_int_equal(load_le32(frames + at), blocks[done + i].block);
            uint32_t size = load_le32(frames + at + 4);
            assert_true(size == PAGE || strcmp(codec, "toy") == 0);
            at += PAGE_FRAME_BYTES + size;
        }
        assert_int_equal(at, len);
        done += b->n;
    }
}

/* The file is what the model says. Returns the member that has all of it. */
static size_t
check_file(struct fixture *f, const char *path, const struct version *history)
{
    struct gsp_error err;
    size_t i = file_of(f, path), member;
    const struct file_entry *e;
    const struct chain_block *blocks;
    uint32_t n, next = 0;
    struct model want = expect(history, f->n);
    ok(chain_find(f->in, i, &member, &e, &err));
    if (member != CHAIN_NONE) {
        struct stored_reader *whole;
        uint32_t pages = 0;
        ok(chain_stored_reader(f->in, member, &whole, &err));
        ok(stored_reader_begin(whole, e, 1, &err));
        do {
            ok(stored_reader_pages(whole, &err));
            for (uint32_t k = 0; k < whole->batch->n; k++)
                assert_int_equal(want.has[pages + k], member);
            pages += whole->batch->n;
        } while (whole->batch->n > 0);
        ok(stored_reader_end(whole, &err));
        assert_int_equal(pages, want.n_blocks);
    }
    ok(chain_blocks(f->in, &blocks, &n, &err));
    for (int k = 0; k < BLOCKS_MAX; k++) {
        if (want.has[k] == NOBODY)
            continue;
        assert_true(next < n);
        assert_int_equal(blocks[next].block, k);
        assert_int_equal(blocks[next].member, want.has[k]);
        next++;
    }
    assert_int_equal(next, n);
    check_pages(f, blocks, n, 0);
    check_pages(f, blocks, n, 1);
    return member;
}

/* ---- histories ------------------------------------------------------------------------------------ */

#define ALL(n) ((n) == 32 ? UINT32_MAX : (1u << (n)) - 1)

static void
newest_versions_win(void **state)
{
    (void)state;
    static const struct {
        struct version history[4]; /* newest first */
        size_t whole;
    } cases[] = {
        /* of one member */
        {{{UNCHANGED, 9, 0, 0}, {UNCHANGED, 9, 0, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}}, 3},
        {{{UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), "toy"}, {STORED, 20, 7, 0}, {STORED, 20, ALL(20), 0}}, 1},
        {{{STORED, 9, ALL(9), "toy"}, {ABSENT, 0, 0, 0}, {ABSENT, 0, 0, 0}, {ABSENT, 0, 0, 0}}, 0},
        /* of several, in two codecs */
        {{{STORED, 9, 1, "toy"}, {STORED, 9, 2 | 1, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), "toy"}}, CHAIN_NONE},
        /* cut */
        {{{UNCHANGED, 4, 0, 0}, {STORED, 9, 0xF0, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}}, CHAIN_NONE},
        {{{UNCHANGED, 4, 0, 0}, {UNCHANGED, 9, 0, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}}, CHAIN_NONE},
        /* cut and grown again: what was behind the cut does not come back */
        {{{STORED, 9, 0x1F8, 0}, {UNCHANGED, 3, 0, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}}, CHAIN_NONE},
        {{{UNCHANGED, 9, 0, 0}, {STORED, 9, 0x1F8, 0}, {UNCHANGED, 3, 0, 0}, {STORED, 9, ALL(9), 0}}, CHAIN_NONE},
        {{{STORED, 9, ALL(9), 0}, {EMPTY, 0, 0, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}}, 0},
        /* empty, at last or all the time */
        {{{EMPTY, 0, 0, 0}, {UNCHANGED, 9, 0, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}}, CHAIN_NONE},
        {{{UNCHANGED, 0, 0, 0}, {UNCHANGED, 9, 0, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}}, CHAIN_NONE},
        {{{UNCHANGED, 0, 0, 0}, {EMPTY, 0, 0, 0}, {EMPTY, 0, 0, 0}, {EMPTY, 0, 0, 0}}, CHAIN_NONE},
        /* dropped, and another one of the name */
        {{{STORED, 9, 3, 0}, {STORED, 9, ALL(9), 0}, {ABSENT, 0, 0, 0}, {STORED, 20, ALL(20), 0}}, CHAIN_NONE},
        /* a whole file of more blocks than are left of it */
        {{{STORED, 5, 4, 0}, {STORED, 9, ALL(9), 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}}, CHAIN_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        struct gsp_error err;
        fixture_begin(&f, 4, 1);
        for (size_t k = 0; k < 4; k++)
            add_version(&f, k, "base/1", &cases[i].history[k]);
        ok(open_chain(&f, &err));
        size_t whole = check_file(&f, "base/1", cases[i].history);
        if (whole != cases[i].whole)
            fail_msg("case %zu: member %zu", i, whole);
        fixture_end(&f);
    }
}

static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* The next newer backup of a file, with every block that has to be in it. before: the version below, NULL for the FULL
 * one. */
static struct version
random_version(const struct version *before, uint32_t *seed)
{
    struct version v = {.alg = next_random(seed) % 2 ? "toy" : "none"};
    uint32_t dice = next_random(seed) % 12;
    int had = before != NULL && before->state != ABSENT ? before->n_blocks : 0;
    if (dice == 0)
        return v; /* dropped */
    v.n_blocks = dice < 4 ? (int)(next_random(seed) % (BLOCKS_MAX + 1)) : had;
    if (v.n_blocks == 0) {
        v.state = EMPTY;
        return v;
    }
    uint32_t known = had > v.n_blocks ? ALL(v.n_blocks) : ALL(had), any = next_random(seed) & next_random(seed);
    v.stored = ((dice % 2 ? any : 0) | ~known) & ALL(v.n_blocks);
    v.state = v.stored != 0 ? STORED : UNCHANGED;
    return v;
}

static void
any_history_comes_back(void **state)
{
    (void)state;
    uint32_t seed = 4711;
    for (size_t n = 1; n <= MEMBERS_MAX; n++) {
        struct fixture f;
        struct gsp_error err;
        static struct version histories[FILES_MAX][MEMBERS_MAX];
        char path[32];
        fixture_begin(&f, n, 1);
        f.spy.iov_max = f.e.repo.limits.iov_max = 1 + (uint32_t)n % 5;
        for (size_t i = 0; i < FILES_MAX; i++) {
            (void)snprintf(path, sizeof path, "base/%zu", i * 7 % FILES_MAX);
            for (size_t k = n; k-- > 0;) {
                histories[i][k] = random_version(k + 1 < n ? &histories[i][k + 1] : NULL, &seed);
                add_version(&f, k, path, &histories[i][k]);
            }
        }
        ok(open_chain(&f, &err));
        for (size_t i = 0; i < FILES_MAX; i++) {
            (void)snprintf(path, sizeof path, "base/%zu", i * 7 % FILES_MAX);
            if (histories[i][0].state != ABSENT)
                (void)check_file(&f, path, histories[i]);
        }
        assert_false(f.spy.broke_limits);
        fixture_end(&f);
    }
}

static void
plain_files_come_from_the_newest_that_stores_them(void **state)
{
    (void)state;
    static const struct version stored = {.state = STORED}, unchanged = {.state = UNCHANGED}, empty = {.state = EMPTY};
    struct fixture f;
    struct gsp_error err;
    size_t member;
    const struct file_entry *e;
    fixture_begin(&f, 3, 0);
    add_version(&f, 0, "a", &unchanged);
    add_version(&f, 1, "a", &stored);
    add_version(&f, 2, "a", &stored);
    add_version(&f, 0, "b", &unchanged);
    add_version(&f, 1, "b", &empty);
    add_version(&f, 2, "b", &stored);
    add_version(&f, 0, "c", &unchanged); /* its parent does not know it */
    add_version(&f, 2, "c", &stored);
    add_version(&f, 0, "d", &unchanged); /* and here nobody has it */
    add_version(&f, 1, "d", &unchanged);
    add_version(&f, 2, "d", &unchanged);
    add_version(&f, 2, "gone", &stored);
    ok(open_chain(&f, &err));
    ok(chain_find(f.in, file_of(&f, "a"), &member, &e, &err));
    assert_int_equal(member, 1);
    assert_ptr_equal(e, chain_entry(&f.chain, 1, file_of(&f, "a")));
    assert_ptr_equal(e->path, f.chain.members[0].list.entries[file_of(&f, "a")].path); /* kept once */
    ok(chain_find(f.in, file_of(&f, "b"), &member, &e, &err));
    assert_true(member == CHAIN_NONE && e->size == 0);
    fails(chain_find(f.in, file_of(&f, "c"), &member, &e, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "unchanged in backup M0, and not listed in its parent M1"));
    fails(chain_find(f.in, file_of(&f, "d"), &member, &e, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "unchanged in backup M2, which is FULL"));
    fixture_end(&f);
}

/* ---- lists ---------------------------------------------------------------------------------------- */

static void
older_lists_keep_what_may_be_needed(void **state)
{
    (void)state;
    static const struct version histories[][3] = {
        {{UNCHANGED, 9, 0, 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}},
        {{UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}, {STORED, 9, ALL(9), 0}},
        {{STORED, 9, ALL(9), 0}, {UNCHANGED, 9, 0, 0}, {STORED, 9, ALL(9), 0}},
        {{ABSENT, 0, 0, 0}, {STORED, 9, ALL(9), 0}, {STORED, 9, ALL(9), 0}},
        {{STORED, 9, 1, 0}, {ABSENT, 0, 0, 0}, {STORED, 9, ALL(9), 0}},
        {{STORED, 9, ALL(9) - 7, 0}, {UNCHANGED, 3, 0, 0}, {STORED, 3, 7, 0}},
    };
    static const int kept[][2] = {{0, 1}, {1, 0}, {0, 0}, {0, 0}, {0, 0}, {1, 1}};
    struct fixture f;
    struct gsp_error err;
    char path[32];
    fixture_begin(&f, 3, 1);
    for (size_t i = 0; i < 6; i++) {
        (void)snprintf(path, sizeof path, "base/%zu", i);
        for (size_t k = 0; k < 3; k++)
            add_version(&f, k, path, &histories[i][k]);
    }
    ok(open_chain(&f, &err));
    for (size_t i = 0; i < 6; i++) {
        (void)snprintf(path, sizeof path, "base/%zu", i);
        for (size_t k = 1; k < 3; k++) {
            int has = histories[i][0].state != ABSENT && chain_entry(&f.chain, k, file_of(&f, path)) != NULL;
            if (has != kept[i][k - 1])
                fail_msg("%s of M%zu", path, k);
            if (histories[i][0].state != ABSENT)
                assert_int_equal(chain_lists(&f.chain, k, file_of(&f, path)) != 0, histories[i][k].state != ABSENT);
        }
    }
    assert_int_equal(f.chain.members[1].list.n, 2);
    assert_int_equal(f.chain.members[2].list.n, 2);
    fixture_end(&f);
}

static int
keep_odd(void *arg, const struct file_entry *f, struct gsp_error *err)
{
    if (strcmp(f->path, arg) == 0)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "not this one");
    return atoi(f->path + 5) % 2;
}

static void
files_can_be_left_out(void **state)
{
    (void)state;
    static const struct version history[2] = {{STORED, 9, 2, 0}, {STORED, 9, ALL(9), 0}};
    static char nothing[] = "", last[] = "base/3";
    struct fixture f;
    struct gsp_error err;
    char path[32];
    fixture_begin(&f, 2, 1);
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(path, sizeof path, "base/%zu", i);
        for (size_t k = 0; k < 2; k++)
            add_version(&f, k, path, &history[k]);
    }
    ok(open_chain(&f, &err));
    close_chain(&f);
    const struct backup *backups[] = {&f.members[0].b, &f.members[1].b};
    fails(chain_open_some(&f.chain, &f.e, backups, 2, keep_odd, last, &err), GSP_E_UNSUPPORTED);
    chain_close(&f.chain);
    ok(chain_open_some(&f.chain, &f.e, backups, 2, keep_odd, nothing, &err));
    ok(chain_reader_new(&f.chain, &f.in, &err));
    assert_int_equal(f.chain.members[0].list.n, 2);
    assert_int_equal(f.chain.members[1].list.n, 2);
    (void)check_file(&f, "base/1", history);
    (void)check_file(&f, "base/3", history);
    fixture_end(&f);
}

static void
impossible_chains_are_refused(void **state)
{
    (void)state;
    static const struct version v = {STORED, 9, ALL(9), 0};
    struct fixture f;
    struct gsp_error err;
    for (int way = 0; way < 4; way++) {
        fixture_begin(&f, 2, 1);
        add_version(&f, 0, "base/1", &v);
        add_version(&f, 1, "base/1", &v);
        if (way == 0) {
            f.members[1].b.block_size = 2 * PAGE;
            fails(open_chain(&f, &err), GSP_E_CONFIG);
        } else if (way == 1) {
            free(f.members[1].b.program_version);
            f.members[1].b.program_version = strdup("2.6.0");
            fails(open_chain(&f, &err), GSP_E_VERSION);
        } else if (way == 2) {
            add_version(&f, 1, "base/1", &v);
            fails(open_chain(&f, &err), GSP_E_CORRUPT);
            assert_non_null(strstr(err.msg, "names 'base/1' twice"));
        } else {
            ok(open_chain(&f, &err));
            close_chain(&f);
            f.members[1].b.content_crc ^= 1;
            fails(open_chain(&f, &err), GSP_E_CORRUPT);
        }
        fixture_end(&f);
    }
}

/* ---- damage --------------------------------------------------------------------------------------- */

/* Block 5 was added by M1, which does not store it. */
static const struct version lacking[3] = {{UNCHANGED, 6, 0, 0}, {STORED, 6, 1, 0}, {STORED, 5, ALL(5), 0}};

static void
gaps_of_our_backups_are_damage(void **state)
{
    (void)state;
    for (int is_ours = 0; is_ours < 2; is_ours++) {
        struct fixture f;
        struct gsp_error err;
        size_t member;
        const struct file_entry *e;
        const struct chain_block *blocks;
        uint32_t n;
        fixture_begin(&f, 3, is_ours);
        for (size_t k = 0; k < 3; k++)
            add_version(&f, k, "base/1", &lacking[k]);
        if (!is_ours)
            f.members[0].b.made_by = strdup("1.0"); /* it is not the one to blame */
        ok(open_chain(&f, &err));
        if (is_ours) {
            fails(chain_find(f.in, file_of(&f, "base/1"), &member, &e, &err), GSP_E_CORRUPT);
            assert_non_null(strstr(err.msg, "block 5 is missing in backup M1"));
        } else {
            ok(chain_find(f.in, file_of(&f, "base/1"), &member, &e, &err));
            assert_int_equal(member, CHAIN_NONE);
        }
        ok(chain_blocks(f.in, &blocks, &n, &err)); /* the others are what they are */
        assert_int_equal(n, 5);
        check_pages(&f, blocks, n, 0);
        fixture_end(&f);
    }
}

static const struct version mixed[3] = {{STORED, 20, 0x10101, 0}, {STORED, 20, 0xF00, "toy"}, {STORED, 20, ALL(20), 0}};

static void
mixed_fixture(struct fixture *f, int is_ours)
{
    fixture_begin(f, 3, is_ours);
    for (size_t k = 0; k < 3; k++)
        add_version(f, k, "base/1", &mixed[k]);
}

static void
spoil_byte(struct fixture *f, const char *path, size_t at)
{
    struct gsp_error err;
    auto_strbuf bytes = STRBUF_INIT;
    ok(store_read_all(&f->e.repo, path, 1 << 20, &bytes, &err));
    bytes.data[at] ^= 4;
    ok(store_write_all(&f->e.repo, path, 0600, 0, bytes.data, bytes.len, &err));
}

static void
damaged_frames_are_told_by_block(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    size_t member;
    const struct file_entry *e;
    const struct chain_block *blocks;
    struct page_batch *b;
    uint32_t n;
    mixed_fixture(&f, 1);
    ok(open_chain(&f, &err));
    spoil_byte(&f, "backups/main/M0/database/base/1", PAGE + PAGE_FRAME_BYTES); /* of its second frame, block 8 */
    ok(chain_find(f.in, file_of(&f, "base/1"), &member, &e, &err));
    ok(chain_blocks(f.in, &blocks, &n, &err));
    assert_int_equal(n, 20);
    fails(chain_pages(f.in, blocks, n, &b, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "block 8 in backup M0"));
    assert_int_equal(b->n, 0);
    for (uint32_t i = 0; i < n; i++) {
        if (i != 8)
            check_pages(&f, blocks + i, 1, 1);
        else
            fails(chain_pages(f.in, blocks + i, 1, &b, &err), GSP_E_CORRUPT);
    }
    /* Cut off. */
    ok(store_write_all(&f.e.repo, "backups/main/M1/database/base/1", 0600, 0, "x", 1, &err));
    ok(chain_find(f.in, file_of(&f, "base/1"), &member, &e, &err));
    ok(chain_blocks(f.in, &blocks, &n, &err));
    fails(chain_pages(f.in, blocks + 9, 3, &b, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "in backup M1: the stored file ends before it"));
    /* Gone. */
    ok(store_remove(&f.e.repo, "backups/main/M2/database/base/1", &err));
    ok(chain_find(f.in, file_of(&f, "base/1"), &member, &e, &err));
    ok(chain_blocks(f.in, &blocks, &n, &err));
    fails(chain_pages(f.in, blocks + 1, 3, &b, &err), GSP_E_NOENT);
    fixture_end(&f);
}

static void
without_a_map_only_newer_blocks_are_known(void **state)
{
    (void)state;
    static const uint32_t known[] = {0, 3, 3 + 3};
    for (size_t k = 0; k < 3; k++) {
        for (int damaged = 0; damaged < 2; damaged++) {
            struct fixture f;
            struct gsp_error err;
            size_t member;
            const struct file_entry *e;
            const struct chain_block *blocks;
            uint32_t n;
            char map[128];
            mixed_fixture(&f, 1);
            ok(open_chain(&f, &err));
            (void)snprintf(map, sizeof map, "%s/page_header_map", f.members[k].path);
            if (damaged)
                spoil_byte(&f, map, 9);
            else
                ok(store_remove(&f.e.repo, map, &err));
            fails(chain_find(f.in, file_of(&f, "base/1"), &member, &e, &err), damaged ? GSP_E_CORRUPT : GSP_E_NOENT);
            assert_non_null(strstr(err.msg, f.members[k].b.id));
            ok(chain_blocks(f.in, &blocks, &n, &err));
            assert_int_equal(n, known[k]);
            check_pages(&f, blocks, n, 0);
            fixture_end(&f);
        }
    }
}

enum change { CHANGE_KIND, FORGET_HEADERS, ABSURD_BLOCKS, CLAIM_UNCHANGED, ABSURD_SIZE };

static void
change_entry(struct file_entry *e, enum change change)
{
    e->is_datafile &= change != CHANGE_KIND;
    e->n_headers = change == FORGET_HEADERS ? 0 : e->n_headers;
    e->n_blocks = change == ABSURD_BLOCKS ? INT32_MAX : e->n_blocks;
    e->size = change == CLAIM_UNCHANGED ? FILE_UNCHANGED : change == ABSURD_SIZE ? INT64_MAX : e->size;
}

/* Lines that do not fit each other. */
static void
hostile_lists_are_damage(void **state)
{
    (void)state;
    static const struct {
        size_t member;
        enum change change;
        const char *said;
    } ways[] = {
        {2, CHANGE_KIND, "it is no data file in backup M2, and not in M0"},
        {0, CHANGE_KIND, NULL},
        {1, FORGET_HEADERS, "backup M1 lists no page headers"},
        {0, FORGET_HEADERS, "backup M0 lists no page headers"},
        {0, ABSURD_BLOCKS, "block 20 is missing in backup M0"},
        {2, CLAIM_UNCHANGED, "unchanged in backup M2, which is FULL"},
        {1, ABSURD_SIZE, "impossible number of pages"},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct fixture f;
        struct gsp_error err;
        size_t member;
        const struct file_entry *e;
        mixed_fixture(&f, 1);
        change_entry(&f.members[ways[i].member].list.entries[0], ways[i].change);
        ok(open_chain(&f, &err));
        if (ways[i].said == NULL) {
            ok(chain_find(f.in, 0, &member, &e, &err)); /* a plain file of these bytes */
            assert_int_equal(member, 0);
        } else {
            fails(chain_find(f.in, 0, &member, &e, &err), GSP_E_CORRUPT);
            if (strstr(err.msg, ways[i].said) == NULL)
                fail_msg("way %zu: %s", i, err.msg);
        }
        fixture_end(&f);
    }
}

static void
lists_without_block_counts_are_read(void **state)
{
    (void)state;
    struct fixture f;
    struct gsp_error err;
    size_t member;
    const struct file_entry *e;
    const struct chain_block *blocks;
    uint32_t n;
    mixed_fixture(&f, 0);
    for (size_t k = 0; k < 3; k++)
        f.members[k].list.entries[0].n_blocks = 0;
    ok(open_chain(&f, &err));
    ok(chain_find(f.in, 0, &member, &e, &err));
    assert_int_equal(member, CHAIN_NONE);
    ok(chain_blocks(f.in, &blocks, &n, &err));
    assert_int_equal(n, 20);
    assert_int_equal(blocks[16].member, 0);
    assert_int_equal(blocks[11].member, 1);
    check_pages(&f, blocks, n, 0);
    fixture_end(&f);
}

/* ---- open files ----------------------------------------------------------------------------------- */

static void
few_files_are_open_at_a_time(void **state)
{
    (void)state;
    static const struct version bottom = {STORED, 32, UINT32_MAX, 0};
    struct version history[MEMBERS_MAX];
    struct fixture f;
    struct gsp_error err;
    fixture_begin(&f, MEMBERS_MAX, 1);
    f.e.threads = 64;
    for (size_t k = 0; k < MEMBERS_MAX; k++) {
        history[k] = k + 1 < MEMBERS_MAX ? (struct version){STORED, 32, 1u << k | 1u << (k + 7), k % 2 ? "toy" : "none"}
                                         : bottom;
        add_version(&f, k, "base/1", &history[k]);
    }
    ok(open_chain(&f, &err));
    assert_int_equal(check_file(&f, "base/1", history), CHAIN_NONE);
    assert_in_range(f.spy.open_files, 1, 8);
    fixture_end(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_versions_win),
        cmocka_unit_test(any_history_comes_back),
        cmocka_unit_test(plain_files_come_from_the_newest_that_stores_them),
        cmocka_unit_test(older_lists_keep_what_may_be_needed),
        cmocka_unit_test(files_can_be_left_out),
        cmocka_unit_test(impossible_chains_are_refused),
        cmocka_unit_test(gaps_of_our_backups_are_damage),
        cmocka_unit_test(damaged_frames_are_told_by_block),
        cmocka_unit_test(without_a_map_only_newer_blocks_are_known),
        cmocka_unit_test(hostile_lists_are_damage),
        cmocka_unit_test(lists_without_block_counts_are_read),
        cmocka_unit_test(few_files_are_open_at_a_time),
    };
    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
