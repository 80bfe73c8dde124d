#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules that no compiler knows: forbidden functions, sizes, licence lines, words that must not stay.

usage: text_lint.py SOURCE_ROOT
"""
import re
import sys
from pathlib import Path

MAX_FILE_LINES = 800
LONG_FUNCTION_LINES = 60  # asks for a split: reported
MAX_FUNCTION_LINES = 80  # fails

FORBIDDEN = re.compile(r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atoll|alloca|gets|tmpnam|mktemp|system|"
                       r"localtime|gmtime|asctime|ctime|strsignal|setenv|putenv|unsetenv|rand|getpwnam|getpwuid)\s*\(")
PRODUCT = {"core", "plugins", "plugin-api"}
NOISE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
# Spelled so that this file does not find itself.
LEFTOVER = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
MACHINE = re.compile(r"(?<![\w.$}/])/(?:wo" r"rk|ro" r"ot)/|\.\./sha" r"red\b")
MACHINE_EXEMPT = {".ci/run"}  # where the fixtures of the continuous integration lie

SKIPPED_FOLDERS = {".git", ".cache", "__pycache__", ".pytest_cache"}
CODE = {".c", ".h", ".py", ".sh", ".cpp"}
TEXT = CODE | {".md", ".build", ".txt", ".yaml", ".yml", ".in", ".options", ""}


def source_files(root):
    for path in sorted(root.rglob("*")):
        rel = path.relative_to(root)
        if any(part in SKIPPED_FOLDERS for part in rel.parts) or rel.parts[0].startswith("build"):
            continue
        if rel.parts[:2] in (("tests", "data"), ("tests", "fuzz")) and path.suffix not in CODE:
            continue
        if path.is_file() and not path.is_symlink() and path.suffix in TEXT:
            yield path, rel


def function_lengths(text):
    """(line, length) of every function: in our format its braces stand alone in column 0."""
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start:
            if line == "}":
                yield start, number - start - 1
            start = None


def check_c(rel, text):
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{rel}: {lines} lines, more than {MAX_FILE_LINES}: split it"
    code = NOISE.sub(lambda m: "\n" * m.group().count("\n"), text)
    for match in FORBIDDEN.finditer(code) if rel.parts[0] in PRODUCT else ():
        yield f"{rel}:{code.count(chr(10), 0, match.start()) + 1}: {match[1]} is not used here"
    for line, length in function_lengths(text):
        if length > MAX_FUNCTION_LINES:
            yield f"{rel}:{line}: a function of {length} lines, more than {MAX_FUNCTION_LINES}: split it"


def check_text(rel, text):
    head = text[:300]
    is_script = head.startswith("#!")
    if (rel.suffix in CODE or is_script) and "SPDX-License-Identifier: Apache-2.0" not in head:
        yield f"{rel}:1: no SPDX line"
    for number, line in enumerate(text.splitlines(), 1):
        leftover = LEFTOVER.search(line)
        if leftover:
            yield f"{rel}:{number}: {leftover[0]}: do it, or open an issue"
        if MACHINE.search(line) and str(rel) not in MACHINE_EXEMPT:
            yield f"{rel}:{number}: a path of one machine: {line.strip()}"


def check_tree(root):
    problems, reports, files = [], [], 0
    for path, rel in source_files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            if path.suffix in CODE:
                problems.append(f"{rel}: not UTF-8")
            continue
        files += 1
        problems.extend(check_text(rel, text))
        if path.suffix in {".c", ".h"}:
            problems.extend(check_c(rel, text))
            reports.extend(
                f"{rel}:{line}: note: a function of {length} lines"
                for line, length in function_lengths(text)
                if LONG_FUNCTION_LINES < length <= MAX_FUNCTION_LINES
            )
    if files == 0:
        problems.append(f"no files below {root}: nothing was checked")
    return problems, reports


if __name__ == "__main__":
    found, notes = check_tree(Path(sys.argv[1]).resolve())
    print("\n".join(notes + found))
    sys.exit(1 if found else 0)
