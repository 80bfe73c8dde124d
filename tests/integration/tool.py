# SPDX-License-Identifier: Apache-2.0
"""The program under test and a catalog of its own."""
import json
import os
import subprocess
import time
from pathlib import Path

import strict_reader
from processes import copy_tree, popen, run, snapshot, wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("GSP_BIN", REPOSITORY / "build" / "gs_probackup"))
INSTANCE = "main"
# Of a cluster that is big enough: a backup that can be met half-way.
SLOW = ["-j", "1", "--compress-algorithm=zlib", "--compress-level=9"]


class Result:
    def __init__(self, args, code, out, err, seconds):
        self.args, self.code, self.out, self.err, self.seconds = args, code, out, err, seconds

    def lines(self, level):
        return [line[len(level) + 2:] for line in self.err.splitlines() if line.startswith(level + ": ")]

    @property
    def errors(self):
        return self.lines("ERROR")

    @property
    def warnings(self):
        return self.lines("WARNING")

    @property
    def hints(self):
        return self.lines("HINT")

    def __repr__(self):
        return f"{' '.join(map(str, self.args))}\nexit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


def gsp(*args, timeout=120, codes=(0, 1), **kwargs):
    """Run the tool; whatever it does is a Result."""
    began = time.monotonic()
    done = run([BINARY, *args], timeout=timeout, check=False, **kwargs)
    result = Result(args, done.returncode, done.stdout, done.stderr, time.monotonic() - began)
    # A crash, or a sanitizer's report, is never the expected failure.
    assert done.returncode in codes, result
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, result
    return result


_started = []


def start(*args):
    """The tool, running on; a failing test's process is ended by end_started."""
    process = popen([BINARY, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _started.append(process)
    return process


def end_started():
    for process in _started:
        if process.poll() is None:
            process.kill()
            process.communicate()
    _started.clear()


def gsp_ok(*args, **kwargs):
    result = gsp(*args, **kwargs)
    assert result.code == 0, result
    assert not result.errors, result
    return result


def gsp_fails(*args, message, hint=None, unchanged=(), **kwargs):
    """One clear error, exit 1, nothing on stdout, and the given trees as they were.
    message and hint are parts of the text, in any case."""
    before = [snapshot(tree) for tree in unchanged]
    result = gsp(*args, **kwargs)
    assert result.code == 1, result
    assert len(result.errors) == 1, result
    assert message.lower() in result.errors[0].lower(), result
    assert result.out == "", result
    if hint is not None:
        assert len(result.hints) == 1 and hint.lower() in result.hints[0].lower(), result
    for tree, old in zip(unchanged, before):
        assert snapshot(tree) == old, f"{tree} was changed\n{result}"
    return result


def failed_in_time(process, began, limit):
    """A started tool ends with one clear error; returns what it wrote. limit: seconds since began."""
    out, err = process.communicate(timeout=60)
    result = Result(process.args[1:], process.returncode, out, err, time.monotonic() - began)
    assert result.code == 1 and result.out == "", result
    assert len(result.errors) == 1, result
    assert result.seconds < limit, f"returned after {result.seconds:.1f} s\n{result}"
    return result


def check_written(backup_dir, quick=True):
    """The strict reader has nothing to say; quick leaves out the CRCs of contents, which take it seconds."""
    problems = strict_reader.check_backup(backup_dir, quick=quick)
    assert problems == [], problems[:20]


class Catalog:
    """A catalog with one instance over one cluster."""

    def __init__(self, path, cluster=None, instance=INSTANCE):
        self.path = Path(path)
        self.cluster = cluster
        self.instance = instance

    @classmethod
    def create(cls, path, cluster):
        catalog = cls(path, cluster)
        gsp_ok("init", "-B", catalog.path)
        gsp_ok("add-instance", *catalog.where, "-D", cluster.data)
        return catalog

    def copy(self, path):
        """The same catalog elsewhere, to be spoilt."""
        twin = Catalog(copy_tree(self.path, path), self.cluster, self.instance)
        twin.id = getattr(self, "id", None)
        return twin

    @property
    def where(self):
        return ["-B", self.path, f"--instance={self.instance}"]

    def backup_args(self, *args, through=None, mode="FULL"):
        """through: a proxy instead of the cluster itself."""
        options = (through or self.cluster).connection_options
        return ["backup", *self.where, "-b", mode, "--no-sync", *options, *args]

    def backup(self, *args, mode="FULL", through=None, check=True, **kwargs):
        """A backup that must succeed; returns its ID. Everything it wrote passes the strict reader, which takes a second
        or two (check)."""
        known = set(self.backups())
        gsp_ok(*self.backup_args(*args, through=through, mode=mode), **kwargs)
        (made,) = set(self.backups()) - known
        if check:
            check_written(self.dir(made))
        # It is what was asked for: no other mode stands in for it.
        assert strict_reader.read_control(self.dir(made) / "backup.control")["backup-mode"] == mode
        return made

    def start_backup(self, *args, **kwargs):
        return start(*self.backup_args(*args, **kwargs))

    @property
    def running(self):
        """The directory of the newest backup, None before there is one."""
        return max((path for path in self.config_file.parent.iterdir() if path.is_dir()), default=None)

    def _is_copying(self, known):
        """Has the running backup stored a page of a table yet? known: the newest before it."""
        return self.running != known and any(
            p.stat().st_size > 0 for p in (self.running / "database" / "base").glob("*/*") if p.is_file())

    def start_copying(self, *args, **kwargs):
        """A slow backup that has begun to copy files."""
        known = self.running
        process = self.start_backup(*SLOW, *args, **kwargs)
        wait_until(lambda: self._is_copying(known) or process.poll() is not None, "the copy to begin")
        assert process.poll() is None, process.communicate()
        return process

    def restore(self, data, *args, **kwargs):
        return gsp_ok("restore", *self.where, "-D", data, "--no-sync", *args, **kwargs)

    def validate(self, *args):
        return gsp("validate", *self.where, *args)

    def show(self):
        """The backup objects of `show --format=json`, newest first."""
        listing = json.loads(gsp_ok("show", *self.where, "--format=json").out)
        (instance,) = listing["backup_info"]
        assert instance["instance"] == self.instance
        return instance["backups"]

    def backups(self):
        return {backup["id"]: backup for backup in self.show()}

    def status(self, backup_id):
        return self.backups()[backup_id]["status"]

    def dir(self, backup_id):
        return self.path / "backups" / self.instance / backup_id

    @property
    def config_file(self):
        return self.path / "backups" / self.instance / "pg_probackup.conf"

    def file_list(self, backup_id):
        """path -> the attributes backup_content.control keeps of it."""
        lines = (self.dir(backup_id) / "backup_content.control").read_text().splitlines()
        return {entry["path"]: entry for entry in map(json.loads, lines)}

    def stored_headers(self, backup_id):
        """path -> (LSN, block, position, checksum) of each page that the backup stored, for files with any."""
        folder = self.dir(backup_id)
        entries = [e for e in strict_reader.read_filelist(folder / "backup_content.control", None) if e["n_headers"]]
        page_map = (folder / "page_header_map").read_bytes() if entries else b""
        return {entry["path"]: strict_reader.read_headers(page_map, entry, True)[:-1] for entry in entries}

    def stored_blocks(self, backup_id):
        """path -> the numbers of the blocks that the backup stored, for files with any."""
        return {path: [block for _, block, _, _ in headers] for path, headers in self.stored_headers(backup_id).items()}

    def stored_pages(self, backup_id):
        return sum(int(entry.get("n_headers", 0)) for entry in self.file_list(backup_id).values())
