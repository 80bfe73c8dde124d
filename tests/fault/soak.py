#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults on a real cluster under load: a random storage operation of a backup, validation, restore or deletion fails or
the process is killed there, until the time is over.

    soak.py [--minutes=20] [--seed=N] FOLDER_OF_DOUBLES

GSP_BIN names the program. The first line tells the seed; the same seed chooses the same faults. After each fault: the
catalog can be read, every backup that is OK is valid, the same command run again succeeds, and what was restored starts
and holds what it must.
"""
import argparse
import os
import random
import shutil
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
import tool  # noqa: E402
from postgres import Cluster, Version, restored  # noqa: E402
from processes import make_dir, remove_tree, run, work_dir  # noqa: E402

KINDS = ("eio", "kill", "enospc", "short-read", "short-write")


class Soak:
    def __init__(self, work, doubles, rng):
        self.work, self.rng = work, rng
        plugins = make_dir(work / "plugins", 0o755)
        for name in ("storage-fault.so",):
            shutil.copy(Path(doubles) / name, plugins)
        self.config = work / "site.yaml"
        self.config.write_text(f"plugin:\n  path:\n    - {plugins}\nstorage:\n  repo: fault\n  data: fault\n")
        self.config.chmod(0o644)
        self.version = Version(15, "/usr/lib/postgresql/15/bin", make_dir(work / "templates"))
        self.source = Cluster.create(self.version, work / "pg")
        self.source.pgbench_init(3)
        self.source.tablespace("fast")
        self.source.sql("CREATE TABLE there (i int) TABLESPACE fast")
        self.source.sql("INSERT INTO there SELECT generate_series(1, 20000)")
        self.catalog = tool.Catalog.create(work / "catalog", self.source)
        self.operations = {}
        self.restores = 0

    def command(self, name):
        """Its arguments; deletion and restore are of the newest backup."""
        if name == "backup":
            return [*self.catalog.backup_args("-j", self.rng.choice("12"), "--compress-algorithm=zlib")]
        if name == "validate":
            return ["validate", *self.catalog.where, "-j", "2"]
        if name == "delete":
            return ["delete", *self.catalog.where, "-i", max(self.catalog.backups())]
        self.restores += 1
        self.target = self.work / f"restored{self.restores}"
        return ["restore", *self.catalog.where, "-D", self.target, "--no-sync", "-j", "2", "-T",
                f"{self.source.home / 'fast'}={self.target}-fast"]

    def run(self, args, **fault):
        report = self.work / "home" / "report"
        if not report.parent.exists():
            make_dir(report.parent)
        report.unlink(missing_ok=True)
        settings = [part for key, value in {"report": report, **fault}.items()
                    for part in ("--set", f"storage.fault.{key.replace('_', '-')}={value}")]
        done = run([tool.BINARY, *args, f"--config={self.config}", *settings], timeout=300, check=False)
        result = tool.Result(args, done.returncode, done.stdout, done.stderr, 0)
        found = dict(line.split(" ", 1) for line in report.read_text().splitlines()) if report.exists() else {}
        for key in ("stores", "files", "puts", "descriptors", "threads", "children"):
            assert found.get(key, "0") == "0", f"{key} left open: {found}\n{result}"
        return result, found

    def check_restored(self):
        server = restored(self.version, self.target, self.work / f"server{self.restores}")
        server.start()
        server.check_pgbench_balances()
        assert server.sql("SELECT count(*), sum(i) FROM there") == [(20000, 200010000)]
        server.check_tables_and_indexes()
        server.stop()
        server.check_page_checksums()

    def check_catalog(self):
        valid = {i for i, b in self.catalog.backups().items() if b["status"] in ("OK", "DONE")}
        if valid:
            self.catalog.validate()
            still = {i for i, b in self.catalog.backups().items() if b["status"] == "OK"}
            assert valid <= still, f"OK and not valid: {valid - still}"

    def count(self, name, kind):
        """How many operations of the command this kind of fault can strike, more or less: the cluster lives."""
        if (name, kind) not in self.operations:
            result, report = self.run(self.command(name), what=kind)
            assert result.code == 0, result
            self.operations[name, kind] = int(report["operations"])
            self.clear()
        return self.operations[name, kind]

    def clear(self):
        """At most two backups, nothing restored."""
        for path in self.work.glob("restored*"):
            remove_tree(path)
        for path in self.work.glob("server*"):
            remove_tree(path)
        for backup_id, backup in sorted(self.catalog.backups().items()):
            if backup["status"] != "OK" or len(self.catalog.backups()) > 2:
                tool.gsp_ok("delete", *self.catalog.where, "-i", backup_id)
        while len(self.catalog.backups()) < 2:
            self.catalog.backup()

    def once(self):
        name = self.rng.choice(("backup", "validate", "restore", "delete"))
        kind = self.rng.choice(KINDS)
        total = self.count(name, kind)
        at = self.rng.randint(1, total)
        when, times = self.rng.choice(("before", "after")), self.rng.choice((1, 1, 0))
        print(f"{name}: {kind} {when} operation {at} of {total}{', for ever' if times == 0 else ''}", end="", flush=True)
        args = self.command(name)
        result, _ = self.run(args, what=kind, when=when, at=at, times=times)
        print(f": exit {result.code}", flush=True)
        assert result.code in ((0, 1, -9) if kind == "kill" else (0, 1)), result
        assert len(result.errors) == (result.code == 1) or name == "validate", result
        started = name == "restore" and (self.target / "global" / "pg_control").exists()
        self.check_catalog()
        if result.code != 0 and not started and not (name == "delete" and args[-1] not in self.catalog.backups()):
            again, _ = self.run(args)
            # The backup that failed stays, and is not valid.
            assert again.code == 0 or name == "validate", again
        if name == "restore":
            self.check_restored()
        self.clear()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=20)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("doubles")
    given = options.parse_args()
    seed = given.seed if given.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}", flush=True)
    deadline = time.monotonic() + 60 * given.minutes
    work, faults = work_dir(), 0
    work.chmod(0o755)
    soak = None
    try:
        soak = Soak(work, given.doubles, random.Random(seed))
        with soak.source.load():
            soak.clear()
            while time.monotonic() < deadline:
                soak.once()
                faults += 1
    finally:
        if soak is not None:
            soak.source.stop("immediate")
        run(["chmod", "-R", "u+rwX", work], check=False)
        remove_tree(work)
    print(f"{faults} faults, all as it must be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
