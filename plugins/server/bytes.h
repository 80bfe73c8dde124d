/* SPDX-License-Identifier: Apache-2.0
 *
 * What the dialects of PostgreSQL and its descendants read bytes and numbers with. Pure, any thread. */
#ifndef SERVER_BYTES_H
#define SERVER_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline uint16_t
pg_le16(const void *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return le16toh(v);
}

static inline uint32_t
pg_le32(const void *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static inline uint64_t
pg_le64(const void *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* pg_crc32c - CRC-32C; seed 0 begins, the result is the seed of the next piece. thread ANY
 * The dialect has no state and so no host to ask for its crc32c. */
uint32_t pg_crc32c(uint32_t seed, const void *data, size_t len);

/* pg_digits - read a decimal number without sign or leading zeros from *text, at most max.
 * Returns 1 and moves *text behind it, or 0 with nothing changed. */
int pg_digits(const char **text, uint64_t max, uint64_t *ret);

#endif
