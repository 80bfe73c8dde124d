# SPDX-License-Identifier: Apache-2.0
"""External directories: -E, --external-mapping, --skip-external-dirs."""
import os
import random
import shutil
import socket
import stat

import pytest

from processes import copy_tree, give_to_user, make_dir, run, snapshot
from tool import gsp_fails, gsp_ok

ODD_NAMES = [b"quote\".sql", b"comma,", b"back\\slash", b"new\nline", b"latin-\xe9", b"%41", b"\xe4\xb8\xad\xe6\x96\x87",
             b" blank ", b"x" * 80]
# Names that mean something in a cluster, and nothing here.
CLUSTER_NAMES = ["base/1/1259", "base/1/16384_fsm", "global/pg_control", "global/pg_control.pbk.bak", "backup_label",
                 "tablespace_map", "database_map", "postmaster.pid", "pg_wal/000000010000000000000001", "standby.signal",
                 "base/pgsql_tmp/pgsql_tmp1.2", "gs_probackup.unfinished_restore", "pg_tblspc/16384/x", "backup.control"]


def write(path, content, mode=0o640):
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def own(*paths):
    run(["chown", "-hR", "postgres:", *paths], as_root=True) if os.geteuid() == 0 else None


def noise(size, seed):
    return random.Random(seed).randbytes(size)


def fill(path, seed=0):
    make_dir(path)
    write(path / "script.sql", b"SELECT 1;\n", 0o600)
    write(path / "run", b"#!/bin/sh\n", 0o755)
    write(path / "empty", b"")
    write(path / "big", noise(300000, seed), 0o644)
    write(path / "holes", b"begin" + bytes(400000) + b"end" + bytes(200000))
    write(path / "deep" / "er" / "still" / "file", b"deep")
    write(path / ".hidden" / ".file", b"hidden")
    own(path)


def fill_oddly(path, elsewhere):
    """Everything a directory can hold; what only links lead to is elsewhere."""
    fill(path)
    for name in ODD_NAMES:
        with open(os.fsencode(path) + b"/" + name, "wb") as f:
            f.write(name)
    for name in CLUSTER_NAMES:
        write(path / name, name.encode())
    for name, mode in ("none", 0o700), ("all", 0o777), ("sticky", 0o1770), ("other", 0o711):
        (path / "modes" / name).mkdir(parents=True)
        (path / "modes" / name).chmod(mode)
    make_dir(elsewhere)
    write(elsewhere / "linked file", b"linked")
    write(elsewhere / "dir" / "in it", b"in linked directory")
    (path / "to file").symlink_to(elsewhere / "linked file")
    (path / "to dir").symlink_to(elsewhere / "dir")
    (path / "deep" / "up").symlink_to("..")
    (path / "deep" / "nowhere").symlink_to("missing")
    os.mkfifo(path / "pipe")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path / "socket"))
    own(path, elsewhere)


def content(root):
    """What a backup has of a directory: links are what they lead to."""
    result, above = {}, []

    def walk(path):
        for entry in os.scandir(path):
            relative = entry.path[len(os.fsencode(root)) + 1:]
            try:
                st = os.stat(entry.path)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(st.st_mode) and (st.st_dev, st.st_ino) not in above:
                result[relative] = ("directory", stat.S_IMODE(st.st_mode))
                above.append((st.st_dev, st.st_ino))
                walk(entry.path)
                above.pop()
            elif stat.S_ISREG(st.st_mode):
                with open(entry.path, "rb") as f:
                    result[relative] = ("file", stat.S_IMODE(st.st_mode), hash(f.read()))

    st = os.stat(root)
    above.append((st.st_dev, st.st_ino))
    walk(os.fsencode(root))
    return result


@pytest.fixture(scope="module")
def source(shop, pg15):
    cluster = shop.cluster(pg15)
    cluster.sql("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n")
    return cluster


def entries(catalog, backup_id):
    """(number of the directory, path) -> attributes."""
    import json
    lines = (catalog.dir(backup_id) / "backup_content.control").read_text().splitlines()
    listed = [json.loads(line) for line in lines]
    return {(int(e["external_dir_num"]), e["path"]): e for e in listed if e["external_dir_num"] != "0"}


def mapping(old, new):
    text = f"{old}={new}" if "=" not in str(old) else f"{str(old).replace('=', chr(92) + '=')}={new}"
    return f"--external-mapping={text}"


