/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/restore_file.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/restore_extents.h"

/* How far the content of a file came. */
struct content {
    struct restore *r;
    struct chain_reader *in;
    size_t i;                   /* file of the list */
    const struct file_entry *f; /* the backup's entry */
    struct store_put *put;
    struct stored_reader *whole; /* all of it comes from one stored file */
    uint32_t blocks_done;        /* else: of chain_blocks, or of the file that is made of extents */
    uint64_t size;               /* of the file */
};

int
restore_class(
    const struct restore *r, const struct file_entry *f, const char *path, struct gsp_class *ret, struct gsp_error *err)
{
    char dir[PATH_SIZE];
    const char *name = path_base(path);
    size_t len = name > path ? (size_t)(name - path) - 1 : 0;
    struct gsp_dirent entry = {.name = name, .st = {.type = GSP_FILE_REGULAR, .mode = f->mode}};
    *ret = (struct gsp_class){0};
    (void)snprintf(dir, sizeof dir, "%.*s", (int)len, path);
    return r->dialect->classify(&r->cluster, 0, dir, &entry, 1, ret, err);
}

int
restore_write_pages(struct store_put *put, struct page_batch *b, struct gsp_error *err)
{
    const struct gsp_limits *limits = &put->store->limits;
    uint32_t most = limits->io_max / b->page_size < limits->iov_max ? limits->io_max / b->page_size : limits->iov_max;
    for (uint32_t i = 0; i < b->n;) {
        uint32_t run = 0;
        while (i + run < b->n && run < most && b->block[i + run] == b->block[i] + run) {
            b->iov[run] = (struct iovec){
                .iov_base = (uint8_t *)(uintptr_t)b->data + (size_t)(i + run) * b->stride, .iov_len = b->page_size};
            run++;
        }
        int rc = store_put_pwritev(put, b->iov, run, (uint64_t)b->block[i] * b->page_size, err);
        if (rc != 0)
            return rc;
        i += run;
    }
    return 0;
}

/* ---- from one stored file ---------------------------------------------------------------------- */

static int
whole_pages(struct content *c, const struct file_entry *stored, struct gsp_error *err)
{
    struct restore *r = c->r;
    struct stored_reader *in = c->whole;
    uint32_t blocks = 0;
    int rc = stored_reader_begin(in, stored, 1, err);
    while (rc == 0) {
        rc = jobs_check(&r->jobs, err);
        if (rc == 0)
            rc = stored_reader_pages(in, err);
        if (rc != 0 || in->batch->n == 0)
            break;
        rc = restore_write_pages(c->put, in->batch, err);
        blocks += in->batch->n;
        progress_add(&r->progress, (uint64_t)in->batch->n * in->batch->page_size, 0);
    }
    if (rc == 0)
        rc = stored_reader_end(in, err);
    if (rc == 0)
        c->size = (uint64_t)blocks * r->chain.members[0].page_size;
    return rc;
}

/* Holes of the catalog are written out: a server must not find out at run time that its disk is full. Those of large
 * files were holes at the source and stay ones, and so do those that the server makes itself. */
static int
whole_bytes(struct content *c, const struct file_entry *stored, struct gsp_error *err)
{
    struct restore *r = c->r;
    struct stored_reader *in = c->whole;
    const uint8_t *bytes;
    int64_t got = 0;
    uint64_t size = 0;
    struct gsp_class class = {0};
    int rc = c->f->external_dir_num == 0 ? restore_class(r, c->f, c->f->path, &class, err) : 0;
    if (rc == 0)
        rc = stored_reader_begin(in, stored, 0, err);
    while (rc == 0) {
        rc = jobs_check(&r->jobs, err);
        if (rc == 0)
            got = stored_reader_bytes(in, &bytes, err);
        if (rc != 0 || got <= 0)
            break;
        uint64_t at = in->offset - (uint64_t)got;
        rc = class.flags & GSP_CLASS_SPARSE ? store_put_sparse(c->put, bytes, (size_t)got, at, err)
                                            : store_put_pwrite(c->put, bytes, (size_t)got, at, err);
        progress_add(&r->progress, in->offset - size, 0);
        size = in->offset;
    }
    if (rc == 0 && got < 0)
        rc = (int)got;
    c->size = in->offset;
    return rc == 0 ? stored_reader_end(in, err) : rc;
}

