/* SPDX-License-Identifier: Apache-2.0
 * The catalog: instances and their backups below one backup path. Layout: docs/formats/catalog.md.
 * Not thread-safe; one per command. */
#ifndef CATALOG_CATALOG_H
#define CATALOG_CATALOG_H

#include "core/catalog/backup.h"
#include "core/catalog/filelist.h"
#include "core/config/conf_file.h"
#include "core/io/store.h"

/* catalog_init - make the skeleton in an empty or missing directory. errors EXIST */
int catalog_init(struct store *repo, struct gsp_error *err);

/* instance_name_check - letters, digits and anything else but '/', control bytes, a leading '.' or '-',
 * "..", more than 255 bytes. errors USAGE */
int instance_name_check(const char *name, struct gsp_error *err);
/* catalog_instances - names with a configuration file, sorted; n malloc'ed strings in a malloc'ed array. */
int catalog_instances(struct store *repo, char ***ret, size_t *ret_n, struct gsp_error *err);
/* instance_check - NOENT in the stock tool's words unless it is there. */
int instance_check(struct store *repo, const char *name, struct gsp_error *err);
int instance_create(struct store *repo, const char *name, const struct conf_file *conf, struct gsp_error *err);
/* instance_is_unfinished - is there no more than an interrupted add-instance or del-instance leaves? 1, 0, or a code.
 */
int instance_is_unfinished(struct store *repo, const char *name, struct gsp_error *err);
int instance_remove(struct store *repo, const char *name, struct gsp_error *err); /* empty of backups */
int instance_conf_read(struct store *repo, const char *name, struct conf_file **ret, struct gsp_error *err);
int instance_conf_write(struct store *repo, const char *name, const struct conf_file *conf, struct gsp_error *err);

/* A merge of backup <ID> builds in the first directory, and puts the backup it replaces aside in the second. */
#define MERGE_BUILD_PREFIX ".merge-"
#define MERGE_ASIDE_PREFIX ".merged-"
/* A backup until it has its lock and a control file. */
#define BACKUP_NEW_PREFIX ".new-"
/* Of the files of the instance's lock. */
#define INSTANCE_LOCK_PREFIX "instance."

/* The backups of one instance, newest first. */
struct backup_list {
    struct backup *backups;
    size_t n, cap;
};
/* backup_list_read - every directory whose name has no leading dot; unreadable control files become
 * UNKNOWN entries with a warning. Where a merge was interrupted in its switch, what it built stands in for the backup.
 * One that was renamed or removed meanwhile makes it begin anew. Writes nothing. */
int backup_list_read(struct store *repo, const char *instance, struct backup_list *ret, struct gsp_error *err);
void backup_list_clear(struct backup_list *list);
#define auto_backup_list __attribute__((cleanup(backup_list_clear))) struct backup_list
struct backup *backup_list_find(const struct backup_list *list, const char *id);
/* backup_is_descendant - is b the backup `ancestor`, which may be missing, or made on top of it? Bounded on cyclic
 * parents. */
int backup_is_descendant(const struct backup_list *list, const struct backup *b, const char *ancestor);
/* backup_check_read - errors IO the backup's control file is there and could not be read, so nobody knows what it says
 */
int backup_check_read(const struct backup *b, struct gsp_error *err);
/* backup_chain - b and its ancestors down to the FULL one.
 * out    ret: malloc'ed array of borrowed backups, [0] is b, the last one FULL
 * errors NOENT a parent is missing: err->where is its id; CORRUPT the parents form a circle; IO one could not be read
 */
int backup_chain(const struct backup_list *list, const struct backup *b, const struct backup ***ret, size_t *ret_n,
    struct gsp_error *err);

/* backup_path - "backups/<instance>/<dir>[/<name>]" in buf of PATH_SIZE. errors BUG when too long */
int backup_path(char *buf, const char *instance, const struct backup *b, const char *name, struct gsp_error *err);

