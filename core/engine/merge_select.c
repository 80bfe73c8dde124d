/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/engine/merge.h"

/* The only valid child of a FULL backup. */
static int
find_child(const struct backup_list *list, const struct backup *full, const struct backup **ret, struct gsp_error *err)
{
    const struct backup *child = NULL;
    for (size_t i = 0; i < list->n; i++) {
        const struct backup *b = &list->backups[i];
        if (backup_is_full(b) || !backup_is_valid(b) || strcmp(b->parent_id, full->id) != 0)
            continue;
        if (child != NULL) {
            (void)gsp_fail(err, GSP_E_USAGE, 0,
                "Merge target is full backup and has multiple direct children, you must specify child backup id you "
                "want to merge with");
            return gsp_hint(err, "two of them are %s and %s: give one with -i", b->id, child->id);
        }
        child = b;
    }
    if (child == NULL) {
        (void)gsp_fail(
            err, GSP_E_NOENT, 0, "Failed to find merge candidate, backup %s has no valid children", full->id);
        return gsp_hint(err, "a merge needs an incremental backup: there is nothing to do for a FULL one alone");
    }
    *ret = child;
    return 0;
}

static int
check_status(const struct backup *b, const struct backup *target, struct gsp_error *err)
{
    if (backup_is_valid(b))
        return 0;
    if (b->status == BACKUP_MERGING || b->status == BACKUP_MERGED) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "backup %s has status %s: another tool began to merge it", b->id,
            backup_status_name(b->status));
        return gsp_hint(err, "repeat the merge with the tool that began it");
    }
    (void)gsp_fail(err, GSP_E_CORRUPT, 0,
        b == target ? "Backup %s has status: %s" : "Backup %s has status %s, merge is aborted", b->id,
        backup_status_name(b->status));
    if (b->status == BACKUP_ORPHAN || b->status == BACKUP_CORRUPT)
        return gsp_hint(err, "'validate' tells what is wrong with it, and a repaired backup becomes valid again");
    return gsp_hint(err, "only valid backups (OK, DONE) are merged");
}

/* Could the backup be, or become, of any use? */
static int
may_be_used(const struct backup *b)
{
    return backup_is_valid(b) || b->status == BACKUP_ORPHAN || b->status == BACKUP_CORRUPT ||
           b->status == BACKUP_RUNNING || b->status == BACKUP_MERGING || b->status == BACKUP_MERGED;
}

static int
is_among(const struct backup *const *backups, size_t n, const struct backup *b)
{
    for (size_t i = 0; i < n; i++)
        if (backups[i] == b)
            return 1;
    return 0;
}

static int
fail_dependent(const struct backup *b, const struct backup *victim, struct gsp_error *err)
{
    (void)gsp_fail(
        err, GSP_E_EXIST, 0, "backup %s is based on backup %s, which a merge would take away", b->id, victim->id);
    if (backup_is_full(victim))
        return gsp_hint(err, "delete backup %s first", b->id);
    return gsp_hint(err, "delete backup %s first, or merge no further than to backup %s", b->id, victim->id);
}

int
merge_check_dependents(
    const struct backup_list *list, const struct backup *const *chain, size_t n, struct gsp_error *err)
{
    for (size_t i = list->n; i-- > 0;) {
        const struct backup *b = &list->backups[i];
        if (is_among(chain, n, b))
            continue;
        if (b->unread) {
            (void)gsp_fail(err, GSP_E_IO, 0,
                "the control file of backup %s could not be read: it may be based on one that a merge would take away",
                b->id);
            return gsp_hint(err, "the warning above says why; try again once the storage answers");
        }
        for (size_t k = 1; k < n; k++)
            if (!backup_is_full(b) && may_be_used(b) && strcmp(b->parent_id, chain[k]->id) == 0)
                return fail_dependent(b, chain[k], err);
    }
    return 0;
}

int
merge_select(
    const struct backup_list *list, const char *id, const struct backup ***ret, size_t *ret_n, struct gsp_error *err)
{
    auto_free const struct backup **chain = NULL;
    size_t n = 0;
    const struct backup *target = backup_list_find(list, id);
    if (target == NULL) {
        (void)gsp_fail(err, GSP_E_NOENT, 0, "Requested backup %s is not found.", id);
        return gsp_hint(err, "see 'gs_probackup show' for the backups there are");
    }
    int rc = backup_check_read(target, err);
    if (rc == 0)
        rc = check_status(target, target, err);
    if (rc == 0 && backup_is_full(target))
        rc = find_child(list, target, &target, err);
    if (rc == 0)
        rc = backup_chain(list, target, &chain, &n, err);
    for (size_t i = n; i-- > 0 && rc == 0;)
        rc = check_status(chain[i], target, err);
    if (rc == 0)
        rc = merge_check_dependents(list, chain, n, err);
    if (rc == 0) {
        *ret = steal(&chain);
        *ret_n = n;
    }
    return rc;
}
