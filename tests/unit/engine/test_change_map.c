/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_test.h"

#include "core/engine/change_map.h"

enum { MODEL_BLOCKS = 400000 };

static struct change_map *
new_map(void)
{
    struct change_map *map = change_map_new();
    assert_non_null(map);
    return map;
}

static void
add(struct change_map *map, uint32_t kind, uint32_t relation, uint32_t block, uint32_t count)
{
    struct gsp_error err;
    const struct gsp_change change = {
        .kind = kind, .space_oid = 1663, .db_oid = 5, .relation = relation, .block = block, .count = count};
    ok(change_map_add(map, &change, 1, &err));
}

static void
an_unknown_relation_is_unchanged(void **state)
{
    (void)state;
    struct change_map *map = new_map();
    add(map, GSP_CHANGE_BLOCKS, 1259, 7, 1);
    change_map_seal(map);
    assert_null(change_map_find(map, 1663, 5, 1260));
    assert_null(change_map_find(map, 1663, 4, 1259));
    assert_null(change_map_find(map, 1664, 5, 1259));
    assert_true(change_map_next(NULL, 0) == UINT64_MAX);
    change_map_free(map);
}

/* Against one byte per block: lists, bitmaps, repeats, any order, over the borders of chunks and segments. */
static void
every_changed_block_is_found_and_no_other(void **state)
{
    (void)state;
    static const uint32_t how_many[] = {0, 1, 50, 5000, 60000, 500000};
    uint8_t *model = malloc(MODEL_BLOCKS);
    uint64_t random = 88172645463325252u;
    assert_non_null(model);
    for (size_t round = 0; round < sizeof how_many / sizeof how_many[0]; round++) {
        struct change_map *map = new_map();
        memset(model, 0, MODEL_BLOCKS);
        for (uint32_t i = 0; i < how_many[round]; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            uint32_t count = 1 + (uint32_t)(random >> 60), block = (uint32_t)(random % (MODEL_BLOCKS - 16));
            add(map, GSP_CHANGE_BLOCKS, 1259, block, count);
            memset(model + block, 1, count);
        }
        change_map_seal(map);
        const struct changed_relation *r = change_map_find(map, 1663, 5, 1259);
        uint64_t next = change_map_next(r, 0);
        for (uint32_t block = 0; block < MODEL_BLOCKS; block++) {
            assert_int_equal(model[block], next == block);
            if (next == block)
                next = change_map_next(r, (uint64_t)block + 1);
        }
        assert_true(next == UINT64_MAX);
        change_map_free(map);
    }
    free(model);
}

static void
a_cut_changes_everything_behind_it(void **state)
{
    (void)state;
    struct change_map *map = new_map();
    add(map, GSP_CHANGE_BLOCKS, 1259, 3, 1);
    add(map, GSP_CHANGE_FROM, 1259, 100, 0);
    add(map, GSP_CHANGE_FROM, 1259, 200, 0); /* the lower one counts */
    add(map, GSP_CHANGE_BLOCKS, 1259, 150, 10);
    change_map_seal(map);
    const struct changed_relation *r = change_map_find(map, 1663, 5, 1259);
    assert_int_equal(change_map_next(r, 0), 3);
    assert_int_equal(change_map_next(r, 4), 100);
    assert_int_equal(change_map_next(r, 101), 101);
    assert_int_equal(change_map_next(r, 131072 * 5), 131072 * 5);
    change_map_free(map);
}

static void
blocks_noted_before_the_cut_stay(void **state)
{
    (void)state;
    struct change_map *map = new_map();
    add(map, GSP_CHANGE_BLOCKS, 1259, 99, 5);
    add(map, GSP_CHANGE_FROM, 1259, 101, 0);
    change_map_seal(map);
    const struct changed_relation *r = change_map_find(map, 1663, 5, 1259);
    assert_int_equal(change_map_next(r, 0), 99);
    assert_int_equal(change_map_next(r, 100), 100);
    assert_int_equal(change_map_next(r, 70000), 70000);
    change_map_free(map);
}

static void
a_database_put_in_place_changes_all_of_it(void **state)
{
    (void)state;
    struct change_map *map = new_map();
    add(map, GSP_CHANGE_BLOCKS, 1259, 3, 1);
    add(map, GSP_CHANGE_DATABASE, 77, 88, 0);
    change_map_seal(map);
    assert_int_equal(change_map_next(change_map_find(map, 1663, 5, 1259), 0), 0);
    assert_int_equal(change_map_next(change_map_find(map, 1663, 5, 4711), 9), 9);
    assert_null(change_map_find(map, 1663, 4, 1259));
    change_map_free(map);
}

static void
the_last_block_there_can_be(void **state)
{
    (void)state;
    struct gsp_error err = {0};
    struct change_map *map = new_map();
    add(map, GSP_CHANGE_BLOCKS, 1, UINT32_MAX, 1);
    const struct gsp_change beyond = {.kind = GSP_CHANGE_BLOCKS, .relation = 1, .block = UINT32_MAX, .count = 2};
    assert_int_equal(change_map_add(map, &beyond, 1, &err), GSP_E_PROTO);
    const struct gsp_change unknown = {.kind = 99, .relation = 1};
    memset(&err, 0, sizeof err);
    assert_int_equal(change_map_add(map, &unknown, 1, &err), GSP_E_PROTO);
    change_map_seal(map);
    const struct changed_relation *r = change_map_find(map, 1663, 5, 1);
    assert_int_equal(change_map_next(r, 0), UINT32_MAX);
    assert_true(change_map_next(r, UINT64_C(1) << 32) == UINT64_MAX);
    change_map_free(map);
}

static void
many_relations_are_kept_apart(void **state)
{
    (void)state;
    struct change_map *map = new_map();
    for (uint32_t relation = 1; relation <= 20000; relation++)
        add(map, GSP_CHANGE_BLOCKS, relation, relation * 3, 1);
    change_map_seal(map);
    for (uint32_t relation = 1; relation <= 20000; relation++) {
        const struct changed_relation *r = change_map_find(map, 1663, 5, relation);
        assert_int_equal(change_map_next(r, 0), relation * 3);
        assert_true(change_map_next(r, relation * 3 + 1) == UINT64_MAX);
    }
    change_map_free(map);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_unknown_relation_is_unchanged),
        cmocka_unit_test(every_changed_block_is_found_and_no_other),
        cmocka_unit_test(a_cut_changes_everything_behind_it),
        cmocka_unit_test(blocks_noted_before_the_cut_stay),
        cmocka_unit_test(a_database_put_in_place_changes_all_of_it),
        cmocka_unit_test(the_last_block_there_can_be),
        cmocka_unit_test(many_relations_are_kept_apart),
    };
    return cmocka_run_group_tests_name("engine/change_map", tests, NULL, NULL);
}
