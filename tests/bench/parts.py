# SPDX-License-Identifier: Apache-2.0
"""The parts of the benchmark. In every round each tool does each work once, in an order that changes."""
import json

import clusters
from processes import make_dir
from sandbox import tree_bytes
from tools import Basebackup, Copy, Pgbackrest, Probackup, cat, stored, verify_basebackup


def alternated(items, round_number):
    """Another one begins each round, and every second round goes backwards."""
    shift = round_number % len(items)
    turned = items[shift:] + items[:shift]
    return turned[::-1] if round_number % 2 else turned


class Part:
    def __init__(self, name, sandbox, report, options):
        self.name, self.sandbox, self.report, self.options = name, sandbox, report, options
        self.folder = sandbox.work / f"{name}-results"

    def rounds(self):
        """Numbers of the rounds, each with an empty folder for its results."""
        for number in range(self.options.runs):
            make_dir(self.folder)
            yield number
            self.sandbox.discard(self.folder)

    def run(self, round_number, work, tool, argv, warm, cluster=None, stdin=None, **facts):
        """Measure one job that reads the files of `warm` and writes facts["data_bytes"] at most."""
        self.sandbox.settle(warm, facts.get("data_bytes", 0))
        cost, text = self.sandbox.measure(argv, stdin, cluster)
        facts.update(cost)
        return self.report.run(part=self.name, round=round_number, work=work, tool=tool, **facts), text


def first_backup(part, cluster, mirror):
    """A backup that is not measured tells which files there are."""
    make_dir(part.folder)
    job = Probackup(part.sandbox, cluster, "none", part.folder)
    job.prepare()
    part.sandbox.measure(job.backup())
    entries = job.entries()
    clusters.link_mirror(cluster, entries, mirror)
    part.sandbox.discard(part.folder)
    return entries


def full_backups(part, round_number, cluster, mirror, data_bytes, jobs):
    for work, job in alternated(jobs, round_number):
        job.prepare()
        cluster.sql("CHECKPOINT")
        record, _ = part.run(round_number, work, job.tool, job.backup(), mirror, cluster,
                             data_bytes=data_bytes)
        record["stored_bytes"], record["wal_bytes"] = stored(job)
        if isinstance(job, Probackup):
            record["payload_bytes"] = job.payload()
        part.report.write(record)


# ---- one cluster with mixed data ---------------------------------------------------------------

def data(sandbox, report, options):
    part = Part("data", sandbox, report, options)
    cluster = clusters.mixed(sandbox, options.scale["size"])
    mirror = sandbox.work / "data-mirror"
    entries = first_backup(part, cluster, mirror)
    data_bytes = tree_bytes(mirror)
    report.cluster("data", mirror)
    passes_list = write_passes_list(sandbox, mirror, entries)
    for number in part.rounds():
        jobs = data_jobs(part, cluster, mirror)
        full_backups(part, number, cluster, mirror, data_bytes, list(jobs.items()))
        reading_jobs(part, number, jobs, mirror, data_bytes)
        with open(passes_list, encoding="utf-8") as names:
            argv = [sandbox.programs / "bench-passes", sandbox.plugins, mirror]
            record, text = part.run(number, "passes in memory", "bench-passes", argv, mirror, stdin=names)
        record.update(json.loads(text))
        assert record["bad_pages"] == 0, "the mirror is not the cluster"
        report.write(record)
    cluster.stop()


def data_jobs(part, cluster, mirror):
    where = (part.sandbox, cluster)
    jobs = {"FULL none": Probackup(*where, "none", part.folder),
            "FULL zlib-1": Probackup(*where, "zlib", part.folder),
            "FULL pglz": Probackup(*where, "pglz", part.folder),
            "FULL lz4": Probackup(*where, "lz4", part.folder),
            "FULL zstd-1": Probackup(*where, "zstd", part.folder),
            "basebackup plain": Basebackup(*where, "none", part.folder),
            "basebackup gzip-1": Basebackup(*where, "gz", part.folder),
            "cp + sync": Copy(part.sandbox, mirror, part.folder / "cp")}
    if part.sandbox.pgbackrest:
        jobs["pgbackrest none"] = Pgbackrest(*where, "none", part.folder)
        jobs["pgbackrest gz-1"] = Pgbackrest(*where, "gz", part.folder)
    return jobs


