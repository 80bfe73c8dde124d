/* SPDX-License-Identifier: Apache-2.0
 * Paths as text. */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stddef.h>

enum { PATH_SIZE = 4096 };

/* path_is_safe_relative - not empty, not absolute, no empty, "." or ".." component, no NUL inside. */
int path_is_safe_relative(const char *path);
/* path_canonical - drop doubled and trailing slashes and "." components; ".." stays.
 * Returns a malloc'ed copy, NULL when out of memory. */
char *path_canonical(const char *path);
/* path_join - "dir/name" into buf, just name when dir is "". Returns 1, 0 when it does not fit. */
int path_join(char buf[PATH_SIZE], const char *dir, const char *name);
/* path_base - behind the last slash. */
const char *path_base(const char *path);
/* path_is_same_or_below - is path equal to dir or inside it? Both absolute and canonical. */
int path_is_same_or_below(const char *path, const char *dir);

#endif
