/* SPDX-License-Identifier: Apache-2.0
 * Messages of an openGauss WAL sender: made here byte by byte, and a whole recorded stream (found through GSP_FIXTURES,
 * unpacked by zstd and tar). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "messages.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- made here ---------------------------------------------------------------------------------- */

/* As a server sent it: 0/22000000 to 0/22000148, while it was catching up. */
static const uint8_t wal_head[OG_WAL_HEADER] = {'w', 0, 0, 0, 0x22, 0, 0, 0, 0, 0x48, 0x01, 0, 0x22, 0, 0, 0, 0, 0x9d,
    0x43, 0xe6, 0xfb, 0xd6, 0x03, 0x03, 0, 0x48, 0x01, 0, 0x22, [57] = 1};
static const uint8_t alive[OG_ALIVE_LENGTH] = {'k', 0x48, 0x01, 0, 0x22, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0x20, 0x44,
    0xe6, 0xfb, 0xd6, 0x03, 0x03, 0, [26] = 1};

static void
wal_begins_behind_the_header(void **state)
{
    char msg[OG_WAL_HEADER + 3];
    struct pg_message m = {0};
    (void)state;
    memcpy(msg, wal_head, sizeof wal_head);
    memcpy(msg + OG_WAL_HEADER, "abc", 3);
    assert_true(og_message_parse(msg, sizeof msg, &m));
    assert_int_equal(m.kind, PG_MESSAGE_WAL);
    assert_int_equal(m.start, 0x22000000);
    assert_int_equal(m.len, 3);
    assert_memory_equal(m.data, "abc", 3);
    msg[5] = 7; /* the high half */
    assert_true(og_message_parse(msg, OG_WAL_HEADER, &m));
    assert_int_equal(m.start, 0x722000000);
    assert_int_equal(m.len, 0);
}

static void
a_keep_alive_may_want_a_report(void **state)
{
    char msg[OG_ALIVE_LENGTH];
    struct pg_message m = {0};
    (void)state;
    memcpy(msg, alive, sizeof alive);
    assert_true(og_message_parse(msg, sizeof msg, &m));
    assert_int_equal(m.kind, PG_MESSAGE_ALIVE);
    assert_false(m.wanted);
    msg[25] = 1;
    assert_true(og_message_parse(msg, sizeof msg, &m));
    assert_true(m.wanted);
}

static void
what_is_no_message_is_refused(void **state)
{
    static const char types[] = "wkmrKW\x01";
    struct pg_message m = {0};
    char msg[128] = {0};
    (void)state;
    for (size_t t = 0; t < sizeof types; t++) {
        uint32_t least = types[t] == 'w'   ? OG_WAL_HEADER
                         : types[t] == 'k' ? OG_ALIVE_LENGTH
                         : types[t] == 'm' ? 1
                                           : 200;
        msg[0] = types[t];
        for (uint32_t len = 0; len <= sizeof msg; len++)
            assert_int_equal(og_message_parse(msg, len, &m), len >= least);
    }
    msg[0] = 'm'; /* the server's configuration, of any length */
    assert_true(og_message_parse(msg, sizeof msg, &m));
    assert_int_equal(m.kind, PG_MESSAGE_OTHER);
}

static void
a_report_says_how_far_we_are(void **state)
{
    struct pg_report report = {.written = 0x123456789, .flushed = 0x22000148, .time_us = 848646814203191};
    char msg[PG_REPORT_MAX];
    (void)state;
    memset(msg, 'x', sizeof msg);
    assert_int_equal(og_message_report(msg, &report), OG_REPORT_LENGTH);
    assert_int_equal(msg[0], 'r');
    assert_int_equal(pg_le64(msg + 1), 0x123456789);
    assert_int_equal(pg_le64(msg + 9), 0x123456789);
    assert_int_equal(pg_le64(msg + 17), 0x22000148);
    assert_int_equal(pg_le64(msg + 25), 0); /* applied */
    assert_int_equal(pg_le64(msg + 33), 0);
    assert_int_equal(pg_le64(msg + 41), 0); /* role, state */
    assert_int_equal(pg_le64(msg + 49), 848646814203191);
    assert_int_equal(pg_le64(msg + 57), 0);
    assert_int_equal(msg[OG_REPORT_LENGTH], 'x');
    report.wants_answer = 1;
    (void)og_message_report(msg, &report);
    assert_int_equal(msg[57], 1);
}

/* ---- recorded ----------------------------------------------------------------------------------- */

/* All bytes of a file within a recorded session. */
static uint8_t *
recorded(const char *session, const char *name, size_t *ret_len)
{
    enum { MOST = 32 << 20 };
    char command[4096];
    uint8_t *bytes = malloc(MOST);
    (void)snprintf(command, sizeof command, "zstd -dcq '%s/opengauss/sessions/%s/wire.tar.zst' | tar -xO -f - %s",
        getenv("GSP_FIXTURES"), session, name);
    FILE *pipe = popen(command, "r"); /* NOLINT(cert-env33-c): a test */
    assert_non_null(bytes);
    assert_non_null(pipe);
    *ret_len = fread(bytes, 1, MOST, pipe);
    assert_int_equal(pclose(pipe), 0);
    return bytes;
}

static uint32_t
be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

struct seen {
    gsp_lsn first, next;
    uint32_t wal, alive, largest;
};

/* Every message of the copy is understood, and the WAL has no gap. */
static void
follow(const uint8_t *bytes, size_t len, struct seen *seen)
{
    for (size_t at = 0; at + 5 <= len;) {
        size_t body = be32(bytes + at + 1);
        struct pg_message m = {0};
        assert_true(body >= 4 && at + 1 + body <= len);
        if (bytes[at] == 'd') {
            assert_true(og_message_parse((const char *)bytes + at + 5, (uint32_t)body - 4, &m));
            seen->alive += m.kind == PG_MESSAGE_ALIVE;
        }
        if (m.kind == PG_MESSAGE_WAL) {
            if (seen->wal++ == 0)
                seen->first = seen->next = m.start;
            assert_int_equal(m.start, seen->next);
            seen->next += m.len;
            seen->largest = m.len > seen->largest ? m.len : seen->largest;
        }
        at += 1 + body;
    }
}

static void
recorded_streams_have_no_gap(void **state)
{
    static const struct {
        const char *session;
        gsp_lsn first, stop;
    } cases[] = {{"full", 0x22000000, 0x220001E8}, {"ptrack", 0x24000000, 0x240001E8}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t len;
        uint8_t *bytes = recorded(cases[i].session, "repl/conn0.server.bin", &len);
        struct seen seen = {0};
        follow(bytes, len, &seen);
        free(bytes);
        assert_int_equal(seen.first, cases[i].first);
        assert_true(seen.next >= cases[i].stop);
        assert_int_equal(seen.largest, 8 << 20);
        assert_true(seen.wal >= 5 && seen.alive == 2);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wal_begins_behind_the_header), cmocka_unit_test(a_keep_alive_may_want_a_report),
        cmocka_unit_test(what_is_no_message_is_refused), cmocka_unit_test(a_report_says_how_far_we_are),
        cmocka_unit_test(recorded_streams_have_no_gap), /* the last one */
    };
    size_t n = COUNT(tests);
    if (getenv("GSP_FIXTURES") == NULL) {
        print_message("# GSP_FIXTURES is not set: the recorded streams are not read\n");
        n--;
    }
    return _cmocka_run_group_tests("opengauss-messages", tests, n, NULL, NULL);
}
