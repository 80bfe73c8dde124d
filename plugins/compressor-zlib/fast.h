/* SPDX-License-Identifier: Apache-2.0
 * A faster encoder for level 1, of ISA-L, where the build has it. */
#ifndef COMPRESSOR_ZLIB_FAST_H
#define COMPRESSOR_ZLIB_FAST_H

#include <stdint.h>

#include "gsp/compressor.h"

struct fast;

/* fast_new - for one thread. 1, 0 when this build has none, or -1 when out of memory. */
int fast_new(struct fast **ret);
void fast_free(struct fast *f);

/* fast_prepare - look at the items of a batch before its first one is encoded. */
void fast_prepare(struct fast *f, const struct gsp_codec_batch *b);
/* fast_encode - one item as a zlib stream (RFC 1950). Returns its bytes, 0 when it does not fit cap. */
uint32_t fast_encode(struct fast *f, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap);

#endif
