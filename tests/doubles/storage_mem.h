/* SPDX-License-Identifier: Apache-2.0
 * Test double: a storage in memory. A store is a tree of files and directories that lives from open to
 * close; the root ("") does not exist before it is made with mkdir. Behaves as gsp/storage.h says,
 * including EXCL, ATOMIC, UPDATE, modes and offsets that ascend, and link. No symbolic links, no special files.
 * thread ANY */
#ifndef DOUBLES_STORAGE_MEM_H
#define DOUBLES_STORAGE_MEM_H

#include "gsp/storage.h"

/* Open with state NULL and opts NULL. */
extern const struct gsp_storage_ops storage_mem_ops;

/* storage_mem_fail_writes - of the changing operations from now on (put_begin, pwritev, put_commit, mkdir, remove,
 * rename, link, chmod, sync) the first `after` succeed and the next `times` fail with sys_errno; times 0 ends it.
 * store is struct store.handle. EROFS, 0 and UINT64_MAX make a read-only storage. */
void storage_mem_fail_writes(void *store, uint64_t after, uint64_t times, int sys_errno);

#endif
