# SPDX-License-Identifier: Apache-2.0
"""Which backup an incremental one is based on, and what is refused: one clear line, and the server is left alone."""
import contextlib
import os
import re
import shutil
import signal
import sys
import time

import pytest

import oracle
from processes import give_to_user, make_dir, remove_tree, run, wait_until
from test_standby import standby_of
from tool import REPOSITORY, failed_in_time, gsp, gsp_fails, gsp_ok

sys.path.insert(0, str(REPOSITORY / "tests" / "fault"))
from cluster import page_checksum  # noqa: E402

SUMMARIES = oracle.SETTINGS + "summarize_wal = on\n"
MODES = [(15, "DELTA"), (15, "PAGE"), (17, "PTRACK")]
FIRST_FULL = "Create new full backup before an incremental one"


def settings(mode):
    return SUMMARIES if mode == "PTRACK" else oracle.SETTINGS


@pytest.fixture(params=MODES, ids=lambda case: f"{case[1]}-pg{case[0]}")
def case(request, version_of):
    major, mode = request.param
    return version_of(major), mode


def make_source(bench, version, mode, **kwargs):
    source = bench.cluster(version, settings=settings(mode), **kwargs)
    source.sql("CREATE TABLE t AS SELECT g AS id, md5(g::text) AS h FROM generate_series(1, 20000) g")
    return source, bench.catalog(source)


def change(source):
    source.sql("UPDATE t SET h = md5(h) WHERE id % 1000 = 0; INSERT INTO t SELECT g, 'new' FROM generate_series(1, 100) g")


def parent_of(catalog, backup_id):
    return catalog.backups()[backup_id].get("parent-backup-id")


def refused(catalog, *args, mode, message, hint=None, through=None, **kwargs):
    """Nothing valid and nothing running is left of it, neither in the catalog nor on the server."""
    before = set(catalog.backups())
    result = gsp_fails(*catalog.backup_args(*args, mode=mode, through=through), message=message, hint=hint, **kwargs)
    assert {backup["status"] for backup in catalog.show() if backup["id"] not in before} <= {"ERROR"}
    (through or catalog.cluster).check_out_of_backup_mode()
    return result


def check_restored(bench, catalog, backup_id, rows):
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id, "-j", 2)
    cluster = bench.restored(catalog.cluster.version, data)
    cluster.start()
    assert oracle.rows(cluster) == rows
    cluster.check_tables_and_indexes()
    cluster.stop("immediate")


# ---- the parent ------------------------------------------------------------------------------------

def test_no_full_backup(bench, case):
    version, mode = case
    _, catalog = make_source(bench, version, mode)
    refused(catalog, mode=mode, message=FIRST_FULL, hint="-b FULL", unchanged=[catalog.path])


def test_missing_parents(bench, case):
    version, mode = case
    source, catalog = make_source(bench, version, mode)
    full = catalog.backup()
    middle = catalog.backup(mode=mode)
    last = catalog.backup(mode=mode)
    remove_tree(catalog.dir(middle))
    change(source)
    result = gsp_ok(*catalog.backup_args(mode=mode))
    assert any(last in line and "missing parent" in line and middle in line for line in result.warnings), result
    made = max(catalog.backups())
    assert parent_of(catalog, made) == full
    check_restored(bench, catalog, made, oracle.rows(source))
    remove_tree(catalog.dir(full))
    refused(catalog, mode=mode, message=FIRST_FULL, hint="-b FULL")


def spoil(catalog, backup_id, path):
    """A byte of a stored file is another one."""
    stored = catalog.dir(backup_id) / "database" / path
    content = bytearray(stored.read_bytes())
    content[-1] ^= 0xFF
    stored.write_bytes(content)


def test_corrupt_parents(bench, case):
    version, mode = case
    source, catalog = make_source(bench, version, mode)
    path = source.relation_path("t")
    full = catalog.backup()
    change(source)
    first = catalog.backup(mode=mode)
    change(source)
    second = catalog.backup(mode=mode)
    spoil(catalog, second, path)
    assert catalog.validate("-i", second).code == 1 and catalog.status(second) == "CORRUPT"
    result = gsp_ok(*catalog.backup_args(mode=mode))
    assert any(f"Backup {second} has status: CORRUPT. Cannot be a parent" in line for line in result.warnings), result
    made = max(catalog.backups())
    assert parent_of(catalog, made) == first
    check_restored(bench, catalog, made, oracle.rows(source))
    spoil(catalog, full, path)
    assert catalog.validate().code == 1 and catalog.status(full) == "CORRUPT"
    refused(catalog, mode=mode, message=FIRST_FULL, hint="-b FULL")


