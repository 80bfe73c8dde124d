# SPDX-License-Identifier: Apache-2.0
"""openGauss through its double, over a tiny directory: a chain, and whatever goes wrong with server and session."""
import contextlib
import re
import signal
import time

import pytest

from opengauss import OF_A_BACKUP, Source, differences, new_catalog
from processes import wait_until
from tool import failed_in_time, gsp, gsp_fails, gsp_ok

LIMIT = 2  # seconds, what the tool is told to wait at most
OF_WAL = {f"pg_xlog/00000001000000000000000{n}" for n in (3, 5)}
GRACE = 4  # what it may take beyond that, on a busy machine
SHORT = [f"--archive-timeout={LIMIT}s", "--rw-timeout=1s"]


@pytest.fixture
def source(bench):
    with contextlib.closing(Source.tiny(bench)) as made:
        yield made


def test_chain(bench, source):
    """FULL and PTRACK by TCP and by a socket, restored and merged: file by file what the source has."""
    double = source.serve(push_configuration=True)
    catalog = new_catalog(bench, source)
    full = catalog.backup()
    source.check_nothing_left()
    assert not any(event.startswith("slot") for event in double.events), "nobody asked for one"
    assert any(f"restore point pg_probackup, backup_id {full}" in event for event in double.events)
    assert any("pg_start_backup($1, $2, false)" in statement for statement in double.statements)

    home = bench.new("socket")
    home.mkdir()
    home.chmod(0o755)
    source.serve(socket_dir=home, starts=["0/5000028"], replication_port="next")
    child = catalog.backup(mode="PTRACK")
    source.check_nothing_left()
    assert catalog.stored_blocks(child) == {"base/15073/16384": [1, 2]}
    # An extent that the server keeps compressed has no pages.
    assert [catalog.file_list(full)[f"base/15073/{name}"]["is_datafile"] for name in (16384, 3)] == ["1", "0"]

    for backup_id in (full, child):
        data = bench.new("data")
        catalog.restore(data, "-i", backup_id)
        assert differences(data, source.data, OF_A_BACKUP | OF_WAL) == []
        assert (data / "backup_label").read_text().startswith(
            f"START WAL LOCATION: {'0/3000028' if backup_id == full else '0/5000028'} ")
        assert len(list((data / "pg_xlog").glob("0*"))) == 1
    gsp_ok("merge", *catalog.where, "-i", child, "--no-sync")
    data = bench.new("data")
    catalog.restore(data)
    assert differences(data, source.data, OF_A_BACKUP | OF_WAL) == []


@pytest.mark.parametrize("exclusive_only, slot", [(True, []), (True, ["--temp-slot"]), (False, ["--temp-slot"])],
                         ids=["exclusive", "exclusive-slot", "slot"])
def test_forms(bench, source, exclusive_only, slot):
    double = source.serve(exclusive_only=exclusive_only)
    catalog = new_catalog(bench, source)
    catalog.backup(*slot)
    source.check_nothing_left()
    assert any("exclusive" in e and "not" not in e for e in double.events) == exclusive_only
    assert any("dropped" in event for event in double.events) == bool(slot)
    assert not (source.data / "tablespace_map").exists()


def test_standby(bench, source):
    source.serve(standby=True)
    catalog = new_catalog(bench, source)
    backup_id = catalog.backup()
    source.check_nothing_left()
    assert catalog.backups()[backup_id]["from-replica"] == "true"
    assert "BACKUP FROM: standby" in (catalog.dir(backup_id) / "database" / "backup_label").read_text()


# ---- what goes wrong -------------------------------------------------------------------------------

