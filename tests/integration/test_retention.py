# SPDX-License-Identifier: Apache-2.0
"""Retention: what is expired goes, what is needed or pinned stays, and a dry run only tells."""
import datetime
import os
import re

import pytest

import strict_reader
from processes import remove_tree, snapshot
from test_merge import set_field
from tool import gsp, gsp_fails, gsp_ok

SEGMENT = 16 << 20


@pytest.fixture(scope="module")
def made(shop, pg15):
    """Two FULL backups, with two increments on the first and one on the second."""
    cluster = shop.cluster(pg15)
    cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS id")
    catalog = shop.catalog(cluster)
    ids = []
    for number, mode in enumerate(("FULL", "DELTA", "DELTA", "FULL", "DELTA")):
        cluster.sql(f"INSERT INTO t VALUES ({-number}); SELECT pg_switch_wal()")
        ids.append(catalog.backup(mode=mode, check=False))
    yield catalog, ids
    cluster.stop("immediate")


@pytest.fixture
def world(made, bench):
    catalog, ids = made
    return catalog.copy(bench.new("catalog")), ids


def delete(catalog, *args, **kwargs):
    return gsp_ok("delete", *catalog.where, *args, **kwargs)


def ids_of(catalog):
    return sorted(catalog.backups())


def set_age(catalog, backup_id, days):
    when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=days)
    set_field(catalog, backup_id, "recovery-time", f"'{when:%Y-%m-%d %H:%M:%S}+00'")


def set_ages(catalog, ids, *days):
    for backup_id, age in zip(ids, days):
        set_age(catalog, backup_id, age)


def control(catalog, backup_id):
    return strict_reader.read_control(catalog.dir(backup_id) / "backup.control")


def fails(catalog, *args, **kwargs):
    return gsp_fails("delete", *catalog.where, *args, unchanged=[catalog.path], **kwargs)


# ---- which ones go -----------------------------------------------------------------------------------

def test_redundancy(world):
    catalog, ids = world
    result = delete(catalog, "--delete-expired", "--retention-redundancy=1")
    assert ids_of(catalog) == ids[3:]
    lines = result.lines("INFO")
    assert lines[0] == "Evaluate backups by retention"
    assert lines[1:6] == [
        f"Backup {ids[4]}, mode: DELTA, status: OK. Redundancy: 1/1, Time Window: 0d/0d. Active",
        f"Backup {ids[3]}, mode: FULL, status: OK. Redundancy: 1/1, Time Window: 0d/0d. Active",
        f"Backup {ids[2]}, mode: DELTA, status: OK. Redundancy: 2/1, Time Window: 0d/0d. Expired",
        f"Backup {ids[1]}, mode: DELTA, status: OK. Redundancy: 2/1, Time Window: 0d/0d. Expired",
        f"Backup {ids[0]}, mode: FULL, status: OK. Redundancy: 2/1, Time Window: 0d/0d. Expired"]
    assert [line.split()[1] for line in lines[6:9]] == [ids[2], ids[1], ids[0]], "newest first"
    assert lines[9:] == ["Purging finished"]
    again = delete(catalog, "--delete-expired", "--merge-expired", "--retention-redundancy=1")
    assert again.lines("INFO")[-2:] == ["There are no backups to merge by retention policy",
                                        "There are no backups to delete by retention policy"]
    assert ids_of(catalog) == ids[3:] and catalog.validate().code == 0


def test_window(world):
    catalog, ids = world
    set_ages(catalog, ids, 9, 8, 7, 6, 1)
    delete(catalog, "--expired", "--retention-window=7")
    assert ids_of(catalog) == ids[3:]


def test_either_policy_keeps(world):
    catalog, ids = world
    set_ages(catalog, ids, 9, 8, 7, 6, 1)
    delete(catalog, "--delete-expired", "--retention-window=7", "--retention-redundancy=2")
    assert ids_of(catalog) == ids


def test_ancestors_of_what_stays_stay(world):
    catalog, ids = world
    set_ages(catalog, ids, 9, 8, 1, 1, 0)
    result = delete(catalog, "--delete-expired", "--retention-window=3")
    assert ids_of(catalog) == ids
    assert f"Backup {ids[0]}, mode: FULL, status: OK. Redundancy: 2/0, Time Window: 9d/3d. Expired" in result.err
    assert f"Backup {ids[2]}, mode: DELTA, status: OK. Redundancy: 2/0, Time Window: 1d/3d. Active" in result.err
    assert result.lines("INFO")[-1] == "There are no backups to delete by retention policy"


