# SPDX-License-Identifier: Apache-2.0
"""Random workloads between the backups of a chain; each backup, restored, is what the cluster was at its stop LSN.

GSP_ORACLE_SEEDS: how many seeds for each mode and server (3), GSP_ORACLE_SEED: the first of them (1),
GSP_ORACLE_INCREMENTS: how many backups with a workload between (2)."""
import contextlib
import os
import random

import pytest

import oracle
from changing_tables import ChangingTables, check_changing_tables

FIRST = int(os.environ.get("GSP_ORACLE_SEED", "1"))
SEEDS = range(FIRST, FIRST + int(os.environ.get("GSP_ORACLE_SEEDS", "3")))
CASES = [(17, "DELTA"), (17, "PAGE"), (17, "PTRACK"), (15, "DELTA"), (15, "PAGE")]
INCREMENTS = int(os.environ.get("GSP_ORACLE_INCREMENTS", "2"))  # with a workload before each
INITDB_LSN = 0x28


def case_id(case):
    return f"{case[1]}-pg{case[0]}"


def settings(mode, seed=0):
    """Each seed has another form of WAL."""
    text = oracle.SETTINGS + ("", "wal_compression = on\n", "wal_level = logical\n")[seed % 3]
    return text + ("summarize_wal = on\n" if mode == "PTRACK" else "")


@pytest.fixture(params=CASES, ids=case_id)
def case(request, version_of):
    major, mode = request.param
    return version_of(major), mode


class Moment:
    """A backup, and what the cluster held at its end."""

    def __init__(self, backup_id, loaded, cluster, compare_files, is_last):
        self.id, self.loaded = backup_id, loaded
        # Before the rows are read, as readers change pages.
        self.blocks = oracle.blocks(cluster.data) if compare_files else None
        self.unlogged = oracle.spgist_indexes(cluster)
        # Where every block is what it was, one server is enough to see that all else is.
        self.rows = oracle.rows(cluster) if is_last or not compare_files else None


