/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/parent.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/chain.h"
#include "core/engine/stored_file.h"
#include "core/engine/wal_scan.h"

static int
need_full(struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_NOENT, 0, "Create new full backup before an incremental one");
    return gsp_hint(err, "take one with -b FULL; the warnings above say why the backups there are cannot be the base");
}

/* Did the cluster run through the point at which the backup ended, on its way to where it is now? */
static int
is_in_history(const struct parent *p, const struct backup *b)
{
    return timeline_has(&p->history, b->timeline, b->stop_lsn);
}

static int
is_usable(const struct parent *p, const struct backup *b)
{
    return backup_is_valid(b) && is_in_history(p, b);
}

static const struct backup *
newest_full(const struct parent *p)
{
    for (size_t i = 0; i < p->list.n; i++)
        if (backup_is_full(&p->list.backups[i]) && is_usable(p, &p->list.backups[i]))
            return &p->list.backups[i];
    return NULL;
}

/* Is the backup based on the FULL one, with nothing but usable backups between? What speaks against it is said. */
static int
descends(const struct parent *p, const struct backup *b, const struct backup *full, struct gsp_error *err)
{
    auto_free const struct backup **chain = NULL;
    struct gsp_error broken = {0};
    size_t n = 0;
    int rc = backup_chain(&p->list, b, &chain, &n, &broken);
    if (rc == GSP_E_NOMEM) {
        *err = broken;
        return rc;
    }
    if (rc == GSP_E_NOENT)
        log_warning("Backup %s has missing parent: %s. Cannot be a parent", b->id, broken.where);
    else if (rc != 0)
        log_warning("%s. Cannot be a parent", broken.msg);
    if (rc != 0)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if (backup_is_valid(chain[i]))
            continue;
        log_warning("Backup %s has invalid parent: %s. Cannot be a parent", b->id, chain[i]->id);
        return 0;
    }
    return chain[n - 1] == full;
}

static int
find(struct parent *p, struct gsp_error *err)
{
    const struct backup *full = newest_full(p);
    if (full == NULL) {
        if (p->list.n > 0)
            log_warning("No valid FULL backup is found in the history of timeline %" PRIu32,
                p->history.spans[p->history.n - 1].timeline);
        return need_full(err);
    }
    log_log("Latest valid FULL backup: %s", full->id);
    for (size_t i = 0; i < p->list.n; i++) {
        const struct backup *b = &p->list.backups[i];
        if (b->unread)
            log_warning("The control file of backup %s could not be read. Cannot be a parent", b->id);
        else if (!backup_is_valid(b))
            log_warning("Backup %s has status: %s. Cannot be a parent.", b->id, backup_status_name(b->status));
        else if (!is_in_history(p, b))
            log_log("Backup %s ends at " GSP_LSN_FMT " on timeline %" PRIu32
                    ", which this cluster did not run through. Cannot be a parent",
                b->id, GSP_LSN_ARGS(b->stop_lsn), b->timeline);
        else {
            int fits = descends(p, b, full, err);
            if (fits < 0)
                return fits;
            if (fits)
                p->backup = b;
        }
        if (p->backup != NULL || b == full)
            break;
    }
    return p->backup != NULL ? 0 : need_full(err);
}

static int
went_back(const struct parent *p, const char *what, gsp_lsn at, gsp_lsn parent_at, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "the data directory went back in time: %s is " GSP_LSN_FMT ", and backup %s, made before, has " GSP_LSN_FMT,
        what, GSP_LSN_ARGS(at), p->backup->id, GSP_LSN_ARGS(parent_at));
    return gsp_hint(err, "it was restored to an earlier state since; take a new backup with -b FULL");
}

static int
check_cluster(const struct parent *p, const struct data_side *data, struct gsp_error *err)
{
    const struct backup *b = p->backup;
    const struct gsp_cluster *cluster = &data->cluster;
    if ((b->checksum_version != 0) != (cluster->checksum_version != 0)) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "page checksums were switched %s since backup %s was made",
            cluster->checksum_version != 0 ? "on" : "off", b->id);
        return gsp_hint(err, "that changed pages without a trace in WAL; take a new backup with -b FULL");
    }
    if (b->block_size != cluster->page_size)
        return gsp_fail(err, GSP_E_CONFIG, 0, "backup %s has pages of %" PRIu32 " bytes, the cluster of %" PRIu32,
            b->id, b->block_size, cluster->page_size);
    return stored_backup_check_version(b, err);
}

/* The end of the parent's WAL is in the stream that the cluster wrote, unless it was restored to an earlier state
 * since, and went on from there. Where neither the server nor the archive has that WAL any more, nobody can tell. */
