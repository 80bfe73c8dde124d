# SPDX-License-Identifier: Apache-2.0
"""The program itself: version, help, plugins."""
import json
import re

import pytest

from tool import gsp_ok

COMMANDS = ["init", "add-instance", "del-instance", "set-config", "set-backup", "show-config", "show", "backup", "restore",
            "validate", "delete"]


@pytest.mark.smoke
def test_version():
    for args in (["version"], ["--version"], ["-V"]):
        result = gsp_ok(*args)
        assert re.fullmatch(r"gs_probackup \d+\.\d+\.\d+ \(catalog format 2\.4\.2\)\n", result.out), result
        assert result.err == ""


def test_help():
    texts = {gsp_ok(*args).out for args in (["help"], ["--help"], ["-?"])}
    assert len(texts) == 1
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\b", next(iter(texts)), re.M), command


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command):
    text = gsp_ok("help", command).out
    assert f"gs_probackup {command}" in text
    assert gsp_ok(command, "--help").out == text
    if command != "init":
        assert "--instance" in text
    assert max(len(line) for line in text.splitlines()) <= 120


SHIPPED = {("server", "postgresql"), ("storage", "fs"), ("mode", "full"), ("compressor", "zlib"), ("compressor", "pglz"),
           ("compressor", "lz4"), ("compressor", "zstd")}


@pytest.mark.smoke
def test_plugins():
    plain = gsp_ok("plugin", "list").out
    listed = json.loads(gsp_ok("plugin", "list", "--format=json").out)
    text = json.dumps(listed)
    for kind, name in SHIPPED:
        assert re.search(rf"{kind}\W+{name}\b", plain), plain
        assert kind in text and name in text
    info = gsp_ok("plugin", "info", "zlib").out
    assert "zlib" in info and "level" in info
    assert "compressor" in json.dumps(json.loads(gsp_ok("plugin", "info", "zlib", "--format=json").out))
