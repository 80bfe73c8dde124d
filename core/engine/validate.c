/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "core/base/bytes.h"
#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/crc32c.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/engine/chain.h"
#include "core/engine/jobs.h"
#include "core/engine/progress.h"
#include "core/engine/stored_file.h"
#include "core/engine/wal_files.h"

struct check {
    struct stored_backup *sb;
    int check_pages;
    const struct gsp_dialect_ops *dialect; /* NULL: pages, control file and WAL cannot be interpreted */
    struct gsp_cluster cluster;
    struct jobs jobs;
    struct progress progress;
    atomic_uint_fast64_t bad_files, undecoded_files;
    atomic_uint_fast64_t unread_files; /* of the bad ones */
};

/* ---- one file ---------------------------------------------------------------------------------- */

/* A failure to look, and not something wrong that was seen. */
static int
is_unread(int code)
{
    return code == GSP_E_IO || code == GSP_E_PERM || code == GSP_E_NET || code == GSP_E_TIMEOUT;
}

static void
count_bad(struct check *c, int code)
{
    atomic_fetch_add(&c->bad_files, 1);
    if (is_unread(code))
        atomic_fetch_add(&c->unread_files, 1);
}

/* The page a bad checksum is forgiven for: newer than the start of the backup, so WAL replays it. */
static int
is_replayed(const struct check *c, gsp_lsn lsn)
{
    return lsn > c->sb->b->start_lsn && lsn <= c->sb->b->stop_lsn;
}

static int
check_batch(struct check *c, struct stored_reader *r, uint64_t base_block, struct gsp_error *err)
{
    struct page_batch *b = r->batch;
    /* Pages of a file that the server compresses are stored as it keeps them, which no page check knows. */
    if (c->dialect == NULL || r->entry->compressed_file)
        return 0;
    page_batch_check(b, c->dialect, &c->cluster, base_block);
    for (uint32_t i = 0; i < b->n; i++) {
        const struct page_header *h = stored_reader_header(r, i);
        if (b->state[i] == GSP_PAGE_HEADER)
            return gsp_fail(err, GSP_E_CORRUPT, 0, "page header of block %u is invalid", b->block[i]);
        if (b->state[i] == GSP_PAGE_CHECKSUM && !is_replayed(c, b->lsn[i]))
            return gsp_fail(err, GSP_E_CORRUPT, 0, "block %u has stored checksum %u, calculated %u", b->block[i],
                b->stored_sum[i], b->sum[i]);
        if (h != NULL && (h->lsn != b->lsn[i] || (c->cluster.checksum_version != 0 && h->checksum != b->sum[i])))
            return gsp_fail(
                err, GSP_E_CORRUPT, 0, "block %u differs from its record in the page header map", b->block[i]);
        if (b->lsn[i] > c->sb->b->stop_lsn)
            log_warning("File: %s, block %u. Page is from future: pageLSN " GSP_LSN_FMT " stopLSN " GSP_LSN_FMT,
                r->entry->path, b->block[i], GSP_LSN_ARGS(b->lsn[i]), GSP_LSN_ARGS(c->sb->b->stop_lsn));
    }
    return 0;
}

static int
check_pages(struct check *c, struct stored_reader *r, const struct file_entry *f, struct gsp_error *err)
{
    uint64_t base_block = (uint64_t)f->segment * c->cluster.segment_blocks;
    int rc = stored_reader_begin(r, f, 1, err);
    while (rc == 0) {
        rc = jobs_check(&c->jobs, err);
        if (rc == 0)
            rc = stored_reader_pages(r, err);
        if (rc != 0 || r->batch->n == 0)
            break;
        rc = check_batch(c, r, base_block, err);
        progress_add(&c->progress, (uint64_t)r->batch->n * r->batch->page_size, 0);
    }
    return rc == 0 ? stored_reader_end(r, err) : rc;
}

static int
check_bytes(struct check *c, struct stored_reader *r, const struct file_entry *f, struct gsp_error *err)
{
    const uint8_t *bytes;
    int64_t got = 0;
    uint64_t done = 0;
    int rc = stored_reader_begin(r, f, 0, err);
    while (rc == 0) {
        rc = jobs_check(&c->jobs, err);
        if (rc == 0)
            got = stored_reader_bytes(r, &bytes, err);
        if (rc != 0 || got <= 0)
            break;
        progress_add(&c->progress, r->offset - done, 0);
        done = r->offset;
    }
    if (rc == 0 && got < 0)
        rc = (int)got;
    return rc == 0 ? stored_reader_end(r, err) : rc;
}

