/* SPDX-License-Identifier: Apache-2.0 */
#include "cbm.h"

#include <inttypes.h>
#include <string.h>

#define POLL_US 1000000
#define FORK_MAIN 0
#define NO_BLOCK UINT32_MAX
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The columns of the map, as they are asked for. */
enum column {
    MERGED_START,
    MERGED_END,
    TABLESPACE,
    DATABASE,
    RELATION,
    FORK,
    PATH,
    DROPPED,
    CREATED,
    TRUNCATED,
    TRUNCATED_TO,
    BLOCKS,
    BLOCK_LIST,
    COLUMNS
};

struct map {
    const struct cbm_session *session;
    gsp_lsn from, to;
    gsp_change_cb cb;
    void *arg;
    uint64_t row; /* rows seen, for messages */
    int gone;     /* the server does not have the range */
    uint32_t n;
    struct gsp_change batch[256];
};

/* ---- texts -------------------------------------------------------------------------------------- */

/* A decimal number at *text that fits. Returns 1 and moves *text behind it, or 0. */
static int
take_number(const char **text, uint32_t *ret)
{
    const char *p = *text;
    uint64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        v = v * 10 + (uint64_t)(*p - '0');
        if (v > UINT32_MAX)
            return 0;
    }
    if (p == *text)
        return 0;
    *text = p;
    *ret = (uint32_t)v;
    return 1;
}

static int
is_number(const char *text, uint32_t *ret)
{
    return take_number(&text, ret) && *text == '\0';
}

static int
is_flag(const char *text, int *ret)
{
    *ret = text[0] == 't';
    return (text[0] == 't' || text[0] == 'f') && text[1] == '\0';
}

/* Up to eight hexadecimal digits. */
static int
take_hex(const char **text, uint32_t *ret)
{
    const char *p = *text;
    uint32_t v = 0;
    for (; p - *text < 8; p++) {
        if (*p >= '0' && *p <= '9')
            v = v << 4 | (uint32_t)(*p - '0');
        else if ((*p | 0x20) >= 'a' && (*p | 0x20) <= 'f')
            v = v << 4 | (uint32_t)((*p | 0x20) - 'a' + 10);
        else
            break;
    }
    if (p == *text)
        return 0;
    *text = p;
    *ret = v;
    return 1;
}

static int
is_lsn(const char *text, gsp_lsn *ret)
{
    uint32_t high, low;
    if (!take_hex(&text, &high) || *text++ != '/' || !take_hex(&text, &low) || *text != '\0')
        return 0;
    *ret = (gsp_lsn)high << 32 | low;
    return 1;
}

/* ---- settings and the wait ---------------------------------------------------------------------- */

static int
take_text_lsn(void *arg, uint32_t n, const char *const *cells, struct gsp_error *err)
{
    gsp_lsn *lsn = arg;
    if (n == 1 && (cells[0][0] == '\0' || is_lsn(cells[0], lsn)))
        return 0;
    return gsp_fail(err, GSP_E_PROTO, 0, "the server answered '%s' where its tracked WAL position was expected",
        n > 0 ? cells[0] : "");
}

static int
take_is_off(void *arg, uint32_t n, const char *const *cells, struct gsp_error *err)
{
    int *off = arg;
    (void)err;
    *off = n == 1 && strcmp(cells[0], "off") == 0;
    return 0;
}

