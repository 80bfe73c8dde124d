#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lets every single storage operation of every command fail, in every way, on a cluster of at most 40 files.

    every_n.py [--kinds=KIND,...] [--commands=NAME,...] [--at=N | --step=N] PROGRAM PLUGIN...

After each failure: the process ended as it should and left nothing open; the catalog can be read; nothing is
OK that is not; what was OK is unchanged; the same command run again succeeds, and leaves nothing behind.
Output is TAP. One test is one command with one kind of fault, at every n; --at repeats a single one.
"""
import argparse
import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
import cluster  # noqa: E402  (puts tests/integration on the path)
import strict_reader  # noqa: E402

# name: (what, when, times, operations)
KINDS = {
    "eio": ("eio", "before", 1, "all"),
    "kill": ("kill", "before", 1, "all"),
    "eio-forever": ("eio", "before", 0, "all"),
    "eio-after": ("eio", "after", 1, "write"),
    "kill-after": ("kill", "after", 1, "write"),
    "enospc": ("enospc", "before", 1, "all"),
    "enospc-forever": ("enospc", "before", 0, "all"),
    "short-read": ("short-read", "before", 1, "all"),
    "short-read-forever": ("short-read", "before", 0, "all"),
    "short-write": ("short-write", "before", 1, "all"),
}
INSTANCE = "main"
# Runs of a worker at a time. The second backup of a catalog waits for the next second: with so many before it, that is
# over when it comes.
SHARE = 60


class Wrong(Exception):
    """The product did what it must not."""


# ---- running the tool ----------------------------------------------------------------------------

class Result:
    def __init__(self, args, done, report):
        self.args, self.code, self.out, self.err, self.report = args, done.returncode, done.stdout, done.stderr, report

    def lines(self, level):
        return [line for line in self.err.splitlines() if line.startswith(level + ": ")]

    def __str__(self):
        return f"{' '.join(map(str, self.args))}\nexit {self.code}\n{self.out}{self.err}{self.report}"


class Tool:
    def __init__(self, binary, config):
        self.binary, self.config = binary, config
        self.env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": "/"}
        self.env.update({k: v for k, v in os.environ.items() if k in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS")})

    def run(self, args, home, kind=None, at=0):
        report_file = home / "report"
        report_file.unlink(missing_ok=True)
        settings = [f"storage.fault.report={report_file}"]
        if kind is not None:
            what, when, times, ops = KINDS[kind]
            settings += [f"storage.fault.{key}={value}" for key, value in
                         (("what", what), ("when", when), ("times", times), ("ops", ops), ("at", at))]
        argv = [self.binary, *args, f"--config={self.config}"]
        for setting in settings:
            argv += ["--set", setting]
        done = subprocess.run(argv, env=self.env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=60)
        report = {}
        if report_file.exists():
            report = dict(line.split(" ", 1) for line in report_file.read_text().splitlines())
        return Result(args, done, report)

    def good(self, args, home):
        result = check_ended(self.run(args, home))
        if result.code != 0:
            raise Wrong(f"must succeed without a fault:\n{result}")
        return result


def check_ended(result, killed=False):
    """It ended in one of the ways a process of ours ends, and gave everything back."""
    if killed and result.code == -9:
        return result
    if result.code not in (0, 1):
        raise Wrong(f"crashed:\n{result}")
    if "Sanitizer" in result.err or "runtime error" in result.err:
        raise Wrong(f"a sanitizer has something to say:\n{result}")
    errors = result.lines("ERROR")
    if result.code == 0 and errors:
        raise Wrong(f"an error, and exit code 0:\n{result}")
    # A verdict is no error: validate has looked, and says of each backup what it found.
    verdict = "WARNING: Some backups are not valid" in result.err
    if result.code == 1 and not (verdict and not errors) and (len(errors) != 1 or not re.search(r"['\"/]|[Bb]ackup [0-9A-Z]{6}", errors[0])):
        raise Wrong(f"not one error that names its object:\n{result}")
    for key in ("stores", "files", "puts", "descriptors", "threads", "children"):
        if result.report.get(key, "0") != "0":
            raise Wrong(f"{key} left open:\n{result}")
    return result


# ---- looking at trees ----------------------------------------------------------------------------

def listing(root):
    """Relative names of everything below root, links not followed."""
    return set(inodes(root))


_known = {}


def _content(path):
    """Mode and content of a file; hard links of one that was read before are not read again."""
    st = os.stat(path)
    key = st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns, st.st_mode
    if st.st_nlink == 1 or key not in _known:
        with open(path, "rb") as file:
            found = stat.S_IMODE(st.st_mode), hashlib.blake2b(file.read()).digest()
        if st.st_nlink == 1:
            return found
        _known[key] = found
    return _known[key]


def digest(root, ignore=()):
    """name -> mode and content of everything below root; the tablespace's link is followed."""
    found = {}
    for where, directories, files in os.walk(root, followlinks=True):
        below = os.path.relpath(where, root)
        for name in directories:
            found[os.path.normpath(os.path.join(below, name))] = "directory"
        for name in files:
            path = os.path.join(where, name)
            relative = os.path.normpath(os.path.join(below, name))
            if relative not in ignore:
                found[relative] = _content(path)
    return found


