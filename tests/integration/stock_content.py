# SPDX-License-Identifier: Apache-2.0
"""What a backup of the stock tool holds, put together without the program under test: the stored files of a chain laid
over each other, oldest first."""
import ctypes
import json
import re
import stat
import struct
import zlib

PAGE = 8192
# Lists that are for the tool, not for the server.
NOT_RESTORED = {"tablespace_map", "database_map"}


# ---- compressors -----------------------------------------------------------------------------------

def inflate_pglz(data):
    """Items of a control byte, lowest bit first: 0 is a literal byte, 1 a copy of what came before."""
    out, at = bytearray(), 0
    while at < len(data):
        control, at = data[at], at + 1
        for bit in range(8):
            if at >= len(data):
                break
            if not control >> bit & 1:
                out.append(data[at])
                at += 1
                continue
            length, distance = (data[at] & 15) + 3, (data[at] & 240) << 4 | data[at + 1]
            at += 2
            if length == 18:
                length, at = length + data[at], at + 1
            piece = out[-distance:]
            out += (piece * (length // len(piece) + 1))[:length]
    return bytes(out)


def _inflate_lz4(data):
    out = ctypes.create_string_buffer(PAGE)
    assert ctypes.CDLL("liblz4.so.1").LZ4_decompress_safe(data, out, len(data), PAGE) == PAGE
    return out.raw


def _inflate_zstd(data):
    decompress = ctypes.CDLL("libzstd.so.1").ZSTD_decompress
    decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(PAGE)
    assert decompress(out, ctypes.c_size_t(PAGE), data, ctypes.c_size_t(len(data))) == PAGE
    return out.raw


INFLATE = {"zlib": zlib.decompress, "pglz": inflate_pglz, "lz4": _inflate_lz4, "zstd": _inflate_zstd}


# ---- chains ----------------------------------------------------------------------------------------

class Member:
    """A backup and its file list: (external number, path) -> the keys of its line."""

    def __init__(self, catalog, backup_id):
        self.folder = catalog.dir(backup_id)
        self.entries = {}
        for line in (self.folder / "backup_content.control").read_text().splitlines():
            entry = json.loads(line)
            self.entries[int(entry["external_dir_num"]), entry["path"]] = entry

    def stored(self, name):
        number, path = name
        return self.folder / (f"external_directories/externaldir{number}" if number else "database") / path


def chain(catalog, backup_id):
    """Oldest first."""
    shown, members = catalog.backups(), []
    while backup_id:
        members.insert(0, Member(catalog, backup_id))
        backup_id = shown[backup_id].get("parent-backup-id")
    return members


def is_dir(entry):
    return stat.S_ISDIR(int(entry["mode"]))


def is_row_compressed(entry):
    return "compressedFile" in entry


def _lay(blocks, member, name, entry):
    """block -> (algorithm, payload) of the frames that one member stores, over what older ones have."""
    if int(entry["size"]) <= 0:
        return
    data, at = member.stored(name).read_bytes(), 0
    while at < len(data):
        block, size = struct.unpack_from("<Ii", data, at)
        blocks[block] = entry["compress_alg"], data[at + 8:at + 8 + size]
        at += 8 + size


def pages(members, name):
    """The pages of a data file, a function for each, in order: of the newest version of each block."""
    blocks = {}
    for member in members:
        entry = member.entries.get(name)
        count = int(entry.get("n_blocks", 0)) if entry else 0
        blocks = {block: page for block, page in blocks.items() if block < count}
        if entry:
            _lay(blocks, member, name, entry)
    return [blocks.get(block, ("none", bytes(PAGE))) for block in range(count)]


def page(algorithm, payload):
    return payload if len(payload) == PAGE else INFLATE[algorithm](payload)


def cut(path):
    """A file in pages."""
    content = path.read_bytes()
    return [content[at:at + PAGE] for at in range(0, len(content), PAGE)]


def newest_stored(members, name):
    """Of a file without pages: the member that has it, None for an empty one."""
    for member in reversed(members):
        size = int(member.entries[name]["size"])
        if size >= 0:
            return member if size else None
    raise AssertionError(f"nobody has {name}")


# ---- what the stock tool did -----------------------------------------------------------------------

def recorded_tree(transcript, root):
    """path -> (type, mode, size) as `find` printed it of a directory that the stock tool restored."""
    lines = re.findall(rf"^([dfl]) (\d+) (\d+) {root}/(\S+)$", transcript.read_text(errors="replace"), re.M)
    return {path: (kind, int(mode, 8), int(size)) for kind, mode, size, path in lines}
