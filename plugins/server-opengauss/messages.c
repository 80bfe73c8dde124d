/* SPDX-License-Identifier: Apache-2.0 */
#include "messages.h"

#define ALIVE_WANTED 25 /* u8 of a 'k': a report is wanted */

/* Fields of a report. All that is not named here is zero: that it is applied, which is nothing a backup does, and the
 * role and state of a standby, which we are not. */
#define REPORT_RECEIVED 1
#define REPORT_WRITTEN 9
#define REPORT_FLUSHED 17
#define REPORT_TIME 49
#define REPORT_WANTS_ANSWER 57

static void
put_le64(char *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

int
og_message_parse(const char *msg, uint32_t len, struct pg_message *ret)
{
    if (len >= OG_WAL_HEADER && msg[0] == 'w') {
        *ret = (struct pg_message){
            .kind = PG_MESSAGE_WAL, .start = pg_le64(msg + 1), .data = msg + OG_WAL_HEADER, .len = len - OG_WAL_HEADER};
        return 1;
    }
    if (len >= OG_ALIVE_LENGTH && msg[0] == 'k') {
        *ret = (struct pg_message){.kind = PG_MESSAGE_ALIVE, .wanted = msg[ALIVE_WANTED] != 0};
        return 1;
    }
    /* The server's configuration file, for a standby. */
    if (len > 0 && msg[0] == 'm') {
        *ret = (struct pg_message){.kind = PG_MESSAGE_OTHER};
        return 1;
    }
    return 0;
}

int
og_message_report(char msg[PG_REPORT_MAX], const struct pg_report *report)
{
    memset(msg, 0, OG_REPORT_LENGTH);
    msg[0] = 'r';
    put_le64(msg + REPORT_RECEIVED, report->written);
    put_le64(msg + REPORT_WRITTEN, report->written);
    put_le64(msg + REPORT_FLUSHED, report->flushed);
    put_le64(msg + REPORT_TIME, (uint64_t)report->time_us);
    msg[REPORT_WANTS_ANSWER] = (char)report->wants_answer;
    return OG_REPORT_LENGTH;
}