/* ---- from several ------------------------------------------------------------------------------ */

int
restore_check_blocks(struct restore *r, const struct file_entry *f, const struct chain_block *blocks,
    struct page_batch *b, struct gsp_error *err)
{
    page_batch_check(b, r->dialect, &r->cluster, (uint64_t)f->segment * r->cluster.segment_blocks);
    for (uint32_t i = 0; i < b->n; i++)
        if (blocks[i].lsn != b->lsn[i] ||
            (r->cluster.checksum_version != 0 && b->state[i] != GSP_PAGE_HEADER && blocks[i].checksum != b->sum[i]))
            return gsp_fail(err, GSP_E_CORRUPT, 0,
                "block %u in backup %s differs from its record in the page header map", blocks[i].block,
                r->chain.members[blocks[i].member].b->id);
    return 0;
}

static int
put_blocks(struct content *c, const struct chain_block *blocks, uint32_t n, uint32_t *ret_n, struct gsp_error *err)
{
    struct restore *r = c->r;
    struct page_batch *b;
    int rc = jobs_check(&r->jobs, err);
    if (rc == 0)
        rc = chain_pages(c->in, blocks, n, &b, err);
    if (rc == 0)
        rc = restore_check_blocks(r, c->f, blocks, b, err);
    if (rc == 0)
        rc = restore_write_pages(c->put, b, err);
    if (rc != 0)
        return rc;
    progress_add(&r->progress, (uint64_t)b->n * b->page_size, 0);
    *ret_n = b->n;
    return 0;
}

/* Blocks that no member has are never written: they read as zeros. */
static int
all_blocks(struct content *c, struct gsp_error *err)
{
    const struct chain_block *blocks;
    uint32_t n, part;
    int rc = chain_blocks(c->in, &blocks, &n, err);
    uint64_t end = n > 0 ? (uint64_t)blocks[n - 1].block + 1 : 0;
    if (end > (uint64_t)c->f->n_blocks)
        c->size = end * c->r->chain.members[0].page_size;
    while (rc == 0 && c->blocks_done < n) {
        rc = put_blocks(c, blocks + c->blocks_done, n - c->blocks_done, &part, err);
        c->blocks_done += rc == 0 ? part : 0;
    }
    return rc;
}

/* ---- one file ---------------------------------------------------------------------------------- */

static int
put_content(struct content *c, struct gsp_error *err)
{
    const struct file_entry *stored;
    size_t member;
    uint64_t room;
    int is_paged = chain_entry_is_paged(c->f);
    c->size = is_paged ? (uint64_t)(c->f->n_blocks > 0 ? c->f->n_blocks : 0) * c->r->chain.members[0].page_size : 0;
    if (restore_is_extents(c->f))
        c->size = restore_extents_bytes(c->r, c->f, &room);
    int rc = chain_find(c->in, c->i, &member, &stored, err);
    if (rc != 0)
        return rc;
    if (restore_is_extents(c->f))
        return restore_extents(c->r, c->in, c->f, c->put, &c->blocks_done, NULL, err);
    if (member == CHAIN_NONE)
        return is_paged ? all_blocks(c, err) : 0;
    rc = chain_stored_reader(c->in, member, &c->whole, err);
    if (rc != 0)
        return rc;
    return is_paged ? whole_pages(c, stored, err) : whole_bytes(c, stored, err);
}

/* What can still be read of a damaged data file, page by page; the rest stays zero. */
static int
salvage_whole(struct content *c, uint32_t *ret_lost, struct gsp_error *err)
{
    struct stored_reader *in = c->whole;
    int rc = 0;
    while (rc == 0 && in->batch != NULL) {
        rc = jobs_check(&c->r->jobs, err);
        if (rc == 0)
            rc = stored_reader_salvage(in, ret_lost, err);
        if (rc != 0 || in->batch->n == 0)
            break;
        rc = restore_write_pages(c->put, in->batch, err);
    }
    return rc;
}

