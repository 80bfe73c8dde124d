# SPDX-License-Identifier: Apache-2.0
"""The strict reader finds what it is there to find: a good little backup, broken in one way at a time."""
import struct
import zlib

import pytest

import strict_reader as strict

CONTROL = """#Configuration
backup-mode = FULL
stream = true
compress-alg = none
compress-level = 1
from-replica = false

#Compatibility
block-size = 8192
xlog-block-size = 8192
checksum-version = 1
program-version = 2.4.2
server-version = 9.2
# made by gs_probackup 1.0.0

#Result backup info
timelineid = 1
start-lsn = 0/2000028
stop-lsn = 0/20001E8
start-time = '2023-11-14 22:13:20+00'
recovery-xid = 7
data-bytes = %d
wal-bytes = 0
status = OK
content-crc = %d

#Database Storage type
storage-type = FILE

#S3 Storage status
s3-status = UNKNOWN
"""
DIR_LINE = ('{"path":"base", "size":"0", "mode":"16832", "is_datafile":"0", "is_cfs":"0", "crc":"0", '
            '"compress_alg":"none", "external_dir_num":"0", "dbOid":"0", "file_type":"0"}\n')
FILE_LINE = ('{"path":"base/7", "size":"%d", "mode":"33152", "is_datafile":"1", "is_cfs":"0", "crc":"%d", '
             '"compress_alg":"none", "external_dir_num":"0", "dbOid":"0", "file_type":"0","segno":"0","n_blocks":"9",'
             '"n_headers":"2","hdr_crc":"%d","hdr_off":"0","hdr_size":"%d"}\n')


class Backup:
    def __init__(self, path):
        self.path = path
        self.pages = b"".join(strict.ITEM.pack(block, 8192) + bytes([block]) * 8192 for block in (3, 8))
        self.records = [(1 << 32, 3, 0, 11, bytes(6)), (2 << 32, 8, 8200, 12, bytes(6)), (0, 0, 16400, 0, bytes(6))]
        self.lines = DIR_LINE + FILE_LINE
        self.control = CONTROL
        self.data_bytes = None

    def write(self):
        raw = b"".join(strict.HEADER.pack(*record) for record in self.records)
        deflated = zlib.compress(raw, 1)
        (self.path / "database" / "base").mkdir(parents=True)
        (self.path / "database" / "base" / "7").write_bytes(self.pages)
        (self.path / "page_header_map").write_bytes(deflated)
        lines = self.lines.replace(FILE_LINE, FILE_LINE % (
            len(self.pages), strict.crc32c(self.pages), strict.crc32c(raw), len(deflated))).encode()
        (self.path / "backup_content.control").write_bytes(lines)
        data_bytes = 4096 + len(self.pages) if self.data_bytes is None else self.data_bytes
        (self.path / "backup.control").write_text(self.control % (data_bytes, strict.crc32c(lines)))
        return self

    def problems(self):
        return strict.check_backup(str(self.path))


@pytest.fixture
def backup(tmp_path):
    return Backup(tmp_path / "S44WE8")


def test_a_good_backup_is_fine(backup):
    assert backup.write().problems() == []
    assert strict.read_control(str(backup.path / "backup.control"))["made-by"] == "1.0.0"


def test_known_checksums():
    assert strict.crc32c(b"123456789") == 0xE3069283
    assert strict.crc32c(b"6789", strict.crc32c(b"12345")) == 0xE3069283
    page = struct.pack("<Ii", 0, 8192) + bytes(8192)
    assert strict.crc32c(page) == 3164305548


