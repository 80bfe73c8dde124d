# SPDX-License-Identifier: Apache-2.0
"""The part of the benchmark with incremental backups: what they cost, and what a long chain of them costs."""
import random
import re

import clusters
from parts import Part, alternated, first_backup
from processes import make_dir, run
from sandbox import tree_bytes
from tools import Pgbackrest, Probackup, cat, stored

# WAL of a whole chain stays where PAGE finds it.
SETTINGS = "wal_keep_size = 64GB\nmax_wal_size = 8GB\n"


class Increments:
    """One cluster, one FULL backup for each job, and then 1 % of all pages changed: each job can be repeated."""

    def __init__(self, sandbox, report, options, version, modes):
        self.sandbox, self.report, self.options, self.modes = sandbox, report, options, modes
        self.increments = options.scale["chain"]
        name = f"incremental-{version.major}"
        settings = SETTINGS + ("summarize_wal = on\n" if "PTRACK" in modes else "")
        self.part = Part(name, sandbox, report, options)
        self.cluster = clusters.mixed(sandbox, options.scale["size"], name, version, settings)
        self.mirror = sandbox.work / f"{name}-mirror"
        self.base = make_dir(sandbox.work / f"{name}-base")
        self.rng = random.Random(20260102)
        entries = first_backup(self.part, self.cluster, self.mirror)
        self.pages = sum(entry["n_headers"] for entry in entries)
        self.data_bytes = tree_bytes(self.mirror)
        report.cluster(name, self.mirror)
        self.list = sandbox.work / f"{name}-list"
        names = [str(path) for path in sorted(self.mirror.rglob("*")) if path.is_file()]
        self.list.write_text("".join(f"{path}\0" for path in names), encoding="utf-8")

    def change(self):
        clusters.change_pages(self.cluster, max(1, self.pages // 100), self.rng)

    def jobs(self):
        """Of incremental backups, each with its FULL one."""
        jobs = {}
        for mode in self.modes:
            jobs[mode] = Probackup(self.sandbox, self.cluster, "none", make_dir(self.base / mode))
        if self.cluster.version.major == 15 and self.sandbox.pgbackrest:
            jobs["pgbackrest incr"] = Pgbackrest(self.sandbox, self.cluster, "none", self.base, bundle=True)
            if has_block_increments(self.sandbox.pgbackrest):
                jobs["pgbackrest incr, blocks"] = Pgbackrest(self.sandbox, self.cluster, "none", self.base, bundle=True,
                                                             block=True)
        for work, job in jobs.items():
            job.prepare()
            self.sandbox.measure(job.backup())
            job.mode, job.type = work, "incr"
        return jobs

    def backups(self, number, jobs):
        """One round: a FULL one, increments of the same parents, and reading all data."""
        full = Probackup(self.sandbox, self.cluster, "none", self.part.folder)
        work = [("FULL", full), *jobs.items(), ("cat of data files", None)]
        for name, job in alternated(work, number):
            self.cluster.sql("CHECKPOINT")
            if job is None:
                record, _ = self.part.run(number, name, "cat", cat(self.list), self.mirror, data_bytes=self.data_bytes)
                self.report.write(record)
                continue
            if job is full:
                job.prepare()
            record, _ = self.part.run(number, name, job.tool, job.backup(), self.mirror, self.cluster,
                                      data_bytes=self.data_bytes)
            record["stored_bytes"], record["wal_bytes"] = stored(job)
            if isinstance(job, Probackup):
                record["pages"] = job.pages()
            self.report.write(record)
            if job is not full:
                self.sandbox.discard(job.result())  # the next one has the same parent again

    # ---- a long chain ------------------------------------------------------------------------

    def make_chain(self, mode):
        """A chain, and a FULL backup of the same data."""
        chain = Probackup(self.sandbox, self.cluster, "none", make_dir(self.base / "chain"))
        chain.prepare()
        self.sandbox.measure(chain.backup())
        chain.mode = mode
        for _ in range(self.increments):
            self.change()
            self.sandbox.measure(chain.backup())
        self.sandbox.measure(chain.validate())  # or each merge would do it first
        full = Probackup(self.sandbox, self.cluster, "none", make_dir(self.base / "chain-full"))
        full.prepare()
        self.sandbox.measure(full.backup())
        return chain, full

    def chains(self, number, chain, full):
        """One round: both restored, and a copy of the chain merged. Each is done twice, and the second time measured: the
        first of two jobs pays for memory that nobody touched before, up to as much as for its work."""
        work = [("restore FULL", full, self.restored), (f"restore chain of {self.increments}", chain, self.restored),
                (f"merge chain of {self.increments}", chain, self.merged)]
        for name, job, prepare in alternated(work, number):
            self.sandbox.measure(prepare(job))
            self.discard_results()
            record, _ = self.part.run(number, name, job.tool, prepare(job), job.catalog, data_bytes=self.data_bytes)
            self.report.write(record)
            self.discard_results()

    def restored(self, job):
        return job.restore(self.part.folder / "restored", "--no-validate")

    def merged(self, chain):
        """A copy of links: a merge replaces files, and changes none."""
        copy = Probackup(self.sandbox, self.cluster, "none", make_dir(self.part.folder / "merged"))
        run(["cp", "-al", chain.catalog, copy.catalog])
        return copy.merge()

    def discard_results(self):
        for name in ("restored", "merged"):
            self.sandbox.discard(self.part.folder / name)


def has_block_increments(pgbackrest):
    found = re.search(r"(\d+)\.(\d+)", run([pgbackrest, "version"]).stdout)
    return (int(found[1]), int(found[2])) >= (2, 46)


def measure(increments, with_chain):
    jobs = increments.jobs()
    increments.change()
    for number in increments.part.rounds():
        increments.backups(number, jobs)
    if with_chain:
        chain, full = increments.make_chain(with_chain)
        for number in increments.part.rounds():
            increments.chains(number, chain, full)
    increments.cluster.stop()


def incremental(sandbox, report, options):
    arguments = (sandbox, report, options)
    measure(Increments(*arguments, clusters.server(sandbox, 15), ["DELTA", "PAGE"]), "DELTA")
    version = clusters.server(sandbox, 17)
    if version is None:
        print("PTRACK is left out: no PostgreSQL 17 (GSP_PG_DIR)", flush=True)
        return
    measure(Increments(*arguments, version, ["PTRACK"]), None)
