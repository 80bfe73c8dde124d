# SPDX-License-Identifier: Apache-2.0
"""restore -I: into a cluster that is there, and has gone its own way since the backup."""
import os
import re
import signal

import pytest

from processes import copy_tree, make_dir, run, snapshot, wait_until
from tool import gsp_fails, gsp_ok, start

MODES = ["checksum", "lsn"]
CONTROL = "global/pg_control"
ASIDE = "global/pg_control.pbk.bak"


def files_of(*roots):
    """number of the root, path -> lstat of every regular file."""
    return {(i, str(p.relative_to(root))): p.lstat() for i, root in enumerate(roots) for p in root.rglob("*")
            if p.is_file() and not p.is_symlink()}


def contents(*roots):
    """What links lead to is looked at where it is: here only that they are links."""
    return {(i, path): what if what[0] != "link" else "link"
            for i, root in enumerate(roots) for path, what in snapshot(root).items()}


def ratio(result):
    """The per cent of the cluster that was written."""
    (line,) = [line for line in result.lines("INFO") if line.startswith("Restore incremental ratio (less is better): ")]
    return int(re.search(r": (\d+)% \(", line)[1])


def fill(source):
    source.pgbench_init(3)
    source.tablespace("kept")
    source.sql("""CREATE TABLE stays (id int PRIMARY KEY, h text) TABLESPACE kept;
        INSERT INTO stays SELECT n, md5(n::text) FROM generate_series(1, 20000) n;
        CREATE TABLE shrinks AS SELECT n, repeat('x', 500) AS t FROM generate_series(1, 20000) n;
        CREATE TABLE goes AS SELECT n FROM generate_series(1, 20000) n;
        CREATE TABLE grows AS SELECT n FROM generate_series(1, 1000) n""")
    source.sql("CREATE DATABASE old_one")


def change(source):
    source.sql("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid BETWEEN 1 AND 5000")
    source.sql("INSERT INTO stays SELECT n, md5(n::text) FROM generate_series(30001, 30500) n")


def diverge(source):
    source.tablespace("extra")
    source.sql("""CREATE TABLE elsewhere TABLESPACE extra AS SELECT n FROM generate_series(1, 20000) n;
        DROP TABLE goes;
        TRUNCATE shrinks;
        INSERT INTO grows SELECT n FROM generate_series(1, 100000) n;
        UPDATE pgbench_accounts SET abalance = 7 WHERE aid BETWEEN 100000 AND 110000;
        DELETE FROM stays WHERE id % 3 = 0;
        CREATE TABLE newcomer AS SELECT n FROM generate_series(1, 20000) n""")
    source.sql("VACUUM FULL pgbench_tellers")
    source.sql("VACUUM stays")
    source.sql("DROP DATABASE old_one")
    source.sql("CREATE DATABASE new_one")
    source.stop()
    make_dir(source.data / "foreign")
    (source.data / "foreign" / "file").write_text("x")
    (source.data / ".hidden").write_text("x")
    (source.data / "base" / "dangling").symlink_to("/no/such/place")


def check_untouched_files(before, after, content_before, content_after):
    """Who was right was not written."""
    same = [key for key in before.keys() & after.keys() if content_before[key] == content_after[key]]
    assert len(same) > 500
    written = [key for key in same if before[key].st_mtime_ns != after[key].st_mtime_ns and key != (0, CONTROL)]
    assert written == [], written[:10]