# The moment and what happens then; the error; its hint.
FAULTS = {
    "silent at login": ("^SET session_timeout", "hang", "", "timeout"),
    "silent at the begin": (r"pg_start_backup\(\$1", "hang", "pg_start_backup doesn't answer in 2 seconds", "--archive-timeout"),
    "silent stream": ("START_REPLICATION", "hang-replication", "silent for 1 seconds", "timeout"),
    "silent after the begin": ("pg_database", "hang", "", "timeout"),
    "silent restore point": (r"pg_create_restore_point\(", "hang", "pg_create_restore_point doesn't answer", "--archive-timeout"),
    "slow stop": (r"pg_stop_backup\(", "slow:60", "pg_stop_backup doesn't answer in 2 seconds", "--archive-timeout"),
    "no WAL to the end": (r"pg_stop_backup\(", "hang-replication", "", "timeout"),
    "stream closed": ("START_REPLICATION", "close", "", "log"),
    "session closed": ("START_REPLICATION", "close-session", "", "log"),
    "session closed at the stop": (r"pg_stop_backup\(", "close", "", "log"),
    "stop refused": (r"pg_stop_backup\(", "error:disk full", "disk full", None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(bench, source, fault):
    """One clear error within the time limit; the server is out of backup mode, and without a slot."""
    moment, action, message, hint = FAULTS[fault]
    double = source.serve()
    catalog = new_catalog(bench, source)
    double.at(moment, action)
    began = time.monotonic()
    result = failed_in_time(catalog.start_backup("--temp-slot", *SHORT), began, 2 * LIMIT + GRACE)
    assert message.lower() in result.errors[0].lower(), result
    assert hint is None or len(result.hints) == 1 and hint in result.hints[0].lower(), result
    source.check_nothing_left()
    assert {backup["status"] for backup in catalog.show()} <= {"ERROR"}


@pytest.mark.parametrize("moment", ["START_REPLICATION", r"pg_stop_backup\("])
def test_shutdown(bench, source, moment):
    double = source.serve()
    catalog = new_catalog(bench, source)
    double.at(moment, "shutdown")
    began = time.monotonic()
    result = failed_in_time(catalog.start_backup(*SHORT), began, LIMIT + GRACE)
    assert len(result.hints) == 1 and "log" in result.hints[0], result
    source.check_nothing_left()
    assert [backup["status"] for backup in catalog.show()] == ["ERROR"]


@pytest.mark.parametrize("slot", [["--temp-slot"], ["--temp-slot", "-S", "mine"]], ids=["slot", "named"])
def test_interrupt(bench, source, slot):
    """A signal while the files are copied (or as good as): the slot is dropped, the server is out of backup mode."""
    double = source.serve()
    catalog = new_catalog(bench, source)
    double.at("pg_create_restore_point", "hang")
    process = catalog.start_backup(*slot)
    wait_until(lambda: any("pg_create_restore_point" in s for s in double.statements) or process.poll() is not None, "the end")
    assert double.in_backup_mode and double.slots
    if "mine" in slot:  # the server wants to hear of its receiver, in its own form
        wait_until(lambda: double.replies, "a reply")
        assert 0 < double.replies[-1][1] <= double.position
    process.send_signal(signal.SIGTERM)
    failed_in_time(process, time.monotonic(), GRACE)
    source.check_nothing_left()
    catalog.backup(*slot, check=False)
    source.check_nothing_left()


def test_existing_slot(bench, source):
    """It stays, and is not taken from another receiver."""
    double = source.serve()
    catalog = new_catalog(bench, source)
    double.create_slot("kept")
    catalog.backup("-S", "kept", check=False)
    wait_until(lambda: not double.slots["kept"]["active"], "the end of the stream")
    double.slots["kept"]["active"] = True
    gsp_fails(*catalog.backup_args("-S", "kept", *SHORT), message="kept")
    gsp_fails(*catalog.backup_args("-S", "none", *SHORT), message="none")
    assert not double.in_backup_mode and list(double.slots) == ["kept"]


def test_changed_blocks(bench, source):
    """The map that is not there is an error at once, and says what to do."""
    source.serve()
    catalog = new_catalog(bench, source)
    full = catalog.backup(check=False)
    for spoil, message in ((lambda: source.serve(["0/5000028"], settings={"enable_cbm_tracking": "off"}),
                            "enable_cbm_tracking"),
                           (lambda: setattr(source.serve(["0/5000028"]), "cbm_recycled", True), "CBM"),
                           (lambda: source.serve(["0/5000028"]).at(r"pg_start_backup\(", "tracking-stuck"), "")):
        spoil()
        began = time.monotonic()
        result = gsp_fails(*catalog.backup_args(*SHORT, mode="PTRACK"), message=message)
        assert time.monotonic() - began < GRACE and len(result.hints) == 1, result
        source.check_nothing_left()
    source.serve(["0/5000028"])
    child = catalog.backup(mode="PTRACK", check=False)
    assert catalog.backups()[child]["parent-backup-id"] == full


def test_already_in_progress(bench, source):
    """By another session, or by one that was killed and left its file."""
    double = source.serve(exclusive_only=True)
    catalog = new_catalog(bench, source)
    (source.data / "tablespace_map").write_text("16393 /somewhere\n")
    gsp_fails(*catalog.backup_args(), message="a backup is already in progress", hint="tablespace_map")
    (source.data / "tablespace_map").unlink()
    (source.data / "backup_label").write_text("START WAL LOCATION: 0/3000028 (file 000000010000000000000003)\n")
    gsp_fails(*catalog.backup_args(), message="a backup is already in progress", hint="backup_label")
    assert (source.data / "backup_label").exists(), "it is somebody else's"
    assert not double.in_backup_mode


def test_promoted_meanwhile(bench, source):
    double = source.serve(standby=True)
    catalog = new_catalog(bench, source)
    double.at("pg_database", "promote")
    result = gsp_fails(*catalog.backup_args("--temp-slot"), message="promoted")
    assert len(result.hints) == 1, result
    source.check_nothing_left()
    assert [backup["status"] for backup in catalog.show()] == ["ERROR"]


def test_wrong_server(bench, source, pg15):
    """Whose files, and whose session: the tool says which of them is not what it should be."""
    source.serve(system_id=4711)
    catalog = new_catalog(bench, source)
    gsp_fails(*catalog.backup_args(), message="4711")
    source.check_nothing_left()
    cluster = bench.cluster(pg15)
    source.serve()
    result = gsp_fails(*catalog.backup_args(through=cluster), message="openGauss")
    assert "PostgreSQL" in result.errors[0], result
    postgres = bench.catalog(cluster)
    result = gsp_fails(*postgres.backup_args(through=source), message="openGauss")
    source.check_nothing_left()
    assert not catalog.show() and not postgres.show()


LOGINS = {
    "sha256": ("none of the server's SASL authentication mechanisms are supported", "libpq"),
    "md5-sha256": ("AUTH_REQ_SASL_CONT", "libpq"),
    "sasl-unknown": ("SASL", "libpq"),
}


def test_login(bench, source):
    catalog = None
    for auth, (message, hint) in LOGINS.items():
        source.serve(auth=auth)
        catalog = catalog or new_catalog(bench, source)
        gsp_fails(*catalog.backup_args("-W", "secret"), message=message, hint=hint)
        source.check_nothing_left()
    source.serve(auth="md5", password="secret")
    gsp_fails(*catalog.backup_args("-W", "wrong"), message="login denied")
    catalog.backup("-W", "secret", check=False)
    source.check_nothing_left()


def test_check(bench, source):
    double = source.serve(local_role="Primary", settings={
        "enable_cbm_tracking": "off", "wal_keep_segments": "256", "password_encryption_type": "1",
        "synchronous_standby_names": "absent"})
    double.create_slot("pg_probackup_slot")
    catalog = new_catalog(bench, source)
    result = gsp("check", *catalog.where, *source.connection_options, codes=(0, 1, 2))
    states = dict(line.split()[1::-1] for line in result.out.splitlines() if re.match("(OK|WARNING|ERROR) ", line))
    for probe, state in {"changed-blocks": "WARNING", "slot-left-behind": "WARNING", "synchronous-commit": "WARNING",
                         "wal-retention": "OK", "login": "OK", "session-timeout": "OK", "wal-sender-timeout": "OK",
                         "system-id": "OK", "replication": "OK"}.items():
        assert states[probe] == state, result
    double.drop_slot("pg_probackup_slot")
    source.check_nothing_left()
