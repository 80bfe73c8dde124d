# SPDX-License-Identifier: Apache-2.0
"""Files that only openGauss has, through its double: tablespaces outside and inside the data directory, segment files,
row-compressed relations."""
import contextlib
import os

import pytest

from opengauss import Source, differences, disk_usage, give_tree, new_catalog
from opengauss_double import example
from processes import make_dir, remove_tree
from tool import gsp_fails, gsp_ok

VERSION = "PG_9.2_201611171_n1"
OUTER, INNER, RELATION = 16393, 16400, 17000
LSN = 0x3000100
EXTENT = 1 << 20
SEGMENT_PAGES = 2048
DATABASE = f"base/{example.DATABASE}"


def row(source, **cells):
    """One more line of the map of changed blocks."""
    first = source.rows[0]
    columns = dict(zip(("merged_start_lsn", "merged_end_lsn", "tablespace_oid", "database_oid", "relfilenode",
                        "fork_number", "path", "rel_dropped", "rel_created", "rel_truncated", "truncate_blocknum",
                        "changed_block_number", "changed_block_list"), first))
    columns.update(cells)
    return tuple(columns.values())


def fill(folder):
    (folder / VERSION / str(example.DATABASE)).mkdir(parents=True)
    pages = b"".join(example.page(block, LSN) for block in range(6))
    (folder / VERSION / str(example.DATABASE) / str(RELATION)).write_bytes(pages)


def make_files(source, outer):
    inner = source.data / "pg_location" / "sub" / "inner"
    fill(outer)
    fill(inner)
    for oid, place in ((OUTER, outer), (INNER, inner)):
        (source.data / "pg_tblspc" / str(oid)).symlink_to(place)
    for name, used in (("2", range(3)), ("2_fsm", range(2000, 2002))):
        with open(source.data / DATABASE / name, "wb") as f:
            for block in used:
                f.seek(block * 8192)
                f.write(example.page(block, LSN, example.PAGE_VERSION_INDEX))
            f.truncate(SEGMENT_PAGES * 8192)
    with open(source.data / DATABASE / "16406_compress", "wb") as f:
        for extent in range(3):
            f.seek(extent * EXTENT)
            f.write(os.urandom(40000))
            f.seek((extent + 1) * EXTENT - 8192)
            f.write(os.urandom(300))
        f.truncate(3 * EXTENT)
    give_tree(source.data)
    give_tree(outer)


@pytest.fixture
def source(bench):
    with contextlib.closing(Source.tiny(bench)) as made:
        yield made


def test_files(bench, source):
    outer, moved, data = bench.new("outer"), bench.new("moved"), bench.new("data")
    make_files(source, outer)
    source.serve()
    catalog = new_catalog(bench, source)
    # Old command lines name tablespaces; that of one inside the data directory, too.
    full = catalog.backup("-E", f"{outer}:{source.data}/pg_location/sub/inner")
    source.check_nothing_left()
    listed = catalog.file_list(full)
    where = {OUTER: f"pg_tblspc/{OUTER}/{VERSION}", INNER: f"pg_location/sub/inner/{VERSION}"}
    for place in where.values():
        assert listed[f"{place}/{example.DATABASE}/{RELATION}"]["n_blocks"] == "6"
    assert sum(name.endswith(f"/{RELATION}") for name in listed) == 2
    assert not any(name.startswith(f"pg_tblspc/{INNER}/") for name in listed)
    assert not (catalog.dir(full) / "external_directories").exists()
    assert listed[f"{DATABASE}/2"]["n_blocks"] == listed[f"{DATABASE}/2_fsm"]["n_blocks"] == str(SEGMENT_PAGES)
    compressed = f"{DATABASE}/16406_compress"
    assert listed[compressed]["is_datafile"] == "0" and listed[compressed]["size"] == str(3 * EXTENT)
    stored = catalog.dir(full) / "database" / compressed
    assert stored.stat().st_blocks * 512 < EXTENT

    # An increment: a block of each tablespace, two of the segment file, and of all of the compressed file.
    for place, block in ((outer, 2), (source.data / "pg_location/sub/inner", 4)):
        path = place / VERSION / str(example.DATABASE) / str(RELATION)
        with open(path, "r+b") as f:
            f.seek(block * 8192)
            f.write(example.page(block, 0x5000100, filler=7))
    with open(source.data / compressed, "r+b") as f:
        f.write(b"other")
    for oid, block in ((OUTER, 2), (INNER, 4)):
        source.rows.append(row(source, tablespace_oid=str(oid), relfilenode=str(RELATION), changed_block_number="1",
                               changed_block_list=str(block),
                               path=f"pg_tblspc/{oid}/{VERSION}/{example.DATABASE}/{RELATION}"))
    source.rows.append(row(source, relfilenode="2", path=f"{DATABASE}/2", changed_block_list="1, 2047"))
    source.serve(starts=["0/5000028"])
    child = catalog.backup(mode="PTRACK")
    blocks = catalog.stored_blocks(child)
    assert {name: blocks.get(f"{place}/{example.DATABASE}/{RELATION}") for name, place in where.items()} == \
        {OUTER: [2], INNER: [4]}
    assert blocks[f"{DATABASE}/2"] == [1, 2047] and f"{DATABASE}/2_fsm" not in blocks
    listed = catalog.file_list(child)
    assert listed[f"{DATABASE}/2_fsm"]["size"] == "-1" and listed[compressed]["size"] == str(3 * EXTENT)

    # Restored beside it, in place, merged.
    without = {"pg_xlog", "backup_label", "tablespace_map"} | \
        {str(path.relative_to(source.data)) for path in (source.data / "pg_xlog").iterdir()}
    to = ["-T", f"{outer}={moved}"]
    catalog.restore(data, "-i", child, *to, f"--external-mapping={outer}={moved}")
    assert differences(data, source.data, without) == []
    assert os.readlink(data / "pg_tblspc" / str(INNER)) == str(data / "pg_location/sub/inner")
    assert (data / compressed).stat().st_blocks * 512 < EXTENT
    with open(data / compressed, "r+b") as f:
        f.write(b"wrong")
    with open(moved / VERSION / str(example.DATABASE) / str(RELATION), "r+b") as f:
        f.write(bytes(8192))
    extra = make_dir(data / "pg_location/sub/inner" / VERSION / "1")
    give_tree(extra)
    catalog.restore(data, "-i", child, "-I", "checksum", *to)
    assert differences(data, source.data, without) == []
    gsp_ok("merge", *catalog.where, "-i", child, "--no-sync")
    remove_tree(data)
    remove_tree(moved)
    make_dir(moved)
    give_tree(moved)
    catalog.restore(data, *to)
    assert differences(data, source.data, without) == []
    gsp_fails("restore", *catalog.where, "-D", bench.new("no"), "-T", f"{source.data}/pg_location/sub/inner={moved}",
              "-T", f"{outer}={bench.new('nowhere')}", message=f"tablespace {INNER} lies in the data directory")
    assert disk_usage(catalog.path) < 80 << 20
