/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/cancel.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int cancel_flag;

static void
on_signal(int signo)
{
    (void)signo;
    atomic_store(&cancel_flag, 1);
}

void
cancel_install(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGQUIT};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    /* No SA_RESTART: a blocking call comes back, so that its loop sees the flag at once. */
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        (void)sigaction(signals[i], &action, NULL);
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

void
cancel_request(void)
{
    atomic_store(&cancel_flag, 1);
}

int
cancelled(void)
{
    return atomic_load_explicit(&cancel_flag, memory_order_relaxed);
}

int
cancel_check(struct gsp_error *err)
{
    return cancelled() ? gsp_fail(err, GSP_E_CANCELLED, 0, "interrupted by user") : 0;
}
