/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

static void
lines_and_escapes_are_understood(void **state)
{
    (void)state;
    static const char text[] = "16384 /srv/ts one\n16385\t/odd\\\nname\\\\end\n16386 /last";
    struct tablespace *spaces = NULL;
    size_t n = 0;
    struct gsp_error err;
    ok(tablespace_map_parse(text, sizeof text - 1, &spaces, &n, &err));
    assert_int_equal(n, 3);
    assert_string_equal(spaces[0].oid, "16384");
    assert_string_equal(spaces[0].location, "/srv/ts one");
    assert_string_equal(spaces[1].location, "/odd\nname\\end");
    assert_string_equal(spaces[2].location, "/last");
    tablespaces_free(spaces, n);
    ok(tablespace_map_parse("", 0, &spaces, &n, &err));
    assert_int_equal(n, 0);
    tablespaces_free(spaces, n);
}

static void
bad_lines_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x /a\n", "/a\n", "16384\n", "16384 \n", "16384/a\n", "12345678901 /a\n", "\n", "../1 /a\n", "1 /a\n1 /b\n"};
    struct tablespace *spaces = NULL;
    size_t n = 0;
    struct gsp_error err;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        fails(tablespace_map_parse(bad[i], strlen(bad[i]), &spaces, &n, &err), GSP_E_CORRUPT);
    fails(tablespace_map_parse("1 /a\0b\n", 7, &spaces, &n, &err), GSP_E_CORRUPT);
    char *lengthy = calloc(1, 10000);
    memset(lengthy, 'a', 9999);
    memcpy(lengthy, "1 /", 3);
    fails(tablespace_map_parse(lengthy, 9999, &spaces, &n, &err), GSP_E_CORRUPT);
    free(lengthy);
    assert_null(spaces);
}

static void
database_lines_are_the_stock_tools(void **state)
{
    (void)state;
    auto_strbuf out = STRBUF_INIT;
    database_map_add_line(&out, 15073, "postgres");
    database_map_add_line(&out, 4294967295u, "db 2");
    assert_string_equal(out.data,
        "{\"dbOid\":\"15073\", \"datname\":\"postgres\"}\n{\"dbOid\":\"4294967295\", \"datname\":\"db 2\"}\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_and_escapes_are_understood),
        cmocka_unit_test(bad_lines_are_refused),
        cmocka_unit_test(database_lines_are_the_stock_tools),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
