/* SPDX-License-Identifier: Apache-2.0
 * A worker's look at a chain: the newest version of every block of a file, and its bytes. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/chain.h"

enum {
    FRAMES_MAX = 2048, /* of one window */
    HANDLES_ALL = 512, /* open files of all workers: 1024 per process are usual */
    HANDLES_MIN = 4,   /* of one worker, however many there are */
    PARTS_MAX = 256,   /* of one scattered read */
};

/* A file of a member that is open: its page_header_map, or where the file being read is stored. */
struct handle {
    struct store_file file;
    size_t member;
    int is_map;
    uint64_t used; /* reader's clock */
};

struct chain_reader {
    struct chain *c;
    struct stored_reader *stored;
    struct handle *handles;
    size_t n_handles, max_handles;
    uint64_t clock;
    uint32_t at[FRAMES_MAX]; /* where the frames of a window stand in it */
    struct iovec parts[PARTS_MAX];

    /* the file of the last chain_find */
    size_t i;
    const struct file_entry **entries; /* what each member says of it; NULL: nothing new */
    struct chain_block *blocks;
    uint32_t n, cap;
    int is_built;
};

int
chain_reader_new(struct chain *c, struct chain_reader **ret, struct gsp_error *err)
{
    struct chain_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    size_t share = HANDLES_ALL / (c->e->threads > 0 ? c->e->threads : 1);
    r->c = c;
    r->max_handles = share < HANDLES_MIN ? HANDLES_MIN : share < 2 * c->n ? share : 2 * c->n;
    r->handles = calloc(r->max_handles, sizeof *r->handles);
    r->entries = calloc(c->n, sizeof *r->entries);
    int rc = r->handles == NULL || r->entries == NULL ? gsp_fail(err, GSP_E_NOMEM, 0, "out of memory")
                                                      : stored_reader_new(&c->members[0], &r->stored, err);
    if (rc != 0) {
        chain_reader_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void
chain_reader_free(void *reader)
{
    struct chain_reader *r = reader;
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n_handles; i++)
        store_file_close(&r->handles[i].file);
    stored_reader_free(r->stored);
    free(r->handles);
    free(r->entries);
    free(r->blocks);
    free(r);
}

/* ---- open files -------------------------------------------------------------------------------- */

/* A place for one more open file: that of the one whose use is longest ago, when all are taken. */
static struct handle *
free_handle(struct chain_reader *r)
{
    struct handle *oldest = &r->handles[0];
    if (r->n_handles < r->max_handles)
        return &r->handles[r->n_handles++];
    for (size_t i = 1; i < r->n_handles; i++)
        if (r->handles[i].used < oldest->used)
            oldest = &r->handles[i];
    store_file_close(&oldest->file);
    return oldest;
}

static int
open_handle(struct chain_reader *r, size_t member, int is_map, struct store_file **ret, struct gsp_error *err)
{
    const struct stored_backup *sb = &r->c->members[member];
    char path[PATH_SIZE];
    struct store_file file;
    for (size_t i = 0; i < r->n_handles; i++) {
        struct handle *h = &r->handles[i];
        if (h->member != member || h->is_map != is_map)
            continue;
        h->used = ++r->clock;
        *ret = &h->file;
        return 0;
    }
    int rc = is_map ? backup_path(path, r->c->e->instance, sb->b, "page_header_map", err)
                    : stored_path(sb, r->entries[member], path, err);
    if (rc == 0)
        rc = store_file_open(&r->c->e->repo, path, &file, err);
    if (rc != 0)
        return rc;
    struct handle *h = free_handle(r);
    *h = (struct handle){.file = file, .member = member, .is_map = is_map, .used = ++r->clock};
    *ret = &h->file;
    return 0;
}

static void
close_data_files(struct chain_reader *r)
{
    size_t kept = 0;
    for (size_t i = 0; i < r->n_handles; i++) {
        if (r->handles[i].is_map)
            r->handles[kept++] = r->handles[i];
        else
            store_file_close(&r->handles[i].file);
    }
    r->n_handles = kept;
}

/* ---- which member has what --------------------------------------------------------------------- */

static const char *
id_of(const struct chain_reader *r, size_t member)
{
    return r->c->members[member].b->id;
}

/* How many of the blocks known so far are below a number. They are in order. */
static uint32_t
count_below(const struct chain_reader *r, uint32_t block)
{
    uint32_t low = 0, high = r->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (r->blocks[middle].block < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Blocks [from, to) that no member has, though that one should. */
static int
check_gaps(struct chain_reader *r, uint32_t from, uint32_t to, size_t member, struct gsp_error *err)
{
    if (to == CHAIN_ANY_BLOCKS)
        to = r->n > 0 ? r->blocks[r->n - 1].block + 1 : 0;
    if (to <= from)
        return 0;
    uint32_t first = count_below(r, from), have = count_below(r, to) - first, missing = from;
    if (have == to - from)
        return 0;
    while (first < r->n && r->blocks[first].block == missing) {
        first++;
        missing++;
    }
    if (r->c->members[member].b->made_by != NULL)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "block %u is missing in backup %s", missing, id_of(r, member));
    /* A page that a server added and never wrote has nothing that would make other tools store it. */
    log_log("File '%s': %u block(s) from %u on are not in backup %s and read as zeros",
        r->c->members[0].list.entries[r->i].path, to - from - have, missing, id_of(r, member));
    return 0;
}

/* Merge the records of one more member into the blocks, where no newer one has them. */
static int
merge_records(struct chain_reader *r, size_t member, const struct page_header *h, uint32_t n, struct gsp_error *err)
{
    uint32_t added = 0;
    for (uint32_t i = 0, j = 0; j < n; j++) {
        while (i < r->n && r->blocks[i].block < h[j].block)
            i++;
        added += i == r->n || r->blocks[i].block != h[j].block;
    }
    if (r->n + added > r->cap) {
        struct chain_block *grown = realloc(r->blocks, (size_t)(r->n + added) * sizeof *grown);
        if (grown == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory for the blocks of a file");
        r->blocks = grown;
        r->cap = r->n + added;
    }
    /* From behind, in place. */
    uint32_t i = r->n, j = n;
    for (uint32_t k = r->n + added; k > i;) {
        if (i > 0 && r->blocks[i - 1].block >= h[j - 1].block) {
            j -= r->blocks[i - 1].block == h[j - 1].block;
            r->blocks[--k] = r->blocks[--i];
        } else {
            j--;
            r->blocks[--k] = (struct chain_block){.lsn = h[j].lsn,
                .block = h[j].block,
                .pos = h[j].pos,
                .len = h[j + 1].pos - h[j].pos,
                .checksum = h[j].checksum,
                .member = (uint16_t)member};
        }
    }
    r->n += added;
    return 0;
}

static int
add_member(struct chain_reader *r, size_t member, uint32_t limit, struct gsp_error *err)
{
    const struct file_entry *f = r->entries[member];
    auto_free struct page_header *headers = NULL;
    struct store_file *map;
    if (f->n_headers <= 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "backup %s lists no page headers for it", id_of(r, member));
    int rc = open_handle(r, member, 1, &map, err);
    if (rc == 0)
        rc = header_map_load(map, f, &headers, err);
    if (rc != 0)
        return gsp_prefix(err, "page_header_map of backup %s", id_of(r, member));
    uint32_t n = (uint32_t)f->n_headers;
    while (n > 0 && headers[n - 1].block >= limit)
        n--;
    return merge_records(r, member, headers, n, err);
}

static int
fail_kind(const struct chain_reader *r, size_t member, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "it is %s in backup %s, and not in %s",
        chain_entry_is_paged(r->entries[member]) ? "a data file" : "no data file", id_of(r, member), id_of(r, 0));
}

static int
fail_absent(const struct chain_reader *r, size_t member, struct gsp_error *err)
{
    if (member == r->c->n)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "listed as unchanged in backup %s, which is FULL", id_of(r, member - 1));
    return gsp_fail(err, GSP_E_CORRUPT, 0, "listed as unchanged in backup %s, and not listed in its parent %s",
        id_of(r, member - 1), id_of(r, member));
}

static int
adds_nothing(const struct file_entry *f)
{
    return f == NULL || f->size == FILE_UNCHANGED;
}

/* One step of the walk, from the newest member to the oldest: member `at` limits the file to its own blocks, of which
 * the newer ones have all that are missing further up. *ret_lacks remembers the first failure that does not make the
 * rest unusable. Returns 1 at the end of the walk. */
static int
visit(struct chain_reader *r, size_t at, uint32_t *limit, struct gsp_error *lacks, struct gsp_error *err)
{
    struct gsp_error gap = {0};
    const struct file_entry *f = at < r->c->n ? r->entries[at] : NULL;
    if (at == r->c->n || !chain_lists(r->c, at, r->i)) {
        int rc = adds_nothing(r->entries[at - 1]) ? fail_absent(r, at, &gap) : check_gaps(r, 0, *limit, at - 1, &gap);
        if (rc != 0 && lacks->code == 0)
            *lacks = gap;
        return 1;
    }
    if (f == NULL)
        return 0;
    if (!chain_entry_is_paged(f))
        return fail_kind(r, at, err);
    uint32_t blocks = chain_entry_blocks(f);
    if (blocks < *limit) {
        if (at > 0 && check_gaps(r, blocks, *limit, at - 1, &gap) != 0 && lacks->code == 0)
            *lacks = gap;
        *limit = blocks;
    }
    int rc = f->size > 0 ? add_member(r, at, *limit, err) : 0;
    return rc != 0 ? rc : count_below(r, *limit) == *limit;
}

/* All blocks of the file. After a failure those that are known to be the newest are there. */
static int
build(struct chain_reader *r, struct gsp_error *err)
{
    struct gsp_error lacks = {0};
    uint32_t limit = chain_entry_blocks(r->entries[0]);
    int rc = 0;
    r->n = 0;
    r->is_built = 1;
    for (size_t at = 0; rc == 0 && limit > 0; at++)
        rc = visit(r, at, &limit, &lacks, err);
    if (rc >= 0 && lacks.code != 0) {
        *err = lacks;
        return lacks.code;
    }
    return rc < 0 ? rc : 0;
}

/* The member that has all of a data file by itself, which its list alone tells. CHAIN_NONE: perhaps several. */
static size_t
find_whole(const struct chain_reader *r)
{
    const struct chain *c = r->c;
    for (size_t k = 0; k < c->n && chain_lists(c, k, r->i); k++) {
        const struct file_entry *f = r->entries[k];
        if (adds_nothing(f) && (f == NULL || chain_entry_blocks(f) == chain_entry_blocks(r->entries[0])))
            continue;
        int is_whole = f->size > 0 && chain_entry_is_paged(f) && stored_is_whole(&c->members[k], f);
        return is_whole && chain_entry_blocks(f) == chain_entry_blocks(r->entries[0]) ? k : CHAIN_NONE;
    }
    return CHAIN_NONE;
}

/* Of a file without pages the newest stored version. */
static int
find_bytes(const struct chain_reader *r, size_t *ret_member, struct gsp_error *err)
{
    for (size_t k = 0; k < r->c->n; k++) {
        if (!chain_lists(r->c, k, r->i))
            return fail_absent(r, k, err);
        if (adds_nothing(r->entries[k]))
            continue;
        if (chain_entry_is_paged(r->entries[k]))
            return fail_kind(r, k, err);
        *ret_member = k;
        return 0;
    }
    return fail_absent(r, r->c->n, err);
}

int
chain_find(
    struct chain_reader *r, size_t i, size_t *ret_member, const struct file_entry **ret_entry, struct gsp_error *err)
{
    int rc = 0;
    close_data_files(r);
    r->i = i;
    r->n = 0;
    for (size_t k = 0; k < r->c->n; k++)
        r->entries[k] = chain_entry(r->c, k, i);
    int is_paged = chain_entry_is_paged(r->entries[0]);
    r->is_built = !is_paged;
    size_t member = is_paged ? find_whole(r) : CHAIN_NONE;
    if (!is_paged)
        rc = find_bytes(r, &member, err);
    else if (member == CHAIN_NONE)
        rc = build(r, err);
    if (rc != 0)
        return rc;
    *ret_entry = member != CHAIN_NONE ? r->entries[member] : r->entries[0];
    *ret_member = (*ret_entry)->size == 0 ? CHAIN_NONE : member;
    return 0;
}

int
chain_blocks(struct chain_reader *r, const struct chain_block **ret, uint32_t *ret_n, struct gsp_error *err)
{
    int rc = r->is_built ? 0 : build(r, err);
    *ret = r->blocks;
    *ret_n = r->n;
    return rc;
}

/* ---- frames ------------------------------------------------------------------------------------ */

static int
fail_block(const struct chain_reader *r, const struct chain_block *b, const char *why, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "block %u in backup %s: %s", b->block, id_of(r, b->member), why);
}