def test_damaged_file_list_of_the_parent(bench, case):
    version, mode = case
    _, catalog = make_source(bench, version, mode)
    full = catalog.backup()
    content = catalog.dir(full) / "backup_content.control"
    content.write_text(content.read_text().replace('"mode":"33152"', '"mode":"33153"', 1))
    refused(catalog, mode=mode, message="backup_content.control")


def test_increments_of_increments(bench, case):
    """The newest valid backup is the parent, whatever its mode; each is a little piece."""
    version, mode = case
    source, catalog = make_source(bench, version, mode)
    ids = [catalog.backup()]
    for _ in range(3):
        change(source)
        result = gsp_ok(*catalog.backup_args(mode=mode))
        assert f"INFO: Parent backup: {ids[-1]}\n" in result.err, result
        ids.append(max(catalog.backups()))
    assert [parent_of(catalog, backup_id) for backup_id in ids] == [None] + ids[:-1]
    other = "DELTA" if mode != "DELTA" else "PAGE"
    change(source)
    ids.append(catalog.backup(mode=other))
    assert parent_of(catalog, ids[-1]) == ids[-2], "modes may follow each other"
    newer_full = catalog.backup()
    change(source)
    ids.append(catalog.backup(mode=mode))
    assert parent_of(catalog, ids[-1]) == newer_full
    assert all(catalog.stored_pages(backup_id) < 300 for backup_id in ids[1:])
    validated = catalog.validate("-j", 2)
    assert validated.code == 0 and not validated.warnings, validated
    check_restored(bench, catalog, ids[-1], oracle.rows(source))


def test_files_that_end_with_their_own_checksum(bench, case):
    """pg_filenode.map, for one: whatever is in it, the CRC of all of it is the same number."""
    version, mode = case
    source, catalog = make_source(bench, version, mode)
    full = catalog.backup()
    before = oracle.rows(source)
    source.sql("VACUUM FULL pg_class")
    source.sql("VACUUM FULL pg_database")
    made = catalog.backup(mode=mode)
    check_restored(bench, catalog, made, oracle.rows(source))
    # And in place, over the newer one.
    source.stop()
    gsp_ok("restore", *catalog.where, "-D", source.data, "-i", full, "-I", "checksum", "--no-sync")
    source.start()
    assert oracle.rows(source) == before


# ---- history ---------------------------------------------------------------------------------------

def promoted(bench, primary):
    """The standby of it that was promoted, and has a timeline of its own."""
    standby = standby_of(bench, primary)

    def promote():
        wait_until(lambda: standby.sql("SELECT pg_last_wal_replay_lsn() >= %s", primary.sql(
            "SELECT pg_current_wal_flush_lsn()")[0][0])[0][0], "replay")
        run([standby.version.bindir / "pg_ctl", "promote", "-w", "-D", standby.data])
        wait_until(lambda: not standby.sql("SELECT pg_is_in_recovery()")[0][0], "promotion")
        return standby
    return promote


def test_parent_on_an_older_timeline(bench, case):
    version, mode = case
    primary, catalog = make_source(bench, version, mode)
    promote = promoted(bench, primary)
    full = catalog.backup()
    change(primary)
    before_fork = catalog.backup(mode=mode)
    change(primary)
    standby = promote()
    # The old timeline goes on, to where the new one has never been.
    change(primary)
    behind_fork = catalog.backup(mode=mode)
    assert parent_of(catalog, behind_fork) == before_fork
    change(standby)
    standby.sql("CHECKPOINT")
    made = catalog.backup("-D", standby.data, mode=mode, through=standby)
    assert parent_of(catalog, made) == before_fork, (full, before_fork, behind_fork)
    shown = catalog.backups()[made]
    assert (shown["current-tli"], shown["parent-tli"]) == (2, 1)
    check_restored(bench, catalog, made, oracle.rows(standby))
    change(standby)
    next_one = catalog.backup("-D", standby.data, mode=mode, through=standby)
    assert parent_of(catalog, next_one) == made
    check_restored(bench, catalog, next_one, oracle.rows(standby))
    # And the old one goes on with its own.
    change(primary)
    old_one = catalog.backup(mode=mode)
    assert parent_of(catalog, old_one) == behind_fork
    check_restored(bench, catalog, old_one, oracle.rows(primary))


