/* SPDX-License-Identifier: Apache-2.0
 *
 * Text of a settings file, line by line. Pure, any thread. */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include "gsp/server.h"

/* All zero to begin with. */
struct pg_settings {
    char *text; /* NULL = nothing was put */
    size_t len, cap;
};

/* pg_settings_put - add the line name = 'value'. errors CONFIG (a value of several lines) NOMEM */
int pg_settings_put(struct pg_settings *s, const char *name, const char *value, struct gsp_error *err);

/* pg_settings_check_name - errors CONFIG: longer than the name of a restore point can be */
int pg_settings_check_name(const char *name, struct gsp_error *err);

void pg_settings_clear(struct pg_settings *s);

#endif