def test_merge_expired(world):
    """The expired one on a branch of its own is deleted first, then the chain becomes one."""
    catalog, ids = world
    set_field(catalog, ids[4], "parent-backup-id", f"'{ids[0]}'")
    set_ages(catalog, ids, 9, 8, 1, 0, 8)
    result = delete(catalog, "--delete-expired", "--merge-expired", "--retention-window=3")
    assert not result.warnings, result
    assert ids_of(catalog) == ids[2:4]
    assert catalog.backups()[ids[2]]["backup-mode"] == "FULL"
    lines = result.lines("INFO")
    assert f"Consider backup {ids[2]} for merge" in lines
    assert lines[-2:] == ["Retention merging finished", "Purging finished"]
    assert catalog.validate().code == 0


def test_merge_that_is_refused_is_a_warning(world):
    catalog, ids = world
    set_field(catalog, ids[4], "parent-backup-id", f"'{ids[0]}'")
    set_ages(catalog, ids, 9, 8, 1, 0, 8)
    result = delete(catalog, "--merge-expired", "--retention-window=3")
    assert any(f"Backup {ids[2]} is not merged: " in line and ids[4] in line for line in result.warnings), result
    assert ids_of(catalog) == ids


def test_policy_of_the_instance(world):
    catalog, ids = world
    result = delete(catalog, "--delete-expired", "--merge-expired")
    assert result.warnings == ["Retention policy is not set"] and ids_of(catalog) == ids
    gsp_ok("set-config", *catalog.where, "--retention-redundancy=1")
    assert not delete(catalog, "--delete-expired", "--retention-redundancy=2").warnings
    assert ids_of(catalog) == ids
    delete(catalog, "--delete-expired")
    assert ids_of(catalog) == ids[3:]


def test_gfs_is_chosen_in_yaml(world, bench):
    catalog, ids = world
    set_ages(catalog, ids, 40, 39, 38, 1, 0)
    site = bench.new("site.yaml")
    site.write_text("retention: {plugin: gfs, gfs: {daily: 1}}\n")
    result = delete(catalog, "--delete-expired", "--dry-run", "--config", site)
    assert f"Backup {ids[4]}, keep: daily " in result.err
    delete(catalog, "--delete-expired", "--config", site)
    assert ids_of(catalog) == ids[3:]
    site.write_text("retention: {plugin: gfs}\n")
    assert delete(catalog, "--delete-expired", "--config", site).warnings == ["Retention policy is not set"]


def test_dry_run_changes_nothing_and_says_why(world):
    catalog, ids = world
    set_ages(catalog, ids, 9, 8, 1, 6, 5)
    set_field(catalog, ids[4], "status", "RUNNING")
    before = snapshot(catalog.path)
    options = ("--retention-window=3", "--dry-run", "--delete-wal")
    result = delete(catalog, "--delete-expired", "--merge-expired", *options)
    assert snapshot(catalog.path) == before
    assert f"Backup {ids[2]}, merge: 1d old, in the window of 3d" in result.err
    assert f"Backup {ids[0]}, keep: 9d old, the window is 3d; backup {ids[2]} is based on it" in result.err
    assert f"Backup {ids[3]}, delete: 6d old, the window is 3d" in result.err
    assert f"Backup {ids[4]}, mode: DELTA, status: ERROR. " in result.err, "its process is gone"
    only_merge = delete(catalog, "--merge-expired", *options)
    assert f"Backup {ids[3]}, keep: " in only_merge.err
    assert f"Backup {ids[2]}, keep: " in delete(catalog, "--delete-expired", *options).err
    assert snapshot(catalog.path) == before


def test_pins(world):
    catalog, ids = world
    gsp_ok("set-backup", *catalog.where, "-i", ids[1], "--ttl=30d")
    result = delete(catalog, "--delete-expired", "--retention-redundancy=1", "--dry-run")
    assert re.search(f"Backup {ids[1]}, keep: pinned, for (719|720)h more", result.err), result
    delete(catalog, "--delete-expired", "--retention-redundancy=1")
    assert ids_of(catalog) == ids[:2] + ids[3:]
    gsp_ok("set-backup", *catalog.where, "-i", ids[1], "--ttl=0")
    delete(catalog, "--delete-expired", "--retention-redundancy=1")
    assert ids_of(catalog) == ids[3:]
    gsp_ok("set-backup", *catalog.where, "-i", ids[3], "--expire-time=2099-01-01 00:00:00+00")
    delete(catalog, "-i", ids[3])  # told to
    assert ids_of(catalog) == []


