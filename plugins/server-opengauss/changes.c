/* SPDX-License-Identifier: Apache-2.0 */
#include "session.h"

#include "cbm.h"

#define CELLS_MAX 16

/* A row on its way from a link to the map. */
struct rows {
    cbm_row_cb cb;
    void *arg;
};

static int
take_row(void *arg, const PGresult *res, struct gsp_error *err)
{
    const struct rows *rows = arg;
    const char *cells[CELLS_MAX];
    int n = PQnfields(res) < CELLS_MAX ? PQnfields(res) : CELLS_MAX;
    for (int i = 0; i < n; i++)
        cells[i] = PQgetvalue(res, 0, i);
    return rows->cb(rows->arg, (uint32_t)n, cells, err);
}

static int
query(void *ctx, const char *sql, cbm_row_cb cb, void *arg, struct gsp_error *err)
{
    struct rows rows = {cb, arg};
    return pg_link_stream(ctx, sql, 0, NULL, take_row, &rows, err);
}

static int64_t
now_us(void *ctx)
{
    (void)ctx;
    return pg_now_us();
}

/* pg_link_wait ends when something is to be read or the tick is over. */
static int
wait_a_while(void *ctx, int64_t us, struct gsp_error *err)
{
    int64_t until = pg_now_us() + us, now;
    int rc = 0;
    while (rc == 0 && (now = pg_now_us()) < until)
        rc = pg_link_wait(ctx, until - now, PG_NO_DEADLINE, err);
    return rc;
}

int
og_changed_blocks(void *srv, uint32_t timeline, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
    void *arg, struct gsp_error *err)
{
    struct cbm_session session = {.ctx = &og_session_base(srv)->link, query, now_us, wait_a_while};
    (void)timeline; /* the map knows none: openGauss has one */
    return cbm_changed_blocks(&session, from, to, timeout_us, cb, arg, err);
}
