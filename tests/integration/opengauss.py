# SPDX-License-Identifier: Apache-2.0
"""openGauss without openGauss: source directories, their doubles, and how trees are compared."""
import os
import stat
import struct
import sys
from pathlib import Path

from processes import make_dir, run, wait_until
from tool import REPOSITORY, Catalog

sys.path.insert(0, str(REPOSITORY / "tests" / "doubles" / "opengauss"))
from opengauss_double import Double, come_up, example, read_cbm_rows  # noqa: E402,F401 pylint: disable=all
from opengauss_double.recorded import CBM_COLUMNS  # noqa: E402,F401 pylint: disable=all

# A label is the server's, not the cluster's, and each backup has its own.
OF_A_BACKUP = {"backup_label", "tablespace_map", "backup_label.old"}


class Source:
    """A directory to back up, in the place of a cluster: with the double of the day over it."""

    def __init__(self, data):
        self.data = Path(data)
        self.rows = None
        self.double = None

    @classmethod
    def tiny(cls, bench):
        home = make_dir(bench.new("og"))
        source = cls(home / "data")
        source.rows = example.make(source.data)
        give_tree(source.data)
        return source

    def serve(self, starts=example.STARTS, **kwargs):
        self.close()
        self.double = Double(self.data, starts, cbm_rows=kwargs.pop("cbm_rows", self.rows), **kwargs)
        return self.double

    @property
    def connection_options(self):
        return self.double.connection_options

    def check_nothing_left(self):
        """No session, no backup mode, no slot; and the double understood all it was asked."""
        wait_until(lambda: not self.double.left_behind, f"an end of {self.double.left_behind}", timeout=5)
        assert not self.double.unknown and not self.double.crashed

    def close(self):
        if self.double is not None:
            self.double.close()
            self.double = None


def give_tree(path):
    run(["chown", "-R", "postgres:", path], as_root=True)


def new_catalog(bench, source):
    return Catalog.create(bench.new("catalog"), source)


# ---- comparing trees -------------------------------------------------------------------------------

def _extents(fd, size):
    """Where a file has data: holes are zeros, and there are hundreds of megabytes of them here."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, at


def _has(one, other, size):
    """Every byte of data in one is the same in the other."""
    for start, end in _extents(one, size):
        for at in range(start, end, 1 << 20):
            n = min(1 << 20, end - at)
            if os.pread(one, n, at) != os.pread(other, n, at):
                return False
    return True


def same_file(one, other):
    if one.stat().st_size != other.stat().st_size:
        return False
    with open(one, "rb") as a, open(other, "rb") as b:
        size = one.stat().st_size
        return _has(a.fileno(), b.fileno(), size) and _has(b.fileno(), a.fileno(), size)


def _names(root, without):
    return {path.relative_to(root) for path in root.rglob("*") if str(path.relative_to(root)) not in without}


def differences(one, other, without=frozenset(OF_A_BACKUP)):
    """What two trees do not have in common, as texts; links are followed into tablespaces."""
    one, other = Path(one), Path(other)
    names, others = _names(one, without), _names(other, without)
    found = [f"only in {one}: {name}" for name in sorted(names - others)] + \
        [f"only in {other}: {name}" for name in sorted(others - names)]
    for name in sorted(names & others):
        a, b = one / name, other / name
        if a.is_dir() or b.is_dir():
            if a.is_dir() != b.is_dir() or a.is_symlink() != b.is_symlink():
                found.append(f"a directory on one side only: {name}")
            elif a.is_symlink():
                found += differences(a.resolve(), b.resolve(), without)
        elif not same_file(a, b):
            found.append(f"not the same: {name}")
    return found


def disk_usage(root):
    return sum(path.lstat().st_blocks * 512 for path in Path(root).rglob("*"))


# ---- what the stock tool stored ----------------------------------------------------------------------

ITEM = struct.Struct("<Ii")  # of a stored page: its number, its length
PAGE = 8192
UNCHANGED = -1


def stored_content(catalog, chain, name):
    """What a file of uncompressed backups is after the last of the chain, which begins with the FULL one: (its length in
    pages or bytes, {block: page} or None, the path of the stored bytes or None)."""
    blocks, whole, last = {}, None, None
    for backup_id in chain:
        last = entry = catalog.listed(backup_id).get(name)
        if entry is None:
            blocks, whole = {}, None
            continue
        size = int(entry["size"])
        stored = catalog.dir(backup_id) / "database" / name
        if size == UNCHANGED:
            continue
        if entry["is_datafile"] != "1":
            whole = stored if size > 0 else None
            continue
        data = stored.read_bytes() if size > 0 else b""
        for at in range(0, len(data), ITEM.size + PAGE):
            block, length = ITEM.unpack_from(data, at)
            assert length == PAGE, f"{stored} is compressed"
            blocks[block] = data[at + ITEM.size:at + ITEM.size + PAGE]
    return last, blocks, whole


def is_as_stored(path, content):
    entry, blocks, whole = content
    if entry["is_datafile"] != "1":
        return path.stat().st_size == 0 if whole is None else same_file(path, whole)
    length = int(entry.get("n_blocks", 0)) * PAGE
    if path.stat().st_size != length:
        return False
    zeros = bytes(PAGE)
    with open(path, "rb") as f:
        return all(os.pread(f.fileno(), PAGE, at) == blocks.get(at // PAGE, zeros) for at in range(0, length, PAGE))


class StockCatalog(Catalog):
    """Read by this file's own rules, not by the tool's."""

    def __init__(self, path):
        super().__init__(path)
        self.lists = {}

    def listed(self, backup_id):
        if backup_id not in self.lists:
            self.lists[backup_id] = self.file_list(backup_id)
        return self.lists[backup_id]

    def check_restored(self, chain, data, without=frozenset()):
        """A directory is what the chain holds: every file byte by byte, but for row-compressed ones, and nothing else."""
        wanted = {name: int(entry["mode"]) for name, entry in self.listed(chain[-1]).items()
                  if entry["external_dir_num"] == "0" and name not in without}
        found = {str(path.relative_to(data)) for path in Path(data).rglob("*")} - without
        assert (found - set(wanted), set(wanted) - found) == (set(), set())
        wrong = [name for name, mode in wanted.items() if not stat.S_ISDIR(mode) and
                 "compressedFile" not in self.listed(chain[-1])[name] and
                 not is_as_stored(Path(data) / name, stored_content(self, chain, name))]
        assert wrong == []
