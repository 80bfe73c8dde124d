/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/restore_mark.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "core/base/path.h"
#include "core/catalog/lock_file.h"

enum { MARK_BYTES_MAX = 1024 * 1024 };

/* The mark, the claim, and temporary files of them. Counts these and all others. */
static int
count_ours(struct store *s, size_t *ret_ours, size_t *ret_others, struct gsp_error *err)
{
    auto_listing list = {0};
    int rc = store_list(s, "", &list, err);
    *ret_ours = 0;
    for (size_t i = 0; i < list.n; i++)
        *ret_ours += strncmp(list.entries[i].name, RESTORE_MARK, strlen(RESTORE_MARK)) == 0;
    *ret_others = list.n - *ret_ours;
    return rc;
}

int
restore_mark_is_name(const char *path, const char *control_path)
{
    size_t len = strlen(control_path);
    return strncmp(path, RESTORE_MARK, strlen(RESTORE_MARK)) == 0 ||
           (strncmp(path, control_path, len) == 0 && strcmp(path + len, CONTROL_ASIDE_SUFFIX) == 0);
}

int
restore_mark_is_there(struct store *s, struct gsp_error *err)
{
    size_t ours, others;
    int rc = count_ours(s, &ours, &others, err);
    return rc == 0 ? ours > 0 : rc;
}

int
restore_mark_check_ended(struct store *s, struct gsp_error *err)
{
    auto_lock_owners owners = {0};
    int rc = lock_owners_read(s, RESTORE_OWNER, &owners, err);
    for (size_t i = 0; i < owners.n && rc == 0; i++) {
        const struct lock_owner *o = &owners.v[i];
        enum lock_holder state = lock_holder_state(o->pid, o);
        if (state == LOCK_HOLDER_DEAD)
            continue;
        rc = gsp_fail(
            err, GSP_E_LOCKED, 0, "process %" PRId64 " on host '%s' is restoring into '%s'", o->pid, o->host, s->root);
        if (state == LOCK_HOLDER_ELSEWHERE)
            (void)gsp_hint(err, "if that process is gone, remove '%s/" RESTORE_OWNER "'", s->root);
        else
            (void)gsp_hint(err, "wait until it ends or stop it, or restore into another directory with -D");
    }
    return rc;
}

int
restore_mark_check(struct store *s, const struct gsp_dialect_ops *dialect, uint64_t system_id, struct gsp_error *err)
{
    auto_strbuf control = STRBUF_INIT;
    struct gsp_error problem = {0};
    struct gsp_cluster cluster = {.struct_size = sizeof cluster};
    int rc = store_exists(s, dialect->control_path, err);
    if (rc != 0)
        return rc > 0 ? 0 : rc; /* with a control file it is a cluster, whatever else lies there */
    rc = restore_mark_check_ended(s, err);
    if (rc != 0)
        return rc;
    rc = store_read_all(s, RESTORE_MARK, MARK_BYTES_MAX, &control, &problem);
    if (rc != 0 && rc != GSP_E_NOENT && rc != GSP_E_CORRUPT) {
        *err = problem;
        return rc;
    }
    if (rc == 0 && dialect->control_parse(strbuf_str(&control), (uint32_t)control.len, &cluster, &problem) == 0)
        return cluster.system_id == system_id;
    /* Killed before the mark was whole, a restore has written nothing else yet. */
    size_t ours, others;
    rc = count_ours(s, &ours, &others, err);
    return rc == 0 ? others == 0 : rc;
}

int
restore_mark_claim(struct store *s, struct gsp_error *err)
{
    auto_lock_owners owners = {0};
    struct lock_owner self;
    lock_owner_self(0, &self);
    int rc = lock_owners_add(&owners, &self, err);
    return rc == 0 ? lock_owners_write(s, RESTORE_OWNER, &owners, 0, err) : rc;
}

int
restore_mark_clear(struct store *s, struct gsp_error *err)
{
    auto_listing list = {0};
    int rc = store_list(s, "", &list, err);
    for (size_t i = 0; i < list.n && rc == 0; i++)
        if (strcmp(list.entries[i].name, RESTORE_MARK) != 0 && strcmp(list.entries[i].name, RESTORE_OWNER) != 0)
            rc = store_remove_tree(s, list.entries[i].name, err);
    return rc;
}

int
restore_mark_write(struct store *s, const struct strbuf *control, uint32_t mode, struct gsp_error *err)
{
    return store_write_all(s, RESTORE_MARK, mode, GSP_PUT_ATOMIC, control->data, control->len, err);
}

/* Of two that began at the same time none has kept the other from clearing what it wrote. */
static int
check_undisturbed(struct store *s, struct gsp_error *err)
{
    auto_lock_owners owners = {0};
    int rc = lock_owners_read(s, RESTORE_OWNER, &owners, err);
    if (rc != 0 || (owners.n == 1 && lock_owners_find(&owners, 0, getpid()) != NULL))
        return rc;
    (void)gsp_fail(err, GSP_E_LOCKED, 0, "another restore into '%s' began meanwhile", s->root);
    return gsp_hint(err, "run one at a time; the next one begins anew");
}

int
restore_mark_finish(struct store *s, const char *control_path, int sync, struct gsp_error *err)
{
    char dir[PATH_SIZE];
    const char *slash = strrchr(control_path, '/');
    (void)snprintf(dir, sizeof dir, "%.*s", slash != NULL ? (int)(slash - control_path) : 0, control_path);
    int rc = check_undisturbed(s, err);
    if (rc == 0)
        rc = store_remove(s, RESTORE_OWNER, err);
    if (rc == 0)
        rc = store_rename(s, RESTORE_MARK, control_path, err);
    if (rc == 0 && sync)
        rc = store_sync(s, dir, err);
    return rc == 0 && sync ? store_sync(s, "", err) : rc;
}
