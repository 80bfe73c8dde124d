/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/chain.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/engine/external.h"

/* What is known of a file of the backup while the lists are read, newest first: nothing older is needed of it, or that
 * of so many blocks. Of a file without pages it is needed or not. */
enum { NOTHING = 0, CONTENT = 1 };

struct reading {
    struct chain *c;
    struct stored_backup *sb; /* the member whose list is being read */
    uint8_t *present;
    uint32_t *needed;              /* per file of the backup's list */
    size_t next;                   /* in that list, behind the last match: lists are usually sorted alike */
    struct external_dirs external; /* of this member: */
    int32_t *external_numbers;     /* its number N is [N - 1] in the backup; 0: the backup does not have it */
};

int
chain_entry_is_paged(const struct file_entry *f)
{
    return f->is_datafile && !f->is_cfs;
}

uint32_t
chain_entry_blocks(const struct file_entry *f)
{
    if (f->size == 0)
        return NOTHING;
    return f->n_blocks > 0 || f->size == FILE_UNCHANGED ? (uint32_t)f->n_blocks : CHAIN_ANY_BLOCKS;
}

/* Is there nothing in older members that this entry leaves open? */
static int
is_all(const struct stored_backup *sb, const struct file_entry *f)
{
    return f->size > 0 && stored_is_whole(sb, f);
}

static uint32_t
needed_behind(const struct stored_backup *sb, const struct file_entry *f, uint32_t needed)
{
    if (!chain_entry_is_paged(f))
        return f->size == FILE_UNCHANGED ? needed : NOTHING;
    uint32_t n = chain_entry_blocks(f);
    return is_all(sb, f) ? NOTHING : n < needed ? n : needed;
}

static size_t
find_file(struct reading *r, const struct file_entry *f)
{
    const struct filelist *list = &r->c->members[0].list;
    size_t low = 0, high = list->n;
    for (size_t i = r->next; i < list->n && i < r->next + 4; i++) {
        int order = filelist_compare(&list->entries[i], f);
        if (order == 0)
            return i;
        if (order > 0)
            break;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = filelist_compare(&list->entries[middle], f);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    r->next = low;
    return list->n;
}

/* An entry of the list as the backup would number it. Returns 0 when the backup does not have its directory. */
static int
renumber(const struct reading *r, struct file_entry *f)
{
    if (f->external_dir_num == 0)
        return 1;
    f->external_dir_num =
        (size_t)f->external_dir_num <= r->external.n ? r->external_numbers[f->external_dir_num - 1] : 0;
    return f->external_dir_num > 0;
}

static int
take_entry(void *arg, const struct file_entry *listed, struct gsp_error *err)
{
    struct reading *r = arg;
    const struct filelist *newest = &r->c->members[0].list;
    struct file_entry entry = *listed, *f = &entry;
    size_t i = renumber(r, f) ? find_file(r, f) : newest->n;
    if (i == newest->n)
        return 0;
    r->next = i + 1;
    if (r->present[i / 8] & 1u << i % 8)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "the file list of backup %s names '%s' twice", r->sb->b->id, f->path);
    r->present[i / 8] |= (uint8_t)(1u << i % 8);
    uint32_t needed = r->needed[i];
    if (needed == NOTHING)
        return 0;
    uint32_t behind = needed_behind(r->sb, f, needed);
    r->needed[i] = behind;
    if (f->size == FILE_UNCHANGED && behind == needed)
        return 0; /* says nothing that the newer ones did not */
    return filelist_add_shared(&r->sb->list, f, newest->entries[i].path, err) != NULL ? 0 : err->code;
}

/* A list that grows no more gives back what was left for that. */
static void
fit(struct filelist *list)
{
    struct file_entry *fitted = list->n > 0 ? realloc(list->entries, list->n * sizeof *fitted) : NULL;
    if (fitted == NULL)
        return;
    list->entries = fitted;
    list->cap = list->n;
}

/* Where the file of each kept entry stands in the backup's list, which has the same order. */
static int
number_entries(struct chain *c, size_t k, struct gsp_error *err)
{
    struct filelist *list = &c->members[k].list;
    const struct filelist *newest = &c->members[0].list;
    filelist_sort(list);
    fit(list);
    c->files[k] = calloc(list->n + 1, sizeof *c->files[k]);
    if (c->files[k] == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t j = 0, i = 0; j < list->n; j++, i++) {
        while (newest->entries[i].path != list->entries[j].path)
            i++;
        c->files[k][j] = (uint32_t)i;
    }
    return 0;
}

/* Which directory of the member is which of the backup, and back. */
static int
match_externals(struct reading *r, struct gsp_error *err)
{
    auto_external_dirs newest = {0};
    int rc = external_dirs_parse(r->c->members[0].b->external_dirs, &newest, err);
    if (rc == 0)
        rc = external_dirs_parse(r->sb->b->external_dirs, &r->external, err);
    if (rc != 0)
        return rc;
    r->external_numbers = calloc(r->external.n + 1, sizeof *r->external_numbers);
    r->sb->external_numbers = calloc(newest.n + 1, sizeof *r->sb->external_numbers);
    if (r->external_numbers == NULL || r->sb->external_numbers == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < newest.n; i++) {
        int32_t own = external_dirs_same(&newest, (int32_t)i + 1, &r->external);
        r->sb->external_numbers[i] = own;
        if (own > 0)
            r->external_numbers[own - 1] = (int32_t)i + 1;
    }
    return 0;
}