struct backup_lock;
/* backup_create - pick the id of this second, or the next ones while taken, newer than every other backup's, and make
 * the directory: it has its name when it is locked exclusively and its control file is durable. What an interrupted one
 * left is removed. After an error nothing stays.
 *
 * out    id, dir and start_time of *b; *ret_lock
 *
 * errors CANCELLED; LOCKED the instance is being deleted */
int backup_create(
    struct store *repo, const char *instance, struct backup *b, struct backup_lock **ret_lock, struct gsp_error *err);
/* backup_save - write backup.control, atomically and durably. */
int backup_save(struct store *repo, const char *instance, const struct backup *b, struct gsp_error *err);
/* backup_reread - what the control file says now, in place of what *b says. errors NOENT CORRUPT */
int backup_reread(struct store *repo, const char *instance, struct backup *b, struct gsp_error *err);
/* backup_is_unchanged - is what was read of b still that backup? Another verdict on it is no change. 1, 0, or a code.
 */
int backup_is_unchanged(struct store *repo, const char *instance, const struct backup *b, struct gsp_error *err);
/* backup_set_status - re-read the control file, change the status, write, under a brief lock. Does nothing when it is
 * the same. errors LOCKED another process works on the backup, or has changed it since it was read */
int backup_set_status(
    struct store *repo, const char *instance, struct backup *b, enum backup_status status, struct gsp_error *err);
int backup_read_filelist(
    struct store *repo, const char *instance, const struct backup *b, struct filelist *ret, struct gsp_error *err);
/* backup_each_file - the same list entry by entry, see filelist_each. */
int backup_each_file(struct store *repo, const char *instance, const struct backup *b,
    int (*cb)(void *arg, const struct file_entry *f, struct gsp_error *err), void *arg, struct gsp_error *err);

/* Locks: backup.pid (exclusive) and backup_ro.pid (shared) inside the backup's directory, as the stock
 * tool's, with host and boot identity in backup.owner. Stale ones are taken over.
 * errors LOCKED naming pid and host; NOENT the backup is gone */
int backup_lock_exclusive(
    struct store *repo, const char *instance, const struct backup *b, struct backup_lock **ret, struct gsp_error *err);
int backup_lock_shared(
    struct store *repo, const char *instance, const struct backup *b, struct backup_lock **ret, struct gsp_error *err);
/* backup_lock_brief - for a change of the control file while others may read the rest: backup.pid, whoever is in
 * backup_ro.pid. *ret NULL: this process holds it exclusively already. */
int backup_lock_brief(
    struct store *repo, const char *instance, const struct backup *b, struct backup_lock **ret, struct gsp_error *err);
/* instance_lock - for a change of the instance's settings, of the set of its backups by a new one, or of all of it. */
int instance_lock(struct store *repo, const char *instance, struct backup_lock **ret, struct gsp_error *err);
/* backup_lock_moved - the directory of a locked backup has another name now: b->dir. errors BUG */
int backup_lock_moved(struct backup_lock *lock, const char *instance, const struct backup *b, struct gsp_error *err);
void backup_unlock(struct backup_lock *lock); /* NULL is fine */
/* backup_lock_is_held - 1 when a living process holds the exclusive lock; for show. */
int backup_lock_is_held(struct store *repo, const char *instance, const struct backup *b, struct gsp_error *err);

/* tablespace_map: "<oid> <path>" lines (PostgreSQL escapes a newline or backslash in a path with a backslash). */
struct tablespace {
    char *oid; /* name of the link below pg_tblspc */
    char *location;
};
int tablespace_map_parse(const char *text, size_t len, struct tablespace **ret, size_t *ret_n, struct gsp_error *err);
void tablespaces_free(struct tablespace *spaces, size_t n);
/* database_map_add_line - one database as the stock tool writes it. */
void database_map_add_line(struct strbuf *out, uint32_t oid, const char *name);

#endif