def differences(found, expected):
    """What two digests do not agree about, at most a few names."""
    wrong = sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name))
    return [(name, found.get(name), expected.get(name)) for name in wrong[:3]]


def inodes(root, below=""):
    """Relative names of everything below root, directories before what is in them; the inode of each file, None of a
    directory."""
    found = {}
    for entry in os.scandir(os.path.join(root, below)):
        name = os.path.join(below, entry.name)
        if entry.is_dir(follow_symlinks=False):
            found[name] = None
            found.update(inodes(root, name))
        else:
            found[name] = entry.inode()
    return found


class Base:
    """A catalog to begin from. Copies have hard links for files: whoever replaces a file, as the product must, does not
    touch the original."""

    def __init__(self, path):
        self.path = path
        self.inodes = inodes(path)
        self.digest = digest(path)

    def copy(self, target):
        os.mkdir(target, 0o700)
        for name, inode in self.inodes.items():
            if inode is None:
                os.mkdir(f"{target}/{name}", 0o700)
            else:
                os.link(f"{self.path}/{name}", f"{target}/{name}")

    def changed(self, target, below, ignore):
        """The first file below a directory that is not the link any more."""
        before = {name: inode for name, inode in self.inodes.items() if name.startswith(below + "/")}
        now = {os.path.join(below, name): inode for name, inode in inodes(os.path.join(target, below)).items()}
        for name, inode in before.items():
            if os.path.basename(name) not in ignore and now.get(name, "gone") != inode:
                return name
        return None


LOCKS = ("backup.pid", "backup_ro.pid", "backup.owner", "backup.takeover")
TEMPORARY = re.compile(r".*-\d+-\d+\.tmp$")


# ---- commands ------------------------------------------------------------------------------------

