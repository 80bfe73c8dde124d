# SPDX-License-Identifier: Apache-2.0
"""The command check: each thing it looks at, good and bad, and its exit codes for monitoring."""
import json
import re

from processes import snapshot
from test_versions import rights
from tool import gsp


def check(catalog, *args, user=None, code=None, data=None):
    """Runs it; returns its probes by name."""
    connection = ["-h", catalog.cluster.socket_dir, "-d", "postgres", "-U", user or "postgres"]
    result = gsp("check", *catalog.where, "-D", data or catalog.cluster.data, *connection, "--format=json", *args, codes=(0, 1, 2))
    report = json.loads(result.out)
    assert {0: "OK", 1: "WARNING", 2: "ERROR"}[result.code] == report["state"], result
    if code is not None:
        assert result.code == code, result
    probes = {}
    for probe in report["probes"]:
        assert ("fix" in probe) == (probe["state"] != "OK"), probe
        probes.setdefault(probe["probe"], []).append(probe)
    return probes


def bad(probes):
    return {name: found for name, all_found in probes.items() if (found := [p for p in all_found if p["state"] != "OK"])}


def test_what_is_wrong_and_how_it_is_mended(bench, pg15):
    source = bench.cluster(pg15)
    catalog = bench.catalog(source)
    assert set(bad(check(catalog, code=2))) == {"last-good-backup"}
    catalog.backup(check=False)
    before = snapshot(catalog.path)
    good = check(catalog, code=0)
    assert {"rights", "wal-level", "wal-senders", "replication-slots", "clock", "page-checksums", "data-directory",
            "replication", "catalog-space", "leftover"} <= set(good)
    plain = gsp("check", *catalog.where, "-D", source.data, *source.connection_options)
    assert plain.code == 0 and all(line.startswith("OK ") for line in plain.out.splitlines()), plain
    assert snapshot(catalog.path) == before, "a check changes nothing"
    old = catalog.copy(bench.new("old"))
    (control,) = old.path.glob("backups/*/*/backup.control")
    control.write_text(re.sub("recovery-time = .*", "recovery-time = '2020-01-01 00:00:00+00'", control.read_text()))
    assert set(bad(check(old, code=1))) == {"last-good-backup"}
    check(old, "--max-age=36500d", code=0)
    source.check_out_of_backup_mode()

    source.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    (slot,) = bad(check(catalog, code=1))["slot-left-behind"]
    assert "'forgotten' is not in use and holds" in slot["found"]
    source.sql(re.search("SELECT .*;", slot["fix"])[0])

    # A role without any right: every fix is a statement, and with all of them there is nothing left to mend.
    source.sql("CREATE ROLE backup LOGIN")
    found = bad(check(catalog, user="backup", code=2))
    assert set(found) == {"rights", "replication"} and len(found["rights"]) == 4, found
    for probe in found["rights"]:
        source.sql(probe["fix"])
    check(catalog, user="backup", code=0)

    # Two clusters look the same but for where they lie.
    other = bench.cluster(pg15)
    catalog.cluster = other
    assert "data-directory" in bad(check(catalog, data=source.data, code=2))
    catalog.cluster = source

    source.stop()
    with open(source.data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write("wal_level = minimal\nmax_wal_senders = 0\nwal_sender_timeout = 1s\n")
    source.start()
    assert {"wal-level", "wal-senders", "wal-sender-timeout", "replication"} == set(bad(check(catalog, code=2)))
    source.stop()
    found = check(catalog, code=2)
    assert set(bad(found)) == {"connection"} and "last-good-backup" in found, "the catalog is looked at all the same"


def test_a_check_that_does_not_come_about_is_no_verdict(bench, pg15):
    source = bench.cluster(pg15)
    catalog = bench.catalog(source)
    for arguments in (["-B", catalog.path, "--instance=nobody"], ["-B", catalog.path],
                      [*catalog.where, "--max-age=soon"], [*catalog.where, "--no-such-option"]):
        result = gsp("check", *arguments, codes=(3,))
        assert len(result.errors) == 1 and result.out == "", result


def test_role_with_the_documented_rights(bench, pg):
    summaries = pg.major >= 17
    source = bench.cluster(pg, settings="summarize_wal = on\n" if summaries else "")
    for statement in rights(pg):
        source.sql(statement)
    catalog = bench.catalog(source)
    backup_id = catalog.backup(check=False)
    check(catalog, user="backup", code=0)
    if summaries:
        # As if this were a backup of mode PTRACK: the next one will need the summaries.
        control = catalog.dir(backup_id) / "backup.control"
        control.write_text(control.read_text().replace("backup-mode = FULL", "backup-mode = PTRACK"))
        source.sql("ALTER SYSTEM SET summarize_wal = off")
        source.sql("SELECT pg_reload_conf()")
        (blocks,) = bad(check(catalog, user="backup", code=2))["changed-blocks"]
        assert "summarize_wal = on" in blocks["fix"]
