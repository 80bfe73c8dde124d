/* SPDX-License-Identifier: Apache-2.0
 * What `restore --plan` prints. */
#include <inttypes.h>

#include "core/base/json_writer.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/timestamp.h"
#include "core/cli/cli.h"
#include "core/engine/restore_plan.h"

enum { SIZE_TEXT = 24 };

static const char *
size_text(uint64_t bytes, char buf[SIZE_TEXT])
{
    format_size_pretty((int64_t)(bytes < INT64_MAX ? bytes : INT64_MAX), buf, SIZE_TEXT);
    return buf;
}

static const char *
time_text(int64_t seconds, char buf[TIMESTAMP_SIZE])
{
    (void)snprintf(buf, TIMESTAMP_SIZE, "----");
    if (seconds > 0)
        timestamp_format(seconds, buf);
    return buf;
}

/* ---- for people ---------------------------------------------------------------------------------- */

static void
plain_chain(const struct restore *r, struct strbuf *out)
{
    char when[TIMESTAMP_SIZE], data[SIZE_TEXT], wal[SIZE_TEXT];
    strbuf_puts(out, "\nBackups that are read, the newest first:\n");
    strbuf_printf(out, "  %-8s %-7s %-8s %-24s %8s %8s  %-13s %s\n", "ID", "Mode", "Status", "Recovery Time", "Data",
        "WAL", "Start LSN", "Stop LSN");
    for (size_t i = 0; i < r->n; i++) {
        const struct backup *b = r->backups[i];
        char start[32];
        (void)snprintf(start, sizeof start, GSP_LSN_FMT, GSP_LSN_ARGS(b->start_lsn));
        strbuf_printf(out, "  %-8s %-7s %-8s %-24s %8s %8s  %-13s " GSP_LSN_FMT "\n", b->id,
            b->mode != NULL ? b->mode : "?", backup_status_name(b->status), time_text(b->recovery_time, when),
            size_text(b->data_bytes > 0 ? (uint64_t)b->data_bytes : 0, data),
            size_text(b->wal_bytes > 0 ? (uint64_t)b->wal_bytes : 0, wal), start, GSP_LSN_ARGS(b->stop_lsn));
    }
}

static void
plain_wal(const struct restore_plan *plan, struct strbuf *out)
{
    const struct restore *r = &plan->restore;
    strbuf_puts(out, "\nWAL that the backup needs:\n");
    if (plan->wal_segments == 0)
        strbuf_puts(out, "  not known: the backup has no sound start and stop position\n");
    else
        strbuf_printf(out, "  %" PRIu64 " segment%s, %s to %s, %s\n", plan->wal_segments,
            plan->wal_segments > 1 ? "s" : "", plan->wal_first, plan->wal_last,
            r->backups[0]->stream ? "in the backup" : "in the archive of the catalog");
}

static void
plain_room(const struct restore_plan *plan, struct strbuf *out)
{
    char need[SIZE_TEXT], have[SIZE_TEXT];
    strbuf_printf(out, "\nRoom: the restored files have %s\n", size_text(plan->bytes, need));
    for (size_t k = 0; k < plan->room.n_systems; k++) {
        const struct room_system *s = &plan->room.systems[k];
        strbuf_printf(out, "  file system %zu: %s needed, %s free: %s\n", k + 1, size_text(room_needed(s), need),
            s->is_known ? size_text(s->free_bytes, have) : "nobody knows how much is",
            room_missing(s) ? "NOT ENOUGH" : "enough");
        for (size_t i = 0; i < plan->room.n_places; i++) {
            const struct room_place *p = &plan->room.places[i];
            if (p->system == k)
                strbuf_printf(out, "    %-18s %8s  '%s'\n", p->what, size_text(p->need, need), p->location);
        }
        if (s->gain > 0)
            strbuf_printf(
                out, "    %-18s %8s  what lies there and does not belong\n", "removed first", size_text(s->gain, need));
    }
    if (plan->room.n_systems == 0)
        strbuf_puts(out, "  not looked at: see below\n");
}

static void
plain_reach(const struct restore_plan *plan, struct strbuf *out)
{
    char when[TIMESTAMP_SIZE];
    const struct backup *b = plan->restore.backups[0];
    strbuf_puts(out, "\nWhat can be recovered to:\n");
    strbuf_printf(out, "  earliest    " GSP_LSN_FMT ", %s: the end of backup %s%s%s%s\n", GSP_LSN_ARGS(b->stop_lsn),
        time_text(b->recovery_time, when), b->id, b->recovery_name != NULL ? ", restore point '" : "",
        b->recovery_name != NULL ? b->recovery_name : "", b->recovery_name != NULL ? "'" : "");
    for (size_t i = 0; i < plan->n_reach; i++) {
        const struct plan_reach *reach = &plan->reach[i];
        if (reach->segments == 0)
            strbuf_printf(out, "  timeline %-2" PRIu32 " no archived WAL goes on behind the backup\n", reach->timeline);
        else
            strbuf_printf(out,
                "  timeline %-2" PRIu32 " up to " GSP_LSN_FMT ": %" PRIu64 " archived segment%s, to %s\n",
                reach->timeline, GSP_LSN_ARGS(reach->until), reach->segments, reach->segments > 1 ? "s" : "",
                reach->last);
    }
}

