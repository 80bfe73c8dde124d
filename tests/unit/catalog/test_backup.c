/* SPDX-License-Identifier: Apache-2.0 */
#include "catalog_test.h"

static void
ids_are_base_36_of_the_start_second(void **state)
{
    (void)state;
    char id[BACKUP_ID_SIZE];
    int64_t when = 7;
    backup_id_format(1700000000, id);
    assert_string_equal(id, "S44WE8");
    assert_int_equal(backup_id_parse("s44we8", &when), 1);
    assert_int_equal(when, 1700000000);
    backup_id_format(INT64_MAX, id);
    assert_int_equal(backup_id_parse(id, &when), 1);
    assert_true(when == INT64_MAX);
    static const char *const bad[] = {"", "0", "S44-E8", "S44WE8 ", "ZZZZZZZZZZZZZZZ", "../S44WE8"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(backup_id_parse(bad[i], &when), 0);
}

static void
lsns_are_two_hex_halves(void **state)
{
    (void)state;
    gsp_lsn lsn = 0;
    assert_int_equal(parse_lsn("A/5000028", &lsn), 1);
    assert_true(lsn == 0xA05000028ull);
    assert_int_equal(parse_lsn("ffffffff/FFFFFFFF", &lsn), 1);
    assert_true(lsn == UINT64_MAX);
    static const char *const bad[] = {"", "/", "1", "1/", "/1", "1/2 ", "123456789/0", "0/123456789", "g/1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse_lsn(bad[i], &lsn), 0);
}

static void
versions_compare_as_numbers(void **state)
{
    (void)state;
    assert_int_equal(version_number("2.4.2"), 20402);
    assert_int_equal(version_number("2.5.16"), 20516);
    assert_int_equal(version_number("2.4"), 0);
    assert_int_equal(version_number("2.4.2.1"), 0);
    assert_int_equal(version_number("2.100.2"), 0);
    assert_int_equal(version_number(""), 0);
    assert_true(version_number(program_version) > 0);
}

static void
round_trip(const char *name)
{
    auto_strbuf text = STRBUF_INIT, again = STRBUF_INIT;
    struct gsp_error err;
    auto_backup b;
    backup_init(&b);
    data_read(name, &text);
    ok(backup_parse(text.data, text.len, name, &b, &err));
    ok(backup_format(&b, &again, &err));
    assert_string_equal(again.data, text.data);
}

static void
what_was_read_is_written_byte_for_byte(void **state)
{
    (void)state;
    round_trip("full.control");
    round_trip("increment.control");
    round_trip("pg_probackup25.control");
}

static void
every_key_reaches_its_field(void **state)
{
    (void)state;
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error err;
    auto_backup b;
    backup_init(&b);
    data_read("full.control", &text);
    ok(backup_parse(text.data, text.len, "x", &b, &err));
    assert_string_equal(b.id, "S44WE8");
    assert_true(backup_is_full(&b) && !backup_is_valid(&b) && b.stream && !b.from_replica);
    assert_string_equal(b.compress_alg, "zlib");
    assert_int_equal(b.compress_level, 6);
    assert_int_equal(b.timeline, 3);
    assert_true(b.start_lsn == 0xA05000028ull && b.stop_lsn == 0xA050001F0ull);
    assert_int_equal(b.start_time, 1700000000);
    assert_int_equal(b.end_time, 1700000102);
    assert_true(b.recovery_xid == 4294967299ull);
    assert_string_equal(b.merge_dest_id, "S44WEX");
    assert_int_equal(b.status, BACKUP_MERGING);
    assert_string_equal(b.external_dirs, "/srv/one:/srv/two");
    assert_string_equal(b.note, "before the upgrade");
    assert_int_equal(b.content_crc, 2149673);
    assert_null(b.made_by);
}

static void
the_grammar_is_the_stock_readers(void **state)
{
    (void)state;
    static const char text[] = "  # comment\n"
                               "\n"
                               "BACKUP_MODE=p# a prefix, another spelling\n"
                               "start-time = '2023-11-14 22:13:20'\r\n"
                               "note = 'it''s # no comment' # but this is\n"
                               "external dirs=/x\n"
                               "no-such-key = 1\n"
                               "compress-alg = zs\n"
                               "block-size = 0x2000\n"
                               "start-lsn = nonsense\n"
                               "stream = y\n"
                               "status = ok";
    struct gsp_error err;
    auto_backup b;
    backup_init(&b);
    /* "external dirs": a blank ends a key, so this line has no '='. */
    fails(backup_parse(text, sizeof text - 1, "x", &b, &err), GSP_E_CORRUPT);
    assert_non_null(strstr(err.msg, "Syntax error in \"external dirs=/x\""));
    auto_strbuf good = STRBUF_INIT;
    strbuf_puts(&good, text);
    *strstr(good.data, "external dirs") = '#';
    ok(backup_parse(good.data, good.len, "x", &b, &err));
    assert_string_equal(b.mode, "PTRACK");
    assert_string_equal(b.note, "it's # no comment");
    assert_string_equal(b.compress_alg, "zstd");
    assert_int_equal(b.block_size, 8192);
    assert_true(b.start_lsn == 0 && b.stream);
    assert_int_equal(b.start_time, 1700000000);
    assert_int_equal(b.status, BACKUP_OK);
    assert_true(b.data_bytes == -1);
}

static void
bad_files_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "#Configuration\n",
        "backup-mode = FULL\n",
        "start-time = 'yesterday'\n",
        "start-time = '2023-11-14 22:13:20\n",
        "start-time = '2023-11-14 22:13:20' x\n",
        "= x\n",
        "start-time\n",
        "start-time = '2023-11-14 22:13:20'\ndata-bytes = -2\n",
        "start-time = '2023-11-14 22:13:20'\ndata-bytes = 99999999999999999999\n",
        "start-time = '2023-11-14 22:13:20'\nparent-backup-id = '../x'\n",
        "start-time = '2023-11-14 22:13:20'\nstream = perhaps\n",
    };
    struct gsp_error err;
    auto_backup b;
    backup_init(&b);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        fails(backup_parse(bad[i], strlen(bad[i]), "x", &b, &err), GSP_E_CORRUPT);
    fails(backup_parse("start-time\0=", 12, "x", &b, &err), GSP_E_CORRUPT);
}

