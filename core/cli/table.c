/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "core/base/cleanup.h"
#include "core/cli/show.h"

static void
print_rule(struct strbuf *out, size_t width)
{
    for (size_t i = 0; i < width; i++)
        strbuf_putc(out, '=');
    strbuf_putc(out, '\n');
}

static void
print_cell(struct strbuf *out, const struct table_column *column, size_t width, const char *text)
{
    strbuf_printf(out, " %*s ", column->right ? (int)width : -(int)width, text);
}

int
table_print(struct strbuf *out, const struct table_column *columns, size_t n_columns,
    const char (*cells)[TABLE_CELL_SIZE], size_t n_rows, struct gsp_error *err)
{
    auto_free size_t *width = calloc(n_columns, sizeof *width);
    size_t total = 0;
    if (width == NULL)
        return gsp_fail(err, GSP_E_NOMEM, 0, "out of memory");
    for (size_t c = 0; c < n_columns; c++) {
        width[c] = strlen(columns[c].title);
        for (size_t r = 0; r < n_rows; r++) {
            size_t len = strlen(cells[r * n_columns + c]);
            width[c] = len > width[c] ? len : width[c];
        }
        total += width[c] + 2;
    }
    print_rule(out, total);
    for (size_t c = 0; c < n_columns; c++)
        print_cell(out, &columns[c], width[c], columns[c].title);
    strbuf_putc(out, '\n');
    print_rule(out, total);
    for (size_t i = 0; i < n_rows * n_columns; i++) {
        print_cell(out, &columns[i % n_columns], width[i % n_columns], cells[i]);
        if ((i + 1) % n_columns == 0)
            strbuf_putc(out, '\n');
    }
    return 0;
}
