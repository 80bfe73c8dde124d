# SPDX-License-Identifier: Apache-2.0
"""The power fails at any moment: every state the disk may then be in is the old one, or the new one, or one that the
next command gets along with. After the command has ended it is the new one. Which states: power_loss.py.

GSP_POWER_LOSS_RANDOM: how many states out of a hat for each command (300); GSP_POWER_LOSS_SEED: which ones."""
import itertools
import json
import os
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from postgres import SETTINGS, Cluster
from power_loss import Disk
from processes import copy_tree, give_to_user, make_dir, remove_tree, run, snapshot, work_dir
from tool import INSTANCE, REPOSITORY, Catalog, check_written, gsp, gsp_ok

RANDOM = int(os.environ.get("GSP_POWER_LOSS_RANDOM", "300"))
SEED = int(os.environ.get("GSP_POWER_LOSS_SEED", random.SystemRandom().randrange(10**6)))
# On the first, a tree is synced with syncfs; on the second, file by file.
FILE_SYSTEMS = ("ext4", "nfs")
LOCK_FILES = ("backup.pid", "backup_ro.pid", "backup.owner", "backup.takeover", "instance.pid", "instance.owner")
TEMPORARY = re.compile(r"(.*)-\d+-\d+\.tmp")
MEMORY = "/dev/shm"
# An unfinished restore has its control file under this name; both may be left where directories are on their own.
UNFINISHED = "gs_probackup.unfinished_restore"
INSTANCE_DIR = f"catalog/backups/{INSTANCE}"


def is_detail(name):
    """Not part of what a backup holds, or looked at on its own."""
    return name in LOCK_FILES or name == "backup.control" or TEMPORARY.fullmatch(name) is not None


