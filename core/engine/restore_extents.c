/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/restore_extents.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"

struct build {
    struct restore *r;
    struct chain_reader *in;
    struct store_put *put;
    const struct chain_block *blocks; /* of the file, ascending */
    uint32_t n, at;                   /* the first that was not read */
    uint32_t *ret_lost;
    struct gsp_extent extent;
};

int
restore_is_extents(const struct file_entry *f)
{
    return f->compressed_file && chain_entry_is_paged(f) && f->n_blocks > 0;
}

int
restore_extents_check(const struct restore *r, const struct file_entry *f, struct gsp_error *err)
{
    const struct gsp_dialect_ops *dialect = r->dialect;
    struct gsp_extent kind = {.struct_size = sizeof kind,
        .segment = f->segment,
        .chunk_size = f->compressed_chunk_size,
        .algorithm = f->compressed_algorithm};
    int rc = 0;
    if (dialect->extent_build == NULL || dialect->extent_pages == 0 || dialect->extent_bytes < r->cluster.page_size) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the files of compressed relations of this database are not known");
        rc = gsp_hint(err, "restore this backup with the gs_probackup that made it");
    }
    if (rc == 0)
        rc = dialect->extent_build(&r->cluster, &kind, err);
    return rc != 0 ? gsp_prefix(err, "restore file '%s'", f->path) : 0;
}

uint64_t
restore_extents_bytes(const struct restore *r, const struct file_entry *f, uint64_t *ret_room)
{
    uint32_t pages = r->dialect->extent_pages;
    uint64_t extents = ((uint64_t)(uint32_t)f->n_blocks + pages - 1) / pages;
    *ret_room = ((uint64_t)(uint32_t)f->n_blocks + extents) * r->cluster.page_size;
    return extents * r->dialect->extent_bytes;
}

/* Pages of the extent, into their places. With ret_lost one at a time, so that damage costs no more than one. */
static int
read_pages(struct build *b, struct gsp_error *err)
{
    struct gsp_extent *x = &b->extent;
    uint32_t page_size = b->r->cluster.page_size, end = x->first + x->n;
    int rc = 0;
    memset(x->pages, 0, (size_t)x->n * page_size);
    while (rc == 0 && b->at < b->n && b->blocks[b->at].block < end) {
        struct gsp_error problem = {0};
        struct page_batch *batch = NULL;
        uint32_t want = 1;
        while (b->ret_lost == NULL && b->at + want < b->n && b->blocks[b->at + want].block < end)
            want++;
        rc = chain_pages(b->in, b->blocks + b->at, want, &batch, &problem);
        for (uint32_t i = 0; rc == 0 && i < batch->n; i++)
            memcpy(x->pages + (size_t)(batch->block[i] - x->first) * page_size, batch->data + (size_t)i * batch->stride,
                page_size);
        b->at += rc == 0 ? batch->n : want;
        if (b->ret_lost != NULL && restore_is_damage(rc)) {
            ++*b->ret_lost;
            rc = 0;
        }
        if (rc != 0)
            *err = problem;
    }
    return rc;
}

static int
build_extent(struct build *b, struct gsp_error *err)
{
    struct restore *r = b->r;
    struct gsp_extent *x = &b->extent;
    uint32_t size = r->dialect->extent_bytes;
    uint64_t offset = (uint64_t)(x->first / r->dialect->extent_pages) * size;
    memset(x->bytes, 0, size);
    x->lost = 0;
    int rc = jobs_check(&r->jobs, err);
    if (rc == 0)
        rc = read_pages(b, err);
    if (rc == 0)
        rc = r->dialect->extent_build(&r->cluster, x, err);
    if (rc == 0 && (x->hole > x->hole_end || x->hole_end > size))
        rc = gsp_fail(err, GSP_E_BUG, 0, "hole from %u to %u in an extent of %u bytes", x->hole, x->hole_end, size);
    if (rc == 0 && x->hole > 0)
        rc = store_put_pwrite(b->put, x->bytes, x->hole, offset, err);
    if (rc == 0 && x->hole_end < size)
        rc = store_put_pwrite(b->put, x->bytes + x->hole_end, size - x->hole_end, offset + x->hole_end, err);
    if (rc != 0)
        return rc;
    if (b->ret_lost != NULL)
        *b->ret_lost += x->lost;
    progress_add(&r->progress, (uint64_t)x->n * r->cluster.page_size, 0);
    return 0;
}

/* What the chain has of the file. */
static int
find_blocks(struct build *b, const struct file_entry *f, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = chain_blocks(b->in, &b->blocks, &b->n, &problem);
    if (b->ret_lost != NULL && restore_is_damage(rc)) {
        *b->ret_lost += b->n < (uint32_t)f->n_blocks ? (uint32_t)f->n_blocks - b->n : 0;
        rc = 0;
    }
    if (rc != 0)
        *err = problem;
    while (rc == 0 && b->at < b->n && b->blocks[b->at].block < b->extent.first)
        b->at++;
    return rc;
}

int
restore_extents(struct restore *r, struct chain_reader *in, const struct file_entry *f, struct store_put *put,
    uint32_t *next, uint32_t *ret_lost, struct gsp_error *err)
{
    uint32_t pages = r->dialect->extent_pages, all = (uint32_t)f->n_blocks;
    auto_free uint8_t *buffer = NULL, *bytes = NULL;
    struct build b = {.r = r, .in = in, .put = put, .ret_lost = ret_lost};
    b.extent = (struct gsp_extent){.struct_size = sizeof b.extent,
        .first = *next,
        .segment = f->segment,
        .chunk_size = f->compressed_chunk_size,
        .algorithm = f->compressed_algorithm,
        .tolerant = ret_lost != NULL};
    buffer = malloc((size_t)pages * r->cluster.page_size);
    bytes = malloc(r->dialect->extent_bytes);
    if (buffer == NULL || bytes == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    b.extent.pages = buffer;
    b.extent.bytes = bytes;
    int rc = find_blocks(&b, f, err);
    while (rc == 0 && *next < all) {
        b.extent.first = *next;
        b.extent.n = all - *next < pages ? all - *next : pages;
        rc = build_extent(&b, err);
        if (rc == 0)
            *next += b.extent.n;
    }
    return rc;
}
