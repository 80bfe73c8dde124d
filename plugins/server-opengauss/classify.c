/* SPDX-License-Identifier: Apache-2.0
 * The table of what becomes of which file, with the reasons, is docs/formats/opengauss-files.md. */
#include "opengauss.h"

#include "server/names.h"

#define CLASSIFY_KNOWN (GSP_CLASSIFY_LOGS | GSP_CLASSIFY_SLOTS)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *const root_directories_empty[] = {
    "pg_xlog", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};
static const char *const root_files_skipped[] = {"backup_label", "tablespace_map", "postmaster.pid", "postmaster.opts",
    "postgresql.auto.conf.tmp", "current_logfiles.tmp", "recovery.conf", "probackup_recovery.conf", "recovery.signal",
    "standby.signal"};

/* Files of the segment store: this one has the smallest extents that can be compressed, those up to the last larger
 * ones. */
#define SEGMENT_FILE_EXTENTS 3u
#define SEGMENT_FILE_LAST 5u

/* The name has that of the node behind it, which the control file does not tell. */
static int
is_version_dir(const struct gsp_cluster *cluster, const char *name, size_t len)
{
    size_t known = strlen(cluster->tablespace_dir);
    return len >= known && memcmp(name, cluster->tablespace_dir, known) == 0 && (len == known || name[known] == '_');
}

/* Nodes of one machine may share a location: a directory with exactly the name that is known makes the others those
 * of other nodes, and among several of which none has it there is no telling. out ret: it, NULL = there is none */
static int
find_version_dir(const struct gsp_cluster *cluster, const char *dir, const struct gsp_dirent *entries, uint32_t n,
    const char **ret, struct gsp_error *err)
{
    const char *other = NULL;
    *ret = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const char *name = entries[i].name;
        if (entries[i].st.type != GSP_FILE_DIRECTORY || !is_version_dir(cluster, name, strlen(name)))
            continue;
        if (strcmp(name, cluster->tablespace_dir) == 0) {
            *ret = name;
            return 0;
        }
        other = *ret;
        *ret = name;
    }
    if (other == NULL)
        return 0;
    (void)gsp_fail(err, GSP_E_CONFIG, 0,
        "tablespace '%.200s' holds the directories '%.80s' and '%.80s' of two nodes: which is this cluster's is not "
        "known",
        dir, other, *ret);
    return gsp_hint(err, "Give every node locations of its own for its tablespaces.");
}

static void
classify_directory(const struct pg_where *w, uint32_t flags, const char *version_dir, const struct gsp_dirent *entry,
    struct gsp_class *ret)
{
    uint32_t oid = 0;
    const char *name = entry->name;
    ret->action = GSP_CLASS_DESCEND;
    switch (w->place) {
    case PG_IN_ROOT:
        if (pg_is_listed(root_directories_empty, COUNT(root_directories_empty), name) ||
            (strcmp(name, "pg_replslot") == 0 && !(flags & GSP_CLASSIFY_SLOTS)) ||
            (strcmp(name, "pg_log") == 0 && !(flags & GSP_CLASSIFY_LOGS)))
            ret->action = GSP_CLASS_EMPTY;
        break;
    case PG_IN_BASE:
    case PG_IN_TABLESPACE_VERSION:
        if (strcmp(name, "pgsql_tmp") == 0)
            ret->action = GSP_CLASS_EMPTY;
        else if (pg_is_oid(name, &oid))
            ret->db_oid = oid;
        break;
    case PG_IN_TABLESPACES:
        if (pg_is_oid(name, &oid) && (entry->st.flags & GSP_STAT_LINK))
            ret->action = GSP_CLASS_TABLESPACE;
        break;
    case PG_IN_TABLESPACE:
        if (version_dir == NULL || strcmp(name, version_dir) != 0)
            ret->action = GSP_CLASS_SKIP;
        break;
    case PG_IN_GLOBAL:
    case PG_IN_DATABASE:
    case PG_ELSEWHERE:
        break;
    }
}

/* <relation>[.<segment>]_compress: chunks of a row-compressed relation, with holes where none is used. */
static int
is_compressed_relation(const char *name)
{
    static const char suffix[] = "_compress";
    size_t len = strlen(name);
    return name[0] >= '1' && name[0] <= '9' && len >= sizeof suffix &&
           strcmp(name + len - (sizeof suffix - 1), suffix) == 0;
}

/* The state of undo spaces is kept in parts that end with their own checksum: in a file for all, and one beside the
 * records of each. */
static int
has_own_sums(const char *dir, const char *name)
{
    return strcmp(dir, "undo") == 0 || (pg_starts_with(dir, "undo/") && strstr(name, ".meta.") != NULL);
}

static void
classify_file(const struct gsp_cluster *cluster, const struct pg_where *w, const struct pg_relations *unlogged,
    const char *name, struct gsp_class *ret)
{
    struct pg_relation_name rel;
    ret->action = GSP_CLASS_COPY;
    if (w->place == PG_IN_TABLESPACE ||
        (w->place == PG_IN_ROOT && pg_is_listed(root_files_skipped, COUNT(root_files_skipped), name)))
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
        /* Changes of unlogged relations stand in no WAL. Their content is kept as the stock tool keeps it. */
        if (rel.fork == PG_FORK_MAIN && !pg_relations_contain(unlogged, rel.number)) {
            ret->relation = rel.number;
            ret->space_oid = w->space_oid;
        }
        if (rel.fork == PG_FORK_MAIN && rel.number >= SEGMENT_FILE_EXTENTS && rel.number <= SEGMENT_FILE_LAST)
            ret->flags = GSP_CLASS_EXTENTS;
    } else if (is_compressed_relation(name)) {
        ret->flags = GSP_CLASS_SPARSE;
    }
}

int
og_classify(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err)
{
    const char *version_dir = NULL;
    struct pg_relations unlogged = {0};
    struct pg_where w = pg_locate(cluster, is_version_dir, dir);
    int rc = 0;
    if (flags & ~CLASSIFY_KNOWN)
        return gsp_fail(err, GSP_E_BUG, 0, "classify: unknown flags %#x", flags & ~CLASSIFY_KNOWN);
    if (w.place == PG_IN_DATABASE)
        rc = pg_find_unlogged(cluster, entries, n, &unlogged, err);
    else if (w.place == PG_IN_TABLESPACE)
        rc = find_version_dir(cluster, dir, entries, n, &version_dir, err);
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        ret[i] = (struct gsp_class){.action = GSP_CLASS_SKIP, .db_oid = w.db_oid};
        if (entries[i].st.type == GSP_FILE_DIRECTORY)
            classify_directory(&w, flags, version_dir, &entries[i], &ret[i]);
        else if (entries[i].st.type == GSP_FILE_REGULAR)
            classify_file(cluster, &w, &unlogged, entries[i].name, &ret[i]);
        if (ret[i].action == GSP_CLASS_COPY && has_own_sums(dir, entries[i].name))
            ret[i].flags |= GSP_CLASS_OWN_SUMS;
    }
    pg_relations_clear(&unlogged);
    return rc;
}
