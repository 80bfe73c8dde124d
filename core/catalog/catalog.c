/* SPDX-License-Identifier: Apache-2.0
 * Instances: pairs of directories below backups/ and wal/, with a configuration file in the first. */
#include "core/catalog/catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/base/log.h"
#include "core/base/path.h"

#define CONF_NAME "pg_probackup.conf"
enum { NAME_MAX_BYTES = 255, CONF_BYTES_MAX = 16 * 1024 * 1024 };

/* ---- the skeleton ---- */

/* Make a directory, or find one that an interrupted command left. 1 = made, 0 = found, or a code. */
static int
make_or_find_dir(struct store *repo, const char *path, struct gsp_error *err)
{
    struct gsp_error taken = {0};
    struct gsp_stat st;
    int rc = store_mkdir(repo, path, 0700, 0, &taken);
    if (rc == GSP_E_EXIST && store_stat(repo, path, &st, &taken) == 0 && st.type == GSP_FILE_DIRECTORY)
        return 0;
    if (rc != 0)
        *err = taken;
    return rc == 0 ? 1 : rc;
}

static int
make_skeleton(struct store *repo, struct gsp_error *err)
{
    int rc = store_mkdir(repo, "", 0700, GSP_MKDIR_PARENTS, err);
    if (rc == 0)
        rc = make_or_find_dir(repo, "backups", err);
    if (rc >= 0)
        rc = store_mkdir(repo, "wal", 0700, 0, err);
    return rc == 0 ? store_sync(repo, "", err) : rc;
}

/* All that an init interrupted between its two directories leaves: an empty "backups". */
static int
is_unfinished(struct store *repo, struct gsp_error *err)
{
    auto_listing root = {0};
    int rc = store_list(repo, "", &root, err);
    if (rc != 0)
        return rc;
    if (root.n != 1 || strcmp(root.entries[0].name, "backups") != 0)
        return 0;
    return store_dir_is_empty(repo, "backups", err);
}

int
catalog_init(struct store *repo, struct gsp_error *err)
{
    struct gsp_error why = {0};
    int empty = store_dir_is_empty(repo, "", &why);
    if (empty == 0)
        empty = is_unfinished(repo, &why);
    if (empty < 0)
        return gsp_fail(err, empty, 0, "cannot open backup catalog directory \"%s\": %s", repo->root, why.msg);
    if (!empty) {
        (void)gsp_fail(err, GSP_E_EXIST, 0, "backup catalog already exist and it's not empty");
        return gsp_hint(err, "give another directory than '%s', or go on with add-instance", repo->root);
    }
    int rc = make_skeleton(repo, err);
    if (rc != 0) {
        /* Whatever was made is empty; the next try must find nothing in its way. */
        struct gsp_error ignored = {0};
        (void)store_remove(repo, "wal", &ignored);
        (void)store_remove(repo, "backups", &ignored);
    }
    return rc;
}

/* ---- names ---- */

int
instance_name_check(const char *name, struct gsp_error *err)
{
    const char *why = NULL;
    int printable = 1;
    if (name[0] == '\0')
        why = "it is empty";
    else if (strlen(name) > NAME_MAX_BYTES)
        why = "it is longer than 255 bytes";
    else if (name[0] == '.' || name[0] == '-')
        why = "it begins with '.' or '-'";
    else if (strchr(name, '/') != NULL)
        why = "it holds a '/'";
    for (const unsigned char *p = (const unsigned char *)name; *p != '\0' && printable; p++)
        printable = *p >= 0x20 && *p != 0x7F;
    if (why == NULL && printable)
        return 0;
    if (printable)
        (void)gsp_fail(err, GSP_E_USAGE, 0, "'%.300s' is not usable as an instance name: %s", name, why);
    else
        (void)gsp_fail(err, GSP_E_USAGE, 0, "the instance name is not usable: it holds control characters");
    return gsp_hint(err, "take letters, digits, '_', '-' and '.'");
}

struct instance_paths {
    char backups[PATH_SIZE], wal[PATH_SIZE], conf[PATH_SIZE];
};

static int
instance_paths(struct instance_paths *p, const char *name, struct gsp_error *err)
{
    int rc = instance_name_check(name, err);
    if (rc == 0 && (!path_join(p->backups, "backups", name) || !path_join(p->wal, "wal", name) ||
                       !path_join(p->conf, p->backups, CONF_NAME)))
        rc = gsp_fail(err, GSP_E_BUG, 0, "the name of an instance is too long");
    return rc;
}