static int
is_control_file(const struct file_entry *f)
{
    return f->external_dir_num == 0 && f->file_type != 1 && strcmp(f->path, "global/pg_control") == 0;
}

/* The listed crc of a control file is the field inside it, which stands right behind the bytes it covers.
 * That needs no dialect to find. Returns its offset, 0 when it is nowhere. */
static size_t
find_inner_crc(const struct strbuf *bytes, uint32_t crc)
{
    uint32_t running = 0;
    for (size_t at = 0; at + 4 <= bytes->len && at < 4096; at += 4) {
        if (at > 0 && running == crc && load_le32(bytes->data + at) == crc)
            return at;
        running = crc32c(running, bytes->data + at, 4);
    }
    return 0;
}

static int
check_control(struct check *c, const struct file_entry *f, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf bytes = STRBUF_INIT;
    int rc = stored_path(c->sb, f, path, err);
    if (rc == 0)
        rc = store_read_all(&c->sb->e->repo, path, CONTROL_FILE_MAX, &bytes, err);
    if (rc != 0)
        return rc;
    size_t at = find_inner_crc(&bytes, f->crc);
    if (at == 0)
        return gsp_fail(err, GSP_E_CORRUPT, 0, "Invalid CRC. Expected %X", f->crc);
    /* The stock tool leaves memory garbage behind the structure; we store it as the server wrote it. */
    for (size_t i = at + 4; c->sb->b->made_by != NULL && i < bytes.len; i++)
        if (bytes.data[i] != 0 && i >= at + 8)
            return gsp_fail(err, GSP_E_CORRUPT, 0, "bytes that must be zero are not, at offset %zu", i);
    progress_add(&c->progress, bytes.len, 0);
    return 0;
}

/* A missing or short file is told apart from damage inside it. */
static int
check_presence(struct check *c, const struct file_entry *f, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct gsp_stat st;
    int rc = stored_path(c->sb, f, path, err);
    if (rc == 0)
        rc = store_stat(&c->sb->e->repo, path, &st, err);
    if (rc == 0 && (int64_t)st.size != f->size)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "Invalid size of backup file \"%s/%s\" : %" PRIu64 ". Expected %" PRId64,
            c->sb->e->repo.root, path, st.size, f->size);
    return rc;
}

static int
check_content(struct check *c, struct stored_reader *r, const struct file_entry *f, struct gsp_error *err)
{
    if (f->size == FILE_UNCHANGED && backup_is_full(c->sb->b))
        return gsp_fail(err, GSP_E_CORRUPT, 0, "listed as unchanged in a FULL backup");
    if (f->size <= 0)
        return 0;
    int rc = check_presence(c, f, err);
    if (rc != 0)
        return rc;
    if (is_control_file(f))
        return check_control(c, f, err);
    if (!f->is_datafile || f->is_cfs || !c->check_pages)
        return check_bytes(c, r, f, err);
    if (stored_codec_error(c->sb, f) != NULL) {
        atomic_fetch_add(&c->undecoded_files, 1);
        return check_bytes(c, r, f, err);
    }
    return check_pages(c, r, f, err);
}

static int
check_item(void *arg, void *worker, size_t i, struct gsp_error *err)
{
    struct check *c = arg;
    const struct file_entry *f = &c->sb->list.entries[i];
    struct gsp_error problem = {0};
    if (file_entry_is_dir(f))
        return 0;
    int rc = check_content(c, worker, f, &problem);
    progress_add(&c->progress, 0, 1);
    if (rc == GSP_E_CANCELLED || rc == GSP_E_NOMEM || rc == GSP_E_BUG) {
        *err = problem;
        return rc;
    }
    if (rc != 0) {
        /* Go on with the other files: the report is to be complete. */
        count_bad(c, rc);
        log_warning("Backup file \"%s\": %s", f->path, problem.msg);
    }
    return 0;
}

static int
checker_open(void *arg, void **ret, struct gsp_error *err)
{
    struct check *c = arg;
    struct stored_reader *in;
    int rc = stored_reader_new(c->sb, &in, err);
    if (rc == 0)
        *ret = in;
    return rc;
}

static int
checker_tick(void *arg, struct gsp_error *err)
{
    struct check *c = arg;
    (void)err;
    progress_tick(&c->progress);
    return 0;
}

/* ---- WAL --------------------------------------------------------------------------------------- */

