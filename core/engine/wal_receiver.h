/* SPDX-License-Identifier: Apache-2.0
 * The WAL receiver: a thread that writes the server's WAL stream into a backup's segment files. */
#ifndef ENGINE_WAL_RECEIVER_H
#define ENGINE_WAL_RECEIVER_H

#include "core/catalog/filelist.h"
#include "core/io/store.h"
#include "gsp/server.h"

struct wal_receiver;

enum { WAL_SEGMENT_NAME_SIZE = 25 };
/* wal_segment_name - TTTTTTTTXXXXXXXXYYYYYYYY of the segment that holds lsn. */
void wal_segment_name(char name[WAL_SEGMENT_NAME_SIZE], uint32_t timeline, gsp_lsn lsn, uint32_t segment_size);

struct wal_target {
    struct store *store;
    const char *dir; /* directory of the segment files in the store; borrowed until wal_receiver_free */
    uint32_t segment_size;
    uint32_t timeline;
    gsp_lsn start_lsn;
};

/* wal_receiver_start - stream from the segment that holds start_lsn on. wal: from wal_open, used by the
 * thread until wal_receiver_free; stays the caller's. */
int wal_receiver_start(const struct gsp_server_ops *ops, void *wal, const struct wal_target *target,
    struct wal_receiver **ret, struct gsp_error *err);
/* wal_receiver_check - 0 while it works, or the error that ended it. Any thread. */
int wal_receiver_check(struct wal_receiver *r, struct gsp_error *err);
/* wal_receiver_finish - receive up to stop_lsn, then end; the last segment is filled up with zeros.
 * errors TIMEOUT when nothing new comes for timeout_us */
int wal_receiver_finish(struct wal_receiver *r, gsp_lsn stop_lsn, int64_t timeout_us, struct gsp_error *err);
/* wal_receiver_add_files - the finished segments as entries "<wal_dir>/<segment>" of a file list. */
int wal_receiver_add_files(struct wal_receiver *r, const char *wal_dir, struct filelist *list, struct gsp_error *err);
/* wal_receiver_free - stop and join the thread; NULL is fine. */
void wal_receiver_free(struct wal_receiver *r);

#endif