class Bench:
    """What all runs share: the cluster, and catalogs to begin from."""

    def __init__(self, tool, work):
        self.tool, self.work = tool, work
        self.data = work / "data"
        self.space = work / "data-space"
        self.empty, self.instance, self.one, self.two = (work / name for name in ("empty", "instance", "one", "two"))
        home = work / "home"
        home.mkdir()
        tool.good(["init", "-B", self.empty], home)
        shutil.copytree(self.empty, self.instance)
        tool.good(["add-instance", "-B", self.instance, "-D", self.data, f"--instance={INSTANCE}"], home)
        shutil.copytree(self.instance, self.one)
        self.first = self._backup(self.one, home)
        shutil.copytree(self.one, self.two)
        self.second = self._backup(self.two, home)
        directory = self.backup_dir(self.one, self.first)
        problems = strict_reader.check_backup(str(directory))
        if problems:
            raise Wrong("\n".join(problems))
        self.golden = self.content(directory)
        self._make_chain(home)
        self._make_diverged()
        self.cluster_digest = digest(self.data)
        # A restore brings back neither what is in pg_wal nor a table that is emptied at every start.
        self.restored = {name: value for name, value in self.cluster_digest.items()
                         if not name.startswith("pg_wal/") and name != cluster.UNLOGGED}
        self.bases = {name: Base(getattr(self, name)) for name in ("empty", "instance", "one", "two", "chain", "merged")}

    def _make_chain(self, home):
        """A FULL backup and two incremental ones, and the same merged by a run that nothing disturbs."""
        self.chain, self.merged = self.work / "chain", self.work / "merged"
        shutil.copytree(self.instance, self.chain)
        self.members = [self._backup(self.chain, home)]
        for step in range(len(cluster.CHANGES)):
            cluster.change(self.data, step)
            self.members.append(self._backup(self.chain, home, "DELTA"))
        self.changed_cluster = {name: value for name, value in digest(self.data).items()
                                if not name.startswith("pg_wal/") and name != cluster.UNLOGGED}
        shutil.copytree(self.chain, self.merged)
        self.tool.good(["merge", *self.where(self.merged), "-i", self.members[-1]], home)
        self.golden_merge = self.merged_content(self.backup_dir(self.merged, self.members[-1]))
        for tree in (self.data, self.space):
            shutil.rmtree(tree)
        cluster.make(self.data)

    def _make_diverged(self):
        """The data directory after a life of its own, without its tablespaces."""
        self.diverged = self.work / "diverged"
        shutil.copytree(self.data, self.diverged, symlinks=True)
        cluster.change(self.diverged, 0)
        (self.diverged / "pg_tblspc" / str(cluster.TABLESPACE)).unlink()
        (self.diverged / "global" / "1213").write_bytes(cluster.page(0, 99))
        (self.diverged / "base" / "4" / "1259").unlink()
        (self.diverged / "base" / "1" / "2604").write_bytes(cluster.page(0, 1))
        (self.diverged / "base" / "5" / f"{cluster.OID}_vm").write_bytes(cluster.page(0, 9) + cluster.page(1, 9))
        (self.diverged / "pg_hba.conf").write_bytes(b"local all all reject\n")
        (self.diverged / "base" / "30000" / "inner").mkdir(parents=True)
        (self.diverged / "base" / "30000" / "inner" / "1").write_bytes(b"x")
        (self.diverged / ".hidden").write_bytes(b"x")

    def _backup(self, catalog, home, mode="FULL"):
        self.tool.good(self.backup_args(catalog, mode), home)
        return max(path.name for path in (catalog / "backups" / INSTANCE).iterdir() if path.is_dir())

    @staticmethod
    def backup_dir(catalog, backup_id):
        return catalog / "backups" / INSTANCE / backup_id

    @staticmethod
    def where(catalog):
        return ["-B", catalog, f"--instance={INSTANCE}"]

    def backup_args(self, catalog, mode="FULL"):
        # Level 1 does not always make the same bytes of the same pages.
        return ["backup", *self.where(catalog), "-b", mode, "--compress-algorithm=zlib", "--compress-level=2"]

    @staticmethod
    def content(directory):
        """Files and their lines in the list, without what the label's time changes."""
        found = digest(directory / "database", ignore=("backup_label",))
        for line in (directory / "backup_content.control").read_text().splitlines():
            entry = json.loads(line)
            if entry["path"] != "backup_label":
                found["line of " + entry["path"]] = line
        return found

    @classmethod
    def merged_content(cls, directory):
        """content of a merged backup: where its headers lie in the map depends on what was done before an interruption."""
        return {name: re.sub(r'"hdr_off":"\d+"', "", value) if name.startswith("line of ") else value
                for name, value in cls.content(directory).items()}

    def check_untouched(self):
        for name, base in self.bases.items():
            if digest(base.path) != base.digest:
                raise Wrong(f"a file of the catalog '{name}' was changed in place")
        if digest(self.data) != self.cluster_digest:
            raise Wrong("the cluster was changed")


