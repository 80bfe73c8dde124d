/* SPDX-License-Identifier: Apache-2.0
 * What the fuzz targets share. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gsp/plugin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* must - a finding, unless the condition holds; also where assertions are off. */
static inline void
must(int condition)
{
    if (!condition)
        __builtin_trap();
}

/* The plugins under test, linked in: each has a name of its own for the symbol they all export. */
const struct gsp_plugin *server_postgresql_entry(void);
const struct gsp_plugin *server_opengauss_entry(void);
const struct gsp_plugin *compressor_zlib_entry(void);
const struct gsp_plugin *compressor_pglz_entry(void);
const struct gsp_plugin *compressor_lz4_entry(void);
const struct gsp_plugin *compressor_zstd_entry(void);

#endif