class Run:
    """One workload and the chain of backups over it."""

    def __init__(self, bench, version, mode, seed):
        self.bench, self.version, self.mode, self.seed = bench, version, mode, seed
        self.rng = random.Random(seed)
        # Without checksums hint bits change pages that nobody else knows of: the rows are the same, the files are not.
        self.checksums = seed % 4 != 2
        self.cluster = bench.cluster(version, checksums=self.checksums, settings=settings(mode, seed))
        self.cluster.pgbench_init(1)
        self.workload = oracle.Workload(self.cluster, self.rng)
        self.catalog = bench.catalog(self.cluster)
        self.moments = []

    def backup(self, mode, loaded=False, compress=None, is_last=False):
        options = ["--no-validate", "-j", self.rng.choice("124"),
                   f"--compress-algorithm={compress or self.rng.choice(('none', 'zlib', 'pglz', 'lz4', 'zstd'))}"]
        with contextlib.ExitStack() as load:
            if loaded:
                load.enter_context(self.cluster.load())
                load.enter_context(ChangingTables(self.cluster))
            backup_id = self.catalog.backup(*options, mode=mode, check=is_last)
        self.moments.append(Moment(backup_id, loaded, self.cluster, self.checksums and not loaded, is_last))

    def check(self, moment):
        data = self.bench.new("data")
        self.catalog.restore(data, "-i", moment.id, "-j", 2, *self.workload.mapping(self.bench))
        if moment.blocks is not None:
            assert oracle.differences(moment.blocks, oracle.blocks(data), moment.unlogged) == []
        if moment.rows is None:
            return
        cluster = self.bench.restored(self.version, data)
        cluster.start()
        found = oracle.rows(cluster)
        if moment.loaded:
            assert oracle.user_rows(found) == oracle.user_rows(moment.rows)
            check_changing_tables(cluster)
        else:
            assert found == moment.rows
        cluster.check_pgbench_balances()
        assert cluster.sql("SELECT count(*) FROM volatile") == [(0,)], "an unlogged table is empty"
        cluster.sql("INSERT INTO volatile (h) VALUES ('again')")
        oracle.check_visibility_maps(cluster)
        if moment.blocks is None:  # else every block is what it was
            cluster.check_tables_and_indexes()
            cluster.stop()
            if self.checksums:
                cluster.check_page_checksums()
        cluster.stop("immediate")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_backup_of_a_chain(bench, case, seed):
    version, mode = case
    run = Run(bench, version, mode, seed)
    run.backup("FULL")
    loaded = run.rng.sample(range(INCREMENTS), INCREMENTS // 2)
    for number in range(INCREMENTS):
        run.workload.step(run.rng.randint(6, 12))
        run.backup(mode, number in loaded)
    # One of what readers noted on the pages, then one of nothing.
    oracle.rows(run.cluster)
    run.catalog.backup("--no-validate", "--compress-algorithm=zlib", mode=mode, check=False)
    run.backup(mode, compress="zlib", is_last=True)
    shown = run.catalog.show()[::-1]
    assert [backup["backup-mode"] for backup in shown] == ["FULL"] + [mode] * (INCREMENTS + 2)
    assert [backup.get("parent-backup-id") for backup in shown] == [None] + [backup["id"] for backup in shown[:-1]]
    pages = [run.catalog.stored_pages(moment.id) for moment in run.moments]
    print(f"seed {seed}: {pages} pages; {run.workload.done}")
    assert all(count < pages[0] for count in pages[1:]), pages
    # A page that nobody has written yet has no LSN that tells its age, and all that initdb writes have one LSN: without
    # checksums DELTA takes them each time.
    last = run.catalog.stored_headers(shown[-1]["id"])
    assert sum(lsn > INITDB_LSN or mode != "DELTA" for headers in last.values() for lsn, _, _, _ in headers) <= 20, last
    validated = run.catalog.validate("-j", 2)
    assert validated.code == 0 and not validated.warnings, validated
    for moment in run.moments:
        run.check(moment)


# ---- exactly so many pages -------------------------------------------------------------------------

def known_table(cluster, count):
    """One row on each page, and room for its next version there: block n holds row n."""
    cluster.sql(f"""CREATE TABLE known (n int PRIMARY KEY, c int, t text) WITH (fillfactor = 45);
        ALTER TABLE known ALTER t SET STORAGE PLAIN;
        INSERT INTO known SELECT g, 0, repeat(md5(g::text), 106) FROM generate_series(0, {count - 1}) g""")
    cluster.sql("VACUUM (FREEZE, ANALYZE) known")
    cluster.sql("CHECKPOINT")
    assert cluster.sql("SELECT count(*), sum(n) FROM known WHERE ctid::text = '(' || n || ',1)'") \
        == [(count, sum(range(count)))]
    return cluster.relation_path("known"), cluster.relation_path("known_pkey")


def test_exactly_the_changed_pages(bench, case):
    version, mode = case
    cluster = bench.cluster(version, settings=settings(mode))
    table, index = known_table(cluster, 300)
    catalog = bench.catalog(cluster)
    full = catalog.stored_blocks(catalog.backup())
    assert full[table] == list(range(300)) and len(full[index]) >= 2
    for changed in ([7], [0, 1, 2, 150, 299], sorted(random.Random(1).sample(range(300), 90))):
        cluster.sql(f"UPDATE known SET c = c + 1 WHERE n IN ({', '.join(map(str, changed))})")
        blocks = catalog.stored_blocks(catalog.backup(mode=mode))
        assert blocks[table] == changed
        assert index not in blocks, "the rows stayed where the index finds them"
        assert sum(map(len, blocks.values())) <= len(changed) + 30
    # Another key: its leaf of the index, too.
    cluster.sql("UPDATE known SET n = -1 WHERE n = 0")
    blocks = catalog.stored_blocks(catalog.backup(mode=mode))
    assert blocks[table] == [0] and len(blocks[index]) == 1
    # The end is cut off: nothing of the table is stored, and its length is known.
    cluster.sql("DELETE FROM known WHERE n >= 100")
    cluster.sql("VACUUM known")
    expected = oracle.rows(cluster)
    backup_id = catalog.backup(mode=mode)
    assert set(catalog.stored_blocks(backup_id).get(table, [])) <= set(range(100))
    assert catalog.file_list(backup_id)[table]["n_blocks"] == "100"
    data = bench.new("data")
    catalog.restore(data, "-j", 2)
    restored = bench.restored(version, data)
    assert (data / table).stat().st_size == 100 * oracle.PAGE
    restored.start()
    assert oracle.rows(restored) == expected
    oracle.check_visibility_maps(restored)


# ---- the same names with other content -------------------------------------------------------------

def recreate_under_its_number(cluster):
    """A new table whose file has the number of one that was dropped, as pg_upgrade makes them."""
    (oid, number, row_type, array_type) = cluster.sql("""SELECT c.oid, c.relfilenode, c.reltype, t.typarray
        FROM pg_class c JOIN pg_type t ON t.oid = c.reltype WHERE relname = 'doomed'""")[0]
    cluster.sql("DROP TABLE doomed")
    cluster.sql("CHECKPOINT")
    cluster.stop()
    cluster.start("-b")
    cluster.sql(f"""SELECT binary_upgrade_set_next_heap_pg_class_oid({oid}),
            binary_upgrade_set_next_heap_relfilenode({number}), binary_upgrade_set_next_pg_type_oid({row_type}),
            binary_upgrade_set_next_array_pg_type_oid({array_type});
        CREATE TABLE doomed (i int, h text)""")
    cluster.stop()
    cluster.start()
    cluster.sql("INSERT INTO doomed SELECT g, 'second' FROM generate_series(1, 700) g")


@pytest.mark.parametrize("mode", ["DELTA", "PAGE", "PTRACK"])
def test_relation_file_of_the_same_number(bench, version_of, mode):
    version = version_of(17)
    cluster = bench.cluster(version, settings=settings(mode))
    cluster.sql("""CREATE TABLE doomed (i int, h text);
        INSERT INTO doomed SELECT g, 'first' FROM generate_series(1, 20000) g""")
    path = cluster.relation_path("doomed")
    catalog = bench.catalog(cluster)
    catalog.backup()
    recreate_under_its_number(cluster)
    assert cluster.relation_path("doomed") == path
    backup_id = catalog.backup(mode=mode)
    expected = oracle.blocks(cluster.data), oracle.rows(cluster)
    check_restored(bench, catalog, backup_id, *expected)


def check_restored(bench, catalog, backup_id, blocks, rows):
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id, "-j", 2)
    assert oracle.differences(blocks, oracle.blocks(data)) == []
    restored = bench.restored(catalog.cluster.version, data)
    restored.start()
    assert oracle.rows(restored) == rows
    restored.check_tables_and_indexes()
    restored.stop("immediate")


