/* SPDX-License-Identifier: Apache-2.0
 * plugin list, plugin info: what can be chosen, and why something cannot. */
#include <inttypes.h>
#include <string.h>

#include "core/base/json_writer.h"
#include "core/base/log.h"
#include "core/cli/cli.h"

static const char *
thread_model_name(uint32_t model)
{
    return model == GSP_THREAD_ANY ? "any" : "handle";
}

static void
list_plain(struct cli *cli, struct strbuf *out)
{
    struct plugin *p;
    for (uint32_t i = 0; (p = registry_at(cli->reg, i)) != NULL; i++)
        strbuf_printf(out, "%-11s %-14s %-8s ABI %u.%u  %s\n", plugin_kind_name(p->kind), p->name, p->desc->version,
            p->desc->abi_major, p->desc->abi_minor, p->desc->summary);
}

static void
list_json(struct cli *cli, struct strbuf *out)
{
    struct json_writer w;
    struct plugin *p;
    const struct plugin_refusal *refusal;
    json_begin(&w, out);
    json_open(&w, NULL, '{');
    json_open(&w, "plugins", '[');
    for (uint32_t i = 0; (p = registry_at(cli->reg, i)) != NULL; i++) {
        json_open(&w, NULL, '{');
        json_string(&w, "kind", plugin_kind_name(p->kind));
        json_string(&w, "name", p->name);
        json_string(&w, "version", p->desc->version);
        json_string(&w, "summary", p->desc->summary);
        json_string(&w, "file", p->file != NULL ? p->file : "");
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_open(&w, "refused", '[');
    for (uint32_t i = 0; (refusal = registry_refusal_at(cli->reg, i)) != NULL; i++) {
        json_open(&w, NULL, '{');
        json_string(&w, "file", refusal->file);
        json_string(&w, "reason", refusal->err.msg);
        json_string(&w, "hint", refusal->err.hint);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
}

static int
list_plugins(struct cli *cli, int json, struct strbuf *out, struct gsp_error *err)
{
    const struct plugin_refusal *refusal;
    int rc = registry_open_all(cli->reg, 0, err);
    if (rc != 0)
        return rc;
    if (json) {
        list_json(cli, out);
        return 0;
    }
    list_plain(cli, out);
    for (uint32_t i = 0; (refusal = registry_refusal_at(cli->reg, i)) != NULL; i++)
        log_warning("plugin file '%s' is not used: %s%s%s", refusal->file, refusal->err.msg,
            refusal->err.hint[0] != '\0' ? "; " : "", refusal->err.hint);
    return 0;
}

static void
info_plain(const struct plugin *p, struct strbuf *out)
{
    strbuf_printf(out, "%s %s - %s\nversion: %s\nABI: %u.%u\nthreads: %s\nfile: %s\n", plugin_kind_name(p->kind),
        p->name, p->desc->summary, p->desc->version, p->desc->abi_major, p->desc->abi_minor,
        thread_model_name(p->desc->thread_model), p->file != NULL ? p->file : "-");
    const struct gsp_option *o = p->desc->options;
    strbuf_puts(out, o != NULL && o->key != NULL ? "options:\n" : "options: none\n");
    for (; o != NULL && o->key != NULL; o++) {
        strbuf_printf(
            out, "  %s.%s.%s (%s", plugin_kind_name(p->kind), p->name, o->key, plugin_option_type_name(o->type));
        if (o->type == GSP_OPT_INT && (o->min != 0 || o->max != 0))
            strbuf_printf(out, ", %" PRId64 " to %" PRId64, o->min, o->max);
        if (o->def != NULL && o->def[0] != '\0')
            strbuf_printf(out, ", default %s", o->type == GSP_OPT_SECRET ? "***" : o->def);
        if (o->legacy_key != NULL)
            strbuf_printf(out, ", also %s", o->legacy_key);
        strbuf_printf(out, "): %s\n", o->help);
    }
}

static void
info_json(const struct plugin *p, struct strbuf *out)
{
    struct json_writer w;
    json_begin(&w, out);
    json_open(&w, NULL, '{');
    json_string(&w, "kind", plugin_kind_name(p->kind));
    json_string(&w, "name", p->name);
    json_string(&w, "version", p->desc->version);
    json_string(&w, "summary", p->desc->summary);
    json_u64(&w, "abi-major", p->desc->abi_major);
    json_u64(&w, "abi-minor", p->desc->abi_minor);
    json_string(&w, "threads", thread_model_name(p->desc->thread_model));
    json_string(&w, "file", p->file != NULL ? p->file : "");
    json_open(&w, "options", '[');
    for (const struct gsp_option *o = p->desc->options; o != NULL && o->key != NULL; o++) {
        json_open(&w, NULL, '{');
        json_string(&w, "key", o->key);
        json_string(&w, "type", plugin_option_type_name(o->type));
        if (o->def != NULL)
            json_string(&w, "default", o->type == GSP_OPT_SECRET ? "***" : o->def);
        if (o->legacy_key != NULL)
            json_string(&w, "legacy-key", o->legacy_key);
        json_string(&w, "help", o->help);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
}

/* NAME is a plugin's name, or kind-name where several kinds share it. */
static int
plugin_info(struct cli *cli, const char *name, int json, struct strbuf *out, struct gsp_error *err)
{
    struct plugin *p, *found = NULL;
    int rc = registry_open_all(cli->reg, 0, err);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; (p = registry_at(cli->reg, i)) != NULL; i++) {
        char full[64];
        (void)snprintf(full, sizeof full, "%s-%s", plugin_kind_name(p->kind), p->name);
        if (strcmp(name, full) != 0 && strcmp(name, p->name) != 0)
            continue;
        if (found != NULL && strcmp(name, full) != 0) {
            (void)gsp_fail(err, GSP_E_USAGE, 0, "several kinds have a plugin '%s'", name);
            return gsp_hint(err, "say which: gs_probackup plugin info %s", full);
        }
        found = p;
    }
    if (found == NULL) {
        (void)gsp_fail(err, GSP_E_NOENT, 0, "there is no plugin '%s'", name);
        return gsp_hint(err, "see 'gs_probackup plugin list'");
    }
    if (json)
        info_json(found, out);
    else
        info_plain(found, out);
    return 0;
}

int
cmd_plugin(struct cli *cli, struct gsp_error *err)
{
    auto_strbuf out = STRBUF_INIT;
    int json = cli_format_is_json(cli, err);
    if (json < 0)
        return json;
    int rc;
    if (cli->n_positional == 1 && strcmp(cli->positional[0], "list") == 0) {
        rc = list_plugins(cli, json, &out, err);
    } else if (cli->n_positional == 2 && strcmp(cli->positional[0], "info") == 0) {
        rc = plugin_info(cli, cli->positional[1], json, &out, err);
    } else {
        (void)gsp_fail(err, GSP_E_USAGE, 0, "'plugin' needs 'list' or 'info NAME'");
        return gsp_hint(err, "Try \"gs_probackup plugin list\"");
    }
    return rc == 0 ? cli_print(&out, err) : rc;
}
