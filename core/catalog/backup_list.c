/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"
#include "core/catalog/catalog.h"

enum { CONTROL_BYTES_MAX = 1024 * 1024 };

int
backup_path(char *buf, const char *instance, const struct backup *b, const char *name, struct gsp_error *err)
{
    int n = snprintf(
        buf, PATH_SIZE, "backups/%s/%s%s%s", instance, b->dir, name != NULL ? "/" : "", name != NULL ? name : "");
    if (n < 0 || n >= PATH_SIZE)
        return gsp_fail(err, GSP_E_BUG, 0, "a path of backup '%s' is too long", b->id);
    return 0;
}

/* The control file in one directory. errors as store_read_all, CORRUPT */
static int
read_control(struct store *repo, const char *instance, const char *dir, struct backup *ret, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct backup where = {.dir = (char *)(uintptr_t)dir};
    auto_strbuf text = STRBUF_INIT;
    int rc = backup_path(path, instance, &where, "backup.control", err);
    if (rc == 0)
        rc = store_read_all(repo, path, CONTROL_BYTES_MAX, &text, err);
    char name[PATH_SIZE + 256];
    (void)snprintf(name, sizeof name, "%.255s/%s", repo->root, path);
    return rc == 0 ? backup_parse(strbuf_str(&text), text.len, name, ret, err) : rc;
}

static int
set_dir(struct backup *b, const char *dir, struct gsp_error *err)
{
    free(b->dir);
    b->dir = strdup(dir);
    return b->dir != NULL ? 0 : gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
}

static int
is_merge_dir(const char *dir, const char *id)
{
    return strncmp(dir, MERGE_BUILD_PREFIX, strlen(MERGE_BUILD_PREFIX)) == 0 &&
           strcmp(dir + strlen(MERGE_BUILD_PREFIX), id) == 0;
}

static int
by_entry_name(const void *name, const void *entry)
{
    return strcmp(name, ((const struct store_entry *)entry)->name);
}

static int
is_listed(const struct store_listing *names, const char *prefix, const char *id)
{
    char name[BACKUP_ID_SIZE + 16];
    if (snprintf(name, sizeof name, "%s%s", prefix, id) >= (int)sizeof name)
        return 0;
    return bsearch(name, names->entries, names->n, sizeof *names->entries, by_entry_name) != NULL;
}

/* Between its two renames a merge has put the old backup aside and not yet the merged one in its place. */
static int
stands_in(const struct store_listing *names, const char *dir)
{
    const char *id = dir + strlen(MERGE_BUILD_PREFIX);
    return strncmp(dir, MERGE_BUILD_PREFIX, strlen(MERGE_BUILD_PREFIX)) == 0 && !is_listed(names, "", id) &&
           is_listed(names, MERGE_ASIDE_PREFIX, id);
}

/* 1, 0, or a code. */
static int
is_gone(struct store *repo, const char *instance, const char *dir, struct gsp_error *err)
{
    char path[PATH_SIZE];
    struct backup where = {.dir = (char *)(uintptr_t)dir};
    int rc = backup_path(path, instance, &where, NULL, err);
    rc = rc == 0 ? store_exists(repo, path, err) : rc;
    return rc < 0 ? rc : !rc;
}

/* A directory as an entry, whatever its control file is like. 1 = the directory is gone, or a code. */
static int
read_entry(struct store *repo, const char *instance, const char *dir, struct backup *ret, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    backup_init(ret);
    int rc = read_control(repo, instance, dir, ret, &problem);
    int gone = rc == GSP_E_NOENT ? is_gone(repo, instance, dir, err) : 0;
    if (gone != 0)
        return gone;
    if (rc == GSP_E_NOMEM || rc == GSP_E_CANCELLED) {
        *err = problem;
        return rc;
    }
    if (rc != 0) {
        log_warning("%s", problem.msg);
        ret->unread = rc != GSP_E_CORRUPT && rc != GSP_E_NOENT;
        (void)snprintf(ret->id, sizeof ret->id, "%s", dir);
        if (backup_id_parse(dir, &ret->start_time))
            backup_id_format(ret->start_time, ret->id);
    } else if (strcmp(ret->id, dir) != 0 && !is_merge_dir(dir, ret->id)) {
        log_warning("backup ID in control file \"%s/backups/%s/%s/backup.control\" doesn't match name of the backup "
                    "folder \"%s\"",
            repo->root, instance, dir, dir);
    }
    return set_dir(ret, dir, err);
}

