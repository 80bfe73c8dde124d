/* SPDX-License-Identifier: Apache-2.0
 * pg_probackup.conf: any bytes are read or refused; what was read is written so that it reads the same,
 * and a value that is set comes back as it was. */
#include "core/base/log.h"
#include "core/config/conf_file.h"
#include "tests/fuzz/fuzz.h"

static struct conf_file *
reread(const struct conf_file *conf)
{
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error err = {0};
    struct conf_file *again = NULL;
    must(conf_file_format(conf, &text, &err) == 0);
    must(conf_file_parse(strbuf_str(&text), text.len, "again", &again, &err) == 0);
    return again;
}

static void
check_same(const struct conf_file *a, const struct conf_file *b)
{
    for (size_t i = 0; i < config_defs_n; i++) {
        const char *x = conf_file_get(a, config_defs[i].key), *y = conf_file_get(b, config_defs[i].key);
        must((x == NULL) == (y == NULL) && (x == NULL || strcmp(x, y) == 0));
    }
}

/* Set what the file has under one key as the value of another. */
static void
check_set(struct conf_file *conf)
{
    struct gsp_error err = {0};
    const char *value = conf_file_get(conf, "pgdata");
    if (value == NULL || conf_file_set(conf, "restore-command", value, &err) != 0)
        return;
    struct conf_file *again = reread(conf);
    check_same(conf, again);
    must(strcmp(conf_file_get(again, "restore-command"), conf_file_get(conf, "pgdata")) == 0);
    conf_file_free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gsp_error err = {0};
    struct conf_file *conf = NULL;
    struct config *cfg = NULL;
    log_set_console(LOG_LEVEL_OFF);
    if (conf_file_parse((const char *)data, size, "fuzz", &conf, &err) != 0)
        return 0;
    struct conf_file *again = reread(conf);
    check_same(conf, again);
    conf_file_free(again);
    check_set(conf);
    if (config_new(&cfg, &err) == 0)
        (void)conf_file_apply(conf, cfg, &err);
    config_free(cfg);
    conf_file_free(conf);
    return 0;
}
