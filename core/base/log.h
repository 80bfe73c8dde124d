/* SPDX-License-Identifier: Apache-2.0
 * The log: one event, one line, to stderr and, when configured, to a file. Levels are the manual's.
 * Below core/cli nobody logs errors: they are returned. thread ANY */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "gsp/plugin.h"

enum log_level {
    LOG_LEVEL_VERBOSE = GSP_LOG_VERBOSE,
    LOG_LEVEL_LOG = GSP_LOG_LOG,
    LOG_LEVEL_INFO = GSP_LOG_INFO,
    LOG_LEVEL_WARNING = GSP_LOG_WARNING,
    LOG_LEVEL_ERROR = 5,
    LOG_LEVEL_OFF = 6,
};

/* log_level_parse - any beginning of a level's name in any case ("notice" counts as info). 1 or 0. */
int log_level_parse(const char *text, enum log_level *ret);
/* log_level_name - upper case, as in messages and pg_probackup.conf. */
const char *log_level_name(enum log_level level);

struct log_file_config {
    const char *directory;      /* absolute */
    const char *filename;       /* strftime pattern, NULL = "pg_probackup.log" */
    const char *error_filename; /* strftime pattern, NULL = none */
    enum log_level level;       /* OFF = no file */
    uint64_t rotation_bytes;    /* 0 = never */
    int64_t rotation_age_us;    /* 0 = never */
    int json;                   /* an object a line, docs/schemas/log.json */
};

void log_set_console(enum log_level level);
/* log_open_file - start logging to a file; the directory is made with the first message. Several processes may log into
 * one file: each line is one write, and nothing is lost when one of them begins a new file. */
int log_open_file(const struct log_file_config *config, struct gsp_error *err);
/* log_about - the instance and backup that the lines of the file speak of, as far as they are known; NULL: as before.
 */
void log_about(const char *instance, const char *backup_id);
void log_close(void);

void log_message(enum log_level level, const char *fmt, ...) GSP_PRINTF(2, 3);
/* log_to_file - only there; text of any length. */
void log_to_file(enum log_level level, const char *text);
#define log_verbose(...) log_message(LOG_LEVEL_VERBOSE, __VA_ARGS__)
#define log_log(...) log_message(LOG_LEVEL_LOG, __VA_ARGS__)
#define log_info(...) log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_message(LOG_LEVEL_WARNING, __VA_ARGS__)
/* log_error - the error of a command, with its hint and class: core/cli, once. */
void log_error(const struct gsp_error *err);
/* log_error_class - a word for a code: "corrupt", "locked", "nospace"... */
const char *log_error_class(int code);
/* log_console_hook - called around each console line, so that a progress line can make room. */
void log_console_hook(void (*before)(void));

#endif
