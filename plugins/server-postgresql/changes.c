/* SPDX-License-Identifier: Apache-2.0 */
#include "changes.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

int
pg_changes_flush(struct pg_changes *c, struct gsp_error *err)
{
    uint32_t n = c->n;
    c->n = 0;
    return n > 0 ? c->cb(c->arg, c->batch, n, err) : 0;
}

/* Is it a block beside or within what was added last? */
static int
joins(const struct gsp_change *last, const struct gsp_change *change)
{
    return change->kind == GSP_CHANGE_BLOCKS && last->kind == GSP_CHANGE_BLOCKS && last->relation == change->relation &&
           last->db_oid == change->db_oid && last->space_oid == change->space_oid && change->block >= last->block &&
           change->block - last->block <= last->count;
}

int
pg_changes_add(struct pg_changes *c, const struct gsp_change *change, struct gsp_error *err)
{
    struct gsp_change *last = c->n > 0 ? &c->batch[c->n - 1] : NULL;
    if (last != NULL && joins(last, change)) {
        last->count += change->block - last->block == last->count;
        return 0;
    }
    if (c->n == COUNT(c->batch)) {
        int rc = pg_changes_flush(c, err);
        if (rc != 0)
            return rc;
    }
    c->batch[c->n++] = *change;
    return 0;
}
