/* SPDX-License-Identifier: Apache-2.0
 * pg_probackup.conf: an instance's settings. Read through inih behind a line reader of ours (which
 * lifts inih's limits), written in the stock tool's order. Comments, unknown keys and everything else
 * that a change does not touch survive it word for word. */
#ifndef CONFIG_CONF_FILE_H
#define CONFIG_CONF_FILE_H

#include "core/config/config.h"

struct conf_file;

/* conf_file_parse - text of a file; name is for messages. errors CONFIG with file:line:column, on
 * malformed lines, values over 64 KiB, NUL bytes. */
int conf_file_parse(const char *text, size_t len, const char *name, struct conf_file **ret, struct gsp_error *err);
/* conf_file_new - an empty one. */
int conf_file_new(struct conf_file **ret, struct gsp_error *err);
void conf_file_free(struct conf_file *conf);

/* conf_file_apply - give every key to cfg as CONFIG_INSTANCE; unknown keys are kept and named in one WARNING. */
int conf_file_apply(const struct conf_file *conf, struct config *cfg, struct gsp_error *err);
const char *conf_file_get(const struct conf_file *conf, const char *key);
/* conf_file_set - change or add one known key (canonical text). value NULL removes it. */
int conf_file_set(struct conf_file *conf, const char *key, const char *value, struct gsp_error *err);
/* conf_file_format - the whole file as text, ready to be written. */
int conf_file_format(const struct conf_file *conf, struct strbuf *out, struct gsp_error *err);

#endif