static int
newest_first(const void *a, const void *b)
{
    const struct backup *x = a, *y = b;
    int order = (x->start_time < y->start_time) - (x->start_time > y->start_time);
    return order != 0 ? order : strcmp(y->dir, x->dir);
}

/* 1 when a directory of the listing was gone by the time it was read; it is left out. */
static int
read_listed(struct store *repo, const char *instance, struct backup_list *list, struct gsp_error *err)
{
    auto_listing names = {0};
    char path[PATH_SIZE];
    int gone = 0;
    if (!path_join(path, "backups", instance))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = store_list(repo, path, &names, err);
    if (rc != 0)
        return rc;
    list->backups = calloc(names.n + 1, sizeof *list->backups);
    if (list->backups == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    list->cap = names.n + 1;
    for (size_t i = 0; i < names.n; i++) {
        const struct store_entry *e = &names.entries[i];
        if (e->st.type != GSP_FILE_DIRECTORY || (e->name[0] == '.' && !stands_in(&names, e->name)))
            continue;
        rc = read_entry(repo, instance, e->name, &list->backups[list->n], err);
        if (rc < 0) {
            backup_clear(&list->backups[list->n]);
            return rc;
        }
        gone |= rc;
        list->n += rc == 0;
    }
    return gone;
}

int
backup_list_read(struct store *repo, const char *instance, struct backup_list *ret, struct gsp_error *err)
{
    enum { TRIES = 10 };
    auto_backup_list list = {0};
    int rc = 1;
    /* A merge renames its backup: what is gone under one name may be there under another. */
    for (int i = 0; i < TRIES && rc == 1; i++) {
        backup_list_clear(&list);
        rc = read_listed(repo, instance, &list, err);
    }
    if (rc < 0)
        return rc;
    if (list.n > 1)
        qsort(list.backups, list.n, sizeof *list.backups, newest_first);
    *ret = list;
    memset(&list, 0, sizeof list);
    return 0;
}

void
backup_list_clear(struct backup_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        backup_clear(&list->backups[i]);
    free(list->backups);
    memset(list, 0, sizeof *list);
}

struct backup *
backup_list_find(const struct backup_list *list, const char *id)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->backups[i].id, id) == 0)
            return &list->backups[i];
    return NULL;
}

int
backup_is_descendant(const struct backup_list *list, const struct backup *b, const char *ancestor)
{
    /* A chain is never longer than the list: parents that form a circle end here. */
    for (size_t steps = 0; b != NULL && steps <= list->n; steps++) {
        if (strcmp(b->id, ancestor) == 0 || (b->parent_id[0] != '\0' && strcmp(b->parent_id, ancestor) == 0))
            return 1;
        b = b->parent_id[0] != '\0' ? backup_list_find(list, b->parent_id) : NULL;
    }
    return 0;
}

int
backup_check_read(const struct backup *b, struct gsp_error *err)
{
    if (!b->unread)
        return 0;
    (void)gsp_fail(err, GSP_E_IO, 0, "the control file of backup %s could not be read", b->id);
    return gsp_hint(err, "the warning above says why; then repeat the command");
}