static int
is_compressed(const struct chain_reader *r, const struct chain_block *b)
{
    return b->len - PAGE_FRAME_BYTES < r->c->members[0].page_size;
}

/* The first block of a window of which the compressor matters; else the first one. */
static const struct chain_block *
first_compressed(const struct chain_reader *r, const struct chain_block *blocks, uint32_t n)
{
    for (uint32_t i = 0; i < n && i < FRAMES_MAX; i++)
        if (is_compressed(r, &blocks[i]))
            return &blocks[i];
    return blocks;
}

/* How many of the blocks go into one window, and where their frames stand there. */
static uint32_t
lay_out(struct chain_reader *r, const struct chain_block *blocks, uint32_t n, uint32_t cap, const char *codec,
    uint32_t *ret_len)
{
    uint32_t longest = r->c->members[0].page_size + PAGE_FRAME_BYTES, used = 0, i = 0;
    for (; i < n && i < FRAMES_MAX; i++) {
        const struct chain_block *b = &blocks[i];
        if (b->len > longest || b->len > cap - used ||
            (is_compressed(r, b) && strcmp(r->entries[b->member]->compress_alg, codec) != 0))
            break;
        r->at[i] = used;
        used += b->len;
    }
    *ret_len = used;
    return i;
}

/* One read of neighbours in a stored file, into their places. */
struct run {
    const struct chain_block *last;
    uint64_t pos, len;
    uint32_t n_parts;
};

