/* SPDX-License-Identifier: Apache-2.0
 * A data file of a chain of three backups, as restore and merge read it: whatever their lists and stored files say, the
 * blocks come back in order and each with the frame that the header map names, or it is refused.
 * Input: for each backup, newest first, 12 bytes - flags (1), n_blocks (2), n_headers (2), size (2), bytes stored (2),
 * size of the map (2), spare (1) - and then its stored file.
 * Flag 1 makes size and n_headers of the line right, flag 2 the header map; 4: unchanged; 8: not listed; 16: no data
 * file; 32: made by us; 64: "toy" instead of "none". */
#include "core/base/bytes.h"
#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/chain.h"
#include "tests/doubles/storage_mem.h"
#include "tests/doubles/toy_codec.h"
#include "tests/fuzz/fuzz.h"

enum { MEMBERS = 3, PREFIX_BYTES = 12, PAGE = 1024, PAGES_MAX = 4096 };
enum { RIGHT_LINE = 1, RIGHT_MAP = 2, UNCHANGED = 4, ABSENT = 8, PLAIN = 16, OURS = 32, TOY = 64 };

struct fuzz_chain {
    struct engine e;
    struct backup backups[MEMBERS];
    struct strbuf stored[MEMBERS];
};

static struct fuzz_chain *
fixture(void)
{
    static struct fuzz_chain fixture;
    static char modes[][6] = {"DELTA", "DELTA", "FULL"}, version[] = "2.4.2", dirs[][3] = {"M0", "M1", "M2"};
    struct fuzz_chain *g = &fixture;
    struct gsp_error err = {0};
    char path[PATH_SIZE];
    if (g->e.instance != NULL)
        return g;
    log_set_console(LOG_LEVEL_OFF);
    must(store_open(&g->e.repo, &storage_mem_ops, NULL, NULL, "mem", &err) == 0);
    must(config_new(&g->e.cfg, &err) == 0 && registry_new(&g->e.reg, &err) == 0);
    must(registry_add(g->e.reg, &toy_codec_plugin, &err) == 0);
    g->e.instance = "main";
    g->e.threads = 64;
    for (size_t k = 0; k < MEMBERS; k++) {
        struct backup *b = &g->backups[k];
        backup_init(b);
        b->dir = dirs[k];
        b->mode = modes[k];
        b->program_version = version;
        b->block_size = PAGE;
        (void)snprintf(b->id, sizeof b->id, "%s", dirs[k]);
        (void)snprintf(path, sizeof path, "backups/main/%s/database", dirs[k]);
        must(store_mkdir(&g->e.repo, path, 0700, GSP_MKDIR_PARENTS, &err) == 0);
    }
    return g;
}

/* The frames as docs/formats/datafile.md has them. Returns how many are whole. */
static uint32_t
split(const uint8_t *stored, size_t len, struct page_header *ret, size_t *ret_end)
{
    uint32_t n = 0;
    size_t at = 0;
    while (n < PAGES_MAX && len - at >= PAGE_FRAME_BYTES) {
        uint32_t size = load_le32(stored + at + 4);
        if (size == 0 || size > PAGE || len - at - PAGE_FRAME_BYTES < size)
            break;
        ret[n++] = (struct page_header){.block = load_le32(stored + at), .pos = (uint32_t)at};
        at += PAGE_FRAME_BYTES + size;
    }
    *ret_end = at;
    return n;
}

static void
write_map(struct fuzz_chain *g, const char *path, struct file_entry *f, const uint8_t *stored, size_t len)
{
    static struct page_header frames[PAGES_MAX + 1];
    struct gsp_error err = {0};
    struct header_map_writer *map;
    struct header_stream *headers;
    size_t end;
    uint32_t n = split(stored, len, frames, &end);
    if (n == 0)
        return;
    must(header_stream_new(&headers, &err) == 0);
    must(header_map_create(&g->e.repo, path, &map, &err) == 0);
    must(header_stream_add(headers, frames, n, &err) == 0);
    must(header_map_append(map, headers, (uint32_t)end, f, &err) == 0);
    must(header_map_commit(map, &err) == 0);
    header_stream_free(headers);
}

