#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fill the options of each command into the man page, from the program's own table: a comment `.\\" options of COMMAND`
becomes the list of them, `.\\" options of all` that of the options which every command takes.

usage: options.py PROGRAM PAGE OUTPUT
"""
import json
import re
import subprocess
import sys
from pathlib import Path

DIRECTIVE = re.compile(r'^\.\\" options of ([a-z-]+)$', re.M)


def option_lists(listing):
    """command -> names of its options, without those of "all"."""
    commands = [c["name"] for c in listing["commands"]]
    shown = [o for o in listing["options"] if "help" in o]
    common = {o["name"] for o in shown if set(o["commands"]) == set(commands)}
    lists = {c: [o["name"] for o in shown if c in o["commands"] and o["name"] not in common] for c in commands}
    lists["all"] = [o["name"] for o in shown if o["name"] in common]
    return lists


def mdoc_list(names):
    macros = [f".Fl Fl {name} ," for name in names[:-1]] + [f".Fl Fl {name} ." for name in names[-1:]]
    return "\n".join([".Pp", "Options:", *macros] if names else [".Pp", "No options of its own."])


def fill(page, lists):
    return DIRECTIVE.sub(lambda m: mdoc_list(lists[m[1]]), page)


if __name__ == "__main__":
    program, page, output = sys.argv[1:]
    listing = json.loads(subprocess.run([program, "help", "--format=json"], check=True, capture_output=True).stdout)
    Path(output).write_text(fill(Path(page).read_text(), option_lists(listing)))
