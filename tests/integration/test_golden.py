# SPDX-License-Identifier: Apache-2.0
"""Catalogs that the stock gs_probackup (on openGauss) and pg_probackup 2.5 (on PostgreSQL) made."""
import gzip
import os
import re
import subprocess
from pathlib import Path

import pytest

from processes import make_dir, popen, remove_tree, snapshot
from tool import Catalog, gsp_fails

OPENGAUSS = ["full-ptrack-ptrackzlib", "pglz-lz4-zstd-extdirs", "before-merge", "after-merge", "recorded"]


def unpack(archive, bench):
    """A catalog of 1 GB, most of it zeros: into memory where that is possible."""
    target = bench.new("golden")
    shm = Path("/dev/shm")
    if os.access(shm, os.W_OK) and os.statvfs(shm).f_bavail * os.statvfs(shm).f_frsize > 4 << 30:
        target = shm / f"gsp-{os.getpid()}-{target.name}"
    make_dir(target)
    with open(archive, "rb") as packed:
        process = popen(["tar", "--zstd", "-xf", "-", "-C", target], stdin=packed, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    (root,) = target.iterdir()
    return target, root


@pytest.fixture(scope="module", params=OPENGAUSS)
def opengauss(request, shop, fixtures):
    target, root = unpack(fixtures / "opengauss" / "catalogs" / f"{request.param}.tar.zst", shop)
    yield Catalog(root)
    remove_tree(target)


@pytest.fixture(scope="module")
def pp25_original(shop, fixtures):
    target, root = unpack(fixtures / "pg_probackup" / "pp25.tar.zst", shop)
    yield Catalog(root, instance="pg15")
    remove_tree(target)


def controls(catalog):
    """id -> the text of backup.control, as it stands there."""
    folder = catalog.path / "backups" / catalog.instance
    return {path.parent.name: path.read_text() for path in folder.glob("*/backup.control")}


def field(control, key):
    found = re.search(rf"^{key} = '?(.*?)'?$", control, re.M)
    return found[1] if found else None


def check_listing(catalog):
    texts = controls(catalog)
    before = snapshot(catalog.path / "backups" / catalog.instance / "pg_probackup.conf"), texts
    shown = catalog.backups()
    assert set(shown) == set(texts) and texts
    for backup_id, text in texts.items():
        backup = shown[backup_id]
        assert backup["backup-mode"] == field(text, "backup-mode")
        assert backup["status"] == field(text, "status")
        assert backup["compress-alg"] == field(text, "compress-alg")
        assert backup.get("parent-backup-id") == field(text, "parent-backup-id")
        assert backup["data-bytes"] == int(field(text, "data-bytes"))
        assert backup["start-lsn"] == field(text, "start-lsn") and backup["stop-lsn"] == field(text, "stop-lsn")
        assert backup["content-crc"] == int(field(text, "content-crc"))
    assert before[1] == controls(catalog), "show changes nothing"


def test_opengauss_list(opengauss):
    check_listing(opengauss)


def test_opengauss_validate(opengauss):
    """Every stored byte is checked by CRC and header map; what only the openGauss dialect could tell is skipped, and said."""
    before = {name: backup["status"] for name, backup in opengauss.backups().items()}
    result = opengauss.validate("-j", "2")
    assert result.code == (0 if set(before.values()) <= {"OK", "DONE"} else 1), result
    for name, status in before.items():
        if status in ("OK", "DONE"):
            assert any(name in warning and "not checked" in warning for warning in result.warnings), result
    # DONE would become OK only by a whole check.
    assert {name: backup["status"] for name, backup in opengauss.backups().items()} == before


def full_backup(catalog):
    return next(name for name, backup in catalog.backups().items()
                if backup["backup-mode"] == "FULL" and backup["status"] in ("OK", "DONE"))


def biggest_file(catalog, backup_id, is_datafile):
    files = [entry for entry in catalog.file_list(backup_id).values()
             if entry["is_datafile"] == is_datafile and 0 < int(entry["size"]) < 64 << 20 and entry["external_dir_num"] == "0"
             and not entry["path"].endswith("pg_control")]
    name = max(files, key=lambda entry: int(entry["size"]))["path"]
    return catalog.dir(backup_id) / "database" / name


@pytest.mark.parametrize("is_datafile", ["1", "0"], ids=["data", "other"])
def test_opengauss_damage(opengauss, is_datafile):
    backup_id = full_backup(opengauss)
    path = biggest_file(opengauss, backup_id, is_datafile)
    control = opengauss.dir(backup_id) / "backup.control"
    kept = path.read_bytes(), {c: c.read_bytes() for c in control.parents[1].glob("*/backup.control")}
    damaged = bytearray(kept[0])
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    try:
        result = opengauss.validate("-i", backup_id)
        assert result.code == 1, result
        assert any(path.name in warning for warning in result.warnings + result.errors), result
        assert opengauss.status(backup_id) == "CORRUPT"
    finally:  # the catalog is shared by the tests on it
        path.write_bytes(kept[0])
        for name, data in kept[1].items():
            name.write_bytes(data)


def test_opengauss_restore_needs_its_plugin(opengauss, bench):
    backup_id = full_backup(opengauss)
    target = bench.new("data")
    gsp_fails("restore", *opengauss.where, "-i", backup_id, "-D", target, message="", unchanged=[target])


def test_pg_probackup_list(pp25_original, fixtures):
    check_listing(pp25_original)
    recorded = re.findall(r"^ pg15 +15 +(\w+) ", (fixtures / "pg_probackup" / "show.txt").read_text(), re.M)
    assert [backup["id"] for backup in pp25_original.show()] == recorded, "newest first"


def test_pg_probackup_validate(pp25_original):
    result = pp25_original.validate("-j", "2")
    assert result.code == 0, result
    assert {backup["status"] for backup in pp25_original.show()} == {"OK"}


def restore_pg_probackup(catalog, backup_id, bench, *options):
    """Into new places: the data directory."""
    data, moved = bench.new("data"), bench.new("tablespace")
    (old,) = re.findall(r"^\d+ (.+)$", (catalog.dir(backup_id) / "database" / "tablespace_map").read_text(), re.M)
    result = catalog.restore(data, "-i", backup_id, "-T", f"{old}={moved}", *options)
    return data, result


# A FULL backup, DELTA and PAGE ones on top of it, and among these one without WAL of its own.
@pytest.mark.parametrize("backup_id", ["TOW7RG", "TOW7RQ", "TOW7RV", "TOW7RX"])
def test_pg_probackup_restore(backup_id, pp25_original, bench, pg15, fixtures):
    """Rows and their hash were recorded on the source, at the moment of that backup."""
    data, _ = restore_pg_probackup(pp25_original, backup_id, bench)
    control = (pp25_original.dir(backup_id) / "backup.control").read_text()
    if field(control, "stream") == "false":
        wal = sorted(path.name for path in (data / "pg_wal").iterdir() if path.is_file())
        assert wal == ["000000010000000000000006", "000000010000000000000007"]
        for name in wal:
            path = data / "pg_wal" / name
            assert path.stat().st_mode & 0o777 == 0o600
            with gzip.open(pp25_original.path / "wal" / "pg15" / f"{name}.gz") as archived:
                assert path.read_bytes() == archived.read()
    with open(data / "postgresql.auto.conf", "a", encoding="utf-8") as conf:
        conf.write("listen_addresses = ''\narchive_mode = off\nport = 5432\n")
    (data / "pg_hba.conf").write_text("local all all trust\n")
    cluster = bench.restored(pg15, data)
    cluster.superuser = "pgt"
    cluster.start()
    recorded = re.findall(rf"^{backup_id} (\w+) (\d+)\|(\w*)$", (fixtures / "pg_probackup" / "rows.txt").read_text(), re.M)
    assert recorded
    for name, rows, digest in recorded:
        found = cluster.sql("SELECT count(*)::text, coalesce(md5(string_agg(r, ',' ORDER BY r)), '') "
                            f"FROM (SELECT t::text AS r FROM {name} t) s")
        assert found == [(rows, digest)]
    cluster.check_tables_and_indexes()


def test_pg_probackup_archive_with_a_hole(pp25_original, bench):
    """What the backup needs of the archive is looked for before anything is written."""
    segment = pp25_original.path / "wal" / "pg15" / "000000010000000000000007.gz"
    target = bench.new("data")
    aside = segment.rename(segment.with_name("aside"))
    try:
        result = gsp_fails("restore", *pp25_original.where, "-i", "TOW7RV", "-D", target, "--no-validate",
                           message="WAL segment 000000010000000000000007", unchanged=[target])
        assert any("000000010000000000000007.gz" in hint for hint in result.hints), result
    finally:
        aside.rename(segment)
