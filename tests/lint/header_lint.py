#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each public header compiles alone as C99, C17 and C++17; each header of core compiles alone as C17.

usage: header_lint.py SOURCE_ROOT    exit 77 = a compiler is missing
"""
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
PUBLIC = [
    (["gcc", "-x", "c", "-std=c99"]),
    (["gcc", "-x", "c", "-std=c17"]),
    (["g++", "-x", "c++", "-std=c++17"]),
    (["clang", "-x", "c", "-std=c99"]),
    (["clang", "-x", "c", "-std=c17"]),
    (["clang++", "-x", "c++", "-std=c++17"]),
]
# Scope cleanup and statement expressions are GNU C.
PRIVATE = [["gcc", "-x", "c", "-std=c17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]]


def compile_alone(root, name, command):
    # Twice: a missing include guard shows.
    source = f'#include "{name}"\n#include "{name}"\n'
    full = command + [f"-I{root}", f"-I{root}/plugin-api/include", "-"]
    done = subprocess.run(full, input=source, capture_output=True, text=True, check=False)
    return f"{' '.join(command)}: {name}\n{done.stderr}" if done.returncode else None


def check_tree(root):
    include = root / "plugin-api" / "include"
    jobs = [
        (str(path.relative_to(include)), command + STRICT)
        for path in sorted(include.rglob("*.h"))
        for command in PUBLIC
    ]
    jobs += [(str(p.relative_to(root)), command) for p in sorted((root / "core").rglob("*.h")) for command in PRIVATE]
    if not jobs:
        return [f"no headers below {root}: nothing was checked"]
    with ThreadPoolExecutor(2) as pool:
        return [p for p in pool.map(lambda job: compile_alone(root, *job), jobs) if p]


if __name__ == "__main__":
    missing = [c for c in sorted({command[0] for command in PUBLIC}) if not shutil.which(c)]
    if missing:
        print("not installed:", *missing)
        sys.exit(77)
    found = check_tree(Path(sys.argv[1]).resolve())
    print("\n".join(found))
    sys.exit(1 if found else 0)
