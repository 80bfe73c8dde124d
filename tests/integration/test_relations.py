# SPDX-License-Identifier: Apache-2.0
"""Relations with a life of their own: unlogged, temporary, in tablespaces, changing under the backup."""
import contextlib
import re

import pytest

from changing_tables import ChangingTables, check_changing_tables
from tool import gsp_fails


@pytest.fixture(scope="module")
def source(shop, pg):
    cluster = shop.cluster(pg)
    yield cluster
    cluster.stop("immediate")


def restore_and_start(bench, catalog, backup_id, *args):
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id, "-j", 4, *args)
    cluster = bench.restored(catalog.cluster.version, data)
    cluster.start()
    return cluster


def test_tablespace_outside_pgdata(bench, pg):
    source = bench.cluster(pg)
    first, second = source.tablespace("first"), source.tablespace("second")
    source.sql("CREATE TABLE t1 TABLESPACE first AS SELECT generate_series(1, 5000) AS id")
    source.sql("CREATE TABLE t2 TABLESPACE second AS SELECT generate_series(1, 6000) AS id")
    catalog = bench.catalog(source)
    backup_id = catalog.backup()
    listed = [path for path, entry in catalog.file_list(backup_id).items()
              if path.startswith("pg_tblspc/") and entry["is_datafile"] == "1"]
    assert len(listed) >= 2, "tablespaces are backed up page by page, without -E"

    # Their old places are taken, by the source. Which of them is named depends on the server's order.
    refused = bench.new("data")
    gsp_fails("restore", *catalog.where, "-D", refused,
              message=f'restore tablespace destination is not empty: "{first.parent}/', hint="-T",
              unchanged=[refused, first, second])
    gsp_fails("restore", *catalog.where, "-D", refused, "-T", f"/no/such={bench.new('ts')}",
              message="--tablespace-mapping option's old directory doesn't have an entry in tablespace_map file: \"/no/such\"",
              unchanged=[refused, first, second])

    new_first, new_second = bench.new("ts"), bench.new("ts=odd")
    escaped = str(new_second).replace("=", "\\=")
    cluster = restore_and_start(bench, catalog, backup_id, "-T", f"{first}={new_first}", "-T", f"{second}={escaped}")
    assert cluster.sql("SELECT (SELECT count(*) FROM t1), (SELECT count(*) FROM t2)") == [(5000, 6000)]
    links = {link.readlink() for link in (cluster.data / "pg_tblspc").iterdir()}
    assert links == {new_first, new_second}
    cluster.check_tables_and_indexes()

    # With the source gone, everything goes back to where it was.
    source.stop()
    catalog.cluster = None
    for path in (first, second):
        for child in path.iterdir():
            child.rename(path.parent / f"gone-{path.name}-{child.name}")
    again = bench.new("data")
    catalog.restore(again)
    assert {link.readlink() for link in (again / "pg_tblspc").iterdir()} == {first, second}
    assert any(first.rglob("PG_VERSION")) or any(first.iterdir())


def test_unlogged_and_temporary_tables(bench, source):
    source.sql("""DROP TABLE IF EXISTS volatile, solid;
        CREATE UNLOGGED TABLE volatile (id serial PRIMARY KEY, h text);
        INSERT INTO volatile (h) SELECT md5(n::text) FROM generate_series(1, 5000) n;
        CREATE TABLE solid AS SELECT generate_series(1, 100) AS id""")
    paths = [source.relation_path(name) for name in ("volatile", "volatile_pkey")]
    catalog = bench.catalog(source)
    with contextlib.closing(source.connect()) as session, session.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE fleeting AS SELECT generate_series(1, 5000) AS id")
        cursor.execute("SELECT pg_relation_filepath('fleeting')")
        temporary = cursor.fetchone()[0]
        cursor.execute("CHECKPOINT")
        assert (source.data / temporary).exists(), "the temporary table is on disk"
        backup_id = catalog.backup()
    files = catalog.file_list(backup_id)
    for path in paths:
        assert path not in files and f"{path}_init" in files
        assert not (catalog.dir(backup_id) / "database" / path).exists()
    assert temporary not in files
    assert not [path for path in files if re.search(r"/t\d+_\d+", path)]
    cluster = restore_and_start(bench, catalog, backup_id)
    assert cluster.sql("SELECT (SELECT count(*) FROM volatile), (SELECT count(*) FROM solid)") == [(0, 100)]
    cluster.sql("INSERT INTO volatile (h) VALUES ('again')")
    cluster.check_tables_and_indexes()


def test_checksums_off(bench, pg):
    source = bench.cluster(pg, checksums=False)
    source.pgbench_init(1)
    catalog = bench.catalog(source)
    with source.load():
        backup_id = catalog.backup("--compress-algorithm=zlib")
    assert catalog.backups()[backup_id]["checksum-version"] == 0
    assert catalog.validate().code == 0
    cluster = restore_and_start(bench, catalog, backup_id)
    cluster.check_tables_and_indexes()
    cluster.check_pgbench_balances()


def test_relations_dropped_truncated_and_extended_during_the_backup(bench, source):
    source.pgbench_init(3)  # something to copy while the others change
    source.sql("CREATE TABLE IF NOT EXISTS shrinking (id int, filler text)")
    catalog = bench.catalog(source)
    ids = []
    with ChangingTables(source) as tables:
        for algorithm in ("none", "zlib"):
            before = tables.rounds
            # Truncated by VACUUM, in place, while the file may be open.
            source.sql("INSERT INTO shrinking SELECT n, repeat('x', 500) FROM generate_series(1, 40000) n")
            process = catalog.start_backup("-j", "2", f"--compress-algorithm={algorithm}")
            source.sql("DELETE FROM shrinking")
            source.sql("VACUUM shrinking")
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert tables.rounds > before, "tables changed while the backup ran"
    ids = [backup["id"] for backup in catalog.show() if backup["status"] == "OK"]
    assert len(ids) == 2
    assert catalog.validate().code == 0
    for backup_id in ids:
        cluster = restore_and_start(bench, catalog, backup_id)
        check_changing_tables(cluster)
        cluster.check_tables_and_indexes()
        cluster.stop()
        cluster.check_page_checksums()