@pytest.mark.parametrize("chain", ["full", "delta"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("major", [15, 18])
def test_a_diverged_cluster_comes_back(bench, version_of, major, mode, chain):
    version = version_of(major)
    source = bench.cluster(version)
    fill(source)
    catalog = bench.catalog(source)
    backup_id = catalog.backup("-j", "2", check=False)
    if chain == "delta":
        change(source)
        backup_id = catalog.backup(mode="DELTA", check=False)
    hashes = source.relation_hashes()
    diverge(source)
    kept, extra, plain, plain_kept = source.home / "kept", source.home / "extra", bench.new("data"), bench.new("ts")
    (extra / "of_others").mkdir()
    catalog.restore(plain, "-i", backup_id, "-T", f"{kept}={plain_kept}")
    before, content_before = files_of(source.data, kept), contents(source.data, kept)

    result = catalog.restore(source.data, "-i", backup_id, "-I", mode.upper(), "-j", "3")

    content = contents(source.data, kept)
    if mode == "checksum":
        assert content == contents(plain, plain_kept)
    else:  # which hints a page carries makes no difference here
        assert {k: v[:3] for k, v in content.items()} == {k: v[:3] for k, v in contents(plain, plain_kept).items()}
    check_untouched_files(before, files_of(source.data, kept), content_before, content)
    assert [path.name for path in extra.iterdir()] == ["of_others"]
    assert [path.readlink() for path in (source.data / "pg_tblspc").iterdir()] == [kept]
    assert ratio(result) < 60, result
    source.start()
    assert source.relation_hashes() == hashes
    source.check_tables_and_indexes()
    source.stop()
    source.check_page_checksums()

    # Once more, right away: what the server wrote meanwhile goes again.
    again = catalog.restore(source.data, "-i", backup_id, "-I", mode)
    assert ratio(again) <= ratio(result)


def test_a_cluster_without_checksums(bench, pg15):
    source = bench.cluster(pg15, checksums=False)
    fill(source)
    catalog = bench.catalog(source)
    catalog.backup(check=False)
    hashes = source.relation_hashes()
    diverge(source)
    kept, plain, plain_kept = source.home / "kept", bench.new("data"), bench.new("ts")
    catalog.restore(plain, "-T", f"{kept}={plain_kept}")
    before, content_before = files_of(source.data, kept), contents(source.data, kept)
    catalog.restore(source.data, "-I", "checksum")
    content = contents(source.data, kept)
    assert content == contents(plain, plain_kept)
    check_untouched_files(before, files_of(source.data, kept), content_before, content)
    source.start()
    assert source.relation_hashes() == hashes


@pytest.fixture(scope="module")
def stopped(shop, pg15):
    """A cluster that has diverged from its backup, to be copied."""
    source = shop.cluster(pg15)
    source.pgbench_init(3)
    source.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 10000) n")
    catalog = shop.catalog(source)
    catalog.id = catalog.backup(check=False)
    source.sql("UPDATE pgbench_accounts SET abalance = 7")
    source.sql("DROP TABLE t")
    source.sql("CREATE TABLE u AS SELECT n FROM generate_series(1, 10000) n")
    source.stop()
    plain = shop.new("data")
    catalog.restore(plain)
    return source, catalog, plain


@pytest.fixture
def target(bench, stopped):
    """A copy of its data directory, the catalog, and what a restore must make of it."""
    source, catalog, plain = stopped
    return copy_tree(source.data, bench.new("data")), catalog, plain


def test_damage_is_repaired(target):
    data, catalog, plain = target
    catalog.restore(data, "-I", "checksum")
    table = max((data / "base").glob("*/*"), key=lambda path: path.stat().st_size)
    with open(table, "r+b") as f:  # below its LSN, as a disk would
        f.seek(8192 * 3 + 4000)
        f.write(b"damage")
        f.truncate(table.stat().st_size - 8192 - 100)
    assert snapshot(data) != snapshot(plain)
    result = catalog.restore(data, "-I", "checksum")
    assert snapshot(data) == snapshot(plain)
    assert "Restore incremental ratio (less is better): 0% (24kB/" in result.err, "three pages"


def test_nothing_to_do(target):
    data, catalog, plain = target
    catalog.restore(data, "-I", "checksum")
    before = files_of(data)
    result = catalog.restore(data, "-I", "checksum")
    assert snapshot(data) == snapshot(plain)
    after = files_of(data)
    assert [p for p in before if before[p].st_mtime_ns != after[p].st_mtime_ns and p != (0, CONTROL)] == []
    assert "Restore incremental ratio (less is better): 0% (0/" in result.err, result


def test_links_in_the_data_directory(bench, target):
    data, catalog, plain = target
    elsewhere = bench.new("wal")
    (data / "pg_wal").rename(elsewhere)
    (data / "pg_wal").symlink_to(elsewhere)
    conf = bench.new("conf")
    (data / "postgresql.conf").rename(conf)
    (data / "postgresql.conf").symlink_to(conf)
    text = conf.read_text()
    result = catalog.restore(data, "-I", "checksum")
    assert (data / "pg_wal").is_symlink() and "pg_wal' is a symbolic link and stays one" in result.err
    assert snapshot(elsewhere) == snapshot(plain / "pg_wal")
    assert not (data / "postgresql.conf").is_symlink() and conf.read_text() == text
    # Where it leads is not there: nobody knows what is missing.
    elsewhere.rename(f"{elsewhere}.unmounted")
    gsp_fails("restore", *catalog.where, "-D", data, "-I", "checksum", message="pg_wal' is a symbolic link",
              hint="mount", unchanged=[data])


def test_a_tablespace_moves(bench, pg15):
    source = bench.cluster(pg15)
    old = source.tablespace("old")
    source.sql("CREATE TABLE t TABLESPACE old AS SELECT n FROM generate_series(1, 10000) n")
    catalog = bench.catalog(source)
    catalog.backup(check=False)
    source.sql("DELETE FROM t")
    source.stop()
    taken = make_dir(bench.new("ts"))
    (taken / "file").write_text("x")
    gsp_fails("restore", *catalog.where, "-D", source.data, "-I", "checksum", "-T", f"{old}={taken}",
              message=f'restore tablespace destination is not empty: "{taken}"', unchanged=[source.data, old, taken])
    new = bench.new("ts")
    before = snapshot(old)
    result = catalog.restore(source.data, "-I", "checksum", "-T", f"{old}={new}")
    assert snapshot(old) == before and "what lies in its old place is left there" in result.err
    assert [path.readlink() for path in (source.data / "pg_tblspc").iterdir()] == [new]
    source.start()
    assert source.sql("SELECT count(*) FROM t") == [(10000,)]


@pytest.mark.parametrize("mode", MODES)
def test_refusals(bench, pg15, target, mode):
    data, catalog, _ = target
    args = ["restore", *catalog.where, "-I", mode, "-D"]
    cluster = bench.cluster(pg15, fresh=True)
    running = [cluster.data / "global", cluster.data / "base"]
    gsp_fails(*args, cluster.data, message="Postmaster with pid", hint="stop the server", unchanged=running)
    cluster.stop()
    gsp_fails(*args, cluster.data, message="destination directory system id is", hint="-D", unchanged=[cluster.data])
    (data / "postmaster.pid").write_text("what?\n")
    gsp_fails(*args, data, message="is mangled, cannot determine whether postmaster is running or not", hint="remove",
              unchanged=[data])
    (data / "postmaster.pid").unlink()
    other = make_dir(bench.new("data"))
    (other / "file").write_text("x")
    gsp_fails(*args, other, message="is no data directory of this instance", hint="-D", unchanged=[other])
    (data / CONTROL).write_bytes(bytes(8192))
    gsp_fails(*args, data, message="control file", hint="empty", unchanged=[data])
    gsp_fails("restore", *catalog.where, "-D", data, message="Restore destination is not empty", hint="-I checksum",
              unchanged=[data])
    gsp_fails("restore", *catalog.where, "-D", data, "-I", "fast",
              message="Invalid value for '--incremental-mode' option: 'fast'", unchanged=[data])


def test_lsn_needs_a_common_history(bench, pg15):
    source = bench.cluster(pg15)
    catalog = bench.catalog(source)
    first = catalog.backup(check=False)
    data = bench.new("data")
    catalog.restore(data, "-i", first)
    gsp_fails("restore", *catalog.where, "-D", data, "-i", first, "-I", "lsn", message="backup_label",
              hint="-I checksum", unchanged=[data])
    copy = bench.restored(pg15, data)
    copy.start()
    copy.sql("CHECKPOINT")
    copy.stop()
    source.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 10000) n")
    source.sql("SELECT pg_switch_wal()")
    second = catalog.backup(check=False)
    gsp_fails("restore", *catalog.where, "-D", data, "-i", second, "-I", "lsn",
              message=f"Cannot perform incremental restore of backup chain {second} in 'lsn' mode, because destination "
                      "directory redo point", hint="-I checksum", unchanged=[data])
    catalog.restore(data, "-i", first, "-I", "lsn")
    # On a timeline of its own the copy leaves the others' history behind, but not what was before.
    (data / "standby.signal").touch()
    copy = bench.restored(pg15, data)
    run([pg15.bindir / "pg_ctl", "start", "-w", "-D", data, "-l", copy.home / "log",
         "-o", f"-c unix_socket_directories={make_dir(copy.home / 's')}"])
    copy.running = True
    run([pg15.bindir / "pg_ctl", "promote", "-w", "-D", data])
    copy.sql("CHECKPOINT")
    copy.stop()
    gsp_fails("restore", *catalog.where, "-D", data, "-i", second, "-I", "lsn", message="on tli 2 is out of reach",
              hint="-I checksum", unchanged=[data])
    catalog.restore(data, "-i", first, "-I", "lsn")
    copy = bench.restored(pg15, data)
    copy.start()


