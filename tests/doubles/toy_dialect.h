/* SPDX-License-Identifier: Apache-2.0
 * Test double: a dialect with pages, a control file and names simple enough to make by hand.
 *
 * Page: u64 LSN, u16 checksum, u16 magic, payload. Control file: u32 CRC-32C of the rest, the rest. */
#ifndef DOUBLES_TOY_DIALECT_H
#define DOUBLES_TOY_DIALECT_H

#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "gsp/server.h"

enum { TOY_PAGE_HEADER = 12, TOY_MAGIC = 0x7701, TOY_SEGMENT_BLOCKS = 1024 };

static inline uint16_t
toy_sum(const uint8_t *page, uint32_t size, uint64_t block)
{
    return (uint16_t)(crc32c((uint32_t)block, page + 10, size - 10) | 1);
}

/* toy_page - a whole page: lsn, then `used` bytes of payload that depend on seed, then zeros. block counts
 * from the start of the relation. */
static inline void
toy_page(uint8_t *page, uint32_t size, uint64_t block, gsp_lsn lsn, uint32_t used, uint32_t seed)
{
    memset(page, 0, size);
    store_le64(page, lsn);
    store_le16(page + 10, TOY_MAGIC);
    for (uint32_t i = 0; i < used; i++)
        page[TOY_PAGE_HEADER + i] = (uint8_t)((seed + i) * 2654435761u >> 24 | 1);
    store_le16(page + 8, toy_sum(page, size, block));
}

static inline void
toy_pages_check(const struct gsp_cluster *cluster, struct gsp_pages *pages)
{
    (void)cluster;
    for (uint32_t i = 0; i < pages->n; i++) {
        const uint8_t *page = pages->data + (size_t)i * pages->stride;
        pages->lsn[i] = load_le64(page);
        pages->stored_sum[i] = load_le16(page + 8);
        pages->sum[i] = toy_sum(page, pages->page_size, pages->base_block + pages->block[i]);
        pages->state[i] = GSP_PAGE_OK;
        if (page[0] == 0 && memcmp(page, page + 1, pages->page_size - 1) == 0) {
            pages->sum[i] = 0;
            pages->state[i] = GSP_PAGE_ZERO;
        } else if (load_le16(page + 10) != TOY_MAGIC) {
            pages->state[i] = GSP_PAGE_HEADER;
        } else if (pages->sum[i] != pages->stored_sum[i]) {
            pages->state[i] = GSP_PAGE_CHECKSUM;
        }
    }
}

static inline int
toy_bid(const void *control, uint32_t len)
{
    (void)control;
    return len > 4 ? 100 : 0;
}

static inline int
toy_control_crc(const void *control, uint32_t len, uint32_t *ret, struct gsp_error *err)
{
    if (len <= 4)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "control file of %u bytes", len);
    *ret = load_le32(control);
    return 0;
}

static inline int
toy_control_parse(const void *control, uint32_t len, struct gsp_cluster *ret, struct gsp_error *err)
{
    uint32_t crc = 0;
    int rc = toy_control_crc(control, len, &crc, err);
    if (rc == 0 && crc != crc32c(0, (const uint8_t *)control + 4, len - 4))
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "the checksum of the control file is wrong");
    if (rc != 0)
        return rc;
    *ret =
        (struct gsp_cluster){.struct_size = ret->struct_size, .page_size = 8192, .segment_blocks = TOY_SEGMENT_BLOCKS};
    return 0;
}

/* Numbers are relations; what stands for itself is named so. */
static inline int
toy_classify(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err)
{
    (void)cluster;
    (void)err;
    for (uint32_t i = 0; i < n; i++) {
        const char *name = entries[i].name;
        uint32_t type = entries[i].st.type;
        ret[i] = (struct gsp_class){.action = GSP_CLASS_COPY};
        if ((type != GSP_FILE_REGULAR && type != GSP_FILE_DIRECTORY) || strcmp(name, "skip") == 0)
            ret[i].action = GSP_CLASS_SKIP;
        else if (strcmp(name, "logs") == 0 && !(flags & GSP_CLASSIFY_LOGS))
            ret[i].action = GSP_CLASS_EMPTY;
        else if (type == GSP_FILE_DIRECTORY)
            ret[i].action = strcmp(dir, "spaces") == 0 ? GSP_CLASS_TABLESPACE : GSP_CLASS_DESCEND;
        else if (strcmp(name, "control") == 0)
            ret[i].action = GSP_CLASS_CONTROL;
        else if (name[0] >= '0' && name[0] <= '9')
            ret[i] = (struct gsp_class){.action = GSP_CLASS_PAGES, .db_oid = 5, .segment = 3};
    }
    return 0;
}

static inline int
toy_wal_verify(const struct gsp_cluster *cluster, const struct gsp_wal_source *source, uint32_t timeline, gsp_lsn from,
    gsp_lsn to, gsp_lsn *ret_end, struct gsp_error *err)
{
    (void)cluster;
    (void)source;
    (void)timeline;
    (void)from;
    (void)err;
    *ret_end = to;
    return 0;
}

static const struct gsp_dialect_ops toy_dialect = {.struct_size = sizeof toy_dialect,
    .control_path = "control",
    .wal_dir = "wal",
    .label_file = "label",
    .map_file = "map",
    .pid_file = "pid",
    .tablespace_root = "spaces",
    .bid = toy_bid,
    .control_parse = toy_control_parse,
    .control_crc = toy_control_crc,
    .classify = toy_classify,
    .pages_check = toy_pages_check,
    .wal_verify = toy_wal_verify};

#endif
