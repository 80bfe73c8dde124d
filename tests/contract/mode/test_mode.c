/* SPDX-License-Identifier: Apache-2.0
 * What every mode owes the core, whatever it decides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/contract/plugin_under_test.h"

#define MANY 3000

static struct plugin_under_test subject;

static const struct gsp_mode_ops *
ops(void)
{
    return subject.plugin->ops;
}

static void *
begin_plan(void)
{
    static const struct gsp_cluster cluster = {
        .struct_size = sizeof cluster,
        .page_size = 8192,
        .segment_blocks = 131072,
        .wal_block_size = 8192,
        .wal_segment_size = 16u << 20,
        .timeline = 1,
        .version = "15",
    };
    static const struct gsp_mode_env env = {.struct_size = sizeof env, .cluster = &cluster, .start_lsn = 0x2000028};
    struct gsp_error err = {0};
    void *plan = NULL;
    assert_int_equal(ops()->begin(subject.plugin->state, subject.opts, &env, &plan, &err), 0);
    assert_int_equal(err.code, 0);
    return plan;
}

static void
label_is_as_in_a_catalog(void **state)
{
    (void)state;
    assert_non_null(ops()->label);
    size_t len = strlen(ops()->label);
    assert_in_range(len, 1, 15);
    for (size_t i = 0; i < len; i++)
        assert_in_range(ops()->label[i], 'A', 'Z');
}

static void
every_file_gets_a_known_answer(void **state)
{
    (void)state;
    struct gsp_file *files = calloc(MANY, sizeof *files);
    struct gsp_plan *plans = malloc((MANY + 1) * sizeof *plans);
    assert_non_null(files);
    assert_non_null(plans);
    memset(plans, 0xee, (MANY + 1) * sizeof *plans);
    for (uint32_t i = 0; i < MANY; i++)
        files[i] = (struct gsp_file){
            .path = i % 2 == 0 ? "base/1/1259" : "PG_VERSION",
            .size = i * 8192ull,
            .action = i % 2 == 0 ? GSP_CLASS_PAGES : GSP_CLASS_COPY,
        };
    struct gsp_error err = {0};
    void *plan = begin_plan();
    assert_int_equal(ops()->plan_files(plan, files, MANY, plans, &err), 0);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(plans[i].action, GSP_PLAN_ALL);
    /* not one answer more than was asked for */
    assert_int_equal(plans[MANY].action, 0xeeeeeeeeu);
    ops()->end(plan);
    free(plans);
    free(files);
}

static void
no_files_is_fine(void **state)
{
    (void)state;
    struct gsp_error err = {0};
    void *plan = begin_plan();
    assert_int_equal(ops()->plan_files(plan, NULL, 0, NULL, &err), 0);
    ops()->end(plan);
}

static void
plans_are_independent(void **state)
{
    (void)state;
    struct gsp_file file = {.path = "base/1/1249", .size = 8192, .action = GSP_CLASS_PAGES};
    struct gsp_plan answer = {0};
    struct gsp_error err = {0};
    void *one = begin_plan(), *two = begin_plan();
    ops()->end(one);
    assert_int_equal(ops()->plan_files(two, &file, 1, &answer, &err), 0);
    assert_int_equal(answer.action, GSP_PLAN_ALL);
    ops()->end(two);
}

static void
end_accepts_null(void **state)
{
    (void)state;
    ops()->end(NULL);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(label_is_as_in_a_catalog),
        cmocka_unit_test(every_file_gets_a_known_answer),
        cmocka_unit_test(no_files_is_fine),
        cmocka_unit_test(plans_are_independent),
        cmocka_unit_test(end_accepts_null),
    };
    if (plugin_under_test_open(&subject, GSP_KIND_MODE, argc > 1 ? argv[1] : NULL) != 0)
        return 1;
    int failed = cmocka_run_group_tests_name("mode", tests, NULL, NULL);
    plugin_under_test_close(&subject);
    return failed;
}
