/* SPDX-License-Identifier: Apache-2.0
 * Second opinions on the formats of a catalog, written for clarity and independent of the plugins. */
#ifndef CONTRACT_REFERENCE_H
#define CONTRACT_REFERENCE_H

#include <stdint.h>

/* What a format looks like from outside a plugin. */
struct reference {
    const char *name; /* as the compressor */
    /* Decompress exactly: 1 or 0. */
    int (*decode)(const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t out_len);
    /* Compress in one of `variants` ways; returns bytes in out (cap bytes), 0 = does not fit. */
    uint32_t (*encode)(int variant, const uint8_t *in, uint32_t in_len, uint8_t *out, uint32_t cap);
    int variants;
};

/* reference_find - NULL for a compressor nobody has written a second opinion on. */
const struct reference *reference_find(const char *name);

#endif
