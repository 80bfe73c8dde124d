/* SPDX-License-Identifier: Apache-2.0 */
#include "postgresql.h"

#define CLASSIFY_KNOWN (GSP_CLASSIFY_LOGS | GSP_CLASSIFY_SLOTS)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Tablespaces that every cluster has: their relations lie under base and global. */
#define SPACE_DEFAULT 1663u
#define SPACE_GLOBAL 1664u

enum place {
    IN_ROOT,
    IN_GLOBAL,
    IN_BASE,
    IN_TABLESPACES,        /* pg_tblspc */
    IN_TABLESPACE,         /* pg_tblspc/<oid> */
    IN_TABLESPACE_VERSION, /* pg_tblspc/<oid>/PG_<major>_<catalog> */
    IN_DATABASE,           /* base/<oid> or <oid> of a tablespace */
    ELSEWHERE
};

struct where {
    enum place place;
    uint32_t db_oid;
    uint32_t space_oid; /* of relations there */
};

enum fork { MAIN_FORK, INIT_FORK /* that an unlogged relation is reset from */, VISIBILITY_FORK, OTHER_FORK };

/* A file name of a relation, taken apart. */
struct relation {
    uint32_t number; /* relfilenode */
    uint32_t segment;
    enum fork fork;
};

static const char *const root_directories_empty[] = {
    "pg_wal", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};
static const char *const root_files_skipped[] = {"backup_label", "tablespace_map", "backup_manifest", "postmaster.pid",
    "postmaster.opts", "postgresql.auto.conf.tmp", "current_logfiles.tmp", "recovery.signal", "standby.signal"};

int
pg_digits(const char **text, uint64_t max, uint64_t *ret)
{
    const char *p = *text;
    uint64_t v = 0;
    if (*p < '1' || *p > '9')
        return 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (v > max / 10 || v * 10 > max - digit)
            return 0;
        v = v * 10 + digit;
    }
    *text = p;
    *ret = v;
    return 1;
}

static int
listed(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return 1;
    return 0;
}

static int
starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* The whole of text is an object identifier. */
static int
is_oid(const char *text, uint32_t *ret)
{
    uint64_t v;
    if (!pg_digits(&text, UINT32_MAX, &v) || *text != '\0')
        return 0;
    *ret = (uint32_t)v;
    return 1;
}

/* An object identifier as the next component of a path, moving *path behind its slash or to the end. */
static int
take_oid(const char **path, uint32_t *ret)
{
    const char *p = *path;
    uint64_t v;
    if (!pg_digits(&p, UINT32_MAX, &v) || (*p != '\0' && *p != '/'))
        return 0;
    *path = *p == '/' ? p + 1 : p;
    *ret = (uint32_t)v;
    return 1;
}

static struct where
locate(const struct gsp_cluster *cluster, const char *dir)
{
    struct where w = {.place = ELSEWHERE};
    size_t version_len = strlen(cluster->tablespace_dir);
    if (dir[0] == '\0') {
        w.place = IN_ROOT;
    } else if (strcmp(dir, "global") == 0) {
        w.place = IN_GLOBAL;
        w.space_oid = SPACE_GLOBAL;
    } else if (strcmp(dir, "base") == 0) {
        w.place = IN_BASE;
    } else if (strcmp(dir, "pg_tblspc") == 0) {
        w.place = IN_TABLESPACES;
    } else if (starts_with(dir, "base/")) {
        w.space_oid = SPACE_DEFAULT;
        if (is_oid(dir + strlen("base/"), &w.db_oid))
            w.place = IN_DATABASE;
    } else if (starts_with(dir, "pg_tblspc/")) {
        dir += strlen("pg_tblspc/");
        if (!take_oid(&dir, &w.space_oid))
            return w;
        if (*dir == '\0')
            w.place = IN_TABLESPACE;
        else if (strcmp(dir, cluster->tablespace_dir) == 0)
            w.place = IN_TABLESPACE_VERSION;
        else if (strncmp(dir, cluster->tablespace_dir, version_len) == 0 && dir[version_len] == '/' &&
                 is_oid(dir + version_len + 1, &w.db_oid))
            w.place = IN_DATABASE;
    }
    return w;
}

/* <number>[_fsm|_vm|_init][.<segment>], nothing else: a neighbour such as 123.backup is no relation. */
static int
parse_relation(const struct gsp_cluster *cluster, const char *name, struct relation *ret)
{
    uint64_t number, segment = 0;
    uint32_t segment_blocks = cluster->segment_blocks > 0 ? cluster->segment_blocks : 1;
    enum fork fork = MAIN_FORK;
    if (!pg_digits(&name, UINT32_MAX, &number))
        return 0;
    if (starts_with(name, "_fsm")) {
        name += strlen("_fsm");
        fork = OTHER_FORK;
    } else if (starts_with(name, "_vm")) {
        name += strlen("_vm");
        fork = VISIBILITY_FORK;
    } else if (starts_with(name, "_init")) {
        name += strlen("_init");
        fork = INIT_FORK;
    }
    if (*name == '.') {
        name++;
        if (!pg_digits(&name, UINT32_MAX / segment_blocks, &segment))
            return 0;
    }
    if (*name != '\0')
        return 0;
    ret->number = (uint32_t)number;
    ret->segment = (uint32_t)segment;
    ret->fork = fork;
    return 1;
}

/* t<backend>_<relation>: a temporary table's file; the server removes it when it starts. */
static int
is_temporary_relation(const struct gsp_cluster *cluster, const char *name)
{
    struct relation rel;
    uint64_t backend;
    if (*name++ != 't')
        return 0;
    if (*name == '0')
        name++; /* backend numbers may be 0, which pg_digits leaves alone */
    else if (!pg_digits(&name, UINT32_MAX, &backend))
        return 0;
    return *name == '_' && parse_relation(cluster, name + 1, &rel);
}

