# SPDX-License-Identifier: Apache-2.0
"""One class for each command: what it is run on, and what must hold after a failure and after a success."""
import json
import os
import re
import shutil

import cluster
import strict_reader
from bench import INSTANCE, LOCKS, TEMPORARY, Wrong, check_ended, differences, digest, listing


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
            if any(os.path.basename(name).startswith("instance.") for name in listing(self.catalog)):
                self.bench.tool.good(["set-config", *self.bench.where(self.catalog)], self.home)
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
        self.target, self.space, self.external = (self.home / name for name in ("restored", "space", "external"))

    def args(self):
        return ["restore", *self.bench.where(self.catalog), "-D", self.target, "-T", f"{self.bench.space}={self.space}",
                f"--external-mapping={self.bench.external}={self.external}"]

    def restored(self):
        found = self.bench.whole(self.target, self.external, ignore=("backup_label",))
        # Once the cluster is complete, the list of places means nothing.
        return {name: value for name, value in found.items()
                if not name.startswith(("pg_wal/", "gs_probackup.unfinished_restore.external"))}

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
        shutil.copytree(bench.external, self.external)
        (self.external / "in" / "script").write_bytes(b"#!/bin/zsh")
        (self.external / "other").mkdir()
        (self.target / "pg_tblspc" / str(cluster.TABLESPACE)).symlink_to(self.space)
        (self.other / cluster.VERSION_DIR / "5").mkdir(parents=True)
        (self.other / "theirs").mkdir()
        (self.target / "pg_tblspc" / "16600").symlink_to(self.other)
        self.old = self.without_marks(bench.whole(self.target, self.external))

    def args(self):
        return [*super().args(), "-I", "checksum"]

    @staticmethod
    def without_marks(found):
        return {name: value for name, value in found.items() if not name.startswith("gs_probackup.unfinished_restore")}

    def check_target(self):
        found = self.restored()
        found.pop(self.ASIDE, None)
        wrong = differences(found, self.bench.restored)
        if wrong and self.without_marks(self.bench.whole(self.target, self.external)) != self.old:
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
        target, space, external = (self.home / name for name in ("restored", "space", "external"))
        self.bench.tool.good(["restore", *self.bench.where(self.catalog), "-i", self.bench.members[-1], "-D", target, "-T",
                              f"{self.bench.space}={space}", f"--external-mapping={self.bench.external}={external}",
                              "--no-sync"], self.home)
        found = {name: value for name, value in self.bench.whole(target, external, ignore=("backup_label",)).items()
                 if not name.startswith("pg_wal/")}
        wrong = differences(found, self.bench.changed_cluster)
        for tree in (target, space, external):
            shutil.rmtree(tree)
        if wrong:
            raise Wrong(f"what is restored of the last backup is not the cluster it was taken of: {wrong}")

    def is_done(self):
        return self._merged() is not None and not list((self.catalog / "backups" / INSTANCE).glob(".merge*"))

    def check_success(self, result):
        if self.shown() != {self.bench.members[-1]: "OK"}:
            raise Wrong(f"merged, and the backups are {self.shown()}\n{result}")
        self.check_catalog()


class Retention(Merge):
    """A FULL backup that expires, and a chain whose last member alone does not."""
    name, base = "retention", "aged"

    def args(self):
        return ["delete", *self.bench.where(self.catalog), "--delete-expired", "--merge-expired", "--retention-window=2"]

    def is_done(self):
        return super().is_done() and self.bench.first not in self.backups()

    def check_success(self, result):
        first = self.bench.first
        if self.shown().get(first) == "UNKNOWN" and not any(self.bench.backup_dir(self.catalog, first).iterdir()):
            # Its control file, which told how old it was, is gone, and the name of its directory is of today.
            self.bench.tool.good(["delete", *self.bench.where(self.catalog), "-i", first], self.home)
        super().check_success(result)


class Show(Run):
    name, base, after = "show", "two", "two"

    def args(self):
        return ["show", "-B", self.catalog, "--format=json"]

    def check_success(self, result):
        if set(self.backups().values()) != {"OK"} or len(self.backups()) != 2:
            raise Wrong(f"the backups are {self.backups()}")


COMMANDS = {c.name: c for c in (Init, AddInstance, SetConfig, SetBackup, Show, Backup, Validate, Restore, RestoreInPlace,
                                Merge, Retention, Delete, DelInstance)}
LONG = ("merge", "retention", "restore-in-place")  # of many operations