static int
read_run(struct chain_reader *r, struct store_file *file, const struct run *run, struct gsp_error *err)
{
    if (run->n_parts > 1) {
        int64_t got = store_file_preadv(file, r->parts, run->n_parts, run->pos, err);
        if (got < 0 || (uint64_t)got == run->len)
            return got < 0 ? (int)got : 0;
    }
    /* One part, or fewer bytes than there should be. */
    uint64_t pos = run->pos;
    for (uint32_t i = 0; i < run->n_parts; i++) {
        int64_t got = store_file_pread(file, r->parts[i].iov_base, r->parts[i].iov_len, pos, err);
        if (got >= 0 && (size_t)got < r->parts[i].iov_len)
            return fail_block(r, run->last, "the stored file ends before it", err);
        if (got < 0)
            return (int)got;
        pos += r->parts[i].iov_len;
    }
    return 0;
}

/* Does the frame follow the run in the stored file, and does it fit into one read? */
static int
joins(const struct chain_reader *r, const struct run *run, const struct chain_block *b, int is_next_part)
{
    const struct gsp_limits *limits = &r->c->e->repo.limits;
    uint32_t most = limits->iov_max < PARTS_MAX ? limits->iov_max : PARTS_MAX;
    return b->pos == run->pos + run->len && run->len + b->len <= limits->io_max &&
           (is_next_part || run->n_parts < most);
}