def reading_jobs(part, round_number, jobs, mirror, data_bytes):
    """validate and restore of this round's backups, and what they are compared with."""
    none, zlib, pglz = jobs["FULL none"], jobs["FULL zlib-1"], jobs["FULL pglz"]
    stored_list = part.sandbox.work / "stored-list"
    names = [str(path) for path in sorted(none.database.rglob("*")) if path.is_file() and none.wal not in path.parents]
    stored_list.write_text("".join(f"{name}\0" for name in names), encoding="utf-8")
    target = part.folder / "restored"
    work = [("validate none", none, none.validate()),
            ("validate zlib", zlib, zlib.validate()),
            ("validate pglz", pglz, pglz.validate()),
            ("cat of stored files", none, cat(stored_list)),
            ("verify plain", jobs["basebackup plain"], verify_basebackup(jobs["basebackup plain"].target)),
            ("cp + sync, beside restore", none, Copy(part.sandbox, mirror, target).argv),
            ("restore none, no validation", none, none.restore(target, "--no-validate")),
            ("restore none", none, none.restore(target)),
            ("restore zlib, no validation", zlib, zlib.restore(target, "--no-validate")),
            ("restore zlib", zlib, zlib.restore(target))]
    for key, name in (("pgbackrest none", "restore none"), ("pgbackrest gz-1", "restore gz")):
        if key in jobs:
            work.append((name, jobs[key], jobs[key].restore(target)))
    tools = {"cat of stored files": "cat", "verify plain": "pg_verifybackup", "cp + sync, beside restore": "cp"}
    for name, job, argv in alternated(work, round_number):
        if "restore" in name and job.tool == "pgBackRest":
            make_dir(target)
        record, _ = part.run(round_number, name, tools.get(name, job.tool), argv, job.result(),
                             data_bytes=data_bytes)
        part.report.write(record)
        part.sandbox.discard(target)


def write_passes_list(sandbox, mirror, entries):
    path = sandbox.work / "passes-list"
    with open(path, "w", encoding="utf-8") as out:
        for entry in entries:
            name = entry["path"]
            if (mirror / name).is_file():
                out.write(f"{entry['segno'] if entry['is_datafile'] else '-'} {name}\n")
    return path


# ---- many files --------------------------------------------------------------------------------

def files(sandbox, report, options):
    part = Part("files", sandbox, report, options)
    cluster = clusters.many_files(sandbox, options.scale["files"])
    mirror = sandbox.work / "files-mirror"
    first_backup(part, cluster, mirror)
    report.cluster("files", mirror)
    data_bytes = tree_bytes(mirror)
    for number in part.rounds():
        where = (sandbox, cluster)
        jobs = [("FULL none", Probackup(*where, "none", part.folder)),
                ("cp + sync", Copy(sandbox, mirror, part.folder / "cp"))]
        # pg_basebackup, and pgBackRest without bundles, sync each file for itself: a quarter of an hour a round.
        if sandbox.pgbackrest:
            jobs.append(("pgbackrest none, bundles", Pgbackrest(*where, "none", part.folder, bundle=True)))
        full_backups(part, number, cluster, mirror, data_bytes, jobs)
    cluster.stop()


# ---- a long file list --------------------------------------------------------------------------

def filelist(sandbox, report, options):
    part = Part("filelist", sandbox, report, options)
    lines = options.scale["lines"]
    for number in part.rounds():
        folder = make_dir(part.folder / "list")
        for work in ("write", "read"):
            argv = [sandbox.programs / "bench-filelist", work, sandbox.plugins, folder, lines]
            record, text = part.run(number, f"file list, {work}", "bench-filelist", argv, folder)
            record.update(json.loads(text))
            report.write(record)
