/* SPDX-License-Identifier: Apache-2.0 */
#include "core/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/cleanup.h"
#include "core/base/json_writer.h"
#include "core/base/number.h"
#include "core/base/path.h"
#include "core/base/strbuf.h"
#include "core/base/timestamp.h"

enum { ABOUT_SIZE = 256 };

struct log_file {
    char *pattern; /* of its name, NULL = none */
    char path[PATH_SIZE];
    int fd;
};

struct event {
    enum log_level level;
    const char *text;
    const struct gsp_error *err; /* that text is the message of, or NULL */
};

/* The one log of the process. The lock covers everything below; it is taken last, nothing is called
 * with it but write(2) and the console hook. */
static struct {
    pthread_mutex_t lock;
    enum log_level console_level;
    void (*before_console)(void);
    enum log_level file_level;
    char *directory;
    struct log_file file, error_file;
    uint64_t rotation_bytes;
    int64_t rotation_age_us;
    int json;
    char instance[ABOUT_SIZE], backup_id[ABOUT_SIZE];
    int file_broken; /* said once that the file cannot be written */
} the_log = {.lock = PTHREAD_MUTEX_INITIALIZER,
    .console_level = LOG_LEVEL_INFO,
    .file_level = LOG_LEVEL_OFF,
    .file.fd = -1,
    .error_file.fd = -1};

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
    the_log.file.pattern = strdup(config->filename != NULL ? config->filename : "pg_probackup.log");
    the_log.error_file.pattern = config->error_filename != NULL ? strdup(config->error_filename) : NULL;
    if (the_log.directory == NULL || the_log.file.pattern == NULL ||
        (config->error_filename != NULL && the_log.error_file.pattern == NULL))
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    the_log.rotation_bytes = config->rotation_bytes;
    the_log.rotation_age_us = config->rotation_age_us;
    the_log.file_level = config->level;
    the_log.json = config->json;
    return 0;
}

void
log_about(const char *instance, const char *backup_id)
{
    (void)pthread_mutex_lock(&the_log.lock);
    if (instance != NULL)
        (void)snprintf(the_log.instance, sizeof the_log.instance, "%s", instance);
    if (backup_id != NULL)
        (void)snprintf(the_log.backup_id, sizeof the_log.backup_id, "%s", backup_id);
    (void)pthread_mutex_unlock(&the_log.lock);
}

static void
close_file(struct log_file *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    f->fd = -1;
}