static int
check_wal(struct parent *p, struct engine *e, struct data_side *data, struct gsp_error *err)
{
    const struct backup *b = p->backup;
    char parent_dir[PATH_SIZE], archive[PATH_SIZE];
    struct wal_scan scan = {.cluster = &data->cluster,
        .history = &p->history,
        .places = {{&data->store, data->dialect->wal_dir}, {&e->repo, archive}},
        .n_places = 2};
    (void)snprintf(archive, sizeof archive, "wal/%s", e->instance);
    int n = b->stream ? snprintf(parent_dir, sizeof parent_dir, "backups/%s/%s/database/%s", e->instance, b->dir,
                            data->dialect->wal_dir)
                      : snprintf(parent_dir, sizeof parent_dir, "%s", archive);
    if (n >= (int)sizeof parent_dir || b->stop_lsn == 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "backup %s has no end", b->id);
    int rc = wal_scan_compare(&scan, &e->repo, parent_dir, b->timeline, b->stop_lsn, err);
    if (rc < 0)
        return gsp_prefix(err, "WAL of backup %s", b->id);
    p->is_proven = rc == 1;
    if (rc != 0)
        return 0;
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "the data directory went back in time: its WAL before " GSP_LSN_FMT " is not that of backup %s",
        GSP_LSN_ARGS(b->stop_lsn), b->id);
    return gsp_hint(err, "it was restored to an earlier state since; take a new backup with -b FULL");
}

/* From the FULL one on: a delete or merge of the chain waits, or was first and is noticed here. */
static int
lock_chain(struct parent *p, struct engine *e, struct gsp_error *err)
{
    auto_free const struct backup **chain = NULL;
    size_t n = 0;
    int rc = backup_chain(&p->list, p->backup, &chain, &n, err);
    if (rc != 0)
        return rc;
    p->locks = calloc(n, sizeof *p->locks);
    if (p->locks == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    p->n_locks = n;
    return chain_lock_shared(e, chain, n, p->locks, err);
}

int
parent_choose(struct parent *p, struct engine *e, struct data_side *data, struct gsp_error *err)
{
    memset(p, 0, sizeof *p);
    int rc = backup_list_read(&e->repo, e->instance, &p->list, err);
    if (rc == 0)
        rc = timeline_history_read(&data->store, data->dialect->wal_dir, data->cluster.timeline, &p->history, err);
    if (rc == 0)
        rc = find(p, err);
    if (rc == 0)
        rc = check_cluster(p, data, err);
    if (rc == 0)
        rc = lock_chain(p, e, err);
    if (rc == 0)
        rc = check_wal(p, e, data, err);
    if (rc == 0)
        rc = backup_read_filelist(&e->repo, e->instance, p->backup, &p->files, err);
    if (rc != 0)
        return rc;
    filelist_sort(&p->files);
    log_info("Parent backup: %s", p->backup->id);
    log_log("Backup %s (%s) is the newest valid one made on top of the newest valid FULL one, and ends at " GSP_LSN_FMT
            " on timeline %" PRIu32 ", in the history of timeline %" PRIu32,
        p->backup->id, p->backup->mode, GSP_LSN_ARGS(p->backup->stop_lsn), p->backup->timeline, data->cluster.timeline);
    return 0;
}

int
parent_check_start(const struct parent *p, gsp_lsn start_lsn, struct gsp_error *err)
{
    const struct backup *b = p->backup;
    return start_lsn < b->start_lsn ? went_back(p, "the start of this backup", start_lsn, b->start_lsn, err) : 0;
}

int
parent_check_stop(const struct parent *p, gsp_lsn stop_lsn, uint64_t recovery_xid, struct gsp_error *err)
{
    const struct backup *b = p->backup;
    if (stop_lsn < b->stop_lsn)
        return went_back(p, "the end of this backup", stop_lsn, b->stop_lsn, err);
    if (recovery_xid >= b->recovery_xid)
        return 0;
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "the data directory went back in time: its next transaction is %" PRIu64
        ", and backup %s, made before, has %" PRIu64,
        recovery_xid, b->id, b->recovery_xid);
    return gsp_hint(err, "it was restored to an earlier state since; take a new backup with -b FULL");
}

void
parent_clear(struct parent *p)
{
    for (size_t i = p->n_locks; i-- > 0;)
        backup_unlock(p->locks[i]);
    free(p->locks);
    filelist_clear(&p->files);
    timeline_history_free(&p->history);
    backup_list_clear(&p->list);
    memset(p, 0, sizeof *p);
}
