/* SPDX-License-Identifier: Apache-2.0
 * One file of a cluster that is restored in place. */
#include <string.h>

#include "core/base/path.h"
#include "core/engine/inplace.h"
#include "core/engine/restore_extents.h"
#include "core/engine/restore_file.h"
#include "core/engine/restore_room.h"

static struct store *
store_of(struct restore *r, size_t i)
{
    return restore_target_store(&r->target, r->chain.members[0].list.entries[i].external_dir_num);
}

/* A data file that is put right block by block. */
struct patch {
    struct restore *r;
    struct chain_reader *in;
    const struct file_entry *f;
    const char *path;
    struct page_batch *pages; /* of the cluster */
    struct store_file file;
    struct store_put put;             /* opened with the first block that is written */
    const struct chain_block *blocks; /* of the backup */
    uint32_t n, next;
    int by_record; /* LSN and checksum tell whether a page is right; else its bytes do */
};

/* ---- pages --------------------------------------------------------------------------------------- */

static int
begin_put(struct patch *p, struct gsp_error *err)
{
    if (p->put.handle != NULL)
        return 0;
    return store_put_begin(&p->r->target.store, p->path, p->f->mode & 0777, GSP_PUT_UPDATE, &p->put, err);
}

static int
put_page(struct patch *p, const uint8_t *page, uint32_t block, struct gsp_error *err)
{
    uint32_t size = p->pages->page_size;
    int rc = begin_put(p, err);
    if (rc == 0)
        rc = store_put_pwrite(&p->put, page, size, (uint64_t)block * size, err);
    if (rc == 0)
        atomic_fetch_add(&p->r->inplace.written, size);
    return rc;
}

/* Blocks of the backup, in the order of the file. */
static int
put_blocks(struct patch *p, const struct chain_block *blocks, uint32_t n, struct gsp_error *err)
{
    struct page_batch *b = NULL;
    int rc = n > 0 ? begin_put(p, err) : 0;
    for (uint32_t done = 0; rc == 0 && done < n; done += b != NULL ? b->n : 0) {
        b = NULL;
        rc = jobs_check(&p->r->jobs, err);
        if (rc == 0)
            rc = chain_pages(p->in, blocks + done, n - done, &b, err);
        if (rc == 0)
            rc = restore_check_blocks(p->r, p->f, blocks + done, b, err);
        if (rc == 0)
            rc = restore_write_pages(&p->put, b, err);
        if (rc == 0)
            atomic_fetch_add(&p->r->inplace.written, (uint64_t)b->n * b->page_size);
    }
    return rc;
}

/* Is page i of the cluster the block of the backup that the record describes? */
static int
is_right(const struct patch *p, uint32_t i, const struct chain_block *record)
{
    const struct page_batch *b = p->pages;
    const struct inplace *ip = &p->r->inplace;
    if (b->state[i] != GSP_PAGE_OK && b->state[i] != GSP_PAGE_ZERO)
        return 0;
    if (b->lsn[i] != record->lsn)
        return 0;
    /* WAL begins with its second segment. What has an LSN before that got none, and may be of any age. */
    if (record->lsn != 0 && record->lsn < p->r->cluster.wal_segment_size)
        return 0;
    if (ip->mode == INCREMENTAL_CHECKSUM)
        return b->sum[i] == record->checksum;
    /* A page that was made without WAL has no LSN that could tell. */
    return record->lsn <= ip->shift_lsn && (record->lsn != 0 || b->state[i] == GSP_PAGE_ZERO);
}

/* Blocks [next, end) belong to the pages just read: write those whose record says that they differ. */
static int
patch_by_record(struct patch *p, uint32_t end, struct gsp_error *err)
{
    uint32_t first = p->pages->block[0];
    int rc = 0;
    while (rc == 0 && p->next < end) {
        uint32_t n = 0;
        while (p->next + n < end && !is_right(p, p->blocks[p->next + n].block - first, &p->blocks[p->next + n]))
            n++;
        rc = put_blocks(p, p->blocks + p->next, n, err);
        p->next += n;
        if (n == 0)
            p->next++;
    }
    return rc;
}

