/* SPDX-License-Identifier: Apache-2.0
 * What `show` and `show --archive` share. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include "core/base/json_writer.h"
#include "core/cli/cli.h"

enum { TABLE_CELL_SIZE = 64 };

struct table_column {
    const char *title;
    int right; /* aligned so */
};

/* table_print - a heading between rules and rows below it, each column as wide as its longest cell. cells: row by row.
 */
int table_print(struct strbuf *out, const struct table_column *columns, size_t n_columns,
    const char (*cells)[TABLE_CELL_SIZE], size_t n_rows, struct gsp_error *err);

struct show {
    struct cli *cli;
    struct strbuf out;
    struct json_writer w;
    int json;
    const char *id; /* of -i, or NULL */
};

/* show_backup_json - one backup as an object; list: all of its instance. */
void show_backup_json(struct json_writer *w, struct engine *e, const struct backup_list *list, const struct backup *b);
/* show_archive - the WAL archive of the engine's instance. */
int show_archive(struct show *s, struct gsp_error *err);

#endif
