# SPDX-License-Identifier: Apache-2.0
"""Options of backup that change what is done on the server, in the catalog, or on the disk: each one seen at work."""
import re
import shutil

import pytest

import strict_reader
from processes import give_to_user, run, wait_until
from tool import REPOSITORY, gsp, gsp_fails, gsp_ok

# A spread checkpoint shall not take its time: only its kind is looked at.
SETTINGS = "log_replication_commands = on\nlog_checkpoints = on\ncheckpoint_completion_target = 0\n"


@pytest.fixture
def cluster(bench, pg15):
    return bench.cluster(pg15, settings=SETTINGS)


class ServerLog:
    """What the server has logged since."""

    def __init__(self, cluster):
        self.path = cluster.home / "server.log"
        self.forget()

    def forget(self):
        self.seen = self.path.stat().st_size

    def text(self):
        with open(self.path, encoding="utf-8") as log:
            log.seek(self.seen)
            return log.read()


def test_server_logs_and_slots_are_left_out_or_not(bench, cluster):
    catalog = bench.catalog(cluster)
    for name in ("log", "pg_log"):
        (cluster.data / name).mkdir()
        (cluster.data / name / "today.log").write_text("hello\n")
        give_to_user(cluster.data / name)
        give_to_user(cluster.data / name / "today.log")
    cluster.sql("SELECT pg_create_physical_replication_slot('kept')")
    logs, slots = {"log/today.log", "pg_log/today.log"}, {"pg_replslot/kept", "pg_replslot/kept/state"}
    without = set(catalog.file_list(catalog.backup("--no-validate")))
    assert {"log", "pg_log", "pg_replslot"} <= without and not (logs | slots) & without
    backup_id = catalog.backup("--no-validate", "--backup-pg-log", "--backup-pg-replslot")
    assert logs | slots <= set(catalog.file_list(backup_id))
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id)
    copy = bench.restored(cluster.version, data)
    assert (copy.data / "log" / "today.log").read_text() == "hello\n"
    copy.start()
    assert copy.sql("SELECT slot_name FROM pg_replication_slots") == [("kept",)]


def test_slots_and_checkpoints(bench, cluster):
    catalog, log = bench.catalog(cluster), ServerLog(cluster)
    quick = ["--no-validate"]
    # As they come: a slot of its own, and no waiting for the checkpoint.
    cluster.sql("CREATE TABLE t AS SELECT 1")
    catalog.backup(*quick, check=False)
    wait_until(lambda: "checkpoint complete" in log.text(), "the checkpoint in the log")
    assert re.search(r'CREATE_REPLICATION_SLOT "\S+" TEMPORARY PHYSICAL', log.text())
    assert "checkpoint starting: immediate force wait" in log.text()

    cluster.sql("SELECT pg_create_physical_replication_slot('kept')")
    cluster.sql("INSERT INTO t VALUES (2)")
    log.forget()
    catalog.backup(*quick, "-S", "kept", "-C", check=False)
    wait_until(lambda: "checkpoint complete" in log.text(), "the checkpoint in the log")
    assert "CREATE_REPLICATION_SLOT" not in log.text() and 'START_REPLICATION SLOT "kept"' in log.text()
    assert "checkpoint starting: force wait" in log.text()  # and not immediate
    assert cluster.sql("SELECT restart_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'kept'") == [(True,)]

    for options, name in (([], "pg_probackup_slot"), (["-S", "mine"], "mine")):
        log.forget()
        catalog.backup(*quick, "--temp-slot", *options, check=False)
        assert f'CREATE_REPLICATION_SLOT "{name}" TEMPORARY PHYSICAL' in log.text()
        assert f'START_REPLICATION SLOT "{name}"' in log.text()
    wait_until(lambda: cluster.sql("SELECT slot_name FROM pg_replication_slots") == [("kept",)], "the slots to go")