/* One backup from the input. Returns the bytes taken. */
static size_t
make_member(struct fuzz_chain *g, size_t k, const uint8_t *data, size_t size)
{
    struct gsp_error err = {0};
    char path[PATH_SIZE];
    static char ours[] = "1.0";
    struct backup *b = &g->backups[k];
    auto_filelist list = {0};
    uint8_t flags = data[0];
    size_t len = load_le16(data + 7), map_len = load_le16(data + 9);
    len = len < size - PREFIX_BYTES ? len : size - PREFIX_BYTES;
    const uint8_t *stored = data + PREFIX_BYTES;
    b->made_by = flags & OURS ? ours : NULL;
    must(filelist_new(&list, &err) == 0);
    (void)snprintf(path, sizeof path, "backups/main/%s/database/1", b->dir);
    must(store_write_all(&g->e.repo, path, 0600, 0, stored, len, &err) == 0);
    strbuf_reset(&g->stored[k]);
    strbuf_add(&g->stored[k], stored, len);
    (void)snprintf(path, sizeof path, "backups/main/%s/page_header_map", b->dir);
    must(store_write_all(&g->e.repo, path, 0600, 0, stored, len < map_len ? len : map_len, &err) == 0);
    struct file_entry *f = flags & ABSENT ? NULL : filelist_add(&list, "1", flags & TOY ? "toy" : "none", &err);
    if (f != NULL) {
        f->mode = 0100600;
        f->is_datafile = !(flags & PLAIN);
        f->n_blocks = (int16_t)load_le16(data + 1) & INT16_MAX;
        f->n_headers = (int16_t)load_le16(data + 3) & INT16_MAX;
        f->size = load_le16(data + 5);
        f->hdr_size = (int32_t)map_len;
        f->crc = crc32c(0, stored, len);
        if (flags & RIGHT_MAP)
            write_map(g, path, f, stored, len);
        if (flags & RIGHT_LINE)
            f->size = (int64_t)len;
        if (flags & UNCHANGED)
            f->size = FILE_UNCHANGED;
    }
    (void)snprintf(path, sizeof path, "backups/main/%s/backup_content.control", b->dir);
    must(filelist_write(&g->e.repo, path, &list, &b->content_crc, &err) == 0);
    return PREFIX_BYTES + len;
}

/* What is said to be a block's frame is that: in the stored file, and of that block. */
static void
check_frame(const struct fuzz_chain *g, const struct chain_block *b, const uint8_t *frame)
{
    const struct strbuf *stored = &g->stored[b->member];
    must((uint64_t)b->pos + b->len <= stored->len && memcmp(stored->data + b->pos, frame, b->len) == 0);
    must(load_le32(frame) == b->block && load_le32(frame + 4) == b->len - PAGE_FRAME_BYTES);
}

static void
read_blocks(const struct fuzz_chain *g, struct chain_reader *in)
{
    struct gsp_error err = {0};
    const struct chain_block *blocks;
    uint32_t n, part, len;
    const uint8_t *frames;
    const char *codec;
    struct page_batch *b;
    (void)chain_blocks(in, &blocks, &n, &err);
    for (uint32_t i = 1; i < n; i++)
        must(blocks[i - 1].block < blocks[i].block && blocks[i].member < MEMBERS);
    for (uint32_t done = 0; done < n; done += part) {
        err = (struct gsp_error){0};
        int rc = chain_frames(in, blocks + done, n - done, &frames, &len, &part, &codec, &err);
        must(rc == 0 || rc == GSP_E_CORRUPT);
        uint32_t at = 0;
        for (uint32_t i = 0; rc == 0 && i < part; at += blocks[done + i].len, i++)
            check_frame(g, &blocks[done + i], frames + at);
        must(rc != 0 || (part > 0 && at == len));
        err = (struct gsp_error){0};
        rc = chain_pages(in, blocks + done, n - done, &b, &err);
        must(rc == 0 ? b->n > 0 && b->block[b->n - 1] == blocks[done + b->n - 1].block : rc == GSP_E_CORRUPT);
        part = rc == 0 ? b->n : 1;
    }
}

static void
read_file(const struct fuzz_chain *g, struct chain *c, struct chain_reader *in)
{
    struct gsp_error err = {0};
    size_t member;
    const struct file_entry *e;
    struct stored_reader *whole;
    int rc = chain_find(in, 0, &member, &e, &err);
    must(rc == 0 || rc == GSP_E_CORRUPT);
    if (rc == 0 && member != CHAIN_NONE) {
        must(member < MEMBERS && e->size > 0 && e == chain_entry(c, member, 0));
        must(chain_stored_reader(in, member, &whole, &err) == 0);
    }
    read_blocks(g, in);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_chain *g = fixture();
    struct gsp_error err = {0};
    const struct backup *backups[MEMBERS];
    struct chain c;
    struct chain_reader *in = NULL;
    for (size_t k = 0; k < MEMBERS; k++) {
        if (size <= PREFIX_BYTES)
            return 0;
        size_t used = make_member(g, k, data, size);
        data += used;
        size -= used;
        backups[k] = &g->backups[k];
    }
    must(chain_open(&c, &g->e, backups, MEMBERS, &err) == 0);
    must(chain_reader_new(&c, &in, &err) == 0);
    if (c.members[0].list.n > 0)
        read_file(g, &c, in);
    chain_reader_free(in);
    chain_close(&c);
    return 0;
}