def test_an_empty_destination_is_filled(bench, target):
    _, catalog, plain = target
    data = bench.new("data")
    result = catalog.restore(data, "-I", "lsn")
    assert "disable incremental restore" in result.err
    assert snapshot(data) == snapshot(plain)


@pytest.mark.parametrize("again", ["checksum", "lsn", None])
def test_a_killed_restore_is_run_again(bench, pg15, target, again):
    data, catalog, plain = target
    process = start("restore", *catalog.where, "-D", data, "-I", again or "checksum", "-j", "1", "--no-validate")
    wait_until(lambda: not (data / CONTROL).exists() or process.poll() is not None, "the restore to begin")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if (data / CONTROL).exists():
        pytest.skip("the restore was faster than the signal")
    assert (data / ASIDE).exists()
    done = run([pg15.bindir / "postgres", "-D", data, "-k", "", "-c", "listen_addresses="], check=False)
    assert done.returncode != 0 and "pg_control" in done.stderr, done.stderr
    args = ["-I", again] if again else []
    result = gsp_ok("restore", *catalog.where, "-D", data, "--no-sync", *args)
    if again:
        assert snapshot(data) == snapshot(plain)
        assert ratio(result) < 90
    else:
        assert "unfinished restore" in result.err
        assert snapshot(data) == snapshot(plain)
    assert not os.path.lexists(data / ASIDE)


def test_what_an_earlier_restore_left_is_not_restored(bench, pg15):
    source = bench.cluster(pg15)
    left = ["gs_probackup.unfinished_restore", "gs_probackup.unfinished_restore.owner", ASIDE]
    for name in left:  # killed before its first change, or after its last; then somebody started the server
        (source.data / name).write_text("x")
    catalog = bench.catalog(source)
    catalog.backup(check=False)
    data = bench.new("data")
    catalog.restore(data)
    assert not [name for name in left if (data / name).exists()]
    source.stop()
    catalog.restore(source.data, "-I", "checksum")
    assert snapshot(source.data) == snapshot(data)