# ---- what is in use, or not known --------------------------------------------------------------------

def test_locked_backup_and_its_ancestors_are_skipped(world):
    catalog, ids = world
    (catalog.dir(ids[1]) / "backup_ro.pid").write_text(f"{os.getpid()}\n")
    result = delete(catalog, "--delete-expired", "--retention-redundancy=1")
    assert f"Cannot lock backup {ids[1]} directory, skip purging" in result.warnings
    assert f"Backup {ids[0]} is not deleted: backup {ids[1]} is based on it" in result.warnings
    assert ids_of(catalog) == ids[:2] + ids[3:]
    assert control(catalog, ids[0])["status"] == "OK"


@pytest.mark.parametrize("status", ["MERGING", "MERGED"])
def test_unfinished_merges_never_expire(world, status):
    catalog, ids = world
    set_field(catalog, ids[2], "status", status)
    delete(catalog, "--delete-expired", "--retention-redundancy=1")
    assert ids_of(catalog) == ids


def test_running(world):
    catalog, ids = world
    set_field(catalog, ids[2], "status", "RUNNING")
    (catalog.dir(ids[2]) / "backup.pid").write_text(f"{os.getpid()}\n")
    delete(catalog, "--delete-expired", "--retention-redundancy=1")
    assert ids_of(catalog) == ids and control(catalog, ids[2])["status"] == "RUNNING"
    (catalog.dir(ids[2]) / "backup.pid").unlink()
    result = delete(catalog, "--delete-expired", "--retention-redundancy=2")
    assert control(catalog, ids[2])["status"] == "ERROR"
    assert f"Backup {ids[2]} has status RUNNING and its process is gone, change it to ERROR" in result.warnings
    delete(catalog, "--delete-expired", "--retention-redundancy=1")
    assert ids_of(catalog) == ids[3:]


def test_unreadable_backup_stops_everything(world):
    """Nobody knows what it is based on."""
    catalog, ids = world
    path = catalog.dir(ids[2]) / "backup.control"
    path.chmod(0)
    expired = ["--delete-expired", "--merge-expired", "--retention-redundancy=1"]
    result = gsp("delete", *catalog.where, *expired)
    tried = delete(catalog, *expired, "--dry-run")
    path.chmod(0o600)
    assert result.code == 1 and f"Backup {ids[2]} could not be read" in result.errors[0], result
    assert any(f"Backup {ids[2]} could not be read" in line for line in tried.warnings), tried
    assert ids_of(catalog) == ids


def test_directory_that_is_a_link_is_left(world, bench):
    """Nothing outside the instance is removed."""
    catalog, ids = world
    elsewhere = bench.new("elsewhere")
    catalog.dir(ids[2]).rename(elsewhere)
    catalog.dir(ids[2]).symlink_to(elsewhere)
    before = snapshot(elsewhere / "database")
    result = delete(catalog, "--delete-expired", "--retention-redundancy=1")
    assert any(f"Backup {ids[2]} is not deleted: " in line and "symbolic link" in line for line in result.warnings), result
    assert snapshot(elsewhere / "database") == before
    assert catalog.dir(ids[0]).is_dir() and catalog.dir(ids[1]).is_dir()


# ---- by status ---------------------------------------------------------------------------------------

def test_status(world):
    catalog, ids = world
    set_field(catalog, ids[1], "status", "CORRUPT")
    before = snapshot(catalog.path)
    dry = delete(catalog, "--status=corrupt", "--dry-run")
    assert dry.lines("INFO")[:3] == ["Deleting all backups with status 'CORRUPT' in dry run mode",
                                     f"Backup {ids[2]} with status OK can be deleted",
                                     f"Backup {ids[1]} with status CORRUPT can be deleted"]
    assert snapshot(catalog.path) == before
    done = delete(catalog, "--status=CORRUPT")
    assert f"Backup {ids[1]} with status CORRUPT will be deleted" in done.lines("INFO")
    assert done.lines("INFO")[-1] == "Successfully deleted 2 backup(s) from instance 'main'"
    assert ids_of(catalog) == [ids[0], *ids[3:]]
    none = delete(catalog, "--status=CORRUPT")
    assert none.warnings == ["Instance 'main' has no backups with status 'CORRUPT'"]
    set_field(catalog, ids[3], "status", "RUNNING")  # and nobody runs it: show says ERROR
    assert f"Backup {ids[3]} with status" in delete(catalog, "--status=ERROR", "--dry-run").err
    assert control(catalog, ids[3])["status"] == "RUNNING"
    delete(catalog, "--status=ERROR")
    assert ids_of(catalog) == [ids[0]]