class Run:
    """One command with one fault: a home directory, and a catalog in it."""
    name = base = None

    def __init__(self, bench, number):
        self.bench = bench
        self.home = bench.work / f"{self.name}-{number}"
        self.home.mkdir()
        self.catalog = self.home / "catalog"
        if self.base is not None:
            bench.bases[self.base].copy(self.catalog)

    def args(self):
        raise NotImplementedError

    def kept(self):
        """IDs of backups that the command does not touch."""
        return [self.bench.first] if self.base in ("one", "two") else []

    def check_success(self, result):
        """The command said 0: is what it should have done there?"""

    def is_done(self):
        """After a failure: had it done everything already, so that there is nothing to repeat?"""
        return False

    def shown(self):
        """id -> status, as show tells."""
        result = self.bench.tool.good(["show", "-B", self.catalog, "--format=json"], self.home)
        found = json.loads(result.out)
        return {b["id"]: b["status"] for instance in found.get("backup_info", []) for b in instance["backups"]}

    def backups(self):
        """id -> status, as the control files tell."""
        found = {}
        for path in (self.catalog / "backups").glob("*/*/backup.control"):
            status = re.search(r"^status = (\w+)$", path.read_text(), re.MULTILINE)
            found[path.parent.name] = status.group(1) if status else "none"
        return found

    def check_catalog(self):
        """The catalog can be read, what is OK is what it says, and what was OK is as it was."""
        if not (self.catalog / "backups").is_dir():
            return
        kept = self.kept()
        for backup_id in kept:
            changed = self.bench.bases[self.base].changed(
                self.catalog, f"backups/{INSTANCE}/{backup_id}", self.may_change())
            if changed:
                raise Wrong(f"the file {changed} was changed")
        for backup_id, status in self.shown().items():
            directory = self.bench.backup_dir(self.catalog, backup_id)
            if backup_id not in kept and status in ("OK", "DONE"):
                wrong = differences(self.bench.content(directory), self.bench.golden)
                if wrong:
                    raise Wrong(f"backup {backup_id} is {status}, and these are not the cluster's: {wrong}")

    def may_change(self):
        return LOCKS

    def inject(self, kind, at):
        result = check_ended(self.bench.tool.run(self.args(), self.home, kind, at), killed=kind.startswith("kill"))
        self.first_result = result
        self.check_catalog()
        if result.code == 0:
            self.check_success(result)
        return result

    def repeat(self):
        """The same command again, without a fault."""
        if self.first_result.code == 0:
            return
        done = self.is_done()
        result = check_ended(self.bench.tool.run(self.args(), self.home))
        if result.code != 0 and not done:
            raise Wrong(f"the same command again must succeed:\n{result}")
        self.check_success(result)

    def check_leftovers(self):
        """Nothing is there that is not there after a command that never failed."""
        if any(os.path.basename(name) in LOCKS for name in listing(self.catalog)):
            # It ended before it could release its lock: whoever comes next clears that away.
            self.bench.tool.good(["validate", *self.bench.where(self.catalog)], self.home)
        if self.catalog.exists():
            extra = listing(self.catalog) - self.expected_names()
            # Half-written temporary files of a killed process go with the backup or the instance they lie in.
            extra = {name for name in extra if not (self.first_result.code == -9 and TEMPORARY.match(name))}
            if extra:
                raise Wrong(f"left behind: {sorted(extra)}")

    def expected_names(self):
        return set(self.bench.bases[self.after].inodes)

    after = None


class Init(Run):
    name, after = "init", "empty"

    def args(self):
        return ["init", "-B", self.catalog]

    def is_done(self):
        return (self.catalog / "backups").is_dir() and (self.catalog / "wal").is_dir()

    def check_success(self, result):
        self.bench.tool.good(["add-instance", "-B", self.catalog, "-D", self.bench.data, "--instance=probe"], self.home)
        self.bench.tool.good(["del-instance", "-B", self.catalog, "--instance=probe"], self.home)


class AddInstance(Run):
    name, base, after = "add-instance", "empty", "instance"

    def args(self):
        return ["add-instance", "-B", self.catalog, "-D", self.bench.data, f"--instance={INSTANCE}"]

    def is_done(self):
        return (self.catalog / "backups" / INSTANCE / "pg_probackup.conf").exists()

    def check_success(self, result):
        shown = self.bench.tool.good(["show-config", *self.bench.where(self.catalog)], self.home).out
        if str(self.bench.data) not in shown or str(cluster.SYSTEM_ID) not in shown:
            raise Wrong(f"the instance is not configured:\n{shown}")