static int
is_instance_dir(const struct store_entry *e)
{
    struct gsp_error ignored = {0};
    return e->st.type == GSP_FILE_DIRECTORY && instance_name_check(e->name, &ignored) == 0;
}

/* 1 when the instance has a configuration; 0, with a warning, when it has none. */
static int
has_conf(struct store *repo, const char *name, struct gsp_error *err)
{
    struct instance_paths p;
    struct gsp_stat st;
    struct gsp_error probe = {0};
    int rc = instance_paths(&p, name, err);
    if (rc != 0)
        return rc;
    rc = store_stat(repo, p.conf, &st, &probe);
    if (rc == 0 && st.type == GSP_FILE_REGULAR && st.size > 0)
        return 1;
    if (rc != 0 && rc != GSP_E_NOENT) {
        *err = probe;
        return rc;
    }
    log_warning(rc == 0 ? "Configuration file \"%s/%s\" is empty" : "Configuration file \"%s/%s\" does not exist",
        repo->root, p.conf);
    return 0;
}

static void
names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

int
catalog_instances(struct store *repo, char ***ret, size_t *ret_n, struct gsp_error *err)
{
    auto_listing dirs = {0};
    int rc = store_list(repo, "backups", &dirs, err);
    if (rc == GSP_E_NOENT)
        return gsp_hint(err, "is '%s' a backup catalog? 'init' makes one", repo->root);
    if (rc != 0)
        return rc;
    char **names = calloc(dirs.n + 1, sizeof *names);
    if (names == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < dirs.n && rc >= 0; i++) {
        if (!is_instance_dir(&dirs.entries[i]))
            continue;
        rc = has_conf(repo, dirs.entries[i].name, err);
        if (rc > 0)
            names[n++] = steal(&dirs.entries[i].name);
    }
    if (rc < 0) {
        names_free(names, n);
        return rc;
    }
    *ret = names;
    *ret_n = n;
    return 0;
}

/* What the user may have meant. */
static int
hint_known_instances(struct store *repo, struct gsp_error *err)
{
    auto_listing dirs = {0};
    auto_strbuf known = STRBUF_INIT;
    struct gsp_error why = {0};
    if (store_list(repo, "backups", &dirs, &why) == GSP_E_NOENT)
        return gsp_hint(err, "'%s' is no backup catalog: give another -B, or make one with 'init'", repo->root);
    for (size_t i = 0; i < dirs.n; i++)
        if (is_instance_dir(&dirs.entries[i]))
            strbuf_printf(&known, "%s'%s'", known.len > 0 ? ", " : "", dirs.entries[i].name);
    if (known.len == 0 || known.failed)
        return gsp_hint(err, "there is none yet: add one with 'add-instance'");
    return gsp_hint(err, "add it with 'add-instance', or use one of: %s", known.data);
}

int
instance_check(struct store *repo, const char *name, struct gsp_error *err)
{
    struct instance_paths p;
    struct gsp_stat st;
    struct gsp_error probe = {0};
    int rc = instance_paths(&p, name, err);
    if (rc != 0)
        return rc;
    rc = store_stat(repo, p.backups, &st, &probe);
    if (rc == 0 && st.type == GSP_FILE_DIRECTORY)
        return 0;
    if (rc != 0 && rc != GSP_E_NOENT) {
        *err = probe;
        return rc;
    }
    (void)gsp_fail(err, GSP_E_NOENT, 0, "Instance '%s' does not exist in this backup catalog", name);
    return hint_known_instances(repo, err);
}

/* ---- making and removing ---- */

/* A configuration that a crash kept from getting its name: "<name>-<pid>-<number>.tmp", or as other versions do. */
static int
is_conf_leftover(const char *name)
{
    size_t len = strlen(name);
    return strncmp(name, CONF_NAME, strlen(CONF_NAME)) == 0 && len > strlen(".tmp") &&
           strcmp(name + len - strlen(".tmp"), ".tmp") == 0;
}