/* A block whose newest version cannot be read is lost: an older one would be silently wrong. */
static int
salvage_blocks(struct content *c, uint32_t *ret_lost, struct gsp_error *err)
{
    const struct chain_block *blocks;
    struct gsp_error ignored = {0};
    uint32_t n, part;
    int known = chain_blocks(c->in, &blocks, &n, &ignored);
    if (known != 0 && c->f->n_blocks > 0 && n < (uint32_t)c->f->n_blocks)
        *ret_lost += (uint32_t)c->f->n_blocks - n;
    for (; c->blocks_done < n; c->blocks_done++) {
        struct gsp_error problem = {0};
        int rc = put_blocks(c, blocks + c->blocks_done, 1, &part, &problem);
        *ret_lost += restore_is_damage(rc) ? 1 : 0;
        if (rc != 0 && !restore_is_damage(rc)) {
            *err = problem;
            return rc;
        }
    }
    return 0;
}

/* With --force damage is a warning, and everything that can be read is restored. */
static int
tolerate(struct content *c, struct gsp_error *err)
{
    struct gsp_error problem = *err;
    uint32_t lost = 0;
    if (!c->r->opts->force || !restore_is_damage(problem.code))
        return problem.code;
    gsp_error_clear(err);
    int rc = 0;
    if (restore_is_extents(c->f))
        rc = restore_extents(c->r, c->in, c->f, c->put, &c->blocks_done, &lost, err);
    else if (chain_entry_is_paged(c->f))
        rc = c->whole != NULL ? salvage_whole(c, &lost, err) : salvage_blocks(c, &lost, err);
    if (rc != 0)
        return rc;
    atomic_fetch_add(&c->r->bad_files, 1);
    if (lost > 0)
        log_warning("Restored with damage, because of --force: file '%s', %u page(s) are lost and read as zeros: %s",
            c->f->path, lost, problem.msg);
    else
        log_warning("Restored with damage, because of --force: file '%s': %s", c->f->path, problem.msg);
    return 0;
}

int
restore_content(struct restore *r, struct chain_reader *in, size_t i, struct store_put *put, uint64_t *ret_size,
    struct gsp_error *err)
{
    struct content c = {.r = r, .in = in, .i = i, .f = &r->chain.members[0].list.entries[i], .put = put};
    int rc = put_content(&c, err);
    if (rc != 0)
        rc = tolerate(&c, err);
    *ret_size = c.size;
    return rc;
}

static int
write_file(struct restore *r, struct chain_reader *in, struct page_batch *pages, size_t i, struct gsp_error *err)
{
    const struct file_entry *f = &r->chain.members[0].list.entries[i];
    auto_free char *decoded = NULL;
    auto_store_put put = {0};
    uint64_t size = 0;
    if (f->encoded && !path_decode(f->path, &decoded))
        return gsp_fail(err, GSP_E_CORRUPT, 0, "malformed name in the file list");
    const char *path = decoded != NULL ? decoded : f->path;
    int rc = r->inplace.mode != INCREMENTAL_NONE ? inplace_file(r, in, pages, i, path, err) : 0;
    if (rc != 0)
        return rc < 0 ? rc : 0;
    /* Made anew, so that nothing that others put here is written through; without setuid bits out of a list. */
    struct store *s = restore_target_store(&r->target, f->external_dir_num);
    rc = store_put_begin(s, path, f->mode & 0777, GSP_PUT_EXCL, &put, err);
    if (rc == GSP_E_EXIST)
        return gsp_hint(err, "the directory was empty before: let nothing else write there, and restore again");
    if (rc == 0)
        rc = restore_content(r, in, i, &put, &size, err);
    return rc == 0 ? store_put_commit(&put, size, err) : rc;
}

int
restore_file(struct restore *r, struct chain_reader *in, struct page_batch *pages, size_t i, struct gsp_error *err)
{
    int rc = write_file(r, in, pages, i, err);
    progress_add(&r->progress, 0, 1);
    return rc != 0 ? gsp_prefix(err, "restore file '%s'", r->chain.members[0].list.entries[i].path) : 0;
}
