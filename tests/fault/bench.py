# SPDX-License-Identifier: Apache-2.0
"""What a fault is tried on: the tool with a storage that fails, trees to compare, and catalogs to begin from."""
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess

import cluster
import strict_reader

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


LOCKS = ("backup.pid", "backup_ro.pid", "backup.owner", "backup.takeover", "instance.pid", "instance.owner",
         "instance.takeover")
TEMPORARY = re.compile(r".*-\d+-\d+\.tmp$")


# ---- what all runs share ---------------------------------------------------------------------------

class Bench:
    """What all runs share: the cluster, and catalogs to begin from."""

    def __init__(self, tool, work):
        self.tool, self.work = tool, work
        self.data = work / "data"
        self.space, self.external = work / "data-space", work / "data-external"
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
        self._make_aged()
        self._make_diverged()
        self.cluster_digest = self.whole(self.data, self.external)
        # A restore brings back neither what is in pg_wal nor a table that is emptied at every start.
        self.restored = {name: value for name, value in self.cluster_digest.items()
                         if not name.startswith("pg_wal/") and name != cluster.UNLOGGED}
        self.bases = {name: Base(getattr(self, name)) for name in ("empty", "instance", "one", "two", "chain", "merged", "aged")}

    def _make_chain(self, home):
        """A FULL backup and two incremental ones, and the same merged by a run that nothing disturbs."""
        self.chain, self.merged = self.work / "chain", self.work / "merged"
        shutil.copytree(self.instance, self.chain)
        self.members = [self._backup(self.chain, home)]
        for step in range(len(cluster.CHANGES)):
            cluster.change(self.data, step)
            self.members.append(self._backup(self.chain, home, "DELTA"))
        self.changed_cluster = {name: value for name, value in self.whole(self.data, self.external).items()
                                if not name.startswith("pg_wal/") and name != cluster.UNLOGGED}
        shutil.copytree(self.chain, self.merged)
        self.tool.good(["merge", *self.where(self.merged), "-i", self.members[-1]], home)
        self.golden_merge = self.merged_content(self.backup_dir(self.merged, self.members[-1]))
        for tree in (self.data, self.space, self.external):
            shutil.rmtree(tree)
        cluster.make(self.data)

    def _make_aged(self):
        """The chain and an older FULL backup; only the last one is in any window."""
        self.aged = self.work / "aged"
        shutil.copytree(self.chain, self.aged)
        shutil.copytree(self.backup_dir(self.one, self.first), self.backup_dir(self.aged, self.first))
        for backup_id, year in zip((self.first, *self.members), (2020, 2020, 2020, 2100)):
            control = self.backup_dir(self.aged, backup_id) / "backup.control"
            control.write_text(re.sub("(?m)^recovery-time = .*$", f"recovery-time = '{year}-01-01 00:00:00+00'",
                                      control.read_text()))

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
        return ["backup", *self.where(catalog), "-b", mode, "--compress-algorithm=zlib", "--compress-level=2",
                "-E", self.external]

    @staticmethod
    def whole(data, external, ignore=()):
        """digest of a cluster and of its external directory."""
        found = digest(data, ignore)
        found.update((f"external/{name}", what) for name, what in digest(external).items())
        return found

    @staticmethod
    def content(directory):
        """Files and their lines in the list, without what the label's time changes."""
        found = Bench.whole(directory / "database", directory / "external_directories", ignore=("backup_label",))
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
        if self.whole(self.data, self.external) != self.cluster_digest:
            raise Wrong("the cluster was changed")
