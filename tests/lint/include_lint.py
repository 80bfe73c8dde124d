#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every #include against the table of who may include whom, and who may end the process or write stdout.

usage: include_lint.py SOURCE_ROOT
"""
import re
import sys
from pathlib import Path

# Each layer may include itself and the ones before it.
CORE_LAYERS = ["base", "io", "plugin", "config", "catalog", "engine", "agent", "cli"]

# Third-party headers and the only folders of core that may know them. Plugins bring their own library.
THIRD_PARTY = {
    "ltdl.h": {"plugin"},
    "yaml.h": {"config"},
    "ini.h": {"config"},
    "zlib.h": {"base", "io", "catalog"},
    "libpq-fe.h": set(),
    "libdeflate.h": set(),
    "isa-l/igzip_lib.h": set(),
    "lz4.h": set(),
    "zstd.h": set(),
}

# Only core/cli ends the process or speaks on stdout.
CLI_ONLY = re.compile(r"(?<![\w.>])(exit|_exit|_Exit|quick_exit|abort|printf|vprintf|puts|putchar)\s*\(|\bstdout\b")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def without_comments_and_strings(text):
    return NOISE.sub(lambda m: "\n" * m.group().count("\n"), text)


def core_problem(layer, quote, name):
    if quote == "<":
        if layer not in THIRD_PARTY.get(name, {layer}):
            return f"core/{layer} must not know <{name}>"
        return None
    if name.startswith("gsp/"):
        return None
    target = re.fullmatch(r"core/(\w+)/[\w.]+", name)
    if not target or target[1] not in CORE_LAYERS:
        return f'"{name}" is neither "gsp/..." nor "core/<folder>/..."'
    if CORE_LAYERS.index(target[1]) > CORE_LAYERS.index(layer):
        return f"core/{layer} must not include core/{target[1]}"
    return None


def plugin_problem(folder, quote, name):
    if quote == "<" or name.startswith("gsp/"):
        return None
    # "server/..." is what server plugins share; nothing else is shared between plugins.
    if (folder / name).is_file() or (folder.name.startswith("server") and name.startswith("server/")):
        return None
    return f'a plugin includes "gsp/..." and its own files, not "{name}"'


def api_problem(quote, name):
    if quote == '"' and not name.startswith("gsp/"):
        return f'a public header includes libc and "gsp/...", not "{name}"'
    if quote == "<" and name in THIRD_PARTY:
        return f"a public header must not need <{name}>"
    return None


def check_file(root, path):
    rel = path.relative_to(root)
    area, folder = rel.parts[0], rel.parts[1]
    text = path.read_text(encoding="utf-8")
    for match in INCLUDE.finditer(text):
        quote, name = match.groups()
        if area == "core":
            if folder not in CORE_LAYERS:
                problem = f"core/{folder} is not in the table of layers"
            else:
                problem = core_problem(folder, quote, name)
        elif area == "plugins":
            problem = plugin_problem(root / area / folder, quote, name)
        else:
            problem = api_problem(quote, name)
        if problem:
            yield f"{rel}:{text.count(chr(10), 0, match.start(2)) + 1}: {problem}"
    if not (area == "core" and folder == "cli"):
        code = without_comments_and_strings(text)
        for match in CLI_ONLY.finditer(code):
            line = code.count("\n", 0, match.start()) + 1
            yield f"{rel}:{line}: only core/cli may use {match.group().rstrip('( ')}"


def check_tree(root):
    problems, files = [], 0
    for area in ("plugin-api", "core", "plugins"):
        for path in sorted((root / area).rglob("*.[ch]")):
            files += 1
            problems.extend(check_file(root, path))
    if files == 0:
        problems.append(f"no C files below {root}: nothing was checked")
    return problems


if __name__ == "__main__":
    found = check_tree(Path(sys.argv[1]).resolve())
    print("\n".join(found))
    sys.exit(1 if found else 0)
