/* SPDX-License-Identifier: Apache-2.0
 * Merging a chain into one FULL backup. It is built aside, and takes the place of the chain by a rename: until then the
 * chain is untouched, and from then on the backup that was put aside tells what is left to clear away. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/engine/durability.h"
#include "core/engine/merge.h"

struct merge {
    struct engine *e;
    struct backup_list list;
    const struct backup **chain; /* [0] is the backup that stays, [n - 1] the FULL one */
    size_t n;
    struct backup_lock **locks; /* as chain */
    struct backup merged;       /* [0] as it will be; its dir is where it is just now */
    struct backup_lock *merged_lock;
    int64_t began; /* seconds */
    uint32_t page_size;
};

static void
merge_close(struct merge *m)
{
    for (size_t i = 0; i < m->n && m->locks != NULL; i++)
        backup_unlock(m->locks[i]);
    backup_unlock(m->merged_lock);
    backup_clear(&m->merged);
    free(m->locks);
    free(m->chain);
    backup_list_clear(&m->list);
}

/* "backups/<instance>/<prefix><id>", and as the directory of a backup. */
static int
merge_dir(const struct merge *m, const char *prefix, const char *id, char path[PATH_SIZE], struct gsp_error *err)
{
    int n = snprintf(path, PATH_SIZE, "backups/%s/%s%s", m->e->instance, prefix, id);
    return n < PATH_SIZE ? 0 : gsp_fail(err, GSP_E_BUG, 0, "path too long");
}

