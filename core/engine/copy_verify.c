/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/copy_verify.h"

#include <inttypes.h>
#include <stdlib.h>

struct map_check {
    struct map_check_job *job;
    struct chain_reader *reader;
    const struct source_file *file; /* whose blocks are loaded */
    const struct chain_block *blocks;
    uint32_t n_blocks;
};

int
map_check_new(struct map_check_job *job, struct map_check **ret, struct gsp_error *err)
{
    struct map_check *check = calloc(1, sizeof *check);
    if (check == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    check->job = job;
    int rc = chain_reader_new(job->chain, &check->reader, err);
    if (rc != 0) {
        free(check);
        return rc;
    }
    *ret = check;
    return 0;
}

void
map_check_free(struct map_check *check)
{
    if (check != NULL)
        chain_reader_free(check->reader);
    free(check);
}

int
map_check_wants(const struct map_check *check, const struct source_file *f, uint32_t block)
{
    if (f->parent == NULL || (int64_t)block >= f->parent->n_blocks)
        return 0;
    uint64_t h = (check->job->seed ^ f->relation) * UINT64_C(0x9E3779B97F4A7C15);
    h = (h ^ h >> 31 ^ ((uint64_t)f->entry.segment << 32 | block)) * UINT64_C(0xBF58476D1CE4E5B9);
    return (h >> 32) % 1000 < check->job->per_mille;
}

static int
load(struct map_check *check, const struct source_file *f, struct gsp_error *err)
{
    const struct filelist *list = &check->job->chain->members[0].list;
    const struct file_entry *entry = filelist_find(list, f->entry.path, 0), *newest;
    size_t member;
    check->file = NULL;
    if (entry == NULL)
        return gsp_fail(err, GSP_E_BUG, 0, "file '%s' left the parent's list", f->source);
    int rc = chain_find(check->reader, (size_t)(entry - list->entries), &member, &newest, err);
    if (rc == 0)
        rc = chain_blocks(check->reader, &check->blocks, &check->n_blocks, err);
    if (rc == 0)
        check->file = f;
    return rc != 0 ? gsp_prefix(err, "backup %s", check->job->parent_id) : 0;
}

static const struct chain_block *
find_block(const struct map_check *check, uint32_t block)
{
    uint32_t low = 0, high = check->n_blocks;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (check->blocks[middle].block < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low < check->n_blocks && check->blocks[low].block == block ? &check->blocks[low] : NULL;
}

int
map_check_page(struct map_check *check, const struct source_file *f, uint32_t block, gsp_lsn lsn, uint16_t sum,
    struct gsp_error *err)
{
    int rc = check->file != f ? load(check, f, err) : 0;
    if (rc != 0)
        return rc;
    atomic_fetch_add_explicit(&check->job->compared, 1, memory_order_relaxed);
    const struct chain_block *known = find_block(check, block);
    return known != NULL && known->lsn == lsn && known->checksum == sum;
}

int
map_check_fail(const struct map_check *check, uint32_t block, gsp_lsn lsn, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_CORRUPT, 0,
        "block %" PRIu32 " is not in the map of changed blocks, and with LSN " GSP_LSN_FMT
        " it is not the page that backup %s has",
        block, GSP_LSN_ARGS(lsn), check->job->parent_id);
    return gsp_hint(err, "the map is wrong, or the data directory is not what it was when that backup was made; take a "
                         "backup with -b DELTA, which does without the map, or -b FULL");
}
