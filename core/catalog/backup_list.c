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

/* A directory as an entry, whatever its control file is like. */
static int
read_entry(struct store *repo, const char *instance, const char *dir, struct backup *ret, struct gsp_error *err)
{
    struct gsp_error problem = {0};
    backup_init(ret);
    int rc = read_control(repo, instance, dir, ret, &problem);
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

int
backup_list_read(struct store *repo, const char *instance, struct backup_list *ret, struct gsp_error *err)
{
    auto_backup_list list = {0};
    auto_listing names = {0};
    char path[PATH_SIZE];
    if (!path_join(path, "backups", instance))
        return gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    int rc = store_list(repo, path, &names, err);
    if (rc != 0)
        return rc;
    list.backups = calloc(names.n + 1, sizeof *list.backups);
    if (list.backups == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    list.cap = names.n + 1;
    for (size_t i = 0; i < names.n; i++) {
        const struct store_entry *e = &names.entries[i];
        if (e->st.type != GSP_FILE_DIRECTORY || (e->name[0] == '.' && !stands_in(&names, e->name)))
            continue;
        rc = read_entry(repo, instance, e->name, &list.backups[list.n++], err);
        if (rc != 0)
            return rc;
    }
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
backup_set_status(
    struct store *repo, const char *instance, struct backup *b, enum backup_status status, struct gsp_error *err)
{
    auto_backup now;
    backup_init(&now);
    int rc = read_control(repo, instance, b->dir, &now, err);
    if (rc == 0)
        rc = set_dir(&now, b->dir, err);
    if (rc == 0 && now.status != status) {
        now.status = status;
        rc = backup_save(repo, instance, &now, err);
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