int
backup_chain(const struct backup_list *list, const struct backup *b, const struct backup ***ret, size_t *ret_n,
    struct gsp_error *err)
{
    auto_free const struct backup **chain = calloc(list->n + 1, sizeof *chain);
    size_t n = 0;
    if (chain == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (const struct backup *at = b; at != NULL; at = backup_list_find(list, at->parent_id)) {
        if (n > 0 && n >= list->n)
            return gsp_fail(err, GSP_E_CORRUPT, 0, "the parents of backup %s form a circle", b->id);
        int rc = backup_check_read(at, err);
        if (rc != 0)
            return rc;
        chain[n++] = at;
        if (backup_is_full(at)) {
            *ret = steal(&chain);
            *ret_n = n;
            return 0;
        }
    }
    const char *missing = n > 0 ? chain[n - 1]->parent_id : "";
    (void)gsp_fail(err, GSP_E_NOENT, 0, "backup %s has no FULL backup: its ancestor %s is missing", b->id,
        missing[0] != '\0' ? missing : "(not named)");
    (void)snprintf(err->where, sizeof err->where, "%s", missing);
    return err->code;
}

/* ---- writing ---- */

int
backup_save(struct store *repo, const char *instance, const struct backup *b, struct gsp_error *err)
{
    char path[PATH_SIZE];
    auto_strbuf text = STRBUF_INIT;
    int rc = backup_path(path, instance, b, "backup.control", err);
    if (rc == 0)
        rc = backup_format(b, &text, err);
    return rc == 0 ? store_write_all(repo, path, 0600, GSP_PUT_ATOMIC, text.data, text.len, err) : rc;
}

int
backup_reread(struct store *repo, const char *instance, struct backup *b, struct gsp_error *err)
{
    auto_backup now;
    backup_init(&now);
    int rc = read_control(repo, instance, b->dir, &now, err);
    if (rc == 0)
        rc = set_dir(&now, b->dir, err);
    if (rc != 0)
        return rc;
    struct backup was = *b;
    *b = now;
    now = was;
    return 0;
}

static int
same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Those that validation gives. */
static int
is_verdict(enum backup_status status)
{
    return status == BACKUP_OK || status == BACKUP_DONE || status == BACKUP_ORPHAN || status == BACKUP_CORRUPT;
}

static int
is_same(const struct backup *a, const struct backup *b)
{
    return strcmp(a->id, b->id) == 0 && same_text(a->mode, b->mode) && strcmp(a->parent_id, b->parent_id) == 0 &&
           a->content_crc == b->content_crc &&
           (a->status == b->status || (is_verdict(a->status) && is_verdict(b->status)));
}

int
backup_is_unchanged(struct store *repo, const char *instance, const struct backup *b, struct gsp_error *err)
{
    auto_backup now;
    struct gsp_error gone = {0};
    backup_init(&now);
    int rc = read_control(repo, instance, b->dir, &now, &gone);
    if (rc == GSP_E_NOENT)
        return 0;
    if (rc != 0)
        *err = gone;
    return rc == 0 ? is_same(&now, b) : rc;
}

/* Under the lock: nobody changes it between reading and writing. */
static int
save_status(
    struct store *repo, const char *instance, struct backup *b, enum backup_status status, struct gsp_error *err)
{
    auto_backup now;
    backup_init(&now);
    int rc = read_control(repo, instance, b->dir, &now, err);
    if (rc == 0)
        rc = set_dir(&now, b->dir, err);
    if (rc != 0 || now.status == status)
        return rc;
    if (!is_same(&now, b)) {
        (void)gsp_fail(err, GSP_E_LOCKED, 0, "backup %s was changed by another command meanwhile", b->id);
        return gsp_hint(err, "try again");
    }
    now.status = status;
    return backup_save(repo, instance, &now, err);
}

int
backup_set_status(
    struct store *repo, const char *instance, struct backup *b, enum backup_status status, struct gsp_error *err)
{
    auto_backup now;
    struct backup_lock *lock = NULL;
    backup_init(&now);
    /* Without need nothing is written, not even a lock: the catalog may be read-only. */
    int rc = read_control(repo, instance, b->dir, &now, err);
    if (rc == 0 && now.status != status) {
        rc = backup_lock_brief(repo, instance, b, &lock, err);
        if (rc == 0)
            rc = save_status(repo, instance, b, status, err);
        backup_unlock(lock);
    }
    if (rc == 0)
        b->status = status;
    return rc;
}

int
backup_read_filelist(
    struct store *repo, const char *instance, const struct backup *b, struct filelist *ret, struct gsp_error *err)
{
    char path[PATH_SIZE];
    int rc = backup_path(path, instance, b, "backup_content.control", err);
    return rc == 0 ? filelist_read(repo, path, b->content_crc, ret, err) : rc;
}

int
backup_each_file(struct store *repo, const char *instance, const struct backup *b,
    int (*cb)(void *arg, const struct file_entry *f, struct gsp_error *err), void *arg, struct gsp_error *err)
{
    char path[PATH_SIZE];
    int rc = backup_path(path, instance, b, "backup_content.control", err);
    return rc == 0 ? filelist_each(repo, path, b->content_crc, cb, arg, err) : rc;
}
