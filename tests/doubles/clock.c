/* SPDX-License-Identifier: Apache-2.0
 * Another time of day for a process: a library for LD_PRELOAD. GSP_CLOCK names a file of 8 bytes, a signed number of
 * seconds in the machine's byte order, which is added to the real-time clock at every look at it; so a running server
 * and the tool beside it can be taken from one day to another together. Clocks that only count on are left alone. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset;

__attribute__((constructor)) static void
begin(void)
{
    const char *path = getenv("GSP_CLOCK");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd >= 0 ? mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (at == MAP_FAILED)
        abort(); /* a test that measures the real time unnoticed proves nothing */
    offset = at;
    (void)close(fd);
}

int
clock_gettime(clockid_t id, struct timespec *ret)
{
    long rc = syscall(SYS_clock_gettime, id, ret);
    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) && offset != NULL)
        ret->tv_sec += *offset;
    return (int)rc;
}

int
gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    ret->tv_sec = now.tv_sec;
    ret->tv_usec = now.tv_nsec / 1000;
    return rc;
}

time_t
time(time_t *ret)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0)
        return -1;
    if (ret != NULL)
        *ret = now.tv_sec;
    return now.tv_sec;
}
