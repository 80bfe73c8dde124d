#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fill the tables of the completion script in, from the program's own.

usage: generate.py PROGRAM TEMPLATE OUTPUT
"""
import json
import subprocess
import sys
from pathlib import Path

PATHS = {"DIR": "directory", "FILE": "file", "OLD=NEW": "directory"}


def kind(option):
    if "values" in option:
        return "words"
    if option["name"] in ("instance", "backup-id"):
        return option["name"]
    return PATHS.get(option.get("placeholder"), "any")


def table(name, entries):
    lines = [f"    [{key}]='{value}'" for key, value in entries.items()]
    return "\n".join([f"declare -gA {name}=(", *lines, ")"])


def tables(listing):
    shown = [o for o in listing["options"] if "help" in o]
    valued = [o for o in shown if o["type"] != "flag"]
    options = {}
    for command in (c["name"] for c in listing["commands"]):
        names = [f"--{o['name']}" + ("" if o["type"] == "flag" else "=") for o in shown if command in o["commands"]]
        options[command] = " ".join(names)
    return "\n".join([
        table("_gs_probackup_options", options),
        table("_gs_probackup_kinds", {o["name"]: kind(o) for o in valued}),
        table("_gs_probackup_words", {o["name"]: " ".join(o["values"]) for o in valued if "values" in o}),
        table("_gs_probackup_letters", {o["short"]: o["name"] for o in valued if "short" in o})])


if __name__ == "__main__":
    program, template, output = sys.argv[1:]
    listing = json.loads(subprocess.run([program, "help", "--format=json"], check=True, capture_output=True).stdout)
    Path(output).write_text(Path(template).read_text().replace("@TABLES@", tables(listing)))