/* All frames of the window that the member of its first-th block has. */
static int
read_member(struct chain_reader *r, const struct chain_block *blocks, uint32_t first, uint32_t n, uint8_t *window,
    struct gsp_error *err)
{
    size_t member = blocks[first].member;
    struct store_file *file;
    struct run run = {0};
    int rc = open_handle(r, member, 0, &file, err);
    for (uint32_t i = first; i < n && rc == 0; i++) {
        const struct chain_block *b = &blocks[i];
        uint8_t *to = window + r->at[i];
        if (b->member != member)
            continue;
        struct iovec *part = run.n_parts > 0 ? &r->parts[run.n_parts - 1] : NULL;
        int extends = part != NULL && (uint8_t *)part->iov_base + part->iov_len == to;
        if (part != NULL && !joins(r, &run, b, extends)) {
            rc = read_run(r, file, &run, err);
            run = (struct run){0};
            extends = 0;
        }
        if (run.n_parts == 0)
            run.pos = b->pos;
        if (extends)
            part->iov_len += b->len;
        else
            r->parts[run.n_parts++] = (struct iovec){.iov_base = to, .iov_len = b->len};
        run.len += b->len;
        run.last = b;
    }
    return rc == 0 ? read_run(r, file, &run, err) : rc;
}

/* Read the frames that lay_out placed, and compare their headers with the records. */
static int
read_frames(
    struct chain_reader *r, const struct chain_block *blocks, uint32_t n, uint8_t *window, struct gsp_error *err)
{
    uint8_t done[CHAIN_MEMBERS_MAX / 8 + 1] = {0};
    int rc = 0;
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        size_t member = blocks[i].member;
        if (done[member / 8] & 1u << member % 8)
            continue;
        done[member / 8] |= (uint8_t)(1u << member % 8);
        rc = read_member(r, blocks, i, n, window, err);
    }
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        const uint8_t *frame = window + r->at[i];
        if (load_le32(frame) != blocks[i].block || load_le32(frame + 4) != blocks[i].len - PAGE_FRAME_BYTES)
            rc = fail_block(r, &blocks[i], "what is stored is not what the page header map says", err);
    }
    return rc;
}