def test_status_with_a_lock_deletes_nothing(world):
    catalog, ids = world
    (catalog.dir(ids[0]) / "backup.pid").write_text(f"{os.getpid()}\n")
    fails(catalog, "--status=OK", message=f"Cannot lock backup {ids[0]} directory")
    assert ids_of(catalog) == ids


def test_wrong_use(world):
    catalog, ids = world
    fails(catalog, message="You must specify at least one of the delete options: --delete-expired |--delete-wal "
                           "|--merge-expired |--status |(-i, --backup-id)")
    fails(catalog, "--dry-run", message="at least one of the delete options")
    for option in ("--delete-expired", "--merge-expired", "--status=OK"):
        name = option.split("=")[0]
        fails(catalog, option, "-i", ids[0], message=f"You cannot specify {name} and (-i, --backup-id) options together")
    fails(catalog, "--status=OK", "--expired", message="You cannot specify --delete-expired and --status options together")
    fails(catalog, "--status=BAD", message="Unknown value for '--status' option: 'BAD'", hint="show")


def test_dry_run_of_one(world):
    catalog, ids = world
    before = snapshot(catalog.path)
    result = delete(catalog, "-i", ids[1], "--dry-run")
    assert result.lines("INFO")[:2] == [f"Backup {ids[2]} can be deleted", f"Backup {ids[1]} can be deleted"]
    assert snapshot(catalog.path) == before


# ---- WAL ---------------------------------------------------------------------------------------------

def segment_name(timeline, number):
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def start_segment(catalog, backup_id, key="start-lsn"):
    high, low = control(catalog, backup_id)[key].split("/")
    return (int(high, 16) << 32 | int(low, 16)) // SEGMENT


class Archive:
    """wal/<instance> as an archive_command would have filled it."""

    def __init__(self, catalog):
        self.path = catalog.path / "wal" / catalog.instance

    def fill(self, numbers, timeline=1, suffix=""):
        for number in numbers:
            with open(self.path / (segment_name(timeline, number) + suffix), "wb") as file:
                file.truncate(100 if suffix else SEGMENT)

    def put(self, name, text=""):
        (self.path / name).write_text(text)

    def left(self, timeline=1):
        return sorted({int(p.name[8:16], 16) * 256 + int(p.name[16:24], 16) for p in self.path.iterdir()
                       if re.fullmatch(f"{timeline:08X}[0-9A-F]{{16}}(\\..*)?", p.name)})

    def names(self):
        return sorted(p.name for p in self.path.iterdir())


@pytest.fixture
def archive(world):
    return Archive(world[0])


def test_wal_before_the_oldest_backup_goes(world, archive, bench):
    catalog, ids = world
    first = start_segment(catalog, ids[0])
    end = start_segment(catalog, ids[4]) + 2
    archive.fill(range(1, end))
    archive.fill([1], suffix=".00000028.backup")
    outside = bench.new("outside")
    outside.write_bytes(b"x")
    (archive.path / segment_name(1, 0)).symlink_to(outside)
    strange = ("00000002.history", "000000990000000000000001.tmp", "00000001000000000000000z", "README")
    for name in strange:
        archive.put(name, "1\t0/1\tx\n" if "history" in name else "")
    (archive.path / segment_name(3, 1)).mkdir()
    before = snapshot(catalog.path)
    dry = delete(catalog, "--delete-wal", "--dry-run")
    assert snapshot(catalog.path) == before
    last = segment_name(1, first - 1)
    assert f"On timeline 1 WAL segments between {segment_name(1, 1)} and {last} can be removed" in dry.lines("INFO"), dry
    result = delete(catalog, "--wal")
    assert f"On timeline 1 WAL segments between {segment_name(1, 1)} and {last} will be removed" in result.lines("INFO")
    assert f"Logical WAL size to remove on timeline 1 : {16 * (first - 1)}MB" in result.lines("INFO")
    assert archive.left() == [0, *range(first, end)]
    assert set(strange) <= set(archive.names()) and outside.exists()
    again = delete(catalog, "--delete-wal")
    assert again.lines("INFO") == ["Nothing to remove on timeline 1", "There is no WAL to purge by retention policy"]