def test_passwords(bench, cluster):
    catalog = bench.catalog(cluster)
    cluster.sql("ALTER ROLE postgres PASSWORD 'it''s secret'")
    lines = (cluster.data / "pg_hba.conf").read_text()
    (cluster.data / "pg_hba.conf").write_text(re.sub(r"\btrust$", "scram-sha-256", lines, flags=re.M))
    cluster.sql("SELECT pg_reload_conf()")
    command = catalog.backup_args("--no-validate")

    def asked():
        return "no password supplied" in gsp(*command, "-w").errors[0]

    wait_until(asked, "the server to ask")
    # Nobody is at the terminal.
    gsp_fails(*command, "-w", message="no password supplied", unchanged=[catalog.path])
    gsp_fails(*command, message="password", hint="-W", unchanged=[catalog.path], start_new_session=True)
    gsp_fails(*command, "-W", "wrong", message="password authentication failed", unchanged=[catalog.path])
    result = gsp_ok(*command, "-W", "it's secret")
    assert "secret" not in result.err
    passwords = bench.new("pgpass")
    passwords.write_text("*:*:*:*:it's secret\n")
    passwords.chmod(0o600)
    give_to_user(passwords)
    gsp_ok(*command, "-w", env={"PGPASSFILE": passwords})


def stored_page_is_wrong(catalog, backup_id, path):
    """One byte of a page in the catalog differs, and all checksums of the file and of the list are made to fit."""
    folder = catalog.dir(backup_id)
    stored = folder / "database" / path
    data = bytearray(stored.read_bytes())
    data[-1] ^= 0xff
    stored.write_bytes(data)
    content = folder / "backup_content.control"
    lines = content.read_text().splitlines(keepends=True)
    (at,) = [i for i, line in enumerate(lines) if f'"path":"{path}"' in line]
    lines[at] = re.sub(r'"crc":"\d+"', f'"crc":"{strict_reader.crc32c(bytes(data))}"', lines[at])
    content.write_text("".join(lines))
    control = folder / "backup.control"
    control.write_text(re.sub(r"content-crc = \d+", f"content-crc = {strict_reader.crc32c(content.read_bytes())}",
                              control.read_text()))


def test_what_is_validated(bench, cluster):
    catalog = bench.catalog(cluster)
    cluster.sql("CREATE TABLE t AS SELECT generate_series(1, 10)")
    path = cluster.relation_path("t")
    done = catalog.backup("--no-validate", check=False)
    assert catalog.status(done) == "DONE"
    skimmed = gsp_ok(*catalog.backup_args("--skip-block-validation", "--log-level-console=verbose"))
    assert "data files are valid" in skimmed.err and catalog.show()[0]["status"] == "OK", skimmed

    stored_page_is_wrong(catalog, done, path)
    assert catalog.validate("-i", done, "--skip-block-validation").code == 0
    assert catalog.status(done) == "OK"
    gsp_ok("restore", *catalog.where, "-D", bench.new("data"), "-i", done, "--skip-block-validation", "--no-sync")
    result = catalog.validate("-i", done)
    assert result.code == 1 and path in result.err, result
    assert catalog.status(done) == "CORRUPT"


@pytest.fixture
def recorder(bench):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for the recorder")
    library = bench.new("recorder")
    run(["cc", "-std=c17", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", library,
         REPOSITORY / "tests/doubles/syscall_recorder.c"], as_root=True)
    library.chmod(0o755)
    return library


def test_nothing_waits_for_the_disk(bench, cluster, recorder):
    catalog = bench.catalog(cluster)

    def syncs(*command):
        """How often a command waits for one file, on a file system that does not sync all of them at once."""
        log = bench.new("log")
        gsp_ok(*command, env={"LD_PRELOAD": recorder, "GSP_RECORD_LOG": log, "GSP_RECORD_SCOPE": bench.path,
                              "GSP_RECORD_FS": "nfs"})
        written = log.read_bytes()
        log.unlink()
        assert re.search(rb"^write\t", written, re.M)
        return len(re.findall(rb"^fsync\t", written, re.M))

    backup = ["backup", *catalog.where, "-b", "FULL", *cluster.connection_options, "--no-validate"]
    # What is left are the control file, the settings and the locks, which others rely on.
    assert syncs(*backup) > 500 and syncs(*backup, "--no-sync") < 50
    restore = ["restore", *catalog.where, "--no-validate", "-D"]
    assert syncs(*restore, bench.new("data")) > 500 and syncs(*restore, bench.new("data"), "--no-sync") < 50
