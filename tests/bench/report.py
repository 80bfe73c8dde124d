# SPDX-License-Identifier: Apache-2.0
"""JSON lines of every run, tables of medians, and the targets."""
import json
import os
import statistics
import time

MIB = 2**20
COST_KEYS = ("wall_s", "cpu_s", "user_s", "sys_s", "server_cpu_s", "rss_kib", "rss_all_kib", "stored_bytes", "wal_bytes",
             "payload_bytes", "data_bytes", "read_bytes", "written_bytes", "pages", "bytes", "page_bytes", "crc_s",
             "pages_s", "compress2_s", "compress2_bytes",
             "zlib_s", "zlib_bytes", "pglz_s", "pglz_bytes", "lz4_s", "lz4_bytes", "zstd_s", "zstd_bytes", "seconds")
TARGET_COLUMNS = ("work", "measured", "peer", "ratio", "target", "met")


class Median:
    """The runs of one job: attributes are medians, spread() is the least and the most."""

    def __init__(self, runs):
        self.runs = runs

    def __getattr__(self, key):
        values = [run[key] for run in self.runs if key in run]
        if key not in COST_KEYS or not values:
            raise AttributeError(key)
        return statistics.median(values)

    def has(self, key):
        return any(key in run for run in self.runs)

    def spread(self, key):
        values = [run[key] for run in self.runs]
        return f"{getattr(self, key):.2f} ({min(values):.2f}-{max(values):.2f})"

    @property
    def rate(self):
        """MiB of the cluster per CPU second of the tool."""
        return self.data_bytes / MIB / self.cpu_s


