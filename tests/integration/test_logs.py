# SPDX-License-Identifier: Apache-2.0
"""The logging options, and secrets that are nowhere to be read."""
import re
import sys
import time
from pathlib import Path

import pytest

from processes import give_to_user, make_dir, wait_until
from tool import BINARY, Catalog, gsp, gsp_fails, gsp_ok

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fault"))
import cluster as synthetic  # noqa: E402

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ \[\d+\]: (VERBOSE|LOG|INFO|WARNING|ERROR): .+")
SECRET = "hunter2-is-planted"


class Instance:
    """An instance over a directory that no server has: enough for all that does not connect."""

    def __init__(self, bench):
        self.data = synthetic.make(bench.new("data"))
        for tree in (self.data, self.data.with_name(self.data.name + "-space")):
            for path in [tree, *tree.rglob("*")]:
                give_to_user(path)
        self.catalog = Catalog(bench.new("catalog"))
        gsp_ok("init", "-B", self.catalog.path)
        gsp_ok("add-instance", *self.catalog.where, "-D", self.data)
        self.where, self.log = self.catalog.where, self.catalog.path / "log"

    def lines(self, name="pg_probackup.log"):
        found = (self.log / name).read_text().splitlines()
        assert all(LINE.fullmatch(line) for line in found), found
        return found


@pytest.fixture
def instance(bench):
    return Instance(bench)


def test_levels_and_names(instance, bench):
    validate = ["validate", *instance.where]
    gsp_ok(*validate)
    assert not instance.log.exists(), "off is the default"
    result = gsp_ok(*validate, "--log-level-file=info", "--log-level-console=off")
    assert result.err == ""
    lines = instance.lines()
    assert re.search(r"INFO: command: \S*gs_probackup validate -B \S+ --instance=main --log-level-file=info ", lines[0]), lines
    assert "INFO: All backups are valid" in lines[-1]
    result = gsp_ok(*validate, "--log-level-console=verbose", "--log-level-file=off")
    assert result.lines("INFO") and len(instance.lines()) == len(lines)

    # A pattern; errors beside it; another place. The first message makes the directory.
    elsewhere = bench.new("logs") / "deep"
    make_dir(elsewhere.parent)
    named = ["--log-filename=of-%Y-%m-%d.log", "--error-log-filename=errors-%u.log", f"--log-directory={elsewhere}"]
    gsp_fails(*validate, "-i", "ZZZZZZ", "--log-level-file=warning", *named, message="Requested backup ZZZZZZ is not found")
    for pattern in ("of-%Y-%m-%d.log", "errors-%u.log"):
        (line,) = (elsewhere / time.strftime(pattern)).read_text().splitlines()
        assert "ERROR: [notfound] Requested backup ZZZZZZ is not found" in line
    # The error log needs no other.
    gsp_fails(*validate, "-i", "ZZZZZZ", *named[1:], "--log-level-console=info", message="ZZZZZZ")
    assert len((elsewhere / time.strftime("errors-%u.log")).read_text().splitlines()) == 2
    gsp_fails(*validate, "--log-directory=logs", "--log-level-file=info", message="--log-directory must be an absolute path")

    # Each command that changes something tells how it was called; the others do not.
    for command in (["set-config", *instance.where, "--retention-window=7"], ["delete", *instance.where, "--delete-expired"],
                    ["show", *instance.where], ["show-config", *instance.where]):
        before = len(instance.lines())
        gsp_ok(*command, "--log-level-file=info")
        told = [line for line in instance.lines()[before:] if f"command: {BINARY} {command[0]} " in line]
        assert len(told) == (command[0] in ("set-config", "delete")), command


def test_stored_settings_and_rotation(instance):
    gsp_ok("set-config", *instance.where, "--log-level-file=log", "--log-rotation-age=90", "--log-rotation-size=100",
           "--log-filename=stored.log", "--error-log-filename=err.log", "--log-level-console=warning")
    conf = instance.catalog.config_file.read_text()
    # A bare age is minutes, a bare size is kB; what is written has its unit.
    assert "log-rotation-age = 90min" in conf and "log-rotation-size = 100kB" in conf and "log-level-file = LOG" in conf
    assert "log-format-file" not in conf
    result = gsp_ok("validate", *instance.where)
    assert result.err == ""
    file, mark = instance.log / "stored.log", instance.log / "stored.log.rotation"
    assert abs(int(mark.read_text()) - time.time()) < 60
    first = file.read_text()

    mark.write_text(str(int(time.time()) - 89 * 60))
    gsp_ok("validate", *instance.where)
    assert file.read_text().startswith(first), "not 90 minutes old"
    mark.write_text(str(int(time.time()) - 91 * 60))
    gsp_ok("validate", *instance.where)
    assert (instance.log / "stored.log.1").read_text().startswith(first) and first not in file.read_text()

    file.write_bytes(b"." * (100 * 1024 - 1) + b"\n")
    gsp_ok("validate", *instance.where)
    assert (instance.log / "stored.log.1").stat().st_size == 100 * 1024 and file.stat().st_size < 10 * 1024
    # With a JSON file the same.
    gsp_ok("validate", *instance.where, "--log-format-file=json", "--log-filename=other")
    assert (instance.log / "other").read_text().startswith('{"time": "20')
    gsp_fails("validate", *instance.where, "--log-format-file=xml", message="--log-format-file", unchanged=[instance.log])


def cmdline(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def test_secrets_are_nowhere(bench, pg15):
    server = bench.cluster(pg15)
    catalog = bench.catalog(server)
    conf = catalog.config_file
    conf.write_text(conf.read_text() + f"access-key = {SECRET}\n")
    give_to_user(conf)
    verbose = ["--log-level-file=verbose", "--log-level-console=verbose"]
    log = catalog.path / "log"
    told = ""
    # With a password that the server does not ask for, in each way it can be given; and the site's configuration.
    process = catalog.start_backup("-W", SECRET, *verbose, "--set", f"server.postgresql.password={SECRET}")
    wait_until(lambda: log.exists() or process.poll() is not None, "the log")
    assert process.poll() is not None or SECRET not in cmdline(process.pid)
    out, err = process.communicate(timeout=60)
    told += out + err
    site = bench.new("site.yaml")
    site.write_text(f"server:\n  postgresql:\n    password: {SECRET}\n")
    site.chmod(0o600)
    give_to_user(site)
    for line in (["validate", *catalog.where], ["show-config", *catalog.where, "--origin"],
                 ["show-config", *catalog.where, "--format=json"], ["plugin", "info", "server-postgresql"],
                 ["set-config", *catalog.where, "--retention-window=3"], ["backup", *catalog.where, "-b", "FULL", "-h", "/nowhere"],
                 ["validate", *catalog.where, f"--with-key={SECRET}"], ["show", *catalog.where, f"--access-key={SECRET}"],
                 ["validate", *catalog.where, f"--set=nonsense.{SECRET}"], ["validate", *catalog.where, f"--pasword={SECRET}"]):
        result = gsp(*line, *(verbose if line[0] != "plugin" else []), f"--config={site}", env={"PGPASSWORD": SECRET})
        told += result.out + result.err
    assert "***" in told and SECRET not in told, [line for line in told.splitlines() if SECRET in line]
    lines = (log / "pg_probackup.log").read_text()
    assert re.search(r"command: .* backup .* -W \*+ .*--set server\.postgresql\.password=\*+", lines), lines[:500]
    for path in catalog.path.rglob("*"):
        if path.is_file() and path != conf:
            assert SECRET.encode() not in path.read_bytes(), path
