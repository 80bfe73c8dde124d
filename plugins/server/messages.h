/* SPDX-License-Identifier: Apache-2.0
 *
 * What the messages of a WAL stream say, whatever their bytes are. */
#ifndef SERVER_MESSAGES_H
#define SERVER_MESSAGES_H

#include "gsp/server.h"

#define PG_REPORT_MAX 128 /* bytes of a report */

#define PG_MESSAGE_WAL 1u
#define PG_MESSAGE_ALIVE 2u
#define PG_MESSAGE_OTHER 3u /* of no interest to us */

/* A message of the server, taken apart. */
struct pg_message {
    uint32_t kind;    /* PG_MESSAGE_* */
    uint32_t wanted;  /* ALIVE: the server wants a report now */
    gsp_lsn start;    /* WAL: of the data */
    const char *data; /* WAL: within the message */
    uint32_t len;
};

/* What the server is told. */
struct pg_report {
    gsp_lsn written, flushed; /* 0 = say nothing */
    int64_t time_us;          /* since 2000 */
    int wants_answer;
};

#endif
