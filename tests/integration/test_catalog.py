# SPDX-License-Identifier: Apache-2.0
"""What stands in the catalog, and the commands that read and change it."""
import json
import os
import re
import subprocess

import pytest

from processes import popen, snapshot
from tool import BINARY, Catalog, check_written, gsp, gsp_fails, gsp_ok


@pytest.fixture(scope="module")
def source(shop, pg15):
    cluster = shop.cluster(pg15)
    cluster.pgbench_init(1)
    cluster.tablespace("elsewhere")
    cluster.sql("CREATE TABLE far TABLESPACE elsewhere AS SELECT generate_series(1, 100) AS id")
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def catalog(bench, source):
    return bench.catalog(source)


def mode(path):
    return path.lstat().st_mode & 0o7777


# Layout and files.


def test_init_and_add_instance(bench, source):
    path = bench.new("new") / "deeper" / "catalog"
    gsp_ok("init", "-B", path)
    assert sorted(p.name for p in path.iterdir()) == ["backups", "wal"]
    added = gsp_ok("add-instance", "-B", path, "-D", source.data, "--instance=main")
    assert "Instance 'main' successfully inited" in added.err
    assert added.out == ""
    for folder in (path, path / "backups", path / "wal", path / "backups/main", path / "wal/main"):
        assert mode(folder) == 0o700, folder
    conf = path / "backups/main/pg_probackup.conf"
    assert mode(conf) == 0o600
    identifier = source.sql("SELECT system_identifier FROM pg_control_system()")[0][0]
    assert conf.read_text() == (f"# Backup instance information\npgdata = {source.data}\nsystem-identifier = {identifier}\n")


def test_files_of_a_backup(catalog, source):
    backup_id = catalog.backup("--compress-algorithm=zlib", "--note=first")
    path = catalog.dir(backup_id)
    assert sorted(p.name for p in path.iterdir()) == ["backup.control", "backup_content.control", "database",
                                                       "page_header_map"]
    for name in ("backup.control", "backup_content.control", "page_header_map"):
        assert mode(path / name) == 0o600
    database = path / "database"
    assert all(mode(p) == 0o700 for p in database.rglob("*") if p.is_dir())
    assert {"backup_label", "tablespace_map", "database_map", "PG_VERSION"} <= {p.name for p in database.iterdir()}
    assert not any(p.is_symlink() for p in database.rglob("*"))

    files = catalog.file_list(backup_id)
    stored = {str(p.relative_to(database)) for p in database.rglob("*") if p.is_file()}
    assert stored == {name for name, entry in files.items()
                      if int(entry["mode"]) & 0o170000 == 0o100000 and int(entry["size"]) > 0}
    for name in stored:
        assert (database / name).stat().st_size == int(files[name]["size"]), name
    for absent in ("postmaster.pid", "postmaster.opts"):
        assert absent not in files, "belongs to a running server"
    accounts = files[source.relation_path("pgbench_accounts")]
    assert accounts["is_datafile"] == "1" and accounts["compress_alg"] == "zlib"
    assert int(accounts["n_blocks"]) == source.sql("SELECT pg_relation_size('pgbench_accounts') / 8192")[0][0]

    check_written(path, quick=False)
    control = (path / "backup.control").read_text()
    for line in ("backup-mode = FULL", "stream = true", "compress-alg = zlib", "block-size = 8192", "program-version = 2.4.2",
                 "server-version = 15", "status = OK", "storage-type = FILE", "s3-status = UNKNOWN",
                 "note = 'first'"):
        assert re.search(f"^{re.escape(line)}$", control, re.M), control


def test_everything_in_pgdata_that_counts_is_listed(catalog, source):
    backup_id = catalog.backup()
    files = catalog.file_list(backup_id)
    for path in source.data.rglob("*"):
        name = str(path.relative_to(source.data))
        if re.match(r"pg_(wal|replslot|dynshmem|notify|serial|snapshots|stat_tmp|subtrans|internal_init|tblspc)/|postmaster\.", name):
            continue
        if path.is_file() and not re.search(r"pg_internal\.init|pgsql_tmp", name):
            assert name in files, name
    for name in ("pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"):
        assert name in files, f"{name} is listed as an empty directory"


# show


