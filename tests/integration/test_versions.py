# SPDX-License-Identifier: Apache-2.0
"""What differs from server to server: sizes it was made with, and the rights of a role that is no superuser."""
import re

import pytest

from processes import run
from tool import REPOSITORY, gsp_fails, gsp_ok


@pytest.mark.parametrize("mebibytes", [1, 64])
def test_wal_segment_size(bench, pg, mebibytes):
    source = bench.cluster(pg, wal_segment=mebibytes)
    source.pgbench_init(2)
    catalog = bench.catalog(source)
    with source.load():
        backup_id = catalog.backup("-j", 2, "--compress-algorithm=zlib")
    wal = {path: f for path, f in catalog.file_list(backup_id).items() if re.fullmatch("pg_wal/[0-9A-F]{24}", path)}
    assert wal and {int(f["size"]) for f in wal.values()} == {mebibytes << 20}
    validated = catalog.validate()
    assert validated.code == 0 and not validated.warnings, validated
    data = bench.new("data")
    catalog.restore(data)
    cluster = bench.restored(pg, data)
    cluster.start()
    assert cluster.sql("SHOW wal_segment_size") == [(f"{mebibytes}MB",)]
    cluster.check_tables_and_indexes()
    assert cluster.check_pgbench_balances() > 0
    cluster.stop()
    cluster.check_page_checksums()


PAGES = 3 << 16  # 1.5 GiB: the second file of the relation begins at 1 GiB


def test_relation_of_two_segments(bench, pg15):
    source = bench.cluster(pg15, settings="wal_level = minimal\nmax_wal_senders = 0\n")
    # One row for each page; with wal_level minimal a new table is not logged row by row.
    source.sql(f"""BEGIN; CREATE TABLE wide (n int, t text);
        ALTER TABLE wide ALTER t SET STORAGE PLAIN;
        INSERT INTO wide SELECT n, repeat(md5(n::text), 250) FROM generate_series(1, {PAGES}) n; COMMIT;""")
    source.stop()
    with open(source.data / "postgresql.conf", "a", encoding="utf-8") as conf:
        conf.write("wal_level = replica\nmax_wal_senders = 5\n")
    source.start()
    source.sql("VACUUM (FREEZE) wide")
    source.sql("CHECKPOINT")
    path = source.relation_path("wide")
    assert (source.data / f"{path}.1").stat().st_size == 512 << 20
    catalog = bench.catalog(source)
    backup_id = catalog.backup("-j", 2, "--compress-algorithm=zlib")
    files = catalog.file_list(backup_id)
    assert [int(files[name]["segno"]) for name in (path, f"{path}.1")] == [0, 1]
    assert int(files[f"{path}.1"]["n_blocks"]) == PAGES - (1 << 17)
    data = bench.new("data")
    catalog.restore(data, "-j", 2, "--no-validate")
    for name in (path, f"{path}.1"):
        run(["cmp", source.data / name, data / name])
    cluster = bench.restored(pg15, data)
    cluster.start()
    assert cluster.sql("SELECT count(*), sum(n) FROM wide WHERE t = repeat(md5(n::text), 250) AND ctid >= '(131072,0)'") \
        == [(1 << 16, sum(range((1 << 17) + 1, PAGES + 1)))]


# ---- a role that is no superuser -------------------------------------------------------------------

DOCUMENTS = ["README.md", "README.zh-CN.md", "docs/man/gs_probackup.1", "plugins/server-postgresql/README.md"]


def statements(document):
    """The SQL that gives the role its rights, as the document has it, one statement a line."""
    text = re.sub(r"--.*", "", (REPOSITORY / document).read_text(encoding="utf-8"))
    return [" ".join(found.split()) for found in re.findall(r"^ *(?:CREATE ROLE|GRANT) [^;]*;", text, re.MULTILINE)]


def rights(version):
    """What README says about this version."""
    other = "pg_start_backup" if version.major >= 15 else "pg_backup_start"
    return [statement for statement in statements("README.md") if other not in statement]


@pytest.mark.parametrize("document", DOCUMENTS[1:])
def test_documents_agree_on_the_rights(document):
    assert statements(document) == statements("README.md")


def test_role_with_the_documented_rights(bench, pg):
    source = bench.cluster(pg)
    create, *grants = rights(pg)
    assert create.startswith("CREATE ROLE backup ") and len(grants) == 1, (create, grants)
    for statement in (create, *grants):
        source.sql(statement)
    assert source.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'backup'") == [(False,)]
    catalog = bench.catalog(source)
    command = ["backup", *catalog.where, "-b", "FULL", "--no-sync", "-h", source.socket_dir, "-d", "postgres", "-U", "backup"]
    result = gsp_ok(*command)
    assert not [line for line in result.warnings if "synced" not in line], result
    source.sql("SELECT pg_create_physical_replication_slot('kept')")
    gsp_ok(*command, "-S", "kept", "-C")
    # Each of them is needed; without it nothing is begun, and the hint is the way back.
    for function in re.findall(r"pg_\w+\([^)]*\)", grants[0]):
        source.sql(f"REVOKE EXECUTE ON FUNCTION {function} FROM backup")
        result = gsp_fails(*command, message="may not run backups", hint="GRANT EXECUTE ON FUNCTION",
                           unchanged=[catalog.path / "backups"])
        source.sql(re.search("GRANT .*;", result.hints[0])[0])
    source.sql("ALTER ROLE backup NOREPLICATION")
    result = gsp_fails(*command, message="replication connection", hint="ALTER ROLE", unchanged=[catalog.path / "backups"])
    source.sql(re.search("ALTER .*;", result.hints[0])[0])
    gsp_ok(*command)
    source.sql("SELECT pg_drop_replication_slot('kept')")
    source.check_out_of_backup_mode()