class SetConfig(Run):
    name, base, after = "set-config", "one", "one"

    def args(self):
        return ["set-config", *self.bench.where(self.catalog), "--compress-level=7"]

    def check_success(self, result):
        conf = strict_reader.read_conf(str(self.catalog / "backups" / INSTANCE / "pg_probackup.conf"))
        if conf.get("compress-level") != "7" or conf.get("pgdata") != str(self.bench.data):
            raise Wrong(f"the configuration is {conf}")

    def check_catalog(self):
        super().check_catalog()
        conf = strict_reader.read_conf(str(self.catalog / "backups" / INSTANCE / "pg_probackup.conf"))
        if conf.get("pgdata") != str(self.bench.data) or conf.get("system-identifier") != str(cluster.SYSTEM_ID):
            raise Wrong(f"settings were lost: {conf}")


class SetBackup(Run):
    name, base, after = "set-backup", "two", "two"

    def args(self):
        return ["set-backup", *self.bench.where(self.catalog), "-i", self.bench.second, "--note=kept"]

    def check_success(self, result):
        control = strict_reader.read_control(str(self.bench.backup_dir(self.catalog, self.bench.second) / "backup.control"))
        if control.get("note") != "kept" or control["status"] != "OK":
            raise Wrong(f"the backup is {control}")


class Backup(Run):
    name, base = "backup", "one"

    def args(self):
        return self.bench.backup_args(self.catalog)

    def made(self):
        return {i: s for i, s in self.backups().items() if i != self.bench.first}

    def check_success(self, result):
        good = [i for i, status in self.made().items() if status == "OK"]
        if len(good) != 1:
            raise Wrong(f"after a backup that succeeded there are {self.made()}\n{result}")
        directory = self.bench.backup_dir(self.catalog, good[0])
        strict_reader.read_control(str(directory / "backup.control"))
        wrong = differences(self.bench.content(directory), self.bench.golden)
        if wrong:
            raise Wrong(f"the backup is OK, and these are not the cluster's: {wrong}\n{result}")

    def check_leftovers(self):
        for backup_id, status in self.shown().items():
            if status != "OK":
                self.bench.tool.good(["delete", *self.bench.where(self.catalog), "-i", backup_id], self.home)
        super().check_leftovers()

    def expected_names(self):
        (made,) = self.made()
        return {name.replace(self.bench.second, made) for name in self.bench.bases["two"].inodes}

    def is_done(self):
        # The failure came after the backup was complete: it is there, and another one is made all the same.
        for backup_id, status in self.made().items():
            if status in ("OK", "DONE"):
                self.bench.tool.good(["delete", *self.bench.where(self.catalog), "-i", backup_id], self.home)
        return False


class Validate(Run):
    name, base, after = "validate", "one", "one"

    def args(self):
        return ["validate", *self.bench.where(self.catalog)]

    def may_change(self):
        # What could not be read is CORRUPT until it can be read.
        return (*LOCKS, "backup.control")

    def check_success(self, result):
        if self.backups() != {self.bench.first: "OK"}:
            raise Wrong(f"validated, and the backups are {self.backups()}\n{result}")
        one, other = (self.bench.backup_dir(c, self.bench.first) / "backup.control" for c in (self.bench.one, self.catalog))
        if one.read_bytes() != other.read_bytes():
            raise Wrong("the control file is not what it was")


class Restore(Run):
    name, base, after = "restore", "two", "two"

    def __init__(self, bench, number):
        super().__init__(bench, number)
        self.target, self.space = self.home / "restored", self.home / "space"

    def args(self):
        return ["restore", *self.bench.where(self.catalog), "-D", self.target, "-T", f"{self.bench.space}={self.space}"]

    def restored(self):
        found = digest(self.target, ignore=("backup_label",))
        return {name: value for name, value in found.items() if not name.startswith("pg_wal/")}

    def check_target(self):
        wrong = differences(self.restored(), self.bench.restored)
        if wrong:
            raise Wrong(f"a cluster that can start, and is not the one backed up: {wrong}")

    def check_catalog(self):
        super().check_catalog()
        if (self.target / "global" / "pg_control").exists():
            self.check_target()

    def is_done(self):
        return (self.target / "global" / "pg_control").exists()

    def kept(self):
        return [self.bench.first, self.bench.second]

    def check_success(self, result):
        self.check_target()
        if result.code == 0 and f"Restore of backup {self.bench.second} completed" not in result.err:
            raise Wrong(f"another backup was restored than the newest:\n{result}")
        if not (self.target / "backup_label").exists():
            raise Wrong("no backup_label")
        wal = {p.name: p.read_bytes() for p in (self.target / "pg_wal").iterdir() if p.is_file()}
        if wal != {p.name: p.read_bytes() for p in (self.bench.data / "pg_wal").iterdir() if p.is_file()}:
            raise Wrong("the WAL is not the cluster's")


