/* SPDX-License-Identifier: Apache-2.0
 * Messages of an openGauss WAL sender: what is taken out of one lies within it, and what is too short is refused.
 * Input: a message. */
#include "server-opengauss/messages.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A block of its own, so that a byte too many is found. */
    char *msg = malloc(size + 1);
    struct pg_message m = {0};
    must(msg != NULL);
    memcpy(msg, data, size);
    msg = realloc(msg, size > 0 ? size : 1);
    must(msg != NULL);
    if (og_message_parse(msg, (uint32_t)size, &m)) {
        must(m.kind >= PG_MESSAGE_WAL && m.kind <= PG_MESSAGE_OTHER);
        if (m.kind == PG_MESSAGE_WAL)
            must(m.data == msg + OG_WAL_HEADER && m.len == size - OG_WAL_HEADER);
        else
            must(m.data == NULL && m.len == 0);
    } else {
        must(m.kind == 0);
    }
    free(msg);
    return 0;
}
