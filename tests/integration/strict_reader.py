#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A reader of backup catalogs that is as strict, and as odd, as the stock tool's.

Everything gs_probackup writes must pass here, because the stock tool has to read it: lines are taken in
pieces of 1023 (control files, configuration) or 8191 bytes (file list), keys of the file list are searched
by the stock tool's state machine, which trips over commas in values and takes a prefix for a whole name.

    strict_reader.py [--quick] BACKUP_DIR...     prints what is wrong, exit code 1 when anything is

or import read_control, read_conf, read_filelist, check_backup. Standard library only.
"""
import os
import re
import stat
import struct
import sys
import zlib

BLOCK = 8192
CATALOG_FORMAT = (2, 4, 2)
HEADER = struct.Struct('<QiiH6s')
ITEM = struct.Struct('<Ii')
WAL_NAME = re.compile(r'^[0-9A-F]{24}$')


class StrictError(Exception):
    """The stock tool would refuse this, or read something else than was meant."""


# ---- CRC-32C -------------------------------------------------------------------------------------

def _crc_tables():
    byte = []
    for i in range(256):
        crc = i
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        byte.append(crc)
    word = [byte[byte[i & 255] & 255 ^ i >> 8] ^ byte[i & 255] >> 8 for i in range(65536)]
    return byte, word


_BYTE, _WORD = _crc_tables()


def _zero_operators():
    """For each power of two: what that many zero bytes do to each of the 32 bits of a crc."""
    one = [_BYTE[1 << bit & 255] ^ (1 << bit) >> 8 for bit in range(32)]
    operators = [one]
    for _ in range(40):
        last = operators[-1]
        operators.append([_apply(last, last[bit]) for bit in range(32)])
    return operators


def _apply(operator, crc):
    out = 0
    for bit in range(32):
        if crc >> bit & 1:
            out ^= operator[bit]
    return out


_ZEROS = _zero_operators()
_ZERO_CHUNK = bytes(4096)


def crc32c(data, crc=0):
    """As the product's: crc32c(b, crc32c(a)) is the value of a followed by b."""
    crc ^= 0xFFFFFFFF
    word = _WORD
    for at in range(0, len(data), 4096):
        chunk = data[at:at + 4096]
        if chunk == _ZERO_CHUNK:
            crc = _apply(_ZEROS[12], crc)
            continue
        even = len(chunk) & ~1
        for pair in struct.unpack('<%dH' % (even // 2), chunk[:even]):
            crc ^= pair
            crc = word[crc & 0xFFFF] ^ crc >> 16
        for byte in chunk[even:]:
            crc = _BYTE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def crc32c_file(path):
    crc = 0
    with open(path, 'rb') as file:
        while True:
            data = file.read(1 << 20)
            if not data:
                return crc
            crc = crc32c(data, crc)


# ---- lines of control files and of the configuration ---------------------------------------------

def _pieces(data, size):
    """What successive fgets() calls with a buffer of size + 1 bytes return."""
    for line in data.splitlines(keepends=True) if b'\r' not in data else re.findall(rb'[^\n]*\n|[^\n]+', data):
        for at in range(0, len(line), size):
            yield line[at:at + size]


_SPACE = b' \t\n\v\f\r'


def _pair(piece):
    """(key, value) of one piece, None for a blank or comment line."""
    line = piece.rstrip(_SPACE).lstrip(_SPACE)
    if not line or line.startswith(b'#'):
        return None
    match = re.match(rb'[^=# \n\r\t\v]+', line)
    if not match:
        raise StrictError('Syntax error in "%s"' % line[:64].decode('utf-8', 'replace'))
    key = match.group()
    rest = line[match.end():].lstrip(_SPACE)
    if not rest.startswith(b'='):
        raise StrictError('Syntax error in "%s"' % line[:64].decode('utf-8', 'replace'))
    rest = rest[1:].lstrip(_SPACE)
    if rest.startswith(b"'"):
        match = re.match(rb"'((?:[^']|'')*)'", rest)
        if not match:
            raise StrictError('unterminated quoted value of "%s"' % key.decode())
        value = match.group(1).replace(b"''", b"'")
    else:
        match = re.match(rb'[^#\n\r\t\v]*', rest)
        value = match.group()
    rest = rest[match.end():].lstrip(_SPACE)
    if rest and not rest.startswith(b'#'):
        raise StrictError('text behind the value of "%s"' % key.decode())
    return key.decode().lower().replace('_', '-'), value.decode('utf-8', 'surrogateescape')


def _read_pairs(path, known):
    with open(path, 'rb') as file:
        data = file.read()
    if b'\0' in data:
        raise StrictError('%s: a NUL byte' % path)
    pairs = {}
    for piece in _pieces(data, 1023):
        try:
            pair = _pair(piece)
        except StrictError as error:
            raise StrictError('%s: %s' % (path, error)) from None
        if pair is None:
            continue
        key, value = pair
        if key not in known:
            raise StrictError('Invalid option "%s" in file "%s"' % (key, path))
        if key in pairs:
            raise StrictError('%s: option "%s" stands twice' % (path, key))
        if value == '':
            raise StrictError('%s: option "%s" is empty' % (path, key))
        if not known[key](value):
            raise StrictError('%s: bad value of "%s": %s' % (path, key, value))
        pairs[key] = value
    if not pairs:
        raise StrictError('Control file "%s" is empty' % path)
    return pairs, data


def _text(value):
    return value != ''


def _number(bits, signed=False):
    def check(value):
        digits = value[1:] if signed and value.startswith('-') else value
        return digits.isascii() and digits.isdigit() and int(digits) < 1 << (bits - (1 if signed else 0))
    return check


def _one_of(*names):
    return lambda value: value in names


def _time(value):
    return re.fullmatch(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d(:\d\d)?', value) is not None


def _lsn(value):
    return re.fullmatch(r'(0|[1-9A-F][0-9A-F]{0,7})/(0|[1-9A-F][0-9A-F]{0,7})', value) is not None


def _id(value):
    return re.fullmatch(r'[1-9A-Z][0-9A-Z]{0,12}', value) is not None


STATUSES = ('UNKNOWN', 'OK', 'ERROR', 'RUNNING', 'MERGING', 'MERGED', 'DELETING', 'DELETED', 'DONE', 'ORPHAN',
            'CORRUPT')

# In the order of writing.
CONTROL_KEYS = {
    'backup-mode': _one_of('FULL', 'PTRACK', 'PAGE', 'DELTA'),
    'stream': _one_of('true', 'false'),
    'compress-alg': _one_of('none', 'zlib', 'pglz', 'lz4', 'zstd'),
    'compress-level': _number(32, signed=True),
    'from-replica': _one_of('true', 'false'),
    'block-size': _number(32),
    'xlog-block-size': _number(32),
    'checksum-version': _number(32),
    'program-version': _text,
    'server-version': _text,
    'timelineid': _number(32),
    'start-lsn': _lsn,
    'stop-lsn': _lsn,
    'start-time': _time,
    'merge-time': _time,
    'end-time': _time,
    'recovery-xid': _number(64),
    'recovery-time': _time,
    'expire-time': _time,
    'recovery-name': _text,
    'merge-dest-id': _id,
    'data-bytes': _number(64, signed=True),
    'wal-bytes': _number(64, signed=True),
    'uncompressed-bytes': _number(64, signed=True),
    'pgdata-bytes': _number(64, signed=True),
    'status': _one_of(*STATUSES),
    'parent-backup-id': _id,
    'primary-conninfo': _text,
    'external-dirs': _text,
    'note': _text,
    'content-crc': _number(32),
    'storage-type': _one_of('FILE', 'DSS', 'UNKNOWN'),
    's3-status': _one_of('LOCAL', 'S3', 'UNKNOWN'),
}
GS_ONLY = ('recovery-name', 'storage-type', 's3-status')
UPSTREAM_ONLY = ('primary-conninfo',)
MANDATORY = ('backup-mode', 'stream', 'compress-alg', 'block-size', 'xlog-block-size', 'checksum-version',
             'program-version', 'timelineid', 'start-lsn', 'stop-lsn', 'start-time', 'recovery-xid', 'status')


def version(text):
    if not re.fullmatch(r'\d{1,2}\.\d{1,2}\.\d{1,2}', text):
        raise StrictError('malformed program-version "%s"' % text)
    return tuple(int(part) for part in text.split('.'))


def is_upstream(control):
    """Was it made by pg_probackup and not by gs_probackup?"""
    return version(control['program-version']) > CATALOG_FORMAT


def read_control(path):
    """backup.control as a dict of texts; 'made-by' holds our version from the comment, when it is there."""
    control, data = _read_pairs(path, CONTROL_KEYS)
    missing = [key for key in MANDATORY if key not in control]
    if missing:
        raise StrictError('%s: no %s' % (path, ', '.join(missing)))
    order = [key for key in CONTROL_KEYS if key in control]
    if list(control) != order:
        raise StrictError('%s: options are not in their order' % path)
    alien = GS_ONLY if is_upstream(control) else UPSTREAM_ONLY
    for key in alien:
        if key in control:
            raise StrictError('Invalid option "%s" in file "%s"' % (key, path))
    if not is_upstream(control):
        for key in ('storage-type', 's3-status'):
            if key not in control:
                raise StrictError('%s: no %s' % (path, key))
    # The stock tool knows two modes, and its server is always 9.2.
    if control.get('server-version') == '9.2' and control['backup-mode'] not in ('FULL', 'PTRACK'):
        raise StrictError('%s: invalid backup-mode "%s"' % (path, control['backup-mode']))
    if (control['backup-mode'] == 'FULL') == ('parent-backup-id' in control):
        raise StrictError('%s: mode and parent do not go together' % path)
    made_by = re.search(rb'^# made by gs_probackup (\S+)$', data, re.MULTILINE)
    if made_by:
        control['made-by'] = made_by.group(1).decode()
    return control


CONF_KEYS = {key: _text for key in (
    'pgdata system-identifier external-dirs pgdatabase pghost pgport pguser archive-timeout archive-host '
    'archive-port archive-user restore-command log-level-console log-level-file log-filename error-log-filename '
    'log-directory log-rotation-size log-rotation-age retention-redundancy retention-window wal-depth '
    'compress-algorithm compress-level remote-proto remote-host remote-port remote-path remote-user ssh-options '
    'ssh-config remote-libpath enable-dss vgname socketpath instance-id access-id access-key endpoint region '
    'access-bucket').split()}
CONF_KEYS['system-identifier'] = _number(64)


def read_conf(path):
    """pg_probackup.conf as a dict of texts."""
    return _read_pairs(path, CONF_KEYS)[0]


# ---- the file list -------------------------------------------------------------------------------

def _value(line, name, mandatory):
    """One key's value as the stock tool finds it, from the beginning of the line each time."""
    state, matched, value = 'name', 0, []
    for char in line:
        if state == 'name':
            if char == '"':
                state, matched = 'in name', 0
            elif char.isascii() and char.isalpha():
                raise StrictError('backup_content.control file has invalid format in line %s' % line)
        elif state == 'in name':
            if char == '"':
                # However much of the searched name was seen: a prefix is enough.
                state = 'colon'
            elif matched < len(name) and char == name[matched]:
                matched += 1
            else:
                state = 'next name'
        elif state == 'colon':
            if char == ':':
                state = 'value'
            elif not char.isspace():
                raise StrictError('backup_content.control file has invalid format in line %s' % line)
        elif state == 'value':
            if char == '"':
                state = 'in value'
            elif char.isascii() and char.isalpha():
                raise StrictError('backup_content.control file has invalid format in line %s' % line)
        elif state == 'in value':
            if char == '"':
                return ''.join(value)
            value.append(char)
        elif char == ',':
            state = 'name'
    if value or state in ('value', 'in value'):
        raise StrictError('backup_content.control file has invalid format in line %s' % line)
    if mandatory:
        raise StrictError('field "%s" is not found in the line %s' % (name, line))
    return None


def _int(line, name, mandatory, low, high):
    text = _value(line, name, mandatory)
    if text is None:
        return None
    if len(text) > 31:
        raise StrictError('field "%s" is out of range in the line %s' % (name, line))
    if not re.fullmatch(r'-?\d+', text, re.ASCII) or not low <= int(text) <= high:
        raise StrictError('field "%s" is not of its range in the line %s' % (name, line))
    return int(text)


U32, I32, I64 = (1 << 32) - 1, (1 << 31) - 1, (1 << 63) - 1
NUMBERS = (
    # key, mandatory, lowest, highest
    ('size', True, -1, I64), ('mode', True, 0, U32), ('is_datafile', True, 0, 1), ('is_cfs', False, 0, 1),
    ('crc', True, 0, U32), ('external_dir_num', False, 0, I32), ('dbOid', False, 0, U32),
    ('file_type', True, 0, 3), ('segno', False, 0, I32), ('compressedFile', False, 0, 1),
    ('compressedChunkSize', False, 0, 65535), ('compressedAlgorithm', False, 0, 255), ('n_blocks', False, 1, I32),
    ('n_headers', False, 1, I32), ('hdr_crc', False, 0, U32), ('hdr_off', False, 0, I64), ('hdr_size', False, 1, I32),
)


def _format(entry):
    """The line as the stock tool would write it; our one addition stands at its end."""
    def members(names):
        return ','.join('"%s":"%s"' % (name, entry[name]) for name in names if entry.get(name) is not None)
    head = ', '.join('"%s":"%s"' % (name, entry[name]) for name in (
        'path', 'size', 'mode', 'is_datafile', 'is_cfs', 'crc', 'compress_alg', 'external_dir_num', 'dbOid',
        'file_type'))
    tail = members(('segno', 'compressedFile', 'compressedChunkSize', 'compressedAlgorithm', 'linked', 'n_blocks',
                    'n_headers', 'hdr_crc', 'hdr_off', 'hdr_size', 'encoded'))
    return '{%s%s}\n' % (head, ',' + tail if tail else '')


def _check_path(path, encoded):
    parts = path.split('/')
    if any(part in ('', '.', '..') for part in parts) or any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise StrictError('path "%s" is not a clean relative one' % path)
    if encoded and not re.fullmatch(r'(?:[^%]|%(?!00|2F)[0-9A-F]{2})*', path):
        raise StrictError('path "%s" is not well encoded' % path)


def _entry(line, upstream):
    entry = {'path': _value(line, 'path', True)}
    for name, mandatory, low, high in NUMBERS:
        entry[name] = _int(line, name, mandatory and not (upstream and name == 'file_type'), low, high)
    entry['compress_alg'] = _value(line, 'compress_alg', False)
    if not entry['compress_alg']:
        raise StrictError('compress algorithm is empty in the line %s' % line)
    for name in ('linked', 'encoded'):
        entry[name] = _value(line, name, False)
    _check_path(entry['path'], entry['encoded'] == '1')
    headers = [entry[name] is None for name in ('n_headers', 'hdr_crc', 'hdr_off', 'hdr_size')]
    if any(headers) != all(headers):
        raise StrictError('page headers are described in part in the line %s' % line)
    if (entry['is_datafile'] == 1) != (entry['segno'] is not None):
        raise StrictError('segno and is_datafile do not go together in the line %s' % line)
    return entry


def read_filelist(path, content_crc, upstream=False):
    """backup_content.control as a list of dicts. content_crc 0 or None is not checked, as in the stock tool.
    Lines must also be what the stock tool would have written, byte for byte."""
    with open(path, 'rb') as file:
        data = file.read()
    crc = crc32c(data)
    if content_crc and crc != int(content_crc):
        raise StrictError("Invalid CRC of backup control file '%s': %u. Expected: %s" % (path, crc, content_crc))
    if data and not data.endswith(b'\n'):
        raise StrictError('%s: the last line has no end' % path)
    entries, seen = [], set()
    for raw in re.findall(rb'[^\n]*\n', data):
        if len(raw) > 8191:
            raise StrictError('%s: a line of %d bytes' % (path, len(raw)))
        line = raw.decode('utf-8')
        entry = _entry(line, upstream)
        if not upstream and _format(entry) != line:
            raise StrictError('%s: not the stock form: %s' % (path, line))
        name = entry['path'], entry['external_dir_num'], entry['file_type']
        if name in seen:
            raise StrictError('%s: "%s" stands twice' % (path, entry['path']))
        seen.add(name)
        entries.append(entry)
    return entries


# ---- a whole backup ------------------------------------------------------------------------------

def stored_path(backup_dir, entry):
    if entry['external_dir_num']:
        root = os.path.join('external_directories', 'externaldir%d' % entry['external_dir_num'])
    else:
        root = 'dssdata' if entry['file_type'] == 1 else 'database'
    return os.path.join(backup_dir, root, entry['path'])


def read_headers(page_map, entry, padding_is_zero):
    """The records of one file: n_headers + 1 tuples (lsn, block, pos, checksum)."""
    deflated = page_map[entry['hdr_off']:entry['hdr_off'] + entry['hdr_size']]
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(deflated)
    except zlib.error as error:
        raise StrictError('its page headers cannot be inflated: %s' % error) from None
    if not inflater.eof or inflater.unused_data or len(deflated) != entry['hdr_size']:
        raise StrictError('its page headers are not one complete zlib stream')
    if len(raw) != (entry['n_headers'] + 1) * HEADER.size:
        raise StrictError('%d bytes of page headers for %d pages' % (len(raw), entry['n_headers']))
    if crc32c(raw) != entry['hdr_crc']:
        raise StrictError('hdr_crc is wrong')
    records = list(HEADER.iter_unpack(raw))
    if padding_is_zero:
        if any(record[4] != bytes(6) for record in records):
            raise StrictError('padding of its page headers is not zero')
        if records[-1][0] or records[-1][1] or records[-1][3]:
            raise StrictError('unused fields of its last page header are not zero')
    return [record[:4] for record in records]


def check_pages(path, entry, records):
    """The stored file and the map tell the same, and every zlib page inflates to a page."""
    with open(path, 'rb') as file:
        data = file.read()
    if records[-1][2] != len(data) or records[0][2] != 0:
        raise StrictError('its page headers do not cover the stored file')
    before = -1
    for (_, block, pos, _), following in zip(records, records[1:]):
        inline_block, size = ITEM.unpack_from(data, pos)
        if inline_block != block or pos + ITEM.size + size != following[2] or not 0 < size <= BLOCK:
            raise StrictError('block %d: the inline header and the map differ' % block)
        if block <= before:
            raise StrictError('block %d follows block %d' % (block, before))
        if entry['n_blocks'] is None or block >= entry['n_blocks']:
            raise StrictError('block %d of %s' % (block, entry['n_blocks']))
        if entry['compress_alg'] == 'none' and size != BLOCK:
            raise StrictError('block %d: %d bytes without compression' % (block, size))
        if entry['compress_alg'] == 'zlib' and size < BLOCK:
            if len(zlib.decompress(data[pos + ITEM.size:pos + ITEM.size + size])) != BLOCK:
                raise StrictError('block %d does not inflate to a page' % block)
        before = block


def _check_file(backup_dir, entry, page_map, ours, quick):
    path = stored_path(backup_dir, entry)
    if stat.S_ISDIR(entry['mode']):
        if not os.path.isdir(path):
            raise StrictError('its directory is missing')
        return
    if entry['size'] <= 0:
        if entry['n_headers'] is not None:
            raise StrictError('page headers without pages')
        if entry['size'] == 0 and entry['crc'] != 0:
            raise StrictError('a checksum without content')
        return
    found = os.stat(path).st_size if os.path.isfile(path) else None
    if found != entry['size']:
        raise StrictError('stored size is %s instead of %d' % (found, entry['size']))
    if entry['is_datafile']:
        if entry['n_headers'] is None:
            raise StrictError('pages without page headers')
        records = read_headers(page_map, entry, ours)
        check_pages(path, entry, records)
    is_control = os.path.basename(entry['path']) == 'pg_control' and not entry['external_dir_num']
    if not quick and not is_control and crc32c_file(path) != entry['crc']:
        raise StrictError('crc is wrong')


def _check_sums(control, entries):
    def is_wal(entry):
        return WAL_NAME.match(os.path.basename(entry['path'])) and not entry['external_dir_num']
    files = [entry for entry in entries if not stat.S_ISDIR(entry['mode']) and entry['size'] > 0]
    data = 4096 * sum(stat.S_ISDIR(entry['mode']) for entry in entries)
    data += sum(entry['size'] for entry in files if not is_wal(entry))
    if int(control.get('data-bytes', -1)) != data:
        yield 'data-bytes is %s instead of %d' % (control.get('data-bytes'), data)
    wal = sum(entry['size'] for entry in files if is_wal(entry))
    if control['stream'] == 'true' and int(control.get('wal-bytes', -1)) != wal:
        yield 'wal-bytes is %s instead of %d' % (control.get('wal-bytes'), wal)


def check_backup(backup_dir, quick=False):
    """Everything about one finished backup. Returns a list of texts, empty when it is in order.
    quick leaves out the checksums of contents, which take a second for each 20 MB."""
    try:
        control = read_control(os.path.join(backup_dir, 'backup.control'))
        entries = read_filelist(os.path.join(backup_dir, 'backup_content.control'), control.get('content-crc'),
                                is_upstream(control))
        page_map = b''
        if any(entry['n_headers'] for entry in entries):
            with open(os.path.join(backup_dir, 'page_header_map'), 'rb') as file:
                page_map = file.read()
    except (StrictError, OSError, UnicodeDecodeError) as error:
        return [str(error)]
    problems = []
    if control['status'] not in ('OK', 'DONE'):
        problems.append('status is %s' % control['status'])
    if 'content-crc' not in control:
        problems.append('no content-crc')
    problems.extend(_check_sums(control, entries))
    for entry in entries:
        if control['backup-mode'] == 'FULL' and entry['size'] < 0:
            problems.append('%s: unchanged, in a full backup' % entry['path'])
        try:
            _check_file(backup_dir, entry, page_map, 'made-by' in control, quick)
        except (StrictError, OSError, zlib.error, struct.error) as error:
            problems.append('%s: %s' % (entry['path'], error))
    return problems


def main(arguments):
    quick = '--quick' in arguments
    failed = False
    directories = [argument for argument in arguments if argument != '--quick']
    if not directories:
        sys.stderr.write(__doc__)
        return 2
    for directory in directories:
        problems = check_backup(directory, quick)
        for problem in problems:
            print('%s: %s' % (directory, problem))
        failed = failed or bool(problems)
        if not problems:
            print('%s: fine' % directory)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
