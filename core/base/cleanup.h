/* SPDX-License-Identifier: Apache-2.0
 * Scope cleanup: resources end with their scope; ownership leaves it through steal(). */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void
cleanup_free(void *slot)
{
    free(*(void **)slot);
}

static inline void
cleanup_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

#define auto_free __attribute__((cleanup(cleanup_free)))
#define auto_fd __attribute__((cleanup(cleanup_fd)))

/* steal - take the pointer out of an auto_* variable: return steal(&p). */
#define steal(slot)                            \
    ({                                         \
        __typeof__(*(slot)) stolen_ = *(slot); \
        *(slot) = NULL;                        \
        stolen_;                               \
    })

#endif
