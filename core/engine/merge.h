/* SPDX-License-Identifier: Apache-2.0
 * The parts of a merge: which chain, what of it is built already, and the building. The order of writes is documented
 * in docs/formats/catalog.md. */
#ifndef ENGINE_MERGE_H
#define ENGINE_MERGE_H

#include "core/engine/chain.h"
#include "core/engine/jobs.h"
#include "core/engine/progress.h"

/* ---- which chain (merge_select.c) ---------------------------------------------------------------- */

/* merge_select - the chain that a merge of backup `id` makes one backup of; of a FULL backup and its only valid child
 * when that is named. Nothing outside may be based on its older members.
 * out    ret: as backup_chain's: [0] is the backup that becomes FULL, the last one the FULL backup of now
 * errors NOENT USAGE CORRUPT UNSUPPORTED IO */
int merge_select(
    const struct backup_list *list, const char *id, const struct backup ***ret, size_t *ret_n, struct gsp_error *err);
/* merge_check_dependents - of a chain only [0] stays: is a backup outside of it based on another one? What is based on
 * [0] stays so, because it keeps its id. errors EXIST IO */
int merge_check_dependents(
    const struct backup_list *list, const struct backup *const *chain, size_t n, struct gsp_error *err);

/* ---- what is built already (merge_ledger.c) ------------------------------------------------------ */

#define MERGE_LEDGER "merge.ledger"

/* The lines of files that are finished and durable. */
struct merge_ledger {
    struct filelist done;
    uint64_t map_size; /* of the page_header_map that goes with them */
    uint64_t size;     /* of the ledger so far, in bytes */
    uint32_t crc;      /* of these bytes */
};

/* merge_ledger_read - what the ledger says up to its last whole part.
 * in     head: its first line with LF, which names the chain
 * errors CORRUPT: of another chain, or damaged; NOENT */
int merge_ledger_read(
    struct store *repo, const char *path, const char *head, struct merge_ledger *ret, struct gsp_error *err);
/* merge_ledger_begin - a new one, durable. */
int merge_ledger_begin(
    struct store *repo, const char *path, const char *head, struct merge_ledger *ret, struct gsp_error *err);
/* merge_ledger_append - one part more, durable; after a failure the ledger is as before. */
int merge_ledger_append(struct store *repo, const char *path, struct merge_ledger *ledger,
    const struct file_entry *const *files, size_t n, uint64_t map_size, struct gsp_error *err);
void merge_ledger_clear(struct merge_ledger *ledger);

/* ---- building (merge_build.c) -------------------------------------------------------------------- */

struct merge_build {
    struct engine *e;
    struct chain *chain;
    const char *dir;       /* where: "backups/<instance>/.merge-<ID>" */
    struct filelist *list; /* out: entries of the merged backup, sorted; strings are the chain's and the ledger's */
    struct merge_ledger *ledger; /* of this chain: its files are there */

    /* private */
    struct stored_backup target; /* only for paths in dir */
    struct codec codec;
    const char *codec_name;
    struct header_map_writer *map;
    struct jobs jobs;
    struct progress progress;
    uint32_t *order;
    uint8_t *is_done; /* by the ledger */
    pthread_mutex_t lock;
    const struct file_entry **finished; /* not in the ledger yet; under the lock, as the next two */
    size_t n_finished;
    uint64_t finished_bytes;
    int ledger_failed;
    atomic_uint_fast64_t linked, copied, built, kept;
};

/* merge_build_run - everything below dir but the file list and the control file. What is finished when it fails goes
 * into the ledger. errors all of reading and writing; NOSPC; UNSUPPORTED (a compressor) */
int merge_build_run(struct merge_build *m, struct gsp_error *err);

/* merge_bytes_to_build - at most, of what cannot be linked. */
uint64_t merge_bytes_to_build(const struct chain *chain, int can_link);

#endif
