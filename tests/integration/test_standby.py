# SPDX-License-Identifier: Apache-2.0
"""A standby as the source, and a standby that is taken for its primary."""
import pytest

from postgres import CLIENTS, Cluster
from processes import make_dir, run, wait_until
from tool import gsp


class Standby(Cluster):
    def start(self):
        """Ready is: read-only queries are answered."""
        run([self.version.bindir / "pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", self.home / "server.log",
             "-o", f"-c unix_socket_directories={make_dir(self.home / 's')} -c listen_addresses=''"])
        self.running = True
        wait_until(lambda: self.sql("SELECT pg_is_in_recovery()")[0][0], "the standby")


@pytest.fixture
def pair(bench, pg15):
    """A primary with rows, and a streaming standby of it."""
    primary = bench.cluster(pg15)
    primary.sql("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    home = make_dir(bench.new("standby"))
    run([CLIENTS / "pg_basebackup", "-h", primary.socket_dir, "-p", "5432", "-U", "postgres", "-D", home / "data", "-R",
         "-c", "fast"])
    standby = Standby(pg15, home / "data", home)
    standby.start()
    bench.clusters.append(standby)
    return primary, standby


def test_backup_of_a_standby(pair, bench, pg15):
    primary, standby = pair
    catalog = bench.catalog(standby)
    primary.pgbench_init(2)
    wait_until(lambda: standby.sql("SELECT to_regclass('pgbench_branches') IS NOT NULL")[0][0], "replay")
    with primary.load():
        backup_id = catalog.backup("-j", "2", "--compress")
    assert next(b for b in catalog.show() if b["id"] == backup_id)["from-replica"] == "true"
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id)
    again = bench.restored(pg15, data)
    again.start()
    assert again.sql("SELECT count(*) FROM kept") == [(1000,)]
    again.check_tables_and_indexes()
    again.check_pgbench_balances()
    again.stop()
    again.check_page_checksums()


def test_directory_of_the_standby_with_the_primary_as_server(pair, bench):
    """Both have one system identifier; the files of one with the WAL of the other would be no backup."""
    primary, standby = pair
    catalog = bench.catalog(primary)
    result = gsp("backup", *catalog.where, "-b", "FULL", "-D", standby.data, *primary.connection_options)
    assert result.code == 1 and len(result.errors) == 1, result
    assert "is not that of the server" in result.errors[0] and "standby" in result.hints[0], result