static int
tracking_is_off(struct gsp_error *err)
{
    gsp_error_clear(err);
    (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the server does not track changed blocks: enable_cbm_tracking is off");
    return gsp_hint(err, "Set enable_cbm_tracking = on and reload the configuration, then take a new FULL backup: the "
                         "map has to reach back to the start of the parent.");
}

/* With tracking off the position stands still for ever. */
static int
check_tracking(const struct map *m, struct gsp_error *err)
{
    const struct cbm_session *s = m->session;
    int off = 0;
    int rc = s->query(s->ctx, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'enable_cbm_tracking'",
        take_is_off, &off, err);
    return rc == 0 && off ? tracking_is_off(err) : rc;
}

/* The server looks at its WAL every now and then; ask it to do so now, for a second at most. A server that refuses is
 * left alone: *may_force. */
static int
force(const struct map *m, int *may_force, gsp_lsn *ret, struct gsp_error *err)
{
    const struct cbm_session *s = m->session;
    char sql[128];
    if (!*may_force)
        return 0;
    (void)snprintf(sql, sizeof sql, "SELECT pg_catalog.pg_cbm_force_track('" GSP_LSN_FMT "', 1)", GSP_LSN_ARGS(m->to));
    int rc = s->query(s->ctx, sql, take_text_lsn, ret, err);
    if (rc != GSP_E_SERVER)
        return rc;
    if (strstr(err->msg, "CBM writer") != NULL)
        return tracking_is_off(err);
    gsp_error_clear(err);
    *may_force = 0;
    return 0;
}

static int
too_late(const struct map *m, gsp_lsn lsn, gsp_lsn first, int64_t gone_us, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_TIMEOUT, 0,
        "the server has tracked changed blocks up to " GSP_LSN_FMT ", not up to " GSP_LSN_FMT ", after %" PRId64
        " seconds",
        GSP_LSN_ARGS(lsn), GSP_LSN_ARGS(m->to), gone_us / 1000000);
    if (lsn == first)
        return gsp_hint(
            err, "This position stood still all the while: check enable_cbm_tracking and the server's log.");
    return gsp_hint(err, "Raise the time limit with --archive-timeout.");
}

static int
wait_tracked(const struct map *m, int64_t timeout_us, struct gsp_error *err)
{
    const struct cbm_session *s = m->session;
    int64_t begun_us = s->now_us(s->ctx);
    int may_force = 1;
    gsp_lsn first = 0;
    for (int asked = 0;; asked = 1) {
        gsp_lsn lsn = 0;
        int64_t wait_us = POLL_US, gone_us = s->now_us(s->ctx) - begun_us;
        int rc = s->query(s->ctx, "SELECT pg_cbm_tracked_location()", take_text_lsn, &lsn, err);
        if (rc != 0 || lsn >= m->to)
            return rc;
        if (!asked)
            first = lsn;
        if (timeout_us > 0 && gone_us >= timeout_us)
            return too_late(m, lsn, first, gone_us, err);
        rc = force(m, &may_force, &lsn, err);
        if (rc != 0 || lsn >= m->to)
            return rc;
        if (timeout_us > 0 && wait_us > timeout_us - gone_us)
            wait_us = timeout_us - gone_us;
        rc = s->wait(s->ctx, wait_us, err);
        if (rc != 0)
            return rc;
    }
}

/* ---- rows --------------------------------------------------------------------------------------- */

static int
flush(struct map *m, struct gsp_error *err)
{
    uint32_t n = m->n;
    m->n = 0;
    return n > 0 ? m->cb(m->arg, m->batch, n, err) : 0;
}

static int
emit(struct map *m, const struct gsp_change *change, struct gsp_error *err)
{
    int rc = m->n == COUNT(m->batch) ? flush(m, err) : 0;
    if (rc == 0)
        m->batch[m->n++] = *change;
    return rc;
}

static int
bad_row(const struct map *m, const char *path, const char *what, const char *text, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_PROTO, 0, "changed-block map: row %" PRIu64 " (path '%.200s') has %s '%.60s'", m->row,
        path, what, text);
}

/* Is the path that of a relation's main fork: .../<database>/<relation> or .../global/<relation>? The map also tells
 * of undo, of column units and of buckets, which are other files. */
static int
is_relation(const char *path, uint32_t db_oid, uint32_t relation)
{
    const char *name = strrchr(path, '/'), *dir;
    uint32_t number;
    if (name == NULL || relation == 0 || name[1] == '0' || !is_number(name + 1, &number) || number != relation)
        return 0;
    for (dir = name; dir > path && dir[-1] != '/';)
        dir--;
    if (name - dir == 6 && memcmp(dir, "global", 6) == 0)
        return 1;
    return take_number(&dir, &number) && dir == name && number == db_oid;
}