static int
compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The relations of one directory that have an init fork, sorted: they are unlogged, and a restored
 * server starts them from that fork. out: *ret is the caller's to free, NULL when there are none */
static int
find_unlogged(const struct gsp_cluster *cluster, const struct gsp_dirent *entries, uint32_t n, uint32_t **ret,
    size_t *ret_n, struct gsp_error *err)
{
    struct relation rel;
    size_t found = 0;
    *ret = NULL;
    *ret_n = 0;
    for (uint32_t i = 0; i < n; i++)
        found += parse_relation(cluster, entries[i].name, &rel) && rel.fork == INIT_FORK;
    if (found == 0)
        return 0;
    *ret = calloc(found, sizeof **ret);
    if (*ret == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory classifying %u files", n);
    for (uint32_t i = 0; i < n; i++)
        if (parse_relation(cluster, entries[i].name, &rel) && rel.fork == INIT_FORK)
            (*ret)[(*ret_n)++] = rel.number;
    qsort(*ret, *ret_n, sizeof **ret, compare_numbers);
    return 0;
}

static void
classify_directory(const struct gsp_cluster *cluster, uint32_t flags, const struct where *w,
    const struct gsp_dirent *entry, struct gsp_class *ret)
{
    uint32_t oid = 0;
    ret->action = GSP_CLASS_DESCEND;
    switch (w->place) {
    case IN_ROOT:
        if (listed(root_directories_empty, COUNT(root_directories_empty), entry->name) ||
            (strcmp(entry->name, "pg_replslot") == 0 && !(flags & GSP_CLASSIFY_SLOTS)) ||
            ((strcmp(entry->name, "log") == 0 || strcmp(entry->name, "pg_log") == 0) && !(flags & GSP_CLASSIFY_LOGS)))
            ret->action = GSP_CLASS_EMPTY;
        break;
    case IN_BASE:
    case IN_TABLESPACE_VERSION:
        if (is_oid(entry->name, &oid))
            ret->db_oid = oid;
        break;
    case IN_TABLESPACES:
        if (is_oid(entry->name, &oid) && (entry->st.flags & GSP_STAT_LINK))
            ret->action = GSP_CLASS_TABLESPACE;
        break;
    case IN_TABLESPACE:
        /* A location may be shared by clusters of several versions. */
        if (strcmp(entry->name, cluster->tablespace_dir) != 0)
            ret->action = GSP_CLASS_SKIP;
        break;
    case IN_GLOBAL:
    case IN_DATABASE:
    case ELSEWHERE:
        break;
    }
}

static void
classify_file(const struct gsp_cluster *cluster, const struct where *w, const uint32_t *unlogged, size_t n_unlogged,
    const char *name, struct gsp_class *ret)
{
    struct relation rel;
    ret->action = GSP_CLASS_COPY;
    if (w->place == IN_ROOT && listed(root_files_skipped, COUNT(root_files_skipped), name))
        ret->action = GSP_CLASS_SKIP;
    if (w->place == IN_TABLESPACE)
        ret->action = GSP_CLASS_SKIP;
    if (w->place != IN_GLOBAL && w->place != IN_DATABASE)
        return;
    if (w->place == IN_GLOBAL && strcmp(name, "pg_control") == 0) {
        ret->action = GSP_CLASS_CONTROL;
    } else if (starts_with(name, "pg_internal.init") || is_temporary_relation(cluster, name)) {
        ret->action = GSP_CLASS_SKIP;
    } else if (parse_relation(cluster, name, &rel)) {
        ret->action = GSP_CLASS_PAGES;
        ret->segment = rel.segment;
        /* The server does not log the free space map, and clears bits of the visibility map without naming its block:
         * only the main fork can be trusted to tell what changed. */
        if (rel.fork == MAIN_FORK) {
            ret->relation = rel.number;
            ret->space_oid = w->space_oid;
        }
        if (rel.fork == VISIBILITY_FORK)
            ret->flags = GSP_CLASS_REBUILT;
        if (rel.fork != INIT_FORK && n_unlogged > 0 &&
            bsearch(&rel.number, unlogged, n_unlogged, sizeof *unlogged, compare_numbers) != NULL)
            ret->action = GSP_CLASS_SKIP;
    }
}

int
pg_classify(const struct gsp_cluster *cluster, uint32_t flags, const char *dir, const struct gsp_dirent *entries,
    uint32_t n, struct gsp_class *ret, struct gsp_error *err)
{
    struct where w;
    uint32_t *unlogged = NULL;
    size_t n_unlogged = 0;
    int rc;
    if (flags & ~CLASSIFY_KNOWN)
        return gsp_fail(err, GSP_E_BUG, 0, "classify: unknown flags %#x", flags & ~CLASSIFY_KNOWN);
    w = locate(cluster, dir);
    if (w.place == IN_DATABASE) {
        rc = find_unlogged(cluster, entries, n, &unlogged, &n_unlogged, err);
        if (rc < 0)
            return rc;
    }
    for (uint32_t i = 0; i < n; i++) {
        ret[i] = (struct gsp_class){.action = GSP_CLASS_SKIP, .db_oid = w.db_oid};
        if (starts_with(entries[i].name, "pgsql_tmp"))
            continue;
        if (entries[i].st.type == GSP_FILE_DIRECTORY)
            classify_directory(cluster, flags, &w, &entries[i], &ret[i]);
        else if (entries[i].st.type == GSP_FILE_REGULAR)
            classify_file(cluster, &w, unlogged, n_unlogged, entries[i].name, &ret[i]);
    }
    free(unlogged);
    return 0;
}
