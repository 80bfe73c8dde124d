/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages of an openGauss WAL sender: structs of a little-endian 64-bit machine as they lie in its memory, behind the
 * byte of their type. Pure, any thread. */
#ifndef SERVER_OPENGAUSS_MESSAGES_H
#define SERVER_OPENGAUSS_MESSAGES_H

#include "server/bytes.h"
#include "server/messages.h"

#define OG_WAL_HEADER 65
#define OG_ALIVE_LENGTH 33
#define OG_REPORT_LENGTH 65

/* og_message_parse - take a message apart; returns 0 when it makes no sense. og_message_report - put a report together;
 * returns its length. */
int og_message_parse(const char *msg, uint32_t len, struct pg_message *ret);
int og_message_report(char msg[PG_REPORT_MAX], const struct pg_report *report);

#endif
