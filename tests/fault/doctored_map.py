#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A server's map of changed blocks from which something was dropped: --verify-map notices, whatever it was.

    doctored_map.py PROGRAM PLUGIN...

The map comes from the server double, on a cluster of at most 40 files. Output is TAP.
"""
import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
import cluster  # noqa: E402
import every_n  # noqa: E402
from bench import INSTANCE, Tool, check_ended  # noqa: E402

COLUMNS = ("merged_start_lsn|merged_end_lsn|tablespace_oid|database_oid|relfilenode|fork_number|path|rel_dropped|"
           "rel_created|rel_truncated|truncate_blocknum|changed_block_number|changed_block_list")


def row(path, blocks):
    database, relation = path.split("/")[-2:]
    space, database = (1664, 0) if database == "global" else (1663, database)
    return (f"00000000/00000000|FFFFFFFF/FFFFFFFF|{space}|{database}|{relation}|0|{path}|f|f|f||{len(blocks)}|"
            + ", ".join(map(str, blocks)))


def changed_blocks(step):
    """path -> blocks of it that the step changed, but for those behind its end: they are taken without a map."""
    found = {}
    for path, first, blocks in cluster.CHANGES[step]:
        found.setdefault(path, set()).update(range(first, first + blocks))
    return found


class Trial:
    def __init__(self, tool, work):
        self.tool, self.work, self.catalog = tool, work, work / "catalog"
        self.where = ["-B", self.catalog, f"--instance={INSTANCE}"]
        self.number = 0
        tool.good(["init", "-B", self.catalog], work)
        tool.good(["add-instance", *self.where, "-D", work / "data"], work)
        tool.good(["backup", *self.where, "-b", "FULL"], work)
        cluster.change(work / "data", 0)

    def backup(self, rows, *args):
        """One incremental backup with a map of these rows; it is deleted again."""
        file = self.work / f"changes-{self.number}"
        self.number += 1
        file.write_text("\n".join([COLUMNS, *rows]) + "\n", encoding="ascii")
        before = self.backups()
        result = check_ended(self.tool.run(["backup", *self.where, "-b", "PTRACK", *args,
                                                    f"--set=server.scripted.changes={file}"], self.work))
        for made in self.backups() - before:
            self.tool.good(["delete", *self.where, "-i", made], self.work)
        return result

    def backups(self):
        return {path.name for path in (self.catalog / "backups" / INSTANCE).iterdir() if path.is_dir()}


def check(trial):
    """What is wrong, as texts."""
    changed = changed_blocks(0)
    whole = [row(path, sorted(blocks)) for path, blocks in changed.items()]
    problems = []
    result = trial.backup(whole, "--verify-map=1000")
    if result.code != 0:
        problems.append(f"a complete map is refused:\n{result}")
    for path, blocks in changed.items():
        for dropped in sorted(blocks):
            rows = [row(name, sorted(some - ({dropped} if name == path else set()))) for name, some in changed.items()]
            result = trial.backup(rows, "--verify-map=1000")
            lost = f"block {dropped} of '{path}'"
            if result.code != 1 or path not in result.lines("ERROR")[0] or f"block {dropped} " not in result.err:
                problems.append(f"{lost} was dropped from the map, and nobody noticed:\n{result}")
            # Without the look the double's map is believed: else the test would prove nothing.
            if trial.backup(rows, "--verify-map=0").code != 0:
                problems.append(f"{lost} was missed without --verify-map")
    return problems


def run(program, plugins, work):
    work.mkdir(mode=0o700)
    cluster.make(work / "data")
    config = work / "site.yaml"
    every_n.write_config(config, plugins, work / "data")
    began = time.monotonic()
    problems = check(Trial(Tool(program, config), work))
    print("1..1")
    for problem in problems[:5]:
        print("\n".join("# " + line for line in problem.splitlines()))
    print(f"{'not ' if problems else ''}ok 1 - maps with a block dropped, {len(problems)} wrong, "
          f"{time.monotonic() - began:.1f} s", flush=True)
    return 1 if problems else 0


def main():
    options = argparse.ArgumentParser(description="maps of changed blocks that miss one")
    options.add_argument("program")
    options.add_argument("plugins", nargs="+")
    given = options.parse_args()
    place = Path(tempfile.mkdtemp(prefix="gsp-map-"))
    try:
        binary, plugins = every_n.install(given.program, given.plugins, place)
        place.chmod(0o1777)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                every_n.become_ordinary()
                code = run(binary, plugins, place / "work")
            except BaseException:  # the child must not go on where the parent would
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
