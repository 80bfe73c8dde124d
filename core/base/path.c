/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int
component_is_dots(const char *p, size_t len)
{
    return (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.');
}

int
path_is_safe_relative(const char *path)
{
    if (path[0] == '\0')
        return 0;
    for (const char *p = path;;) {
        size_t len = strcspn(p, "/");
        if (len == 0 || component_is_dots(p, len))
            return 0;
        if (p[len] == '\0')
            return 1;
        p += len + 1;
    }
}

char *
path_canonical(const char *path)
{
    char *out = malloc(strlen(path) + 2);
    if (out == NULL)
        return NULL;
    char *to = out;
    if (path[0] == '/')
        *to++ = '/';
    for (const char *p = path; *p != '\0';) {
        size_t len = strcspn(p, "/");
        if (len > 0 && !(len == 1 && p[0] == '.')) {
            if (to > out && to[-1] != '/')
                *to++ = '/';
            memcpy(to, p, len);
            to += len;
        }
        p += len;
        p += *p == '/';
    }
    *to = '\0';
    return out;
}

int
path_join(char buf[PATH_SIZE], const char *dir, const char *name)
{
    const char *slash = dir[0] != '\0' && name[0] != '\0' ? "/" : "";
    int n = snprintf(buf, PATH_SIZE, "%s%s%s", dir, slash, name);
    return n >= 0 && n < PATH_SIZE;
}

const char *
path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

int
path_is_same_or_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    if (len == 1 && dir[0] == '/')
        return path[0] == '/';
    return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}
