#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The man page and the program's help know the same commands and long options.

usage: man_lint.py PROGRAM MAN_PAGE
"""
import re
import subprocess
import sys
from pathlib import Path

# A section of `help`: "  name   what it does". An option of `help COMMAND`: "  -B, --backup-path=DIR ...".
HELP_COMMAND = re.compile(r"^  ([a-z][a-z-]*)  +\S", re.M)
HELP_OPTION = re.compile(r"^  (?:-\w,|   ) --([a-z][a-z0-9-]*)", re.M)
# In mdoc a long option is a flag behind a flag: ".Fl Fl name".
MAN_OPTION = re.compile(r"\bFl Fl ([a-z][a-z0-9-]*)")
MAN_COMMAND = re.compile(r"^\.It Cm ([a-z][a-z-]*)", re.M)


def run(program, *arguments):
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


def program_knows(program, option):
    """Has the program this option, though no help shows it? `show` refuses it in other words then. What is only
    the beginning of several names is ambiguous, and the answer lists those."""
    answer = run(program, "show", f"--{option}=x").stderr
    if "is ambiguous" in answer:
        return re.search(rf"--{option}(?![a-z0-9-])", answer.split("possibilities:", 1)[-1]) is not None
    return "Option is not found" not in answer


def check(program, man_text):
    problems = []
    overview = run(program, "help").stdout
    commands = set(HELP_COMMAND.findall(overview.split("Commands:", 1)[1].split("\n\n", 1)[0]))
    if len(commands) < 5:
        return [f"'{program} help' lists only the commands {sorted(commands)}: is it the right program?"]
    shown = {}
    for command in sorted(commands - {"help", "version"}):
        for option in HELP_OPTION.findall(run(program, "help", command).stdout):
            shown.setdefault(option, command)

    text = "\n".join(line for line in man_text.splitlines() if not line.startswith('.\\"'))
    described, described_commands = set(MAN_OPTION.findall(text)), set(MAN_COMMAND.findall(text))
    invented = sorted(o for o in described - shown.keys() if not program_knows(program, o))
    problems += [f"command '{c}' is not in the man page" for c in sorted(commands - described_commands)]
    problems += [f"command '{c}' of the man page does not exist" for c in sorted(described_commands - commands)]
    problems += [f"option --{o} (help {shown[o]}) is not in the man page" for o in sorted(shown.keys() - described)]
    problems += [f"option --{o} of the man page does not exist" for o in invented]
    return problems


if __name__ == "__main__":
    found = check(sys.argv[1], Path(sys.argv[2]).read_text(encoding="utf-8"))
    print("\n".join(found))
    sys.exit(1 if found else 0)