class Report:
    def __init__(self, output, options):
        self.output, self.options = output, options
        self.runs = {}
        self.facts, self.clusters = {}, {}

    def line(self, **record):
        self.output.write(json.dumps(record) + "\n")
        self.output.flush()

    def machine(self, facts):
        self.facts = facts
        self.line(kind="machine", date=time.strftime("%Y-%m-%d"), runs=self.options.runs, threads=self.options.threads,
                  scale=self.options.scale, **facts)
        if facts["load_before"] > 0.3:
            print(f"The machine is busy (load {facts['load_before']:.2f}): do not trust these figures.\n", flush=True)

    def cluster(self, part, mirror):
        sizes = [os.lstat(os.path.join(folder, name)).st_size for folder, _, files in os.walk(mirror) for name in files]
        self.clusters[part] = (sum(sizes), len(sizes))
        self.line(kind="cluster", part=part, bytes=sum(sizes), files=len(sizes))

    def run(self, **record):
        """Keep the record of one measured run; it may still get facts before it is written."""
        self.runs.setdefault((record["part"], record["work"], record["tool"]), []).append(record)
        print(f"round {record['round'] + 1}  {record['tool']:14} {record['work']:28} wall {record['wall_s']:7.2f} s"
              f"  cpu {record['cpu_s']:7.2f} s", flush=True)
        return record

    def write(self, record):
        self.line(kind="run", **record)

    # ---- tables ------------------------------------------------------------------------------

    def median(self, part, work, tool):
        runs = self.runs.get((part, work, tool))
        return Median(runs) if runs else None

    def finish(self):
        rows = self.targets()
        if self.options.size == "small":
            rows = [(*row[:-1], "(trial)") for row in rows]
        for row in rows:
            self.line(kind="target", **dict(zip(TARGET_COLUMNS, row)))
        text = ["", self.heading(), "", table(TARGET_COLUMNS, rows), ""]
        for part in dict.fromkeys(key[0] for key in self.runs):
            text += [self.part_title(part), "", self.part_table(part), ""]
        passes = self.median("data", "passes in memory", "bench-passes")
        if passes:
            text += ["In memory, one thread:", "", passes_table(passes)]
        return "\n".join(text).rstrip()

    def heading(self):
        f = self.facts
        return (f"{f['cpu']}, {f['cores']} cores, {f['memory_gib']} GiB, {f['file_system']}, Linux {f['kernel']}; "
                f"{f['gs_probackup']}, {f['compressor_zlib']}; {f['postgresql']}; "
                f"{f['pgbackrest'] or 'no pgBackRest'}; {f['cp']}; medians of {self.options.runs} rounds, "
                f"{self.options.threads} workers.")

    def part_title(self, part):
        if part not in self.clusters:
            return f"Part {part}:"
        size, count = self.clusters[part]
        return f"Part {part}: {size / MIB:.0f} MiB in {count} files."

    def part_table(self, part):
        rows = []
        for (of_part, work, tool), runs in self.runs.items():
            if of_part != part or tool == "bench-passes":
                continue
            m = Median(runs)
            rows.append((tool, work, m.spread("wall_s"), m.spread("cpu_s"), f"{m.user_s:.2f} + {m.sys_s:.2f}",
                         f"{m.server_cpu_s:.2f}" if m.has("server_cpu_s") else "",
                         f"{m.rss_kib / 1024:.0f} / {m.rss_all_kib / 1024:.0f}",
                         f"{m.rate:.0f}" if m.has("data_bytes") else "",
                         f"{m.stored_bytes / MIB:.0f} + {m.wal_bytes / MIB:.0f}" if m.has("stored_bytes") else "",
                         f"{m.read_bytes / MIB:.0f} + {m.written_bytes / MIB:.0f}"))
        return table(("tool", "work", "wall, s", "CPU, s", "user + sys", "server CPU, s", "RSS, MiB", "MiB per CPU-s",
                      "stored + WAL, MiB", "read + written, MiB"), sorted(rows))

    # ---- targets -----------------------------------------------------------------------------

    def targets(self):
        """Rows of (work, measured, peer, ratio, target, met)."""
        rows = []

        def row(work, measured, unit, peer, peer_text, factor, least=False):
            ratio = measured / peer
            met = ratio >= factor if least else ratio <= factor
            rows.append((work, number(measured, unit), f"{peer_text}: {number(peer, unit)}", f"{ratio:.2f}",
                         f"{'>=' if least else '<='} {factor:.3g}", "yes" if met else "no"))
        if "data" in self.options.parts:
            self.backup_targets(row)
            self.reading_targets(row)
        if "incremental" in self.options.parts:
            self.increment_targets(row)
            self.chain_targets(row)
        if "filelist" in self.options.parts:
            lines = self.options.scale["lines"]
            for work in ("write", "read"):
                m = self.median("filelist", f"file list, {work}", "bench-filelist")
                row(f"{lines:,} lines, {work}", m.seconds, "s", 4 * lines / 1e6, "4 s per million", 1)
                row(f"{lines:,} lines, {work}, peak RSS", m.rss_kib / 1024, "MiB", 400, "fixed", 1)
        if "files" in self.options.parts:
            row(f"{self.options.scale['files']:,} files of 8 KiB, FULL, CPU",
                self.median("files", "FULL none", "gs_probackup").cpu_s, "s",
                self.median("files", "cp + sync", "cp").cpu_s, "cp + sync", 1.5)
        return rows

    def backup_targets(self, row):
        none = self.median("data", "FULL none", "gs_probackup")
        zlib = self.median("data", "FULL zlib-1", "gs_probackup")
        cp = self.median("data", "cp + sync", "cp")
        passes = self.median("data", "passes in memory", "bench-passes")
        checks = passes.crc_s + passes.pages_s
        row(f"FULL none, CPU ({none.cpu_s:.2f} s) less CRC-32C and page checksums ({checks:.2f} s)", none.cpu_s - checks,
            "s", cp.cpu_s, "cp + sync", 1.3)
        for tool, work in (("pg_basebackup", "basebackup plain"), ("pgBackRest", "pgbackrest none")):
            peer = self.median("data", work, tool)
            if peer:
                row("FULL none, wall", none.wall_s, "s", peer.wall_s, tool, 1)
        peer = self.median("data", "pgbackrest gz-1", "pgBackRest")
        if peer:
            row("FULL zlib-1, per CPU second", zlib.rate, "MiB", peer.rate, "pgBackRest gz-1", 2.5, least=True)
        row("FULL zlib-1, per CPU second", zlib.rate, "MiB", passes.page_bytes / MIB / passes.compress2_s,
            "compress2() per page", 5, least=True)
        row("FULL zlib-1, size of the pages", zlib.payload_bytes / MIB, "MiB", passes.compress2_bytes / MIB,
            "compress2() per page", 1.02)

    def reading_targets(self, row):
        def cpu(work, tool="gs_probackup"):
            return self.median("data", work, tool).cpu_s
        row("restore none --no-validate, CPU", cpu("restore none, no validation"), "s",
            cpu("cp + sync, beside restore", "cp"), "cp + sync", 1.3)
        if self.median("data", "restore gz", "pgBackRest"):
            row("restore zlib --no-validate, CPU", cpu("restore zlib, no validation"), "s",
                cpu("restore gz", "pgBackRest"), "pgBackRest gz-1", 1 / 1.5)
        row("validate none, CPU", cpu("validate none"), "s", cpu("cat of stored files", "cat"), "cat", 3)
        peak, work = max((run["rss_kib"], key[1]) for key, runs in self.runs.items() for run in runs
                         if key[0] == "data" and key[2] == "gs_probackup")
        row(f"peak RSS (in {work})", peak / 1024, "MiB", 40 + 5 * self.options.threads, "40 + 5 per worker", 1)


    def increment_targets(self, row):
        """An increment, beside a FULL backup of the same cluster and beside reading it."""
        delta = self.median("incremental-15", "DELTA", "gs_probackup")
        row(f"DELTA, {delta.pages:.0f} pages stored, CPU", delta.cpu_s, "s",
            self.median("incremental-15", "cat of data files", "cat").cpu_s, "cat of the data files", 2.2)
        for work in ("pgbackrest incr", "pgbackrest incr, blocks"):
            peer = self.median("incremental-15", work, "pgBackRest")
            for mode in ("DELTA", "PAGE") if peer else ():
                row(f"{mode}, CPU", self.median("incremental-15", mode, "gs_probackup").cpu_s, "s", peer.cpu_s, work, 1)
        ptrack = self.median("incremental-17", "PTRACK", "gs_probackup")
        if ptrack:
            full = self.median("incremental-17", "FULL", "gs_probackup").cpu_s
            row(f"PTRACK, {ptrack.pages:.0f} pages stored, CPU", ptrack.cpu_s, "s", 0.05 * full + 0.3,
                f"5 % of FULL ({full:.2f} s) + 0.3 s", 1)

    def chain_targets(self, row):
        full = self.median("incremental-15", "restore FULL", "gs_probackup")
        for (part, work, _), runs in list(self.runs.items()):
            if part != "incremental-15" or " chain of " not in work:
                continue
            chain = Median(runs)
            row(f"{work}, CPU", chain.cpu_s, "s", full.cpu_s, "restore FULL", 1.3)
            row(f"{work}, read + written", (chain.read_bytes + chain.written_bytes) / MIB, "MiB",
                (full.read_bytes + full.written_bytes) / MIB, "restore FULL", 1.3)


def number(value, unit):
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def passes_table(m):
    def row(name, size, seconds, out=None):
        return (name, f"{size / MIB / seconds:.0f}", f"{seconds:.2f}", f"{size / out:.3f}" if out else "")
    return table(("pass", "MiB/s", "s", "ratio"), [
        row("CRC-32C", m.bytes, m.crc_s), row("page checksums", m.page_bytes, m.pages_s),
        row("compress2(), level 1, per page", m.page_bytes, m.compress2_s, m.compress2_bytes),
        row("compressor-zlib, level 1", m.page_bytes, m.zlib_s, m.zlib_bytes),
        row("compressor-pglz", m.page_bytes, m.pglz_s, m.pglz_bytes),
        row("compressor-lz4", m.page_bytes, m.lz4_s, m.lz4_bytes),
        row("compressor-zstd, level 1", m.page_bytes, m.zstd_s, m.zstd_bytes)])
