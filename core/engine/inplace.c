/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/inplace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cancel.h"
#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/timestamp.h"
#include "core/engine/external_target.h"
#include "core/engine/restore_file.h"
#include "core/engine/restore_mark.h"
#include "core/engine/restore_room.h"
#include "core/engine/timeline.h"

static void
control_aside(const struct restore *r, char path[PATH_SIZE])
{
    (void)snprintf(path, PATH_SIZE, "%s" CONTROL_ASIDE_SUFFIX, r->dialect->control_path);
}

/* ---- may it be restored there? ------------------------------------------------------------------- */

/* Returns 1 when the control file is there and could be read, 0 when there is none, or a code. */
static int
read_control(struct restore *r, const char *path, struct gsp_cluster *ret, struct gsp_error *err)
{
    auto_strbuf control = STRBUF_INIT;
    struct gsp_error problem = {0};
    struct store *s = &r->target.store;
    int rc = store_read_all(s, path, CONTROL_FILE_MAX, &control, &problem);
    if (rc == GSP_E_NOENT)
        return 0;
    *ret = (struct gsp_cluster){.struct_size = sizeof *ret};
    if (rc == 0)
        rc = r->dialect->control_parse(strbuf_str(&control), (uint32_t)control.len, ret, &problem);
    if (rc == 0)
        return 1;
    *err = problem;
    (void)gsp_prefix(err, "control file '%s/%s'", s->root, path);
    return gsp_hint(err, "restore into an empty directory with -D, or empty this one first");
}

static int
check_identity(const struct restore *r, uint64_t system_id, struct gsp_error *err)
{
    if (system_id == r->cluster.system_id)
        return 0;
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "Incremental restore is impossible: the backup is of system id %" PRIu64
        ", but destination directory system id is %" PRIu64,
        r->cluster.system_id, system_id);
    return gsp_hint(err, "-D must name the data directory of this instance, or an empty one");
}

/* The cluster that is there. After a restore that was interrupted its control file stands aside, or there is only the
 * mark: *ret_known is 0 when nothing tells how far the cluster had come. */
static int
identify(struct restore *r, struct gsp_cluster *ret, int *ret_resumed, int *ret_known, struct gsp_error *err)
{
    char aside[PATH_SIZE];
    struct store *s = &r->target.store;
    control_aside(r, aside);
    *ret_resumed = 0;
    int rc = read_control(r, r->dialect->control_path, ret, err);
    if (rc == 0) {
        *ret_resumed = 1;
        rc = read_control(r, aside, ret, err);
    }
    *ret_known = rc;
    if (rc != 0)
        return rc > 0 ? check_identity(r, ret->system_id, err) : rc;
    rc = restore_mark_check(s, r->dialect, r->cluster.system_id, err);
    if (rc != 0)
        return rc > 0 ? 0 : rc;
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "Incremental restore is impossible: \"%s\" is no data directory of this instance", s->root);
    return gsp_hint(err, "it has no '%s'; choose another directory with -D, or an empty one", r->dialect->control_path);
}

/* The newest backup of the chain at which the cluster has been, too. */
static int
find_shift(struct restore *r, const struct gsp_cluster *found, struct gsp_error *err)
{
    struct timeline_history history __attribute__((cleanup(timeline_history_free))) = {0};
    int rc = timeline_history_read(&r->target.store, r->dialect->wal_dir, found->timeline, &history, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < r->n; i++) {
        const struct backup *b = r->backups[i];
        if (b->stop_lsn <= found->redo_lsn && timeline_has(&history, b->timeline, b->stop_lsn)) {
            r->inplace.shift_lsn = b->stop_lsn;
            return 0;
        }
    }
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "Cannot perform incremental restore of backup chain %s in 'lsn' mode, because destination directory redo point "
        "%X/%X on tli %" PRIu32 " is out of reach",
        r->backups[0]->id, (uint32_t)(found->redo_lsn >> 32), (uint32_t)found->redo_lsn, found->timeline);
    return gsp_hint(err, "use -I checksum, which needs no common history");
}

static int
check_lsn_mode(struct restore *r, const struct gsp_cluster *found, int resumed, int known, struct gsp_error *err)
{
    struct store *s = &r->target.store;
    struct gsp_error problem = {0};
    if (r->inplace.mode != INCREMENTAL_LSN)
        return 0;
    int rc = resumed ? 0 : store_exists(s, r->dialect->label_file, err);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0,
            "Incremental restore is impossible: '%s' in destination directory \"%s\" says that its control file is not "
            "where recovery would start",
            r->dialect->label_file, s->root);
        return gsp_hint(err, "use -I checksum, which needs no common history");
    }
    rc = known ? find_shift(r, found, &problem) : GSP_E_CONFIG;
    if (rc == 0)
        return 0;
    if (!resumed) {
        *err = problem;
        return rc;
    }
    /* The interrupted restore has written what the cluster knew of its history. */
    log_warning("\"%s\" holds an unfinished restore: pages are compared as in 'checksum' mode", s->root);
    r->inplace.mode = INCREMENTAL_CHECKSUM;
    return 0;
}

