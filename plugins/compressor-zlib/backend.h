/* SPDX-License-Identifier: Apache-2.0
 * The library behind compressor-zlib: one is chosen when the plugin is built. */
#ifndef COMPRESSOR_ZLIB_BACKEND_H
#define COMPRESSOR_ZLIB_BACKEND_H

#include <stdint.h>

struct backend;

/* backend_new - for one thread; level 1..9. NULL when out of memory. */
struct backend *backend_new(int level);
void backend_free(struct backend *b);

/* backend_encode - one item as a zlib stream (RFC 1950). Returns its bytes, 0 when it does not fit cap. */
uint32_t backend_encode(struct backend *b, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap);

/* backend_decode - one zlib stream of exactly in_len bytes to exactly out_len bytes. Returns 1 or 0. */
int backend_decode(struct backend *b, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len);

#endif
