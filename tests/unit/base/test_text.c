/* SPDX-License-Identifier: Apache-2.0
 * strbuf, arena, path and the JSON writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/base/arena.h"
#include "core/base/json_writer.h"
#include "core/base/path.h"

static void
strbuf_grows_and_hands_over(void **state)
{
    (void)state;
    struct strbuf sb = STRBUF_INIT;
    struct gsp_error err = {0};
    assert_string_equal(strbuf_str(&sb), "");
    for (int i = 0; i < 1000; i++)
        strbuf_printf(&sb, "%d,", i);
    assert_int_equal(strbuf_check(&sb, &err), 0);
    assert_int_equal(sb.len, 3890);
    char *text = strbuf_steal(&sb);
    assert_true(strncmp(text, "0,1,2,", 6) == 0);
    free(text);
    assert_null(sb.data);
    text = strbuf_steal(&sb);
    assert_string_equal(text, "");
    free(text);
    assert_null(strbuf_reserve(&sb, SIZE_MAX / 2));
    strbuf_puts(&sb, "lost");
    assert_int_equal(strbuf_check(&sb, &err), GSP_E_NOMEM);
    strbuf_free(&sb);
}

static void
arena_keeps_everything_apart(void **state)
{
    (void)state;
    struct arena *arena = arena_new();
    char *first = arena_strdup(arena, "first");
    unsigned char *big = arena_alloc(arena, 1000000);
    char *second = arena_strndup(arena, "secondary", 6);
    memset(big, 0xAB, 1000000);
    assert_string_equal(first, "first");
    assert_string_equal(second, "second");
    assert_true((uintptr_t)big % 8 == 0);
    assert_null(arena_alloc(arena, SIZE_MAX));
    arena_free(arena);
}

static void
paths(void **state)
{
    (void)state;
    static const char *const safe[] = {"a", "a/b", ".hidden", "a/..b", "a/b..", "..."};
    static const char *const unsafe[] = {"", "/a", "a/", "a//b", ".", "..", "a/./b", "a/../b", "../a"};
    for (size_t i = 0; i < sizeof safe / sizeof safe[0]; i++)
        assert_true(path_is_safe_relative(safe[i]));
    for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++)
        assert_false(path_is_safe_relative(unsafe[i]));
    static const char *const canonical[][2] = {
        {"/a//b/./c/", "/a/b/c"}, {"/", "/"}, {"//", "/"}, {"a/b/", "a/b"}, {"/a/../b", "/a/../b"}};
    for (size_t i = 0; i < sizeof canonical / sizeof canonical[0]; i++) {
        char *got = path_canonical(canonical[i][0]);
        assert_string_equal(got, canonical[i][1]);
        free(got);
    }
    assert_true(path_is_same_or_below("/a/b", "/a"));
    assert_true(path_is_same_or_below("/a", "/a"));
    assert_false(path_is_same_or_below("/ab", "/a"));
    assert_true(path_is_same_or_below("/a", "/"));
    char joined[PATH_SIZE];
    assert_true(path_join(joined, "", "x"));
    assert_string_equal(joined, "x");
}

static void
json_in_the_stock_layout(void **state)
{
    (void)state;
    auto_strbuf out = STRBUF_INIT;
    struct json_writer w;
    json_begin(&w, &out);
    json_open(&w, NULL, '{');
    json_string(&w, "na\"me", "line\nbreak \\ \x01");
    json_open(&w, "list", '[');
    json_close(&w, ']');
    json_i64(&w, "n", -5);
    json_close(&w, '}');
    assert_string_equal(strbuf_str(&out),
        "{\n    \"na\\\"me\": \"line\\nbreak \\\\ \\u0001\",\n    \"list\": [\n    ],\n    \"n\": -5\n}\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strbuf_grows_and_hands_over),
        cmocka_unit_test(arena_keeps_everything_apart),
        cmocka_unit_test(paths),
        cmocka_unit_test(json_in_the_stock_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
