/* SPDX-License-Identifier: Apache-2.0
 * page_header_map: any bytes are read or refused, and what is accepted is in order. Input: number of
 * headers (4 bytes), stored size (4), flags (1), then the map. Flag 1 makes the checksum right, for inputs
 * that shall get past it. */
#include <zlib.h>

#include "core/base/bytes.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"
#include "core/catalog/header_map.h"
#include "tests/doubles/storage_mem.h"
#include "tests/fuzz/fuzz.h"

enum { PREFIX_BYTES = 9, INFLATED_MAX = 64 * 1024 };

static uint32_t
right_crc(const uint8_t *map, size_t len)
{
    static unsigned char raw[INFLATED_MAX];
    uLongf raw_len = sizeof raw;
    return uncompress(raw, &raw_len, map, len) == Z_OK ? crc32c(0, raw, raw_len) : 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= PREFIX_BYTES)
        return 0;
    struct gsp_error err = {0};
    struct store s;
    struct file_entry e = {.path = "f",
        .n_headers = (int32_t)load_le32(data),
        .size = (int32_t)load_le32(data + 4),
        .hdr_size = (int32_t)(size - PREFIX_BYTES)};
    auto_free struct page_header *headers = NULL;
    e.hdr_crc = data[8] & 1 ? right_crc(data + PREFIX_BYTES, size - PREFIX_BYTES) : 0;
    must(store_open(&s, &storage_mem_ops, NULL, NULL, "mem", &err) == 0);
    must(store_mkdir(&s, "", 0700, GSP_MKDIR_PARENTS, &err) == 0);
    must(store_write_all(&s, "map", 0600, 0, data + PREFIX_BYTES, size - PREFIX_BYTES, &err) == 0);
    struct store_file map = {0};
    must(store_file_open(&s, "map", &map, &err) == 0);
    int rc = header_map_load(&map, &e, &headers, &err);
    must(rc == err.code && (rc == 0 || rc == GSP_E_CORRUPT));
    if (rc == 0) {
        must(headers[0].pos == 0 && headers[e.n_headers].pos == (uint64_t)e.size);
        for (int32_t i = 1; i < e.n_headers; i++)
            must(headers[i].block > headers[i - 1].block && headers[i].pos > headers[i - 1].pos);
    }
    store_file_close(&map);
    store_close(&s);
    return 0;
}
