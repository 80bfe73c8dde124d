#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a server plugin finds out for the command check reaches output and exit code: a clock that is wrong, say.

    scripted_probes.py PROGRAM PLUGIN...

The server is the double. Output is TAP.
"""
import json
import os
import shutil
import sys
import tempfile
import traceback
from pathlib import Path

sys.dont_write_bytecode = True
import cluster  # noqa: E402
import every_n  # noqa: E402
from bench import INSTANCE, Tool  # noqa: E402

CLOCK = "WARNING|clock|the clocks of server and host are 3.0 s apart|synchronise them"
CASES = [
    ([], 0, None),
    (["OK|clock|the clocks agree|"], 0, None),
    (["OK|wal-level|replica|", CLOCK], 1, {"state": "WARNING", "probe": "clock", "fix": "synchronise them",
                                           "found": "the clocks of server and host are 3.0 s apart"}),
    ([CLOCK, "ERROR|rights|role \"b\" may not|GRANT it"], 2,
     {"state": "ERROR", "probe": "rights", "found": "role \"b\" may not", "fix": "GRANT it"}),
]


def run(program, plugins, work):
    work.mkdir(mode=0o700)
    cluster.make(work / "data")
    config = work / "site.yaml"
    every_n.write_config(config, plugins, work / "data")
    tool = Tool(program, config)
    where = ["-B", work / "catalog", f"--instance={INSTANCE}"]
    tool.good(["init", "-B", work / "catalog"], work)
    tool.good(["add-instance", *where, "-D", work / "data"], work)
    tool.good(["backup", *where, "-b", "FULL"], work)
    print(f"1..{len(CASES)}")
    failed = 0
    for number, (probes, code, expected) in enumerate(CASES, 1):
        file = work / "probes"
        file.write_text("".join(line + "\n" for line in probes), encoding="utf-8")
        # The double's backups are of the year 2000, as the clock of its WAL is.
        result = tool.run(["check", *where, "--format=json", "--max-age=36500d", f"--set=server.scripted.probes={file}"], work)
        report = json.loads(result.out) if result.code in (0, 1, 2) else {"probes": []}
        good = result.code == code and (expected is None or expected in report["probes"])
        failed += not good
        if not good:
            print("\n".join("# " + line for line in str(result).splitlines()))
        print(f"{'' if good else 'not '}ok {number} - exit {code}", flush=True)
    return 1 if failed else 0


def main():
    place = Path(tempfile.mkdtemp(prefix="gsp-probes-"))
    try:
        binary, plugins = every_n.install(sys.argv[1], sys.argv[2:], place)
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
