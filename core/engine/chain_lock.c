/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/chain.h"

static int
changed(const struct backup *b, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_LOCKED, 0, "backup %s was deleted, merged or changed by another command just now", b->id);
    return gsp_hint(err, "try again; see 'gs_probackup show' for the backups there are");
}

int
chain_lock_shared(
    struct engine *e, const struct backup *const *backups, size_t n, struct backup_lock **locks, struct gsp_error *err)
{
    for (size_t i = n; i-- > 0;) {
        struct gsp_error gone = {0};
        int rc = backup_lock_shared(&e->repo, e->instance, backups[i], &locks[i], &gone);
        if (rc == GSP_E_NOENT)
            return changed(backups[i], err);
        if (rc != 0) {
            *err = gone;
            return rc;
        }
        int same = backup_is_unchanged(&e->repo, e->instance, backups[i], err);
        if (same <= 0)
            return same < 0 ? same : changed(backups[i], err);
    }
    return 0;
}