/* ---- what does not belong -------------------------------------------------------------------------- */

static int
is_ours(const struct restore *r, const char *path)
{
    char aside[PATH_SIZE];
    control_aside(r, aside);
    return strcmp(path, RESTORE_MARK) == 0 || strcmp(path, RESTORE_OWNER) == 0 || strcmp(path, RESTORE_EXTERNAL) == 0 ||
           strcmp(path, aside) == 0 || strcmp(path, r->dialect->control_path) == 0;
}

/* Where a scan is. */
struct place {
    int32_t external_dir_num; /* 0: in the data directory */
    int is_space;             /* below its link to a tablespace */
    uint64_t *gain;           /* bytes of what will be removed are added here */
};

/* A name of the file system in the list, where it may be encoded; NULL. */
static const struct file_entry *
find_listed(const struct restore *r, const char *path, int32_t external_dir_num)
{
    const struct filelist *list = &r->chain.members[0].list;
    const struct file_entry *f = filelist_find(list, path, external_dir_num);
    if ((f != NULL && !f->encoded) || !path_needs_encoding(path))
        return f != NULL && !f->encoded ? f : NULL;
    auto_free char *encoded = path_encode(path);
    f = encoded != NULL ? filelist_find(list, encoded, external_dir_num) : NULL;
    return f != NULL && f->encoded ? f : NULL;
}

