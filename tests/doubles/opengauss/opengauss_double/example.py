# SPDX-License-Identifier: Apache-2.0
"""A tiny source directory with the WAL of two backups, for whoever has no recording: enough for a tool to back up."""
import struct
from pathlib import Path

from . import wal
from .recorded import CBM_COLUMNS

SYSTEM_ID = 215046882207016001
STARTS = ("0/3000028", "0/5000028")
DATABASE, TABLE, TABLE_PAGES, SEGMENT_FILE = 15073, 16384, 8, 3
PAGE_VERSION_INDEX, PAGE_VERSION_HEAP = 5, 6
PAGE_CHECKED = 0x40
RUNNING_TRANSACTIONS = 8
_CASTAGNOLI = 0x82F63B78


def _table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
        yield byte


_CRC_TABLE = tuple(_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


# The checksum of a page works in 32 lanes, each of which has a start of its own.
_LANES = (
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756)


def page_checksum(page, block):
    """page: with zeros where the checksum belongs."""
    sums = list(_LANES)
    words = struct.unpack(f"<{len(page) // 4}I", page)
    for i, word in enumerate((*words, *[0] * 64)):
        mixed = sums[i % 32] ^ word
        sums[i % 32] = (mixed * 16777619 & 0xFFFFFFFF) ^ mixed >> 17
    result = 0
    for lane in sums:
        result ^= lane
    return (result ^ block) % 65535 + 1


def page(block, lsn, version=PAGE_VERSION_HEAP, filler=0):
    header = 40 if version == PAGE_VERSION_HEAP else 24
    data = bytearray(8192)
    struct.pack_into("<IIHHHHHHI", data, 0, lsn >> 32, lsn & 0xFFFFFFFF, 0, PAGE_CHECKED, header, 8192 - 256, 8192,
                     8192 | version, 0)
    data[8192 - 256:] = bytes([(filler + block) % 256]) * 256
    struct.pack_into("<H", data, 8, page_checksum(bytes(data), block))
    return bytes(data)


def compressed_extent():
    """Chunks of compressed pages, and at the end the page that tells where which one is."""
    chunks = struct.pack("<I", 0xC0FFEE) * (128 * 2048)
    return chunks[:-8] + b"seg_comp"


def record(manager, info, payload, previous):
    body = bytes([255, len(payload)]) + payload if payload else b""
    head = struct.pack("<IIQQBBH", 32 + len(body), 1, 0, previous, info, manager, 0)
    data = head + struct.pack("<I", crc32c(body + head)) + body
    return data + bytes(-len(data) % 8)


def checkpoint(redo):
    data = bytearray(120)
    struct.pack_into("<QI?", data, 0, redo, 1, True)
    struct.pack_into("<QIxxxxQQQI", data, 16, 13000, 24576, 2, 0, 3, 1)
    struct.pack_into("<QQQ", data, 64, 1795331613, 1, 13000)
    return bytes(data)


def segment(start):
    """The first page of a segment in which a backup begins, ends, and the next segment is switched to: (page, marks)."""
    begin = start // wal.SEGMENT * wal.SEGMENT
    data = bytearray(struct.pack("<HHIQIIQII", wal.MAGIC, 6, 1, begin, 0, 0, SYSTEM_ID, wal.SEGMENT, wal.PAGE))
    positions, previous = [], 0
    point = struct.pack("<q64s", 848646817000000, b"example")
    for manager, info, payload in (
            (RUNNING_TRANSACTIONS, 0x10, bytes(40)), (0, wal.CHECKPOINT_ONLINE, checkpoint(start)),
            (0, wal.RESTORE_POINT, point), (0, wal.BACKUP_END, struct.pack("<Q", start)), (0, wal.SWITCH, b"")):
        positions.append(begin + len(data))
        data += record(manager, info, payload, previous)
        previous = positions[-1]
    return bytes(data), positions


def control(redo, checkpoint_lsn):
    data = bytearray(8192)
    struct.pack_into("<QIIIIqQQ", data, 0, SYSTEM_ID, 923, 201611171, 1, 6, 1795331613, checkpoint_lsn, 0)
    data[48:136] = checkpoint(redo)[:88]
    struct.pack_into("<IIIIIdIIIIIII???", data, 164, 2, 110, 10, 256, 8, 1234567.0, 8192, 131072, 8192, wal.SEGMENT, 64, 32,
                     1996, True, True, True)
    struct.pack_into("<I", data, 224, crc32c(data[:224]))
    return bytes(data)


def make(path):
    """A source directory that does not exist yet; returns its map of changed blocks between the two backups."""
    root = Path(path)
    for name in ("global", f"base/{DATABASE}", "base/1", "pg_xlog", "pg_clog", "pg_csnlog", "pg_tblspc", "pg_location",
                 "pg_cbm", "pg_twophase", "pg_multixact/offsets", "pg_multixact/members", "undo/permanent"):
        (root / name).mkdir(parents=True)
    first, second = map(wal.parse_lsn, STARTS)
    for start in (first, second):
        data, positions = segment(start)
        with open(root / "pg_xlog" / wal.Wal(root).file_name(start), "wb") as f:
            f.write(data)
            f.truncate(wal.SEGMENT)
    files = {
        "PG_VERSION": b"9.2\n", "postgresql.conf": b"port = 6432\n", "pg_hba.conf": b"local all all trust\n",
        "gaussdb.state": bytes(72), "global/pg_control": control(second, positions[1]),
        "pg_clog/000000000000": bytes(8192), "pg_csnlog/000000000000": bytes(8192),
        "undo/permanent/00000.0000000": bytes(8192),
        "global/1262": page(0, first), f"base/1/{TABLE - 1000}": page(0, first),
        f"base/{DATABASE}/{TABLE}": b"".join(page(block, first + 256) for block in range(TABLE_PAGES)),
        f"base/{DATABASE}/{TABLE + 1}": b"".join(page(b, first, PAGE_VERSION_INDEX) for b in range(2)),
        f"base/{DATABASE}/{SEGMENT_FILE}": compressed_extent(),
    }
    # A real cluster has hundreds of empty tables; tools take one with few files for half a directory.
    files.update((f"base/1/{number}", b"") for number in range(14000, 14120))
    for name, data in files.items():
        (root / name).write_bytes(data)
    for item in (root, *root.rglob("*")):
        item.chmod(0o700 if item.is_dir() else 0o600)
    cells = dict.fromkeys(CBM_COLUMNS)
    cells.update(merged_start_lsn=wal.lsn_padded(first), merged_end_lsn=wal.lsn_padded(second), tablespace_oid="1663",
                 database_oid=str(DATABASE), relfilenode=str(TABLE), fork_number="0", path=f"base/{DATABASE}/{TABLE}",
                 rel_dropped=False, rel_created=False, rel_truncated=False, changed_block_number="2",
                 changed_block_list="1, 2")
    return [tuple(cells.values())]
