/* SPDX-License-Identifier: Apache-2.0
 * Progress of one phase: counters that workers raise, shown by the main thread on stderr. On a
 * terminal one line that is rewritten; otherwise, with --progress, a line every few seconds. */
#ifndef ENGINE_PROGRESS_H
#define ENGINE_PROGRESS_H

#include <stdatomic.h>
#include <stdint.h>

struct progress {
    const char *what; /* "Copying files" */
    uint64_t total_bytes, total_files;
    atomic_uint_fast64_t bytes, files; /* done */
    int64_t started_us, shown_us;
    int mode; /* private */
};

/* progress_begin - force: show lines even without a terminal. One phase at a time per process. */
void progress_begin(struct progress *p, const char *what, uint64_t total_bytes, uint64_t total_files, int force);
/* progress_tick - show, when it is time to. Main thread only. */
void progress_tick(struct progress *p);
/* progress_end - take the line away. */
void progress_end(struct progress *p);

static inline void
progress_add(struct progress *p, uint64_t bytes, uint64_t files)
{
    atomic_fetch_add_explicit(&p->bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&p->files, files, memory_order_relaxed);
}

#endif
