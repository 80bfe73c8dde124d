# SPDX-License-Identifier: Apache-2.0
"""One damaged file of each kind in the catalog: validate says so, restore refuses."""
import re

import pytest

from tool import gsp, gsp_fails


@pytest.fixture(scope="module")
def original(shop, pg15):
    source = shop.cluster(pg15)
    source.pgbench_init(1)
    source.tablespace("elsewhere")
    source.sql("CREATE TABLE far TABLESPACE elsewhere AS SELECT generate_series(1, 5000) AS id")
    source.accounts = source.relation_path("pgbench_accounts")
    source.far = source.relation_path("far")
    catalog = shop.catalog(source)
    catalog.id = catalog.backup("--compress-algorithm=zlib")
    source.stop()
    return catalog


@pytest.fixture
def catalog(bench, original):
    return original.copy(bench.new("catalog"))


def wal_segment(catalog):
    return sorted((catalog.dir(catalog.id) / "database" / "pg_wal").glob("0*"))[0]


FILES = {
    "table": lambda c: c.dir(c.id) / "database" / c.cluster.accounts,
    "table in a tablespace": lambda c: c.dir(c.id) / "database" / c.cluster.far,
    "other file": lambda c: c.dir(c.id) / "database" / "global" / "pg_filenode.map",
    "configuration file": lambda c: c.dir(c.id) / "database" / "postgresql.conf",
    "pg_control": lambda c: c.dir(c.id) / "database" / "global" / "pg_control",
    "wal": wal_segment,
    "backup_label": lambda c: c.dir(c.id) / "database" / "backup_label",
    "tablespace_map": lambda c: c.dir(c.id) / "database" / "tablespace_map",
    "database_map": lambda c: c.dir(c.id) / "database" / "database_map",
    "file list": lambda c: c.dir(c.id) / "backup_content.control",
    "header map": lambda c: c.dir(c.id) / "page_header_map",
}


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    # In pg_control only the first bytes mean something.
    data[40 if path.name == "pg_control" else len(data) // 2] ^= 0x10
    rewrite(path, bytes(data))


def truncate(path):
    rewrite(path, path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    rewrite(path, b"")


def rewrite(path, data):
    mode = path.stat().st_mode & 0o7777
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode)


DAMAGES = {"flipped": flip_a_bit, "truncated": truncate, "emptied": empty, "removed": lambda path: path.unlink()}


def mapping(catalog, bench):
    return ["-T", f"{catalog.cluster.home / 'elsewhere'}={bench.new('tablespace')}"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", FILES)
def test_damaged_file(bench, catalog, kind, damage):
    path = FILES[kind](catalog)
    DAMAGES[damage](path)
    target = bench.new("data")
    gsp_fails("restore", *catalog.where, "-D", target, "-i", catalog.id, *mapping(catalog, bench),
              message=catalog.id, unchanged=[target])
    result = catalog.validate("-j", "2")
    assert result.code == 1, result
    assert any(path.name in line for line in result.warnings + result.errors) or kind == "wal", result
    assert catalog.status(catalog.id) == "CORRUPT"
    # Marked is marked: not by -i, not by default.
    gsp_fails("restore", *catalog.where, "-D", target, *mapping(catalog, bench), message="", unchanged=[target])


@pytest.mark.parametrize("kind", ["table", "other file", "wal"])
def test_restore_finds_damage_while_it_reads(bench, catalog, kind):
    flip_a_bit(FILES[kind](catalog))
    target = bench.new("data")
    result = gsp("restore", *catalog.where, "-D", target, "--no-validate", *mapping(catalog, bench))
    assert result.code == 1 and len(result.errors) == 1, result
    assert not (target / "global" / "pg_control").exists(), "a damaged copy must not start"


@pytest.mark.parametrize("text", ["", "status = OK\n", "\0" * 100, "nonsense\n", "status = OK\n" * 100000],
                         ids=["empty", "status only", "zeros", "nonsense", "huge"])
def test_unreadable_backup_control(bench, catalog, text):
    (catalog.dir(catalog.id) / "backup.control").write_text(text)
    target = bench.new("data")
    gsp_fails("restore", *catalog.where, "-D", target, "-i", catalog.id, *mapping(catalog, bench), message="",
              unchanged=[target])
    assert catalog.validate().code == 1


@pytest.mark.parametrize("bad", ["../outside", "/etc/passwd", "base/../../outside", "", "base//1"])
def test_paths_that_leave_the_directory(bench, catalog, bad):
    control = catalog.dir(catalog.id) / "backup.control"
    listing = catalog.dir(catalog.id) / "backup_content.control"
    listing.write_text(listing.read_text().replace('"path":"PG_VERSION"', f'"path":"{bad}"'))
    control.write_text(re.sub(r"content-crc = .*\n", "", control.read_text()))  # absent = unchecked
    parent = bench.new("parent")
    target = parent / "data"
    gsp_fails("restore", *catalog.where, "-D", target, "-i", catalog.id, "--no-validate", *mapping(catalog, bench),
              message="", unchanged=[parent])


@pytest.mark.parametrize("text", ["pgdata\n", "= x\n", "pgdata = '/x\n", "pgdata = /a\0b\n", "compress-level = many\n"],
                         ids=["no value", "no key", "open quote", "NUL", "bad number"])
def test_bad_instance_configuration(catalog, text):
    with open(catalog.config_file, "a", encoding="utf-8") as conf:
        conf.write(text)
    result = gsp_fails("validate", *catalog.where, message="pg_probackup.conf", unchanged=[catalog.path])
    assert re.search(r"pg_probackup\.conf:\d+", result.errors[0]), result