static int
check_wal(struct check *c, struct gsp_error *err)
{
    const struct backup *b = c->sb->b;
    char dir[PATH_SIZE];
    gsp_lsn end = 0;
    int n = b->stream ? snprintf(dir, sizeof dir, "%s/database/%s", c->sb->dir, c->dialect->wal_dir)
                      : snprintf(dir, sizeof dir, "wal/%s", c->sb->e->instance);
    if (n >= (int)sizeof dir)
        return gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", c->sb->dir);
    struct wal_files files = {.repo = &c->sb->e->repo, .dir = dir, .segment_size = c->cluster.wal_segment_size};
    struct gsp_wal_source source = wal_files_source(&files);
    struct gsp_error problem = {0};
    int rc = c->dialect->wal_verify(&c->cluster, &source, b->timeline, b->start_lsn, b->stop_lsn, &end, &problem);
    wal_files_close(&files);
    if (rc == 0) {
        log_log("Backup %s WAL segments are valid", b->id);
        return 0;
    }
    if (rc == GSP_E_CANCELLED || rc == GSP_E_NOMEM) {
        *err = problem;
        return rc;
    }
    log_warning("There are not enough WAL records to consistenly restore backup %s from START LSN: " GSP_LSN_FMT
                " to STOP LSN: " GSP_LSN_FMT " (they end at " GSP_LSN_FMT "): %s",
        b->id, GSP_LSN_ARGS(b->start_lsn), GSP_LSN_ARGS(b->stop_lsn), GSP_LSN_ARGS(end), problem.msg);
    log_warning("Backup %s WAL segments are corrupted", b->id);
    count_bad(c, rc);
    return 0;
}

/* ---- one backup -------------------------------------------------------------------------------- */

static void
find_dialect(struct check *c)
{
    struct gsp_error why = {0};
    const struct backup *b = c->sb->b;
    int rc = b->storage_type == STORAGE_TYPE_DSS ? gsp_fail(&why, GSP_E_UNSUPPORTED, 0, "its files come from DSS")
                                                 : dialect_of_backup(c->sb->e, b, &c->dialect, &c->cluster, &why);
    if (rc == 0 && c->cluster.page_size == c->sb->page_size)
        return;
    c->dialect = NULL;
    if (is_unread(rc))
        count_bad(c, rc);
    log_warning("Backup %s: page checksums and WAL are not checked, only the CRC of every file: %s", b->id,
        rc != 0 ? why.msg : "its page size is not that of its control file");
}

static int
check_files(struct check *c, struct gsp_error *err)
{
    struct stored_backup *sb = c->sb;
    uint64_t bytes = 0;
    for (size_t i = 0; i < sb->list.n; i++)
        bytes += sb->list.entries[i].size > 0 ? (uint64_t)sb->list.entries[i].size : 0;
    c->jobs = (struct jobs){.n_items = sb->list.n,
        .threads = sb->e->threads,
        .arg = c,
        .worker_open = checker_open,
        .worker_close = stored_reader_free,
        .item = check_item,
        .tick = checker_tick};
    progress_begin(&c->progress, "Validating", bytes, sb->list.n, sb->e->progress);
    int rc = jobs_run(&c->jobs, err);
    progress_end(&c->progress);
    for (size_t i = 0; rc == 0 && i < sb->n_codecs; i++)
        if (!sb->codec_usable[i])
            log_warning(
                "Backup %s: pages compressed with '%s' are not decoded, only the CRC of their files is checked: %s",
                sb->b->id, sb->codec_names[i], sb->codec_errors[i].msg);
    if (rc == 0 && c->dialect != NULL)
        rc = check_wal(c, err);
    return rc;
}

/* A damaged catalog is a verdict; a failure to look only where the caller can do without. */
static int
is_verdict(int code, int must_read)
{
    return code == GSP_E_CORRUPT || code == GSP_E_NOENT || (code == GSP_E_IO && !must_read);
}

/* Whoever is about to use the backup must not call it corrupt because the storage failed just now. */
static int
fail_unread(const struct check *c, const struct backup *b, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_IO, 0, "%" PRIu64 " file(s) of backup %s could not be read",
        (uint64_t)atomic_load(&c->unread_files), b->id);
    return gsp_hint(err, "the warnings above name them and say why; try again once the storage answers");
}

/* What was found counts here, also where another command that works on the backup keeps it from being written. */
static int
set_verdict(struct engine *e, struct backup *b, enum backup_status status, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    int rc = backup_set_status(&e->repo, e->instance, b, status, &problem);
    if (rc == GSP_E_LOCKED) {
        log_warning("Status of backup %s is not changed to %s: %s", b->id, backup_status_name(status), problem.msg);
        b->status = status;
        return 0;
    }
    if (rc != 0)
        *err = problem;
    return rc;
}