static int
add_extra(struct restore *r, const struct place *at, const char *path, int is_space, struct gsp_error *err)
{
    struct inplace *ip = &r->inplace;
    if (ip->n_extras == ip->cap_extras) {
        size_t cap = ip->cap_extras * 2 + 64;
        struct inplace_extra *grown = realloc(ip->extras, cap * sizeof *grown);
        if (grown == NULL)
            return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
        ip->extras = grown;
        ip->cap_extras = cap;
    }
    const char *copy = arena_strdup(ip->arena, path);
    if (copy == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    ip->extras[ip->n_extras++] =
        (struct inplace_extra){.path = copy, .external_dir_num = at->external_dir_num, .is_space = is_space};
    return 0;
}

static int
is_directory(const struct gsp_stat *st)
{
    return st->type == GSP_FILE_DIRECTORY;
}

static int
is_link(const struct gsp_stat *st)
{
    return (st->flags & GSP_STAT_LINK) != 0;
}

/* Bytes of what will be removed. */
static int
add_size(struct store *s, const char *path, const struct gsp_stat *st, uint64_t *bytes, struct gsp_error *err)
{
    if (is_link(st))
        return 0;
    if (!is_directory(st)) {
        *bytes += st->size;
        return 0;
    }
    auto_listing list = {0};
    int rc = store_list(s, path, &list, err);
    for (size_t i = 0; i < list.n && rc == 0; i++) {
        char child[PATH_SIZE];
        if (!path_join(child, path, list.entries[i].name))
            return gsp_fail(err, GSP_E_CONFIG, 0, "path too long below '%s/%s'", s->root, path);
        rc = add_size(s, child, &list.entries[i].st, bytes, err);
    }
    return rc;
}

static int scan_dir(struct restore *r, const struct place *at, const char *dir, struct gsp_error *err);

/* An entry directly below the directory of tablespace links. Returns 1 when that settles it. */
static int
scan_space(
    struct restore *r, const struct place *at, const char *path, const struct gsp_stat *st, struct gsp_error *err)
{
    struct restore_tablespace *space = restore_target_space(&r->target, path);
    int rc;
    if (!is_link(st))
        return 0;
    if (space != NULL && space->linked && is_directory(st)) {
        struct place below = {.is_space = 1, .gain = &space->gain};
        /* What lies in the data directory, or came by -E, is looked at there. */
        rc = space->inside || space->in_external ? 0 : scan_dir(r, &below, path, err);
    } else if (space != NULL) {
        if (!space->linked)
            log_warning(
                "Tablespace %s moves to '%s': what lies in its old place is left there", space->oid, space->location);
        space->linked = 0;
        rc = add_extra(r, at, path, 0, err);
    } else {
        const char *oid = path_base(path);
        rc = add_extra(r, at, path, is_directory(st) && oid[strspn(oid, "0123456789")] == '\0', err);
    }
    return rc == 0 ? 1 : rc;
}

static int
scan_listed(struct restore *r, const struct place *at, const char *path, const struct file_entry *f,
    const struct gsp_stat *st, struct gsp_error *err)
{
    const char *root = restore_target_store(&r->target, at->external_dir_num)->root;
    if (!file_entry_is_dir(f)) {
        if (st->type != GSP_FILE_REGULAR || is_link(st))
            return add_extra(r, at, path, 0, err);
        r->inplace.there[f - r->chain.members[0].list.entries] = st->size > st->holes ? st->size - st->holes : 0;
        return 0;
    }
    if (st->type == GSP_FILE_DANGLING) {
        (void)gsp_fail(err, GSP_E_CONFIG, 0, "'%s/%s' is a symbolic link to a directory that is not there", root, path);
        return gsp_hint(err, "mount the file system it leads to, or remove the link");
    }
    if (!is_directory(st) || (at->external_dir_num == 0 && restore_target_space(&r->target, path) != NULL))
        return add_extra(r, at, path, 0, err);
    uint64_t elsewhere = 0; /* makes no room here */
    struct place below = {.external_dir_num = at->external_dir_num, .gain = is_link(st) ? &elsewhere : at->gain};
    if (is_link(st))
        log_info("'%s/%s' is a symbolic link and stays one: what belongs there is restored where it leads", root, path);
    return scan_dir(r, &below, path, err);
}

static int
scan_entry(
    struct restore *r, const struct place *at, const char *dir, const struct store_entry *entry, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct store *s = restore_target_store(&r->target, at->external_dir_num);
    if (!path_join(path, dir, entry->name))
        return gsp_fail(err, GSP_E_CONFIG, 0, "path too long below '%s/%s'", s->root, dir);
    if (at->external_dir_num == 0 && is_ours(r, path))
        return 0;
    if (at->external_dir_num == 0 && strcmp(dir, r->dialect->tablespace_root) == 0) {
        int rc = scan_space(r, at, path, &entry->st, err);
        if (rc != 0)
            return rc > 0 ? 0 : rc;
    }
    const struct file_entry *f = find_listed(r, path, at->external_dir_num);
    if (f != NULL)
        return scan_listed(r, at, path, f, &entry->st, err);
    /* What is beside the cluster's directory in a tablespace belongs to others, and this one to the file system. */
    if ((at->is_space && strcmp(entry->name, r->target.tablespace_dir) != 0) ||
        (is_directory(&entry->st) && strcmp(entry->name, "lost+found") == 0))
        return 0;
    int rc = add_size(s, path, &entry->st, at->gain, err);
    return rc == 0 ? add_extra(r, at, path, 0, err) : rc;
}

static int
scan_dir(struct restore *r, const struct place *at, const char *dir, struct gsp_error *err)
{
    auto_listing list = {0};
    int rc = cancel_check(err);
    if (rc == 0)
        rc = store_list(restore_target_store(&r->target, at->external_dir_num), dir, &list, err);
    for (size_t i = 0; i < list.n && rc == 0; i++)
        rc = scan_entry(r, at, dir, &list.entries[i], err);
    return rc;
}

/* The data directory, and external directories that are there. */
static int
scan_places(struct restore *r, struct gsp_error *err)
{
    struct restore_target *t = &r->target;
    struct place at = {.gain = &t->gain};
    int rc = scan_dir(r, &at, "", err);
    for (size_t i = 0; i < t->n_externals && rc == 0; i++) {
        at = (struct place){.external_dir_num = (int32_t)i + 1, .gain = &t->externals[i].gain};
        int empty = store_dir_is_empty(&t->externals[i].store, "", err);
        rc = empty == 0 ? scan_dir(r, &at, "", err) : empty < 0 ? empty : 0;
    }
    return rc;
}

int
inplace_open(struct restore *r, enum restore_incremental mode, struct gsp_error *err)
{
    struct inplace *ip = &r->inplace;
    struct gsp_cluster found = {.struct_size = sizeof found};
    int resumed = 0, known = 0;
    ip->mode = mode;
    ip->arena = arena_new();
    ip->there = calloc(r->chain.members[0].list.n + 1, sizeof *ip->there);
    if (ip->arena == NULL || ip->there == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    int rc = restore_mark_check_ended(&r->target.store, err);
    if (rc == 0)
        rc = identify(r, &found, &resumed, &known, err);
    if (rc == 0)
        rc = check_lsn_mode(r, &found, resumed, known, err);
    if (rc == 0)
        rc = scan_places(r, err);
    /* Whether a page is what its checksum says is only known when both have one. */
    ip->sums = known > 0 && found.checksum_version != 0 && r->cluster.checksum_version != 0;
    return rc;
}

void
inplace_close(struct restore *r)
{
    free(r->inplace.extras);
    free(r->inplace.there);
    arena_free(r->inplace.arena);
    r->inplace.extras = NULL;
    r->inplace.there = NULL;
    r->inplace.arena = NULL;
}

/* ---- changing it --------------------------------------------------------------------------------- */

static int
sync_dir_of(struct restore *r, const char *path, struct gsp_error *err)
{
    char dir[PATH_SIZE];
    const char *slash = strrchr(path, '/');
    (void)snprintf(dir, sizeof dir, "%.*s", slash != NULL ? (int)(slash - path) : 0, path);
    return r->e->no_sync ? 0 : store_sync(&r->target.store, dir, err);
}

/* From here on no server starts on what is there. */
static int
set_control_aside(struct restore *r, struct gsp_error *err)
{
    char aside[PATH_SIZE];
    struct store *s = &r->target.store;
    control_aside(r, aside);
    int rc = store_exists(s, r->dialect->control_path, err);
    if (rc > 0)
        rc = store_rename(s, r->dialect->control_path, aside, err);
    return rc == 0 ? sync_dir_of(r, aside, err) : rc;
}

/* The directory of the cluster in the place of a tablespace that the backup does not have. A place that stays one under
 * another number is left alone. */
static int
clear_space(struct restore *r, const char *link, struct gsp_error *err)
{
    char path[PATH_SIZE], target[PATH_SIZE];
    struct store *s = &r->target.store;
    if (r->target.tablespace_dir[0] == '\0' || s->ops->readlink == NULL)
        return 0;
    int rc = s->ops->readlink(s->handle, link, target, sizeof target, err);
    if (rc != 0)
        return rc;
    for (size_t i = 0; i < r->target.n_spaces; i++)
        if (strcmp(r->target.spaces[i].location, target) == 0)
            return 0;
    if (!path_join(path, link, r->target.tablespace_dir))
        return gsp_fail(err, GSP_E_BUG, 0, "path too long: '%s'", link);
    return store_remove_tree(s, path, err);
}

static int
remove_extra(struct restore *r, const struct inplace_extra *extra, struct gsp_error *err)
{
    int rc = cancel_check(err);
    if (rc == 0 && extra->is_space)
        rc = clear_space(r, extra->path, err);
    struct store *s = restore_target_store(&r->target, extra->external_dir_num);
    return rc == 0 ? store_remove_tree(s, extra->path, err) : rc;
}

static int
remove_extras(struct restore *r, struct gsp_error *err)
{
    char elapsed[24];
    int64_t began = monotonic_us();
    int rc = 0;
    log_info("Removing redundant files in destination directory");
    for (size_t i = 0; i < r->inplace.n_extras && rc == 0; i++)
        rc = remove_extra(r, &r->inplace.extras[i], err);
    format_interval_pretty(monotonic_us() - began, elapsed, sizeof elapsed);
    if (rc == 0)
        log_info("Redundant files are removed, time elapsed: %s", elapsed);
    return rc;
}

int
inplace_begin(struct restore *r, const struct strbuf *control, struct gsp_error *err)
{
    struct store *s = &r->target.store;
    /* The backup was validated meanwhile. */
    int rc = restore_target_check_stopped(s, r->dialect->pid_file, err);
    if (rc == 0)
        rc = restore_mark_claim(s, err);
    /* Before the mark: a restore without -I that finds the mark has to know what else it may clear. */
    if (rc == 0)
        rc = external_targets_claim(&r->target, err);
    if (rc == 0)
        rc = restore_mark_write(s, control, r->control.mode & 0777, err);
    if (rc == 0)
        rc = set_control_aside(r, err);
    return rc == 0 ? remove_extras(r, err) : rc;
}

void
inplace_end(struct restore *r)
{
    char aside[PATH_SIZE], written[24], all[24];
    struct gsp_error problem = {0};
    uint64_t bytes = atomic_load(&r->inplace.written), total = restore_bytes_needed(&r->chain);
    control_aside(r, aside);
    if (store_remove(&r->target.store, aside, &problem) != 0)
        log_warning("The old control file is left as '%s/%s': %s", r->target.store.root, aside, problem.msg);
    format_size_pretty((int64_t)bytes, written, sizeof written);
    format_size_pretty((int64_t)total, all, sizeof all);
    log_info("Restore incremental ratio (less is better): %.f%% (%s/%s)",
        total > 0 ? (double)bytes * 100 / (double)total : 0, written, all);
}
