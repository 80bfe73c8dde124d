#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every pair of commands on one instance at the same time: the first is stopped half-way, the second runs, the first
goes on. What each of them must say stands in OUTCOMES.

    pairs.py [--only=FIRST,SECOND] PROGRAM PLUGIN...

storage-fault stops the first one at an operation and waits for a FIFO: nothing sleeps. Output is TAP; one test is all
pairs of one first command.
"""
import argparse
import concurrent.futures
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
import cluster  # noqa: E402
import every_n  # noqa: E402
from bench import INSTANCE, LOCKS, Base, Result, Tool, Wrong, check_ended, listing  # noqa: E402

WORKERS = 2 * (os.cpu_count() or 2)
PATIENCE = 30  # seconds, for a process that hangs

# The catalog: a chain F <- D1 <- D2 and, made before it, a FULL backup O that the retention policy lets go.
COMMANDS = ("backup", "restore", "validate", "merge", "delete", "delete-expired", "del-instance", "set-backup", "set-config",
            "show", "show-config", "add-instance")

# first command at a point: operations, part of a path, what it is doing there
POINTS = {
    "backup": ("put_begin", "/database/base/", "copies files, into a new backup that has its lock"),
    "backup, making its directory": ("rename", "/.new-", "is about to give its directory its name"),
    "backup, choosing its parent": ("file_open", "/backup_content.control", "has locked the chain below it"),
    "restore": ("file_open", "/database/base/5/16400", "reads a backup it has locked"),
    "restore, before its locks": ("put_begin", "F/backup.pid", "has chosen a chain and not locked it yet"),
    "validate": ("file_open", "F/database/base/", "reads the oldest backup of the chain"),
    "validate, before a lock": ("put_begin", "D2/backup.pid", "has read the list, and comes to the last backup of the chain"),
    "merge": ("put_begin", "/.merge-", "builds the merged backup"),
    "merge, between its renames": ("rename", "/.merge-", "has put the old backup aside"),
    "delete": ("remove", "D2/database", "removes files of the last backup of the chain"),
    "delete, before its locks": ("put_begin", "D2/backup.pid", "has chosen backups and not locked them yet"),
    "delete-expired": ("remove", "O/database", "removes files of the expired backup"),
    "del-instance": ("remove", "F/database", "removes files of a backup"),
    "set-backup": ("put_begin", "D2/backup.control", "is about to write the control file"),
    "set-backup, before its lock": ("put_begin", "D2/backup.pid", "has found the backup"),
    "set-config": ("put_begin", "/pg_probackup.conf", "is about to write the settings"),
    "show": ("file_open", "D2/backup.control", "reads control files"),
    "show-config": ("file_open", "/pg_probackup.conf", "reads the settings"),
    "add-instance": ("put_begin", "/pg_probackup.conf", "is about to write the first settings"),
}

LOCKED = r"Cannot lock (backup \w+|instance 'main') directory: process \d+ on host '.+' is using it"
CHANGED = r"(deleted|merged|changed|made on top of them).* by another command just now"
GONE = r"Instance 'main' does not exist|cannot open file '.*/pg_probackup.conf'"
DELETED = r"Failed to find backup|Requested backup \w+ is not found|there is no backup"
EXISTS = r"Instance 'main' (backup|WAL archive) directory already exists"
NO_PARENT = r"Create new full backup before an incremental one|Cannot lock backup"
SKIPPED, BAD = "skipped", "bad"  # exit 0 and a warning that says so; exit 1 and a verdict

# What the second says while the first is where it is; "ok": exit 0. add-instance adds the instance that is there already,
# but for the pairs with add-instance as the first one.
OK = dict.fromkeys(COMMANDS, "ok") | {"add-instance": EXISTS}
OUTCOMES = {
    "backup": OK | {"del-instance": LOCKED, "merge": LOCKED, "delete": LOCKED},
    "backup, making its directory": OK | {"backup": LOCKED, "del-instance": LOCKED, "set-config": LOCKED, "merge": LOCKED,
                                          "delete": LOCKED},
    "backup, choosing its parent": OK | {"merge": LOCKED, "delete": LOCKED, "del-instance": LOCKED},
    "restore": OK | {"merge": LOCKED, "delete": LOCKED, "del-instance": LOCKED},
    "restore, before its locks": OK,
    "validate": OK | {"merge": LOCKED, "del-instance": LOCKED},
    "validate, before a lock": OK,
    "merge": OK | {"backup": LOCKED, "restore": LOCKED, "validate": SKIPPED, "merge": LOCKED, "delete": LOCKED,
                   "del-instance": LOCKED, "set-backup": LOCKED},
    "merge, between its renames": OK | {"backup": LOCKED, "restore": LOCKED, "validate": SKIPPED, "merge": LOCKED,
                                        "delete": LOCKED, "del-instance": LOCKED, "set-backup": LOCKED},
    "delete": OK | {"restore": r"Backup \w+ has status: DELETING", "merge": r"status: DELETING|DELETING", "delete": LOCKED,
                    "del-instance": LOCKED, "set-backup": LOCKED, "validate": BAD},
    "delete, before its locks": OK,
    "delete-expired": OK | {"del-instance": LOCKED, "validate": BAD},
    "del-instance": OK | {"backup": LOCKED, "restore": DELETED, "merge": DELETED, "delete": DELETED, "del-instance": LOCKED, "set-backup": DELETED, "set-config": LOCKED, "validate": BAD},
    "set-backup": OK | {"delete": LOCKED, "del-instance": LOCKED, "restore": LOCKED, "merge": LOCKED, "backup": LOCKED,
                        "validate": SKIPPED, "set-backup": LOCKED},
    "set-backup, before its lock": OK,
    "set-config": OK | {"backup": LOCKED, "del-instance": LOCKED, "set-config": LOCKED},
    "show": OK,
    "show-config": OK,
    "add-instance": dict.fromkeys(COMMANDS, GONE) | {"add-instance": LOCKED, "show": "ok", "del-instance": LOCKED},
}
# The first one ends well, but for these pairs.
FIRST_FAILS = {
    ("restore, before its locks", "merge"): CHANGED,
    ("restore, before its locks", "delete"): CHANGED,
    ("restore, before its locks", "del-instance"): CHANGED,
    ("delete, before its locks", "merge"): CHANGED,
    ("delete, before its locks", "delete"): CHANGED,
    ("delete, before its locks", "del-instance"): CHANGED,
    ("delete, before its locks", "backup"): CHANGED,
    ("validate, before a lock", "merge"): SKIPPED,
    ("validate, before a lock", "delete"): SKIPPED,
    ("validate, before a lock", "del-instance"): SKIPPED,
    ("set-backup, before its lock", "delete"): DELETED,
    ("set-backup, before its lock", "del-instance"): DELETED,
    ("show-config", "del-instance"): GONE,
}


class Bench:
    def __init__(self, tool, work):
        self.tool, self.work = tool, work
        self.catalog = work / "catalog"
        self.home = work / "home"
        self.home.mkdir()
        tool.good(["init", "-B", self.catalog], self.home)
        tool.good(["add-instance", *self.where(self.catalog), "-D", work / "data"], self.home)
        self.ids = {}
        for name, mode in (("O", "FULL"), ("F", "FULL"), ("D1", "DELTA"), ("D2", "DELTA")):
            if name.startswith("D"):
                cluster.change(work / "data", int(name[1]) - 1)
            self.ids[name] = self.backup(mode)
        self.base = Base(self.catalog)
        self.numbers = iter(range(10**6))
        self.lock = threading.Lock()

    def where(self, catalog):
        return ["-B", catalog, f"--instance={INSTANCE}"]

    def backup(self, mode):
        self.tool.good(["backup", *self.where(self.catalog), "-b", mode], self.home)
        return max(path.name for path in (self.catalog / "backups" / INSTANCE).iterdir() if path.is_dir())

    def args(self, command, catalog, home):
        where = self.where(catalog)
        return {
            "backup": ["backup", *where, "-b", "DELTA"],
            "restore": ["restore", *where, "-i", self.ids["D2"], "-D", home / f"restored-{threading.get_ident()}",
                        "-T", f"{self.work / 'data-space'}={home / 'space'}", "--no-sync"],
            "validate": ["validate", *where],
            "merge": ["merge", *where, "-i", self.ids["D2"]],
            "delete": ["delete", *where, "-i", self.ids["D2"]],
            "delete-expired": ["delete", *where, "--delete-expired", "--retention-redundancy=1"],
            "del-instance": ["del-instance", *where],
            "set-backup": ["set-backup", *where, "-i", self.ids["D2"], "--note=noted"],
            "set-config": ["set-config", *where, "--retention-window=7"],
            "show": ["show", "-B", catalog, "--format=json"],
            "show-config": ["show-config", *where],
            "add-instance": ["add-instance", *where, "-D", self.work / "data"],
        }[command]


class Paused:
    """A command that is stopped at its point; it goes on when told so."""

    def __init__(self, bench, point, command, catalog, home):
        ops, path, _ = POINTS[point]
        for name, backup_id in bench.ids.items():
            path = re.sub(rf"^{name}/", f"/{backup_id}/", path)
        self.fifo = home / "pause"
        for suffix in (".reached", ".go"):
            os.mkfifo(f"{self.fifo}{suffix}")
        settings = {"what": "pause", "at": 1, "ops": ops, "path": path, "pause": self.fifo}
        argv = [bench.tool.binary, *bench.args(command, catalog, home), f"--config={bench.tool.config}"]
        for key, value in settings.items():
            argv += ["--set", f"storage.fault.{key}={value}"]
        reached = os.open(f"{self.fifo}.reached", os.O_RDONLY | os.O_NONBLOCK)
        self.argv = argv
        self.process = subprocess.Popen(argv, env=bench.tool.env, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="replace")
        ended = os.pidfd_open(self.process.pid)
        try:
            ready, _, _ = select.select([reached, ended], [], [], PATIENCE)
            if reached not in ready:
                self.process.kill()
                raise Wrong(f"'{point}' never came to {ops} of '{path}': {self.process.communicate()}")
        finally:
            os.close(reached)
            os.close(ended)

    def go_on(self):
        # Who waits at the other end is there already, or comes: it has said that it is here.
        os.close(os.open(f"{self.fifo}.go", os.O_WRONLY))
        out, err = self.process.communicate(timeout=PATIENCE)
        done = subprocess.CompletedProcess(self.argv, self.process.returncode, out, err)
        return check_ended(Result(self.argv, done, {}))


def check_outcome(which, result, expected):
    good = result.code == 0
    if expected == "ok":
        wrong = not good
    elif expected == SKIPPED:
        wrong = not good or "they were skipped" not in result.err
    elif expected == BAD:
        wrong = good or "Some backups are not valid" not in result.err
    else:
        wrong = good or not any(re.search(expected, line) for line in result.lines("ERROR"))
    if wrong:
        raise Wrong(f"the {which} command must end with {expected!r}:\n{result}")


def statuses(bench, catalog, home):
    shown = json.loads(bench.tool.good(["show", "-B", catalog, "--format=json"], home).out)
    return {b["id"]: b["status"] for i in shown["backup_info"] for b in i["backups"]}


def check_afterwards(bench, first, second, catalog, home, codes):
    """Whatever is left is whole: all that says OK is, no lock stays behind, and nothing that was done is lost."""
    instance = catalog / "backups" / INSTANCE
    left = [name for name in listing(catalog)
            if os.path.basename(name) in LOCKS or os.path.basename(name).startswith((".new-", ".merge"))]
    if left:
        raise Wrong(f"left behind: {left}")
    if not instance.exists():
        if "del-instance" not in (first, second):
            raise Wrong("the instance is gone")
        return
    bad = {i: s for i, s in statuses(bench, catalog, home).items() if s != "OK"}
    if bad:
        raise Wrong(f"not OK: {bad}")
    bench.tool.good(["validate", *bench.where(catalog)], home)
    done = {name for name, code in zip((first, second), codes) if code == 0}
    settings = (instance / "pg_probackup.conf").read_text()
    if ("set-config" in done) != ("retention-window = 7" in settings):
        raise Wrong(f"{done} succeeded, and the settings are\n{settings}")
    control = instance / bench.ids["D2"] / "backup.control"
    if "set-backup" in done and control.exists() and not re.search("^note = .?noted", control.read_text(), re.MULTILINE):
        raise Wrong("the note was lost")
    if "delete" in done and control.exists():
        raise Wrong("deleted, and still there")
    if "merge" in done and control.exists() and "backup-mode = FULL" not in control.read_text():
        raise Wrong("merged, and not FULL")


def one_pair(bench, point, second):
    first = point.split(",")[0]
    with bench.lock:
        home = bench.work / f"pair-{next(bench.numbers)}"
    home.mkdir()
    catalog = home / "catalog"
    if first == "add-instance":
        bench.tool.good(["init", "-B", catalog], home)
    else:
        bench.base.copy(catalog)
    paused = Paused(bench, point, first, catalog, home)
    try:
        other = home / "other"
        other.mkdir()
        result = check_ended(bench.tool.run(bench.args(second, catalog, other), other))
    except BaseException:
        paused.process.kill()
        paused.process.communicate()
        raise
    first_result = paused.go_on()
    try:
        check_outcome("second", result, OUTCOMES[point][second])
        check_outcome("first", first_result, FIRST_FAILS.get((point, second), "ok"))
        check_afterwards(bench, first, second, catalog, home, (first_result.code, result.code))
    except Wrong as wrong:
        raise Wrong(f"{wrong}\n--- the first command:\n{first_result}\n--- the second command:\n{result}") from None
    shutil.rmtree(home)


def run_all(given, binary, plugins, work):
    work.mkdir(mode=0o700)
    cluster.make(work / "data")
    config = work / "site.yaml"
    every_n.write_config(config, plugins, work / "data")
    bench = Bench(Tool(binary, config), work)
    pairs = [(point, second) for point in POINTS for second in COMMANDS]
    if given.only:
        pairs = [pair for pair in pairs if pair == tuple(given.only.rsplit(",", 1))]
    print(f"1..{len({point for point, _ in pairs})}")
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(max_workers=WORKERS) as pool:
        tried = [(point, second, pool.submit(one_pair, bench, point, second)) for point, second in pairs]
    failed = 0
    for number, point in enumerate(dict.fromkeys(point for point, _ in pairs), 1):
        problems = [(second, future.exception()) for p, second, future in tried if p == point and future.exception()]
        for second, problem in problems:
            text = str(problem) if isinstance(problem, Wrong) else "".join(traceback.format_exception(problem))
            print("\n".join(f"# {line}" for line in [f"{point} + {second}:", *text.splitlines()]))
        failed += bool(problems)
        print(f"{'not ' if problems else ''}ok {number} - {point} {POINTS[point][2]}: {len(problems)} wrong", flush=True)
    print(f"# {len(pairs)} pairs, {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


def main():
    options = argparse.ArgumentParser(description="every pair of commands at the same time")
    options.add_argument("--only", help="one pair: FIRST,SECOND")
    options.add_argument("program")
    options.add_argument("plugins", nargs="+")
    given = options.parse_args()
    return every_n.in_a_place(given, run_all)


if __name__ == "__main__":
    sys.exit(main())