def test_just_promoted(bench, pg15):
    """The control file names the old timeline, and an old checkpoint, until the next one."""
    primary, catalog = make_source(bench, pg15, "DELTA")
    promote = promoted(bench, primary)
    full = catalog.backup()
    change(primary)
    standby = promote()
    change(primary)
    catalog.backup(mode="DELTA")
    change(standby)
    made = catalog.backup("-D", standby.data, mode="DELTA", through=standby)
    assert parent_of(catalog, made) == full
    check_restored(bench, catalog, made, oracle.rows(standby))


def test_standby_as_the_source_of_an_increment(bench, pg15):
    primary, catalog = make_source(bench, pg15, "DELTA")
    standby = standby_of(bench, primary)
    primary.pgbench_init(1)
    catalog.backup()
    change(primary)
    with primary.load():
        made = catalog.backup("-D", standby.data, mode="DELTA", through=standby)
    data = bench.new("data")
    catalog.restore(data, "-i", made, "-j", 2)
    cluster = bench.restored(pg15, data)
    cluster.start()
    assert cluster.relation_hashes()["postgres.public.t"] == primary.relation_hashes()["postgres.public.t"]
    cluster.check_pgbench_balances()
    cluster.check_tables_and_indexes()


def test_only_backups_behind_the_fork(bench, case):
    version, mode = case
    primary, catalog = make_source(bench, version, mode)
    standby = promoted(bench, primary)()
    change(primary)
    primary.sql("SELECT pg_switch_wal()")
    catalog.backup()
    refused(catalog, "-D", standby.data, mode=mode, through=standby, message=FIRST_FULL, hint="-b FULL")


def put_back(source, catalog, backup_id):
    """An older backup over the cluster."""
    source.stop()
    remove_tree(source.data)
    catalog.restore(source.data, "-i", backup_id)
    source.start()


def test_data_directory_that_went_back_in_time(bench, case):
    version, mode = case
    source, catalog = make_source(bench, version, mode)
    first = catalog.backup()
    source.sql("INSERT INTO t SELECT g, 'lost' FROM generate_series(1, 50000) g")
    catalog.backup(mode=mode)
    put_back(source, catalog, first)
    # Both may start at one LSN: then a sample of the pages, or the number of the next transaction, tells.
    result = gsp(*catalog.backup_args(mode=mode))
    assert result.code == 1 and len(result.errors) == 1 and "-b FULL" in result.hints[0], result
    assert "went back in time" in result.errors[0] or "is not what it was" in result.hints[0], result
    # Others may have written meanwhile; a FULL one begins anew.
    full = catalog.backup()
    change(source)
    made = catalog.backup(mode=mode)
    assert parent_of(catalog, made) == full
    check_restored(bench, catalog, made, oracle.rows(source))


@pytest.mark.parametrize("transactions", [1, 30])
def test_data_directory_that_went_back_and_on_again(bench, case, transactions):
    """By LSN, and with many transactions by those too, it is ahead of the parent; but it is another history."""
    version, mode = case
    source, catalog = make_source(bench, version, mode)
    first = catalog.backup()
    for _ in range(5):
        source.sql("INSERT INTO t SELECT g, 'lost' FROM generate_series(1, 2000) g")
    catalog.backup(mode=mode)
    put_back(source, catalog, first)
    for number in range(transactions):
        source.sql(f"INSERT INTO t SELECT g, 'other' FROM generate_series({number}, 3000) g")
    for _ in range(2):
        source.sql("SELECT pg_switch_wal()")
        source.sql("SELECT pg_create_restore_point('no transaction')")
    source.sql("CHECKPOINT")
    result = gsp(*catalog.backup_args(mode=mode))
    source.check_out_of_backup_mode()
    if result.code == 0:  # whoever compares pages with those of the parent may go on
        assert mode == "DELTA" and transactions > 1, result
        check_restored(bench, catalog, max(catalog.backups()), oracle.rows(source))
    else:
        assert "went back in time" in result.errors[0] and "-b FULL" in result.hints[0], result


