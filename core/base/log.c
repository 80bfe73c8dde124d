/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/strbuf.h"
#include "core/base/timestamp.h"

/* The one log of the process. The lock covers everything below; it is taken last, nothing is called
 * with it but write(2) and the console hook. */
static struct {
    pthread_mutex_t lock;
    enum log_level console_level;
    void (*before_console)(void);
    enum log_level file_level;
    char *directory, *filename, *error_filename;
    uint64_t rotation_bytes;
    int64_t rotation_age_us;
    int fd, error_fd;
    int file_broken; /* said once that the file cannot be written */
} the_log = {.lock = PTHREAD_MUTEX_INITIALIZER,
    .console_level = LOG_LEVEL_INFO,
    .file_level = LOG_LEVEL_OFF,
    .fd = -1,
    .error_fd = -1};

static const char *const level_names[] = {
    [LOG_LEVEL_VERBOSE] = "VERBOSE",
    [LOG_LEVEL_LOG] = "LOG",
    [LOG_LEVEL_INFO] = "INFO",
    [LOG_LEVEL_WARNING] = "WARNING",
    [LOG_LEVEL_ERROR] = "ERROR",
    [LOG_LEVEL_OFF] = "OFF",
};

int
log_level_parse(const char *text, enum log_level *ret)
{
    /* The stock tool's order decides what a bare "o" or "l" means. */
    static const enum log_level order[] = {
        LOG_LEVEL_OFF, LOG_LEVEL_VERBOSE, LOG_LEVEL_LOG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR};
    size_t len = strlen(text);
    if (len == 0)
        return 0;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        if (strncasecmp(level_names[order[i]], text, len) == 0) {
            *ret = order[i];
            return 1;
        }
    }
    if (strncasecmp("notice", text, len) == 0) {
        *ret = LOG_LEVEL_INFO;
        return 1;
    }
    return 0;
}

const char *
log_level_name(enum log_level level)
{
    return level_names[level];
}

void
log_set_console(enum log_level level)
{
    the_log.console_level = level;
}

void
log_console_hook(void (*before)(void))
{
    (void)pthread_mutex_lock(&the_log.lock);
    the_log.before_console = before;
    (void)pthread_mutex_unlock(&the_log.lock);
}

int
log_open_file(const struct log_file_config *config, struct gsp_error *err)
{
    if (config->level == LOG_LEVEL_OFF && config->error_filename == NULL)
        return 0;
    if (config->directory[0] != '/')
        return gsp_fail(err, GSP_E_CONFIG, 0, "--log-directory must be an absolute path: '%s'", config->directory);
    the_log.directory = strdup(config->directory);
    the_log.filename = strdup(config->filename != NULL ? config->filename : "pg_probackup.log");
    the_log.error_filename = config->error_filename != NULL ? strdup(config->error_filename) : NULL;
    if (the_log.directory == NULL || the_log.filename == NULL ||
        (config->error_filename != NULL && the_log.error_filename == NULL))
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    the_log.rotation_bytes = config->rotation_bytes;
    the_log.rotation_age_us = config->rotation_age_us;
    the_log.file_level = config->level;
    return 0;
}

static void
close_file(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void
log_close(void)
{
    (void)pthread_mutex_lock(&the_log.lock);
    close_file(&the_log.fd);
    close_file(&the_log.error_fd);
    free(the_log.directory);
    free(the_log.filename);
    free(the_log.error_filename);
    the_log.directory = the_log.filename = the_log.error_filename = NULL;
    the_log.file_level = LOG_LEVEL_OFF;
    (void)pthread_mutex_unlock(&the_log.lock);
}

static void
write_fully(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* there is nowhere left to complain */
        text += n;
        len -= (size_t)n;
    }
}

/* Creation time kept beside the log as decimal text; 0 when there is none. */
static int64_t
read_rotation_mark(const char *path)
{
    char text[32];
    auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    int64_t when = 0;
    if (n > 0) {
        text[n] = '\0';
        (void)parse_i64(text, 0, INT64_MAX, &when);
    }
    return when;
}

