/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"

#include "server/names.h"

#define CLASSIFY_KNOWN (GSP_CLASSIFY_LOGS | GSP_CLASSIFY_SLOTS)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const root_directories_empty[] = {
    "pg_wal", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};
static const char *const root_files_skipped[] = {"backup_label", "tablespace_map", "backup_manifest", "postmaster.pid",
    "postmaster.opts", "postgresql.auto.conf.tmp", "current_logfiles.tmp", "recovery.signal", "standby.signal"};

static int
is_version_dir(const struct gsp_cluster *cluster, const char *name, size_t len)
{
    return strlen(cluster->tablespace_dir) == len && memcmp(cluster->tablespace_dir, name, len) == 0;
}

static void
classify_directory(const struct gsp_cluster *cluster, uint32_t flags, const struct pg_where *w,
    const struct gsp_dirent *entry, struct gsp_class *ret)
{
    uint32_t oid = 0;
    ret->action = GSP_CLASS_DESCEND;
    switch (w->place) {
    case PG_IN_ROOT:
        if (pg_is_listed(root_directories_empty, COUNT(root_directories_empty), entry->name) ||
            (strcmp(entry->name, "pg_replslot") == 0 && !(flags & GSP_CLASSIFY_SLOTS)) ||
            ((strcmp(entry->name, "log") == 0 || strcmp(entry->name, "pg_log") == 0) && !(flags & GSP_CLASSIFY_LOGS)))
            ret->action = GSP_CLASS_EMPTY;
        break;
    case PG_IN_BASE:
    case PG_IN_TABLESPACE_VERSION:
        if (pg_is_oid(entry->name, &oid))
            ret->db_oid = oid;
        break;
    case PG_IN_TABLESPACES:
        if (pg_is_oid(entry->name, &oid) && (entry->st.flags & GSP_STAT_LINK))
            ret->action = GSP_CLASS_TABLESPACE;
        break;
    case PG_IN_TABLESPACE:
        /* A location may be shared by clusters of several versions. */
        if (strcmp(entry->name, cluster->tablespace_dir) != 0)
            ret->action = GSP_CLASS_SKIP;
        break;
    case PG_IN_GLOBAL:
    case PG_IN_DATABASE:
    case PG_ELSEWHERE:
        break;
    }
}

static void
classify_file(const struct gsp_cluster *cluster, const struct pg_where *w, const struct pg_relations *unlogged,
    const char *name, struct gsp_class *ret)
{
    struct pg_relation_name rel;
    ret->action = GSP_CLASS_COPY;
    if (w->place == PG_IN_ROOT && pg_is_listed(root_files_skipped, COUNT(root_files_skipped), name))
        ret->action = GSP_CLASS_SKIP;
    if (w->place == PG_IN_TABLESPACE)
        ret->action = GSP_CLASS_SKIP;
    if (w->place != PG_IN_GLOBAL && w->place != PG_IN_DATABASE)
        return;
    if (w->place == PG_IN_GLOBAL && strcmp(name, "pg_control") == 0) {
        ret->action = GSP_CLASS_CONTROL;
    } else if (pg_starts_with(name, "pg_internal.init") || pg_is_temporary_relation(cluster, name)) {
        ret->action = GSP_CLASS_SKIP;
    } else if (pg_parse_relation(cluster, name, &rel)) {
        ret->action = GSP_CLASS_PAGES;
        ret->segment = rel.segment;
        /* The server does not log the free space map, and clears bits of the visibility map without naming its block:
         * only the main fork can be trusted to tell what changed. */
        if (rel.fork == PG_FORK_MAIN) {
            ret->relation = rel.number;
            ret->space_oid = w->space_oid;
        }
        if (rel.fork == PG_FORK_VM)
            ret->flags = GSP_CLASS_REBUILT;
        if (rel.fork != PG_FORK_INIT && pg_relations_contain(unlogged, rel.number))
            ret->action = GSP_CLASS_SKIP;
    }
}

int
pg_classify(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err)
{
    struct pg_where w;
    struct pg_relations unlogged = {0};
    int rc;
    if (flags & ~CLASSIFY_KNOWN)
        return gsp_fail(err, GSP_E_BUG, 0, "classify: unknown flags %#x", flags & ~CLASSIFY_KNOWN);
    w = pg_locate(cluster, is_version_dir, dir);
    if (w.place == PG_IN_DATABASE) {
        rc = pg_find_unlogged(cluster, entries, n, &unlogged, err);
        if (rc < 0)
            return rc;
    }
    for (uint32_t i = 0; i < n; i++) {
        ret[i] = (struct gsp_class){.action = GSP_CLASS_SKIP, .db_oid = w.db_oid};
        if (pg_starts_with(entries[i].name, "pgsql_tmp"))
            continue;
        if (entries[i].st.type == GSP_FILE_DIRECTORY)
            classify_directory(cluster, flags, &w, &entries[i], &ret[i]);
        else if (entries[i].st.type == GSP_FILE_REGULAR)
            classify_file(cluster, &w, &unlogged, entries[i].name, &ret[i]);
    }
    pg_relations_clear(&unlogged);
    return 0;
}
