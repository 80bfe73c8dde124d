/* SPDX-License-Identifier: Apache-2.0
 * backup.control: any bytes are read or refused; what was read and written reads the same again. */
#include "core/base/log.h"
#include "core/catalog/backup.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gsp_error err = {0};
    auto_backup b, again;
    auto_strbuf first = STRBUF_INIT, second = STRBUF_INIT;
    backup_init(&b);
    backup_init(&again);
    log_set_console(LOG_LEVEL_OFF);
    int rc = backup_parse((const char *)data, size, "fuzz", &b, &err);
    must(rc == err.code && (rc == 0 || rc == GSP_E_CORRUPT));
    if (rc != 0)
        return 0;
    must(b.id[0] != '\0' && b.start_time > 0);
    /* A line longer than the stock reader's buffer is read, but never written. */
    if (backup_format(&b, &first, &err) != 0) {
        must(err.code == GSP_E_USAGE);
        return 0;
    }
    must(backup_parse(first.data, first.len, "again", &again, &err) == 0);
    must(again.status == b.status && again.start_lsn == b.start_lsn && strcmp(again.id, b.id) == 0);
    must(backup_format(&again, &second, &err) == 0);
    must(first.len == second.len && memcmp(first.data, second.data, first.len) == 0);
    return 0;
}