/* A list such as "0, 27, 28" of as many blocks as the row says. change: BLOCKS of the relation */
static int
take_list(struct map *m, const char *const *cells, struct gsp_change *change, struct gsp_error *err)
{
    const char *p = cells[BLOCK_LIST];
    uint32_t wanted, seen = 0, block;
    int rc = 0;
    if (!is_number(cells[BLOCKS], &wanted))
        return bad_row(m, cells[PATH], "the number of blocks", cells[BLOCKS], err);
    change->count = 0;
    while (rc == 0 && *p != '\0') {
        if (seen > 0) {
            if (*p++ != ',')
                return bad_row(m, cells[PATH], "a list that breaks at", p - 1, err);
            p += *p == ' ';
        }
        if (!take_number(&p, &block) || block == NO_BLOCK)
            return bad_row(m, cells[PATH], "a list that breaks at", p, err);
        seen++;
        if (change->count > 0 && block == change->block + change->count) {
            change->count++;
            continue;
        }
        rc = change->count > 0 ? emit(m, change, err) : 0;
        change->block = block;
        change->count = 1;
    }
    if (rc == 0 && seen != wanted)
        return bad_row(m, cells[PATH], "a list that is not as long as", cells[BLOCKS], err);
    return rc == 0 && change->count > 0 ? emit(m, change, err) : rc;
}

/* The server gives whole pieces of its map; they contain what was asked for, or it is not what was asked for. */
static int
check_range(struct map *m, const char *const *cells, struct gsp_error *err)
{
    gsp_lsn start, end;
    if (!is_lsn(cells[MERGED_START], &start))
        return bad_row(m, cells[PATH], "the start", cells[MERGED_START], err);
    if (!is_lsn(cells[MERGED_END], &end))
        return bad_row(m, cells[PATH], "the end", cells[MERGED_END], err);
    if (start <= m->from && end >= m->to)
        return 0;
    m->gone = 1;
    return gsp_fail(err, GSP_E_NOENT, 0,
        "the server's changed-block map is from " GSP_LSN_FMT " to " GSP_LSN_FMT ", from " GSP_LSN_FMT
        " to " GSP_LSN_FMT " is needed",
        GSP_LSN_ARGS(start), GSP_LSN_ARGS(end), GSP_LSN_ARGS(m->from), GSP_LSN_ARGS(m->to));
}

/* What happened to the relation as a whole. */
static int
take_fate(struct map *m, const char *const *cells, struct gsp_change *change, struct gsp_error *err)
{
    int dropped, created, truncated;
    const char *path = cells[PATH];
    if (!is_flag(cells[DROPPED], &dropped))
        return bad_row(m, path, "rel_dropped", cells[DROPPED], err);
    if (!is_flag(cells[CREATED], &created))
        return bad_row(m, path, "rel_created", cells[CREATED], err);
    if (!is_flag(cells[TRUNCATED], &truncated))
        return bad_row(m, path, "rel_truncated", cells[TRUNCATED], err);
    if (!dropped && !created && !truncated)
        return 0;
    change->kind = GSP_CHANGE_FROM;
    if (!dropped && !created && !is_number(cells[TRUNCATED_TO], &change->block))
        return bad_row(m, path, "truncate_blocknum", cells[TRUNCATED_TO], err);
    return emit(m, change, err);
}