class RestoreInPlace(Restore):
    """Into a cluster that has gone its own way."""
    name = "restore-in-place"
    ASIDE = "global/pg_control.pbk.bak"

    def __init__(self, bench, number):
        super().__init__(bench, number)
        self.other = self.home / "other"
        shutil.copytree(bench.diverged, self.target, symlinks=True)
        shutil.copytree(bench.space, self.space)
        (self.target / "pg_tblspc" / str(cluster.TABLESPACE)).symlink_to(self.space)
        (self.other / cluster.VERSION_DIR / "5").mkdir(parents=True)
        (self.other / "theirs").mkdir()
        (self.target / "pg_tblspc" / "16600").symlink_to(self.other)
        self.old = self.without_marks(digest(self.target))

    def args(self):
        return [*super().args(), "-I", "checksum"]

    @staticmethod
    def without_marks(found):
        return {name: value for name, value in found.items() if not name.startswith("gs_probackup.unfinished_restore")}

    def check_target(self):
        found = self.restored()
        found.pop(self.ASIDE, None)
        wrong = differences(found, self.bench.restored)
        if wrong and self.without_marks(digest(self.target)) != self.old:
            raise Wrong(f"a cluster that can start, and is neither the old one nor the one backed up: {wrong}")

    def inject(self, kind, at):
        self.at = at
        return super().inject(kind, at)

    def is_done(self):
        return False

    def repeat(self):
        """What has begun can also be given up for an ordinary restore."""
        if self.first_result.code != 0 and self.at % 2 == 0 and not (self.target / "global" / "pg_control").exists():
            self.args = super().args
        super().repeat()

    def check_success(self, result):
        super().check_success(result)
        wrong = differences(self.restored(), self.bench.restored)
        if wrong and not (wrong[0][0] == self.ASIDE and "The old control file is left" in result.err):
            raise Wrong(f"restored, and not the cluster backed up: {wrong}\n{result}")
        if [path.name for path in self.other.iterdir()] != ["theirs"] and self.args.__func__ is not Restore.args:
            raise Wrong(f"in the place of the other tablespace there is {sorted(self.other.iterdir())}")


class Delete(Run):
    name, base, after = "delete", "two", "one"

    def args(self):
        return ["delete", *self.bench.where(self.catalog), "-i", self.bench.second]

    def is_done(self):
        return self.bench.second not in self.backups()

    def check_success(self, result):
        if self.backups() != {self.bench.first: "OK"}:
            raise Wrong(f"deleted, and the backups are {self.backups()}")


class DelInstance(Run):
    name, base, after = "del-instance", "two", "empty"

    def args(self):
        return ["del-instance", *self.bench.where(self.catalog)]

    def kept(self):
        return []

    def is_done(self):
        return not (self.catalog / "backups" / INSTANCE).exists()

    def check_success(self, result):
        if self.backups():
            raise Wrong(f"deleted, and the backups are {self.backups()}")