/* The same, but read all from the backup and compare. */
static int
patch_by_bytes(struct patch *p, uint32_t end, struct gsp_error *err)
{
    uint32_t first = p->pages->block[0];
    struct page_batch *b;
    int rc = 0;
    while (rc == 0 && p->next < end) {
        rc = chain_pages(p->in, p->blocks + p->next, end - p->next, &b, err);
        if (rc == 0)
            rc = restore_check_blocks(p->r, p->f, p->blocks + p->next, b, err);
        for (uint32_t i = 0; rc == 0 && i < b->n; i++) {
            const uint8_t *page = b->data + (size_t)i * b->stride;
            if (memcmp(page, page_batch_page(p->pages, b->block[i] - first), b->page_size) != 0)
                rc = put_page(p, page, b->block[i], err);
        }
        p->next += rc == 0 ? b->n : 0;
    }
    return rc;
}

static int
is_zero(const uint8_t *page, uint32_t size)
{
    return page[0] == 0 && memcmp(page, page + 1, size - 1) == 0;
}

/* The pages just read. Of other tools' backups blocks may be missing that read as zeros. */
static int
patch_batch(struct patch *p, struct gsp_error *err)
{
    struct page_batch *b = p->pages;
    uint32_t first = b->block[0], n = b->n, size = b->page_size;
    int rc = 0;
    if (p->by_record)
        page_batch_check(b, p->r->dialect, &p->r->cluster, (uint64_t)p->f->segment * p->r->cluster.segment_blocks);
    for (uint32_t i = 0; i < n && rc == 0;) {
        uint32_t run = 0; /* neighbours that the backup has */
        while (i + run < n && p->next + run < p->n && p->blocks[p->next + run].block == first + i + run)
            run++;
        if (run > 0) {
            rc = p->by_record ? patch_by_record(p, p->next + run, err) : patch_by_bytes(p, p->next + run, err);
            i += run;
        } else if (is_zero(page_batch_page(b, i), size)) {
            i++;
        } else {
            memset(page_batch_page(b, i), 0, size);
            rc = put_page(p, page_batch_page(b, i), first + i, err);
            i++;
        }
    }
    return rc;
}

/* All pages that the file has in both. */
static int
patch_common(struct patch *p, uint32_t n_blocks, struct gsp_error *err)
{
    int rc = store_file_open(&p->r->target.store, p->path, &p->file, err);
    for (uint32_t done = 0; rc == 0 && done < n_blocks; done += p->pages->n) {
        rc = jobs_check(&p->r->jobs, err);
        if (rc == 0)
            rc = page_batch_read(p->pages, &p->file, done, n_blocks - done, err);
        if (rc != 0 || p->pages->n == 0)
            break;
        rc = patch_batch(p, err);
        progress_add(&p->r->progress, (uint64_t)p->pages->n * p->pages->page_size, 0);
    }
    store_file_close(&p->file);
    return rc;
}

static int
is_tracked(const struct patch *p, struct gsp_error *err)
{
    struct gsp_class class;
    int rc = restore_class(p->r, p->f, p->path, &class, err);
    return rc == 0 ? class.action == GSP_CLASS_PAGES && class.relation != 0 : rc;
}

static int
patch_file(struct patch *p, uint64_t size_there, uint32_t mode_there, struct gsp_error *err)
{
    uint32_t page_size = p->pages->page_size;
    uint32_t n_blocks = p->f->n_blocks > 0 ? (uint32_t)p->f->n_blocks : 0;
    if (p->n > 0 && p->blocks[p->n - 1].block >= n_blocks)
        n_blocks = p->blocks[p->n - 1].block + 1;
    uint64_t size = (uint64_t)n_blocks * page_size;
    int rc = p->r->inplace.sums ? is_tracked(p, err) : 0;
    if (rc < 0)
        return rc;
    p->by_record = rc;
    rc = patch_common(p, n_blocks, err);
    if (rc == 0)
        rc = put_blocks(p, p->blocks + p->next, p->n - p->next, err);
    if (rc == 0 && size != size_there)
        rc = begin_put(p, err);
    if (rc == 0 && p->put.handle != NULL)
        rc = store_put_commit(&p->put, size, err);
    else if (rc == 0 && (mode_there & 07777) != (p->f->mode & 0777) && p->r->target.store.ops->chmod != NULL)
        rc = p->r->target.store.ops->chmod(p->r->target.store.handle, p->path, p->f->mode & 0777, err);
    store_put_abort(&p->put);
    return rc;
}

/* ---- other files ----------------------------------------------------------------------------------- */