def test_wal_depth_and_backups_without_own_wal(world, archive):
    catalog, ids = world
    end = start_segment(catalog, ids[4]) + 2
    archive.fill(range(1, end), suffix=".gz")
    set_field(catalog, ids[1], "stream", "false")
    needed = range(start_segment(catalog, ids[1]), start_segment(catalog, ids[1], "stop-lsn") + 1)
    delete(catalog, "--delete-wal", "--wal-depth=2")
    assert archive.left() == sorted({*needed, *range(start_segment(catalog, ids[3]), end)})


def test_wal_of_what_retention_takes(world, archive):
    catalog, ids = world
    first, end = start_segment(catalog, ids[3]), start_segment(catalog, ids[4]) + 2
    archive.fill(range(1, end))
    options = ("--delete-expired", "--delete-wal", "--retention-redundancy=1")
    text = f"WAL segments between {segment_name(1, 1)} and {segment_name(1, first - 1)}"
    assert f"On timeline 1 {text} can be removed" in delete(catalog, *options, "--dry-run").err
    assert f"On timeline 1 {text} will be removed" in delete(catalog, *options).err
    assert archive.left() == list(range(first, end))
    assert "On timeline 1 all files can be removed" in delete(catalog, "-i", ids[3], "--delete-wal", "--dry-run").err
    assert "On timeline 1 all files will be removed" in delete(catalog, "-i", ids[3], "--delete-wal").err
    assert archive.left() == []


def test_timelines(world, archive):
    """The way from a backup to a younger timeline stays; one that nobody can come to goes."""
    catalog, ids = world
    fork = start_segment(catalog, ids[4]) + 2
    archive.fill(range(1, fork + 1))
    archive.fill(range(fork, fork + 3), timeline=2)
    archive.fill(range(2, 4), timeline=5)
    archive.put("00000002.history", f"1\t0/{fork * SEGMENT + 64:X}\tno recovery target\n")
    result = delete(catalog, "--delete-wal")
    assert archive.left(2) == list(range(fork, fork + 3))
    assert archive.left(1) == list(range(start_segment(catalog, ids[0]), fork + 1))
    assert archive.left(5) == []
    assert "Nothing to remove on timeline 2" in result.err and "On timeline 5 all files will be removed" in result.err
    archive.put("00000002.history", "rubbish\n")
    fails(catalog, "--delete-wal", message="history of timeline 2")


def test_empty_archive_is_said(world, archive, bench):
    catalog, ids = world
    result = delete(catalog, "--delete-wal")
    assert result.lines("INFO") == [f"There is no WAL in '{archive.path}'", "There is no WAL to purge by retention policy"]
    elsewhere = bench.new("wal")
    archive.fill([1])
    archive.path.rename(elsewhere)
    archive.path.symlink_to(elsewhere)
    fails(catalog, "--delete-wal", message="is a symbolic link, no WAL is removed through it")
    assert (elsewhere / segment_name(1, 1)).exists()


def test_wal_that_is_not_of_this_cluster(world, archive):
    catalog, ids = world
    with open(archive.path / segment_name(1, 1), "wb") as file:
        file.truncate(4 * SEGMENT)
    fails(catalog, "--delete-wal", message="the size of WAL segments in", hint="nothing is removed")


# ---- after a backup ----------------------------------------------------------------------------------

def test_after_a_backup(world, bench):
    catalog, ids = world
    args = catalog.backup_args("--delete-expired", "--delete-wal", "--retention-redundancy=1", "--ttl=1d")
    dry = gsp_ok(*args, "--dry-run")
    made = set(ids_of(catalog)) - set(ids)
    assert len(made) == 1, "the backup itself is no dry run"
    assert f"Backup {ids[4]}, delete: " in dry.err
    result = gsp_ok(*args)
    (new,) = set(ids_of(catalog)) - made
    assert made <= set(ids_of(catalog)), "it is pinned"
    assert f"Backup {new}, mode: FULL, status: OK. Redundancy: 1/1, Time Window: 0d/1d. Active" in result.err
    data = bench.new("data")
    catalog.restore(data)
    remove_tree(data)


def test_policy_that_cannot_be_is_noticed_before_the_backup(world, bench):
    catalog, ids = world
    site = bench.new("site.yaml")
    site.write_text("retention: {plugin: nosuch}\n")
    args = catalog.backup_args("--delete-expired", "--config", site)
    gsp_fails(*args, message="nosuch", unchanged=[catalog.path])