class Merge(Run):
    name, base, after = "merge", "chain", "merged"

    def args(self):
        return ["merge", *self.bench.where(self.catalog), "-i", self.bench.members[-1]]

    def _merged(self):
        """The directory of the merged backup, once it is one."""
        backup_id = self.bench.members[-1]
        parent = self.bench.backup_dir(self.catalog, backup_id).parent
        for path in (parent / backup_id, parent / f".merge-{backup_id}"):
            if path.is_dir() and (path.name == backup_id or not (parent / backup_id).is_dir()):
                return path if "backup-mode = FULL" in (path / "backup.control").read_text() else None
        raise Wrong(f"backup {backup_id} is gone")

    def check_catalog(self):
        """What is valid is a member as it was, on top of valid ones, or the merged backup; and the last one can be restored."""
        shown, members = self.shown(), self.bench.members
        merged = self._merged()
        if merged:
            wrong = differences(self.bench.merged_content(merged), self.bench.golden_merge)
            if wrong:
                raise Wrong(f"backup {merged.name} is merged, and differs from one that nothing disturbed: {wrong}")
        valid = [shown.get(backup_id) in ("OK", "DONE") for backup_id in members]
        if not valid[-1]:
            raise Wrong(f"the last backup of the chain is {shown.get(members[-1])}")
        untouched = members[:-1] if merged else members
        if sorted(valid[:len(untouched)], reverse=True) != valid[:len(untouched)]:
            raise Wrong(f"a backup is valid, and not what it is based on: {shown}")
        for backup_id, is_valid in zip(untouched, valid):
            changed = is_valid and self.bench.bases[self.base].changed(
                self.catalog, f"backups/{INSTANCE}/{backup_id}", LOCKS)
            if changed:
                raise Wrong(f"the file {changed} was changed, and the backup is {shown[backup_id]}")
        self._check_restore()

    def _check_restore(self):
        target, space = self.home / "restored", self.home / "space"
        self.bench.tool.good(["restore", *self.bench.where(self.catalog), "-i", self.bench.members[-1], "-D", target, "-T",
                              f"{self.bench.space}={space}", "--no-sync"], self.home)
        found = {name: value for name, value in digest(target, ignore=("backup_label",)).items()
                 if not name.startswith("pg_wal/")}
        wrong = differences(found, self.bench.changed_cluster)
        for tree in (target, space):
            shutil.rmtree(tree)
        if wrong:
            raise Wrong(f"what is restored of the last backup is not the cluster it was taken of: {wrong}")

    def is_done(self):
        return self._merged() is not None and not list((self.catalog / "backups" / INSTANCE).glob(".merge*"))

    def check_success(self, result):
        if self.shown() != {self.bench.members[-1]: "OK"}:
            raise Wrong(f"merged, and the backups are {self.shown()}\n{result}")
        self.check_catalog()


class Show(Run):
    name, base, after = "show", "two", "two"

    def args(self):
        return ["show", "-B", self.catalog, "--format=json"]

    def check_success(self, result):
        if set(self.backups().values()) != {"OK"} or len(self.backups()) != 2:
            raise Wrong(f"the backups are {self.backups()}")


COMMANDS = {c.name: c for c in (Init, AddInstance, SetConfig, SetBackup, Show, Backup, Validate, Restore, RestoreInPlace,
                                Merge, Delete, DelInstance)}
LONG = ("merge", "restore-in-place")  # of many operations


# ---- every n -------------------------------------------------------------------------------------

def operations(bench, command, kind):
    """How many operations count in a run that does not fail."""
    run = command(bench, f"{kind}-count")
    result = bench.tool.run(run.args(), run.home, kind, 0)
    check_ended(result)
    if result.code != 0:
        raise Wrong(f"must succeed without a fault:\n{result}")
    shutil.rmtree(run.home)
    return int(result.report["operations"])


def one(bench, command, kind, at):
    """Inject; returns the run, to be finished later."""
    run = command(bench, f"{kind}-{at}")
    try:
        run.inject(kind, at)
    except (Wrong, OSError, ValueError) as error:
        return run, at, error
    return run, at, None


def finish(run, at, error):
    try:
        if error is None:
            run.repeat()
            run.check_leftovers()
    except (Wrong, OSError, ValueError) as wrong:
        error = wrong
    if error is None:
        return None
    first = getattr(run, "first_result", None)
    return f"{run.name}, operation {at} ({first.report.get('first', 'killed') if first else '?'}): {error}\n" \
           f"the run with the fault: {first}"


_bench = None  # of the worker processes, which are forked with it


def work(name, kind, numbers, keep):
    """One worker's share of the numbers: first all faults, then all repetitions."""
    injected = [one(_bench, COMMANDS[name], kind, at) for at in numbers]
    codes = [getattr(getattr(run, "first_result", None), "code", None) for run, _, _ in injected]
    problems = [problem for problem in (finish(*args) for args in injected) if problem]
    if not keep:
        subprocess.run(["rm", "-rf", *(run.home for run, _, _ in injected)], check=True)
    return codes, problems