def test_what_a_directory_can_hold(bench, source):
    catalog = bench.catalog(source)
    plain, odd, sparse = (bench.new(name) for name in ("plain", "a=b it's", "sparse"))
    fill_oddly(odd, bench.new("elsewhere"))
    make_dir(plain)
    make_dir(sparse)
    with open(sparse / "file", "wb") as f:  # mostly a hole
        f.truncate(3 << 30)
        f.seek(2 << 30)
        f.write(b"in the middle")
    own(sparse)
    (odd / "to the catalog").symlink_to(catalog.path)
    (odd / "to the cluster").symlink_to(source.data)
    gsp_ok("set-config", *catalog.where, "-E", f"{sparse}:{plain}:{odd}/")
    made = gsp_ok(*catalog.backup_args())
    (backup,) = catalog.show()
    assert backup["external-dirs"] == f"{min(odd, plain, sparse)}:{sorted([odd, plain, sparse])[1]}:{sparse}"
    for said in "deep/up': the link leads back", "nowhere': the link leads nowhere", "pipe': neither", "socket': neither", \
            "to the catalog': it is the backup catalog", "to the cluster': it is the data directory":
        assert sum(said in line for line in made.warnings) == 1, (said, made)
    assert "to dir' leads to" in made.err and "to file' leads to" in made.err
    assert sum("percent-encoded" in line for line in made.warnings) == 1
    assert (catalog.dir(backup["id"]) / "external_directories").stat().st_mode & 0o777 == 0o700
    assert backup["pgdata-bytes"] < 1 << 30

    (odd / "to the catalog").unlink()
    (odd / "to the cluster").unlink()
    want, new = content(odd), {path: bench.new("there") for path in (plain, odd, sparse)}
    assert len(want) > 40
    catalog.restore(bench.new("data"), *(mapping(old, to) for old, to in new.items()))
    assert content(new[odd]) == want
    assert not any(path.is_symlink() for path in new[odd].rglob("*"))
    assert content(new[plain]) == {} and new[plain].is_dir()
    st = (new[sparse] / "file").stat()
    assert st.st_size == 3 << 30 and st.st_blocks < 10000
    with open(new[sparse] / "file", "rb") as f:
        f.seek((2 << 30) - 10)
        assert f.read(40) == bytes(10) + b"in the middle" + bytes(17)

    # For one backup the stored setting does not count.
    other = catalog.backup("-E", "none", check=False)
    assert "external-dirs" not in catalog.backups()[other]
    # Without those of the backup; and in their old places.
    before = [snapshot(path) for path in (plain, odd)]
    catalog.restore(bench.new("data"), "-i", backup["id"], "--skip-external-dirs", mapping(odd, "/not/made"))
    assert [snapshot(path) for path in (plain, odd)] == before
    gsp_fails("restore", *catalog.where, "-D", bench.new("data"), "-i", backup["id"], unchanged=[plain, odd],
              message=f'External directory is not empty: "{odd}"', hint="--external-mapping")
    for path in plain, odd, sparse:
        shutil.rmtree(path)
    make_dir(plain, 0o755)  # there, and keeps its mode
    catalog.restore(bench.new("data"), "-i", backup["id"])
    assert content(odd) == want and stat.S_IMODE(plain.stat().st_mode) == 0o755


def check_chain(bench, catalog, backup_id, trees):
    new = {path: bench.new("there") for path in trees}
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id, *(mapping(old, to) for old, to in new.items()))
    for path, want in trees.items():
        assert content(new[path]) == want, path
    return data, new


