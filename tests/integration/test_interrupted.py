# SPDX-License-Identifier: Apache-2.0
"""A backup that ends early: by a signal, a full disk, a lost server."""
import contextlib
import os
import signal
import time

import pytest

from processes import IS_ROOT, give_to_user, run, wait_until
from tool import SLOW, Catalog, failed_in_time, gsp, gsp_ok, start


@pytest.fixture(scope="module")
def source(shop, pg15):
    """Big enough that a slow backup of it can be met half-way."""
    cluster = shop.cluster(pg15, settings="max_wal_size = 4GB\n")
    cluster.pgbench_init(15)
    yield cluster
    cluster.stop("immediate")


def check_failed_cleanly(process, began, catalog, limit=2.0):
    failed_in_time(process, began, limit)
    assert [backup["status"] for backup in catalog.show()] == ["ERROR"]
    catalog.cluster.check_out_of_backup_mode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_signal_while_copying(bench, source, number):
    catalog = bench.catalog(source)
    process = catalog.start_copying()
    began = time.monotonic()
    process.send_signal(number)
    check_failed_cleanly(process, began, catalog)
    # The server and the catalog are ready for the next one.
    catalog.backup("-j", "2")
    assert sorted(backup["status"] for backup in catalog.show()) == ["ERROR", "OK"]


def test_interrupt_while_waiting_for_the_checkpoint(bench, pg15):
    source = bench.cluster(pg15, settings="checkpoint_completion_target = 0.9\ncheckpoint_timeout = 1h\n")
    source.pgbench_init(5)
    catalog = bench.catalog(source)
    process = catalog.start_backup("-C")
    wait_until(lambda: source.sql(
        "SELECT 1 FROM pg_stat_activity WHERE query ~ 'pg_backup_start' AND pid <> pg_backend_pid() AND state = 'active'"),
        "pg_backup_start")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    check_failed_cleanly(process, began, catalog)


def test_interrupted_restore_leaves_nothing_that_starts(bench, source):
    catalog = bench.catalog(source)
    backup_id = catalog.backup(*SLOW[2:], "-j", "2", "--no-validate")
    data = bench.new("data")
    process = start("restore", *catalog.where, "-D", data, "--no-validate")
    wait_until(lambda: any(data.glob("base/*/*")) or process.poll() is not None, "the restore to begin")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    if process.returncode == 0:
        pytest.skip("the restore was faster than the signal")
    assert process.returncode == 1 and out == "", err
    assert not (data / "global" / "pg_control").exists(), "a cluster that is half there must not start"
    assert catalog.status(backup_id) in ("OK", "DONE")


def test_killed_backup_does_not_block_the_next(bench, source):
    catalog = bench.catalog(source)
    process = catalog.start_copying()
    process.kill()
    process.wait()
    killed = catalog.running.name
    control = (catalog.dir(killed) / "backup.control").read_text()
    assert catalog.status(killed) in ("RUNNING", "ERROR")
    assert "status = RUNNING" in control
    assert (catalog.dir(killed) / "backup.control").read_text() == control, "show only looks"
    source.check_out_of_backup_mode()
    made = catalog.backup("-j", "2")
    # Validation writes down that nobody is running it.
    assert catalog.validate().code == 1
    assert "status = ERROR" in (catalog.dir(killed) / "backup.control").read_text()
    assert catalog.status(made) == "OK"
    data = bench.new("data")
    catalog.restore(data)
    gsp_ok("delete", *catalog.where, "-i", killed)
    assert list(catalog.backups()) == [made]


def test_server_stops_during_the_backup(bench, pg15):
    source = bench.cluster(pg15)
    source.pgbench_init(10)
    catalog = bench.catalog(source)
    process = catalog.start_copying()
    source.stop("immediate")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == "", err
    assert len([line for line in err.splitlines() if line.startswith("ERROR: ")]) == 1, err
    assert [backup["status"] for backup in catalog.show()] == ["ERROR"]
    source.start()
    catalog.backup()


@pytest.fixture
def small_disk(bench):
    """A file system of 256 MiB."""
    if not IS_ROOT:
        pytest.skip("mounting a tmpfs needs root")
    path = bench.new("disk")
    path.mkdir()
    if run(["mount", "-t", "tmpfs", "-o", "size=256m", "gsp-test", path], as_root=True, check=False).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    give_to_user(path)
    yield path
    run(["umount", "-l", path], as_root=True)


def fill_up(disk, leave=0):
    """Leave so many bytes free on the disk, or none at all while others write to it too."""
    filler = disk / "filler"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(filler, "wb", buffering=0) as out, contextlib.suppress(OSError):
        while leave == 0 or filler.stat().st_size < free - leave:
            out.write(b"x" * 65536)
    return filler


def test_no_room_is_seen_before_anything_is_written(bench, source, small_disk):
    catalog = Catalog.create(small_disk / "catalog", source)
    filler = fill_up(small_disk, leave=20 << 20)
    result = gsp(*catalog.backup_args())
    assert result.code == 1 and len(result.errors) == 1, result
    assert "not enough remaining disk space" in result.errors[0], result
    assert catalog.backups() == {}, "a refusal changes nothing"
    source.check_out_of_backup_mode()
    filler.unlink()
    catalog.backup("--compress-algorithm=zlib", "-j", "2", "--no-validate")


def test_disk_fills_up_during_the_backup(bench, pg15, small_disk):
    source = bench.cluster(pg15)
    source.pgbench_init(8)
    catalog = Catalog.create(small_disk / "catalog", source)
    process = catalog.start_copying()
    filler = fill_up(small_disk)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and out == "", err
    errors = [line for line in err.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 1 and "No space left on device" in errors[0], err
    source.check_out_of_backup_mode()
    filler.unlink()
    assert not [b for b in catalog.show() if b["status"] in ("OK", "DONE")]
    catalog.backup("--compress-algorithm=zlib")


def test_restore_onto_a_full_disk(bench, source, small_disk):
    catalog = bench.catalog(source)
    backup_id = catalog.backup("--compress-algorithm=zlib", "-j", "2")
    fill_up(small_disk, leave=30 << 20)
    result = gsp("restore", *catalog.where, "-D", small_disk / "data")
    assert result.code == 1 and len(result.errors) == 1, result
    assert not (small_disk / "data" / "global" / "pg_control").exists()
    assert catalog.status(backup_id) == "OK"