/* A file of the instance's lock. */
static int
is_lock_file(const char *name)
{
    static const char *const files[] = {
        INSTANCE_LOCK_PREFIX "pid", INSTANCE_LOCK_PREFIX "owner", INSTANCE_LOCK_PREFIX "takeover"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (strcmp(name, files[i]) == 0)
            return 1;
    /* Its record is written atomically. */
    return strncmp(name, INSTANCE_LOCK_PREFIX "owner-", strlen(INSTANCE_LOCK_PREFIX "owner-")) == 0 &&
           strcmp(name + len - strlen(".tmp"), ".tmp") == 0;
}

/* Does a directory hold more than an interrupted add-instance leaves? A missing one does not. */
static int
is_in_use(struct store *repo, const char *path, struct gsp_error *err)
{
    auto_listing list = {0};
    struct gsp_error problem = {0};
    int rc = store_list(repo, path, &list, &problem);
    /* What cannot be listed and still is there is no directory of ours. */
    if (rc == GSP_E_NOENT)
        return store_exists(repo, path, err);
    if (rc != 0)
        *err = problem;
    for (size_t i = 0; i < list.n; i++)
        if (!is_conf_leftover(list.entries[i].name) && !is_lock_file(list.entries[i].name))
            return 1;
    return rc;
}

int
instance_is_unfinished(struct store *repo, const char *name, struct gsp_error *err)
{
    struct instance_paths p;
    int rc = instance_paths(&p, name, err);
    if (rc == 0)
        rc = store_exists(repo, p.backups, err);
    if (rc <= 0)
        return rc;
    rc = is_in_use(repo, p.backups, err);
    if (rc == 0)
        rc = is_in_use(repo, p.wal, err);
    return rc < 0 ? rc : !rc;
}

static int
refuse_existing(struct store *repo, const char *name, const struct instance_paths *p, struct gsp_error *err)
{
    struct {
        const char *path, *what;
    } dirs[] = {{p->backups, "backup"}, {p->wal, "WAL archive"}};
    for (size_t i = 0; i < 2; i++) {
        int there = is_in_use(repo, dirs[i].path, err);
        if (there < 0)
            return there;
        if (there > 0) {
            (void)gsp_fail(err, GSP_E_EXIST, 0, "Instance '%s' %s directory already exists: '%s/%s'", name,
                dirs[i].what, repo->root, dirs[i].path);
            return gsp_hint(err, "choose another name, or remove the old instance with 'del-instance'");
        }
    }
    return 0;
}

static int
conf_write(struct store *repo, const struct instance_paths *p, const struct conf_file *conf, uint32_t flags,
    struct gsp_error *err)
{
    auto_strbuf text = STRBUF_INIT;
    int rc = conf_file_format(conf, &text, err);
    return rc == 0 ? store_write_all(repo, p->conf, 0600, GSP_PUT_ATOMIC | flags, strbuf_str(&text), text.len, err)
                   : rc;
}

static int
sync_both_parents(struct store *repo, struct gsp_error *err)
{
    int rc = store_sync(repo, "backups", err);
    return rc == 0 ? store_sync(repo, "wal", err) : rc;
}

/* The configuration makes it an instance: it comes when everything else is durable. Whoever was faster has it. */
static int
write_first_conf(struct store *repo, const char *name, const struct instance_paths *p, const struct conf_file *conf,
    struct gsp_error *err)
{
    struct backup_lock *lock = NULL;
    int rc = instance_lock(repo, name, &lock, err);
    if (rc == 0)
        rc = refuse_existing(repo, name, p, err);
    if (rc == 0)
        rc = conf_write(repo, p, conf, GSP_PUT_EXCL, err);
    backup_unlock(lock);
    return rc;
}

int
instance_create(struct store *repo, const char *name, const struct conf_file *conf, struct gsp_error *err)
{
    struct instance_paths p;
    struct gsp_error ignored = {0};
    int rc = instance_paths(&p, name, err);
    if (rc == 0)
        rc = refuse_existing(repo, name, &p, err);
    if (rc != 0)
        return rc;
    int made_backups = make_or_find_dir(repo, p.backups, err);
    if (made_backups == GSP_E_NOENT)
        return gsp_hint(err, "is '%s' a backup catalog? 'init' makes one", repo->root);
    if (made_backups < 0)
        return made_backups;
    int made_wal = make_or_find_dir(repo, p.wal, err);
    rc = made_wal < 0 ? made_wal : sync_both_parents(repo, err);
    if (rc == 0)
        rc = write_first_conf(repo, name, &p, conf, err);
    if (rc == GSP_E_EXIST || rc == GSP_E_LOCKED) /* somebody else was faster, and it is theirs now */
        return rc;
    if (rc != 0 && made_wal > 0)
        (void)store_remove(repo, p.wal, &ignored);
    if (rc != 0 && made_backups > 0)
        (void)store_remove(repo, p.backups, &ignored);
    return rc;
}

static int
cannot_remove(struct store *repo, const char *path, struct gsp_error *err)
{
    (void)gsp_fail(err, GSP_E_EXIST, ENOTEMPTY, "Can't remove \"%s/%s\"", repo->root, path);
    return gsp_hint(err, "look at what is left there, move it away, and try again");
}

/* Of a merge, or of a backup that was interrupted before it was one. */
static int
is_working_dir(const struct store_entry *e)
{
    static const char *const prefixes[] = {MERGE_BUILD_PREFIX, MERGE_ASIDE_PREFIX, BACKUP_NEW_PREFIX};
    if (e->st.type != GSP_FILE_DIRECTORY || (e->st.flags & GSP_STAT_LINK))
        return 0;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++)
        if (strncmp(e->name, prefixes[i], strlen(prefixes[i])) == 0)
            return 1;
    return 0;
}