LIST_KEYS = ["id", "backup-mode", "wal", "compress-alg", "compress-level", "from-replica", "block-size", "xlog-block-size",
             "checksum-version", "program-version", "server-version", "current-tli", "parent-tli", "start-lsn", "stop-lsn",
             "start-time", "end-time", "recovery-xid", "recovery-time", "recovery-name", "data-bytes", "wal-bytes",
             "uncompressed-bytes", "pgdata-bytes", "dssdata-bytes", "status", "note", "content-crc"]


def test_show_json(catalog):
    backup_id = catalog.backup("--note=a \"quoted\" \\ note, 'with' ä")
    shown = gsp_ok("show", *catalog.where, "--format=json")
    (backup,) = json.loads(shown.out)["backup_info"][0]["backups"]
    assert list(backup) == LIST_KEYS
    assert backup["id"] == backup_id
    assert (backup["backup-mode"], backup["wal"], backup["from-replica"], backup["status"]) == ("FULL", "STREAM", "false", "OK")
    assert backup["note"] == "a \"quoted\" \\ note, 'with' ä"
    assert backup["wal-bytes"] % (16 << 20) == 0 and backup["wal-bytes"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d(:\d\d)?", backup["start-time"])
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", backup["stop-lsn"])
    assert shown.out.startswith('{\n    "backup_info": [\n        {\n            "instance": "main",\n')
    assert gsp_ok("show", *catalog.where, "--format=json", "-i", backup_id).out == shown.out


def test_show_json_of_no_backups(catalog):
    out = gsp_ok("show", *catalog.where, "--format=json").out
    assert json.loads(out) == {"backup_info": [{"instance": "main", "backups": []}]}


def test_show_plain(catalog):
    backup_id = catalog.backup("--compress-algorithm=zlib")
    one = gsp_ok("show", *catalog.where).out
    lines = one.splitlines()
    assert lines[0] == lines[2] and set(lines[0]) == {"="} and len(lines) == 4
    assert lines[1].split() == ("Instance Version ID Recovery Time Mode WAL Mode TLI Time Data WAL Zratio Start LSN Stop LSN "
                                "Type S3 Status Status").split()
    assert len(lines[1]) == len(lines[0]) == len(lines[3])
    cells = lines[3].split()
    assert cells[:3] == ["main", "15", backup_id] and cells[-1] == "OK"
    everything = gsp_ok("show", "-B", catalog.path).out
    assert everything == f"\nBACKUP INSTANCE 'main'\n{one}"
    text = gsp_ok("show", *catalog.where, "-i", backup_id).out
    assert "status = OK\n" in text and text.startswith("#Configuration\n")


def test_show_changes_nothing(catalog):
    catalog.backup()
    before = snapshot(catalog.path)
    for args in (["-B", catalog.path], catalog.where, [*catalog.where, "--format=json"]):
        gsp_ok("show", *args)
    assert snapshot(catalog.path) == before


# Configuration


def test_set_config_keeps_what_it_does_not_change(catalog):
    conf = catalog.config_file
    conf.write_text("# mine: do not touch\n" + conf.read_text() + "\n# Added by hand\nfuture-key = 'a # b'\n")
    quiet = gsp_ok("set-config", *catalog.where, "--retention-window=7", "--pghost=/tmp/a b", "--archive-timeout=300")
    assert quiet.out == ""
    text = conf.read_text()
    assert text.startswith("# mine: do not touch\n# Backup instance information\npgdata = ")
    assert "\n# Added by hand\nfuture-key = 'a # b'\n" in text
    for line in ("retention-window = 7", "pghost = '/tmp/a b'", "archive-timeout = 5min"):
        assert re.search(f"^{re.escape(line)}$", text, re.M), text
    assert mode(conf) == 0o600
    assert list(conf.parent.iterdir()) == [conf], "no temporary file is left"

    gsp_ok("set-config", *catalog.where, "--retention-window=8")
    assert conf.read_text() == text.replace("retention-window = 7", "retention-window = 8")


def test_unknown_key_in_the_configuration_is_one_warning(catalog):
    with open(catalog.config_file, "a", encoding="utf-8") as conf:
        conf.write("future-key = 1\n")
    warnings = gsp_ok("show-config", *catalog.where).warnings
    assert len(warnings) == 1 and "future-key" in warnings[0], warnings


def test_show_config(catalog, source):
    gsp_ok("set-config", *catalog.where, "--compress-algorithm=zlib", "-U", "postgres", "--retention-redundancy=3")
    shown = json.loads(gsp_ok("show-config", *catalog.where, "--format=json").out)
    assert all(isinstance(value, str) for value in shown.values())
    assert shown["pgdata"] == str(source.data)
    assert (shown["compress-algorithm"], shown["pguser"], shown["retention-redundancy"]) == ("zlib", "postgres", "3")
    for key in ("system-identifier", "archive-timeout", "log-level-console", "log-level-file", "log-filename",
                "log-rotation-size", "log-rotation-age", "retention-window", "wal-depth", "compress-level", "remote-proto",
                "enable-dss", "instance-id"):
        assert key in shown, key
    plain = gsp_ok("show-config", *catalog.where).out
    assert "# Connection parameters\n" in plain and "pguser = postgres\n" in plain
    assert dict(re.findall(r"^([\w.-]+) = (.*)$", plain, re.M)) == shown


def test_who_set_what(catalog):
    gsp_ok("set-config", *catalog.where, "--retention-redundancy=3")
    shown = gsp_ok("show-config", *catalog.where, "--origin", env={"PGDATABASE": "fromenv"}).out
    by_key = {line.split(" = ")[0]: line for line in shown.splitlines() if " = " in line}
    assert "pg_probackup.conf" in by_key["retention-redundancy"]
    assert "default" in by_key["wal-depth"]
    assert "PGDATABASE" in by_key["pgdatabase"]


def test_precedence(catalog):
    """environment < pg_probackup.conf < command line"""
    def database(**kwargs):
        return json.loads(gsp_ok("show-config", *catalog.where, "--format=json", **kwargs).out)["pgdatabase"]
    assert database(env={"PGDATABASE": "fromenv"}) == "fromenv"
    gsp_ok("set-config", *catalog.where, "-d", "fromconf")
    assert database(env={"PGDATABASE": "fromenv"}) == "fromconf"
    catalog.backup()  # says -d postgres


def test_stray_pgdata_does_not_redirect_a_backup(catalog, bench):
    catalog_backup = catalog.backup(env={"PGDATA": str(bench.new("stray"))})
    assert catalog.status(catalog_backup) == "OK"


def test_connection_from_the_configuration(catalog, source):
    gsp_ok("set-config", *catalog.where, *source.connection_options)
    gsp_ok("backup", *catalog.where, "-b", "full", "--no-sync")
    assert [backup["status"] for backup in catalog.show()] == ["OK"]


# delete, set-backup, del-instance


def test_delete(catalog):
    first, second = catalog.backup(), catalog.backup()
    gsp_ok("delete", *catalog.where, "-i", first)
    assert list(catalog.backups()) == [second]
    assert not catalog.dir(first).exists()
    assert catalog.validate().code == 0


def test_id_in_lower_case(catalog):
    backup_id = catalog.backup()
    assert catalog.validate("-i", backup_id.lower()).code == 0


def test_notes(catalog):
    backup_id = catalog.backup()
    before = (catalog.dir(backup_id) / "backup.control").read_text()
    done = gsp_ok("set-backup", *catalog.where, "-i", backup_id, "--note=hello world\nsecond line")
    assert f"Adding note to backup {backup_id}: 'hello world'" in done.err
    assert catalog.backups()[backup_id]["note"] == "hello world"
    check_written(catalog.dir(backup_id))
    gsp_ok("set-backup", *catalog.where, "-i", backup_id, "--note=none")
    assert (catalog.dir(backup_id) / "backup.control").read_text() == before
    assert mode(catalog.dir(backup_id) / "backup.control") == 0o600


def test_del_instance(catalog):
    catalog.backup()
    gsp_ok("del-instance", *catalog.where)
    assert [list((catalog.path / name).iterdir()) for name in ("backups", "wal")] == [[], []]


def test_two_instances(catalog, bench, pg15):
    other = bench.cluster(pg15, fresh=True)
    second = Catalog(catalog.path, other, "second")
    gsp_ok("add-instance", *second.where, "-D", other.data)
    catalog.backup()
    second.backup()
    listing = json.loads(gsp_ok("show", "-B", catalog.path, "--format=json").out)["backup_info"]
    assert sorted((i["instance"], len(i["backups"])) for i in listing) == [("main", 1), ("second", 1)]
    assert gsp_ok("validate", "-B", catalog.path).code == 0
    gsp_ok("del-instance", *second.where)
    assert len(catalog.backups()) == 1


# Several at once


def test_two_backups_in_the_same_second(catalog):
    processes = [catalog.start_backup("--note", f"n{i}") for i in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    backups = catalog.backups()
    assert len(backups) == 2 and {b["status"] for b in backups.values()} == {"OK"}
    for backup_id in backups:
        check_written(catalog.dir(backup_id))
    assert catalog.validate().code == 0


def test_lock_of_a_dead_process_is_no_obstacle(catalog):
    backup_id = catalog.backup()
    process = popen(["true"])
    process.wait()
    lock = catalog.dir(backup_id) / "backup.pid"
    lock.write_text(f"{process.pid}\n")
    assert catalog.validate("-i", backup_id).code == 0
    lock.write_text(f"{process.pid}\n")
    gsp_ok("delete", *catalog.where, "-i", backup_id)
    assert catalog.backups() == {}


def test_backup_in_use_is_not_deleted(catalog, source):
    backup_id = catalog.backup()
    holder = popen(["sleep", "600"])
    try:
        (catalog.dir(backup_id) / "backup_ro.pid").write_text(f"{holder.pid}\n")
        result = gsp("delete", *catalog.where, "-i", backup_id, timeout=100)
        assert result.code == 1 and len(result.errors) == 1, result
        assert backup_id in result.errors[0], result
        assert catalog.status(backup_id) == "OK"
    finally:
        holder.kill()
        holder.wait()
    gsp_ok("delete", *catalog.where, "-i", backup_id)


def test_locks_are_gone_afterwards(catalog, bench):
    backup_id = catalog.backup()
    catalog.validate()
    for name in ("backup.pid", "backup.owner", "backup_ro.pid"):
        assert not (catalog.dir(backup_id) / name).exists(), name


# Output


def test_levels_that_mean_something_else(catalog):
    """Said before anything is done; these backups are refused for another reason."""
    for algorithm, level, warning in (("lz4", 2, "Compression level will be set to 1 due to lz4 only supports level 0 and 1!"),
                                      ("lz4", 1, None), ("zstd", 0, "Compression level 0 will lead to data bloat!"),
                                      ("zlib", 0, "Compression level 0 will lead to data bloat!"), ("zstd", 9, None)):
        result = gsp_fails(*catalog.backup_args(f"--compress-algorithm={algorithm}", f"--compress-level={level}",
                                                mode="PTRACK"), message="")
        assert result.warnings == ([warning] if warning else []), result


def test_results_on_stdout_messages_on_stderr(catalog):
    result = gsp_ok(*catalog.backup_args("--progress", "--compress"))
    assert result.out == ""
    assert re.search(r"^INFO: Backup start, gs_probackup version: .*, instance: main, backup ID: \w+, backup mode: FULL, "
                     r"wal mode: STREAM, .*compress-algorithm: zlib, compress-level: 1$", result.err, re.M), result
    assert re.search(r"^INFO: Backup \w+ completed$", result.err, re.M), result
    assert all(re.match(r"(INFO|WARNING|LOG): ", line) for line in result.err.splitlines()), result
    quiet = gsp_ok(*catalog.backup_args("--log-level-console=off"))
    assert quiet.err == "" and quiet.out == ""


def test_log_file(catalog):
    gsp_ok(*catalog.backup_args("--log-level-file=info"))
    log = catalog.path / "log" / "pg_probackup.log"
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ \[\d+\]: INFO: Backup start", log.read_text(), re.M)


def test_password_is_not_shown(catalog, source):
    result = gsp_ok(*catalog.backup_args("-W", "s3cr3t-word", "--log-level-file=verbose", "--log-level-console=verbose"))
    assert "s3cr3t-word" not in result.err
    assert "s3cr3t-word" not in (catalog.path / "log" / "pg_probackup.log").read_text()


def test_closed_standard_output(catalog):
    """`gs_probackup show | head -0` is not a crash."""
    catalog.backup()
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = popen([BINARY, "show", *catalog.where], stdout=write_end, stderr=subprocess.PIPE)
    os.close(write_end)
    _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 1) and "Sanitizer" not in err, err
