# SPDX-License-Identifier: Apache-2.0
"""A standby as the source, and a standby that is taken for its primary."""
from postgres import Cluster
from processes import give_to_user, make_dir, run, wait_until
from tool import gsp


class Standby(Cluster):
    def start(self):
        """Ready is: read-only queries are answered."""
        run([self.version.bindir / "pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", self.home / "server.log",
             "-o", f"-c unix_socket_directories={make_dir(self.home / 's')} -c listen_addresses=''"])
        self.running = True
        wait_until(lambda: self.sql("SELECT pg_is_in_recovery()")[0][0], "the standby")


def standby_of(bench, primary):
    """Made of a backup, as anyone would."""
    catalog = bench.catalog(primary)
    catalog.backup("--no-validate")
    home = make_dir(bench.new("standby"))
    catalog.restore(home / "data", "--no-validate")
    (home / "data" / "standby.signal").touch()
    give_to_user(home / "data" / "standby.signal")
    with open(home / "data" / "postgresql.auto.conf", "a", encoding="utf-8") as conf:
        conf.write(f"primary_conninfo = 'host={primary.socket_dir} port=5432 user=postgres'\n")
    standby = Standby(primary.version, home / "data", home)
    standby.start()
    bench.clusters.append(standby)
    return standby


def make_pair(bench, version):
    """A primary with rows, and a streaming standby of it."""
    primary = bench.cluster(version)
    primary.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    return primary, standby_of(bench, primary)


def test_backup_of_a_standby(bench, pg):
    primary, standby = make_pair(bench, pg)
    catalog = bench.catalog(standby)
    primary.pgbench_init(2)
    wait_until(lambda: standby.sql("SELECT to_regclass('pgbench_branches') IS NOT NULL")[0][0], "replay")
    with primary.load():
        backup_id = catalog.backup("-j", "2", "--compress")
    assert next(b for b in catalog.show() if b["id"] == backup_id)["from-replica"] == "true"
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id)
    again = bench.restored(pg, data)
    again.start()
    assert again.sql("SELECT count(*) FROM kept") == [(1000,)]
    again.check_tables_and_indexes()
    again.check_pgbench_balances()
    again.stop()
    again.check_page_checksums()


def test_directory_of_the_standby_with_the_primary_as_server(bench, pg15):
    """Both have one system identifier; the files of one with the WAL of the other would be no backup."""
    primary, standby = make_pair(bench, pg15)
    catalog = bench.catalog(primary)
    result = gsp("backup", *catalog.where, "-b", "FULL", "-D", standby.data, *primary.connection_options)
    assert result.code == 1 and len(result.errors) == 1, result
    assert "is not that of the server" in result.errors[0] and "standby" in result.hints[0], result
