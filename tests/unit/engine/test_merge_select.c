/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/catalog/catalog_test.h"

#include "core/base/cleanup.h"
#include "core/engine/merge.h"

/* A list as a table: id, parent ("" = FULL), status. Newest first, as in a catalog. */
struct row {
    const char *id, *parent;
    enum backup_status status;
};

static struct backup_list
make_list(const struct row *rows, size_t n)
{
    struct backup_list list = {.backups = calloc(n, sizeof(struct backup)), .n = n, .cap = n};
    assert_non_null(list.backups);
    for (size_t i = 0; i < n; i++) {
        struct backup *b = &list.backups[i];
        backup_init(b);
        (void)snprintf(b->id, sizeof b->id, "%s", rows[i].id);
        (void)snprintf(b->parent_id, sizeof b->parent_id, "%s", rows[i].parent);
        b->mode = strdup(rows[i].parent[0] == '\0' ? "FULL" : "DELTA");
        b->status = rows[i].status;
    }
    return list;
}

#define LIST(rows) make_list(rows, sizeof(rows) / sizeof((rows)[0]))

/* The ids of the chain, or the error's message. */
static void
expect(const struct backup_list *list, const char *id, const char *chain)
{
    struct gsp_error err = {0};
    auto_free const struct backup **found = NULL;
    size_t n = 0;
    char text[64] = "";
    ok(merge_select(list, id, &found, &n, &err));
    for (size_t i = 0; i < n; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? " " : "", found[i]->id);
    assert_string_equal(text, chain);
}

static void
expect_failure(const struct backup_list *list, const char *id, int code, const char *message)
{
    struct gsp_error err;
    const struct backup **found = NULL;
    size_t n;
    fails(merge_select(list, id, &found, &n, &err), code);
    assert_string_equal(err.msg, message);
    assert_true(err.hint[0] != '\0');
    assert_null(found);
}

static void
an_increment_names_its_chain(void **state)
{
    (void)state;
    static const struct row rows[] = {{"C", "B", BACKUP_OK}, {"B", "A", BACKUP_DONE}, {"A", "F", BACKUP_OK},
        {"F", "", BACKUP_OK}, {"E", "", BACKUP_ERROR}};
    auto_backup_list list = LIST(rows);
    expect(&list, "C", "C B A F");
    /* What is based on the one that is named stays based on it. */
    expect(&list, "B", "B A F");
    expect(&list, "F", "A F");
}

static void
a_full_backup_needs_one_valid_child(void **state)
{
    (void)state;
    static const struct row alone[] = {{"G", "", BACKUP_OK}, {"F", "", BACKUP_OK}};
    auto_backup_list first = LIST(alone);
    expect_failure(&first, "F", GSP_E_NOENT, "Failed to find merge candidate, backup F has no valid children");
    static const struct row invalid[] = {{"A", "F", BACKUP_CORRUPT}, {"F", "", BACKUP_OK}};
    auto_backup_list second = LIST(invalid);
    expect_failure(&second, "F", GSP_E_NOENT, "Failed to find merge candidate, backup F has no valid children");
    static const struct row two[] = {{"B", "F", BACKUP_OK}, {"A", "F", BACKUP_OK}, {"F", "", BACKUP_OK}};
    auto_backup_list third = LIST(two);
    expect_failure(&third, "F", GSP_E_USAGE,
        "Merge target is full backup and has multiple direct children, you must specify child backup id you want to "
        "merge with");
}

static void
nobody_loses_what_it_is_based_on(void **state)
{
    (void)state;
    struct row rows[] = {{"X", "A", BACKUP_OK}, {"B", "A", BACKUP_OK}, {"A", "F", BACKUP_OK}, {"F", "", BACKUP_OK}};
    static const enum backup_status of_use[] = {BACKUP_OK, BACKUP_DONE, BACKUP_CORRUPT, BACKUP_ORPHAN, BACKUP_RUNNING};
    for (size_t i = 0; i < sizeof of_use / sizeof of_use[0]; i++) {
        rows[0].status = of_use[i];
        auto_backup_list list = LIST(rows);
        expect_failure(&list, "B", GSP_E_EXIST, "backup X is based on backup A, which a merge would take away");
        expect(&list, "A", "A F");
    }
    rows[0].status = BACKUP_ERROR; /* it never will be anything */
    auto_backup_list list = LIST(rows);
    expect(&list, "B", "B A F");
}

static void
an_unreadable_backup_may_be_based_on_any(void **state)
{
    (void)state;
    struct row rows[] = {{"X", "", BACKUP_UNKNOWN}, {"A", "F", BACKUP_OK}, {"F", "", BACKUP_OK}};
    auto_backup_list list = LIST(rows);
    expect(&list, "A", "A F");
    list.backups[0].unread = 1;
    expect_failure(&list, "A", GSP_E_IO,
        "the control file of backup X could not be read: it may be based on one that a merge would take away");
}

static void
every_member_must_be_valid(void **state)
{
    (void)state;
    struct row rows[] = {{"B", "A", BACKUP_OK}, {"A", "F", BACKUP_OK}, {"F", "", BACKUP_OK}};
    rows[1].status = BACKUP_CORRUPT;
    auto_backup_list middle = LIST(rows);
    expect_failure(&middle, "B", GSP_E_CORRUPT, "Backup A has status CORRUPT, merge is aborted");
    rows[0].status = BACKUP_ORPHAN;
    auto_backup_list newest = LIST(rows);
    expect_failure(&newest, "B", GSP_E_CORRUPT, "Backup B has status: ORPHAN");
    rows[0].status = BACKUP_MERGING;
    auto_backup_list stock = LIST(rows);
    expect_failure(&stock, "B", GSP_E_UNSUPPORTED, "backup B has status MERGING: another tool began to merge it");
    expect_failure(&stock, "Z", GSP_E_NOENT, "Requested backup Z is not found.");
}

static void
a_chain_without_its_beginning_is_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {{"B", "A", BACKUP_OK}};
    auto_backup_list list = LIST(rows);
    struct gsp_error err;
    const struct backup **found = NULL;
    size_t n;
    fails(merge_select(&list, "B", &found, &n, &err), GSP_E_NOENT);
}

int
main(void)
{
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_increment_names_its_chain),
        cmocka_unit_test(a_full_backup_needs_one_valid_child),
        cmocka_unit_test(nobody_loses_what_it_is_based_on),
        cmocka_unit_test(an_unreadable_backup_may_be_based_on_any),
        cmocka_unit_test(every_member_must_be_valid),
        cmocka_unit_test(a_chain_without_its_beginning_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