static int
read_list(struct chain *c, size_t k, uint32_t *needed, struct gsp_error *err)
{
    struct stored_backup *sb = &c->members[k];
    size_t n = c->members[0].list.n;
    c->present[k] = calloc(n / 8 + 1, 1);
    if (c->present[k] == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    struct reading r = {.c = c, .sb = sb, .present = c->present[k], .needed = needed};
    int rc = filelist_new(&sb->list, err);
    if (rc == 0)
        rc = match_externals(&r, err);
    if (rc == 0)
        rc = backup_each_file(&c->e->repo, c->e->instance, sb->b, take_entry, &r, err);
    external_dirs_free(&r.external);
    free(r.external_numbers);
    if (rc == 0)
        rc = number_entries(c, k, err);
    if (rc == 0)
        stored_backup_open_codecs(sb);
    /* What this one does not list was made later: older files of the name are others. */
    for (size_t i = 0; i < n; i++)
        if (!chain_lists(c, k, i))
            needed[i] = NOTHING;
    return rc;
}

static int
open_member(struct chain *c, size_t k, const struct backup *b, struct gsp_error *err)
{
    struct stored_backup *sb = &c->members[k];
    int rc = stored_backup_check_version(b, err);
    if (rc == 0)
        rc = k == 0 ? stored_backup_open(sb, c->e, b, err) : stored_backup_init(sb, c->e, b, err);
    if (rc == 0 && sb->page_size != c->members[0].page_size)
        rc = gsp_fail(err, GSP_E_CONFIG, 0, "backup %s has pages of %u bytes, its descendant %s of %u", b->id,
            sb->page_size, c->members[0].b->id, c->members[0].page_size);
    return rc;
}

static int
read_older(struct chain *c, struct gsp_error *err)
{
    const struct filelist *list = &c->members[0].list;
    if (list->n >= UINT32_MAX)
        return gsp_fail(err, GSP_E_NOMEM, 0, "too many files");
    auto_free uint32_t *needed = calloc(list->n + 1, sizeof *needed);
    if (needed == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = 0; i < list->n; i++) {
        const struct file_entry *f = &list->entries[i];
        uint32_t all = chain_entry_is_paged(f) ? CHAIN_ANY_BLOCKS : CONTENT;
        needed[i] = file_entry_is_dir(f) ? NOTHING : needed_behind(&c->members[0], f, all);
    }
    int rc = 0;
    for (size_t k = 1; k < c->n && rc == 0; k++)
        rc = read_list(c, k, needed, err);
    return rc;
}

static int
keep_some(struct filelist *list, int (*keep)(void *arg, const struct file_entry *f, struct gsp_error *err), void *arg,
    struct gsp_error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->n; i++) {
        int rc = keep(arg, &list->entries[i], err);
        if (rc < 0)
            return rc;
        if (rc > 0)
            list->entries[kept++] = list->entries[i];
    }
    list->n = kept;
    return 0;
}

int
chain_open(struct chain *c, struct engine *e, const struct backup *const *backups, size_t n, struct gsp_error *err)
{
    return chain_open_some(c, e, backups, n, NULL, NULL, err);
}

int
chain_open_some(struct chain *c, struct engine *e, const struct backup *const *backups, size_t n,
    int (*keep)(void *arg, const struct file_entry *f, struct gsp_error *err), void *arg, struct gsp_error *err)
{
    memset(c, 0, sizeof *c);
    c->e = e;
    if (n == 0 || n > CHAIN_MEMBERS_MAX)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "a chain of %zu backups", n);
    c->members = calloc(n, sizeof *c->members);
    c->present = calloc(n, sizeof *c->present);
    c->files = calloc(n, sizeof *c->files);
    if (c->members == NULL || c->present == NULL || c->files == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int rc = 0;
    for (size_t k = 0; k < n && rc == 0; k++) {
        c->n = k + 1;
        rc = open_member(c, k, backups[k], err);
    }
    if (rc == 0 && keep != NULL)
        rc = keep_some(&c->members[0].list, keep, arg, err);
    fit(&c->members[0].list);
    return rc == 0 && n > 1 ? read_older(c, err) : rc;
}

void
chain_close(struct chain *c)
{
    for (size_t k = 0; k < c->n; k++) {
        free(c->present[k]);
        free(c->files[k]);
        stored_backup_close(&c->members[k]);
    }
    free(c->members);
    free(c->present);
    free(c->files);
    memset(c, 0, sizeof *c);
}

int
chain_lists(const struct chain *c, size_t member, size_t i)
{
    return member == 0 || (c->present[member][i / 8] & 1u << i % 8) != 0;
}

const struct file_entry *
chain_entry(const struct chain *c, size_t member, size_t i)
{
    const struct filelist *list = &c->members[member].list;
    if (member == 0)
        return &list->entries[i];
    size_t low = 0, high = list->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->files[member][middle] < i)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->n && c->files[member][low] == i ? &list->entries[low] : NULL;
}

const struct file_entry *
chain_stored(const struct chain *c, size_t i, size_t *ret_member)
{
    for (size_t k = 0; k < c->n && chain_lists(c, k, i); k++) {
        const struct file_entry *f = chain_entry(c, k, i);
        *ret_member = k;
        if (f != NULL && f->size != FILE_UNCHANGED)
            return f;
    }
    return NULL;
}
