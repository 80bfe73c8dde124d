/* SPDX-License-Identifier: Apache-2.0 */
#include "pglz.h"

#include <string.h>

#define MIN_MATCH 3u
#define LONG_MATCH 18u /* from here on the length takes a byte of its own */
#define MAX_MATCH 273u
#define MAX_OFFSET 4095u
#define SEARCH_DEPTH 16 /* candidates looked at per position */
#define GOOD_MATCH 64u  /* long enough to stop looking */
#define HASH_BYTES 4u   /* read by hash_of, of which it uses three */

/* Position 0 of an item is stored as this, so that the zeros of an empty table are out of reach. */
#define FIRST_POS PGLZ_WINDOW

static inline uint64_t
load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t
load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The first three bytes as a number, on machines of either byte order. */
static inline uint32_t
hash_of(const uint8_t *p)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint32_t three = load32(p) << 8;
#else
    uint32_t three = load32(p) & 0xffffff00u;
#endif
    return three * 2654435761u >> 20;
}

/* Bytes that a and b have in common, at most max; b is before a. */
static inline uint32_t
common_length(const uint8_t *a, const uint8_t *b, uint32_t max)
{
    uint32_t len = 0;
    while (len + 8 <= max) {
        uint64_t differs = load64(a + len) ^ load64(b + len);
        if (differs != 0) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return len + (uint32_t)__builtin_ctzll(differs) / 8;
#else
            return len + (uint32_t)__builtin_clzll(differs) / 8;
#endif
        }
        len += 8;
    }
    while (len < max && a[len] == b[len])
        len++;
    return len;
}

static inline void
insert(struct pglz_tables *t, const uint8_t *in, uint32_t pos)
{
    uint16_t *head = &t->head[hash_of(in + pos)];
    uint16_t stored = (uint16_t)(pos + FIRST_POS);
    t->prev[stored % PGLZ_WINDOW] = *head;
    *head = stored;
}

/* The longest match among the newest candidates for pos, which is not inserted yet. 0 = none. */
static inline uint32_t
find_match(const struct pglz_tables *t, const uint8_t *in, uint32_t pos, uint32_t in_len, uint32_t *ret_offset)
{
    uint32_t max = in_len - pos < MAX_MATCH ? in_len - pos : MAX_MATCH;
    uint32_t best = MIN_MATCH - 1, last_offset = 0;
    uint16_t candidate = t->head[hash_of(in + pos)];
    for (int depth = 0; depth < SEARCH_DEPTH; depth++) {
        uint32_t offset = (uint16_t)(pos + FIRST_POS - candidate);
        /* Offsets grow along a chain; one that does not has wrapped. */
        if (offset <= last_offset || offset > MAX_OFFSET || offset > pos)
            break;
        const uint8_t *other = in + pos - offset;
        if (other[best] == in[pos + best]) {
            uint32_t len = common_length(in + pos, other, max);
            if (len > best) {
                best = len;
                *ret_offset = offset;
                if (len >= GOOD_MATCH || len == max)
                    break;
            }
        }
        last_offset = offset;
        candidate = t->prev[candidate % PGLZ_WINDOW];
    }
    return best >= MIN_MATCH ? best : 0;
}

static inline uint8_t *
put_match(uint8_t *to, uint32_t offset, uint32_t len)
{
    uint32_t nibble = len >= LONG_MATCH ? LONG_MATCH - MIN_MATCH : len - MIN_MATCH;
    to[0] = (uint8_t)(offset >> 8 << 4 | nibble);
    to[1] = (uint8_t)offset;
    if (len < LONG_MATCH)
        return to + 2;
    to[2] = (uint8_t)(len - LONG_MATCH);
    return to + 3;
}

uint32_t
pglz_encode(struct pglz_tables *t, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap)
{
    const uint8_t *end = out + cap;
    uint8_t *to = out, *control = out;
    uint32_t pos = 0, bit = 8;
    uint32_t searchable = in_len >= HASH_BYTES ? in_len - HASH_BYTES + 1 : 0;
    memset(t, 0, sizeof *t);
    while (pos < in_len) {
        uint32_t offset = 0;
        uint32_t len = pos < searchable ? find_match(t, in, pos, in_len, &offset) : 0;
        uint32_t room = (bit == 8) + (len == 0 ? 1u : len < LONG_MATCH ? 2u : 3u);
        if ((size_t)(end - to) < room)
            return 0;
        if (bit == 8) {
            control = to++;
            *control = 0;
            bit = 0;
        }
        if (len == 0) {
            *to++ = in[pos];
            len = 1;
        } else {
            *control |= (uint8_t)(1u << bit);
            to = put_match(to, offset, len);
        }
        bit++;
        for (uint32_t next = pos + len; pos < next; pos++)
            if (pos < searchable)
                insert(t, in, pos);
    }
    return (uint32_t)(to - out);
}

/* ---- decoding ---------------------------------------------------------------------------------- */

/* len bytes from offset back; room: bytes that may be overwritten from `to` on, >= len. */
static inline void
copy_match(uint8_t *to, uint32_t offset, uint32_t len, size_t room)
{
    const uint8_t *from = to - offset;
    if (offset >= 16 && room >= len + 16u) {
        /* Whole blocks: what is written too much is written again by what follows. */
        for (uint32_t i = 0; i < len; i += 16)
            memcpy(to + i, from + i, 16);
    } else if (offset == 1) {
        memset(to, *from, len);
    } else {
        for (uint32_t i = 0; i < len; i++)
            to[i] = from[i];
    }
}

int
pglz_decode(const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len)
{
    const uint8_t *in_end = in + in_len;
    uint8_t *to = out, *out_end = out + out_len;
    while (in < in_end && to < out_end) {
        uint32_t control = *in++;
        if (control == 0 && in_end - in >= 8 && out_end - to >= 8) {
            memcpy(to, in, 8);
            in += 8;
            to += 8;
            continue;
        }
        for (int bit = 0; bit < 8 && in < in_end && to < out_end; bit++, control >>= 1) {
            if ((control & 1) == 0) {
                *to++ = *in++;
                continue;
            }
            if (in_end - in < 2)
                return 0;
            uint32_t len = (in[0] & 15u) + MIN_MATCH;
            uint32_t offset = (in[0] & 0xf0u) << 4 | in[1];
            in += 2;
            if (len == LONG_MATCH) {
                if (in == in_end)
                    return 0;
                len += *in++;
            }
            if (offset == 0 || offset > (size_t)(to - out) || len > (size_t)(out_end - to))
                return 0;
            copy_match(to, offset, len, (size_t)(out_end - to));
            to += len;
        }
    }
    return in == in_end && to == out_end;
}
