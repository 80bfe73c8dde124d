#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The man page, with its lists of options filled in, and the program's own table say the same.

usage: man_lint.py PROGRAM MAN_PAGE
"""
import json
import re
import subprocess
import sys
from pathlib import Path

# In mdoc a long option is a flag behind a flag: ".Fl Fl name".
OPTION = re.compile(r"\bFl Fl ([a-z][a-z0-9-]*)")
COMMAND = re.compile(r"^\.It Cm ([a-z][a-z-]*)", re.M)
ITEM = re.compile(r"^\.It .*", re.M)
LISTS = re.compile(r"^\.Pp\nOptions:\n((?:\.Fl Fl .*\n)*)|^\.Pp\nNo options of its own\.\n", re.M)
# Refused for some of their values only.
PARTLY_SUPPORTED = {"media-type"}


def section(text, title):
    return text.split(f"\n.Sh {title}\n", 1)[1].split("\n.Sh ", 1)[0]


def listed_options(item):
    """The names in the lists of one item."""
    return [name for block in LISTS.finditer(item) for name in OPTION.findall(block[1] or "")]


def check_commands(table, text):
    problems = []
    commands = section(text, "COMMANDS")
    starts = list(COMMAND.finditer(commands))
    items = {}
    for start, end in zip(starts, [m.start() for m in starts[1:]] + [len(commands)]):
        items[start[1]] = items.get(start[1], "") + commands[start.start():end]
    common = set(listed_options(commands[:starts[0].start()]))
    names = {c["name"] for c in table["commands"]}
    problems += [f"command '{c}' is not in the man page" for c in sorted(names - items.keys())]
    problems += [f"command '{c}' of the man page does not exist" for c in sorted(items.keys() - names - {"help", "version"})]
    for command in sorted(names & items.keys()):
        wanted = {o["name"] for o in table["options"] if "help" in o and command in o["commands"]}
        if common | set(listed_options(items[command])) != wanted:
            problems.append(f"the options of command '{command}' in the man page are not those it takes; the line "
                            f"'.\\\" options of {command}' behind its text makes the list")
    return problems


def check_options(table, text):
    options = {o["name"]: o for o in table["options"]}
    text = LISTS.sub("", text)
    mentioned = set(OPTION.findall(text))
    described = {name for item in ITEM.findall(section(text, "OPTIONS")) for name in OPTION.findall(item)}
    problems = [f"option --{o} of the man page does not exist" for o in sorted(mentioned - options.keys())]
    problems += [f"option --{o} is not in the man page" for o in sorted(options.keys() - mentioned)]
    problems += [f"option --{name} is not described under OPTIONS" for name, o in sorted(options.items())
                 if "help" in o and name not in described]
    problems += [f"option --{name} is described under OPTIONS, and no help shows it" for name in sorted(described & options.keys())
                 if "help" not in options[name] and "alias-of" not in options[name]]
    refused = set(OPTION.findall(section(text, "NOT SUPPORTED YET").split("\n.Pp", 1)[0]))
    problems += [f"option --{name} is not under NOT SUPPORTED YET" for name, o in sorted(options.items())
                 if o["unsupported"] and not o["commands"] and name not in refused]
    problems += [f"option --{name} is supported" for name in sorted(refused & options.keys() - PARTLY_SUPPORTED)
                 if not options[name]["unsupported"]]
    return problems


def check(table, man_text):
    text = "\n".join(line for line in man_text.splitlines() if not line.startswith('.\\"')) + "\n"
    return check_commands(table, text) + check_options(table, text)


if __name__ == "__main__":
    listing = subprocess.run([sys.argv[1], "help", "--format=json"], capture_output=True, check=True, timeout=60).stdout
    found = check(json.loads(listing), Path(sys.argv[2]).read_text(encoding="utf-8"))
    print("\n".join(found))
    sys.exit(1 if found else 0)
