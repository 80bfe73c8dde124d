/* SPDX-License-Identifier: Apache-2.0 */
#include "core/engine/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/number.h"
#include "core/base/timestamp.h"

enum { MODE_OFF, MODE_TERMINAL, MODE_LINES };
enum { TERMINAL_INTERVAL_US = 200 * 1000, LINES_INTERVAL_US = 5 * 1000 * 1000 };

/* A log line must not land behind the progress line. */
static void
erase_line(void)
{
    static const char erase[] = "\r\033[K";
    (void)!write(STDERR_FILENO, erase, sizeof erase - 1);
}

void
progress_begin(struct progress *p, const char *what, uint64_t total_bytes, uint64_t total_files, int force)
{
    p->what = what;
    p->total_bytes = total_bytes;
    p->total_files = total_files;
    atomic_store(&p->bytes, 0);
    atomic_store(&p->files, 0);
    p->started_us = p->shown_us = monotonic_us();
    p->mode = isatty(STDERR_FILENO) ? MODE_TERMINAL : force ? MODE_LINES : MODE_OFF;
    if (p->mode == MODE_TERMINAL)
        log_console_hook(erase_line);
}

static void
format_progress(struct progress *p, int64_t now, char *buf, size_t size)
{
    char done[24], total[24], rate[24], eta[40] = "";
    uint64_t bytes = atomic_load(&p->bytes);
    int64_t elapsed = now - p->started_us;
    uint64_t per_second = elapsed > 0 ? (uint64_t)((double)bytes * 1e6 / (double)elapsed) : 0;
    uint64_t percent = p->total_bytes > 0 ? bytes * 100 / p->total_bytes : 100;
    format_size_pretty((int64_t)bytes, done, sizeof done);
    format_size_pretty((int64_t)p->total_bytes, total, sizeof total);
    format_size_pretty((int64_t)per_second, rate, sizeof rate);
    if (per_second > 0 && bytes < p->total_bytes) {
        char left[24];
        format_interval_pretty((int64_t)((p->total_bytes - bytes) / per_second) * 1000000, left, sizeof left);
        (void)snprintf(eta, sizeof eta, ", %s left", left);
    }
    (void)snprintf(buf, size, "%s: %" PRIu64 "%%, %s of %s, %" PRIuFAST64 "/%" PRIu64 " files, %s/s%s", p->what,
        percent > 100 ? 100 : percent, done, total, atomic_load(&p->files), p->total_files, rate, eta);
}

void
progress_tick(struct progress *p)
{
    char line[200];
    int64_t now = monotonic_us();
    if (p->mode == MODE_OFF ||
        now - p->shown_us < (p->mode == MODE_TERMINAL ? TERMINAL_INTERVAL_US : LINES_INTERVAL_US))
        return;
    p->shown_us = now;
    format_progress(p, now, line, sizeof line);
    if (p->mode == MODE_LINES) {
        log_info("%s", line);
        return;
    }
    erase_line();
    (void)!write(STDERR_FILENO, line, strlen(line));
}

void
progress_end(struct progress *p)
{
    if (p->mode == MODE_TERMINAL) {
        erase_line();
        log_console_hook(NULL);
    }
    p->mode = MODE_OFF;
}