int
chain_frames(struct chain_reader *r, const struct chain_block *blocks, uint32_t n, const uint8_t **ret,
    uint32_t *ret_len, uint32_t *ret_n, const char **ret_codec, struct gsp_error *err)
{
    const char *codec = r->entries[first_compressed(r, blocks, n)->member]->compress_alg;
    *ret = r->stored->bytes;
    *ret_codec = codec;
    *ret_n = lay_out(r, blocks, n, PAGE_BATCH_BYTES, codec, ret_len);
    if (*ret_n == 0)
        return fail_block(r, blocks, "longer than a page", err);
    return read_frames(r, blocks, *ret_n, r->stored->bytes, err);
}

int
chain_pages(struct chain_reader *r, const struct chain_block *blocks, uint32_t n, struct page_batch **ret_batch,
    struct gsp_error *err)
{
    struct page_batch *b;
    uint32_t most = PAGE_BATCH_BYTES / r->c->members[0].page_size, len, used;
    if (n > most)
        n = most;
    const struct chain_block *named = first_compressed(r, blocks, n);
    const char *codec = r->entries[named->member]->compress_alg;
    int rc = stored_reader_batch(r->stored, &r->c->members[named->member], codec, &b, err);
    if (rc != 0)
        return rc;
    n = lay_out(r, blocks, n < b->cap ? n : b->cap, b->enc_cap, codec, &len);
    rc = n == 0 ? fail_block(r, blocks, "longer than a page", err) : read_frames(r, blocks, n, b->enc, err);
    if (rc == 0)
        rc = page_batch_unframe(b, len, &used, err);
    if (rc == 0 && b->n != n)
        rc = gsp_fail(err, GSP_E_BUG, 0, "%u of %u frames were decoded", b->n, n);
    if (rc != 0)
        b->n = 0;
    *ret_batch = b;
    return rc;
}

int
chain_stored_reader(struct chain_reader *r, size_t member, struct stored_reader **ret, struct gsp_error *err)
{
    (void)err;
    stored_reader_turn(r->stored, &r->c->members[member]);
    *ret = r->stored;
    return 0;
}