/* The next bytes of the file there, compared with those of the backup, which end at in->offset. 1, 0, or a code. */
static int
has_bytes(struct store_file *file, struct page_batch *pages, const struct stored_reader *in, const uint8_t *bytes,
    size_t len, struct gsp_error *err)
{
    int64_t n = store_file_pread(file, pages->raw, len, in->offset - len, err);
    return n < 0 ? (int)n : (size_t)n == len && memcmp(pages->raw, bytes, len) == 0;
}

/* Does the file there, of the right size, have this content? Its bytes are compared: checksums are equal for all files
 * that end with their own. 1, 0 or a code. */
static int
has_content(struct restore *r, struct chain_reader *chain, struct page_batch *pages, size_t i, const char *path,
    size_t member, const struct file_entry *stored, struct gsp_error *err)
{
    auto_store_file file = {0};
    struct stored_reader *in;
    const uint8_t *bytes = NULL;
    int rc = chain_stored_reader(chain, member, &in, err);
    if (rc == 0)
        rc = stored_reader_begin(in, stored, 0, err);
    if (rc == 0)
        rc = store_file_open(store_of(r, i), path, &file, err);
    int is_same = 1;
    /* A hole that is passed over is not compared: files with such ones are made anew. */
    for (uint64_t done = 0; rc == 0 && is_same > 0; done = in->offset) {
        rc = jobs_check(&r->jobs, err);
        int64_t got = rc == 0 ? stored_reader_bytes(in, &bytes, err) : rc;
        if (got < 0)
            return (int)got;
        if (got == 0 || bytes == NULL)
            break;
        is_same = in->offset - done == (uint64_t)got ? has_bytes(&file, pages, in, bytes, (size_t)got, err) : 0;
    }
    if (rc != 0 || is_same <= 0)
        return rc != 0 ? rc : is_same;
    rc = stored_reader_end(in, err);
    return rc == 0 ? 1 : rc;
}

/* Returns 1 when the file is right now, 0 when it is to be made anew. */
static int
put_right(struct restore *r, struct chain_reader *in, struct page_batch *pages, size_t i, const char *path,
    const struct gsp_stat *st, struct gsp_error *err)
{
    const struct file_entry *f = &r->chain.members[0].list.entries[i], *stored;
    struct patch p = {.r = r, .in = in, .f = f, .path = path, .pages = pages};
    size_t member;
    /* Made of extents: where a page stands in the file depends on all before it. */
    if (restore_is_extents(f))
        return 0;
    int rc = chain_find(in, i, &member, &stored, err);
    if (rc != 0)
        return rc;
    if (!chain_entry_is_paged(f)) {
        uint64_t size = stored->size > 0 ? (uint64_t)stored->size : 0;
        rc = st->size != size ? 0 : size > 0 ? has_content(r, in, pages, i, path, member, stored, err) : 1;
        const struct store *s = store_of(r, i);
        if (rc <= 0 || (st->mode & 07777) == (f->mode & 0777) || s->ops->chmod == NULL)
            return rc;
        rc = s->ops->chmod(s->handle, path, f->mode & 0777, err);
        return rc == 0 ? 1 : rc;
    }
    /* Made before the page header map existed: what it has of a block is not known beforehand. */
    if (member != CHAIN_NONE && stored->n_headers <= 0)
        return 0;
    rc = chain_blocks(in, &p.blocks, &p.n, err);
    if (rc == 0)
        rc = patch_file(&p, st->size, st->mode, err);
    return rc == 0 ? 1 : rc;
}

int
inplace_file(struct restore *r, struct chain_reader *in, struct page_batch *pages, size_t i, const char *path,
    struct gsp_error *err)
{
    struct gsp_stat st;
    struct gsp_error problem = {0};
    int rc = store_stat(store_of(r, i), path, &st, &problem);
    int is_there = rc == 0;
    if (rc == 0)
        rc = put_right(r, in, pages, i, path, &st, &problem);
    else if (rc == GSP_E_NOENT)
        rc = 0;
    if (rc < 0 && !(r->opts->force && restore_is_damage(rc))) {
        *err = problem;
        return rc;
    }
    if (rc > 0)
        return 1;
    atomic_fetch_add(&r->inplace.written, restore_size(&r->chain, i));
    return is_there ? store_remove(store_of(r, i), path, err) : 0;
}
