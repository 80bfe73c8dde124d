/* SPDX-License-Identifier: Apache-2.0
 * The changed-block map of openGauss: any rows are read or refused; the changes that come out make sense, and there are
 * no more blocks than the lists name. Input: rows of cells, a cell ends with '|', a row with a line feed. */
#include "server-opengauss/cbm.h"
#include "tests/fuzz/fuzz.h"

enum { CELLS_MAX = 16, FROM = 0x22000028, TO = 0x24000028 };

struct rows {
    char *text; /* its ends of cells become zeros */
    size_t size;
    uint64_t numbers; /* numbers that the text can hold at most */
    uint64_t blocks;
};

static int
hand_on(const struct rows *r, cbm_row_cb cb, void *arg, struct gsp_error *err)
{
    const char *cells[CELLS_MAX] = {0};
    uint32_t n = 0;
    int rc = 0;
    char *cell = r->text;
    for (size_t i = 0; i < r->size && rc == 0; i++) {
        char end = r->text[i];
        if (end != '|' && end != '\n')
            continue;
        r->text[i] = '\0';
        if (n < CELLS_MAX)
            cells[n++] = cell;
        cell = r->text + i + 1;
        if (end == '\n') {
            rc = cb(arg, n, cells, err);
            n = 0;
        }
    }
    return rc;
}

static int
query(void *ctx, const char *sql, cbm_row_cb cb, void *arg, struct gsp_error *err)
{
    static const char *const tracked = "00000000/24000028", *const on = "on";
    if (strstr(sql, "enable_cbm_tracking") != NULL)
        return cb(arg, 1, &on, err);
    if (strstr(sql, "pg_cbm_tracked_location") != NULL)
        return cb(arg, 1, &tracked, err);
    return strstr(sql, "pg_cbm_get_changed_block") != NULL ? hand_on(ctx, cb, arg, err) : 0;
}

static int64_t
now_us(void *ctx)
{
    (void)ctx;
    return 0;
}

static int
wait_a_while(void *ctx, int64_t us, struct gsp_error *err)
{
    (void)ctx;
    (void)us;
    must(0); /* it is tracked */
    return gsp_fail(err, GSP_E_BUG, 0, "waited");
}

static int
take(void *arg, const struct gsp_change *changes, uint32_t n, struct gsp_error *err)
{
    struct rows *r = arg;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        must(changes[i].kind == GSP_CHANGE_BLOCKS || changes[i].kind == GSP_CHANGE_FROM);
        must(changes[i].relation != 0);
        if (changes[i].kind != GSP_CHANGE_BLOCKS)
            continue;
        must(changes[i].count > 0 && changes[i].block <= UINT32_MAX - changes[i].count);
        r->blocks += changes[i].count;
    }
    must(r->blocks <= r->numbers);
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rows r = {.text = malloc(size + 1), .size = size, .numbers = size / 2 + 1};
    struct cbm_session session = {&r, query, now_us, wait_a_while};
    struct gsp_error err = {0};
    must(r.text != NULL);
    memcpy(r.text, data, size);
    r.text[size] = '\0';
    int rc = cbm_changed_blocks(&session, FROM, TO, 0, take, &r, &err);
    must(rc == 0 || (rc == err.code && (rc == GSP_E_PROTO || rc == GSP_E_NOENT) && err.msg[0] != '\0'));
    free(r.text);
    return 0;
}
