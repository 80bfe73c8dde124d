/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/timeline.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/catalog/backup.h"

enum { HISTORY_BYTES_MAX = 1024 * 1024, TIMELINES_MAX = 10000 };

static int
bad_line(uint32_t timeline, int line, const char *why, struct gsp_error *err)
{
    return gsp_fail(err, GSP_E_CORRUPT, 0, "history of timeline %" PRIu32 ", line %d: %s", timeline, line, why);
}

/* "<timeline> <LSN> ..." */
static int
parse_line(const char *line, size_t len, struct timeline_span *ret)
{
    char lsn[20];
    uint64_t timeline;
    size_t digits = strspn(line, "0123456789");
    if (digits == 0 || digits >= len || !parse_u64n(line, digits, UINT32_MAX, &timeline) || timeline == 0)
        return 0;
    size_t at = digits;
    while (at < len && (line[at] == ' ' || line[at] == '\t'))
        at++;
    size_t n = strspn(line + at, "0123456789ABCDEFabcdef/");
    if (at == digits || n >= sizeof lsn || at + n > len)
        return 0;
    memcpy(lsn, line + at, n);
    lsn[n] = '\0';
    ret->timeline = (uint32_t)timeline;
    return parse_lsn(lsn, &ret->end);
}

static int
add_span(struct timeline_history *h, const struct timeline_span *span, struct gsp_error *err)
{
    struct timeline_span *grown = realloc(h->spans, (h->n + 1) * sizeof *grown);
    if (grown == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    h->spans = grown;
    grown[h->n] = *span;
    grown[h->n].begin = h->n > 0 ? grown[h->n - 1].end : 0;
    h->n++;
    return 0;
}

int
timeline_history_parse(
    const char *text, size_t len, uint32_t timeline, struct timeline_history *ret, struct gsp_error *err)
{
    struct timeline_history h __attribute__((cleanup(timeline_history_free))) = {0};
    int number = 0, rc = 0;
    for (size_t at = 0; at < len && rc == 0;) {
        const char *line = text + at;
        const char *lf = memchr(line, '\n', len - at);
        size_t line_len = lf != NULL ? (size_t)(lf - line) : len - at;
        struct timeline_span span;
        at += line_len + 1;
        number++;
        size_t blank = strspn(line, " \t\r");
        if (blank >= line_len || line[blank] == '#')
            continue;
        if (!parse_line(line + blank, line_len - blank, &span))
            return bad_line(timeline, number, "not a timeline and its end", err);
        if (span.timeline >= timeline ||
            (h.n > 0 && (span.timeline <= h.spans[h.n - 1].timeline || span.end < h.spans[h.n - 1].end)))
            return bad_line(timeline, number, "timelines out of order", err);
        if (h.n == TIMELINES_MAX)
            return bad_line(timeline, number, "too many timelines", err);
        rc = add_span(&h, &span, err);
    }
    if (rc == 0)
        rc = add_span(&h, &(struct timeline_span){.timeline = timeline, .end = UINT64_MAX}, err);
    if (rc == 0) {
        ret->n = h.n;
        ret->spans = steal(&h.spans);
    }
    return rc;
}

int
timeline_history_read(
    struct store *s, const char *wal_dir, uint32_t timeline, struct timeline_history *ret, struct gsp_error *err)
{
    char name[32], path[PATH_SIZE];
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error missing = {0};
    (void)snprintf(name, sizeof name, "%08" PRIX32 ".history", timeline);
    if (!path_join(path, wal_dir, name))
        return gsp_fail(err, GSP_E_BUG, 0, "path of '%s' is too long", name);
    int rc = timeline > 1 ? store_read_all(s, path, HISTORY_BYTES_MAX, &text, &missing) : 0;
    if (rc != 0 && rc != GSP_E_NOENT) {
        *err = missing;
        return rc;
    }
    return timeline_history_parse(strbuf_str(&text), text.len, timeline, ret, err);
}

void
timeline_history_free(struct timeline_history *h)
{
    free(h->spans);
    memset(h, 0, sizeof *h);
}

int
timeline_has(const struct timeline_history *h, uint32_t timeline, gsp_lsn lsn)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->spans[i].timeline == timeline)
            return lsn <= h->spans[i].end;
    return 0;
}
