#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lets every single storage operation of every command fail, in every way, on a cluster of at most 40 files.

    every_n.py [--kinds=KIND,...] [--commands=NAME,...] [--at=N | --step=N] PROGRAM PLUGIN...

After each failure: the process ended as it should and left nothing open; the catalog can be read; nothing is
OK that is not; what was OK is unchanged; the same command run again succeeds, and leaves nothing behind.
Output is TAP. One test is one command with one kind of fault, at every n; --at repeats a single one.
"""
import argparse
import concurrent.futures
import multiprocessing
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
import cluster  # noqa: E402  (puts tests/integration on the path)
from bench import KINDS, Bench, Tool, Wrong, check_ended  # noqa: E402
from commands import COMMANDS, LONG  # noqa: E402

# Runs of a worker at a time. The second backup of a catalog waits for the next second: with so many before it, that is
# over when it comes.
SHARE = 60


# ---- every n -------------------------------------------------------------------------------------

def operations(bench, command, kind):
    """How many operations count in a run that does not fail."""
    run = command(bench, f"{kind}-count")
    result = bench.tool.run(run.args(), run.home, kind, 0)
    check_ended(result)
    if result.code != 0:
        raise Wrong(f"must succeed without a fault:\n{result}")
    shutil.rmtree(run.home)
    return int(result.report["operations"])


def one(bench, command, kind, at):
    """Inject; returns the run, to be finished later."""
    run = command(bench, f"{kind}-{at}")
    try:
        run.inject(kind, at)
    except (Wrong, OSError, ValueError) as error:
        return run, at, error
    return run, at, None


def finish(run, at, error):
    try:
        if error is None:
            run.repeat()
            run.check_leftovers()
    except (Wrong, OSError, ValueError) as wrong:
        error = wrong
    if error is None:
        return None
    first = getattr(run, "first_result", None)
    return f"{run.name}, operation {at} ({first.report.get('first', 'killed') if first else '?'}): {error}\n" \
           f"the run with the fault: {first}"


_bench = None  # of the worker processes, which are forked with it


def work(name, kind, numbers, keep):
    """One worker's share of the numbers: first all faults, then all repetitions."""
    began = time.monotonic()
    injected = [one(_bench, COMMANDS[name], kind, at) for at in numbers]
    codes = [getattr(getattr(run, "first_result", None), "code", None) for run, _, _ in injected]
    problems = [problem for problem in (finish(*args) for args in injected) if problem]
    if not keep:
        subprocess.run(["rm", "-rf", *(run.home for run, _, _ in injected)], check=True)
    return codes, problems, time.monotonic() - began


class Trial:
    """One command with one kind of fault, at every n."""

    def __init__(self, bench, pool, name, kind, given):
        self.name, self.kind = name, kind
        total = operations(bench, COMMANDS[name], kind)
        numbers = [given.at] if given.at else list(range(1, total + 1, given.step))
        self.runs = len(numbers)
        self.shares = [pool.submit(work, name, kind, numbers[start:start + SHARE], given.keep)
                       for start in range(0, len(numbers), SHARE)]

    def report(self, number):
        """One line of TAP, when all shares are done; is everything as it should be?"""
        problems, outcomes, seconds = [], {}, 0
        for future in self.shares:
            codes, wrong, took = future.result()
            problems += wrong
            seconds += took
            for code in codes:
                outcomes[code] = outcomes.get(code, 0) + 1
        for problem in problems[:5]:
            print("\n".join("# " + line for line in problem.splitlines()))
        print(f"{'not ' if problems else ''}ok {number} - {self.name} {self.kind}: {self.runs} operations, "
              f"exit codes {outcomes}, {len(problems)} wrong, {seconds:.1f} s of a worker", flush=True)
        return not problems


# ---- the program ---------------------------------------------------------------------------------

def install(program, plugins, where):
    """Program and plugins where an ordinary user can read them, in a place that may hold programs."""
    where.chmod(0o755)
    binary = where / "gs_probackup"
    shutil.copy(program, binary)
    folder = where / "plugins"
    folder.mkdir()
    for plugin in plugins:
        shutil.copy(plugin, folder)
    return binary, folder


def become_ordinary():
    """A restore refuses root."""
    if os.geteuid() != 0:
        return
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        return


def write_config(path, plugins, data):
    path.write_text(f"""plugin:
  path:
    - {plugins}
server:
  plugin: scripted
  scripted:
    data: {data}
    wal-at-end: on
storage:
  repo: fault
  data: fault
""")
    path.chmod(0o644)


def fast_place():
    """Memory, where there is some: a disk would spend its time syncing."""
    place = "/dev/shm"
    if os.access(place, os.W_OK) and shutil.disk_usage(place).free > 1 << 30:
        return place
    return None


def main():
    options = argparse.ArgumentParser(description="every storage operation of every command fails once")
    options.add_argument("--kinds", default=",".join(KINDS))
    options.add_argument("--commands", default="all", help="names, or 'long': those of many operations, 'short', 'all'")
    options.add_argument("--at", type=int, help="only this operation")
    options.add_argument("--step", type=int, default=1, help="only every STEP-th operation")
    options.add_argument("--keep", action="store_true", help="leave the directories of the runs for a look")
    options.add_argument("program")
    options.add_argument("plugins", nargs="+")
    return in_a_place(options.parse_args(), run_all)


def in_a_place(given, run):
    """run(given, binary, plugins, work) as an ordinary user, with programs and a directory that it can use."""
    programs = Path(tempfile.mkdtemp(prefix="gsp-fault-"))
    failed = 0
    try:
        binary, plugins = install(given.program, given.plugins, programs)
        os.umask(0o022)
        shared = Path(tempfile.mkdtemp(prefix="gsp-fault-", dir=fast_place()))
        shared.chmod(0o1777)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                become_ordinary()
                code = run(given, binary, plugins, shared / "work")
            except BaseException:  # the child must not go on where the parent would
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        failed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if not getattr(given, "keep", False):
            shutil.rmtree(shared, ignore_errors=True)
    finally:
        shutil.rmtree(programs, ignore_errors=True)
    return failed


def run_all(given, binary, plugins, work):
    work.mkdir(mode=0o700)
    cluster.make(work / "data")
    config = work / "site.yaml"
    write_config(config, plugins, work / "data")
    bench = Bench(Tool(binary, config), work)
    groups = {"all": COMMANDS, "long": LONG, "short": [name for name in COMMANDS if name not in LONG]}
    commands = groups.get(given.commands, given.commands.split(","))
    kinds = given.kinds.split(",")
    print(f"1..{len(kinds) * len(commands)}")
    global _bench
    _bench = bench
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(max_workers=(os.cpu_count() or 2) + 1, mp_context=context) as pool:
        # All at once, so that nobody waits for the last one of a command.
        trials = [Trial(bench, pool, name, kind, given) for name in commands for kind in kinds]
        failed = [trial for number, trial in enumerate(trials, 1) if not trial.report(number)]
    bench.check_untouched()
    print(f"# {sum(trial.runs for trial in trials)} runs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
