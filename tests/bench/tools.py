# SPDX-License-Identifier: Apache-2.0
"""The jobs: what each tool is started with, and what its result holds."""
import json
from pathlib import Path

from processes import make_dir, run
from sandbox import JobFailed, tree_bytes

FRAME = 8  # bytes before each stored page


class Probackup:
    """A catalog of its own for each backup, or each chain of them."""

    tool = "gs_probackup"

    def __init__(self, sandbox, cluster, compress, folder, mode="FULL"):
        self.sandbox, self.cluster, self.compress, self.mode = sandbox, cluster, compress, mode
        self.catalog = folder / f"gs-{compress}"
        self.where = ["-B", self.catalog, "--instance=main"]
        self.threads = ["-j", sandbox.options.threads]

    def prepare(self):
        self.run("init", "-B", self.catalog)
        self.run("add-instance", *self.where, "-D", self.cluster.data)

    def run(self, *argv):
        done = run([self.sandbox.tool, *argv], check=False)
        if done.returncode != 0:
            raise JobFailed(f"gs_probackup {' '.join(map(str, argv))}\n{done.stderr}")

    def backup(self):
        return [self.sandbox.tool, "backup", *self.where, "-b", self.mode, "--stream", "--no-validate", *self.threads,
                f"--compress-algorithm={self.compress}", "--compress-level=1", *self.cluster.connection_options]

    def restore(self, target, *more):
        return [self.sandbox.tool, "restore", *self.where, "-D", target, *self.threads, *more]

    def validate(self):
        return [self.sandbox.tool, "validate", *self.where, *self.threads]

    def merge(self):
        return [self.sandbox.tool, "merge", *self.where, "-i", self.folder.name, *self.threads, "--no-validate"]

    @property
    def folder(self):
        """Of the newest backup."""
        return max((self.catalog / "backups" / "main").glob("*/backup.control")).parent

    @property
    def database(self):
        return self.folder / "database"

    @property
    def wal(self):
        return self.database / "pg_wal"

    def result(self):
        return self.folder

    def entries(self):
        """The lines of the file list, with numbers where the bench wants them."""
        entries = [json.loads(line) for line in (self.folder / "backup_content.control").read_text().splitlines()]
        for entry in entries:
            for key in ("size", "is_datafile", "n_headers", "segno"):
                entry[key] = int(entry.get(key, 0))
        return entries

    def pages(self):
        return sum(e["n_headers"] for e in self.entries())

    def payload(self):
        """Bytes of the stored pages without their frames."""
        return sum(e["size"] - FRAME * e["n_headers"] for e in self.entries() if e["is_datafile"])


class Basebackup:
    tool = "pg_basebackup"

    def __init__(self, sandbox, cluster, compress, folder):
        self.target = folder / f"basebackup-{compress}"
        form = ["-Fp"] if compress == "none" else ["-Ft", "--compress=client-gzip:1"]
        self.argv = ["/usr/lib/postgresql/15/bin/pg_basebackup", "-D", self.target, *form, "-X", "stream", "-c", "fast",
                     "-h", cluster.socket_dir, "-p", "5432", "-U", cluster.superuser]
        self.wal = self.target / "pg_wal"

    def prepare(self):
        pass

    def backup(self):
        return self.argv

    def result(self):
        (self.target / "pg_wal.tar.gz").unlink(missing_ok=True)  # of the tar format; no part of the size
        return self.target


class Pgbackrest:
    tool = "pgBackRest"
    wal = Path("/nonexistent")  # it leaves WAL to the archive

    def __init__(self, sandbox, cluster, compress, folder, bundle=False, block=False):
        self.type = "full"
        self.repo = folder / f"pgbackrest-{compress}{'-bundle' if bundle else ''}{'-block' if block else ''}"
        self.config = self.repo.with_suffix(".conf")
        self.text = f"""[global]
repo1-path={self.repo}
repo1-bundle={'y' if bundle else 'n'}
{'repo1-block=y' if block else ''}
repo1-retention-full=1
lock-path={self.repo}/lock
log-path={self.repo}/log
spool-path={self.repo}/spool
log-level-file=off
archive-check=n
archive-mode-check=n
start-fast=y
process-max={sandbox.options.threads}
compress-type={compress}
{'' if compress == 'none' else 'compress-level=1'}
[main]
pg1-path={cluster.data}
pg1-socket-path={cluster.socket_dir}
pg1-port=5432
pg1-user={cluster.superuser}
"""
        self.base = [sandbox.pgbackrest, f"--config={self.config}", "--stanza=main"]

    def prepare(self):
        make_dir(self.repo)
        self.config.write_text(self.text)
        run([*self.base, "stanza-create"])

    def backup(self):
        return [*self.base, "backup", f"--type={self.type}"]

    def restore(self, target):
        return [*self.base, "restore", f"--pg1-path={target}"]

    def result(self):
        return max(path for path in (self.repo / "backup" / "main").iterdir()
                   if (path / "backup.manifest").exists() and not path.is_symlink())


class Copy:
    """cp of exactly the files that a backup copies, and a restore writes, made durable as by them."""

    tool = "cp"
    wal = Path("/nonexistent")

    def __init__(self, sandbox, mirror, target):
        self.target = target
        self.argv = ["sh", "-c", f'{sandbox.copy_command()} "$1" "$2" && sync -f "$2"', "sh", mirror, self.target]

    def prepare(self):
        pass

    def backup(self):
        return self.argv

    def result(self):
        return self.target


def cat(list_file):
    """cat of the files whose names the list holds, each ended by a zero byte."""
    return ["sh", "-c", 'xargs -0 cat <"$1" >/dev/null', "sh", list_file]


def verify_basebackup(backup):
    return ["/usr/lib/postgresql/15/bin/pg_verifybackup", "--no-parse-wal", backup]


def stored(job):
    """Bytes of a result, and of WAL in it."""
    result = job.result()
    wal = tree_bytes(job.wal) if job.wal.exists() else 0
    return tree_bytes(result) - wal, wal

