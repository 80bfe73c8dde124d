# SPDX-License-Identifier: Apache-2.0
"""openGauss through its double, over restored directories of a real server: what comes back is what the stock tool had."""
import contextlib
import itertools

import pytest

from opengauss import (CBM_COLUMNS, OF_A_BACKUP, PAGE, Source, StockCatalog, come_up, differences, disk_usage,
                       new_catalog, read_cbm_rows)
from processes import make_dir, remove_tree, run
from tool import gsp_ok

FULL, CHILD = "TOW6QL", "TOW6QS"
FULL_START, CHILD_START = "0/22000028", "0/24000028"
MIB = 1 << 20
STOP_OFFSET = 0x1E8  # both backups end there in their segments
OF_WAL = {f"pg_xlog/0000000100000000000000{name}" for name in ("22", "24", "25.partial")}
# A directory lacks them after a restore: what they say is in links, or nobody needs it.
NOT_RESTORED = {"database_map", "tablespace_map", "pg_xlog/000000010000000000000025.partial"}


def unpack(archive, target, *options):
    """A tar of 1 GB, most of it zeros, which become holes where there are many."""
    make_dir(target)
    run(["tar", "--zstd", "-xf", archive, "-C", target, *options])
    make_holes(target)


def make_holes(target):
    for path in target.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size > 16 * MIB:
            run(["fallocate", "-d", path])


class Recorded:
    """The catalog that the stock tool made, and what it holds: the cluster at its FULL and at its PTRACK backup. One of
    the two is at `source` at a time, where the double serves it."""

    def __init__(self, shop, fixtures):
        folder = fixtures / "opengauss"
        self.home = make_dir(shop.new("recorded"))
        unpack(folder / "catalogs" / "recorded.tar.zst", self.home / "stock")
        self.catalog = StockCatalog(self.home / "stock" / "recorded")
        self.source = Source(self.home / "data")
        self.source.rows = read_cbm_rows(folder / "sessions" / "cbm-rows.txt")
        self.catalog.cluster = self.source
        self.names = itertools.count()
        self.at = None
        for backup_id in (FULL, CHILD):
            self.catalog.restore(self.home / backup_id, "-i", backup_id, "-j", "2", "--no-validate",
                                 "-T", f"/home/omm/ts1={self.home}/ts-{backup_id}")
            make_holes(self.home / backup_id)
        # As the stock tool stored it, page by page: this is what the tests take for a cluster.
        for chain, start in (([FULL], FULL_START), ([FULL, CHILD], CHILD_START)):
            self.catalog.check_restored(chain, self.home / chain[-1], NOT_RESTORED)
            assert come_up(self.home / chain[-1]) == start

    def serve(self, backup_id, start, **kwargs):
        self.source.close()
        if self.at is not None:
            self.source.data.rename(self.home / self.at)
        (self.home / backup_id).rename(self.source.data)
        self.at = backup_id
        return self.source.serve([start], **kwargs)

    def check_restored(self, catalog, *args):
        """What a backup gives is what the source has."""
        target = self.home / f"restored{next(self.names)}"
        catalog.restore(target, "-T", f"{self.home}/ts-{self.at}={target}-ts", "--no-validate", "-j", "2", *args)
        # Of WAL we have what the backup needs: behind its end, and the switch, the segment holds nothing.
        assert differences(target, self.source.data, OF_A_BACKUP | OF_WAL) == []
        (wal,) = (path for path in (target / "pg_xlog").iterdir() if path.is_file())
        assert wal.read_bytes()[:STOP_OFFSET] == (self.source.data / "pg_xlog" / wal.name).read_bytes()[:STOP_OFFSET]
        remove_tree(target)

    def close(self):
        self.source.close()
        remove_tree(self.home)


@pytest.fixture(scope="module")
def recorded(shop, fixtures):
    with contextlib.closing(Recorded(shop, fixtures)) as made:
        yield made


def changed_pages(rows, data):
    """path -> blocks that a map says, of relations' main forks that are there: all of those that were created."""
    found = {}
    for row in map(dict, (zip(CBM_COLUMNS, row) for row in rows)):
        path = data / row["path"]
        if row["fork_number"] != "0" or not path.is_file() or row["path"].startswith("undo"):
            continue
        pages = range(path.stat().st_size // PAGE)
        listed = {int(block) for block in (row["changed_block_list"] or "").replace(" ", "").split(",") if block}
        found[row["path"]] = sorted(set(pages) if row["rel_created"] or row["rel_dropped"] else listed & set(pages))
    return found


def test_chain(recorded, shop):
    """FULL and PTRACK of it through the double; restored from each, and from what they are merged into."""
    recorded.serve(FULL, FULL_START)
    catalog = new_catalog(shop, recorded.source)
    full = catalog.backup("--no-validate", "-j", "2", check=False)
    recorded.source.check_nothing_left()
    recorded.check_restored(catalog)
    stock, ours = recorded.catalog.backups()[FULL], catalog.backups()[full]
    assert ours["pgdata-bytes"] == pytest.approx(stock["pgdata-bytes"], abs=4 * MIB)

    double = recorded.serve(CHILD, CHILD_START)
    child = catalog.backup("-j", "2", mode="PTRACK")
    recorded.source.check_nothing_left()
    assert any("pg_cbm_get_changed_block" in statement for statement in double.statements)
    stored = catalog.stored_blocks(child)
    for path, blocks in changed_pages(recorded.source.rows, recorded.source.data).items():
        assert stored.get(path, []) == blocks, path
    recorded.check_restored(catalog)
    gsp_ok("merge", *catalog.where, "-i", child, "--no-sync", "-j", "2")
    assert list(catalog.backups()) == [child] or list(catalog.backups()) == [full]
    recorded.check_restored(catalog)
    remove_tree(catalog.path)


def test_incremental_on_the_stock_tools_full(recorded):
    recorded.serve(CHILD, CHILD_START)
    catalog = recorded.catalog
    gsp_ok("delete", *catalog.where, "-i", CHILD)
    child = catalog.backup("-D", recorded.source.data, "--no-validate", "-j", "2", mode="PTRACK", check=False)
    recorded.source.check_nothing_left()
    assert catalog.backups()[child]["parent-backup-id"] == FULL
    recorded.check_restored(catalog, "-i", child)


def test_room_for_an_empty_cluster(bench, fixtures):
    """What the files have as zeros is no room on the disk, and is listed all the same."""
    home = make_dir(bench.new("cold"))
    unpack(fixtures / "opengauss" / "data" / "pgdata-cold.tar.zst", home / "cold", *(f"--exclude=data/{name}" for name in (
        "base/16445", "base/15073/[1-5]", "base/15073/2_fsm", "pg_xlog/*2[0135-9A-F]", "pg_xlog/*1F", "pg_tblspc/*")))
    source = Source(home / "cold" / "data")
    with contextlib.closing(source):
        source.serve([FULL_START])
        catalog = new_catalog(bench, source)
        backup_id = catalog.backup("--no-validate", check=False)
        source.check_nothing_left()
    assert catalog.backups()[backup_id]["pgdata-bytes"] > 600 * MIB
    # 47 MiB of undometa, the tables of three databases, the double-write file as far as it was used, and WAL.
    assert disk_usage(catalog.dir(backup_id)) < 145 * MIB
