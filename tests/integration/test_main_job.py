# SPDX-License-Identifier: Apache-2.0
"""Back up a live cluster, validate, restore elsewhere, start, and prove what came back."""
import pytest

from processes import give_to_user, wait_until
from tool import gsp

ROWS = 20000


def busy_cluster(shop, version):
    cluster = shop.cluster(version)
    cluster.pgbench_init(4)
    cluster.tablespace("elsewhere")
    cluster.sql(f"CREATE TABLE far TABLESPACE elsewhere AS SELECT n AS id, md5(n::text) AS h FROM generate_series(1, {ROWS}) n")
    cluster.sql("CREATE INDEX far_h ON far (h) TABLESPACE elsewhere")
    return cluster


@pytest.fixture(scope="module")
def source(shop, pg):
    cluster = busy_cluster(shop, pg)
    yield cluster
    cluster.stop("immediate")


@pytest.fixture(scope="module")
def source15(shop, pg15):
    cluster = busy_cluster(shop, pg15)
    yield cluster
    cluster.stop("immediate")


def restore_and_start(bench, catalog, backup_id, jobs=4):
    """The restored, recovered cluster; its tablespace moved along."""
    data, moved = bench.new("data"), bench.new("tablespace")
    catalog.restore(data, "-i", backup_id, "-j", jobs, "-T", f"{catalog.cluster.home / 'elsewhere'}={moved}")
    cluster = bench.restored(catalog.cluster.version, data)
    cluster.start()
    (location,) = cluster.sql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'elsewhere'")[0]
    assert location == str(moved)
    return cluster


def check_copy(cluster):
    cluster.check_tables_and_indexes()
    assert cluster.check_pgbench_balances() > 0
    assert cluster.sql("SELECT count(*) FROM far WHERE h = md5(id::text)")[0][0] == ROWS
    cluster.stop()
    cluster.check_page_checksums()


def back_up_under_load(bench, source, algorithm, jobs):
    catalog = bench.catalog(source)
    with source.load():
        backup_id = catalog.backup("-j", jobs, f"--compress-algorithm={algorithm}")
    backup = catalog.backups()[backup_id]
    assert backup["status"] == "OK"
    assert backup["compress-alg"] == algorithm
    assert backup["checksum-version"] == 1
    source.check_out_of_backup_mode()
    validated = catalog.validate("-i", backup_id, "-j", jobs)
    assert validated.code == 0 and not validated.warnings, validated
    check_copy(restore_and_start(bench, catalog, backup_id, jobs))


def test_backup_under_load(bench, source):
    back_up_under_load(bench, source, "zlib", 4)


@pytest.mark.parametrize("algorithm, jobs", [("none", 1), ("none", 8), ("zlib", 1), ("zlib", 8), ("pglz", 8), ("lz4", 8),
                                             ("zstd", 1)])
def test_compressors_and_jobs(bench, source15, algorithm, jobs):
    back_up_under_load(bench, source15, algorithm, jobs)


@pytest.mark.smoke
def test_three_backups_of_one_instance(bench, source):
    catalog = bench.catalog(source)
    with source.load():
        ids = [catalog.backup("-j", 2, f"--compress-algorithm={name}") for name in ("zlib", "none", "pglz")]
    assert [backup["id"] for backup in catalog.show()] == ids[::-1], "newest first"
    assert catalog.validate().code == 0
    rows = 0
    for backup_id in ids:
        cluster = restore_and_start(bench, catalog, backup_id)
        later = cluster.check_pgbench_balances()
        assert later >= rows, "a later backup holds no less"
        rows = later
        cluster.stop()