def test_a_chain_whose_list_changes(bench, source):
    """Directories come, go, and change their numbers; files of the same name are in all of them."""
    catalog = bench.catalog(source)
    home = make_dir(bench.new("home"))
    first, a, b, z = (home / name for name in ("0", "a", "b", "z"))
    for seed, path in enumerate((a, b, z)):
        fill(path, seed)
    write(a / "only in a", b"a")
    own(a)
    full = catalog.backup("-E", f"{b}:{a}:{z}")
    trees = {full: {path: content(path) for path in (a, b, z)}}

    (a / "run").unlink()
    write(a / "script.sql", b"SELECT 2;\n", 0o644)
    write(a / "holes", noise(100000, 9))  # smaller
    shutil.rmtree(b / "deep")
    write(b / "deep", b"a file where a directory was")
    (z / "run").chmod(0o700)
    fill(first, 7)
    own(home)
    delta = catalog.backup("-E", f"{z}:{first}:{b}:{a}", mode="DELTA")
    trees[delta] = {path: content(path) for path in (first, a, b, z)}
    listed = entries(catalog, delta)
    assert [listed[n, "big"]["size"] for n in (1, 2, 3, 4)] == ["300000", "-1", "-1", "-1"]
    assert listed[2, "holes"]["size"] == "100000" and (2, "run") not in listed

    write(b / "big", noise(300000, 8), 0o600)  # of the same size
    write(z / "new", b"new")
    own(home)
    page = catalog.backup("-E", f"{z}:{b}:{first}", mode="PAGE")
    trees[page] = {path: content(path) for path in (first, b, z)}
    listed = entries(catalog, page)
    assert [listed[n, "big"]["size"] for n in (1, 2, 3)] == ["-1", "300000", "-1"]
    # Swapped numbers: after this one z is the only one that stays.
    shutil.rmtree(b)
    y = home / "y"
    fill(y, 5)
    last = catalog.backup("-E", f"{z}:{y}", mode="DELTA")
    trees[last] = {path: content(path) for path in (y, z)}

    for backup_id, wanted in trees.items():
        check_chain(bench, catalog, backup_id, wanted)
    again = {path: content(path) for path in (first, a, z)}
    result = gsp_ok("merge", *catalog.where, "-i", page)
    assert "WARNING" not in result.err, result
    left = catalog.backups()
    assert sorted(left) == [page, last] and left[page]["backup-mode"] == "FULL"
    assert left[page]["external-dirs"] == f"{first}:{b}:{z}"
    check_chain(bench, catalog, page, trees[page])
    check_chain(bench, catalog, last, trees[last])
    gsp_ok("merge", *catalog.where, "-i", last)
    check_chain(bench, catalog, last, trees[last])
    merged = (catalog.dir(last) / "external_directories").iterdir()
    assert sorted(p.name for p in merged) == ["externaldir1", "externaldir2"]
    assert gsp_ok("validate", *catalog.where).code == 0
    assert again == {path: content(path) for path in (first, a, z)}, "the originals are nobody's business"
    # Damage there is damage.
    stored = catalog.dir(last) / "external_directories" / "externaldir2" / "big"
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    assert catalog.validate().code == 1
    assert catalog.status(last) == "CORRUPT"


def stamps(root):
    return {path: (st.st_ino, st.st_mtime_ns) for path in root.rglob("*") if not path.is_dir() and (st := path.lstat())}


def test_in_place(bench, source):
    catalog = bench.catalog(source)
    path, gone = bench.new("ext"), bench.new("gone")
    fill(path)
    fill(gone)
    write(path / 'q"uote', b"encoded")
    (path / "kept empty").mkdir()
    own(path)
    catalog.backup("-E", f"{path}:{gone}", check=False)
    want = content(path)
    data = bench.new("data")
    catalog.restore(data, "--skip-external-dirs")
    shutil.rmtree(gone)
    before = stamps(path)
    # As if years had passed.
    write(path / "script.sql", b"SELECT 9;\n")  # of the same size
    (path / "run").chmod(0o644)
    (path / "holes").unlink()
    (path / "empty").unlink()
    (path / "empty").symlink_to(path / "big")
    shutil.rmtree(path / "deep")
    write(path / "deep", b"no directory")
    write(path / ".new" / "er", b"new")
    write(path / "new", b"new")
    (path / "kept empty" / "no more").symlink_to("/etc")
    own(path)
    result = catalog.restore(data, "-I", "checksum")
    assert content(path) == want
    assert not any(p.is_symlink() for p in path.rglob("*")) and content(gone)[b"run"] == want[b"run"]
    after = stamps(path)
    unchanged = [p for p in before if before[p] == after[p]]
    assert {p.name for p in unchanged} == {"big", ".file", "run", 'q"uote'}, result
    assert not (data / "gs_probackup.unfinished_restore.external").exists()
    # Nothing is left to do; and with the mapping it goes elsewhere.
    catalog.restore(data, "-I", "checksum")
    assert stamps(path) == after
    other = bench.new("other")
    catalog.restore(data, "-I", "checksum", mapping(path, other))
    assert content(other) == want and stamps(path) == after
    # A restore into an empty directory empties nothing, whatever -I says.
    gsp_fails("restore", *catalog.where, "-D", bench.new("data"), "-I", "checksum", unchanged=[path],
              message="External directory is not empty")
    # What an unfinished restore into this data directory has left is no obstacle.
    broken = copy_tree(data, bench.new("data"))
    (broken / "global/pg_control").rename(broken / "gs_probackup.unfinished_restore")
    claim = broken / "gs_probackup.unfinished_restore.external"
    claim.write_text(f"{path}\n")
    give_to_user(claim)
    write(path / "half", b"half")
    gsp_fails("restore", *catalog.where, "-D", broken, unchanged=[path, gone], message=f'not empty: "{gone}"')
    shutil.rmtree(gone)
    result = catalog.restore(broken)
    assert content(path) == want and not claim.exists()