def every_n(bench, pool, name, kind, only, step, keep):
    total = operations(bench, COMMANDS[name], kind)
    numbers = [only] if only else list(range(1, total + 1, step))
    shares = [numbers[start:start + SHARE] for start in range(0, len(numbers), SHARE)]
    problems, outcomes = [], {}
    for future in [pool.submit(work, name, kind, share, keep) for share in shares]:
        codes, wrong = future.result()
        problems += wrong
        for code in codes:
            outcomes[code] = outcomes.get(code, 0) + 1
    bench.check_untouched()
    return len(numbers), outcomes, problems


# ---- the program ---------------------------------------------------------------------------------

def install(program, plugins, where):
    """Program and plugins where an ordinary user can read them, in a place that may hold programs."""
    where.chmod(0o755)
    binary = where / "gs_probackup"
    shutil.copy(program, binary)
    folder = where / "plugins"
    folder.mkdir()
    for plugin in plugins:
        shutil.copy(plugin, folder)
    return binary, folder


def become_ordinary():
    """A restore refuses root."""
    if os.geteuid() != 0:
        return
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        return


def write_config(path, plugins, data):
    path.write_text(f"""plugin:
  path:
    - {plugins}
server:
  plugin: scripted
  scripted:
    data: {data}
    wal-at-end: on
storage:
  repo: fault
  data: fault
""")
    path.chmod(0o644)


def fast_place():
    """Memory, where there is some: a disk would spend its time syncing."""
    place = "/dev/shm"
    if os.access(place, os.W_OK) and shutil.disk_usage(place).free > 1 << 30:
        return place
    return None


def main():
    options = argparse.ArgumentParser(description="every storage operation of every command fails once")
    options.add_argument("--kinds", default=",".join(KINDS))
    options.add_argument("--commands", default=",".join(COMMANDS), help="'short': all but those of many operations")
    options.add_argument("--at", type=int, help="only this operation")
    options.add_argument("--step", type=int, default=1, help="only every STEP-th operation")
    options.add_argument("--keep", action="store_true", help="leave the directories of the runs for a look")
    options.add_argument("program")
    options.add_argument("plugins", nargs="+")
    given = options.parse_args()
    programs = Path(tempfile.mkdtemp(prefix="gsp-fault-"))
    failed = 0
    try:
        binary, plugins = install(given.program, given.plugins, programs)
        os.umask(0o022)
        shared = Path(tempfile.mkdtemp(prefix="gsp-fault-", dir=fast_place()))
        shared.chmod(0o1777)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                become_ordinary()
                code = run_all(given, binary, plugins, shared / "work")
            except BaseException:  # the child must not go on where the parent would
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        failed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if not given.keep:
            shutil.rmtree(shared, ignore_errors=True)
    finally:
        shutil.rmtree(programs, ignore_errors=True)
    return failed


def run_all(given, binary, plugins, work):
    work.mkdir(mode=0o700)
    cluster.make(work / "data")
    config = work / "site.yaml"
    write_config(config, plugins, work / "data")
    bench = Bench(Tool(binary, config), work)
    commands = [name for name in COMMANDS if name not in LONG] if given.commands == "short" else given.commands.split(",")
    kinds = given.kinds.split(",")
    print(f"1..{len(kinds) * len(commands)}")
    number = failed = runs = 0
    global _bench
    _bench = bench
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(max_workers=os.cpu_count() or 2, mp_context=context) as pool:
        for name in commands:
            for kind in kinds:
                number += 1
                began = time.monotonic()
                total, outcomes, problems = every_n(bench, pool, name, kind, given.at, given.step, given.keep)
                runs += total
                for problem in problems[:5]:
                    print("\n".join("# " + line for line in problem.splitlines()))
                failed += bool(problems)
                print(f"{'not ' if problems else ''}ok {number} - {name} {kind}: {total} operations, "
                      f"exit codes {outcomes}, {len(problems)} wrong, {time.monotonic() - began:.1f} s", flush=True)
    print(f"# {runs} runs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
