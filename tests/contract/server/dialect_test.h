/* SPDX-License-Identifier: Apache-2.0
 * What the tests of all dialects share. */
#ifndef DIALECT_TEST_H
#define DIALECT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gsp/server.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline const struct gsp_dialect_ops *
dialect(void)
{
    const struct gsp_server_ops *ops = gsp_plugin_entry()->ops;
    return ops->dialect;
}

static inline void
put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void
put32(uint8_t *p, uint32_t v)
{
    put16(p, v & 0xFFFF);
    put16(p + 2, v >> 16);
}

static inline void
put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

/* Bit by bit, so that it shares nothing with what it checks. */
static inline uint32_t
slow_crc(uint32_t crc, const uint8_t *p, size_t len)
{
    crc = ~crc;
    for (; len > 0; len--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

#define SYSTEM_ID UINT64_C(7123456789012345678)

#endif