@pytest.mark.parametrize("old, new, finding", [
    ("backup-mode = FULL", "backup-mode = DELTA", "invalid backup-mode"),
    ("status = OK", "status = OK\nmood = good", "Invalid option"),
    ("status = OK", "status = FINE", "bad value"),
    ("status = OK", "status = OK\nnote = '" + "n" * 1100 + "'", "unterminated|Syntax error"),
    ("status = OK", "status = OK\nnote = 'it's'", "text behind"),
    ("storage-type = FILE\n", "", "no storage-type"),
    ("stream = true\n", "", "no stream"),
    ("timelineid = 1\nstart-lsn = 0/2000028", "start-lsn = 0/2000028\ntimelineid = 1", "not in their order"),
    ("0/2000028", "0/02000028", "bad value"),
])
def test_control_files_are_checked(backup, old, new, finding):
    assert old in backup.control
    backup.control = backup.control.replace(old, new)
    with pytest.raises(strict.StrictError, match=finding):
        strict.read_control(str(backup.write().path / "backup.control"))


@pytest.mark.parametrize("line, finding", [
    (DIR_LINE.replace("base", "a,b"), "invalid format"),
    (DIR_LINE.replace("base", 'a"b'), "invalid format|not the stock form"),
    (DIR_LINE.replace("base", "../b"), "clean relative"),
    (DIR_LINE.replace("base", "b" * 8192), "bytes"),
    (DIR_LINE.replace('"dbOid":"0", ', ""), "not the stock form"),
    # "s" is taken for the beginning of "segno".
    (DIR_LINE.replace('"dbOid"', '"s":"1", "dbOid"'), "segno and is_datafile"),
    (DIR_LINE.replace('"dbOid"', '"new":"1", "dbOid"'), "not the stock form"),
    (DIR_LINE.replace(', "file_type":"0"', ""), "not found"),
    (DIR_LINE.replace('"crc":"0"', '"crc":"' + "0" * 32 + '"'), "out of range"),
    (DIR_LINE, "stands twice"),
])
def test_list_lines_are_checked(backup, line, finding):
    backup.lines = DIR_LINE + line
    backup.write()
    with pytest.raises(strict.StrictError, match=finding):
        strict.read_filelist(str(backup.path / "backup_content.control"), None)


def test_a_changed_list_is_found(backup):
    backup.write()
    (backup.path / "backup_content.control").write_text(DIR_LINE)
    assert "Invalid CRC" in backup.problems()[0]


def test_a_prefix_is_taken_for_the_name():
    """The quirk itself: a key that is the beginning of another is found in its place."""
    assert strict._value('{"pa":"wrong", "path":"right"}', "path", True) == "wrong"


@pytest.mark.parametrize("change, finding", [
    (lambda b: b.records.__setitem__(0, (1, 4, 0, 0, bytes(6))), "inline header and the map differ"),
    (lambda b: b.records.__setitem__(0, (1, 3, 0, 0, b"\1" * 6)), "padding"),
    (lambda b: b.records.__setitem__(2, (9, 0, 16400, 0, bytes(6))), "unused fields"),
    (lambda b: b.records.__setitem__(2, (0, 0, 16399, 0, bytes(6))), "do not cover"),
    (lambda b: b.records.pop(1), "2 pages"),
    (lambda b: setattr(b, "data_bytes", 1), "data-bytes"),
])
def test_pages_and_sums_are_checked(backup, change, finding):
    change(backup)
    assert finding in " ".join(backup.write().problems())


def test_contents_are_checked(backup):
    backup.write()
    stored = backup.path / "database" / "base" / "7"
    stored.write_bytes(backup.pages[:-1] + b"x")
    assert any("crc is wrong" in problem for problem in backup.problems())
    assert strict.check_backup(str(backup.path), quick=True) == []
    stored.write_bytes(backup.pages[:-1])
    assert any("stored size" in problem for problem in strict.check_backup(str(backup.path), quick=True))


def test_configurations_are_checked(tmp_path):
    conf = tmp_path / "pg_probackup.conf"
    conf.write_text("# Backup instance information\npgdata = /data\nexternal-dirs = 'a b'\nsystem-identifier = 42\n")
    assert strict.read_conf(str(conf))["external-dirs"] == "a b"
    for text in ("pgdata\n", "colour = blue\n", "pgdata = \n", "pgdata = /a\npgdata = /b\n", "pgdata = " + "x" * 1100):
        conf.write_text(text)
        with pytest.raises(strict.StrictError):
            strict.read_conf(str(conf))