int
validate_backup(struct engine *e, struct backup *b, int skip_block_validation, int must_read, struct gsp_error *err)
{
    struct stored_backup sb;
    struct gsp_error problem = {0};
    log_info("%s backup %s", b->status == BACKUP_ORPHAN || b->status == BACKUP_CORRUPT ? "Revalidating" : "Validating",
        b->id);
    int rc = stored_backup_open(&sb, e, b, &problem);
    enum backup_status status = BACKUP_CORRUPT;
    if (rc == 0) {
        struct check c = {.sb = &sb, .check_pages = !skip_block_validation};
        find_dialect(&c);
        rc = check_files(&c, &problem);
        /* What could not be looked at whole does not get a better status than it had. */
        int complete = c.dialect != NULL && atomic_load(&c.undecoded_files) == 0;
        if (rc == 0 && must_read && atomic_load(&c.unread_files) > 0 &&
            atomic_load(&c.unread_files) == atomic_load(&c.bad_files))
            rc = fail_unread(&c, b, &problem);
        if (rc == 0 && atomic_load(&c.bad_files) == 0)
            status = complete ? BACKUP_OK : backup_is_valid(b) ? b->status : BACKUP_DONE;
    } else if (is_verdict(rc, must_read)) {
        log_warning("Backup %s file list is corrupted: %s", b->id, problem.msg);
        rc = 0;
    }
    stored_backup_close(&sb);
    if (rc != 0) {
        *err = problem;
        return rc;
    }
    if (status != BACKUP_CORRUPT)
        log_info("Backup %s data files are valid", b->id);
    else
        log_warning("Backup %s data files are corrupted", b->id);
    return set_verdict(e, b, status, err);
}

/* ---- chains ------------------------------------------------------------------------------------ */

/* culprit: the ancestor at fault, NULL when it is missing. */
static int
mark_orphan(
    struct engine *e, struct backup *b, const char *culprit_id, const struct backup *culprit, struct gsp_error *err)
{
    int orphaned = backup_is_valid(b);
    if (culprit != NULL)
        log_warning(orphaned ? "Backup %s is orphaned because his parent %s has status: %s"
                             : "Backup %s has parent %s with status: %s",
            b->id, culprit_id, backup_status_name(culprit->status));
    else
        log_warning(
            orphaned ? "Backup %s is orphaned because his parent %s is missing" : "Backup %s has missing parent %s",
            b->id, culprit_id[0] != '\0' ? culprit_id : "(not named)");
    /* An ancestor that could not be read just now may be as good as ever. */
    if (!orphaned || (culprit != NULL && culprit->unread))
        return 0;
    return set_verdict(e, b, BACKUP_ORPHAN, err);
}

int
orphan_descendants(struct engine *e, struct backup_list *list, const char *id, struct gsp_error *err)
{
    const struct backup *culprit = backup_list_find(list, id);
    int rc = 0;
    for (size_t i = list->n; i-- > 0 && rc == 0;) {
        struct backup *b = &list->backups[i];
        if (b != culprit && backup_is_valid(b) && !backup_is_full(b) && backup_is_descendant(list, b, id))
            rc = mark_orphan(e, b, id, culprit, err);
    }
    return rc;
}

/* Is every ancestor there and valid? 1, or 0 when the backup is an orphan now, or a code. */
static int
check_ancestors(struct engine *e, struct backup_list *list, struct backup *b, struct gsp_error *err)
{
    auto_free const struct backup **chain = NULL;
    struct gsp_error broken = {0};
    size_t n = 0;
    int rc = backup_chain(list, b, &chain, &n, &broken);
    if (rc == GSP_E_NOENT)
        return mark_orphan(e, b, broken.where, NULL, err);
    if (rc == GSP_E_CORRUPT) {
        log_warning("%s", broken.msg);
        return backup_is_valid(b) ? set_verdict(e, b, BACKUP_ORPHAN, err) : 0;
    }
    if (rc != 0) {
        *err = broken;
        return rc;
    }
    /* The oldest one that is at fault is where a repair begins. */
    for (size_t i = n; i-- > 1;)
        if (!backup_is_valid(chain[i]))
            return mark_orphan(e, b, chain[i]->id, chain[i], err);
    return 1;
}

/* Can validation make anything of this status? */
static int
is_checkable(const struct backup *b)
{
    return backup_is_valid(b) || b->status == BACKUP_ORPHAN || b->status == BACKUP_CORRUPT;
}

