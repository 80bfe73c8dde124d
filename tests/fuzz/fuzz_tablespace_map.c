/* SPDX-License-Identifier: Apache-2.0
 * tablespace_map: any bytes are read or refused; what is accepted names links of pg_tblspc only. */
#include "core/base/path.h"
#include "core/catalog/catalog.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gsp_error err = {0};
    struct tablespace *spaces = NULL;
    size_t n = 0;
    int rc = tablespace_map_parse((const char *)data, size, &spaces, &n, &err);
    must(rc == err.code && (rc == 0 || rc == GSP_E_CORRUPT));
    for (size_t i = 0; i < n; i++) {
        must(spaces[i].oid[0] != '\0' && spaces[i].oid[strspn(spaces[i].oid, "0123456789")] == '\0');
        must(spaces[i].location[0] != '\0' && strlen(spaces[i].location) < PATH_SIZE);
    }
    tablespaces_free(spaces, n);
    return 0;
}
