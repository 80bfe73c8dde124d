# SPDX-License-Identifier: Apache-2.0
"""Files that were made to do harm, in the data directory, in the restore target and in the catalog: no crash, no wait,
nothing lost in silence, nothing touched outside."""
import contextlib
import json
import os
import re
import shutil
import socket
import stat

import pytest

from processes import IS_ROOT, copy_tree, give_to_user, make_dir, run, snapshot
from tool import Catalog, gsp, gsp_fails, gsp_ok

TIB = 1 << 40


@pytest.fixture(scope="module")
def source(shop, pg15):
    cluster = shop.cluster(pg15)
    cluster.tablespace("elsewhere")
    cluster.sql("CREATE TABLE far TABLESPACE elsewhere AS SELECT generate_series(1, 1000) AS id")
    yield cluster
    cluster.stop("immediate")


@pytest.fixture(scope="module")
def original(shop, source):
    catalog = shop.catalog(source)
    catalog.id = catalog.backup("--compress-algorithm=zlib")
    return catalog


@pytest.fixture(scope="module")
def live(shop, source):
    """For backups that tests take; the original stays what it is."""
    return shop.catalog(source)


@pytest.fixture
def catalog(bench, original):
    return original.copy(bench.new("catalog"))


@pytest.fixture(scope="module")
def _rewritten(shop, original):
    return original.copy(shop.new("catalog"))


@pytest.fixture
def rewritten(_rewritten):
    """A catalog of which a test changes only what describes the backup: shared, and put right again."""
    folder = _rewritten.dir(_rewritten.id)
    texts = {folder / name: (folder / name).read_bytes()
             for name in ("backup.control", "backup_content.control", "database/tablespace_map")}
    yield _rewritten
    for path, text in texts.items():
        path.write_bytes(text)


@pytest.fixture
def corner(source):
    """A directory inside the running cluster's data directory, for one test."""
    path = make_dir(source.data / "corner")
    yield path
    shutil.rmtree(path)


def put(path, content=b"x", mode=0o600):
    path.write_bytes(content)
    give_to_user(path)
    path.chmod(mode)
    return path


def link(path, target):
    path.symlink_to(target)
    give_to_user(path)
    return path


def sparse(path, size, pieces=()):
    """A file of holes, but for pieces of (offset, bytes)."""
    with open(path, "wb") as f:
        for offset, data in pieces:
            f.seek(offset)
            f.write(data)
        f.truncate(size)
    give_to_user(path)
    path.chmod(0o600)
    return path


def elsewhere(catalog, bench):
    return ["-T", f"{catalog.cluster.home / 'elsewhere'}={bench.new('ts')}"]


# The data directory.