class World:
    """A small cluster with a tablespace, a catalog with one backup of it, and the recorder."""

    def __init__(self, shop, version):
        self.shop = shop
        # Thousands of small files: in memory, where there is enough of it.
        in_memory = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 1 << 30
        self.path = work_dir(MEMORY if in_memory else "/tmp")
        self.numbers = itertools.count()
        self.recorder = shop.new("recorder")
        run(["cc", "-std=c17", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", self.recorder,
             REPOSITORY / "tests/doubles/syscall_recorder.c"], as_root=True)
        self.recorder.chmod(0o755)
        self.boot = shop.new("boot")
        self.boot.write_text("11111111-2222-3333-4444-555555555555\n")
        self.cluster = self.small_cluster(version)
        self.space = self.cluster.tablespace("space")
        self.cluster.sql("CREATE TABLE t TABLESPACE space AS SELECT generate_series(1, 1000) AS i")
        self.catalog = Catalog.create(make_dir(shop.new("home")) / "catalog", self.cluster)
        self.old = self.catalog.backup("--compress-algorithm=zlib")

    def small_cluster(self, version):
        """Three databases less than usual and small WAL segments: there will be many copies."""
        home = make_dir(self.shop.new("pg"))
        run([version.bindir / "initdb", "-D", home / "data", "-A", "trust", "-U", "postgres", "--no-sync",
             "--wal-segsize=1"])
        with open(home / "data" / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(SETTINGS)
        cluster = Cluster(version, home / "data", home)
        cluster.start()
        self.shop.clusters.append(cluster)
        cluster.sql("UPDATE pg_database SET datistemplate = false")
        for name in ("template0", "template1"):
            cluster.sql(f"DROP DATABASE {name}")
        return cluster

    def new(self, name):
        """A path that does not exist yet; what will be there is gone after the test."""
        return self.path / f"{name}{next(self.numbers)}"

    def area(self):
        """A directory with a copy of the catalog, to be recorded."""
        area = make_dir(self.new("area"))
        copy_tree(self.catalog.path, area / "catalog")
        return area

    def record(self, area, file_system, *args):
        """Run one command that must succeed; returns the Disk. The process had the number of one that lives on, and
        another boot ID than any later one: as it is after a restart."""
        before, log = self.new("before"), self.new("log")
        copy_tree(area, before)
        disk = Disk(area, before)
        gsp_ok(*args, env={"LD_PRELOAD": self.recorder, "GSP_RECORD_LOG": log, "GSP_RECORD_SCOPE": area,
                           "GSP_RECORD_FS": file_system, "GSP_RECORD_BOOT": self.boot,
                           "GSP_RECORD_PID": str(os.getpid())})
        disk.replay(log)
        log.unlink()
        rebuilt, contents = make_dir(self.new("rebuilt")), make_dir(self.new("contents"))
        disk.all_kept(disk.end).build("catalog", rebuilt / "catalog", contents)
        assert snapshot(rebuilt / "catalog") == snapshot(area / "catalog"), "the recorder missed something"
        if (area / "data").exists():
            disk.all_kept(disk.end).build("data", rebuilt / "data", contents)
            assert snapshot(rebuilt / "data") == snapshot(area / "data"), "the recorder missed something"
        return disk


@pytest.fixture(scope="module")
def the_world(shop, pg15):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for the recorder")
    world = World(shop, pg15)
    yield world
    remove_tree(world.path)


@pytest.fixture
def world(the_world):
    yield the_world
    for path in the_world.path.iterdir():
        remove_tree(path)


# ---- verdicts without running anything ------------------------------------------------------------


class Referee:
    """Judges the catalog in the states of one disk."""

    def __init__(self, disk, gone=()):
        """gone: backups that the command may remove."""
        self.disk, self.gone = disk, gone
        self.first, self.last = disk.all_kept(0), disk.all_kept(disk.end)
        self.old_ids = set(self.ids(self.first))
        self.kinds = {}  # what tells one state of a catalog from another -> a state
        self.seen, self.count = set(), 0
        self.whole_controls = self.controls()

    @staticmethod
    def ids(state):
        node = state.find(INSTANCE_DIR)
        return [name for name, child in state.entries(node).items()
                if child.kind == "dir" and not name.startswith(".new-")] if node else []

    def controls(self):
        """Every backup.control as it was when it got its name."""
        found = set()
        for time in range(self.disk.end + 1):
            state = self.disk.all_kept(time)
            if time == 0 or "backup.control" in self.disk.events[time - 1][0]:
                found.update(state.read(f"{INSTANCE_DIR}/{name}/backup.control") for name in self.ids(state))
        return found

    def status(self, state, backup_id):
        control = state.read(f"{INSTANCE_DIR}/{backup_id}/backup.control")
        if control is None:
            return "absent" if state.find(f"{INSTANCE_DIR}/{backup_id}") is None else "no control file"
        assert control in self.whole_controls, f"{state}: a torn backup.control: {control[:200]}"
        return re.search(rb"^status = (\w+)$", control, re.MULTILINE)[1].decode()

    def judge(self, state):
        self.count += 1
        config, old, new = (s.read(f"{INSTANCE_DIR}/pg_probackup.conf") for s in (state, self.first, self.last))
        assert config is not None and config in (old, new), f"{state}: {config}"
        for backup_id in self.old_ids | set(self.ids(state)) | set(self.ids(self.last)):
            status = self.status(state, backup_id)
            self.seen.add(status if backup_id not in self.old_ids else f"old {status}")
            if status in ("OK", "DONE"):
                whole = self.first if backup_id in self.old_ids else self.last
                wrong = state.differences(f"{INSTANCE_DIR}/{backup_id}", whole, is_detail)
                assert not wrong, f"{state}: backup {backup_id} says {status}, but these are not right: {wrong[:5]}"
            else:
                assert backup_id not in self.old_ids or backup_id in self.gone, f"{state}: {backup_id} became {status}"
            if state.is_over:
                assert status == self.status(self.last, backup_id), f"{state}: {backup_id} is {status} again"
        if state.is_over:
            assert config == new, f"{state}: the old settings again"
        self.kinds.setdefault(self.kind(state), state)

    def report(self):
        print(f"{self.disk.end} operations, {self.count} states, {len(self.kinds)} kinds, seed {SEED}")

    def kind(self, state):
        """Everything of the catalog that a command looks at before it reads a backup's files."""
        parts = []

        def walk(node, path):
            for name, child in state.entries(node).items():
                temporary = TEMPORARY.fullmatch(name)
                if temporary or name in ("backup_content.control", "page_header_map"):
                    parts.append((path, temporary[1] if temporary else name))
                elif child.kind == "file":
                    parts.append((path, name, state.digest(child)))
                elif name == "database":
                    parts.append((path, name, bool(state.entries(child))))
                else:
                    parts.append((path, name))
                    walk(child, f"{path}/{name}")
        walk(state.find("catalog"), "")
        return frozenset(parts)


def judge_all(disk, judge):
    for state in disk.states(RANDOM, SEED):
        try:
            judge(state)
        except AssertionError as error:
            raise AssertionError(f"{error}\n(GSP_POWER_LOSS_SEED={SEED})") from None


# ---- verdicts of the tool --------------------------------------------------------------------------


def check_way_of_syncing(disk, file_system):
    used = any(what.startswith("syncfs") for what, _, _ in disk.events)
    assert used == (file_system == "ext4"), "two ways of syncing were to be tested, not one"


def in_states(world, states, check):
    """Build the catalog of each state and let `check(catalog, state)` look at it. Some wait for an empty lock file."""
    contents = make_dir(world.new("contents"))

    def one(state):
        path = world.new("state")
        state.build("catalog", path, contents)
        free_unowned_instance_lock(path)
        try:
            check(Catalog(path, world.cluster), state)
        except AssertionError as error:
            raise AssertionError(f"{state}\n{error}\n(GSP_POWER_LOSS_SEED={SEED})") from None
        finally:
            remove_tree(path)

    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(one, states):
            pass


def free_unowned_instance_lock(path):
    """As free_unowned_lock: what the message says is done."""
    folder = path / "backups" / INSTANCE
    pid, owner = folder / "instance.pid", folder / "instance.owner"
    if pid.exists() and pid.read_text().strip() == str(os.getpid()) and \
            not (owner.exists() and f"exclusive {os.getpid()} " in owner.read_text()):
        if (folder / "pg_probackup.conf").exists():
            result = gsp("set-config", "-B", path, f"--instance={INSTANCE}")
            assert result.code == 1 and "is using it" in result.errors[0] and str(pid) in result.hints[0], result
        pid.unlink()


def free_unowned_lock(catalog, backup_id):
    """A lock whose owner's record is lost belongs to whoever has that process number now. The message says so, and
    what to do then."""
    folder = catalog.dir(backup_id)
    pid = folder / "backup.pid"
    owner = folder / "backup.owner"
    if pid.exists() and pid.read_text().strip() == str(os.getpid()) and \
            not (owner.exists() and f"exclusive {os.getpid()} " in owner.read_text()):
        result = gsp("delete", *catalog.where, "-i", backup_id)
        assert result.code == 1 and "is using it" in result.errors[0] and str(pid) in result.hints[0], result
        pid.unlink()


def goes_on(catalog, referee, state):
    """Show tells the truth, what is valid can be validated, what is broken deleted, and then all is well."""
    shown = {backup["id"]: backup["status"] for backup in catalog.show()}
    assert set(shown) == set(referee.ids(state))
    for backup_id in shown:
        free_unowned_lock(catalog, backup_id)
    for backup_id, status in catalog.backups().items():
        before = referee.status(state, backup_id)
        if before in ("OK", "DONE"):
            assert status["status"] == before
            gsp_ok("validate", *catalog.where, "-i", backup_id)
        else:
            assert status["status"] in {"RUNNING": ("ERROR",), "no control file": ("UNKNOWN",)}.get(before, (before,))
            gsp_ok("delete", *catalog.where, "-i", backup_id)
    left = catalog.backups()
    assert all(backup["status"] == "OK" for backup in left.values()), left
    assert catalog.validate().code == 0
    gsp_ok("show-config", *catalog.where)


# ---- the commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
def test_backup(world, file_system):
    area = world.area()
    catalog = Catalog(area / "catalog", world.cluster)
    args = [arg for arg in catalog.backup_args("--compress-algorithm=zlib", "-j", "2") if arg != "--no-sync"]
    disk = world.record(area, file_system, *args)
    referee = Referee(disk)
    (new,) = set(referee.ids(referee.last)) - {world.old}
    check_written(catalog.dir(new), quick=False)
    judge_all(disk, referee.judge)
    check_way_of_syncing(disk, file_system)
    # It has its name when it has its control file.
    assert referee.seen >= {"absent", "RUNNING", "DONE", "OK", "old OK"} and "no control file" not in referee.seen, referee.seen
    referee.report()
    in_states(world, referee.kinds.values(), lambda catalog, state: goes_on(catalog, referee, state))


def test_next_backup(world):
    """After a backup that the power failed in, the next one is made as ever."""
    area = world.area()
    args = Catalog(area / "catalog", world.cluster).backup_args("--compress-algorithm=zlib", "-j", "2")
    disk = world.record(area, "ext4", *[arg for arg in args if arg != "--no-sync"])
    times = [disk.end * part // 4 for part in (1, 2, 3)]
    in_states(world, [disk.all_kept(time) for time in times],
              lambda catalog, state: catalog.backup("--compress-algorithm=zlib"))


def test_delete(world):
    area = world.area()
    catalog = Catalog(area / "catalog", world.cluster)
    doomed = catalog.backup("--compress-algorithm=zlib")
    disk = world.record(area, "ext4", "delete", *catalog.where, "-i", doomed)
    referee = Referee(disk, gone={doomed})
    judge_all(disk, referee.judge)
    assert referee.seen >= {"old OK", "old DELETING", "old no control file", "old absent"}, referee.seen
    referee.report()
    in_states(world, referee.kinds.values(), lambda catalog, state: goes_on(catalog, referee, state))


def merged_dir(state, backup_id):
    """Where the backup is, as the tool looks for it."""
    path = f"{INSTANCE_DIR}/{backup_id}"
    if state.find(path) is None and state.find(f"{INSTANCE_DIR}/.merged-{backup_id}"):
        path = f"{INSTANCE_DIR}/.merge-{backup_id}"
    return path


def unshare(path):
    """A state's files are links to those of other states; these two are written on, not replaced."""
    if path.exists():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
        path.chmod(0o600)
        give_to_user(path)


def free_all_unowned_locks(catalog):
    for pid in catalog.dir("x").parent.glob("*/backup.pid"):
        owner = pid.with_name("backup.owner")
        if pid.read_text().strip() == str(os.getpid()) and \
                not (owner.exists() and f"exclusive {os.getpid()} " in owner.read_text()):
            pid.unlink()


def test_merge(world):
    """The last backup of the chain is there in every state, as a member or merged, and whole; the repeated merge ends."""
    area = world.area()
    catalog = Catalog(area / "catalog", world.cluster)
    last = catalog.backup("--compress-algorithm=zlib", mode="DELTA", check=False)
    disk = world.record(area, "ext4", "merge", *catalog.where, "-i", last, "-j", "2")
    referee = Referee(disk)

    def ignored(name):
        return is_detail(name) or name == "merge.ledger"

    def judge(state):
        referee.count += 1
        place = merged_dir(state, last)
        control = state.read(f"{place}/backup.control")
        assert control is not None and control in referee.whole_controls, f"{state}: backup {last} is gone"
        merged = b"backup-mode = FULL" in control
        wrong = []
        if merged:
            whole = referee.last.find(f"{INSTANCE_DIR}/{last}")
            state._compare(state.find(place), referee.last, whole, place, ignored, wrong)
        else:
            for backup_id in (world.old, last):
                wrong += state.differences(f"{INSTANCE_DIR}/{backup_id}", referee.first, is_detail)
        if referee.status(state, world.old) == "OK":
            wrong += state.differences(f"{INSTANCE_DIR}/{world.old}", referee.first, is_detail)
        assert not wrong, f"{state}: backup {last} is {'merged' if merged else 'as it was'}, and these are not right: {wrong[:5]}"
        assert merged or not state.is_over, f"{state}: it is not merged any more"
        referee.kinds.setdefault(referee.kind(state), state)

    judge_all(disk, judge)
    referee.report()
    lines = catalog.file_list(last)

    def check(catalog, state):
        free_all_unowned_locks(catalog)
        for name in ("merge.ledger", "page_header_map"):
            unshare(catalog.dir(f".merge-{last}") / name)
        again = gsp("merge", *catalog.where, "-i", last)
        assert again.code == 0 or "has no valid children" in again.errors[0], again
        assert {backup["id"]: backup["status"] for backup in catalog.show()} == {last: "OK"}
        assert not list(catalog.dir("x").parent.glob(".merge*"))
        assert {(path, line["size"], line.get("crc")) for path, line in catalog.file_list(last).items()} == \
            {(path, line["size"], line.get("crc")) for path, line in lines.items()}
        assert catalog.validate().code == 0

    in_states(world, referee.kinds.values(), check)


@pytest.mark.parametrize("args", [("set-config", "--archive-timeout=1234"),
                                  ("set-backup", "-i", "{old}", "--note=a note")], ids=lambda args: args[0])
def test_settings(world, args):
    area = world.area()
    catalog = Catalog(area / "catalog", world.cluster)
    disk = world.record(area, "ext4", args[0], *catalog.where, *[arg.format(old=world.old) for arg in args[1:]])
    referee = Referee(disk)
    judge_all(disk, referee.judge)
    referee.report()
    in_states(world, referee.kinds.values(), lambda catalog, state: goes_on(catalog, referee, state))


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
def test_restore(world, file_system):
    area = world.area()
    catalog = Catalog(area / "catalog", world.cluster)
    disk = world.record(area, file_system, "restore", *catalog.where, "-D", area / "data", "-j", "2",
                        f"--tablespace-mapping={world.space}={area / 'far' / 'space'}")
    referee = Referee(disk)
    whole, unfinished = [], {}
    renamed = next(time for time, (what, _, _) in enumerate(disk.events, 1) if what.endswith("global/pg_control"))

    def judge(state):
        referee.judge(state)
        if state.find("data/global/pg_control"):
            whole.append(state)
            for path in ("data", "far/space"):
                wrong = state.differences(path, referee.last, lambda name: name.startswith(UNFINISHED))
                assert not wrong, f"{state}: the cluster would start, but these are not right: {wrong[:5]}"
        elif state.is_over:
            raise AssertionError(f"{state}: the cluster that was restored does not start")
        elif not state.find("data") or state.find(f"data/{UNFINISHED}") or all(
                name.startswith(UNFINISHED) for name in state.entries(state.find("data"))):
            unfinished.setdefault(restored_kind(state), state)
        else:
            # Half of a rename, which no journal leaves: neither name is there. Nothing starts.
            assert state.time >= renamed, f"{state}: nothing tells that this is no cluster"

    judge_all(disk, judge)
    check_way_of_syncing(disk, file_system)
    assert whole and unfinished
    referee.report()
    in_states(world, referee.kinds.values(), lambda catalog, state: goes_on(catalog, referee, state))
    restore_again(world, area, unfinished.values())


def restored_kind(state):
    """What of a half-restored cluster tells another restore whether it may go on."""
    def size(path):
        node = state.find(path)
        return None if node is None else min(1, len(state.entries(node)))

    def holds(path):
        content = state.read(path)
        return None if content is None else content.strip(b"\0") != b""
    return (holds(f"data/{UNFINISHED}"), holds(f"data/{UNFINISHED}.owner"), size("data"), size("data/pg_tblspc"),
            size("far/space"), size("data/base"))


def restore_again(world, area, states):
    """The same command in the same place."""
    target = snapshot(area / "data"), snapshot(area / "far")
    catalog = Catalog(area / "catalog", world.cluster)
    for state in states:
        contents = make_dir(world.new("contents"))
        for name in ("data", "far"):
            remove_tree(area / name)
            if state.find(name):
                state.build(name, area / name, contents)
        result = gsp("restore", *catalog.where, "-D", area / "data", "--no-sync",
                     f"--tablespace-mapping={world.space}={area / 'far' / 'space'}")
        assert result.code == 0 and (snapshot(area / "data"), snapshot(area / "far")) == target, \
            f"{state}\n{result}\n(GSP_POWER_LOSS_SEED={SEED})"


def catalog_kinds(disk):
    """Every different catalog among the states, and how many states there are."""
    kinds, count = {}, 0
    for count, state in enumerate(disk.states(RANDOM, SEED), 1):
        snapshot_of = []

        def walk(node, path):
            for name, child in state.entries(node).items():
                snapshot_of.append((path, name, state.digest(child) if child.kind == "file" else ""))
                if child.kind == "dir":
                    walk(child, f"{path}/{name}")
        walk(disk.root, "")
        kinds.setdefault((frozenset(snapshot_of), state.is_over), state)
    print(f"{disk.end} operations, {count} states, {len(kinds)} kinds, seed {SEED}")
    return kinds.values()


def test_init(world):
    """Done, or it can be done again."""
    area = make_dir(world.new("area"))
    disk = world.record(area, "ext4", "init", "-B", area / "catalog")

    def check(catalog, state):
        assert state.find("catalog/wal") or not state.is_over
        again = gsp("init", "-B", catalog.path)
        assert again.code == 0 or state.find("catalog/wal") is not None, again
        gsp_ok("add-instance", *catalog.where, "-D", world.cluster.data)

    states = catalog_kinds(disk)
    assert not [state for state in states if state.is_over and not state.find("catalog")]
    in_states(world, [state for state in states if state.find("catalog")], check)


def test_add_instance(world):
    area = make_dir(world.new("area"))
    catalog = Catalog(area / "catalog", world.cluster)
    gsp_ok("init", "-B", catalog.path)
    disk = world.record(area, "ext4", "add-instance", *catalog.where, "-D", world.cluster.data)

    def check(catalog, state):
        again = gsp("add-instance", *catalog.where, "-D", world.cluster.data)
        done = state.find(f"{INSTANCE_DIR}/pg_probackup.conf") and state.find(f"catalog/wal/{INSTANCE}")
        assert done or (again.code == 0 and not state.is_over), again
        assert catalog.show() == []
        config = json.loads(gsp_ok("show-config", *catalog.where, "--format=json").out)
        assert config["pgdata"] == str(world.cluster.data)
        gsp_ok("del-instance", *catalog.where)

    in_states(world, catalog_kinds(disk), check)


def test_del_instance(world):
    """Gone, or it can be deleted again; then its name is free."""
    area = world.area()
    catalog = Catalog(area / "catalog", world.cluster)
    # What stays of an archive would keep its name taken.
    archived = area / "catalog" / "wal" / INSTANCE / "000000010000000000000001"
    archived.write_bytes(b"WAL")
    archived.chmod(0o600)
    give_to_user(archived)
    disk = world.record(area, "ext4", "del-instance", *catalog.where)
    referee = Referee(disk, gone={world.old})

    def check(catalog, state):
        for backup_id in referee.ids(state):
            free_unowned_lock(catalog, backup_id)
        if state.find(INSTANCE_DIR):
            gsp_ok("del-instance", *catalog.where)
        gsp_ok("add-instance", *catalog.where, "-D", world.cluster.data)

    kinds = {}
    for state in disk.states(RANDOM, SEED):
        for backup_id in referee.ids(state):
            if referee.status(state, backup_id) == "OK":
                wrong = state.differences(f"{INSTANCE_DIR}/{backup_id}", referee.first, is_detail)
                assert not wrong, f"{state}: backup {backup_id} says OK, but these are not right: {wrong[:5]}"
        assert not state.is_over or not state.find(INSTANCE_DIR), f"{state}: it is there again"
        kinds.setdefault((referee.kind(state), state.is_over), state)
    in_states(world, kinds.values(), check)