int
validate_chain(struct engine *e, struct backup_list *list, const struct backup *const *chain, size_t n,
    int skip_block_validation, int must_read, struct gsp_error *err)
{
    for (size_t i = n; i-- > 0;) {
        struct backup *b = &list->backups[chain[i] - list->backups];
        int rc = is_checkable(b) ? validate_backup(e, b, skip_block_validation, must_read, err) : 0;
        if (rc != 0)
            return rc;
        if (!backup_is_valid(b))
            return orphan_descendants(e, list, b->id, err);
    }
    return 0;
}

/* ---- the command ------------------------------------------------------------------------------- */

/* 1 to check it, 0 when it counts as bad, -1 when it does not count at all. */
static int
precheck(struct engine *e, struct backup_list *list, struct backup *b, struct gsp_error *err)
{
    if (b->status == BACKUP_RUNNING) {
        if (backup_lock_is_held(&e->repo, e->instance, b, err) == 1) {
            log_warning("Backup %s is being taken right now. Skip validation.", b->id);
            return -1;
        }
        int settled = err->code == 0 ? settle_backup(e, b, err) : err->code;
        if (settled < 0)
            return settled;
        if (settled > 0) {
            log_warning("Backup %s has status RUNNING, change it to ERROR and skip validation", b->id);
            return 0;
        }
    }
    if (!is_checkable(b)) {
        log_warning("Backup %s has status %s. Skip validation.", b->id, backup_status_name(b->status));
        return 0;
    }
    struct gsp_error version = {0};
    if (stored_backup_check_version(b, &version) != 0) {
        log_warning("Skip validation: %s", version.msg);
        return 0;
    }
    return backup_is_full(b) ? 1 : check_ancestors(e, list, b, err);
}

static int
validate_one(struct engine *e, struct backup_list *list, struct backup *b, int skip_blocks, size_t *bad,
    size_t *skipped, struct gsp_error *err)
{
    int want = precheck(e, list, b, err);
    if (err->code != 0)
        return err->code;
    if (want <= 0) {
        *bad += want == 0;
        return 0;
    }
    struct backup_lock *lock = NULL;
    struct gsp_error lock_err = {0};
    const struct backup *one = b;
    int rc = chain_lock_shared(e, &one, 1, &lock, &lock_err);
    if (rc == GSP_E_LOCKED && skipped != NULL) {
        backup_unlock(lock);
        log_warning("Skip validation of backup %s: %s", b->id, lock_err.msg);
        (*skipped)++;
        return 0;
    }
    if (rc == 0)
        rc = validate_backup(e, b, skip_blocks, 0, err);
    else
        *err = lock_err;
    backup_unlock(lock);
    *bad += rc == 0 && !backup_is_valid(b);
    return rc;
}

int
validate_run(struct engine *e, const struct validate_options *opts, size_t *ret_bad, struct gsp_error *err)
{
    auto_backup_list list = {0};
    size_t bad = 0, skipped = 0;
    int rc = backup_list_read(&e->repo, e->instance, &list, err);
    if (rc != 0)
        return rc;
    const struct backup *wanted = NULL, *first_bad = NULL;
    if (opts->id != NULL) {
        wanted = backup_list_find(&list, opts->id);
        if (wanted == NULL)
            return gsp_fail(err, GSP_E_NOENT, 0, "Requested backup %s is not found.", opts->id);
        if (!backup_is_full(wanted))
            log_info("Validating parents for backup %s", wanted->id);
    } else {
        log_info("Validate backups of the instance '%s'", e->instance);
    }
    /* Oldest first: a parent's verdict is known before its children are looked at, and a whole chain can heal. */
    for (size_t i = list.n; i-- > 0 && rc == 0;) {
        struct backup *b = &list.backups[i];
        if (wanted != NULL && !backup_is_descendant(&list, wanted, b->id))
            continue;
        /* Of those that were not named one may be left out. */
        rc = validate_one(e, &list, b, opts->skip_block_validation, &bad, wanted == NULL ? &skipped : NULL, err);
        if (rc == 0 && bad > 0 && first_bad == NULL)
            first_bad = b;
    }
    /* Those that were not asked for do not stay valid on top of it either. */
    if (rc == 0 && wanted != NULL && first_bad != NULL)
        rc = orphan_descendants(e, &list, first_bad->id, err);
    if (skipped > 0)
        log_warning("Some backups weren't locked and they were skipped");
    *ret_bad = bad;
    return rc;
}