static int
set_dir(struct backup *b, const char *prefix, const char *id, struct gsp_error *err)
{
    char name[BACKUP_ID_SIZE + 16];
    (void)snprintf(name, sizeof name, "%s%s", prefix, id);
    char *copy = strdup(name);
    if (copy == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    free(b->dir);
    b->dir = copy;
    return 0;
}

static int
sync_instance(const struct merge *m, struct gsp_error *err)
{
    char path[PATH_SIZE];
    int rc = merge_dir(m, "", "", path, err);
    if (rc == 0)
        path[strlen(path) - 1] = '\0';
    return rc == 0 ? store_sync(&m->e->repo, path, err) : rc;
}

static struct backup *
member(const struct merge *m, size_t i)
{
    return &m->list.backups[m->chain[i] - m->list.backups];
}

/* ---- clearing away ------------------------------------------------------------------------------- */

/* The merged backup is in its place. The old members go, newest marked first, so that none is valid on top of one that
 * is not; oldest removed first, so that from the one put aside the way to those that are left is known. */
static int
clear_away(struct merge *m, struct gsp_error *err)
{
    struct store *repo = &m->e->repo;
    const char *id = m->merged.id;
    char path[PATH_SIZE];
    int rc = backup_path(path, m->e->instance, &m->merged, MERGE_LEDGER, err);
    if (rc == 0)
        rc = store_remove(repo, path, err);
    if (rc == 0)
        rc = backup_path(path, m->e->instance, &m->merged, NULL, err);
    if (rc == 0)
        rc = store_sync(repo, path, err);
    for (size_t i = 1; i < m->n && rc == 0; i++)
        if (m->chain[i]->status != BACKUP_UNKNOWN)
            rc = backup_set_status(repo, m->e->instance, member(m, i), BACKUP_DELETING, err);
    for (size_t i = m->n; i-- > 1 && rc == 0;)
        rc = delete_backup(m->e, member(m, i), steal(&m->locks[i]), err);
    if (rc == 0)
        rc = merge_dir(m, MERGE_ASIDE_PREFIX, id, path, err);
    if (rc == 0)
        rc = store_remove_tree(repo, path, err);
    return rc == 0 ? sync_instance(m, err) : rc;
}

static int
complete(struct merge *m, struct gsp_error *err)
{
    int rc = clear_away(m, err);
    if (rc != 0)
        return gsp_hint(err, "backup %s is merged; repeat the command to clear away what it was made of", m->merged.id);
    log_info("Merge of backup %s completed", m->merged.id);
    return 0;
}

/* ---- after an interrupted merge ------------------------------------------------------------------ */

/* A backup that was put aside, and what is left of the chain below it: chain[0] stays empty for the merged one. */
static int
read_aside(struct merge *m, const char *name, struct backup *ret, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error gone = {0};
    int n = snprintf(path, sizeof path, "backups/%s/%s/backup.control", m->e->instance, name);
    if (n >= (int)sizeof path)
        return gsp_fail(err, GSP_E_BUG, 0, "path too long");
    int rc = store_read_all(&m->e->repo, path, CONTROL_FILE_MAX, &text, &gone);
    /* It goes last: without its control file nothing else is left to be cleared away. */
    if (rc == GSP_E_NOENT) {
        (void)snprintf(ret->id, sizeof ret->id, "%s", name + strlen(MERGE_ASIDE_PREFIX));
        return 0;
    }
    if (rc != 0) {
        *err = gone;
        return rc;
    }
    return backup_parse(strbuf_str(&text), text.len, path, ret, err);
}

/* The chain of an unfinished merge, as far as it is still there. */
static int
walk_aside(struct merge *m, const struct backup *aside, struct gsp_error *err)
{
    m->chain = calloc(m->list.n + 1, sizeof *m->chain);
    if (m->chain == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    const struct backup *at = backup_list_find(&m->list, aside->id);
    if (at == NULL || !backup_is_full(at)) {
        (void)gsp_fail(err, GSP_E_CORRUPT, 0, "'%s%s' is there, and backup %s is no merged one", MERGE_ASIDE_PREFIX,
            aside->id, aside->id);
        return gsp_hint(err, "look into 'backups/%s' by hand: another program changed it", m->e->instance);
    }
    m->chain[m->n++] = at;
    const char *parent = aside->parent_id;
    while (parent[0] != '\0' && m->n <= m->list.n) {
        at = backup_list_find(&m->list, parent);
        if (at == NULL)
            break;
        m->chain[m->n++] = at;
        parent = at->parent_id;
    }
    return 0;
}

/* Is it the name of a backup that was put aside, for one that is there? What else merges have left is only named. */
static int
is_aside(const struct merge *m, const char *name, const char *id)
{
    const char *of;
    if (strncmp(name, MERGE_ASIDE_PREFIX, strlen(MERGE_ASIDE_PREFIX)) == 0)
        of = name + strlen(MERGE_ASIDE_PREFIX);
    else if (strncmp(name, MERGE_BUILD_PREFIX, strlen(MERGE_BUILD_PREFIX)) == 0)
        of = name + strlen(MERGE_BUILD_PREFIX);
    else
        return 0;
    const struct backup *b = backup_list_find(&m->list, of);
    if (b != NULL && name + strlen(MERGE_ASIDE_PREFIX) == of)
        return 1;
    if (strcmp(of, id) != 0 && (b == NULL || strcmp(b->dir, name) != 0))
        log_info("'%s' is left of an unfinished merge of backup %s", name, of);
    return 0;
}

/* Is it the merge that `-i id` began: of the backup itself, or of its FULL one? 1, 0, or a code. */
static int
is_asked_for(const struct merge *m, const struct backup *aside, const char *id, struct gsp_error *err)
{
    const struct backup *oldest = m->chain[m->n - 1];
    const char *full = m->n == 1 ? aside->parent_id : backup_is_full(oldest) ? oldest->id : "";
    if (strcmp(aside->id, id) == 0 || strcmp(full, id) == 0)
        return 1;
    for (size_t k = 1; k < m->n; k++) {
        if (strcmp(m->chain[k]->id, id) != 0)
            continue;
        (void)gsp_fail(
            err, GSP_E_EXIST, 0, "backup %s belongs to a merge of backup %s that is not finished", id, aside->id);
        return gsp_hint(err, "finish it first: 'merge -i %s'", aside->id);
    }
    return 0;
}

/* Is there an unfinished merge that `-i id` began? 1 with its chain, 0, or a code. Others are named. */
static int
find_aside(struct merge *m, const char *id, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_listing names = {0};
    int rc = merge_dir(m, "", "", path, err);
    path[rc == 0 ? strlen(path) - 1 : 0] = '\0';
    if (rc == 0)
        rc = store_list(&m->e->repo, path, &names, err);
    for (size_t i = 0; i < names.n && rc == 0; i++) {
        const char *name = names.entries[i].name;
        auto_backup aside;
        backup_init(&aside);
        if (!is_aside(m, name, id))
            continue;
        rc = read_aside(m, name, &aside, err);
        if (rc == 0)
            rc = walk_aside(m, &aside, err);
        if (rc == 0)
            rc = is_asked_for(m, &aside, id, err);
        if (rc != 0)
            return rc;
        log_info("A merge of backup %s is not finished, '%s' is there: repeat it with -i %s", aside.id, name, aside.id);
        free(steal(&m->chain));
        m->n = 0;
    }
    return rc;
}

/* Oldest first, as everybody else. */
static int
lock_chain(struct merge *m, struct gsp_error *err)
{
    int rc = 0;
    m->locks = calloc(m->n + 1, sizeof(struct backup_lock *));
    if (m->locks == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t i = m->n; i-- > 0 && rc == 0;)
        rc = backup_lock_exclusive(&m->e->repo, m->e->instance, m->chain[i], &m->locks[i], err);
    return rc;
}

/* Into the place that the one put aside has left. */
static int
rename_into_place(struct merge *m, struct gsp_error *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    int rc = merge_dir(m, MERGE_BUILD_PREFIX, m->merged.id, from, err);
    if (rc == 0)
        rc = merge_dir(m, "", m->merged.id, to, err);
    if (rc == 0)
        rc = store_rename(&m->e->repo, from, to, err);
    if (rc == 0)
        rc = set_dir(&m->merged, "", m->merged.id, err);
    if (rc == 0)
        rc = backup_lock_moved(m->merged_lock, m->e->instance, &m->merged, err);
    return rc == 0 ? sync_instance(m, err) : rc;
}

static int
finish_interrupted(struct merge *m, struct gsp_error *err)
{
    if (m->chain == NULL || m->n == 0)
        return gsp_fail(err, GSP_E_BUG, 0, "an unfinished merge of nothing");
    log_info("Retry failed merge of backup %s with parent chain", m->chain[0]->id);
    int rc = merge_check_dependents(&m->list, m->chain, m->n, err);
    if (rc == 0)
        rc = lock_chain(m, err);
    if (rc != 0)
        return rc;
    m->merged_lock = steal(&m->locks[0]);
    memcpy(m->merged.id, m->chain[0]->id, sizeof m->merged.id);
    rc = strcmp(m->chain[0]->dir, m->chain[0]->id) != 0 ? rename_into_place(m, err)
                                                        : set_dir(&m->merged, "", m->merged.id, err);
    return rc == 0 ? complete(m, err) : rc;
}

/* ---- what is merged ------------------------------------------------------------------------------ */

static int
check_member(const struct backup *b, struct gsp_error *err)
{
    const char *version = b->program_version != NULL ? b->program_version : "";
    if (strcmp(b->dir, b->id) != 0) {
        (void)gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the directory of backup %s has the name '%s'", b->id, b->dir);
        return gsp_hint(err, "give the directory the name '%s'", b->id);
    }
    if (version_number(version) > version_number(CATALOG_FORMAT_VERSION)) {
        (void)gsp_fail(
            err, GSP_E_UNSUPPORTED, 0, "backup %s is of version %s, whose catalog is only read", b->id, version);
        return gsp_hint(err, "merge it with the program that made it");
    }
    if (b->s3_status != NULL && strcmp(b->s3_status, "S3") == 0)
        return gsp_fail(err, GSP_E_UNSUPPORTED, 0, "the files of backup %s are in S3", b->id);
    return 0;
}

/* The chain as the catalog has it now. */
static int
choose(struct merge *m, const char *id, struct gsp_error *err)
{
    backup_list_clear(&m->list);
    free(steal(&m->chain));
    int rc = backup_list_read(&m->e->repo, m->e->instance, &m->list, err);
    if (rc == 0)
        rc = merge_select(&m->list, id, &m->chain, &m->n, err);
    for (size_t i = m->n; i-- > 0 && rc == 0;)
        rc = check_member(m->chain[i], err);
    return rc;
}

static int
fail_changed(const char *id, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_LOCKED, 0, "the chain of backup %s was changed just now", id);
    return gsp_hint(err, "try again");
}

/* Choose, lock, and look again: somebody may have been faster with the locks. */
static int
choose_and_lock(struct merge *m, const char *id, struct gsp_error *err)
{
    char target[BACKUP_ID_SIZE], oldest[BACKUP_ID_SIZE];
    int rc = choose(m, id, err);
    if (rc != 0)
        return rc;
    struct gsp_error problem = {0};
    rc = lock_chain(m, &problem);
    if (rc == GSP_E_NOENT)
        return fail_changed(m->chain[0]->id, err);
    if (rc != 0) {
        *err = problem;
        return rc;
    }
    size_t n = m->n;
    memcpy(target, m->chain[0]->id, sizeof target);
    memcpy(oldest, m->chain[n - 1]->id, sizeof oldest);
    rc = choose(m, id, err);
    int is_same =
        rc == 0 && m->n == n && strcmp(m->chain[0]->id, target) == 0 && strcmp(m->chain[n - 1]->id, oldest) == 0;
    m->n = n; /* as many locks there are */
    if (rc != 0 || is_same)
        return rc;
    return fail_changed(target, err);
}

/* Members that nobody has looked at yet. */
static int
validate_members(struct merge *m, struct gsp_error *err)
{
    log_info("Validate parent chain for backup %s", m->chain[0]->id);
    for (size_t i = m->n; i-- > 0;) {
        struct backup *b = member(m, i);
        int rc = b->status == BACKUP_DONE ? validate_backup(m->e, b, 0, 1, err) : 0;
        if (rc != 0)
            return rc;
        if (backup_is_valid(b))
            continue;
        rc = orphan_descendants(m->e, &m->list, b->id, err);
        if (rc != 0)
            return rc;
        (void)gsp_fail(
            err, GSP_E_CORRUPT, 0, "Backup %s has status %s, merge is aborted", b->id, backup_status_name(b->status));
        return gsp_hint(err, "the warnings above name the damage; nothing was merged");
    }
    return 0;
}

/* ---- building ------------------------------------------------------------------------------------ */

static int
check_room(struct merge *m, const struct chain *chain, uint64_t done, struct gsp_error *err)
{
    char have[24], want[24];
    struct store *repo = &m->e->repo;
    struct gsp_space space = {.struct_size = sizeof space};
    uint64_t need = merge_bytes_to_build(chain, repo->ops->link != NULL);
    if (repo->ops->space == NULL || need <= done)
        return 0;
    int rc = repo->ops->space(repo->handle, "backups", &space, err);
    if (rc != 0 || space.free_bytes > need - done)
        return rc;
    format_size_pretty((int64_t)space.free_bytes, have, sizeof have);
    format_size_pretty((int64_t)(need - done), want, sizeof want);
    (void)gsp_fail(err, GSP_E_NOSPC, 0, "not enough disk space to merge backup %s in '%s': %s are free, %s are needed",
        m->chain[0]->id, repo->root, have, want);
    return gsp_hint(err, "make room, and repeat the command; the backups are as they were");
}

/* The first line of the ledger. */
static int
describe_chain(const struct merge *m, struct strbuf *head, struct gsp_error *err)
{
    strbuf_puts(head, "# merge");
    for (size_t i = 0; i < m->n; i++)
        strbuf_printf(head, " %s:%" PRIu32, m->chain[i]->id, m->chain[i]->content_crc);
    strbuf_putc(head, '\n');
    return strbuf_check(head, err);
}

/* The control file makes the directory count, so it goes first. */
static int
remove_unfinished(struct merge *m, const char *dir, struct gsp_error *err)
{
    char path[PATH_SIZE];
    int rc = path_join(path, dir, "backup.control") ? 0 : gsp_fail(err, GSP_E_BUG, 0, "path too long");
    if (rc == 0)
        rc = store_remove(&m->e->repo, path, err);
    return rc == 0 ? store_remove_tree(&m->e->repo, dir, err) : rc;
}

/* Are the files there that the ledger names? errors CORRUPT NOENT */
static int
check_finished(struct merge *m, const char *dir, const struct merge_ledger *ledger, struct gsp_error *err)
{
    struct stored_backup at = {0};
    char path[PATH_SIZE];
    struct gsp_stat st = {0};
    int rc = snprintf(at.dir, sizeof at.dir, "%s", dir) < (int)sizeof at.dir && path_join(path, dir, "page_header_map")
                 ? 0
                 : gsp_fail(err, GSP_E_BUG, 0, "path too long");
    if (rc == 0 && ledger->map_size > 0)
        rc = store_stat(&m->e->repo, path, &st, err);
    if (rc == 0 && st.size < ledger->map_size)
        rc = gsp_fail(err, GSP_E_CORRUPT, 0, "page_header_map is too short");
    for (size_t i = 0; i < ledger->done.n && rc == 0; i++) {
        const struct file_entry *f = &ledger->done.entries[i];
        rc = stored_path(&at, f, path, err);
        if (rc == 0)
            rc = store_stat(&m->e->repo, path, &st, err);
        if (rc == 0 && (int64_t)st.size != f->size)
            rc = gsp_fail(err, GSP_E_CORRUPT, 0, "'%s' is not as the ledger says", path);
    }
    return rc;
}

/* What an interrupted merge of the same chain has finished. 1, or 0 when there is nothing of use: nothing is there
 * any more then. */
static int
take_up(struct merge *m, const char *dir, const char *head, struct merge_ledger *ledger, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct gsp_error why = {0};
    int rc = path_join(path, dir, MERGE_LEDGER) ? merge_ledger_read(&m->e->repo, path, head, ledger, &why)
                                                : gsp_fail(&why, GSP_E_BUG, 0, "path too long");
    if (rc == 0)
        rc = check_finished(m, dir, ledger, &why);
    if (rc == 0) {
        log_info("%zu files are finished since an interrupted merge", ledger->done.n);
        return 1;
    }
    merge_ledger_clear(ledger);
    if (rc != GSP_E_NOENT && rc != GSP_E_CORRUPT) {
        *err = why;
        return rc;
    }
    if (rc == GSP_E_CORRUPT)
        log_info("What an earlier merge left in '%s' is of no use: %s", dir, why.msg);
    return remove_unfinished(m, dir, err);
}

static int
open_ledger(
    struct merge *m, const struct chain *chain, const char *dir, struct merge_ledger *ledger, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf head = STRBUF_INIT;
    uint64_t done = 0;
    int rc = describe_chain(m, &head, err);
    if (rc == 0)
        rc = take_up(m, dir, head.data, ledger, err);
    if (rc < 0)
        return rc;
    int found = rc;
    for (size_t i = 0; i < ledger->done.n; i++)
        done += (uint64_t)ledger->done.entries[i].size;
    rc = check_room(m, chain, done, err);
    if (rc != 0 || found)
        return rc;
    rc = store_mkdir(&m->e->repo, dir, 0700, 0, err);
    if (rc == 0)
        rc = sync_instance(m, err);
    if (rc == 0 && !path_join(path, dir, MERGE_LEDGER))
        rc = gsp_fail(err, GSP_E_BUG, 0, "path too long");
    return rc == 0 ? merge_ledger_begin(&m->e->repo, path, head.data, ledger, err) : rc;
}

static int
fail_full(struct merge *m, const char *dir, struct gsp_error *err)
{
    return gsp_hint(err,
        "the backups are as they were. Make room and repeat the command, which goes on where it stopped; to give the "
        "merge up, remove '%s/%s'",
        m->e->repo.root, dir);
}

static int
build_files(struct merge *m, struct chain *chain, const char *dir, struct filelist *list, struct merge_ledger *ledger,
    struct gsp_error *err)
{
    char elapsed[24];
    int64_t began = monotonic_us();
    log_info("Start merging backup files");
    struct merge_build files = {.e = m->e, .chain = chain, .dir = dir, .list = list, .ledger = ledger};
    int rc = merge_build_run(&files, err);
    format_interval_pretty(monotonic_us() - began, elapsed, sizeof elapsed);
    if (rc == 0) {
        log_info("Backup files are successfully merged, time elapsed: %s", elapsed);
        log_log("%" PRIu64 " files were written, %" PRIu64 " linked, %" PRIu64 " copied, %" PRIu64
                " were there from an interrupted merge",
            (uint64_t)files.built, (uint64_t)files.linked, (uint64_t)files.copied, (uint64_t)files.kept);
    }
    return rc == GSP_E_NOSPC ? fail_full(m, dir, err) : rc;
}

/* ---- the merged backup --------------------------------------------------------------------------- */

static int
set_text(char **to, const char *text, struct gsp_error *err)
{
    char *copy = strdup(text);
    if (copy == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    free(*to);
    *to = copy;
    return 0;
}

/* What the backup says of itself now: its note may have been changed while files were built. */
static int
copy_description(struct merge *m, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf text = STRBUF_INIT;
    int rc = backup_path(path, m->e->instance, m->chain[0], "backup.control", err);
    if (rc == 0)
        rc = store_read_all(&m->e->repo, path, CONTROL_FILE_MAX, &text, err);
    return rc == 0 ? backup_parse(strbuf_str(&text), text.len, path, &m->merged, err) : rc;
}

static void
sum_sizes(struct merge *m, const struct filelist *list)
{
    struct backup *b = &m->merged;
    int64_t wal = b->stream && b->wal_bytes > 0 ? b->wal_bytes : 0, page_size = m->page_size;
    b->data_bytes = b->uncompressed_bytes = -wal;
    for (size_t i = 0; i < list->n; i++) {
        const struct file_entry *f = &list->entries[i];
        int64_t size = file_entry_is_dir(f) ? 4096 : f->size;
        int is_paged = size > 0 && chain_entry_is_paged(f) && f->n_blocks > 0;
        b->data_bytes += size;
        b->uncompressed_bytes += is_paged ? f->n_blocks * page_size : size;
    }
}

static int
describe_merged(struct merge *m, const struct filelist *list, struct gsp_error *err)
{
    struct backup *b = &m->merged;
    int rc = copy_description(m, err);
    if (rc == 0)
        rc = set_dir(b, MERGE_BUILD_PREFIX, b->id, err);
    if (rc == 0)
        rc = set_text(&b->mode, "FULL", err);
    if (rc == 0)
        rc = set_text(&b->program_version, CATALOG_FORMAT_VERSION, err);
    if (rc != 0)
        return rc;
    b->status = BACKUP_OK; /* every member was validated, now or before */
    b->parent_id[0] = b->merge_dest_id[0] = '\0';
    b->merge_time = m->began;
    b->end_time = now_seconds();
    sum_sizes(m, list);
    return 0;
}

/* List, everything durable, and then the control file, as a backup does it. */
static int
finish_files(struct merge *m, const char *dir, struct filelist *list, struct gsp_error *err)
{
    char path[PATH_SIZE];
    int rc = describe_merged(m, list, err);
    if (rc == 0 && !path_join(path, dir, "backup_content.control"))
        rc = gsp_fail(err, GSP_E_BUG, 0, "path too long");
    if (rc == 0)
        rc = filelist_write(&m->e->repo, path, list, &m->merged.content_crc, err);
    if (rc == 0)
        rc = sync_backup(&m->e->repo, dir, list, err);
    if (rc == 0)
        rc = backup_save(&m->e->repo, m->e->instance, &m->merged, err);
    return rc == GSP_E_NOSPC ? fail_full(m, dir, err) : rc;
}

static int
build(struct merge *m, struct gsp_error *err)
{
    char dir[PATH_SIZE];
    struct chain chain = {0};
    struct filelist list = {0};
    struct merge_ledger ledger = {0};
    int rc = merge_dir(m, MERGE_BUILD_PREFIX, m->chain[0]->id, dir, err);
    if (rc == 0)
        rc = chain_open(&chain, m->e, m->chain, m->n, err);
    if (rc == 0) {
        m->page_size = chain.members[0].page_size;
        rc = open_ledger(m, &chain, dir, &ledger, err);
    }
    if (rc == 0)
        rc = build_files(m, &chain, dir, &list, &ledger, err);
    if (rc == 0)
        rc = finish_files(m, dir, &list, err);
    free(list.entries);
    merge_ledger_clear(&ledger);
    chain_close(&chain);
    return rc;
}

/* ---- the switch ---------------------------------------------------------------------------------- */

static int
put_aside(struct merge *m, struct gsp_error *err)
{
    char from[PATH_SIZE], to[PATH_SIZE];
    int rc = merge_dir(m, "", m->merged.id, from, err);
    if (rc == 0)
        rc = merge_dir(m, MERGE_ASIDE_PREFIX, m->merged.id, to, err);
    if (rc == 0)
        rc = store_rename(&m->e->repo, from, to, err);
    if (rc == 0)
        rc = set_dir(member(m, 0), MERGE_ASIDE_PREFIX, m->merged.id, err);
    return rc == 0 ? backup_lock_moved(m->locks[0], m->e->instance, m->chain[0], err) : rc;
}

/* The backup is locked before it is one. */
static int
switch_over(struct merge *m, struct gsp_error *err)
{
    log_info("Rename merged full backup %s to %s", m->chain[m->n - 1]->id, m->merged.id);
    int rc = backup_lock_exclusive(&m->e->repo, m->e->instance, &m->merged, &m->merged_lock, err);
    if (rc == 0)
        rc = put_aside(m, err);
    return rc == 0 ? rename_into_place(m, err) : rc;
}

static int
merge_chain(struct merge *m, struct gsp_error *err)
{
    log_info("Merging backup %s with parent chain", m->chain[0]->id);
    int rc = validate_members(m, err);
    if (rc == 0)
        rc = build(m, err);
    if (rc == 0)
        rc = switch_over(m, err);
    return rc == 0 ? complete(m, err) : rc;
}

int
merge_run(struct engine *e, const char *id, struct gsp_error *err)
{
    struct merge m = {.e = e, .began = now_seconds()};
    backup_init(&m.merged);
    log_info("Merge started");
    int rc = backup_list_read(&e->repo, e->instance, &m.list, err);
    if (rc == 0)
        rc = find_aside(&m, id, err);
    if (rc > 0) {
        rc = finish_interrupted(&m, err);
    } else if (rc == 0) {
        rc = choose_and_lock(&m, id, err);
        if (rc == 0)
            rc = merge_chain(&m, err);
    }
    merge_close(&m);
    return rc;
}
