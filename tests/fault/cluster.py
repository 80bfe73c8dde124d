# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL 15 data directory of at most 40 files, made without a server: control file, pages and WAL
carry right checksums, so that a backup of it is valid."""
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from strict_reader import crc32c  # noqa: E402

PAGE = 8192
SEGMENT = 1 << 20
SYSTEM_ID = 7123456789012345678
FIRST_LSN = 3 * SEGMENT
REDO = FIRST_LSN + 40  # behind the long header of the segment's first page
OID, TABLESPACE, VERSION_DIR = 16400, 16500, "PG_15_202209061"
UNLOGGED = f"base/5/{OID + 2}"  # has an init fork

# What a server of this version has, below the directories of its databases.
DIRECTORIES = """base global pg_commit_ts pg_dynshmem pg_logical pg_logical/mappings pg_logical/snapshots pg_multixact
    pg_multixact/members pg_multixact/offsets pg_notify pg_replslot pg_serial pg_snapshots pg_stat pg_stat_tmp
    pg_subtrans pg_tblspc pg_twophase pg_wal pg_wal/archive_status pg_xact""".split()
# A scan that finds fewer than 100 entries is taken for one that was not allowed to look.
EMPTY_DATABASES = 48

_LANES = (0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C, 0xF8D4474F,
          0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC,
          0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6,
          0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756)


def page_checksum(page, block):
    """As the server computes it; the checksum field of `page` is zero."""
    lanes = list(_LANES)
    words = struct.unpack("<2048I", page) + (0,) * 64
    for at in range(0, len(words), 32):
        for lane in range(32):
            mixed = lanes[lane] ^ words[at + lane]
            lanes[lane] = (mixed * 16777619 & 0xFFFFFFFF) ^ mixed >> 17
    folded = 0
    for lane in lanes:
        folded ^= lane
    return (folded ^ block) % 65535 + 1


def page(block, seed):
    """A page whose upper half holds bytes that hardly compress."""
    body = bytearray(PAGE)
    struct.pack_into("<IIHHHHHH", body, 0, 0, FIRST_LSN - SEGMENT + 64 * (block + 1), 0, 0, 64, 4096, PAGE, PAGE | 4)
    state = seed * 2654435761 + block + 1
    for at in range(4096, PAGE, 4):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        struct.pack_into("<I", body, at, state >> 32)
    struct.pack_into("<H", body, 8, page_checksum(bytes(body), block))
    return bytes(body)


def stamped(content, block, lsn):
    """The page with another LSN, and content to go with it."""
    body = bytearray(content)
    struct.pack_into("<IIH", body, 0, 0, lsn, 0)
    body[-64:] = struct.pack("<Q", lsn) * 8
    struct.pack_into("<H", body, 8, page_checksum(bytes(body), block))
    return bytes(body)


# What changes between the backups of a chain: name, first block, blocks, step. A last block below 0: the file is cut.
CHANGES = [
    [(f"base/5/{OID}", 0, 3), (f"base/5/{OID + 1}", 1, 1), ("global/1260", 0, 1)],
    [(f"base/5/{OID}", 1, 1), (f"base/5/{OID + 1}", 3, 2), ("base/1/1259", 0, 2)],
]


def change(path, step):
    """One step of CHANGES on the cluster at `path`: pages that the server would have written since its checkpoint, and a
    file without pages."""
    root = Path(path)
    for name, first, blocks in CHANGES[step]:
        content = bytearray((root / name).read_bytes())
        for block in range(first, first + blocks):
            old = bytes(content[block * PAGE:(block + 1) * PAGE]) or page(block, 20 + step)
            content[block * PAGE:(block + 1) * PAGE] = stamped(old, block, checkpoint(step) + 64)
        (root / name).write_bytes(content)
    (root / "pg_xact" / "0000").write_bytes(bytes([step + 1]) * PAGE)
    external = root.with_name(root.name + "-external")
    if external.exists():
        (external / f"new{step}").write_bytes(b"new")
    (root / "global" / "pg_control").write_bytes(control_file(checkpoint(step + 1)))
    write_wal(root, step + 1)


def checkpoint(step):
    """Where the last checkpoint stands after so many changes: behind all WAL that was there before the last of them."""
    return REDO if step == 0 else Wal(step - 1).next_record()


def control_file(redo=REDO):
    control = bytearray(PAGE)
    struct.pack_into("<QIIi", control, 0, SYSTEM_ID, 1300, 202209061, 6)
    struct.pack_into("<QI", control, 40, redo, 1)
    struct.pack_into("<IIII", control, 216, PAGE, 131072, PAGE, SEGMENT)
    struct.pack_into("<I", control, 252, 1)
    struct.pack_into("<I", control, 288, crc32c(bytes(control[:288])))
    return bytes(control)


class Wal:
    """WAL from FIRST_LSN on, record by record, as it is after so many changes."""

    def __init__(self, changes=0):
        self.data = bytearray()
        self.previous = FIRST_LSN - 64
        while len(self.data) < SEGMENT + (4 + 6 * changes) * PAGE:
            self.add(24 + len(self.data) * 37 % 30000)

    def next_record(self):
        at = FIRST_LSN + len(self.data)
        return at + (40 if at % SEGMENT == 0 else 24 if at % PAGE == 0 else 0)

    def _begin_page(self, rest):
        at = FIRST_LSN + len(self.data)
        first = at % SEGMENT == 0
        self.data += struct.pack("<HHIQII", 0xD110, (1 if rest else 0) | (2 if first else 0), 1, at, rest, 0)
        if first:
            self.data += struct.pack("<QII", SYSTEM_ID, SEGMENT, PAGE)

    def add(self, length):
        if len(self.data) % PAGE == 0:
            self._begin_page(0)
        start = FIRST_LSN + len(self.data)
        content = bytes((i * 7 + start) & 255 for i in range(length - 24))
        head = struct.pack("<IIQBBH", length, 0, self.previous, 0, 10, 0)
        record = head + struct.pack("<I", crc32c(head, crc32c(content))) + content
        done = 0
        while done < length:
            if len(self.data) % PAGE == 0:
                self._begin_page(length - done)
            part = min(PAGE - len(self.data) % PAGE, length - done)
            self.data += record[done:done + part]
            done += part
        self.data += bytes(-len(self.data) % 8)
        self.previous = start


def write_wal(root, changes):
    wal = Wal(changes)
    for number in range(2):
        content = bytes(wal.data[number * SEGMENT:(number + 1) * SEGMENT])
        (root / "pg_wal" / f"0000000100000000{FIRST_LSN // SEGMENT + number:08X}").write_bytes(content.ljust(SEGMENT, b"\0"))


def make(path):
    """The cluster at `path`, which must not exist, and beside it its tablespace and an external directory."""
    root = Path(path)
    space, external = (root.with_name(root.name + suffix) for suffix in ("-space", "-external"))
    for directory in (root, space, external):
        directory.mkdir(mode=0o700)
    for name in DIRECTORIES + [f"base/{oid}" for oid in (1, 4, 5)] + [f"base/{20000 + i}" for i in range(EMPTY_DATABASES)]:
        (root / name).mkdir(mode=0o700)
    database = space / VERSION_DIR / "5"
    database.mkdir(mode=0o700, parents=True)
    (root / "pg_tblspc" / str(TABLESPACE)).symlink_to(space)
    files = {"PG_VERSION": b"15\n", "postgresql.conf": b"max_connections = 10\n", "postgresql.auto.conf": b"# none\n",
             "pg_hba.conf": b"local all all trust\n", "pg_ident.conf": b"", "pg_xact/0000": bytes(PAGE),
             "pg_multixact/offsets/0000": bytes(PAGE), "pg_multixact/members/0000": bytes(PAGE),
             "pg_logical/replorigin_checkpoint": b"\xab" * 8, "global/pg_control": control_file(),
             "global/pg_filenode.map": b"map" * 100, "global/1213": page(0, 1), "global/1260": page(0, 2)}
    for oid in (1, 4, 5):
        files[f"base/{oid}/PG_VERSION"] = b"15\n"
        files[f"base/{oid}/1259"] = page(0, oid) + page(1, oid)
        files[f"base/{oid}/2604"] = b""
        files[f"base/{oid}/pg_filenode.map"] = b"map" * 100
    # More than one batch, with new pages in it; forks; a table that will be emptied at start.
    table = [page(block, 7) for block in range(3)]
    files[f"base/5/{OID}"] = b"".join(table[block % 3] if block < 3 else bytes(PAGE) for block in range(150))
    files[f"base/5/{OID}_fsm"] = page(0, 8) + page(1, 8) + page(2, 8)
    files[f"base/5/{OID}_vm"] = page(0, 9)
    files[f"base/5/{OID + 1}"] = b"".join(page(block, 10) for block in range(4))
    files[UNLOGGED] = page(0, 11)
    files[f"{UNLOGGED}_init"] = page(0, 12)
    for name, content in files.items():
        (root / name).write_bytes(content)
    (database / str(OID + 3)).write_bytes(page(0, 13) + page(1, 13))
    (database / str(OID + 4)).write_bytes(b"")
    write_wal(root, 0)
    (external / "in").mkdir(mode=0o700)
    (external / "in" / "script").write_bytes(b"#!/bin/sh\n")
    for file in list(external.rglob("*")) + list(root.rglob("*")) + list(space.rglob("*")):
        if file.is_file() and not file.is_symlink():
            file.chmod(0o600)
    count = sum(p.is_file() for tree in (root, space) for p in tree.rglob("*"))
    assert count <= 42, f"{count} files"
    return root
