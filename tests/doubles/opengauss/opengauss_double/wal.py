# SPDX-License-Identifier: Apache-2.0
"""The recorded WAL in a source directory: read by position, and walked record by record to find a backup's marks."""
import re
import struct
from pathlib import Path

PAGE = 8192
SEGMENT = 16 << 20
LONG_HEADER, SHORT_HEADER = 40, 24
RECORD_HEADER = 32
MAGIC = 0xD074
CHECKPOINT_SHUTDOWN, CHECKPOINT_ONLINE, SWITCH, BACKUP_END, RESTORE_POINT = 0x00, 0x10, 0x40, 0x50, 0x70


def lsn_text(lsn):
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_padded(lsn):
    """As the functions of the changed-block map write it."""
    return f"{lsn >> 32:08X}/{lsn & 0xFFFFFFFF:08X}"


def parse_lsn(text):
    found = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    if not found:
        raise ValueError(f"'{text}' is not a WAL position")
    return int(found[1], 16) << 32 | int(found[2], 16)


class Marks:
    """Where a recorded backup has its start, its checkpoint (and its end), its restore point's end, and its stop."""

    def __init__(self, start):
        self.start = start
        self.checkpoint = self.checkpoint_end = self.restore_point_end = self.stop = None


class Wal:
    def __init__(self, directory, timeline=1):
        self.directory = Path(directory)
        self.timeline = timeline

    def file_name(self, lsn):
        number = lsn // SEGMENT
        per_id = (1 << 32) // SEGMENT
        return f"{self.timeline:08X}{number // per_id:08X}{number % per_id:08X}"

    def read(self, lsn, n):
        """Up to n bytes at lsn, not over the end of its segment; nothing when the segment is not there."""
        for suffix in ("", ".partial"):
            path = self.directory / (self.file_name(lsn) + suffix)
            if path.exists():
                with open(path, "rb") as segment:
                    segment.seek(lsn % SEGMENT)
                    return segment.read(min(n, SEGMENT - lsn % SEGMENT))
        return b""

    def has(self, lsn):
        return bool(self.read(lsn, 1))

    def _take(self, lsn, n):
        """n bytes of records from lsn on without the page headers among them: (bytes, the position behind them)."""
        data = b""
        while len(data) < n:
            if lsn % PAGE == 0:
                header = self.read(lsn, 2)
                if len(header) < 2 or struct.unpack("<H", header)[0] != MAGIC:
                    return b"", lsn
                lsn += LONG_HEADER if lsn % SEGMENT == 0 else SHORT_HEADER
            part = self.read(lsn, min(n - len(data), PAGE - lsn % PAGE))
            if not part:
                return b"", lsn
            data += part
            lsn += len(part)
        return data, lsn

    def records(self, lsn):
        """(start, end, resource manager, info, bytes) of every record from lsn on, as far as there is any."""
        while True:
            if lsn % PAGE == 0:
                lsn += LONG_HEADER if lsn % SEGMENT == 0 else SHORT_HEADER
            head, _ = self._take(lsn, 4)
            length = struct.unpack("<I", head)[0] if len(head) == 4 else 0
            if not RECORD_HEADER <= length < 1 << 30:
                return
            data, end = self._take(lsn, length)
            if len(data) < length:
                return
            end = (end + 7) & ~7
            info = data[24] & 0xF0
            yield lsn, end, data[25], info, data
            lsn = end if (data[25], info) != (0, SWITCH) else (end + SEGMENT - 1) // SEGMENT * SEGMENT

    def marks(self, start):
        """The marks of the backup that began at start."""
        marks = Marks(start)
        for begin, end, manager, info, data in self.records(start):
            if manager != 0:
                continue
            if info in (CHECKPOINT_SHUTDOWN, CHECKPOINT_ONLINE) and marks.checkpoint is None:
                marks.checkpoint, marks.checkpoint_end = begin, end
            elif info == RESTORE_POINT:
                marks.restore_point_end = end
            elif info == BACKUP_END and data[-8:] == struct.pack("<Q", start):
                marks.stop = end
                return marks
        raise ValueError(f"{self.directory} has no backup that began at {lsn_text(start)} and ended")