def test_checksums_switched_between_backups(bench, pg15):
    source, catalog = make_source(bench, pg15, "DELTA", fresh=True)
    catalog.backup()
    source.stop()
    run(["/usr/lib/postgresql/15/bin/pg_checksums", "--disable", "-D", source.data])
    source.start()
    refused(catalog, mode="DELTA", message="page checksums were switched off", hint="-b FULL")
    catalog.backup()
    source.stop()
    run(["/usr/lib/postgresql/15/bin/pg_checksums", "--enable", "-D", source.data])
    source.start()
    refused(catalog, mode="DELTA", message="page checksums were switched on", hint="-b FULL")


def test_server_of_another_cluster(bench, version_of):
    source, catalog = make_source(bench, version_of(17), "PTRACK")
    other = bench.cluster(version_of(17), settings=SUMMARIES, fresh=True)
    catalog.backup()
    refused(catalog, "-D", source.data, mode="PTRACK", through=other, message="system id")


# ---- PTRACK: the server's summaries ------------------------------------------------------------------

def test_ptrack_of_a_server_without(bench, pg15):
    _, catalog = make_source(bench, pg15, "DELTA")
    catalog.backup()
    result = refused(catalog, mode="PTRACK", message="changed blocks")
    assert "DELTA" in result.hints[0] and "PAGE" in result.hints[0], result


def test_ptrack_without_summaries(bench, version_of):
    _, catalog = make_source(bench, version_of(17), "DELTA")
    catalog.backup()
    result = refused(catalog, mode="PTRACK", message="summarize_wal")
    assert "summarize_wal" in result.hints[0], result


def test_ptrack_with_a_gap(bench, version_of):
    source, catalog = make_source(bench, version_of(17), "PTRACK")
    catalog.backup()
    summaries = source.data / "pg_wal" / "summaries"
    for _ in range(3):
        known = set(summaries.iterdir())
        change(source)
        source.sql("CHECKPOINT")
        wait_until(lambda: set(summaries.iterdir()) - known, "a summary")  # pylint: disable=cell-var-from-loop
    sorted(summaries.iterdir())[-2].unlink()
    refused(catalog, mode="PTRACK", message="summar", hint="-b FULL")
    made = catalog.backup(mode="DELTA")
    check_restored(bench, catalog, made, oracle.rows(source))


@pytest.mark.parametrize("ending", ["timeout", "signal"])
def test_ptrack_waits_for_summaries(bench, version_of, ending):
    """The wait has a limit, and ends at once when it is told to."""
    source, catalog = make_source(bench, version_of(17), "PTRACK")
    catalog.backup()
    change(source)
    (summarizer,) = source.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsummarizer'")[0]
    os.kill(summarizer, signal.SIGSTOP)
    try:
        if ending == "timeout":
            result = refused(catalog, "--archive-timeout=2s", mode="PTRACK", message="summar", hint="--archive-timeout")
            assert 1.5 <= result.seconds < 10, result
        else:
            process = catalog.start_backup(mode="PTRACK")
            wait_until(lambda: source.sql("SELECT 1 FROM pg_stat_activity WHERE query ~ 'summar' AND pid <> pg_backend_pid()"),
                       "the question for summaries")
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            failed_in_time(process, began, 3)
            source.check_out_of_backup_mode()
    finally:
        os.kill(summarizer, signal.SIGCONT)
    assert {backup["status"] for backup in catalog.show()} <= {"OK", "ERROR"}
    catalog.backup(mode="PTRACK")


# ---- PAGE: WAL -------------------------------------------------------------------------------------

def segments(source):
    return sorted(path for path in (source.data / "pg_wal").iterdir() if re.fullmatch("[0-9A-F]{24}", path.name))