def test_everything_is_equal_at_a_quiet_point(bench, pg):
    source = bench.cluster(pg)
    source.pgbench_init(1)
    source.tablespace("elsewhere")
    source.sql("CREATE DATABASE second TABLESPACE elsewhere")
    source.sql("""CREATE TABLE words (id serial PRIMARY KEY, list text[], doc jsonb);
        INSERT INTO words (list, doc) SELECT array[md5(n::text), 'x'], jsonb_build_object('n', n, 'text', repeat('z', n))
            FROM generate_series(1, 3000) n;
        CREATE INDEX words_list ON words USING gin (list);
        DELETE FROM words WHERE id % 3 = 0""", database="second")
    source.sql("""CREATE TABLE toasted AS SELECT n, string_agg(md5(n::text || m::text), '') AS wide
            FROM generate_series(1, 50) n, generate_series(1, 400) m GROUP BY n;
        CREATE TABLE empty (id int);
        CREATE MATERIALIZED VIEW summary AS SELECT bid, count(*) FROM pgbench_accounts GROUP BY bid;
        SELECT lo_from_bytea(0, decode(repeat('0123456789abcdef', 5000), 'hex'));
        CREATE TABLE wide_name_ä (id int);
        CREATE TABLE parted (id int) PARTITION BY RANGE (id);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100) TABLESPACE elsewhere;
        INSERT INTO parted SELECT generate_series(0, 99)""")
    source.client("vacuumdb", "--all", "--analyze", "-q")
    catalog = bench.catalog(source)
    before = source.relation_hashes()
    backup_id = catalog.backup("-j", 4, "--compress-algorithm=zlib")
    assert source.relation_hashes() == before, "the source was quiet"
    cluster = restore_and_start(bench, catalog, backup_id)
    assert cluster.relation_hashes() == before
    cluster.check_tables_and_indexes()
    cluster.stop()
    cluster.check_page_checksums()


def test_the_newest_good_backup_is_restored_by_default(bench, source15):
    catalog = bench.catalog(source15)
    catalog.backup()
    source15.sql("CREATE TABLE IF NOT EXISTS marker AS SELECT 1")
    catalog.backup()
    data = bench.new("data")
    catalog.restore(data, "-T", f"{source15.home / 'elsewhere'}={bench.new('tablespace')}")
    cluster = bench.restored(source15.version, data)
    cluster.start()
    assert cluster.sql("SELECT * FROM marker") == [(1,)]


def test_restored_files_have_their_modes(bench, pg15):
    source = bench.cluster(pg15)
    odd = source.data / "odd-mode"
    odd.write_text("x")
    odd.chmod(0o640)
    give_to_user(odd)
    catalog = bench.catalog(source)
    backup_id = catalog.backup()
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id)
    assert data.stat().st_mode & 0o7777 == 0o700
    assert (data / "odd-mode").stat().st_mode & 0o7777 == 0o640
    assert (data / "base").stat().st_mode & 0o7777 == 0o700
    assert (data / "PG_VERSION").read_text() == "15\n"


def test_slots_are_given_back(bench, source15):
    """A user's slot is free again, a temporary one is gone."""
    catalog = bench.catalog(source15)
    source15.sql("SELECT pg_create_physical_replication_slot('kept')")
    try:
        catalog.backup("-S", "kept")
        free = "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'kept'"
        wait_until(lambda: source15.sql(free)[0][0], "the slot to be free")
    finally:
        source15.sql("SELECT pg_drop_replication_slot('kept')")
    catalog.backup("--temp-slot", "-S", "for_a_while")
    source15.check_out_of_backup_mode()


def test_server_without_a_free_slot(bench, pg15):
    """Nobody asked for a slot: the backup goes on, and says what it lacks."""
    source = bench.cluster(pg15, settings="max_replication_slots = 0\n")
    catalog = bench.catalog(source)
    result = gsp(*catalog.backup_args())
    assert result.code == 0 and any("No replication slot" in line for line in result.warnings), result
    assert catalog.validate().code == 0
    # Asked for, it is an error.
    result = gsp(*catalog.backup_args("--temp-slot"))
    assert result.code == 1 and "max_replication_slots" in result.hints[0], result