def test_tablespaces_of_old_command_lines(bench, pg15):
    cluster = bench.cluster(pg15)
    space = cluster.tablespace("fast")
    cluster.sql("CREATE TABLE t TABLESPACE fast AS SELECT n FROM generate_series(1, 10000) n")
    catalog = bench.catalog(cluster)
    scripts = bench.new("scripts")
    fill(scripts)
    made = gsp_ok(*catalog.backup_args("-E", f"{space}:{scripts}"))
    assert f'"{space}" is a tablespace, which is part of the backup in any case' in made.err
    (backup,) = catalog.show()
    assert backup["external-dirs"] == str(scripts)
    assert [p.name for p in (catalog.dir(backup["id"]) / "external_directories").iterdir()] == ["externaldir1"]
    for options in (["-T", "--external-mapping"], ["--external-mapping"], ["-T"]):
        data, to, scripts_to = bench.new("data"), bench.new("ts"), bench.new("scripts")
        catalog.restore(data, mapping(scripts, scripts_to), *(x for o in options for x in (
            [o, f"{space}={to}"] if o == "-T" else [f"{o}={space}={to}"])))
        (link,) = (data / "pg_tblspc").iterdir()
        assert link.readlink() == to and content(scripts_to) == content(scripts)
    refused = ["restore", *catalog.where, "-D", bench.new("data")]
    gsp_fails(*refused, "-T", f"{space}=/x/1", mapping(space, "/x/2"), message="is mapped to '/x/1' and to '/x/2'")
    gsp_fails(*refused, "-T", f"{scripts}=/x/1", message="doesn't have an entry in tablespace_map file")
    gsp_fails(*refused, mapping("/x/0", "/x/1"), hint=f"first external directory is '{scripts}'",
              message="--external-mapping option's old directory doesn't have an entry in list of external directories "
                      'of current backup: "/x/0"')
    gsp_fails(*refused, "-T", f"{space}={bench.new('ts')}", mapping(scripts, refused[-1] / "x"),
              message="lie in each other")
    cluster.stop()
    restored = bench.restored(pg15, data)
    restored.start()
    assert restored.sql("SELECT sum(n) FROM t") == [(50005000,)]


def test_what_is_refused(bench, source):
    """Before anything is written."""
    catalog = bench.catalog(source)
    path, file = make_dir(bench.new("ext")), bench.new("file")
    make_dir(path / "in it")
    file.write_text("")
    inside = source.data / "base"
    for dirs, message in (
            ("relative/path", 'External directory "relative/path" is not an absolute path'),
            (f"{path}:{bench.path}/none", f'External directory is not found: "{bench.path}/none"'),
            (file, f'External directory "{file}" is not a directory'),
            (f"{path}/in it:{path}", f'"{path}" contain another external directory "{path}/in it"'),
            (f"{path}:{path}/.", f'"{path}" is given twice'),
            (inside, f'"{inside}" lies in the data directory'),
            (source.home, f'"{source.home}" contains the data directory'),
            (catalog.path, "lies in the backup catalog"),
            (f"{path}/../x", "is not a plain path"),
            (":".join(str(path / f"{'x' * 100}{i}") for i in range(10)), "External directory is not found")):
        gsp_fails(*catalog.backup_args("-E", dirs), message=message, unchanged=[catalog.path])
    names = [make_dir(path / "in it" / f"{'x' * 100}{i}") for i in range(12)]
    gsp_fails(*catalog.backup_args("-E", ":".join(map(str, names))), message="'external-dirs' of a backup is too long",
              unchanged=[catalog.path])
    os.chmod(path / "in it", 0)
    if os.geteuid() == 0:
        os.chown(path / "in it", 0, 0)
        result = gsp_fails(*catalog.backup_args("-E", path), message=f"external directory '{path}'")
        assert "in it" in result.errors[0]
    assert [b["status"] for b in catalog.show()] in ([], ["ERROR"])