static int
take_row(void *arg, uint32_t n, const char *const *cells, struct gsp_error *err)
{
    struct map *m = arg;
    struct gsp_change change = {0};
    uint32_t fork;
    int rc;
    m->row++;
    if (n != COLUMNS)
        return gsp_fail(err, GSP_E_PROTO, 0, "changed-block map: row %" PRIu64 " has %" PRIu32 " columns, not %d",
            m->row, n, COLUMNS);
    rc = check_range(m, cells, err);
    if (rc != 0)
        return rc;
    if (!is_number(cells[TABLESPACE], &change.space_oid))
        return bad_row(m, cells[PATH], "the tablespace", cells[TABLESPACE], err);
    if (!is_number(cells[DATABASE], &change.db_oid))
        return bad_row(m, cells[PATH], "the database", cells[DATABASE], err);
    if (!is_number(cells[RELATION], &change.relation))
        return bad_row(m, cells[PATH], "the relation", cells[RELATION], err);
    if (!is_number(cells[FORK], &fork))
        return bad_row(m, cells[PATH], "the fork", cells[FORK], err);
    if (fork != FORK_MAIN || !is_relation(cells[PATH], change.db_oid, change.relation))
        return 0;
    rc = take_fate(m, cells, &change, err);
    if (rc != 0)
        return rc;
    change.kind = GSP_CHANGE_BLOCKS;
    return take_list(m, cells, &change, err);
}

/* ---- a range that is gone ----------------------------------------------------------------------- */

struct oldest_slot {
    gsp_lsn lsn;
    char name[64]; /* "" = there is none */
};

static int
take_slot(void *arg, uint32_t n, const char *const *cells, struct gsp_error *err)
{
    struct oldest_slot *oldest = arg;
    gsp_lsn lsn;
    (void)err;
    if (n == 2 && is_lsn(cells[1], &lsn) && (oldest->name[0] == '\0' || lsn < oldest->lsn)) {
        oldest->lsn = lsn;
        (void)snprintf(oldest->name, sizeof oldest->name, "%s", cells[0]);
    }
    return 0;
}

/* Say why the map may not reach back: err is what failed, and stays it. */
static int
blame_slot(const struct map *m, struct gsp_error *err)
{
    const struct cbm_session *s = m->session;
    struct oldest_slot oldest = {0};
    struct gsp_error ignored = {0};
    (void)s->query(s->ctx,
        "SELECT slot_name, restart_lsn FROM pg_catalog.pg_get_replication_slots() WHERE active = false", take_slot,
        &oldest, &ignored);
    err->hint[0] = '\0'; /* the server's own */
    if (oldest.name[0] != '\0')
        return gsp_hint(err,
            "The usual cause is the oldest inactive replication slot, '%s' at " GSP_LSN_FMT
            ": drop it if nobody needs it (SELECT pg_drop_replication_slot('%s');). Then take a new FULL backup.",
            oldest.name, GSP_LSN_ARGS(oldest.lsn), oldest.name);
    return gsp_hint(err, "No replication slot is inactive; tracking may have been off for a while, or its files were "
                         "removed. Take a new FULL backup.");
}

int
cbm_changed_blocks(const struct cbm_session *session, gsp_lsn from, gsp_lsn to, int64_t timeout_us, gsp_change_cb cb,
    void *arg, struct gsp_error *err)
{
    struct map m = {.session = session, .from = from, .to = to, .cb = cb, .arg = arg};
    char sql[512];
    int rc = check_tracking(&m, err);
    if (rc == 0)
        rc = wait_tracked(&m, timeout_us, err);
    if (rc != 0)
        return rc;
    (void)snprintf(sql, sizeof sql,
        "SELECT merged_start_lsn, merged_end_lsn, tablespace_oid, database_oid, relfilenode, fork_number, path, "
        "rel_dropped, rel_created, rel_truncated, truncate_blocknum, changed_block_number, changed_block_list FROM "
        "pg_catalog.pg_cbm_get_changed_block('" GSP_LSN_FMT "', '" GSP_LSN_FMT "')",
        GSP_LSN_ARGS(from), GSP_LSN_ARGS(to));
    rc = session->query(session->ctx, sql, take_row, &m, err);
    /* Whatever the server has to say against its map's files, in any language: the range is not to be had. */
    if (rc == GSP_E_SERVER && strstr(err->msg, "CBM") != NULL) {
        err->code = GSP_E_NOENT;
        m.gone = 1;
    }
    if (m.gone)
        rc = blame_slot(&m, err);
    return rc != 0 ? rc : flush(&m, err);
}