/* Before anything is removed: only what we know may be in the way. */
static int
check_leftovers(struct store *repo, const struct instance_paths *p, struct gsp_error *err)
{
    auto_listing left = {0};
    int rc = store_list(repo, p->backups, &left, err);
    for (size_t i = 0; i < left.n && rc == 0; i++) {
        const struct store_entry *e = &left.entries[i];
        if (strcmp(e->name, CONF_NAME) != 0 && !is_conf_leftover(e->name) && !is_lock_file(e->name) &&
            !is_working_dir(e))
            rc = cannot_remove(repo, p->backups, err);
    }
    return rc;
}

/* The lock goes after all else, so that nobody begins anything here; locks: only that, or all but that. */
static int
remove_known(struct store *repo, const struct instance_paths *p, int locks, struct gsp_error *err)
{
    auto_listing left = {0};
    int rc = store_list(repo, p->backups, &left, err);
    for (size_t i = 0; i < left.n && rc == 0; i++) {
        char path[PATH_SIZE];
        const struct store_entry *e = &left.entries[i];
        if (is_lock_file(e->name) != locks)
            continue;
        if (!path_join(path, p->backups, e->name))
            rc = gsp_fail(err, GSP_E_BUG, 0, "path too long");
        else
            rc = is_working_dir(e) ? store_remove_tree(repo, path, err) : store_remove(repo, path, err);
    }
    return rc;
}

int
instance_remove(struct store *repo, const char *name, struct gsp_error *err)
{
    struct instance_paths p;
    int rc = instance_paths(&p, name, err);
    if (rc == 0)
        rc = check_leftovers(repo, &p, err);
    /* The directory with the configuration goes last, when nothing else can come back: until then the command can
     * be repeated. */
    if (rc == 0)
        rc = store_remove_tree(repo, p.wal, err);
    if (rc == 0)
        rc = store_sync(repo, "wal", err);
    if (rc == 0)
        rc = remove_known(repo, &p, 0, err);
    if (rc == 0)
        rc = remove_known(repo, &p, 1, err);
    if (rc == 0)
        rc = store_remove(repo, p.backups, err);
    return rc == 0 ? store_sync(repo, "backups", err) : rc;
}

/* ---- configuration ---- */

int
instance_conf_read(struct store *repo, const char *name, struct conf_file **ret, struct gsp_error *err)
{
    struct instance_paths p;
    auto_strbuf text = STRBUF_INIT;
    int rc = instance_paths(&p, name, err);
    if (rc == 0)
        rc = store_read_all(repo, p.conf, CONF_BYTES_MAX, &text, err);
    if (rc == GSP_E_NOENT) {
        /* Or all of it is gone, deleted just now. */
        struct gsp_error gone = {0};
        if (instance_check(repo, name, &gone) == GSP_E_NOENT) {
            *err = gone;
            return gone.code;
        }
        return gsp_hint(err,
            "instance '%s' has lost its pg_probackup.conf: put the file back, for example with the line \"pgdata = "
            "DIR\"",
            name);
    }
    if (rc != 0)
        return rc;
    char shown[PATH_SIZE + 256];
    (void)snprintf(shown, sizeof shown, "%.255s/%s", repo->root, p.conf);
    return conf_file_parse(strbuf_str(&text), text.len, shown, ret, err);
}

int
instance_conf_write(struct store *repo, const char *name, const struct conf_file *conf, struct gsp_error *err)
{
    struct instance_paths p;
    int rc = instance_paths(&p, name, err);
    return rc == 0 ? conf_write(repo, &p, conf, 0, err) : rc;
}
