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
#define PARENT_START 0x1800028u

static struct plugin_under_test subject;

static const struct gsp_mode_ops *
ops(void)
{
    return subject.plugin->ops;
}

/* The core's change map, which the mode may ask to be filled. */
struct maps {
    int calls, result;
};

static int
map_from_server(void *ctx, struct gsp_error *err)
{
    struct maps *maps = ctx;
    maps->calls++;
    return maps->result != 0 ? gsp_fail(err, maps->result, 0, "no map today") : 0;
}

static int
map_from_wal(void *ctx, const char *archive, struct gsp_error *err)
{
    assert_true(archive == NULL || archive[0] == '\0'); /* no option was given */
    return map_from_server(ctx, err);
}

static int
try_begin(struct maps *maps, void **ret_plan, struct gsp_error *err)
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
    const struct gsp_mode_env env = {.struct_size = sizeof env,
        .timeline = 1,
        .cluster = &cluster,
        .start_lsn = 0x2000028,
        .parent_start_lsn = ops()->flags & GSP_MODE_INCREMENTAL ? PARENT_START : 0,
        .ctx = maps,
        .map_from_server = map_from_server,
        .map_from_wal = map_from_wal};
    return ops()->begin(subject.plugin->state, subject.opts, &env, ret_plan, err);
}

static void *
begin_plan(void)
{
    struct maps maps = {0};
    struct gsp_error err = {0};
    void *plan = NULL;
    assert_int_equal(try_begin(&maps, &plan, &err), 0);
    assert_int_equal(err.code, 0);
    assert_in_range(maps.calls, 0, 1);
    return plan;
}

/* ALL is always right; a part of a file can only be asked for where the core can tell which. */
static void
assert_fits(const struct gsp_file *file, const struct gsp_plan *answer)
{
    const uint32_t both = GSP_FILE_IN_PARENT | GSP_FILE_TRACKED;
    if (answer->action == GSP_PLAN_ALL)
        return;
    assert_true(ops()->flags & GSP_MODE_INCREMENTAL);
    assert_true(answer->action == GSP_PLAN_BLOCKS || answer->action == GSP_PLAN_LSN);
    assert_int_equal(file->action, GSP_CLASS_PAGES);
    assert_int_equal(file->flags & both, both);
    if (answer->action == GSP_PLAN_LSN)
        assert_in_range(answer->lsn, 1, PARENT_START); /* later would leave out what the parent may not have */
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
            .flags = i / 2 % 4,
        };
    struct gsp_error err = {0};
    void *plan = begin_plan();
    assert_int_equal(ops()->plan_files(plan, files, MANY, plans, &err), 0);
    for (uint32_t i = 0; i < MANY; i++)
        assert_fits(&files[i], &plans[i]);
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

/* The point of an incremental mode: of a file that the core knows all about it does not take the whole. */
static void
incremental_modes_leave_something_out(void **state)
{
    (void)state;
    struct gsp_file file = {
        .path = "base/1/1259", .size = 8192, .action = GSP_CLASS_PAGES, .flags = GSP_FILE_IN_PARENT | GSP_FILE_TRACKED};
    struct gsp_plan answer = {0};
    struct gsp_error err = {0};
    void *plan = begin_plan();
    assert_int_equal(ops()->plan_files(plan, &file, 1, &answer, &err), 0);
    assert_int_equal((ops()->flags & GSP_MODE_INCREMENTAL) != 0, answer.action != GSP_PLAN_ALL);
    ops()->end(plan);
}

static void
without_a_map_there_is_no_plan(void **state)
{
    (void)state;
    struct maps maps = {.result = GSP_E_NOENT};
    struct gsp_error err = {0};
    void *plan = NULL;
    int rc = try_begin(&maps, &plan, &err);
    assert_int_equal(rc, maps.calls > 0 ? GSP_E_NOENT : 0);
    assert_int_equal(rc, err.code);
    ops()->end(plan);
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
        cmocka_unit_test(incremental_modes_leave_something_out),
        cmocka_unit_test(without_a_map_there_is_no_plan),
        cmocka_unit_test(end_accepts_null),
    };
    if (plugin_under_test_open(&subject, GSP_KIND_MODE, argc > 1 ? argv[1] : NULL) != 0)
        return 1;
    int failed = cmocka_run_group_tests_name("mode", tests, NULL, NULL);
    plugin_under_test_close(&subject);
    return failed;
}