void
print_plan(const struct restore_plan *plan, struct strbuf *out)
{
    const struct restore *r = &plan->restore;
    strbuf_printf(out, "Plan of a restore of instance '%s' into '%s'%s\n", r->e->instance, r->opts->pgdata,
        r->inplace.mode != INCREMENTAL_NONE ? ", in place: only what differs is written" : "");
    if (r->n > 0) {
        plain_chain(r, out);
        plain_wal(plan, out);
        plain_room(plan, out);
        plain_reach(plan, out);
    }
    if (plan->n_refusals == 0)
        strbuf_puts(out, "\nNothing stands against it. The backups were not validated.\n");
    else
        strbuf_puts(out, "\nThe restore would be REFUSED:\n");
    for (size_t i = 0; i < plan->n_refusals; i++) {
        strbuf_printf(out, "  %s\n", plan->refusals[i].msg);
        if (plan->refusals[i].hint[0] != '\0')
            strbuf_printf(out, "    hint: %s\n", plan->refusals[i].hint);
    }
}

/* ---- for programs -------------------------------------------------------------------------------- */

static void
json_lsn(struct json_writer *w, const char *key, gsp_lsn lsn)
{
    char text[32];
    (void)snprintf(text, sizeof text, GSP_LSN_FMT, GSP_LSN_ARGS(lsn));
    json_string(w, key, text);
}

static void
json_time(struct json_writer *w, const char *key, int64_t seconds)
{
    char text[TIMESTAMP_SIZE];
    if (seconds > 0)
        json_string(w, key, time_text(seconds, text));
}

static void
json_chain(struct json_writer *w, const struct restore *r)
{
    json_open(w, "chain", '[');
    for (size_t i = 0; i < r->n; i++) {
        const struct backup *b = r->backups[i];
        json_open(w, NULL, '{');
        json_string(w, "id", b->id);
        json_string(w, "backup-mode", b->mode != NULL ? b->mode : "");
        json_string(w, "status", backup_status_name(b->status));
        json_u64(w, "timeline", b->timeline);
        json_lsn(w, "start-lsn", b->start_lsn);
        json_lsn(w, "stop-lsn", b->stop_lsn);
        json_time(w, "recovery-time", b->recovery_time);
        json_i64(w, "data-bytes", b->data_bytes);
        json_i64(w, "wal-bytes", b->wal_bytes);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void
json_systems(struct json_writer *w, const struct room *room)
{
    json_open(w, "file-systems", '[');
    for (size_t k = 0; k < room->n_systems; k++) {
        const struct room_system *s = &room->systems[k];
        json_open(w, NULL, '{');
        json_u64(w, "need-bytes", room_needed(s));
        json_u64(w, "removed-first-bytes", s->gain);
        if (s->is_known)
            json_u64(w, "free-bytes", s->free_bytes);
        json_bool(w, "enough", !room_missing(s));
        json_open(w, "places", '[');
        for (size_t i = 0; i < room->n_places; i++) {
            if (room->places[i].system != k)
                continue;
            json_open(w, NULL, '{');
            json_string(w, "what", room->places[i].what);
            json_string(w, "path", room->places[i].location);
            json_u64(w, "need-bytes", room->places[i].need);
            json_close(w, '}');
        }
        json_close(w, ']');
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void
json_reach(struct json_writer *w, const struct restore_plan *plan)
{
    const struct backup *b = plan->restore.backups[0];
    json_open(w, "reachable", '{');
    json_lsn(w, "earliest-lsn", b->stop_lsn);
    json_time(w, "earliest-time", b->recovery_time);
    if (b->recovery_name != NULL)
        json_string(w, "restore-point", b->recovery_name);
    json_open(w, "timelines", '[');
    for (size_t i = 0; i < plan->n_reach; i++) {
        json_open(w, NULL, '{');
        json_u64(w, "timeline", plan->reach[i].timeline);
        json_lsn(w, "latest-lsn", plan->reach[i].until);
        json_u64(w, "archived-segments", plan->reach[i].segments);
        if (plan->reach[i].segments > 0)
            json_string(w, "last-segment", plan->reach[i].last);
        json_close(w, '}');
    }
    json_close(w, ']');
    json_close(w, '}');
}

static void
json_wal(struct json_writer *w, const struct restore_plan *plan)
{
    json_open(w, "wal", '{');
    json_u64(w, "segments", plan->wal_segments);
    if (plan->wal_segments > 0) {
        json_string(w, "first", plan->wal_first);
        json_string(w, "last", plan->wal_last);
    }
    json_string(w, "stored-in", plan->restore.backups[0]->stream ? "backup" : "archive");
    json_close(w, '}');
}

void
print_plan_json(const struct restore_plan *plan, struct strbuf *out)
{
    struct json_writer w;
    const struct restore *r = &plan->restore;
    json_begin(&w, out);
    json_open(&w, NULL, '{');
    json_string(&w, "instance", r->e->instance);
    json_string(&w, "pgdata", r->opts->pgdata);
    json_bool(&w, "refused", plan->n_refusals > 0);
    json_bool(&w, "in-place", r->inplace.mode != INCREMENTAL_NONE);
    json_u64(&w, "restored-bytes", plan->bytes);
    json_chain(&w, r);
    if (r->n > 0)
        json_wal(&w, plan);
    json_systems(&w, &plan->room);
    if (r->n > 0)
        json_reach(&w, plan);
    json_open(&w, "refusals", '[');
    for (size_t i = 0; i < plan->n_refusals; i++) {
        json_open(&w, NULL, '{');
        json_string(&w, "class", log_error_class(plan->refusals[i].code));
        json_string(&w, "message", plan->refusals[i].msg);
        json_string(&w, "hint", plan->refusals[i].hint);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
}