def with_segments(bench, version):
    """A cluster that has gone through some segments since its FULL backup, and one of them."""
    source, catalog = make_source(bench, version, "PAGE")
    catalog.backup()
    first = source.sql("SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0]
    for _ in range(4):
        change(source)
        source.sql("SELECT pg_switch_wal()")
    between = [path for path in segments(source) if path.name > first]
    return source, catalog, between[1]


def test_page_with_a_missing_segment(bench, pg15):
    source, catalog, segment = with_segments(bench, pg15)
    archive = make_dir(bench.new("archive"))
    segment.rename(archive / segment.name)
    result = refused(catalog, mode="PAGE", message=segment.name)
    assert result.hints, result
    # In a directory that is named, or in the catalog's own archive, it is found.
    made = catalog.backup("--set", f"mode.page.archive={archive}", mode="PAGE")
    check_restored(bench, catalog, made, oracle.rows(source))
    gsp_ok("delete", *catalog.where, "-i", made)
    shutil.copy(archive / segment.name, catalog.path / "wal" / "main")
    give_to_user(catalog.path / "wal" / "main" / segment.name)
    made = catalog.backup(mode="PAGE")
    check_restored(bench, catalog, made, oracle.rows(source))


def test_page_with_a_damaged_segment(bench, pg15):
    source, catalog, segment = with_segments(bench, pg15)
    with open(segment, "r+b") as file:
        file.seek(100)
        found = file.read(4)
        file.seek(100)
        file.write(bytes(byte ^ 0xFF for byte in found))
    refused(catalog, mode="PAGE", message=segment.name)
    source.sql("SELECT 1")


@pytest.mark.parametrize("mebibytes", [1, 64])
def test_page_and_the_size_of_segments(bench, pg15, mebibytes):
    source, catalog = make_source(bench, pg15, "PAGE", wal_segment=mebibytes)
    source.pgbench_init(1)
    catalog.backup()
    for _ in range(3):
        source.sql("UPDATE t SET h = md5(h)")
        with source.load():
            made = catalog.backup("-j", "4", mode="PAGE")
    data = bench.new("data")
    catalog.restore(data, "-i", made, "-j", 2)
    cluster = bench.restored(pg15, data)
    cluster.start()
    assert cluster.relation_hashes()["postgres.public.t"] == source.relation_hashes()["postgres.public.t"]
    assert cluster.check_pgbench_balances() > 0
    cluster.check_tables_and_indexes()


# ---- --verify-map ----------------------------------------------------------------------------------

def rewrite_in_secret(source, path, block):
    """A page has other rows now, its old LSN, and a checksum that fits: as if a write had been forgotten in WAL."""
    with contextlib.closing(open(source.data / path, "r+b")) as file:
        file.seek(block * oracle.PAGE)
        page = bytearray(file.read(oracle.PAGE))
        page[-3] ^= 1
        page[8:10] = b"\0\0"
        page[8:10] = page_checksum(bytes(page), block).to_bytes(2, "little")
        file.seek(block * oracle.PAGE)
        file.write(page)


def test_verify_map(bench, case):
    version, mode = case
    source, catalog = make_source(bench, version, mode)
    path = source.relation_path("t")
    catalog.backup()
    change(source)
    catalog.backup("--verify-map=1000", mode=mode)
    change(source)
    assert "Compared 0" not in gsp_ok(*catalog.backup_args("--verify-map=500", mode=mode)).err
    source.stop()
    rewrite_in_secret(source, path, 3)
    source.start()
    made = catalog.backup(mode=mode)
    if mode == "DELTA":  # it sees every page, and what the parent has of it
        assert catalog.stored_blocks(made)[path] == [3]
        check_restored(bench, catalog, made, oracle.rows(source))
        return
    refused(catalog, "--verify-map=1000", mode=mode, message=path, hint="-b FULL")


@pytest.mark.parametrize("value", ["1001", "-1", "x", ""])
def test_verify_map_takes_per_mille(bench, pg15, value):
    _, catalog = make_source(bench, pg15, "DELTA")
    catalog.backup()
    refused(catalog, f"--verify-map={value}", mode="DELTA", message="verify-map", unchanged=[catalog.path])


# ---- a way out -------------------------------------------------------------------------------------

def test_interrupted_increment(bench, case):
    """An increment that ends early is no parent, and does not stand in the way of the next."""
    version, mode = case
    source, catalog = make_source(bench, version, mode)
    source.pgbench_init(8)
    full = catalog.backup("--no-validate")
    source.sql("UPDATE pgbench_accounts SET abalance = 0")
    process = catalog.start_copying(mode=mode)
    process.send_signal(signal.SIGINT)
    failed_in_time(process, time.monotonic(), 3)
    source.check_out_of_backup_mode()
    assert sorted(backup["status"] for backup in catalog.show()) == ["DONE", "ERROR"] or \
        sorted(backup["status"] for backup in catalog.show()) == ["ERROR", "OK"]
    made = catalog.backup("--no-validate", "-j", "2", mode=mode)
    assert parent_of(catalog, made) == full
    gsp("validate", *catalog.where)
    check_restored(bench, catalog, made, oracle.rows(source))
