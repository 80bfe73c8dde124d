/* SPDX-License-Identifier: Apache-2.0
 * The site's YAML: any bytes are read or refused with a place and a reason. */
#include "core/config/config.h"
#include "tests/fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gsp_error err = {0};
    struct config *cfg = NULL;
    struct config_value value;
    if (config_new(&cfg, &err) != 0)
        return 0;
    int rc = config_parse_yaml(cfg, (const char *)data, size, "fuzz", &err);
    if (rc != err.code || (rc != 0 && err.msg[0] == '\0'))
        __builtin_trap();
    for (size_t i = 0; config_value_at(cfg, i, &value); i++)
        if (value.text == NULL || value.origin == NULL)
            __builtin_trap();
    config_free(cfg);
    return 0;
}
