/* SPDX-License-Identifier: Apache-2.0
 * The LZ format that PostgreSQL and openGauss call pglz, without any header around it.
 *
 *   stream  = group*
 *   group   = control byte, then up to 8 items; bit i of the control byte (lowest first) tells item i
 *   bit 0   = one literal byte
 *   bit 1   = a copy from the bytes already produced:
 *             byte 0: high 4 bits = offset bits 8..11, low 4 bits = length - 3, where 15 means 18 or more
 *             byte 1: offset bits 0..7; offset is 1..4095 back from here
 *             byte 2, only if the low 4 bits are 15: length - 18
 * A copy may overlap what it produces. The raw length is known from elsewhere; the last group may hold
 * fewer items. */
#ifndef COMPRESSOR_PGLZ_H
#define COMPRESSOR_PGLZ_H

#include <stdint.h>

#define PGLZ_HASH_SIZE 4096
#define PGLZ_WINDOW 4096

/* Search tables of one encoder; their content does not outlive an item. Positions are 16 bits and wrap:
 * a wrong candidate is found out by comparing bytes. */
struct pglz_tables {
    uint16_t head[PGLZ_HASH_SIZE];
    uint16_t prev[PGLZ_WINDOW];
};

/* pglz_encode - compress one item. Returns its bytes, 0 when it does not fit cap. */
uint32_t pglz_encode(struct pglz_tables *tables, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap);

/* pglz_decode - decompress exactly in_len bytes to exactly out_len. Returns 1, or 0 for a bad stream. */
int pglz_decode(const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len);

#endif
