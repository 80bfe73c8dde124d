/* SPDX-License-Identifier: Apache-2.0
 *
 * Names in the data directory of PostgreSQL and its descendants: where a directory is, which relation a file is of.
 * Pure, any thread. */
#ifndef SERVER_NAMES_H
#define SERVER_NAMES_H

#include "gsp/server.h"
#include "server/bytes.h"

/* Tablespaces that every cluster has: their relations lie under base and global. */
#define PG_SPACE_DEFAULT 1663u
#define PG_SPACE_GLOBAL 1664u

enum pg_place {
    PG_IN_ROOT,
    PG_IN_GLOBAL,
    PG_IN_BASE,
    PG_IN_TABLESPACES,        /* pg_tblspc */
    PG_IN_TABLESPACE,         /* pg_tblspc/<oid> */
    PG_IN_TABLESPACE_VERSION, /* <tablespace>/PG_<major>_<catalog> */
    PG_IN_DATABASE,           /* base/<oid> or <oid> of a tablespace */
    PG_ELSEWHERE
};

struct pg_where {
    enum pg_place place;
    uint32_t db_oid;
    uint32_t space_oid; /* of relations there */
};

/* Is the name, len bytes of it, that of the directory that this cluster has in a tablespace? */
typedef int (*pg_version_dir_fn)(const struct gsp_cluster *cluster, const char *name, size_t len);

enum pg_fork { PG_FORK_MAIN, PG_FORK_INIT /* an unlogged relation is reset from it */, PG_FORK_VM, PG_FORK_OTHER };

/* A file name of a relation, taken apart. */
struct pg_relation_name {
    uint32_t number; /* relfilenode */
    uint32_t segment;
    enum pg_fork fork;
};

/* Relations by number, sorted. */
struct pg_relations {
    uint32_t *numbers; /* NULL = none */
    size_t n;
};

/* pg_is_listed - is the name one of n? */
int pg_is_listed(const char *const *names, size_t n, const char *name);

int pg_starts_with(const char *text, const char *prefix);

/* pg_is_oid - is the whole of text an object identifier? */
int pg_is_oid(const char *text, uint32_t *ret);

/* pg_locate - what the directory with this path below the data directory is. */
struct pg_where pg_locate(const struct gsp_cluster *cluster, pg_version_dir_fn is_version_dir, const char *dir);

/* pg_parse_relation - is the name <number>[_fsm|_vm|_init][.<segment>], and nothing else? A neighbour such as
 * 123.backup is no relation. Returns 1 or 0 */
int pg_parse_relation(const struct gsp_cluster *cluster, const char *name, struct pg_relation_name *ret);

/* pg_is_temporary_relation - t<backend>_<relation>: a temporary table's file; the server removes it when it starts. */
int pg_is_temporary_relation(const struct gsp_cluster *cluster, const char *name);

/* pg_find_unlogged - the relations of a directory that have an init fork.
 * out    ret: pg_relations_clear it. errors NOMEM */
int pg_find_unlogged(const struct gsp_cluster *cluster, const struct gsp_dirent *entries, uint32_t n,
    struct pg_relations *ret, struct gsp_error *err);
int pg_relations_contain(const struct pg_relations *relations, uint32_t number);
void pg_relations_clear(struct pg_relations *relations);

#endif