def test_strange_files(bench, source, live, corner):
    outside = make_dir(bench.new("outside"))
    put(outside / "secret", b"from outside")
    for name, mode in {"setuid": 0o4755, "setgid": 0o2755, "sticky": 0o1644, "readonly": 0o400}.items():
        put(corner / name, name.encode(), mode)
    put(corner / ("n" * 255), b"long")
    deep = corner
    for _ in range(100):
        deep = make_dir(deep / "d")
    put(deep / "bottom", b"deep")
    for name in (b"line\nbreak", b'quo"te', b"back\\slash", b"not\xffutf8"):
        put(corner / os.fsdecode(name), name)
    put(corner / "one", b"two names")
    os.link(corner / "one", corner / "two")
    link(corner / "file-outside", outside / "secret")
    link(corner / "directory-outside", outside)
    skipped = ["dangling", "itself", "loop", "overlong", "fifo", "link-to-fifo", "socket", "parent"]
    link(corner / "dangling", "/no/such/file")
    link(corner / "itself", "itself")
    link(corner / "loop", "loop2")
    link(corner / "loop2", "loop")
    link(corner / "overlong", "x" * 4000)
    link(corner / "parent", "..")
    os.mkfifo(corner / "fifo")
    link(corner / "link-to-fifo", "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(corner / "socket"))
    if IS_ROOT:
        skipped += ["device", "disk"]
        os.mknod(corner / "device", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: without end
        os.mknod(corner / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 0))
    result = gsp_ok(*live.backup_args())
    listener.close()
    for name in skipped:
        assert any(f"Skip 'corner/{name}'" in line for line in result.warnings), f"{name}\n{result}"

    target = bench.new("data")
    live.restore(target, *elsewhere(live, bench))
    back = target / "corner"
    for name, mode in {"setuid": 0o755, "setgid": 0o755, "sticky": 0o644, "readonly": 0o400}.items():
        assert (back / name).read_bytes() == name.encode()
        assert stat.S_IMODE((back / name).stat().st_mode) == mode, "only permission bits come back"
    assert (back / ("n" * 255)).read_bytes() == b"long"
    assert (back / "/".join("d" * 100) / "bottom").read_bytes() == b"deep"
    for name in (b"line\nbreak", b'quo"te', b"back\\slash", b"not\xffutf8"):
        assert (back / os.fsdecode(name)).read_bytes() == name
    assert (back / "one").read_bytes() == (back / "two").read_bytes() == b"two names"
    assert (back / "one").stat().st_nlink == 1, "two names, two files"
    assert (back / "file-outside").read_bytes() == (back / "directory-outside" / "secret").read_bytes() == b"from outside"
    assert not (back / "file-outside").is_symlink() and not (back / "directory-outside").is_symlink()
    assert not any((back / name).exists() or (back / name).is_symlink() for name in skipped)


def test_sparse_files_of_a_tebibyte(bench, source, live, corner):
    pieces = [(0, b"begin"), (TIB // 2 + 12345, b"middle" * 50000), (TIB - 3, b"end")]
    sparse(corner / "pieces", TIB, pieces)
    sparse(corner / "nothing", TIB)
    if os.stat(corner / "pieces").st_blocks * 512 > 1 << 30:
        pytest.skip("this file system has no holes")
    known = set(live.backups())
    result = gsp_ok(*live.backup_args("-j", "2"))
    assert result.seconds < 60, result
    (backup_id,) = set(live.backups()) - known
    listed = live.file_list(backup_id)
    for name in ("pieces", "nothing"):
        assert int(listed[f"corner/{name}"]["size"]) == TIB
        stored = (live.dir(backup_id) / "database" / "corner" / name).stat()
        assert stored.st_size == TIB and stored.st_blocks * 512 < 10 << 20
    assert gsp_ok("validate", *live.where, "-i", backup_id).seconds < 60
    target = bench.new("data")
    assert live.restore(target, "-i", backup_id, *elsewhere(live, bench)).seconds < 60
    for name in ("pieces", "nothing"):
        back = (target / "corner" / name).stat()
        assert back.st_size == TIB and back.st_blocks * 512 < 10 << 20
    with open(target / "corner" / "pieces", "rb") as f:
        for offset, data in pieces:
            f.seek(offset)
            assert f.read(len(data)) == data

    # A byte that changes in the catalog is found, and one that was a hole too.
    with open(live.dir(backup_id) / "database" / "corner" / "nothing", "r+b") as f:
        f.seek(TIB // 3)
        f.write(b"\1")
    result = live.validate("-i", backup_id)
    assert result.code == 1 and any("corner/nothing" in line for line in result.warnings), result
    gsp_ok("delete", *live.where, "-i", backup_id)


def test_name_that_does_not_fit_when_encoded(source, live, corner):
    put(corner / os.fsdecode(b"\xff" * 100))
    gsp_fails(*live.backup_args(), message="corner/%FF%FF", hint="rename", unchanged=[live.path])
    source.check_out_of_backup_mode()


# 4080: the source's path fits, the longer one in the catalog does not.
@pytest.mark.parametrize("length", [3990, 4080, 4300, 9000])
def test_paths_as_long_as_the_system_takes(bench, source, live, corner, length):
    # Made step by step: the longer ones cannot be named as a whole.
    fd = os.open(corner, os.O_RDONLY | os.O_DIRECTORY)
    have = len(str(corner))
    while have < length:
        name = "p" * min(200, max(length - have - 1, 1))
        os.mkdir(name, dir_fd=fd)
        if IS_ROOT:
            os.chown(name, source.data.stat().st_uid, source.data.stat().st_gid, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd, have = inner, have + 1 + len(name)
    file = os.open("f", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
    os.close(file)
    os.close(fd)
    if length < 4000:
        target = bench.new("data")
        live.restore(target, "-i", live.backup(), *elsewhere(live, bench))
        assert len([path for path in (target / "corner").rglob("f") if path.is_file()]) == 1
        return
    result = gsp(*live.backup_args())
    assert result.code == 1 and len(result.errors) == 1, result
    assert "ppppp" in result.errors[0] and re.search("too long", result.errors[0]), result
    assert all(backup["status"] in ("OK", "DONE", "ERROR") for backup in live.show())
    source.check_out_of_backup_mode()


def test_links_that_multiply(source, live, corner):
    for i in range(15):
        make_dir(corner / f"level{i}")
        for name in "ab":
            link(corner / f"level{i}" / name, f"../level{i + 1}")
    make_dir(corner / "level15")
    gsp_fails(*live.backup_args(), message="10000 links to directories", hint="followed", unchanged=[live.path])


# The restore target.


def test_target_that_is_a_link(bench, original):
    real = make_dir(bench.new("real"))
    entrance = link(bench.new("entrance"), real)
    original.restore(entrance, *elsewhere(original, bench))
    assert entrance.is_symlink() and (real / "global" / "pg_control").exists()
    gsp_fails("restore", *original.where, "-D", entrance, message="not empty", unchanged=[real])
    nowhere = link(bench.new("nowhere"), bench.new("missing"))
    gsp_fails("restore", *original.where, "-D", nowhere, *elsewhere(original, bench), message=str(nowhere),
              unchanged=[nowhere])
    assert not nowhere.exists()


def change_list(catalog, change):
    """change: from lines, as dictionaries, to lines. A checksum that is absent is not checked."""
    control = catalog.dir(catalog.id) / "backup.control"
    listing = catalog.dir(catalog.id) / "backup_content.control"
    entries = change([json.loads(line) for line in listing.read_text().splitlines()])
    listing.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    control.write_text(re.sub(r"content-crc = .*\n", "", control.read_text()))


def changed(path, **values):
    def change(entries):
        assert any(entry["path"] == path for entry in entries)
        return [{**entry, **values} if entry["path"] == path else entry for entry in entries]
    return change


def added(like, **values):
    def change(entries):
        (model,) = [entry for entry in entries if entry["path"] == like]
        return entries + [{**model, **values}]
    return change


LISTS = {
    "2^63 bytes": (changed("PG_VERSION", size=str(2**63)), "size"),
    "2^63 - 1 bytes": (changed("PG_VERSION", size=str(2**63 - 1)), "not enough disk space"),
    "2^63 - 1 bytes, often": (lambda es: [{**e, "size": str(2**63 - 1)} if e["is_datafile"] == "0" and e["size"] != "0" else e
                                          for e in es], "not enough disk space"),
    "pages of 2^31 - 1 blocks": (lambda es: [{**e, "n_blocks": str(2**31 - 1)} if e["is_datafile"] == "1" else e for e in es],
                                 "not enough disk space"),
    "-5 bytes": (changed("PG_VERSION", size="-5"), "size"),
    "no number of bytes": (changed("PG_VERSION", size="many"), "size"),
    "fewer bytes than stored": (changed("PG_VERSION", size="1"), "PG_VERSION"),
    "more bytes than stored": (changed("PG_VERSION", size="100"), "PG_VERSION"),
    "a gigabyte more than stored": (changed("PG_VERSION", size=str(3 << 30)), "PG_VERSION"),
    "2^31 - 1 pages": (changed("base/1/1259", n_headers=str(2**31 - 1)), "base/1/1259"),
    "2^31 pages": (changed("base/1/1259", n_headers=str(2**31)), "n_headers"),
    "a map of 2^31 - 1 bytes": (changed("base/1/1259", hdr_size=str(2**31 - 1)), "base/1/1259"),
    "a map behind the map": (changed("base/1/1259", hdr_off=str(2**63 - 1)), "base/1/1259"),
    "2^31 - 1 external directories": (changed("PG_VERSION", external_dir_num=str(2**31 - 1)), "external"),
    "a directory with content": (changed("PG_VERSION", mode=str(stat.S_IFDIR | 0o700)), "directory"),
    "a file twice": (added("PG_VERSION"), "twice"),
    "a file twice, encoded": (added("PG_VERSION", path="PG%5FVERSION", encoded="1"), "PG_VERSION"),
    "a file and a directory": (added("base", path="PG_VERSION", size="0"), "twice"),
    "a file below a file": (added("PG_VERSION", path="PG_VERSION/below"), "PG_VERSION/below"),
    "a directory below a file": (added("base", path="PG_VERSION/below", size="0"), "PG_VERSION"),
    "upwards through a tablespace": (added("PG_VERSION", path="pg_tblspc/1/../../outside/planted"), "leaves the backup"),
    "upwards, encoded": (added("PG_VERSION", path="%2E%2E/outside/planted", encoded="1"), "leaves the backup"),
    "absolute": (added("PG_VERSION", path="/tmp/planted"), "leaves the backup"),
    "NUL, encoded": (added("PG_VERSION", path="PG_VERSION%00x", encoded="1"), "encoded"),
    "name of 256 bytes": (added("PG_VERSION", path="n" * 256), "nnnn"),
}


@pytest.mark.parametrize("case", LISTS)
def test_file_list(bench, rewritten, case):
    catalog = rewritten
    change, message = LISTS[case]
    change_list(catalog, change)
    stored = catalog.dir(catalog.id) / "database"
    put(stored / "PG%5FVERSION", (stored / "PG_VERSION").read_bytes())
    outside = make_dir(bench.new("outside"))
    put(outside / "planted", b"untouched")
    parent = make_dir(bench.new("parent"))
    target = parent / "data"
    result = gsp_fails("restore", *catalog.where, "-D", target, "--no-validate", "--no-sync", *elsewhere(catalog, bench),
                       message=message, unchanged=[outside, catalog.dir(catalog.id) / "backup.control"])
    assert not (target / "global" / "pg_control").exists(), "half a cluster cannot start"
    assert [path.name for path in parent.iterdir()] in ([], ["data"]), result
    # What each file's own line and bytes do not show, only the restore finds.
    assert catalog.validate().code == (0 if case in ("a file twice, encoded", "a directory below a file") else 1)


def test_setuid_bits_in_the_file_list(bench, rewritten):
    catalog = rewritten
    change_list(catalog, changed("PG_VERSION", mode=str(stat.S_IFREG | 0o6755)))
    target = bench.new("data")
    catalog.restore(target, *elsewhere(catalog, bench))
    assert stat.S_IMODE((target / "PG_VERSION").stat().st_mode) == 0o755


def tablespace_map(catalog, text):
    path = catalog.dir(catalog.id) / "database" / "tablespace_map"
    oid = path.read_text().split()[0]
    path.chmod(0o600)
    path.write_text(text.replace("OID", oid))
    return oid


@pytest.mark.parametrize("location", ["{TARGET}/../outside", "../outside", "outside", "{OUTSIDE}", "{LINK}", "{LINK}/below/..",
                                      "{TARGET}", "{TARGET}/base", "{FILE}", "/", "/./{OUTSIDE}"])
def test_tablespace_map(bench, rewritten, location):
    catalog = rewritten
    parent = make_dir(bench.new("parent"))
    target, outside = parent / "data", make_dir(parent / "outside")
    file = put(outside / "file")
    way = link(parent / "link", outside)
    tablespace_map(catalog, "OID " + location.format(TARGET=target, OUTSIDE=outside, LINK=way, FILE=file) + "\n")
    gsp_fails("restore", *catalog.where, "-D", target, "--no-validate", message="", unchanged=[parent])


def test_two_tablespaces_in_one_place(bench, pg15):
    cluster = bench.cluster(pg15)
    for name in ("one", "two"):
        cluster.tablespace(name)
        cluster.sql(f"CREATE TABLE t_{name} TABLESPACE {name} AS SELECT 1 AS id")
    catalog = bench.catalog(cluster)
    catalog.backup()
    place = make_dir(bench.new("place"))
    alias = link(bench.new("alias"), place)
    target = bench.new("data")
    result = gsp_fails("restore", *catalog.where, "-D", target, "-T", f"{cluster.home / 'one'}={place}",
                       "-T", f"{cluster.home / 'two'}={alias}", message="File exists", unchanged=[catalog.path])
    assert not (target / "global" / "pg_control").exists(), result


# The catalog.


def test_instance_on_another_disk(bench, catalog):
    moved = bench.new("disk")
    instance = catalog.path / "backups" / "main"
    shutil.move(instance, moved)
    link(instance, moved)
    assert catalog.validate().code == 0
    made = catalog.backup()
    catalog.restore(bench.new("data"), *elsewhere(catalog, bench))
    gsp_ok("delete", *catalog.where, "-i", made)
    assert instance.is_symlink() and set(catalog.backups()) == {catalog.id}


def test_backup_that_is_a_link(bench, catalog):
    moved = bench.new("disk")
    shutil.move(catalog.dir(catalog.id), moved)
    link(catalog.dir(catalog.id), moved)
    assert catalog.validate().code == 0
    catalog.restore(bench.new("data"), *elsewhere(catalog, bench))
    gsp_fails("delete", *catalog.where, "-i", catalog.id, message="symbolic link", hint="by hand",
              unchanged=[moved / "database", catalog.path])
    assert set(catalog.backups()) == {catalog.id}


def test_deleting_an_instance_does_not_follow_links(bench, original):
    catalog = Catalog.create(bench.new("catalog"), original.cluster)
    outside = make_dir(bench.new("outside"))
    put(outside / "kept")
    wal = catalog.path / "wal" / "main"
    link(wal / "link", outside)
    gsp_ok("del-instance", *catalog.where)
    assert not wal.exists()
    catalog = Catalog.create(bench.new("catalog"), original.cluster)
    wal = catalog.path / "wal" / "main"
    wal.rmdir()
    link(wal, outside)
    gsp_ok("del-instance", *catalog.where)
    assert not wal.is_symlink() and (outside / "kept").exists()


def as_fifo(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    give_to_user(path)


def as_directory(path):
    path.unlink(missing_ok=True)
    make_dir(path)


def as_tebibyte(path):
    path.unlink(missing_ok=True)
    sparse(path, TIB)


def as_link_to_itself(path):
    path.unlink(missing_ok=True)
    link(path, path.name)


FORMS = {"fifo": as_fifo, "1 TiB of zeros": as_tebibyte, "directory": as_directory, "link to itself": as_link_to_itself}
VICTIMS = ["backup.control", "backup_content.control", "page_header_map", "database/global/pg_control",
           "database/tablespace_map", "database/PG_VERSION", "database/base/1/1259", "WAL", "../pg_probackup.conf"]


@pytest.mark.parametrize("victim, form", [(victim, form) for victim in VICTIMS for form in FORMS
                                          if form in ("fifo", "1 TiB of zeros") or victim in VICTIMS[:2]])
def test_catalog_file(bench, catalog, victim, form):
    folder = catalog.dir(catalog.id)
    path = folder / victim if victim != "WAL" else sorted((folder / "database" / "pg_wal").glob("0*"))[0]
    intact = (folder / "backup.control").read_bytes()
    FORMS[form](path)
    target = bench.new("data")
    result = gsp("show", *catalog.where)
    assert result.seconds < 20, result
    result = gsp("validate", *catalog.where, "-i", catalog.id)
    assert result.code == 1 and result.seconds < 20, result
    assert path.name in result.err, result
    if victim != "backup.control":
        (folder / "backup.control").write_bytes(intact)  # without the verdict
    result = gsp("restore", *catalog.where, "-D", target, "-i", catalog.id, "--no-validate", "--no-sync",
                 *elsewhere(catalog, bench))
    assert result.code == 1 and len(result.errors) == 1 and result.seconds < 20, result
    assert not (target / "global" / "pg_control").exists()


@pytest.mark.parametrize("form", ["fifo", "1 TiB of zeros"])
@pytest.mark.parametrize("name", ["backup.pid", "backup_ro.pid", "backup.owner"])
def test_catalog_lock_file(bench, catalog, name, form):
    FORMS[form](catalog.dir(catalog.id) / name)
    for arguments in (["show", *catalog.where], ["validate", *catalog.where], ["delete", *catalog.where, "-i", catalog.id]):
        result = gsp(*arguments)
        assert result.seconds < 20 and len(result.errors) <= 1, result
        assert result.code == 0 or result.errors, result


# Deleting. Whatever the catalog says, a tree beside it stays as it is.

CONTROL = """backup-mode = FULL
stream = true
compress-alg = none
compress-level = 1
from-replica = false
block-size = 8192
xlog-block-size = 8192
checksum-version = 1
program-version = 2.4.2
server-version = 15
timelineid = 1
start-lsn = 0/300028
stop-lsn = 0/40CE00
start-time = '2020-01-01 00:00:0{second}+00'
end-time = '2020-01-01 00:00:09+00'
recovery-xid = 1000
recovery-time = '2020-01-01 00:00:08+00'
status = OK
"""


def small_backup(instance, second, name=None, control=""):
    """A backup of the first seconds of 2020, valid for all that its control file tells. Returns its directory."""
    start, name_of = 1577836800 + second, ""
    while start:
        start, digit = divmod(start, 36)
        name_of = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[digit] + name_of
    folder = make_dir(instance / (name or name_of))
    put(folder / "backup.control", (CONTROL.format(second=second) + control).encode())
    make_dir(folder / "database")
    put(folder / "database" / "PG_VERSION", b"15\n")
    return folder


class HostileCatalog:
    """An instance "main" that nobody has a cluster for, and a tree beside the catalog that every trap in it leads to."""

    def __init__(self, bench):
        self.bench = bench
        self.catalog = Catalog(bench.new("catalog"))
        gsp_ok("init", "-B", self.catalog.path)
        self.instance = make_dir(self.catalog.path / "backups" / "main")
        self.wal = make_dir(self.catalog.path / "wal" / "main")
        put(self.instance / "pg_probackup.conf", b"pgdata = /nowhere\nretention-redundancy = 1\n")
        self.sentinel = make_dir(bench.new("sentinel"))
        put(self.sentinel / "file", b"precious")
        for name in ("deep", "ID", ".merge-ID"):
            make_dir(self.sentinel / name)
            put(self.sentinel / name / "backup.control", b"status = OK\n")
        self.before = snapshot(self.sentinel)

    def up(self):
        """The way from the instance's directory to the sentinel."""
        return os.path.relpath(self.sentinel, self.instance)

    def check(self, result=None):
        assert snapshot(self.sentinel) == self.before, result


@pytest.fixture
def hostile(bench):
    return HostileCatalog(bench)


def traps(h, folder):
    """Everything in a backup's directory that could lead out of it."""
    base = make_dir(folder / "database" / "base")
    link(base / "tree", h.sentinel)
    link(base / "file", h.sentinel / "file")
    link(folder / "database" / "..." , h.sentinel / "deep")
    link(folder / "page_header_map", h.sentinel / "file")
    link(folder / "backup_content.control", h.sentinel / "file")
    link(folder / "external_directories", h.sentinel)
    link(folder / "backup_ro.pid", h.sentinel / "file")
    os.link(h.sentinel / "file", base / "hard")
    name = folder.name
    for prefix in (".merge-", ".merged-", ".new-"):
        link(folder.parent / f"{prefix}{name}", h.sentinel / "deep")


LIES = {
    "a parent upwards": "parent-backup-id = {UP}\n",
    "a parent that is a way": "parent-backup-id = '../../../{UP}'\n",
    "external directories": "external-dirs = '{SENTINEL}:{SENTINEL}/deep'\n",
    "merged with one upwards": "merge-dest-id = '{UP}/ID'\n",
    "a note with a way": "note = '{SENTINEL}'\nrecovery-name = '../../{UP}'\n",
}


def test_deleting_stays_inside(hostile):
    h = hostile
    newest = small_backup(h.instance, 9)
    lies = {name: text.format(UP=h.up(), SENTINEL=h.sentinel) for name, text in LIES.items()}
    for second, text in enumerate(lies.values()):
        traps(h, small_backup(h.instance, second, control=text))
    h.before = snapshot(h.sentinel)  # a file of it has another name by now
    # IDs that are no names.
    for word in ("..", "../ID", h.up(), "main/../..", ".", "", "-", "ID\n", str(h.sentinel)):
        assert gsp("delete", *h.catalog.where, "-i", word).code == 1
    h.check()
    made = sorted(path.name for path in h.instance.iterdir() if path.is_dir() and not path.is_symlink())
    gsp_ok("delete", *h.catalog.where, "-i", made[0], "--dry-run")
    result = gsp("delete", *h.catalog.where, "-i", made[0])
    h.check(result)
    assert result.code == 0 and not (h.instance / made[0]).exists(), result
    result = gsp("delete", *h.catalog.where, "--delete-expired", "--merge-expired", "--delete-wal")
    h.check(result)
    assert newest.exists() and not (h.instance / made[1]).exists(), result
    result = gsp("delete", *h.catalog.where, "--status=OK")
    h.check(result)
    assert not newest.exists(), result
    for left in h.instance.iterdir():
        assert left.name == "pg_probackup.conf" or left.is_symlink(), left


def test_forged_names_stay_inside(hostile):
    h = hostile
    # A directory says that it is another backup; a name that is no ID; one that ends like a way up.
    for second, name in enumerate(("...", "..x", "a b", "x\ny", "%2e%2e", "ID;rm -r", "*", "MAIN", ".merge-..", ".merged-ID")):
        small_backup(h.instance, second % 10, name)
    control = small_backup(h.instance, 5, "forged") / "backup.control"
    control.write_text(CONTROL.format(second=5) + f"parent-backup-id = {h.up()}\n")
    linked = make_dir(h.instance / "LINKED")
    link(linked / "backup.control", h.sentinel / "file")
    link(linked / "backup.owner", h.sentinel / "file")
    link(h.instance / "WHOLE", h.sentinel)
    for arguments in (["--delete-expired"], ["--status=OK"], ["-i", "FORGED"], ["-i", "LINKED"], ["-i", "WHOLE"], ["-i", "MAIN"]):
        result = gsp("delete", *h.catalog.where, *arguments)
        h.check(result)
    result = gsp("del-instance", *h.catalog.where)
    h.check(result)
    # The link is not gone through, so the instance cannot go; without it, it does.
    assert result.code == 1 and (h.instance / "WHOLE").is_symlink(), result
    (h.instance / "WHOLE").unlink()
    link(h.wal / "tree", h.sentinel)
    link(h.instance / "pg_probackup.conf.tmp", h.sentinel / "file")
    # Hidden directories that nobody knows are not the tool's to remove.
    gsp_fails("del-instance", *h.catalog.where, message="Can't remove", hint="what is left there")
    for name in ("...", "..x"):
        shutil.rmtree(h.instance / name)
    gsp_ok("del-instance", *h.catalog.where)
    h.check()
    assert not h.instance.exists() and not h.wal.exists() and (h.catalog.path / "backups").is_dir()


def test_writing_stays_inside(hostile):
    h = hostile
    folder = small_backup(h.instance, 1)
    for name in ("backup.owner", "backup.takeover"):
        link(folder / name, h.sentinel / "file")
    for name in ("instance.pid", "instance.owner"):
        link(h.instance / name, h.sentinel / "file")
    link(h.catalog.path / "log", h.sentinel / "deep")
    for line in (["set-config", *h.catalog.where, "--retention-window=5"], ["set-backup", *h.catalog.where, "-i", folder.name, "--note=x"],
                 ["validate", *h.catalog.where], ["delete", *h.catalog.where, "-i", folder.name]):
        h.check(gsp(*line))
    for name in ("instance.pid", "instance.owner"):
        (h.instance / name).unlink(missing_ok=True)
    # A control file or settings that are a link become a file: what it led to is not written.
    other = small_backup(h.instance, 2)
    for path in (other / "backup.control", h.instance / "pg_probackup.conf"):
        kept = put(h.bench.new("kept"), path.read_bytes())
        path.unlink()
        link(path, kept)
    gsp_ok("set-config", *h.catalog.where, "--retention-window=5")
    gsp_ok("set-backup", *h.catalog.where, "-i", other.name, "--note=x")
    h.check()
    assert not (other / "backup.control").is_symlink() and not (h.instance / "pg_probackup.conf").is_symlink()


def test_what_is_mounted_stays(hostile):
    h = hostile
    folder = small_backup(h.instance, 1)
    places = [make_dir(folder / "database" / "inner"), small_backup(h.instance, 2), make_dir(h.wal / "inner")]
    mounted = []
    try:
        for place in places:
            if run(["mount", "--bind", h.sentinel, place], check=False, as_root=True).returncode != 0:
                pytest.skip("nothing can be mounted here")
            mounted.append(place)
        for backup in (folder.name, places[1].name):
            result = gsp_fails("delete", *h.catalog.where, "-i", backup, message="mount point", hint="")
            h.check(result)
        assert gsp("del-instance", *h.catalog.where).code == 1
        result = gsp("delete", *h.catalog.where, "--delete-expired", "--delete-wal")
        h.check(result)
    finally:
        for place in mounted:
            run(["umount", place], check=False, as_root=True)
    gsp_ok("del-instance", *h.catalog.where)
    h.check()