def test_database_of_the_same_number(bench, case):
    """Its files have the names of those of a dropped one, and pages that are older than the parent backup."""
    version, mode = case
    strategy = "file_copy" if version.major == 17 else "wal_log"
    cluster = bench.cluster(version, settings=settings(mode))
    for name, word in (("one", "first"), ("two", "second")):
        cluster.sql(f"CREATE DATABASE {name}")
        cluster.sql(f"""CREATE TABLE t (i int PRIMARY KEY, h text);
            INSERT INTO t SELECT g, '{word}' FROM generate_series(1, 9000) g""", database=name)
    cluster.sql(f"CREATE DATABASE again OID 70000 TEMPLATE one STRATEGY {strategy}")
    cluster.sql("CHECKPOINT")
    catalog = bench.catalog(cluster)
    catalog.backup()
    cluster.sql("DROP DATABASE again")
    cluster.sql(f"CREATE DATABASE again OID 70000 TEMPLATE two STRATEGY {strategy}")
    backup_id = catalog.backup(mode=mode)
    check_restored(bench, catalog, backup_id, oracle.blocks(cluster.data), oracle.rows(cluster))


# ---- more than one segment -------------------------------------------------------------------------

SEGMENT_PAGES = 1 << 17
LONG = "SELECT count(*), md5(string_agg(i || pad, '' ORDER BY i, pad)) FROM long"


@pytest.mark.parametrize("case", [(15, "DELTA"), (15, "PAGE"), (17, "PTRACK")], ids=case_id)
def test_growth_over_a_segment_boundary(bench, version_of, case):
    """The first GiB of the table is a hole of new pages: a file of which nothing has been written yet."""
    version, mode = version_of(case[0]), case[1]
    cluster = bench.cluster(version, settings=settings(mode))
    cluster.sql("CREATE TABLE long (i int, pad text); INSERT INTO long SELECT g, 'first' FROM generate_series(1, 1000) g")
    path = cluster.relation_path("long")
    cluster.stop()
    os.truncate(cluster.data / path, (SEGMENT_PAGES - 8) * oracle.PAGE)
    cluster.start()
    catalog = bench.catalog(cluster)
    options = ["--compress-algorithm=zlib", "--no-validate", "-j", "2"]
    catalog.backup(*options, check=False)
    moments = []
    for change in ("INSERT INTO long SELECT g, repeat('x', 200) FROM generate_series(2000, 3000) g",
                   "DELETE FROM long WHERE i > 500", "VACUUM long",
                   "INSERT INTO long SELECT g, 'again' FROM generate_series(1, 3000) g"):
        cluster.sql(change)
        if change.startswith("DELETE"):
            continue
        backup_id = catalog.backup(*options, mode=mode, check=False)
        assert mode == "DELTA" or catalog.stored_pages(backup_id) < 2000
        sizes = [file.stat().st_size for file in sorted(cluster.data.glob(f"{path}*")) if file.name[-3:] not in ("fsm", "_vm")]
        moments.append((backup_id, sizes, cluster.sql(LONG)))
    assert [len(sizes) for _, sizes, _ in moments] == [2, 2, 2]
    assert moments[0][1][0] == 1 << 30 > moments[1][1][0] and moments[0][1][1] > 0 == moments[1][1][1]
    for backup_id, sizes, rows in moments:
        data = bench.new("data")
        catalog.restore(data, "-i", backup_id, "-j", 2, "--no-validate")
        assert [(data / path).stat().st_size, (data / f"{path}.1").stat().st_size] == sizes
        restored = bench.restored(version, data)
        restored.start()
        assert restored.sql(LONG) == rows
        restored.stop("immediate")
        os.truncate(data / path, 0)  # a GiB less
