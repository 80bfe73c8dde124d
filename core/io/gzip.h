/* SPDX-License-Identifier: Apache-2.0 */
#ifndef IO_GZIP_H
#define IO_GZIP_H

#include <stdint.h>

#include "gsp/error.h"

/* gunzip - expand one whole gzip file in memory. out: the caller's, out_cap bytes. thread ANY
 * errors CORRUPT when it is damaged, cut off, or longer than out_cap; NOMEM */
int gunzip(
    const void *packed, uint32_t packed_len, void *out, uint32_t out_cap, uint32_t *ret_len, struct gsp_error *err);

#endif
