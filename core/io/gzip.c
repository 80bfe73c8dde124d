/* SPDX-License-Identifier: Apache-2.0 */
#include "core/io/gzip.h"

#include <zlib.h>

int
gunzip(const void *packed, uint32_t packed_len, void *out, uint32_t out_cap, uint32_t *ret_len, struct gsp_error *err)
{
    enum { GZIP_WINDOW = 15 + 16 };
    z_stream z;
    memset(&z, 0, sizeof z);
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    z.next_in = (Bytef *)(uintptr_t)packed;
    z.avail_in = packed_len;
    z.next_out = out;
    z.avail_out = out_cap;
    int zrc = inflate(&z, Z_FINISH);
    (void)inflateEnd(&z);
    if (zrc != Z_STREAM_END)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "no whole gzip file of at most %u bytes", out_cap);
    *ret_len = out_cap - z.avail_out;
    return 0;
}
