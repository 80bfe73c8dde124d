/* SPDX-License-Identifier: Apache-2.0
 * A chain: a backup and its ancestors down to the FULL one, read as one. For every block of a file it is known which
 * member has the newest version, so that each block is read once, and in the order of the file.
 * thread  a chain is opened by the main thread and then shared; a reader belongs to one worker */
#ifndef ENGINE_CHAIN_H
#define ENGINE_CHAIN_H

#include "core/engine/stored_file.h"

enum { CHAIN_MEMBERS_MAX = 4096 };

/* Members and their file lists. A list holds paths once for the whole chain: that of the backup itself is complete, of
 * the others only what its files may still need is kept. External directories are the same when their paths are; in all
 * lists they have the number that the backup gives them. */
struct chain {
    struct engine *e;
    struct stored_backup *members; /* [0] is the backup, [n - 1] the FULL one */
    size_t n;
    uint8_t **present; /* for each older member a bit per file of members[0].list: does its list name the file? */
    uint32_t **files;  /* for each older member, per entry of its list: which file of members[0].list it is */
};

/* The list of members[0] keeps its order and length from chain_open to chain_close: files are known by their place in
 * it.
 * chain_open - backups[0] is the backup, each next one its parent, the last one FULL. Reads the lists, opens the
 * compressors. errors CORRUPT NOENT (a list), VERSION UNSUPPORTED (stored_backup_check_version), CONFIG (page sizes
 * differ) */
int chain_open(struct chain *c, struct engine *e, const struct backup *const *backups, size_t n, struct gsp_error *err);
/* chain_open_some - without the files of the backup that keep (1 or 0; or a code, which is returned) does not want. */
int chain_open_some(struct chain *c, struct engine *e, const struct backup *const *backups, size_t n,
    int (*keep)(void *arg, const struct file_entry *f, struct gsp_error *err), void *arg, struct gsp_error *err);
void chain_close(struct chain *c);
/* chain_lock_shared - locks[i] of backups[i], oldest first, as everybody who locks a chain; and a look whether they
 * still are what was read of them. The caller unlocks all that is not NULL, after an error too. errors LOCKED */
int chain_lock_shared(
    struct engine *e, const struct backup *const *backups, size_t n, struct backup_lock **locks, struct gsp_error *err);
/* chain_lists - does the list of a member name file i of members[0].list? */
int chain_lists(const struct chain *c, size_t member, size_t i);
/* chain_entry - what a member's list says of file i; NULL also when that adds nothing to what newer ones say. */
const struct file_entry *chain_entry(const struct chain *c, size_t member, size_t i);
/* chain_stored - the newest of these that stores content or states an empty file; NULL when none does, or none is
 * listed. For a file without pages that is its content. */
const struct file_entry *chain_stored(const struct chain *c, size_t i, size_t *ret_member);
/* chain_entry_is_paged - stored as frames. chain_entry_blocks - how many blocks a data file had at that backup;
 * CHAIN_ANY_BLOCKS when the list does not tell. */
#define CHAIN_ANY_BLOCKS UINT32_MAX
int chain_entry_is_paged(const struct file_entry *f);
uint32_t chain_entry_blocks(const struct file_entry *f);

/* Where the newest version of a block lies. */
struct chain_block {
    gsp_lsn lsn; /* as the page header map says */
    uint32_t block;
    uint32_t pos; /* of its frame in the stored file */
    uint32_t len; /* bytes of the frame with its header */
    uint16_t checksum;
    uint16_t member;
};

struct chain_reader;
int chain_reader_new(struct chain *c, struct chain_reader **ret, struct gsp_error *err);
/* chain_reader_free - fit as a worker's end: takes any struct chain_reader, or NULL. */
void chain_reader_free(void *reader);

/* chain_find - begin with file i. The member whose stored file is all there is of file i (of members[0].list), byte for
 * byte: only stored_reader need be asked. NONE: the content is put together from several (data files only), or it is
 * empty. out    ret_entry: the entry of that member; of members[0] for NONE errors CORRUPT: the chain has no complete
 * version of the file. For backups of other tools a block that no member has reads as zeros */
#define CHAIN_NONE SIZE_MAX
int chain_find(
    struct chain_reader *r, size_t i, size_t *ret_member, const struct file_entry **ret_entry, struct gsp_error *err);
/* chain_blocks - after chain_find, for a data file: all its blocks in ascending order, n_blocks of them but for gaps
 * (of foreign backups). Valid until the next chain_find. After one that failed, or where this fails: those of which the
 * newest version is known. */
int chain_blocks(struct chain_reader *r, const struct chain_block **ret, uint32_t *ret_n, struct gsp_error *err);

/* chain_frames - the frames of blocks[0..n) as they are stored, one behind the other, as many as fit the window and
 * have one compressor. Headers are compared with the header map. Neighbours in one stored file are read at once.
 * out    ret: borrowed until the next call; ret_n: how many blocks; ret_codec: name of their compressor */
int chain_frames(struct chain_reader *r, const struct chain_block *blocks, uint32_t n, const uint8_t **ret,
    uint32_t *ret_len, uint32_t *ret_n, const char **ret_codec, struct gsp_error *err);
/* chain_pages - chain_frames, decoded: ret_batch->n pages (at least 1), borrowed until the next call. */
int chain_pages(struct chain_reader *r, const struct chain_block *blocks, uint32_t n, struct page_batch **ret_batch,
    struct gsp_error *err);
/* chain_stored_reader - this worker's reader, turned to one member, for chain_find's answer. It is one reader for all
 * members: what it was reading before is closed. */
int chain_stored_reader(struct chain_reader *r, size_t member, struct stored_reader **ret, struct gsp_error *err);

#endif