/* Rotate when the file is too big or too old: the old one stays as "<file>.1". */
static void
rotate_if_due(const char *path)
{
    char mark[PATH_SIZE + 16], previous[PATH_SIZE + 16];
    struct stat st;
    int exists = stat(path, &st) == 0;
    (void)snprintf(mark, sizeof mark, "%s.rotation", path);
    int64_t made = read_rotation_mark(mark);
    int too_big = exists && the_log.rotation_bytes > 0 && (uint64_t)st.st_size >= the_log.rotation_bytes;
    int too_old =
        exists && the_log.rotation_age_us > 0 && made > 0 && now_seconds() - made >= the_log.rotation_age_us / 1000000;
    if (too_big || too_old) {
        (void)snprintf(previous, sizeof previous, "%s.1", path);
        (void)rename(path, previous);
    }
    if (the_log.rotation_age_us > 0 && (!exists || too_big || too_old || made == 0)) {
        char text[32];
        auto_fd int fd = open(mark, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        int n = snprintf(text, sizeof text, "%lld", (long long)now_seconds());
        if (fd >= 0)
            write_fully(fd, text, (size_t)n);
    }
}

static int
make_directories(const char *dir)
{
    char path[PATH_SIZE];
    if (snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path)
        return -1;
    for (char *p = path + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char c = *p;
        *p = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return -1;
        *p = c;
        if (c == '\0')
            return 0;
    }
}

/* Open <directory>/<pattern> for appending. -1 with errno when that fails. */
static int
open_log_file(const char *pattern)
{
    char name[256], path[PATH_SIZE];
    time_t now = (time_t)now_seconds();
    struct tm tm;
    (void)localtime_r(&now, &tm);
/* The pattern is the user's by design; strftime reads no arguments through it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t named = strftime(name, sizeof name, pattern, &tm);
#pragma GCC diagnostic pop
    if (named == 0 || !path_join(path, the_log.directory, name)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (make_directories(the_log.directory) != 0)
        return -1;
    rotate_if_due(path);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void
write_to_file(int *fd, const char *pattern, enum log_level level, const char *text)
{
    if (*fd < 0) {
        *fd = open_log_file(pattern);
        if (*fd < 0) {
            if (!the_log.file_broken)
                (void)dprintf(STDERR_FILENO, "WARNING: cannot write log file '%s/%s': %s\n", the_log.directory, pattern,
                    strerror(errno));
            the_log.file_broken = 1;
            return;
        }
    }
    char stamp[64];
    time_t now = (time_t)now_seconds();
    struct tm tm;
    (void)localtime_r(&now, &tm);
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S %Z", &tm);
    auto_strbuf line = STRBUF_INIT;
    strbuf_printf(&line, "%s [%d]: %s: %s\n", stamp, (int)getpid(), level_names[level], text);
    write_fully(*fd, strbuf_str(&line), line.len);
}

/* One event. console_text may span lines of its own ("HINT: ..."). */
static void
emit(enum log_level level, const char *console_text, const char *file_text)
{
    int saved_errno = errno;
    (void)pthread_mutex_lock(&the_log.lock);
    if (level >= the_log.console_level) {
        if (the_log.before_console != NULL)
            the_log.before_console();
        write_fully(STDERR_FILENO, console_text, strlen(console_text));
    }
    if (level >= the_log.file_level && the_log.filename != NULL)
        write_to_file(&the_log.fd, the_log.filename, level, file_text);
    if (level == LOG_LEVEL_ERROR && the_log.error_filename != NULL)
        write_to_file(&the_log.error_fd, the_log.error_filename, level, file_text);
    (void)pthread_mutex_unlock(&the_log.lock);
    errno = saved_errno;
}

void
log_message(enum log_level level, const char *fmt, ...)
{
    if (level < the_log.console_level && level < the_log.file_level)
        return;
    char text[2048], line[2100];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)snprintf(line, sizeof line, "%s: %s\n", level_names[level], text);
    emit(level, line, text);
}

const char *
log_error_class(int code)
{
    static const char *const names[] = {"ok", "cancelled", "usage", "config", "notfound", "exists", "permission",
        "nospace", "io", "corrupt", "torn", "locked", "timeout", "network", "protocol", "unsupported", "version",
        "nomemory", "server", "bug"};
    size_t i = code <= 0 ? (size_t)-code : 0;
    return i < sizeof names / sizeof names[0] ? names[i] : "bug";
}

void
log_error(const struct gsp_error *err)
{
    char console[1200], file[1200];
    int has_hint = err->hint[0] != '\0';
    (void)snprintf(console, sizeof console, "ERROR: %s\n%s%s%s", err->msg, has_hint ? "HINT: " : "", err->hint,
        has_hint ? "\n" : "");
    (void)snprintf(
        file, sizeof file, "[%s] %s%s%s", log_error_class(err->code), err->msg, has_hint ? " HINT: " : "", err->hint);
    emit(LOG_LEVEL_ERROR, console, file);
}