void
log_close(void)
{
    (void)pthread_mutex_lock(&the_log.lock);
    close_file(&the_log.file);
    close_file(&the_log.error_file);
    free(the_log.directory);
    free(the_log.file.pattern);
    free(the_log.error_file.pattern);
    the_log.directory = the_log.file.pattern = the_log.error_file.pattern = NULL;
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

/* ---- one file, several processes ----------------------------------------------------------------- */

/* Where the file system has no such locks there is none: then a line may go to the previous file. */
static void
lock_file(int fd, int how)
{
    int rc;
    do
        rc = flock(fd, how);
    while (rc != 0 && errno == EINTR);
}

/* Does the name still lead to this file? */
static int
is_current(int fd, const char *path)
{
    struct stat mine, named;
    return fstat(fd, &mine) == 0 && stat(path, &named) == 0 && mine.st_dev == named.st_dev &&
           mine.st_ino == named.st_ino;
}

/* Open the file that has the name, locked: nobody gives it another one meanwhile. -1 with errno. */
static int
open_current(const char *path, int how)
{
    enum { TRIES = 100 };
    for (int i = 0;; i++) {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0)
            return -1;
        lock_file(fd, how);
        if (is_current(fd, path) || i == TRIES)
            return fd;
        (void)close(fd);
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

static void
write_rotation_mark(const char *path)
{
    char text[32];
    auto_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int n = snprintf(text, sizeof text, "%lld", (long long)now_seconds());
    if (fd >= 0)
        write_fully(fd, text, (size_t)n);
}

/* When the file is too big or too old it becomes "<file>.1": 1. fd is the file, locked exclusively: of several
 * processes one renames it, and the others find a new one. */
static int
rotate_if_due(int fd, const char *path)
{
    char mark[PATH_SIZE + 16], previous[PATH_SIZE + 16];
    struct stat st;
    (void)snprintf(mark, sizeof mark, "%s.rotation", path);
    if (fstat(fd, &st) != 0)
        return 0;
    int64_t made = read_rotation_mark(mark);
    int is_new = st.st_size == 0;
    int too_big = the_log.rotation_bytes > 0 && (uint64_t)st.st_size >= the_log.rotation_bytes;
    int too_old = the_log.rotation_age_us > 0 && made > 0 && now_seconds() - made >= the_log.rotation_age_us / 1000000;
    int rotates = !is_new && (too_big || too_old);
    if (the_log.rotation_age_us > 0 && (is_new || rotates || made == 0))
        write_rotation_mark(mark);
    (void)snprintf(previous, sizeof previous, "%s.1", path);
    return rotates && rename(path, previous) == 0;
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

/* Name it after the pattern, begin a new one when that is due, and open it. 0 with errno. */
static int
open_log_file(struct log_file *f)
{
    char name[256];
    time_t now = (time_t)now_seconds();
    struct tm tm;
    (void)localtime_r(&now, &tm);
/* The pattern is the user's by design; strftime reads no arguments through it. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t named = strftime(name, sizeof name, f->pattern, &tm);
#pragma GCC diagnostic pop
    if (named == 0 || !path_join(f->path, the_log.directory, name)) {
        errno = ENAMETOOLONG;
        return 0;
    }
    if (make_directories(the_log.directory) != 0)
        return 0;
    f->fd = open_current(f->path, LOCK_EX);
    if (f->fd >= 0 && rotate_if_due(f->fd, f->path)) {
        (void)close(f->fd);
        f->fd = open_current(f->path, LOCK_SH);
    }
    if (f->fd >= 0)
        lock_file(f->fd, LOCK_UN);
    return f->fd >= 0;
}

/* ISO 8601 with a zone. */
static void
format_time(char stamp[64], int64_t us)
{
    char day[32], zone[8];
    time_t now = (time_t)(us / 1000000);
    struct tm tm;
    (void)localtime_r(&now, &tm);
    (void)strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)strftime(zone, sizeof zone, "%z", &tm);
    (void)snprintf(stamp, 64, "%s.%03d%.3s:%.2s", day, (int)(us / 1000 % 1000), zone, zone + 3);
}

static void
put_member(struct strbuf *line, const char *key, const char *value)
{
    if (value[0] == '\0')
        return;
    strbuf_printf(line, ", \"%s\": ", key);
    json_quote(line, value);
}

static void
format_json(struct strbuf *line, const struct event *e)
{
    char stamp[64];
    format_time(stamp, now_us());
    strbuf_printf(
        line, "{\"time\": \"%s\", \"pid\": %d, \"level\": \"%s\"", stamp, (int)getpid(), level_names[e->level]);
    put_member(line, "instance", the_log.instance);
    put_member(line, "backup-id", the_log.backup_id);
    strbuf_puts(line, ", \"message\": ");
    json_quote(line, e->text);
    if (e->err != NULL) {
        put_member(line, "class", log_error_class(e->err->code));
        strbuf_printf(line, ", \"code\": %d", e->err->code);
        put_member(line, "hint", e->err->hint);
        put_member(line, "where", e->err->where);
        if (e->err->sys_errno != 0)
            strbuf_printf(line, ", \"errno\": %d", e->err->sys_errno);
    }
    strbuf_puts(line, "}\n");
}

static void
format_plain(struct strbuf *line, const struct event *e)
{
    char stamp[64];
    time_t now = (time_t)now_seconds();
    struct tm tm;
    (void)localtime_r(&now, &tm);
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S %Z", &tm);
    strbuf_printf(line, "%s [%d]: %s: ", stamp, (int)getpid(), level_names[e->level]);
    if (e->err != NULL)
        strbuf_printf(line, "[%s] ", log_error_class(e->err->code));
    strbuf_puts(line, e->text);
    if (e->err != NULL && e->err->hint[0] != '\0')
        strbuf_printf(line, " HINT: %s", e->err->hint);
    strbuf_putc(line, '\n');
}

static void
write_to_file(struct log_file *f, const struct event *e)
{
    if (f->fd < 0 && !open_log_file(f)) {
        if (!the_log.file_broken)
            (void)dprintf(STDERR_FILENO, "WARNING: cannot write log file '%s/%s': %s\n", the_log.directory, f->pattern,
                strerror(errno));
        the_log.file_broken = 1;
        return;
    }
    auto_strbuf line = STRBUF_INIT;
    if (the_log.json)
        format_json(&line, e);
    else
        format_plain(&line, e);
    /* Another process may have begun a new file since the last line. */
    lock_file(f->fd, LOCK_SH);
    if (!is_current(f->fd, f->path)) {
        int fd = open_current(f->path, LOCK_SH);
        if (fd >= 0) {
            (void)close(f->fd);
            f->fd = fd;
        }
    }
    write_fully(f->fd, strbuf_str(&line), line.len);
    lock_file(f->fd, LOCK_UN);
}

/* One event. console_text may span lines of its own ("HINT: ..."), NULL: not there. */
static void
emit(const char *console_text, const struct event *e)
{
    int saved_errno = errno;
    (void)pthread_mutex_lock(&the_log.lock);
    if (console_text != NULL && e->level >= the_log.console_level) {
        if (the_log.before_console != NULL)
            the_log.before_console();
        write_fully(STDERR_FILENO, console_text, strlen(console_text));
    }
    if (e->level >= the_log.file_level && the_log.file.pattern != NULL)
        write_to_file(&the_log.file, e);
    if (e->level == LOG_LEVEL_ERROR && the_log.error_file.pattern != NULL)
        write_to_file(&the_log.error_file, e);
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
    emit(line, &(struct event){.level = level, .text = text});
}

void
log_to_file(enum log_level level, const char *text)
{
    emit(NULL, &(struct event){.level = level, .text = text});
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
    char console[1200];
    int has_hint = err->hint[0] != '\0';
    (void)snprintf(console, sizeof console, "ERROR: %s\n%s%s%s", err->msg, has_hint ? "HINT: " : "", err->hint,
        has_hint ? "\n" : "");
    emit(console, &(struct event){.level = LOG_LEVEL_ERROR, .text = err->msg, .err = err});
}
