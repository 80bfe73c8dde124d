/* SPDX-License-Identifier: Apache-2.0
 * bench-measure RESULT COMMAND [ARGUMENT...] - run a command and write what it cost to RESULT, one JSON object.
 *
 * A program of its own, because the peak RSS that the kernel reports for a process begins with that of the process
 * it was forked from: this one is small, the benchmark's interpreter is not. It also waits for what the command
 * leaves behind, so that nobody's CPU time is lost. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct cost {
    double wall, user, sys;
    unsigned long long read_bytes, written_bytes; /* by system calls, cached or not */
    long rss_kib;                                 /* of the largest process */
    int exit_code;
};

static double
now(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double
seconds(struct timeval tv)
{
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

/* What this process has read and written includes what those did that it waited for, and they for theirs. */
static void
read_io(struct cost *cost)
{
    char line[80];
    FILE *io = fopen("/proc/self/io", "re");
    while (io != NULL && fgets(line, sizeof line, io) != NULL) {
        (void)sscanf(line, "rchar: %llu", &cost->read_bytes);
        (void)sscanf(line, "wchar: %llu", &cost->written_bytes);
    }
    if (io != NULL)
        (void)fclose(io);
}

/* The times of a process include those of the children it waited for. */
static int
wait_for_all(pid_t command, double began, struct cost *cost)
{
    struct rusage usage;
    int status;
    pid_t pid;
    while ((pid = wait4(-1, &status, 0, &usage)) > 0 || (pid < 0 && errno == EINTR)) {
        if (pid < 0)
            continue;
        cost->user += seconds(usage.ru_utime);
        cost->sys += seconds(usage.ru_stime);
        if (usage.ru_maxrss > cost->rss_kib)
            cost->rss_kib = usage.ru_maxrss;
        if (pid == command) {
            cost->wall = now() - began;
            cost->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
    }
    return errno == ECHILD ? 0 : -1;
}

int
main(int argc, char **argv)
{
    struct cost cost = {.exit_code = 1};
    if (argc < 3) {
        (void)fprintf(stderr, "usage: bench-measure RESULT COMMAND [ARGUMENT...]\n");
        return 2;
    }
    FILE *result = fopen(argv[1], "we");
    if (result == NULL || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) {
        (void)fprintf(stderr, "bench-measure: %s: %s\n", argv[1], strerror(errno));
        return 2;
    }
    double began = now();
    pid_t pid = fork();
    if (pid == 0) {
        (void)execvp(argv[2], argv + 2);
        (void)fprintf(stderr, "bench-measure: %s: %s\n", argv[2], strerror(errno));
        _exit(127);
    }
    if (pid < 0 || wait_for_all(pid, began, &cost) != 0) {
        (void)fprintf(stderr, "bench-measure: %s\n", strerror(errno));
        return 2;
    }
    read_io(&cost);
    (void)fprintf(result,
        "{\"wall_s\": %.6f, \"user_s\": %.6f, \"sys_s\": %.6f, \"read_bytes\": %llu, \"written_bytes\": %llu, "
        "\"rss_kib\": %ld, \"exit\": %d}\n",
        cost.wall, cost.user, cost.sys, cost.read_bytes, cost.written_bytes, cost.rss_kib, cost.exit_code);
    return fclose(result) == 0 ? cost.exit_code : 2;
}
