/* SPDX-License-Identifier: Apache-2.0 */
#include "server/names.h"

int
pg_is_listed(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return 1;
    return 0;
}

int
pg_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

int
pg_is_oid(const char *text, uint32_t *ret)
{
    uint64_t v;
    if (!pg_digits(&text, UINT32_MAX, &v) || *text != '\0')
        return 0;
    *ret = (uint32_t)v;
    return 1;
}

/* dir: behind "pg_tblspc/" */
static struct pg_where
locate_in_space(const struct gsp_cluster *cluster, pg_version_dir_fn is_version_dir, const char *dir)
{
    struct pg_where w = {.place = PG_ELSEWHERE};
    uint64_t oid;
    if (!pg_digits(&dir, UINT32_MAX, &oid) || (*dir != '\0' && *dir != '/'))
        return w;
    w.space_oid = (uint32_t)oid;
    if (*dir == '\0') {
        w.place = PG_IN_TABLESPACE;
        return w;
    }
    size_t len = strcspn(++dir, "/");
    if (!is_version_dir(cluster, dir, len))
        return w;
    dir += len;
    if (*dir == '\0')
        w.place = PG_IN_TABLESPACE_VERSION;
    else if (pg_is_oid(dir + 1, &w.db_oid))
        w.place = PG_IN_DATABASE;
    return w;
}

struct pg_where
pg_locate(const struct gsp_cluster *cluster, pg_version_dir_fn is_version_dir, const char *dir)
{
    struct pg_where w = {.place = PG_ELSEWHERE};
    if (dir[0] == '\0') {
        w.place = PG_IN_ROOT;
    } else if (strcmp(dir, "global") == 0) {
        w.place = PG_IN_GLOBAL;
        w.space_oid = PG_SPACE_GLOBAL;
    } else if (strcmp(dir, "base") == 0) {
        w.place = PG_IN_BASE;
    } else if (strcmp(dir, "pg_tblspc") == 0) {
        w.place = PG_IN_TABLESPACES;
    } else if (pg_starts_with(dir, "base/")) {
        w.space_oid = PG_SPACE_DEFAULT;
        if (pg_is_oid(dir + strlen("base/"), &w.db_oid))
            w.place = PG_IN_DATABASE;
    } else if (pg_starts_with(dir, "pg_tblspc/")) {
        w = locate_in_space(cluster, is_version_dir, dir + strlen("pg_tblspc/"));
    }
    return w;
}

int
pg_parse_relation(const struct gsp_cluster *cluster, const char *name, struct pg_relation_name *ret)
{
    uint64_t number, segment = 0;
    uint32_t segment_blocks = cluster->segment_blocks > 0 ? cluster->segment_blocks : 1;
    enum pg_fork fork = PG_FORK_MAIN;
    if (!pg_digits(&name, UINT32_MAX, &number))
        return 0;
    if (pg_starts_with(name, "_fsm")) {
        name += strlen("_fsm");
        fork = PG_FORK_OTHER;
    } else if (pg_starts_with(name, "_vm")) {
        name += strlen("_vm");
        fork = PG_FORK_VM;
    } else if (pg_starts_with(name, "_init")) {
        name += strlen("_init");
        fork = PG_FORK_INIT;
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

int
pg_is_temporary_relation(const struct gsp_cluster *cluster, const char *name)
{
    struct pg_relation_name rel;
    uint64_t backend;
    if (*name++ != 't')
        return 0;
    if (*name == '0')
        name++; /* backend numbers may be 0, which pg_digits leaves alone */
    else if (!pg_digits(&name, UINT32_MAX, &backend))
        return 0;
    return *name == '_' && pg_parse_relation(cluster, name + 1, &rel);
}

static int
compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int
pg_find_unlogged(const struct gsp_cluster *cluster, const struct gsp_dirent *entries, uint32_t n,
    struct pg_relations *ret, struct gsp_error *err)
{
    struct pg_relation_name rel;
    size_t found = 0;
    *ret = (struct pg_relations){0};
    for (uint32_t i = 0; i < n; i++)
        found += pg_parse_relation(cluster, entries[i].name, &rel) && rel.fork == PG_FORK_INIT;
    if (found == 0)
        return 0;
    ret->numbers = calloc(found, sizeof *ret->numbers);
    if (ret->numbers == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory classifying %u files", n);
    for (uint32_t i = 0; i < n; i++)
        if (pg_parse_relation(cluster, entries[i].name, &rel) && rel.fork == PG_FORK_INIT)
            ret->numbers[ret->n++] = rel.number;
    qsort(ret->numbers, ret->n, sizeof *ret->numbers, compare_numbers);
    return 0;
}

int
pg_relations_contain(const struct pg_relations *relations, uint32_t number)
{
    return relations->n > 0 &&
           bsearch(&number, relations->numbers, relations->n, sizeof *relations->numbers, compare_numbers) != NULL;
}

void
pg_relations_clear(struct pg_relations *relations)
{
    free(relations->numbers);
    *relations = (struct pg_relations){0};
}