static void
quotes_survive_and_long_lines_are_refused(void **state)
{
    (void)state;
    auto_strbuf text = STRBUF_INIT;
    struct gsp_error err;
    auto_backup b, again;
    backup_init(&b);
    backup_init(&again);
    b.start_time = 1700000000;
    b.note = strdup("'it''s' # \"quoted\"");
    b.made_by = strdup("1.2.3");
    ok(backup_format(&b, &text, &err));
    assert_non_null(strstr(text.data, "# made by gs_probackup 1.2.3\n"));
    ok(backup_parse(text.data, text.len, "x", &again, &err));
    assert_string_equal(again.note, b.note);
    assert_string_equal(again.made_by, "1.2.3");
    free(b.note);
    b.note = malloc(1100);
    memset(b.note, 'n', 1099);
    /* note = '...' of exactly 1023 bytes is what the stock reader takes in one piece. */
    b.note[1023 - 9] = '\0';
    strbuf_reset(&text);
    ok(backup_format(&b, &text, &err));
    b.note[1023 - 9] = 'n';
    b.note[1024 - 9] = '\0';
    fails(backup_format(&b, &text, &err), GSP_E_USAGE);
    (void)strcpy(b.note, "two\nlines");
    fails(backup_format(&b, &text, &err), GSP_E_USAGE);
}

static void
statuses_have_names(void **state)
{
    (void)state;
    for (int i = BACKUP_UNKNOWN; i <= BACKUP_CORRUPT; i++) {
        enum backup_status got;
        assert_int_equal(backup_status_parse(backup_status_name((enum backup_status)i), &got), 1);
        assert_int_equal(got, i);
    }
    enum backup_status got;
    assert_int_equal(backup_status_parse("orphan", &got), 1);
    assert_int_equal(got, BACKUP_ORPHAN);
    assert_int_equal(backup_status_parse("FINE", &got), 0);
}

int
main(void)
{
    tests_in_utc();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_base_36_of_the_start_second),
        cmocka_unit_test(lsns_are_two_hex_halves),
        cmocka_unit_test(versions_compare_as_numbers),
        cmocka_unit_test(what_was_read_is_written_byte_for_byte),
        cmocka_unit_test(every_key_reaches_its_field),
        cmocka_unit_test(the_grammar_is_the_stock_readers),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(quotes_survive_and_long_lines_are_refused),
        cmocka_unit_test(statuses_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
